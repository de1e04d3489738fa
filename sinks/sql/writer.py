"""How rows of one schema get into the database: what to send, made from rows, and the sending of it.

A writer is made once per schema and kept. :class:`Executemany` is every driver's way; PostgreSQL has faster ones
(``postgresql``).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from operator import itemgetter, length_hint
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Connection, Dialect

from core.errors import Unavailable
from core.message import Row
from sinks.sql.config import TableSettings
from sinks.sql.encode import Conversion
from sinks.sql.planning import plan

# PyMySQL makes one statement of many rows, but only the first list of values gets its parameters.
_PARAMETERS_BEHIND: Final = re.compile(r"\)\s*(AS\b.*)?ON\s+DUPLICATE\b.*%s", re.IGNORECASE | re.DOTALL).search


class Writer(ABC):
    """Rows of one schema; what it raises is the driver's or one of ``encode.UNBINDABLE``."""

    @abstractmethod
    def ask(self, connection: Connection) -> None:
        """Have the database plan what :meth:`send` sends, without a row; raises what it has against it."""

    @abstractmethod
    def encode(self, rows: Sequence[Row]) -> Any:
        """What :meth:`send` sends. Raises one of UNBINDABLE where some value cannot be sent."""

    @abstractmethod
    def send(self, cursor: Any, encoded: Any) -> None:
        """Send it through a cursor of the driver, within a transaction that somebody else commits."""

    def refused(self, error: BaseException, encoded: Any) -> int | None:
        """The position of the row that ``error`` is about; None where that is not known."""
        del error, encoded
        return None

    def column(self, error: BaseException) -> str | None:
        """The table's column that ``error`` is about; None where the error's text says it, or nobody knows."""
        del error
        return None


class Executemany(Writer):
    """``columns`` are the positions of a row's values that the statement takes, in its order, None for all of them.

    ``names`` is None where the driver takes parameters by position.
    """

    def __init__(
        self,
        statement: str,
        conversion: Conversion,
        *,
        columns: tuple[int, ...] | None = None,
        names: tuple[str, ...] | None = None,
        dialect: str = "",
    ) -> None:
        self.statement = statement
        self._conversion = conversion
        self._columns = columns
        self._names = names
        self._pick = itemgetter(*columns) if columns is not None and len(columns) > 1 else None
        self._counts = dialect == "sqlite"
        self._singly = dialect in ("mysql", "mariadb") and _PARAMETERS_BEHIND(statement) is not None

    def ask(self, connection: Connection) -> None:
        plan(connection, self.statement, len(self._columns or self._conversion.names))

    def encode(self, rows: Sequence[Row]) -> Any:
        rows = self._conversion.apply(rows)
        if self._pick is not None:
            rows = list(map(self._pick, rows))
        elif self._columns is not None:
            [column] = self._columns
            rows = [(row[column],) for row in rows]
        if self._names is not None:
            return [dict(zip(self._names, row, strict=True)) for row in rows]
        # sqlite3 takes row after row: what it has not taken yet tells which one was refused.
        return iter(rows) if self._counts else rows

    def send(self, cursor: Any, encoded: Any) -> None:
        if self._singly:
            for row in encoded:
                cursor.execute(self.statement, row)
        else:
            cursor.executemany(self.statement, encoded)

    def refused(self, error: BaseException, encoded: Any) -> int | None:
        del error
        return None if not self._counts else -length_hint(encoded) - 1


def insert(settings: TableSettings, columns: Sequence[str], dialect: Dialect, conversion: Conversion) -> Executemany:
    """An INSERT for ``columns``, with what upsert or ignore means to the database."""
    compiled = _insert(settings, columns, dialect.name).compile(dialect=dialect, column_keys=list(columns))
    if not compiled.positional:
        return Executemany(str(compiled), conversion, names=tuple(columns))
    if list(compiled.positiontup or ()) != list(columns):
        raise Unavailable(f"table {settings.title}: the driver takes the columns in another order")
    return Executemany(str(compiled), conversion, dialect=dialect.name)


def _insert(settings: TableSettings, columns: Sequence[str], dialect: str) -> sa.Insert:
    # The columns are untyped: the values have been converted, SQLAlchemy is not to convert or cast them again.
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
    chosen: Mapping[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
    new = chosen[dialect](table)
    if settings.write == "upsert" and rest:
        changed: sa.Insert = new.on_conflict_do_update(
            index_elements=list(settings.key), set_={name: new.excluded[name] for name in rest}
        )
        return changed
    ignored: sa.Insert = new.on_conflict_do_nothing(index_elements=list(settings.key) or None)
    return ignored
