"""The settings of the sql sink, and what can be wrong with them before any database is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from core.errors import ConfigError
from core.message import Schema, Type
from core.registry import did_you_mean
from core.settings import Duration
from sinks.sql.encode import Kind, fits

Write = Literal["insert", "upsert", "ignore"]
UPSERTS = ("sqlite", "postgresql", "mysql", "mariadb")
"""The databases whose way to upsert we know."""


class HypertableSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """How TimescaleDB divides the table."""

    time: str | None = None
    """The table's column that it is divided by, which becomes a TIMESTAMP WITH TIME ZONE whatever the rules yield;
    the first TIMESTAMP column of the rules otherwise."""
    chunk: Duration | None = None
    """How much time one chunk covers; TimescaleDB's default otherwise."""


class Config(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One table, or one statement."""

    table: str | None = None
    """The table; needed unless there is a ``statement``."""
    schema: str | None = None
    """The database's schema (namespace) of the table; its default one otherwise."""
    write: Write = "insert"
    """What happens to a row whose key is there already: an error, an update, nothing."""
    key: tuple[str, ...] = ()
    """The table's columns that identify a row; with ``create_table`` they become the primary key."""
    create_table: bool = False
    """Make a missing table from the columns and types of the rules that write to it."""
    columns: dict[str, str] = {}
    """Column of the rule = column of the table, where the names differ."""
    hypertable: bool | HypertableSettings = False
    """TimescaleDB: a table that ``create_table`` makes becomes a hypertable. ``true`` or a table."""
    statement: str | None = None
    """Instead of a table: a statement of your own that is run for every row, with ``:name`` for the column ``name`` of
    the rule. A colon that begins no parameter is written ``\\:``."""


class TableSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What Config says about a table; ``columns`` maps columns of the rules to columns of the table."""

    name: str
    schema: str | None = None
    write: Write = "insert"
    key: tuple[str, ...] = ()
    create: bool = False
    columns: Mapping[str, str] = {}
    hypertable: HypertableSettings | None = None

    @property
    def title(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


def merged(schemas: Iterable[Schema], columns: Mapping[str, str]) -> dict[str, Type]:
    """The table's columns for several rules: their union; where two disagree on a type, ANY."""
    found: dict[str, Type] = {}
    for schema in schemas:
        for name, kind in zip(schema.names, schema.types, strict=True):
            column = columns.get(name, name)
            found[column] = kind if found.get(column, kind) is kind else Type.ANY
    return found


def check_table(config: Config, schemas: Sequence[Schema], dialect: str) -> TableSettings:
    """The table of ``config``; ConfigError where the settings contradict one another, the rules or the database."""
    if not config.table:
        raise ConfigError("missing", path="table", hint="or statement = 'INSERT ...'")
    if config.write != "insert" and dialect not in UPSERTS:
        raise ConfigError(f"{dialect} is not known to {config.write}", path="write", hint="use write = 'insert'")
    if config.write == "upsert" and not config.key:
        raise ConfigError("write = 'upsert' needs the columns that identify a row", path="key")
    if len(set(config.columns.values())) < len(config.columns):
        raise ConfigError("two columns go to the same column of the table", path="columns")
    # Rules with a `*` have columns that only their rows show: then the first row tells.
    names = {name: None for schema in schemas for name in schema.names}
    if names and (strange := [name for name in config.columns if name not in names]):
        hint = did_you_mean(strange[0], names) or f"they yield {', '.join(names)}"
        raise ConfigError(f"no rule yields {strange[0]!r}", path="columns", hint=hint)
    columns = merged(schemas, config.columns)
    if columns and (unknown := [name for name in config.key if name not in columns]):
        raise ConfigError(f"no rule yields {unknown[0]!r}; they yield {', '.join(columns)}", path="key")
    return TableSettings(
        name=config.table,
        schema=config.schema,
        write=config.write,
        key=config.key,
        create=config.create_table,
        columns=config.columns,
        hypertable=_hypertable(config, columns, dialect),
    )


def _hypertable(config: Config, columns: Mapping[str, Type], dialect: str) -> HypertableSettings | None:
    if config.hypertable is False:
        return None
    settings = config.hypertable if isinstance(config.hypertable, HypertableSettings) else HypertableSettings()
    if dialect != "postgresql":
        raise ConfigError("only TimescaleDB has them, which is a PostgreSQL", path="hypertable")
    if not config.create_table:
        raise ConfigError("needs create_table = true", path="hypertable")
    time = settings.time
    if columns and time is None:
        time = next((name for name, kind in columns.items() if kind is Type.TIMESTAMP), None)
        if time is None:
            hint = "hypertable = { time = 'column' }; numbers in it are milliseconds since the epoch"
            raise ConfigError("no rule yields a TIMESTAMP column", path="hypertable", hint=hint)
    if columns and time not in columns:
        raise ConfigError(f"no rule yields {time!r}; they yield {', '.join(columns)}", path="hypertable.time")
    if time is not None and columns and not fits(columns[time], Kind.INSTANT):
        raise ConfigError(f"the rules yield {time!r} as {columns[time].value}", path="hypertable.time")
    if config.key and time is not None and time not in config.key:
        raise ConfigError(f"a hypertable's key must have its time column {time!r} in it", path="key")
    return HypertableSettings(time=time, chunk=settings.chunk)
