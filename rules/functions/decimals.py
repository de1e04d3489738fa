"""DECIMAL: exact decimal numbers, as Python's Decimal in a context that does not depend on the thread.

Sums and products keep up to 76 digits, quotients 38. No result is infinite or NaN: what would be raises an
arithmetic error of Python's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from typing import Any, Final

from rules.functions.base import Refusal, shown

MAX_PRECISION: Final = 38
_MAX_EXPONENT: Final = 1_000
_TEXT: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?", re.ASCII).fullmatch
_TRAPS: Final = (DivisionByZero, InvalidOperation, Overflow)


def _context(digits: int) -> Context:
    return Context(
        prec=digits, rounding=ROUND_HALF_EVEN, Emax=_MAX_EXPONENT, Emin=-_MAX_EXPONENT, traps=list(_TRAPS), capitals=1
    )


EXACT: Final = _context(2 * MAX_PRECISION)
"""For sums, differences, products and signs."""
QUOTIENT: Final = _context(MAX_PRECISION)


def to_decimal(value: Any) -> Decimal:
    """A number or a number's text as DECIMAL, a float with the fewest digits that tell it; Refusal for others."""
    if isinstance(value, bool):
        raise Refusal("a boolean is no number")
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, int):
        if value.bit_length() > 4_096:
            raise Refusal(f"{shown(value)} is too large for DECIMAL")
        number = Decimal(value)
    elif isinstance(value, float):
        number = Decimal(repr(value))
    elif isinstance(value, str) and len(value) <= _MAX_EXPONENT and _TEXT(value.strip()):
        number = Decimal(value.strip())
    else:
        raise Refusal(f"{shown(value)} is no number")
    if not number.is_finite() or abs(number.adjusted()) > _MAX_EXPONENT:
        raise Refusal(f"{shown(value)} is too large or too small for DECIMAL")
    return number


def rounder(precision: int, scale: int) -> Callable[[Decimal], Decimal]:
    """What gives a number ``scale`` decimals, a half rounded up (away from zero); Refusal where it then has more than
    ``precision`` digits."""
    quantum = Decimal(1).scaleb(-scale)
    limit = Decimal(1).scaleb(precision - scale)

    def rounded(number: Decimal) -> Decimal:
        try:
            result = number.quantize(quantum, ROUND_HALF_UP, EXACT)
        except InvalidOperation:
            result = number
        if -limit < result < limit:
            return result
        raise Refusal(f"{shown(number)} has more than {precision - scale} digits before its point")

    return rounded
