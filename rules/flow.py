"""A query with state, and relations: programs, the operators between them, and who reads the rows.

A :class:`LoadedFlow` is a :class:`LoadedRule` whose rows may come from another flow, pass through operators, and go to
other flows beside its sinks. Rows are computed once, however many read them. Invariants: a flow sees the rows of what
it reads in their order; what an operator refuses is counted by reason and told, never dropped in silence; nothing here
knows a clock but :attr:`Turn.now`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final, Protocol

from core.clock import SECOND
from core.instants import rfc3339
from core.message import MISSING, Batch, Message, Row, Type
from core.metrics import Metrics
from rules.compiler import CompiledRule
from rules.flow_stages import HELD_ROWS, Sorter, Stage, State
from rules.limits import Limits
from rules.loaded import Hooks, LoadedRule, RuleFailure, Timer
from rules.operators import EvaluationError
from rules.windows import Rejected, WindowPlan
from rules.windows.clock import BEGINNING
from rules.windows.plan import HELD

_COUNTED: Final = frozenset({"between_windows"})
"""What is meant to be dropped is counted."""
_REASONS: Final = {
    ("window_error", "keys_full"): "the window has max_keys groups",
    ("analytic_error", "keys_full"): "there are max_keys partitions",
}


_TICK: Final = SECOND
"""Between two looks at the time of a source that has fallen silent, at least."""


def next_look(last: int, silent_since: int) -> int:
    """When to look again at a time that goes on without rows, nanoseconds: ever less often the longer it does. A
    window behind it closes late by a sixty-fourth of the silence at most."""
    return last + max(_TICK, (last - silent_since) // 64)


class Turn:
    """What all flows of an engine share in one call: the time, nanoseconds."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0


class Reader(Protocol):
    """Who takes the rows of a flow: another flow, or one side of a join."""

    @property
    def waits(self) -> bool:
        """Is there something that only the time of rows to come makes due?"""
        ...

    def take(self, items: Sequence[Any], hops: int, high: int, batches: list[Batch]) -> None: ...


class LoadedFlow(LoadedRule):
    """A flow in an engine. ``readers`` are the flows that read its rows."""

    def __init__(
        self,
        rule: CompiledRule,
        order: int,
        node: str,
        metrics: Metrics,
        hooks: Hooks,
        turn: Turn,
        loops: Collection[str] | None,
        limits: Limits,
    ) -> None:
        super().__init__(rule, order, node, metrics, hooks, loops, limits)
        self.readers: list[Reader] = []
        self.timed = False
        """Does a reader live by the time of the rows of this flow's window?"""
        self._told = BEGINNING
        self._ticked = 0
        self._turn = turn
        [part] = rule.parts
        before = [program.instantiate(node, limits) for program in part.programs[:-1]]
        self._first, *others = [*before, self._part.run]
        self._of_rows = bool(part.relation)
        sorted_ = part.result is not None
        self.stages = [Stage(step, run, whole=sorted_) for step, run in zip(part.steps, others, strict=True)]
        self._sorter = None if part.result is None else Sorter(part.result)
        self._source_time: tuple[int, int] | None = None
        self._refused: dict[str, int] = {}

    def tell_time(self) -> None:
        """A reader's window lives by the time of this source's rows, also of those that it does not get."""
        if self.rule.time is not None and self._source_time is None:
            ahead = self.rule.time.timing.max_ahead
            place = self._schema.names.index(self.rule.time.name)
            self._source_time = (place, -BEGINNING if ahead is None else ahead)

    # Rows in

    def process(self, messages: Sequence[Message], hops: int, batches: list[Batch], timer: Timer | None = None) -> None:
        started = 0 if timer is None else timer()
        self.take(messages, hops, BEGINNING, batches)
        if timer is not None:
            self._seconds.observe((timer() - started) / (SECOND * len(messages)))

    def withhold(self, messages: Sequence[Message], hops: int) -> list[Batch]:
        """Messages that this rule has republished count like others: it is the hops that end a loop of windows."""
        batches: list[Batch] = []
        self.take(messages, hops, BEGINNING, batches)
        return batches

    def take(self, items: Sequence[Any], hops: int, high: int, batches: list[Batch]) -> None:
        """Take in messages, or rows of what this flow reads. ``high``: how late it is by rows that did not get here."""
        if self.disabled is not None:
            return
        if items:
            rows = self._computed(items)
        elif high == BEGINNING:
            return
        else:
            rows = []
        if self._source_time is not None:
            place, ahead = self._source_time
            latest = self._turn.now // 1_000 + ahead
            high = max((time for time in map(itemgetter(place), rows) if time <= latest), default=high)
        self._forward(0, rows, hops, high, batches)

    def _computed(self, items: Sequence[Any]) -> list[Row]:
        rows: list[Row] = []
        self._failures = 0
        fail = self._failing if not self._patience else self._watch(items)
        if self._of_rows:
            passed = self._first(items, rows.append, fail, self._turn.now // 1_000)
        else:
            passed = self._first(items, rows.append, fail)
        count = len(items)
        gave_rows = len(rows) if passed is None else passed
        self._matched.value += count
        self._passed.value += gave_rows
        if gave_rows != count:
            self._exceptions.value += self._failures
            self._no_result.value += count - gave_rows - self._failures
        if self._patience:
            self._judge()
        return rows

    # Rows on

    def _forward(self, place: int, rows: list[Row], hops: int, high: int, batches: list[Batch]) -> None:
        """Bring rows through the stages from number ``place`` on, and out."""
        for stage in self.stages[place:]:
            operator, now = stage.operator, self._turn.now
            stage.hops = max(stage.hops, hops)
            found = operator.process(rows, now) if rows else []
            if high != BEGINNING and stage.timed is not None:
                found += stage.timed.observe(high, now)
            rows = self._result(stage, found)
            hops = self._leave(stage, rows, hops)
            high = self._time_behind(stage, high)
            if not rows and high == BEGINNING:
                return
        self._deliver(rows, hops, high, batches)

    def _time_behind(self, stage: Stage, high: int) -> int:
        """How late it is known to be behind a stage, where it is ``high`` before it. A window tells its readers how far
        it has told of all, as its rows alone do not: there may be long none."""
        window = stage.timed
        if window is None or not self.timed:
            return high if stage.keeps_time or self.timed else BEGINNING
        self._ticked = self._turn.now
        told = window.told
        if told <= self._told:
            return BEGINNING
        self._told = told
        return told + HELD

    def _leave(self, stage: Stage, rows: list[Row], hops: int) -> int:
        if rows:
            hops, stage.hops = stage.hops, 0
        return hops

    def _result(self, stage: Stage, found: list[Row]) -> list[Row]:
        """What the program behind an operator makes of its rows; the rows that the operator refused are told."""
        rejected = stage.operator.take_rejected()
        if rejected:
            self._tell(stage, rejected)
        rows: list[Row] = []
        found = stage.gathered(found)
        if found:
            failures = self._failures
            stage.run(found, rows.append, self._fail, self._turn.now // 1_000)
            self._exceptions.value += self._failures - failures
        if self._sorter is not None and stage is self.stages[-1]:
            rows = self._sorter.sort(rows)
        return rows

    def _deliver(self, rows: list[Row], hops: int, high: int, batches: list[Batch]) -> None:
        count = len(rows)
        if count:
            for target, counter in self._targets:
                counter.value += count
                batches.append(Batch(target, self.name, self._schema, rows, hops))
        for reader in self.readers:
            reader.take(rows, hops, high, batches)

    # Time

    @property
    def waits(self) -> bool:
        """Is there something that only the time of rows to come makes due?"""
        return any(stage.waits for stage in self.stages) or any(reader.waits for reader in self.readers)

    @property
    def next_deadline(self) -> int | None:
        """Nanoseconds; in the past: more is ready. One that is switched off waits for its end."""
        if self.disabled is not None:
            return None
        dues = [due for stage in self.stages if (due := self._due(stage)) is not None]
        return min(dues, default=None)

    def _due(self, stage: Stage) -> int | None:
        due = stage.operator.next_deadline
        if not self.timed or stage.timed is None:
            return due
        idle = stage.timed.clock.idle_from
        if idle is None or not any(reader.waits for reader in self.readers):
            return due
        idle *= 1_000
        tick = max(idle, next_look(self._ticked, idle))
        return tick if due is None else min(due, tick)

    def advance(self, batches: list[Batch]) -> None:
        """Let operators act on the time that has passed, each once: what one call does is bounded."""
        now = self._turn.now
        for place, stage in enumerate(self.stages):
            due = self._due(stage)
            if due is not None and due <= now and self.disabled is None:
                self._emit(place, stage, stage.operator.advance(now), batches)

    def finish(self, batches: list[Batch]) -> None:
        """The end of the stream: what is open is given as it stands."""
        for place, stage in enumerate(self.stages):
            while True:
                self._emit(place, stage, stage.operator.finish(self._turn.now), batches)
                if stage.operator.next_deadline is None:
                    break

    def _emit(self, place: int, stage: Stage, found: list[Row], batches: list[Batch]) -> None:
        rows = self._result(stage, found)
        high = self._time_behind(stage, BEGINNING)
        if rows or high != BEGINNING:
            self._forward(place + 1, rows, self._leave(stage, rows, 0), high, batches)

    # What is refused

    @property
    def refused(self) -> Iterator[tuple[tuple[str, str], int]]:
        """Rows that operators could not use, by rule and reason."""
        return (((self.name, reason), count) for reason, count in self._refused.items())

    @property
    def given_up(self) -> Iterator[tuple[tuple[str, str], int]]:
        """What operators lost at a limit after they had taken it, by rule and kind."""
        for stage in self.stages:
            counters = stage.operator.counters
            for what in counters.GIVEN_UP:
                count = getattr(counters, what)
                if count:
                    yield (self.name, what), count

    def _tell(self, stage: Stage, rejected: Sequence[Rejected]) -> None:
        columns = self.rule.parts[0].programs[self.stages.index(stage)].columns
        for row in rejected:
            reason = row.reason
            self._refused[reason] = self._refused.get(reason, 0) + 1
            if reason in _COUNTED:
                continue
            kind = "window_error" if isinstance(stage.plan, WindowPlan) else "analytic_error"
            failure = RuleFailure(kind, reason, row.error or _REASONS.get((kind, reason), reason))
            subject = self._subject(row.row[-1], columns)
            self._hooks.refused(self.name, subject, failure, reported=self._reports is not None)

    def _fail(self, message: Any, error: Exception) -> None:
        if type(message) is tuple:
            message = self._subject(message, self._program_of(error).columns)
        super()._fail(message, error)

    def _subject(self, item: Any, columns: Sequence[tuple[str, Type]]) -> Message:
        """A row of these columns as a message without a topic, for those who are told of it."""
        if type(item) is not tuple:
            found: Message = item
            return found
        told = {
            name: rfc3339(value) if kind is Type.TIMESTAMP and type(value) is int else value
            for (name, kind), value in zip(columns, item, strict=True)
            if value is not MISSING
        }
        return Message("", b"", received_ns=self._turn.now, columns=told)

    def _settle(self, message: Message) -> EvaluationError | None:
        return super()._settle(message) if message.topic else None

    # State

    def snapshot(self) -> list[State]:
        return [saved for stage in self.stages for saved in stage.snapshot()]

    def restore(self, states: Sequence[State]) -> bool:
        """Go on from states; False, and nothing has changed, where they are those of another query."""
        own = [saved for saved in states if not saved[0].startswith(HELD_ROWS)]
        held = dict(states)
        if [fingerprint for fingerprint, _ in own] != [stage.plan.fingerprint for stage in self.stages]:
            return False
        for stage, (fingerprint, saved) in zip(self.stages, own, strict=True):
            stage.restore(saved, held.get(f"{HELD_ROWS}{fingerprint}"))
        return True
