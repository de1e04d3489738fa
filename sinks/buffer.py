"""The rows that wait for one sink, grouped into the batches in which they will leave, within a limit.

Pure: no I/O, no clock, no asyncio. Invariants: ``rows`` and ``size`` cover what is queued *and* what is in flight;
rows of different rules, schemas or hops never share a chunk; rows of one rule (at one number of hops) leave in
the order in which they came; no chunk has more than ``max_rows`` rows. Rows of different rules may overtake one
another: one rule's rows join its open chunk even where other chunks were opened later, so that a sink which many
rules feed still writes large batches.

Bytes are estimated: the first row of every chunk is measured, then the first row of every 16th batch that
joins it, and the estimate follows by a quarter of the difference. A row is taken as 64 bytes plus 32 a value plus
the length of its texts and bytes, which lies near what it takes in memory and, for rows of some columns, as JSON.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from core.message import Batch, Row, Schema
from sinks.settings import BatchSettings, BufferSettings

_ROW_BYTES: Final = 64
_VALUE_BYTES: Final = 32
_SAMPLE_MASK: Final = 15


def row_bytes(row: Row) -> int:
    """The estimated size of one row."""
    return _ROW_BYTES - _VALUE_BYTES + _value_bytes(row)


def _value_bytes(value: Any) -> int:
    kind = type(value)
    if kind is str or kind is bytes:
        return _VALUE_BYTES + len(value)
    if kind is dict:
        return _VALUE_BYTES + sum(len(key) + _value_bytes(item) for key, item in value.items())
    if kind is list or kind is tuple:
        return _VALUE_BYTES + sum(map(_value_bytes, value))
    return _VALUE_BYTES


class Chunk:
    """The rows of one write: ``batch`` is ours to extend, ``count`` and ``size`` are what is not yet settled.

    ``strikes`` is None but for rows of a rule that is no longer so: how often they failed while others went through,
    and ``others`` how many had gone through then.
    """

    __slots__ = (
        "batch",
        "count",
        "joins",
        "key",
        "opened_at",
        "others",
        "row_bytes",
        "rows",
        "schema",
        "size",
        "strikes",
    )

    def __init__(self, batch: Batch, key: tuple[str, int], opened_at: int, row_size: int) -> None:
        self.batch = batch
        self.key = key
        self.opened_at = opened_at
        self.row_bytes = row_size
        self.rows = batch.rows
        self.schema: Schema = batch.schema
        self.count = len(batch.rows)
        self.size = self.count * row_size
        self.joins = 0
        self.strikes: int | None = None
        self.others = 0

    def part(self, rows: list[Row]) -> Chunk:
        """A chunk of these of its rows; its own list may still be read by a write that was given up."""
        batch = Batch(self.batch.target, self.batch.rule, self.schema, rows, self.batch.hops)
        chunk = Chunk(batch, self.key, self.opened_at, self.row_bytes)
        chunk.strikes, chunk.others = self.strikes, self.others
        return chunk

    def settle(self, count: int) -> int:
        """Take ``count`` rows off the account and return their share of the estimated bytes."""
        share = self.size * count // self.count
        self.count -= count
        self.size -= share
        return share


class Buffer:
    """A bounded queue of chunks; ``open`` has the chunk of each rule (and hops) that may still grow."""

    __slots__ = (
        "_batch_bytes",
        "_batch_rows",
        "_blocks",
        "_max_bytes",
        "_max_rows",
        "_open",
        "in_flight",
        "queue",
        "rows",
        "size",
    )

    def __init__(self, batch: BatchSettings, buffer: BufferSettings) -> None:
        self._batch_rows = batch.max_rows
        self._batch_bytes: int = batch.max_bytes
        self._max_rows = buffer.max_rows
        self._max_bytes: int = buffer.max_bytes
        self._blocks = buffer.when_full == "block"
        self._open: dict[tuple[str, int], Chunk] = {}
        self.queue: deque[Chunk] = deque()
        self.rows = 0
        self.size = 0
        self.in_flight = 0

    def add(self, batch: Batch, now: int, *, force: bool = False) -> bool:
        """Take all rows of ``batch`` (not empty), or none of them and return False where they do not fit.

        ``force`` takes them in any case. So does an empty buffer whose source waits when it is full: a batch that is
        larger than the limit could never pass otherwise.
        """
        rows = batch.rows
        count = len(rows)
        key = (batch.rule, batch.hops)
        chunk = self._open.get(key)
        if chunk is not None and (chunk.schema is batch.schema or chunk.schema == batch.schema):
            chunk.joins += 1
            if not chunk.joins & _SAMPLE_MASK:
                chunk.row_bytes += (row_bytes(rows[0]) - chunk.row_bytes) // 4
            row_size = chunk.row_bytes
        else:
            chunk = None
            row_size = row_bytes(rows[0])
        size = count * row_size
        fits = self.rows + count <= self._max_rows and self.size + size <= self._max_bytes
        if not (fits or force or (self._blocks and not self.rows)):
            return False
        self.rows += count
        self.size += size
        if chunk is not None and chunk.count + count <= self._batch_rows and chunk.size < self._batch_bytes:
            chunk.rows += rows
            chunk.count += count
            chunk.size += size
        else:
            self._append(batch, key, now, row_size)
        return True

    def _append(self, batch: Batch, key: tuple[str, int], now: int, row_size: int) -> None:
        """New chunks for ``batch``; the rows are copied because the last chunk is going to grow."""
        step = self.batch_rows(row_size)
        for start in range(0, len(batch.rows), step):
            rows = batch.rows[start : start + step]
            own = Batch(batch.target, batch.rule, batch.schema, rows, batch.hops)
            chunk = self._open[key] = Chunk(own, key, now, row_size)
            self.queue.append(chunk)

    def room(self, row: Row) -> int:
        """How many more rows of the size of ``row`` fit."""
        return max(min(self._max_rows - self.rows, (self._max_bytes - self.size) // row_bytes(row)), 0)

    def evict(self, count: int, row: Row) -> int:
        """Drop queued rows, oldest first, until ``count`` rows of the size of ``row`` fit; how many were dropped."""
        dropped = 0
        while self.queue and (missing := count - self.room(row)) > 0:
            chunk = self.queue[0]
            part = min(missing, chunk.count)
            self.release(chunk.settle(part), part)
            del chunk.rows[:part]
            dropped += part
            if not chunk.count:
                self._remove_first()
        return dropped

    def full(self, chunk: Chunk) -> bool:
        """Will ``chunk`` not grow any more?"""
        return (
            self._open.get(chunk.key) is not chunk or chunk.count >= self._batch_rows or chunk.size >= self._batch_bytes
        )

    def batch_rows(self, row_size: int) -> int:
        """How many rows of ``row_size`` bytes make a full chunk."""
        return min(self._batch_rows, max(self._batch_bytes // row_size, 1))

    def take(self) -> Chunk:
        """The oldest chunk; from now on its rows are in flight."""
        chunk = self._remove_first()
        self.in_flight += chunk.count
        return chunk

    def put_back(self, chunk: Chunk, rows: list[Row], *, last: bool = False) -> None:
        """``rows`` are what is left of ``chunk``, which was in flight: they are the first again, or the last."""
        self.in_flight -= chunk.count
        self.release(chunk.size, chunk.count)
        self.adopt([chunk.part(rows)], last=last)

    def surrender(self) -> list[Chunk]:
        """Everything that is queued, oldest first; it is no longer here."""
        given = list(self.queue)
        self.queue.clear()
        self._open.clear()
        for chunk in given:
            self.release(chunk.size, chunk.count)
        return given

    def adopt(self, chunks: Iterable[Chunk], *, last: bool = False) -> None:
        """Put chunks before (or behind) everything that is queued, whatever the limits; they grow no more."""
        own = []
        for chunk in chunks:
            step = self.batch_rows(chunk.row_bytes)
            own += [chunk.part(chunk.rows[start : start + step]) for start in range(0, len(chunk.rows), step)]
        if last:
            self.queue.extend(own)
        else:
            self.queue.extendleft(reversed(own))
        for chunk in own:
            self.rows += chunk.count
            self.size += chunk.size

    def _remove_first(self) -> Chunk:
        chunk = self.queue.popleft()
        if self._open.get(chunk.key) is chunk:
            del self._open[chunk.key]
        return chunk

    def release(self, size: int, rows: int) -> None:
        """Give the room of ``rows`` settled rows back."""
        self.rows -= rows
        self.size -= size

    @property
    def low(self) -> bool:
        """Is less than half of either limit used? That is where a source that was paused may go on."""
        return self.rows * 2 <= self._max_rows and self.size * 2 <= self._max_bytes
