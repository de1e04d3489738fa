"""A bound query -> the plan of a rule: what is read, in which steps, what comes out with which types.

Immutable nodes, innermost (the source) last, as they are explained. Only columns and payload fields that the rule
uses are listed, and only those are taken from a message. ``explain`` is byte-stable: it depends on the rule alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core.message import Schema
from rules.columns import SYSTEM_SOURCES
from rules.sources import source_name
from rules.tree import Column, Document, Expr, Key, Query, Ref, walk
from rules.types import Types
from rules.unparse import Unparser


@dataclass(frozen=True, slots=True)
class Scan:
    """Messages whose topic matches one of ``filters``; ``columns`` and payload ``fields`` are all that is read."""

    filters: tuple[str, ...]
    columns: tuple[str, ...]
    fields: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        names = {topic: f"system.{name}" for name, (topic, _) in SYSTEM_SOURCES.items()}
        yield f"scan {', '.join(names.get(name) or _quoted(source_name(name)) for name in self.filters)}"
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
class Project:
    """The output columns: name, type, expression."""

    columns: tuple[tuple[str, str, str], ...]

    def lines(self) -> Iterator[str]:
        yield "project"
        widths = [max(len(column[place]) for column in self.columns) for place in (0, 1)]
        for name, kind, expression in self.columns:
            yield f"  {name.ljust(widths[0])}  {kind.ljust(widths[1])}  {expression}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A rule's steps, from the outlets to the source."""

    rule: str
    targets: tuple[str, ...]
    schema: Schema
    steps: tuple[Project | Unnest | Filter | Scan, ...]

    def explain(self) -> str:
        """The plan as text, without a newline at the end."""
        lines = [f"rule {self.rule}", f"insert into {', '.join(self.targets)}"]
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
    steps: list[Project | Unnest | Filter | Scan] = [Project(columns)]
    unnest = query.unnest
    if unnest is not None:
        condition = None if unnest.condition is None else text.of(unnest.condition)
        steps.append(Unnest(text.of(unnest.array), condition))
    if query.where is not None:
        steps.append(Filter(text.of(query.where)))
    steps.append(_scan(query))
    return Plan(rule, targets, Schema(names, kinds), tuple(steps))


def _scan(query: Query) -> Scan:
    columns: set[str] = set()
    fields: set[str] = set()
    for root in _roots(query):
        for expr in walk(root):
            if isinstance(expr, Column):
                columns.add(expr.name)
            elif isinstance(expr, Key) and isinstance(expr.base, Document):
                fields.add(expr.name)
    order = [name for name in query.source.specs if name in columns]
    return Scan(query.filters, tuple(order), tuple(sorted(fields)))


def _roots(query: Query) -> Iterator[Expr]:
    yield from query.lets
    if query.where is not None:
        yield query.where
    if query.unnest is not None:
        yield query.unnest.array
        if query.unnest.condition is not None:
            yield query.unnest.condition


def _quoted(name: str) -> str:
    return f'"{name}"'
