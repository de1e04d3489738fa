"""Time as one line: integer nanoseconds since the epoch, UTC, never backwards.

Pure code takes ``now`` as an argument; only shells ask a clock. The line is the monotonic clock plus an offset,
so that it is steady between two calls of :meth:`SystemClock.sync`, which follows the wall clock: forward at
once, backward by slowing down. Deadlines and timestamps may therefore share it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

SECOND: Final = 1_000_000_000
MILLISECOND: Final = 1_000_000
MICROSECOND: Final = 1_000


class Clock(Protocol):
    """Anything with a ``now()`` in nanoseconds since the epoch that never goes backwards."""

    def now(self) -> int: ...


class SystemClock:
    """The machine's time. Call :meth:`sync` now and then (seconds) to follow corrections of the wall clock."""

    def __init__(
        self, wall: Callable[[], int] = time.time_ns, monotonic: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._synced_at = monotonic()
        self._offset = wall() - self._synced_at

    def now(self) -> int:
        return self._monotonic() + self._offset

    def sync(self) -> int:
        """Follow the wall clock and return the nanoseconds that the line was moved by.

        Backward, the line gives up at most a tenth of the time since the last call: it slows down, it never
        turns round.
        """
        ticks = self._monotonic()
        error = self._wall() - (ticks + self._offset)
        step = error if error > 0 else max(error, -((ticks - self._synced_at) // 10))
        self._synced_at = ticks
        self._offset += step
        return step


class ManualClock:
    """A clock for tests and replays: it stands until :meth:`advance` moves it."""

    def __init__(self, now: int = 0) -> None:
        self._now = now

    def now(self) -> int:
        return self._now

    def advance(self, nanoseconds: int) -> int:
        """Move forward by ``nanoseconds`` (not negative: ValueError) and return the new time."""
        if nanoseconds < 0:
            raise ValueError("time does not go backwards")
        self._now += nanoseconds
        return self._now
