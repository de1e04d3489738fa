"""Calls of aggregates: which names mean one, their arguments, DISTINCT and FILTER.

In a query with a window a name that an aggregate has means that aggregate, also where a scalar function has it too;
``emqx_rule_funcs.first(x)`` still means the function. Arguments are of the window's rows: there a name means the
source's column before it means an output, as in standard SQL.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from sqlglot import exp

from core.errors import HeadraceError
from core.message import Type
from rules.aggregates import AGGREGATES, Aggregate, AggregateCall, OrderBy, check_call
from rules.analytics import ANALYTICS
from rules.bind_analytics import CHANGED_COLS, AnalyticBinder
from rules.codes import AGGREGATES_PAGE, ANALYTICS_PAGE
from rules.diagnostics import suggestion
from rules.functions import FunctionTable
from rules.nodes import Modified, span_of
from rules.tree import UNDEFINED, Aggregated, Column, Const, Expr, ObjectOf, walk
from rules.types import LABELS, NUMBERS

EDGES: Final = frozenset({"window_start", "window_end"})
"""In a query with a window these are its boundaries, whatever columns its source has."""
_WINDOW: Final = "FROM TUMBLE(source, ts, INTERVAL '1 minute') gives it the rows of a minute"


_TAKES: Final = MappingProxyType({"number": "numbers", "boolean": "conditions", "string": "texts", "map": "objects"})
_INSTEAD: Final = MappingProxyType(
    {
        Type.TEXT: "CAST(x AS DOUBLE) makes a number of a text",
        Type.BOOLEAN: "count(*) FILTER (WHERE x) counts the rows for which it is true",
        Type.INTERVAL: "EXTRACT(EPOCH FROM x) gives seconds",
        Type.TIMESTAMP: "min(x) and max(x) take instants",
    }
)


class AggregateBinder(AnalyticBinder):
    """Binds calls of aggregates. ``_grouped``: this query has a window."""

    _functions: FunctionTable
    _grouped: bool = False
    _of_rows: bool = False
    """What is being bound is about the rows of the window, not about its result."""
    _inside: str = ""
    """The aggregate whose arguments are being bound."""

    @contextmanager
    def _of_input(self) -> Iterator[None]:
        """Where a query with a window speaks of the window's rows, and not of its result."""
        scope, before, inside = self._scope, self._condition, self._no_analytics
        if not self._grouped:
            yield
            return
        self._no_analytics = self._no_analytics or "what a window counts"
        names = {name: index for name, index in scope.names.items() if name not in scope.columns}
        self._scope = replace(scope, names=names)
        outer, self._of_rows, self._condition = self._of_rows, True, True
        try:
            yield
        finally:
            self._scope, self._condition, self._of_rows, self._no_analytics = scope, before, outer, inside

    def _over_rows(self, tree: exp.Expr, modified: Modified | None) -> Expr | None:
        """What a call means that is about several rows; None where it is a call of something else."""
        name = tree.name.lower()
        if (name in ANALYTICS or name == CHANGED_COLS) and tree.name not in self._functions:
            return self._analytic(tree, modified)
        known = name in AGGREGATES
        if not known or (not self._grouped and name in self._functions):
            return None if modified is None else self._unmodified(tree, modified)
        if not self._grouped:
            message = f"{name}() is of several rows, and this query has no window"
            over = modified is not None and modified.args.get("over")
            runs = f"acc_{name}(x) OVER (...) gives it of all rows so far"
            hint = runs if over and f"acc_{name}" in ANALYTICS else _WINDOW
            self._problems.add("no-window", message, span_of(tree), hint=hint)
            return UNDEFINED
        if self._inside:
            hint = f"compute one of them in a view, and the other over that: CREATE VIEW v AS SELECT {name}(...) ..."
            self._problems.add("nested-aggregate", f"{name}() stands inside {self._inside}()", span_of(tree), hint=hint)
            return UNDEFINED
        self._inside = name
        try:
            with self._of_input():
                return self._aggregate(name, tree, modified)
        finally:
            self._inside = ""

    def _unmodified(self, tree: exp.Expr, modified: Modified) -> Expr | None:
        """A scalar function takes neither DISTINCT nor FILTER."""
        what = next(name for name in ("distinct", "order", "filter", "over") if modified.args.get(name))
        hint = suggestion(tree.name, AGGREGATES) or f"aggregates are listed in {AGGREGATES_PAGE}"
        word = {"order": "ORDER BY"}.get(what, what.upper())
        message = f"{word} is for aggregates, and {tree.name}() is none"
        if what == "over":
            message = f"OVER is for analytic functions, and {tree.name}() is none"
            hint = suggestion(tree.name, ANALYTICS) or f"they are listed in {ANALYTICS_PAGE}"
        self._problems.add("unsupported", message, span_of(tree), hint=hint)
        return UNDEFINED

    def _aggregate(self, name: str, tree: exp.Expr, modified: Modified | None) -> Expr:
        aggregate = AGGREGATES[name]
        given = tree.expressions
        if len(given) == 1 and isinstance(given[0], exp.Star):
            if not aggregate.star or (name != "count" and not self._columns.rows):
                message = f"{name}(*) has no meaning" + (" without declared columns" if aggregate.star else "")
                self._problems.add("wrong-arity", message, span_of(tree), hint=f"name the column: {name}(x)")
                return UNDEFINED
            bound = [] if name == "count" else [self._row_object()]
        else:
            bound = [self.expression(argument) for argument in given]
        count = min(len(aggregate.parameters), len(bound))
        arguments, rest = tuple(bound[:count]), bound[count:]
        constants: list[object] = []
        for value in rest:
            if not isinstance(value, Const):
                message = f"this argument of {name}() is the same for all rows: a constant"
                self._problems.add("wrong-type", message, value.span, hint=aggregate.doc)
                return UNDEFINED
            constants.append(value.value)
        condition = distinct = None
        order: list[Expr] = []
        directions: list[tuple[bool, bool]] = []
        if modified is not None:
            if modified.args.get("over"):
                self._problems.add("unsupported", f"OVER is not supported in {name}()", span_of(modified))
            for term in modified.args.get("order") or ():
                descending, first = bool(term.args.get("desc")), term.args.get("nulls_first")
                order.append(self.expression(term.this))
                directions.append((descending, descending if first is None else bool(first)))
            tested = modified.args.get("filter")
            condition = None if tested is None else self._as_condition(tested)
            distinct = modified.args.get("distinct")
        # Any places will do to see whether the call is right; a term that is an argument has the argument's.
        known = [*arguments, *order]
        terms = tuple(OrderBy(known.index(term)) for term in order)
        call = AggregateCall(name, tuple(map(known.index, arguments)), tuple(constants), None, bool(distinct), terms)
        try:
            check_call(call, AGGREGATES)
        except HeadraceError as error:
            self._problems.add("wrong-arity", str(error), span_of(tree), hint=aggregate.doc)
            return UNDEFINED
        if not self._all_fit(name, aggregate, arguments):
            return UNDEFINED
        result = aggregate.result_type([self._types.declared(argument) for argument in arguments])
        ordered = tuple(order), tuple(directions)
        return Aggregated(name, arguments, tuple(constants), condition, bool(distinct), result, *ordered)

    def _all_fit(self, name: str, aggregate: Aggregate, arguments: Sequence[Expr]) -> bool:
        """Report arguments that every row would fail on: a text for sum()."""
        fits = True
        for parameter, argument in zip(aggregate.parameters, arguments, strict=False):
            kind = self._types.declared(argument)
            taken = parameter.kind.types | (NUMBERS if parameter.kind.types & NUMBERS else set())
            if kind is Type.ANY or not taken or kind in taken:
                continue
            label = LABELS[kind]
            hint = _INSTEAD.get(kind, "") if taken & NUMBERS else ""
            message = f"{name}() takes {_TAKES.get(parameter.kind.label, parameter.kind.label)}, this is {label}"
            self._problems.add("wrong-type", message, argument.span, label=label, hint=hint or aggregate.doc)
            fits = False
        return fits

    def _row_object(self) -> Expr:
        """``*``: the row as an object."""
        return ObjectOf(tuple((Const(name, Type.TEXT), Column(name)) for name in self._columns.specs))


def has_aggregate(expr: Expr) -> bool:
    """Does the expression, names followed not, call an aggregate?"""
    return any(isinstance(node, Aggregated) for node in walk(expr))
