"""Declared sources: where columns come from, what becomes of values of another type, the topic, the watermark."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import Any

import pytest

from core.errors import RuleError
from core.matching import MatchCache
from core.message import MISSING, Message, Publisher, Schema, Type
from core.metrics import Metrics
from rules.compiler import CompiledRule, RuleSet, RuleSource, compile_rules
from rules.declared import declare_source
from rules.declared_options import HOUR, SOURCE, SourceOptions
from rules.diagnostics import Problems, Source
from rules.functions import builtin_functions
from rules.loaded import RuleFailure
from rules.nodes import CreateSource
from rules.runtime import Engine
from rules.statements import parse
from rules.tree import Query
from rules.windows.plan import EventTime

# ruff: noqa: S608 - SQL from strings is what is tested here

DEVICE = Publisher("dev-1", username="u")
SECOND = 1_000_000


def compiled(sql: str) -> RuleSet:
    return compile_rules([RuleSource("rules/r.sql", sql)])


def first_error(sql: str) -> str:
    with pytest.raises(RuleError) as caught:
        compiled(sql)
    return str(caught.value)


class Bench:
    """An engine with one source ``s`` whose rows go to a sink as they are."""

    def __init__(self, columns: str, options: str = "topic = 't/#'") -> None:
        self.failures: list[tuple[str, str, str]] = []
        self.engine = Engine(Metrics(), on_error=self._failed)
        rules = compiled(f"CREATE SOURCE s ({columns}) WITH ({options}); INSERT INTO out SELECT * FROM s")
        self.engine.load(rules)
        self.matches = MatchCache(lambda _topic: (), self.engine.rules_for)
        [self.source] = rules.relations
        [self.rule] = rules.rules

    def _failed(self, rule: str, _message: Message, failure: RuleFailure) -> None:
        self.failures.append((rule, failure.code, str(failure)))

    def send(self, *payloads: Any, topic: str = "t/1", **rest: Any) -> list[tuple[Any, ...]]:
        messages = [
            Message(
                topic,
                payload if isinstance(payload, bytes) else json.dumps(payload).encode(),
                publisher=DEVICE,
                match=self.matches.look_up(topic),
                **rest,
            )
            for payload in payloads
        ]
        return [row for batch in self.engine.process(messages, 0) for row in batch.rows]


def one(kind: str, value: Any, options: str = "") -> Any:
    """What a column of a type makes of a value; the text of the failure where it makes nothing of it."""
    bench = Bench(f"x {kind}", f"topic = 't/#'{options}")
    rows = bench.send({"x": value})
    if not rows:
        [(rule, code, text)] = bench.failures
        assert (rule, code) == ("s", "bad_column")
        return text
    [[found]] = rows
    return found


# Columns and their types


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("DOUBLE", 1.5, 1.5),
        ("DOUBLE", 2, 2.0),
        ("DOUBLE", " 2.5 ", 2.5),
        ("DOUBLE", "1e3", 1000.0),
        ("BIGINT", 7, 7),
        ("BIGINT", 7.0, 7),
        ("BIGINT", "7", 7),
        ("BIGINT", 2**70, 2**70),
        ("BOOLEAN", True, True),
        ("BOOLEAN", 0, False),
        ("BOOLEAN", "yes", True),
        ("TEXT", "a", "a"),
        ("TEXT", 7, "7"),
        ("TEXT", 1.5, "1.5"),
        ("TEXT", True, "true"),
        ("TEXT", {"a": [1]}, '{"a":[1]}'),
        ("BYTES", "ab", b"ab"),
        ("OBJECT", {"a": 1}, {"a": 1}),
        ("OBJECT", '{"a": 1}', {"a": 1}),
        ("ARRAY", [1, "a"], [1, "a"]),
        ("INTERVAL", "90 seconds", 90 * SECOND),
    ],
)
def test_a_value_becomes_one_of_the_columns_type(kind: str, given: Any, expected: Any) -> None:
    found = one(kind, given)
    assert (found, type(found)) == (expected, type(expected))


def test_decimals_keep_their_digits() -> None:
    assert str(one("DECIMAL", 0.1)) == "0.1"
    assert str(one("DECIMAL(8, 2)", "12.345")) == "12.35"
    assert one("DECIMAL(4, 2)", 123) == "column 'x': an integer (123) is no DECIMAL(4, 2)"


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("DOUBLE", "a"),
        ("DOUBLE", True),
        ("DOUBLE", 10**400),
        ("DOUBLE", [1]),
        ("BIGINT", 7.5),
        ("BIGINT", "7.5"),
        ("BIGINT", {}),
        ("BOOLEAN", "maybe"),
        ("BOOLEAN", 0.5),
        ("OBJECT", [1]),
        ("OBJECT", "{"),
        ("ARRAY", {"a": 1}),
        ("TIMESTAMP", True),
        ("TIMESTAMP", "yesterday"),
        ("TIMESTAMP", 10**17),
        ("TIMESTAMP", -(10**17)),
        ("TIMESTAMP", 1e300),
        ("TIMESTAMP", []),
        ("INTERVAL", 90),
        ("INTERVAL", "1 month"),
    ],
)
def test_what_is_no_value_of_the_type_fails_with_the_columns_name(kind: str, given: Any) -> None:
    found = one(kind, given)
    assert found.startswith("column 'x': ")
    assert found.endswith(f" is no {kind}")


@pytest.mark.parametrize(
    ("unit", "given", "expected"),
    [
        ("s", 1_700_000_000, 1_700_000_000 * SECOND),
        ("s", 1_700_000_000.25, 1_700_000_000 * SECOND + 250_000),
        ("ms", 1_700_000_000_123, 1_700_000_000_123_000),
        ("us", 1_700_000_000_123_456, 1_700_000_000_123_456),
        ("ns", 1_700_000_000_123_456_789, 1_700_000_000_123_456),
        ("s", "2023-11-14T22:13:20.5Z", 1_700_000_000 * SECOND + 500_000),
        ("ns", "2023-11-15T06:13:20+08:00", 1_700_000_000 * SECOND),
        ("s", -1, -SECOND),
        ("s", 0, 0),
    ],
)
def test_a_number_is_a_time_in_the_sources_unit_and_a_text_is_rfc_3339(unit: str, given: Any, expected: int) -> None:
    assert one("TIMESTAMP", given, f", timestamp_unit = '{unit}'") == expected


def test_times_are_milliseconds_where_nothing_is_said() -> None:
    assert one("TIMESTAMP", 1) == 1_000


def test_null_and_missing_stay_what_they_are() -> None:
    bench = Bench("a DOUBLE, b TEXT, c TIMESTAMP, d DECIMAL, e OBJECT")
    assert bench.send({"a": None, "b": None, "c": None, "d": None, "e": None}) == [(None,) * 5]
    assert bench.send({}) == [(MISSING,) * 5]
    assert not bench.failures


@pytest.mark.parametrize("kind", ["DOUBLE", "TEXT", "TIMESTAMP", "DECIMAL", "OBJECT", "BIGINT", "BOOLEAN"])
def test_not_null_refuses_null_and_missing(kind: str) -> None:
    bench = Bench(f"x {kind} NOT NULL")
    assert bench.send({"x": None}, {}) == []
    assert [text for _, _, text in bench.failures] == [
        "column 'x' is NOT NULL, and here it is null",
        "column 'x' is NOT NULL, and here it is missing",
    ]


def test_a_bad_message_blocks_no_good_one() -> None:
    bench = Bench("x DOUBLE NOT NULL")
    assert bench.send({"x": 1.0}, {"x": "a"}, {"x": 2}) == [(1.0,), (2.0,)]
    assert [text for _, _, text in bench.failures] == ["column 'x': a string ('a') is no DOUBLE"]


@pytest.mark.parametrize("payload", [b"[1, 2]", b"7", b"null", b'"a"', b"", b"{"])
def test_a_payload_that_is_no_object_is_a_failure_and_no_row_of_nothing(payload: bytes) -> None:
    bench = Bench("x DOUBLE")
    assert bench.send(payload) == []
    [(rule, _, text)] = bench.failures
    assert rule == "s"
    assert "the payload" in text


def test_a_source_without_fields_reads_no_payload() -> None:
    bench = Bench("station TEXT", "topic = 'cp/{station}/#'")
    assert bench.send(b"\xff", topic="cp/A/x") == [("A",)]


def test_a_source_knows_its_schema() -> None:
    bench = Bench("a DOUBLE NOT NULL, b TIMESTAMP")
    assert bench.rule.schema == Schema(("a", "b"), (Type.DOUBLE, Type.TIMESTAMP))


def test_types_are_known_to_the_queries_over_it() -> None:
    text = (
        "CREATE SOURCE s (power DOUBLE, ts TIMESTAMP) WITH (topic = 't'); INSERT INTO out SELECT 1 AS n FROM s WHERE "
    )
    assert "wrong-type" in first_error(text + "power > 'abc'")
    assert "error[" in first_error(text + "ts > 5")
    assert "not-boolean" in first_error(text + "power")
    assert "unknown-column" in first_error(text + "pwoer > 1")


def test_what_has_its_type_is_taken_inline() -> None:
    bench = Bench("a DOUBLE, b TEXT, c TIMESTAMP")
    code = bench.source.source_code
    assert re.search(r"\((v\d+) if type\(\1\) is float else float\(\1\) if type\(\1\) is int and ", code)
    assert re.search(r"\((v\d+) if type\(\1\) is str else k", code)
    assert re.search(r"\((v\d+) \* 1000 if type\(\1\) is int and ", code)


# The topic


def test_levels_of_the_topic_are_columns() -> None:
    bench = Bench("station TEXT, connector BIGINT, x DOUBLE", "topic = 'cp/{station}/{connector}/+/meter'")
    assert bench.source.filters == ("cp/+/+/+/meter",)
    assert bench.send({"x": 1.0, "station": "B"}, topic="cp/A/2/v1/meter") == [("A", 2, 1.0)]
    assert bench.source.source_code.count('.split("/")') == 1
    assert bench.send({"x": 1.0}, topic="cp/A/two/v1/meter") == []
    assert bench.failures == [("s", "bad_column", "column 'connector': a string ('two') is no BIGINT")]


def test_several_templates_bind_the_same_levels() -> None:
    bench = Bench("station TEXT", "topic = ['cp/{station}/meter', 'cp/{station}/#']")
    assert bench.source.filters == ("cp/+/meter", "cp/+/#")
    assert bench.send({}, topic="cp/A") == [("A",)]
    assert bench.send({}, topic="cp/B/meter") == [("B",)]


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        ("'cp/{stat}/meter'", "there is no column 'stat'"),
        ("'cp/{x}/{x}'", "'x' is bound to two levels"),
        ("'cp/a{x}'", "'a{x}' is no level of a topic"),
        ("'cp/{x'", "'{x' is no level of a topic"),
        ("'cp/{}'", "'{}' is no level of a topic"),
        ("'cp/#/{x}'", "'#'"),
        ("''", "a topic filter must have at least one character"),
        ("['cp/{x}', '{x}/cp']", "the templates bind columns to different levels of the topic"),
        ("['cp/{x}', 'cp/+']", "the templates bind columns to different levels of the topic"),
        ("7", "the option 'topic' is a text or a list of texts"),
        ("['a', 7]", "the option 'topic' is a text or a list of texts"),
        ("'$events/client/connected'", "is an event"),
        ("'$bridges/mqtt:a'", "is EMQX's name of a source"),
    ],
)
def test_templates_that_cannot_be(topic: str, message: str) -> None:
    text = first_error(f"CREATE SOURCE s (x TEXT) WITH (topic = {topic}); INSERT INTO out SELECT * FROM s")
    assert message in text
    assert text.count("error[") == 1


# The message's own columns


def test_columns_of_the_message() -> None:
    columns = "clientid TEXT NOT NULL, qos BIGINT, topic TEXT, timestamp TIMESTAMP NOT NULL, username TEXT"
    bench = Bench(columns, "topic = 't/#', metadata = ['clientid', 'qos', 'timestamp'], timestamp_unit = 's'")
    payload = {"clientid": "other", "qos": 9, "topic": "of the payload", "timestamp": 5}
    assert bench.send(payload, qos=1, received_ns=1_700_000_000_123_456_789) == [
        ("dev-1", 1, "of the payload", 1_700_000_000_123_000, MISSING)
    ]


def test_the_time_of_arrival_may_be_the_event_time() -> None:
    columns = "timestamp TIMESTAMP NOT NULL, WATERMARK FOR timestamp AS timestamp"
    bench = Bench(columns, "topic = 't/#', metadata = 'timestamp'")
    assert bench.send({}, received_ns=1_700_000_000_123_456_789) == [(1_700_000_000_123_000,)]


def test_a_view_gives_nested_fields_names_and_types() -> None:
    source = "CREATE SOURCE s (data OBJECT) WITH (topic = 't');"
    view = "CREATE VIEW v AS SELECT *, CAST(data.power AS DOUBLE) AS power FROM s;"
    assert "wrong-type" in first_error(f"{source}{view}INSERT INTO out SELECT 1 AS n FROM v WHERE power > 'a'")
    assert compiled(f"{source}{view}INSERT INTO out SELECT power FROM v").rules


# The watermark


def declared(sql: str) -> tuple[Query, tuple[str, EventTime] | None]:
    problems = Problems(Source("r.sql", sql))
    [statement] = parse(problems)
    assert isinstance(statement.tree, CreateSource)
    source = declare_source(statement.tree, builtin_functions(), problems)
    assert source is not None, problems.found[0].render()
    return source.query, source.time


@pytest.mark.parametrize(
    ("watermark", "options", "expected"),
    [
        ("ts", "", EventTime(0, None, 0, HOUR)),
        ("ts - INTERVAL '10 seconds'", "", EventTime(10 * SECOND, None, 0, HOUR)),
        ("(ts - INTERVAL '0 seconds')", "", EventTime(0, None, 0, HOUR)),
        ("ts - INTERVAL '5' SECOND", ", idle_timeout = '30 seconds'", EventTime(5 * SECOND, 30 * SECOND, 0, HOUR)),
        ("ts - INTERVAL '2s'", ", max_ahead = '1 day'", EventTime(2 * SECOND, None, 0, 24 * HOUR)),
        ("ts", ", max_ahead = 'none'", EventTime(0, None, 0, None)),
    ],
)
def test_the_watermark(watermark: str, options: str, expected: EventTime) -> None:
    sql = f"CREATE SOURCE s (ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS {watermark}) WITH (topic = 't'{options})"
    assert declared(sql)[1] == ("ts", expected)


def test_a_source_without_watermark_has_no_time() -> None:
    assert declared("CREATE SOURCE s (ts TIMESTAMP NOT NULL) WITH (topic = 't')")[1] is None


@pytest.mark.parametrize(
    "watermark",
    [
        "FOR ts AS ts - x",
        "FOR ts AS ts + INTERVAL '10 seconds'",
        "FOR ts AS ts - INTERVAL '-10 seconds'",
        "FOR ts AS ts - INTERVAL '1 month'",
        "FOR ts AS ts - 10",
        "FOR ts AS other",
        "FOR ts AS other - INTERVAL '1 second'",
        "FOR ts AS now()",
        "FOR tss AS tss",
        "FOR x AS x",
        "FOR other AS other",
    ],
)
def test_watermarks_that_cannot_be(watermark: str) -> None:
    columns = f"ts TIMESTAMP NOT NULL, other TIMESTAMP, x DOUBLE, WATERMARK {watermark}"
    text = first_error(f"CREATE SOURCE s ({columns}) WITH (topic = 't'); INSERT INTO out SELECT * FROM s")
    assert text.count("error[") == 1
    assert "help: " in text


# Arrays


def test_a_field_that_is_an_array_gives_a_row_for_each_element() -> None:
    columns = "station TEXT, meter TEXT, power DOUBLE NOT NULL, clientid TEXT"
    bench = Bench(columns, "topic = 'cp/{station}', unnest = 'samples', metadata = 'clientid'")
    payload = {"meter": "m1", "station": "x", "samples": [{"power": 1}, {"power": 2.5, "meter": "m2"}]}
    assert bench.send(payload, topic="cp/A") == [("A", "m1", 1.0, "dev-1"), ("A", "m2", 2.5, "dev-1")]
    assert bench.send({"samples": []}, topic="cp/A") == []
    assert not bench.failures


def test_a_payload_that_is_an_array_gives_a_row_for_each_element() -> None:
    bench = Bench("power DOUBLE NOT NULL, note TEXT", "topic = 't/#', unnest = true")
    assert bench.send([{"power": 1}, {"power": 2, "note": "x"}], []) == [(1.0, MISSING), (2.0, "x")]
    assert not bench.failures


@pytest.mark.parametrize(
    ("unnest", "payload", "reason"),
    [
        ("true", {"power": 1}, "column 'payload': a map ({}) is no ARRAY"),
        ("true", [{"power": 1}, 7], "column 'payload[]': an integer (7) is no OBJECT"),
        ("true", [{"power": 1}, {}], "column 'power' is NOT NULL, and here it is missing"),
        ("'samples'", {"power": 1}, "column 'samples' is NOT NULL, and here it is missing"),
        ("'samples'", {"samples": {"power": 1}}, "column 'samples': "),
        ("'samples'", {"samples": [{"power": 1}, {"power": "a"}]}, "column 'power': a string ('a') is no DOUBLE"),
        ("'samples'", [{"power": 1}], "the payload is no JSON object but "),
    ],
)
def test_a_message_with_a_bad_element_gives_no_rows(unnest: str, payload: Any, reason: str) -> None:
    bench = Bench("power DOUBLE NOT NULL", f"topic = 't/#', unnest = {unnest}")
    assert bench.send(payload, [{"power": 5}] if unnest == "true" else {"samples": [{"power": 5}]}) == [(5.0,)]
    [(_, _, text)] = bench.failures
    assert reason.partition("(")[0] in text


# Options


def test_every_option_has_its_field() -> None:
    assert [field.name for field in fields(SourceOptions)] == list(SOURCE)


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ("topc = 't'", "there is no option 'topc'", "did you mean"),
        ("topic = 't', topic = 'u'", "the option 'topic' is there twice", ""),
        ("topic = 't', codec = 'avro'", "the option 'codec' is one of 'json'", ""),
        ("topic = 't', timestamp_unit = 'm'", "the option 'timestamp_unit' is one of 's', 'ms', 'us', 'ns'", ""),
        ("topic = 't', idle_timeout = 30", "the option 'idle_timeout' is a length of time", ""),
        ("topic = 't', idle_timeout = '0s'", "the option 'idle_timeout' is longer than nothing", ""),
        ("topic = 't', idle_timeout = '30s'", "idle_timeout is about the watermark", "WATERMARK FOR"),
        ("topic = 't', max_ahead = '30s'", "max_ahead is about the watermark", "WATERMARK FOR"),
        ("topic = 't', unnest = ''", "the option 'unnest' is the name of a field", ""),
        ("topic = 't', metadata = 'clientd'", "messages have no column 'clientd'", "did you mean"),
        ("topic = 't', metadata = 'clientid'", "'clientid' is not among the columns", "clientid TEXT"),
        ("topic = '{x}', metadata = 'x'", "messages have no column 'x'", ""),
        ("codec = 'json'", "a source reads a topic", "WITH (topic"),
    ],
)
def test_options_that_cannot_be(options: str, message: str, hint: str) -> None:
    text = first_error(f"CREATE SOURCE s (x TEXT) WITH ({options}); INSERT INTO out SELECT * FROM s")
    assert message in text
    assert hint in text


def test_plans_show_the_source() -> None:
    rule: CompiledRule = Bench("x DOUBLE").source
    assert rule.kind == "source"
    assert rule.explain()
