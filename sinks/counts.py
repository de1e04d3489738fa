"""What became of the rows that were offered to one sink, and how the metrics show it.

Invariant, at every moment: ``rows_in = delivered + rejected + dropped + diverted + queued + in_flight``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from core.clock import SECOND
from core.metrics import Labels, Metrics
from sinks.buffer import Buffer
from sinks.health import Health, State


class Counts:
    """Rows by outcome since the start; ``retries`` counts failed attempts to open or write, ``writes`` good ones.

    ``buffers`` are those of the deliveries that share the account: one, and for a while a second one that replaces it.
    """

    __slots__ = ("buffers", "delivered", "diverted", "dropped_by_reason", "rejected", "retries", "rows_in", "writes")

    def __init__(self, buffer: Buffer) -> None:
        self.buffers = [buffer]
        self.rows_in = 0
        self.delivered = 0
        self.rejected = 0
        self.diverted = 0
        self.dropped_by_reason: dict[str, int] = {}
        self.retries = 0
        self.writes = 0

    def drop(self, reason: str, rows: int) -> None:
        if rows:
            self.dropped_by_reason[reason] = self.dropped_by_reason.get(reason, 0) + rows

    @property
    def dropped(self) -> int:
        return sum(self.dropped_by_reason.values())

    @property
    def queued(self) -> int:
        return sum(buffer.rows - buffer.in_flight for buffer in self.buffers)

    @property
    def in_flight(self) -> int:
        return sum(buffer.in_flight for buffer in self.buffers)

    @property
    def buffered_bytes(self) -> int:
        """The estimated size of what is queued and in flight."""
        return sum(buffer.size for buffer in self.buffers)

    def __repr__(self) -> str:
        return (
            f"Counts(rows_in={self.rows_in}, delivered={self.delivered}, rejected={self.rejected}, "
            f"dropped={self.dropped_by_reason}, diverted={self.diverted}, queued={self.queued}, "
            f"in_flight={self.in_flight})"
        )


_COUNTERS: tuple[tuple[str, str, Callable[[Counts], int]], ...] = (
    ("headrace_sink_rows_in_total", "Rows offered to the sink and accepted.", lambda c: c.rows_in),
    ("headrace_sink_rows_delivered_total", "Rows that are durable at the far side.", lambda c: c.delivered),
    ("headrace_sink_rows_rejected_total", "Rows that the far side refused for good.", lambda c: c.rejected),
    ("headrace_sink_rows_diverted_total", "Rows that another sink took instead.", lambda c: c.diverted),
    ("headrace_sink_writes_total", "Writes that succeeded.", lambda c: c.writes),
    ("headrace_sink_retries_total", "Attempts to open or write that failed and are repeated.", lambda c: c.retries),
)
_GAUGES: tuple[tuple[str, str, Callable[[Counts], int]], ...] = (
    ("headrace_sink_rows_queued", "Rows that wait in memory.", lambda c: c.queued),
    ("headrace_sink_rows_in_flight", "Rows in writes that have not returned.", lambda c: c.in_flight),
    ("headrace_sink_buffer_bytes", "Estimated bytes of rows queued and in flight.", lambda c: c.buffered_bytes),
)


def export(metrics: Metrics, name: str, counts: Counts, health: Health) -> Callable[[], None]:
    """Show the sink ``name`` in the metrics until the returned function is called."""

    def reader(read: Callable[[Counts], int]) -> Callable[[], Iterable[tuple[Labels, int]]]:
        return lambda: [((name,), read(counts))]

    readers = [metrics.read(metric, text, "counter", reader(read), ("sink",)) for metric, text, read in _COUNTERS]
    readers += [metrics.read(metric, text, "gauge", reader(read), ("sink",)) for metric, text, read in _GAUGES]
    readers += [
        metrics.read(
            "headrace_sink_rows_dropped_total",
            "Rows that were given up, by reason.",
            "counter",
            lambda: [((name, reason), rows) for reason, rows in counts.dropped_by_reason.items()],
            ("sink", "reason"),
        ),
        metrics.read(
            "headrace_sink_connected",
            "1 while the sink takes rows, 0 while it is connecting or unavailable.",
            "gauge",
            lambda: [((name,), int(health.state is State.CONNECTED))],
            ("sink",),
        ),
        metrics.read(
            "headrace_sink_outages_total",
            "Times that the sink was found to be out of reach.",
            "counter",
            lambda: [((name,), health.outages)],
            ("sink",),
        ),
        metrics.read(
            "headrace_sink_last_error_timestamp_seconds",
            "When an attempt of the sink last failed, 0 where none has.",
            "gauge",
            lambda: [((name,), health.failed_at / SECOND)],
            ("sink",),
        ),
    ]

    def withdraw() -> None:
        for remove in readers:
            remove()

    return withdraw
