"""Binaries that are no whole number of bytes: what ``subbits(..., 'bits')`` cuts out."""

from __future__ import annotations

from typing import Self


class BitString(bytes):
    """``bit_length`` bits, right-aligned in as few bytes as hold them; the spare bits in front are zero.

    To everything but the bit functions and ``bin2hexstr`` it is the binary of those bytes.
    """

    bit_length: int

    def __new__(cls, value: int, bit_length: int) -> Self:
        bits = super().__new__(cls, value.to_bytes((bit_length + 7) // 8, "big"))
        bits.bit_length = bit_length
        return bits

    def hex_digits(self) -> str:
        """As many upper-case digits as the bits need."""
        return self.hex().upper()[-((self.bit_length + 3) // 4) :]


def bit_length(data: bytes) -> int:
    return data.bit_length if isinstance(data, BitString) else len(data) * 8
