"""Texts with ``${column}`` in them, compiled once and bound to a schema (EMQX's template rules, 5.8).

* ``${a}`` is a column, ``${a.b}`` a step into its value; a leading dot is ignored, ``${.}`` and ``${}`` are the whole
  row as JSON, ``${$}`` is a dollar sign; everything else is literal, an unclosed ``${`` too.
* A step into text or bytes reads them as JSON. What is not there renders as ``undefined``; there are no indexes.
* Texts and bytes render as they are, integers in decimal, floats with 1 to 10 decimals, booleans and null as in
  JSON, lists and objects as JSON, a TIMESTAMP column in RFC 3339.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

import msgspec

from core.message import MISSING, Missing, Row, Schema, Type
from formats.json import decode_document, encode_document
from sinks.encoding import rfc3339, row_encoder

_PLACEHOLDER: Final = re.compile(r"\$\{([^{}]*)\}")

Renderer = Callable[[Row], bytes]
NullableRenderer = Callable[[Row], bytes | None]


def render_value(value: Any) -> bytes:
    """One value as it stands in a rendered text."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, Missing):
        return b"undefined"
    if isinstance(value, float):
        whole, dot, decimals = f"{value:.10f}".partition(".")
        return f"{whole}{dot}{decimals.rstrip('0') or '0'}".encode() if dot else whole.encode()
    return encode_document(value)


def json_value(value: Any) -> bytes:
    """One value as JSON: a text that is JSON as it is, another one quoted; null for what is missing or no number."""
    if isinstance(value, str | bytes):
        try:
            decode_document(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return encode_document(value)
    elif isinstance(value, Missing) or (isinstance(value, float) and not math.isfinite(value)):
        return b"null"
    return render_value(value)


def _step(value: Any, key: str) -> Any:
    if isinstance(value, str | bytes):
        try:
            value = decode_document(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return MISSING
    return value.get(key, MISSING) if isinstance(value, dict) else MISSING


class Template:
    """A parsed text; ``constant`` is its text where it has no placeholder, else None. ``unclosed``: it has a ``${``
    that begins none."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.unclosed = "${" in _PLACEHOLDER.sub(" ", text)
        self._parts: list[bytes | str] = []  # literal bytes, or the name in a placeholder
        end = 0
        for found in _PLACEHOLDER.finditer(text):
            self._literal(text[end : found.start()])
            end = found.end()
            if found[1] == "$":
                self._literal("$")
            else:
                self._parts.append(found[1].removeprefix("."))
        self._literal(text[end:])
        names = [part for part in self._parts if isinstance(part, str)]
        self.constant = None if names else b"".join(part for part in self._parts if isinstance(part, bytes)).decode()

    @property
    def names(self) -> tuple[str, ...]:
        """What its placeholders name: a column, or steps below one behind dots; without the whole row."""
        return tuple(dict.fromkeys(part for part in self._parts if isinstance(part, str) and part))

    def _literal(self, text: str) -> None:
        if text:
            self._parts.append(text.encode())

    def bind_value(self, schema: Schema) -> Callable[[Row], Any] | None:
        """A function that gives the value itself, where the text is a single placeholder with a name; else None."""
        if len(self._parts) != 1 or not isinstance(self._parts[0], str) or not self._parts[0]:
            return None
        return self._value(self._parts[0], schema)

    def bind_nullable(self, schema: Schema) -> NullableRenderer:
        """As :meth:`bind`, but a text that is a single placeholder gives None where its value is null or missing."""
        render = self.bind(schema)
        value_of = self.bind_value(schema)
        if value_of is None:
            return render

        def nullable(row: Row) -> bytes | None:
            value = value_of(row)
            if value.__class__ is str:  # nearly always: a key
                text: str = value
                return text.encode("utf-8", "surrogatepass")
            return None if value is None or value is MISSING else render(row)

        return nullable

    def bind_json(self, schema: Schema) -> Renderer:
        """As :meth:`bind`, for a single placeholder that stands where JSON has a value: see :func:`json_value`."""
        render = self.bind(schema)
        value_of = self.bind_value(schema)
        if value_of is None:
            return render  # the whole row: JSON already
        instant = _is_instant(str(self._parts[0]), schema)

        def value(row: Row) -> bytes:
            found = value_of(row)
            return b'"%b"' % render(row) if instant and type(found) is int else json_value(found)

        return value

    def bind(self, schema: Schema) -> Renderer:
        """A function that renders rows of ``schema``; PayloadError for a value that has no text."""
        if self.constant is not None:
            constant = self.constant.encode()
            return lambda _: constant
        parts = [self._renderer(part, schema) for part in self._parts]
        if len(parts) == 1:
            return parts[0]
        return lambda row: b"".join([part(row) for part in parts])

    @staticmethod
    def _value(name: str, schema: Schema) -> Callable[[Row], Any]:
        """A function that gives what a placeholder stands for."""
        column, *steps = [name] if name in schema.names else name.split(".")
        if column not in schema.names:
            return lambda _: MISSING
        index = schema.names.index(column)
        if not steps:
            return itemgetter(index)

        def value(row: Row) -> Any:
            found = row[index]
            for key in steps:
                found = _step(found, key)
            return found

        return value

    @classmethod
    def _renderer(cls, part: bytes | str, schema: Schema) -> Renderer:
        if isinstance(part, bytes):
            return lambda _: part
        if not part:
            return row_encoder(schema)
        value_of = cls._value(part, schema)
        if _is_instant(part, schema):

            def instant(row: Row) -> bytes:
                value = value_of(row)
                return rfc3339(value).encode() if type(value) is int else render_value(value)

            return instant
        return lambda row: render_value(value_of(row))


def _is_instant(name: str, schema: Schema) -> bool:
    return name in schema.names and schema.types[schema.names.index(name)] is Type.TIMESTAMP
