"""The influxdb sink: batches into requests, and what the answers say about each row.

Delivered means: the server has answered that the lines are written. A point is what its measurement, tags and time
say it is: writing it again changes nothing, so that rows which come again after a lost answer are there once. For that
the lines of a batch are made once and kept until it is done, times that were given to them included.
"""

from __future__ import annotations

from typing import ClassVar, Final

from connections.influxdb import InfluxdbConnection
from core.errors import PayloadError, Rejected
from core.message import Batch, Schema
from sinks.base import Sink, SinkContext
from sinks.influxdb.config import Config as InfluxdbSinkConfig
from sinks.influxdb.encode import Encode, Encoder

_MAX_SCHEMAS: Final = 256


class _Lines:
    """A batch as lines: the position of the row of each, and the rows that have none."""

    def __init__(self, batch: Batch, encode: Encode) -> None:
        self.batch = batch
        self.dead: list[tuple[int, str]] = []
        self.places: list[int] | None = None
        try:
            lines = [encode(row) for row in batch.rows]
            self.body = "\n".join(lines).encode()
        except (PayloadError, UnicodeEncodeError):
            lines, self.places = [], []
            for index, row in enumerate(batch.rows):
                try:
                    line = encode(row)
                    line.encode()
                except PayloadError as error:
                    self.dead.append((index, str(error)))
                except UnicodeEncodeError:
                    self.dead.append((index, "a text that is no UTF-8"))
                else:
                    lines.append(line)
                    self.places.append(index)
            self.body = "\n".join(lines).encode()
        self.count = len(lines)
        self.one_each = self.body.count(b"\n") + 1 == self.count

    def row(self, line: int) -> int | None:
        """The position of the row of the line at that position, where that can be told."""
        if not self.one_each or not 0 <= line < self.count:
            return None
        return line if self.places is None else self.places[line]


class InfluxdbSink(Sink):
    """Writes every row as a point."""

    name: ClassVar[str] = "influxdb"
    connection_type: ClassVar[str | None] = "influxdb"
    Config = InfluxdbSinkConfig

    def __init__(self, config: InfluxdbSinkConfig, context: SinkContext) -> None:
        super().__init__(config, context)
        self._connection = context.connected(InfluxdbConnection)
        self._encoder = Encoder(config, context.schemas)
        self._bound: dict[Schema, Encode] = {}
        self._lines: _Lines | None = None

    async def open(self) -> None:
        await self._connection.join(self)
        await self._connection.ask()

    async def write(self, batch: Batch) -> None:
        lines = self._lines
        if lines is None or lines.batch is not batch:
            lines = self._lines = _Lines(batch, self._bind(batch.schema))
        if lines.count:
            try:
                await self._connection.write(lines.body, self.config.precision)
            except Rejected as error:
                self._lines = None
                refused = [(row, reason) for line, reason in error.rows if (row := lines.row(line)) is not None]
                if len(refused) == len(error.rows):
                    dead = [*lines.dead, *refused]
                    raise Rejected(str(error), sorted(dead) if refused else ()) from None
                raise Rejected(str(error)) from None
        self._lines = None
        if lines.dead:
            raise Rejected(f"{len(lines.dead)} rows are no points, the first: {lines.dead[0][1]}", lines.dead)

    def _bind(self, schema: Schema) -> Encode:
        encode = self._bound.get(schema)
        if encode is None:
            if len(self._bound) >= _MAX_SCHEMAS:
                self._bound.clear()
            encode = self._bound[schema] = self._encoder.bind(schema)
        return encode

    async def close(self) -> None:
        await self._connection.leave(self)
