"""A stream joined with a lookup table: every row with the table's rows of its key, in the order of arrival.

A row whose key is not known waits, and rows behind it wait with it, so that event time stays in order. Answers come
into the :class:`~rules.joins.table.LookupTable`; the next :meth:`LookupJoin.advance` emits what they set free.

Invariants: nothing is asked for twice on behalf of one join; a row waits for at most the table's time-out; at most
``max_parked`` rows wait before ``full`` tells the engine to take no more (what a batch had beyond that waits too, up to
MAX_OVERSHOOT, then rows are rejected); no row makes it raise. Waiting rows are in the snapshot, the table's answers are
not: they are asked for anew.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from core.message import Row
from rules.joins.keys import key_reader
from rules.joins.options import OnFailure
from rules.joins.table import LookupTable, Pending, Rows
from rules.operators import explained
from rules.windows import state
from rules.windows.operator import Rejected
from rules.windows.plan import PlanError

MAX_ROWS_PER_CALL: Final = 2_000
"""Waiting rows that one call settles: a bound on how long it takes."""
MAX_EMITTED_PER_CALL: Final = 20_000
"""Where keys have many rows each: what is beyond waits for the next call."""
MAX_OVERSHOOT: Final = 20_000

Condition = Callable[[Row], Any]
"""What else ON asks for, of a joined row; only True is a match."""


@dataclass(frozen=True, slots=True)
class LookupPlan:
    """``key`` are places in the stream's row, in the order of the table's key. ``outer``: a LEFT JOIN. ``identity``
    stands for the text of the query before the join: a snapshot of another is refused."""

    key: tuple[int, ...]
    outer: bool = False
    on: Condition | None = field(default=None, compare=False)
    max_parked: int = 10_000
    identity: str = ""

    def __post_init__(self) -> None:
        if not self.key:
            raise PlanError("a join with a lookup table compares all columns of its key")
        if self.max_parked < 1:
            raise PlanError("max_parked must be at least 1")

    @property
    def fingerprint(self) -> str:
        """The same for plans whose states have the same meaning: waiting rows have."""
        return hashlib.blake2b(repr(("lookup", self.key, self.identity)).encode(), digest_size=16).hexdigest()


class LookupCounters:
    """Rows of the stream since the join was made. ``no_match``: dropped, or filled with nulls by a LEFT JOIN;
    ``unanswered``: those whose key got no answer in time, of which ``stale`` took an old one; ``parked_full`` and
    ``bad_condition`` are rejected."""

    __slots__ = ("bad_condition", "emitted", "no_match", "parked_full", "rows", "stale", "unanswered")

    def __init__(self) -> None:
        self.rows = self.emitted = self.no_match = self.unanswered = self.stale = 0
        self.parked_full = self.bad_condition = 0


class LookupJoin:
    """An operator as those of ``rules.windows``; ``table`` is shared with other joins."""

    def __init__(self, plan: LookupPlan, table: LookupTable) -> None:
        if len(plan.key) != len(table.options.key):
            raise PlanError(f"the key of {table.name} has {len(table.options.key)} columns, {len(plan.key)} are given")
        self.plan = plan
        self.table = table
        self.counters = LookupCounters()
        self._key_of = key_reader(plan.key)
        self._nulls = (None,) * table.width
        self._parked: deque[tuple[Row, Pending | Rows | None]] = deque()  # None: not asked for since a restart
        self._restored = 0
        self._rejected: list[Rejected] = []

    @property
    def parked(self) -> int:
        """Rows that wait."""
        return len(self._parked)

    @property
    def full(self) -> bool:
        """Take no more messages until fewer rows wait."""
        return len(self._parked) >= self.plan.max_parked

    def process(self, rows: Sequence[Row], now: int) -> list[Row]:
        """Take rows in; what can be told of them and of those before them."""
        emitted: list[Row] = []
        self.counters.rows += len(rows)
        taken = 0 if self._parked else self._pass(rows, now, emitted)
        if taken < len(rows):
            self._park(rows[taken:], now)
        self._drain(now, emitted)
        self.counters.emitted += len(emitted)
        return emitted

    def advance(self, now: int) -> list[Row]:
        """What answers and time-outs set free, or a part of it: see ``next_deadline``."""
        emitted: list[Row] = []
        self._drain(now, emitted)
        self.counters.emitted += len(emitted)
        return emitted

    def finish(self, now: int) -> list[Row]:
        """The stream has ended, and so has all waiting."""
        emitted: list[Row] = []
        self._ask_again(now)
        for row, answer in self._parked:
            self._settle(row, answer, emitted)
        self._parked.clear()
        self.counters.emitted += len(emitted)
        return emitted

    @property
    def next_deadline(self) -> int | None:
        """When :meth:`advance` has something to do, nanoseconds, 0 for now; answers make it earlier."""
        if not self._parked:
            return None
        answer = self._parked[0][1]
        if type(answer) is not Pending or answer.rows is not None:
            return 0
        return self.table.deadline(answer)

    def take_rejected(self) -> list[Rejected]:
        """Rows that were dropped since the last call: ``unanswered``, ``parked_full``, ``bad_condition``."""
        rejected, self._rejected = self._rejected, []
        return rejected

    def snapshot(self) -> bytes:
        rejected = [tuple(entry) for entry in self._rejected]
        return state.dump([[row for row, _ in self._parked], rejected], self.plan.fingerprint)

    def restore(self, data: bytes) -> None:
        """Take over a snapshot; SnapshotError leaves the join as it is."""
        rows, rejected = state.load(data, self.plan.fingerprint)
        self._parked = deque((row, None) for row in rows)
        self._restored = len(rows)
        self._rejected = [Rejected(*entry) for entry in rejected]

    # Rows

    def _pass(self, rows: Sequence[Row], now: int, emitted: list[Row]) -> int:
        """Join rows until one has to wait; how many those were."""
        key_of, find = self._key_of, self.table.find
        simple = self.plan.on is None
        for number, row in enumerate(rows):
            key = key_of(row)
            found = () if key is None else find(key, now)
            if found is None or len(emitted) >= MAX_EMITTED_PER_CALL:
                return number
            if simple and len(found) == 1:
                emitted.append(row + found[0])
            else:
                self._emit(row, found, emitted)
        return len(rows)

    def _park(self, rows: Sequence[Row], now: int) -> None:
        room = self.plan.max_parked + MAX_OVERSHOOT - len(self._parked)
        for row in rows[:room]:
            self._parked.append((row, self._ask(row, now)))
        for row in rows[room:]:
            self._reject(row, "parked_full", f"more than {self.plan.max_parked} rows wait for {self.table.name}")

    def _ask(self, row: Row, now: int) -> Pending | Rows:
        key = self._key_of(row)
        if key is None:
            return ()
        found = self.table.find(key, now)
        return self.table.wait(key, now) if found is None else found

    def _ask_again(self, now: int) -> None:
        """Rows that a snapshot brought know nothing of their answers."""
        if self._restored:
            self._restored = 0
            self._parked = deque(
                (row, self._ask(row, now) if answer is None else answer) for row, answer in self._parked
            )

    def _drain(self, now: int, emitted: list[Row]) -> None:
        """Emit from the front until a row has to wait."""
        self._ask_again(now)
        parked = self._parked
        for _ in range(min(len(parked), MAX_ROWS_PER_CALL)):
            if len(emitted) >= MAX_EMITTED_PER_CALL:
                return
            row, answer = parked[0]
            if type(answer) is Pending and answer.rows is None and now < self.table.deadline(answer):
                return
            parked.popleft()
            self._settle(row, answer, emitted)

    def _settle(self, row: Row, answer: Pending | Rows | None, emitted: list[Row]) -> None:
        found = answer.rows if isinstance(answer, Pending) else answer
        if found is not None:
            self._emit(row, found, emitted)
        elif isinstance(answer, Pending):
            self._apply_policy(row, answer, emitted)

    def _apply_policy(self, row: Row, pending: Pending, emitted: list[Row]) -> None:
        """The row has waited long enough."""
        old = self.table.give_up(pending)
        policy = self.table.options.on_error
        self.counters.unanswered += 1
        if policy is OnFailure.STALE and old is not None:
            self.counters.stale += 1
            self._emit(row, old, emitted)
        elif policy is OnFailure.NULL or (policy is OnFailure.STALE and self.plan.outer):
            self._emit(row, (), emitted)
        else:
            reason = self.table.last_error or "no answer in time"
            self._rejected.append(Rejected(row, "unanswered", f"{self.table.name}: {reason}"))

    def _emit(self, row: Row, found: Rows, emitted: list[Row]) -> None:
        joined = [row + other for other in found]
        on = self.plan.on
        if on is not None and joined:
            try:
                joined = [both for both in joined if on(both) is True]
            except Exception as error:  # noqa: BLE001  whatever a row holds, the others go on
                self._reject(row, "bad_condition", str(explained(error)))
                return
        if joined:
            emitted += joined
            return
        self.counters.no_match += 1
        if self.plan.outer:
            emitted.append(row + self._nulls)

    def _reject(self, row: Row, reason: str, error: str) -> None:
        setattr(self.counters, reason, getattr(self.counters, reason) + 1)
        self._rejected.append(Rejected(row, reason, error))
