"""What arrives in databases and in Parquet, read back with the drivers' own clients: value and type.

Values are shown as the far side itself writes them, binary ones as hexadecimal digits.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pytest

from connections.influxdb import InfluxdbConnection
from connections.sql.connection import SqlConnection
from sinks.file.sink import FileSink
from sinks.influxdb.sink import InfluxdbSink
from sinks.sql.sink import SqlSink
from tests.servers import Influxdb, Mariadb, Postgresql
from tests.types.sending import arrived, code, connect, make, send, typed
from tests.types.table import CASES


async def _sql(url: str, folder: Path) -> dict[str, str]:
    """Write everything to a table that the sink makes: a row per case, a column per case."""
    return await send(make(SqlSink, folder, connect(SqlConnection, url=url), table="types", create_table=True))


def _column(value: object, kind: object) -> str:
    if value is None:
        return "NULL"
    return typed(f"X'{value.hex().upper()}'" if isinstance(value, bytes) else value, kind)


async def sqlite(_: None, folder: Path) -> dict[str, str]:
    path = folder / "types.db"
    refused = await _sql(f"sqlite:///{path}", folder)
    found: dict[int, str] = {}
    database = sqlite3.connect(path)
    try:
        for position, name in enumerate(CASES):
            query = f'SELECT "{name}", typeof("{name}") FROM types WHERE id = {position}'  # noqa: S608 - our names
            for value, kind in database.execute(query):
                found[position] = _column(value, kind)
    finally:
        database.close()
    return arrived(found, refused)


async def postgresql(server: Postgresql, folder: Path) -> dict[str, str]:
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
    with psycopg.connect(server.url, autocommit=True) as database:
        database.execute("DROP TABLE IF EXISTS types")
        refused = await _sql(server.url, folder)
        database.execute("SET TIME ZONE 'UTC'")
        found: dict[int, str] = {}
        for position, name in enumerate(CASES):
            query = f'SELECT "{name}"::text, pg_typeof("{name}")::text FROM types WHERE id = {position}'  # noqa: S608
            for value, kind in database.execute(query):
                found[position] = _column(value, kind)
    return arrived(found, refused)


async def mariadb(server: Mariadb, folder: Path) -> dict[str, str]:
    pymysql = pytest.importorskip("pymysql", reason="pymysql is not installed")
    # Without decoders values come as the server writes them.
    encoders = dict(pymysql.converters.encoders)
    login = {"host": server.host, "port": server.port, "user": "ci", "password": "ci", "database": "ci"}
    database = pymysql.connect(**login, conv=encoders, charset="utf8mb4", autocommit=True)
    try:
        cursor = database.cursor()
        cursor.execute("DROP TABLE IF EXISTS types")
        refused = await _sql(server.url, folder)
        cursor.execute("SELECT column_name, column_type FROM information_schema.columns WHERE table_name = 'types'")
        types = dict(cursor.fetchall())
        found: dict[int, str] = {}
        for position, name in enumerate(CASES):
            cursor.execute(f"SELECT `{name}` FROM types WHERE id = {position}")  # noqa: S608
            for (value,) in cursor.fetchall():
                found[position] = _column(value, types[name])
    finally:
        database.close()
    return arrived(found, refused)


async def influxdb_field(server: Influxdb, folder: Path) -> dict[str, str]:
    connection = connect(InfluxdbConnection, url=server.url, bucket="ci/autogen")
    table = {"measurement": "types_as_fields", "fields": ["id", *CASES], "time": "id"}
    refused = await send(make(InfluxdbSink, folder, connection, **table))
    kinds = {row["fieldKey"]: row["fieldType"] for row in server.query("SHOW FIELD KEYS FROM types_as_fields")}
    found: dict[int, str] = {}
    for row in server.query("SELECT * FROM types_as_fields"):
        position = int(str(row["id"]))
        name = list(CASES)[position]
        value = row.get(name)
        shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        found[position] = "left out" if value is None else typed(shown, kinds[name])
    return arrived(found, refused)


async def influxdb_tag(server: Influxdb, folder: Path) -> dict[str, str]:
    connection = connect(InfluxdbConnection, url=server.url, bucket="ci/autogen")
    table = {"measurement": "types_as_tags", "fields": ["id"], "tags": list(CASES), "time": "id"}
    refused = await send(make(InfluxdbSink, folder, connection, **table))
    tags = {row["tagKey"] for row in server.query("SHOW TAG KEYS FROM types_as_tags")}
    found: dict[int, str] = {}
    for row in server.query("SELECT * FROM types_as_tags"):
        position = int(str(row["id"]))
        name = list(CASES)[position]
        value = row.get(name)
        assert value is None or name in tags
        found[position] = "left out" if value is None else code(value)
    return arrived(found, refused)


async def parquet(_: None, folder: Path) -> dict[str, str]:
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    refused = await send(make(FileSink, folder, path="types-{id}.parquet"))
    found: dict[int, str] = {}
    for position, name in enumerate(CASES):
        for path in folder.glob(f"types-{position}-*.parquet"):
            [value] = pq.read_table(path).column(name)
            python = value.as_py()
            shown = f"X'{python.hex().upper()}'" if isinstance(python, bytes) else python
            shown = str(python).lower() if isinstance(python, bool) else shown
            found[position] = "null" if python is None else typed(shown, str(value.type).replace(", ", ","))
    return arrived(found, refused)
