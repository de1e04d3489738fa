"""A row as text: the JSON object of its columns, and instants in RFC 3339.

MISSING becomes the text ``undefined`` and bytes text or ``{"$hex": ...}``, as ``formats.json`` has it; an int in a
TIMESTAMP column (microseconds since the epoch) becomes ``2026-01-02T03:04:05.678Z``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import msgspec

from core.errors import PayloadError
from core.message import Missing, Row, Schema, Type
from formats.json import encode_document

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# What msgspec writes by itself as encode_document does, at a fifth of the cost.
_PLAIN: Final = frozenset({str, int, float, bool, type(None), Missing})
_encode_plain: Final = msgspec.json.Encoder().encode


def instant(microseconds: int) -> datetime:
    """The aware datetime of a TIMESTAMP; PayloadError outside of the years 1 to 9999."""
    try:
        return EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        raise PayloadError(f"timestamp {microseconds} lies outside of the years 1 to 9999", "timestamp") from None


@lru_cache(4_096)
def _second(seconds: int) -> str:
    return instant(seconds * 1_000_000).replace(tzinfo=None).isoformat()


def rfc3339(microseconds: int) -> str:
    """A TIMESTAMP in UTC, with as many of 0, 3 or 6 decimals of a second as it needs."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    if not fraction:
        return f"{_second(seconds)}Z"
    if fraction % 1_000:
        return f"{_second(seconds)}.{fraction:06d}Z"
    return f"{_second(seconds)}.{fraction // 1_000:03d}Z"


def timestamp_columns(schema: Schema) -> tuple[int, ...]:
    """The positions of the TIMESTAMP columns."""
    return tuple(index for index, kind in enumerate(schema.types) if kind is Type.TIMESTAMP)


def row_encoder(schema: Schema) -> Callable[[Row], bytes]:
    """A function that writes rows of ``schema`` as JSON objects; PayloadError for what JSON cannot express."""
    names = schema.names
    instants = timestamp_columns(schema)
    # A struct of these fields is built and encoded in half the time of a dict.
    fields = {f"f{index}": name for index, name in enumerate(names)}
    record = msgspec.defstruct("Row", [(field, Any) for field in fields], rename=fields, gc=False)

    def encode(row: Row) -> bytes:
        if instants:
            cells = list(row)
            for index in instants:
                if type(cells[index]) is int:
                    cells[index] = rfc3339(cells[index])
            row = tuple(cells)
        if _PLAIN.issuperset(map(type, row)):
            try:
                return _encode_plain(record(*row))
            except (ValueError, OverflowError):
                pass  # encode_document raises it as a PayloadError
        return encode_document(dict(zip(names, row, strict=True)))

    return encode
