"""JSON by msgspec: integers of any size stay integers, other numbers are doubles, a later key wins.

``decode_document`` and ``encode_document`` are the plain functions that hot code keeps; :class:`JsonCodec` is the
same behind the extension interface. MISSING is written as the text ``undefined`` (EMQX's form), bytes that are
UTF-8 as text and others as ``{"$hex": "..."}``, numbers that are not finite as null.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, ClassVar

import msgspec

from core.errors import PayloadError
from formats.base import Codec

_OFFSET = re.compile(r"\(byte ([0-9]+)\)").search

decode_document = msgspec.json.Decoder().decode
"""bytes | str -> value; raises msgspec.DecodeError (or UnicodeDecodeError in a text) for what is not JSON."""


def _text_of_bytes(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"$hex": value.hex().upper()}


def _plain(value: Any) -> Any:
    """``value`` with what msgspec would write otherwise replaced: bytes as base64, a decimal NaN as such."""
    if isinstance(value, bytes | bytearray | memoryview):
        return _text_of_bytes(bytes(value))
    if isinstance(value, dict):
        return {key.decode() if isinstance(key, bytes) else key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Decimal) and not value.is_finite():
        return None
    return value


_encode = msgspec.json.Encoder(decimal_format="number").encode


def encode_document(value: Any) -> bytes:
    """The JSON of a value; PayloadError where JSON cannot express it."""
    try:
        return _encode(_plain(value))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise PayloadError(f"cannot be written as JSON: {error}", "json") from error


class JsonCodec(Codec):
    """One value a payload."""

    name: ClassVar[str] = "json"

    def decode(self, payload: bytes) -> list[Any]:
        try:
            return [decode_document(payload)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            place = _OFFSET(str(error))
            raise PayloadError(f"payload is not JSON: {error}", "json", int(place[1]) if place else None) from error

    def encode(self, value: Any) -> bytes:
        return encode_document(value)
