"""Rows of a database by their keys, over the sql connection."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from connections.base import ConnectionContext
from connections.lookup import LookupSource
from connections.sql import lookup
from connections.sql.config import SqlConfig
from connections.sql.connection import SqlConnection
from core.errors import Unavailable
from core.settings import decode_hook
from tests.servers import Mariadb, Postgresql

STATIONS = [(1, "a", "north"), (2, "b", "south"), (2, "b2", "west"), (3, "c", None)]


def make(url: str, folder: Path) -> SqlConnection:
    config = msgspec.convert({"url": url}, SqlConfig, dec_hook=decode_hook)
    return SqlConnection(config, ConnectionContext(name="db", base_dir=folder))


@contextmanager
def database(folder: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(folder / "x.db", isolation_level=None)) as connection:
        yield connection


@pytest.fixture
async def connection(tmp_path: Path) -> Any:
    with database(tmp_path) as db:
        db.execute("CREATE TABLE stations (id INTEGER, name TEXT, site TEXT)")
        db.executemany("INSERT INTO stations VALUES (?, ?, ?)", STATIONS)
    connection = make("sqlite:///x.db", tmp_path)
    user = object()
    await connection.join(user)
    yield connection
    await connection.leave(user)


def of_table(*key: str, columns: tuple[str, ...] | None = None) -> LookupSource:
    return LookupSource(key or ("id",), columns, table="stations")


async def test_a_database_that_is_only_read_stays_as_it_is(tmp_path: Path) -> None:
    """Another program's, or one that nobody may write."""
    with database(tmp_path) as db:
        db.execute("CREATE TABLE stations (id INTEGER, name TEXT)")
        db.execute("INSERT INTO stations VALUES (1, 'a')")
    before = (tmp_path / "x.db").read_bytes()
    for url in ("sqlite:///x.db", f"sqlite:///file:{tmp_path}/x.db?mode=ro&uri=true"):
        connection = make(url, tmp_path)
        assert "SQLite" in await connection.check()
        user = object()
        await connection.join(user)
        assert await connection.finder(of_table()).find([(1,)]) == [{"id": 1, "name": "a"}]
        await connection.leave(user)
    assert (tmp_path / "x.db").read_bytes() == before


async def test_all_rows_of_many_keys(connection: SqlConnection) -> None:
    finder = connection.finder(of_table())
    found = await finder.find([(1,), (2,), (9,)])
    assert [tuple(row.values()) for row in found] == STATIONS[:3]
    assert list(found[0]) == ["id", "name", "site"]
    assert await finder.find([]) == []


async def test_only_the_columns_that_are_wanted_and_the_key(connection: SqlConnection) -> None:
    found = await connection.finder(of_table(columns=("site",))).find([(1,)])
    assert found == [{"id": 1, "site": "north"}]


async def test_a_key_of_several_columns(connection: SqlConnection) -> None:
    finder = connection.finder(of_table("id", "name"))
    found = await finder.find([(2, "b"), (1, "b"), (3, "c"), (3.0, "c"), ("3", "c")])
    assert [row["site"] for row in found] == ["south", None, None]


async def test_keys_that_a_column_cannot_hold_are_not_sent(connection: SqlConnection) -> None:
    finder = connection.finder(of_table())
    keys = [("1",), (True,), (b"1",), ([1],), ({},), (1 << 70,), ("\ud800",), ("a\0",)]
    assert await finder.find(keys) == []
    assert [row["id"] for row in await finder.find([*keys, (1.0,), (Decimal("3.0"),), (Decimal("2.5"),)])] == [1, 3]
    by_name = connection.finder(of_table("name"))
    assert [row["id"] for row in await by_name.find([(1,), ("a",), (True,), ("\ud800",)])] == [1]


@pytest.mark.parametrize("form", ["IN (:keys)", "in ( :keys )", "= ANY(:keys)", "IN :keys"])
async def test_a_query_of_ones_own(connection: SqlConnection, form: str) -> None:
    query = f"SELECT id, upper(name) AS name, '::x' AS c FROM stations WHERE id {form} AND site IS NOT NULL"  # noqa: S608
    finder = connection.finder(LookupSource(("id",), query=query))
    found = await finder.find([(1,), (3,), ("2",), (2.0,)])
    assert sorted((row["id"], row["name"], row["c"]) for row in found if row["id"] != 2) == [(1, "A", "::x")]
    assert [row["name"] for row in found if row["id"] == 2][:2] == ["B", "B2"]


async def test_what_is_wrong_is_told_and_heals(connection: SqlConnection, tmp_path: Path) -> None:
    finder = connection.finder(LookupSource(("id",), ("id", "sight"), table="stations"))
    with pytest.raises(Unavailable, match=r"table stations has no column 'sight' \(did you mean 'site'"):
        await finder.find([(1,)])
    with database(tmp_path) as db:
        db.execute("ALTER TABLE stations RENAME COLUMN site TO sight")
    assert await finder.find([(1,)]) == [{"id": 1, "sight": "north"}]
    with database(tmp_path) as db:
        db.execute("DROP TABLE stations")
    with pytest.raises(Unavailable, match="no such table"):
        await finder.find([(1,)])
    with pytest.raises(Unavailable, match="table stations does not exist"):
        await finder.find([(1,)])
    with pytest.raises(Unavailable, match="lookup query: no such column: nowhere"):
        await connection.finder(LookupSource(("id",), query="SELECT nowhere WHERE 1 IN (:keys)")).find([(1,)])


async def test_an_answer_without_end_is_refused(connection: SqlConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "MAX_ROWS", 2)
    with pytest.raises(Unavailable, match="more than 2 rows for 2 keys"):
        await connection.finder(of_table()).find([(1,), (2,)])


async def test_a_key_column_of_time_is_refused(connection: SqlConnection, tmp_path: Path) -> None:
    with database(tmp_path) as db:
        db.execute("CREATE TABLE days (day DATE)")
    with pytest.raises(Unavailable, match="key column 'day' is of type DATE, which no key can be"):
        await connection.finder(LookupSource(("day",), table="days")).find([(1,)])


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
async def test_real_servers(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    server: Postgresql | Mariadb = request.getfixturevalue(kind)
    connection = make(server.url, tmp_path)
    name = f"stations_{uuid.uuid4().hex[:8]}"
    user = object()
    await connection.join(user)

    def prepare(statement: str) -> Any:
        return connection.run(lambda session: session.transaction(lambda cursor: cursor.execute(statement)))

    try:
        await prepare(f"CREATE TABLE {name} (id INTEGER, name VARCHAR(20), price NUMERIC(8, 2), day DATE)")
        await prepare(f"INSERT INTO {name} VALUES (1, 'a', 1.50, '2026-01-02'), (2, 'b', NULL, NULL)")  # noqa: S608
        finder = connection.finder(LookupSource(("id",), table=name))
        found = await finder.find([(1,), (2.0,), ("1",), ("x",), (True,), (Decimal(7),)])
        assert sorted((row["id"], row["name"], row["price"]) for row in found) == [
            (1, "a", Decimal("1.50")),
            (2, "b", None),
        ]
        both = connection.finder(LookupSource(("id", "name"), table=name))
        assert [row["id"] for row in await both.find([(1, "a"), (2, "a")])] == [1]
        query = f"SELECT id, name FROM {name} WHERE name IN (:keys)"  # noqa: S608
        by_query = connection.finder(LookupSource(("name",), query=query))
        assert [row["id"] for row in await by_query.find([("b",)])] == [2]
    finally:
        await prepare(f"DROP TABLE {name}")
        await connection.leave(user)
