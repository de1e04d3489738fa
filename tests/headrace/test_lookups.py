"""The supply of lookup tables: databases asked for what joins wait for, files read again when they change."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connections.base import Connection, ConnectionContext
from connections.lookup import Finder, LookupSource
from core.clock import SECOND, ManualClock
from core.errors import ConfigError, Unavailable
from core.message import Row, Schema, Type
from core.metrics import Metrics
from headrace import lookups
from headrace.decoding import Decoder
from headrace.links import Link, LinkPlan, Links
from headrace.lookup_rows import TableSource
from headrace.lookups import Lookups
from rules.joins import Key, LookupJoin, LookupOptions, LookupPlan, LookupTable
from tests.headrace.far_sides import config, until

SCHEMA = Schema(("id", "name"), (Type.TEXT, Type.TEXT))
OPTIONS = LookupOptions(key=("id",), connection="db", table="stations", timeout=60_000_000)
STATIONS = TableSource("stations", OPTIONS, SCHEMA, "rules/a.sql", 7)


class FakeFinder(Finder):
    """Answers when it is let; ``asked`` has the keys of every question."""

    def __init__(self) -> None:
        self.asked: list[list[Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def find(self, keys: Sequence[tuple[Any, ...]]) -> Sequence[Mapping[str, Any]]:
        self.asked.append([key[0] for key in keys])
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.rows


class FakeConnection(Connection):
    type = "fake"

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(None, ConnectionContext(name=name, base_dir=folder))
        self.found = FakeFinder()
        self.wanted: list[LookupSource] = []

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def check(self) -> str:
        return "fake"

    def finder(self, source: LookupSource) -> Finder:
        self.wanted.append(source)
        return self.found


class Bench:
    """A join with a table, whose supply answers it directly."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock(SECOND)
        self.metrics = Metrics()
        self.connection = FakeConnection("db", folder)
        self.finder = self.connection.found
        self.rows: list[Row] = []
        self.lookups = Lookups(self.clock, self.metrics, self)
        self.table = LookupTable("stations", OPTIONS, 2)
        self.join = LookupJoin(LookupPlan((0,), outer=True), self.table)
        self.told = asyncio.Event()

    def plan(self, source: TableSource = STATIONS) -> lookups.Plan:
        decoder = Decoder("headrace.toml", self.folder, {})
        link: Any = Link(spec=None, connection=self.connection, since=0)  # type: ignore[arg-type]
        plan = lookups.plan([source], LinkPlan({"db": link}, decoder, self.clock), self.clock)
        if decoder.errors:
            raise decoder.errors[0]
        return plan

    def use(self, source: TableSource = STATIONS) -> None:
        self.lookups.swap(self.plan(source), {"stations": self.table})

    def of_file(self, name: str, content: str) -> TableSource:
        (self.folder / name).write_text(content)
        source = TableSource("stations", LookupOptions(key=("id",), file=name), SCHEMA)
        self.table = LookupTable("stations", source.options, 2)
        self.join = LookupJoin(LookupPlan((0,), outer=True), self.table)
        return source

    def process(self, *keys: Any) -> None:
        self.rows += self.join.process([(key,) for key in keys], self.clock.now())

    def resolve(self, table: LookupTable, answers: Mapping[Key, Sequence[Row]]) -> None:
        table.resolve(answers, self.clock.now())
        self._advance()

    def lookup_failed(self, table: LookupTable, keys: Sequence[Key], reason: str) -> None:
        table.failed(keys, reason, self.clock.now())
        self._advance()

    def _advance(self) -> None:
        self.rows += self.join.advance(self.clock.now())
        self.told.set()

    async def answered(self) -> None:
        await asyncio.wait_for(self.told.wait(), 20)
        self.told.clear()

    def metric(self, name: str) -> Any:
        [family] = [family for family in self.metrics.collect() if family.name == f"headrace_lookup_{name}"]
        return {sample.labels: sample.value for sample in family.samples}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.lookups.close()
    assert not made.connection.in_use


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "LOOK_EVERY", 0.001)
    monkeypatch.setattr("rules.joins.table._RETRY", SECOND // 1_000)


async def test_the_keys_of_one_turn_are_one_question(bench: Bench) -> None:
    bench.use()
    assert bench.connection.wanted == [LookupSource(("id",), ("id", "name"), "stations", None)]
    bench.finder.rows = [{"id": "a", "name": "A"}, {"id": "a", "name": "A2"}, {"id": "OTHER", "name": "x"}]
    bench.process("a", "b")
    bench.process("a", "c")
    assert bench.rows == []
    await bench.answered()
    assert bench.finder.asked == [["a", "b", "c"]]
    assert bench.rows == [
        ("a", "a", "A"),
        ("a", "a", "A2"),
        ("b", None, None),
        ("a", "a", "A"),
        ("a", "a", "A2"),
        ("c", None, None),
    ]
    assert bench.lookups.current["stations"].state == "answering"
    assert bench.connection.in_use
    assert bench.metric("requested_total") == {("stations",): 3}
    assert bench.metric("entries") == {("stations",): 4}
    assert bench.metric("in_flight") == {("stations",): 0}


async def test_what_comes_up_meanwhile_is_the_next_question(bench: Bench) -> None:
    bench.use()
    bench.finder.gate.clear()
    bench.process("a")
    await until(lambda: bench.finder.asked)
    bench.process("b", "c", "a")
    assert bench.metric("in_flight") == {("stations",): 1}
    bench.finder.gate.set()
    await until(lambda: len(bench.rows) == 4)
    assert bench.finder.asked == [["a"], ["b", "c"]]
    assert [row[0] for row in bench.rows] == ["a", "b", "c", "a"]


@pytest.mark.parametrize("error", [Unavailable("connection refused"), ValueError("no datetime")])
async def test_a_failure_is_told_and_asked_again(
    bench: Bench, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "headrace.lookups")
    bench.use()
    bench.finder.error = error
    bench.process("a")
    await bench.answered()
    supply = bench.lookups.current["stations"]
    assert supply.state == "failing"
    assert str(error) in str(supply.last_error)
    assert bench.rows == []
    assert bench.metric("failures_total") == {("stations",): 1}
    bench.finder.error = None
    bench.clock.advance(SECOND)
    await until(lambda: bench.rows)
    assert supply.state == "answering"
    assert supply.last_error is None
    assert [record.message for record in caplog.records] == [
        f"lookup table stations does not answer: {supply_text(error)}",
        "lookup table stations answers again",
    ]


def supply_text(error: Exception) -> str:
    return str(error) if isinstance(error, Unavailable) else f"ValueError: {error}"


async def test_a_row_that_does_not_convert_is_a_failure(bench: Bench) -> None:
    bench.use(replace(STATIONS, schema=Schema(("id", "name"), (Type.TEXT, Type.BIGINT))))
    bench.finder.rows = [{"id": "a", "name": "A"}]
    bench.process("a")
    await bench.answered()
    assert "column 'name': a string ('A') is no BIGINT" in str(bench.lookups.current["stations"].last_error)


async def test_an_answer_that_takes_too_long_is_a_failure(bench: Bench) -> None:
    bench.use(replace(STATIONS, options=replace(OPTIONS, timeout=1_000)))
    bench.finder.gate.clear()
    bench.process("a")
    await bench.answered()
    assert bench.lookups.current["stations"].last_error == "no answer within 0.001s"


async def test_a_reload_keeps_what_is_unchanged_and_asks_anew_over_another_connection(bench: Bench) -> None:
    bench.use()
    supply = bench.lookups.current["stations"]
    bench.finder.gate.clear()
    bench.process("a")
    await until(lambda: bench.finder.asked)
    bench.use()
    assert bench.lookups.current["stations"] is supply
    old = bench.connection
    bench.connection = FakeConnection("db", bench.folder)
    bench.finder = bench.connection.found
    bench.finder.rows = [{"id": "a", "name": "A"}]
    bench.use()
    await bench.answered()
    assert bench.rows == [("a", "a", "A")]
    await until(lambda: not old.in_use)
    bench.lookups.swap(lookups.Plan({}), {})
    await until(lambda: not bench.connection.in_use)
    assert bench.lookups.current == {}


async def test_a_file_is_loaded_at_once_and_read_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "headrace.lookups")
    source = bench.of_file("s.csv", "id,name\na,A\n")
    bench.use(source)
    bench.process("a", "b")
    assert bench.rows == [("a", "a", "A"), ("b", None, None)]
    supply = bench.lookups.current["stations"]
    assert (supply.state, supply.detail) == ("loaded", f"1 rows of {bench.folder / 's.csv'}")
    (bench.folder / "s.csv").write_text("id,name\na,A\nb,B\n")
    await until(lambda: bench.table.entries == 2)
    (bench.folder / "s.csv").write_text("id\nb\n")
    await until(lambda: supply.state == "failing")
    assert str(supply.last_error).endswith("s.csv:2: there is no column 'name'")
    (bench.folder / "s.csv").unlink()
    await until(lambda: "No such file" in str(supply.last_error))
    bench.rows.clear()
    bench.process("b")
    assert bench.rows == [("b", "b", "B")]
    (bench.folder / "s.csv").write_text("id,name\nc,C\n")
    await until(lambda: supply.state == "loaded")
    bench.process("c")
    assert bench.rows[-1] == ("c", "c", "C")
    assert any("keeps its rows" in record.message for record in caplog.records)
    assert bench.metric("hits_total") == {("stations",): 4}


async def test_a_reload_takes_a_changed_file_at_once(bench: Bench) -> None:
    source = bench.of_file("s.csv", "id,name\na,A\n")
    bench.use(source)
    supply = bench.lookups.current["stations"]
    (bench.folder / "s.csv").write_text("id,name\na,new\n")
    bench.use(source)
    assert bench.lookups.current["stations"] is supply
    bench.process("a")
    assert bench.rows == [("a", "a", "new")]


async def test_what_cannot_be_is_told_with_its_place(bench: Bench) -> None:
    other = replace(STATIONS, options=replace(OPTIONS, connection="dc"))
    with pytest.raises(ConfigError) as caught:
        bench.plan(other)
    assert "rules/a.sql:7: lookup table stations: there is no connection 'dc' (its rows" in str(caught.value)
    bench.of_file("s.csv", "")
    missing = replace(STATIONS, options=LookupOptions(key=("id",), file="none.csv"))
    with pytest.raises(ConfigError, match=r"none.csv: lookup table stations: cannot be read: No such file"):
        bench.plan(missing)


def test_connections_without_tables_and_broken_ones(tmp_path: Path) -> None:
    settings = config('[connections.db]\ntype = "http"\nbase_url = "http://127.0.0.1"\n', tmp_path)
    decoder = Decoder("headrace.toml", tmp_path, {})
    links = Links(ManualClock(), Metrics()).plan(settings.connections, decoder)
    lookups.plan([STATIONS], links, ManualClock())
    [error] = decoder.errors
    assert "rules/a.sql:7: lookup table stations: a connection of type http has no tables" in str(error)
    decoder.errors[:] = [ConfigError("is wrong", path="connections.db.url")]
    lookups.plan([STATIONS], replace(links, shared={}), ManualClock())
    assert len(decoder.errors) == 1  # it is not blamed twice


async def test_a_real_database(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as db:
        db.execute("CREATE TABLE stations (id TEXT, name TEXT)")
        db.execute("INSERT INTO stations VALUES ('a', 'A')")
    settings = config('[connections.db]\ntype = "sql"\nurl = "sqlite:///x.db"\n', tmp_path)
    bench = Bench(tmp_path)
    links = Links(bench.clock, Metrics()).plan(settings.connections, Decoder("headrace.toml", tmp_path, {}))
    plan = lookups.plan([STATIONS], links, bench.clock)
    assert plan.connections == {"db"}
    bench.lookups.swap(plan, {"stations": bench.table})
    bench.process("a", "b")
    await bench.answered()
    assert bench.rows == [("a", "a", "A"), ("b", None, None)]
    await bench.lookups.close()
    assert not links.shared["db"].connection.in_use
