"""Rows as a database takes them: one conversion per column, chosen by the column's type there.

Works by columns, not by cells: a column whose values are all of types that the driver takes as they are costs one
set look-up a value and no Python code. What a value of each Python type becomes in each kind of column is data,
in the tables below; everything that is not listed goes to the driver as it is.

Common to all: MISSING is NULL, lists and objects are JSON text, DECIMAL keeps its digits. What the column decides:
a text column takes numbers and booleans as JSON writes them, a JSON column takes JSON of everything, a time column
takes TIMESTAMPs and RFC 3339 texts as the database's own instants, a BLOB column of SQLite takes anything unchanged
(it has no type affinity), other columns of bytes take texts as UTF-8.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

from sqlalchemy import types as t

from core.message import Missing, Row, Type
from formats.json import encode_document
from sinks.encoding import instant, rfc3339

Convert = Callable[[Any], Any]


class Kind(enum.Enum):
    """What a column of the database takes."""

    ANYTHING = enum.auto()
    TEXT = enum.auto()
    NUMBER = enum.auto()
    BYTES = enum.auto()
    INSTANT = enum.auto()
    LOCAL_INSTANT = enum.auto()  # without a time zone: UTC by our convention
    TEXT_INSTANT = enum.auto()  # SQLite's: text in the form that SQLAlchemy reads back
    JSON = enum.auto()
    OTHER = enum.auto()


def kind_of(column: t.TypeEngine[Any], dialect: str) -> Kind:
    """The kind of a reflected column."""
    if isinstance(column, t.JSON):
        return Kind.JSON
    if dialect == "sqlite" and isinstance(column, t.LargeBinary | t.NullType):
        return Kind.ANYTHING
    if isinstance(column, t.DateTime):
        if dialect == "sqlite":
            return Kind.TEXT_INSTANT
        return Kind.INSTANT if column.timezone else Kind.LOCAL_INSTANT
    if isinstance(column, t.Boolean):
        return Kind.OTHER
    for base, kind in ((t.String, Kind.TEXT), (t.Integer, Kind.NUMBER), (t.Numeric, Kind.NUMBER)):
        if isinstance(column, base):
            return kind
    return Kind.BYTES if _python_type(column) is bytes else Kind.OTHER


def _python_type(column: t.TypeEngine[Any]) -> type | None:
    try:
        return column.python_type
    except NotImplementedError:
        return None


def _json(value: Any) -> str:
    return encode_document(value).decode()


def _null(_value: Any) -> None:
    return None


def _text_of_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _json(value)


def _local(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _sqlite_text(moment: datetime) -> str:
    return _local(moment).isoformat(" ", "microseconds")


@lru_cache(4_096)
def _sqlite_second(seconds: int) -> str:
    return instant(seconds * 1_000_000).replace(tzinfo=None).isoformat(" ")


def _sqlite_instant(microseconds: int) -> str:
    """As :func:`_sqlite_text`; the rows of a batch share few seconds, and formatting them costs more than SQLite."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    return f"{_sqlite_second(seconds)}.{fraction:06d}"


def _from_text(convert: Callable[[datetime], Any], value: str) -> Any:
    """An RFC 3339 text as an instant; other texts are left to the database's own reading."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return value
    return value if moment.tzinfo is None else convert(moment)


def _local_instant(microseconds: int) -> datetime:
    return instant(microseconds).replace(tzinfo=None)


def _same(moment: datetime) -> datetime:
    return moment


# From an aware datetime, and from a TIMESTAMP's microseconds.
_INSTANTS: Final[dict[Kind, tuple[Convert, Convert]]] = {
    Kind.INSTANT: (_same, instant),
    Kind.LOCAL_INSTANT: (_local, _local_instant),
    Kind.TEXT_INSTANT: (_sqlite_text, _sqlite_instant),
}
_ANYWHERE: Final[dict[type, Convert]] = {Missing: _null, dict: _json, list: _json}
_TABLES: Final[dict[Kind, dict[type, Convert]]] = {
    Kind.ANYTHING: {Decimal: str},
    Kind.TEXT: {bool: _json, int: str, float: _json, bytes: _text_of_bytes, Decimal: str},
    Kind.NUMBER: {bool: int},
    Kind.BYTES: {str: str.encode, dict: encode_document, list: encode_document},
    Kind.INSTANT: {},
    Kind.LOCAL_INSTANT: {},
    Kind.TEXT_INSTANT: {},
    Kind.JSON: dict.fromkeys((bool, int, float, str, bytes, Decimal), _json),
    Kind.OTHER: {},
}


def converters(kind: Kind, declared: Type, dialect: str, *, array: bool = False) -> dict[type, Convert]:
    """How values of each Python type are converted for a column of ``kind`` that the rule declares as ``declared``.

    ``array`` says that the column is an array of the database, which takes lists as they are.
    """
    table = _ANYWHERE | _TABLES[kind]
    if dialect == "sqlite":
        table.setdefault(Decimal, str)
    if array:
        del table[list]
    if kind in _INSTANTS:
        of_datetime, of_timestamp = _INSTANTS[kind]
        table[str] = partial(_from_text, of_datetime)
        if declared is Type.TIMESTAMP:
            table[int] = of_timestamp
    elif declared is Type.TIMESTAMP and kind is Kind.TEXT:
        table[int] = rfc3339
    elif declared is Type.TIMESTAMP and kind is Kind.JSON:
        table[int] = lambda value: _json(rfc3339(value))
    return table


class Conversion(NamedTuple):
    """The conversions of one schema's columns, in order."""

    tables: tuple[dict[type, Convert], ...]

    def apply(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows with every value converted; the same rows where none needs it."""
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        changed = False
        for index, table in enumerate(self.tables):
            column = columns[index]
            if table.keys().isdisjoint(map(type, column)):
                continue
            changed = True
            look_up = table.get
            columns[index] = [
                value if (convert := look_up(type(value))) is None else convert(value) for value in column
            ]
        return list(zip(*columns, strict=True)) if changed else rows
