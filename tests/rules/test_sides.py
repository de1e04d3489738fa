"""``m.power``: it means a column of the source, and a field of it is called as the column is."""

from __future__ import annotations

import pytest

from core.errors import RuleError
from rules.compiler import CompiledRule, RuleSource, compile_rules
from rules.evaluate import EvalError, evaluate

SOURCES = """
CREATE SOURCE meter (station TEXT, power DOUBLE, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts) WITH (topic = 'm');
CREATE SOURCE alarm (station TEXT, text TEXT, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts) WITH (topic = 'a');
"""
BOTH = "FROM meter AS m JOIN alarm AS a ON a.station = m.station AND a.ts BETWEEN m.ts AND m.ts + INTERVAL '5 s'"


def rule(query: str) -> CompiledRule:
    return compile_rules([RuleSource("x.sql", f"{SOURCES}INSERT INTO s {query}")]).rules[0]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("SELECT m.station, m.power FROM meter AS m", ("station", "power")),
        ("SELECT meter.station, power FROM meter", ("station", "power")),
        (
            "SELECT m.station, max(m.power) AS p FROM TUMBLE(meter, ts, INTERVAL '1 s') m GROUP BY m.station",
            ("station", "p"),
        ),
        ("SELECT w.window_start, count(*) AS n FROM TUMBLE(meter, ts, INTERVAL '1 s') AS w", ("window_start", "n")),
        (
            "SELECT window_end, window_end, count(*) AS n FROM TUMBLE(meter, ts, INTERVAL '1 s') GROUP BY window_end",
            ("window_end", "n"),
        ),
        (f"SELECT m.station, a.text, a.station AS other {BOTH}", ("station", "text", "other")),
        ('SELECT m.topic, m.payload.x FROM "t" AS m', ("topic", "payload")),
    ],
)
def test_fields_are_called_as_the_columns_are(query: str, names: tuple[str, ...]) -> None:
    assert rule(query).schema.names == names


def test_a_field_of_the_same_name_does_not_hide_the_column() -> None:
    plan = rule("SELECT upper(m.station) AS station, m.station AS raw FROM meter AS m").explain()
    assert "station  TEXT  upper(station)\n" in plan
    assert "raw      TEXT  station\n" in plan


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("SELECT m.window_start FROM meter AS m", "unknown-column"),
        ("SELECT m.powr FROM meter AS m", "unknown-column"),
        ("SELECT m.ts.x FROM meter AS m", "wrong-type"),
    ],
)
def test_what_is_refused(query: str, code: str) -> None:
    with pytest.raises(RuleError) as caught:
        rule(query)
    assert code in {found.code for found in caught.value.diagnostics}


WINDOW = "FROM TUMBLE(meter, ts, INTERVAL '1 s') AS w"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (f"SELECT sum(ts - window_start) AS s {WINDOW}", "unknown-column"),
        (f"SELECT count(*) FILTER (WHERE ts > w.window_start) AS s {WINDOW}", "unknown-column"),
        (f"SELECT array_agg(power ORDER BY window_end) AS s {WINDOW}", "unknown-column"),
        (f"SELECT count(*) AS n {WINDOW} WHERE window_start < ts", "unknown-column"),
        (f"SELECT count(*) AS n {WINDOW} GROUP BY CAST(window_end AS BIGINT)", "unknown-column"),
        ("SELECT count(*) AS n FROM meter GROUP BY STATEWINDOW(window_start < ts)", "unknown-column"),
        (f"SELECT count(*) AS n {WINDOW} WHERE count(*) > 1", "nested-aggregate"),
        (f"SELECT count(*) AS n {WINDOW} WHERE n > 1", "nested-aggregate"),
        (f"SELECT count(*) AS n, max(n) AS m {WINDOW}", "nested-aggregate"),
        (f"SELECT count(*) + 1 AS n {WINDOW} GROUP BY n * 2", "nested-aggregate"),
        (
            "SELECT count(*) AS n FROM meter GROUP BY SLIDINGWINDOW(ss, 5) OVER (WHEN max(power) > 1)",
            "nested-aggregate",
        ),
    ],
)
def test_rows_do_not_know_what_becomes_of_their_window(query: str, code: str) -> None:
    with pytest.raises(RuleError) as caught:
        rule(query)
    assert [found.code for found in caught.value.diagnostics] == [code]
    assert caught.value.diagnostics[0].line == 4


@pytest.mark.parametrize(
    "query",
    [
        "SELECT avg(power) AS p FROM TUMBLE(meter, ts, INTERVAL '1 minute')",
        "SELECT qos FROM t AS a JOIN u ON u.x = a.x",
        "SELECT qos FROM t JOIN TUMBLE(u, INTERVAL '1 minute') AS w ON true",
        "SELECT count(*) AS n FROM t GROUP BY TUMBLINGWINDOW(ss, 10)",
    ],
)
def test_eval_has_one_message(query: str) -> None:
    with pytest.raises(EvalError, match="eval gives one message"):
        evaluate(query, {"topic": "t", "payload": "{}"})
