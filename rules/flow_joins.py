"""Joins in an engine: a relation that is made of two others, or of one and a lookup table.

A :class:`LoadedJoin` is to its readers what a ``flow.LoadedFlow`` is. Invariants: rows of one side are seen in their
order; what is refused is counted by reason and told; the time of joined streams is what the join says of it, and while
rows wait for a lookup table no time passes for those who read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from core.message import Batch, Message, Row
from rules.flow import Reader, Turn, next_look
from rules.joins import LookupJoin, LookupTable, StreamJoin
from rules.joins.bound import CompiledJoin
from rules.limits import Limits
from rules.loaded import Hooks, RuleFailure
from rules.windows import Rejected
from rules.windows.clock import BEGINNING
from rules.windows.plan import HELD

_REASONS: Final = {
    "too_many_matches": "it matches too many rows",
    "parked_full": "too many rows wait for the lookup table",
    "unanswered": "the lookup table did not answer in time",
}


class Input:
    """One side of a join, as a reader of what it reads."""

    def __init__(self, join: LoadedJoin, *, left: bool) -> None:
        self._join = join
        self._left = left

    @property
    def waits(self) -> bool:
        return self._join.waits

    def take(self, items: Sequence[Any], hops: int, high: int, batches: list[Batch]) -> None:
        self._join.take(items, hops, high, batches, left=self._left)


class LoadedJoin:
    """A join in an engine. ``readers`` are the flows that read its rows."""

    def __init__(
        self,
        rule: CompiledJoin,
        node: str,
        hooks: Hooks,
        turn: Turn,
        limits: Limits,
        tables: Mapping[str, LookupTable],
    ) -> None:
        self.rule = rule
        self.name = rule.name
        self.label = rule.label
        self.readers: list[Reader] = []
        self.timed = False
        """Does a reader live by the time of its rows?"""
        self._turn = turn
        self._hooks = hooks
        self._hops = 0
        self._high = BEGINNING
        self._told = BEGINNING
        self._ticked = 0
        self._heard = 0
        self._left = True
        self._refused: dict[str, int] = {}
        on = None if rule.condition is None else _condition(rule.condition.instantiate(node, limits), turn)
        join = rule.join
        if join.lookup is not None:
            self.lookup: LookupJoin | None = LookupJoin(join.lookup_plan(on), tables[join.right.relation])
            self.streams: StreamJoin | None = None
        else:
            self.lookup = None
            self.streams = StreamJoin(join.stream_plan(on))
        self._columns = tuple(join.relation.columns.specs)

    @property
    def operator(self) -> LookupJoin | StreamJoin:
        found = self.lookup or self.streams
        assert found is not None  # noqa: S101  one of the two was made
        return found

    @property
    def waits(self) -> bool:
        """Is there something that only the time of rows to come makes due?"""
        return (self.streams is not None and self.streams.rows > 0) or any(reader.waits for reader in self.readers)

    @property
    def full(self) -> bool:
        """Do as many rows wait for the lookup table as may?"""
        return self.lookup is not None and self.lookup.full

    # Rows

    def take(self, items: Sequence[Any], hops: int, high: int, batches: list[Batch], *, left: bool) -> None:
        """Take in rows of one side. ``high``: how late it is by rows that did not get here."""
        now = self._turn.now
        self._hops = max(self._hops, hops)
        self._left = left
        self._heard = now
        if self.lookup is not None:
            self._high = max(self._high, high)
            self._leave(self.lookup.process(items, now) if items else [], batches)
            return
        streams = self.streams
        assert streams is not None  # noqa: S101  else there is a lookup
        process, observe = (
            (streams.process_left, streams.observe_left) if left else (streams.process_right, streams.observe_right)
        )
        rows = process(items, now) if items else []
        if high != BEGINNING:
            rows += observe(high, now)
        self._leave(rows, batches)

    def _leave(self, rows: list[Row], batches: list[Batch]) -> None:
        operator = self.operator
        self._ticked = self._turn.now
        if rejected := operator.take_rejected():
            self._tell(rejected)
        high = BEGINNING
        if self.streams is not None:
            watermark = self.streams.watermark
            if watermark > self._told:
                self._told = watermark
                high = watermark + HELD
        elif self.lookup is not None and not self.lookup.parked:
            high, self._high = self._high, BEGINNING
        if not rows and high == BEGINNING:
            return
        hops = self._hops
        if rows and not (self.lookup is not None and self.lookup.parked):
            self._hops = 0
        for reader in self.readers:
            reader.take(rows, hops, high, batches)

    # Time

    @property
    def next_deadline(self) -> int | None:
        """Nanoseconds; in the past: more is ready."""
        due = self.operator.next_deadline
        if self.timed and self.streams is not None and self.streams.ticking:
            tick = next_look(self._ticked, self._heard)
            return tick if due is None else min(due, tick)
        return due

    def advance(self, batches: list[Batch]) -> None:
        due = self.next_deadline
        now = self._turn.now
        if due is not None and due <= now:
            self._leave(self.operator.advance(now), batches)

    def finish(self, batches: list[Batch]) -> None:
        """The end of both sides: what is open is given as it stands."""
        while True:
            self._leave(self.operator.finish(self._turn.now), batches)
            if self.operator.next_deadline is None:
                break

    # What is refused

    @property
    def refused(self) -> Iterator[tuple[tuple[str, str], int]]:
        """Rows that the join could not use, by its label and reason."""
        return (((self.label, reason), count) for reason, count in self._refused.items())

    @property
    def outcomes(self) -> Iterator[tuple[tuple[str, str], int]]:
        """What became of rows that were not refused, by the join's label."""
        counters: Any = self.operator.counters
        names = ("emitted", "no_match", "null_key", "rows_dropped", "stale", "unanswered")
        return (((self.label, name), getattr(counters, name)) for name in names if hasattr(counters, name))

    @property
    def kept(self) -> int:
        """Rows that wait, for an answer or for a partner."""
        return self.lookup.parked if self.lookup is not None else self.streams.rows if self.streams is not None else 0

    def _tell(self, rejected: Sequence[Rejected]) -> None:
        for entry in rejected:
            reason = entry.reason
            self._refused[reason] = self._refused.get(reason, 0) + 1
            message = Message("", b"", received_ns=self._turn.now, columns=self._named(entry.row))
            text = entry.error or _REASONS.get(reason, reason)
            self._hooks.refused(self.label, message, RuleFailure("join_error", reason, text))

    def _named(self, row: Row) -> dict[str, Any]:
        """A row of one side by the names of its columns."""
        width = self.rule.join.left.width
        names = self._columns[:width] if self._left else self._columns[width:]
        return dict(zip(names, row, strict=False))

    # State

    def snapshot(self) -> list[tuple[str, bytes]]:
        """Fingerprint and state."""
        return [(self.operator.plan.fingerprint, self.operator.snapshot())]

    def restore(self, states: Sequence[tuple[str, bytes]]) -> bool:
        """Go on from a state; False, and nothing has changed, where it is that of another join."""
        if [fingerprint for fingerprint, _ in states] != [self.operator.plan.fingerprint]:
            return False
        self.operator.restore(states[0][1])
        return True


def _condition(run: Callable[..., Any], turn: Turn) -> Callable[[Row], bool]:
    """The program of an ON as a function of a joined row; it raises what goes wrong there."""

    def on(row: Row) -> bool:
        passed: list[Row] = []
        run((row,), passed.append, _raise, turn.now // 1_000)
        return bool(passed)

    return on


def _raise(row: Row, error: Exception) -> None:
    del row
    raise error
