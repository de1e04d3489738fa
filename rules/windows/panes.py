"""Tumbling and hopping windows: one state per key and pane, joined into the windows that cover the pane.

A pane (``grid.Cell``) is kept once, however many windows it is part of; a tumbling window is its only pane. The loop
over rows is generated (``loop``) and stays within one pane as long as rows do; only where the time leaves it, it
asks :meth:`PaneOperator._enter`, which also judges lateness, by the watermark of that very row.

A window whose end the watermark has reached waits in a heap until its groups are emitted, at most
``max_groups`` at a time; what is left of it stands in :class:`_Closing`. A pane without a window to come, or
to correct, is forgotten in pieces too. Cost: a row is one update; an emitted group is a merge per pane.

Where aggregates go on from one window to the next (``carried``), a window asks for the last samples before its start:
in the panes that are still kept, in those being forgotten, and in what was carried from others. All of these lie before
it, since no pane is given up before the windows that it is part of.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final

from core.message import Row
from rules.windows.carried import Carried, states_of
from rules.windows.clock import BEGINNING
from rules.windows.grid import Cell, Span, grid
from rules.windows.loop import Start, compile_loop, compile_teller
from rules.windows.operator import WindowOperator
from rules.windows.plan import Emit, Hop, Tumble, WhenFull, WindowPlan

Groups = dict[Any, list[Any]]
_Entry = tuple[int, int, Groups | None, dict[Any, None] | None, int]
_SLAB: Final = 16


class Pane:
    """``groups`` by key in the order of their first row. ``changed``: the keys whose results are to be told anew, by
    the first of the pane's windows that they are told for."""

    __slots__ = ("cell", "changed", "groups", "retires")

    def __init__(self, cell: Cell, lateness: int) -> None:
        self.cell = cell
        self.groups: Groups = {}
        self.changed: dict[int, dict[Any, None]] = {}
        self.retires = cell.windows[-1][1] + lateness if cell.windows else BEGINNING


class _Closing:
    """A window that is being emitted: its panes, the one that is gone through, its keys and how far they are done.

    A key is emitted with the first pane that has it.
    """

    __slots__ = ("keys", "number", "panes", "place", "span")

    def __init__(self, span: Span, panes: list[Pane]) -> None:
        self.span = span
        self.panes = panes
        self.number = -1
        self.keys: list[Any] = []
        self.place = 0

    def has_done(self, key: Any) -> bool:
        first = next((number for number, pane in enumerate(self.panes) if key in pane.groups), len(self.panes))
        return first < self.number or (first == self.number and key in self.keys[: self.place])


class PaneOperator(WindowOperator):
    def __init__(self, plan: WindowPlan) -> None:
        super().__init__(plan)
        assert isinstance(plan.window, Tumble | Hop)  # noqa: S101  build() chose by it
        self._grid = grid(plan.window)
        self._size = plan.window.size
        self._panes: dict[int, Pane] = {}
        self._pending: list[tuple[int, int]] = []  # a heap of (end, start) of windows to emit
        self._known: set[Span] = set()  # ... and the same as a set
        self._retiring: list[tuple[int, int]] = []  # a heap of (time, start) of panes to forget
        self._closing: _Closing | None = None
        self._garbage: list[Groups] = []
        self._changed: dict[int, Pane] = {}
        self._settled: dict[Span, dict[Any, None]] = {}  # keys of windows not told yet that were told before the others
        self._emitted: list[Row] = []
        self._ahead = False  # has a row been told before those of windows that end earlier?
        self._on_change = plan.emit is Emit.ON_CHANGE
        self._lateness = self.clock.lateness
        self._latest = 0
        self._floor = 0
        tracks = self._on_change or self._lateness > 0
        self._tell_pane = compile_teller(self.accumulators, plan.keys, plan.boxed)
        self._run = compile_loop(self.accumulators, plan.limits.max_keys, tracks=tracks)
        self.carried = Carried(self.accumulators, plan.limits, self.counters)

    @property
    def groups(self) -> int:
        return sum(len(pane.groups) for pane in self._panes.values()) + sum(map(len, self._garbage))

    @property
    def windows(self) -> int:
        return len(self._panes)

    @property
    def partial(self) -> tuple[int, int] | None:
        return None if self._closing is None else self._closing.span

    @property
    def bytes(self) -> int:
        return super().bytes + self.carried.bytes

    # Rows

    def _take(self, rows: Sequence[tuple[Any, ...]], now: int, emitted: list[Row]) -> None:
        clock = self.clock
        self._latest = clock.latest(now)
        self._floor = clock.watermark
        self._emitted = emitted
        top = self._run(rows, clock.top, self._latest, self._enter, self._full, self._refuse)
        if rows:
            clock.see(top, now)
        if self._changed:
            self._emit_changes(emitted)
        self._emit_due(emitted)
        if self._ahead:
            self._ahead = False
            end = self.plan.keys + 1
            emitted.sort(key=lambda row: int(row[end]))

    def _enter(self, row: tuple[Any, ...], time: Any, top: int) -> _Entry:
        """The pane of a row that is not in the one at hand: its bounds, its groups, where to note changes, and the
        new top. No groups: the row was rejected."""
        reason = self._timed(time, self._latest)
        if reason is not None:
            self._reject(row, reason)
            return 0, 0, None, None, top
        clock = self.clock
        watermark = max(self._floor, top - clock.delay)
        if clock.clamps:
            time = max(time, watermark)
        top = max(top, time)
        cell = self._grid.cell(time)
        pane = self._panes.get(cell.start) or self._open(cell, watermark)
        if pane is None or pane.retires <= watermark:
            if cell.windows:
                self._reject_late(row, *cell.windows[-1])
            else:
                self._reject(row, "between_windows")
            return 0, 0, None, None, top
        changes = self._changes(pane, watermark)
        if cell.windows[0][1] + self._lateness <= watermark:
            self._settle(pane, row[1], watermark)
            return 0, 0, pane.groups, changes, top  # each row of this pane asks again
        return cell.start, cell.end, pane.groups, changes, top

    def _open(self, cell: Cell, watermark: int) -> Pane | None:
        pane = Pane(cell, self._lateness)
        if pane.retires <= watermark:
            return None
        self._panes[cell.start] = pane
        heapq.heappush(self._retiring, (pane.retires, cell.start))
        if not self._on_change:
            for start, end in cell.windows:
                # A window that is past already, and only waits for corrections, is told as one.
                if end > watermark and (start, end) not in self._known:
                    self._known.add((start, end))
                    heapq.heappush(self._pending, (end, start))
        closing = self._closing
        if closing is not None and closing.span in cell.windows and closing.span[1] + self._lateness > watermark:
            closing.panes.append(pane)  # what is still to be told of the window has its rows
        return pane

    def _changes(self, pane: Pane, watermark: int) -> dict[Any, None] | None:
        """Where keys are noted whose results are to be told anew; None where they are told at the window's end."""
        windows = pane.cell.windows
        if not self._on_change and not (self._lateness and windows[0][1] <= watermark):
            return None
        self._changed[pane.cell.start] = pane
        first = 0
        while windows[first][1] + self._lateness <= watermark:
            first += 1
        return pane.changed.setdefault(first, {})

    def _settle(self, pane: Pane, key: Any, watermark: int) -> None:
        """Some of the pane's windows are past for a row, though they may not have been told: tell the row's key now,
        without the row."""
        for span in pane.cell.windows:
            if span[1] + self._lateness > watermark:
                return
            if key not in self._settled.get(span, ()) and self._untold(span, key):
                self._tell(span, [key], self._emitted)
                self._ahead = True
                self._settled.setdefault(span, {})[key] = None

    def _untold(self, span: Span, key: Any) -> bool:
        if span in self._known:
            return True
        closing = self._closing
        if closing is not None and closing.span == span:
            return not closing.has_done(key)
        return any(
            key in keys and (span in pane.cell.windows[first:] or (self.carried.used and pane.cell.end <= span[0]))
            for pane in self._changed.values()
            for first, keys in pane.changed.items()
        )

    def _full(self, groups: Groups, row: tuple[Any, ...]) -> bool:
        """There are ``max_keys`` keys in the pane: is there room for another one?"""
        closing = self._closing is not None and any(pane.groups is groups for pane in self._closing.panes)
        if self.plan.limits.when_full is WhenFull.DROP_NEW or closing:
            self._reject(row, "keys_full")
            return False
        oldest = list(islice(groups, len(groups) // _SLAB + 1))  # many at once: each pass goes over the gaps before
        for key in oldest:
            del groups[key]
        self.counters.keys_dropped += len(oldest)
        return True

    # Emission

    def _emit_due(self, emitted: list[Row]) -> None:
        watermark = self.clock.watermark
        room = self.max_groups
        while room > 0:
            if self._closing is None:
                if not self._pending or self._pending[0][0] > watermark:
                    break
                end, start = heapq.heappop(self._pending)
                self._known.discard((start, end))
                self._closing = _Closing((start, end), self._panes_of((start, end)))
            room = self._emit_some(self._closing, room, emitted)
        while self._retiring and self._retiring[0][0] <= watermark and room > 0 and self._closing is None:
            if self._pending and self._pending[0][0] <= watermark:
                break
            _, start = heapq.heappop(self._retiring)
            pane = self._panes.pop(start)
            self._changed.pop(start, None)
            self._garbage.append(pane.groups)
        self._forget()

    def _panes_of(self, span: Span) -> list[Pane]:
        start, end = span
        if len(self._panes) == 1 or (start in self._panes and self._panes[start].cell.end == end):
            candidates: Iterable[int] = (start,) if start in self._panes else self._panes
        else:
            candidates = sorted(self._panes)
        return [self._panes[begin] for begin in candidates if start <= begin < end]

    def _emit_some(self, closing: _Closing, room: int, emitted: list[Row]) -> int:
        """Emit up to ``room`` groups of the window; what is left of ``room``."""
        start, end = closing.span
        panes, settled = closing.panes, self._settled.get(closing.span)
        while room > 0:
            if closing.place >= len(closing.keys):
                closing.number += 1
                closing.place = 0
                if closing.number >= len(panes):
                    self._closing = None
                    self._settled.pop(closing.span, None)
                    break
                closing.keys = list(panes[closing.number].groups)
            number = closing.number
            groups = panes[number].groups
            keys = closing.keys[closing.place : closing.place + room]
            closing.place += len(keys)
            room -= len(keys)
            if settled is not None:
                keys = [key for key in keys if key not in settled]
            before = [pane.groups for pane in panes[:number]]
            after = [pane.groups for pane in panes[number + 1 :]]
            self._tell_pane(keys, groups, before, after, start, end, emitted.append, self._start_of(start))
        return room

    def _start_of(self, start: int) -> Start | None:
        """What gives a key's samples from before a window; None where nothing is carried."""
        if not self.carried.used:
            return None
        oldest = start - self.plan.limits.carry
        begins = sorted((begin for begin in self._panes if begin < start), reverse=True)
        kept = [self._panes[begin].groups for begin in begins if self._panes[begin].cell.end > oldest]
        kept += reversed(self._garbage)
        before = self.carried.before
        return lambda key: before(key, start, states_of(key, kept))

    def _emit_changes(self, emitted: list[Row]) -> None:
        """The results anew of what this batch changed; for windows that are emitted, or ``Emit.ON_CHANGE``."""
        watermark = self.clock.watermark
        if self.carried.used:
            self._change_next()
        told: set[tuple[Span, Any]] = set()
        for pane in self._changed.values():
            for first, keys in pane.changed.items():
                for span in pane.cell.windows[first:]:
                    if self._on_change or (span[1] <= watermark and span not in self._known):
                        done = self._settled.get(span, ())
                        self._tell(span, [key for key in keys if (span, key) not in told and key not in done], emitted)
                        told.update((span, key) for key in keys)
            pane.changed.clear()
        self._changed.clear()
        # What is still to be told at its end stays noted until then.
        closing = self._closing.span if self._closing is not None else None
        self._settled = {span: keys for span, keys in self._settled.items() if span in self._known or span == closing}

    def _change_next(self) -> None:
        """Rows that changed a pane may be what the key's next windows go on from: those are told anew too."""
        if len(self._panes) == 1:
            return
        order = sorted(self._panes)
        for start, pane in list(self._changed.items()):
            later = [self._panes[begin] for begin in order[bisect_right(order, start) :]]
            for key in [key for keys in pane.changed.values() for key in keys] if later else ():
                if key not in pane.groups:
                    continue  # given up at max_keys
                having = [other for other in later if key in other.groups]
                reach = self.carried.reach(pane.groups[key], [other.groups[key] for other in having])
                for other in having[:reach]:
                    windows = other.cell.windows
                    first = next((number for number, span in enumerate(windows) if span[0] >= pane.cell.end), None)
                    if first is not None:
                        self._changed[other.cell.start] = other
                        other.changed.setdefault(first, {})[key] = None

    def _tell(self, span: Span, keys: list[Any], emitted: list[Row]) -> None:
        panes = self._panes_of(span)
        begin = self._start_of(span[0])
        for key in keys:
            parts = [pane.groups[key] for pane in panes if key in pane.groups]
            if parts:
                group = parts[0] if len(parts) == 1 else self.accumulators.joined(parts)
                carried = self._none if begin is None else begin(key)
                emitted.append(self._make_row(key, *span, group, carried, *span))

    def _forget(self) -> None:
        """Free some of what is past: a million small lists at once would stall everything."""
        left = self.max_groups * (1 if self.carried.used else 4)
        watermark = self.clock.watermark
        waiting = self._closing is not None or (self._pending and self._pending[0][0] <= watermark)
        if self.carried.used and not waiting:
            self.carried.forget(watermark - self._size - self._lateness, left)
        while self._garbage and left > 0:
            left -= self._forget_some(left)

    def _forget_some(self, most: int) -> int:
        """Free groups of the oldest pane that is past; what its keys carry on is kept, the oldest first."""
        groups = self._garbage[0]
        count = min(most, len(groups))
        if self.carried.used:
            for _ in range(count):
                self.carried.carry(*groups.popitem())
        else:
            for _ in range(count):
                groups.popitem()
        if not groups:
            del self._garbage[0]
        return count

    def _due(self) -> int | None:
        if self._closing is not None or self._garbage:
            return BEGINNING
        times = [heap[0][0] for heap in (self._pending, self._retiring) if heap]
        return self.clock.due(min(times)) if times else None

    # Snapshots

    def _snapshot(self) -> Any:
        while self._garbage and self.carried.used:
            self._forget_some(len(self._garbage[0]))
        closing = self._closing
        at = None
        if closing is not None:
            starts = [pane.cell.start for pane in closing.panes]
            at = [list(closing.span), starts, closing.number, closing.place, len(closing.keys)]
        panes = [
            [*pane.cell[:2], [list(span) for span in pane.cell.windows], list(pane.groups), list(pane.groups.values())]
            for pane in self._panes.values()
        ]
        settled = [[list(span), list(keys)] for span, keys in self._settled.items()]
        return [panes, [list(window) for window in self._pending], at, settled, self.carried.snapshot()]

    def _restore(self, own: Any) -> None:
        panes, pending, at, settled, carried = own
        self.carried.restore(carried)
        self._panes = {}
        for start, end, windows, keys, groups in panes:
            pane = Pane(Cell(start, end, tuple((first, last) for first, last in windows)), self._lateness)
            pane.groups = dict(zip(keys, groups, strict=True))
            self._panes[start] = pane
        self._pending = [(end, start) for end, start in pending]
        self._known = {(start, end) for end, start in self._pending}
        self._retiring = [(pane.retires, start) for start, pane in self._panes.items()]
        heapq.heapify(self._retiring)
        self._garbage, self._changed, self._closing = [], {}, None
        self._settled = {(start, end): dict.fromkeys(keys) for (start, end), keys in settled}
        if at is not None:
            (first, last), starts, number, place, length = at
            closing = _Closing((first, last), [self._panes[start] for start in starts])
            closing.number, closing.place = number, place
            if 0 <= number < len(closing.panes):
                closing.keys = list(islice(closing.panes[number].groups, length))
            self._closing = closing
