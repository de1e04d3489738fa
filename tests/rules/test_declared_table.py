"""Lookup tables: what CREATE TABLE declares, and joins over it in the engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.errors import RuleError
from core.message import Message, Schema, Type
from core.metrics import Metrics
from rules.compiler import RuleSet, RuleSource, compile_rules
from rules.declared_options import OF_FILES, TABLE
from rules.declared_table import DeclaredTable, declare_table
from rules.diagnostics import Problems, Source
from rules.joins import LookupOptions, OnFailure
from rules.nodes import CreateTable
from rules.runtime import Engine
from rules.statements import parse

# ruff: noqa: S608 - SQL from strings is what is tested here

SECOND = 1_000_000
COLUMNS = "(id TEXT, site TEXT, price DECIMAL)"
DATABASE = "connection = 'db', table = 'stations'"

WAITING = "timeout = '250ms', on_error = 'drop', max_parked = 9"


def declared(options: str, columns: str = COLUMNS) -> DeclaredTable:
    problems = Problems(Source("r.sql", f"CREATE TABLE stations {columns} WITH ({options})"))
    [statement] = parse(problems)
    assert isinstance(statement.tree, CreateTable)
    table = declare_table(statement.tree, problems)
    assert table is not None, problems.found[0].render()
    return table


def errors(statement: str) -> list[str]:
    with pytest.raises(RuleError) as caught:
        compile_rules([RuleSource("rules/r.sql", f'{statement}; INSERT INTO out SELECT topic FROM "t"')])
    return str(caught.value).split("\n\n")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (f"{DATABASE}, key = 'id'", LookupOptions(("id",), "db", "stations")),
        (f"type = 'lookup', {DATABASE}, key = ['site', 'id']", LookupOptions(("site", "id"), "db", "stations")),
        (
            "file = 'a/Stations.CSV', key = 'id', max_entries = 7",
            LookupOptions(("id",), file="a/Stations.CSV", max_entries=7),
        ),
        (
            "connection = 'db', query = 'SELECT * FROM s WHERE id IN (:keys)', key = 'id', description = 'why'",
            LookupOptions(("id",), "db", query="SELECT * FROM s WHERE id IN (:keys)"),
        ),
        (
            f"{DATABASE}, key = 'id', ttl = '10 minutes', negative_ttl = '0s', max_entries = 5, {WAITING}",
            LookupOptions(
                ("id",),
                "db",
                "stations",
                ttl=600 * SECOND,
                negative_ttl=0,
                max_entries=5,
                timeout=250_000,
                on_error=OnFailure.DROP,
                max_parked=9,
            ),
        ),
    ],
)
def test_options(options: str, expected: LookupOptions) -> None:
    assert declared(options).options == expected


def test_columns_have_their_types_and_may_be_null() -> None:
    specs = declared(f"{DATABASE}, key = 'id'", "(id BIGINT, site TEXT)").columns.specs
    assert {name: (spec.type, spec.always) for name, spec in specs.items()} == {
        "id": (Type.BIGINT, False),
        "site": (Type.TEXT, False),
    }


def test_every_option_of_a_lookup_can_be_written() -> None:
    written = set(TABLE) - {"type", "description"}
    assert written == set(LookupOptions.__dataclass_fields__)
    assert set(TABLE) > OF_FILES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("connection = 'db', key = 'id'", "nothing says where the rows"),
        (f"{DATABASE}, file = 'a.csv', key = 'id'", "a table has one of file, table and query"),
        (f"{DATABASE}, query = 'q :keys', key = 'id'", "a table has one of file, table and query"),
        ("table = 'stations', key = 'id'", "the option 'table' needs a connection"),
        ("file = 'a.xlsx', key = 'id'", "ends in .csv or .json"),
        ("file = 'a.csv', key = 'id', connection = 'db'", "'connection' is about a database"),
        ("file = 'a.csv', key = 'id', ttl = '5s'", "'ttl' is about a database"),
        (DATABASE, "a lookup table has a key"),
        (f"{DATABASE}, key = 'i'", "there is no column 'i'"),
        (f"{DATABASE}, key = ['id', 'id']", "'id' is in the key already"),
        (f"{DATABASE}, key = 7", "the option 'key' is a text or a list of texts"),
        ("connection = 'db', query = 'SELECT 1', key = 'id'", "the query asks for no keys"),
        ("connection = 'db', query = 'q :keys', key = ['id', 'site']", "a query has a key of one column"),
        (f"{DATABASE}, key = 'id', timeout = '0s'", "the option 'timeout' is longer than nothing"),
        (f"{DATABASE}, key = 'id', max_entries = 0", "the option 'max_entries' is a whole number from 1 to"),
        (f"{DATABASE}, key = 'id', on_error = 'fail'", "the option 'on_error' is one of 'stale', 'null', 'drop'"),
        (f"{DATABASE}, key = 'id', type = 'redis'", "the option 'type' is one of 'lookup'"),
        (f"{DATABASE}, key = 'id', cache = true", "there is no option 'cache'"),
    ],
)
def test_options_that_cannot_be(options: str, message: str) -> None:
    [only] = errors(f"CREATE TABLE stations {COLUMNS} WITH ({options})")
    assert message in only


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("", "a lookup table has columns"),
        ("(id TEXT NOT NULL)", "NOT NULL is not supported in a lookup table"),
        ("(id TEXT, price DECIMAL(8, 2))", "digits of a DECIMAL"),
        ("(id TEXT, id BIGINT)", "there is already a column 'id'"),
    ],
)
def test_columns_that_cannot_be(columns: str, message: str) -> None:
    [only] = errors(f"CREATE TABLE stations {columns} WITH ({DATABASE}, key = 'id')")
    assert message in only


def test_a_table_alone_gives_no_rows() -> None:
    sql = f"CREATE TABLE stations {COLUMNS} WITH ({DATABASE}, key = 'id'); INSERT INTO out SELECT * FROM stations"
    with pytest.raises(RuleError) as caught:
        compile_rules([RuleSource("rules/r.sql", sql)])
    assert "JOIN" in str(caught.value)


def joined(join: str) -> RuleSet:
    source = "CREATE SOURCE meter (station TEXT, power DOUBLE) WITH (topic = 'cp/{station}/meter');"
    table = "CREATE TABLE stations (id TEXT, site TEXT) WITH (file = 'stations.csv', key = 'id');"
    sql = f"{source}{table}INSERT INTO out SELECT station, site, power FROM meter {join} stations ON id = station"
    return compile_rules([RuleSource("rules/r.sql", sql)])


@pytest.mark.parametrize(("join", "more"), [("JOIN", []), ("LEFT JOIN", [("B", None, 2.0)])])
def test_a_stream_meets_its_table(join: str, more: list[Any]) -> None:
    rules = joined(join)
    [table] = rules.tables
    assert (table.name, table.schema) == ("stations", Schema(("id", "site"), (Type.TEXT, Type.TEXT)))
    engine = Engine(Metrics())
    engine.load(rules)
    engine.lookup_tables["stations"].replace({"A": (("A", "north"),)})
    messages = [
        Message(f"cp/{station}/meter", json.dumps({"power": power}).encode()) for station, power in (("A", 1), ("B", 2))
    ]
    rows = [row for batch in engine.process(messages, 0) for row in batch.rows]
    assert rows == [("A", "north", 1.0), *more]
