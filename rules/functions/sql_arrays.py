"""Arrays as PostgreSQL and DuckDB have them: the array comes first, positions count from 1, null for null.

Items are equal by value (``1`` and ``1.0``), unlike in EMQX's ``contains``; null is an item like others.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from decimal import Decimal
from functools import cmp_to_key
from typing import Annotated, Any, Final

from core.message import Missing, Type
from rules.functions.base import Anything, Array, Category, Int, Kind, Refusal, Text, check_size, shown
from rules.functions.decimals import EXACT, QUOTIENT
from rules.functions.ordering import is_number, term_order
from rules.functions.values import text_of

CATEGORY = Category("arrays as in SQL")
scalar = CATEGORY.scalar

MAX_SERIES: Final = 1 << 16


def item_key(value: Any) -> Hashable:
    """Equal for items that are equal by value, and only for them."""
    if isinstance(value, bool | Missing) or value is None:
        return ("atom", text_of(value))
    if isinstance(value, list):
        return ("array", tuple(map(item_key, value)))
    if isinstance(value, dict):
        return ("map", frozenset((key, item_key(item)) for key, item in value.items()))
    if isinstance(value, str):
        return ("text", value.encode(errors="surrogatepass"))
    if isinstance(value, Decimal) and not value.is_finite():
        return ("decimal", str(value))
    return ("text", bytes(value)) if isinstance(value, bytes) else ("number", value)


def _nothing(value: Any) -> bool:
    return value is None or isinstance(value, Missing)


@scalar(
    Type.BIGINT,
    ("array_length([1, 2])", 2),
    ("array_length([])", 0),
    aliases=("cardinality",),
    propagate=True,
)
def array_length(array: Array) -> int:
    """The number of items."""
    return len(array)


@scalar(Type.BOOLEAN, ("array_contains([1, 'a'], 'a')", True), ("array_contains([1], 1.0)", True), propagate=True)
def array_contains(array: Array, item: Anything) -> bool:
    """True where an item equals `item`."""
    wanted = item_key(item)
    return any(item_key(other) == wanted for other in array)


@scalar(
    Type.BIGINT,
    ("array_position(['a', 'b', 'a'], 'b')", 2),
    ("array_position(['a'], 'x') IS NULL", True),
    propagate=True,
)
def array_position(array: Array, item: Anything) -> int | None:
    """The position of the first item that equals `item`; null where there is none."""
    wanted = item_key(item)
    return next((position for position, other in enumerate(array, 1) if item_key(other) == wanted), None)


@scalar(Type.ARRAY, ("array_distinct([1, 2, 1, 'a'])", [1, 2, "a"]), propagate=True)
def array_distinct(array: Array) -> list[Any]:
    """Each item once, where it first stands."""
    found: dict[Hashable, Any] = {}
    for item in array:
        found.setdefault(item_key(item), item)
    return list(found.values())


def _direction(word: Any) -> bool:
    if not isinstance(word, str) or word.upper() not in ("ASC", "DESC"):
        raise Refusal(f"the order is 'ASC' or 'DESC', not {shown(word)}")
    return word.upper() == "DESC"


Direction = Annotated[str, Kind("'ASC' or 'DESC'", frozenset({Type.TEXT}), {str: None}, _direction)]


@scalar(
    Type.ARRAY,
    ("array_sort([3, 1, 2])", [1, 2, 3]),
    ("array_sort(['b', 'a', 'c'], 'DESC')", ["c", "b", "a"]),
    propagate=True,
)
def array_sort(array: Array, order: Direction = "ASC") -> list[Any]:
    """The items in order, as comparisons have it (numbers, booleans, maps, arrays, strings); null comes last."""
    there = sorted(
        (item for item in array if not _nothing(item)), key=cmp_to_key(term_order), reverse=_direction(order)
    )
    return there + [item for item in array if _nothing(item)]


@scalar(Type.ARRAY, ("array_reverse([1, 2, 3])", [3, 2, 1]), propagate=True)
def array_reverse(array: Array) -> list[Any]:
    """The items in opposite order."""
    return array[::-1]


@scalar(
    Type.ARRAY,
    ("array_slice([1, 2, 3, 4], 2, 3)", [2, 3]),
    ("array_slice([1, 2, 3, 4], -2, -1)", [3, 4]),
    propagate=True,
)
def array_slice(array: Array, first: Int, last: Int) -> list[Any]:
    """The items from position `first` to `last`, both included, negative from the end. What lies outside is
    left out."""
    begin = first - 1 if first > 0 else max(len(array) + first, 0) if first < 0 else 0
    end = last if last >= 0 else len(array) + last + 1
    return array[begin : max(end, 0)]


@scalar(
    Type.ARRAY,
    ("array_concat([1], [2, 3], [])", [1, 2, 3]),
    aliases=("array_cat",),
    propagate=True,
)
def array_concat(array: Array, *more: Array) -> list[Any]:
    """The items of all arrays."""
    check_size(len(array) + sum(map(len, more)))
    return [*array, *(item for other in more for item in other)]


@scalar(Type.ARRAY, ("array_append([1], 2)", [1, 2]), propagate=True)
def array_append(array: Array, item: Anything) -> list[Any]:
    """The array with `item` behind it."""
    return [*array, item]


@scalar(Type.ARRAY, ("array_prepend(0, [1])", [0, 1]), propagate=True)
def array_prepend(item: Anything, array: Array) -> list[Any]:
    """The array with `item` before it; the item comes first, as in PostgreSQL."""
    return [item, *array]


@scalar(Type.ARRAY, ("array_remove([1, 2, 1], 1)", [2]), propagate=True)
def array_remove(array: Array, item: Anything) -> list[Any]:
    """The array without all items that equal `item`."""
    wanted = item_key(item)
    return [other for other in array if item_key(other) != wanted]


@scalar(Type.ARRAY, ("array_flatten([[1], [2, [3]], 4])", [1, 2, [3], 4]), propagate=True)
def array_flatten(array: Array) -> list[Any]:
    """The items of the arrays in it, one level deep; what is no array stays."""
    size = sum(len(item) if isinstance(item, list) else 1 for item in array)
    check_size(size)
    return [inner for item in array for inner in (item if isinstance(item, list) else [item])]


def _numbers(array: list[Any]) -> list[Any]:
    """The numbers of an array without its nulls; decimals beside floats become floats."""
    there = [item for item in array if not _nothing(item)]
    for item in there:
        if not is_number(item):
            raise Refusal(f"an item is {shown(item)} and no number")
    if any(type(item) is float for item in there):
        return [float(item) for item in there]
    return there


def _sum(numbers: list[Any]) -> Any:
    total: Any = 0
    for number in numbers:
        exact = isinstance(number, Decimal) or isinstance(total, Decimal)
        total = EXACT.add(total, number) if exact else total + number
    if isinstance(total, float) and not math.isfinite(total):
        raise Refusal("the sum is out of range", "out_of_range")
    return total


@scalar(Type.ANY, ("array_sum([1, 2.5])", 3.5), ("array_sum([]) IS NULL", True), propagate=True)
def array_sum(array: Array) -> Any:
    """The sum of the numbers; nulls do not count, and nothing to count gives null."""
    numbers = _numbers(array)
    return _sum(numbers) if numbers else None


@scalar(Type.ANY, ("array_avg([1, 2])", 1.5), propagate=True)
def array_avg(array: Array) -> Any:
    """The mean of the numbers; nulls do not count, and nothing to count gives null."""
    numbers = _numbers(array)
    if not numbers:
        return None
    total = _sum(numbers)
    return QUOTIENT.divide(total, len(numbers)) if isinstance(total, Decimal) else total / len(numbers)


def _extreme(array: list[Any], sign: int) -> Any:
    found: Any = None
    for item in array:
        if not _nothing(item) and (found is None or term_order(item, found) == sign):
            found = item
    return found


@scalar(Type.ANY, ("array_min([3, 1, 2])", 1), propagate=True)
def array_min(array: Array) -> Any:
    """The least item in the order of `array_sort`; nulls do not count."""
    return _extreme(array, -1)


@scalar(Type.ANY, ("array_max([3, 1, 2])", 3), propagate=True)
def array_max(array: Array) -> Any:
    """The greatest item in the order of `array_sort`; nulls do not count."""
    return _extreme(array, 1)


@scalar(
    Type.TEXT,
    ("array_to_string(['a', 1, null()], '-')", "a-1"),
    ("array_to_string(['a', null()], '-', '?')", "a-?"),
    propagate=True,
)
def array_to_string(array: Array, separator: Text, null: Anything = None) -> str:
    """The texts of the items with `separator` between them; nulls are left out, or are the text `null`."""
    texts = [
        text_of(null) if _nothing(item) else text_of(item) for item in array if not (_nothing(item) and _nothing(null))
    ]
    check_size(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


@scalar(
    Type.ARRAY,
    ("string_to_array('a,b,', ',')", ["a", "b", ""]),
    ("string_to_array('', ',')", []),
    ("array_length(string_to_array('a,?', ',', '?'))", 2),
    propagate=True,
)
def string_to_array(text: Text, separator: Text, null: Anything = None) -> list[Any]:
    """The parts of a text between separators; an empty text has none, and parts that are the text `null` are null."""
    parts = [text] if not separator else text.split(separator) if text else []
    return [None if part == null else part for part in parts]


@scalar(
    Type.ARRAY,
    ("generate_series(1, 4)", [1, 2, 3, 4]),
    ("generate_series(10, 0, -5)", [10, 5, 0]),
    propagate=True,
)
def generate_series(first: Int, last: Int, step: Int = 1) -> list[int]:
    """The integers from `first` to `last`, both included; at most 65,536 of them."""
    if not step:
        raise Refusal("the step must not be 0")
    if abs(last - first) // abs(step) >= MAX_SERIES:
        raise Refusal(f"a series takes at most {MAX_SERIES} integers", "result_too_large")
    return list(range(first, last + (1 if step > 0 else -1), step))
