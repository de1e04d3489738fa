"""Rows as line protocol: what is escaped, what is left out, what cannot be said; and the settings."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connections.base import ConnectionContext
from connections.http_client import Answer
from connections.influxdb import InfluxdbConfig, InfluxdbConnection
from core.errors import ConfigError, PayloadError, Rejected, Throttled, Unavailable
from core.message import MISSING, Row, Schema, Type
from core.settings import decode_hook
from sinks.base import SinkContext
from sinks.influxdb.encode import Encode, Encoder, _Points
from sinks.influxdb.sink import InfluxdbSink

METER = Schema(
    ("station", "connector", "power", "energy", "on", "note", "at"),
    (Type.TEXT, Type.BIGINT, Type.DOUBLE, Type.BIGINT, Type.BOOLEAN, Type.TEXT, Type.TIMESTAMP),
)
LOOSE = Schema(METER.names, (Type.ANY,) * len(METER.names))
AT = 1_767_225_600_123_456


Line = Callable[[Row], str]


def single(encode: Encode) -> Line:
    """The line of one row."""
    return lambda row: encode((row,))[0]


def encoder(schema: Schema = METER, **settings: Any) -> Line:
    table = {"measurement": "meter", "tags": ["station", "connector"], "time": "at", **settings}
    config = msgspec.convert({k: v for k, v in table.items() if v is not None}, InfluxdbSink.Config)
    return single(Encoder(config, [schema]).bind(schema))


def syntax(text: str, *names: str, **settings: Any) -> Line:
    schema = Schema(names, (Type.ANY,) * len(names))
    config = msgspec.convert({"write_syntax": text, **settings}, InfluxdbSink.Config)
    return single(Encoder(config, [schema]).bind(schema))


def refused(encode: Line, row: tuple[Any, ...]) -> str:
    with pytest.raises(PayloadError) as caught:
        encode(row)
    return str(caught.value)


def test_a_line() -> None:
    line = encoder()(("CP-1", 2, 7_321.5, 12, True, 'a "quoted" \\ word', AT))
    assert line == (
        r"meter,connector=2,station=CP-1 "
        r'power=7321.5,energy=12i,on=true,note="a \"quoted\" \\ word" 1767225600123456000'
    )


def test_the_fast_way_says_what_the_slow_way_says() -> None:
    row = ("CP 1", 2, 7_321.5, 12, True, "plain", AT)
    fast = encoder()
    assert (
        fast(row) == r"meter,connector=2,station=CP\ 1 power=7321.5,energy=12i,on=True,note="
        '"plain" 1767225600123456000'
    )
    loose = encoder(LOOSE, precision="ms")
    assert loose((*row[:-1], 1_767_225_600_123)).endswith(" 1767225600123")


@pytest.mark.parametrize(
    ("precision", "moment"),
    [("ns", 1767225600123456000), ("us", 1767225600123456), ("ms", 1767225600123), ("s", 1767225600)],
)
def test_precisions(precision: str, moment: int) -> None:
    for note in ("fast", '"slow"'):
        assert encoder(precision=precision)(("a", 1, 1.0, 1, True, note, AT)).endswith(f" {moment}")
    row = ("a", 1, 1.0, 1, True, "b", AT // 1_000)
    expected = AT // 1_000 * 1_000_000 // {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}[precision]
    assert encoder(LOOSE, precision=precision)(row).endswith(f" {expected}")


def test_tags_that_are_equal_in_python_are_not_mixed_up() -> None:
    encode = encoder(LOOSE)
    lines = [encode(("a", value, 1.0, 1, True, "b", AT // 1_000)) for value in (1, True, 1.0, "1")]
    assert [line.split(" ")[0] for line in lines] == [
        "meter,connector=1,station=a",
        "meter,connector=true,station=a",
        "meter,connector=1.0,station=a",
        "meter,connector=1,station=a",
    ]


@pytest.mark.parametrize("absent", [None, MISSING, math.nan, math.inf])
def test_what_is_left_out(absent: Any) -> None:
    for schema in (METER, LOOSE):
        line = encoder(schema)(("a", 1, absent, 1, True, "b", AT // (1 if schema is METER else 1_000)))
        assert "power" not in line
        assert "energy=1i" in line


@pytest.mark.parametrize("absent", [None, MISSING, ""])
def test_empty_tags_are_left_out(absent: Any) -> None:
    assert encoder(tags=["station"])((absent, 1, 1.0, 1, True, "b", AT)).startswith("meter connector=1i,")


def test_a_point_without_tags() -> None:
    assert encoder(tags=[])(("a", 1, 1.0, 1, True, "b", AT)).startswith('meter station="a",connector=1i,')


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("a\\", 1, 1.0, 1, True, "b", AT), "station: a tag value cannot end in a backslash"),
        (("a\nb", 1, 1.0, 1, True, "b", AT), "station: a tag value cannot hold a line break"),
        (("a", 1, None, None, None, None, AT), "no field has a value"),
        (("a", 1, 1.0, 2**63, True, "b", AT), "energy: 9223372036854775808 is no 64-bit integer"),
        (("a", 1, 1.0, 1, True, "b", None), "it has no time: at is null"),
        (("a", 1, 1.0, 1, True, "b", MISSING), "it has no time: at is missing"),
        (("a", 1, 1.0, 1, True, "b", "now"), "at: 'now' is no time"),
        (("a", 1, 1.0, 1, True, "b", 2**62), "at: the time 4611686018427387904 is out of range"),
    ],
)
def test_what_cannot_be_said(row: tuple[Any, ...], reason: str) -> None:
    encode = encoder()
    encode(("a", 1, 1.0, 1, True, "b", AT))  # the fast way is there
    assert refused(encode, row).startswith(reason)


def test_unsigned_and_floats() -> None:
    row = ("a", 1, 1.0, 2**64 - 1, True, "b", AT)
    assert f"energy={2**64 - 1}u" in encoder(unsigned=["energy"])(row)
    assert "energy: -1 is no unsigned" in refused(encoder(unsigned=["energy"]), ("a", 1, 1.0, -1, True, "b", AT))
    for number, text in ((7, "7.0"), (-(2**60), repr(float(-(2**60)))), (2**70, repr(float(2**70)))):
        line = encoder(integers="float")(("a", 1, 1.0, number, True, "b", AT))
        assert f"energy={text}," in line


def test_other_values() -> None:
    encode = encoder(LOOSE, tags=["station"], time=None, fields=["power", "energy", "on", "note"])
    line = encode(("a", 1, Decimal("1.50"), [1, 2], {"k": "v"}, b"\xff", None))
    assert line.startswith('meter,station=a power=1.5,energy="[1,2]",on="{\\"k\\":\\"v\\"}",note="\\\\xff" ')


def test_rows_without_a_time_get_each_their_own() -> None:
    encode = encoder(time=None, fields=["power", "note"])
    pairs = [encode(("a", 1, 1.0, 1, True, note, AT)).rsplit(" ", 1) for note in ("fast", '"slow"') for _ in range(500)]
    assert len({int(moment) for _, moment in pairs}) == 1_000
    assert {line for line, _ in pairs[:500]} == {'meter,connector=1,station=a power=1.0,note="fast"'}


def test_a_rule_without_the_time_column_or_a_field() -> None:
    config = msgspec.convert({"measurement": "meter", "tags": ["station"], "time": "at"}, InfluxdbSink.Config)
    timeless = Schema(("station", "power"), (Type.TEXT, Type.DOUBLE))
    bare = Schema(("station", "at"), (Type.TEXT, Type.TIMESTAMP))
    of = Encoder(config, [METER, timeless, bare])
    assert refused(single(of.bind(timeless)), ("a", 1.0)).startswith("it has no time: its rule yields no at")
    assert refused(single(of.bind(bare)), ("a", AT)).startswith("no field has a value")


@pytest.mark.parametrize("settings", [{}, {"write_syntax": "m v=${power}", "measurement": None, "tags": None}])
def test_rows_without_a_time_do_not_run_ahead_of_the_clock(settings: dict[str, Any]) -> None:
    table = {"measurement": "m", "fields": ["power"], "precision": "s", **settings}
    if "write_syntax" in settings:
        del table["fields"]
    config = msgspec.convert({name: value for name, value in table.items() if value is not None}, InfluxdbSink.Config)
    encoder = Encoder(config, [METER])
    encode = single(encoder.bind(METER))
    times = [int(encode(("a", 1, 1.0, 1, True, "b", AT)).rsplit(" ", 1)[1]) for _ in range(1_000)]
    assert encoder.precision == "ns"
    assert times[-1] <= time.time_ns()


@pytest.mark.parametrize(
    ("settings", "precision"),
    [
        ({"measurement": "m", "time": "at"}, "ns"),
        ({"measurement": "m", "time": "at", "precision": "s"}, "s"),
        ({"write_syntax": "m v=1 ${at}"}, "ms"),
        ({"write_syntax": "m v=1 ${at}", "precision": "us"}, "us"),
        ({"write_syntax": "m v=1 ${at}\nm v=1"}, "ms"),
        ({"write_syntax": "m v=1", "precision": "us"}, "ns"),
    ],
)
def test_the_precision_of_what_goes_out(settings: dict[str, Any], precision: str) -> None:
    assert Encoder(msgspec.convert(settings, InfluxdbSink.Config), [METER]).precision == precision


def test_instants_in_fields_and_tags_are_text() -> None:
    line = encoder(tags=["at"], time=None, fields=["power"])(("a", 1, 1.0, 1, True, "b", AT))
    assert line.startswith("meter,at=2026-01-01T00:00:00.123456Z power=1.0 ")
    for settings in ({}, {"integers": "float"}, {"unsigned": ["at"]}):
        encode = encoder(time=None, fields=["at"], **settings)
        assert 'at="2026-01-01T00:00:00.123456Z"' in encode(("a", 1, 1.0, 1, True, "b", AT)), settings


def refused_config(**settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        encoder(**settings)
    return str(caught.value)


def test_measurements_from_columns() -> None:
    encode = encoder(measurement="m,${note}")
    assert encode(("a", 1, 1.0, 1, True, "b c", AT)).startswith(r"m\,b\ c,connector=1,station=a ")
    assert encode(("a", 1, 1.0, 1, True, "d", AT)).startswith(r"m\,d,connector=1,station=a ")


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"measurement": None}, "measurement"),
        ({"measurement": "a\\"}, "measurement"),
        ({"tags": ["statoin"]}, "tags: no rule yields 'statoin' (did you mean 'station'?)"),
        ({"fields": ["powr"]}, "fields"),
        ({"time": "ts"}, "time"),
        ({"unsigned": ["x"]}, "unsigned"),
        ({"tags": ["at"], "fields": ["at"]}, "fields: 'at' is a tag, too"),
        ({"tags": ["station", "station"]}, "tags"),
        ({"write_syntax": "a b=1"}, "measurement: write_syntax says this already"),
        ({"tags": [name for name in METER.names if name != "at"]}, "tags: no column is left for the fields"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], path: str) -> None:
    assert refused_config(**settings).startswith(path)


def test_names_are_never_source() -> None:
    odd = "x');import os\"{v0}'\\ ="
    schema = Schema((odd, "t", "at"), (Type.DOUBLE, Type.TEXT, Type.TIMESTAMP))
    line = encoder(schema, tags=["t"])((1.5, "a", AT))
    assert line == "meter,t=a x');import\\ os\"{v0}'\\\\ \\==1.5 1767225600123456000"


# -- write_syntax ----------------------------------------------------------------------


def test_emqx_write_syntax() -> None:
    text = (
        r"sensors,clientid=${clientid},site=a\ b temp=${payload.temp},n=${payload.n}i,u=${payload.n}u,"
        r'unit="${payload.u}",c=23i,ok=${payload.ok} ${timestamp}'
    )
    row = ("c 1", {"temp": 21, "n": 3.0, "u": 'say "hi"', "ok": True}, 1767225600123)
    assert syntax(text, "clientid", "payload", "timestamp", precision="ms")(row) == (
        r'sensors,clientid=c\ 1,site=a\ b temp=21.0,n=3i,u=3u,unit="say \"hi\"",c=23i,ok=true 1767225600123'
    )


def test_what_is_undefined_is_left_out_of_a_write_syntax() -> None:
    encode = syntax('m,a=${a},b=${b} x=${x},y="${y}" ${t}', "a", "b", "x", "y", "t")
    assert encode((None, "b", MISSING, "text", 5)) == 'm,b=b y="text" 5'
    assert "no field" in refused(encode, ("a", "b", None, MISSING, 5))
    assert "no timestamp" in refused(encode, ("a", "b", 1, "y", MISSING))


def test_a_bare_placeholder_is_typed_by_its_value() -> None:
    encode = syntax("m v=${v} 1", "v")
    assert [encode((value,)) for value in (1, 1.5, False, "x y")] == [
        "m v=1.0 1",
        "m v=1.5 1",
        "m v=false 1",
        'm v="x y" 1',
    ]
    assert refused(syntax("m v=${v}i 1", "v"), ("x",)) == "v: 'x' is no integer"
    assert refused(syntax("m,t=${v} v=1 1", "v"), ("x\\",)).startswith("t: a tag value cannot end in a backslash")


def test_several_lines_are_several_points() -> None:
    encode = syntax("m v=${v} 1\n  n,t=${v} w=2i 2\n", "v")
    assert encode((1,)) == "m v=1.0 1\nn,t=1 w=2i 2"


def test_tags_are_sorted_and_escaped() -> None:
    assert syntax(r"a\,b,z=1,k\=k=${v} f=t 1", "v")(("x=y",)) == r"a\,b,k\=k=x\=y,z=1 f=t 1"


@pytest.mark.parametrize("moment", ["2026-01-01T00:00:00.123Z", "2026-01-01T01:00:00.123+01:00", "1767225600123"])
def test_moments(moment: str) -> None:
    assert syntax("m v=1 ${t}", "t", precision="ms")((moment,)).endswith(" 1767225600123")


@pytest.mark.parametrize(
    "text", ["", "m", "m v", "m v=", "m v=x", "m v=${}", ",a=b v=1", "m v=1 2 3", "m,a v=1", "m v=a${x}"]
)
def test_what_is_no_write_syntax(text: str) -> None:
    with pytest.raises(ConfigError, match="write_syntax"):
        syntax(text, "x")


@given(st.text(), st.text(), st.one_of(st.none(), st.text(), st.floats(), st.integers(), st.booleans()))
def test_a_row_is_one_line_or_refused(tag: str, note: str, value: Any) -> None:
    schema = Schema(("tag", "note", "value", "at"), (Type.ANY,) * 4)
    try:
        line = encoder(schema, tags=["tag"])((tag, note, value, 1))
    except PayloadError:
        return
    assert line.startswith("meter,tag=" if tag else "meter note=")
    assert line.endswith(" 1000000")
    if "\n" in line:
        assert "\n" in note or isinstance(value, str)


_TEXTS = st.sampled_from(["", 'a"', "b,"])
_CELLS = st.one_of(st.none(), st.just(MISSING), st.floats(), st.integers(-10, 2**63 - 1), st.booleans(), _TEXTS)


@pytest.mark.parametrize("integers", ["integer", "float"])
@given(rows=st.lists(st.tuples(st.sampled_from(["a", "", None, 1, True, (1,)]), _CELLS, _CELLS), max_size=12))
def test_rows_have_the_lines_together_that_they_have_alone(integers: str, rows: list[Row]) -> None:
    schema = Schema(("tag", "a", "b", "at", "one"), (Type.ANY,) * 5)
    settings = {"measurement": "m", "tags": ["tag"], "time": "at", "integers": integers}
    config = msgspec.convert(settings, InfluxdbSink.Config)
    rows = [(*row, 1, 1.5) for row in rows]
    encode = Encoder(config, [schema]).bind(schema)
    alone = [Encoder(config, [schema]).bind(schema)((row,))[0] for row in rows]
    assert encode(rows) == alone
    assert encode(rows) == alone  # by the loop that the rows have chosen


_NUMBERS = st.one_of(st.integers(1 - 2**53, 2**53 - 1), st.integers(-9, 9), st.floats(-1e300, 1e300))


@given(st.lists(st.tuples(_NUMBERS, _NUMBERS, st.sampled_from(["", "b,"])), min_size=1))
def test_with_integers_as_floats_one_loop_takes_both(rows: list[Row]) -> None:
    schema = Schema(("a", "b", "note", "at"), (Type.ANY,) * 4)
    settings = {"measurement": "m", "time": "at", "integers": "float"}
    encode = Encoder(msgspec.convert(settings, InfluxdbSink.Config), [schema]).bind(schema)
    rows = [(*row, 1) for row in rows]
    with pytest.MonkeyPatch.context() as patched:
        encode(rows[:1])
        patched.setattr(_Points, "_other", lambda _, row: pytest.fail(f"{row} has left the loop"))
        lines = encode(rows)
    assert [fields_of(line) for line in lines] == [(float(a), float(b)) for a, b, *_ in rows]
    assert [line[line.index(",note=") :] for line in lines] == [f',note="{note}" 1000000' for _, _, note, _ in rows]


def fields_of(line: str) -> tuple[float, ...]:
    """The numbers of ``m a=1.5,b=2,...``, by the order of a and b; NaN where there is none."""
    found = dict(re.findall(r"[ ,]([ab])=([^, ]+)", line))
    return tuple(float(found.get(name, "nan")) for name in "ab")


_FLOATS = st.one_of(st.none(), st.floats(), st.sampled_from([1e16, 1e-7, 5e-324, -0.0, 1.7976931348623157e308]))


@given(st.lists(st.tuples(_FLOATS, st.one_of(_FLOATS, st.just("a,b"))), min_size=8, max_size=20))
def test_floats_of_many_rows_are_those_of_each(rows: list[Row]) -> None:
    schema = Schema(("a", "b", "c", "at"), (Type.ANY,) * 4)
    settings = {"measurement": "m", "time": "at", "fields": ["a", "b", "c"]}
    encode = Encoder(msgspec.convert(settings, InfluxdbSink.Config), [schema]).bind(schema)
    rows = [(*row, 1, 1) for row in rows]
    encode([(1.5, 2.5, 1, 1)])  # the loop for floats is the one to begin with
    for row, line in zip(rows, encode(rows), strict=True):
        finite = [isinstance(value, float) and math.isfinite(value) for value in row[:2]]
        expected = tuple(value if good else math.nan for value, good in zip(row, finite, strict=False))
        if row[1] != "a,b":
            assert repr(fields_of(line)) == repr(expected)
        assert line.endswith("c=1i 1000000")


def test_more_shapes_than_there_are_loops_for() -> None:
    names = [f"f{number}" for number in range(9)]
    schema = Schema((*names, "at"), (Type.ANY,) * 10)
    settings = {"measurement": "m", "time": "at", "integers": "float"}
    encode = Encoder(msgspec.convert(settings, InfluxdbSink.Config), [schema]).bind(schema)
    for number in range(512):
        fields = [7 if number >> place & 1 else 7.5 for place in range(8)]
        for last, text in ((True, "true"), ("x", '"x"')):  # two kinds of rows, each with all of these
            expected = ",".join(f"{name}={float(value)}" for name, value in zip(names, fields, strict=False))
            line = single(encode)((*fields, last, 1))
            assert line.replace("True", "true") == f"m {expected},f8={text} 1000000"


# -- the connection ----------------------------------------------------------------------


def connection(**settings: Any) -> InfluxdbConnection:
    table = {"url": "http://127.0.0.1:8086", "bucket": "b", **settings}
    config = msgspec.convert({k: v for k, v in table.items() if v is not None}, InfluxdbConfig, dec_hook=decode_hook)
    return InfluxdbConnection(config, ConnectionContext(name="tsdb", base_dir=Path()))


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"url": "127.0.0.1:8086"}, "url"),
        ({"url": "http://exa mple/"}, "url"),
        ({"url": "http://me:pw@h/"}, "url"),
        ({"url": "http://h/?db=x"}, "url"),
        ({"url": "http://h/api/v2"}, "url: ends in the API's path, which is ours to add (it is http://h/)"),
        ({"url": "http://h/api/v2/write/"}, "url: ends in the API's path"),
        ({"url": "http://h/write"}, "url: ends in the API's path"),
        ({"bucket": None}, "bucket: is needed"),
        ({"database": "d"}, "database: is of no use"),
        ({"api": "v1"}, "database: is needed"),
        ({"api": "v1", "bucket": None, "database": "d", "token": "t"}, "token: is of no use"),
        ({"api": "v3", "bucket": None, "database": "d", "user": "me"}, "user: is of no use"),
        ({"password": "p"}, "password"),
        ({"token": "t", "user": "u"}, "token"),
        ({"token": "a\nb"}, "token: is empty or holds what no HTTP header can"),
        ({"token": ""}, "token: is empty"),
        ({"user": "me", "password": "pässwort"}, "password: is empty or holds what no HTTP header can"),
        ({"token": {"env": "HEADRACE_ABSENT"}}, "token: the environment variable"),
        ({"tls": {"ca": "absent.pem"}}, "tls.ca"),
    ],
)
def test_connections_that_cannot_be(settings: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        connection(**settings)
    assert str(caught.value).startswith(path)


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"org": "o p"}, "http://127.0.0.1:8086/api/v2/write?bucket=b&org=o+p&precision=us"),
        (
            {"api": "v1", "bucket": None, "database": "d", "retention_policy": "r", "url": "http://h/x/"},
            "http://h/x/write?db=d&rp=r&precision=u",
        ),
        (
            {"api": "v3", "bucket": None, "database": "d"},
            "http://127.0.0.1:8086/api/v3/write_lp?db=d&accept_partial=true&precision=microsecond",
        ),
    ],
)
def test_addresses(settings: dict[str, Any], url: str) -> None:
    assert str(connection(**settings)._addresses["us"]) == url


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (400, b'{"error":"partial write: field type conflict dropped=1"}', Rejected, "field type conflict (400)"),
        (422, b'{"code":"invalid","message":"beyond retention"}', Rejected, "beyond retention (422)"),
        (413, b"too large", Rejected, "too large (413)"),
        (401, b'{"code":"unauthorized","message":"unauthorized access"}', Unavailable, "not authorized"),
        (404, b'{"code":"not found","message":"bucket \\"b\\" not found"}', Unavailable, "it is not there"),
        (429, b"", Throttled, "Too Many Requests (429)"),
        (503, b"busy", Throttled, "busy"),
        (500, b"oops", Unavailable, "oops"),
        (302, b"", Unavailable, "moved to http://h/elsewhere (302)"),
        (404, b"404 page not found", Unavailable, 'no /api/v2/write: is api = "v2" right? 404 page not found (404)'),
        (
            200,
            b"<html>Welcome",
            Unavailable,
            "whoever answers is no write API, which has 204 for this: <html>Welcome (200)",
        ),
    ],
)
def test_what_answers_mean(status: int, body: bytes, kind: type[Exception], text: str) -> None:
    error = connection()._problem(
        Answer(status, {"Retry-After": "7", "Location": "http://me:pw@h/elsewhere?token=x"}, body)
    )
    assert type(error) is kind
    assert text in str(error)
    if isinstance(error, Throttled):
        assert error.retry_after == 7_000_000_000


@pytest.mark.parametrize(
    "settings",
    [
        {"token": "hunter2"},
        {"user": "me", "password": "hunter2"},
        {"api": "v1", "bucket": None, "database": "d", "user": "me", "password": "hunter2"},
    ],
)
@pytest.mark.parametrize("body", ["no: {}", '{{"error":"no: {}"}}'])
def test_credentials_that_a_server_repeats_are_not_shown(settings: dict[str, Any], body: str) -> None:
    far = connection(**settings)
    authorization = far._headers["Authorization"]
    error = far._problem(Answer(403, {}, body.format(f"hunter2 {authorization}").encode()))
    scheme = authorization.partition(" ")[0]
    assert str(error).endswith(f"not authorized: no: *** {scheme} *** (403)")


def test_version_3_says_which_lines() -> None:
    body = b'{"error":"partial write","data":[{"line_number":2,"error_message":"invalid column type"}]}'
    error = connection()._problem(Answer(400, {}, body))
    assert isinstance(error, Rejected)
    assert error.rows == ((1, "invalid column type"),)


def test_a_sink_needs_its_connection() -> None:
    config = msgspec.convert({"measurement": "m"}, InfluxdbSink.Config)
    with pytest.raises(ConfigError, match="needs a connection of type 'influxdb'"):
        InfluxdbSink(config, SinkContext(name="out", base_dir=Path()))
