"""Calls of analytic functions: their arguments, OVER (PARTITION BY ... WHEN ...), and where they may stand.

They may stand wherever a query speaks of rows that come out of it: in the list of a SELECT, in WHERE and in QUALIFY. A
query with a window has them over its results, so not where it speaks of the window's rows. ``changed_cols``, which
gives several columns, is ``bind``'s.
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from rules.analytics import ANALYTICS, AnalyticCall, AnalyticFunction, CallError, check_call
from rules.analytics.base import Parameter
from rules.bind_typed import TypedBinder
from rules.nodes import Modified, Over, span_of
from rules.tree import UNDEFINED, Analytic, Const, Expr

CHANGED_COLS: Final = "changed_cols"
FOREACH: Final = "a FOREACH"
"""One of the places where none may stand."""


class AnalyticBinder(TypedBinder):
    """Binds calls of analytic functions. ``_no_analytics`` says what is being bound where none may stand."""

    _no_analytics: str = ""

    def _analytic(self, tree: exp.Expr, modified: Modified | None) -> Expr:
        name = tree.name.lower()
        if self._no_analytics:
            self._misplaced(f"{name}() cannot stand in {self._no_analytics}", tree)
            return UNDEFINED
        if name == CHANGED_COLS:
            self._misplaced("changed_cols() gives several columns: it stands alone in the list of a SELECT", tree)
            return UNDEFINED
        function = ANALYTICS[name]
        given = tree.expressions
        if function.star and len(given) == 1 and isinstance(given[0], exp.Star):
            given = []
        if len(given) > 1 and isinstance(given[-1], exp.Star) and function.parameters[-1].repeated:
            if not self._columns.rows:
                message = f"{name}(..., *) has no meaning without declared columns"
                self._problems.add("wrong-arity", message, span_of(tree), hint="name the columns, or read a view")
                return UNDEFINED
            given = [*given[:-1], *map(exp.column, self._columns.specs)]
        try:
            parameters = list(function.given(len(given)))
        except CallError as error:
            self._problems.add("wrong-arity", str(error), span_of(tree), hint=function.doc.partition(". ")[0])
            return UNDEFINED
        before = len(self._problems.found)
        call = self._call_of(function, list(zip(parameters, map(self.expression, given), strict=True)), modified)
        if call is None or len(self._problems.found) > before:
            return UNDEFINED
        places = tuple(range(len(call.arguments)))
        try:
            check_call(AnalyticCall(name, places, call.constants), ANALYTICS)
        except CallError as error:
            self._problems.add("wrong-type", str(error), span_of(tree), hint=f"it is {function.form}")
            return UNDEFINED
        return call

    def _misplaced(self, message: str, tree: exp.Expr) -> None:
        call = f"{tree.name}(...)"
        hint = f"compute it in a view, and read that: CREATE VIEW v AS SELECT {call} AS x, ..."
        if self._no_analytics == FOREACH:
            hint = f"make a view of the elements, CREATE VIEW v AS FOREACH ..., and write {call} over that"
        self._problems.add("misplaced-analytic", message, span_of(tree), hint=hint)

    def _call_of(
        self, function: AnalyticFunction, given: list[tuple[Parameter, Expr]], modified: Modified | None
    ) -> Analytic | None:
        arguments = [value for parameter, value in given if parameter.constant is None]
        constants: list[object] = []
        said = {parameter.name: value for parameter, value in given if parameter.constant is not None}
        for parameter in function.constants:
            value = said.get(parameter.name)
            if value is not None and not isinstance(value, Const):
                message = f"{parameter.name} of {function.name}() is the same for all rows: a constant"
                self._problems.add("wrong-type", message, value.span, hint=f"it is {function.form}")
                return None
            constants.append(parameter.default if value is None else value.value)
        if any(parameter.name == "default" for parameter, _ in given):
            arguments = list(self._unified(arguments, "mixed with"))
        partition: tuple[Expr, ...] = ()
        when: Expr | None = None
        if modified is not None:
            for clause, text in (("distinct", "DISTINCT"), ("order", "ORDER BY"), ("filter", "FILTER")):
                if modified.args.get(clause):
                    hint = f"{function.form} OVER (PARTITION BY key WHEN condition)"
                    message = f"{text} is for aggregates, and {function.name}() is none"
                    self._problems.add("unsupported", message, span_of(modified), hint=hint)
                    return None
            over = modified.args.get("over")
            if isinstance(over, Over) and self._check(over):
                partition = tuple(map(self.expression, over.args.get("partition") or ()))
                condition = over.args.get("when")
                when = None if condition is None else self._as_condition(condition)
        result = function.result_type([self._types.declared(argument) for argument in arguments])
        return Analytic(
            function.name, tuple(arguments), tuple(constants), partition, when, result, certain=function.certain
        )

    def _as_condition(self, tree: exp.Expr) -> Expr:
        """The expression where the names of outputs hide those of columns."""
        before, self._condition = self._condition, True
        try:
            return self.expression(tree)
        finally:
            self._condition = before
