"""Static types of bound expressions, and the errors that are certain before any message has come.

A type is *certain* when every value of the expression has it (an operator that would give something else raises
instead); otherwise it is what a column of a table would be given, and values may be missing, null or anything.
Only certain types make errors: whatever a device may legally send is decided at run time by ``operators``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from core.message import MISSING, Type
from rules.diagnostics import Problems
from rules.operators import parse_number
from rules.tree import (
    And,
    Arithmetic,
    Call,
    Case,
    Cast,
    Column,
    Compare,
    Concat,
    Const,
    Expr,
    First,
    In,
    IntegerRange,
    IsNull,
    Like,
    ListOf,
    Negate,
    Not,
    Or,
    Put,
    Query,
    Ref,
    Slice,
    TopicMatches,
    children,
)


class Static(NamedTuple):
    """What is known of an expression's values."""

    type: Type
    certain: bool


ANYTHING: Final = Static(Type.ANY, certain=False)
_BOOLEAN: Final = Static(Type.BOOLEAN, certain=True)
_NUMBERS: Final = frozenset({Type.BIGINT, Type.DOUBLE, Type.DECIMAL})
_LABELS: Final = MappingProxyType(
    {
        Type.BOOLEAN: "a boolean",
        Type.BIGINT: "an integer",
        Type.DOUBLE: "a number",
        Type.TEXT: "a text",
        Type.ARRAY: "an array",
        Type.OBJECT: "a map",
    }
)


class Types:
    """The types of one query's expressions; asks are remembered."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._known: dict[Expr, Static] = {}

    def of(self, expr: Expr) -> Static:
        known = self._known.get(expr)
        if known is None:
            rule = _RULES.get(type(expr))
            known = self._known[expr] = ANYTHING if rule is None else rule(self, expr)
        return known

    def certainly(self, expr: Expr, *types: Type) -> bool:
        """Is every value of ``expr`` of one of these types?"""
        static = self.of(expr)
        return static.certain and static.type in types

    def number(self, expr: Expr) -> bool:
        return self.certainly(expr, Type.BIGINT, Type.DOUBLE)

    def _const(self, expr: Const) -> Static:
        return ANYTHING if expr.value is MISSING else Static(expr.type, certain=True)

    def _column(self, expr: Column) -> Static:
        spec = self._query.source.specs[expr.name]
        return Static(spec.type, certain=spec.always)

    def _ref(self, expr: Ref) -> Static:
        return self.of(self._query.lets[expr.index])

    def _first(self, expr: First) -> Static:
        first = self.of(expr.first)
        return first if first.certain else _common([first, self.of(expr.second)], certain=False)

    def _arithmetic(self, expr: Arithmetic) -> Static:
        if expr.operator == "/":
            return Static(Type.DOUBLE, certain=True)
        if expr.operator in ("div", "mod"):
            return Static(Type.BIGINT, certain=True)
        left, right = self.of(expr.left), self.of(expr.right)
        if expr.operator == "+":
            if Type.TEXT in (left.type, right.type) and (left.certain or right.certain):
                return Static(Type.TEXT, certain=True)
            if not (self.number(expr.left) and self.number(expr.right)):
                return ANYTHING
        if left == right == Static(Type.BIGINT, certain=True):
            return left
        # Any two numbers: an integer where both are, which a DOUBLE column takes as well.
        whole = self.number(expr.left) and self.number(expr.right)
        return Static(Type.DOUBLE, certain=whole and Type.DOUBLE in (left.type, right.type))

    def _negate(self, expr: Negate) -> Static:
        static = self.of(expr.operand)
        return static if static.certain and static.type in _NUMBERS else Static(Type.DOUBLE, certain=False)

    def _case(self, expr: Case) -> Static:
        values = [self.of(value) for _, value in expr.branches]
        values.append(self.of(expr.default))
        missing = isinstance(expr.default, Const) and expr.default.value is MISSING
        return _common(values[:-1] if missing else values, certain=not missing)

    def _call(self, expr: Call) -> Static:
        return Static(expr.function.result, certain=False)


def _common(statics: Sequence[Static], *, certain: bool) -> Static:
    types = {static.type for static in statics}
    sure = certain and all(static.certain for static in statics)
    if len(types) == 1:
        return Static(statics[0].type, sure)
    return Static(Type.DOUBLE, certain=False) if types <= _NUMBERS else ANYTHING


def _always(static: Static) -> Callable[[Types, Any], Static]:
    return lambda _types, _expr: static


_RULES: Final[dict[type[Expr], Callable[[Types, Any], Static]]] = {
    Const: Types._const,
    Column: Types._column,
    Ref: Types._ref,
    First: Types._first,
    Arithmetic: Types._arithmetic,
    Negate: Types._negate,
    Case: Types._case,
    Call: Types._call,
    Cast: lambda _types, expr: Static(expr.type, certain=False),
    Concat: _always(Static(Type.TEXT, certain=False)),
    Slice: _always(Static(Type.ARRAY, certain=True)),
    IntegerRange: _always(Static(Type.ARRAY, certain=True)),
    ListOf: _always(Static(Type.ARRAY, certain=True)),
    Put: _always(Static(Type.OBJECT, certain=False)),
    Like: _always(Static(Type.BOOLEAN, certain=False)),
    **dict.fromkeys((Compare, TopicMatches, In, IsNull, And, Or, Not), _always(_BOOLEAN)),
}


def check(query: Query, problems: Problems) -> None:
    """Report what is certain to fail on every message."""
    types = Types(query)
    seen: set[Expr] = set()
    conditions = [query.where, query.unnest.condition if query.unnest else None]
    for condition in conditions:
        if condition is not None:
            _check_condition(condition, types, problems)
    stack = [*query.lets, *(condition for condition in conditions if condition is not None)]
    while stack:
        expr = stack.pop(0)
        if expr in seen:
            continue
        seen.add(expr)
        _check_operands(expr, types, problems)
        stack.extend(children(expr))


def _check_condition(expr: Expr, types: Types, problems: Problems) -> None:
    if isinstance(expr, And | Or):
        for operand in expr.operands:
            _check_condition(operand, types, problems)
        return
    static = types.of(expr)
    # A function's result may be null but is never of another type than the declared one.
    declared = static.certain or isinstance(expr, Call | Cast | Concat)
    if declared and static.type not in (Type.BOOLEAN, Type.ANY):
        label = _LABELS.get(static.type, static.type.value)
        hint = "compare it with something: = > < IN LIKE IS NULL"
        problems.add("not-boolean", f"a condition is true or false, this is {label}", expr.span, label=label, hint=hint)
    elif isinstance(expr, Arithmetic):
        problems.add(
            "not-boolean",
            "a condition is true or false, this is arithmetic",
            expr.span,
            hint="compare it with something",
        )


def _check_operands(expr: Expr, types: Types, problems: Problems) -> None:
    if isinstance(expr, Arithmetic):
        operands: tuple[Expr, ...] = (expr.left, expr.right)
        texts = expr.operator == "+" and any(types.certainly(operand, Type.TEXT) for operand in operands)
        wanted = {Type.BIGINT} if expr.operator in ("div", "mod") else _NUMBERS
        for operand in operands if not texts else ():
            _check_number(operand, expr.operator, frozenset(wanted), types, problems)
    elif isinstance(expr, Negate):
        _check_number(expr.operand, "-", _NUMBERS, types, problems)
    elif isinstance(expr, Compare):
        for one, other in ((expr.left, expr.right), (expr.right, expr.left)):
            text = other.value if isinstance(other, Const) and other.type is Type.TEXT else None
            if text is not None and types.number(one) and parse_number(text) is None:
                problems.add("wrong-type", f"a number cannot be compared with the text {text!r}", expr.span)


def _check_number(expr: Expr, operator: str, wanted: frozenset[Type], types: Types, problems: Problems) -> None:
    static = types.of(expr)
    if static.certain and static.type not in wanted and static.type is not Type.ANY:
        label = _LABELS.get(static.type, static.type.value)
        needs = "integers" if wanted == {Type.BIGINT} else "numbers"
        hint = "texts are joined with + or ||" if static.type is Type.TEXT else ""
        problems.add("wrong-type", f"{operator!r} takes {needs}, this is {label}", expr.span, label=label, hint=hint)
