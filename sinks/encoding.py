"""A row as text: the JSON object of its columns, and instants in RFC 3339.

MISSING becomes the text ``undefined`` and bytes text or ``{"$hex": ...}``, as ``formats.json`` has it; an int in a
TIMESTAMP column (microseconds since the epoch) becomes ``2026-01-02T03:04:05.678Z``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from core.instants import EPOCH, instant, rfc3339
from core.message import Missing, Row, Schema, Type
from formats.json import encode_document

__all__ = ["EPOCH", "instant", "rfc3339", "row_encoder", "timestamp_columns"]

# What msgspec writes by itself as encode_document does, at a fifth of the cost.
_PLAIN: Final = frozenset({str, int, float, bool, type(None), Missing})
_encode_plain: Final = msgspec.json.Encoder().encode


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
