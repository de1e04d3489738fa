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


# To look one up is faster than to format it.
_MILLISECONDS: Final = ("Z", *[f".{milliseconds:03d}Z" for milliseconds in range(1, 1_000)])


@lru_cache(4_096)
def _second(seconds: int) -> str:
    return instant(seconds * 1_000_000).replace(tzinfo=None).isoformat()


def rfc3339(microseconds: int) -> str:
    """A TIMESTAMP in UTC, with as many of 0, 3 or 6 decimals of a second as it needs."""
    if microseconds % 1_000:
        return f"{_second(microseconds // 1_000_000)}.{microseconds % 1_000_000:06d}Z"
    return _second(microseconds // 1_000_000) + _MILLISECONDS[microseconds // 1_000 % 1_000]


def timestamp_columns(schema: Schema) -> tuple[int, ...]:
    """The positions of the TIMESTAMP columns."""
    return tuple(index for index, kind in enumerate(schema.types) if kind is Type.TIMESTAMP)


def row_encoder(schema: Schema) -> Callable[[Row], bytes]:
    """A function that writes rows of ``schema`` as JSON objects; PayloadError for what JSON cannot express.

    It is generated, which halves what a row costs. Its source has names of ours in it only, no column's name or value.
    """
    names = schema.names
    fields = {f"f{index}": name for index, name in enumerate(names)}
    cells = ", ".join(fields)
    instants = [f"    if f{i}.__class__ is int: f{i} = rfc3339(f{i})\n" for i in timestamp_columns(schema)]
    plain = " and ".join(f"{cell}.__class__ in plain" for cell in fields) or "True"
    record: Any = None
    try:
        # A struct of these fields is built and encoded in half the time of a dict.
        record = msgspec.defstruct("Row", [(field, Any) for field in fields], rename=fields, gc=False)
    except ValueError:  # it takes no quote, backslash or control character in a name
        plain = "False"
    source = (
        f"def encode(row):\n"
        f"    [{cells}] = row\n"
        f"{''.join(instants)}"
        f"    if {plain}:\n"
        f"        try:\n"
        f"            return encode_plain(record({cells}))\n"
        f"        except (ValueError, OverflowError):\n"
        f"            pass\n"  # encode_document raises it as a PayloadError
        f"    return encode_document(dict(zip(names, [{cells}])))\n"
    )
    scope: dict[str, Any] = {
        "__builtins__": {
            "dict": dict,
            "int": int,
            "zip": zip,
            "ValueError": ValueError,
            "OverflowError": OverflowError,
        },
        "encode_document": encode_document,
        "encode_plain": _encode_plain,
        "names": names,
        "plain": _PLAIN,
        "record": record,
        "rfc3339": rfc3339,
    }
    exec(source, scope)  # noqa: S102 - no text of others is in it
    encode: Callable[[Row], bytes] = scope["encode"]
    return encode
