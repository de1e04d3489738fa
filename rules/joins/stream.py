"""Two streams joined by equal keys and near times: a hash join whose memory is what may still find a partner.

Each side keeps its rows by key, in the order of time, until the other side's watermark says that no partner can come
any more; a LEFT JOIN then emits a left row that found none. Pairs come out as soon as both rows are there. In one
window: both times lie in the same tumbling window, instead of a distance between them.

Invariants: the result does not depend on how the streams are cut into calls, nor on which side is first, as far as no
row is late on its own side; the rows that are kept are at most ``max_rows`` per side, the ones that would be forgotten
first make way and are counted; no row makes it raise. Times within are microseconds, ``now`` is nanoseconds.
"""

from __future__ import annotations

import hashlib
import heapq
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final

from core.message import Row
from rules.joins.keys import Key, key_reader
from rules.operators import explained
from rules.windows import state
from rules.windows.clock import END, Clock, deadline
from rules.windows.grid import grid
from rules.windows.operator import Rejected
from rules.windows.plan import PlanError, ProcessingTime, Timing, Tumble

MAX_ROWS_PER_CALL: Final = 2_000
"""Rows that one call forgets: a bound on how long it takes."""
MAX_MATCHES: Final = 10_000
"""Pairs that one row may make."""

Condition = Callable[[Row], Any]


@dataclass(frozen=True, slots=True)
class Side:
    """One input: ``key`` and ``time`` are places in its rows, which have ``width`` columns."""

    key: tuple[int, ...]
    time: int
    width: int
    timing: Timing = field(default_factory=ProcessingTime)


@dataclass(frozen=True, slots=True)
class Bounds:
    """``right time - left time`` lies in ``[low, high]``."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """``max_rows``: rows that each side keeps."""

    max_rows: int = 1_000_000


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """``near``: how near the times of two rows must be. ``outer``: a LEFT JOIN. ``on``: what else ON asks for, of a
    joined row; only True is a match. ``identity`` stands for the text of both queries before the join and of ON."""

    left: Side
    right: Side
    near: Bounds | Tumble
    outer: bool = False
    on: Condition | None = field(default=None, compare=False)
    limits: StreamLimits = StreamLimits()
    identity: str = ""

    def __post_init__(self) -> None:
        if len(self.left.key) != len(self.right.key):
            raise PlanError("both sides of a join have a key of as many columns")
        if isinstance(self.near, Bounds) and self.near.low > self.near.high:
            raise PlanError("the time bounds of this join exclude all rows: the lower one is above the upper one")
        if isinstance(self.near, Tumble) and self.near.size < 1:
            raise PlanError("the size of a window must be greater than zero")
        if self.limits.max_rows < 1:
            raise PlanError("max_rows must be at least 1")
        for side in (self.left, self.right):
            for place in (*side.key, side.time):
                if not 0 <= place < side.width:
                    raise PlanError(f"place {place} is outside of the row's values (0 to {side.width - 1})")

    @property
    def fingerprint(self) -> str:
        """The same for plans whose states have the same meaning; limits and delays may differ."""
        sides = [(side.key, side.time, side.width, type(side.timing).__name__) for side in (self.left, self.right)]
        parts = ("stream join", sides, self.near, self.outer, self.identity)
        return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


class StreamCounters:
    """Rows since the join was made. ``late``, ``no_time``, ``ahead``, ``bad_condition``, ``too_many_matches`` are
    rejected rows. ``null_key``: rows that equal nothing; ``no_match``: left rows that a LEFT JOIN filled with nulls;
    ``rows_dropped``: rows that made way at max_rows and find no further partner."""

    __slots__ = (
        "ahead",
        "bad_condition",
        "emitted",
        "late",
        "no_match",
        "no_time",
        "null_key",
        "rows",
        "rows_dropped",
        "too_many_matches",
    )

    def __init__(self) -> None:
        self.rows = self.emitted = self.no_match = self.null_key = self.rows_dropped = 0
        self.late = self.no_time = self.ahead = self.bad_condition = self.too_many_matches = 0


Entry = list[Any]
"""[time, last time of a partner, number, row, has it found one, key]"""
TIME, UNTIL, NUMBER, ROW, MATCHED, KEY = range(6)
_TIME: Final = itemgetter(TIME)
_RANK: Final = itemgetter(UNTIL, TIME, NUMBER)


class _Bucket:
    """The rows of one key in the order of time; the first ``gone`` of them are forgotten already."""

    __slots__ = ("entries", "gone")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.gone = 0


class _Order:
    """The rows of one side by the time at which they are forgotten. Most come in the order of their time and wait in a
    queue; those that do not, in a heap."""

    def __init__(self) -> None:
        self._queue: deque[Entry] = deque()
        self._heap: list[tuple[int, int, int, Entry]] = []

    def __len__(self) -> int:
        return len(self._queue) + len(self._heap)

    def __iter__(self) -> Iterator[Entry]:
        """In the order in which they are forgotten."""
        return heapq.merge(self._queue, [entry for *_, entry in sorted(self._heap)], key=_RANK)

    def clear(self) -> None:
        self._queue.clear()
        self._heap.clear()

    def add(self, entry: Entry) -> None:
        queue = self._queue
        if not queue or queue[-1][TIME] <= entry[TIME]:
            queue.append(entry)
        else:
            heapq.heappush(self._heap, (entry[UNTIL], entry[TIME], entry[NUMBER], entry))

    @property
    def first(self) -> Entry:
        """There has to be one."""
        queue, heap = self._queue, self._heap
        return queue[0] if not heap or (queue and _RANK(queue[0]) < heap[0][:3]) else heap[0][3]

    def pop(self, before: int = END) -> Entry | None:
        """The first one, if it is forgotten before that time."""
        queue, heap = self._queue, self._heap
        if not heap or (queue and _RANK(queue[0]) < heap[0][:3]):
            return queue.popleft() if queue and queue[0][UNTIL] < before else None
        return heapq.heappop(heap)[3] if heap[0][0] < before else None


class _Half:
    """What the join knows of one side. ``span(time)``: first and last time of a partner."""

    def __init__(self, side: Side, span: Callable[[int], tuple[int, int]]) -> None:
        self.side = side
        self.span = span
        self.key_of = key_reader(side.key)
        self.clock = Clock(side.timing)
        self.began: list[int] | None = None  # time and arrival of the first row
        self.buckets: dict[Key, _Bucket] = {}
        self.order = _Order()

    def keep(self, entry: Entry) -> None:
        bucket = self.buckets.get(entry[KEY])
        if bucket is None:
            bucket = self.buckets[entry[KEY]] = _Bucket()
        entries = bucket.entries
        if not entries or entries[-1][TIME] <= entry[TIME]:
            entries.append(entry)
        else:
            insort(entries, entry, lo=bucket.gone, key=_TIME)
        self.order.add(entry)

    def partners(self, key: Key, first: int, last: int) -> list[Entry]:
        """Rows of a key between two times, both included."""
        bucket = self.buckets.get(key)
        if bucket is None:
            return []
        entries = bucket.entries
        if entries[bucket.gone][TIME] >= first and entries[-1][TIME] <= last:
            return entries[bucket.gone :]
        start = bisect_left(entries, first, lo=bucket.gone, key=_TIME)
        end = bisect_left(entries, last + 1, lo=start, key=_TIME)
        return entries[start:end]

    def forget(self, before: int = END) -> Entry | None:
        """The row whose time for a partner ends first, if it does so before then. It is the first of its key, too."""
        entry = self.order.pop(before)
        if entry is None:
            return None
        bucket = self.buckets[entry[KEY]]
        bucket.gone += 1
        if bucket.gone == len(bucket.entries):
            del self.buckets[entry[KEY]]
        elif bucket.gone > 32 and bucket.gone * 2 > len(bucket.entries):
            del bucket.entries[: bucket.gone]
            bucket.gone = 0
        return entry


class StreamJoin:
    """An operator with two inputs; otherwise as those of ``rules.windows``."""

    def __init__(self, plan: StreamPlan) -> None:
        self.plan = plan
        self.max_forgotten = MAX_ROWS_PER_CALL
        self.counters = StreamCounters()
        to_right, to_left = _spans(plan.near)
        self._left = _Half(plan.left, to_right)
        self._right = _Half(plan.right, to_left)
        self._nulls = (None,) * plan.right.width
        self._number = 0
        self._rejected: list[Rejected] = []

    @property
    def rows(self) -> int:
        """Rows that both sides keep."""
        return len(self._left.order) + len(self._right.order)

    @property
    def watermark(self) -> int:
        """No row with an earlier time on its left side comes out any more; microseconds."""
        kept = self._left.order
        own = self._left.clock.watermark
        return min(own, kept.first[TIME]) if kept else own

    def process_left(self, rows: Sequence[Row], now: int) -> list[Row]:
        return self._process(self._left, self._right, rows, now // 1_000)

    def process_right(self, rows: Sequence[Row], now: int) -> list[Row]:
        return self._process(self._right, self._left, rows, now // 1_000)

    def observe_left(self, top: int, now: int) -> list[Row]:
        """The left side has come to the time ``top`` by rows that are not for the join."""
        return self._observe(self._left, top, now // 1_000)

    def observe_right(self, top: int, now: int) -> list[Row]:
        return self._observe(self._right, top, now // 1_000)

    @property
    def ticking(self) -> bool:
        """Does the watermark go on by itself when rows stay away?"""
        halves = (self._left, self._right)
        return any(_silence(half) is not None for half in halves) and any(half.began is not None for half in halves)

    def advance(self, now: int) -> list[Row]:
        """What time made due, or a part of it: see ``next_deadline``."""
        emitted: list[Row] = []
        self._tick(now // 1_000)
        self._forget(emitted)
        self.counters.emitted += len(emitted)
        return emitted

    def finish(self, now: int) -> list[Row]:
        """Both streams have ended; call again while ``next_deadline`` is not None. Rows that come after it are late."""
        del now
        self._left.clock.end()
        self._right.clock.end()
        emitted: list[Row] = []
        self._forget(emitted)
        self.counters.emitted += len(emitted)
        return emitted

    @property
    def next_deadline(self) -> int | None:
        """When :meth:`advance` has something to do, nanoseconds, 0 for now; None: not before there are rows."""
        dues = [self._due(self._left, self._right), self._due(self._right, self._left)]
        return deadline(min((due for due in dues if due is not None), default=None))

    def take_rejected(self) -> list[Rejected]:
        """Rows that were of no use since the last call: see ``counters``. A right row comes as it is, as a left one."""
        rejected, self._rejected = self._rejected, []
        return rejected

    def snapshot(self) -> bytes:
        halves = [
            [half.clock.snapshot(), half.began, [entry[TIME:KEY] for entry in half.order]]
            for half in (self._left, self._right)
        ]
        rejected = [tuple(entry) for entry in self._rejected]
        return state.dump([*halves, rejected, self._number], self.plan.fingerprint)

    def restore(self, data: bytes) -> None:
        """Take over a snapshot; SnapshotError leaves the join as it is."""
        left, right, rejected, self._number = state.load(data, self.plan.fingerprint)
        for half, (clock, began, entries) in ((self._left, left), (self._right, right)):
            half.clock.restore(clock)
            half.began = began
            half.buckets.clear()
            half.order.clear()
            for entry in entries:
                half.keep([*entry, half.key_of(entry[ROW])])
        self._rejected = [Rejected(*entry) for entry in rejected]

    @property
    def bytes(self) -> int:
        """An estimate of the memory that the rows take; long values come on top."""
        return sum(len(half.order) * (360 + 32 * half.side.width) for half in (self._left, self._right))

    # Rows

    def _process(self, own: _Half, other: _Half, rows: Sequence[Row], now: int) -> list[Row]:
        emitted: list[Row] = []
        self.counters.rows += len(rows)
        clock = own.clock
        latest = clock.latest(now)
        top, floor = clock.top, clock.watermark
        place = own.side.time
        for row in rows:
            time = row[place]
            if type(time) is not int:
                self._reject(row, "no_time")
                continue
            if time > latest:
                self._reject(row, "ahead")
                continue
            watermark = max(floor, top - clock.delay)
            if time < watermark:
                if not clock.clamps:
                    self._reject(row, "late")
                    continue
                time = watermark
            top = max(top, time)
            if own.began is None:
                own.began = [time, now]
            self._put(own, other, row, time, emitted)
        if rows:
            clock.see(top, now)
        self._tick(now)
        self._forget(emitted)
        self.counters.emitted += len(emitted)
        return emitted

    def _observe(self, own: _Half, top: int, now: int) -> list[Row]:
        emitted: list[Row] = []
        if own.began is None:
            own.began = [top, now]
        own.clock.see(top, now)
        self._tick(now)
        self._forget(emitted)
        self.counters.emitted += len(emitted)
        return emitted

    def _put(self, own: _Half, other: _Half, row: Row, time: int, emitted: list[Row]) -> None:
        key = own.key_of(row)
        if key is None:
            self.counters.null_key += 1
            if self.plan.outer and own is self._left:
                emitted.append(row + self._nulls)
            return
        first, last = own.span(time)
        partners = other.partners(key, first, last)
        if len(partners) > MAX_MATCHES:
            self._reject(row, "too_many_matches", f"more than {MAX_MATCHES} rows match this one")
            return
        try:
            pairs = self._pairs(own, row, partners)
        except Exception as error:  # noqa: BLE001  whatever a row holds, the others go on
            self._reject(row, "bad_condition", str(explained(error)))
            return
        for partner, pair in pairs:
            partner[MATCHED] = True
            emitted.append(pair)
        self._number += 1
        own.keep([time, last, self._number, row, bool(pairs), key])
        if len(own.order) > self.plan.limits.max_rows:
            self.counters.rows_dropped += 1
            if (entry := own.forget()) is not None:
                self._tell_alone(own, entry, emitted)

    def _pairs(self, own: _Half, row: Row, partners: list[Entry]) -> list[tuple[Entry, Row]]:
        if own is self._left:
            pairs = [(partner, row + partner[ROW]) for partner in partners]
        else:
            pairs = [(partner, partner[ROW] + row) for partner in partners]
        on = self.plan.on
        return pairs if on is None else [pair for pair in pairs if on(pair[1]) is True]

    def _tell_alone(self, half: _Half, entry: Entry, emitted: list[Row]) -> None:
        """A row is forgotten: a left one without a partner is a result of a LEFT JOIN."""
        if self.plan.outer and half is self._left and not entry[MATCHED]:
            self.counters.no_match += 1
            emitted.append(entry[ROW] + self._nulls)

    def _reject(self, row: Row, reason: str, error: str = "") -> None:
        setattr(self.counters, reason, getattr(self.counters, reason) + 1)
        self._rejected.append(Rejected(row, reason, error))

    # Time

    def _tick(self, now: int) -> None:
        for own, other in ((self._left, self._right), (self._right, self._left)):
            wait = _silence(own)
            if own.began is None and other.began is not None and wait is not None and now >= other.began[1] + wait:
                # A side that never had a row is idle since the other one has had some.
                own.began = other.began
                own.clock.see(*other.began)
            own.clock.tick(now)

    def _forget(self, emitted: list[Row]) -> None:
        room = self.max_forgotten
        for own, other in ((self._left, self._right), (self._right, self._left)):
            watermark = other.clock.watermark
            while room > 0 and (entry := own.forget(watermark)) is not None:
                room -= 1
                self._tell_alone(own, entry, emitted)

    def _due(self, own: _Half, other: _Half) -> int | None:
        """When a row of ``own`` can be forgotten; BEGINNING: now."""
        if not own.order:
            return None
        until = own.order.first[UNTIL]
        if other.began is None:
            wait = _silence(other)
            if wait is not None and own.began is not None:
                return own.began[1] + wait
        return other.clock.due(min(until + 1, END))


def _silence(half: _Half) -> int | None:
    """How long a side that never had a row is waited for; None: for ever, or its watermark needs no rows."""
    timing = half.side.timing
    return None if isinstance(timing, ProcessingTime) else timing.idle_timeout


def _spans(near: Bounds | Tumble) -> tuple[Callable[[int], tuple[int, int]], Callable[[int], tuple[int, int]]]:
    """The times of partners, for a left row and for a right one."""
    if isinstance(near, Bounds):
        low, high = near.low, near.high
        return (lambda time: (time + low, time + high)), (lambda time: (time - high, time - low))
    cell = grid(near).cell

    def window(time: int) -> tuple[int, int]:
        start, end, _ = cell(time)
        return start, end - 1

    return window, window
