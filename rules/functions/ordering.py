"""Erlang's order of terms, by which EMQX compares and by which arrays are sorted."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from core.message import MISSING, Missing


def is_number(value: Any) -> bool:
    return type(value) in (int, float) or isinstance(value, Decimal)


def atom_text(value: Any) -> str:
    return "undefined" if value is MISSING else "null" if value is None else "true" if value else "false"


def bytes_of(value: str | bytes) -> bytes:
    return value.encode(errors="surrogatepass") if isinstance(value, str) else value


def sign(one: Any, two: Any) -> int:
    return int(one > two) - int(one < two)


def _rank(value: Any) -> int:
    if is_number(value):
        return 0
    if value is None or isinstance(value, bool | Missing):
        return 1
    if isinstance(value, dict):
        return 2
    return 3 if isinstance(value, list) else 4


def term_order(one: Any, two: Any) -> int:
    """-1, 0 or 1 by Erlang's order of terms: number < boolean and null < map < list < string."""
    rank, other = _rank(one), _rank(two)
    if rank != other:
        return sign(rank, other)
    if rank == 0:
        if isinstance(one, Decimal) is not isinstance(two, Decimal) and float in (type(one), type(two)):
            return sign(float(one), float(two))  # 0.1 is 0.1, whichever of the two is exact
        return sign(one, two)
    if rank == 1:
        return sign(atom_text(one), atom_text(two))
    if rank == 4:
        return sign(bytes_of(one), bytes_of(two))
    if rank == 3:
        return _sequence_order(one, two) or sign(len(one), len(two))
    keys, others = sorted(one), sorted(two)
    return (
        sign(len(one), len(two))
        or _sequence_order(keys, others)
        or _sequence_order([one[key] for key in keys], [two[key] for key in others])
    )


def _sequence_order(ones: Sequence[Any], twos: Sequence[Any]) -> int:
    for one, two in zip(ones, twos, strict=False):
        order = term_order(one, two)
        if order:
            return order
    return 0
