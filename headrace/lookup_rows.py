"""The rows of lookup tables: what a database or file gives -> tuples in the order of the declared columns.

A value of a declared column becomes one of its type as CAST would; without declared columns a row is one object. What
does not convert is an error of its row. Values that no rule has a type for become their text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from core.errors import HeadraceError
from core.instants import EPOCH, rfc3339
from core.message import Row, Schema, Type
from rules.casts import ANY_SHAPE, caster
from rules.compiler import RuleSet
from rules.joins import LookupOptions
from rules.joins.keys import Key, join_key
from rules.operators import EvaluationError

_MICROSECOND: Final = timedelta(microseconds=1)
_AS_THEY_ARE: Final = frozenset({bool, int, str, bytes, type(None), Decimal})
_OWN: Final = {
    Type.BOOLEAN: bool,
    Type.BIGINT: int,
    Type.DOUBLE: float,
    Type.DECIMAL: Decimal,
    Type.TEXT: str,
    Type.BYTES: bytes,
    Type.ARRAY: list,
    Type.OBJECT: dict,
}


class RowError(HeadraceError):
    """A row that is none of the table's."""


@dataclass(frozen=True, slots=True)
class TableSource:
    """One CREATE TABLE: its name, its options, its columns (None: a row is one object) and where it stands."""

    name: str
    options: LookupOptions
    schema: Schema | None = None
    file: str | None = None
    line: int | None = None

    @property
    def width(self) -> int:
        return 1 if self.schema is None else len(self.schema.names)


def table_sources(rules: RuleSet) -> list[TableSource]:
    """The lookup tables that rules read."""
    return [TableSource(one.name, one.options, one.schema, one.path, one.line) for one in rules.tables]


class RowMaker:
    """Makes the rows of one table."""

    def __init__(self, source: TableSource) -> None:
        self._key = source.options.key
        self._columns: list[tuple[str, Type, Callable[[Any], Any] | None]] | None = None
        if source.schema is not None:
            columns = zip(source.schema.names, source.schema.types, strict=True)
            self._columns = [(name, kind, _caster(kind)) for name, kind in columns]

    def row(self, found: Mapping[str, Any]) -> tuple[Key, Row]:
        """The key (None: it equals nothing) and the row; RowError where a column is missing or does not convert."""
        if self._columns is None:
            values = {name: plain(value) for name, value in found.items()}
            row: Row = (values,)
        else:
            values = {name: self._value(found, name, kind, cast) for name, kind, cast in self._columns}
            row = tuple(values.values())
        parts = []
        for name in self._key:
            if name not in values and name not in found:
                raise RowError(f"there is no key column {name!r}")
            parts.append(join_key(values[name] if name in values else plain(found[name])))
        if None in parts:
            return None, row
        return (parts[0] if len(parts) == 1 else tuple(parts)), row

    def rows(self, found: Iterable[Mapping[str, Any]]) -> dict[Key, list[Row]]:
        """Rows by their key; those whose key equals nothing are in none."""
        groups: dict[Key, list[Row]] = {}
        for given in found:
            key, row = self.row(given)
            if key is not None:
                groups.setdefault(key, []).append(row)
        return groups

    @staticmethod
    def _value(found: Mapping[str, Any], name: str, kind: Type, cast: Callable[[Any], Any] | None) -> Any:
        if name not in found:
            raise RowError(f"there is no column {name!r}")
        value = found[name]
        if value is None or type(value) is _OWN.get(kind):
            return value
        value = _instant(value) if kind is Type.TIMESTAMP else plain(value)
        if cast is None or value is None:
            return value
        try:
            return cast(value)
        except EvaluationError as error:
            raise RowError(f"column {name!r}: {error}") from None


def _caster(kind: Type) -> Callable[[Any], Any] | None:
    if kind is Type.ANY:
        return None
    if kind is not Type.TIMESTAMP:
        return caster(Type.ANY, kind, ANY_SHAPE, False, "")
    cast = caster(Type.ANY, kind, ANY_SHAPE, False, "")
    return lambda value: value.microseconds if type(value) is _Instant else cast(value)


@dataclass(frozen=True, slots=True)
class _Instant:
    """A time that a driver gave, apart from the numbers that stand for one."""

    microseconds: int


def _instant(value: Any) -> Any:
    if isinstance(value, date):
        return _Instant(_microseconds(value))
    return plain(value)


def _microseconds(value: date) -> int:
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)
    if moment.tzinfo is None:  # our sessions are at UTC
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // _MICROSECOND


def plain(value: Any) -> Any:
    """A value of a driver as one that rules know."""
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return rfc3339(_microseconds(value))
    return str(value)  # dates, times, UUIDs, addresses ... in the form that ISO or their standard gives them
