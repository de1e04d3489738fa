"""What a window operator is to do: a value object, checked when it is made. Nothing here runs.

All durations are microseconds. ``place`` is a position in the input row (``rules.windows``); the first value is at 2.
"""

from __future__ import annotations

import enum
import hashlib
import zoneinfo
from dataclasses import dataclass, field
from typing import Final

from core.errors import HeadraceError
from core.message import Type
from rules.aggregates import AGGREGATES, AggregateCall, AggregateTable, check_call

DAY: Final = 86_400_000_000
FIRST_PLACE: Final = 2
HELD: Final = 1 << 60
"""A delay with which rows never raise the watermark: whoever gives them tells it (joins of streams)."""
MAX_PANES: Final = 1_440
"""Panes of one hopping window: a day by the minute."""


class PlanError(HeadraceError):
    """A window that cannot be; the text is for the author of the query."""


@dataclass(frozen=True, slots=True)
class Tumble:
    """``[k * size + offset, (k + 1) * size + offset)`` since the epoch, or since 1970-01-01T00:00 of ``zone``."""

    size: int
    offset: int = 0
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Hop:
    """Windows of ``size`` that begin every ``hop``. Where ``hop > size`` rows between windows belong to none."""

    size: int
    hop: int
    offset: int = 0
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """Rows of a key that are less than ``gap`` apart; ``[first, last + gap)``.

    ``max_duration`` cuts sessions at multiples of itself since the epoch (eKuiper's ticks), so none is longer.
    """

    gap: int
    max_duration: int | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """The last ``size`` rows of a key, after every ``every`` rows once there are so many. In order of arrival."""

    size: int
    every: int


@dataclass(frozen=True, slots=True)
class Sliding:
    """For each row at T: the rows of its key in ``(T - size, T + delay]``, emitted when the watermark has passed
    T + delay, without any delay at once. ``when`` is the place of the trigger condition; rows where it is not True are
    seen and trigger nothing."""

    size: int
    delay: int = 0
    when: int | None = None


@dataclass(frozen=True, slots=True)
class State:
    """From a row where ``begin`` is True to one where ``emit`` is, both included (eKuiper's STATEWINDOW). Without
    ``emit`` the next row where ``begin`` holds closes the window and opens the next. In order of arrival."""

    begin: int
    emit: int | None = None


Window = Tumble | Hop | Session | Count | Sliding | State


@dataclass(frozen=True, slots=True)
class EventTime:
    """The watermark is the greatest time seen less ``delay``. Where no row came for ``idle_timeout`` it goes on with
    the clock; None: it waits. Rows more than ``max_ahead`` after the clock are rejected and move nothing; None: any
    time is believed. Windows take corrections until the watermark is ``allowed_lateness`` past their end."""

    delay: int = 0
    idle_timeout: int | None = None
    allowed_lateness: int = 0
    max_ahead: int | None = 3_600_000_000


@dataclass(frozen=True, slots=True)
class ProcessingTime:
    """Event time whose watermark is the clock. A row is never late: one that is, counts at the watermark."""


Timing = EventTime | ProcessingTime


class Emit(enum.Enum):
    """When time windows and sessions are emitted: once they are closed, or after every batch that changed them."""

    ON_CLOSE = "on_close"
    ON_CHANGE = "on_change"


class WhenFull(enum.Enum):
    """At ``max_keys``: rows of new keys are rejected, or the oldest keys (a sixteenth of all) are given up."""

    DROP_NEW = "drop_new"
    DROP_OLDEST = "drop_oldest"


@dataclass(frozen=True, slots=True)
class Limits:
    """``max_keys``: keys of one pane (tumbling, hopping), of the operator (the others), with a carried sample.
    ``max_values``: values that one aggregate of one group keeps (lists, percentiles, DISTINCT). ``max_rows``: rows that
    a sliding window keeps per key, and open sessions per key.

    ``carry``: how old, in event time, a key's last sample may be for a later window to go on from it (the meters'
    functions). ``idle_keys``: after how long without rows, by the clock, a count or state window of a key is given up;
    None: never."""

    max_keys: int = 1_000_000
    when_full: WhenFull = WhenFull.DROP_NEW
    max_values: int = 10_000
    max_rows: int = 10_000
    carry: int = 3_600_000_000
    idle_keys: int | None = 7 * DAY


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """``keys`` counts the GROUP BY columns, ``boxed`` says which of them went through ``boxed()``. ``columns`` are the
    types of the row's values from place 2 on: a type that is not ANY is that of every value that is neither null nor
    missing. ``identity`` stands for the text of the query before the window: a snapshot of another is refused."""

    window: Window
    calls: tuple[AggregateCall, ...]
    columns: tuple[Type, ...] = ()
    keys: int = 0
    boxed: frozenset[int] = frozenset()
    timing: Timing = ProcessingTime()
    emit: Emit = Emit.ON_CLOSE
    limits: Limits = Limits()
    identity: str = ""
    aggregates: AggregateTable = field(default_factory=lambda: AGGREGATES, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_window(self.window)
        for name, value in _durations(self.timing):
            if value is not None and value < 0:
                raise PlanError(f"{name} must not be negative")
        for name in ("max_keys", "max_values", "max_rows"):
            if getattr(self.limits, name) < 1:
                raise PlanError(f"{name} must be at least 1")
        if self.limits.carry < 0:
            raise PlanError("carry must not be negative")
        if self.limits.idle_keys is not None and self.limits.idle_keys < 1:
            raise PlanError("idle_keys must be greater than zero")
        if self.emit is Emit.ON_CHANGE and not isinstance(self.window, Tumble | Hop | Session):
            raise PlanError(
                "emit = on_change is for TUMBLE, HOP and SESSION: other windows have no result before they end"
            )
        if isinstance(self.timing, EventTime) and self.timing.allowed_lateness and isinstance(self.window, Sliding):
            raise PlanError("allowed_lateness is for TUMBLE, HOP and SESSION; a sliding window waits by its delay")
        end = FIRST_PLACE + len(self.columns)
        for place in self._places():
            if not FIRST_PLACE <= place < end:
                raise PlanError(f"place {place} is outside of the row's values ({FIRST_PLACE} to {end - 1})")
        for call in self.calls:
            check_call(call, self.aggregates)

    def type_at(self, place: int) -> Type:
        return self.columns[place - FIRST_PLACE]

    def result_types(self) -> tuple[Type, ...]:
        """The types of the results, in the order of the calls."""
        return tuple(
            self.aggregates[call.name].result_type([self.type_at(place) for place in call.arguments])
            for call in self.calls
        )

    @property
    def fingerprint(self) -> str:
        """The same for plans whose states have the same meaning; limits, delays and ``emit`` may differ."""
        parts = (self.window, self.calls, self.columns, self.keys, sorted(self.boxed), self.identity)
        timing = type(self.timing).__name__
        return hashlib.blake2b(repr((parts, timing)).encode(), digest_size=16).hexdigest()

    def _places(self) -> list[int]:
        window = self.window
        places = [place for call in self.calls for place in call.places()]
        if isinstance(window, Sliding) and window.when is not None:
            places.append(window.when)
        if isinstance(window, State):
            places += [place for place in (window.begin, window.emit) if place is not None]
        return places


def _durations(timing: Timing) -> list[tuple[str, int | None]]:
    if isinstance(timing, ProcessingTime):
        return []
    return [(name, getattr(timing, name)) for name in ("delay", "idle_timeout", "allowed_lateness", "max_ahead")]


def check_window(window: Window) -> None:
    """PlanError where there can be no such window."""
    names = [name for name in ("size", "hop", "gap", "max_duration", "every") if hasattr(window, name)]
    for name in names:
        value = getattr(window, name)
        if value is not None and value < 1:
            raise PlanError(f"the {name} of a window must be greater than zero")
    if isinstance(window, Count) and window.every > window.size:
        raise PlanError(f"COUNT_WINDOW({window.size}, {window.every}): the step must not be greater than the size")
    if isinstance(window, Sliding) and window.delay < 0:
        raise PlanError("the delay of a sliding window must not be negative")
    if isinstance(window, Tumble | Hop):
        _check_grid(window)


def _check_grid(window: Tumble | Hop) -> None:
    lengths = {"size": window.size, **({"hop": window.hop} if isinstance(window, Hop) else {})}
    if isinstance(window, Hop):
        unit = greatest_common_divisor(window.size, window.hop)
        if window.size // unit > MAX_PANES:
            raise PlanError(
                f"the windows of this HOP share {window.size // unit} panes, the limit is {MAX_PANES}:"
                " choose a hop that divides the size into fewer parts"
            )
    if window.zone is None:
        return
    try:
        zoneinfo.ZoneInfo(window.zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise PlanError(
            f"there is no time zone {window.zone!r}; names are those of the IANA list, as Asia/Shanghai"
        ) from None
    for name, length in lengths.items():
        if DAY % length and length % DAY:
            raise PlanError(f"with a time zone the {name} of a window must be whole days or divide a day")


def greatest_common_divisor(one: int, two: int) -> int:
    while two:
        one, two = two, one % two
    return one
