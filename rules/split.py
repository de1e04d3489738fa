"""A query with a window -> three parts: the query before it, the window's plan, the query behind it.

The query *before* gives rows ``(time, key, value, ...)``: what aggregates, their filters and the window's conditions
ask for, each once. The source's row stands at the end, so that a row that the window refuses can be told whole. The
query *behind* is the author's own, over the window's rows, with groups and aggregates as columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from core.message import Type
from rules.aggregates import AggregateCall, OrderBy
from rules.columns import Columns, row_columns
from rules.diagnostics import Problems
from rules.options import WindowOptions
from rules.tree import (
    Aggregated,
    Column,
    Const,
    Document,
    Expr,
    Grouping,
    Index,
    Item,
    KeyOf,
    ListOf,
    Query,
    Ref,
    Sender,
    Sort,
    Unnest,
    Whole,
    WindowEdge,
    rebuilt,
    walk,
)
from rules.types import Types
from rules.unparse import Unparser
from rules.windows.plan import FIRST_PLACE, EventTime, Sliding, State, WindowPlan

_BOXED: Final = frozenset({Type.ANY, Type.ARRAY, Type.OBJECT})
_EDGES: Final = ("window_start", "window_end")


class Result(NamedTuple):
    """What happens to the rows of one window: they are sorted by the hidden values behind their columns, and cut."""

    width: int
    order: tuple[tuple[bool, bool], ...]
    """Descending, nulls first."""
    limit: int | None


@dataclass(frozen=True, slots=True)
class Windowed:
    """The three parts; ``result`` is None where the rows leave as they come."""

    before: Query
    plan: WindowPlan
    behind: Query
    result: Result | None


def split(query: Query, options: WindowOptions, problems: Problems) -> Windowed:
    """The parts of a bound query with a grouping; of use only if ``problems`` found nothing."""
    assert query.grouping is not None  # noqa: S101  the caller has looked
    return _Split(query, query.grouping, options, problems).parts()


class _Split:
    def __init__(self, query: Query, grouping: Grouping, options: WindowOptions, problems: Problems) -> None:
        self._query = query
        self._grouping = grouping
        self._options = options
        self._problems = problems
        self._types = Types.of_query(query)
        self._values: list[Expr] = []
        self._calls: list[AggregateCall] = []
        self._results: dict[Expr, str] = {}
        self._keys = {self._inlined(key): f"key {number}" for number, key in enumerate(grouping.keys, 1)}

    def parts(self) -> Windowed:
        query, grouping = self._query, self._grouping
        if grouping.rows:
            columns, behind = self._all_rows()
        else:
            for root in (*query.lets, *self._asked(), *(sort.value for sort in grouping.order)):
                self._collect(root)
            columns = self._columns()
            behind = self._behind(columns)
        marks = [self._place(self._inlined(mark)) for mark in grouping.marks]
        window = grouping.window
        if isinstance(window, State):
            window = State(*marks)
        elif isinstance(window, Sliding) and marks:
            window = replace(window, when=marks[0])
        if grouping.limit is not None and self._options.corrects:
            message = "LIMIT is about all rows of a window, and a corrected result has those that have changed"
            hint = "take LIMIT out, or allowed_lateness and emit = 'on_change'"
            self._problems.add("bad-window", message, grouping.span, hint=hint)
        keys = tuple(self._keys)
        boxed = frozenset(place for place, key in enumerate(keys) if self._types.declared(key) in _BOXED)
        lets: list[Expr] = [grouping.time, KeyOf(keys, boxed), *self._values, Whole()]
        timing = grouping.timing
        if isinstance(timing, EventTime):
            timing = replace(timing, allowed_lateness=self._options.allowed_lateness)
        where = None if query.where is None else self._inlined(query.where)
        for root in lets if where is None else (*lets, where):
            self._only_rows(root)
        outputs = tuple((f"value {number}", number) for number in range(len(lets)))
        before = replace(query, lets=tuple(lets), where=where, outputs=outputs, grouping=None, qualify=None)
        text = Unparser(before)
        plan = WindowPlan(
            window=window,
            calls=tuple(self._calls),
            columns=tuple(self._types.declared(value) for value in self._values),
            keys=len(keys),
            boxed=boxed,
            timing=timing,
            emit=self._options.emit,
            limits=self._options.limits,
            identity="\n".join(
                [query.relation, *query.filters, *map(text.of, lets), "" if where is None else text.of(where)]
            ),
        )
        result = None
        if grouping.order or grouping.limit is not None:
            order = tuple((sort.descending, sort.nulls_first) for sort in grouping.order)
            result = Result(len(query.outputs), order, grouping.limit)
        return Windowed(before, plan, behind, result)

    def _asked(self) -> Sequence[Expr]:
        return [test for test in (self._grouping.having, self._query.qualify) if test is not None]

    def _only_rows(self, root: Expr) -> None:
        """What is asked of each row cannot be what only the window's result tells."""
        for node in walk(root):
            if isinstance(node, Aggregated | WindowEdge):
                edge = isinstance(node, WindowEdge)
                name = _EDGES[node.end] if isinstance(node, WindowEdge) else f"{node.name}()"
                message = f"{name} tells of a window, and here it is asked of each of its rows"
                hint = "conditions on results stand in HAVING; a view computes a result that others count"
                code = "not-grouped" if edge else "nested-aggregate"
                self._problems.add(code, message, node.span, hint=hint)

    def _inlined(self, expr: Expr) -> Expr:
        """The expression with the values that it names put in their place."""
        if isinstance(expr, Ref):
            return self._inlined(self._query.lets[expr.index])
        return rebuilt(expr, self._inlined)

    def _place(self, value: Expr) -> int:
        if value not in self._values:
            self._values.append(value)
        return FIRST_PLACE + self._values.index(value)

    def _collect(self, root: Expr) -> None:
        for node in walk(root):
            if isinstance(node, Aggregated) and node not in self._results:
                arguments = tuple(self._place(self._inlined(argument)) for argument in node.arguments)
                tested = None if node.filter is None else self._place(self._inlined(node.filter))
                places = map(self._place, map(self._inlined, node.order))
                order = tuple(OrderBy(place, *how) for place, how in zip(places, node.directions, strict=True))
                self._results[node] = f"result {len(self._calls) + 1}"
                self._calls.append(AggregateCall(node.name, arguments, node.constants, tested, node.distinct, order))

    def _columns(self) -> Columns:
        names = [*self._keys.values(), *_EDGES, *self._results.values()]
        statics = [self._types.of(expr) for expr in (*self._keys, WindowEdge(False), WindowEdge(True), *self._results)]
        types = [static.type if static.fixed else Type.ANY for static in statics]
        return row_columns(names, types, [static.certain for static in statics])

    def _behind(self, columns: Columns) -> Query:
        query, grouping = self._query, self._grouping
        lets = [self._of_group(value) for value in query.lets]
        having = None if grouping.having is None else self._of_group(grouping.having)
        qualify = None if query.qualify is None else self._of_group(query.qualify)
        outputs = list(query.outputs)
        for number, sort in enumerate((*grouping.order, *_by_window(grouping)), 1):
            lets.append(self._of_group(sort.value))
            outputs.append((f"sort {number}", len(lets) - 1))
        return Query(columns, (), tuple(lets), having, None, tuple(outputs), "the window", qualify=qualify)

    def _of_group(self, expr: Expr) -> Expr:
        """The expression over the window's rows: groups and aggregates become columns, names stay names."""
        if isinstance(expr, Ref):
            return expr
        if self._keys and (key := self._keys.get(self._inlined(expr))) is not None:
            return Column(key, span=expr.span)
        if isinstance(expr, Aggregated):
            return Column(self._results[expr], span=expr.span)
        if isinstance(expr, WindowEdge):
            return Column(_EDGES[expr.end], span=expr.span)
        if isinstance(expr, Column | Document | Sender):
            self._not_grouped(expr)
            return expr
        return rebuilt(expr, self._of_group)

    def _not_grouped(self, expr: Expr) -> None:
        name = expr.name if isinstance(expr, Column) else "payload"
        message = f"{name!r} has many values in a group"
        hint = f"add it to GROUP BY, or say which one: last({name}), max({name}), array_agg({name})"
        self._problems.add("not-grouped", message, expr.span, hint=hint)

    # The rows of a window as they are

    def _all_rows(self) -> tuple[Columns, Query]:
        query, grouping = self._query, self._grouping
        carried = list(
            dict.fromkeys(
                node
                for root in (*query.lets, *(sort.value for sort in grouping.order))
                for node in walk(root)
                if isinstance(node, Column | Document)
            )
        )
        self._calls.append(AggregateCall("array_agg", (self._place(ListOf(tuple(carried))),)))
        columns = row_columns([*_EDGES, "rows"], [Type.TIMESTAMP, Type.TIMESTAMP, Type.ARRAY], [True, True, True])
        # The first value is the list that is unnested; the author's follow it.
        places: dict[Expr, Expr] = {
            expr: Index(Item(), Const(number, Type.BIGINT)) for number, expr in enumerate(carried, 1)
        }

        def of_row(expr: Expr) -> Expr:
            if isinstance(expr, Ref):
                return Ref(expr.index + 1)
            if isinstance(expr, WindowEdge):
                return Column(_EDGES[expr.end])
            place = places.get(expr)
            return rebuilt(expr, of_row) if place is None else place

        lets = [Column("rows"), *map(of_row, query.lets)]
        outputs = [(name, index + 1) for name, index in query.outputs]
        for number, sort in enumerate((*grouping.order, *_by_window(grouping)), 1):
            lets.append(of_row(sort.value))
            outputs.append((f"sort {number}", len(lets) - 1))
        unnest = Unnest(Ref(0), 1, None)
        return columns, Query(columns, (), tuple(lets), None, unnest, tuple(outputs), "the window")


def _by_window(grouping: Grouping) -> tuple[Sort, ...]:
    """What tells the rows of one window from those of the next, where they are sorted or cut."""
    if not grouping.order and grouping.limit is None:
        return ()
    return tuple(Sort(WindowEdge(end), descending=False, nulls_first=False) for end in (False, True))
