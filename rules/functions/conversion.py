"""From one type to another. Number texts are those of Erlang: a float needs digits on both sides of its point."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any, Final

from core.message import Type
from rules.functions.base import Anything, Binary, Category, Int, Refusal, Text, shown
from rules.functions.bitstring import BitString
from rules.functions.values import Document, canonical, fixed, float_text, text_of

CATEGORY = Category("conversion")
scalar = CATEGORY.scalar

_INTEGER: Final = re.compile(r"[+-]?[0-9]+", re.ASCII).fullmatch
_FLOAT: Final = re.compile(r"[+-]?[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?", re.ASCII).fullmatch
_BOOLEANS: Final = {"true": True, "false": False}
MAX_DECIMALS: Final = 253


def _number(value: Any) -> int | float:
    """The number that ``value`` is or, as a text, describes."""
    if isinstance(value, int | float):
        return value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, str | bytes):
        text = text_of(value)
        if _INTEGER(text):
            return int(text)
        if _FLOAT(text) and math.isfinite(number := float(text)):
            return number
    raise Refusal(f"{shown(value)} is not a number")


@scalar(
    Type.BIGINT,
    ("int('1.0')", 1),
    ("int(-3.14)", -4),
    ("int('3.1415e2')", 314),
    ("int(true)", 1),
    name="int",
)
def to_int(value: Anything) -> int:
    """The integer of a number, a number's text or a boolean (1 or 0); what is behind the point is floored."""
    return math.floor(_number(value))


@scalar(Type.DOUBLE, ("float('3.14')", 3.14), ("float(2)", 2.0), name="float")
def to_float(value: Anything) -> float:
    """The float of a number or a number's text."""
    if isinstance(value, bool):
        raise Refusal("a boolean is not a number")
    return float(_number(value))


@scalar(Type.DOUBLE, ("float('3.1415926', 3)", 3.142), name="float")
def _to_float(value: Anything, decimals: Int) -> float:
    """With `decimals` (1 to 253) it is rounded to that many digits behind the point."""
    _check_decimals(decimals, 1)
    return float(fixed(to_float(value), decimals))


def _check_decimals(decimals: int, least: int) -> None:
    if not least <= decimals <= MAX_DECIMALS:
        raise Refusal(f"decimals must be from {least} to {MAX_DECIMALS}, not {shown(decimals)}")


@scalar(
    Type.TEXT,
    ("float2str(0.1, 5)", "0.1"),
    ("float2str(20.2, 15)", "20.199999999999999"),
    ("float2str(0.1, 20)", "0.10000000000000000555"),
)
def float2str(value: Anything, decimals: Int) -> str:
    """The text of a float (not of an integer) with at most `decimals` digits, needless zeros cut."""
    if not isinstance(value, float):
        raise Refusal(f"argument 1 (value) must be a float, not {shown(value)}")
    _check_decimals(decimals, 0)
    return float_text(value, decimals)


@scalar(Type.BOOLEAN, ("bool('true')", True), ("bool(0.0)", False), ("bool(1)", True), name="bool")
def to_bool(value: Anything) -> bool:
    """true for true, 'true', 1 and 1.0; false for false, 'false', 0 and 0.0; nothing else has a truth."""
    if isinstance(value, str | bytes):
        found = _BOOLEANS.get(text_of(value))
        if found is not None:
            return found
    elif isinstance(value, int | float | Decimal) and value in (0, 1):
        return value == 1
    raise Refusal(f"{shown(value)} is neither true nor false")


@scalar(
    Type.TEXT,
    ("str(2.0)", "2.0"),
    ("str(0.30000000004)", "0.3"),
    ("str(true)", "true"),
    ("str([1, 2])", "[1,2]"),
    name="str",
)
def to_str(value: Anything) -> str:
    """The text of any value (of a binary only if it is UTF-8): floats with at most 10 decimals and no exponent,
    maps and arrays as JSON."""
    return text_of(value)


@scalar(Type.TEXT, ("str_utf8(100)", "100"))
def str_utf8(value: Anything) -> str:
    """As `str`."""
    return text_of(value)


@scalar(Type.ANY, ("bin2hexstr(str_utf16_le('ab'))", "61006200"))
def str_utf16_le(value: Anything) -> str | bytes:
    """As `str_utf8`, encoded as UTF-16 little-endian without a byte order mark (nvarchar of SQL Server)."""
    return canonical(text_of(value).encode("utf-16-le"))


@scalar(Type.OBJECT, ("map('{\"a\": 1}')", {"a": 1}), ("map([['a', 1]])", {"a": 1}), name="map")
def to_map(value: Document) -> dict[Any, Any]:
    """The map of a JSON text or of an array of [key, value] pairs; a map stays itself."""
    return value


def _hex(data: Any) -> str:
    if isinstance(data, BitString):
        return data.hex_digits()
    if isinstance(data, bytes):
        return data.hex().upper()
    raise Refusal(f"argument 1 (data) must be a string or binary, not {shown(data)}")


@scalar(Type.TEXT, ("bin2hexstr('ab')", "6162"), ("bin2hexstr('ab', '0x')", "0x6162"))
def bin2hexstr(data: Binary, prefix: Text = "") -> str:
    """Upper-case hexadecimal digits; a bit string gets as many digits as it needs."""
    return prefix + _hex(data)


@scalar(Type.TEXT, ("sqlserver_bin2hexstr('ab')", "0x6162"))
def sqlserver_bin2hexstr(data: Binary) -> str:
    """`bin2hexstr` with the prefix 0x."""
    return "0x" + _hex(data)


@scalar(Type.ANY, ("hexstr2bin('6162')", "ab"), ("bin2hexstr(hexstr2bin('0x6364f', '0x'))", "06364F"))
def hexstr2bin(digits: Text, prefix: Text = "") -> str | bytes:
    """The binary of hexadecimal digits behind `prefix`; an odd number of digits gets a 0 in front."""
    if not digits.startswith(prefix):
        raise Refusal(f"{shown(digits)} does not begin with {prefix!r}", "binary_prefix_unmatch")
    digits = digits.removeprefix(prefix)
    if not re.fullmatch("[0-9A-Fa-f]*", digits):
        raise Refusal(f"{shown(digits)} has characters that are no hexadecimal digits")
    return canonical(bytes.fromhex("0" + digits if len(digits) % 2 else digits))
