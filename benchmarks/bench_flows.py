"""What windows, joins and analytic functions cost as SQL: microseconds of CPU per message through the engine, beside a
query without state.

    python benchmarks/bench_flows.py [--json FILE] [--quick]

The messages are meter values of 200 bytes of JSON from 10,000 connectors, in batches of 200; the declared source
gives them types and event time. *Beyond* is the difference to the stateless query over the same source, or for a join
of two streams over both: they are the same messages twice. Each figure is the median of five rounds that take turns.
Where Bytewax is installed (README.md) it counts the same rows, already decoded, in windows of its own. The program
fails where a budget is missed.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from core.message import Message
from core.metrics import Metrics
from rules.compiler import RuleSource, compile_rules
from rules.runtime import Engine

KEYS: Final = 10_000
BATCH: Final = 200
START_MS: Final = 1_700_000_040_000
PEER: Final = Path.home() / ".cache/headrace/peers/bytewax/bin/python"
SOURCES: Final = """
CREATE SOURCE meter (
  station TEXT, connector BIGINT, power DOUBLE NOT NULL, energy DOUBLE, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) WITH (topic = 'cp/{station}/{connector}/meter');
CREATE SOURCE twin (
  station TEXT, connector BIGINT, power DOUBLE NOT NULL, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) WITH (topic = 'cp/{station}/{connector}/meter');
CREATE TABLE stations (station TEXT, site TEXT) WITH (file = 'stations.csv', key = 'station');
"""
GROUPS: Final = """SELECT station, connector, window_start, avg(power) AS kw, max(energy) AS wh, count(*) AS n
FROM {} GROUP BY station, connector"""
PAIRS: Final = """SELECT meter.station AS station, meter.power AS power, twin.power AS other
FROM meter JOIN twin ON twin.station = meter.station AND twin.connector = meter.connector AND """


class Query(NamedTuple):
    """``base`` is the query without state that it is compared with, ``budget`` the most that it may cost beyond."""

    sql: str
    base: str | None
    budget: float | None = None


STATELESS: Final = "stateless, declared source"
BOTH: Final = "stateless, both sources"
QUERIES: Final = {
    "stateless, topic": Query(
        'SELECT payload.station AS station, payload.power AS power, payload.energy AS energy FROM "cp/+/+/meter"', None
    ),
    STATELESS: Query("SELECT station, connector, power, energy FROM meter", None),
    "tumble 1 min": Query(GROUPS.format("TUMBLE(meter, ts, INTERVAL '1 minute')"), STATELESS, 2.0),
    "tumble 1 min, WHERE": Query(GROUPS.format("TUMBLE(meter, ts, INTERVAL '1 minute') WHERE power > 1"), STATELESS),
    "hop 1 min / 10 s": Query(
        GROUPS.format("HOP(meter, ts, INTERVAL '10 seconds', INTERVAL '1 minute')"), STATELESS, 3.0
    ),
    "session, gap 1 min": Query(GROUPS.format("SESSION(meter, ts, INTERVAL '1 minute')"), STATELESS),
    "lag": Query(
        "SELECT station, power - lag(power) OVER (PARTITION BY station, connector) AS more FROM meter", STATELESS
    ),
    "had_changed, never": Query(
        "SELECT station, power FROM meter WHERE had_changed(true, power > 0) OVER (PARTITION BY station, connector)",
        STATELESS,
    ),
    "acc_avg": Query(
        "SELECT station, acc_avg(power) OVER (PARTITION BY station, connector) AS mean FROM meter", STATELESS
    ),
    "hysteresis": Query(
        "SELECT hysteresis(power > 1070, power < 1010) OVER (PARTITION BY station, connector) AS strong FROM meter",
        STATELESS,
    ),
    "lookup join, table in memory": Query(
        "SELECT meter.station AS station, site, power FROM meter JOIN stations ON stations.station = meter.station",
        STATELESS,
    ),
    BOTH: Query("SELECT station, connector, power FROM meter; INSERT INTO out SELECT station, power FROM twin", None),
    "stream join, BETWEEN 1 s": Query(
        PAIRS + "twin.ts BETWEEN meter.ts - INTERVAL '1 second' AND meter.ts + INTERVAL '1 second'", BOTH
    ),
}


def station_of(key: int) -> str:
    return f"CP-{key // 2:05}"


def messages(count: int) -> list[Message]:
    """Every connector in turn, one message each in three seconds of event time."""
    made = []
    for number in range(count):
        key = number % KEYS
        station, connector = station_of(key), key % 2
        at = START_MS + number * 3_000 // KEYS
        document = {
            "station": station,
            "connector": connector,
            "power": 1000.5 + number % 77,
            "energy": 12345.25 + number,
            "voltage": 230.1,
            "current": 16.2,
            "soc": 55,
            "temperature": 31.5,
            "ts": at,
        }
        topic = f"cp/{station}/{connector}/meter"
        made.append(Message(topic, json.dumps(document).encode(), received_ns=at * 1_000_000))
    return made


def round_of(sql: str, given: Sequence[Message]) -> tuple[float, int]:
    """CPU nanoseconds per message, and rows."""
    engine = Engine(Metrics())
    engine.load(compile_rules([RuleSource("bench.sql", f"{SOURCES}INSERT INTO out {sql}")]))
    for table in engine.lookup_tables.values():
        table.replace({station: [(station, f"site {station}")] for station in map(station_of, range(0, KEYS, 2))})
    fresh = [Message(message.topic, message.payload, received_ns=message.received_ns) for message in given]
    rows = 0
    gc.collect()
    began = time.process_time_ns()
    for first in range(0, len(fresh), BATCH):
        now = fresh[first].received_ns
        for batch in engine.process(fresh[first : first + BATCH], now):
            rows += len(batch.rows)
        while (due := engine.next_deadline) is not None and due <= now:
            for batch in engine.advance(now):
                rows += len(batch.rows)
    return (time.process_time_ns() - began) / len(fresh), rows


def peer() -> dict[str, float]:
    """Bytewax's microseconds per row, where it is installed."""
    if not PEER.exists():
        print(f"Bytewax is not installed ({PEER.parent.parent})")
        return {}
    script = Path(__file__).with_name("bytewax_peer.py")
    found = subprocess.run([str(PEER), str(script)], capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(found.stdout)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--quick", action="store_true", help="a third of the messages")
    arguments = parser.parse_args()
    given = messages(100_000 if arguments.quick else 300_000)
    spent: dict[str, list[float]] = {name: [] for name in QUERIES}
    rows: dict[str, int] = {}
    for _ in range(5):
        for name, query in QUERIES.items():
            figure, rows[name] = round_of(query.sql, given)
            spent[name].append(figure / 1000)
    results: dict[str, float] = {}
    missed = []
    medians = {name: statistics.median(figures) for name, figures in spent.items()}
    print(f"{'us per message':32}{'median':>8}{'min':>8}{'beyond':>8}{'budget':>8}{'rows':>10}")
    for name, query in QUERIES.items():
        median = results[name] = medians[name]
        beyond = 0.0 if query.base is None else median - medians[query.base]
        told = "" if query.base is None else f"{beyond:.2f}"
        bound = "" if query.budget is None else f"{query.budget:g}"
        print(f"{name:32}{median:8.2f}{min(spent[name]):8.2f}{told:>8}{bound:>8}{rows[name]:10,}")
        if query.budget is not None and beyond > query.budget:
            missed.append(name)
    for name, figure in peer().items():
        results[f"Bytewax, {name}"] = figure
        print(f"{'Bytewax, ' + name:32}{figure:8.2f}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    for name in missed:
        print(f"missed: {name}", file=sys.stderr)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
