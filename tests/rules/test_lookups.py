"""Joins with lookup tables from their SQL to the rows of sinks, in an engine whose tables are answered by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from core.clock import SECOND
from core.errors import RuleError
from core.message import Batch, Message
from core.metrics import Metrics
from rules.compiler import RuleSource, compile_rules
from rules.joins import LookupTable
from rules.runtime import Engine

TABLES = """
CREATE SOURCE meter (station TEXT, power DOUBLE, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '10 seconds')
WITH (topic = 'cp/{station}/meter', idle_timeout = '30 seconds');
CREATE TABLE stations (id TEXT, site TEXT, rating DOUBLE)
WITH (type = 'lookup', connection = 'db', table = 'stations', key = 'id', max_parked = 3);
CREATE TABLE plugs (station TEXT, plug BIGINT, kind TEXT)
WITH (type = 'lookup', file = 'plugs.csv', key = ['station', 'plug']);
"""
ENRICHED = "SELECT m.station AS station, power, site FROM meter AS m JOIN stations AS s ON s.id = m.station"
START = 1_000_020 * SECOND


class Bench:
    def __init__(self, sql: str) -> None:
        self.failed: list[str] = []
        self.metrics = Metrics()
        self.engine = Engine(self.metrics, on_error=lambda rule, message, error: self.failed.append(str(error)))
        self.now = START
        self.load(sql)

    def load(self, sql: str) -> list[Any]:
        return self.rows(self.engine.load(compile_rules([RuleSource("a.sql", TABLES + sql)]), now=self.now))

    @property
    def table(self) -> LookupTable:
        return self.engine.lookup_tables["stations"]

    def send(self, *stations: str, ts: float = 0, **values: Any) -> list[Any]:
        payload = json.dumps({"power": 1, **values, "ts": int((START / SECOND + ts) * 1_000)}).encode()
        messages = [Message(f"cp/{station}/meter", payload, received_ns=self.now) for station in stations]
        return self.rows(self.engine.process(messages, self.now))

    def answer(self, **sites: Sequence[str] | str) -> list[Any]:
        keys = self.table.take_requests(self.now)
        sites = {key: [found] if isinstance(found, str) else found for key, found in sites.items()}
        answers = {key: [(key, site, 2.0) for site in sites.get(key, ())] for key in keys}
        return self.rows(self.engine.resolve(self.table, answers, self.now))

    def advance(self, seconds: float) -> list[Any]:
        self.now += int(seconds * SECOND)
        rows = self.rows(self.engine.advance(self.now))
        while (due := self.engine.next_deadline) is not None and due <= self.now:
            rows += self.rows(self.engine.advance(self.now))
        return rows

    @staticmethod
    def rows(batches: list[Batch]) -> list[Any]:
        return [row for batch in batches for row in batch.rows]


def test_rows_with_what_is_known_about_their_station() -> None:
    bench = Bench(f"INSERT INTO s {ENRICHED}")
    assert bench.send("a", "b", "c") == []
    assert bench.answer(a="north", b=["south", "west"]) == [
        ("a", 1.0, "north"),
        ("b", 1.0, "south"),
        ("b", 1.0, "west"),
    ]
    assert bench.send("b") == [("b", 1.0, "south"), ("b", 1.0, "west")]
    assert bench.failed == []


def test_a_left_join_with_a_condition_is_not_a_where() -> None:
    left = ENRICHED.replace("JOIN", "LEFT JOIN")
    bench = Bench(f"INSERT INTO s {left} AND m.power < s.rating")
    bench.send("a", "b")
    bench.send("a", power=3)
    assert bench.answer(a="north") == [("a", 1.0, "north"), ("b", 1.0, None), ("a", 3.0, None)]
    bench = Bench(f"INSERT INTO s {left} WHERE s.rating IS NOT NULL AND m.power < s.rating")
    bench.send("a", "b")
    bench.send("a", power=3)
    assert bench.answer(a="north") == [("a", 1.0, "north")]


def test_too_many_waiting_rows_say_stop() -> None:
    bench = Bench(f"INSERT INTO s {ENRICHED}")
    bench.send("a", "b")
    assert (bench.engine.full, bench.engine.waiting) == (False, 2)
    bench.send("c", "d")
    assert (bench.engine.full, bench.engine.waiting) == (True, 4)
    bench.answer()
    assert (bench.engine.full, bench.engine.waiting) == (False, 0)


def test_rows_without_an_answer_wait_no_longer_than_the_time_out() -> None:
    bench = Bench(f"INSERT INTO s {ENRICHED.replace('JOIN', 'LEFT JOIN')}")
    bench.send("a")
    keys = bench.table.take_requests(bench.now)
    assert bench.rows(bench.engine.lookup_failed(bench.table, keys, "connection refused", bench.now)) == []
    assert bench.advance(4.9) == []
    assert bench.advance(0.1) == [("a", 1.0, None)]
    bench = Bench(f"INSERT INTO s {ENRICHED}")
    bench.send("a")
    assert bench.advance(5) == []
    assert bench.failed == ["stations: no answer in time"]


def test_a_window_behind_a_lookup_waits_for_the_rows_that_wait() -> None:
    bench = Bench(
        "INSERT INTO s SELECT site, count(*) AS n FROM TUMBLE(meter, ts, INTERVAL '1 minute') AS m "
        "JOIN stations AS s ON s.id = m.station GROUP BY site, window_start"
    )
    bench.send("a", ts=1)
    bench.answer(a="north")
    bench.send("b", ts=2)  # b waits, and so does everything behind
    assert bench.send("a", ts=71) == []
    assert bench.answer(b="north") == [("north", 2)]


def test_time_passes_by_rows_that_match_nothing() -> None:
    bench = Bench(
        "INSERT INTO s SELECT site, count(*) AS n FROM TUMBLE(meter, ts, INTERVAL '1 minute') AS m "
        "JOIN stations AS s ON s.id = m.station GROUP BY site, window_start"
    )
    bench.send("a", ts=1)
    bench.answer(a="north")
    bench.send("unknown", ts=71)
    assert bench.answer() == [("north", 1)]


def test_a_key_of_two_columns_from_a_file_and_two_tables_in_a_row() -> None:
    bench = Bench(
        "CREATE VIEW plugged AS SELECT station, 1 AS plug, power FROM meter;\n"
        "INSERT INTO s SELECT p.station AS station, kind, site FROM plugged AS p "
        "JOIN plugs ON plugs.plug = p.plug AND p.station = plugs.station JOIN stations AS s ON p.station = s.id"
    )
    bench.engine.lookup_tables["plugs"].replace({("a", 1): (("a", 1, "CCS"),)})
    bench.send("b", "a")
    assert bench.answer(a="north") == [("a", "CCS", "north")]


def test_a_reload_keeps_the_table_and_the_rows_that_wait() -> None:
    bench = Bench(f"INSERT INTO s {ENRICHED}")
    bench.send("a")
    table = bench.table
    bench.load(f"INSERT INTO s {ENRICHED};\nINSERT INTO t {ENRICHED} WHERE power > 5")
    assert bench.table is table
    assert bench.answer(a="north") == [("a", 1.0, "north")]
    bench.send("b")
    state = bench.engine.snapshot()
    other = Bench(f"INSERT INTO s {ENRICHED}")
    assert other.engine.restore(state) == []
    other.advance(0)
    assert other.answer(b="south") == [("b", 1.0, "south")]
    old = bench.table
    bench.load("INSERT INTO s SELECT power FROM meter")
    assert bench.rows(bench.engine.resolve(old, {"b": [("b", "south", 1.0)]}, bench.now)) == []


@pytest.mark.parametrize(
    ("sql", "complaint"),
    [
        ("SELECT * FROM stations", "'stations' is a lookup table: it gives rows only for what is asked for"),
        ("SELECT site FROM meter JOIN stations AS s ON s.site = meter.station", "ON compares nothing with 'id'"),
        ("SELECT site FROM meter JOIN stations AS s ON s.id = 'a'", "ON compares nothing with 'id'"),
        ("SELECT kind FROM meter JOIN plugs ON plugs.station = meter.station", "ON compares nothing with 'plug'"),
        ("SELECT site FROM meter JOIN station AS s ON s.id = meter.station", "there is no source or view 'station'"),
    ],
)
def test_joins_that_cannot_be(sql: str, complaint: str) -> None:
    with pytest.raises(RuleError, match=complaint):
        compile_rules([RuleSource("a.sql", f"{TABLES}INSERT INTO s {sql}")])


def test_what_else_on_says_is_asked_of_the_rows() -> None:
    bench = Bench(f"INSERT INTO s {ENRICHED} AND s.site = 'north' AND m.station = s.site")
    bench.send("a", "north")
    assert bench.answer(a="north", north="north") == [("north", 1.0, "north")]
