"""Bits of integers and of binaries. Integers are signed and of any size up to a limit."""

from __future__ import annotations

import struct
from typing import Any, Final

from core.message import MISSING, Type
from rules.functions.base import Binary, Category, Int, Refusal, Text
from rules.functions.bitstring import BitString, bit_length
from rules.functions.values import canonical

CATEGORY = Category("bits")
scalar = CATEGORY.scalar

MAX_BITS: Final = 65_536
"""No shift makes an integer longer than this."""


@scalar(Type.BIGINT, ("bitand(10, 8)", 8))
def bitand(one: Int, two: Int) -> int:
    """The bits that both have."""
    return one & two


@scalar(Type.BIGINT, ("bitor(-10, -8)", -2))
def bitor(one: Int, two: Int) -> int:
    """The bits that either has."""
    return one | two


@scalar(Type.BIGINT, ("bitxor(-10, -8)", 14))
def bitxor(one: Int, two: Int) -> int:
    """The bits that one of them has."""
    return one ^ two


@scalar(Type.BIGINT, ("bitnot(10)", -11))
def bitnot(number: Int) -> int:
    """The other bits, in two's complement: -number - 1."""
    return ~number


@scalar(Type.BIGINT, ("bitsl(-8, 2)", -32), ("bitsl(8, -2)", 2))
def bitsl(number: Int, count: Int) -> int:
    """The number shifted to the left; a negative count shifts to the right."""
    if count <= 0:
        return number >> min(-count, number.bit_length() + 1)
    if number and number.bit_length() + count > MAX_BITS:
        raise Refusal(f"the result would have more than {MAX_BITS} bits", "result_too_large")
    return number << count if number else 0


@scalar(Type.BIGINT, ("bitsr(-8, 2)", -2), ("bitsr(8, 2)", 2))
def bitsr(number: Int, count: Int) -> int:
    """The number shifted to the right, keeping its sign; a negative count shifts to the left."""
    return bitsl(number, -count)


@scalar(Type.BIGINT, ("bitsize('ab')", 16))
def bitsize(data: Binary) -> int:
    """The number of bits."""
    return bit_length(data)


@scalar(Type.BIGINT, ("bytesize('ab')", 2), ("bytesize('')", 0))
def bytesize(data: Binary) -> int:
    """The number of bytes."""
    return len(data)


_FLOATS: Final = {16: "e", 32: "f", 64: "d"}


def _swapped(value: int, length: int) -> int:
    """``length`` bits read as little-endian: whole bytes first, the bits left over are the most significant."""
    whole, spare = divmod(length, 8)
    data = (value >> spare).to_bytes(whole, "big")
    return int.from_bytes(data, "little") | (value & ((1 << spare) - 1)) << (8 * whole)


def _subbits(data: bytes, start: int, length: int, kind: str, signedness: str, endianness: str) -> Any:
    for option, known in (
        (kind, ("integer", "float", "bits")),
        (signedness, ("unsigned", "signed")),
        (endianness, ("big", "little")),
    ):
        if option not in known:
            raise Refusal(f"{option[:40]!r} is none of {', '.join(known)}")
    size = bit_length(data)
    if not 1 <= start <= size:
        return MISSING
    left = size - start + 1
    length = min(length, left) if length >= 0 else left
    last = start - 1 + length
    # Only the bytes that hold the wanted bits: a payload of a megabyte must not become one integer.
    offset = len(data) * 8 - size
    part = data[(offset + start - 1) // 8 : (offset + last + 7) // 8]
    value = int.from_bytes(part, "big") >> (-(offset + last) % 8) & ((1 << length) - 1)
    if kind == "bits":
        return canonical(value.to_bytes(length // 8, "big")) if length % 8 == 0 else BitString(value, length)
    if kind == "float":
        return _float(value, length, endianness)
    if endianness == "little":
        value = _swapped(value, length)
    if signedness == "signed" and length and value >> (length - 1):
        value -= 1 << length
    return value


def _float(value: int, length: int, endianness: str) -> float:
    if length not in _FLOATS:
        raise Refusal(f"a float has 16, 32 or 64 bits, not {length}")
    order = "<" if endianness == "little" else ">"
    number: float = struct.unpack(order + _FLOATS[length], value.to_bytes(length // 8, "big"))[0]
    if number - number != 0:
        raise Refusal("these bits are infinity or no number")
    return number


@scalar(Type.ANY, ("subbits(hexstr2bin('FF'), 3)", 7))
def subbits(data: Binary, length: Int) -> Any:
    """The first `length` bits as an unsigned big-endian integer.

    More arguments: `start` (1-based bit position, before `length`), a type (`integer`, `float` of 16, 32 or 64 bits,
    `bits`), `unsigned` or `signed`, `big` or `little`. A length beyond the end, or a negative one, takes what is
    left; a start outside of the data gives undefined."""
    return _subbits(data, 1, length, "integer", "unsigned", "big")


@scalar(
    Type.ANY,
    ("subbits(hexstr2bin('FF'), 2, 8)", 127),
    ("subbits(hexstr2bin('9F4E58'), 1, 16, 'integer', 'signed', 'big')", -24754),
    ("subbits(hexstr2bin('9F4E58'), 1, 16, 'integer', 'unsigned', 'little')", 20127),
    ("subbits(hexstr2bin('4015333333333333'), 1, 64, 'float')", 5.3),
    ("bin2hexstr(subbits(hexstr2bin('9F4E58'), 1, 6, 'bits'))", "27"),
    name="subbits",
)
def _subbits_from(
    data: Binary,
    start: Int,
    length: Int,
    type: Text = "integer",  # noqa: A002 - EMQX's word
    signedness: Text = "unsigned",
    endianness: Text = "big",
) -> Any:
    return _subbits(data, start, length, type, signedness, endianness)
