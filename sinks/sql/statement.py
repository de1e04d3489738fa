"""A hand-written statement that is run for every row: its parameters, and whether the database understands it.

Before the first row the database is asked to prepare it, without running it. Only what is wrong for every row counts
then: a table or column that is not there, bad syntax. What the statement is to do with a value is seen with the value.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect

from connections.sql.errors import sentence
from core.errors import ConfigError, Unavailable
from core.message import Schema
from core.registry import did_you_mean
from sinks.sql.config import Config
from sinks.sql.encode import Conversion, parameter_converters
from sinks.sql.planning import plan, with_places
from sinks.sql.writer import Executemany

# SQLAlchemy takes a name that is followed by another colon for none, and PostgreSQL's casts are written so.
_CAST: Final = re.compile(r"(?<![:\w\\])(:\w+)(?=::)")
_PREPARABLE: Final = re.compile(r"\s*(INSERT|UPDATE|DELETE|MERGE|REPLACE|WITH|SELECT)\b", re.IGNORECASE).match
# Syntax; no such table, column or schema. Others may be guesses at the types of parameters.
_POSTGRESQL_WRONG: Final = frozenset({"42601", "42P01", "42703", "3F000"})
# The same; no such function, no permission, a view that takes no rows.
_MYSQL_WRONG: Final = frozenset({1046, 1049, 1054, 1064, 1136, 1142, 1143, 1146, 1305, 1370, 1471})


def _text(statement: str) -> sa.TextClause:
    return sa.text(_CAST.sub(r"\1 ", statement))


def check_statement(config: Config, schemas: Sequence[Schema]) -> str:
    """The statement of ``config``; ConfigError where the settings contradict it or the rules lack a parameter."""
    assert config.statement is not None  # noqa: S101 - the caller's condition
    for setting in ("table", "schema", "key", "create_table", "columns", "hypertable"):
        if getattr(config, setting):
            raise ConfigError("does not go together with statement", path=setting, hint="leave one of them away")
    if config.write != "insert":
        raise ConfigError("does not go together with statement", path="write", hint="leave one of them away")
    names = tuple(_text(config.statement).compile().params)
    if not names:
        raise ConfigError("has no parameter like :station, so every row would do the same", path="statement")
    for schema in schemas:  # rules with a `*` are not among them: their first row tells
        for name in names:
            if name not in schema.names:
                hint = did_you_mean(name, schema.names) or f"they yield {', '.join(schema.names)}"
                raise ConfigError(f"no rule yields {name!r}", path="statement", hint=hint)
    return config.statement


def by_hand(statement: str, schema: Schema, dialect: Dialect) -> Executemany:
    """The statement with the columns of ``schema`` as parameters; Unavailable where one is not there."""
    compiled: Any = _text(statement).compile(dialect=dialect)
    names = tuple(compiled.positiontup if compiled.positional else compiled.params)
    for name in names:
        if name not in schema.names:
            raise Unavailable(f"the rule yields no column {name!r} for the statement, only {', '.join(schema.names)}")
    tables = tuple(parameter_converters(kind, dialect.name) for kind in schema.types)
    return Executemany(
        str(compiled),
        Conversion(schema.names, tables),
        columns=tuple(schema.names.index(name) for name in names),
        names=None if compiled.positional else names,
        dialect=dialect.name,
    )


def check_live(connection: Connection, statement: str) -> None:
    """Unavailable where the database knows the statement to be wrong, whatever the rows are."""
    dialect = connection.dialect
    if not _PREPARABLE(statement):  # CALL, DO and the like cannot be prepared everywhere
        return
    compiled = _text(statement).compile(dialect=dialect)
    if f"{dialect.name}+{dialect.driver}" == "postgresql+psycopg":
        problem = _ask_postgresql(connection, str(compiled))
    else:
        problem = _ask(connection, str(compiled), len(compiled.positiontup or ()))
    if problem is not None:
        raise Unavailable(f"the database refuses the statement: {problem}")


def _ask(connection: Connection, statement: str, parameters: int) -> str | None:
    dialect = connection.dialect
    try:
        plan(connection, statement, parameters)
    except dialect.loaded_dbapi.Error as error:
        wrong = dialect.name == "sqlite" or (error.args and error.args[0] in _MYSQL_WRONG)
        return sentence(error) if wrong else None
    return None


def _ask_postgresql(connection: Connection, statement: str) -> str | None:
    """Not by EXPLAIN, behind whose end a second statement would run, and which needs to know the parameters' types."""
    from psycopg import pq

    # A parameter that comes twice is two: they may have different types.
    text = with_places(statement, map("${}".format, itertools.count(1)))
    driver: Any = connection.connection.driver_connection
    result = driver.pgconn.prepare(b"", text.encode())
    state, message = (
        (result.error_field(field) or b"").decode()
        for field in (pq.DiagnosticField.SQLSTATE, pq.DiagnosticField.MESSAGE_PRIMARY)
    )
    return message if state in _POSTGRESQL_WRONG else None
