"""The table of one sql sink: looked at, made where it is missing, checked against the rules.

Everything here blocks and runs in a session's thread, on that session's connection. What it finds wrong is
Unavailable with the way out, everything at once: somebody may mend the table while the service runs, and then the
sink heals.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import CompileError, SAWarning

from core.errors import Unavailable
from core.message import Schema
from core.registry import did_you_mean
from sinks.sql import postgresql
from sinks.sql.config import TableSettings, merged
from sinks.sql.create import create_table, is_hypertable, require_timescaledb
from sinks.sql.encode import Conversion, Kind, converters, fits, kind_of
from sinks.sql.writer import Writer, insert

# A type or an index that SQLAlchemy does not know: the column takes what the database takes, the index is no key.
warnings.filterwarnings("ignore", category=SAWarning, module=r"sinks\.sql\.table")


class Column(NamedTuple):
    """A column as it is: ``required`` where a row must bring a value, ``generated`` where it must not."""

    kind: Kind
    type: str
    required: bool
    generated: bool


class Table(NamedTuple):
    """A table as it is. ``unique`` are the sets of columns that a key may be; ``writable`` is PostgreSQL's alone."""

    columns: Mapping[str, Column]
    unique: Sequence[frozenset[str]]
    writable: postgresql.Facts | None


def find(connection: Connection, settings: TableSettings, schemas: Sequence[Schema], *, make: bool) -> Table | None:
    """The table; made for the rows of ``schemas`` where it is missing and that is wanted.

    None where it is missing and will be made, but not now (``make`` is False).
    """
    inspector = sa.inspect(connection)
    if settings.schema is not None and settings.schema not in (names := inspector.get_schema_names()):
        raise Unavailable(f"schema {settings.schema} does not exist: create it. There are {', '.join(names)}")
    if not inspector.has_table(settings.name, settings.schema):  # nor a view
        if not settings.create:
            raise Unavailable(
                f"table {settings.title} does not exist: create it, or set create_table = true to have it made"
            )
        if not make or not schemas:  # of rules with a `*` the first row tells the columns
            if settings.hypertable is not None:
                require_timescaledb(connection)
            return None
        create_table(connection, settings, merged(schemas, settings.columns))
        inspector = sa.inspect(connection)
    elif settings.hypertable is not None and not is_hypertable(connection, settings):
        time = settings.hypertable.time or "its time column"
        raise Unavailable(
            f"table {settings.title} exists and is no hypertable: take `hypertable` away, or "
            f"SELECT create_hypertable('{postgresql.title(settings)}', '{time}', migrate_data => true)"
        )
    return _look(connection, inspector, settings)


def _look(connection: Connection, inspector: sa.Inspector, settings: TableSettings) -> Table:
    name, schema, dialect = settings.name, settings.schema, connection.dialect.name
    live = inspector.get_columns(name, schema)
    primary = inspector.get_pk_constraint(name, schema)["constrained_columns"]
    unique: list[Iterable[str | None]] = [primary] if primary else []
    unique += [constraint["column_names"] for constraint in inspector.get_unique_constraints(name, schema)]
    unique += [
        index["column_names"]
        for index in inspector.get_indexes(name, schema)
        # A partial index is no key of all rows, and an expression is no column.
        if index["unique"]
        and None not in index["column_names"]
        and not index.get("dialect_options", {}).get("postgresql_where")
    ]
    documents = _documents(connection, settings)
    columns = {}
    for column in live:
        kind = Kind.JSON if column["name"] in documents else kind_of(column["type"], dialect)
        identity: Mapping[str, Any] = column.get("identity") or {}
        fills_itself = bool(
            column.get("default") is not None
            or identity
            or column.get("computed")
            or column.get("autoincrement") is True
            or (dialect == "sqlite" and primary == [column["name"]] and kind is Kind.INTEGER)  # the rowid
        )
        columns[column["name"]] = Column(
            kind,
            _type_name(column["type"], kind, connection.dialect),
            required=not column["nullable"] and not fills_itself,
            generated=bool(column.get("computed") or identity.get("always")),
        )
    facts = postgresql.look(connection, settings) if _has_psycopg(connection.dialect) else None
    return Table(columns, [frozenset(str(column).casefold() for column in key) for key in unique], facts)


# MariaDB's JSON is text with a check.
_DOCUMENTS: Final = sa.text(
    "SELECT check_clause FROM information_schema.check_constraints"
    " WHERE constraint_schema = coalesce(:schema, database()) AND table_name = :name"
)
_DOCUMENT: Final = re.compile(r"json_valid\(`(.+)`\)", re.IGNORECASE).fullmatch


def _documents(connection: Connection, settings: TableSettings) -> frozenset[str]:
    """The columns that are JSON without saying so by their type."""
    if not getattr(connection.dialect, "is_mariadb", False):
        return frozenset()
    clauses = connection.execute(_DOCUMENTS, {"schema": settings.schema, "name": settings.name}).scalars()
    return frozenset(found[1].replace("``", "`") for clause in clauses if (found := _DOCUMENT(clause)))


def _type_name(column: Any, kind: Kind, dialect: Dialect) -> str:
    try:
        return str(column.compile(dialect)) if kind is not Kind.ANYTHING else "BLOB"
    except CompileError:  # INET6 of MariaDB, types of PostgreSQL's extensions
        return "a type of its own"


def _has_psycopg(dialect: Dialect) -> bool:
    return dialect.name == "postgresql" and dialect.driver == "psycopg"


def check(settings: TableSettings, table: Table, schemas: Sequence[Schema], dialect: Dialect) -> None:
    """Unavailable with everything that keeps rows of ``schemas`` out of the table."""
    found: dict[str, None] = {}
    for schema in schemas:
        found.update(dict.fromkeys(_problems(settings, table, schema, dialect)))
    if len(found) == 1:
        raise Unavailable(f"table {settings.title} {next(iter(found))}")
    if found:
        listed = "; ".join(f"({number}) it {problem}" for number, problem in enumerate(found, 1))
        raise Unavailable(f"table {settings.title} does not suit the rules: {listed}")


def _problems(settings: TableSettings, table: Table, schema: Schema, dialect: Dialect) -> Iterable[str]:
    columns = _columns(settings, table, schema, dialect)
    live = table.columns
    for column in dict.fromkeys(column for column in columns if columns.count(column) > 1):
        yield f"would get two columns of the rule in its column {column!r}"
    for column, source, declared in zip(columns, schema.names, schema.types, strict=True):
        if column not in live:
            hint = did_you_mean(column, live)
            has = f"it has {', '.join(live)}"
            yield (
                f"has no column {column!r}; {f'{hint} ({has})' if hint else has}. "
                "Add the column, or take it out of the rule"
            )
        elif live[column].generated:
            yield f"makes the values of column {column!r} itself. Take it out of the rule"
        elif not fits(declared, live[column].kind):
            yield (
                f"has {column!r} as {live[column].type}, and the rule yields {source!r} as {declared.value}. "
                "CAST it in the rule, or change the column"
            )
    for name, facts in live.items():
        if facts.required and name not in columns:
            yield (
                f"has the column {name!r} NOT NULL without a DEFAULT, and the rule does not yield it. "
                "Add a DEFAULT, or the column to the rule"
            )
    for column in settings.key:
        if column not in columns:
            yield f"has the key column {column!r}, but the rule yields only {', '.join(columns)}"
    if table.writable is not None and table.writable.denied:
        denied = ", ".join(table.writable.denied)
        yield f"does not let the user write: GRANT {denied} ON {settings.title} TO the user of the connection"
    unique = frozenset(column.casefold() for column in settings.key) in table.unique
    if settings.write != "insert" and settings.key and not unique:
        key = ", ".join(settings.key)
        yield (
            f"has no primary key or unique index on ({key}), which write = {settings.write!r} needs: "
            f"CREATE UNIQUE INDEX {settings.name}_key ON {settings.title} ({key})"
        )


def _columns(settings: TableSettings, table: Table, schema: Schema, dialect: Dialect) -> list[str]:
    """The table's columns for those of the rule, in order; names that are not there as they would have to be."""
    # SQLite and MySQL do not tell columns apart by case.
    folded = {} if dialect.name == "postgresql" else {name.casefold(): name for name in table.columns}
    names = [settings.columns.get(name, name) for name in schema.names]
    return [name if name in table.columns else folded.get(name.casefold(), name) for name in names]


def writer(settings: TableSettings, table: Table, schema: Schema, dialect: Dialect) -> Writer:
    """The fastest way of rows of ``schema`` into the table, which must have been checked for it."""
    columns = _columns(settings, table, schema, dialect)
    kinds = [table.columns[column].kind for column in columns]
    if table.writable is not None:
        return postgresql.writer(settings, table.writable, columns, list(zip(kinds, schema.types, strict=True)))
    tables = [converters(kind, declared, dialect.name) for kind, declared in zip(kinds, schema.types, strict=True)]
    return insert(settings, columns, dialect, Conversion(tuple(columns), tuple(tables)))
