"""The sql sink against real PostgreSQL and MariaDB: the contract suite, refusals, lost connections."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from connections.base import ConnectionContext
from connections.sql.config import SqlConfig
from connections.sql.connection import SqlConnection
from connections.sql.engine import make_engine, parse_url
from core.errors import Rejected, Unavailable
from core.message import MISSING, Batch, Row, Schema, Type
from core.settings import Secret
from headrace.testing import SinkContract
from sinks.base import Sink, SinkContext
from sinks.encoding import EPOCH, rfc3339
from sinks.sql.sink import SqlSink
from tests.servers import Mariadb, Postgresql

pytestmark = pytest.mark.integration
METER = Schema(("station", "kw", "soc"), (Type.TEXT, Type.DOUBLE, Type.BIGINT))


@pytest.fixture(scope="session")
def postgresql_url(postgresql: Postgresql) -> str:
    pytest.importorskip("psycopg", reason="psycopg is not installed (pip install 'headrace[postgres]')")
    return postgresql.url


@pytest.fixture(scope="session")
def mariadb_url(mariadb: Mariadb) -> str:
    pytest.importorskip("pymysql", reason="pymysql is not installed (pip install 'headrace[mysql]')")
    return mariadb.url


@pytest.fixture(params=["postgresql_url", "mariadb_url"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def execute(url: str, *statements: str) -> list[dict[str, Any]]:
    """Run statements; the rows of the last one."""
    engine = make_engine(parse_url(url, Path()), SqlConfig(url=Secret.parse(url)), Path())
    with engine.begin() as connection:
        for statement in statements:
            result = connection.execute(sa.text(statement))
        return [dict(row) for row in result.mappings()] if result.returns_rows else []


def make(url: str, schemas: tuple[Schema, ...] = (METER,), **config: Any) -> SqlSink:
    connection = SqlConnection(SqlConfig(url=Secret.parse(url)), ConnectionContext(name="sql", base_dir=Path()))
    context = SinkContext(name="sql", base_dir=Path(), schemas=schemas, connection=connection)
    return SqlSink(SqlSink.Config(**{"table": "meter", **config}), context)


def batch(*rows: Row, schema: Schema = METER) -> Batch:
    return Batch("sql", "rule", schema, list(rows))


class ServerContract(SinkContract):
    url: str

    def make_sink(self, context: SinkContext) -> Sink:
        settings = SqlConfig(url=Secret.parse(self.url))
        connection = SqlConnection(settings, ConnectionContext(name="sql", base_dir=Path()))
        config = SqlSink.Config(table="contract", create_table=True, key=("id",))
        return SqlSink(config, dataclasses.replace(context, connection=connection))

    async def read_back(self) -> Sequence[dict[str, Any]]:
        engine = make_engine(parse_url(self.url, Path()), SqlConfig(url=Secret.parse(self.url)), Path())
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table("contract"):
                return []
            return [dict(row) for row in connection.execute(sa.text("SELECT * FROM contract")).mappings()]

    def arrives_as(self, kind: Type, value: Any) -> Any:
        if value is MISSING or value is None:
            return None
        if kind is Type.ANY:
            return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        if kind is Type.TIMESTAMP:
            return EPOCH.fromisoformat(rfc3339(value))
        return value

    def bad_row(self, identity: int) -> Row:
        return (None, f"no id {identity}", 1.0)


class TestPostgresql(ServerContract):
    @pytest.fixture(autouse=True)
    def table(self, postgresql_url: str) -> None:
        self.url = postgresql_url
        execute(postgresql_url, "DROP TABLE IF EXISTS contract")


class TestMariadb(ServerContract):
    @pytest.fixture(autouse=True)
    def table(self, mariadb_url: str) -> None:
        self.url = mariadb_url
        execute(mariadb_url, "DROP TABLE IF EXISTS contract")

    def arrives_as(self, kind: Type, value: Any) -> Any:
        if isinstance(value, list | dict):
            return json.dumps(value, separators=(",", ":"))
        value = super().arrives_as(kind, value)
        if kind is Type.TIMESTAMP and value is not None:
            return value.astimezone(UTC).replace(tzinfo=None)
        return int(value) if isinstance(value, bool) else Decimal(value) if kind is Type.DECIMAL and value else value


@pytest.mark.parametrize(
    ("write", "expected"),
    [("upsert", [("a", 2.0, 2), ("b", 1.0, 1)]), ("ignore", [("a", 1.0, 1), ("b", 1.0, 1)])],
)
async def test_upsert_and_ignore(url: str, write: str, expected: list[Row]) -> None:
    execute(url, "DROP TABLE IF EXISTS meter")
    sink = make(url, write=write, key=("station",), create_table=True)
    await sink.open()
    try:
        await sink.write(batch(("a", 1.0, 1), ("b", 1.0, 1)))
        await sink.write(batch(("a", 1.5, 2), ("a", 2.0, 2)))
    finally:
        await sink.close()
    assert [tuple(row.values()) for row in execute(url, "SELECT * FROM meter ORDER BY station")] == expected


async def test_keys_that_differ_in_case_are_different(url: str) -> None:
    execute(url, "DROP TABLE IF EXISTS meter")
    sink = make(url, key=("station",), create_table=True)
    await sink.open()
    try:
        await sink.write(batch(("a", 1.0, 1), ("A", 1.0, 1), ("ä", 1.0, 1)))
    finally:
        await sink.close()


async def test_what_the_server_refuses_is_rejected(url: str) -> None:
    execute(
        url,
        "DROP TABLE IF EXISTS meter",
        "CREATE TABLE meter (station VARCHAR(3) NOT NULL, kw DOUBLE PRECISION CHECK (kw < 100), soc SMALLINT)",
    )
    sink = make(url)
    await sink.open()
    try:
        bad: list[Row] = [
            (None, 1.0, 1),
            ("too long", 1.0, 1),
            ("a", 200.0, 1),
            ("a", 1.0, 2**40),
            ("a", 1.0, 2**80),
            ("a", 1.0, "x"),
            ("a", float("nan"), {"a": 1}),
        ]
        for row in bad:
            with pytest.raises(Rejected) as caught:
                await sink.write(batch(("ok", 1.0, 1), row, ("ok", 2.0, True)))
            assert "\n" not in str(caught.value)
            found = [tuple(row.values()) for row in execute(url, "SELECT * FROM meter")]
            if caught.value.rows:
                assert [index for index, _ in caught.value.rows] == [1]
                assert found == [("ok", 1.0, 1), ("ok", 2.0, 1)]
                execute(url, "DELETE FROM meter")
            else:  # which one is for the delivery to find
                assert found == []
                assert not url.startswith("postgresql")  # COPY says it
    finally:
        await sink.close()


async def test_text_columns_take_numbers_and_number_columns_take_numerals(url: str) -> None:
    execute(
        url,
        "DROP TABLE IF EXISTS meter",
        "CREATE TABLE meter (station TEXT, kw DOUBLE PRECISION, soc BIGINT)",
    )
    schema = Schema(METER.names, (Type.ANY, Type.ANY, Type.ANY))
    sink = make(url, (schema,))
    await sink.open()
    try:
        await sink.write(batch((7, "1.5", "12"), (2.5, 3, 1.0), ({"a": 1}, None, True), schema=schema))
    finally:
        await sink.close()
    rows = [tuple(row.values()) for row in execute(url, "SELECT * FROM meter")]
    assert rows == [("7", 1.5, 12), ("2.5", 3.0, 1), ('{"a":1}', None, 1)]


async def test_instants_in_every_form(url: str) -> None:
    zoned = "TIMESTAMP WITH TIME ZONE" if url.startswith("postgresql") else "TIMESTAMP(6) NULL"
    local = "TIMESTAMP" if url.startswith("postgresql") else "DATETIME(6)"
    execute(url, "DROP TABLE IF EXISTS meter", f"CREATE TABLE meter (id BIGINT, at {zoned}, loc {local}, day DATE)")
    forms: list[tuple[Type, Any]] = [
        (Type.TIMESTAMP, 1_764_000_000_123_000),
        (Type.BIGINT, 1_764_000_000_123),
        (Type.ANY, 1_764_000_000_123),
        (Type.DOUBLE, 1_764_000_000_123.0),
        (Type.DECIMAL, Decimal("1764000000123.0")),
        (Type.TEXT, "2025-11-24T17:00:00.123+01:00"),
        (Type.ANY, "2025-11-24 16:00:00.123"),
    ]
    for config in ({}, {"write": "ignore"}):
        for number, (declared, value) in enumerate(forms):
            schema = Schema(("id", "at", "loc", "day"), (Type.BIGINT, declared, declared, declared))
            sink = make(url, (schema,), **config)
            await sink.open()
            try:
                await sink.write(batch((number, value, value, value), (number, None, MISSING, None), schema=schema))
            finally:
                await sink.close()
    moment = EPOCH.fromisoformat("2025-11-24T16:00:00.123Z")
    without = moment.replace(tzinfo=None)
    at = moment if url.startswith("postgresql") else without
    found = execute(url, "SELECT at, loc, day FROM meter WHERE at IS NOT NULL")
    assert [tuple(row.values()) for row in found] == [(at, without, without.date())] * 2 * len(forms)


@pytest.mark.filterwarnings("ignore:Did not recognize type:sqlalchemy.exc.SAWarning")  # pytest's own filters hide ours
async def test_columns_of_types_that_sqlalchemy_does_not_know(url: str) -> None:
    strange = "INET6"
    execute(url, "DROP TABLE IF EXISTS meter")
    if url.startswith("postgresql"):
        execute(url, "DROP TYPE IF EXISTS phases", "CREATE TYPE phases AS (l1 INTEGER, l2 INTEGER)")
        strange = "phases"
    execute(url, f"CREATE TABLE meter (station TEXT, kw {strange}, soc BIGINT)")
    schema = Schema(METER.names, (Type.TEXT, Type.TEXT, Type.BIGINT))
    sink = make(url, (schema,))
    await sink.open()
    try:
        await sink.write(batch(("a", "(1,2)" if strange == "phases" else "::1", 1), schema=schema))
        with pytest.raises(Rejected, match=rf"(?i){'record' if strange == 'phases' else strange}"):
            await sink.write(batch(("a", "nothing", 1), schema=schema))
    finally:
        await sink.close()
    assert len(execute(url, "SELECT * FROM meter")) == 1


@pytest.mark.parametrize("declared", [Type.ANY, Type.TEXT])
async def test_a_json_column_takes_json_of_everything(url: str, declared: Type) -> None:
    execute(url, "DROP TABLE IF EXISTS meter", "CREATE TABLE meter (id BIGINT, doc JSON)")
    schema = Schema(("id", "doc"), (Type.BIGINT, declared))
    values = ["text", '{"a": 1}', "", None] + ([{"a": [1, None]}, 7, True] if declared is Type.ANY else [])
    sink = make(url, (schema,))
    await sink.open()
    try:
        await sink.write(batch(*enumerate(values), schema=schema))
    finally:
        await sink.close()
    found = [row["doc"] for row in execute(url, "SELECT doc FROM meter ORDER BY id")]
    if not url.startswith("postgresql"):
        found = [None if text is None else json.loads(text) for text in found]
    assert found == values


async def test_a_refusal_names_the_column_and_the_reason(postgresql_url: str) -> None:
    """The texts of MariaDB do so themselves."""
    url = postgresql_url
    execute(
        url,
        "DROP TABLE IF EXISTS meter",
        'CREATE TABLE meter (station TEXT UNIQUE, "the: kw" NUMERIC(4, 2), soc SMALLINT, ok BOOLEAN NOT NULL)',
    )
    schema = Schema(("station", "the: kw", "soc", "ok"), (Type.ANY,) * 4)
    bad: list[tuple[Row, str, str | None]] = [  # the second text is UNNEST's, where it differs
        (("a", 12345, 1, True), r"column 'the: kw': numeric field overflow \(.* precision 4, scale 2", "numeric field"),
        (("a", "x", 1, True), r"column 'the: kw': invalid input syntax for type numeric: \"x\"", None),
        (("a", 1, 70_000, True), r"column 'soc': value \"70000\" is out of range for type smallint", None),
        (("a", 1, 1.5, True), r"column 'soc': 1\.5 is no whole number", None),
        (("\0", 1, 1, True), r"column 'station': text with a NUL character", None),
        (("\ud800", 1, 1, True), r"column 'station': .*surrogates not allowed", None),
        (("a", 1, 1, None), r"null value in column \"ok\" .* violates not-null constraint$", None),
    ]
    for config in ({}, {"write": "upsert", "key": ("station",)}):
        sink = make(url, (schema,), **config)
        await sink.open()
        try:
            for row, reason, unnest in bad:
                with pytest.raises(Rejected) as caught:
                    await sink.write(batch(row, schema=schema))
                [text] = [text for _, text in caught.value.rows] or [str(caught.value)]
                assert re.search(unnest or reason if config else reason, text), text
        finally:
            await sink.close()
    sink = make(url, (schema,))
    await sink.open()
    try:
        with pytest.raises(Rejected, match=r"\(Key \(station\)=\(a\) already exists\.\)"):
            await sink.write(batch(("a", 1, 1, True), ("a", 2, 1, True), schema=schema))
    finally:
        await sink.close()


async def test_a_user_who_may_only_read_is_told_before_the_first_row(postgresql_url: str) -> None:
    execute(
        postgresql_url,
        "DROP TABLE IF EXISTS meter",
        "CREATE TABLE meter (station TEXT PRIMARY KEY, kw DOUBLE PRECISION, soc BIGINT)",
        "DROP ROLE IF EXISTS reader",
        "CREATE ROLE reader LOGIN PASSWORD 'reader'",
        "GRANT SELECT ON meter TO reader",
    )
    sink = make(postgresql_url.replace("ci:ci", "reader:reader"), write="upsert", key=("station",))
    with pytest.raises(Unavailable, match="does not let the user write: GRANT INSERT, UPDATE ON meter TO"):
        await sink.check()
    execute(postgresql_url, "GRANT INSERT, UPDATE ON meter TO reader")
    await sink.check()
    execute(postgresql_url, "DROP TABLE meter", "DROP ROLE reader")


async def test_statements_of_ones_own(url: str) -> None:
    cast, seconds, change = "(:soc)", "from_unixtime(:soc)", "ON DUPLICATE KEY UPDATE kw = VALUES(kw) + :kw"
    instant = "DATETIME"
    if url.startswith("postgresql"):
        cast, seconds, change = (
            ":soc::bigint",
            "to_timestamp(:soc)",
            "ON CONFLICT (station) DO UPDATE SET kw = EXCLUDED.kw + :kw",
        )
        instant = "TIMESTAMP WITH TIME ZONE"
    table = (
        f"CREATE TABLE meter (station VARCHAR(9) PRIMARY KEY, kw DOUBLE PRECISION, n BIGINT, at {instant}, note TEXT)"
    )
    statement = f"INSERT INTO meter VALUES (:station, :kw, {cast}, {seconds}, '5% %s 12:30\\:x') {change}"  # noqa: S608
    execute(url, "DROP TABLE IF EXISTS meter")
    sink = make(url, table=None, statement=statement)
    for attempt in (sink.open, sink.check):
        with pytest.raises(
            Unavailable, match=r"the database refuses the statement: .*meter.* (does not|doesn't) exist"
        ):
            await attempt()
    execute(url, table)
    await sink.check()
    await sink.open()
    try:
        await sink.write(batch(("a", 1.5, 1_764_000_000), ("b", 2.0, 0)))
        await sink.write(batch(("a", 2.0, 1)))
    finally:
        await sink.close()
    found = [tuple(row.values()) for row in execute(url, "SELECT * FROM meter ORDER BY station")]
    moment = EPOCH.fromisoformat("2025-11-24T16:00:00Z")
    at = moment if url.startswith("postgresql") else moment.replace(tzinfo=None)
    assert found[0] == ("a", 4.0, 1_764_000_000, at, "5% %s 12:30:x")
    assert found[1][:3] == ("b", 2.0, 0)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO meter (station, kwh) VALUES (:station, :kw)",
        "INSERT INTO meter VALUE S (:station)",
        "DELETE FROM meter WHERE station = :station; DELETE FROM meter",
    ],
)
async def test_a_statement_that_is_wrong_for_every_row_is_found_at_the_start(url: str, statement: str) -> None:
    execute(url, "DROP TABLE IF EXISTS meter", "CREATE TABLE meter (station TEXT)", "INSERT INTO meter VALUES ('a')")
    sink = make(url, table=None, statement=statement)
    with pytest.raises(Unavailable, match="the database refuses the statement: "):
        await sink.open()
    await sink.close()
    assert len(execute(url, "SELECT * FROM meter")) == 1


async def test_a_dropped_table_and_a_lost_connection_heal(url: str) -> None:
    execute(url, "DROP TABLE IF EXISTS meter")
    sink = make(url, create_table=True)
    await sink.open()
    try:
        await sink.write(batch(("a", 1.0, 1)))
        execute(url, "DROP TABLE meter")
        with pytest.raises(Unavailable, match="meter"):
            await sink.write(batch(("b", 1.0, 1)))
        await sink.write(batch(("b", 1.0, 1)))
        kill = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'ci'"
            if url.startswith("postgresql")
            else ""
        )
        if kill:
            execute(url, kill)
        else:
            for process in execute(url, "SHOW PROCESSLIST"):
                if process["Command"] == "Sleep":
                    execute(url, f"KILL {process['Id']}")
        with pytest.raises(Unavailable):
            await sink.write(batch(("c", 1.0, 1)))
        await sink.write(batch(("c", 1.0, 1)))
    finally:
        await sink.close()
    assert [row["station"] for row in execute(url, "SELECT station FROM meter ORDER BY station")] == ["b", "c"]


async def test_a_server_that_is_away_is_unavailable(url: str) -> None:
    with closing(__import__("socket").socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        away = sa.make_url(url).set(port=port).render_as_string(hide_password=False)
        sink = make(away)
        with pytest.raises(Unavailable, match=r"ci:\*\*\*@127\.0\.0\.1"):
            await sink.open()
        await sink.close()
