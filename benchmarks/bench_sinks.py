"""What does a row cost from a sink's ``write`` to the far side's acknowledgement, encoding included? For every sink.

Owns the procedure and the table; the cases are data in ``sink_cases.py``. Real servers on the same machine, started as
the tests start them; one that is not installed is named in one line. Batches of 1,000 rows (the default), one after the
other. The figure is CPU time, user + system, of this whole process (drivers' threads too) per row; beside it what that
makes in rows per CPU-second, and the rows per second on the wall clock. What the servers use is not in it, nor are
broker and rules. Medians of five runs after one that is not counted.

    python benchmarks/bench_sinks.py [--json FILE] [--only TEXT] [--rows N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import entry_points
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO, Final

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sink_cases import CASES, Case, rows
from timing import RUNS

from connections.base import Connection, ConnectionContext
from connections.sql.connection import SqlConnection
from core.errors import ExtensionError
from core.message import Batch
from core.settings import decode_hook
from sinks.base import Sink, SinkContext
from sinks.settings import BatchSettings

BATCH: Final = BatchSettings().max_rows
HEADER: Final = f"{'sink':46} {'CPU us/row':>10} {'bar':>5} {'':>3} {'rows/CPU-s':>11} {'rows/s':>10}"


def make(case: Case, far_side: Any, base_dir: Path, nowhere: BinaryIO) -> Sink:
    """The sink of a case, not yet open."""
    connection: Connection | None = None
    if case.connection is not None:
        kind = entry_points(group="headrace.connections")[str(case.sink)].load()
        config = msgspec.convert(case.connection(far_side), kind.Config, dec_hook=decode_hook)
        connection = kind(config, ConnectionContext(name="bench", base_dir=base_dir))
    if case.ddl is not None:
        assert isinstance(connection, SqlConnection)
        with connection.engine.begin() as session:
            session.exec_driver_sql(case.ddl)
    sink_type: Any = case.sink
    if isinstance(sink_type, str):
        sink_type = entry_points(group="headrace.sinks")[sink_type].load()
    settings = msgspec.convert(case.settings(far_side), sink_type.Config, dec_hook=decode_hook)
    context = SinkContext(
        name="bench", base_dir=base_dir, schemas=(case.schema,), connection=connection, stdout=nowhere
    )
    made: Sink = sink_type(settings, context)
    return made


async def measure(sink: Sink, case: Case, count: int) -> dict[str, Any]:
    """CPU microseconds per row and rows per second, medians."""
    await sink.open()
    try:
        cpu, wall = [], []
        for run in range(RUNS + 1):
            every = rows(case.schema, run * count, count)
            batches = [Batch("bench", "rule", case.schema, every[at : at + BATCH]) for at in range(0, count, BATCH)]
            began, began_cpu = time.perf_counter(), time.process_time()
            for batch in batches:
                await sink.write(batch)
            if run:
                cpu.append((time.process_time() - began_cpu) / count * 1e6)
                wall.append(count / (time.perf_counter() - began))
    finally:
        await sink.close()
    cost = median(cpu)
    return {
        "us_per_row": round(cost, 2),
        "lowest": round(min(cpu), 2),
        "highest": round(max(cpu), 2),
        "rows_per_cpu_second": round(1e6 / cost),
        "rows_per_second": round(median(wall)),
        "bar": case.bar,
    }


def line(title: str, figures: dict[str, Any]) -> str:
    bar, cost = figures["bar"], figures["us_per_row"]
    verdict = "" if bar is None else "yes" if cost <= bar else "NO"
    return (
        f"{title:46} {cost:10.2f} {'' if bar is None else bar:>5} {verdict:>3} "
        f"{figures['rows_per_cpu_second']:11,} {figures['rows_per_second']:10,}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="what a row costs per sink")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--only", default="", help="the cases whose title has this text")
    parser.add_argument("--rows", type=int, default=40_000, help="rows per run; fewer where a row costs much")
    options = parser.parse_args(arguments)
    figures: dict[str, Any] = {}
    servers: dict[type, Any] = {}
    print(HEADER, flush=True)
    with ExitStack() as stack, Path("/dev/null").open("wb") as nowhere:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)  # a server that does not run as root must find its own in it
        for case in CASES:
            if options.only not in case.title:
                continue
            far_side: Any = folder
            try:
                if case.server is not None and case.server not in servers:
                    home = folder / case.server.__name__
                    home.mkdir(exist_ok=True)
                    servers[case.server] = stack.enter_context(case.server(home))
                if case.server is not None:
                    far_side = servers[case.server]
                sink = make(case, far_side, folder, nowhere)
            except (pytest.skip.Exception, ExtensionError) as absent:
                print(f"{case.title:46} {absent}")
                continue
            count = max(int(options.rows * case.share) // BATCH, 1) * BATCH
            figures[case.title] = asyncio.run(measure(sink, case, count))
            print(line(case.title, figures[case.title]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
