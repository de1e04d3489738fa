"""One lookup table as all joins of it share it: answers by key with an age, and the keys that are being asked for.

Pure: whoever owns it (``headrace.lookups``) takes keys with :meth:`LookupTable.take_requests`, asks the far side, and
brings back every one of them with :meth:`LookupTable.resolve`, ``failed`` or ``give_back``. ``now`` is nanoseconds.

Invariants: a key is asked for once at a time, however many rows wait for it; who waits holds its :class:`Pending`, so
an answer that makes way in the cache still reaches them; a request that fails is repeated until its rows' time-out,
and once the far side has not answered for as long as that nobody waits for it any more: rows get the policy at once
while the requests go on, so its return is noticed. Cache and requests are bounded. Tables from files
(``options.is_static``) know everything and ask nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from core.clock import SECOND
from core.message import Row
from rules.joins.keys import Key, weight
from rules.joins.options import LookupOptions
from rules.windows.plan import PlanError

Rows = tuple[Row, ...]
"""All rows of one key; none: there is no such row."""

MAX_KEYS_PER_REQUEST: Final = 500
"""SQLite takes at most 999 parameters, and answers should come often rather than large."""
MAX_ROWS_PER_KEY: Final = 1_000
MAX_KEY_BYTES: Final = 1_024
"""Longer keys are asked for, but their answers are not kept: what devices send must not fill the memory."""
_RETRY: Final = SECOND
"""From a failure to the next request."""


class Pending:
    """A key that is being asked for; ``rows`` is None until it is answered. ``since``: when the first row waited."""

    __slots__ = ("key", "rows", "since")

    def __init__(self, key: Key, since: int) -> None:
        self.key = key
        self.since = since
        self.rows: Rows | None = None


class TableCounters:
    """Since the table was made. ``hits``, ``misses``: questions of joins that the cache answered and that it did not;
    ``requested``: keys that were asked for; ``absent``: answers without a row; ``failed``: keys whose request failed;
    ``evicted``: answers that made way at max_entries; ``rows_left_out``: rows of a key beyond MAX_ROWS_PER_KEY."""

    __slots__ = ("absent", "evicted", "failed", "hits", "misses", "requested", "rows_left_out")

    def __init__(self) -> None:
        self.hits = self.misses = self.requested = self.absent = self.failed = self.evicted = self.rows_left_out = 0


class LookupTable:
    """``width`` is the number of columns of its rows. ``wake``, where somebody sets it, is called when a first key
    waits to be taken."""

    def __init__(self, name: str, options: LookupOptions, width: int) -> None:
        self.name = name
        self.options = options
        self.width = width
        self.wake: Callable[[], None] = _nobody
        self.counters = TableCounters()
        self.last_error: str | None = None
        """Why the last request failed; None once one has succeeded."""
        self._ttl = options.ttl * 1_000
        self._negative_ttl = options.negative_ttl * 1_000
        self._timeout = options.timeout * 1_000
        self._static: Mapping[Key, Rows] | None = {} if options.is_static else None
        self._kept: OrderedDict[Key, tuple[Rows, int]] = OrderedDict()  # rows, and until when they are good
        self._size = 0  # rows that are kept; an answer without one counts as one
        self._pending: dict[Key, Pending] = {}
        self._queue: OrderedDict[Key, None] = OrderedDict()  # those that nobody has taken
        self._in_flight: set[Key] = set()
        self._down_since: int | None = None
        self._retry_at = 0

    # For joins

    def find(self, key: Key, now: int) -> Rows | None:
        """The rows of a key; None: that is not known, :meth:`wait` for it."""
        static = self._static
        if static is not None:
            self.counters.hits += 1
            return static.get(key, ())
        entry = self._kept.get(key)
        if entry is None or entry[1] <= now:
            self.counters.misses += 1
            return None
        self.counters.hits += 1
        self._kept.move_to_end(key)
        return entry[0]

    def wait(self, key: Key, now: int) -> Pending:
        """Have a key asked for, unless it is already. Bounded by the rows that joins keep waiting."""
        pending = self._pending.get(key)
        if pending is None:
            if self._down_since is not None and now - self._retry_at > 2 * self._timeout:
                self._down_since = None  # nobody has asked for long: it may be back
            pending = self._pending[key] = Pending(key, now)
            if key not in self._in_flight:
                self._enqueue(key)
        return pending

    def deadline(self, pending: Pending) -> int:
        """When whoever waits for it must stop to wait."""
        since = pending.since if self._down_since is None else min(pending.since, self._down_since)
        return since + self._timeout

    def give_up(self, pending: Pending) -> Rows | None:
        """Nobody waits for it any more; the old rows, however old, or None where there are none."""
        key = pending.key
        if self._pending.get(key) is pending:
            del self._pending[key]
            # While nothing answers, some keys stay to be tried with.
            if len(self._queue) > MAX_KEYS_PER_REQUEST:
                self._queue.pop(key, None)
        entry = self._kept.get(key)
        return None if entry is None else entry[0]

    # For the owner

    @property
    def next_request(self) -> int | None:
        """From when :meth:`take_requests` has something; None: not before a join asks."""
        return self._retry_at if self._queue else None

    def take_requests(self, now: int) -> list[Key]:
        """Keys to ask for, at most MAX_KEYS_PER_REQUEST. Each comes back by :meth:`resolve` or :meth:`failed`."""
        if now < self._retry_at:
            return []
        taken: list[Key] = []
        while self._queue and len(taken) < MAX_KEYS_PER_REQUEST:
            taken.append(self._queue.popitem(last=False)[0])
        self._in_flight.update(taken)
        self.counters.requested += len(taken)
        return taken

    def resolve(self, answers: Mapping[Key, Sequence[Row]], now: int) -> None:
        """The rows of keys that were taken: all of them, those without rows too."""
        self._down_since = None
        self.last_error = None
        for key, found in answers.items():
            rows = tuple(found[:MAX_ROWS_PER_KEY])
            self.counters.rows_left_out += len(found) - len(rows)
            self.counters.absent += not rows
            self._in_flight.discard(key)
            self._queue.pop(key, None)
            pending = self._pending.pop(key, None)
            if pending is not None:
                pending.rows = rows
            self._keep(key, rows, now + (self._ttl if rows else self._negative_ttl))

    def failed(self, keys: Iterable[Key], reason: str, now: int) -> None:
        """Nothing is known about these keys that were taken; those that rows wait for are asked for again."""
        if self._down_since is None:
            self._down_since = now
        self.last_error = reason
        self._retry_at = now + _RETRY
        for key in keys:
            self.counters.failed += 1
            self._in_flight.discard(key)
            pending = self._pending.get(key)
            if pending is None:
                continue
            if now < self.deadline(pending):
                self._enqueue(key)
            else:  # who waits for it gives up by itself, or has gone with its query
                del self._pending[key]

    def give_back(self, keys: Iterable[Key]) -> None:
        """These keys were taken and not asked for; that says nothing about the far side."""
        for key in keys:
            self._in_flight.discard(key)
            if key in self._pending:
                self._enqueue(key)

    def replace(self, rows: Mapping[Key, Rows]) -> None:
        """The rows of a static table, all at once; PlanError where they are too many."""
        count = sum(map(len, rows.values()))
        if count > self.options.max_entries:
            raise PlanError(f"{count} rows are more than max_entries = {self.options.max_entries}")
        self._static = rows
        self._size = count

    @property
    def entries(self) -> int:
        """Rows that are kept, and answers that there is none."""
        return self._size

    @property
    def waiting(self) -> int:
        """Keys that rows wait for."""
        return len(self._pending)

    @property
    def in_flight(self) -> int:
        """Keys that were taken and have not come back."""
        return len(self._in_flight)

    def _enqueue(self, key: Key) -> None:
        self._queue[key] = None
        if len(self._queue) == 1:
            self.wake()

    def _keep(self, key: Key, rows: Rows, until: int) -> None:
        old = self._kept.pop(key, None)
        if old is not None:
            self._size -= len(old[0]) or 1
        if weight(key) > MAX_KEY_BYTES:
            return
        self._kept[key] = (rows, until)
        self._size += len(rows) or 1
        while self._size > self.options.max_entries:
            _, (gone, _) = self._kept.popitem(last=False)
            self._size -= len(gone) or 1
            self.counters.evicted += 1


def _nobody() -> None:
    """Nobody owns the table yet: what it asks for waits."""


def grouped(rows: Iterable[Row], key_of: Callable[[Sequence[Any]], Key]) -> dict[Key, Rows]:
    """Rows by their key, in their order; a row whose key equals nothing is in none."""
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        key = key_of(row)
        if key is not None:
            groups.setdefault(key, []).append(row)
    return {key: tuple(found) for key, found in groups.items()}
