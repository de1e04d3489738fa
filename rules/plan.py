"""A bound query -> the plan of a rule: what is read, in which steps, what comes out with which types.

Immutable nodes, innermost (the source) last, as they are explained. Only columns and payload fields that the rule
uses are listed, and only those are taken from a message. ``explain`` is byte-stable: it depends on the rule alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from core.message import Schema
from rules.columns import SYSTEM_NAMES
from rules.functions.intervals import interval_text
from rules.sources import source_name
from rules.split_analytics import analytics_of, asks_analytics
from rules.tree import Aggregated, Column, Document, Expr, Grouping, Key, Query, Ref, walk
from rules.types import Types
from rules.unparse import Unparser
from rules.windows.plan import HELD, Count, EventTime, Sliding


@dataclass(frozen=True, slots=True)
class Scan:
    """Messages whose topic matches one of ``filters``; ``columns`` and payload ``fields`` are all that is read."""

    filters: tuple[str, ...]
    columns: tuple[str, ...]
    fields: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        yield f"scan {', '.join(SYSTEM_NAMES.get(name) or _quoted(source_name(name)) for name in self.filters)}"
        yield f"  columns: {', '.join(self.columns) or 'none'}"
        yield f"  payload: {', '.join(self.fields) or ('whole' if 'payload' in self.columns else 'not decoded')}"


@dataclass(frozen=True, slots=True)
class Filter:
    """Lets messages pass for which ``condition`` is true."""

    condition: str

    def lines(self) -> Iterator[str]:
        yield f"filter {self.condition}"


@dataclass(frozen=True, slots=True)
class Unnest:
    """One row for every element of ``array`` that ``condition`` lets pass."""

    array: str
    condition: str | None

    def lines(self) -> Iterator[str]:
        yield f"unnest {self.array}"
        if self.condition is not None:
            yield f"  filter {self.condition}"


@dataclass(frozen=True, slots=True)
class Read:
    """Rows of a relation; ``columns`` are all that is read of them."""

    relation: str
    columns: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        yield f"read {self.relation}"
        yield f"  columns: {', '.join(self.columns) or 'none'}"


@dataclass(frozen=True, slots=True)
class Group:
    """Groups of the rows of a window, told apart by ``keys``."""

    window: str
    timing: str
    keys: tuple[str, ...]
    aggregates: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        yield f"window {self.window}"
        yield f"  time: {self.timing}"
        if self.keys:
            yield f"  keys: {', '.join(self.keys)}"
        yield f"  aggregates: {', '.join(self.aggregates) or 'none'}"


@dataclass(frozen=True, slots=True)
class Analyse:
    """Analytic functions over the rows."""

    calls: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        yield "analytic functions"
        for call in self.calls:
            yield f"  {call}"


@dataclass(frozen=True, slots=True)
class Order:
    """The rows of a window in the order of ``keys``, the first ``limit`` of them."""

    keys: tuple[str, ...]
    limit: int | None

    def lines(self) -> Iterator[str]:
        if self.keys:
            yield f"sort {', '.join(self.keys)}"
        if self.limit is not None:
            yield f"limit {self.limit}"


@dataclass(frozen=True, slots=True)
class Project:
    """The output columns: name, type, expression."""

    columns: tuple[tuple[str, str, str], ...]

    def lines(self) -> Iterator[str]:
        yield "project"
        widths = [max(len(column[place]) for column in self.columns) for place in (0, 1)]
        for name, kind, expression in self.columns:
            yield f"  {name.ljust(widths[0])}  {kind.ljust(widths[1])}  {expression}"


Step = Project | Order | Analyse | Group | Unnest | Filter | Scan | Read


@dataclass(frozen=True, slots=True)
class Plan:
    """A rule's steps, from the outlets to the source; a view has no targets."""

    rule: str
    targets: tuple[str, ...]
    schema: Schema
    steps: tuple[Step, ...]

    def explain(self) -> str:
        """The plan as text, without a newline at the end."""
        head = [f"rule {self.rule}", f"insert into {', '.join(self.targets)}"]
        lines = head if self.targets else [f"relation {self.rule}"]
        for depth, step in enumerate(self.steps, 1):
            lines += ["  " * depth + line for line in step.lines()]
        return "\n".join(lines)


def plan(rule: str, targets: tuple[str, ...], query: Query) -> Plan:
    """The plan of a bound query without errors."""
    types = Types.of_query(query)
    text = Unparser(query)
    names = tuple(name for name, _ in query.outputs)
    kinds = tuple(types.of(Ref(index)).type for _, index in query.outputs)
    columns = tuple(
        (name, kind.value, text.of(query.lets[index])) for (name, index), kind in zip(query.outputs, kinds, strict=True)
    )
    steps: list[Step] = [Project(columns)]
    unnest = query.unnest
    if unnest is not None:
        condition = None if unnest.condition is None else text.of(unnest.condition)
        steps.append(Unnest(text.of(unnest.array), condition))
    late = query.where is not None and asks_analytics(query, query.where)
    steps += [Filter(text.of(test)) for test in (query.qualify, query.where if late else None) if test is not None]
    calls = analytics_of(query)
    if calls:
        steps.append(Analyse(tuple(map(text.of, calls))))
    if query.grouping is not None:
        steps += _grouped(query, query.grouping, text)
    if query.where is not None and not late:
        steps.append(Filter(text.of(query.where)))
    steps.append(_scan(query))
    return Plan(rule, targets, Schema(names, kinds), tuple(steps))


def _grouped(query: Query, grouping: Grouping, text: Unparser) -> Iterator[Step]:
    keys = tuple(
        f"{text.of(sort.value)}{' DESC' if sort.descending else ''}"
        f"{'' if sort.nulls_first == sort.descending else ' NULLS FIRST' if sort.nulls_first else ' NULLS LAST'}"
        for sort in grouping.order
    )
    if keys or grouping.limit is not None:
        yield Order(keys, grouping.limit)
    if grouping.having is not None:
        yield Filter(text.of(grouping.having))
    calls = dict.fromkeys(
        text.of(node) for root in _roots(query) for node in walk(root) if isinstance(node, Aggregated)
    )
    aggregates = ("the rows",) if grouping.rows else tuple(calls)
    told = "arrival"
    if isinstance(grouping.timing, EventTime):
        told = time_text(text.of(grouping.time), grouping.timing)
    yield Group(_window(grouping, text), told, tuple(map(text.of, grouping.keys)), aggregates)


def time_text(name: str, timing: EventTime) -> str:
    """How a watermark goes: the column of its time, and what it waits for."""
    if timing.delay >= HELD:
        return f"{name}, as far as the rows that are read have come"
    told = f"{name}, {interval_text(timing.delay)} behind the latest"
    if timing.idle_timeout is not None:
        told += f", with the clock after {interval_text(timing.idle_timeout)} without rows"
    return told


def _window(grouping: Grouping, text: Unparser) -> str:
    window = grouping.window
    words = [type(window).__name__.lower()]
    for part in fields(window):
        value = getattr(window, part.name)
        if value and part.name not in ("when", "begin", "emit"):
            long = isinstance(value, int) and not isinstance(window, Count)
            words.append(f"{part.name.replace('_', ' ')} {interval_text(value) if long else value}")
    names = ("when",) if isinstance(window, Sliding) else ("begin", "emit")
    words += [f"{name} {text.of(mark)}" for name, mark in zip(names, grouping.marks, strict=False)]
    return f"{words[0]} {', '.join(words[1:])}"


def _scan(query: Query) -> Scan | Read:
    columns: set[str] = set()
    fields: set[str] = set()
    for root in _roots(query):
        for expr in walk(root):
            if isinstance(expr, Column):
                columns.add(expr.name)
            elif isinstance(expr, Key) and isinstance(expr.base, Document):
                fields.add(expr.name)
    order = [name for name in query.source.specs if name in columns]
    if query.relation:
        return Read(query.relation, tuple(order))
    return Scan(query.filters, tuple(order), tuple(sorted(fields)))


def _roots(query: Query) -> Iterator[Expr]:
    yield from query.lets
    if query.unnest is not None:
        yield query.unnest.array
    yield from query.conditions
    if query.grouping is not None:
        yield from (query.grouping.time, *query.grouping.keys, *query.grouping.marks)
        yield from (sort.value for sort in query.grouping.order)


def _quoted(name: str) -> str:
    return f'"{name}"'
