"""Session windows: rows of a key that are less than a gap apart. A row may join two sessions into one.

Each key has a short list of open sessions in the order of time, mostly one. A heap holds when sessions end; an entry is
looked at when its time has come, and put back where the session has grown meanwhile. ``max_duration`` cuts the time
into cells: a session never leaves its cell, so the result does not depend on the order of rows.

A session is the list [first time, last time, key, state, end that was emitted]; once it is joined into another one, or
emitted and forgotten, its key is ``_GONE``.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from core.message import Row
from rules.windows.carried import Carried
from rules.windows.clock import BEGINNING, END
from rules.windows.operator import WindowOperator
from rules.windows.plan import Emit, Session, WhenFull, WindowPlan

FIRST, LAST, KEY, STATE, TOLD = range(5)
_GONE: Final = object()
_Session = list[Any]


class SessionOperator(WindowOperator):
    def __init__(self, plan: WindowPlan) -> None:
        super().__init__(plan)
        assert isinstance(plan.window, Session)  # noqa: S101  build() chose by it
        self._gap = plan.window.gap
        self._cell = plan.window.max_duration
        self._lateness = self.clock.lateness
        self._on_change = plan.emit is Emit.ON_CHANGE
        self._keys: dict[Any, list[_Session]] = {}
        self._ends: list[tuple[int, int, _Session]] = []
        self._number = 0  # sessions of equal end are told in the order of their first row
        self._open = 0
        self._changed: dict[int, _Session] = {}  # what is to be told anew after this batch, by identity
        self.carried = Carried(self.accumulators, plan.limits, self.counters)

    @property
    def groups(self) -> int:
        return self._open

    @property
    def windows(self) -> int:
        return self._open

    @property
    def partial(self) -> tuple[int, int] | None:
        if not self._ends or self._ends[0][0] > self.clock.watermark:
            return None
        session = self._ends[0][2]
        return session[FIRST], self._end(session)

    @property
    def bytes(self) -> int:
        return super().bytes + self.carried.bytes

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
            top = max(top, time)
            self._put(row, time, watermark)
        if rows:
            clock.see(top, now)
        if self._changed:
            for session in self._and_next() if self.carried.used else self._changed.values():
                if session[KEY] is not _GONE and (self._on_change or self._end(session) <= clock.watermark):
                    self._tell(session, emitted)
            self._changed.clear()
        self._emit_due(emitted)

    def _put(self, row: tuple[Any, ...], time: int, watermark: int) -> None:
        sessions = self._keys.get(row[1])
        joined = [session for session in sessions if self._touches(session, time)] if sessions else []
        # Sessions that are past for this row, though a later call will emit them, are closed to it.
        joined = [session for session in joined if self._end(session) + self._lateness > watermark]
        if not joined and self._end([time, time]) + self._lateness <= watermark:
            self._reject_late(row, time, self._end([time, time]))
            return
        fresh = None
        if not joined:
            if sessions is not None and len(sessions) >= self.plan.limits.max_rows:
                self._reject(row, "keys_full")
                return
            if sessions is None and len(self._keys) >= self.plan.limits.max_keys and not self._make_room(row):
                return
            fresh = [time, time, row[1], self.accumulators.new(), None]
        session = fresh or joined[0]
        try:
            self.accumulators.add(session[STATE], row)
        except Exception as error:  # noqa: BLE001  whatever a row holds, the others go on
            self._refuse(row, error)
            return
        if fresh is not None:
            self._begin(fresh, sessions)
        session[FIRST] = min(session[FIRST], time)
        session[LAST] = max(session[LAST], time)
        if len(joined) > 1:
            self._join(session, joined[1], sessions or [])
        if self._on_change or (self._lateness and self._end(session) <= watermark):
            self._changed[id(session)] = session

    def _begin(self, session: _Session, sessions: list[_Session] | None) -> None:
        if sessions is None:
            self._keys[session[KEY]] = [session]
        else:
            sessions.append(session)
            sessions.sort(key=lambda one: int(one[FIRST]))
        self._open += 1
        self._number += 1
        heapq.heappush(self._ends, (self._end(session), self._number, session))

    def _join(self, session: _Session, later: _Session, sessions: list[_Session]) -> None:
        """The row closed the gap between two sessions."""
        self.accumulators.merge(session[STATE], later[STATE])
        session[LAST] = max(session[LAST], later[LAST])
        sessions.remove(later)
        later[KEY] = _GONE
        self._open -= 1

    def _touches(self, session: _Session, time: int) -> bool:
        if self._cell is not None and time // self._cell != session[FIRST] // self._cell:
            return False
        return bool(session[FIRST] - self._gap < time < session[LAST] + self._gap)

    def _end(self, session: Sequence[Any]) -> int:
        end: int = session[LAST] + self._gap
        if self._cell is not None:
            end = min(end, (session[FIRST] // self._cell + 1) * self._cell)
        return end

    def _make_room(self, row: tuple[Any, ...]) -> bool:
        """There are ``max_keys`` keys: is there room for another one?"""
        if self.plan.limits.when_full is WhenFull.DROP_NEW:
            self._reject(row, "keys_full")
            return False
        for key in list(islice(self._keys, len(self._keys) // 16 + 1)):
            for session in self._keys.pop(key):
                session[KEY] = _GONE
                self._open -= 1
                self.counters.keys_dropped += 1
        return True

    def _tell(self, session: _Session, emitted: list[Row]) -> None:
        end = session[TOLD] = self._end(session)
        first, key = session[FIRST], session[KEY]
        if not self.carried.used:
            emitted.append(self._row(key, first, end, session[STATE]))
            return
        earlier = reversed([other for other in self._keys[key] if other[FIRST] < first])
        carried = self.carried.before(key, first, (other[STATE] for other in earlier))
        since, until = first, session[LAST]
        if self._cell is not None:
            # A session that was cut goes on over the boundary, other ones begin and end with their rows.
            if any(sample is not None and first - sample[0] < self._gap for sample in carried):
                since = first // self._cell * self._cell
            if end < session[LAST] + self._gap:
                until = end
        emitted.append(self._make_row(key, first, end, session[STATE], carried, since, until))

    def _and_next(self) -> list[_Session]:
        """What was changed, and the sessions that go on from it and were told before."""
        found = dict(self._changed)
        for session in self._changed.values():
            sessions = self._keys.get(session[KEY], ()) if session[KEY] is not _GONE else ()
            later = [other for other in sessions if other[FIRST] > session[FIRST]]
            for other in later[: self.carried.reach(session[STATE], [other[STATE] for other in later])]:
                if other[TOLD] is not None:
                    found[id(other)] = other
        return list(found.values())

    def _emit_due(self, emitted: list[Row]) -> None:
        watermark = self.clock.watermark
        room = self.max_groups
        while self._ends and self._ends[0][0] <= watermark and room > 0:
            due, number, session = heapq.heappop(self._ends)
            if session[KEY] is _GONE:
                continue
            room -= 1
            end = self._end(session)
            if end > due:  # it has grown: others may end before it
                heapq.heappush(self._ends, (end, number, session))
                continue
            if session[TOLD] != end and not self._on_change:
                self._tell(session, emitted)
            if end + self._lateness <= watermark:
                self._drop(session)
            else:
                heapq.heappush(self._ends, (end + self._lateness, number, session))
        if self.carried.used and room > 0:
            self.carried.forget(watermark - self._gap - self._lateness, room)

    def _drop(self, session: _Session) -> None:
        sessions = self._keys[session[KEY]]
        sessions.remove(session)
        if not sessions:
            del self._keys[session[KEY]]
        if self.carried.used:
            self.carried.carry(session[KEY], session[STATE])
        session[KEY] = _GONE
        self._open -= 1

    def _due(self) -> int | None:
        if not self._ends:
            return None
        due = self._ends[0][0]
        return BEGINNING if due <= self.clock.watermark else self.clock.due(min(due, END))

    def _snapshot(self) -> Any:
        sessions = [
            [due, number, *session]
            for due, number, session in sorted(self._ends, key=lambda entry: entry[:2])
            if session[KEY] is not _GONE
        ]
        return [sessions, self.carried.snapshot()]

    def _restore(self, own: Any) -> None:
        self._keys, self._ends, self._changed = {}, [], {}
        entries, carried = own
        self.carried.restore(carried)
        self._open = len(entries)
        self._number = max((entry[1] for entry in entries), default=0)
        for due, number, *session in entries:
            self._ends.append((due, number, session))
            self._keys.setdefault(session[KEY], []).append(session)
        heapq.heapify(self._ends)
        for sessions in self._keys.values():
            sessions.sort(key=lambda one: int(one[FIRST]))
