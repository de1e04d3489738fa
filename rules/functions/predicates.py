"""Questions about a value, answered with a boolean. Only :func:`is_empty` refuses some values."""

from __future__ import annotations

from decimal import Decimal

from core.message import Missing, Type
from rules.functions.base import Anything, Category, Refusal, shown
from rules.functions.values import parse_json

CATEGORY = Category("predicates")
scalar = CATEGORY.scalar


@scalar(Type.BOOLEAN, ("is_null(null())", True), ("is_null('')", False), ("is_null(json_decode('null'))", False))
def is_null(value: Anything) -> bool:
    """True for what is not there (undefined), and for nothing else: JSON null is a value."""
    return isinstance(value, Missing)


@scalar(Type.BOOLEAN, ("is_not_null('undefined')", True))
def is_not_null(value: Anything) -> bool:
    """The opposite of `is_null`."""
    return not isinstance(value, Missing)


@scalar(Type.BOOLEAN, ("is_null_var(json_decode('null'))", True), ("is_null_var('null')", False))
def is_null_var(value: Anything) -> bool:
    """True for what is not there and for JSON null."""
    return value is None or isinstance(value, Missing)


@scalar(Type.BOOLEAN, ("is_not_null_var(json_decode('null'))", False))
def is_not_null_var(value: Anything) -> bool:
    """The opposite of `is_null_var`."""
    return not (value is None or isinstance(value, Missing))


@scalar(Type.BOOLEAN, ("is_str('')", True), ("is_str(1)", False))
def is_str(value: Anything) -> bool:
    """True for strings and binaries."""
    return isinstance(value, str | bytes)


@scalar(Type.BOOLEAN, ("is_bool(true)", True), ("is_bool('true')", False), ("is_bool(1)", False))
def is_bool(value: Anything) -> bool:
    """True for true and false."""
    return isinstance(value, bool)


@scalar(Type.BOOLEAN, ("is_int(1)", True), ("is_int(1.0)", False), ("is_int(true)", False))
def is_int(value: Anything) -> bool:
    """True for integers of any size."""
    return isinstance(value, int) and not isinstance(value, bool)


@scalar(Type.BOOLEAN, ("is_float(2.0)", True), ("is_float(1)", False))
def is_float(value: Anything) -> bool:
    """True for floats, also for those without a fraction."""
    return isinstance(value, float)


@scalar(Type.BOOLEAN, ("is_num(1)", True), ("is_num(1.5)", True), ("is_num('1')", False))
def is_num(value: Anything) -> bool:
    """True for integers, floats and decimals."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


@scalar(Type.BOOLEAN, ("is_map(map_new())", True), ("is_map('{}')", False))
def is_map(value: Anything) -> bool:
    """True for maps (JSON objects)."""
    return isinstance(value, dict)


@scalar(Type.BOOLEAN, ("is_array([1, 2])", True), ("is_array('')", False))
def is_array(value: Anything) -> bool:
    """True for arrays."""
    return isinstance(value, list)


@scalar(
    Type.BOOLEAN,
    ("is_empty([])", True),
    ("is_empty('')", True),
    ("is_empty('{}')", True),
    ("is_empty([1])", False),
)
def is_empty(value: Anything) -> bool:
    """True for an array, map or string without content; any other string is read as a JSON object."""
    if isinstance(value, list | dict):
        return not value
    if isinstance(value, str | bytes):
        if not value:
            return True
        document = parse_json(value)
        if isinstance(document, dict):
            return not document
    raise Refusal(f"expected an array, a map or JSON text of a map, not {shown(value)}")
