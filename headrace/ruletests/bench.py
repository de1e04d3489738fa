"""One test through the engine: its steps in, the rows of every sink and every failure out.

Time is the test's: it moves by the steps alone, and whatever the engine wants to do on the way
(:attr:`~rules.runtime.Engine.next_deadline`) is done at its own time, before a message of the same instant. A rule's
failure is told to the rules that read ``system.errors``, as in the service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec

from core.errors import HeadraceError
from core.message import Batch, Message, Publisher, Row, Schema
from core.metrics import Metrics
from headrace.deadletters import DeadLetters
from headrace.ruletests.events import message_of
from headrace.ruletests.settings import Given, MessageProperties, RuleTest
from headrace.ruletests.steady import Steady
from headrace.ruletests.values import Payload
from rules.columns import SYSTEM_NAMES
from rules.compiler import RuleSet
from rules.joins import Key
from rules.loaded import RuleFailure
from rules.runtime import Engine
from rules.sources import source_name


@dataclass(frozen=True, slots=True)
class ActualRow:
    """A row that a sink would get, from ``rule``."""

    rule: str
    schema: Schema
    values: Row


@dataclass(frozen=True, slots=True)
class Failure:
    """A rule failed on the message of step ``step`` (None: on one about an earlier failure)."""

    rule: str
    stage: str
    code: str
    text: str
    topic: str
    step: int | None


@dataclass(slots=True)
class Result:
    """What came of a test. ``unread`` are the steps whose messages no rule reads; ``disabled`` are pairs of a step and
    why a rule was switched off in it (``on_error = 'disable'``)."""

    rows: dict[str, list[ActualRow]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    unread: list[int] = field(default_factory=list)
    disabled: list[tuple[int | None, str]] = field(default_factory=list)


class StepError(HeadraceError):
    """Step number ``step`` of a test is impossible."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


Tables = Mapping[str, Mapping[Key, Sequence[Row]]]
"""The rows of lookup tables by name and key."""


def run(test: RuleTest, rules: RuleSet, steady: Steady, tables: Tables = MappingProxyType({})) -> Result:
    """Run one test; StepError where time would have to go backwards."""
    steady.begin(test.start.nanoseconds)
    return _Bench(test, rules, steady, tables).run()


class _Bench:
    def __init__(self, test: RuleTest, rules: RuleSet, steady: Steady, tables: Tables) -> None:
        self._tables = tables
        self._test = test
        self._clock = steady.clock
        self._result = Result()
        self._step: int | None = None
        self._publishers: dict[tuple[str, str | None, str, int], Publisher] = {}
        self._told: list[Message] = []
        self._later: list[Callable[[], None]] = []
        metrics = Metrics()
        self._dead = DeadLetters(
            self._clock,
            metrics,
            append=self._told.extend,
            wanted=lambda topic: bool(self._engine.rules_for(topic)),
            full=lambda: False,
            call_soon=self._later.append,
        )
        self._engine = Engine(metrics, on_error=self._failed, on_disabled=self._disabled, on_late=self._dead.late)
        self._engine.load(rules)
        for name, table in self._engine.lookup_tables.items():
            if table.options.is_static:
                table.replace({key: tuple(rows) for key, rows in tables.get(name, {}).items()})

    def run(self) -> Result:
        for index, step in enumerate(self._test.given):
            self._step = index
            self._pass_time(self._time_of(step, index))
            if step.advance is None:
                message = _message(step, self._publisher(step), self._clock.now())
                if not self._engine.rules_for(message.topic):
                    self._result.unread.append(index)
                self._process([message])
        return self._result

    def _publisher(self, step: Given) -> Publisher:
        """Who the message is from: the same client at the same address is one connection for the whole test."""
        host, port = ("", 0) if step.peer is None else (step.peer.host, step.peer.port)
        key = (step.clientid, step.username, host, port)
        known = self._publishers.get(key)
        if known is None:
            known = Publisher(step.clientid, username=step.username, peer_host=host, peer_port=port)
            self._publishers[key] = known
        return known

    def _time_of(self, step: Given, index: int) -> int:
        now = self._clock.now()
        if step.advance is not None:
            return now + step.advance
        if step.at is None:
            return now
        time = step.at.nanoseconds + (self._test.start.nanoseconds if step.at.relative else 0)
        if time < now:
            raise StepError("`at` is before the step above it, and time does not go backwards", index)
        return time

    def _pass_time(self, until: int) -> None:
        """Move the clock, and let the engine do at each of its deadlines what it wants to do then."""
        while (deadline := self._engine.next_deadline) is not None and deadline <= until:
            self._move(deadline)
            self._take(self._engine.advance(self._clock.now()))
        self._move(until)

    def _move(self, time: int) -> None:
        self._clock.advance(max(time - self._clock.now(), 0))

    def _process(self, messages: list[Message]) -> None:
        self._take(self._engine.process(messages, self._clock.now()))
        self._answer()

    def _answer(self) -> None:
        """Lookup tables answer at once."""
        now = self._clock.now()
        for name, table in self._engine.lookup_tables.items():
            rows = self._tables.get(name, {})
            while keys := table.take_requests(now):
                self._take(self._engine.resolve(table, {key: rows.get(key, ()) for key in keys}, now))

    def _take(self, batches: list[Batch]) -> None:
        for batch in batches:
            rows = self._result.rows.setdefault(batch.target, [])
            rows += [ActualRow(batch.rule, batch.schema, row) for row in batch.rows]
        while self._later:
            later, self._later[:] = self._later[:], []
            for call in later:
                call()
            told, self._told[:] = self._told[:], []
            step, self._step = self._step, None
            if told:
                self._process(told)
            self._step = step

    def _disabled(self, rule: str, reason: str) -> None:
        self._result.disabled.append((self._step, f"rule {rule} is switched off: {reason}"))

    def _failed(self, rule: str, message: Message, error: Exception) -> None:
        stage, code = (error.stage, error.code) if isinstance(error, RuleFailure) else ("", type(error).__name__)
        topic = SYSTEM_NAMES.get(message.topic) or source_name(message.topic)
        self._result.failures.append(Failure(rule, stage, code, str(error), topic, self._step))
        self._dead.failed(rule, message, error)


def _message(step: Given, publisher: Publisher, now: int) -> Message:
    if step.event is not None:
        return message_of(step.event, step.columns, publisher, step.payload.data, step.qos, now)
    return Message(
        topic=step.topic or "",
        payload=step.payload.data,
        qos=step.qos,
        retain=step.retain,
        properties=None if step.properties is None else _properties(step.properties),
        publisher=publisher,
        received_ns=now,
    )


def _properties(properties: MessageProperties) -> dict[str, Any]:
    """As the broker hands them on (``broker.properties``)."""
    found: dict[str, Any] = {}
    for name, value in msgspec.structs.asdict(properties).items():
        if isinstance(value, Payload):
            found[name] = value.data
        elif isinstance(value, dict):
            if value:
                found[name] = list(value.items())
        elif value is not None:
            found[name] = value
    return found
