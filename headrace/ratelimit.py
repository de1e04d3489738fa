"""How often a repeated complaint may be said: at once, then at most once per interval with the number kept back.

Pure: ``now`` is an argument. Bounded: at most ``max_keys`` complaints are told apart; beyond that the oldest is
forgotten, which can only make it be said once more. Writing the line is the caller's business.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from core.clock import SECOND

DEFAULT_INTERVAL: Final = 10 * SECOND


class RateLimit:
    """One limit per key, for example (rule, kind of error)."""

    def __init__(self, interval: int = DEFAULT_INTERVAL, *, max_keys: int = 1_000) -> None:
        """``interval`` is in nanoseconds."""
        self._interval = interval
        self._max_keys = max_keys
        self._entries: dict[Hashable, tuple[int, int]] = {}  # key -> (said at, kept back since)

    def allow(self, key: Hashable, now: int) -> int | None:
        """None: keep quiet. Otherwise say it, and that it was kept back this many times since the last line."""
        known = self._entries.get(key)
        if known is None:
            if len(self._entries) >= self._max_keys:
                del self._entries[next(iter(self._entries))]
            self._entries[key] = (now, 0)
            return 0
        said_at, suppressed = known
        if now - said_at < self._interval:
            self._entries[key] = (said_at, suppressed + 1)
            return None
        self._entries[key] = (now, 0)
        return suppressed


def suffix(suppressed: int) -> str:
    """What a line says about those that were kept back; empty for none."""
    return f" ({suppressed} more like this since the last line)" if suppressed else ""
