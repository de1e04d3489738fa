"""Arithmetic and elementary functions on integers of any size and IEEE doubles.

Floats come from the machine's C library, as in EMQX. Where it reports a domain error or an overflow, the call has
no result.
"""

from __future__ import annotations

import math
import random as _random
from collections.abc import Callable

from core.message import Type
from rules.functions.base import Anything, Category, Float, Int, Number, Refusal
from rules.functions.values import equal

CATEGORY = Category("math")
scalar = CATEGORY.scalar


@scalar(Type.ANY, ("abs(-12)", 12), ("abs(-1.2)", 1.2), name="abs")
def absolute(number: Number) -> int | float:
    """The number without its sign. EMQX documents this for floats too but takes integers only."""
    return abs(number)


def _elementary(name: str, function: Callable[[float], float], doc: str, example: tuple[str, float]) -> None:
    def body(number: Float) -> float:
        return function(number)

    body.__doc__ = doc
    scalar(Type.DOUBLE, example, name=name)(body)


for _name, _function, _doc, _example in (
    ("acos", math.acos, "Arc cosine in radians, of -1 to 1.", ("acos(0.5)", 1.0471975511965979)),
    ("acosh", math.acosh, "Inverse hyperbolic cosine, of 1 and more.", ("acosh(1.5)", 0.9624236501192069)),
    ("asin", math.asin, "Arc sine in radians, of -1 to 1.", ("asin(0.5)", 0.5235987755982989)),
    ("asinh", math.asinh, "Inverse hyperbolic sine.", ("asinh(0.5)", 0.48121182505960347)),
    ("atan", math.atan, "Arc tangent in radians.", ("atan(0.5)", 0.4636476090008061)),
    ("atanh", math.atanh, "Inverse hyperbolic tangent, between -1 and 1.", ("atanh(0.5)", 0.5493061443340549)),
    ("cos", math.cos, "Cosine of an angle in radians.", ("cos(0.5)", 0.8775825618903728)),
    ("cosh", math.cosh, "Hyperbolic cosine.", ("cosh(1.5)", 2.352409615243247)),
    ("exp", math.exp, "e to the power of the number.", ("exp(1)", 2.718281828459045)),
    ("log", math.log, "Natural logarithm of a positive number.", ("log(7.38905609893065)", 2.0)),
    ("log10", math.log10, "Logarithm to the base 10 of a positive number.", ("log10(100)", 2.0)),
    ("log2", math.log2, "Logarithm to the base 2 of a positive number.", ("log2(8)", 3.0)),
    ("sin", math.sin, "Sine of an angle in radians.", ("sin(0.5)", 0.479425538604203)),
    ("sinh", math.sinh, "Hyperbolic sine.", ("sinh(0.5)", 0.5210953054937474)),
    ("sqrt", math.sqrt, "Square root of a number that is not negative.", ("sqrt(9)", 3.0)),
    ("tan", math.tan, "Tangent of an angle in radians.", ("tan(0.5)", 0.5463024898437905)),
    ("tanh", math.tanh, "Hyperbolic tangent.", ("tanh(0.5)", 0.46211715726000973)),
):
    _elementary(_name, _function, _doc, _example)


@scalar(Type.BIGINT, ("ceil(0.8)", 1), ("ceil(-0.8)", 0))
def ceil(number: Number) -> int:
    """The smallest integer that is not less."""
    return math.ceil(number)


@scalar(Type.BIGINT, ("floor(3.6)", 3), ("floor(-3.6)", -4))
def floor(number: Number) -> int:
    """The largest integer that is not greater."""
    return math.floor(number)


@scalar(Type.BIGINT, ("round(4.5)", 5), ("round(-4.5)", -5), ("round(4.4)", 4), name="round")
def round_half_away(number: Number) -> int:
    """The nearest integer; a half goes away from zero."""
    if isinstance(number, int):
        return number
    whole = math.floor(abs(number))
    rounded = whole + 1 if abs(number) - whole >= 0.5 else whole
    return rounded if number >= 0 else -rounded


@scalar(Type.DOUBLE, ("power(2, 3)", 8.0), ("power(4, 0.5)", 2.0))
def power(base: Float, exponent: Float) -> float:
    """`base` to the power of `exponent`, always a float."""
    return math.pow(base, exponent)


@scalar(Type.DOUBLE, ("fmod(6.5, 2.5)", 1.5), ("fmod(-6.5, 2.5)", -1.5))
def fmod(dividend: Float, divisor: Float) -> float:
    """The remainder with the sign of the dividend, as a float."""
    return math.fmod(dividend, divisor)


@scalar(Type.DOUBLE, ("is_float(random())", True), pure=False)
def random() -> float:
    """A float from 0 to below 1, from a generator that is not for secrets."""
    return _random.random()  # noqa: S311


def _quotient(dividend: int, divisor: int) -> int:
    if not divisor:
        raise Refusal("division by zero")
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


@scalar(Type.BIGINT, ("div(7, 2)", 3), ("div(-7, 2)", -3))
def div(dividend: Int, divisor: Int) -> int:
    """The integer quotient, cut toward zero."""
    return _quotient(dividend, divisor)


@scalar(Type.BIGINT, ("mod(3, 2)", 1), ("mod(-7, 3)", -1))
def mod(dividend: Int, divisor: Int) -> int:
    """The remainder of `div`, with the sign of the dividend."""
    return dividend - divisor * _quotient(dividend, divisor)


@scalar(Type.BOOLEAN, ("eq(1, 1.0)", True), ("eq(1, '1')", False), ("eq([1], [1.0])", True))
def eq(one: Anything, two: Anything) -> bool:
    """True for equal values; numbers are compared by value, nothing is converted."""
    return equal(one, two)
