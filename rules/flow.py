"""A query with state, and relations: programs, the operators between them, and who reads the rows.

A :class:`LoadedFlow` is a :class:`LoadedRule` whose rows may come from another flow, pass through operators, and go to
other flows beside its sinks. Rows are computed once, however many read them. Invariants: a flow sees the rows of what
it reads in their order; what an operator refuses is counted by reason and told, never dropped in silence; nothing here
knows a clock but :attr:`Turn.now`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cmp_to_key
from operator import itemgetter
from typing import Any, Final, Protocol

from core.clock import SECOND
from core.instants import rfc3339
from core.message import MISSING, Batch, Message, Row, Type
from core.metrics import Metrics
from rules.analytics import AnalyticOperator
from rules.analytics import build as build_analytics
from rules.compiler import CompiledRule
from rules.functions.ordering import term_order
from rules.limits import Limits
from rules.loaded import Hooks, LoadedRule, RuleFailure, Timer
from rules.operators import EvaluationError
from rules.parts import Step
from rules.split import Result
from rules.windows import EventTime, Rejected, WindowOperator, WindowPlan, build
from rules.windows.clock import BEGINNING

_TELLS_LATE: Final = frozenset({"late", "ahead", "no_time"})
"""What is wrong with a row's time goes to ``system.late_rows``."""
_COUNTED: Final = frozenset({"between_windows"})
"""What is meant to be dropped is counted."""
_REASONS: Final = {
    ("window_error", "keys_full"): "the window has max_keys groups",
    ("analytic_error", "keys_full"): "there are max_keys partitions",
}


class Turn:
    """What all flows of an engine share in one call: the time, nanoseconds."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0


class Stage:
    """An operator, and what waits behind it to be sorted. ``hops`` are the most of the rows since the last result."""

    def __init__(self, step: Step, run: Callable[..., int | None]) -> None:
        plan = step.plan
        self.plan = plan
        self.run = run
        self.hops = 0
        self.operator: WindowOperator | AnalyticOperator
        self.timed: WindowOperator | None = None
        """The operator, where it counts in event time."""
        self.keeps_time = False
        """Do rows come out as they come in, so that what is known of the time of others holds behind it?"""
        if isinstance(plan, WindowPlan):
            self.operator = window = build(plan)
            self.timed = window if isinstance(plan.timing, EventTime) else None
        else:
            self.operator = build_analytics(plan)
            self.keeps_time = not plan.looks_ahead


class Reader(Protocol):
    """Who takes the rows of a flow: another flow, or one side of a join."""

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
        self._turn = turn
        [part] = rule.parts
        first, *others = [program.instantiate(node, limits) for program in part.programs]
        self._first = first
        self._of_rows = bool(part.relation)
        self.stages = [Stage(step, run) for step, run in zip(part.steps, others, strict=True)]
        self._sorter = None if part.result is None else _Sorter(part.result)
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
            if not stage.keeps_time:
                high = BEGINNING
            if not rows and high == BEGINNING:
                return
        self._deliver(rows, hops, high, batches)

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
        if found:
            failures = self._failures
            stage.run(found, rows.append, self._fail, self._turn.now // 1_000)
            self._exceptions.value += self._failures - failures
        if self._sorter is not None and stage is self.stages[-1]:
            due = stage.operator.next_deadline
            rows = self._sorter.sort(rows, more=due is not None and due <= self._turn.now)
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
    def next_deadline(self) -> int | None:
        """Nanoseconds; in the past: more is ready."""
        dues = [due for stage in self.stages if (due := stage.operator.next_deadline) is not None]
        return min(dues, default=None)

    def advance(self, batches: list[Batch]) -> None:
        """Let operators act on the time that has passed, each once: what one call does is bounded."""
        now = self._turn.now
        for place, stage in enumerate(self.stages):
            due = stage.operator.next_deadline
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
        if rows:
            self._forward(place + 1, rows, self._leave(stage, rows, 0), BEGINNING, batches)

    # What is refused

    @property
    def refused(self) -> Iterator[tuple[tuple[str, str], int]]:
        """Rows that operators could not use, by rule and reason."""
        return (((self.name, reason), count) for reason, count in self._refused.items())

    def _tell(self, stage: Stage, rejected: Sequence[Rejected]) -> None:
        columns = self.rule.parts[0].programs[self.stages.index(stage)].columns
        for row in rejected:
            reason = row.reason
            self._refused[reason] = self._refused.get(reason, 0) + 1
            if reason in _COUNTED:
                continue
            subject = self._subject(row.row[-1], columns)
            if reason in _TELLS_LATE:
                if self._hooks.on_late is not None:
                    self._hooks.on_late(self.name, subject, reason)
            elif self._reports is not None:
                kind = "window_error" if isinstance(stage.plan, WindowPlan) else "analytic_error"
                text = row.error or _REASONS.get((kind, reason), reason)
                self._reports(self.name, subject, RuleFailure(kind, reason, text))

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

    def snapshot(self) -> list[tuple[str, bytes]]:
        """Fingerprint and state of every stage."""
        return [(stage.plan.fingerprint, stage.operator.snapshot()) for stage in self.stages]

    def restore(self, states: Sequence[tuple[str, bytes]]) -> bool:
        """Go on from states; False, and nothing has changed, where they are those of another query."""
        if [fingerprint for fingerprint, _ in states] != [stage.plan.fingerprint for stage in self.stages]:
            return False
        for stage, (_, state) in zip(self.stages, states, strict=True):
            stage.operator.restore(state)
        return True


class _Sorter:
    """Sorts and cuts the rows of each window. They come window by window, perhaps over several calls; two hidden
    values at the end of a row are the boundaries of its window."""

    def __init__(self, result: Result) -> None:
        self._result = result
        self._window: Row | None = None
        self._rows: list[Row] = []
        width = result.width
        self._keys = [
            (cmp_to_key(_order(width + place, descending, nulls_first)))
            for place, (descending, nulls_first) in enumerate(result.order)
        ]

    def sort(self, rows: Sequence[Row], *, more: bool) -> list[Row]:
        """The rows of the windows that are complete; all of them where there is no ``more``."""
        done: list[Row] = []
        for row in rows:
            window = row[-2:]
            if window != self._window:
                done += self._flush()
                self._window = window
            self._rows.append(row)
        if not more:
            done += self._flush()
        return done

    def _flush(self) -> list[Row]:
        rows, self._rows, self._window = self._rows, [], None
        for key in reversed(self._keys):
            rows.sort(key=key)
        width, limit = self._result.width, self._result.limit
        return [row[:width] for row in rows[:limit]]


def _order(place: int, descending: bool, nulls_first: bool) -> Callable[[Row, Row], int]:
    sign = -1 if descending else 1
    before = -1 if nulls_first else 1

    def order(one: Row, two: Row) -> int:
        left, right = one[place], two[place]
        no_left, no_right = left is None or left is MISSING, right is None or right is MISSING
        if no_left or no_right:
            return before * (no_left - no_right)
        return sign * term_order(left, right)

    return order
