"""Bodies with ``${column}`` in them, the part of one row; without a template the row as a JSON object.

Where the content type says JSON (or the rows are parts of an array) a body is JSON, whatever is in the row: within the
quotes of a text a value is escaped, elsewhere it is a JSON value of its own. A row whose body is no JSON all the same,
since values stand side by side or in the place of a key, has none. In all other bodies values stand as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from core.errors import ConfigError, PayloadError
from core.message import Row, Schema
from formats.json import decode_document, encode_document
from sinks.encoding import row_encoder
from sinks.http.config import Config
from sinks.template import Renderer, Template

_PLACEHOLDER: Final = re.compile(r"(\$\{[^{}]*\})")
_QUOTE: Final = re.compile(r'\\.|"', re.DOTALL)
_OFFSET: Final = re.compile(r" \(byte \d+\)")
_LINE_BREAKS: Final = re.compile(rb"[\r\n]")


class Body:
    """A parsed body; ConfigError (path ``body``) for a template that no row makes JSON of, where it has to be."""

    def __init__(self, config: Config) -> None:
        media = "application/x-ndjson" if config.send == "ndjson" else "application/json"
        self.content_type = config.content_type or media
        self._lines = config.send == "ndjson"
        self._template = None if config.body is None else Template(config.body)
        self._pieces: list[tuple[str, str]] | None = None
        is_json = config.send == "json_array" or "json" in self.content_type.partition(";")[0].lower()
        if config.body and is_json:
            self._pieces = list(_pieces(config.body))
            self._check(config.send)

    def _check(self, send: str) -> None:
        """A template is wrong if it is no JSON with a number nor with a text in all places outside of quotes."""
        reason = ""
        for value in ("0", '""'):
            sample = "".join({"text": "x", "value": value}.get(kind, piece) for kind, piece in self._pieces or ())
            try:
                decode_document(sample)
            except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
                reason = reason or f"{sample!r:.200}: {_OFFSET.sub('', str(error))}"
            else:
                return
        hint = "texts need quotes"
        if send != "json_array":
            hint += '; or set content_type = "text/plain", or what it is'
        raise ConfigError(f"is no JSON, even with values in it: {reason}", path="body", hint=hint)

    def bind(self, schema: Schema) -> Callable[[Row], bytes]:
        """A function that gives the part of a row; PayloadError for a row that has none."""
        if self._template is None:
            return row_encoder(schema)
        render = self._template.bind(schema) if self._pieces is None else self._json(self._pieces, schema)
        if not self._lines:
            return render
        packed = self._pieces is not None

        def line(row: Row) -> bytes:
            text = render(row)
            if packed and _LINE_BREAKS.search(text):
                return msgspec.json.format(text, indent=-1)
            if b"\n" in text:
                raise PayloadError("its line has a line break", "http")
            return text

        return line

    @staticmethod
    def _json(pieces: list[tuple[str, str]], schema: Schema) -> Renderer:
        parts = [_renderer(kind, piece, schema) for kind, piece in pieces]

        def body(row: Row) -> bytes:
            text = b"".join([part(row) for part in parts])
            try:
                decode_document(text)
            except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
                raise PayloadError(f"its body would be no JSON: {_OFFSET.sub('', str(error))}", "http") from None
            return text

        return body


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """The pieces of a template: ``literal``, and placeholders within quotes (``text``) and outside (``value``)."""
    quoted = False
    for piece in _PLACEHOLDER.split(text):
        constant = Template(piece).constant
        if constant is None:
            yield "text" if quoted else "value", piece
        elif constant:
            yield "literal", constant
            quoted ^= sum(found[0] == '"' for found in _QUOTE.finditer(constant)) % 2 == 1


def _renderer(kind: str, piece: str, schema: Schema) -> Renderer:
    template = Template(piece)
    if kind == "value":
        return template.bind_json(schema)
    render = template.bind(schema)
    if kind == "literal":
        return render

    def escaped(row: Row) -> bytes:
        try:
            return encode_document(render(row).decode())[1:-1]
        except UnicodeDecodeError:
            raise PayloadError(f"{piece} in its body is no UTF-8 text", "http") from None

    return escaped
