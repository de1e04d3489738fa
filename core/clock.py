"""Time as one line: integer nanoseconds since the epoch, UTC, never backwards.

Pure code takes ``now`` as an argument; only shells ask a clock. The line runs with the monotonic clock and follows
the wall clock at every :meth:`SystemClock.sync`: forward at once, backward by slowing down. Deadlines and
timestamps may therefore share it.
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
        self._base = wall()
        self._ahead = 0  # what the line has to lose since then

    def now(self) -> int:
        return self._at(self._monotonic())

    def _at(self, ticks: int) -> int:
        elapsed = ticks - self._synced_at
        return self._base + elapsed - min(elapsed // 10, self._ahead)

    def sync(self) -> int:
        """Follow the wall clock and return by how many nanoseconds it differed from the line.

        Where the wall clock is ahead (positive) the line jumps to it; where it is behind (negative) the line runs at
        nine tenths of its pace until it has fallen back: it slows down, it never turns round.
        """
        ticks = self._monotonic()
        here = self._at(ticks)
        error = self._wall() - here
        self._synced_at = ticks
        self._base = here + max(error, 0)
        self._ahead = max(-error, 0)
        return error


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
