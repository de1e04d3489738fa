"""Rows as a database takes them: one conversion per column, chosen by the column's type there.

Works by columns, not by cells: a column whose values are all of types that the driver takes as they are costs one
set look-up a value and no Python code. What a value of each Python type becomes in each kind of column is data,
in the tables below; everything that is not listed goes to the driver as it is.

Common to all: MISSING is NULL, lists and objects are JSON text, DECIMAL keeps its digits. What the column decides:
a text column takes numbers and booleans as JSON writes them, a JSON column takes JSON of everything, a time column
takes TIMESTAMPs, RFC 3339 texts and numbers (milliseconds since the epoch) as the database's own instants, an integer
column takes whole numbers only (the databases would round others in silence), a NUMERIC column of SQLite only decimals
that its numbers keep (for the same reason), a BLOB column of SQLite takes anything unchanged (it has no type
affinity), other columns of bytes take texts as UTF-8. What PostgreSQL gets as text (COPY) is in ``postgresql``.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

from sqlalchemy import types as t
from sqlalchemy.dialects.postgresql import DOMAIN

from core.errors import PayloadError
from core.message import Missing, Row, Type
from formats.json import encode_document
from sinks.encoding import instant, rfc3339

Convert = Callable[[Any], Any]
UNBINDABLE: Final = (OverflowError, UnicodeError, PayloadError)
"""Python's own refusals of a value, before any database sees it."""


class Kind(enum.Enum):
    """What a column of the database takes."""

    ANYTHING = enum.auto()
    TEXT = enum.auto()
    INTEGER = enum.auto()
    NUMBER = enum.auto()
    DOUBLE = enum.auto()
    BOOLEAN = enum.auto()
    BYTES = enum.auto()
    INSTANT = enum.auto()
    LOCAL_INSTANT = enum.auto()  # without a time zone: UTC by our convention
    TEXT_INSTANT = enum.auto()  # SQLite's: text in the form that SQLAlchemy reads back
    TEXT_DATE = enum.auto()  # the same of a DATE
    CLOCK = enum.auto()  # a time of day, which no instant is
    INTERVAL = enum.auto()
    JSON = enum.auto()
    ARRAY = enum.auto()  # of the database, which takes lists
    OTHER = enum.auto()


def kind_of(column: t.TypeEngine[Any], dialect: str) -> Kind:
    """The kind of a reflected column."""
    while isinstance(column, DOMAIN):  # PostgreSQL's: a type with a check
        column = column.data_type
    if isinstance(column, t.JSON):
        return Kind.JSON
    if dialect == "sqlite" and isinstance(column, t.LargeBinary | t.NullType):
        return Kind.ANYTHING
    if isinstance(column, t.DateTime):
        if dialect == "sqlite":
            return Kind.TEXT_INSTANT
        return Kind.INSTANT if column.timezone else Kind.LOCAL_INSTANT
    if isinstance(column, t.Date):
        return Kind.TEXT_DATE if dialect == "sqlite" else Kind.LOCAL_INSTANT
    for base, kind in _KINDS:
        if isinstance(column, base):
            return kind
    return Kind.BYTES if _python_type(column) is bytes else Kind.OTHER


_KINDS: Final[tuple[tuple[type[t.TypeEngine[Any]], Kind], ...]] = (
    (t.ARRAY, Kind.ARRAY),
    (t.Boolean, Kind.BOOLEAN),
    (t.Enum, Kind.OTHER),
    (t.String, Kind.TEXT),
    (t.Integer, Kind.INTEGER),
    (t.Float, Kind.DOUBLE),
    (t.Numeric, Kind.NUMBER),
    (t.Interval, Kind.INTERVAL),
    (t.Time, Kind.CLOCK),
)

_INT64: Final = range(-(2**63), 2**63)
_INT64_DIGITS: Final = 19

_TIMES: Final = frozenset({Kind.INSTANT, Kind.LOCAL_INSTANT, Kind.TEXT_INSTANT, Kind.TEXT_DATE})
_NUMBERS: Final = frozenset({Kind.INTEGER, Kind.NUMBER, Kind.DOUBLE})
_ALWAYS: Final = frozenset({Kind.ANYTHING, Kind.TEXT, Kind.JSON, Kind.OTHER})
# Where a column that the rule declares so can go at all; single values may still be refused. ANY goes everywhere.
_FITS: Final[dict[Type, frozenset[Kind]]] = {
    Type.BOOLEAN: _ALWAYS | _NUMBERS | {Kind.BOOLEAN},
    Type.BIGINT: _ALWAYS | _NUMBERS | _TIMES | {Kind.CLOCK},  # 123456 is 12:34:56
    Type.DOUBLE: _ALWAYS | _NUMBERS | _TIMES,
    Type.DECIMAL: _ALWAYS | _NUMBERS | _TIMES,
    Type.TEXT: _ALWAYS | _TIMES | {Kind.BYTES, Kind.INTERVAL, Kind.CLOCK},
    Type.BYTES: _ALWAYS | {Kind.BYTES},
    Type.TIMESTAMP: _ALWAYS | _TIMES | _NUMBERS,
    Type.INTERVAL: _ALWAYS | _NUMBERS | {Kind.INTERVAL},
    Type.ARRAY: _ALWAYS | {Kind.BYTES, Kind.ARRAY},
    Type.OBJECT: _ALWAYS | {Kind.BYTES},
}


def fits(declared: Type, kind: Kind) -> bool:
    """Can values that the rule declares as ``declared`` go to a column of ``kind``?"""
    return kind in _FITS.get(declared, frozenset(Kind))


def _python_type(column: t.TypeEngine[Any]) -> type | None:
    try:
        return column.python_type
    except NotImplementedError:
        return None


def _json(value: Any) -> str:
    return encode_document(value).decode()


def _null(_value: Any) -> None:
    return None


def whole(value: float) -> int:
    """The number for an integer column; PayloadError for a fraction, NaN and infinity."""
    if value.is_integer():
        return int(value)
    raise PayloadError(f"{value} is no whole number, and the column takes no other: round it in the rule", "sql")


def text_of_float(value: float) -> str:
    """As JSON writes it, and ``nan``, ``inf`` and ``-inf``, which JSON has not."""
    return _json(value) if math.isfinite(value) else repr(value)


def _sqlite_number(value: Decimal) -> float:
    """The number of SQLite with just these digits; PayloadError where there is none: it would round in silence."""
    if value.is_finite():
        if value.adjusted() < _INT64_DIGITS and value == (number := int(value)) and number in _INT64:
            return number
        double = float(value)
        if value == Decimal(repr(double)):
            return double
    way_out = "a TEXT column keeps all digits, a REAL column rounds"
    raise PayloadError(f"the DECIMAL {value!s:.60} is not among SQLite's numbers: {way_out}", "sql")


def text_of_bytes(value: bytes) -> str:
    """UTF-8, or JSON that says what they are."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _json(value)


def local(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _sqlite_text(moment: datetime) -> str:
    return local(moment).isoformat(" ", "microseconds")


@lru_cache(4_096)
def _sqlite_second(seconds: int) -> str:
    return instant(seconds * 1_000_000).replace(tzinfo=None).isoformat(" ")


def _sqlite_instant(microseconds: int) -> str:
    """As :func:`_sqlite_text`; the rows of a batch share few seconds, and formatting them costs more than SQLite."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    return f"{_sqlite_second(seconds)}.{fraction:06d}"


def from_text(convert: Callable[[datetime], Any], value: str) -> Any:
    """An RFC 3339 text as an instant; other texts are left to the database's own reading."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return value
    return value if moment.tzinfo is None else convert(moment)


def from_milliseconds(convert: Convert, value: float | Decimal) -> Any:
    """A number that is no TIMESTAMP, as EMQX's ``timestamp``; PayloadError for NaN and infinity."""
    try:
        return convert(round(value * 1_000))
    except (ValueError, ArithmeticError):
        raise PayloadError(f"{value!s:.60} is no number of milliseconds since the epoch", "sql") from None


def _local_instant(microseconds: int) -> datetime:
    return instant(microseconds).replace(tzinfo=None)


def _sqlite_date(moment: datetime) -> str:
    return local(moment).date().isoformat()


def _sqlite_day(microseconds: int) -> str:
    return instant(microseconds).date().isoformat()


def _same(moment: datetime) -> datetime:
    return moment


# From an aware datetime, and from a TIMESTAMP's microseconds.
_INSTANTS: Final[dict[Kind, tuple[Convert, Convert]]] = {
    Kind.INSTANT: (_same, instant),
    Kind.LOCAL_INSTANT: (local, _local_instant),
    Kind.TEXT_INSTANT: (_sqlite_text, _sqlite_instant),
    Kind.TEXT_DATE: (_sqlite_date, _sqlite_day),
}
_ANYWHERE: Final[dict[type, Convert]] = {Missing: _null, dict: _json, list: _json}
_TABLES: Final[dict[Kind, dict[type, Convert]]] = {
    Kind.ANYTHING: {Decimal: str},
    Kind.TEXT: {bool: _json, int: str, float: text_of_float, bytes: text_of_bytes, Decimal: str},
    Kind.INTEGER: {bool: int, float: whole},
    Kind.NUMBER: {bool: int},
    Kind.DOUBLE: {bool: int},
    Kind.BOOLEAN: {},
    Kind.BYTES: {str: str.encode, dict: encode_document, list: encode_document},
    Kind.INSTANT: {},
    Kind.LOCAL_INSTANT: {},
    Kind.TEXT_INSTANT: {},
    Kind.TEXT_DATE: {},
    Kind.CLOCK: {},
    Kind.INTERVAL: {},
    Kind.JSON: dict.fromkeys((bool, int, float, str, bytes, Decimal), _json),
    Kind.ARRAY: {},
    Kind.OTHER: {},
}


def converters(kind: Kind, declared: Type, dialect: str) -> dict[type, Convert]:
    """How values of each Python type are converted for a column of ``kind`` that the rule declares as ``declared``."""
    table = _ANYWHERE | _TABLES[kind]
    if dialect == "sqlite":
        table.setdefault(Decimal, _sqlite_number if kind in (Kind.INTEGER, Kind.NUMBER) else str)
        if kind is Kind.INTEGER:  # SQLite keeps a fraction as it is
            del table[float]
    if kind is Kind.ARRAY:
        del table[list]
    if kind in _INSTANTS:
        of_datetime, of_timestamp = _INSTANTS[kind]
        table[str] = partial(from_text, of_datetime)
        table |= dict.fromkeys((int, float, Decimal), partial(from_milliseconds, of_timestamp))
        if declared is Type.TIMESTAMP:
            table[int] = of_timestamp
    elif declared is Type.TIMESTAMP and kind is Kind.TEXT:
        table[int] = rfc3339
    elif declared is Type.TIMESTAMP and kind is Kind.JSON:
        table[int] = lambda value: _json(rfc3339(value))
    return table


def parameter_converters(declared: Type, dialect: str) -> dict[type, Convert]:
    """The same for a parameter of a hand-written statement, whose column nobody knows: the rule's type decides."""
    if declared is not Type.TIMESTAMP:
        return converters(Kind.OTHER, declared, dialect)
    kind = {"sqlite": Kind.TEXT_INSTANT, "postgresql": Kind.INSTANT}.get(dialect, Kind.LOCAL_INSTANT)
    return converters(kind, declared, dialect)


def convert_column(column: Sequence[Any], table: dict[type, Convert]) -> Sequence[Any]:
    """The column with every value converted; the same one where none needs it."""
    types = set(map(type, column))
    if table.keys().isdisjoint(types):
        return column
    if len(types) == 1:
        return list(map(table[types.pop()], column))
    look_up = table.get
    return [value if (convert := look_up(type(value))) is None else convert(value) for value in column]


def in_column(name: str, error: Exception) -> PayloadError:
    """``error``, one of UNBINDABLE, with the column that it is about."""
    return PayloadError(f"column {name!r}: {error}", "sql")


class Conversion(NamedTuple):
    """The names and conversions of one schema's columns, in order."""

    names: tuple[str, ...]
    tables: tuple[dict[type, Convert], ...]

    def apply(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows with every value converted; the same rows where none needs it."""
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        converted = []
        for name, column, table in zip(self.names, columns, self.tables, strict=True):
            try:
                converted.append(convert_column(column, table))
            except UNBINDABLE as error:
                raise in_column(name, error) from error
        if all(new is old for new, old in zip(converted, columns, strict=True)):
            return rows
        return list(zip(*converted, strict=True))
