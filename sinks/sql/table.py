"""The table of one sql sink: looked at, made where it is missing, checked against the rules.

Everything here blocks and runs in a session's thread, on that session's connection. What it finds wrong is
Unavailable with the way out, everything at once: somebody may mend the table while the service runs, and then the
sink heals.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
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


_MYSQL: Final = ("mysql", "mariadb")


class Column(NamedTuple):
    """A column as it is: ``required`` where a row must bring a value, ``generated`` where it must not."""

    kind: Kind
    type: str
    required: bool
    generated: bool


class Table(NamedTuple):
    """A table as it is. ``unique`` are the sets of columns that a key may be; ``writable`` is PostgreSQL's alone.

    ``settings`` have its name and its key's as the table itself has them, which may differ in case.
    """

    settings: TableSettings
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
            hint = _another_name(inspector, settings)
            raise Unavailable(
                f"table {settings.title} does not exist{f' ({hint})' if hint else ''}: "
                "create it, or set create_table = true to have it made"
            )
        if not make or not schemas:  # of rules with a `*` the first row tells the columns
            if settings.hypertable is not None:
                require_timescaledb(connection)
            if _has_psycopg(connection.dialect):
                postgresql.require_create(connection, settings)
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


def _another_name(inspector: sa.Inspector, settings: TableSettings) -> str | None:
    """What the table that is not there may be called."""
    schema, dot, name = settings.name.rpartition(".")
    if dot and settings.schema is None and schema in inspector.get_schema_names() and inspector.has_table(name, schema):
        return f"is it schema = {schema!r}, table = {name!r}?"
    names = [*inspector.get_table_names(settings.schema), *inspector.get_view_names(settings.schema)]
    same = [name for name in names if name.casefold() == settings.name.casefold()]
    return f"did you mean {same[0]!r}?" if same else did_you_mean(settings.name, names)


# An index of some rows is no key of all, and one of the first letters none of whole texts.
_PARTIAL: Final = frozenset({"postgresql_where", "sqlite_where", "mysql_length", "mariadb_length"})


def _unique(inspector: sa.Inspector, name: str, schema: str | None, deferrable: Collection[str]) -> list[list[str]]:
    """The lists of columns by which a row is found; ``deferrable`` are the names of what is unique only in the end."""
    primary = inspector.get_pk_constraint(name, schema)
    constraints = [] if inspector.dialect.name in _MYSQL else inspector.get_unique_constraints(name, schema)
    found = [primary["constrained_columns"]] if primary.get("name") not in deferrable else []
    found += [constraint["column_names"] for constraint in constraints if constraint["name"] not in deferrable]
    for index in inspector.get_indexes(name, schema):
        options = {option for option, value in index.get("dialect_options", {}).items() if value is not None}
        columns = [column for column in index["column_names"] if column is not None]
        plain = len(columns) == len(index["column_names"])  # an expression is no column
        if index["unique"] and plain and _PARTIAL.isdisjoint(options) and index["name"] not in deferrable:
            found.append(columns)
    return [columns for columns in found if columns]


def _look(connection: Connection, inspector: sa.Inspector, settings: TableSettings) -> Table:
    settings = _with_live_name(inspector, settings)
    name, schema, dialect = settings.name, settings.schema, connection.dialect.name
    live = inspector.get_columns(name, schema)
    primary = inspector.get_pk_constraint(name, schema)["constrained_columns"]
    facts = postgresql.look(connection, settings) if _has_psycopg(connection.dialect) else None
    unique = _unique(inspector, name, schema, facts.deferrable if facts is not None else ())
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
    key = tuple(_as_live(settings.key, columns, dialect))
    return Table(msgspec.structs.replace(settings, key=key), columns, [frozenset(names) for names in unique], facts)


def _with_live_name(inspector: sa.Inspector, settings: TableSettings) -> TableSettings:
    """SQLite finds a table whatever the case of its name, SQLAlchemy does not."""
    if inspector.dialect.name != "sqlite":
        return settings
    names = [*inspector.get_table_names(settings.schema), *inspector.get_view_names(settings.schema)]
    [name] = _as_live([settings.name], names, "sqlite")
    return msgspec.structs.replace(settings, name=name)


def _as_live(names: Iterable[str], live: Collection[str], dialect: str) -> list[str]:
    """``names`` as they are written in the database; names that are not there as they would have to be."""
    # SQLite and MySQL do not tell them apart by case.
    folded = {} if dialect == "postgresql" else {name.casefold(): name for name in live}
    return [name if name in live else folded.get(name.casefold(), name) for name in names]


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


def check(table: Table, schemas: Sequence[Schema], dialect: Dialect) -> None:
    """Unavailable with everything that keeps rows of ``schemas`` out of the table."""
    found: dict[str, None] = {}
    for schema in schemas:
        found.update(dict.fromkeys(_problems(table, schema, dialect)))
    settings = table.settings
    if len(found) == 1:
        raise Unavailable(f"table {settings.title} {next(iter(found))}")
    if found:
        listed = "; ".join(f"({number}) it {problem}" for number, problem in enumerate(found, 1))
        raise Unavailable(f"table {settings.title} does not suit the rules: {listed}")


def _problems(table: Table, schema: Schema, dialect: Dialect) -> Iterable[str]:
    settings, live = table.settings, table.columns
    columns = _columns(table, schema, dialect)
    for column in dict.fromkeys(column for column in columns if columns.count(column) > 1):
        yield f"would get two columns of the rule in its column {column!r}"
    if missing := [column for column in columns if column not in live]:
        yield _lacks(missing, live)
    for column, source, declared in zip(columns, schema.names, schema.types, strict=True):
        if column not in live:
            continue
        if live[column].generated:
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
    quote = dialect.identifier_preparer.quote
    title = ".".join(map(quote, filter(None, (settings.schema, settings.name))))
    if table.writable is not None and table.writable.denied:
        denied = ", ".join(table.writable.denied)
        yield f"does not let the user write: GRANT {denied} ON {title} TO the user of the connection"
    if settings.write != "insert" and settings.key and frozenset(settings.key) not in table.unique:
        key = ", ".join(map(quote, settings.key))
        yield (
            f"has no primary key or unique index on ({key}), which write = {settings.write!r} needs: "
            f"CREATE UNIQUE INDEX {quote(settings.name + '_key')} ON {title} ({key})"
        )


def _lacks(missing: Sequence[str], live: Collection[str]) -> str:
    """Several in one sentence: a rule with a `*` has a dozen."""
    has = f"it has {', '.join(live)}"
    if len(missing) == 1:
        hint = did_you_mean(missing[0], live)
        way_out = "Add the column, or take it out of the rule"
        return f"has no column {missing[0]!r}; {f'{hint} ({has})' if hint else has}. {way_out}"
    hints = [(name, did_you_mean(name, live)) for name in missing]
    listed = ", ".join(f"{name!r} ({hint})" if hint else repr(name) for name, hint in hints)
    return f"has no columns {listed}; {has}. Add the columns, or take them out of the rule"


def _columns(table: Table, schema: Schema, dialect: Dialect) -> list[str]:
    """The table's columns for those of the rule, in order."""
    names = [table.settings.columns.get(name, name) for name in schema.names]
    return _as_live(names, table.columns, dialect.name)


def writer(table: Table, schema: Schema, dialect: Dialect) -> Writer:
    """The fastest way of rows of ``schema`` into the table, which must have been checked for it."""
    settings, columns = table.settings, _columns(table, schema, dialect)
    kinds = [table.columns[column].kind for column in columns]
    if table.writable is not None:
        return postgresql.writer(settings, table.writable, columns, list(zip(kinds, schema.types, strict=True)))
    tables = [converters(kind, declared, dialect.name) for kind, declared in zip(kinds, schema.types, strict=True)]
    return insert(settings, columns, dialect, Conversion(tuple(columns), tuple(tables)))
