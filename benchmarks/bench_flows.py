"""What windows cost as SQL: microseconds of CPU per message through the engine, beside the same query without state.

    python benchmarks/bench_flows.py [--json FILE] [--quick]

The messages are meter values of 200 bytes of JSON from 10,000 connectors, in batches of 200; the declared source gives
them types and event time. *Beyond* is the difference to the stateless query over the same source. Each figure is the
median of five rounds that take turns. Where Bytewax is installed (README.md) it counts the same rows, already decoded,
in windows of its own. The program fails where a budget is missed.
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
from typing import Final

from core.message import Message
from core.metrics import Metrics
from rules.compiler import RuleSource, compile_rules
from rules.runtime import Engine

KEYS: Final = 10_000
BATCH: Final = 200
START_MS: Final = 1_700_000_040_000
PEER: Final = Path.home() / ".cache/headrace/peers/bytewax/bin/python"
SOURCE: Final = """
CREATE SOURCE meter (
  station TEXT, connector BIGINT, power DOUBLE NOT NULL, energy DOUBLE, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) WITH (topic = 'cp/{station}/{connector}/meter');
"""
GROUPS: Final = """SELECT station, connector, window_start, avg(power) AS kw, max(energy) AS wh, count(*) AS n
FROM {} GROUP BY station, connector"""
STATELESS: Final = "stateless, declared source"
QUERIES: Final = {
    "stateless, topic": (
        'SELECT payload.station AS station, payload.power AS power, payload.energy AS energy FROM "cp/+/+/meter"',
        None,
    ),
    STATELESS: ("SELECT station, connector, power, energy FROM meter", None),
    "tumble 1 min": (GROUPS.format("TUMBLE(meter, ts, INTERVAL '1 minute')"), 2.0),
    "tumble 1 min, WHERE": (GROUPS.format("TUMBLE(meter, ts, INTERVAL '1 minute') WHERE power > 1"), None),
    "hop 1 min / 10 s": (GROUPS.format("HOP(meter, ts, INTERVAL '10 seconds', INTERVAL '1 minute')"), 3.0),
    "session, gap 1 min": (GROUPS.format("SESSION(meter, ts, INTERVAL '1 minute')"), None),
}


def messages(count: int) -> list[Message]:
    """Every connector in turn, one message each in three seconds of event time."""
    made = []
    for number in range(count):
        key = number % KEYS
        station, connector = f"CP-{key // 2:05}", key % 2
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
    engine.load(compile_rules([RuleSource("bench.sql", f"{SOURCE}INSERT INTO out {sql}")]))
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
        for name, (sql, _) in QUERIES.items():
            figure, rows[name] = round_of(sql, given)
            spent[name].append(figure / 1000)
    results: dict[str, float] = {}
    missed = []
    base = statistics.median(spent[STATELESS])
    print(f"{'us per message':32}{'median':>8}{'min':>8}{'beyond':>8}{'budget':>8}{'rows':>10}")
    for name, (_, budget) in QUERIES.items():
        median = statistics.median(spent[name])
        beyond = median - base
        results[name] = median
        told = "" if name.startswith("stateless") else f"{beyond:.2f}"
        bound = "" if budget is None else f"{budget:g}"
        print(f"{name:32}{median:8.2f}{min(spent[name]):8.2f}{told:>8}{bound:>8}{rows[name]:10,}")
        if budget is not None and beyond > budget:
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
