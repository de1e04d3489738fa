"""Where one sink stands: its state and last error, when to try again, how much to send at a time.

Pure: told about successes and failures, it answers with pauses and a window. Logs once when an outage begins and
once when it ends, never per attempt, and of a destination that comes and goes all the time no more than that in ten
seconds: what lasts is told late rather than never.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from typing import Final

from core.clock import SECOND, Clock
from core.errors import SinkError, Throttled, Unavailable
from sinks.backoff import Backoff
from sinks.settings import RetrySettings

_log = logging.getLogger("headrace.sinks")

_QUIET: Final = 10 * SECOND


class State(enum.Enum):
    """CONNECTING until the sink was opened; then CONNECTED, or UNAVAILABLE since a write failed."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    UNAVAILABLE = "unavailable"
    CLOSED = "closed"


class Health:
    """``since`` (nanoseconds) is when ``state`` began, ``failed_at`` when an attempt last failed (0: never),
    ``outages`` how often failures have begun. ``window`` is how many writes may run at a time: ``limit``,
    halved by every Throttled, then slowly up again.
    """

    def __init__(
        self, name: str, settings: RetrySettings, limit: int, clock: Clock, uniform: Callable[[], float]
    ) -> None:
        self.state = State.CONNECTING
        self.since = clock.now()
        self.last_error: str | None = None
        self.window = limit
        self.outages = 0
        self.failed_at = 0
        self._name = name
        self._timeout = settings.attempt_timeout
        self._limit = limit
        self._clock = clock
        self._streak = 0
        self._backoff = Backoff(settings, uniform)
        self._told = False  # whether the present outage stands in the log
        self._told_at: int | None = None
        self._untold = 0

    def continues(self, other: Health) -> None:
        """Count on from where ``other`` has got to."""
        self.outages, self.failed_at = other.outages, other.failed_at

    def enter(self, state: State) -> None:
        """Be in ``state`` from now on."""
        if state is not self.state:
            self.state = state
            self.since = self._clock.now()

    def failed(self, error: Exception, state: State) -> int:
        """Note a failed attempt, after which ``state`` holds; the nanoseconds to wait before the next one."""
        text = self._describe(error)
        self.failed_at = self._clock.now()
        if self.last_error is None:
            self.outages += 1
            self._told = False
            self._untold += 1
        if not self._told and (self._told_at is None or self.failed_at - self._told_at >= _QUIET):
            self._told, self._told_at = True, self.failed_at
            more = f" (outages since the last line: {self._untold})" if self._untold > 1 else ""
            self._untold = 0
            # What no sink should raise is a defect of it, and of use only with its place.
            defect = None if isinstance(error, SinkError | TimeoutError | OSError) else error
            _log.warning("sink %s is unavailable and is tried again: %s%s", self._name, text, more, exc_info=defect)
        self.enter(state)
        self.last_error = text
        self._backoff.fail()
        if isinstance(error, Throttled):
            self.window = max(self.window // 2, 1)
            self._streak = 0
        return self._backoff.delay(error.retry_after if isinstance(error, Unavailable) else None)

    def succeeded(self) -> None:
        """Note that the far side answered."""
        if self.last_error is not None and self._told:
            _log.info("sink %s is available again, failed attempts: %d", self._name, self._backoff.failures)
        self.enter(State.CONNECTED)
        self.last_error = None
        self._backoff.reset()
        # After Throttled the window opens again by one for each window of successes.
        if self.window < self._limit:
            self._streak += 1
            if self._streak >= self.window:
                self.window += 1
                self._streak = 0

    def pause(self) -> int:
        """The nanoseconds to wait before a first attempt during an outage."""
        return self._backoff.delay()

    def _describe(self, error: Exception) -> str:
        if isinstance(error, SinkError):
            return str(error)
        if isinstance(error, TimeoutError) and not str(error):
            return f"no answer within {self._timeout}"
        return f"{type(error).__name__}: {error}"
