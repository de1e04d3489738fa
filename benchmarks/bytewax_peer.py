"""Bytewax's windows over the rows of ``bench_flows``, run by the Python of its own environment.

Rows lie in memory and are decoded already: what is measured is the flow alone. Prints microseconds of CPU per row, as
JSON.
"""

# mypy: ignore-errors

import json
import time
from datetime import UTC, datetime, timedelta

import bytewax.operators as op
import bytewax.operators.windowing as win
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main

KEYS = 10_000
ROWS = 100_000
START = datetime(2026, 1, 1, tzinfo=UTC)


def fold(state, row):
    state[0] += 1
    state[1] += row[1]
    state[2] = max(state[2], row[1])
    return state


def merge(one, other):
    return [one[0] + other[0], one[1] + other[1], max(one[2], other[2])]


def cost(windower, rows):
    flow = Dataflow("windows")
    stream = op.input("rows", flow, TestingSource(rows, batch_size=200))
    clock = win.EventClock(lambda row: row[0], wait_for_system_duration=timedelta(seconds=2))
    out = []
    if windower is not None:
        stream = win.fold_window("fold", stream, clock, windower, lambda: [0, 0.0, 0.0], fold, merge).down
    op.output("out", stream, TestingSink(out))
    began = time.process_time()
    run_main(flow)
    return (time.process_time() - began) / len(rows) * 1e6


def main():
    rows = [
        (f"CP-{number % KEYS:05}", (START + timedelta(seconds=number * 3 / KEYS), 1000.5 + number % 77))
        for number in range(ROWS)
    ]
    minute, ten = timedelta(minutes=1), timedelta(seconds=10)
    print(
        json.dumps(
            {
                "no window": cost(None, rows),
                "tumble 1 min": cost(win.TumblingWindower(length=minute, align_to=START), rows),
                "hop 1 min / 10 s": cost(win.SlidingWindower(length=minute, offset=ten, align_to=START), rows),
            }
        )
    )


if __name__ == "__main__":
    main()
