"""The influxdb sink: batches into requests, and what the answers say about each row.

Delivered means: the server has answered that the lines are written. A point is what its measurement, tags and time
say it is: writing it again changes nothing, so that rows which come again after a lost answer are there once. For that
the lines of a batch are made once and kept until it is done, times that were given to them included; also while it
comes again in halves, since one of its lines was refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from connections.influxdb import InfluxdbConnection
from core.errors import PayloadError, Rejected
from core.message import Batch, Row, Schema
from sinks.base import Sink, SinkContext
from sinks.influxdb.config import Config as InfluxdbSinkConfig
from sinks.influxdb.encode import Encode, Encoder

_MAX_SCHEMAS: Final = 256


class _Lines:
    """A batch as lines: the one of each row, or why it has none. ``known`` are those that were made before."""

    def __init__(self, batch: Batch, encode: Encode, known: Sequence[str | None] | None) -> None:
        self.batch = batch
        self.dead: list[tuple[int, str]] = []
        self.by_row: list[str | None] = []
        self._places: list[int] | None = None
        rows = batch.rows
        try:
            if known is None:
                lines = encode(rows)
            else:
                lines = [line or encode((row,))[0] for row, line in zip(rows, known, strict=True)]
            self.body = "\n".join(lines).encode()
            self.by_row += lines
        except (PayloadError, UnicodeEncodeError):
            lines, self._places = [], []
            for index, (row, line) in enumerate(zip(rows, known or [None] * len(rows), strict=True)):
                found = self._line(index, row, line, encode)
                self.by_row.append(found)
                if found is not None:
                    lines.append(found)
                    self._places.append(index)
            self.body = "\n".join(lines).encode()
        self.count = len(lines)
        self._one_each = self.body.count(b"\n") + 1 == self.count

    def _line(self, index: int, row: Row, known: str | None, encode: Encode) -> str | None:
        try:
            line = known or encode((row,))[0]
            line.encode()
        except PayloadError as error:
            self.dead.append((index, str(error)))
        except UnicodeEncodeError:
            self.dead.append((index, "a text that is no UTF-8"))
        else:
            return line
        return None

    def row(self, line: int) -> int | None:
        """The position of the row of the line at that position, where that can be told."""
        if not self._one_each or not 0 <= line < self.count:
            return None
        return line if self._places is None else self._places[line]


class _Halves:
    """What is left of a batch that comes again in halves, part by part in its order, since one line was refused."""

    def __init__(self, rows: Sequence[Row], lines: Sequence[str | None]) -> None:
        self._left = list(zip(rows, lines, strict=True))

    def lines(self, rows: Sequence[Row]) -> list[str | None] | None:
        """Those of the next part; None where ``rows`` are not of this batch: it was given up."""
        part = self._left[: len(rows)]
        if len(part) < len(rows) or any(ours is not row for (ours, _), row in zip(part, rows, strict=True)):
            return None
        return [line for _, line in part]

    def done(self, count: int) -> bool:
        """So many rows are through; whether all are."""
        del self._left[:count]
        return not self._left


class InfluxdbSink(Sink):
    """Writes every row as a point."""

    name: ClassVar[str] = "influxdb"
    connection_type: ClassVar[str | None] = "influxdb"
    templates: ClassVar[tuple[str, ...]] = ("measurement", "write_syntax")
    Config = InfluxdbSinkConfig

    def __init__(self, config: InfluxdbSinkConfig, context: SinkContext) -> None:
        super().__init__(config, context)
        self._connection = context.connected(InfluxdbConnection)
        self._encoder = Encoder(config, context.schemas)
        self._bound: dict[Schema, Encode] = {}
        self._lines: _Lines | None = None
        self._halves: _Halves | None = None

    async def open(self) -> None:
        await self._connection.join(self)
        await self._connection.ask()

    async def write(self, batch: Batch) -> None:
        lines = self._lines
        if lines is None or lines.batch is not batch:
            known = None if self._halves is None else self._halves.lines(batch.rows)
            if known is None:
                self._halves = None
            lines = self._lines = _Lines(batch, self._bind(batch.schema), known)
        if lines.count:
            try:
                await self._connection.write(lines.body, self._encoder.precision)
            except Rejected as error:
                raise self._refused(lines, error) from None
        self._done(lines)
        if lines.dead:
            raise Rejected(f"{len(lines.dead)} rows are no points, the first: {lines.dead[0][1]}", lines.dead)

    def _refused(self, lines: _Lines, error: Rejected) -> Rejected:
        """The error in terms of rows: those that are dead, or none where the rows will come again in halves."""
        refused = [(row, reason) for line, reason in error.rows if (row := lines.row(line)) is not None]
        if refused and len(refused) == len(error.rows):
            self._done(lines)
            return Rejected(str(error), sorted([*lines.dead, *refused]))
        if len(lines.batch.rows) == 1:
            self._done(lines)
        else:
            self._lines = None
            self._halves = self._halves or _Halves(lines.batch.rows, lines.by_row)
        return Rejected(str(error))

    def _done(self, lines: _Lines) -> None:
        self._lines = None
        if self._halves is not None and self._halves.done(len(lines.batch.rows)):
            self._halves = None

    def _bind(self, schema: Schema) -> Encode:
        encode = self._bound.get(schema)
        if encode is None:
            if len(self._bound) >= _MAX_SCHEMAS:
                self._bound.clear()
            encode = self._bound[schema] = self._encoder.bind(schema)
        return encode

    async def close(self) -> None:
        await self._connection.leave(self)
