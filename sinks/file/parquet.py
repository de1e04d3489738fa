"""Rows as Parquet, by way of an Arrow stream.

A Parquet file cannot be read before its footer is written, so what grows on disk is an Arrow IPC stream: every append
is one record batch, whole and readable after a crash. Finishing a file turns the stream into Parquet.

Columns have their declared types; TIMESTAMP is ``timestamp[us, UTC]``, DECIMAL ``decimal128(38, 18)``, INTERVAL int64
microseconds, ARRAY and OBJECT are JSON text. A column of type ANY takes the type of what it holds: the smallest of
boolean, int64, double, text, bytes that takes all values of the batch, JSON text where they are mixed. A batch that a
file's types cannot take begins a new file, and a column that was once widened stays so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import PayloadError
from core.message import MISSING, Row, Schema, Type
from formats.json import encode_document
from sinks.file.config import Compression
from sinks.file.encode import Bad, FileFormat, OtherColumns

_ROW_GROUP: Final = 131_072
_INT64: Final = range(-(2**63), 2**63)
_JSON: Final = "json"
_ARROW: Final[dict[str, pa.DataType]] = {
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "double": pa.float64(),
    "decimal": pa.decimal128(38, 18),
    "text": pa.string(),
    "bytes": pa.binary(),
    "instant": pa.timestamp("us", tz="UTC"),
    _JSON: pa.string(),
}
_DECLARED: Final[dict[Type, str]] = {
    Type.BOOLEAN: "boolean",
    Type.BIGINT: "integer",
    Type.DOUBLE: "double",
    Type.DECIMAL: "decimal",
    Type.TEXT: "text",
    Type.BYTES: "bytes",
    Type.TIMESTAMP: "instant",
    Type.INTERVAL: "integer",
    Type.ARRAY: _JSON,
    Type.OBJECT: _JSON,
}
_FOUND: Final[dict[type, str]] = {
    bool: "boolean",
    int: "integer",
    float: "double",
    Decimal: "decimal",
    str: "text",
    bytes: "bytes",
}
_CONVERT: Final[dict[str, Callable[[Any], Any]]] = {
    "double": float,
    _JSON: lambda value: encode_document(value).decode(),
}

Kinds = dict[str, str]
"""Column -> kind, for columns of type ANY that have held a value."""


class Parquet(FileFormat):
    """``known`` is shared by all files of a sink: what its ANY columns have held so far."""

    def __init__(self, schema: Schema, rows: Sequence[Row], known: Kinds) -> None:
        self._known = known
        self._kinds = _learn(schema, rows, known)
        self._schema = pa.schema([(name, _ARROW[kind]) for name, kind in self._kinds.items()])
        self.header = self._schema.serialize().to_pybytes()

    def encode(self, schema: Schema, rows: Sequence[Row]) -> tuple[bytes, Bad]:
        wanted = _learn(schema, rows, self._known)
        for name, kind in wanted.items():
            if name not in self._kinds:
                raise OtherColumns(f"the file has no column {name!r}")
            if kind != self._kinds[name]:
                raise OtherColumns(f"column {name!r} holds {kind}, the file has it as {self._kinds[name]}")
        try:
            return self._batch(schema, rows), []
        except (pa.ArrowException, PayloadError, TypeError, ValueError, OverflowError):
            good, bad = [], []
            for index, row in enumerate(rows):
                try:
                    self._batch(schema, [row])
                except (pa.ArrowException, PayloadError, TypeError, ValueError, OverflowError) as error:
                    bad.append((index, f"{error}"))
                else:
                    good.append(row)
            return self._batch(schema, good) if good else b"", bad

    def _batch(self, schema: Schema, rows: Sequence[Row]) -> bytes:
        columns = dict(zip(schema.names, zip(*rows, strict=True), strict=True))
        arrays = []
        for field in self._schema:
            values = columns.get(field.name)
            if values is None:
                arrays.append(pa.nulls(len(rows), field.type))
                continue
            convert = _CONVERT.get(self._kinds[field.name])
            cells = [None if value is None or value is MISSING else value for value in values]
            if convert is not None:
                cells = [None if cell is None else convert(cell) for cell in cells]
            try:
                arrays.append(pa.array(cells, field.type))
            except OverflowError as error:
                raise PayloadError(f"column {field.name!r}: an integer beyond 64 bits", "parquet") from error
            except (pa.ArrowException, TypeError, ValueError) as error:
                raise PayloadError(f"column {field.name!r}: {error}", "parquet") from error
        encoded: bytes = pa.record_batch(arrays, schema=self._schema).serialize().to_pybytes()
        return encoded


def _learn(schema: Schema, rows: Sequence[Row], known: Kinds) -> Kinds:
    """The kinds of the columns, with what ANY columns hold joined to what they held before."""
    kinds: Kinds = {}
    for index, (name, declared) in enumerate(zip(schema.names, schema.types, strict=True)):
        if declared is not Type.ANY:
            kinds[name] = _DECLARED[declared]
            continue
        found = _kind([row[index] for row in rows])
        if found is not None:
            before = known.get(name, found)
            known[name] = before if before == found else _joined({before, found})
        kinds[name] = known.get(name, "text")
    return kinds


def _kind(values: Sequence[Any]) -> str | None:
    types = set(map(type, values)) - {type(None), type(MISSING)}
    if not types:
        return None
    kind = _joined({_FOUND.get(each, _JSON) for each in types})
    if kind == "integer" and any(value not in _INT64 for value in values if type(value) is int):
        return _JSON
    return kind


def _joined(kinds: set[str]) -> str:
    if len(kinds) == 1:
        return kinds.pop()
    return "double" if kinds == {"integer", "double"} else _JSON


def whole(file: BinaryIO) -> int:
    """How many bytes of an Arrow stream are whole messages."""
    end = 0
    source: Any = file
    try:
        while (message := pa.ipc.read_message(source)) is not None:
            del message
            end = file.tell()
    except (pa.ArrowException, EOFError, OSError):
        pass
    return end


def convert(stream: Path, target: Path, compression: Compression) -> None:
    """Write the rows of an Arrow stream as a Parquet file, in groups of a size that readers like."""
    with (
        pa.OSFile(str(stream), "rb") as source,
        pa.ipc.open_stream(source) as reader,
        pq.ParquetWriter(target, reader.schema, compression=compression) as writer,
    ):
        waiting: list[pa.RecordBatch] = []
        rows = 0
        for batch in reader:
            waiting.append(batch)
            rows += batch.num_rows
            if rows >= _ROW_GROUP:
                writer.write_table(pa.Table.from_batches(waiting, reader.schema), row_group_size=_ROW_GROUP)
                waiting, rows = [], 0
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting, reader.schema), row_group_size=_ROW_GROUP)
