"""Sliding windows: for each row that triggers, at T, the rows of its key in (T - size, T + delay].

The rows themselves are kept, in the order of their time, as long as a trigger may still want them; a result goes over
those of its window, so a trigger costs as much as its window has rows. At most ``max_rows`` rows are kept per key: the
oldest ones are dropped and counted. A trigger waits until the watermark has passed T + delay, so that all rows of that
very time are there. Where there is nothing to wait for, neither a delay of the window nor one of the watermark, it is
emitted at once.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final

from core.message import Row
from rules.windows.operator import WindowOperator
from rules.windows.plan import FIRST_PLACE, Sliding, WhenFull, WindowPlan

_TIME: Final = itemgetter(0)
Rows = list[tuple[Any, ...]]


class SlidingOperator(WindowOperator):
    def __init__(self, plan: WindowPlan) -> None:
        super().__init__(plan)
        assert isinstance(plan.window, Sliding)  # noqa: S101  build() chose by it
        self._size = plan.window.size
        self._delay = plan.window.delay
        self._when = plan.window.when
        waits = self._delay or self.clock.delay
        self._wait = self._delay + 1 if waits else 0
        self._width = FIRST_PLACE + len(plan.columns)
        self._keys: OrderedDict[Any, Rows] = OrderedDict()  # the key whose row came last is last
        self._triggers: list[tuple[int, int, Any]] = []  # a heap of (T + wait, number, key)
        self._number = 0
        self._rows = 0
        self._max_rows = plan.limits.max_rows

    @property
    def groups(self) -> int:
        return len(self._keys)

    @property
    def windows(self) -> int:
        return len(self._triggers)

    @property
    def partial(self) -> tuple[int, int] | None:
        if not self._triggers or self._triggers[0][0] > self.clock.watermark:
            return None
        time = self._triggers[0][0] - self._wait
        return time - self._size, time + self._delay

    @property
    def bytes(self) -> int:
        return self._rows * (120 + 32 * self._width) + len(self._keys) * 300

    def _take(self, rows: Sequence[tuple[Any, ...]], now: int, emitted: list[Row]) -> None:
        clock = self.clock
        latest = clock.latest(now)
        top, floor = clock.top, clock.watermark
        for row in rows:
            time = row[0]
            reason = self._timed(time, latest)
            if reason is not None:
                self._reject(row, reason)
                continue
            watermark = max(floor, top - clock.delay)
            if clock.clamps and time < watermark:
                time = watermark
            if time < watermark:
                self._reject(row, "late")
                continue
            top = max(top, time)
            # What this row makes due is emitted row by row, so the result does not depend on batches.
            watermark = max(watermark, top - clock.delay)
            self._fire(watermark, emitted, len(self._triggers))
            self._put(row if row[0] == time else (time, *row[1:]), watermark)
            self._fire(watermark, emitted, len(self._triggers))
        if rows:
            clock.see(top, now)
        self._emit_due(emitted)

    def _put(self, row: tuple[Any, ...], watermark: int) -> None:
        key = row[1]
        try:
            self.accumulators.add(self.accumulators.new(), row)  # refused now rather than in every window
        except Exception as error:  # noqa: BLE001  whatever a row holds, the others go on
            self._refuse(row, error)
            return
        kept = self._keys.get(key)
        if kept is None:
            if len(self._keys) >= self.plan.limits.max_keys and not self._make_room(row):
                return
            kept = self._keys[key] = []
        else:
            self._keys.move_to_end(key)
        entry = row[: self._width]
        if not kept or kept[-1][0] <= row[0]:
            kept.append(entry)
        else:
            insort(kept, entry, key=_TIME)
        self._rows += 1
        self._expire(kept, watermark)
        if len(kept) > self._max_rows:
            del kept[0]
            self._rows -= 1
            self.counters.rows_dropped += 1
        if self._when is None or row[self._when] is True:
            self._number += 1
            heapq.heappush(self._triggers, (row[0] + self._wait, self._number, key))

    def _expire(self, kept: Rows, watermark: int) -> None:
        """Forget rows that no trigger can want any more."""
        horizon = watermark - self._wait - self._size
        if kept[0][0] <= horizon:
            count = bisect_right(kept, horizon, key=_TIME)
            del kept[:count]
            self._rows -= count

    def _make_room(self, row: tuple[Any, ...]) -> bool:
        if self.plan.limits.when_full is WhenFull.DROP_NEW:
            self._reject(row, "keys_full")
            return False
        _, kept = self._keys.popitem(last=False)
        self._rows -= len(kept)
        self.counters.keys_dropped += 1
        return True

    def _fire(self, watermark: int, emitted: list[Row], room: int) -> None:
        """Emit the triggers that the watermark has reached."""
        triggers = self._triggers
        while triggers and triggers[0][0] <= watermark and room > 0:
            room -= 1
            due, _, key = heapq.heappop(triggers)
            kept = self._keys.get(key)
            if kept is None:
                continue  # given up at max_keys
            time = due - self._wait
            start, until = time - self._size, time + self._delay
            state = self.accumulators.new()
            add = self.accumulators.add
            for row in kept[bisect_right(kept, start, key=_TIME) : bisect_right(kept, until, key=_TIME)]:
                add(state, row)
            emitted.append(self._row(key, start, until, state))

    def _emit_due(self, emitted: list[Row]) -> None:
        watermark = self.clock.watermark
        self._fire(watermark, emitted, self.max_groups)
        if self._triggers and self._triggers[0][0] <= watermark:
            return
        horizon = watermark - self._wait - self._size
        for _ in range(self.max_groups):  # keys that have been silent for long
            key = next(iter(self._keys), None)
            if key is None or self._keys[key][-1][0] > horizon:
                break
            self._rows -= len(self._keys.pop(key))

    def _due(self) -> int | None:
        if self._triggers:
            return self.clock.due(self._triggers[0][0])
        if not self._keys:
            return None
        oldest = next(iter(self._keys.values()))[-1][0]
        return self.clock.due(oldest + self._wait + self._size)

    def _snapshot(self) -> Any:
        triggers = [list(trigger) for trigger in sorted(self._triggers, key=lambda one: one[:2])]
        return [list(self._keys), [list(rows) for rows in self._keys.values()], triggers]

    def _restore(self, own: Any) -> None:
        keys, rows, triggers = own
        self._keys = OrderedDict(zip(keys, rows, strict=True))
        self._rows = sum(map(len, rows))
        self._triggers = [(due, number, key) for due, number, key in triggers]
        self._number = max((trigger[1] for trigger in self._triggers), default=0)
