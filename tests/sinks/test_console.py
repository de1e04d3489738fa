"""JSON lines on a stream, and a stream that is full, stands still or is gone."""

from __future__ import annotations

import asyncio
import errno
import io
import threading
import time
from pathlib import Path

import pytest

from core.errors import PayloadError, Unavailable
from core.message import MISSING, Batch, Schema, Type
from sinks.base import SinkContext
from sinks.console import ConsoleSink

SCHEMA = Schema(("station", "at"), (Type.ANY, Type.TIMESTAMP))


class Stream(io.BytesIO):
    """Counts its writes."""

    writes = 0

    def write(self, data: object) -> int:
        self.writes += 1
        return super().write(data)  # type: ignore[arg-type]


async def test_a_batch_is_one_write_of_json_lines() -> None:
    stream = Stream()
    sink = ConsoleSink(ConsoleSink.Config(), SinkContext(name="c", base_dir=Path(), stdout=stream))
    await sink.open()
    await sink.write(Batch("c", "r", SCHEMA, [("a\nb", 0), (MISSING, None)]))
    await sink.close()
    assert stream.getvalue() == (
        b'{"station":"a\\nb","at":"1970-01-01T00:00:00Z"}\n{"station":"undefined","at":null}\n'
    )
    assert stream.writes == 1


async def test_it_writes_to_standard_output_by_default(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    sink = ConsoleSink(ConsoleSink.Config(), SinkContext(name="c", base_dir=Path()))
    await sink.open()
    await sink.write(Batch("c", "r", SCHEMA, [("a", None)]))
    await sink.close()
    assert capfdbinary.readouterr().out == b'{"station":"a","at":null}\n'


async def test_trouble() -> None:
    stream = Stream()
    sink = ConsoleSink(ConsoleSink.Config(), SinkContext(name="c", base_dir=Path(), stdout=stream))
    with pytest.raises(Unavailable, match="not open"):
        await sink.write(Batch("c", "r", SCHEMA, [("a", None)]))
    await sink.open()
    with pytest.raises(PayloadError):
        await sink.write(Batch("c", "r", SCHEMA, [(object(), None)]))
    full = Device()
    full.room = 0
    with pytest.raises(Unavailable, match=r"^standard output cannot be written: No space left on device$"):
        await write_to(full)
    stream.close()
    with pytest.raises(Unavailable, match="standard output cannot be written: I/O operation on closed file"):
        await sink.write(Batch("c", "r", SCHEMA, [("a", None)]))
    await sink.close()


class Device(io.RawIOBase):
    """Takes as many bytes as there is ``room`` for, once it is let ``go``."""

    def __init__(self) -> None:
        self.room: int | None = 1_000
        self.go = threading.Event()
        self.go.set()
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int | None:  # type: ignore[override]
        self.go.wait()
        if self.room is None:
            return None  # it does not block
        taken = bytes(data[: self.room])
        if not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(taken)
        self.data += taken
        return len(taken)


def on(device: Device) -> ConsoleSink:
    stdout = io.BufferedWriter(device)
    return ConsoleSink(ConsoleSink.Config(), SinkContext(name="c", base_dir=Path(), stdout=stdout))


async def write_to(device: Device) -> None:
    sink = on(device)
    await sink.open()
    try:
        await sink.write(Batch("c", "r", SCHEMA, [("a", None)]))
    finally:
        await sink.close()


LINES = b'{"station":"a","at":null}\n{"station":"b","at":null}\n'


@pytest.mark.parametrize("room", [0, 5, None])
async def test_a_batch_that_comes_again_goes_on_where_it_stopped(room: int | None) -> None:
    device = Device()
    sink = on(device)
    await sink.open()
    batch = Batch("c", "r", SCHEMA, [("a", None), ("b", None)])
    device.room = room
    for _ in range(3):
        with pytest.raises(Unavailable, match="standard output cannot be written"):
            await sink.write(batch)
    device.room = 1_000
    await sink.write(batch)
    await sink.write(Batch("c", "r", SCHEMA, list(batch.rows)))
    await sink.close()
    assert device.data == LINES + LINES


async def test_an_attempt_that_was_given_up_is_not_written_twice() -> None:
    device = Device()
    sink = on(device)
    await sink.open()
    batch = Batch("c", "r", SCHEMA, [("a", None), ("b", None)])
    device.go.clear()
    attempt = asyncio.ensure_future(sink.write(batch))
    await asyncio.sleep(0)
    attempt.cancel()
    await asyncio.gather(attempt, return_exceptions=True)
    device.go.set()
    await sink.write(batch)
    await sink.close()
    assert device.data == LINES


async def test_what_others_have_printed_comes_first() -> None:
    device = Device()
    sink = on(device)
    await sink.open()
    assert sink.context.stdout is not None
    sink.context.stdout.write(b"hello\n")
    await sink.write(Batch("c", "r", SCHEMA, [("a", None), ("b", None)]))
    await sink.close()
    assert device.data == b"hello\n" + LINES


async def test_lines_of_several_sinks_do_not_mix() -> None:
    class Slow(Device):
        """Takes a byte at a time and lets others have their turn."""

        def write(self, data: bytes) -> int | None:  # type: ignore[override]
            time.sleep(0)
            return super().write(data[:1])

    device = Slow()
    sinks = [on(device) for _ in range(2)]
    for sink in sinks:
        await sink.open()
    await asyncio.gather(*[sink.write(Batch("c", "r", SCHEMA, [("a", None), ("b", None)])) for sink in sinks])
    for sink in sinks:
        await sink.close()
    assert device.data == LINES + LINES
