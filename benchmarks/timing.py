"""How single functions are measured: CPU time of the thread, after a warm-up, the median and the least of five runs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Final

RUNS: Final = 5


def measure(run: Callable[[], None], operations: int) -> tuple[float, float]:
    """Median and least of the runs, in microseconds per operation; one call of ``run`` does ``operations``."""
    run()
    times = []
    for _ in range(RUNS):
        began = time.thread_time()
        run()
        times.append((time.thread_time() - began) / operations * 1e6)
    return statistics.median(times), min(times)
