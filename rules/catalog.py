"""The sources, views and tables of all rule files: found by name, compiled when they are first asked for.

So their order, and that of the files, does not matter, and what nobody reads is known at the end. Invariants: each is
compiled once, its errors are reported once (readers of a broken one are not blamed), and :attr:`Catalog.compiled` has
every relation after those that it reads.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from rules.tree import Column, Expr, Grouping, Query, Ref, WindowEdge
from rules.types import Types
from rules.windows.grid import CLOCK_CHANGE
from rules.windows.plan import HELD, Count, EventTime, Session, Sliding, State

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

    def place_of(self, name: str) -> str:
        """What is defined by this name and where, in words; empty where nothing is."""
        found = self._definitions.get(name)
        return "" if found is None else f"the {found.kind} in {found.problems.source.path}:{found.statement.line}"

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
        compiled = CompiledJoin(join, self._label(join), condition, problems.source.path, line)
        statement = Statement(exp.Join(), span, line, "")
        definition = Definition(join.name, "join", statement, problems, _State.DONE, join.relation, used=True)
        definition.join = compiled
        self._definitions[join.name] = definition
        self.compiled.append(definition)
        return join.name

    def _label(self, join: BoundJoin) -> str:
        """The sides of a join, and a number where others have the same."""
        joins = [one.join for one in self.compiled if one.join is not None]
        left = next((one.label for one in joins if one.name == join.left.relation), join.left.relation)
        label = sides = f"{left} {'LEFT ' if join.outer else ''}JOIN {join.right.relation}"
        taken, number = {one.label for one in joins}, 1
        while label in taken:
            number += 1
            label = f"{sides} ({number})"
        return label

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


def view_relation(
    name: str, query: Query, times: Sequence[EventColumn], options: RuleOptions = DEFAULT, *, corrected: bool = False
) -> Relation:
    """The relation of a view's rows. ``times`` are the columns of what it reads that tell time: those that it hands on
    are its own. ``corrected``: what it reads may give a row anew."""
    types = Types.of_query(query)
    names = [output for output, _ in query.outputs]
    statics = [types.of(Ref(index)) for _, index in query.outputs]
    kinds = [static.type if static.fixed else Type.ANY for static in statics]
    columns = row_columns(names, kinds, [static.certain for static in statics])
    if query.grouping is not None:
        corrected = options.window.corrects
    found = [] if corrected else [*_times_of(query, times, options)]
    time = found[0] if found else None
    return Relation(name, "view", columns, Schema(tuple(names), tuple(kinds)), time, tuple(found[1:]), corrected)


def _times_of(query: Query, times: Sequence[EventColumn], options: RuleOptions) -> Iterator[EventColumn]:
    """The outputs that tell in which order rows come, the most usual first."""
    handed_on: list[tuple[Expr, EventTime]] = [(Column(time.name), time.timing) for time in times]
    if query.grouping is not None:
        handed_on = _edges_of(query.grouping)
    if any(call.name == LEAD for call in analytics_of(query)):
        # A row may have waited for its follower.
        handed_on = [(value, replace(timing, delay=timing.delay + options.lead_wait)) for value, timing in handed_on]
    for value, timing in handed_on:
        for output, index in query.outputs:
            if query.lets[index] == value:
                yield EventColumn(output, timing)


def _edges_of(grouping: Grouping) -> list[tuple[Expr, EventTime]]:
    """The boundaries in whose order windows are told. Rows do not raise their watermark, as there may be long none: the
    window tells it (``flow``), and a start lies behind it by the length of the windows.

    Sessions end in order, and begin in any. Windows of rows have the times of rows that come in any order.
    """
    window = grouping.window
    if not isinstance(grouping.timing, EventTime) or isinstance(window, Count | State):
        return []
    lags = {True: 0}
    if isinstance(window, Sliding):
        lags[False] = window.size + window.delay
    elif not isinstance(window, Session):
        lags[False] = window.size + (CLOCK_CHANGE if window.zone else 0)
    # What was too far in the future did not get into a window; its end may be, where a query is ended.
    return [(WindowEdge(end), EventTime(HELD + lags[end], max_ahead=None)) for end in sorted(lags)]
