"""What the operators of rule SQL mean for values of any type: EMQX's semantics (emqx.md 1.4 to 1.8), and
PostgreSQL's for what EMQX lacks.

Pure functions, called by generated code where its inline fast path does not apply. A value is MISSING, None, bool,
int, float, str, bytes, list or dict; no function changes its arguments. What has no result raises
:class:`EvaluationError` or an arithmetic error of Python's, which :func:`explained` turns into one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal, DecimalException
from functools import lru_cache
from typing import Any, Final

from core.errors import HeadraceError, TopicError
from core.message import MISSING
from core.topics import matches, validate_filter
from rules.functions.base import FunctionError, Refusal, check_size, shown
from rules.functions.decimals import EXACT, QUOTIENT
from rules.functions.ordering import atom_text, bytes_of, is_number, sign, term_order
from rules.functions.values import canonical, same, text_of
from rules.functions.values import equal as equal_values

_INTEGER: Final = re.compile(r"[+-]?[0-9]+", re.ASCII).fullmatch
_FLOAT: Final = re.compile(r"[+-]?[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?", re.ASCII).fullmatch
_TEXTS: Final = (str, bytes)  # a union would be built anew for every isinstance
MAX_RANGE: Final = 1 << 16
"""Elements of an integer range."""
MAX_LIKE_STEPS: Final = 1 << 24
"""Characters compared by a LIKE that has ``_`` or ignores case: some tenths of a second."""


class EvaluationError(HeadraceError):
    """A message for which an expression has no value. ``code`` is a stable word for scripts."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def explained(error: Exception) -> EvaluationError:
    """Any exception of generated code as the error that it is for the rule's author."""
    if isinstance(error, EvaluationError):
        return error
    if isinstance(error, FunctionError):
        return EvaluationError(error.code, str(error))
    if isinstance(error, Refusal):
        return EvaluationError(error.code, str(error))
    if isinstance(error, ZeroDivisionError):
        return EvaluationError("division_by_zero", "division by zero")
    if isinstance(error, RecursionError):
        return EvaluationError("too_deep", "a value is nested too deeply")
    if isinstance(error, OverflowError | ValueError | DecimalException):
        return EvaluationError("out_of_range", f"a number is out of range: {error}")
    return EvaluationError("failed", f"{type(error).__name__}: {error}")


# Arithmetic


def _operand_error(operator: str, one: Any, two: Any) -> EvaluationError:
    return EvaluationError("bad_operand", f"no result for {shown(one)} {operator} {shown(two)}")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise EvaluationError("out_of_range", "a number is out of range")
    return value


def _numbers(operator: str, one: Any, two: Any) -> tuple[Any, Any]:
    """Two numbers that Python can join: a DECIMAL beside a float becomes one, an integer beside it stays."""
    if not (is_number(one) and is_number(two)):
        raise _operand_error(operator, one, two)
    if type(one) is float and isinstance(two, Decimal):
        return one, float(two)
    return (float(one), two) if type(two) is float and isinstance(one, Decimal) else (one, two)


def _exact(one: Any, two: Any) -> bool:
    return isinstance(one, Decimal) or isinstance(two, Decimal)


def add(one: Any, two: Any) -> Any:
    """Numbers are added; where one side is a text both are joined as texts."""
    if isinstance(one, _TEXTS) or isinstance(two, _TEXTS):
        return _joined(one, two)
    one, two = _numbers("+", one, two)
    return EXACT.add(one, two) if _exact(one, two) else _finite(one + two)


def subtract(one: Any, two: Any) -> Any:
    one, two = _numbers("-", one, two)
    return EXACT.subtract(one, two) if _exact(one, two) else _finite(one - two)


def multiply(one: Any, two: Any) -> Any:
    one, two = _numbers("*", one, two)
    return EXACT.multiply(one, two) if _exact(one, two) else _finite(one * two)


def divide(one: Any, two: Any) -> Any:
    """Always a float."""
    one, two = _numbers("/", one, two)
    return _finite(float(QUOTIENT.divide(one, two) if _exact(one, two) else one / two))


def divide_decimal(one: Any, two: Any) -> Any:
    """``/`` where one side is declared a DECIMAL: exact unless the other side is a float."""
    one, two = _numbers("/", one, two)
    return QUOTIENT.divide(one, two) if _exact(one, two) else _finite(float(one / two))


def _integers(operator: str, one: Any, two: Any) -> None:
    if not (type(one) is int and type(two) is int):
        raise _operand_error(operator, one, two)


def int_divide(one: Any, two: Any) -> int:
    """Truncates toward zero: ``-7 div 2`` is -3."""
    _integers("div", one, two)
    quotient = abs(one) // abs(two)
    return int(quotient if (one < 0) == (two < 0) else -quotient)


def modulo(one: Any, two: Any) -> int:
    """Has the sign of the dividend: ``-7 mod 3`` is -1."""
    _integers("mod", one, two)
    rest = abs(one) % abs(two)
    return int(-rest if one < 0 else rest)


def negate(value: Any) -> Any:
    if not is_number(value):
        raise EvaluationError("bad_operand", f"no negative of {shown(value)}")
    return EXACT.minus(value) if isinstance(value, Decimal) else -value


def multiply_interval(interval: Any, number: Any) -> Any:
    """An INTERVAL as often as a number says, to the microsecond; null where one of them is."""
    if type(interval) is int and type(number) is int:
        return interval * number
    return _scaled("*", interval, number)


def divide_interval(interval: Any, number: Any) -> Any:
    return _scaled("/", interval, number)


def _scaled(operator: str, interval: Any, number: Any) -> Any:
    for value in (interval, number):
        if value is None or value is MISSING:
            return value
    if not is_number(number):
        raise _operand_error(operator, interval, number)
    return round(interval * number if operator == "*" else interval / number)


def _joined(one: Any, two: Any) -> Any:
    try:
        if isinstance(one, bytes) or isinstance(two, bytes):
            joined = canonical(b"".join(_binary(value) for value in (one, two)))
        else:
            joined = text_of(one) + text_of(two)
        check_size(len(joined))
        return joined
    except Refusal as refusal:
        raise EvaluationError(refusal.code, str(refusal)) from None


def _binary(value: Any) -> bytes:
    return value if isinstance(value, bytes) else text_of(value).encode(errors="surrogatepass")


def concat(one: Any, two: Any) -> Any:
    """``||``: as text concatenation, but nothing can be joined to null or to what is missing."""
    for value in (one, two):
        if value is None or value is MISSING:
            return value
    return _joined(one, two)


# Comparison


def parse_number(text: str | bytes) -> int | float | None:
    """The number that a text is, None where it is none; no blanks, no exponent without a fraction."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    if _INTEGER(text):
        return int(text)
    return float(text) if _FLOAT(text) else None


def order(one: Any, two: Any) -> int | None:
    """How EMQX compares: None where one side alone is missing, else as :func:`term_order` after conversion.

    A number and a text: the text must be a number. A boolean or null and a text: both as texts.
    """
    if one is MISSING or two is MISSING:
        return 0 if one is two else None
    if isinstance(one, _TEXTS) is not isinstance(two, _TEXTS):
        if isinstance(one, _TEXTS):
            reverse = order(two, one)
            return None if reverse is None else -reverse
        if one is None or isinstance(one, bool):
            return sign(atom_text(one).encode(), bytes_of(two))
        if is_number(one):
            number = parse_number(two)
            if number is None:
                raise EvaluationError("not_a_number", f"{shown(one)} cannot be compared with {shown(two)}")
            return sign(one, number)
    return term_order(one, two)


def equal(one: Any, two: Any) -> bool:
    return order(one, two) == 0


def unequal(one: Any, two: Any) -> bool:
    found = order(one, two)
    return found is not None and found != 0


def less(one: Any, two: Any) -> bool:
    return order(one, two) == -1


def less_or_equal(one: Any, two: Any) -> bool:
    found = order(one, two)
    return found is not None and found <= 0


def greater(one: Any, two: Any) -> bool:
    return order(one, two) == 1


def greater_or_equal(one: Any, two: Any) -> bool:
    found = order(one, two)
    return found is not None and found >= 0


def is_in(value: Any, items: Sequence[Any]) -> bool:
    """Exactly one of ``items``: no conversion, 1 is not 1.0."""
    return any(same(value, item) for item in items)


def in_array(value: Any, array: Any) -> Any:
    """``value IN array``; null or missing where the array is."""
    if isinstance(array, list):
        return is_in(value, array)
    if array is None or array is MISSING:
        return array
    raise EvaluationError("bad_operand", f"IN takes an array, not {shown(array)}")


def distinct(one: Any, two: Any) -> bool:
    """IS DISTINCT FROM: equal by value without conversion, null and missing are the same."""
    if one is None or one is MISSING:
        return not (two is None or two is MISSING)
    return not equal_values(one, two)


def null_if(one: Any, two: Any) -> Any:
    return None if equal_values(one, two) else one


def extreme(values: Sequence[Any], sign: int) -> Any:
    """The greatest (``sign`` 1) or least (-1) by the order of comparisons; null and missing do not count."""
    found: Any = None
    for value in values:
        if value is not None and value is not MISSING and (found is None or order(value, found) == sign):
            found = value
    return found


def topic_matches(topic: Any, topic_filter: Any) -> bool:
    """``=~``: does the topic on the left match the filter on the right?"""
    if not (isinstance(topic, str) and isinstance(topic_filter, str)):
        raise _operand_error("=~", topic, topic_filter)
    try:
        validate_filter(topic_filter)
    except TopicError as error:
        raise EvaluationError("bad_topic_filter", str(error)) from None
    return matches(topic_filter, topic)


@lru_cache(maxsize=512)
def like_matcher(pattern: str, ignore_case: bool, escape: str = "\\") -> Callable[[str], Any]:
    """What gives None for the texts that a LIKE pattern does not match; EvaluationError for no pattern."""
    pieces: list[str] = [""]
    sources: list[str] = [""]
    wild = False
    characters = iter(pattern)
    for character in characters:
        if character != escape and character == "%":
            pieces.append("")
            sources.append("")
        elif character != escape and character == "_":
            wild = True
            pieces[-1] += "_"
            sources[-1] += "."
        else:
            taken = next(characters, "") if character == escape else character
            if not taken:
                raise EvaluationError("bad_pattern", f"LIKE pattern {pattern!r} ends with its escape character")
            pieces[-1] += taken
            sources[-1] += re.escape(taken)
    return _like_pattern(sources, pieces, ignore_case) if wild or ignore_case else _like_texts(pieces)


def _like_texts(pieces: list[str]) -> Callable[[str], Any]:
    """Without ``_`` the search for texts does, in linear time."""
    first, *middle, last = pieces if len(pieces) > 1 else [pieces[0], ""]
    if len(pieces) == 1:
        return lambda text: True if text == first else None
    if not middle and not last:
        return lambda text: True if text.startswith(first) else None
    least = len(first) + len(last)

    def match(text: str) -> Any:
        if len(text) < least or not (text.startswith(first) and text.endswith(last)):
            return None
        at, end = len(first), len(text) - len(last)
        for piece in middle:
            at = text.find(piece, at, end)
            if at < 0:
                return None
            at += len(piece)
        return True

    return match


def _like_pattern(sources: list[str], pieces: list[str], ignore_case: bool) -> Callable[[str], Any]:
    source = sources[0]
    if len(sources) > 1:
        # The leftmost place of each inner piece is as good as any later one, so nothing is ever tried again: atomic
        # groups keep the time at the text's length times that of a piece, whatever the pattern.
        source += "".join(f"(?>.*?{piece})" for piece in sources[1:-1] if piece) + ".*" + sources[-1]
    longest = max(map(len, pieces[1:])) if len(pieces) > 1 else 0
    fullmatch = re.compile(source, re.DOTALL | (re.IGNORECASE if ignore_case else 0)).fullmatch

    def match(text: str) -> Any:
        if len(text) * longest > MAX_LIKE_STEPS:
            raise EvaluationError(
                "too_costly", f"LIKE with a pattern of {longest} characters between % on {len(text)} characters"
            )
        return fullmatch(text)

    return match


def like(value: Any, pattern: Any, ignore_case: bool = False, escape: str = "\\") -> Any:
    """PostgreSQL's LIKE: ``%`` any text, ``_`` one character, backslash takes the next literally. Missing and null
    give themselves."""
    for operand in (value, pattern):
        if operand is None or operand is MISSING:
            return operand
    if not (isinstance(value, str) and isinstance(pattern, str)):
        raise _operand_error("LIKE", value, pattern)
    return like_matcher(pattern, ignore_case, escape)(value) is not None


# Conditions


def truth(value: Any) -> bool:
    """A condition's outcome; null and missing are not true, other values are no condition."""
    if value is True or value is False:
        return bool(value)
    if value is None or value is MISSING:
        return False
    raise EvaluationError("not_boolean", f"a condition must be true or false, not {shown(value)}")


def negation(value: Any) -> bool:
    """NOT: false for everything but false itself."""
    return value is False
