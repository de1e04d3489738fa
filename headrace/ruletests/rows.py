"""Rows that came beside rows that were expected: which belong together, and in what they differ.

1, 1.0, '1' and true are four values; a missing column and a null are two. A TIMESTAMP is compared as a point in time.
Ordered rows are told apart from both ends inwards, so that one row too many shows as one row; unordered ones are
matched so that as many agree as can, and what is left is paired with what is most like it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

import msgspec

from core.message import MISSING, Type
from headrace.ruletests.bench import ActualRow
from headrace.ruletests.settings import Expect
from headrace.ruletests.values import ANYTHING, instant, moment_of

Mark = Literal[" ", "-", "+"]
"""The same in both, expected and not there, there and not expected."""

MAX_SHOWN: Final = 20
"""So many rows of a sink are told one by one; a mistake in a rule tends to be in all of them."""
_MAX_PAIRS: Final = 40_000
_TYPES: Final = {
    bool: "boolean",
    int: "integer",
    float: "float",
    Decimal: "decimal",
    str: "text",
    bytes: "bytes",
    list: "array",
    dict: "object",
    datetime: "timestamp",
}


class Line(NamedTuple):
    """One line of a difference."""

    mark: Mark
    text: str


class Difference(NamedTuple):
    """What is wrong with one row, or with their number; ``row`` is the index among the expected ones."""

    title: str
    lines: tuple[Line, ...]
    row: int | None = None


def agree(expected: Any, actual: Any, tolerance: float = 0.0) -> bool:
    """Is a value the expected one?"""
    if expected is ANYTHING:
        return actual is not MISSING
    if type(expected) is dict and type(actual) is dict:
        return expected.keys() == actual.keys() and all(agree(expected[k], actual[k], tolerance) for k in expected)
    if type(expected) is list and type(actual) is list:
        return len(expected) == len(actual) and all(map(lambda e, a: agree(e, a, tolerance), expected, actual))
    if _is_number(expected) and _is_number(actual):
        if type(actual) is Decimal:
            expected = Decimal(str(expected))
        elif type(expected) is not type(actual) and not tolerance:
            return False
        return bool(expected == actual) or (tolerance > 0 and abs(float(expected) - float(actual)) <= tolerance)
    return type(expected) is type(actual) and bool(expected == actual)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def show(value: Any) -> str:
    """A value as JSON, and what JSON lacks in words."""
    if value is MISSING:
        return "missing"
    if value is ANYTHING:
        return "anything"
    if isinstance(value, bytes):
        return f"hex {value.hex(' ')}" if value else "no bytes"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{show(key)}: {show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(show, value))}]"
    if isinstance(value, float | Decimal):
        return repr(value) if isinstance(value, float) else str(value)
    return msgspec.json.encode(value).decode()


class _Comparison:
    """The rows of one sink against one ``[[test.expect]]``."""

    def __init__(self, expect: Expect, actual: Sequence[ActualRow]) -> None:
        self._subset = expect.match == "subset"
        self._tolerance = expect.tolerance
        self.expected: list[Mapping[str, Any]] = [row.columns for row in expect.rows or ()]
        self.rules = [row.rule for row in actual]
        self.actual: list[dict[str, Any]] = [_columns(row) for row in actual]
        self._kinds = [dict(zip(row.schema.names, row.schema.types, strict=True)) for row in actual]

    def differing(self, expected: int, actual: int) -> list[str]:
        """The columns in which two rows differ."""
        wanted, found, kinds = self.expected[expected], self.actual[actual], self._kinds[actual]
        names = list(wanted) if self._subset else list({**found, **wanted})
        return [name for name in names if not self._same(name, wanted, found, kinds)]

    def _same(self, name: str, wanted: Mapping[str, Any], found: Mapping[str, Any], kinds: Mapping[str, Type]) -> bool:
        if name not in wanted or name not in found:
            return False
        return agree(_of_kind(wanted[name], kinds[name]), found[name], self._tolerance)

    def same(self, expected: int, actual: int) -> bool:
        return not self.differing(expected, actual)

    def lines(self, expected: int, actual: int) -> tuple[Line, ...]:
        """Both rows, column by column."""
        wanted, found = self.expected[expected], self.actual[actual]
        differing = set(self.differing(expected, actual))
        names = [name for name in found if name in wanted or not self._subset]
        names += [name for name in wanted if name not in found]
        width = max(map(len, names), default=0)
        lines: list[Line] = []
        for name in names:
            label = name.ljust(width)
            if name not in differing:
                lines.append(Line(" ", f"{label}  {show(found[name])}"))
                continue
            typed = name in wanted and name in found and type(wanted[name]) is not type(found[name])
            if name in wanted:
                note = _type_note(wanted[name]) if typed else "" if name in found else "  (there is no such column)"
                lines.append(Line("-", f"{label}  {show(wanted[name])}{note}"))
            if name in found:
                note = _type_note(found[name]) if typed else "" if name in wanted else "  (not expected)"
                lines.append(Line("+", f"{label}  {show(found[name])}{note}"))
        return tuple(lines)


def _columns(row: ActualRow) -> dict[str, Any]:
    return {
        name: moment_of(value) if kind is Type.TIMESTAMP and type(value) is int else value
        for name, kind, value in zip(row.schema.names, row.schema.types, row.values, strict=True)
    }


def _of_kind(expected: Any, kind: Type) -> Any:
    """A text that is expected of a TIMESTAMP, as the point in time that it means."""
    if kind is Type.TIMESTAMP and isinstance(expected, str):
        return instant(expected) or expected
    return expected


def _type_note(value: Any) -> str:
    name = _TYPES.get(type(value))
    return f"  ({name})" if name else ""


def compare(expect: Expect, actual: Sequence[ActualRow]) -> list[Difference]:
    """What is wrong with the rows of a sink; nothing where they are as expected."""
    if expect.count is not None:
        if expect.count == len(actual):
            return []
        return [Difference(f"expected {_rows(expect.count)}, got {len(actual)}", _whole(actual))]
    comparison = _Comparison(expect, actual)
    pairs = (_unordered if expect.unordered else _ordered)(
        len(comparison.expected), len(comparison.actual), comparison.same
    )
    if expect.unordered:
        pairs = _likeness(pairs, comparison)
    found: list[Difference] = []
    for one, other in pairs:
        if one is not None and other is not None:
            if lines := () if comparison.same(one, other) else comparison.lines(one, other):
                found.append(Difference(f"row {one + 1} differs (from rule {comparison.rules[other]})", lines, one))
        elif one is not None:
            line = Line("-", show(dict(comparison.expected[one])))
            found.append(Difference(f"row {one + 1} is not there", (line,), one))
        elif other is not None:
            line = Line("+", show(comparison.actual[other]))
            found.append(Difference(f"one row too many (from rule {comparison.rules[other]})", (line,)))
    return found


def unexpected(actual: Sequence[ActualRow]) -> Difference:
    """The rows of a sink that should get none."""
    return Difference(f"expected no rows, got {len(actual)}", _whole(actual))


def _whole(actual: Sequence[ActualRow]) -> tuple[Line, ...]:
    lines = [Line("+", show(_columns(row))) for row in actual[:MAX_SHOWN]]
    if len(actual) > MAX_SHOWN:
        lines.append(Line(" ", f"... and {len(actual) - MAX_SHOWN} more"))
    return tuple(lines)


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"


Pairs = list[tuple[int | None, int | None]]
Same = Callable[[int, int], bool]


def _ordered(expected: int, actual: int, same: Same) -> Pairs:
    """Rows in their order: those that agree at the start and at the end, and between them one by one."""
    start = 0
    while start < min(expected, actual) and same(start, start):
        start += 1
    end = 0
    while end < min(expected, actual) - start and same(expected - 1 - end, actual - 1 - end):
        end += 1
    pairs: Pairs = [(index, index) for index in range(start)]
    for index in range(start, max(expected, actual) - end):
        pairs.append((index if index < expected - end else None, index if index < actual - end else None))
    return pairs


def _unordered(expected: int, actual: int, same: Same) -> Pairs:
    """The largest matching of rows that agree; where it is too much to ask, the first that agrees is taken."""
    taken: dict[int, int] = {}  # actual -> expected
    if expected * actual <= _MAX_PAIRS:
        near = [[other for other in range(actual) if same(one, other)] for one in range(expected)]
        for one in range(expected):
            _augment(one, near, taken)
    else:
        for one in range(expected):
            other = next((other for other in range(actual) if other not in taken and same(one, other)), None)
            if other is not None:
                taken[other] = one
    matched = {one: other for other, one in taken.items()}
    pairs: Pairs = [(one, matched.get(one)) for one in range(expected)]
    return pairs + [(None, other) for other in range(actual) if other not in taken]


def _augment(start: int, near: Sequence[Sequence[int]], taken: dict[int, int]) -> None:
    """Find a partner for ``start``, moving others on where they have one (a breadth-first augmenting path)."""
    asked_by: dict[int, int] = {}
    queue = [start]
    for one in queue:
        for other in near[one]:
            if other in asked_by:
                continue
            asked_by[other] = one
            if other in taken:
                queue.append(taken[other])
                continue
            free: int | None = other
            while free is not None:
                owner = asked_by[free]
                left = next((mine for mine, whose in taken.items() if whose == owner), None)
                taken[free] = owner
                free = left
            return


def _likeness(pairs: Pairs, comparison: _Comparison) -> Pairs:
    """Pair each expected row that has no partner with the row most like it, if any is left."""
    free = [other for one, other in pairs if one is None and other is not None]
    found: Pairs = []
    for one, other in pairs:
        if one is not None and other is None and free and len(free) * len(pairs) <= _MAX_PAIRS:
            other = min(free, key=lambda row: (len(comparison.differing(one, row)), row))  # noqa: PLW2901
            free.remove(other)
        if one is not None:
            found.append((one, other))
    return found + [(None, other) for other in free]
