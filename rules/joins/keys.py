"""What a join compares: values as keys of dictionaries that are equal exactly where SQL's ``=`` says so.

``1``, ``1.0`` and DECIMAL ``1`` are one key; ``'1'`` is another and ``true`` a third. Null, missing and NaN equal
nothing, not even themselves: a row with one of these in its key has no match, and nobody is asked for one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from operator import itemgetter
from typing import Any, Final

from core.message import MISSING
from rules.aggregates.keys import Box, unboxed

Key = Any
"""Hashable; None: equals nothing."""
KeyOf = Callable[[Sequence[Any]], Key]

_PLAIN: Final = frozenset({str, int, bytes})


def join_key(value: Any) -> Key:
    """One value as a key."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if value is None or value is MISSING:
        return None
    if kind is float:
        return value if value == value else None  # NaN
    if kind is Decimal:
        return None if value.is_nan() else value
    return Box(value)


def key_reader(places: tuple[int, ...]) -> KeyOf:
    """What takes the key out of a row: the value at one place, a tuple of several."""
    if len(places) == 1:
        [place] = places

        def one(row: Sequence[Any]) -> Key:
            value = row[place]
            return value if type(value) in _PLAIN else join_key(value)

        return one

    values = itemgetter(*places)

    def several(row: Sequence[Any]) -> Key:
        key = values(row)
        if not _PLAIN.issuperset(map(type, key)):
            key = tuple([join_key(value) for value in key])
            if None in key:
                return None
        return key

    return several


def key_values(key: Key) -> tuple[Any, ...]:
    """The values that a key was made from, one per place."""
    parts = key if type(key) is tuple else (key,)
    return tuple([unboxed(part) for part in parts])


def weight(key: Key) -> int:
    """About how many bytes of text a key holds."""
    if type(key) is tuple:
        return sum(map(weight, key))
    if isinstance(key, Box):
        return len(repr(key.value))
    return len(key) if isinstance(key, str | bytes) else 8
