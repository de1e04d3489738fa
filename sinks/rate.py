"""How many rows may begin their way in a second: a bucket that fills at a steady rate. Pure; time is an argument."""

from __future__ import annotations

from core.clock import SECOND
from sinks.settings import RateSettings


class Bucket:
    """Full at the beginning. Without settings nothing ever waits."""

    __slots__ = ("_burst", "_per_second", "_rows", "_since")

    def __init__(self, settings: RateSettings | None, now: int) -> None:
        self._per_second = 0.0 if settings is None else settings.rows_per_second
        self._burst = 0.0 if settings is None else float(settings.most)
        self._rows = self._burst
        self._since = now

    def wait(self, rows: int, now: int) -> int:
        """Nanoseconds until so many rows may go, at most a burst; 0: now."""
        if not self._per_second:
            return 0
        self._rows = min(self._rows + max(now - self._since, 0) / SECOND * self._per_second, self._burst)
        self._since = now
        missing = min(rows, self._burst) - self._rows
        # Not less than a microsecond: a wait that rounds to nothing would never end.
        return 0 if missing <= 0 else max(int(missing / self._per_second * SECOND), 1_000)

    def take(self, rows: int) -> None:
        """So many rows go."""
        if self._per_second:
            self._rows -= rows
