"""The states of one PARTITION BY: found by key, forgotten when their key has been idle for ``state_ttl``.

A state is a flat list: the time of its last row (slot 0, nanoseconds), then the slots of the calls. States live in two
generations. Every ``state_ttl`` a new one begins; a key that has a row moves into it, so what is left in the one before
has been idle for that long and is cleared away in pieces. The loop over rows therefore pays for time with one store.

Invariants: a state whose last row is more than ``state_ttl`` old is never found, whenever it is cleared away; there are
at most ``max_keys`` states, those that wait to be cleared away included.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from rules.analytics.plan import AnalyticLimits
from rules.windows.plan import WhenFull

States = dict[Any, list[Any]]
TOUCHED: Final = 0


class Partitions:
    """``young`` is for the loop over rows; where it has no key the loop calls :meth:`missing`. It is another dict after
    :meth:`turn`."""

    def __init__(self, limits: AnalyticLimits, new: Callable[[], list[Any]]) -> None:
        self._limits = limits
        self._ttl = limits.state_ttl * 1_000
        self._new = new
        self.young: States = {}
        self._old: States = {}
        self._gone: deque[States] = deque()
        self._since = 0
        self.dropped = 0
        """Keys that were given up at max_keys."""
        self.forgotten = 0
        """Keys that had been idle for state_ttl."""

    def __len__(self) -> int:
        return len(self.young) + len(self._old) + sum(map(len, self._gone))

    def missing(self, key: Any, now: int) -> list[Any] | None:
        """The state of a key that ``young`` has not; None where there is no room for it."""
        state = self._old.pop(key, None)
        if state is not None and now - state[TOUCHED] > self._ttl:
            state = None
            self.forgotten += 1
        if state is None:
            if len(self) >= self._limits.max_keys and not self._make_room():
                return None
            state = self._new()
        self.young[key] = state
        return state

    def _make_room(self) -> bool:
        if self.clear(1):
            return True
        if self._limits.when_full is WhenFull.DROP_NEW:
            return False
        wanted = len(self) // 16 + 1
        for states in (self._old, self.young):
            oldest = list(islice(states, wanted))
            for key in oldest:
                del states[key]
            wanted -= len(oldest)
            self.dropped += len(oldest)
        return True

    def turn(self, now: int) -> None:
        """Begin a new generation where it is time to."""
        empty = not (self.young or self._old)
        if empty or now < self._since:  # or the clock was set back
            self._since = now
        elif now - self._since > self._ttl:
            if self._old:
                self._gone.append(self._old)
            self._old, self.young = self.young, {}
            self._since = now

    def clear(self, most: int) -> int:
        """Clear away up to ``most`` states that were forgotten; how many there were."""
        cleared = 0
        while self._gone and cleared < most:
            states = self._gone[0]
            while states and cleared < most:
                states.popitem()
                cleared += 1
            if not states:
                self._gone.popleft()
        self.forgotten += cleared
        return cleared

    @property
    def due(self) -> int | None:
        """When there is something to clear away, nanoseconds; 0 for now."""
        if self._gone:
            return 0
        return self._since + self._ttl + 1 if self.young or self._old else None

    def snapshot(self) -> Any:
        generations = (self._old, self.young)
        return [self._since, [[list(states), list(states.values())] for states in generations]]

    def restore(self, data: Any) -> None:
        self._since, generations = data
        self._old, self.young = (dict(zip(keys, states, strict=True)) for keys, states in generations)
        self._gone.clear()
