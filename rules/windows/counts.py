"""Windows by rows instead of time: COUNT_WINDOW and STATE_WINDOW, each key for itself, in the order of arrival.

The watermark plays no part: a row is never late. Both boundaries are times of rows, the earliest and the latest one
within. A key without an open window takes no memory; one that gets no row for ``Limits.idle_keys`` of the clock loses
what is open of it, counted as ``keys_idle``: fewer rows than were asked for, or a state that nobody saw end, would be
no result.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from core.message import Row
from rules.windows.clock import END
from rules.windows.operator import WindowOperator
from rules.windows.plan import Count, State, WhenFull, WindowPlan, greatest_common_divisor

Part = list[Any]
"""[when the last row came, rows, earliest time, latest time, state]: some rows in a row."""
SEEN, ROWS, FROM, UNTIL, STATE = range(5)
PARTS: Final = 2


class _ByRows(WindowOperator):
    """``_keys`` maps a key to what is open of it, a list whose item :data:`SEEN` says when its last row came. The key
    whose row came last is last."""

    def __init__(self, plan: WindowPlan) -> None:
        super().__init__(plan)
        self._keys: OrderedDict[Any, list[Any]] = OrderedDict()
        self._idle_keys = plan.limits.idle_keys
        self._now = 0

    @property
    def windows(self) -> int:
        return len(self._keys)

    def _take(self, rows: Sequence[tuple[Any, ...]], now: int, emitted: list[Row]) -> None:
        self._now = now
        latest = self.clock.latest(now)
        for row in rows:
            reason = self._timed(row[0], latest)
            if reason is not None:
                self._reject(row, reason)
                continue
            try:
                self._put(row, emitted)
            except Exception as error:  # noqa: BLE001  whatever a row holds, the others go on
                self._refuse(row, error)
        self._forget_idle(now)

    def advance(self, now: int) -> list[Row]:
        self._forget_idle(now // 1_000)
        return super().advance(now)

    def _forget_idle(self, now: int) -> None:
        """Give up keys that have been silent for too long, a bounded number at once."""
        if self._idle_keys is None:
            return
        keys, oldest = self._keys, now - self._idle_keys
        for _ in range(self.max_groups):
            key = next(iter(keys), None)
            if key not in keys or keys[key][SEEN] > oldest:
                return
            del keys[key]
            self.counters.keys_idle += 1

    def _saw(self, key: Any, entry: list[Any]) -> None:
        """A row of the key has been taken in."""
        entry[SEEN] = self._now
        self._keys.move_to_end(key)

    @abstractmethod
    def _put(self, row: tuple[Any, ...], emitted: list[Row]) -> None:
        """Take one row in; where it raises, nothing has changed."""

    def _has_room(self, row: tuple[Any, ...]) -> bool:
        """May a key be added?"""
        if len(self._keys) < self.plan.limits.max_keys:
            return True
        if self.plan.limits.when_full is WhenFull.DROP_NEW:
            self._reject(row, "keys_full")
            return False
        oldest = list(islice(self._keys, len(self._keys) // 16 + 1))
        for key in oldest:
            del self._keys[key]
        self.counters.keys_dropped += len(oldest)
        return True

    def _part_with(self, row: tuple[Any, ...]) -> Part:
        """A part of one row."""
        state = self.accumulators.new()
        self.accumulators.add(state, row)
        return [self._now, 1, row[0], row[0], state]

    def _extend(self, part: Part, row: tuple[Any, ...]) -> None:
        self.accumulators.add(part[STATE], row)
        part[ROWS] += 1
        part[FROM] = min(part[FROM], row[0])
        part[UNTIL] = max(part[UNTIL], row[0])

    def _emit_due(self, emitted: list[Row]) -> None:
        """Nothing waits for time."""

    def _due(self) -> int | None:
        if self._idle_keys is None or not self._keys or self.clock.watermark == END:
            return None
        seen: int = next(iter(self._keys.values()))[SEEN]
        return seen + self._idle_keys

    def _snapshot(self) -> Any:
        return [list(self._keys), list(self._keys.values())]

    def _restore(self, own: Any) -> None:
        keys, values = own
        self._keys = OrderedDict(zip(keys, values, strict=True))


class CountOperator(_ByRows):
    """The last ``size`` rows after every ``every`` rows. Rows are kept in parts of as many as both are multiples of,
    so a window that follows its predecessor without overlap is one state, and others join ``size / part`` of them.

    A key's value is [when its last row came, rows since it began, parts].
    """

    def __init__(self, plan: WindowPlan) -> None:
        super().__init__(plan)
        assert isinstance(plan.window, Count)  # noqa: S101  build() chose by it
        self._size = plan.window.size
        self._every = plan.window.every
        self._unit = greatest_common_divisor(self._size, self._every)
        self._parts = self._size // self._unit

    @property
    def groups(self) -> int:
        return sum(len(entry[PARTS]) for entry in self._keys.values())

    def _put(self, row: tuple[Any, ...], emitted: list[Row]) -> None:
        key = row[1]
        entry = self._keys.get(key)
        if entry is None:
            part = self._part_with(row)
            if not self._has_room(row):
                return
            entry = self._keys[key] = [self._now, 0, [part]]
        else:
            parts = entry[PARTS]
            if parts and parts[-1][ROWS] < self._unit:
                self._extend(parts[-1], row)
            else:
                parts.append(self._part_with(row))
                del parts[: -self._parts]
            self._saw(key, entry)
        entry[ROWS] += 1
        if entry[ROWS] % self._every or entry[ROWS] < self._size:
            return
        parts = entry[PARTS]
        state = parts[0][STATE] if len(parts) == 1 else self.accumulators.joined([part[STATE] for part in parts])
        start = min(part[FROM] for part in parts)
        emitted.append(self._row(key, start, max(part[UNTIL] for part in parts), state))
        if self._every == self._size:
            del self._keys[key]


class StateOperator(_ByRows):
    """From a row that begins to a row that ends, see ``plan.State``. A key's value is one part."""

    def __init__(self, plan: WindowPlan) -> None:
        super().__init__(plan)
        assert isinstance(plan.window, State)  # noqa: S101  build() chose by it
        self._begin = plan.window.begin
        self._emit = plan.window.emit

    @property
    def groups(self) -> int:
        return len(self._keys)

    def _put(self, row: tuple[Any, ...], emitted: list[Row]) -> None:
        key = row[1]
        part = self._keys.get(key)
        begins = row[self._begin] is True
        if part is None:
            if begins:
                part = self._part_with(row)
                if self._has_room(row):
                    self._keys[key] = part
            return
        if self._emit is None and begins:
            fresh = self._part_with(row)
            self._tell(key, part, max(part[UNTIL], row[0]), emitted)
            self._keys[key] = fresh
            self._saw(key, fresh)
            return
        self._extend(part, row)
        self._saw(key, part)
        if self._emit is not None and row[self._emit] is True:
            self._tell(key, part, part[UNTIL], emitted)
            del self._keys[key]

    def _tell(self, key: Any, part: Part, end: int, emitted: list[Row]) -> None:
        emitted.append(self._row(key, part[FROM], end, part[STATE]))
