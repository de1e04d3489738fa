"""How much one message may become: rows, and bytes of them. What exceeds a limit fails as any other error does.

Generated code asks only where a message can grow: FOREACH makes rows, and functions, joined texts and constructors make
values that are larger than what came in. Everything else is a part of a message, which the broker has limited. Bytes
are estimated: 32 for a value, and the length of a text. The static half of this is ``growth``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, Final

import msgspec

from core.message import Missing, Row
from rules.operators import EvaluationError

VALUE_BYTES: Final = 32
FLAT: Final = frozenset({int, float, bool, type(None), Missing})
"""The types of values that are small, whatever they are."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one message may become in one rule."""

    max_rows: int = 10_000
    max_bytes: int = 16 << 20


DEFAULT: Final = Limits()


def helpers(limits: Limits, growing: int, *, unnests: bool) -> Mapping[str, Any]:
    """What generated code calls and compares with; ``growing`` is the number of a row's values that may grow.

    ``BIG`` is the length from which a text is looked at: shorter ones stay within the limit, all together.
    """
    most = limits.max_bytes

    def charge(spent: int, values: Iterable[Any]) -> int:
        return _charge(spent, values, most)

    def charge_rows(rows: Iterable[Row]) -> None:
        spent = 0
        for row in rows:
            spent = _charge(spent, row, most)

    def watched(items: Iterable[Any], rows: Sized) -> Iterator[Any]:
        for item in items:
            yield item
            if len(rows) > limits.max_rows:
                raise EvaluationError("too_many_rows", f"one message would give more than {limits.max_rows} rows")

    parts = max(growing, 1) * (limits.max_rows if unnests else 1)
    return {
        "MAX_ROWS": limits.max_rows,
        "MAX_BYTES": most,
        "BIG": most // parts,
        "FLAT": FLAT,
        "charge": charge,
        "charge_rows": charge_rows,
        "watched": watched,
    }


def _charge(spent: int, values: Iterable[Any], most: int) -> int:
    """``spent`` and the bytes of values; an EvaluationError as soon as that is too much, however large they are."""
    for value in values:
        kind = value.__class__
        spent += VALUE_BYTES
        if kind is str or kind is bytes:
            spent += len(value)
        elif kind is dict:
            spent = _charge(spent + sum(map(len, value)), value.values(), most)
        elif kind is list or kind is tuple:
            spent = _charge(spent, value, most)
        if spent > most:
            raise EvaluationError("result_too_large", f"the rows of one message would take more than {most} bytes")
    return spent
