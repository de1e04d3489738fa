"""CAST: from the values of one type to those of another, PostgreSQL's way where it has one.

:func:`caster` gives the function that generated code calls; null and missing stay what they are. TIMESTAMP and INTERVAL
are integers inside, so what a CAST of one means depends on its *static* type: :data:`IMPOSSIBLE` says which casts the
binder refuses. A TIMESTAMP as a number is milliseconds since the epoch, the unit of EMQX's ``timestamp``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from core.instants import rfc3339
from core.message import MISSING, Type
from rules.functions.base import Refusal, decode_text, encode_text, shown
from rules.functions.decimals import rounder, to_decimal
from rules.functions.instants import checked_instant, parse_timestamp, zoned_text
from rules.functions.intervals import interval_text, parse_fixed
from rules.functions.values import json_text, parse_json, text_of
from rules.operators import EvaluationError, parse_number

_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII).fullmatch
_TRUE: Final = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE: Final = frozenset({"false", "f", "no", "n", "off", "0"})
_MILLISECOND: Final = 1_000
LAST_INSTANT: Final = 253_402_300_799_999_999
"""The last microsecond of the year 9999."""

IMPOSSIBLE: Final[Mapping[tuple[Type, Type], str]] = MappingProxyType(
    {
        **{
            (Type.TIMESTAMP, to): "EXTRACT(EPOCH FROM x) gives seconds, CAST(x AS BIGINT) milliseconds"
            for to in (Type.BOOLEAN, Type.DECIMAL, Type.INTERVAL, Type.BYTES, Type.ARRAY, Type.OBJECT)
        },
        **{
            (Type.INTERVAL, to): "EXTRACT(EPOCH FROM x) gives seconds"
            for to in Type
            if to not in (Type.INTERVAL, Type.TEXT, Type.ANY)
        },
        **{
            (source, Type.INTERVAL): "multiply: x * INTERVAL '1 second'"
            for source in (Type.BIGINT, Type.DOUBLE, Type.DECIMAL)
        },
        **{
            (source, to): ""
            for source in (Type.ARRAY, Type.OBJECT)
            for to in Type
            if to not in (source, Type.TEXT, Type.ANY)
        },
        **{
            (source, to): ""
            for source in (Type.BIGINT, Type.DOUBLE, Type.DECIMAL)
            for to in (Type.BYTES, Type.ARRAY, Type.OBJECT)
        },
        **{(source, Type.BOOLEAN): "compare it: x <> 0" for source in (Type.DOUBLE, Type.DECIMAL)},
        **{
            (Type.BOOLEAN, to): ""
            for to in (Type.DOUBLE, Type.DECIMAL, Type.BYTES, Type.TIMESTAMP, Type.INTERVAL, Type.ARRAY, Type.OBJECT)
        },
    }
)
"""Pairs of types that no value can be cast between, with what to write instead."""


class Shape(NamedTuple):
    """The digits of a DECIMAL; ``precision`` 0 keeps all."""

    precision: int = 0
    scale: int = 0


ANY_SHAPE: Final = Shape()


@lru_cache(maxsize=1_024)
def caster(source: Type, to: Type, shape: Shape, safe: bool, zone: str) -> Callable[[Any], Any]:
    """What casts a value of the static type ``source``; EvaluationError, or null where ``safe``, for what cannot be.

    ``zone`` is the time zone of a TIMESTAMP's text, empty for UTC.
    """
    convert = _conversion(source, to, shape, zone)
    label = f"{to.value}({shape.precision}, {shape.scale})" if shape.precision else to.value

    def cast(value: Any) -> Any:
        if value is None or value is MISSING:
            return value
        try:
            result = convert(value)
        except (ValueError, ArithmeticError, RecursionError) as error:
            if safe:
                return None
            reason = str(error) if isinstance(error, Refusal) and to not in _TERSE else ""
            raise EvaluationError("bad_cast", reason or f"{shown(value)} is no {label}") from None
        if result is None and not safe:
            raise EvaluationError("bad_cast", f"{shown(value)} is no {label}")
        return result

    return cast


_TERSE: Final = frozenset({Type.TEXT})


@lru_cache(maxsize=4_096)
def column_caster(name: str, to: Type, shape: Shape, unit: int, *, not_null: bool) -> Callable[[Any], Any]:
    """What brings a value to the type of a declared column: a CAST that changes no number. ``unit`` are the
    microseconds that a number means in a TIMESTAMP, 0 for nanoseconds."""
    convert = _conversion(Type.ANY, to, shape, "")
    label = f"{to.value}({shape.precision}, {shape.scale})" if shape.precision else to.value

    def cast(value: Any) -> Any:
        if value is None or value is MISSING:
            if not_null:
                word = "null" if value is None else "missing"
                raise EvaluationError("bad_column", f"column {name!r} is NOT NULL, and here it is {word}")
            return value
        try:
            if to is Type.TIMESTAMP and type(value) in (int, float):
                result = checked_instant(round(value * unit) if unit else int(value) // 1_000)
            else:
                result = convert(value)
        except (ValueError, ArithmeticError, RecursionError):
            result = None
        if result is None or (to is Type.BIGINT and type(value) is float and result != value):
            raise EvaluationError("bad_column", f"column {name!r}: {shown(value)} is no {label}")
        return result

    return cast


def _conversion(source: Type, to: Type, shape: Shape, zone: str) -> Callable[[Any], Any]:
    if source in _FROM_TIME:
        if source is Type.TIMESTAMP and to is Type.TEXT and zone:
            return partial(_zoned, zone)
        return _FROM_TIME[source][to]
    if to is Type.DECIMAL and shape.precision:
        rounded = rounder(*shape)
        return lambda value: rounded(to_decimal(value))
    return _CASTS[to]


def _zoned(zone: str, value: int) -> str:
    return zoned_text(value, zone)


def _same(value: int) -> int:
    return value


def _to_boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if type(value) is int:
        return value != 0
    text = value.strip().lower() if isinstance(value, str) else ""
    return True if text in _TRUE else False if text in _FALSE else None


def _to_bigint(value: Any) -> int | None:
    if isinstance(value, bool | int):
        return int(value)
    if isinstance(value, float):
        return round(value)
    if isinstance(value, Decimal):
        return int(value.to_integral_value(rounding=ROUND_HALF_UP))
    number = parse_number(value.strip()) if isinstance(value, str) else None
    return number if type(number) is int else None


def _to_double(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float | Decimal):
        return float(value)
    number = float(value) if isinstance(value, str) and _DECIMAL(value.strip()) else math.inf
    return number if math.isfinite(number) else None


def _to_bytes(value: Any) -> bytes | None:
    if isinstance(value, bytes):
        return bytes(value)
    return encode_text(value) if isinstance(value, str) else None


def _to_timestamp(value: Any) -> int | None:
    if isinstance(value, str):
        return parse_timestamp(value)
    if isinstance(value, bytes):
        return parse_timestamp(decode_text(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return checked_instant(value * _MILLISECOND)
    if isinstance(value, float | Decimal):
        return checked_instant(round(value * _MILLISECOND))
    return None


def _to_interval(value: Any) -> int | None:
    return parse_fixed(value) if isinstance(value, str) else None


def _to_array(value: Any) -> list[Any] | None:
    found = parse_json(value) if isinstance(value, str | bytes) else value
    return found if isinstance(found, list) else None


def _to_object(value: Any) -> dict[Any, Any] | None:
    found = parse_json(value) if isinstance(value, str | bytes) else value
    return found if isinstance(found, dict) else None


def _to_text(value: Any) -> str:
    return json_text(value) if isinstance(value, list | dict) else text_of(value)


_CASTS: Final[dict[Type, Callable[[Any], Any]]] = {
    Type.BOOLEAN: _to_boolean,
    Type.BIGINT: _to_bigint,
    Type.DOUBLE: _to_double,
    Type.DECIMAL: to_decimal,
    Type.TEXT: _to_text,
    Type.BYTES: _to_bytes,
    Type.TIMESTAMP: _to_timestamp,
    Type.INTERVAL: _to_interval,
    Type.ARRAY: _to_array,
    Type.OBJECT: _to_object,
}
_FROM_TIME: Final[dict[Type, dict[Type, Callable[[Any], Any]]]] = {
    Type.TIMESTAMP: {
        Type.TIMESTAMP: _same,
        Type.TEXT: lambda value: rfc3339(checked_instant(value)),
        Type.BIGINT: lambda value: value // _MILLISECOND,
        Type.DOUBLE: lambda value: value / _MILLISECOND,
    },
    Type.INTERVAL: {Type.INTERVAL: _same, Type.TEXT: interval_text},
}
