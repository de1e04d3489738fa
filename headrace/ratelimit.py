"""How often a repeated complaint may be said: at once, then at most once per interval with the number kept back.

Pure: ``now`` is an argument. Bounded: at most ``max_keys`` complaints are told apart; beyond that the oldest is
forgotten, which can only make it be said once more. All complaints together are at most ``max_lines`` per interval:
a thousand rules that fail on every message are not a thousand lines. Writing the line is the caller's business.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from core.clock import SECOND

DEFAULT_INTERVAL: Final = 10 * SECOND


class RateLimit:
    """One limit per key, for example (rule, kind of error)."""

    def __init__(self, interval: int = DEFAULT_INTERVAL, *, max_keys: int = 1_000, max_lines: int = 50) -> None:
        """``interval`` is in nanoseconds."""
        self._interval = interval
        self._max_keys = max_keys
        self._max_lines = max_lines
        self._began = 0
        self._said = 0
        self._entries: dict[Hashable, tuple[int | None, int]] = {}  # key -> (said at, kept back since)

    def allow(self, key: Hashable, now: int) -> int | None:
        """None: keep quiet. Otherwise say it, and that it was kept back this many times since the last line."""
        said_at, suppressed = self._entries.get(key, (None, 0))
        if (said_at is not None and now - said_at < self._interval) or not self._may_say(now):
            self._note(key, said_at, suppressed + 1)
            return None
        self._note(key, now, 0)
        self._said += 1
        return suppressed

    def _may_say(self, now: int) -> bool:
        if now - self._began >= self._interval:
            self._began = now
            self._said = 0
        return self._said < self._max_lines

    def _note(self, key: Hashable, said_at: int | None, suppressed: int) -> None:
        if key not in self._entries and len(self._entries) >= self._max_keys:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (said_at, suppressed)


def suffix(suppressed: int) -> str:
    """What a line says about those that were kept back; empty for none."""
    return f" ({suppressed} more like this since the last line)" if suppressed else ""
