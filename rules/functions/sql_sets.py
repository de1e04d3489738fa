"""Arrays as sets, as Spark and Trino have them: what two arrays share, together hold, or only one has. Null for null.

Items are equal by value, as everywhere in ``sql_arrays``; results have each item once, in the order of its first place.
"""

from __future__ import annotations

from typing import Any

from core.message import Type
from rules.functions.base import Array, Category, check_size
from rules.functions.sql_arrays import array_distinct, item_key

CATEGORY = Category("arrays as sets")
scalar = CATEGORY.scalar


@scalar(Type.ARRAY, ("array_intersect([1, 2, 2, 3], [2, 3, 4])", [2, 3]), propagate=True)
def array_intersect(array: Array, other: Array) -> list[Any]:
    """The items that both arrays have."""
    there = set(map(item_key, other))
    return array_distinct([item for item in array if item_key(item) in there])


@scalar(Type.ARRAY, ("array_union([1, 2, 2], [3, 1])", [1, 2, 3]), propagate=True)
def array_union(array: Array, other: Array) -> list[Any]:
    """The items that one of the arrays has."""
    check_size(len(array) + len(other))
    return array_distinct([*array, *other])


@scalar(Type.ARRAY, ("array_except([1, 2, 2, 3], [3])", [1, 2]), propagate=True)
def array_except(array: Array, other: Array) -> list[Any]:
    """The items of the first array that the other one does not have."""
    there = set(map(item_key, other))
    return array_distinct([item for item in array if item_key(item) not in there])


@scalar(
    Type.BOOLEAN, ("array_contains_any([1, 2], [2, 9])", True), ("array_contains_any([1], [])", False), propagate=True
)
def array_contains_any(array: Array, other: Array) -> bool:
    """True where the arrays share an item."""
    there = set(map(item_key, other))
    return any(item_key(item) in there for item in array)
