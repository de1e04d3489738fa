"""Syntax tree -> bound expressions: paths, operators, function calls; names through ``scope``.

Binding goes on after an error (the culprit counts as missing), so that one run finds them all. Calls of pure functions
with constants are computed here.

A bare name that no output and no column has is *missing* for EMQX. In a rule file it is an error: a typo that silently
gives nothing on every message is the worst of outcomes. ``eval`` keeps EMQX's reading (``Columns.strict`` is False).
``null`` is such a name that is always missing: SQL authors mean by it what EMQX's authors mean by an unset variable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from sqlglot import exp

from core.errors import HeadraceError
from core.message import Type
from rules import nodes
from rules.aggregates import AGGREGATES
from rules.analytics import ANALYTICS
from rules.bind_aggregates import EDGES, AggregateBinder
from rules.bind_forms import FORMS, FormBinder
from rules.bind_message import MESSAGE_FUNCTIONS, MessageBinder
from rules.codes import FUNCTIONS_PAGE
from rules.columns import Columns
from rules.diagnostics import Problems, Span, suggestion
from rules.functions import FunctionTable
from rules.functions.absent import ABSENT
from rules.nodes import Range, span_of
from rules.relations import NO_RELATIONS, Relations
from rules.scope import PAYLOAD, Scope, Step
from rules.tree import (
    UNDEFINED,
    And,
    Call,
    Case,
    Concat,
    Const,
    Expr,
    In,
    InArray,
    Index,
    IntegerRange,
    IsBoolean,
    IsNull,
    Key,
    Like,
    ListOf,
    Not,
    Or,
    Received,
    Sender,
    Slice,
    TopicMatches,
    WindowEdge,
)
from rules.types import TEMPORAL
from rules.whitelist import ALLOWED

_ARITHMETIC: Final[Mapping[type[exp.Expr], str]] = MappingProxyType(
    {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.IntDiv: "div", exp.Mod: "mod"}
)
_COMPARISONS: Final[Mapping[type[exp.Expr], str]] = MappingProxyType(
    {exp.EQ: "=", exp.NEQ: "!=", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}
)
_OPERATOR_FUNCTIONS: Final = MappingProxyType({"div": "div", "mod": "mod"})
_NOW: Final = "CURRENT_TIMESTAMP"
_OF_RESULT: Final = "the boundaries of a window are known of its result: in SELECT, HAVING and ORDER BY"
_MODULE_PREFIX: Final = "emqx_rule_funcs"


class ExpressionBinder(FormBinder, MessageBinder, AggregateBinder):
    """Binds expressions within a scope. ``functions`` are what they may call; errors go to ``problems``."""

    def __init__(
        self, columns: Columns, functions: FunctionTable, problems: Problems, relations: Relations = NO_RELATIONS
    ) -> None:
        self._columns = columns
        self._functions = functions
        self._problems = problems
        self._relations = relations
        self._scope = Scope([], columns.specs, rows=columns.rows)
        self._aliases: Mapping[str, Mapping[str, str]] = {}
        self._ambiguous: dict[str, tuple[str, ...]] = {}
        self._condition = False

    def expression(self, tree: exp.Expr) -> Expr:
        """The bound expression with its place."""
        method = _METHODS.get(type(tree))
        if method is None or not self._check(tree):
            if method is None:
                self._refuse(tree)
            return UNDEFINED
        bound = method(self, tree)
        return bound if bound is UNDEFINED or bound.span == span_of(tree) else replace(bound, span=span_of(tree))

    def _check(self, tree: exp.Expr) -> bool:
        allowed = ALLOWED.get(type(tree))
        if allowed is None:
            self._refuse(tree)
            return False
        extra = [name for name, value in tree.args.items() if value and name not in allowed]
        for name in extra:
            self._problems.add("unsupported", f"{name.rstrip('_').upper()} is not supported here", span_of(tree))
        return not extra

    def _refuse(self, tree: exp.Expr) -> None:
        self._problems.add("unsupported", f"{type(tree).__name__.upper()} is not supported in a rule", span_of(tree))

    def _paren(self, tree: exp.Expr) -> Expr:
        return self.expression(tree.this)

    def _literal(self, tree: exp.Expr) -> Expr:
        text = tree.name
        if tree.is_string:
            return Const(text, Type.TEXT)
        try:
            number = Const(float(text), Type.DOUBLE) if "." in text else Const(int(text), Type.BIGINT)
        except ValueError:
            number = UNDEFINED
        if number is UNDEFINED or not math.isfinite(number.value if number.type is Type.DOUBLE else 0):
            hint = "a text takes any number of digits, CAST('...' AS DECIMAL) 38 of them"
            self._problems.add("syntax", "this number is too large", span_of(tree), hint=hint)
            return UNDEFINED
        return number

    def _boolean(self, tree: exp.Expr) -> Expr:
        return Const(bool(tree.this), Type.BOOLEAN)

    def _path(self, tree: exp.Expr) -> Expr:
        steps: list[Step] = []
        whole = inner = tree
        while isinstance(tree, exp.Dot | exp.Bracket):
            if tree is not whole and not self._check(tree):
                return UNDEFINED
            steps.append(self._step(tree))
            inner, tree = tree, tree.this
        steps.reverse()
        if not isinstance(tree, exp.Column):
            value = self.expression(tree)
            for step in steps:
                value = step(value)
            return value
        self._check(tree)
        name = tree.name
        if name in self._aliases and isinstance(inner, exp.Dot) and not self._scope.knows(name):
            return self._column(self._qualified(name, inner), steps[1:], whole)
        if name in self._ambiguous and name not in self._scope.names:
            ways = " or ".join(f"{alias}.{name}" for alias in self._ambiguous[name])
            message = f"{name!r} is a column of {' and of '.join(map(repr, self._ambiguous[name]))}"
            self._problems.add("ambiguous-column", message, span_of(tree), hint=f"write {ways}")
        if self._grouped and name in EDGES and not (steps or self._of_rows or name in self._scope.names):
            return WindowEdge(name == "window_end")
        if name.upper() == _NOW and not (steps or self._scope.knows(name)):
            return Received()
        if not self._scope.knows(name) and name.lower() != "null" and self._columns.strict:
            hint = suggestion(name, [*self._columns.specs, *self._scope.names, *self._scope.base])
            if self._grouped and name in EDGES:
                hint = _OF_RESULT
            elif hint is None and PAYLOAD in self._columns.specs:
                hint = f"fields of the payload are written {PAYLOAD}.{name}, texts 'like this'"
            self._problems.add(
                "unknown-column",
                f"there is no column {name!r}",
                span_of(tree),
                hint=hint or f"there are {', '.join(self._columns.specs)}",
            )
        if steps and self._kind(self._scope.read(name, [], condition=True, typed=self._types.temporal)) in TEMPORAL:
            return self._no_parts(name, whole)
        # A window's result has no columns of the source that a name could fall back to.
        hides = self._condition or self._grouped
        return self._scope.read(name, steps, condition=hides, typed=self._types.temporal)

    def _no_parts(self, name: str, tree: exp.Expr) -> Expr:
        message = f"an instant or interval has no parts behind a dot: {name!r} is one"
        return self._wrong(message, span_of(tree), hint=f"EXTRACT(HOUR FROM {name})")

    def _column(self, name: str, steps: list[Step], tree: exp.Expr) -> Expr:
        """A path that begins with its source's name: it means a column of that, whatever fields are called."""
        if self._grouped and not (self._of_rows or steps) and name in EDGES and name not in self._scope.columns:
            return WindowEdge(name == "window_end")
        if steps and self._kind(self._scope.column(name, [])) in TEMPORAL:
            return self._no_parts(name, tree)
        return self._scope.column(name, steps)

    def _qualified(self, alias: str, tree: exp.Dot) -> str:
        """The column that ``alias.name`` means."""
        name: str = tree.expression.name
        columns = self._aliases[alias]
        edge = self._grouped and name in EDGES
        if edge and name not in columns and not self._of_rows:
            return name
        if name not in columns and self._columns.strict:
            hint = _OF_RESULT if edge else suggestion(name, columns) or f"it has {', '.join(columns)}"
            self._problems.add("unknown-column", f"{alias!r} has no column {name!r}", span_of(tree), hint=hint)
            return "null"
        return columns.get(name, name)

    def _step(self, tree: exp.Expr) -> Step:
        if isinstance(tree, exp.Dot):
            name = tree.expression.name
            return lambda base: Key(base, name)
        index = tree.expressions[0]
        if isinstance(index, Range):
            first, last = self._ends(index)
            return lambda base: Slice(base, first, last)
        place = self._number_or_text(self.expression(index), "an index")
        return lambda base: Index(base, place)

    def _range(self, tree: exp.Expr) -> Expr:
        return IntegerRange(*self._ends(tree))

    def _ends(self, tree: exp.Expr) -> tuple[Expr, Expr]:
        first, last = self.expression(tree.this), self.expression(tree.expression)
        return self._number_or_text(first, "a range"), self._number_or_text(last, "a range")

    def _array(self, tree: exp.Expr) -> Expr:
        return ListOf(tuple(self._plain(self.expression(item)) for item in tree.expressions))

    def _arithmetic(self, tree: exp.Expr) -> Expr:
        operator: Any = _ARITHMETIC[type(tree)]
        return self._calculated(operator, tree.this, tree.expression)

    def _compare(self, tree: exp.Expr) -> Expr:
        operator: Any = _COMPARISONS[type(tree)]
        return self._compared(operator, self.expression(tree.this), self.expression(tree.expression))

    def _topic_matches(self, tree: exp.Expr) -> Expr:
        topic, pattern = self.expression(tree.this), self.expression(tree.expression)
        return TopicMatches(self._number_or_text(topic, "'=~'"), self._number_or_text(pattern, "'=~'"))

    def _concat(self, tree: exp.Expr) -> Expr:
        return Concat(*(self._as_text(self.expression(operand)) for operand in (tree.this, tree.expression)))

    def _negate(self, tree: exp.Expr) -> Expr:
        return self._negated(self.expression(tree.this))

    def _not(self, tree: exp.Expr) -> Expr:
        return Not(self._number_or_text(self.expression(tree.this), "NOT"))

    def _connector(self, tree: exp.Expr) -> Expr:
        kind = type(tree)
        operands: list[Expr] = []
        stack = [tree]
        while stack:
            node = stack.pop()
            if type(node) is kind:
                self._check(node)
                stack += [node.args["expression"], node.this]
            else:
                operands.append(self.expression(node))
        return And(tuple(operands)) if kind is exp.And else Or(tuple(operands))

    def _is(self, tree: exp.Expr) -> Expr:
        operand = self.expression(tree.this)
        if isinstance(tree.expression, exp.Boolean):
            return IsBoolean(operand, bool(tree.expression.this))
        if not isinstance(tree.expression, exp.Null):
            self._refuse(tree)
        return IsNull(operand)

    def _in(self, tree: exp.Expr) -> Expr:
        items = [self.expression(item) for item in (tree.this, *tree.expressions)]
        operand, *others = self._unified(items, "compared with")
        return In(operand, tuple(others))

    def _in_array(self, tree: exp.Expr) -> Expr:
        operand, array = self.expression(tree.this), self.expression(tree.expression)
        if self._kind(operand) in TEMPORAL:
            return self._wrong(
                f"the items of an array have no declared type, this is {self._label(operand)}",
                operand.span,
                label=self._label(operand),
                hint="name the values: x IN ('2026-01-01T00:00:00Z', ...)",
            )
        kind = self._types.declared(array)
        if kind not in (Type.ARRAY, Type.ANY):
            hint = "a list of values stands in parentheses: x IN (1, 2)"
            return self._wrong(f"IN takes an array, this is {self._label(array)}", array.span, hint=hint)
        return InArray(operand, array)

    def _between(self, tree: exp.Expr) -> Expr:
        operand = self.expression(tree.this)
        low = self._compared(">=", operand, self.expression(tree.args["low"]))
        high = self._compared("<=", operand, self.expression(tree.args["high"]))
        return And((replace(low, span=span_of(tree)), replace(high, span=span_of(tree))))

    def _like(self, tree: exp.Expr) -> Expr:
        escape = tree.args.get("escape")
        character = "\\" if escape is None else escape.name
        operand = self._number_or_text(self.expression(tree.this), "LIKE")
        pattern = self._number_or_text(self.expression(tree.expression), "LIKE")
        return Like(operand, pattern, isinstance(tree, exp.ILike), character)

    def _case(self, tree: exp.Expr) -> Expr:
        operand = tree.args.get("this")
        bound = None if operand is None else self.expression(operand)
        tests: list[Expr] = []
        values: list[Expr] = []
        for branch in tree.args["ifs"]:
            self._check(branch)
            tests.append(self.expression(branch.this))
            values.append(self.expression(branch.args["true"]))
        default = tree.args.get("default")
        values.append(UNDEFINED if default is None else self.expression(default))
        if bound is not None:
            bound, *tests = self._unified([bound, *tests], "compared with")
        *values, last = self._unified(values, "mixed with")
        return Case(bound, tuple(zip(tests, values, strict=True)), last)

    def _modified(self, tree: exp.Expr) -> Expr:
        assert isinstance(tree, nodes.Modified)  # noqa: S101  the table of methods says so
        self._check(tree.this)
        found = self._over_rows(tree.this, tree)
        assert found is not None  # noqa: S101  what is modified is an aggregate or an error
        return found

    def _call(self, tree: exp.Expr) -> Expr:
        found = self._over_rows(tree, None) or self._form(tree) or self._of_message(tree)
        if found is not None:
            return found
        name = tree.name
        arguments = self._zoned_arguments(tree)
        function = self._function(name, tree)
        if name in _OPERATOR_FUNCTIONS and len(arguments) == 2:
            operator: Any = _OPERATOR_FUNCTIONS[name]
            return self._combined(operator, *arguments)
        if function is None:
            return UNDEFINED
        least, most = function.min_args, function.max_args
        if len(arguments) < least or (most is not None and len(arguments) > most):
            wanted = f"{least}" if least == most else f"at least {least}" if most is None else f"{least} to {most}"
            plural = "" if wanted == "1" else "s"
            self._problems.add(
                "wrong-arity",
                f"{name}() takes {wanted} argument{plural}, not {len(arguments)}",
                span_of(tree),
                hint=function.summary,
            )
            return UNDEFINED
        call = self._checked_call(Call(function, function.name, arguments))
        if call is not None and function.needs_publisher:
            if self._columns.rows:
                hint = "call it where the messages are read, in a view or rule FROM a topic"
                message = f"{name}() belongs to the client that sent a message, and rows have none"
                self._problems.add("unsupported", message, span_of(tree), hint=hint)
            call = replace(call, arguments=(Sender(), *call.arguments))
        return UNDEFINED if call is None else _folded(call)

    def _in_any_case(self, name: str) -> str:
        """The known name that ``name`` is but for its case."""
        folded = name.lower()
        return (
            folded
            if folded in self._functions
            else next((known for known in self._functions.names() if known.lower() == folded), name)
        )

    def _function(self, name: str, tree: exp.Expr) -> Any:
        try:
            function = self._functions.get(name) or self._functions.get(self._in_any_case(name))
        except HeadraceError as error:
            self._problems.add("unknown-function", str(error), span_of(tree))
            return None
        if function is None and name not in _OPERATOR_FUNCTIONS:
            known = [*self._functions.names(), *FORMS, *MESSAGE_FUNCTIONS, *AGGREGATES, *ANALYTICS]
            hint = ABSENT.get(name) or suggestion(name, known)
            hint = hint or f"they are listed in {FUNCTIONS_PAGE}"
            message = f"there is no function {name!r}"
            if name.startswith(_MODULE_PREFIX):
                message += " (sql_function_provider_module_not_loaded)"
            start = span_of(tree).start
            place = Span(start, start + len(name))
            self._problems.add("unknown-function", message, place, hint=hint)
        return function


def _folded(call: Call) -> Expr:
    """The value of a pure call of constants, where it is a plain one; an error stays for the run."""
    if not call.function.pure or not all(isinstance(argument, Const) for argument in call.arguments):
        return call
    try:
        value = call.function.call(*(argument.value for argument in call.arguments if isinstance(argument, Const)))
    except (HeadraceError, ArithmeticError, ValueError, TypeError):
        return call
    result = call.function.result_of(len(call.arguments))
    kind = result if result in TEMPORAL else _PLAIN.get(type(value))
    small = (
        math.isfinite(value)
        if isinstance(value, float)
        else value.bit_length() <= 64
        if isinstance(value, int)
        else isinstance(value, str) and len(value) <= _MAX_FOLDED
    )
    return Const(value, kind) if kind is not None and small else call


_MAX_FOLDED: Final = 1_000
_PLAIN: Final = MappingProxyType({bool: Type.BOOLEAN, int: Type.BIGINT, float: Type.DOUBLE, str: Type.TEXT})


_Method = Callable[[ExpressionBinder, Any], Expr]
_METHODS: Final[dict[type[exp.Expr], _Method]] = {
    exp.Paren: ExpressionBinder._paren,
    exp.Literal: ExpressionBinder._literal,
    exp.Boolean: ExpressionBinder._boolean,
    exp.Column: ExpressionBinder._path,
    exp.Dot: ExpressionBinder._path,
    exp.Bracket: ExpressionBinder._path,
    Range: ExpressionBinder._range,
    exp.Array: ExpressionBinder._array,
    nodes.ObjectLiteral: ExpressionBinder._object_literal,
    exp.DPipe: ExpressionBinder._concat,
    exp.Neg: ExpressionBinder._negate,
    exp.Not: ExpressionBinder._not,
    exp.And: ExpressionBinder._connector,
    exp.Or: ExpressionBinder._connector,
    exp.Is: ExpressionBinder._is,
    exp.In: ExpressionBinder._in,
    nodes.InArray: ExpressionBinder._in_array,
    nodes.IsDistinct: ExpressionBinder._distinct,
    exp.Between: ExpressionBinder._between,
    exp.Like: ExpressionBinder._like,
    exp.ILike: ExpressionBinder._like,
    exp.Case: ExpressionBinder._case,
    exp.Cast: ExpressionBinder._cast,
    exp.TryCast: ExpressionBinder._cast,
    nodes.TimestampLiteral: ExpressionBinder._timestamp_literal,
    nodes.IntervalLiteral: ExpressionBinder._interval_literal,
    nodes.AtTimeZone: ExpressionBinder._at_time_zone,
    nodes.Extract: ExpressionBinder._extract,
    exp.Anonymous: ExpressionBinder._call,
    nodes.Modified: ExpressionBinder._modified,
    nodes.TopicMatch: ExpressionBinder._topic_matches,
    **dict.fromkeys(_ARITHMETIC, ExpressionBinder._arithmetic),
    **dict.fromkeys(_COMPARISONS, ExpressionBinder._compare),
}
