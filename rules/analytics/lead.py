"""Rows that wait for those behind them: ``lead``.

Invariants: rows of one partition come out in the order in which they came in; none waits longer than ``wait`` once
time has been told; of each partition at most as many wait as the greatest offset looks ahead, and at most ``max_keys``
partitions have any: the oldest row then comes out as it is, so none is lost.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from core.message import Row
from rules.analytics.plan import LEAD, AnalyticPlan

_ALL: Final = None
"""The key of the one partition without PARTITION BY."""


class _Call(NamedTuple):
    """Where the result stands in the row, where to look for it how many rows ahead, and the default's place."""

    result: int
    value: int
    offset: int
    default: int | None


class _Entry(NamedTuple):
    """A row that waits: its number, until when (nanoseconds), its key."""

    number: int
    until: int
    key: Any
    row: Row


class Leads:
    """The rows of one operator that wait: all columns with the results behind them, null for those of lead."""

    def __init__(self, plan: AnalyticPlan) -> None:
        width = len(plan.columns)
        calls = [(width + number, call) for number, call in enumerate(plan.calls) if call.name == LEAD]
        self._calls = [
            _Call(result, call.arguments[0], call.constants[0], call.arguments[1] if len(call.arguments) > 1 else None)
            for result, call in calls
        ]
        self._width = width
        self._kept = width if plan.kept is None else plan.kept
        self._partition = calls[0][1].partition
        self._farthest = max(call.offset for call in self._calls)
        self._wait = plan.limits.wait * 1_000
        self._max_keys = plan.limits.max_keys
        self._waiting: dict[Any, deque[_Entry]] = {}
        self._order: OrderedDict[int, _Entry] = OrderedDict()
        self._number = 0
        self.cut = 0
        """Rows that came out early, at max_keys."""
        self.timed_out = 0
        """Rows whose follower did not come in time."""

    def __len__(self) -> int:
        return len(self._order)

    @property
    def due(self) -> int | None:
        """Until when the first row waits, nanoseconds."""
        return next(iter(self._order.values())).until if self._order else None

    def take(self, rows: Sequence[Row], now: int, emitted: list[Row]) -> None:
        until = now + self._wait
        for row in rows:
            key = _ALL if self._partition is None else row[self._partition]
            queue = self._waiting.get(key)
            if queue is None:
                while len(self._waiting) >= self._max_keys:
                    self.cut += 1
                    self._release(next(iter(self._order.values())), emitted)
                queue = self._waiting[key] = deque()
            self._number += 1
            entry = _Entry(self._number, until, key, row)
            queue.append(entry)
            self._order[entry.number] = entry
            if len(queue) > self._farthest:
                self._release(queue[0], emitted)

    def expire(self, now: int | None, most: int, emitted: list[Row]) -> None:
        """Let up to ``most`` rows go that have waited long enough; all of them may go where ``now`` is None."""
        while self._order and most > 0:
            entry = next(iter(self._order.values()))
            if now is not None and entry.until > now:
                return
            most -= 1
            self.timed_out += 1
            self._release(entry, emitted)

    def _release(self, entry: _Entry, emitted: list[Row]) -> None:
        """Emit the first row of its partition with what stands behind it."""
        queue = self._waiting[entry.key]
        row = list(entry.row)
        for call in self._calls:
            if call.offset < len(queue):
                row[call.result] = queue[call.offset].row[call.value]
            elif call.default is not None:
                row[call.result] = row[call.default]
        emitted.append((*row[: self._kept], *row[self._width :]))
        queue.popleft()
        del self._order[entry.number]
        if not queue:
            del self._waiting[entry.key]

    def snapshot(self) -> Any:
        return [[entry.until, entry.key, entry.row] for entry in self._order.values()]

    def restore(self, data: Any) -> None:
        self._waiting.clear()
        self._order.clear()
        for number, (until, key, row) in enumerate(data):
            entry = _Entry(number, until, key, row)
            self._order[number] = entry
            self._waiting.setdefault(key, deque()).append(entry)
        self._number = len(data)
