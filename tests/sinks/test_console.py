"""JSON lines on a stream, and a stream that is gone."""

from __future__ import annotations

import io
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
    stream.close()
    with pytest.raises(Unavailable, match="standard output cannot be written"):
        await sink.write(Batch("c", "r", SCHEMA, [("a", None)]))
    await sink.close()
