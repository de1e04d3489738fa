"""Joins from their SQL to the rows of sinks: streams with streams, and what an engine does with them over time."""

# ruff: noqa: S608  the SQL is ours

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from core.clock import SECOND
from core.message import Batch, Message
from core.metrics import Metrics, Sample
from rules.compiler import RuleSet, RuleSource, compile_rules
from rules.flow_joins import LoadedJoin
from rules.joins.stream import Bounds
from rules.runtime import Engine

SOURCES = """
CREATE SOURCE meter (station TEXT, power DOUBLE, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '10 seconds')
WITH (topic = 'cp/{station}/meter', idle_timeout = '30 seconds');
CREATE SOURCE alarm (station TEXT, code TEXT, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '10 seconds')
WITH (topic = 'cp/{station}/alarm', idle_timeout = '30 seconds');
CREATE TABLE stations (station TEXT, site TEXT) WITH (file = 'stations.csv', key = 'station');
"""
NEAR = "a.station = m.station AND a.ts BETWEEN m.ts - INTERVAL '5 seconds' AND m.ts + INTERVAL '5 seconds'"
START = 1_000_000 * SECOND


def compiled(sql: str) -> RuleSet:
    return compile_rules([RuleSource("a.sql", SOURCES + sql)])


class Bench:
    """An engine; times are seconds since START, those of devices too."""

    def __init__(self, sql: str) -> None:
        self.failed: list[str] = []
        self.late: list[tuple[str, dict[str, Any], str]] = []
        self.metrics = Metrics()
        self.engine = Engine(
            self.metrics,
            on_error=lambda rule, message, error: self.failed.append(f"{rule}: {error}"),
            on_late=lambda rule, message, reason: self.late.append((rule, dict(message.columns or {}), reason)),
        )
        self.now = 0.0
        self.load(sql)

    def load(self, sql: str) -> list[Any]:
        return self.rows(self.engine.load(compiled(sql), now=self.time))

    @property
    def time(self) -> int:
        return START + int(self.now * SECOND)

    def send(self, kind: str, station: str, ts: float, **values: Any) -> list[Any]:
        payload = json.dumps({**values, "ts": int((START / SECOND + ts) * 1_000)}).encode()
        message = Message(f"cp/{station}/{kind}", payload, received_ns=self.time)
        return self.rows(self.engine.process([message], self.time))

    def wait(self, until: float) -> list[Any]:
        rows: list[Any] = []
        while (due := self.engine.next_deadline) is not None and due <= START + until * SECOND:
            self.now = max(self.now, (due - START) / SECOND)
            rows += self.rows(self.engine.advance(self.time))
        self.now = until
        return rows

    @staticmethod
    def rows(batches: list[Batch]) -> list[Any]:
        return [row if len(row) > 1 else row[0] for batch in batches for row in batch.rows]

    def joins(self) -> Iterator[LoadedJoin]:
        return iter(self.engine._snapshot.joins)

    def metric(self, name: str) -> dict[str, Any]:
        return {sample.labels[-1]: sample.value for sample in self.family(name)}

    def family(self, name: str) -> list[Sample]:
        [family] = [family for family in self.metrics.collect() if family.name == f"headrace_join_{name}"]
        return family.samples


def test_rows_that_are_near_in_time_meet() -> None:
    bench = Bench(f"INSERT INTO s SELECT m.station AS station, power, code FROM meter AS m JOIN alarm AS a ON {NEAR}")
    assert bench.send("meter", "x", 0, power=1) == []
    assert bench.send("alarm", "y", 1, code="other station") == []
    assert bench.send("alarm", "x", 5, code="near") == [("x", 1.0, "near")]
    assert bench.send("alarm", "x", 5.001, code="not near") == []
    assert bench.send("meter", "x", 8, power=2) == [("x", 2.0, "near"), ("x", 2.0, "not near")]
    assert bench.metric("rows_total")["emitted"] == 3
    assert list(bench.metric("rows_kept").values()) == [5]
    assert bench.failed == []


def test_metrics_and_errors_name_a_join_by_its_sides() -> None:
    pairs = f"FROM meter AS m JOIN alarm AS a ON {NEAR}"
    bench = Bench(
        f"INSERT INTO s SELECT power {pairs}; INSERT INTO s SELECT code {pairs} AND 1 / (power - 1) > 0;"
        f"INSERT INTO s SELECT power {pairs} LEFT JOIN stations AS p ON p.station = m.station"
    )
    labels = {sample.labels[0] for sample in bench.family("rows_total")}
    assert labels == {"meter JOIN alarm", "meter JOIN alarm (2)", "meter JOIN alarm LEFT JOIN stations"}
    bench.send("meter", "x", 0, power=1)
    bench.send("alarm", "x", 1, code="c")
    [failure] = bench.failed
    assert failure.startswith("meter JOIN alarm (2): ")


def test_a_left_join_tells_what_found_no_partner_once_none_can_come() -> None:
    bench = Bench(f"INSERT INTO s SELECT power, code FROM meter AS m LEFT JOIN alarm AS a ON {NEAR} AND power > 1")
    bench.send("meter", "x", 0, power=1)
    bench.send("meter", "x", 1, power=2)
    assert bench.send("alarm", "x", 2, code="c") == [(2.0, "c")]
    assert bench.send("alarm", "x", 15.001, code="later") == [(1.0, None)]
    bench.send("meter", "x", 30, power=3)
    assert bench.wait(60) == [(3.0, None)]  # both sides are silent, and time goes on


def test_a_window_over_a_join_closes_when_both_sides_have_come_so_far() -> None:
    bench = Bench(
        "INSERT INTO s SELECT count(*) AS n, sum(power) AS power FROM TUMBLE(meter, ts, INTERVAL '1 minute') AS m "
        f"JOIN alarm AS a ON {NEAR} GROUP BY window_start"
    )
    start = 20  # 1,000,020 seconds begin a minute
    bench.send("meter", "x", start + 1, power=1)
    bench.send("meter", "x", start + 59, power=2)
    bench.send("meter", "x", start + 200, power=4)  # the left side is far ahead
    assert bench.send("alarm", "x", start + 2, code="c") == []
    assert bench.send("alarm", "x", start + 58, code="c") == []
    assert bench.send("alarm", "y", start + 74, code="c") == []
    assert bench.send("alarm", "y", start + 75.001, code="c") == [(2, 3.0)]
    assert bench.late == []


def test_a_window_over_a_join_closes_in_silence() -> None:
    bench = Bench(
        "CREATE VIEW both AS SELECT m.ts AS ts, power FROM meter AS m "
        f"JOIN alarm AS a ON {NEAR};\n"
        "INSERT INTO s SELECT sum(power) AS power FROM TUMBLE(both, ts, INTERVAL '1 minute') GROUP BY window_start"
    )
    bench.send("meter", "x", 21, power=1)
    bench.send("alarm", "x", 22, code="c")
    assert bench.wait(20) == []
    assert bench.wait(200) == [1.0]


def test_a_long_silence_takes_few_looks_at_the_clock() -> None:
    bench = Bench(
        "INSERT INTO s SELECT count(*) AS n FROM TUMBLE(meter, ts, INTERVAL '1 minute') AS m "
        f"JOIN alarm AS a ON {NEAR} GROUP BY window_start"
    )
    bench.send("meter", "x", 21, power=1)
    bench.send("alarm", "x", 22, code="c")
    looks = 0
    month = START + 30 * 86_400 * SECOND
    while (due := bench.engine.next_deadline) is not None and due <= month:
        bench.engine.advance(due)
        looks += 1
    assert 100 < looks < 1_000


@pytest.mark.parametrize("window", ["FROM meter AS m", "FROM TUMBLE(meter, ts, INTERVAL '1 minute') AS m"])
def test_rows_of_one_window_meet(window: str) -> None:
    group = "window_start" if "TUMBLE" in window else "TUMBLINGWINDOW(ss, 60)"
    bench = Bench(
        f"INSERT INTO s SELECT count(*) AS n {window} JOIN alarm AS a ON a.station = m.station GROUP BY {group}"
    )
    bench.send("meter", "x", 21, power=1)
    bench.send("alarm", "x", 79, code="c")
    bench.send("alarm", "x", 80, code="the next minute")
    assert bench.wait(300) == [1]


@pytest.mark.parametrize(
    ("condition", "low", "high"),
    [
        ("a.ts BETWEEN m.ts - INTERVAL '5 seconds' AND m.ts + INTERVAL '7 seconds'", -5_000_000, 7_000_000),
        ("m.ts BETWEEN a.ts - INTERVAL '5 seconds' AND a.ts + INTERVAL '7 seconds'", -7_000_000, 5_000_000),
        ("a.ts >= m.ts AND a.ts < m.ts + INTERVAL '1 second'", 0, 999_999),
        ("m.ts < a.ts AND m.ts + INTERVAL '1 second' >= a.ts", 1, 1_000_000),
        ("a.ts - m.ts <= INTERVAL '2 seconds' AND a.ts - m.ts > INTERVAL '0 seconds'", 1, 2_000_000),
        ("m.ts - a.ts <= INTERVAL '2 seconds' AND m.ts >= a.ts", -2_000_000, 0),
        ("a.ts = m.ts + INTERVAL '1 second'", 1_000_000, 1_000_000),
        ("a.ts = m.ts", 0, 0),
        ("INTERVAL '1 second' + m.ts >= a.ts AND a.ts >= m.ts AND a.ts >= m.ts - INTERVAL '1 second'", 0, 1_000_000),
    ],
)
def test_bounds_of_time(condition: str, low: int, high: int) -> None:
    sql = f"INSERT INTO s SELECT power FROM meter AS m JOIN alarm AS a ON a.station = m.station AND {condition}"
    [join] = [one for one in compiled(sql).relations if one.kind == "join"]
    assert join.join.near == Bounds(low, high)  # type: ignore[union-attr]
    assert join.join.on is None  # type: ignore[union-attr]


def test_columns_of_both_sides() -> None:
    bench = Bench(f"INSERT INTO s SELECT * FROM meter AS m JOIN alarm AS a ON {NEAR} WHERE a.code <> 'x'")
    [rule] = bench.engine.rules
    assert rule.rule.schema.names == ("station", "power", "ts", "a_station", "code", "a_ts")
    bench.send("meter", "x", 0, power=1)
    bench.send("alarm", "x", 0, code="x")
    [row] = bench.send("alarm", "x", 1, code="y")
    assert row[:2] + row[3:5] == ("x", 1.0, "x", "y")


def test_a_relation_can_be_joined_with_itself() -> None:
    bench = Bench(
        "INSERT INTO s SELECT m.power AS before, n.power AS after FROM meter AS m JOIN meter AS n "
        "ON n.station = m.station AND n.ts > m.ts AND n.ts <= m.ts + INTERVAL '10 seconds'"
    )
    bench.send("meter", "x", 0, power=1)
    assert bench.send("meter", "x", 1, power=2) == [(1.0, 2.0)]


def test_three_streams() -> None:
    near = "{0}.station = m.station AND {0}.ts BETWEEN m.ts - INTERVAL '5 seconds' AND m.ts + INTERVAL '5 seconds'"
    bench = Bench(
        "INSERT INTO s SELECT m.power AS power, a.code AS one, b.code AS two FROM meter AS m "
        f"JOIN alarm AS a ON {near.format('a')} JOIN alarm AS b ON {near.format('b')} AND b.code > a.code"
    )
    bench.send("meter", "x", 0, power=1)
    bench.send("alarm", "x", 1, code="k")
    assert bench.send("alarm", "x", 2, code="l") == [(1.0, "k", "l")]


def test_queries_that_join_alike_share_the_join() -> None:
    sql = f"SELECT power FROM meter AS m JOIN alarm AS a ON {NEAR}"
    rules = compiled(f"INSERT INTO s {sql};\nINSERT INTO t {sql} WHERE power > 1;\nINSERT INTO u {sql} AND power > 1")
    assert [one.kind for one in rules.relations] == ["source", "source", "join", "join"]
    windowed = "SELECT power FROM meter AS m JOIN alarm AS a ON a.station = m.station GROUP BY TUMBLINGWINDOW(ss, {})"
    windows = [windowed.format(size) for size in (1, 2)]
    names = [one.name for one in compiled(f"INSERT INTO s {windows[0]};\nINSERT INTO s {windows[1]}").relations]
    assert names[3] == f"{names[2]} (2)"


def test_what_is_wrong_with_rows_is_told() -> None:
    bench = Bench(f"INSERT INTO s SELECT power FROM meter AS m JOIN alarm AS a ON {NEAR} AND 1 / power > 0")
    [join] = bench.joins()
    bench.send("meter", "x", 100, power=0)
    bench.send("meter", "x", 50, power=1)
    [(name, row, reason)] = bench.late
    assert (name, row["station"], row["power"], reason) == (join.label, "x", 1.0, "late")
    assert bench.send("alarm", "x", 100, code="c") == []
    bench.send("alarm", "x", 0, code="late")
    assert bench.late[-1][1]["code"] == "late"
    assert bench.failed == [f"{join.label}: division by zero"]
    assert bench.metric("rows_refused_total") == {"late": 2, "bad_condition": 1}


def test_a_join_goes_on_over_a_reload_and_a_restart_as_long_as_it_is_the_same() -> None:
    sql = f"INSERT INTO s SELECT power, code FROM meter AS m LEFT JOIN alarm AS a ON {NEAR}"
    bench = Bench(sql)
    bench.send("meter", "x", 0, power=1)
    assert bench.load(sql + " WHERE true") == []
    assert bench.send("alarm", "x", 1, code="c") == [(1.0, "c")]
    bench.send("meter", "y", 1, power=2)
    states = bench.engine.snapshot()
    other = Bench(sql)
    assert other.engine.restore(states) == []
    assert other.send("alarm", "y", 1, code="d") == [(2.0, "d")]
    bench.send("meter", "z", 2, power=3)
    # Another join: what was open is given as it stands.
    assert bench.load(sql + " AND power > 0") == [(2.0, None), (3.0, None)]


def test_joins_of_disabled_rules_do_not_run() -> None:
    sql = f"INSERT INTO s SELECT power FROM meter AS m JOIN alarm AS a ON {NEAR}"
    bench = Bench(f"CREATE RULE r WITH (enabled = false) AS {sql}")
    assert list(bench.joins()) == []
