"""What overran its time is left alone for a while, so that it costs a tenth of the time and not all of it."""

from __future__ import annotations

import time
from typing import Final

REST: Final = 10
"""How many times its time limit something rests that ran into it."""


class Rest:
    """The state of one pattern or program. Inputs of less than half the length of what it overran with may go on: they
    are quicker by far, unless they too overrun and lower the bar."""

    __slots__ = ("_length", "_until")

    def __init__(self) -> None:
        self._until = 0.0
        self._length = 0

    def holds(self, length: int) -> bool:
        """Is an input of this length to be refused now?"""
        return self._until > 0 and length >= self._length and time.monotonic() < self._until

    def begin(self, length: int, limit: float) -> None:
        """It overran ``limit`` seconds with an input of this length."""
        now = time.monotonic()
        half = (length + 1) // 2
        self._length = min(half, self._length) if now < self._until else half
        self._until = now + REST * limit
