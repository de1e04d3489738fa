"""Which windows a time belongs to, where windows lie on a grid: tumbling and hopping ones. No state.

A grid has *panes*, the parts between neighbouring boundaries of any window; a pane is kept once and joined into every
window that covers it. Without a time zone boundaries are ``k * unit + offset`` since the epoch. With one they are
those local times, so a day has 23 or 25 hours where clocks change. Of a local time that occurs twice the first one is
the boundary for windows of days; for shorter ones both are. A local time that is skipped is the instant after the gap.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from rules.windows.plan import DAY, Hop, Tumble, greatest_common_divisor

Span = tuple[int, int]
"""Start and end, half open."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  local times of a zone are naive on purpose
_QUARTER: Final = 15 * 60_000_000
_LONGEST_SHIFT: Final = 26 * 3_600_000_000  # a zone that changes sides of the date line
CLOCK_CHANGE: Final = 3 * 3_600_000_000
"""By so much a day may be longer than another."""


class Cell(NamedTuple):
    """A pane and the windows that cover it, by their end."""

    start: int
    end: int
    windows: tuple[Span, ...]


class Grid:
    """``cell(time)`` gives the pane of a time."""

    def cell(self, time: int) -> Cell:
        raise NotImplementedError


class FixedGrid(Grid):
    """Boundaries at equal distances."""

    def __init__(self, size: int, hop: int, offset: int) -> None:
        self._size = size
        self._hop = hop
        self._unit = greatest_common_divisor(size, hop)
        self._offset = offset

    def cell(self, time: int) -> Cell:
        start = time - (time - self._offset) % self._unit
        first = start - (start - self._offset) % self._hop  # the last window that begins at or before the pane
        starts = range(first, start + self._unit - self._size - 1, -self._hop)
        windows = tuple((begin, begin + self._size) for begin in reversed(starts))
        return Cell(start, start + self._unit, windows)


class ZoneGrid(Grid):
    """Boundaries at local times of a zone."""

    def __init__(self, size: int, hop: int, offset: int, zone: str) -> None:
        self._size = size
        self._hop = hop
        self._unit = greatest_common_divisor(size, hop)
        self._offset = offset
        self._zone = ZoneInfo(zone)
        self._around = lru_cache(maxsize=256)(self._find_around)

    def cell(self, time: int) -> Cell:
        start, end = self._cell_of(time, self._unit)
        windows = []
        begin = self._cell_of(start, self._hop)[0]
        while begin > start - self._size - _LONGEST_SHIFT:
            close = self._plus_size(begin)
            if begin <= start and close >= end:
                windows.append((begin, close))
            begin = self._cell_of(begin - 1, self._hop)[0]
        return Cell(start, end, tuple(reversed(windows)))

    def _plus_size(self, start: int) -> int:
        """The end of the window that begins at a boundary."""
        if self._size == self._hop:
            return self._cell_of(start, self._size)[1]
        return self._instants(self._local(start) + self._size, self._size)[0]

    def _cell_of(self, time: int, length: int) -> Span:
        around = self._around((self._local(time) - self._offset) // length, length)
        start = max(boundary for boundary in around if boundary <= time)
        end = min(boundary for boundary in around if boundary > time)
        return start, end

    def _find_around(self, number: int, length: int) -> tuple[int, ...]:
        """Boundaries in a wide enough neighbourhood of the zone's ``number``-th."""
        reach = CLOCK_CHANGE // length + 2
        instants: set[int] = set()
        for index in range(number - reach, number + reach + 1):
            instants.update(self._instants(index * length + self._offset, length))
        return tuple(sorted(instants))

    def _local(self, instant: int) -> int:
        """Microseconds of the zone's wall clock since its 1970-01-01T00:00."""
        local = (_EPOCH + timedelta(microseconds=instant)).astimezone(self._zone).replace(tzinfo=None)
        return _microseconds(local - _NAIVE_EPOCH)

    def _instants(self, local: int, length: int) -> tuple[int, ...]:
        """The instants at which the zone's wall clock shows ``local``: one, or two where clocks were set back."""
        wall = (_NAIVE_EPOCH + timedelta(microseconds=local)).replace(tzinfo=self._zone)
        first = _microseconds(wall - _EPOCH)
        if length >= DAY:
            return (first,)
        second = _microseconds(wall.replace(fold=1) - _EPOCH)
        return (first, second) if second > first else (first,)


def grid(window: Tumble | Hop) -> Grid:
    """The grid of a window."""
    hop = window.hop if isinstance(window, Hop) else window.size
    # Zones differ from UTC by whole quarters of an hour, so windows that divide one lie alike in all of them.
    if window.zone is None or (_QUARTER % window.size == 0 and _QUARTER % hop == 0):
        return FixedGrid(window.size, hop, window.offset)
    return ZoneGrid(window.size, hop, window.offset, window.zone)


def _microseconds(difference: timedelta) -> int:
    return difference // timedelta(microseconds=1)
