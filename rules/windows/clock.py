"""How far time has come: the watermark of one stream. A row whose window ends at or before it is late.

In event time the watermark is the greatest event time less the delay. While the source is idle (no row for
``idle_timeout``) it goes on with the clock, from the row that was the latest: devices that fall silent still get their
last window. In processing time it is the clock itself. It never goes back. A clock that is set back starts a
pause anew; one that is set forward looks like a long pause.

Times are microseconds. ``top`` is kept by the loop over rows (it is one comparison there) and handed in.
"""

from __future__ import annotations

from typing import Any, Final

from rules.windows.plan import EventTime, ProcessingTime, Timing

BEGINNING: Final = -(1 << 62)
"""Before every time."""
END: Final = 1 << 62
"""After every time: the watermark of a stream that has ended."""


def deadline(due: int | None) -> int | None:
    """What is due at this time of a watermark, as an operator tells it: nanoseconds, 0 for now, None for never."""
    if due is None or due >= END:
        return None
    return 0 if due <= BEGINNING else due * 1_000


class Clock:
    """The watermark. ``clamps``: no row is late; it counts at the watermark instead."""

    def __init__(self, timing: Timing) -> None:
        self.clamps = isinstance(timing, ProcessingTime)
        event = timing if isinstance(timing, EventTime) else EventTime(max_ahead=None)
        self.delay = event.delay
        self.lateness = event.allowed_lateness
        self._idle_timeout = event.idle_timeout
        self._max_ahead = event.max_ahead
        self.top = BEGINNING
        self.watermark = BEGINNING
        self._top_at = 0  # when ``top`` last rose
        self._row_at = 0  # when the last row came

    def latest(self, now: int) -> int:
        """The last event time that is believed at ``now``."""
        return END if self._max_ahead is None else now + self._max_ahead

    def see(self, top: int, now: int) -> None:
        """Rows came until ``now``, ``top`` was their greatest time (or an older one's)."""
        if top > self.top:
            self.top = top
            self._top_at = now
        self._row_at = now
        self.tick(now)

    def tick(self, now: int) -> None:
        """It is ``now``."""
        if self.clamps:
            self._rise(max(self.top, now))
            return
        if self.top == BEGINNING:
            return
        if now < self._row_at:  # the clock was set back: begin to wait again
            self._row_at = now
        if now < self._top_at:
            self._top_at = now
        passed = now - self._top_at if self._idle(now) else 0
        self._rise(self.top - self.delay + passed)

    def end(self) -> None:
        self.watermark = END

    def due(self, time: int) -> int | None:
        """When the watermark will have reached ``time`` if no row comes; None: never."""
        if self.clamps:
            return time
        if self.watermark >= time:
            return BEGINNING
        if self._idle_timeout is None or self.top == BEGINNING:
            return None
        return max(self._row_at + self._idle_timeout, self._top_at + time - self.top + self.delay)

    @property
    def idle_from(self) -> int | None:
        """From when on the watermark goes with the clock if no row comes; None: it does not."""
        if self._idle_timeout is None or self.top == BEGINNING or self.watermark == END:
            return None
        return self._row_at + self._idle_timeout

    def _idle(self, now: int) -> bool:
        return self._idle_timeout is not None and now - self._row_at >= self._idle_timeout

    def _rise(self, watermark: int) -> None:
        if watermark > self.watermark:
            self.watermark = watermark

    def snapshot(self) -> list[Any]:
        return [self.top, self.watermark, self._top_at, self._row_at]

    def restore(self, state: list[Any]) -> None:
        self.top, self.watermark, self._top_at, self._row_at = state
