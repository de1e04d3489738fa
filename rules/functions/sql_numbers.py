"""Numbers as PostgreSQL has them; null for null. EMQX's own functions are in ``numbers``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal
from typing import Final

from core.message import Missing, Type
from rules.functions import numbers
from rules.functions.base import Anything, Category, Float, Int, Number, Refusal, shown

CATEGORY = Category("math as in SQL")
scalar = CATEGORY.scalar

_MAX_DIGITS: Final = 400
_WORD: Final = 1 << 64
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_SIGNED: Final = re.compile(r"\s*([-+]?)([0-9a-z]*)", re.ASCII).match
# A double has at most 309 digits before and 1,074 behind its point.
_CONTEXT: Final = Context(prec=2_000)


def _to_digits(number: float, digits: int, rounding: str) -> float:
    if abs(digits) > _MAX_DIGITS:
        raise Refusal(f"digits must be from -{_MAX_DIGITS} to {_MAX_DIGITS}, not {shown(digits)}")
    if not math.isfinite(number):
        return number
    return float(Decimal(repr(number)).quantize(Decimal(1).scaleb(-digits), rounding=rounding, context=_CONTEXT))


@numbers.scalar(Type.DOUBLE, ("round(2.675, 2)", 2.68), ("round(1234, -2)", 1200.0), name="round", propagate=True)
def _round(number: Float, digits: Int) -> float:
    """With `digits` it is a float with so many digits behind its point, negative ones before it."""
    return _to_digits(number, digits, ROUND_HALF_UP)


@scalar(Type.BIGINT, ("trunc(2.9)", 2), ("trunc(-2.9)", -2), propagate=True)
def trunc(number: Number) -> int:
    """The integer part, cut toward zero."""
    return math.trunc(number)


@scalar(Type.DOUBLE, ("trunc(2.789, 2)", 2.78), name="trunc", propagate=True)
def _trunc(number: Float, digits: Int) -> float:
    """With `digits` it is a float that is cut behind so many digits after its point."""
    return _to_digits(number, digits, ROUND_DOWN)


@scalar(Type.BIGINT, ("sign(-2.5)", -1), ("sign(0)", 0), propagate=True)
def sign(number: Number) -> int:
    """-1, 0 or 1."""
    return (number > 0) - (number < 0)


@scalar(Type.DOUBLE, ("pi()", math.pi))
def pi() -> float:
    """The circle's constant."""
    return math.pi


@scalar(Type.DOUBLE, ("atan2(1, 1)", math.pi / 4), propagate=True)
def atan2(y: Float, x: Float) -> float:
    """The angle of the point (x, y) in radians."""
    return math.atan2(y, x)


@scalar(
    Type.TEXT,
    ("conv('ff', 16, 10)", "255"),
    ("conv(10, 10, 2)", "1010"),
    ("conv('-17', 10, -16)", "-11"),
    propagate=True,
)
def conv(number: Anything, from_base: Int, to_base: Int) -> str | None:
    """A whole number in another base, 2 to 36, as MySQL and Spark have it: as many digits as the text begins with
    count; results have 64 bits without a sign, or with one where `to_base` is negative. Null for another base."""
    if number is None or isinstance(number, Missing) or not (_is_base(from_base) and _is_base(to_base)):
        return None
    if isinstance(number, bool) or not isinstance(number, str | int):
        raise Refusal(f"the number is a string or an integer, not {shown(number)}")
    value = _leading(str(number)[:_MAX_DIGITS], abs(from_base))
    if from_base < 0:
        value = max(min(value, _WORD // 2 - 1), -_WORD // 2)
    else:
        value = max(min(value, _WORD - 1), -_WORD // 2)
    if to_base < 0 and value >= _WORD // 2:
        value -= _WORD
    return _in_base(value if to_base < 0 else value % _WORD, abs(to_base))


def _is_base(base: int) -> bool:
    return 2 <= abs(base) <= len(_DIGITS)


def _leading(text: str, base: int) -> int:
    """The number that the text begins with; 0 where it begins with none."""
    found = _SIGNED(text.lower())
    value = 0
    if found is not None:
        for character in found[2]:
            digit = _DIGITS.index(character)
            if digit >= base:
                break
            value = value * base + digit
    return -value if found is not None and found[1] == "-" else value


def _in_base(value: int, base: int) -> str:
    digits = ""
    rest = abs(value)
    while rest:
        rest, digit = divmod(rest, base)
        digits = _DIGITS[digit] + digits
    return f"{'-' if value < 0 else ''}{digits.upper() or '0'}"


def _elementary(name: str, function: Callable[[float], float], doc: str, example: tuple[str, float]) -> None:
    def body(number: Float) -> float:
        result = function(number)
        if not math.isfinite(result):
            raise Refusal("the result is out of range", "out_of_range")
        return result

    body.__doc__ = doc
    scalar(Type.DOUBLE, example, name=name, propagate=True)(body)


for _name, _function, _doc, _example in (
    ("degrees", math.degrees, "An angle of radians in degrees.", ("degrees(pi())", 180.0)),
    ("radians", math.radians, "An angle of degrees in radians.", ("radians(180)", math.pi)),
    ("ln", math.log, "Natural logarithm of a positive number.", ("ln(1)", 0.0)),
    ("cbrt", math.cbrt, "Cube root.", ("cbrt(27)", 3.0)),
):
    _elementary(_name, _function, _doc, _example)
