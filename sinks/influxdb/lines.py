r"""The pieces of InfluxDB's line protocol: what must be escaped where, and what cannot be said in it at all.

Source: the InfluxDB line protocol reference. All functions raise PayloadError for what has no expression; the text
they give stands in a line as it is. Bytes that are no UTF-8 become ``\x`` and their digits.
"""

from __future__ import annotations

import math
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NoReturn

from core.errors import PayloadError
from core.message import MISSING
from formats.json import encode_document

_LINE_ENDS: Final = frozenset("\n\r")
_MEASUREMENT: Final = str.maketrans({",": r"\,", " ": r"\ "})
_KEY: Final = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ "})
_STRING: Final = str.maketrans({'"': r"\"", "\\": r"\\"})
INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
UINT_MAX: Final = 2**64 - 1
PER_UNIT: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
"""Nanoseconds of each precision."""


def refuse(reason: str) -> NoReturn:
    raise PayloadError(reason, "line protocol")


def about(name: str, error: PayloadError) -> PayloadError:
    """The same error, with the tag or field that it is about."""
    return PayloadError(f"{name}: {error}", error.codec)


def _name(text: str, what: str, table: dict[int, str]) -> str:
    if not _LINE_ENDS.isdisjoint(text):
        refuse(f"a {what} cannot hold a line break: {text!r:.80}")
    if text.endswith("\\"):
        refuse(f"a {what} cannot end in a backslash: {text!r:.80}")
    return text.translate(table)


def measurement(text: str) -> str:
    """A measurement's name."""
    if not text:
        refuse("the name of the measurement is empty")
    if text.startswith("#"):
        refuse(f"a measurement that begins with # would be a comment: {text!r:.80}")
    return _name(text, "measurement", _MEASUREMENT)


def key(text: str, what: str = "field key") -> str:
    """The name of a tag or field."""
    if not text:
        refuse(f"a {what} is empty")
    return _name(text, what, _KEY)


def tag(text: str) -> str:
    """The value of a tag, which must not be empty."""
    return _name(text, "tag value", _KEY)


def string(text: str) -> str:
    """A string field, quoted."""
    return f'"{text.translate(_STRING)}"'


def text_of(value: Any) -> str | None:
    """A value as the text of a tag; None where there is none."""
    if value is None or value is MISSING:
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, int | float | Decimal):
        return str(value)
    return encode_document(value).decode()


def field(value: Any, *, unsigned: bool = False, floats: bool = False) -> str | None:
    """A value as a field; None for what is left out (null, missing, NaN, infinite)."""
    if value is None or value is MISSING:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if floats:
            return _float(float(value)) if abs(value) < 1 << 1023 else refuse(f"{value:.3e} is no float")
        if unsigned:
            return f"{value}u" if 0 <= value <= UINT_MAX else refuse(f"{value} is no unsigned 64-bit integer")
        return f"{value}i" if INT_MIN <= value <= INT_MAX else refuse(f"{value} is no 64-bit integer")
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Decimal):
        return _float(float(value))
    if isinstance(value, str):
        return string(value)
    if isinstance(value, bytes):
        return string(_decoded(value))
    if isinstance(value, datetime):
        return string(value.isoformat())
    return string(encode_document(value).decode())


def _float(value: float) -> str | None:
    return repr(value) if math.isfinite(value) else None


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"\\x{value.hex()}"
