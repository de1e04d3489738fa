"""The interface of all window operators, what they share, and the choice of the one that runs a plan.

Invariants: an operator asks no clock and does no I/O; no input row makes it raise (a bad one is rejected with a
reason); its memory is bounded by the plan's limits; times within are microseconds, ``now`` outside is nanoseconds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final, NamedTuple

from core.message import Row
from rules.aggregates import Accumulators, Tally
from rules.operators import explained
from rules.windows import state
from rules.windows.clock import BEGINNING, END, Clock, deadline
from rules.windows.loop import compile_row
from rules.windows.plan import FIRST_PLACE, Count, Hop, Session, Sliding, Tumble, WindowPlan

MAX_GROUPS_PER_CALL: Final = 2_000
"""Groups that one call emits (or forgets): a bound on how long it takes."""


class Rejected(NamedTuple):
    """An input row that went into no window. ``error`` explains ``bad_argument``, else it is empty. A ``late`` row has
    the boundaries of the last window that it has missed; of a session those that it would have had alone."""

    row: tuple[Any, ...]
    reason: str
    error: str = ""
    window_start: int | None = None
    window_end: int | None = None


class Counters:
    """Rows and groups since the operator was made, by what became of them.

    ``late`` ... ``bad_argument`` are rejected rows by reason. ``keys_dropped``: groups given up at ``max_keys`` (their
    rows are lost); ``keys_idle``: open count and state windows given up after ``idle_keys``; ``rows_dropped``: rows
    that sliding windows forgot at ``max_rows``; ``samples_dropped``: carried samples given up at ``max_keys``;
    ``values_left_out``: values beyond ``max_values``; ``out_of_range``: results that are no finite number.
    """

    __slots__ = (
        "_tally",
        "ahead",
        "bad_argument",
        "between_windows",
        "emitted",
        "keys_dropped",
        "keys_full",
        "keys_idle",
        "late",
        "no_time",
        "rows",
        "rows_dropped",
        "samples_dropped",
    )

    GIVEN_UP: ClassVar = (
        *("keys_dropped", "keys_idle", "rows_dropped", "samples_dropped"),
        *("values_left_out", "out_of_range"),
    )
    """What was lost at a limit after it had been taken."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self.rows = 0
        self.emitted = 0
        self.late = 0
        self.no_time = 0
        self.ahead = 0
        self.keys_full = 0
        self.between_windows = 0
        self.bad_argument = 0
        self.keys_dropped = 0
        self.keys_idle = 0
        self.rows_dropped = 0
        self.samples_dropped = 0

    @property
    def values_left_out(self) -> int:
        return self._tally.left_out

    @property
    def out_of_range(self) -> int:
        return self._tally.out_of_range


class WindowOperator(ABC):
    """See ``rules.windows`` for the contract. Subclasses: ``panes``, ``sessions``, ``counts``, ``sliding``."""

    def __init__(self, plan: WindowPlan) -> None:
        self.plan = plan
        self.max_groups = MAX_GROUPS_PER_CALL
        self.clock = Clock(plan.timing)
        self.tally = Tally(plan.limits.max_values)
        self.counters = Counters(self.tally)
        types = {place: plan.type_at(place) for place in range(FIRST_PLACE, FIRST_PLACE + len(plan.columns))}
        self.accumulators = Accumulators(plan.calls, plan.aggregates, self.tally, types)
        self._make_row = compile_row(self.accumulators, plan.keys, plan.boxed)
        self._none = [None] * self.accumulators.carries
        self._rejected: list[Rejected] = []

    # The interface

    def process(self, rows: Sequence[tuple[Any, ...]], now: int) -> list[Row]:
        """Take rows in; what became due by them."""
        emitted: list[Row] = []
        self.counters.rows += len(rows)
        self._take(rows, now // 1_000, emitted)
        self.counters.emitted += len(emitted)
        return emitted

    def observe(self, top: int, now: int) -> list[Row]:
        """Rows of the source came that are none of this query's (WHERE dropped them), ``top`` was their greatest event
        time in microseconds: time has come as far as with rows of its own. What became due by it."""
        moment = now // 1_000
        if self.clock.clamps or top > self.clock.latest(moment):
            self.clock.tick(moment)
        else:
            self.clock.see(top, moment)
        return self._close()

    def advance(self, now: int) -> list[Row]:
        """What time made due, or a part of it: see ``next_deadline``."""
        self.clock.tick(now // 1_000)
        return self._close()

    def finish(self, now: int) -> list[Row]:
        """The stream has ended; call again while ``next_deadline`` is not None. Rows that come after it are late."""
        del now
        self.clock.end()
        return self._close()

    @property
    def next_deadline(self) -> int | None:
        """When :meth:`advance` has something to do, nanoseconds; None: not before there are rows."""
        return deadline(self._due())

    def take_rejected(self) -> list[Rejected]:
        rejected, self._rejected = self._rejected, []
        return rejected

    def snapshot(self) -> bytes:
        rejected = [tuple(entry) for entry in self._rejected]
        return state.dump([self.clock.snapshot(), rejected, self._snapshot()], self.plan.fingerprint)

    def restore(self, data: bytes) -> None:
        """Take over a snapshot; SnapshotError leaves the operator as it is."""
        clock, rejected, own = state.load(data, self.plan.fingerprint)
        self.clock.restore(clock)
        self._rejected = [Rejected(*entry) for entry in rejected]
        self._restore(own)

    @property
    def partial(self) -> tuple[int, int] | None:
        """The boundaries of a window of which the calls so far have told a part of the groups, and the next ones tell
        the rest; None: what they have told is whole."""
        return None

    @property
    def told(self) -> int:
        """Every window that ends by then has been told; BEGINNING: nothing is known."""
        due, watermark = self._due(), self.clock.watermark
        return BEGINNING if watermark == END or (due is not None and due <= BEGINNING) else watermark

    @property
    @abstractmethod
    def groups(self) -> int:
        """States that are kept: a key in a pane, a session, a key with an open window."""

    @property
    @abstractmethod
    def windows(self) -> int:
        """Open panes (tumbling, hopping), else open windows."""

    @property
    def bytes(self) -> int:
        """An estimate of the memory that the groups take, as states of numbers; kept values come on top."""
        return self.groups * (160 + 32 * self.accumulators.slots)

    # What subclasses do

    @abstractmethod
    def _take(self, rows: Sequence[tuple[Any, ...]], now: int, emitted: list[Row]) -> None: ...

    @abstractmethod
    def _emit_due(self, emitted: list[Row]) -> None:
        """Emit what the watermark closed, up to ``max_groups`` groups."""

    @abstractmethod
    def _due(self) -> int | None:
        """Microseconds; BEGINNING: now."""

    @abstractmethod
    def _snapshot(self) -> Any: ...

    @abstractmethod
    def _restore(self, own: Any) -> None: ...

    # What they share

    def _close(self) -> list[Row]:
        emitted: list[Row] = []
        self._emit_due(emitted)
        self.counters.emitted += len(emitted)
        return emitted

    def _row(self, key: Any, start: int, end: int, state: list[Any]) -> Row:
        """The result of a window that tells of its rows alone."""
        return self._make_row(key, start, end, state, self._none, None, None)

    def _reject(self, row: tuple[Any, ...], reason: str) -> None:
        setattr(self.counters, reason, getattr(self.counters, reason) + 1)
        self._rejected.append(Rejected(row, reason))

    def _reject_late(self, row: tuple[Any, ...], start: int, end: int) -> None:
        self.counters.late += 1
        self._rejected.append(Rejected(row, "late", "", start, end))

    def _refuse(self, row: tuple[Any, ...], error: Exception) -> None:
        """The row's arguments do not fit its aggregates."""
        self.counters.bad_argument += 1
        self._rejected.append(Rejected(row, "bad_argument", str(explained(error))))

    def _timed(self, time: Any, latest: int) -> str | None:
        """Why a row of this time is rejected, None where it is not."""
        if type(time) is not int:
            return "no_time"
        return "ahead" if time > latest else None


def build(plan: WindowPlan) -> WindowOperator:
    """The operator of a plan."""
    # Imported here: each of them is a WindowOperator.
    from rules.windows.counts import CountOperator, StateOperator
    from rules.windows.panes import PaneOperator
    from rules.windows.sessions import SessionOperator
    from rules.windows.sliding import SlidingOperator

    window = plan.window
    if isinstance(window, Tumble | Hop):
        return PaneOperator(plan)
    if isinstance(window, Session):
        return SessionOperator(plan)
    if isinstance(window, Count):
        return CountOperator(plan)
    return SlidingOperator(plan) if isinstance(window, Sliding) else StateOperator(plan)
