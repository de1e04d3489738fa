"""What windows cost: microseconds of CPU per row beyond the stateless rule, stalls while windows close, bytes per key.

    python benchmarks/bench_windows.py [--json FILE] [--quick]

Operator level: rows as the generated pre-aggregation function makes them (it is part of the stateless cost), count(*),
avg and max over one column, 10,000 keys, batches of 500. Each figure is the median of five rounds; *stall* is the
longest single call. Budgets are printed beside the figures; the program fails where one is missed.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from core.message import Type
from rules.aggregates import AggregateCall
from rules.windows import EventTime, Hop, Session, Tumble, Window, WindowOperator, WindowPlan, build

SECOND: Final = 1_000_000
CALLS: Final = (AggregateCall("avg", (2,)), AggregateCall("max", (2,)), AggregateCall("count"))
BATCH: Final = 500


def operator(window: Window, column: Type, delay: int = 0) -> WindowOperator:
    timing = EventTime(delay=delay, max_ahead=None)
    return build(WindowPlan(window, CALLS, (column,), keys=1, timing=timing))


def batches(rows: int, keys: int, rate: float, jitter: float = 0.0) -> Iterator[list[tuple[Any, ...]]]:
    """Each key in turn; ``rate`` rows per second of event time for all keys together."""
    chance = random.Random(1)
    names = [f"CP-{number:07}" for number in range(keys)]
    for first in range(0, rows, BATCH):
        yield [
            (int((number / rate - chance.random() * jitter) * SECOND), names[number % keys], chance.random() * 1000)
            for number in range(first, min(first + BATCH, rows))
        ]


def cost(window: Window, rows: int, keys: int, rate: float, column: Type, jitter: float = 0.0) -> tuple[float, float]:
    """Microseconds per row (closing included), and the longest call in milliseconds."""
    figures, stalls = [], []
    for _ in range(5):
        made = list(batches(rows, keys, rate, jitter))
        op = operator(window, column, int(jitter * SECOND))
        gc.collect()
        spent, longest = 0, 0
        for batch in made:
            began = time.thread_time_ns()
            op.process(batch, 0)
            took = time.thread_time_ns() - began
            spent += took
            longest = max(longest, took)
            # What the process call left over, as an idle loop would do it.
            while (due := op.next_deadline) is not None and due <= 0:
                began = time.thread_time_ns()
                op.advance(0)
                took = time.thread_time_ns() - began
                spent += took
                longest = max(longest, took)
        assert op.counters.late == 0
        figures.append(spent / rows / 1000)
        stalls.append(longest / 1e6)
    return statistics.median(figures), statistics.median(stalls)


def closing(window: Window, keys: int) -> tuple[float, float]:
    """Longest call, and all calls together, in milliseconds, while one window with all keys closes."""
    stalls, totals = [], []
    for _ in range(5):
        op = operator(window, Type.DOUBLE)
        for batch in batches(keys, keys, keys / 50):
            op.process(batch, 0)
        calls: list[int] = []
        emitted = 0
        gc.collect()
        while True:
            began = time.perf_counter_ns()
            rows = op.finish(0)
            calls.append(time.perf_counter_ns() - began)
            emitted += len(rows)
            if op.next_deadline is None:
                break
        assert emitted >= keys
        stalls.append(max(calls) / 1e6)
        totals.append(sum(calls) / 1e6)
    return statistics.median(stalls), statistics.median(totals)


def memory(keys: int) -> float:
    """Bytes per key, the key's text and the values included."""
    op = operator(Tumble(3_600 * SECOND), Type.DOUBLE)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for batch in batches(2 * keys, keys, keys / 60):
        op.process([(moment, key[:2] + key[2:], value) for moment, key, value in batch], 0)  # keys of its own
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert op.groups == keys
    return used / keys


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--quick", action="store_true", help="a fifth of the rows")
    arguments = parser.parse_args()
    scale = 5 if arguments.quick else 1
    results: dict[str, float] = {}
    missed = []

    def report(name: str, value: float, unit: str, budget: float | None = None) -> None:
        results[f"{name}, {unit}"] = value
        bound = "" if budget is None else f"   (budget {budget:g})"
        print(f"{name:52}{value:10.2f} {unit}{bound}", flush=True)
        if budget is not None and value > budget:
            missed.append(name)

    rows = 600_000 // scale
    minute, ten = 60 * SECOND, 10 * SECOND
    for column in (Type.DOUBLE, Type.ANY):
        figure, stall = cost(Tumble(minute), rows, 10_000, 2_000, column)
        report(f"tumble 1 min, {column.value}", figure, "us/row", 2)
        report(f"tumble 1 min, {column.value}, stall", stall, "ms", 20)
        figure, stall = cost(Hop(minute, ten), rows, 10_000, 10_000, column)
        report(f"hop 1 min / 10 s, {column.value}", figure, "us/row", 3)
        report(f"hop 1 min / 10 s, {column.value}, stall", stall, "ms", 20)
    figure, _ = cost(Tumble(minute), rows, 10_000, 2_000, Type.DOUBLE, jitter=10)
    report("tumble 1 min, up to 10 s out of order", figure, "us/row")
    figure, _ = cost(Hop(minute, ten), rows, 10_000, 2_000, Type.DOUBLE)
    report("hop 1 min / 10 s, a row per key and 5 s", figure, "us/row")
    figure, stall = cost(Session(minute), rows // 2, 10_000, 2_000, Type.DOUBLE)
    report("session, gap 1 min", figure, "us/row")
    for name, window in (("tumble", Tumble(minute)), ("hop", Hop(minute, ten)), ("session", Session(minute))):
        stall, total = closing(window, 10_000)
        report(f"closing 10,000 keys of a {name}, longest call", stall, "ms", 20)
        report(f"closing 10,000 keys of a {name}, together", total, "ms")
    keys = 1_000_000 // scale
    report(f"memory of {keys:,} keys, avg + max + count", memory(keys), "bytes/key", 500)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    for name in missed:
        print(f"missed: {name}", file=sys.stderr)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
