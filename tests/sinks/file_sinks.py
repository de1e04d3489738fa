"""File sinks for tests: made, used, left as a crash leaves them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from core.clock import SECOND, ManualClock
from core.message import Batch, Row, Schema
from core.settings import decode_hook
from headrace.testing import PLAIN
from sinks.base import SinkContext
from sinks.file.sink import FileSink

START = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z


def settings(**table: Any) -> FileSink.Config:
    return msgspec.convert(table, FileSink.Config, dec_hook=decode_hook)


def make(folder: Path, *schemas: Schema, clock: ManualClock | None = None, **table: Any) -> FileSink:
    context = SinkContext(name="out", base_dir=folder, schemas=schemas, clock=clock or ManualClock(START))
    return FileSink(settings(**table), context)


@contextlib.asynccontextmanager
async def opened(sink: FileSink) -> Any:
    await sink.open()
    try:
        yield sink
    finally:
        await sink.close()


async def finished(sink: FileSink) -> None:
    """Return when the files that the last write has filled are finished."""
    assert sink._worker is not None
    await sink._worker.run(lambda: None)


def crash(sink: FileSink) -> None:
    """Leave the sink as a ``kill -9`` would; its thread has nothing to do."""
    if sink._timer is not None:
        sink._timer.cancel()
        sink._timer = None
    assert sink._worker is not None
    sink._worker.stop()
    for file in sink._files.values():
        file.close()


def batch(rows: Sequence[Row], schema: Schema = PLAIN) -> Batch:
    return Batch("out", "rule", schema, list(rows))


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
