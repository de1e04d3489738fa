"""A rule in an engine: its function, its counters, and what becomes of messages that it fails on.

A message that a rule fails on is counted and reported, and the others go on; ``process`` itself never raises for what
a message holds. A rule may ask to be switched off after many failures in a row (``on_error = 'disable'``): it then
costs a look at its flag until the next load.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final, NamedTuple

import msgspec

from core.clock import SECOND
from core.errors import HeadraceError
from core.message import MISSING, SYSTEM_ERRORS, Batch, Message, Row, Schema
from core.metrics import Counter, Metrics
from rules.codegen import Program
from rules.compiler import CompiledRule
from rules.limits import DEFAULT, Limits
from rules.operators import EvaluationError, explained
from rules.parts import Part
from rules.paths import document

OnError = Callable[[str, Message, Exception], None]
OnDisabled = Callable[[str, str], None]
OnLate = Callable[[str, Message, str], None]

Timer = Callable[[], int]
"""Nanoseconds of a clock that only goes forward."""

_SECONDS: Final = (1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 1e-2, 0.1, 1.0)
_WRONG_TIME: Final = frozenset({"late", "ahead", "no_time"})
"""Why operators refuse rows for ``system.late_rows``."""
_DECODING: Final = (msgspec.DecodeError, UnicodeError, RecursionError)


class RuleFailure(HeadraceError):
    """A rule failed on one message. ``stage`` is EMQX's error class, ``code`` a stable word for what went wrong."""

    def __init__(self, stage: str, code: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage
        self.code = code


class Hooks(NamedTuple):
    """Who hears of what: ``on_error(rule, message, failure)`` of messages, ``on_disabled(rule, reason)`` of rules,
    ``on_late(rule, message, reason)`` of what came at the wrong time. A row of a relation is told as a message without
    a topic, by its ``columns``."""

    on_error: OnError | None = None
    on_disabled: OnDisabled | None = None
    on_late: OnLate | None = None

    def refused(self, rule: str, message: Message, failure: RuleFailure, *, reported: bool = True) -> None:
        """An operator did not take a row: what came at the wrong time is late, anything else a failure."""
        if failure.code in _WRONG_TIME:
            if self.on_late is not None:
                self.on_late(rule, message, failure.code)
        elif reported and self.on_error is not None:
            self.on_error(rule, message, failure)


class RuleCounts(NamedTuple):
    """Messages since the start, as EMQX counts them: ``matched`` = ``passed`` + ``no_result`` + ``exception``; and the
    rows made for each sink."""

    matched: int
    passed: int
    no_result: int
    exception: int
    rows: Mapping[str, int]


class _LoadedPart:
    """A part of a rule with its function."""

    __slots__ = ("part", "run")

    def __init__(self, part: Part, node: str, limits: Limits) -> None:
        self.part = part
        self.run = part.program.instantiate(node, limits)


_Rows = tuple[Schema, list[Row]]


class LoadedRule:
    """A rule in an engine: its function and its counters.

    ``disabled`` says why it was switched off, None while it runs. ``loops`` are the targets that would bring its rows
    back to the rules of this process.
    """

    def __init__(
        self,
        rule: CompiledRule,
        order: int,
        node: str,
        metrics: Metrics,
        hooks: Hooks,
        loops: Collection[str] | None = None,
        limits: Limits = DEFAULT,
    ) -> None:
        self.rule = rule
        self.name = rule.name
        self.order = order
        self.disabled: str | None = None
        self._targets = [
            (
                name,
                metrics.counter(
                    "headrace_rule_rows_total", "Rows that the rule has made for a sink", rule=rule.name, sink=name
                ),
            )
            for name in rule.targets
        ]
        self._seconds = metrics.histogram(
            "headrace_rule_seconds",
            "Time that the rule takes for a message, the mean of a batch; of samples, at most ten a second",
            _SECONDS,
            rule=rule.name,
        )
        self._open = [target for target in self._targets if loops is not None and target[0] not in loops]
        self._parts = [_LoadedPart(part, node, limits) for part in rule.parts]
        self._part = self._parts[0]
        self._schema = self._part.part.schema
        self._by_topic = {topic: part for part in self._parts for topic in part.part.filters}
        self._hooks = hooks
        self._reports = hooks.on_error if rule.options.on_error != "ignore" else None
        self._patience = rule.options.disable_after if rule.options.on_error == "disable" else 0
        # Nearly every rule has one part and stays on: what it takes for a batch is at hand.
        self._run = self._part.run if len(self._parts) == 1 and not self._patience else None
        self._failing = self._fail
        self._messages: Sequence[Message] = ()
        self._place = 0
        self._streak = 0
        self._failures = 0
        self._matched = metrics.counter(
            "headrace_rule_matched_total", "Messages whose topic matched the rule", rule=rule.name
        )
        self._passed = metrics.counter(
            "headrace_rule_passed_total", "Messages that gave at least one row", rule=rule.name
        )
        self._no_result = _failed(metrics, rule.name, "no_result")
        self._exceptions = _failed(metrics, rule.name, "exception")
        self._recursive = metrics.counter(
            "headrace_rule_recursive_republish_total",
            "Rows withheld because their message came from the rule itself",
            rule=rule.name,
        )

    def process(self, messages: Sequence[Message], hops: int, batches: list[Batch], timer: Timer | None = None) -> None:
        """Add the rows of messages that match the rule to ``batches``, one per target; they share the list of rows.

        A rule of several parts gives several, so that each target gets the rows in the order of the messages.
        """
        run = self._run
        if run is None or timer is not None:
            batches += self._timed(messages, hops, timer)
            return
        # With one message at a time this is most of what a rule costs: see benchmarks/bench_rule.py.
        rows: list[Row] = []
        self._failures = 0
        passed = run(messages, rows.append, self._failing)
        count = len(messages)
        made = len(rows)
        gave_rows = made if passed is None else passed
        self._matched.value += count
        if gave_rows != count:
            self._exceptions.value += self._failures
            self._no_result.value += count - gave_rows - self._failures
        if made:
            self._passed.value += gave_rows
            for target, counter in self._targets:
                counter.value += made
                batches.append(Batch(target, self.name, self._schema, rows, hops))

    def _timed(self, messages: Sequence[Message], hops: int, timer: Timer | None) -> list[Batch]:
        if timer is None:
            return self._batches(self._rows(messages), hops, self._targets)
        started = timer()
        found = self._rows(messages)
        self._seconds.observe((timer() - started) / (SECOND * len(messages)))
        return self._batches(found, hops, self._targets)

    def _batches(self, found: Iterable[_Rows], hops: int, targets: list[tuple[str, Counter]]) -> list[Batch]:
        batches: list[Batch] = []
        for schema, rows in found:
            for target, counter in targets:
                counter.value += len(rows)
                batches.append(Batch(target, self.name, schema, rows, hops))
        return batches

    def _rows(self, messages: Sequence[Message]) -> list[_Rows]:
        found: list[_Rows] = []
        gave_rows = 0
        self._failures = 0
        fail = self._fail if not self._patience else self._watch(messages)
        for part, own in self._runs(messages):
            self._part = part
            rows: list[Row] = []
            passed = part.run(own, rows.append, fail)
            gave_rows += len(rows) if passed is None else passed
            if rows:
                found.append((part.part.schema, rows))
        self._matched.value += len(messages)
        self._passed.value += gave_rows
        self._exceptions.value += self._failures
        self._no_result.value += len(messages) - gave_rows - self._failures
        if self._patience:
            self._judge()
        return found

    def _runs(self, messages: Sequence[Message]) -> Iterable[tuple[_LoadedPart, Sequence[Message]]]:
        """The messages, cut where another part of the rule must go on."""
        if len(self._parts) == 1:
            return [(self._part, messages)]
        return [(part, list(run)) for part, run in groupby(messages, self._part_of)]

    def _part_of(self, message: Message) -> _LoadedPart:
        if message.columns is None:
            return self._parts[0]  # messages of topics come first: see rules.sources.kinds_of
        return self._by_topic[message.topic]

    def withhold(self, messages: Sequence[Message], hops: int) -> list[Batch]:
        """The loop guard: messages that this very rule has republished run its SQL, but their rows do not go where they
        would be republished again (emqx.md 1.9). What is told of the rule's own trouble gives it no rows at all.
        """
        batches: list[Batch] = []
        for trouble in (False, True):
            own = [message for message in messages if (message.topic == SYSTEM_ERRORS) is trouble]
            found = self._rows(own) if own else []
            targets = [] if trouble else self._open
            if len(targets) < len(self._targets):
                self._recursive.value += sum(len(rows) for _, rows in found)
            batches += self._batches(found, hops, targets)
        return batches

    @property
    def counts(self) -> RuleCounts:
        return RuleCounts(
            matched=int(self._matched.value),
            passed=int(self._passed.value),
            no_result=int(self._no_result.value),
            exception=int(self._exceptions.value),
            rows={name: int(counter.value) for name, counter in self._targets},
        )

    def _fail(self, message: Message, error: Exception) -> None:
        self._failures += 1
        if self._reports is not None:
            self._reports(self.name, message, self._failure(message, error))
        elif isinstance(error, _DECODING):
            self._settle(message)

    # Failures in a row

    def _watch(self, messages: Sequence[Message]) -> Callable[[Message, Exception], None]:
        self._messages = messages
        self._place = 0
        return self._fail_in_a_row

    def _fail_in_a_row(self, message: Message, error: Exception) -> None:
        place = self._place
        while self._messages[place] is not message:
            place += 1
        self._streak = self._streak + 1 if place == self._place else 1
        self._place = place + 1
        if self._streak >= self._patience and self.disabled is None:
            known = explained(error)
            self.disabled = f"{self._streak} messages in a row failed, the last with: {known}"
        self._fail(message, error)

    def _judge(self) -> None:
        if self._place < len(self._messages):
            self._streak = 0
        self._messages = ()
        if self.disabled is not None:
            self._patience = 0
            if self._hooks.on_disabled is not None:
                self._hooks.on_disabled(self.name, self.disabled)

    def _failure(self, message: Message, error: Exception) -> RuleFailure:
        cause = self._settle(message) if isinstance(error, _DECODING) else None
        known = cause or explained(error)
        place = error.__traceback__
        stage = self._program_of(error).stage(place.tb_lineno if place is not None else 0)
        return RuleFailure(stage, known.code, str(known))

    def _program_of(self, error: Exception) -> Program:
        """The program that has raised an error."""
        place = error.__traceback__
        name = "" if place is None else place.tb_frame.f_code.co_filename
        programs = self._part.part.programs
        return next((program for program in programs if program.code.co_filename == name), programs[-1])

    def _settle(self, message: Message) -> EvaluationError | None:
        """Note on the message that its payload cannot be decoded, for the rules that come after this one."""
        if message.document is not MISSING:
            return None
        try:
            document(message)
        except EvaluationError as error:
            return error
        return None


def _failed(metrics: Metrics, rule: str, reason: str) -> Counter:
    return metrics.counter(
        "headrace_rule_failed_total", "Messages that gave no row, by reason", rule=rule, reason=reason
    )
