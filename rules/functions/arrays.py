"""Arrays. Positions count from 1; the array comes last."""

from __future__ import annotations

from typing import Annotated, Any

from core.message import Type
from rules.functions.base import Anything, Array, Category, Int, Kind, Refusal, decode_text, shown
from rules.functions.graphemes import graphemes
from rules.functions.values import same

CATEGORY = Category("arrays")
scalar = CATEGORY.scalar


def _not_empty(array: list[Any]) -> list[Any]:
    if not array:
        raise Refusal("the array is empty")
    return array


@scalar(Type.ANY, ("nth(2, [1, 2, 3])", 2))
def nth(position: Int, array: Array) -> Any:
    """The item at `position`; one outside of the array is refused."""
    if not 1 <= position <= len(array):
        raise Refusal(f"position {shown(position)} is not from 1 to {len(array)}")
    return array[position - 1]


ArrayOrText = Annotated[
    Any,
    Kind(
        "an array or a string",
        frozenset({Type.ARRAY, Type.TEXT}),
        {list: None, str: graphemes, bytes: lambda value: graphemes(decode_text(value))},
    ),
]


@scalar(Type.BIGINT, ("length([1, 2])", 2), ("length('abcd')", 4))
def length(array: ArrayOrText) -> int:
    """The number of items, or of a string's characters; EMQX takes arrays only."""
    return len(array)


def _from(start: int, count: int, array: list[Any]) -> list[Any]:
    if count < 0:
        raise Refusal(f"the length must not be negative, not {shown(count)}")
    if not 1 <= start <= len(array) + 1:
        raise Refusal(f"start {shown(start)} is not from 1 to {len(array) + 1}")
    return array[start - 1 : start - 1 + count]


@scalar(Type.ARRAY, ("sublist(2, [1, 2, 3])", [1, 2]), ("sublist(4, [1, 2])", [1, 2]))
def sublist(length: Int, array: Array) -> list[Any]:
    """At most `length` items from the beginning, or from `start` on where that is given."""
    return _from(1, length, array)


@scalar(
    Type.ARRAY,
    ("sublist(2, 2, [1, 2, 3, 4])", [2, 3]),
    ("sublist(5, 2, [1, 2, 3, 4])", []),
    name="sublist",
)
def _sublist(start: Int, length: Int, array: Array) -> list[Any]:
    return _from(start, length, array)


@scalar(Type.ANY, ("first([1, 2])", 1))
def first(array: Array) -> Any:
    """The first item; an empty array is refused."""
    return _not_empty(array)[0]


@scalar(Type.ANY, ("last([1, 2])", 2))
def last(array: Array) -> Any:
    """The last item; an empty array is refused."""
    return _not_empty(array)[-1]


@scalar(Type.BOOLEAN, ("contains('a', ['', 'ab', 3, 'a'])", True), ("contains(1, [1.0])", False))
def contains(item: Anything, array: Array) -> bool:
    """True where the item is in the array, exactly as it is: the integer 1 is not the float 1.0."""
    return any(same(item, other) for other in array)
