"""Rows as lines: NDJSON and CSV.

CSV is RFC 4180 with the conventions of PostgreSQL's ``COPY``: NULL and missing are an empty field, the empty text is
``""``, bytes that are no UTF-8 are ``\\x`` and hexadecimal digits; arrays and objects are JSON.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

from core.errors import PayloadError
from core.message import MISSING, Row, Schema
from formats.json import encode_document
from sinks.encoding import rfc3339, row_encoder, timestamp_columns

Bad = list[tuple[int, str]]
"""Positions of rows that cannot be written, with the reason."""

_MAX_SCHEMAS: Final = 256


class OtherColumns(Exception):
    """The rows do not fit into this file: a new one has to be begun, where that is possible."""


class FileFormat(ABC):
    """What a file holds; an instance may have learnt from its first rows and lives as long as the file."""

    header: bytes = b""
    """What stands at the beginning of a file, uncompressed."""

    @abstractmethod
    def encode(self, schema: Schema, rows: Sequence[Row]) -> tuple[bytes, Bad]:
        """The bytes to append, and the rows that are not among them. OtherColumns where none can be."""


class Ndjson(FileFormat):
    """One JSON object a line; files may mix rows of any columns, and share this."""

    def __init__(self) -> None:
        self._encoders: dict[Schema, Callable[[Row], bytes]] = {}

    def encode(self, schema: Schema, rows: Sequence[Row]) -> tuple[bytes, Bad]:
        encode = self._encoders.get(schema)
        if encode is None:
            if len(self._encoders) >= _MAX_SCHEMAS:
                self._encoders.clear()
            encode = self._encoders[schema] = row_encoder(schema)
        return _lines(encode, rows)


def _lines(encode: Callable[[Row], bytes], rows: Sequence[Row]) -> tuple[bytes, Bad]:
    bad: Bad = []
    try:
        lines = [encode(row) for row in rows]
    except (PayloadError, UnicodeEncodeError):
        lines = []
        for index, row in enumerate(rows):
            try:
                lines.append(encode(row))
            except (PayloadError, UnicodeEncodeError) as error:
                bad.append((index, str(error)))
    lines.append(b"")
    return b"\n".join(lines), bad


class Csv(FileFormat):
    """``names`` are the columns of the file, in their order; rows that lack some leave them empty."""

    def __init__(self, names: Sequence[str], delimiter: str, *, header: bool) -> None:
        self.names = tuple(names)
        self._delimiter = delimiter
        self._special = re.compile(f'["\r\n{re.escape(delimiter)}]').search
        if header:
            self.header = delimiter.join([self._quoted(name) for name in names]).encode() + b"\n"
        self._encoders: dict[Schema, Callable[[Row], bytes]] = {}

    def encode(self, schema: Schema, rows: Sequence[Row]) -> tuple[bytes, Bad]:
        encode = self._encoders.get(schema)
        if encode is None:
            if len(self._encoders) >= _MAX_SCHEMAS:
                self._encoders.clear()
            encode = self._encoders[schema] = self._encoder(schema)
        return _lines(encode, rows)

    def _encoder(self, schema: Schema) -> Callable[[Row], bytes]:
        if strange := [name for name in schema.names if name not in self.names]:
            raise OtherColumns(f"the file has no column {strange[0]!r}; it has {', '.join(self.names)}")
        instants = frozenset(schema.names[index] for index in timestamp_columns(schema))
        writers = [self._instant if name in instants else self._text for name in schema.names]
        delimiter = self._delimiter
        if schema.names == self.names:
            return lambda row: delimiter.join(
                [write(value) for write, value in zip(writers, row, strict=True)]
            ).encode()
        index = {name: position for position, name in enumerate(schema.names)}
        places = [(index[name], writers[index[name]]) if name in index else None for name in self.names]

        def encode(row: Row) -> bytes:
            fields = [place[1](row[place[0]]) if place is not None else "" for place in places]
            return delimiter.join(fields).encode()

        return encode

    def _quoted(self, text: str) -> str:
        if not text or self._special(text):
            return '"' + text.replace('"', '""') + '"'
        return text

    def _instant(self, value: Any) -> str:
        return rfc3339(value) if type(value) is int else self._text(value)

    def _text(self, value: Any) -> str:
        if value is None or value is MISSING:
            return ""
        kind = type(value)
        if kind is str:
            return value if value and not self._special(value) else self._quoted(value)
        if kind is bool:
            return "true" if value else "false"
        if kind is int or kind is float or kind is Decimal:
            return str(value)
        if kind is bytes:
            try:
                return self._quoted(value.decode())
            except UnicodeDecodeError:
                return f"\\x{value.hex()}"
        return self._quoted(encode_document(value).decode())
