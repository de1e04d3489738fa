"""A join as a query's FROM says it, bound and compiled: what is read, what is compared, which rows come out.

A join is a relation of its own, found in the catalog by its name, so queries over it are like queries over any other,
and those that join alike share it. Pure data; the operators are beside it, ``rules.flow_joins`` runs them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from core.message import Schema
from rules.codegen import Program
from rules.functions.intervals import interval_text
from rules.joins.lookup import Condition, LookupPlan
from rules.joins.options import LookupOptions
from rules.joins.stream import Bounds, Side, StreamPlan
from rules.options import DEFAULT, RuleOptions
from rules.relations import Relation
from rules.tree import Query
from rules.windows.plan import EventTime, Timing, Tumble


@dataclass(frozen=True, slots=True)
class JoinSide:
    """One of the two: a relation's name, the places of the columns that are compared, and of its time."""

    relation: str
    key: tuple[int, ...]
    width: int
    time: int | None = None
    timing: EventTime | None = None


@dataclass(frozen=True, slots=True)
class BoundJoin:
    """``near`` is None for a lookup table on the right. ``on`` is what else ON asks for: a query over the joined rows
    that lets those pass which match."""

    left: JoinSide
    right: JoinSide
    relation: Relation
    text: str
    outer: bool = False
    near: Bounds | Tumble | None = None
    on: Query | None = None
    lookup: LookupOptions | None = None

    @property
    def name(self) -> str:
        return self.relation.name

    def lookup_plan(self, on: Condition | None) -> LookupPlan:
        assert self.lookup is not None  # noqa: S101  else it is a join of streams
        identity = f"{self.left.relation}\n{self.text}"
        return LookupPlan(self.left.key, self.outer, on, self.lookup.max_parked, identity)

    def stream_plan(self, on: Condition | None) -> StreamPlan:
        assert self.near is not None  # noqa: S101  else it is a lookup
        identity = f"{self.left.relation}\n{self.right.relation}\n{self.text}"
        return StreamPlan(_side(self.left), _side(self.right), self.near, self.outer, on, identity=identity)


def _near(join: BoundJoin) -> str:
    near = join.near
    if isinstance(near, Tumble):
        return f"the same window of {interval_text(near.size)}"
    assert near is not None  # noqa: S101  else it is a lookup
    return f"from {interval_text(near.low)} to {interval_text(near.high)} after the left row"


def _side(side: JoinSide) -> Side:
    assert side.time is not None  # noqa: S101  the binder has looked
    assert side.timing is not None  # noqa: S101
    timing: Timing = side.timing
    return Side(side.key, side.time, side.width, timing)


@dataclass(frozen=True, slots=True)
class CompiledJoin:
    """A join, ready to be loaded into an engine; ``condition`` is the program of its ``on``. Its name tells it from all
    others, whatever their order; metrics and logs have the shorter ``label``."""

    join: BoundJoin
    label: str
    condition: Program | None
    path: str
    line: int
    options: RuleOptions = field(default=DEFAULT)

    @property
    def name(self) -> str:
        return self.join.name

    @property
    def kind(self) -> str:
        return "join"

    @property
    def source_code(self) -> str:
        """The generated Python of what ON asks beside keys and times; empty where that is nothing."""
        return "" if self.condition is None else self.condition.source

    def explain(self) -> str:
        """The join as text."""
        join = self.join
        how = "look up in" if join.lookup is not None else "keep rows of both sides for"
        lines = [f"join {self.name}", f"  {how} {join.right.relation}"]
        if join.near is not None:
            lines.append(f"  near in time: {_near(join)}")
        if join.outer:
            lines.append("  rows of the left side without a partner too")
        lines += [f"  read {name}" for name in self.reads]
        return "\n".join(lines)

    @property
    def filters(self) -> tuple[str, ...]:
        return ()

    @property
    def reads(self) -> tuple[str, ...]:
        """The relations that rows come from; a lookup table's do not."""
        sides = (self.join.left,) if self.join.lookup is not None else (self.join.left, self.join.right)
        return tuple(side.relation for side in sides)


@dataclass(frozen=True, slots=True)
class CompiledTable:
    """A lookup table that rules read, and where it was declared. ``schema`` is None where its columns were not."""

    name: str
    options: LookupOptions
    schema: Schema | None
    path: str
    line: int

    @property
    def width(self) -> int:
        return 1 if self.schema is None else len(self.schema.names)
