"""What a row costs from a sink's ``write`` to the far side's acknowledgement, encoding included, per sink.

    python benchmarks/bench_sinks.py [--json FILE] [--only TEXT] [--rows N]

Real servers on the same machine, started as the tests start them. Rows of six columns come in batches, written one
after the other. The figure is the CPU time of this whole process (the drivers' threads too) per row, the median of five
runs; beside it the rows per second on the wall clock. What the servers use is not in it, nor are broker and rules.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from timing import RUNS

from connections.base import ConnectionContext
from core.message import Batch, Row, Schema, Type
from core.settings import decode_hook
from sinks.base import Sink, SinkContext
from tests.servers import Influxdb, Kafka, Server, VictoriaMetrics

BATCH: Final = 2_000
SCHEMA: Final = Schema(
    ("id", "station", "connector", "at", "power", "status"),
    (Type.BIGINT, Type.TEXT, Type.BIGINT, Type.TIMESTAMP, Type.DOUBLE, Type.TEXT),
)
POINT: Final = Schema(
    ("id", "station", "connector", "at", "power", "status", "voltage", "soc", "on"),
    (*SCHEMA.types, Type.DOUBLE, Type.BIGINT, Type.BOOLEAN),
)
"""With three tags and five fields."""
SECOND: Final = 1_000_000


class Case(NamedTuple):
    """A sink and where it writes: settings of the sink and of its connection, made from the server that runs."""

    title: str
    sink: str
    server: type[Server] | None
    settings: Callable[[Any], dict[str, Any]]
    connection: Callable[[Any], dict[str, Any]] | None = None
    schema: Schema = SCHEMA


def _kafka(driver: str, **settings: Any) -> Case:
    title = ", ".join([driver, *(f"{name} = {value}" for name, value in settings.items())])
    return Case(
        f"kafka: {title}",
        "kafka",
        Kafka,
        lambda _: {"topic": "bench", "key": "${station}", "create_topic": {"partitions": 3}, **settings},
        lambda server: {"bootstrap_servers": [server.bootstrap], "driver": driver},
    )


def _influxdb(title: str, server: type[Server], **connection: Any) -> Case:
    return Case(
        f"influxdb: {title}",
        "influxdb",
        server,
        lambda _: {"measurement": "meter", "tags": ["connector", "station", "status"], "time": "at", "precision": "ms"},
        lambda running: {"url": running.url, "bucket": "ci", **connection},
        POINT,
    )


CASES: Final = (
    _kafka("confluent"),
    _kafka("confluent", compression="zstd"),
    _kafka("confluent", exactly_once=True),
    _kafka("kafka-python"),
    _influxdb("InfluxDB 1.8", Influxdb),
    _influxdb("InfluxDB 1.8, gzip", Influxdb, gzip=True),
    _influxdb("VictoriaMetrics", VictoriaMetrics),
    Case("file: NDJSON", "file", None, lambda folder: {"path": f"{folder}/rows.ndjson"}),
    Case("file: CSV", "file", None, lambda folder: {"path": f"{folder}/rows.csv"}),
    Case("file: Parquet", "file", None, lambda folder: {"path": f"{folder}/rows.parquet"}),
)


def rows(schema: Schema, start: int, count: int) -> list[Row]:
    """Fresh rows, each with an id and a time of its own."""
    every = []
    for number in range(start, start + count):
        at = 1_767_225_600 * SECOND + number * 1_000
        row = (number, f"CP-{number % 500:04d}", number % 4, at, 7_000 + number % 997 / 8, "Charging")
        every.append(row if schema is SCHEMA else (*row, 230.1, number % 100, True))
    return every


def _make(case: Case, far_side: Any, base_dir: Path) -> Sink:
    def found(group: str) -> Any:
        return entry_points(group=group)[case.sink].load()

    connection = None
    if case.connection is not None:
        kind = found("headrace.connections")
        config = msgspec.convert(case.connection(far_side), kind.Config, dec_hook=decode_hook)
        connection = kind(config, ConnectionContext(name="bench", base_dir=base_dir))
    sink_type = found("headrace.sinks")
    settings = msgspec.convert(case.settings(far_side), sink_type.Config, dec_hook=decode_hook)
    context = SinkContext(name="bench", base_dir=base_dir, schemas=(case.schema,), connection=connection)
    made: Sink = sink_type(settings, context)
    return made


async def measure(sink: Sink, schema: Schema, count: int) -> tuple[float, float]:
    """CPU microseconds per row and rows per second, medians; a first run is not counted."""
    await sink.open()
    try:
        cpu, wall = [], []
        for run in range(RUNS + 1):
            every = rows(schema, run * count, count)
            batches = [Batch("bench", "rule", schema, every[at : at + BATCH]) for at in range(0, count, BATCH)]
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
    parser = argparse.ArgumentParser(description="what a row costs per sink")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--only", default="", help="the cases whose title has this text")
    parser.add_argument("--rows", type=int, default=40_000, help="rows per run")
    options = parser.parse_args(arguments)
    figures: dict[str, dict[str, float]] = {}
    servers: dict[type[Server], Server] = {}
    print(f"{'sink':44} {'us CPU per row':>15} {'rows/s':>10}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)  # a server that does not run as root must find its own in it
        for case in CASES:
            if options.only not in case.title:
                continue
            far_side: Any = folder
            if case.server is not None:
                if case.server not in servers:
                    home = folder / case.server.__name__
                    home.mkdir()
                    try:
                        servers[case.server] = stack.enter_context(case.server(home))
                    except pytest.skip.Exception as absent:
                        print(f"{case.title:44} {absent}")
                        continue
                far_side = servers[case.server]
            cpu, wall = asyncio.run(measure(_make(case, far_side, folder), case.schema, options.rows))
            figures[case.title] = {"us_per_row": round(cpu, 2), "rows_per_second": round(wall)}
            print(f"{case.title:44} {cpu:15.2f} {wall:10,.0f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
