"""JSON lines on the process's standard output, one row a line, a batch in one write.

Delivered means: handed to the operating system. The write runs in a thread of its own, because a pipe whose
reader has stopped blocks.
"""

from __future__ import annotations

import sys
from typing import BinaryIO, ClassVar

from connections.worker import Worker
from core.errors import Unavailable
from core.message import Batch
from sinks.base import Sink
from sinks.encoding import row_encoder


class ConsoleSink(Sink):
    """Writes ``{"column": value, ...}`` per row to ``context.stdout`` or the standard output."""

    name: ClassVar[str] = "console"

    _worker: Worker | None = None

    async def open(self) -> None:
        self._worker = Worker(f"console sink {self.context.name}")

    async def write(self, batch: Batch) -> None:
        if self._worker is None:
            raise Unavailable("the console sink is not open")
        encode = row_encoder(batch.schema)
        text = b"\n".join([encode(row) for row in batch.rows]) + b"\n" if batch.rows else b""
        stream: BinaryIO = self.context.stdout or sys.stdout.buffer

        def put() -> None:
            stream.write(text)
            stream.flush()

        try:
            await self._worker.run(put)
        except (OSError, ValueError) as error:  # ValueError: the stream has been closed
            raise Unavailable(f"standard output cannot be written: {error}") from error

    async def close(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
