"""The sql sink before the first row: settings, the check of the schema, statements, hypertables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from core.errors import ConfigError, Rejected, Unavailable
from core.message import Schema, Type
from sinks.sql import create
from sinks.sql.create import CREATE_HYPERTABLE, CREATE_HYPERTABLE_OF_CHUNKS
from tests.sinks.test_sql import METER, batch, database, make, opened, query

STATEMENT = "INSERT INTO meter (station, soc, raw) VALUES (upper(:station), :soc + 1, :kw)"
POSTGRESQL = "postgresql://u@127.0.0.1:1/db"


# -- the live schema -----------------------------------------------------------------------------------------------


async def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with database(tmp_path) as connection:
        connection.execute("CREATE TABLE meter (station INTEGER, power REAL, site TEXT NOT NULL, soc BLOB)")
    sink = make(tmp_path, {"write": "upsert", "key": ["station"]}, METER)
    for attempt in (sink.open, sink.check):
        with pytest.raises(Unavailable) as caught:
            await attempt()
        text = str(caught.value)
        assert "table meter does not suit the rules: (1)" in text
        assert "has 'station' as INTEGER, and the rule yields 'station' as TEXT. CAST it" in text
        assert "has no column 'kw'" in text
        assert "has the column 'site' NOT NULL without a DEFAULT" in text
        assert "no primary key or unique index on (station)" in text
        assert "(4)" in text
        assert "(5)" not in text
    await sink.close()


async def test_columns_that_fill_themselves_need_no_rule(tmp_path: Path) -> None:
    with database(tmp_path) as connection:
        connection.execute(
            "CREATE TABLE meter (id INTEGER PRIMARY KEY NOT NULL, at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,"
            " station TEXT, kw REAL, soc INTEGER, twice REAL NOT NULL GENERATED ALWAYS AS (kw * 2))"
        )
    async with opened(tmp_path, {}, METER) as sink:
        await sink.write(batch(("a", 1.5, 1)))
    assert query(tmp_path, "SELECT id, station, twice FROM meter") == [(1, "a", 3.0)]
    generated = Schema(("station", "twice"), (Type.TEXT, Type.DOUBLE))
    sink = make(tmp_path, {}, generated)
    with pytest.raises(Unavailable, match="makes the values of column 'twice' itself"):
        await sink.open()
    await sink.close()


async def test_a_check_makes_nothing(tmp_path: Path) -> None:
    await make(tmp_path, {"create_table": True}, METER).check()
    with pytest.raises(Unavailable, match=r"h\.db does not exist, and so no table in it"):
        await make(tmp_path, {}, METER).check()
    assert list(tmp_path.iterdir()) == []
    query(tmp_path, "SELECT 1")
    await make(tmp_path, {"create_table": True}, METER).check()
    with pytest.raises(Unavailable, match="table meter does not exist: create it, or set create_table"):
        await make(tmp_path, {}, METER).check()
    assert query(tmp_path, "SELECT name FROM sqlite_master") == []


async def test_rows_of_a_rule_that_does_not_suit_wait(tmp_path: Path) -> None:
    """A rule with a `*` shows its columns with its rows: the table is at fault, not the rows."""
    async with opened(tmp_path, {"create_table": True}, METER) as sink:
        other = Schema(("station", "voltage"), (Type.TEXT, Type.DOUBLE))
        with pytest.raises(Unavailable, match="has no column 'voltage'"):
            await sink.write(batch(("a", 230.0), schema=other))
        with database(tmp_path) as connection:
            connection.execute("ALTER TABLE meter ADD COLUMN voltage REAL")
        await sink.write(batch(("a", 230.0), schema=other))
    assert query(tmp_path, "SELECT station, kw, voltage FROM meter") == [("a", None, 230.0)]


async def test_a_view_with_a_trigger_takes_rows(tmp_path: Path) -> None:
    with database(tmp_path) as connection:
        connection.execute("CREATE TABLE real_one (station, kw, soc)")
        connection.execute("CREATE VIEW meter AS SELECT * FROM real_one")
        connection.execute(
            "CREATE TRIGGER t INSTEAD OF INSERT ON meter BEGIN INSERT INTO real_one VALUES (new.station, 0, 0); END"
        )
    async with opened(tmp_path, {}, METER) as sink:
        await sink.write(batch(("a", 1.0, 1)))
    assert query(tmp_path, "SELECT * FROM real_one") == [("a", 0, 0)]


async def test_a_view_that_takes_no_rows_is_said_before_the_first_row(tmp_path: Path) -> None:
    query(tmp_path, "CREATE TABLE real_one (station, kw, soc)")
    query(tmp_path, "CREATE VIEW meter AS SELECT * FROM real_one")
    for attempt in (sink := make(tmp_path, {}, METER)).open, sink.check:
        with pytest.raises(Unavailable, match="table meter: cannot modify meter because it is a view"):
            await attempt()
    await sink.close()


async def test_a_database_that_is_read_only_is_said_before_the_first_row(tmp_path: Path) -> None:
    query(tmp_path, "CREATE TABLE meter (station TEXT, kw REAL, soc INTEGER)")
    before = (tmp_path / "data" / "h.db").read_bytes()
    url = f"sqlite:///file:{tmp_path}/data/h.db?mode=ro&uri=true"
    statement = {"table": None, "statement": "INSERT INTO meter VALUES (:station, :kw, :soc)"}
    for config in ({}, statement):
        with pytest.raises(Unavailable, match="attempt to write a readonly database"):
            await make(tmp_path, config, METER, url=url).check()
        await make(tmp_path, config, METER, Schema(METER.names, (Type.ANY,) * 3)).check()
    assert (tmp_path / "data" / "h.db").read_bytes() == before  # a check changes nothing


async def test_an_index_of_some_rows_is_no_key(tmp_path: Path) -> None:
    query(tmp_path, "CREATE TABLE meter (station TEXT, kw REAL, soc INTEGER)")
    query(tmp_path, "CREATE UNIQUE INDEX half ON meter (station) WHERE kw > 0")
    with pytest.raises(Unavailable, match=r"no primary key or unique index on \(station\)"):
        await make(tmp_path, {"write": "upsert", "key": ["station"]}, METER).check()


async def test_names_of_another_case_are_those_of_the_table(tmp_path: Path) -> None:
    """To SQLite they are the same."""
    query(tmp_path, 'CREATE TABLE "Meter" ("Station" TEXT PRIMARY KEY, "KW" REAL, soc INTEGER)')
    async with opened(tmp_path, {"write": "upsert", "key": ["station"]}, METER) as sink:
        await sink.write(batch(("a", 1.0, 1), ("a", 2.0, 2)))
    assert query(tmp_path, "SELECT * FROM meter") == [("a", 2.0, 2)]


async def test_a_missing_table_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    query(tmp_path, "CREATE TABLE metres (station)")
    sink = make(tmp_path, {}, METER)
    with pytest.raises(Unavailable, match=r"table meter does not exist \(did you mean 'metres'\?\): create it, or"):
        await sink.check()
    sink = make(tmp_path, {"table": "main.metres"}, METER)
    with pytest.raises(Unavailable, match=r"main.metres does not exist \(is it schema = 'main', table = 'metres'"):
        await sink.check()


# -- statements ----------------------------------------------------------------------------------------------------


async def test_a_statement_takes_the_columns_it_names(tmp_path: Path) -> None:
    with database(tmp_path) as connection:
        connection.execute("CREATE TABLE meter (station TEXT, soc INTEGER CHECK (soc < 100), raw)")
    async with opened(tmp_path, {"table": None, "statement": STATEMENT}, METER) as sink:
        await sink.write(batch(("a", 1.5, 1), ("b", {"x": [1]}, 2)))
        with pytest.raises(Rejected, match="CHECK constraint failed") as caught:
            await sink.write(batch(("c", 1.0, 3), ("d", 1.0, 500)))
        assert [index for index, _ in caught.value.rows] == [1]
    rows = query(tmp_path, "SELECT * FROM meter")
    assert rows == [("A", 2, 1.5), ("B", 3, '{"x":[1]}'), ("C", 4, 1.0)]


async def test_a_statement_may_use_a_column_twice_or_one_only(tmp_path: Path) -> None:
    schema = Schema(("station", "at"), (Type.TEXT, Type.TIMESTAMP))
    with database(tmp_path) as connection:
        connection.execute("CREATE TABLE meter (station TEXT, seen)")
    twice = "INSERT INTO meter VALUES (:station, :at || ' ' || :station || '\\:x')"
    async with opened(tmp_path, {"table": None, "statement": twice}, schema) as sink:
        await sink.write(batch(("a", 0), schema=schema))
    one = "DELETE FROM meter WHERE station = :station"
    async with opened(tmp_path, {"table": None, "statement": one}, schema) as sink:
        assert query(tmp_path, "SELECT * FROM meter") == [("a", "1970-01-01 00:00:00.000000 a:x")]
        await sink.write(batch(("a", 0), schema=schema))
    assert query(tmp_path, "SELECT * FROM meter") == []


async def test_a_statement_that_the_database_does_not_understand_is_said_before_the_first_row(tmp_path: Path) -> None:
    sink = make(tmp_path, {"table": None, "statement": STATEMENT}, METER)
    await sink._connection.join(sink)
    for attempt in (sink.open, sink.check):
        query(tmp_path, "SELECT 1")
        with pytest.raises(Unavailable, match="the database refuses the statement: no such table: meter"):
            await attempt()
    query(tmp_path, "CREATE TABLE meter (station TEXT, soc INTEGER, raw)")
    await sink.open()
    with pytest.raises(Unavailable, match="yields no column 'station' for the statement, only x"):
        await sink.write(batch((1,), schema=Schema(("x",), (Type.BIGINT,))))
    await sink.close()
    assert query(tmp_path, "SELECT * FROM meter") == []


async def test_a_value_that_a_function_of_the_statement_refuses_is_the_rows_fault(tmp_path: Path) -> None:
    query(tmp_path, "CREATE TABLE meter (station TEXT)")
    statement = "INSERT INTO meter VALUES (json_extract(:station, '$.a'))"
    async with opened(tmp_path, {"table": None, "statement": statement}, METER) as sink:
        with pytest.raises(Rejected, match="malformed JSON") as caught:
            await sink.write(batch(('{"a": "b"}', 1.0, 1), ("{", 1.0, 1), ('{"a": "c"}', 1.0, 1)))
        assert [index for index, _ in caught.value.rows] == [1]
    assert query(tmp_path, "SELECT * FROM meter") == [("b",), ("c",)]


# -- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"table": None}, "table: missing"),
        ({"statement": STATEMENT}, "table: does not go together with statement"),
        ({"table": None, "statement": STATEMENT, "write": "ignore"}, "write: does not go together with statement"),
        ({"table": None, "statement": STATEMENT, "key": ["station"]}, "key: does not go together with statement"),
        ({"table": None, "statement": STATEMENT, "create_table": True}, "create_table: does not go together"),
        ({"table": None, "statement": STATEMENT, "columns": {"kw": "x"}}, "columns: does not go together"),
        ({"table": None, "statement": "DELETE FROM meter"}, "statement: has no parameter like :station"),
        (
            {"table": None, "statement": "INSERT INTO meter VALUES (:staton)"},
            r"statement: no rule yields 'staton' \(did you mean 'station'\?\)",
        ),
        ({"hypertable": True}, "hypertable: only TimescaleDB has them"),
    ],
)
def test_wrong_settings(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(tmp_path, config, METER)


TIMED = Schema(("station", "ts", "power"), (Type.TEXT, Type.TIMESTAMP, Type.DOUBLE))


@pytest.mark.parametrize(
    ("config", "schema", "message"),
    [
        ({"create_table": False}, TIMED, "hypertable: needs create_table = true"),
        ({}, METER, "hypertable: no rule yields a TIMESTAMP column"),
        ({"hypertable": {"time": "x"}}, Schema(("x",), (Type.ARRAY,)), "hypertable.time: the rules yield 'x' as ARRAY"),
        ({"hypertable": {"time": "at"}}, TIMED, "hypertable.time: no rule yields 'at'; they yield station, ts, power"),
        ({"key": ["station"]}, TIMED, "key: a hypertable's key must have its time column 'ts' in it"),
    ],
)
def test_wrong_hypertables(tmp_path: Path, config: dict[str, Any], schema: Schema, message: str) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(ConfigError, match=message):
        make(tmp_path, {"create_table": True, "hypertable": True, **config}, schema, url=POSTGRESQL)


# -- hypertables ---------------------------------------------------------------------------------------------------


class Recorder:
    """A PostgreSQL connection that answers nothing and keeps what it was asked."""

    def __init__(self, *, extension: bool = True) -> None:
        from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

        self.dialect = PGDialect_psycopg()
        self.extension = extension
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def execute(self, statement: Any, values: dict[str, Any] | None = None) -> Any:
        text = statement.text if isinstance(statement, sa.TextClause) else str(statement.compile(dialect=self.dialect))
        self.asked.append((text, values or {}))
        return self

    def first(self) -> Any:
        return (1,) if self.extension else None

    def commit(self) -> None:
        self.asked.append(("COMMIT", {}))


@pytest.mark.parametrize(
    ("hypertable", "statement", "values"),
    [
        (True, CREATE_HYPERTABLE, {"table": '"ops"."meter"', "time": "ts"}),
        (
            {"time": "ts", "chunk": "7d"},
            CREATE_HYPERTABLE_OF_CHUNKS,
            {"table": '"ops"."meter"', "time": "ts", "chunk": "604800000000 microseconds"},
        ),
    ],
)
def test_the_statements_of_a_hypertable(
    tmp_path: Path, hypertable: Any, statement: Any, values: dict[str, str]
) -> None:
    sink = make(
        tmp_path,
        {"schema": "ops", "create_table": True, "hypertable": hypertable, "key": ["station", "ts"]},
        TIMED,
        url=POSTGRESQL,
    )
    assert sink._table is not None
    connection: Any = Recorder()
    create.create_table(connection, sink._table, dict(zip(TIMED.names, TIMED.types, strict=True)))
    asked, made, split, end = connection.asked
    assert asked[0] == create.HAS_TIMESCALEDB.text
    assert "CREATE TABLE IF NOT EXISTS ops.meter" in made[0]
    assert split == (statement.text, values)
    assert end[0] == "COMMIT"  # one transaction: no plain table is left behind


@pytest.mark.parametrize("declared", [Type.TIMESTAMP, Type.BIGINT, Type.ANY, Type.TEXT])
def test_the_time_column_of_a_hypertable_is_a_time_column(tmp_path: Path, declared: Type) -> None:
    """EMQX's ``timestamp`` is a number, and so would be the column."""
    schema = Schema(("ts", "power"), (declared, Type.DOUBLE))
    sink = make(tmp_path, {"create_table": True, "hypertable": {"time": "ts"}}, schema, url=POSTGRESQL)
    assert sink._table is not None
    connection: Any = Recorder()
    create.create_table(connection, sink._table, dict(zip(schema.names, schema.types, strict=True)))
    assert "ts TIMESTAMP WITH TIME ZONE" in connection.asked[1][0]
    for columns, message in [({"power": Type.DOUBLE}, "does not yield the time column 'ts', only power")]:
        with pytest.raises(Unavailable, match=message):
            create.create_table(connection, sink._table, columns)


def test_a_database_without_timescaledb_says_what_to_do(tmp_path: Path) -> None:
    sink = make(tmp_path, {"create_table": True, "hypertable": True}, TIMED, url=POSTGRESQL)
    assert sink._table is not None
    connection: Any = Recorder(extension=False)
    with pytest.raises(Unavailable, match="CREATE EXTENSION timescaledb"):
        create.create_table(connection, sink._table, {"ts": Type.TIMESTAMP})
    assert len(connection.asked) == 1


async def test_a_schema_that_is_not_there_is_said_before_the_table(tmp_path: Path) -> None:
    query(tmp_path, "SELECT 1")
    sink = make(tmp_path, {"schema": "ops", "create_table": True}, METER)
    for attempt in (sink.open, sink.check):
        with pytest.raises(Unavailable, match=r"schema ops does not exist: create it\. There are main"):
            await attempt()
    await sink.close()
