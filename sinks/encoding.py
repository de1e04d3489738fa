"""A row as text: the JSON object of its columns, and instants in RFC 3339.

MISSING becomes the text ``undefined`` and bytes text or ``{"$hex": ...}``, as ``formats.json`` has it; an int in a
TIMESTAMP column (microseconds since the epoch) becomes ``2026-01-02T03:04:05.678Z``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
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


def rfc3339(microseconds: int) -> str:
    """A TIMESTAMP in UTC, with as many of 0, 3 or 6 decimals of a second as it needs."""
    fraction = microseconds % 1_000_000
    unit = "microseconds" if fraction % 1_000 else "milliseconds" if fraction else "seconds"
    return instant(microseconds).replace(tzinfo=None).isoformat(timespec=unit) + "Z"


def timestamp_columns(schema: Schema) -> tuple[int, ...]:
    """The positions of the TIMESTAMP columns."""
    return tuple(index for index, kind in enumerate(schema.types) if kind is Type.TIMESTAMP)


def row_encoder(schema: Schema) -> Callable[[Row], bytes]:
    """A function that writes rows of ``schema`` as JSON objects; PayloadError for what JSON cannot express."""
    names = schema.names
    instants = tuple(names[index] for index in timestamp_columns(schema))

    def encode(row: Row) -> bytes:
        document: dict[str, Any] = dict(zip(names, row, strict=True))
        for name in instants:
            if type(document[name]) is int:
                document[name] = rfc3339(document[name])
        if _PLAIN.issuperset(map(type, row)):
            try:
                return _encode_plain(document)
            except (ValueError, OverflowError):
                pass  # encode_document raises it as a PayloadError
        return encode_document(document)

    return encode
