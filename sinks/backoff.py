"""How long to wait before the next attempt: exponential with full jitter, bounded, at least what was asked for.

Pure arithmetic over integer nanoseconds; who waits, and for what, is the business of its users.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from core.clock import MILLISECOND
from sinks.settings import RetrySettings

# 2^40 times any sensible first pause lies beyond any sensible bound: keeps the power small through long outages.
_MAX_EXPONENT = 40


class Backoff:
    """Pauses after failures in a row: the n-th is random between 0 and ``initial * 2^(n-1)``, at most ``max_delay``.

    Full jitter spreads the attempts of many slots and processes over the whole range, which lets a destination
    that comes back breathe. A pause is never below a millisecond, so that a failing sink cannot spin the loop.
    """

    def __init__(self, settings: RetrySettings, uniform: Callable[[], float] = random.random) -> None:
        self._initial = settings.initial
        self._max_delay = settings.max_delay
        self._uniform = uniform
        self.failures = 0

    def fail(self) -> None:
        self.failures += 1

    def reset(self) -> None:
        self.failures = 0

    def delay(self, retry_after: int | None = None) -> int:
        """Nanoseconds to wait now; ``retry_after`` is the far side's wish and the least."""
        exponent = min(max(self.failures - 1, 0), _MAX_EXPONENT)
        ceiling = min(self._initial << exponent, self._max_delay)
        return max(int(self._uniform() * ceiling), retry_after or 0, MILLISECOND)
