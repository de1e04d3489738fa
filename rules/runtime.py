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
from core.message import Batch, Message, Row
from core.metrics import Metrics
from core.topic_index import TopicIndex
from rules.compiler import CompiledRule, RuleSet
from rules.flow import LoadedFlow, Turn
from rules.flow_joins import Input, LoadedJoin
from rules.joins import Key, LookupTable
from rules.joins.bound import CompiledJoin, CompiledTable
from rules.limits import DEFAULT, Limits
from rules.loaded import Hooks, LoadedRule, OnDisabled, OnError, OnLate, Timer

_MAX_COMBINATIONS: Final = 65_536
_TIMING: Final = 100 * MILLISECOND
"""So much time between two calls whose rules are timed: the others pay a comparison."""

Rules = tuple[LoadedRule, ...]


class _Snapshot:
    """The rules of one load. Topics that match the same rules share one tuple, so tuples can be told by identity."""

    def __init__(self, loaded: Iterable[LoadedRule | LoadedJoin] = ()) -> None:
        everything = tuple(loaded)
        found = [rule for rule in everything if isinstance(rule, LoadedRule)]
        self.rules = tuple(rule for rule in found if rule.rule.kind == "rule")
        self.flows = tuple(rule for rule in found if isinstance(rule, LoadedFlow))
        self.joins = tuple(join for join in everything if isinstance(join, LoadedJoin))
        self.windows = tuple(flow for flow in self.flows if flow.stages)
        # In the order of the relations, so that what one gives at its end is still taken by the next.
        self.stateful = tuple(
            one for one in everything if isinstance(one, LoadedJoin) or (isinstance(one, LoadedFlow) and one.stages)
        )
        self.waiting = tuple(join for join in self.joins if join.lookup is not None)
        self._index: TopicIndex[LoadedRule] = TopicIndex()
        for rule in found:
            for topic_filter in rule.rule.filters:
                self._index.add(topic_filter, rule)
        _connect(self.flows, self.joins)
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
        self._tables: dict[str, tuple[CompiledTable, LookupTable]] = {}
        metrics.read(
            "headrace_rule_enabled",
            "1 for a rule or view that runs, 0 for one that was switched off because it failed on everything",
            "gauge",
            lambda: [
                ((rule.name,), int(rule.disabled is None))
                for rule in dict.fromkeys((*self.rules, *self._snapshot.flows))
            ],
            ("rule",),
        )
        metrics.read(
            "headrace_window_rows_refused_total",
            "Rows that the window of a rule or view did not take, by reason",
            "counter",
            lambda: (entry for flow in self._snapshot.windows for entry in flow.refused),
            ("rule", "reason"),
        )
        metrics.read(
            "headrace_window_given_up_total",
            "Groups, rows and values that a rule or view has lost at one of its limits (max_keys, max_rows ...)",
            "counter",
            lambda: _summed(entry for flow in self._snapshot.windows for entry in flow.given_up),
            ("rule", "what"),
        )
        metrics.read(
            "headrace_join_rows_refused_total",
            "Rows that a join did not take, by reason",
            "counter",
            lambda: (entry for join in self._snapshot.joins for entry in join.refused),
            ("join", "reason"),
        )
        metrics.read(
            "headrace_join_rows_total",
            "Rows of a join by what became of them",
            "counter",
            lambda: (entry for join in self._snapshot.joins for entry in join.outcomes),
            ("join", "outcome"),
        )
        metrics.read(
            "headrace_join_rows_kept",
            "Rows that wait in a join, for an answer or for a partner",
            "gauge",
            lambda: [((join.label,), join.kept) for join in self._snapshot.joins],
            ("join",),
        )
        metrics.read(
            "headrace_window_groups",
            "Groups that the windows of a rule or view keep",
            "gauge",
            lambda: [((flow.name,), sum(s.operator.groups for s in flow.stages)) for flow in self._snapshot.windows],
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
        self._tables = {table.name: self._table(table) for table in rules.tables}
        new = _Snapshot(
            self._loaded(rule, order, loops, limits)
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

    def _loaded(
        self, rule: CompiledRule | CompiledJoin, order: int, loops: Collection[str] | None, limits: Limits
    ) -> LoadedRule | LoadedJoin:
        if isinstance(rule, CompiledJoin):
            return LoadedJoin(rule, self._node, self._hooks, self._turn, limits, self.lookup_tables)
        if _is_flow(rule):
            return LoadedFlow(rule, order, self._node, self._metrics, self._hooks, self._turn, loops, limits)
        return LoadedRule(rule, order, self._node, self._metrics, self._hooks, loops, limits)

    def _table(self, declared: CompiledTable) -> tuple[CompiledTable, LookupTable]:
        """The table that there is, with all that it knows, as far as its declaration stayed what it was."""
        known = self._tables.get(declared.name)
        if known is not None and (known[0].options, known[0].schema) == (declared.options, declared.schema):
            return declared, known[1]
        return declared, LookupTable(declared.name, declared.options, declared.width)

    # Lookup tables: see ``rules.joins.LookupHost``

    @property
    def lookup_tables(self) -> Mapping[str, LookupTable]:
        """The tables that joins ask, by name."""
        return {name: table for name, (_, table) in self._tables.items()}

    @property
    def full(self) -> bool:
        """So many rows wait for a lookup table that no more messages are to be taken."""
        return any(join.full for join in self._snapshot.waiting)

    @property
    def waiting(self) -> int:
        """Rows that wait for lookup tables."""
        return sum(join.kept for join in self._snapshot.waiting)

    def resolve(self, table: LookupTable, answers: Mapping[Key, Sequence[Row]], now: int) -> list[Batch]:
        """Rows of keys that joins wait for."""
        table.resolve(answers, now)
        return self._answered(table, now)

    def lookup_failed(self, table: LookupTable, keys: Sequence[Key], reason: str, now: int) -> list[Batch]:
        """Nothing is known about keys that joins wait for."""
        table.failed(keys, reason, now)
        return self._answered(table, now)

    def _answered(self, table: LookupTable, now: int) -> list[Batch]:
        self._turn.now = now
        batches: list[Batch] = []
        for join in self._snapshot.waiting:
            if join.lookup is not None and join.lookup.table is table:
                join.advance(batches)
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


def _summed(entries: Iterable[tuple[tuple[str, str], int]]) -> Iterable[tuple[tuple[str, str], int]]:
    """One entry for each key: a rule may have several operators."""
    found: dict[tuple[str, str], int] = {}
    for key, count in entries:
        found[key] = found.get(key, 0) + count
    return found.items()


def _is_flow(rule: CompiledRule) -> bool:
    return rule.kind != "rule" or any(part.relation or part.steps for part in rule.parts)


def _needed(
    relations: Sequence[CompiledRule | CompiledJoin], rules: Sequence[CompiledRule]
) -> Iterator[CompiledRule | CompiledJoin]:
    """The relations that rules read, directly or by way of others, in their order."""
    read = {name for rule in rules for name in rule.reads}
    found: list[CompiledRule | CompiledJoin] = []
    for relation in reversed(relations):
        if relation.name in read:
            read.update(relation.reads)
            found.append(relation)
    return reversed(found)


def _connect(flows: Sequence[LoadedFlow], joins: Sequence[LoadedJoin]) -> None:
    """Tell relations who reads them, and those that windows and joins of streams live by, directly or by way of others,
    that the time of rows counts that never get there."""
    named: dict[str, LoadedFlow | LoadedJoin] = {flow.name: flow for flow in flows if flow.rule.kind != "rule"}
    named |= {join.name: join for join in joins}
    for join in joins:
        for name, left in zip(join.rule.reads, (True, False), strict=False):
            named[name].readers.append(Input(join, left=left))
            if join.streams is not None:
                _tell_time(name, named, filtered=False)
    for flow in flows:
        [part] = flow.rule.parts
        if part.relation:
            named[part.relation].readers.append(flow)
        if part.relation and any(stage.timed is not None for stage in flow.stages):
            _tell_time(part.relation, named, filtered=part.filters_rows)


def _tell_time(name: str, named: Mapping[str, LoadedFlow | LoadedJoin], *, filtered: bool) -> None:
    """The time of relation ``name`` counts; ``filtered``: some of its rows do not get to where it does."""
    upstream = named[name]
    if isinstance(upstream, LoadedJoin):
        upstream.timed = True
        if upstream.lookup is not None:  # an inner join drops rows, and any join keeps some waiting
            _tell_time(upstream.rule.join.left.relation, named, filtered=True)
        return
    [part] = upstream.rule.parts
    if any(stage.timed is not None for stage in upstream.stages):
        upstream.timed = True
        return
    if not all(stage.keeps_time for stage in upstream.stages):
        return
    if part.relation:
        _tell_time(part.relation, named, filtered=filtered or part.filters_rows)
    elif filtered:
        upstream.tell_time()
