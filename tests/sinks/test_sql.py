"""The sql sink against SQLite files: tables, writes, refusals, outages. Types of values: the contract suite."""

from __future__ import annotations

import asyncio
import builtins
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from connections.base import ConnectionContext
from connections.sql.config import SqlConfig
from connections.sql.connection import SqlConnection
from core.clock import SystemClock
from core.errors import ConfigError, ExtensionError, Rejected, Unavailable
from core.message import MISSING, Batch, Row, Schema, Type
from core.metrics import Metrics
from core.settings import decode_hook
from sinks.base import SinkContext
from sinks.delivery import Delivery, State
from sinks.settings import DeliverySettings
from sinks.sql.sink import SqlSink

METER = Schema(("station", "kw", "soc"), (Type.TEXT, Type.DOUBLE, Type.BIGINT))


def make(
    folder: Path, config: dict[str, Any], *schemas: Schema, url: Any = "sqlite:///data/h.db", **connection: Any
) -> SqlSink:
    settings = msgspec.convert({"table": "meter", **config}, SqlSink.Config, dec_hook=decode_hook)
    database = msgspec.convert({"url": url, **connection}, SqlConfig, dec_hook=decode_hook)
    shared = SqlConnection(database, ConnectionContext(name="sql", base_dir=folder))
    return SqlSink(settings, SinkContext(name="sql", base_dir=folder, schemas=schemas, connection=shared))


@asynccontextmanager
async def opened(folder: Path, config: dict[str, Any], *schemas: Schema, **connection: Any) -> AsyncIterator[SqlSink]:
    sink = make(folder, config, *schemas, **connection)
    try:
        await sink.open()
        yield sink
    finally:
        await sink.close()


def batch(*rows: Row, schema: Schema = METER) -> Batch:
    return Batch("sql", "rule", schema, list(rows))


@contextmanager
def database(folder: Path) -> Iterator[sqlite3.Connection]:
    (folder / "data").mkdir(exist_ok=True)
    connection = sqlite3.connect(folder / "data" / "h.db", isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def query(folder: Path, sql: str) -> list[Any]:
    with database(folder) as connection:
        return connection.execute(sql).fetchall()


# -- tables -------------------------------------------------------------------------------------------------------


async def test_a_missing_table_is_made_from_the_columns_of_all_rules(tmp_path: Path) -> None:
    other = Schema(("station", "soc", "payload"), (Type.TEXT, Type.TEXT, Type.OBJECT))
    async with opened(tmp_path, {"create_table": True}, METER, other):
        pass
    columns = query(tmp_path, "SELECT name, type, pk FROM pragma_table_info('meter')")
    assert columns == [("station", "TEXT", 0), ("kw", "DOUBLE", 0), ("soc", "BLOB", 0), ("payload", "TEXT", 0)]
    assert query(tmp_path, "PRAGMA journal_mode") == [("wal",)]


async def test_the_key_becomes_the_primary_key(tmp_path: Path) -> None:
    async with opened(tmp_path, {"create_table": True, "key": ["station", "soc"]}, METER) as sink:
        await sink.write(batch(("a", 1.0, 1), ("a", 1.0, 2)))
        with pytest.raises(Rejected, match="UNIQUE constraint failed"):
            await sink.write(batch(("a", 9.0, 1)))
        with pytest.raises(Rejected, match="NOT NULL constraint failed"):
            await sink.write(batch(("a", 9.0, MISSING)))
    assert query(tmp_path, "SELECT name, pk FROM pragma_table_info('meter')") == [("station", 1), ("kw", 0), ("soc", 2)]


async def test_without_known_columns_the_first_row_makes_the_table(tmp_path: Path) -> None:
    async with opened(tmp_path, {"create_table": True}) as sink:
        await sink.write(batch(("a", 1.0, 1)))
    assert query(tmp_path, "SELECT * FROM meter") == [("a", 1.0, 1)]


async def test_a_missing_table_is_named_with_the_way_out_and_heals(tmp_path: Path) -> None:
    sink = make(tmp_path, {}, METER)
    with pytest.raises(Unavailable, match="table meter does not exist: create it, or set create_table = true"):
        await sink.open()
    await sink.close()
    with database(tmp_path) as connection:
        connection.execute("CREATE TABLE meter (station, kw, soc)")
    await sink.open()
    await sink.write(batch(("a", 1.0, 1)))
    await sink.close()
    assert query(tmp_path, "SELECT * FROM meter") == [("a", 1.0, 1)]


async def test_a_missing_column_is_named_before_the_first_row(tmp_path: Path) -> None:
    with database(tmp_path) as connection:
        connection.execute("CREATE TABLE meter (station, kwh)")
    sink = make(tmp_path, {}, METER)
    with pytest.raises(
        Unavailable,
        match=r"has no columns 'kw' \(did you mean 'kwh'\?\), 'soc'; it has station, kwh\. Add the columns",
    ):
        await sink.open()
    await sink.close()


async def test_upsert_needs_a_unique_key_in_the_table(tmp_path: Path) -> None:
    with database(tmp_path) as connection:
        connection.execute("CREATE TABLE meter (station, kw, soc)")
    sink = make(tmp_path, {"write": "upsert", "key": ["station"]}, METER)
    with pytest.raises(Unavailable, match=r"no primary key or unique index on \(station\)"):
        await sink.open()
    with database(tmp_path) as connection:
        connection.execute("CREATE UNIQUE INDEX by_station ON meter (station)")
    await sink.open()
    await sink.close()


async def test_columns_may_have_other_names_in_the_table_and_other_case(tmp_path: Path) -> None:
    with database(tmp_path) as connection:
        connection.execute("CREATE TABLE meter (Station TEXT, power REAL, soc INTEGER)")
    async with opened(tmp_path, {"columns": {"kw": "power"}}, METER) as sink:
        await sink.write(batch(("a", 1.5, 7)))
    assert query(tmp_path, "SELECT Station, power, soc FROM meter") == [("a", 1.5, 7)]


async def test_two_columns_cannot_share_one(tmp_path: Path) -> None:
    sink = make(tmp_path, {"create_table": True, "columns": {"kw": "soc"}}, METER)
    with pytest.raises(Unavailable, match="would get two columns of the rule in its column 'soc'"):
        await sink.open()
    await sink.close()


async def test_odd_names_are_quoted(tmp_path: Path) -> None:
    schema = Schema(('we"ird', "per cent %s", "select"), (Type.TEXT, Type.TEXT, Type.TEXT))
    config = {"table": "a table; DROP", "create_table": True, "key": ['we"ird'], "write": "upsert"}
    async with opened(tmp_path, config, schema) as sink:
        await sink.write(batch(("a", "b", "c"), ("a", "x", "y"), schema=schema))
    assert query(tmp_path, 'SELECT * FROM "a table; DROP"') == [("a", "x", "y")]


# -- writing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "expected"),
    [("upsert", [("a", 2.0, 2), ("b", 1.0, 1)]), ("ignore", [("a", 1.0, 1), ("b", 1.0, 1)])],
)
async def test_upsert_and_ignore(tmp_path: Path, write: str, expected: list[Row]) -> None:
    config = {"write": write, "key": ["station"], "create_table": True}
    async with opened(tmp_path, config, METER) as sink:
        await sink.write(batch(("a", 1.0, 1), ("b", 1.0, 1)))
        await sink.write(batch(("a", 2.0, 2)))
    assert query(tmp_path, "SELECT * FROM meter ORDER BY station") == expected


async def test_upsert_of_a_table_that_is_all_key_and_ignore_without_a_key(tmp_path: Path) -> None:
    schema = Schema(("station",), (Type.TEXT,))
    config = {"write": "upsert", "key": ["station"], "create_table": True}
    async with opened(tmp_path, config, schema) as sink:
        await sink.write(batch(("a",), ("a",), schema=schema))
    async with opened(tmp_path, {"write": "ignore"}, schema) as sink:
        await sink.write(batch(("a",), ("b",), schema=schema))
    assert query(tmp_path, "SELECT * FROM meter ORDER BY station") == [("a",), ("b",)]


async def test_any_keeps_each_values_own_type(tmp_path: Path) -> None:
    schema = Schema(("v",), (Type.ANY,))
    values = [1, 1.0, "1", "007", 2.5, None, MISSING, b"\xff", {"a": [1, None]}, True]
    async with opened(tmp_path, {"create_table": True}, schema) as sink:
        await sink.write(batch(*[(value,) for value in values], schema=schema))
    found = [value for (value,) in query(tmp_path, "SELECT v FROM meter")]
    assert found == [1, 1.0, "1", "007", 2.5, None, None, b"\xff", '{"a":[1,null]}', 1]
    assert [type(value) for value in found[:2]] == [int, float]


async def test_instants_are_text_that_sqlalchemy_reads_back(tmp_path: Path) -> None:
    schema = Schema(("at", "text"), (Type.TIMESTAMP, Type.ANY))
    with database(tmp_path) as connection:
        connection.execute("CREATE TABLE meter (at DATETIME, text TEXT)")
    async with opened(tmp_path, {}, schema) as sink:
        await sink.write(batch((1_767_225_600_000_001, 1.5), ("2026-01-01T02:00:00+02:00", True), schema=schema))
        with pytest.raises(Rejected, match="years 1 to 9999"):
            await sink.write(batch((10**18, None), schema=schema))
    assert query(tmp_path, "SELECT * FROM meter") == [
        ("2026-01-01 00:00:00.000001", "1.5"),
        ("2026-01-01 00:00:00.000000", "true"),
    ]


async def test_a_column_of_dates_gets_dates(tmp_path: Path) -> None:
    """In UTC, in the form that SQLAlchemy reads back."""
    schema = Schema(("day", "number", "text"), (Type.TIMESTAMP, Type.BIGINT, Type.TEXT))
    query(tmp_path, "CREATE TABLE meter (day DATE, number DATE, text DATE)")
    async with opened(tmp_path, {}, schema) as sink:
        row = (1_767_225_600_000_001, 1_767_225_600_000, "2026-01-01T01:00:00+02:00")
        await sink.write(batch(row, (None, None, "2026-01-01"), schema=schema))
    assert query(tmp_path, "SELECT * FROM meter") == [
        ("2026-01-01", "2026-01-01", "2025-12-31"),
        (None, None, "2026-01-01"),
    ]


@pytest.mark.parametrize("declared", [Type.BIGINT, Type.ANY])
async def test_numbers_in_a_time_column_are_milliseconds(tmp_path: Path, declared: Type) -> None:
    schema = Schema(("at", "plain"), (declared, declared))
    with database(tmp_path) as connection:
        connection.execute("CREATE TABLE meter (at TIMESTAMP, plain INTEGER)")
    async with opened(tmp_path, {}, schema) as sink:
        await sink.write(batch((1_764_000_000_123, 1_764_000_000_123), schema=schema))
    assert query(tmp_path, "SELECT * FROM meter") == [("2025-11-24 16:00:00.123000", 1_764_000_000_123)]


async def test_what_the_database_refuses_is_rejected_alone_and_by_its_position(tmp_path: Path) -> None:
    with database(tmp_path) as connection:
        connection.execute("CREATE TABLE meter (station TEXT NOT NULL, kw REAL CHECK (kw < 100), soc INTEGER) STRICT")
    async with opened(tmp_path, {}, METER) as sink:
        for bad in [
            (None, 1.0, 1),
            ("a", 200.0, 1),
            ("a", 1.0, "x"),
            ("a", 1.0, 2**70),
            ("\ud800", 1.0, 1),
            ("a", 1j, 1),
        ]:
            with pytest.raises(Rejected) as caught:
                await sink.write(batch(("good", 1.0, 1), bad, ("good", 1.0, 2), bad))
            assert [index for index, _ in caught.value.rows] == [1, 3]
            assert all(reason and "\n" not in reason for _, reason in caught.value.rows)
            assert query(tmp_path, "DELETE FROM meter RETURNING soc") == [(1,), (2,)]


async def test_a_bad_row_never_blocks_a_good_one(tmp_path: Path) -> None:
    dead: list[Row] = []
    sink = make(tmp_path, {"create_table": True, "key": ["station"]}, METER)
    delivery = Delivery(
        "sql",
        sink,
        DeliverySettings(),
        clock=SystemClock(),
        metrics=Metrics(),
        on_room=lambda: None,
        on_dead=lambda written, rows: dead.extend(written.rows[index] for index, _ in rows),
    )
    await delivery.start()
    delivery.offer(batch(*[(None if n % 97 == 5 else f"cp{n}", 1.0, n) for n in range(1_000)]))
    await delivery.drain()
    await delivery.close()
    assert [row[2] for row in dead] == list(range(5, 1_000, 97))
    assert query(tmp_path, "SELECT count(*) FROM meter") == [(1_000 - len(dead),)]


# -- outages ------------------------------------------------------------------------------------------------------


async def test_a_locked_database_is_unavailable_and_heals(tmp_path: Path) -> None:
    async with opened(tmp_path, {"create_table": True}, METER, busy_timeout="1ms") as sink:
        with database(tmp_path) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="database is locked"):
                await sink.write(batch(("a", 1.0, 1)))
            other.execute("ROLLBACK")
        await sink.write(batch(("a", 1.0, 1)))
    assert query(tmp_path, "SELECT * FROM meter") == [("a", 1.0, 1)]


async def test_a_table_that_was_dropped_is_made_again(tmp_path: Path) -> None:
    async with opened(tmp_path, {"create_table": True}, METER) as sink:
        await sink.write(batch(("a", 1.0, 1)))
        with database(tmp_path) as other:
            other.execute("DROP TABLE meter")
        with pytest.raises(Unavailable, match="no such table: meter"):
            await sink.write(batch(("b", 1.0, 1)))
        await sink.write(batch(("b", 1.0, 1)))
    assert query(tmp_path, "SELECT * FROM meter") == [("b", 1.0, 1)]


async def test_a_file_that_was_deleted_or_replaced_is_not_written_to_any_more(tmp_path: Path) -> None:
    """SQLite would go on in the file that nobody can find, and say that all is well."""
    async with opened(tmp_path, {"create_table": True}, METER) as sink:
        await sink.write(batch(("lost", 1.0, 1)))
        for path in (tmp_path / "data").iterdir():
            path.unlink()
        with pytest.raises(Unavailable, match="no such table: meter"):
            await sink.write(batch(("b", 1.0, 1)))
        await sink.write(batch(("b", 1.0, 1)))
    assert query(tmp_path, "SELECT * FROM meter") == [("b", 1.0, 1)]


async def test_a_folder_that_cannot_be_made_and_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    sink = make(tmp_path, {"create_table": True}, METER)
    with pytest.raises(Unavailable, match=r"folder .*data of the SQLite file cannot be created: File exists"):
        await sink.open()
    await sink.close()
    sink = make(tmp_path, {"create_table": True}, METER, url="sqlite:///data")
    with pytest.raises(Unavailable, match="file is not a database"):
        await sink.open()
    await sink.close()


async def test_a_cancelled_write_is_taken_back(tmp_path: Path) -> None:
    async with opened(tmp_path, {"create_table": True}, METER, busy_timeout="1h") as sink:
        with database(tmp_path) as other:
            other.execute("BEGIN IMMEDIATE")
            task = asyncio.create_task(sink.write(batch(("late", 1.0, 1))))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            [abandoned] = sink._connection._abandoned
            other.execute("ROLLBACK")
        abandoned.worker._thread.join()
        await sink.write(batch(("next", 1.0, 1)))
    assert query(tmp_path, "SELECT station FROM meter") == [("next",)]


async def test_writes_that_hang_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path, {"create_table": True}, METER, busy_timeout="1h") as sink:
        monkeypatch.setattr("connections.sql.connection._MAX_ABANDONED", 1)
        with database(tmp_path) as other:
            other.execute("BEGIN IMMEDIATE")
            task = asyncio.create_task(sink.write(batch(("late", 1.0, 1))))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            with pytest.raises(Unavailable, match="does not answer: 1 calls hang"):
                await sink.write(batch(("next", 1.0, 1)))
            other.execute("ROLLBACK")
        for slot in sink._connection._abandoned:
            slot.worker._thread.join()


async def test_the_service_goes_on_while_the_table_is_missing(tmp_path: Path) -> None:
    delivery = Delivery(
        "sql",
        make(tmp_path, {}, METER),
        msgspec.convert({"retry": {"initial": "1ms", "max_delay": "1ms"}}, DeliverySettings, dec_hook=decode_hook),
        clock=SystemClock(),
        metrics=Metrics(),
        on_room=lambda: None,
        on_dead=lambda _batch, _rows: None,
    )
    await delivery.start()
    delivery.offer(batch(("a", 1.0, 1)))
    with database(tmp_path) as other:
        other.execute("CREATE TABLE meter (station, kw, soc)")
    await delivery.drain()
    assert delivery.state is State.CONNECTED
    await delivery.close()
    assert query(tmp_path, "SELECT station FROM meter") == [("a",)]


# -- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "url", "message"),
    [
        ({}, "nonsense", "url: not a database URL"),
        ({}, "nosuchdb://host/x", "SQLAlchemy knows no database 'nosuchdb'"),
        ({}, "postgresql+asyncpg://host/x", "asyncpg"),
        ({"write": "upsert"}, "sqlite:///h.db", "key: write = 'upsert' needs the columns"),
        ({"key": ["stations"]}, "sqlite:///h.db", "key: no rule yields 'stations'; they yield station, kw, soc"),
        ({"columns": {"kw": "x", "soc": "x"}}, "sqlite:///h.db", "columns: two columns go to the same column"),
        (
            {"columns": {"stations": "power"}},
            "sqlite:///h.db",
            "columns: no rule yields 'stations' .did you mean 'station'",
        ),
        ({}, {"env": "HEADRACE_NO_SUCH_VARIABLE"}, "HEADRACE_NO_SUCH_VARIABLE is not set"),
        ({}, "sqlite:///x.db?timeout=abc", "url"),
    ],
)
def test_wrong_settings(tmp_path: Path, config: dict[str, Any], url: Any, message: str) -> None:
    with pytest.raises((ConfigError, ExtensionError), match=message):
        make(tmp_path, config, METER, url=url)


def test_without_a_connection(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a connection of type 'sql'"):
        SqlSink(SqlSink.Config(table="x"), SinkContext(name="sql", base_dir=tmp_path))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://u:geheim@host/db", r"needs psycopg for postgresql: pip install 'headrace\[postgres\]'"),
        ("postgresql+psycopg2://u:geheim@host/db", r"leave '\+psycopg2' away, then pip install 'headrace\[postgres\]'"),
        ("mysql://u:geheim@host/db", r"needs pymysql for mysql: pip install 'headrace\[mysql\]'"),
        ("mariadb://u:geheim@host/db", r"needs pymysql for mariadb: pip install 'headrace\[mysql\]'"),
    ],
)
def test_an_absent_driver_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    real = builtins.__import__

    def without_drivers(name: str, *rest: Any, **named: Any) -> Any:
        if name in ("psycopg", "psycopg2", "pymysql"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without_drivers)
    with pytest.raises(ExtensionError, match=message) as caught:
        make(tmp_path, {}, METER, url=url)
    assert "geheim" not in str(caught.value)


async def test_passwords_never_show(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    sink = make(tmp_path, {}, METER, url="postgresql://user:geheim@127.0.0.1:1/db?password=geheim")
    with pytest.raises(Unavailable) as caught:
        await sink.open()
    await sink.close()
    assert "geheim" not in str(caught.value)
    assert "postgresql+psycopg://user:***@127.0.0.1:1/db" in str(caught.value)
    assert "geheim" not in repr(sink.context)
