"""The rule engine: messages in, batches of rows out. Pure: no I/O, no clock, nothing that waits.

:meth:`Engine.load` swaps one immutable snapshot of the rules between two calls of :meth:`Engine.process`. Messages
that still carry the match of an earlier snapshot are matched again. ``process`` itself never raises for what a message
holds. Queries with state go on over a load as far as they stay what they were (``flow``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from core.clock import MILLISECOND
from core.message import Batch, Message
from core.metrics import Metrics
from core.topic_index import TopicIndex
from rules.compiler import CompiledRule, RuleSet
from rules.flow import LoadedFlow, Turn
from rules.limits import DEFAULT, Limits
from rules.loaded import Hooks, LoadedRule, OnDisabled, OnError, OnLate, Timer

_MAX_COMBINATIONS: Final = 65_536
_TIMING: Final = 100 * MILLISECOND
"""So much time between two calls whose rules are timed: the others pay a comparison."""

Rules = tuple[LoadedRule, ...]


class _Snapshot:
    """The rules of one load. Topics that match the same rules share one tuple, so tuples can be told by identity."""

    def __init__(self, loaded: Iterable[LoadedRule] = ()) -> None:
        found = tuple(loaded)
        self.rules = tuple(rule for rule in found if rule.rule.kind == "rule")
        self.flows = tuple(rule for rule in found if isinstance(rule, LoadedFlow))
        self.stateful = tuple(flow for flow in self.flows if flow.stages)
        self._index: TopicIndex[LoadedRule] = TopicIndex()
        for rule in found:
            for topic_filter in rule.rule.filters:
                self._index.add(topic_filter, rule)
        _connect(self.flows)
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
    """Runs the loaded rules. ``on_error(rule, message, failure)`` hears of every failure (:class:`RuleFailure`),
    ``on_disabled(rule, reason)`` of rules that are switched off because they fail on everything,
    ``on_late(rule, message, reason)`` of rows that came at the wrong time for a window. With a ``timer`` rules are
    timed now and then."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        node: str = "headrace",
        on_error: OnError | None = None,
        on_disabled: OnDisabled | None = None,
        on_late: OnLate | None = None,
        timer: Timer | None = None,
    ) -> None:
        self._metrics = metrics
        self._node = node
        self._hooks = Hooks(on_error, on_disabled, on_late)
        self._timer = timer
        self._next_timing = 0
        self._turn = Turn()
        self._snapshot = _Snapshot()
        metrics.read(
            "headrace_rule_enabled",
            "1 for a rule that runs, 0 for one that was switched off because it failed on everything",
            "gauge",
            lambda: [((rule.name,), int(rule.disabled is None)) for rule in self.rules],
            ("rule",),
        )
        metrics.read(
            "headrace_window_rows_refused_total",
            "Rows that the window of a rule or view did not take, by reason",
            "counter",
            lambda: (entry for flow in self._snapshot.stateful for entry in flow.refused),
            ("rule", "reason"),
        )
        metrics.read(
            "headrace_window_groups",
            "Groups that the windows of a rule or view keep",
            "gauge",
            lambda: [((flow.name,), sum(s.operator.groups for s in flow.stages)) for flow in self._snapshot.stateful],
            ("rule",),
        )

    @property
    def rules(self) -> Rules:
        return self._snapshot.rules

    def load(
        self, rules: RuleSet, loops: Collection[str] | None = None, limits: Limits = DEFAULT, now: int = 0
    ) -> list[Batch]:
        """Replace all rules; the caller clears the match cache. Disabled rules are left out, and what only they read.

        ``loops`` are the targets that bring rows back as messages of this process; None: any of them may. Windows of
        queries that stayed what they were go on. Others are closed: the rows that they give as they stand come back.
        """
        enabled = [rule for rule in rules.rules if rule.options.enabled]
        new = _Snapshot(
            LoadedFlow(rule, order, self._node, self._metrics, self._hooks, self._turn, loops, limits)
            if _is_flow(rule)
            else LoadedRule(rule, order, self._node, self._metrics, self._hooks, loops, limits)
            for order, rule in enumerate([*_needed(rules.relations, enabled), *enabled])
        )
        self._turn.now = now
        kept = {flow.name: flow for flow in new.stateful}
        batches: list[Batch] = []
        for flow in self._snapshot.stateful:
            heir = kept.get(flow.name)
            if (heir is None or not heir.restore(flow.snapshot())) and flow.rule.options.on_end == "drain":
                flow.finish(batches)
        self._snapshot = new
        return batches

    def rules_for(self, topic: str) -> Rules:
        """The rules that read a topic, in their order; the same combination of rules is the same object."""
        return self._snapshot.match(topic)

    def process(self, messages: Sequence[Message], now: int) -> list[Batch]:
        """The batches that these messages give, rule by rule and target by target; a rule sees its messages in order.

        Messages that rules have republished come in batches of their own, by the number of their hops.
        """
        self._turn.now = now
        timer = None
        if now >= self._next_timing:
            self._next_timing = now + _TIMING
            timer = self._timer
        batches: list[Batch] = []
        shared = self._shared(messages)
        if shared is not None:
            for rule in shared:
                if rule.disabled is None:
                    rule.process(messages, 0, batches, timer)
            return batches
        groups = self._group(messages)
        for rule, hops, own in _per_rule(groups, messages, self._rules_of):
            if rule.disabled is not None:
                continue
            looped = [message for message in own if message.publisher.rule == rule.name] if hops else None
            if looped:
                batches += rule.withhold(looped, hops)
                own = [message for message in own if message.publisher.rule != rule.name]  # noqa: PLW2901
                if not own or rule.disabled is not None:
                    continue
            rule.process(own, hops, batches, timer)
        return batches

    def advance(self, now: int) -> list[Batch]:
        """What became due by ``now``, or a part of it: what one call does is bounded. Call it again while
        :attr:`next_deadline` has come."""
        self._turn.now = now
        batches: list[Batch] = []
        for flow in self._snapshot.stateful:
            flow.advance(batches)
        return batches

    @property
    def next_deadline(self) -> int | None:
        """When :meth:`advance` wants to be called, nanoseconds since the epoch; None: never."""
        dues = [due for flow in self._snapshot.stateful if (due := flow.next_deadline) is not None]
        return min(dues, default=None)

    # State

    def snapshot(self) -> dict[str, Any]:
        """The state of every query that has some, by the name of its rule or view; plain data."""
        return {flow.name: flow.snapshot() for flow in self._snapshot.stateful}

    def finish(self, now: int) -> list[Batch]:
        """Close the windows of all queries but those that say ``on_end = 'drop'``: what they give as they stand."""
        self._turn.now = now
        batches: list[Batch] = []
        for flow in self._snapshot.stateful:
            if flow.rule.options.on_end == "drain":
                flow.finish(batches)
        return batches

    def restore(self, states: Mapping[str, Any]) -> list[str]:
        """Go on from :meth:`snapshot`; the names of queries that are not what they were, and begin anew."""
        flows = {flow.name: flow for flow in self._snapshot.stateful}
        return [name for name, state in states.items() if name not in flows or not flows[name].restore(state)]

    def _rules_of(self, message: Message) -> Rules:
        match = message.match
        if match is not None and id(match.rules) in self._snapshot.identities:
            return match.rules
        return self._snapshot.match(message.topic)

    def _shared(self, messages: Sequence[Message]) -> Rules | None:
        """The rules of all messages, where devices sent them on topics that the same rules read: of most batches."""
        match = messages[0].match if messages else None
        if match is None or id(match.rules) not in self._snapshot.identities:
            return None
        rules = match.rules
        for message in messages:
            match = message.match
            if match is None or match.rules is not rules or message.publisher.hops:
                return None
        return rules

    def _group(self, messages: Sequence[Message]) -> Mapping[tuple[int, int], tuple[Rules, Sequence[Message]]]:
        """Messages by their combination of rules and their hops."""
        current = self._snapshot.identities
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


def _is_flow(rule: CompiledRule) -> bool:
    return rule.kind != "rule" or any(part.relation or part.steps for part in rule.parts)


def _needed(relations: Sequence[CompiledRule], rules: Sequence[CompiledRule]) -> Iterator[CompiledRule]:
    """The relations that rules read, directly or by way of others, in their order."""
    read = {part.relation for rule in rules for part in rule.parts}
    found: list[CompiledRule] = []
    for relation in reversed(relations):
        if relation.name in read:
            read.update(part.relation for part in relation.parts)
            found.append(relation)
    return reversed(found)


def _connect(flows: Sequence[LoadedFlow]) -> None:
    """Tell flows who reads them, and sources whether windows need to know the time of rows that never reach them."""
    named = {flow.name: flow for flow in flows if flow.rule.kind != "rule"}
    for flow in flows:
        [part] = flow.rule.parts
        if part.relation:
            named[part.relation].readers.append(flow)
        if any(stage.event_time for stage in flow.stages):
            filtered = False
            while part.relation:
                filtered = filtered or part.filters_rows
                upstream = named[part.relation]
                [part] = upstream.rule.parts
                if part.steps:
                    break
                if not part.relation and filtered:
                    upstream.tell_time()
