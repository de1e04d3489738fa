"""A query with analytic functions -> three parts: the query before them, the operator's plan, the query behind it.

The query *before* gives rows of what the one behind asks of the source (columns, paths into the payload, what cannot
be computed twice), then what the calls ask for, then the source's row itself, so that a row that is refused can be
told whole. The query *behind* is the author's own, with those and the results as columns. WHERE stands before, unless
it asks for an analytic function; QUALIFY stands behind.

A call whose arguments hold another one waits for the next round: the query behind is split again. Values keep their
numbers, so nothing that is named twice is written twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from core.message import Type
from rules.analytics import AnalyticCall, AnalyticLimits, AnalyticPlan
from rules.columns import row_columns
from rules.tree import (
    Analytic,
    And,
    Call,
    Column,
    Const,
    Document,
    Expr,
    KeyOf,
    Query,
    Received,
    Ref,
    Whole,
    children,
    is_path,
    is_pure,
    rebuilt,
    walk,
)
from rules.types import Static, Types
from rules.unparse import Unparser

MAX_ROUNDS: Final = 8
"""How deep calls may be nested."""
_BOXED: Final = frozenset({Type.ANY, Type.ARRAY, Type.OBJECT})
_SOURCE: Final = "the rows"


@dataclass(frozen=True, slots=True)
class Analysed:
    """The three parts."""

    before: Query
    plan: AnalyticPlan
    behind: Query


def analytics_of(query: Query) -> list[Analytic]:
    """The calls of analytic functions in a query, in order, each once."""
    found = (node for root in _roots(query) for node in walk(root) if isinstance(node, Analytic))
    return list(dict.fromkeys(found))


def split_analytics(query: Query, limits: AnalyticLimits, identity: str = "") -> Analysed:
    """The parts of a bound query without a window that has analytic functions. ``identity`` stands for what its rows
    come from. PlanError where the calls do not go together."""
    return _Split(query, limits, identity).parts()


def depth(query: Query) -> int:
    """How deep the query's calls are nested, 0 where there are none."""
    return max(map(_Levels(query).of, _roots(query)), default=0)


def asks_analytics(query: Query, expr: Expr) -> bool:
    """Does an expression of the query, with what it names, call an analytic function?"""
    return _Levels(query).of(expr) > 0


def _roots(query: Query) -> Iterator[Expr]:
    yield from query.lets
    yield from (root for root in (query.where, query.qualify) if root is not None)


class _Levels:
    """How many analytic calls an expression has above one another; what it names counts."""

    def __init__(self, query: Query) -> None:
        self._lets: list[int] = []
        self._known: dict[Expr, int] = {}
        for value in query.lets:
            self._lets.append(self.of(value))

    def of(self, expr: Expr) -> int:
        if isinstance(expr, Ref):
            return self._lets[expr.index]
        known = self._known.get(expr)
        if known is None:
            inner = max(map(self.of, children(expr)), default=0)
            known = self._known[expr] = inner + isinstance(expr, Analytic)
        return known


class _Split:
    def __init__(self, query: Query, limits: AnalyticLimits, identity: str) -> None:
        self._query = query
        self._limits = limits
        self._identity = identity
        self._types = Types.of_query(query)
        self._text = Unparser(query)
        self._levels = _Levels(query)
        self._calls = {
            call: number
            for number, call in enumerate(call for call in analytics_of(query) if self._levels.of(call) == 1)
        }
        self._names: dict[Expr, str] = {}
        self._taken: set[str] = set()
        self._columns: list[Expr] = []
        """What the operator's rows hold; the first ones are those that the query behind reads."""

    def parts(self) -> Analysed:
        query = self._query
        asked = {expr for call in self._calls for expr in children(call)}
        results = [self._named(call) for call in self._calls]
        lets = tuple(self._let(index, asked) for index in range(len(query.lets)))
        early = query.where is not None and self._levels.of(query.where) == 0
        late = [test for test in (None if early else query.where, query.qualify) if test is not None]
        tests = tuple(map(self._behind, late))
        condition = None if not tests else tests[0] if len(tests) == 1 else And(tests)
        kept = len(self._columns)
        calls = tuple(self._planned(call) for call in self._calls)

        statics = [self._types.of(expr) for expr in (*self._columns[:kept], *self._calls)]
        names = [*(self._names[expr] for expr in self._columns[:kept]), *results]
        columns = row_columns(names, map(_type, statics), [static.certain for static in statics])
        again = any(isinstance(node, Analytic) for root in (*lets, *tests) for node in walk(root))
        behind = Query(
            columns,
            (),
            lets,
            None if again else condition,
            query.unnest,
            query.outputs,
            _SOURCE,
            qualify=condition if again else None,
        )
        before = self._before(query.where if early else None)
        plan = AnalyticPlan(
            calls=calls,
            columns=tuple(map(self._types.declared, self._columns)),
            limits=self._limits,
            identity=self._identity + self._described(before),
            kept=kept,
        )
        return Analysed(before, plan, behind)

    # The query before

    def _before(self, where: Expr | None) -> Query:
        """Only the values that are asked for, in their order; then the columns."""
        query = self._query
        wanted: set[int] = set()
        stack = [*self._columns, *([] if where is None else [where])]
        while stack:
            for node in walk(stack.pop()):
                if isinstance(node, Ref) and node.index not in wanted:
                    wanted.add(node.index)
                    stack.append(query.lets[node.index])
        numbers = {index: number for number, index in enumerate(sorted(wanted))}

        def moved(expr: Expr) -> Expr:
            return Ref(numbers[expr.index], span=expr.span) if isinstance(expr, Ref) else rebuilt(expr, moved)

        lets = [moved(query.lets[index]) for index in numbers]
        outputs: list[tuple[str, int]] = []
        for column in (*self._columns, Whole()):
            value = moved(column)
            if not isinstance(value, Ref):
                lets.append(value)
            index = value.index if isinstance(value, Ref) else len(lets) - 1
            outputs.append((f"value {len(outputs) + 1}", index))
        condition = None if where is None else moved(where)
        return replace(query, lets=tuple(lets), where=condition, outputs=tuple(outputs), qualify=None)

    def _described(self, before: Query) -> str:
        text = Unparser(replace(before, outputs=()))
        lines = [before.relation, *before.filters, *map(text.of, before.lets)]
        return "\n".join([*lines, "" if before.where is None else text.of(before.where), ""])

    def _planned(self, call: Analytic) -> AnalyticCall:
        arguments = tuple(map(self._place, call.arguments))
        when = None if call.when is None else self._place(call.when)
        return AnalyticCall(call.name, arguments, call.constants, self._partition(call.partition), when)

    def _partition(self, items: tuple[Expr, ...]) -> int | None:
        if not items:
            return None
        boxed = frozenset(place for place, item in enumerate(items) if self._types.declared(item) in _BOXED)
        return self._place(items[0] if len(items) == 1 and not boxed else KeyOf(items, boxed))

    def _place(self, expr: Expr) -> int:
        if expr not in self._columns:
            self._columns.append(expr)
        return self._columns.index(expr)

    # The query behind

    def _let(self, index: int, asked: set[Expr]) -> Expr:
        """A value as the query behind computes it, or takes it where it is there or must not be computed twice."""
        value, ref = self._query.lets[index], Ref(index)
        if self._levels.of(value) == 0 and not is_path(value) and (ref in asked or not is_pure(value)):
            return self._carried(replace(ref, span=value.span))
        return self._behind(value)

    def _behind(self, expr: Expr) -> Expr:
        if expr in self._calls:
            return Column(self._names[expr], span=expr.span)
        if isinstance(expr, Ref | Const):
            return expr
        path = is_path(expr) and not isinstance(expr, Const)
        once = isinstance(expr, Call) and (not expr.function.pure or expr.function.needs_publisher)
        if path or isinstance(expr, Received | Document) or (once and self._levels.of(expr) == 0):
            return self._carried(expr)
        return rebuilt(expr, self._behind)

    def _carried(self, expr: Expr) -> Expr:
        self._place(expr)
        return Column(self._named(expr), span=expr.span)

    def _named(self, expr: Expr) -> str:
        """The name of a column, as it is told to people: what it holds."""
        name = self._names.get(expr)
        if name is None:
            name = text = self._text.of(expr)[:200]
            number = 1
            while name in self._taken:
                number += 1
                name = f"{text} {number}"
            self._taken.add(name)
            self._names[expr] = name
        return name


def _type(static: Static) -> Type:
    return static.type if static.fixed else Type.ANY
