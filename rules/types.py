"""Static types of bound expressions, and the errors that are certain before any message has come.

A type is *certain* when every value of the expression has it (an operator that would give something else raises
instead); otherwise it is what a column of a table would be given, and values may be missing, null or anything.
Only certain types make errors: whatever a device may legally send is decided at run time by ``operators``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from core.message import Type
from rules.columns import ColumnSpec
from rules.functions.instants import WHOLE_FIELDS
from rules.tree import (
    Aggregated,
    Analytic,
    And,
    Arithmetic,
    Call,
    Case,
    Cast,
    Coalesce,
    Column,
    Compare,
    Concat,
    Const,
    Declared,
    Distinct,
    Expr,
    Extract,
    Extreme,
    First,
    In,
    InArray,
    IntegerRange,
    IsBoolean,
    IsNull,
    KeyOf,
    Like,
    ListOf,
    Negate,
    Not,
    NullIf,
    ObjectOf,
    Or,
    Put,
    Query,
    Received,
    Ref,
    Shift,
    Slice,
    TopicLevel,
    TopicMatches,
    Whole,
    WindowEdge,
    is_null,
)


class Static(NamedTuple):
    """What is known of an expression's values.

    ``certain``: each has the type. ``declared``: each that is neither null nor missing has it, as the result of a CAST
    or of a function. A TIMESTAMP and an INTERVAL are always one of the two: nothing else tells them from integers.
    """

    type: Type
    certain: bool
    declared: bool = False

    @property
    def fixed(self) -> bool:
        return self.certain or self.declared


ANYTHING: Final = Static(Type.ANY, certain=False)
_BOOLEAN: Final = Static(Type.BOOLEAN, certain=True)
NUMBERS: Final = frozenset({Type.BIGINT, Type.DOUBLE, Type.DECIMAL})
TEMPORAL: Final = frozenset({Type.TIMESTAMP, Type.INTERVAL})
TEMPORAL_ARITHMETIC: Final = MappingProxyType(
    {
        ("+", Type.TIMESTAMP, Type.INTERVAL): Type.TIMESTAMP,
        ("+", Type.INTERVAL, Type.TIMESTAMP): Type.TIMESTAMP,
        ("-", Type.TIMESTAMP, Type.INTERVAL): Type.TIMESTAMP,
        ("-", Type.TIMESTAMP, Type.TIMESTAMP): Type.INTERVAL,
        ("+", Type.INTERVAL, Type.INTERVAL): Type.INTERVAL,
        ("-", Type.INTERVAL, Type.INTERVAL): Type.INTERVAL,
        **{
            (operator, *operands): Type.INTERVAL
            for number in (*sorted(NUMBERS, key=lambda kind: kind.value), Type.ANY)
            for operator, *operands in (
                ("*", Type.INTERVAL, number),
                ("*", number, Type.INTERVAL),
                ("/", Type.INTERVAL, number),
            )
        },
    }
)
"""What the arithmetic of instants and intervals gives; ANY is what must turn out to be a number."""

LABELS: Final = MappingProxyType(
    {
        Type.BOOLEAN: "a boolean",
        Type.BIGINT: "an integer",
        Type.DOUBLE: "a number",
        Type.DECIMAL: "a decimal",
        Type.TEXT: "a text",
        Type.BYTES: "bytes",
        Type.TIMESTAMP: "a TIMESTAMP",
        Type.INTERVAL: "an INTERVAL",
        Type.ARRAY: "an array",
        Type.OBJECT: "a map",
    }
)


class Types:
    """The types of one query's expressions; asks are remembered. ``lets`` may grow in the meantime."""

    def __init__(self, specs: Mapping[str, ColumnSpec], lets: Sequence[Expr]) -> None:
        self.specs = specs
        self._lets = lets
        self._known: dict[Expr, Static] = {}

    @classmethod
    def of_query(cls, query: Query) -> Types:
        return cls(query.source.specs, query.lets)

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

    def declared(self, expr: Expr) -> Type:
        """The type that every value of ``expr`` has unless it is null or missing; ANY where that is not known."""
        static = self.of(expr)
        return static.type if static.fixed else Type.ANY

    def temporal(self, expr: Expr) -> bool:
        return self.of(expr).type in TEMPORAL

    def _const(self, expr: Const) -> Static:
        return ANYTHING if is_null(expr) else Static(expr.type, certain=True)

    def _column(self, expr: Column) -> Static:
        spec = self.specs[expr.name]
        return Static(spec.type, certain=spec.always, declared=spec.type is not Type.ANY)

    def _ref(self, expr: Ref) -> Static:
        return self.of(self._lets[expr.index])

    def _first(self, expr: First) -> Static:
        first = self.of(expr.first)
        return first if first.certain else self.common((expr.first, expr.second), certain=False)

    def _arithmetic(self, expr: Arithmetic) -> Static:
        left, right = self.of(expr.left), self.of(expr.right)
        if left.type in TEMPORAL or right.type in TEMPORAL:
            kind = TEMPORAL_ARITHMETIC.get((expr.operator, left.type, right.type), Type.ANY)
            return Static(kind, certain=left.certain and right.certain, declared=True)
        if expr.operator in ("div", "mod"):
            return Static(Type.BIGINT, certain=True)
        types = {left.type, right.type}
        # What is null or missing raises, so numbers that are only declared give a certain one.
        numbers = left.fixed and right.fixed and types <= NUMBERS
        if Type.DECIMAL in types:
            exact = numbers and Type.DOUBLE not in types
            return Static(Type.DECIMAL if exact else Type.DOUBLE, certain=numbers)
        if expr.operator == "/":
            return Static(Type.DOUBLE, certain=True)
        if expr.operator == "+":
            if Type.TEXT in types and any(side.fixed and side.type is Type.TEXT for side in (left, right)):
                return Static(Type.TEXT, certain=True)
            if not numbers:
                return ANYTHING
        if numbers and types == {Type.BIGINT}:
            return Static(Type.BIGINT, certain=True)
        # Any two numbers: an integer where both are, which a DOUBLE column takes as well.
        return Static(Type.DOUBLE, certain=numbers)

    def _negate(self, expr: Negate) -> Static:
        static = self.of(expr.operand)
        if static.type in TEMPORAL:
            return static
        return Static(static.type if static.fixed and static.type in NUMBERS else Type.DOUBLE, certain=static.fixed)

    def _case(self, expr: Case) -> Static:
        return self.common((*(value for _, value in expr.branches), expr.default))

    def common(self, operands: Sequence[Expr], *, certain: bool = True) -> Static:
        """The type of a value that is one of ``operands``; null and missing have any type."""
        statics = [self.of(operand) for operand in operands if not is_null(operand)]
        types = {static.type for static in statics}
        if len(types) != 1:
            return Static(Type.DOUBLE, certain=False) if types and types <= NUMBERS else ANYTHING
        sure = certain and len(statics) == len(operands) and all(static.certain for static in statics)
        return Static(statics[0].type, sure, all(static.fixed for static in statics))

    def _coalesce(self, expr: Coalesce | Extreme) -> Static:
        static = self.common(expr.operands)
        there = any(self.of(operand).certain for operand in expr.operands)
        return Static(static.type, certain=there and static.fixed, declared=static.fixed)

    def _null_if(self, expr: NullIf) -> Static:
        left = self.of(expr.left)
        return Static(left.type, certain=False, declared=left.fixed)

    def _call(self, expr: Call) -> Static:
        result = expr.function.result_of(len(expr.arguments))
        return Static(result, certain=False, declared=result is not Type.ANY)

    def _like(self, expr: Like) -> Static:
        texts = self.certainly(expr.operand, Type.TEXT) and self.certainly(expr.pattern, Type.TEXT)
        return Static(Type.BOOLEAN, certain=texts, declared=True)

    def _extract(self, expr: Extract) -> Static:
        whole = expr.field in WHOLE_FIELDS
        return Static(Type.BIGINT if whole else Type.DOUBLE, self.of(expr.operand).certain, declared=True)

    def _shift(self, expr: Shift) -> Static:
        return self.of(expr.operand)


def _aggregated(_types: Types, expr: Aggregated) -> Static:
    return Static(expr.result, certain=expr.name == "count", declared=expr.result is not Type.ANY)


def _analytic(_types: Types, expr: Analytic) -> Static:
    return Static(expr.result, certain=expr.certain, declared=expr.result is not Type.ANY)


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
    Cast: lambda types, expr: Static(
        expr.type, certain=not expr.safe and types.of(expr.operand).certain, declared=True
    ),
    Coalesce: Types._coalesce,
    Extreme: Types._coalesce,
    NullIf: Types._null_if,
    InArray: _always(Static(Type.BOOLEAN, certain=False, declared=True)),
    Received: _always(Static(Type.TIMESTAMP, certain=True)),
    WindowEdge: _always(Static(Type.TIMESTAMP, certain=True)),
    Aggregated: _aggregated,
    Analytic: _analytic,
    TopicLevel: _always(Static(Type.TEXT, certain=True, declared=True)),
    Declared: lambda _types, expr: Static(expr.type, certain=expr.not_null, declared=True),
    Whole: _always(ANYTHING),
    KeyOf: _always(ANYTHING),
    Shift: Types._shift,
    Extract: Types._extract,
    Concat: _always(Static(Type.TEXT, certain=False, declared=True)),
    Slice: _always(Static(Type.ARRAY, certain=True)),
    IntegerRange: _always(Static(Type.ARRAY, certain=True)),
    ListOf: _always(Static(Type.ARRAY, certain=True)),
    ObjectOf: _always(Static(Type.OBJECT, certain=True)),
    Put: _always(Static(Type.OBJECT, certain=False)),
    Like: Types._like,
    **dict.fromkeys((Compare, TopicMatches, In, IsNull, IsBoolean, Distinct, And, Or, Not), _always(_BOOLEAN)),
}
