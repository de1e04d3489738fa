"""What a row costs on its way into a SQL database, per database and way of writing.

    python benchmarks/bench_sql.py [--json FILE] [--only TEXT] [--rows N]

The real sink with real servers on the same machine, started as the tests start them. Rows of six columns come in
batches of 1,000, one batch after the other. The figure is the CPU time of this process per row (conversion, driver,
threads), the median of five runs; beside it the rows per second on the wall clock. What the servers use is not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from timing import RUNS

from connections.base import ConnectionContext
from connections.sql.config import SqlConfig
from connections.sql.connection import SqlConnection
from core.message import Batch, Row, Schema, Type
from core.settings import decode_hook
from sinks.base import SinkContext
from sinks.sql.sink import SqlSink
from tests.servers import Mariadb, Postgresql, Server

BATCH: Final = 1_000
SCHEMA: Final = Schema(
    ("station", "connector", "ts", "power", "energy", "state"),
    (Type.TEXT, Type.BIGINT, Type.TIMESTAMP, Type.DOUBLE, Type.DOUBLE, Type.TEXT),
)
KEY: Final = ["station", "connector"]
STATEMENT: Final = (
    "INSERT INTO bench (station, connector, ts, power, energy, state)"
    " VALUES (:station, :connector, :ts, :power, :energy, :state)"
)


class Case(NamedTuple):
    """A way of writing; ``bar`` is the most that a row may cost, in microseconds."""

    title: str
    server: type[Server] | None
    settings: dict[str, Any]
    bar: float | None = None


_TABLE: Final = {"table": "bench", "create_table": True}
CASES: Final = (
    Case("PostgreSQL: insert (COPY)", Postgresql, _TABLE, 4.0),
    Case("PostgreSQL: statement", Postgresql, {"statement": STATEMENT}),
    Case("PostgreSQL: upsert (UNNEST)", Postgresql, {**_TABLE, "write": "upsert", "key": KEY}, 10.0),
    Case("SQLite: insert", None, _TABLE, 4.0),
    Case("SQLite: upsert", None, {**_TABLE, "write": "upsert", "key": KEY}),
    Case("MariaDB: insert", Mariadb, _TABLE),
    Case("MariaDB: upsert", Mariadb, {**_TABLE, "write": "upsert", "key": KEY}),
)


def rows(first: int, count: int) -> list[Row]:
    """Rows of 500 stations with four connectors each, one every millisecond."""
    start = 1_767_225_600_000_000
    return [
        (f"CP-{n % 500:04d}", n // 500 % 4, start + n * 1_000, 7_000 + n % 997 / 8, n * 1.5, "Charging")
        for n in range(first, first + count)
    ]


async def measure(url: str, settings: dict[str, Any], count: int, base_dir: Path) -> tuple[float, float]:
    """CPU microseconds per row and rows per second, medians; a first run is not counted."""
    config = msgspec.convert({"url": url}, SqlConfig, dec_hook=decode_hook)
    connection = SqlConnection(config, ConnectionContext(name="bench", base_dir=base_dir))
    if "table" in settings:  # a statement goes into the one of the case before
        with connection.engine.begin() as session:
            session.exec_driver_sql("DROP TABLE IF EXISTS bench")
    sink = SqlSink(
        msgspec.convert(settings, SqlSink.Config, dec_hook=decode_hook),
        SinkContext(name="bench", base_dir=base_dir, schemas=(SCHEMA,), connection=connection),
    )
    await sink.open()
    try:
        cpu, wall = [], []
        for run in range(RUNS + 1):
            batches = [
                Batch("bench", "rule", SCHEMA, rows(run * count + start, BATCH)) for start in range(0, count, BATCH)
            ]
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
    parser = argparse.ArgumentParser(description="what a row costs on its way into a SQL database")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--only", default="", help="the cases whose title has this text")
    parser.add_argument("--rows", type=int, default=40_000, help="rows per run")
    options = parser.parse_args(arguments)
    figures: dict[str, dict[str, float]] = {}
    servers: dict[type[Server], Any] = {}
    print(f"{'case':30} {'us CPU per row':>15} {'bar':>6} {'rows/s':>10}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)  # a server that does not run as root must find its own in it
        for case in CASES:
            if options.only not in case.title:
                continue
            url = "sqlite:///bench.db"
            if case.server is not None:
                if case.server not in servers:
                    home = folder / case.server.__name__
                    home.mkdir()
                    try:
                        servers[case.server] = stack.enter_context(case.server(home))
                    except pytest.skip.Exception as absent:
                        print(f"{case.title:30} {absent}")
                        continue
                url = servers[case.server].url
            cpu, wall = asyncio.run(measure(url, case.settings, options.rows, folder))
            figures[case.title] = {"us_per_row": round(cpu, 2), "rows_per_second": round(wall)}
            print(f"{case.title:30} {cpu:15.2f} {case.bar or '':>6} {wall:10,.0f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
