"""The table of one sql sink: made where it is missing, checked against the rules, written to by one statement.

Everything here blocks and runs in a worker's thread, on that worker's connection. What it finds wrong is
Unavailable with the way out: somebody may mend the table while the service runs, and then the sink heals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Connection

from core.errors import Unavailable
from core.message import Schema, Type
from core.registry import did_you_mean
from sinks.sql.encode import Conversion, converters, kind_of

Write = Literal["insert", "upsert", "ignore"]

_TEXT: Final = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
_DOCUMENT: Final = (
    sa.Text().with_variant(postgresql.JSONB(), "postgresql").with_variant(mysql.JSON(), "mysql", "mariadb")
)
_TYPES: Final[dict[Type, sa.types.TypeEngine[Any]]] = {
    Type.BOOLEAN: sa.Boolean(),
    Type.BIGINT: sa.BigInteger(),
    Type.DOUBLE: sa.Double(),
    Type.DECIMAL: sa.Numeric().with_variant(mysql.NUMERIC(38, 12), "mysql", "mariadb"),
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


class TableSettings(NamedTuple):
    """What the sink's Config says about its table; ``columns`` maps columns of the rules to columns of the table."""

    name: str
    schema: str | None
    write: Write
    key: tuple[str, ...]
    create: bool
    columns: Mapping[str, str]

    @property
    def title(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


class Plan(NamedTuple):
    """How rows of one schema are written: a statement, its parameters' names and the values' conversions.

    ``names`` is None where the driver takes parameters by position.
    """

    statement: str
    names: tuple[str, ...] | None
    conversion: Conversion


def merged(schemas: Iterable[Schema], columns: Mapping[str, str]) -> dict[str, Type]:
    """The table's columns for several rules: their union; where two disagree on a type, ANY."""
    found: dict[str, Type] = {}
    for schema in schemas:
        for name, kind in zip(schema.names, schema.types, strict=True):
            column = columns.get(name, name)
            found[column] = kind if found.get(column, kind) is kind else Type.ANY
    return found


def prepare(connection: Connection, settings: TableSettings, known: Sequence[Schema], schema: Schema) -> Plan:
    """The plan for rows of ``schema``; makes the table for ``known`` and it where it is missing and that is wanted."""
    inspector = sa.inspect(connection)
    if not inspector.has_table(settings.name, settings.schema):
        if not settings.create:
            raise Unavailable(
                f"table {settings.title} does not exist: create it, or set create_table = true to have it made"
            )
        create_table(connection, settings, merged([*known, schema], settings.columns))
        inspector = sa.inspect(connection)
    dialect = connection.dialect
    live = {column["name"]: column["type"] for column in inspector.get_columns(settings.name, settings.schema)}
    # SQLite and MySQL do not tell columns apart by case.
    folded = {} if dialect.name == "postgresql" else {name.casefold(): name for name in live}
    columns = [settings.columns.get(name, name) for name in schema.names]
    columns = [name if name in live else folded.get(name.casefold(), name) for name in columns]
    _check_columns(settings, columns, live)
    if settings.write == "upsert" or (settings.write == "ignore" and settings.key):
        _check_key(settings, inspector)
    tables = tuple(
        converters(
            kind_of(live[column], dialect.name), declared, dialect.name, array=isinstance(live[column], sa.ARRAY)
        )
        for column, declared in zip(columns, schema.types, strict=True)
    )
    compiled = statement(settings, columns, dialect.name).compile(dialect=dialect, column_keys=columns)
    names = None if compiled.positional else tuple(columns)
    if compiled.positional:
        order = [columns.index(name) for name in compiled.positiontup or ()]
        if order != list(range(len(columns))):
            raise Unavailable(f"table {settings.title}: the driver takes the columns in another order")
    return Plan(str(compiled), names, Conversion(tables))


def create_table(connection: Connection, settings: TableSettings, columns: Mapping[str, Type]) -> None:
    """CREATE TABLE IF NOT EXISTS; the key becomes the PRIMARY KEY, all other columns may be NULL."""
    if missing := [name for name in settings.key if name not in columns]:
        raise Unavailable(_no_key_column(settings, missing[0], columns))
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
    connection.commit()


def _column_type(kind: Type, *, key: bool) -> sa.types.TypeEngine[Any]:
    return _KEY_TYPES.get(kind, _TYPES[kind]) if key else _TYPES[kind]


def _check_columns(settings: TableSettings, columns: Sequence[str], live: Mapping[str, Any]) -> None:
    if twice := [column for column in columns if columns.count(column) > 1]:
        raise Unavailable(f"table {settings.title}: two columns of the rule go to its column {twice[0]!r}")
    for column in columns:
        if column not in live:
            hint = did_you_mean(column, live)
            has = f"it has {', '.join(live)}"
            raise Unavailable(
                f"table {settings.title} has no column {column!r}; {f'{hint} ({has})' if hint else has}. "
                "Add the column, or take it out of the rule"
            )
    for column in settings.key:
        if column not in columns:
            raise Unavailable(_no_key_column(settings, column, columns))


def _no_key_column(settings: TableSettings, column: str, columns: Iterable[str]) -> str:
    return f"table {settings.title}: the key has {column!r}, but the rule yields only {', '.join(columns)}"


def _check_key(settings: TableSettings, inspector: sa.Inspector) -> None:
    name, schema = settings.name, settings.schema
    unique: list[Sequence[str | None]] = [inspector.get_pk_constraint(name, schema)["constrained_columns"]]
    unique += [constraint["column_names"] for constraint in inspector.get_unique_constraints(name, schema)]
    unique += [index["column_names"] for index in inspector.get_indexes(name, schema) if index["unique"]]
    wanted = {column.casefold() for column in settings.key}
    if not any({str(column).casefold() for column in columns} == wanted for columns in unique if columns):
        key = ", ".join(settings.key)
        raise Unavailable(
            f"table {settings.title} has no primary key or unique index on ({key}), which write = "
            f"{settings.write!r} needs: CREATE UNIQUE INDEX ON {settings.title} ({key})"
        )


def statement(settings: TableSettings, columns: Sequence[str], dialect: str) -> sa.Insert:
    """The INSERT for ``columns``, with what upsert or ignore means to the database.

    The columns are untyped: the values have been converted, SQLAlchemy is not to convert or cast them again.
    """
    table = sa.table(settings.name, *[sa.column(name) for name in columns], schema=settings.schema)
    rest = [name for name in columns if name not in settings.key]
    if settings.write == "insert":
        return sa.insert(table)
    if dialect in ("mysql", "mariadb"):
        change = mysql.insert(table)
        if settings.write == "upsert" and rest:
            return change.on_duplicate_key_update({name: change.inserted[name] for name in rest})
        # Setting a column to itself ignores the duplicate; INSERT IGNORE would ignore every other error, too.
        first = columns[0]
        return change.on_duplicate_key_update({first: table.c[first]})
    insert: Any = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}[dialect](table)
    if settings.write == "upsert" and rest:
        changed: sa.Insert = insert.on_conflict_do_update(
            index_elements=list(settings.key), set_={name: insert.excluded[name] for name in rest}
        )
        return changed
    ignored: sa.Insert = insert.on_conflict_do_nothing(index_elements=list(settings.key) or None)
    return ignored
