"""What a row costs on its way into an HTTP service, one request a row and in batches.

    python benchmarks/bench_http.py [--json FILE] [--only TEXT] [--rows N]

The real sink; the far side is a process of its own on this machine that reads requests and answers 204, and does
nothing else. Rows of six columns come in batches of 1,000, one after the other. The figure is the CPU time of this
process per row, encoding included, the median of five runs; beside it the rows per second on the wall clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from timing import RUNS

from connections.base import ConnectionContext
from connections.http import HttpConfig, HttpConnection
from core.message import Batch, Row, Schema, Type
from core.settings import decode_hook
from sinks.base import SinkContext
from sinks.http.sink import HttpSink

BATCH: Final = 1_000
SCHEMA: Final = Schema(
    ("id", "station", "connector", "at", "power", "status"),
    (Type.BIGINT, Type.TEXT, Type.BIGINT, Type.TIMESTAMP, Type.DOUBLE, Type.TEXT),
)
START: Final = 1_767_225_600_000_000
ANSWER: Final = b"HTTP/1.1 204 No Content\r\nServer: bench\r\n\r\n"


class Case(NamedTuple):
    """A way of sending; a run has ``1 / share`` as many rows where each is a request."""

    title: str
    settings: dict[str, Any]
    share: int = 1


CASES: Final = (
    Case("json_array", {"send": "json_array"}),
    Case("json_array, gzip", {"send": "json_array", "gzip": True}),
    Case("ndjson", {"send": "ndjson"}),
    Case("json_array, an address per station", {"send": "json_array", "url": "${station}"}, 10),
    Case("row", {}, 40),
    Case("row, 8 at a time", {"parallel": 8}, 40),
    Case("row, templates", {"url": "${station}/${connector}?at=${at}", "headers": {"X-Id": "${id}"}}, 40),
)


class FarSide(asyncio.Protocol):
    """Reads requests with a Content-Length and answers each."""

    def __init__(self) -> None:
        self._data = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        received = self._data
        received += data
        while (head := received.find(b"\r\n\r\n")) >= 0:
            at = received.lower().find(b"content-length:", 0, head)
            length = int(received[at + 15 : received.find(b"\r\n", at)]) if at >= 0 else 0
            if len(received) < head + 4 + length:
                return
            del received[: head + 4 + length]
            self._transport.write(ANSWER)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(FarSide, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def rows(start: int, count: int) -> list[Row]:
    return [
        (number, f"CP-{number % 500:04d}", number % 4, START + number * 1_000, 7_000 + number % 997 / 8, "Charging")
        for number in range(start, start + count)
    ]


def make(port: int, settings: dict[str, Any]) -> HttpSink:
    config = msgspec.convert({"base_url": f"http://127.0.0.1:{port}/rows"}, HttpConfig, dec_hook=decode_hook)
    connection = HttpConnection(config, ConnectionContext(name="bench", base_dir=Path()))
    context = SinkContext(name="bench", base_dir=Path(), schemas=(SCHEMA,), connection=connection)
    return HttpSink(msgspec.convert(settings, HttpSink.Config, dec_hook=decode_hook), context)


async def measure(sink: HttpSink, count: int) -> tuple[float, float]:
    """CPU microseconds per row and rows per second, medians; a first run is not counted."""
    await sink.open()
    try:
        cpu, wall = [], []
        for run in range(RUNS + 1):
            every = rows(run * count, count)
            batches = [Batch("bench", "rule", SCHEMA, every[at : at + BATCH]) for at in range(0, count, BATCH)]
            began, began_cpu = time.perf_counter(), time.process_time()
            for batch in batches:
                await sink.write(batch)
            if run:
                cpu.append((time.process_time() - began_cpu) / count * 1e6)
                wall.append(count / (time.perf_counter() - began))
        return statistics.median(cpu), statistics.median(wall)
    finally:
        await sink.close()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="what a row costs on its way into an HTTP service")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--only", default="", help="the cases whose title has this text")
    parser.add_argument("--rows", type=int, default=80_000, help="rows per run; fewer where each is a request")
    parser.add_argument("--serve", action="store_true", help="be the far side")
    options = parser.parse_args(arguments)
    if options.serve:
        asyncio.run(serve())
        return 0
    figures: dict[str, dict[str, float]] = {}
    far_side = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert far_side.stdout is not None
        port = int(far_side.stdout.readline())
        print(f"{'http':44} {'us CPU per row':>15} {'rows/s':>10}")
        for case in CASES:
            if options.only not in case.title:
                continue
            cpu, wall = asyncio.run(measure(make(port, case.settings), max(options.rows // case.share, BATCH)))
            figures[case.title] = {"us_per_row": round(cpu, 2), "rows_per_second": round(wall)}
            print(f"{case.title:44} {cpu:15.2f} {wall:10,.0f}", flush=True)
    finally:
        far_side.terminate()
        far_side.wait()
        if far_side.stdout is not None:
            far_side.stdout.close()
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
