"""The sources, views and tables of all rule files: found by name, compiled when they are first asked for.

So their order, and that of the files, does not matter, and what nobody reads is known at the end. Invariants: each is
compiled once, its errors are reported once (readers of a broken one are not blamed), and :attr:`Catalog.compiled` has
every relation after those that it reads.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from sqlglot import exp

from core.message import Schema, Type
from rules.analytics.plan import LEAD
from rules.codegen import generate
from rules.columns import row_columns
from rules.diagnostics import Problems, Span
from rules.joins.bound import BoundJoin, CompiledJoin
from rules.nodes import CreateSource, CreateTable, CreateView, span_of
from rules.options import DEFAULT, RuleOptions
from rules.parts import Part
from rules.relations import EventColumn, Kind, Relation, broken
from rules.split_analytics import analytics_of
from rules.statements import Statement
from rules.tree import Column, Expr, Query, Ref, WindowEdge
from rules.types import Types
from rules.windows.plan import EventTime

KINDS: Final[dict[type[exp.Expr], Kind]] = {CreateSource: "source", CreateView: "view", CreateTable: "table"}


class _State(enum.Enum):
    NEW = "nobody has asked for it"
    OPEN = "it is being compiled"
    DONE = "it is compiled, or has errors"


@dataclass(slots=True)
class Definition:
    """One CREATE SOURCE, VIEW or TABLE, or a join; ``part`` (``join``) is what runs for it."""

    name: str
    kind: Kind
    statement: Statement
    problems: Problems
    state: _State = _State.NEW
    relation: Relation | None = None
    part: Part | None = None
    join: CompiledJoin | None = None
    options: RuleOptions = DEFAULT
    used: bool = False


Compile = Callable[[Definition], Relation | None]
"""Compiles a definition and sets its ``part``; None where it has errors."""


class Catalog:
    """``rules.relations.Relations`` over definitions."""

    def __init__(self, compile_definition: Compile) -> None:
        self._compile = compile_definition
        self._definitions: dict[str, Definition] = {}
        self._judging = False
        self.compiled: list[Definition] = []

    def define(self, statement: Statement, problems: Problems) -> None:
        """Take in a statement that creates a relation."""
        tree = statement.tree
        name = tree.this.name
        known = self._definitions.get(name)
        if known is not None:
            place = f"{known.problems.source.path}:{known.statement.line}"
            message = f"there is already a {known.kind} {name!r}"
            problems.add("duplicate-relation", message, span_of(tree.this), hint=f"it is in {place}")
            return
        self._definitions[name] = Definition(name, KINDS[type(tree)], statement, problems)

    def find(self, name: str) -> Relation | None:
        found = self._definitions.get(name)
        if found is None:
            return None
        found.used = found.used or not self._judging
        if found.state is _State.OPEN:
            tree = found.statement.tree
            hint = "take one of the references out"
            message = f"the {found.kind} {name!r} reads itself"
            found.problems.add("circular-view", message, span_of(tree.this), hint=hint)
            return broken(name, found.kind)
        if found.state is _State.NEW:
            found.state = _State.OPEN
            found.relation = self._compile(found)
            found.state = _State.DONE
            self.compiled.append(found)
        return found.relation or broken(name, found.kind)

    def names(self) -> Iterable[str]:
        return [name for name, definition in self._definitions.items() if definition.kind != "join"]

    def join(self, join: BoundJoin, problems: Problems, span: Span) -> str:
        """Take in a join; queries that join alike share one."""
        title, number = join.name, 1
        while (known := self._definitions.get(join.name)) is not None:
            if known.join is not None and known.join.join == join:
                return join.name
            number += 1
            join = replace(join, relation=replace(join.relation, name=f"{title} ({number})"))
        condition = None if join.on is None else generate(f"{join.name}, ON", join.on)
        line, _ = problems.source.position(span.start)
        compiled = CompiledJoin(join, condition, problems.source.path, line)
        statement = Statement(exp.Join(), span, line, "")
        definition = Definition(join.name, "join", statement, problems, _State.DONE, join.relation, used=True)
        definition.join = compiled
        self._definitions[join.name] = definition
        self.compiled.append(definition)
        return join.name

    def finish(self) -> None:
        """All rules have been compiled: look at what none of them reads."""
        self._judging = True
        for definition in list(self._definitions.values()):
            self.find(definition.name)
            if definition.kind == "view" and not definition.used:
                tree = definition.statement.tree
                message = f"no rule reads the view {definition.name!r}"
                hint = f"read it with FROM {definition.name}, or remove it"
                definition.problems.add("unused-view", message, span_of(tree.this), hint=hint)


def view_relation(name: str, query: Query, time: EventColumn | None, options: RuleOptions = DEFAULT) -> Relation:
    """The relation of a view's rows. ``time`` is that of what it reads: a column that hands it on is the view's."""
    types = Types.of_query(query)
    names = [output for output, _ in query.outputs]
    statics = [types.of(Ref(index)) for _, index in query.outputs]
    kinds = [static.type if static.fixed else Type.ANY for static in statics]
    columns = row_columns(names, kinds, [static.certain for static in statics])
    return Relation(name, "view", columns, Schema(tuple(names), tuple(kinds)), _time_of(query, time, options))


def _time_of(query: Query, time: EventColumn | None, options: RuleOptions) -> EventColumn | None:
    grouping = query.grouping
    if grouping is not None:
        timing = grouping.timing
        if not isinstance(timing, EventTime):
            return None
        # Windows are told in the order of their end, as soon as they are complete.
        handed_on: Expr = WindowEdge(end=False)
        timing = replace(timing, delay=0)
    elif time is not None:
        handed_on, timing = Column(time.name), time.timing
        if any(call.name == LEAD for call in analytics_of(query)):
            timing = replace(timing, delay=timing.delay + options.lead_wait)  # a row may have waited for its follower
    else:
        return None
    for output, index in query.outputs:
        if query.lets[index] == handed_on:
            return EventColumn(output, timing)
    return None
