"""The rule engine: messages in, batches of rows out. Pure: no I/O, no clock, nothing that waits.

:meth:`Engine.load` swaps one immutable snapshot of the rules between two calls of :meth:`Engine.process`. Messages
that still carry the match of an earlier snapshot are matched again. A message that a rule fails on is counted and
reported, and the others go on; ``process`` itself never raises for what a message holds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from core.errors import HeadraceError
from core.message import MISSING, Batch, Message, Row
from core.metrics import Counter, Metrics
from core.topic_index import TopicIndex
from rules.compiler import CompiledRule, RuleSet
from rules.operators import EvaluationError, explained
from rules.paths import document

OnError = Callable[[str, Message, Exception], None]

_MAX_COMBINATIONS: Final = 65_536
_DECODING: Final = (msgspec.DecodeError, UnicodeError, RecursionError)


class RuleFailure(HeadraceError):
    """A rule failed on one message. ``stage`` is EMQX's error class, ``code`` a stable word for what went wrong."""

    def __init__(self, stage: str, code: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage
        self.code = code


class LoadedRule:
    """A rule in an engine: its function and its counters."""

    def __init__(self, rule: CompiledRule, order: int, node: str, metrics: Metrics, on_error: OnError | None) -> None:
        self.rule = rule
        self.name = rule.name
        self.target = rule.target
        self.order = order
        self._schema = rule.schema
        self._run = rule.program.instantiate(node)
        self._on_error = on_error
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

    def process(self, messages: Sequence[Message], hops: int) -> Batch | None:
        """The rows of messages that match the rule, None where there are none."""
        rows: list[Row] = []
        self._failures = 0
        passed = self._run(messages, rows.append, self._fail)
        gave_rows = len(rows) if passed is None else passed
        self._matched.value += len(messages)
        self._passed.value += gave_rows
        self._exceptions.value += self._failures
        self._no_result.value += len(messages) - gave_rows - self._failures
        return Batch(self.target, self.name, self._schema, rows, hops) if rows else None

    def withhold(self, messages: Sequence[Message]) -> None:
        """The loop guard: messages that this very rule republished run its SQL, but give no rows (emqx.md 1.9)."""
        batch = self.process(messages, 0)
        if batch is not None:
            self._recursive.value += len(batch.rows)

    def _fail(self, message: Message, error: Exception) -> None:
        self._failures += 1
        if self._on_error is not None:
            self._on_error(self.name, message, self._failure(message, error))
        elif isinstance(error, _DECODING):
            self._settle(message)

    def _failure(self, message: Message, error: Exception) -> RuleFailure:
        cause = self._settle(message) if isinstance(error, _DECODING) else None
        known = cause or explained(error)
        place = error.__traceback__
        stage = self.rule.program.stage(place.tb_lineno if place is not None else 0)
        return RuleFailure(stage, known.code, str(known))

    @staticmethod
    def _settle(message: Message) -> EvaluationError | None:
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


Rules = tuple[LoadedRule, ...]


class _Snapshot:
    """The rules of one load. Topics that match the same rules share one tuple, so tuples can be told by identity."""

    def __init__(self, rules: Iterable[LoadedRule] = ()) -> None:
        self.rules = tuple(rules)
        self._index: TopicIndex[LoadedRule] = TopicIndex()
        for rule in self.rules:
            for topic_filter in rule.rule.filters:
                self._index.add(topic_filter, rule)
        self._combinations: dict[Rules, Rules] = {}
        self.identities: set[int] = set()

    def match(self, topic: str) -> Rules:
        found = tuple(sorted(self._index.match(topic), key=lambda rule: rule.order))
        known = self._combinations.get(found)
        if known is None:
            if len(self._combinations) >= _MAX_COMBINATIONS:
                self._combinations.clear()
                self.identities.clear()
            known = self._combinations[found] = found
            if found:  # the empty tuple is the same object in every snapshot
                self.identities.add(id(found))
        return known


class Engine:
    """Runs the loaded rules. ``on_error(rule, message, failure)`` hears of every failure (:class:`RuleFailure`)."""

    def __init__(self, metrics: Metrics, *, node: str = "headrace", on_error: OnError | None = None) -> None:
        self._metrics = metrics
        self._node = node
        self._on_error = on_error
        self._snapshot = _Snapshot()

    @property
    def rules(self) -> Rules:
        return self._snapshot.rules

    def load(self, rules: RuleSet) -> None:
        """Replace all rules; the caller clears the match cache. Disabled rules are left out."""
        enabled = [rule for rule in rules.rules if rule.options.enabled]
        self._snapshot = _Snapshot(
            LoadedRule(rule, order, self._node, self._metrics, self._on_error) for order, rule in enumerate(enabled)
        )

    def rules_for(self, topic: str) -> Rules:
        """The rules that read a topic, in their order; the same combination of rules is the same object."""
        return self._snapshot.match(topic)

    def process(self, messages: Sequence[Message], now: int) -> list[Batch]:
        """The batches that these messages give, rule by rule; each rule sees its messages in their order.

        Messages that rules have republished come in batches of their own, by the number of their hops.
        """
        del now  # stateless rules know no time but a message's own
        groups = self._group(messages)
        batches: list[Batch] = []
        for rule, hops, own in _per_rule(groups, messages, self._rules_of):
            if hops:
                looped = [message for message in own if message.publisher.rule == rule.name]
                if looped:
                    rule.withhold(looped)
                    own = [message for message in own if message.publisher.rule != rule.name]  # noqa: PLW2901
                    if not own:
                        continue
            batch = rule.process(own, hops)
            if batch is not None:
                batches.append(batch)
        return batches

    def advance(self, now: int) -> list[Batch]:
        """What became due by ``now``: nothing, as no rule keeps state."""
        del now
        return []

    @property
    def next_deadline(self) -> int | None:
        """When :meth:`advance` wants to be called, nanoseconds since the epoch; None: never."""
        return None

    def _rules_of(self, message: Message) -> Rules:
        match = message.match
        if match is not None and id(match.rules) in self._snapshot.identities:
            return match.rules
        return self._snapshot.match(message.topic)

    def _group(self, messages: Sequence[Message]) -> Mapping[tuple[int, int], tuple[Rules, Sequence[Message]]]:
        """Messages by their combination of rules and their hops."""
        current = self._snapshot.identities
        # Most batches are one group: devices' messages on topics that the same rules read. That is told first.
        rules = self._rules_of(messages[0]) if messages else ()
        for message in messages:
            match = message.match
            if match is None or match.rules is not rules or message.publisher.hops:
                break
        else:
            return {(id(rules), 0): (rules, messages)}
        groups: dict[tuple[int, int], tuple[Rules, list[Message]]] = {}
        last: object = None
        last_hops = 0
        run: list[Message] = []
        append = run.append
        for message in messages:
            match = message.match
            hops = message.publisher.hops
            if match is not None and match.rules is last and hops == last_hops:
                append(message)
                continue
            rules = match.rules if match is not None and id(match.rules) in current else self._rules_of(message)
            group = groups.get((id(rules), hops))
            if group is None:
                group = groups[id(rules), hops] = (rules, [])
            append = group[1].append
            append(message)
            last, last_hops = rules, hops
        return groups


def _per_rule(
    groups: Mapping[tuple[int, int], tuple[Rules, Sequence[Message]]],
    messages: Sequence[Message],
    rules_of: Callable[[Message], Rules],
) -> Iterable[tuple[LoadedRule, int, Sequence[Message]]]:
    """Rule, hops and messages, in the order of the rules; a rule in several groups gets its messages in order."""
    if len(groups) == 1:
        [((_, hops), (rules, own))] = groups.items()
        return [(rule, hops, own) for rule in rules]
    parts: dict[tuple[int, int], list[Sequence[Message]]] = defaultdict(list)
    loaded: dict[int, LoadedRule] = {}
    for (_, hops), (rules, own) in groups.items():
        for rule in rules:
            parts[hops, rule.order].append(own)
            loaded[rule.order] = rule
    found: list[tuple[LoadedRule, int, Sequence[Message]]] = []
    for (hops, order), lists in sorted(parts.items(), key=lambda part: part[0]):
        rule = loaded[order]
        if len(lists) == 1:
            found.append((rule, hops, lists[0]))
        else:
            own = [m for m in messages if m.publisher.hops == hops and rule in rules_of(m)]
            found.append((rule, hops, own))
    return found
