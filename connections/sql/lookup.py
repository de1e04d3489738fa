"""Rows of a database by their key: one SELECT for many keys.

A table is looked at once, for its columns and the types of its key; a statement of one's own is taken as it is, with
the keys in place of ``:keys``. Keys of another kind than the column can hold are not sent, because a database might
compare them all the same, or fail for all. Everything that blocks runs in a session's thread; nothing is written.
"""

from __future__ import annotations

import re
import uuid
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SAWarning, SQLAlchemyError

from connections.lookup import Finder, Found, LookupSource
from connections.sql.errors import sentence
from connections.sql.session import Session
from core.errors import Unavailable
from core.registry import did_you_mean

if TYPE_CHECKING:
    from connections.sql.connection import SqlConnection

# A type that SQLAlchemy does not know: values come as the driver gives them.
warnings.filterwarnings("ignore", category=SAWarning, module=r"connections\.sql\.lookup")

MAX_ROWS: Final = 100_000
"""Rows of one answer; a statement that gives more asks for something else than a key."""
_IN: Final = re.compile(r"(?:=\s*ANY|\bIN)\s*\(\s*:keys\s*\)", re.IGNORECASE)
_INTEGERS: Final = range(-(1 << 63), 1 << 63)

Key = tuple[Any, ...]
Fit = Callable[[Any], Any]
"""A part of a key as the driver takes it; None: no row can have it."""


class SqlFinder(Finder):
    """Asks a database over a connection."""

    def __init__(self, connection: SqlConnection, source: LookupSource) -> None:
        self._connection = connection
        self._source = source
        self._select: tuple[sa.Executable, tuple[Fit, ...]] | None = None

    async def find(self, keys: Sequence[Key]) -> Found:
        return await self._connection.run(partial(self._find, keys=keys))

    # -- in the thread --------------------------------------------------------------------------------------------

    def _find(self, session: Session, keys: Sequence[Key]) -> Found:
        try:
            connection = session.connect()
            found = self._ask(connection, keys)
            connection.rollback()
        except Exception as error:
            self._select = None  # the table may be another one by now
            session.discard()
            if isinstance(error, SQLAlchemyError):
                raise Unavailable(f"{self._title}: {sentence(getattr(error, 'orig', None) or error)}") from error
            raise
        return found

    @property
    def _title(self) -> str:
        what = "lookup query" if self._source.table is None else f"table {self._source.table}"
        return f"{self._connection.title} {what}"

    def _ask(self, connection: Connection, keys: Sequence[Key]) -> Found:
        if self._select is None:
            self._select = self._of_query() if self._source.table is None else self._of_table(connection)
        statement, fits = self._select
        # Values of different kinds never stand in one list: databases would convert some, or refuse all.
        groups: defaultdict[tuple[type, ...], list[Any]] = defaultdict(list)
        for key in keys:
            parts = tuple([fit(value) for fit, value in zip(fits, key, strict=True)])
            if None not in parts:
                groups[tuple(map(type, parts))].append(parts[0] if len(parts) == 1 else parts)
        found: list[dict[str, Any]] = []
        for group in groups.values():
            rows = connection.execute(statement, {"keys": group})
            found += [dict(row) for row in rows.mappings().fetchmany(MAX_ROWS + 1 - len(found))]
            rows.close()
            if len(found) > MAX_ROWS:
                raise Unavailable(f"{self._title}: more than {MAX_ROWS} rows for {len(keys)} keys")
        return found

    def _of_query(self) -> tuple[sa.Executable, tuple[Fit, ...]]:
        text = _IN.sub("IN :keys", str(self._source.query))
        return sa.text(text).bindparams(sa.bindparam("keys", expanding=True)), (_plain,)

    def _of_table(self, connection: Connection) -> tuple[sa.Executable, tuple[Fit, ...]]:
        source = self._source
        schema, _, name = str(source.table).rpartition(".")
        inspector = sa.inspect(connection)
        if not inspector.has_table(name, schema or None):
            raise Unavailable(f"{self._title} does not exist")
        live = {column["name"]: column["type"] for column in inspector.get_columns(name, schema or None)}
        names = list(dict.fromkeys([*source.key, *(live if source.columns is None else source.columns)]))
        for column in names:
            if column not in live:
                hint = did_you_mean(column, live) or f"it has {', '.join(live)}"
                raise Unavailable(f"{self._title} has no column {column!r} ({hint})")
        table = sa.table(name, *[sa.column(column, live[column]) for column in names], schema=schema or None)
        keys = [table.c[column] for column in source.key]
        given: sa.BindParameter[Any] = sa.bindparam("keys", expanding=True)
        matches = keys[0].in_(given) if len(keys) == 1 else sa.tuple_(*keys).in_(given)
        return sa.select(*table.c).where(matches), tuple([_fit(self._title, column) for column in keys])


def _plain(value: Any) -> Any:
    """Where nothing is known about the column."""
    kind = type(value)
    if kind is str:
        return _text(value)
    if kind is int:
        return value if value in _INTEGERS else None
    if kind is Decimal:
        return _plain(int(value)) if value == value.to_integral_value() else float(value)
    return value if kind in (float, bool, bytes) else None


def _number(value: Any) -> Any:
    return None if type(value) in (bool, str, bytes) else _plain(value)


def _text(value: Any) -> Any:
    if type(value) is not str or "\0" in value:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def _bytes(value: Any) -> Any:
    return value if type(value) is bytes else None


def _boolean(value: Any) -> Any:
    return value if type(value) is bool else None


def _uuid(value: Any) -> Any:
    try:
        return uuid.UUID(value) if type(value) is str else None
    except ValueError:
        return None


_FITS: Final[dict[type, Fit]] = {
    bool: _boolean,
    bytes: _bytes,
    Decimal: _number,
    float: _number,
    int: _number,
    str: _text,
    uuid.UUID: _uuid,
}


def _fit(title: str, column: Any) -> Fit:
    """What a key column of a table can hold."""
    try:
        kind = column.type.python_type
    except NotImplementedError:
        return _plain
    fit = _FITS.get(kind)
    if fit is None:
        raise Unavailable(f"{title}: the key column {column.name!r} is of type {column.type}, which no key can be")
    return fit
