"""JSON lines on the process's standard output, one row a line, a batch in one write.

Delivered means: handed to the operating system. The writes run in a thread of their own, because a pipe whose reader
has stopped blocks. They pass by Python's buffer, which would keep what a full disk has refused and write it again with
the next attempt; so it is known how far a batch has got, and one that comes again goes on there.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from typing import Any, BinaryIO, ClassVar, Final

from connections.worker import Worker
from core.errors import Unavailable
from core.message import Batch
from sinks.base import Sink
from sinks.encoding import row_encoder

_TURN: Final = threading.Lock()
"""Held for a batch: sinks share the standard output, and lines must not mix."""


class _Output:
    """What is left to be written of a batch; after its making only the worker's thread touches it."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        encode = row_encoder(batch.schema)
        self._rest = memoryview(b"".join([encode(row) + b"\n" for row in batch.rows]))

    def put(self, stream: BinaryIO) -> None:
        raw: Any = getattr(stream, "raw", stream)
        with _TURN:
            stream.flush()  # what others have printed comes first
            while self._rest:
                count = raw.write(self._rest)
                if count is None:  # somebody has made it non-blocking
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
                self._rest = self._rest[count:]


class ConsoleSink(Sink):
    """Writes ``{"column": value, ...}`` per row to ``context.stdout`` or the standard output."""

    name: ClassVar[str] = "console"

    _worker: Worker | None = None
    _output: _Output | None = None

    async def open(self) -> None:
        self._worker = Worker(f"console sink {self.context.name}")

    async def write(self, batch: Batch) -> None:
        if self._worker is None:
            raise Unavailable("the console sink is not open")
        output = self._output
        if output is None or output.batch is not batch:
            output = self._output = _Output(batch)
        stream: BinaryIO = self.context.stdout or sys.stdout.buffer
        try:
            await self._worker.run(lambda: output.put(stream))
        except (OSError, ValueError) as error:  # ValueError: the stream has been closed
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise Unavailable(f"standard output cannot be written: {reason}") from error
        self._output = None

    async def close(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
