"""Instants, intervals and casts -> Python. What is certain to be an integer is calculated in place.

A TIMESTAMP or INTERVAL that may be null is guarded: null and missing pass through arithmetic, parts and casts, and no
comparison with them holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from core.message import Type
from rules.casts import LAST_INSTANT, caster, column_caster
from rules.codegen.values import Values
from rules.functions.instants import EPOCH_FIELD, part_of_interval, part_of_timestamp
from rules.tree import Arithmetic, Cast, Compare, Declared, Expr, Extract, Negate, Received, Shift, TopicLevel
from rules.types import TEMPORAL

PYTHON_TYPES: Final = MappingProxyType(
    {
        Type.BOOLEAN: "bool",
        Type.BIGINT: "int",
        Type.DOUBLE: "float",
        Type.TEXT: "str",
        Type.BYTES: "bytes",
        Type.ARRAY: "list",
        Type.OBJECT: "dict",
        Type.TIMESTAMP: "int",
        Type.INTERVAL: "int",
    }
)
_EXACT: Final = 2**53
"""As far as this every integer is a double, and none is too large for one."""
_FEW: Final = 19
"""Python refuses to read numbers of thousands of digits."""
_AS_NUMBER: Final = MappingProxyType({Type.BIGINT: "//", Type.DOUBLE: "/"})


class Temporal(Values):
    """Emits what has to do with types rather than with values."""

    def _tests(self, *operands: tuple[Expr, str]) -> list[str]:
        """Python for "is there" for each operand that may be null."""
        return [f"type({name}) is int" for expr, name in operands if not self._types.certainly(expr, *TEMPORAL)]

    def _guarded(self, text: str, expr: Expr, name: str) -> str:
        """``text``, or the operand itself where that is null."""
        tests = self._tests((expr, name))
        return f"({text} if {tests[0]} else {name})" if tests else f"({text})"

    def _received(self, _expr: Received) -> str:
        return "now" if self._facts.query.source.rows else "m.received_ns // 1000"

    def _temporal_arithmetic(self, expr: Arithmetic) -> str:
        left, right = self.atom(expr.left), self.atom(expr.right)
        both_times = self._types.temporal(expr.left) and self._types.temporal(expr.right)
        if not both_times:
            if expr.operator == "/":
                return f"divide_interval({left}, {right})"
            if self._types.temporal(expr.right):
                left, right = right, left
            return f"multiply_interval({left}, {right})"
        sides: Sequence[tuple[Expr, str]] = ((expr.left, left), (expr.right, right))
        fast = f"{left} {expr.operator} {right}"
        uncertain = [(side, name) for side, name in sides if not self._types.certainly(side, *TEMPORAL)]
        if not uncertain:
            return f"({fast})"
        first = uncertain[0][1]
        if len(uncertain) == 1:
            return f"({fast} if type({first}) is int else {first})"
        return f"({first} if type({first}) is not int else {fast} if type({right}) is int else {right})"

    def _temporal_compare(self, expr: Compare, symbol: str) -> str:
        left, right = self.atom(expr.left), self.atom(expr.right)
        tests = self._tests((expr.left, left), (expr.right, right))
        return f"({' and '.join([*tests, f'{left} {symbol} {right}'])})"

    def _temporal_negate(self, expr: Negate) -> str:
        operand = self.atom(expr.operand)
        return self._guarded(f"-{operand}", expr.operand, operand)

    def _shift(self, expr: Shift) -> str:
        operand = self.atom(expr.operand)
        return self._guarded(f"shifted({operand}, {expr.months}, {expr.microseconds})", expr.operand, operand)

    def _extract(self, expr: Extract) -> str:
        operand = self.atom(expr.operand)
        if expr.field == EPOCH_FIELD:
            return self._guarded(f"{operand} / 1000000", expr.operand, operand)
        if expr.source is Type.TIMESTAMP:
            part = part_of_timestamp(expr.field, expr.zone)
            label = f"EXTRACT {expr.field} AT TIME ZONE {expr.zone!a}"
        else:
            part, label = part_of_interval(expr.field), f"EXTRACT {expr.field} of an INTERVAL"
        function = self._out.shared_constant(("extract", expr.field, expr.source, expr.zone), part, label)
        return self._guarded(f"{function}({operand})", expr.operand, operand)

    def _cast(self, expr: Cast) -> str:
        operand = self.atom(expr.operand)
        if expr.source is expr.type:
            return operand
        if expr.source is Type.TIMESTAMP and expr.type in _AS_NUMBER:
            return self._guarded(f"{operand} {_AS_NUMBER[expr.type]} 1000", expr.operand, operand)
        digits = f"({expr.shape.precision}, {expr.shape.scale})" if expr.shape.precision else ""
        label = f"{'TRY_' if expr.safe else ''}CAST {expr.source.value} AS {expr.type.value}{digits}"
        function = caster(expr.source, expr.type, expr.shape, expr.safe, expr.zone)
        call = f"{self._out.constant(function, label)}({operand})"
        kind = PYTHON_TYPES.get(expr.type)
        if expr.source in TEMPORAL or expr.type in TEMPORAL or kind is None:
            return call
        return f"({operand} if type({operand}) is {kind} else {call})"

    def _declared(self, expr: Declared) -> str:
        """What has the column's type already costs a look at it."""
        operand = self.variable(expr.operand)
        level = isinstance(expr.operand, TopicLevel)  # it is a text
        if level and expr.type is Type.TEXT:
            return operand
        key = ("column", expr.name, expr.type, expr.shape, expr.not_null, expr.unit)
        function = column_caster(expr.name, expr.type, expr.shape, expr.unit, not_null=expr.not_null)
        label = f"column {expr.name!a} {expr.type.value}{' NOT NULL' if expr.not_null else ''}"
        call = f"{self._out.shared_constant(key, function, label)}({operand})"
        if expr.type is Type.TIMESTAMP:
            if not expr.unit:
                return call
            last = LAST_INSTANT // expr.unit
            return f"({operand} * {expr.unit} if type({operand}) is int and 0 <= {operand} <= {last} else {call})"
        kind = PYTHON_TYPES.get(expr.type)
        if kind is None or expr.type in TEMPORAL:
            return call
        if expr.type is Type.DOUBLE:
            exact = f"type({operand}) is int and -{_EXACT} <= {operand} <= {_EXACT}"
            other = f"float({operand}) if {exact} else {call}"
            return f"({operand} if type({operand}) is float else {other})"
        if level and expr.type is Type.BIGINT:
            digits = f"len({operand}) < {_FEW} and {operand}.isascii() and {operand}.isdigit()"
            return f"(int({operand}) if {digits} else {call})"
        return f"({operand} if type({operand}) is {kind} else {call})"
