"""The operator of analytic functions: rows in, the same rows with one more value per call out.

It has the shape of ``rules.windows.WindowOperator``. Invariants: it asks no clock and does no I/O; no input row makes
it raise (a bad one is rejected with a reason); rows come out in the order in which they came in, except that ``lead``
lets a row wait (those of one partition stay in order); its memory is bounded by the plan's limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from core.message import Row
from rules.aggregates import Tally
from rules.analytics.lead import Leads
from rules.analytics.loop import Loops
from rules.analytics.partitions import Partitions
from rules.analytics.plan import AnalyticPlan
from rules.operators import explained
from rules.windows import state
from rules.windows.operator import Rejected

MAX_PER_CALL: Final = 2_000
"""Waiting rows that one call emits, states that it clears away: a bound on how long it takes."""


class AnalyticCounters:
    """Rows since the operator was made. ``keys_full`` and ``bad_argument`` are rejected ones. ``keys_dropped``:
    partitions given up at max_keys; ``keys_forgotten``: those that were idle for state_ttl. ``leads_cut``,
    ``leads_timed_out``: rows that did not get to see the row behind them, at max_keys and by time."""

    __slots__ = ("_leads", "_partitions", "_tally", "bad_argument", "emitted", "keys_full", "rows")

    GIVEN_UP: ClassVar = ("keys_dropped", "keys_forgotten", "leads_cut", "leads_timed_out")
    """What was lost at a limit after it had been taken."""

    def __init__(self, partitions: Sequence[Partitions], leads: Leads | None, tally: Tally) -> None:
        self._partitions = partitions
        self._leads = leads
        self._tally = tally
        self.rows = self.emitted = self.keys_full = self.bad_argument = 0

    @property
    def keys_dropped(self) -> int:
        return sum(partition.dropped for partition in self._partitions)

    @property
    def keys_forgotten(self) -> int:
        return sum(partition.forgotten for partition in self._partitions)

    @property
    def leads_cut(self) -> int:
        return self._leads.cut if self._leads is not None else 0

    @property
    def leads_timed_out(self) -> int:
        return self._leads.timed_out if self._leads is not None else 0

    @property
    def out_of_range(self) -> int:
        return self._tally.out_of_range


class AnalyticOperator:
    """See ``rules.analytics`` for the contract."""

    def __init__(self, plan: AnalyticPlan) -> None:
        self.plan = plan
        self.max_per_call = MAX_PER_CALL
        tally = Tally()
        loops = Loops(plan, tally)
        self._run = loops.run
        self._slots = list(loops.slots.values())
        self._single: list[Any] | None = None
        self._partitions: list[Partitions] = []
        self._keyed: list[Partitions | None] = []
        for place, new in zip(loops.partitions, loops.new, strict=True):
            if place is None:
                self._single = new()
                self._keyed.append(None)
            else:
                self._partitions.append(Partitions(plan.limits, new))
                self._keyed.append(self._partitions[-1])
        self._leads = Leads(plan) if plan.looks_ahead else None
        self.counters = AnalyticCounters(self._partitions, self._leads, tally)
        self._rejected: list[Rejected] = []
        self._ended = False

    def process(self, rows: Sequence[Row], now: int) -> list[Row]:
        """Take rows in; those that are complete."""
        self._ended = False
        for partition in self._partitions:
            partition.turn(now)
        states: list[Any] = []
        for keyed in self._keyed:
            states += [self._single, None] if keyed is None else [keyed.young, keyed.missing]
        done: list[Row] = []
        self._run(rows, now, done.append, self._refuse, self._full, *states)
        leads = self._leads
        emitted = done
        if leads is not None:
            emitted = []
            leads.expire(now, self.max_per_call, emitted)
            leads.take(done, now, emitted)
        counters = self.counters
        counters.rows += len(rows)
        counters.emitted += len(emitted)
        return emitted

    def advance(self, now: int) -> list[Row]:
        """What time made due, or a part of it: see ``next_deadline``."""
        emitted: list[Row] = []
        if self._leads is not None:
            self._leads.expire(now, self.max_per_call, emitted)
        left = self.max_per_call
        for partition in self._partitions:
            partition.turn(now)
            left -= partition.clear(left)
        self.counters.emitted += len(emitted)
        return emitted

    def finish(self, now: int) -> list[Row]:
        """The stream has ended: what waits comes out. Call again while ``next_deadline`` is not None."""
        del now
        self._ended = True
        emitted: list[Row] = []
        if self._leads is not None:
            self._leads.expire(None, self.max_per_call, emitted)
        self.counters.emitted += len(emitted)
        return emitted

    @property
    def next_deadline(self) -> int | None:
        """When :meth:`advance` has something to do, nanoseconds; in the past or 0: now."""
        # Behind the end nothing is emitted any more, so states may stay as they are.
        dues = [] if self._ended else [partition.due for partition in self._partitions]
        if self._leads is not None:
            dues.append(self._leads.due)
        return min((due for due in dues if due is not None), default=None)

    def take_rejected(self) -> list[Rejected]:
        rejected, self._rejected = self._rejected, []
        return rejected

    @property
    def groups(self) -> int:
        """States that are kept."""
        return sum(map(len, self._partitions)) + (self._single is not None)

    @property
    def waiting(self) -> int:
        """Rows that wait for those behind them."""
        return len(self._leads) if self._leads is not None else 0

    def snapshot(self) -> bytes:
        rejected = [tuple(entry) for entry in self._rejected]
        partitions = [partition.snapshot() for partition in self._partitions]
        leads = None if self._leads is None else self._leads.snapshot()
        return state.dump([rejected, self._single, partitions, leads], self.plan.fingerprint)

    def restore(self, data: bytes) -> None:
        """Take over a snapshot; SnapshotError leaves the operator as it is."""
        rejected, self._single, partitions, leads = state.load(data, self.plan.fingerprint)
        self._rejected = [Rejected(*entry) for entry in rejected]
        for partition, own in zip(self._partitions, partitions, strict=True):
            partition.restore(own)
        if self._leads is not None:
            self._leads.restore(leads)

    @property
    def bytes(self) -> int:
        """An estimate of the memory that states of numbers take; kept values and waiting rows come on top."""
        return self.groups * (160 + 32 * max(self._slots, default=0))

    def _refuse(self, row: Row, error: Exception) -> None:
        """The row's arguments do not fit its functions."""
        self.counters.bad_argument += 1
        self._rejected.append(Rejected(row, "bad_argument", str(explained(error))))

    def _full(self, row: Row) -> None:
        self.counters.keys_full += 1
        self._rejected.append(Rejected(row, "keys_full"))


def build(plan: AnalyticPlan) -> AnalyticOperator:
    """The operator of a plan."""
    return AnalyticOperator(plan)
