"""The influxdb sink against InfluxDB 1.8 (both of its APIs) and VictoriaMetrics."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from connections.base import ConnectionContext
from connections.influxdb import InfluxdbConfig, InfluxdbConnection
from core.clock import SystemClock
from core.errors import Rejected, Throttled, Unavailable
from core.message import MISSING, Batch, Row, Schema, Type
from core.metrics import Metrics
from core.settings import decode_hook
from headrace.testing import VALUES, SinkContract
from sinks.base import Sink, SinkContext
from sinks.delivery import Delivery
from sinks.encoding import rfc3339
from sinks.influxdb.sink import InfluxdbSink
from sinks.settings import DeliverySettings
from tests.connections.test_http_client import serving
from tests.servers import Influxdb, Proxy, VictoriaMetrics

pytestmark = pytest.mark.integration

READING = Schema(("station", "power", "at"), (Type.TEXT, Type.DOUBLE, Type.TIMESTAMP))
START = 1_767_225_600_000_000
_numbers = itertools.count()


def make(url: str, connection: dict[str, Any] | None = None, **table: Any) -> InfluxdbSink:
    where = {"url": url, "bucket": "ci/autogen", **(connection or {})}
    config = msgspec.convert({k: v for k, v in where.items() if v is not None}, InfluxdbConfig, dec_hook=decode_hook)
    shared = InfluxdbConnection(config, ConnectionContext(name="tsdb", base_dir=Path()))
    settings = {"measurement": "m", "tags": ["station"], "time": "at", **table}
    sink = msgspec.convert({k: v for k, v in settings.items() if v is not None}, InfluxdbSink.Config)
    return InfluxdbSink(sink, SinkContext(name="out", base_dir=Path(), connection=shared))


def batch(*rows: Row, schema: Schema = READING) -> Batch:
    return Batch("out", "rule", schema, list(rows))


def readings(count: int) -> list[Row]:
    return [(f"CP-{number % 7}", float(number), START + number * 1_000) for number in range(count)]


async def write(sink: Sink, *batches: Batch) -> None:
    try:
        await sink.open()
        for each in batches:
            await sink.write(each)
    finally:
        await sink.close()


@pytest.fixture
def name() -> str:
    return f"m{next(_numbers)}"


# -- the contract ----------------------------------------------------------------------


class TestInfluxdb(SinkContract):
    @pytest.fixture(autouse=True)
    def destination(self, influxdb: Influxdb) -> None:
        self.server = influxdb
        self.measurement = f"contract{next(_numbers)}"

    def make_sink(self, context: SinkContext) -> Sink:
        return make(self.server.url, measurement=self.measurement, tags=[], time=None)

    async def read_back(self) -> Sequence[dict[str, Any]]:
        found = self.server.query(f'SELECT * FROM "{self.measurement}"')  # noqa: S608 - our own name
        kinds = {
            row["fieldKey"]: row["fieldType"] for row in self.server.query(f'SHOW FIELD KEYS FROM "{self.measurement}"')
        }
        # JSON has one kind of number.
        return [
            {
                name: float(value) if kinds[name] == "float" and value is not None else value
                for name, value in row.items()
                if name != "time"
            }
            for row in found
        ]

    def values(self, kind: Type) -> Sequence[Any]:
        return (2.5,) if kind is Type.ANY else VALUES[kind]

    def arrives_as(self, kind: Type, value: Any) -> Any:
        if value is None or value is MISSING:
            return None
        if kind is Type.TIMESTAMP:
            return rfc3339(value)
        if kind is Type.DECIMAL:
            return float(value)
        if kind is Type.BYTES:
            return f"\\x{value.hex()}" if b"\xff" in value else value.decode()
        if kind in (Type.ARRAY, Type.OBJECT):
            return msgspec.json.encode(value).decode()
        return value

    def bad_row(self, identity: int) -> Row:
        return (identity, "\ud800", 1.0)


# -- what arrives ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "connection",
    [{}, {"gzip": True}, {"api": "v1", "bucket": None, "database": "ci", "retention_policy": "autogen"}],
)
async def test_points_arrive_through_both_apis(influxdb: Influxdb, name: str, connection: dict[str, Any]) -> None:
    rows = [("a,b =c", 1.5, START), ("d\\e", 2.0, START + 1)]
    await write(make(influxdb.url, connection, measurement=f"{name} ,x"), batch(*rows))
    found = influxdb.query(f'SELECT station, power FROM "{name} ,x"')  # noqa: S608
    assert found == [
        {"time": START * 1_000, "station": "a,b =c", "power": 1.5},
        {"time": START * 1_000 + 1_000, "station": "d\\e", "power": 2.0},
    ]


async def test_text_survives_whatever_is_in_it(influxdb: Influxdb, name: str) -> None:
    texts = ["plain", "", 'a "quote"', "back\\slash\\", "line\nbreak", "a,b=c d", "ünïcödé 🚗", "#x", "\\n", '\\"']
    schema = Schema(("number", "text", "at"), (Type.BIGINT, Type.TEXT, Type.TIMESTAMP))
    rows = [(number, text, START + number) for number, text in enumerate(texts)]
    await write(make(influxdb.url, measurement=name, tags=[]), batch(*rows, schema=schema))
    assert [row["text"] for row in influxdb.query(f'SELECT text FROM "{name}"')] == texts  # noqa: S608


async def test_tags_survive_whatever_is_in_them(influxdb: Influxdb, name: str) -> None:
    texts = ["plain", "a,b", "a=b", "a b", "a\\b", "a\\,b", "\\", "ü", '"', "a\\ b", "a\\=b"]
    rows = [(text, 1.0, START + number) for number, text in enumerate(texts)]
    with pytest.raises(Rejected, match="cannot end in a backslash"):
        await write(make(influxdb.url, measurement=name), batch(*rows))
    found = influxdb.query(f'SELECT station, power FROM "{name}"')  # noqa: S608
    assert [row["station"] for row in found] == [text for text in texts if text != "\\"]


async def test_write_syntax(influxdb: Influxdb, name: str) -> None:
    text = name + ',station=${station} power=${power},n=${power}i,t="x y" ${at}'
    sink = make(influxdb.url, measurement=None, tags=None, time=None, write_syntax=text, precision="us")
    await write(sink, batch(("a", 2.0, START)))
    found = influxdb.query(f'SELECT * FROM "{name}"')  # noqa: S608
    assert found == [{"time": START * 1_000, "station": "a", "power": 2.0, "n": 2, "t": "x y"}]


async def test_victoriametrics(victoriametrics: VictoriaMetrics, name: str) -> None:
    for connection in ({}, {"api": "v1", "bucket": None, "database": "ci"}, {"gzip": True}):
        await write(make(victoriametrics.url, connection, measurement=name), batch(*readings(100)))
    series = victoriametrics.export(f'{{__name__="{name}_power"}}')
    by_station: dict[str, set[float]] = {}
    for each in series:
        metric: Any = each["metric"]
        values: Any = each["values"]
        by_station.setdefault(metric["station"], set()).update(values)
    assert by_station == {f"CP-{n}": {float(number) for number in range(100) if number % 7 == n} for n in range(7)}


# -- what is refused ----------------------------------------------------------------------


async def deliver(
    sink: Sink, rows: Sequence[Row], disturb: Callable[[int], None] = lambda _: None, schema: Schema = READING
) -> list[tuple[Row, str]]:
    """Send rows through a delivery in batches; the rows that were refused, with the reasons."""
    dead: list[tuple[Row, str]] = []
    table = {"batch": {"max_rows": 50}, "retry": {"attempt_timeout": "2s", "max_delay": "300ms"}}
    delivery = Delivery(
        "out",
        sink,
        msgspec.convert(table, DeliverySettings, dec_hook=decode_hook),
        clock=SystemClock(),
        metrics=Metrics(),
        on_room=lambda: None,
        on_dead=lambda batch, rejected: dead.extend((batch.rows[index], reason) for index, reason in rejected),
    )
    await delivery.start()
    try:
        for number, start in enumerate(range(0, len(rows), 50)):
            await asyncio.to_thread(disturb, number)
            assert delivery.offer(batch(*rows[start : start + 50], schema=schema))
            await asyncio.sleep(0.01)
        async with asyncio.timeout(120):
            await delivery.drain()
    finally:
        await delivery.close()
    return dead


async def test_a_bad_line_never_takes_others_with_it(influxdb: Influxdb, name: str) -> None:
    schema = Schema(READING.names, (Type.TEXT, Type.ANY, Type.TIMESTAMP))
    rows: list[Row] = list(readings(200))
    rows[77] = ("CP-0", "text where numbers are", START + 77_000)
    rows[120] = ("CP-\\", 120.0, START + 120_000)
    dead = await deliver(make(influxdb.url, measurement=name), rows, schema=schema)
    assert [row for row, _ in sorted(dead, key=lambda each: each[0][2])] == [rows[77], rows[120]]
    assert any("field type conflict" in reason for _, reason in dead)
    found = influxdb.query(f'SELECT power FROM "{name}"')  # noqa: S608
    assert [row["power"] for row in found] == [float(n) for n in range(200) if n not in (77, 120)]


@pytest.mark.parametrize("syntax", [None, "{name},station=${{station}} power=${{power}}\n{name} other=1i"])
async def test_points_without_a_time_keep_theirs_while_bad_lines_are_sought(
    influxdb: Influxdb, name: str, syntax: str | None
) -> None:
    schema = Schema(READING.names, (Type.TEXT, Type.ANY, Type.TIMESTAMP))
    rows: list[Row] = list(readings(50))
    rows[0], rows[20], rows[33] = ("CP-0", 7.5, START), ("CP-\\", 1.0, START), ("CP-0", "text", START)
    table: dict[str, Any] = {"measurement": name, "fields": ["power"], "time": None}
    if syntax is not None:
        table = {"measurement": None, "tags": None, "time": None, "write_syntax": syntax.format(name=name)}
    dead = await deliver(make(influxdb.url, **table), rows, schema=schema)
    assert sorted(row[0] for row, _ in dead) == ["CP-0", "CP-\\"]
    found = influxdb.query(f'SELECT power FROM "{name}"')  # noqa: S608
    assert sorted(row["power"] for row in found) == sorted(row[1] for row in rows if row not in (rows[20], rows[33]))


async def test_rows_that_are_one_object_are_points_of_their_own(influxdb: Influxdb, name: str) -> None:
    schema = Schema(("power",), (Type.ANY,))
    row: Row = (1.0,)
    dead = await deliver(
        make(influxdb.url, measurement=name, tags=[], time=None), [row] * 30 + [("text",)] + [row] * 19, schema=schema
    )
    assert [row for row, _ in dead] == [("text",)]
    assert len(influxdb.query(f'SELECT power FROM "{name}"')) == 49  # noqa: S608


async def test_points_that_the_retention_policy_has_left_behind(influxdb: Influxdb, name: str) -> None:
    influxdb.query(f'CREATE RETENTION POLICY "{name}" ON ci DURATION 1h REPLICATION 1')
    sink = make(influxdb.url, {"bucket": f"ci/{name}"}, measurement=name)
    with pytest.raises(Rejected, match="retention policy"):
        await write(sink, batch(*readings(1)))


@pytest.mark.parametrize(
    "connection",
    [{"bucket": "nowhere"}, {"bucket": "ci/nowhere"}, {"api": "v1", "bucket": None, "database": "nowhere"}],
)
async def test_a_missing_bucket_is_told_of(influxdb: Influxdb, connection: dict[str, Any]) -> None:
    with pytest.raises(Unavailable, match=r"nowhere.*not found"):
        await write(make(influxdb.url, connection), batch(*readings(1)))


async def test_logging_in(own_server: Callable[..., Influxdb]) -> None:
    server = own_server(Influxdb, auth=True)
    v1 = {"api": "v1", "bucket": None, "database": "ci"}
    for good in ({"user": "ci", "password": "ci-secret"}, {"token": "ci:ci-secret"}):
        await write(make(server.url, good), batch(*readings(1)))
    await write(make(server.url, {**v1, "user": "ci", "password": "ci-secret"}), batch(*readings(1)))
    for bad in ({"token": "ci:wrong-one"}, {**v1, "user": "ci", "password": "wrong-one"}, {}):
        sink = make(server.url, bad)
        with pytest.raises(Unavailable, match="not authorized") as caught:
            await write(sink, batch(*readings(1)))
        assert "wrong-one" not in str(caught.value)
        assert sink.context.connection is not None
        with pytest.raises(Unavailable, match="not authorized"):
            await sink.context.connection.check()


async def test_check_tells_of_the_server(influxdb: Influxdb) -> None:
    connection = make(influxdb.url).context.connection
    assert connection is not None
    assert re.fullmatch(rf"InfluxDB \S+ at {influxdb.url}/? bucket ci/autogen", await connection.check())


async def test_a_server_that_asks_for_patience_is_given_it() -> None:
    async def busy(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.Response(status=204)
        return web.Response(status=429 if await request.read() else 204, headers={"Retry-After": "7"}, text="too much")

    async with serving(busy) as url:
        with pytest.raises(Throttled, match="too much") as caught:
            await write(make(str(url)), batch(*readings(1)))
    assert caught.value.retry_after == 7_000_000_000


# -- a server that comes and goes ----------------------------------------------------------------------


async def test_nothing_is_lost_or_doubled_while_the_server_comes_and_goes(
    own_server: Callable[..., Influxdb], name: str
) -> None:
    server = own_server(Influxdb)
    steps = {8: server.kill, 12: server.start, 20: server.pause, 24: server.resume, 30: server.stop, 34: server.start}
    rows = readings(2_000)
    assert await deliver(make(server.url, measurement=name), rows, lambda number: steps.get(number, bool)()) == []
    found = server.query(f'SELECT power FROM "{name}"')  # noqa: S608
    assert [row["power"] for row in found] == [row[1] for row in rows]


async def test_connections_that_are_cut_lose_and_double_nothing(influxdb: Influxdb, name: str) -> None:
    rows = readings(1_000)
    with Proxy(influxdb.port) as proxy:
        sink = make(f"http://127.0.0.1:{proxy.port}", measurement=name)
        assert await deliver(sink, rows, lambda _: proxy.cut()) == []
    found = influxdb.query(f'SELECT power FROM "{name}"')  # noqa: S608
    assert [row["power"] for row in found] == [row[1] for row in rows]
