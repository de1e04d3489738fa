"""Making a table for the rows of the rules, and making it a hypertable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Connection

from core.clock import MICROSECOND
from core.errors import Unavailable
from core.message import Type
from sinks.sql.config import TableSettings
from sinks.sql.postgresql import title

_TEXT: Final = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
_DOCUMENT: Final = (
    sa.Text().with_variant(postgresql.JSONB(), "postgresql").with_variant(mysql.JSON(), "mysql", "mariadb")
)
_TYPES: Final[dict[Type, sa.types.TypeEngine[Any]]] = {
    Type.BOOLEAN: sa.Boolean(),
    Type.BIGINT: sa.BigInteger(),
    Type.DOUBLE: sa.Double(),
    Type.DECIMAL: sa.Numeric().with_variant(mysql.NUMERIC(65, 30), "mysql", "mariadb"),  # the most there is
    Type.TEXT: _TEXT,
    Type.BYTES: sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb"),
    Type.TIMESTAMP: sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb"),
    Type.INTERVAL: sa.BigInteger(),  # microseconds
    Type.ARRAY: _DOCUMENT,
    Type.OBJECT: _DOCUMENT,
    # SQLite keeps each value's own type in a column of declared type BLOB (its "ANY" would turn '007' into 7).
    Type.ANY: _TEXT.with_variant(sqlite.BLOB(), "sqlite"),
}
# A key column of MySQL needs a length; four of these fit into an index.
_KEY_TYPES: Final[dict[Type, sa.types.TypeEngine[Any]]] = {
    Type.TEXT: sa.Text().with_variant(mysql.VARCHAR(191), "mysql", "mariadb"),
    Type.ANY: sa.Text().with_variant(mysql.VARCHAR(191), "mysql", "mariadb").with_variant(sqlite.BLOB(), "sqlite"),
    Type.BYTES: sa.LargeBinary().with_variant(mysql.VARBINARY(191), "mysql", "mariadb"),
}

HAS_TIMESCALEDB: Final = sa.text("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'")
IS_HYPERTABLE: Final = sa.text(
    "SELECT 1 FROM timescaledb_information.hypertables"
    " WHERE hypertable_name = :name AND hypertable_schema = coalesce(:schema, current_schema())"
)
CREATE_HYPERTABLE: Final = sa.text("SELECT create_hypertable(CAST(:table AS regclass), :time, if_not_exists => true)")
CREATE_HYPERTABLE_OF_CHUNKS: Final = sa.text(
    "SELECT create_hypertable(CAST(:table AS regclass), :time,"
    " chunk_time_interval => CAST(:chunk AS interval), if_not_exists => true)"
)


def create_table(connection: Connection, settings: TableSettings, columns: Mapping[str, Type]) -> None:
    """CREATE TABLE IF NOT EXISTS; the key becomes the PRIMARY KEY, all other columns may be NULL."""
    if missing := [name for name in settings.key if name not in columns]:
        listed = ", ".join(columns)
        raise Unavailable(f"table {settings.title}: the key has {missing[0]!r}, but the rule yields only {listed}")
    if settings.hypertable is not None:
        require_timescaledb(connection)
        columns = {**columns, _time_column(settings, columns): Type.TIMESTAMP}
    table = sa.Table(
        settings.name,
        sa.MetaData(),
        *[
            sa.Column(
                name,
                _column_type(kind, key=name in settings.key),
                primary_key=name in settings.key,
                autoincrement=False,
            )
            for name, kind in columns.items()
        ],
        schema=settings.schema,
        # Keys that differ in case or accent only are different keys.
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_bin",
    )
    connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
    if settings.hypertable is not None:
        create_hypertable(connection, settings, columns)
    connection.commit()


def _column_type(kind: Type, *, key: bool) -> sa.types.TypeEngine[Any]:
    return _KEY_TYPES.get(kind, _TYPES[kind]) if key else _TYPES[kind]


def require_timescaledb(connection: Connection) -> None:
    """Unavailable where the database lacks the extension; installing it is for an administrator to decide."""
    if connection.execute(HAS_TIMESCALEDB).first() is None:
        raise Unavailable(
            "the database has not the extension that `hypertable` needs: CREATE EXTENSION timescaledb, as a superuser"
        )


def create_hypertable(connection: Connection, settings: TableSettings, columns: Mapping[str, Type]) -> None:
    """Make the new, empty table a hypertable, in the transaction that made it."""
    assert settings.hypertable is not None  # noqa: S101 - the caller's condition
    values = {"table": title(settings), "time": _time_column(settings, columns)}
    chunk = settings.hypertable.chunk
    if chunk is None:
        connection.execute(CREATE_HYPERTABLE, values)
    else:
        connection.execute(CREATE_HYPERTABLE_OF_CHUNKS, {**values, "chunk": f"{chunk // MICROSECOND} microseconds"})


def _time_column(settings: TableSettings, columns: Mapping[str, Type]) -> str:
    assert settings.hypertable is not None  # noqa: S101 - the caller's condition
    time = settings.hypertable.time or next((name for name, kind in columns.items() if kind is Type.TIMESTAMP), None)
    if time is None:
        raise Unavailable(f"table {settings.title}: the rule yields no TIMESTAMP column for the hypertable")
    if time not in columns:
        listed = ", ".join(columns)
        raise Unavailable(f"table {settings.title}: the rule does not yield the time column {time!r}, only {listed}")
    return time


def is_hypertable(connection: Connection, settings: TableSettings) -> bool:
    """Whether the existing table is one; Unavailable where the database lacks the extension."""
    require_timescaledb(connection)
    found = connection.execute(IS_HYPERTABLE, {"name": settings.name, "schema": settings.schema})
    return found.first() is not None
