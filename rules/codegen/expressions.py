"""Bound expressions -> Python: known types are handled inline, everything else by a call into ``operators``.

What only one branch needs is computed in that branch. Columns, the payload and paths: ``values``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, Final

from core.message import Type
from rules.codegen.predicates import Predicates
from rules.codegen.temporal import PYTHON_TYPES
from rules.tree import (
    And,
    Append,
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
    Document,
    DocumentOf,
    Expr,
    Extract,
    Extreme,
    First,
    In,
    InArray,
    Index,
    IntegerRange,
    IsBoolean,
    IsNull,
    Item,
    Key,
    KeyOf,
    Like,
    ListOf,
    Negate,
    Not,
    NullIf,
    ObjectOf,
    Opened,
    Or,
    Put,
    Received,
    Ref,
    Sender,
    Shift,
    Slice,
    TopicLevel,
    TopicMatches,
    Whole,
    is_null,
)

_ARITHMETIC: Final = MappingProxyType(
    {"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "div": "int_divide", "mod": "modulo"}
)
_COMPARISONS: Final = MappingProxyType(
    {
        "=": ("==", "equal"),
        "!=": ("!=", "unequal"),
        "<": ("<", "less"),
        "<=": ("<=", "less_or_equal"),
        ">": (">", "greater"),
        ">=": (">=", "greater_or_equal"),
    }
)


class Expressions(Predicates):
    """Emits the expressions of one query."""

    def _emit(self, expr: Expr) -> str:
        return _EMIT[type(expr)](self, expr)

    def condition(self, expr: Expr) -> str:
        """Python that is True or False, to be evaluated at once."""
        known = self._out.recall(expr)
        if known is None and isinstance(expr, Compare) and not self._facts.shared(expr):
            return self._compare(expr)
        text = self.value(expr) if known is None else known
        return text if self._types.certainly(expr, Type.BOOLEAN) else f"truth({text})"

    def leave_unless(self, expr: Expr, leave: str) -> None:
        """Statements that run ``leave`` (``continue``) where the condition does not hold."""
        if isinstance(expr, And):
            for operand in expr.operands:
                self.leave_unless(operand, leave)
            return
        text = self.condition(expr)
        with self._out.block(f"if not {text}:"):
            self._out.line(leave)

    # Operators

    def _numeric(self, expr: Expr) -> str | None:
        """Python for "its value is an int or a float"; None where that is certain."""
        if self._types.number(expr):
            return None
        known = self._out.recall(("number", expr))
        if known is not None:
            return known
        name = self.atom(expr)
        test = f"type({name}) is float or type({name}) is int"
        if self._facts.numeric_uses[expr] < 2 or not self._facts.pure(expr):
            return test
        flag = self._out.local(test, "n")
        self._out.remember(("number", expr), flag)
        return flag

    def _both_numbers(self, left: Expr, right: Expr) -> str | None:
        tests = [test for test in (self._numeric(left), self._numeric(right)) if test is not None]
        if not tests:
            return None
        return " and ".join(test if test.isidentifier() or len(tests) == 1 else f"({test})" for test in tests)

    def _arithmetic(self, expr: Arithmetic) -> str:
        if self._types.temporal(expr.left) or self._types.temporal(expr.right):
            return self._temporal_arithmetic(expr)
        left, right = self.atom(expr.left), self.atom(expr.right)
        exact = expr.operator == "/" and Type.DECIMAL in (
            self._types.of(expr.left).type,
            self._types.of(expr.right).type,
        )
        slow = f"{'divide_decimal' if exact else _ARITHMETIC[expr.operator]}({left}, {right})"
        if expr.operator in ("div", "mod") or not (
            self._numeric_possible(expr.left) and self._numeric_possible(expr.right)
        ):
            return slow
        numbers = self._both_numbers(expr.left, expr.right)
        fast = f"{left} {expr.operator} {right}"
        finite = self._facts.stays_finite(expr)
        if numbers is None:
            return fast if finite else slow
        out = self._out
        result = out.fresh()
        with out.block(f"if {numbers}:"):
            out.line(f"{result} = {fast}")
            if not finite:
                # Rule SQL has no infinity: inf - inf is nan, which is true, and the slow way raises.
                with out.block(f"if {result} - {result}:"):
                    out.line(f"{result} = {slow}")
        with out.block("else:"):
            out.line(f"{result} = {slow}")
        return result

    def _numeric_possible(self, expr: Expr) -> bool:
        static = self._types.of(expr)
        return not static.fixed or static.type in (Type.BIGINT, Type.DOUBLE, Type.ANY)

    def _negate(self, expr: Negate) -> str:
        if self._types.temporal(expr.operand):
            return self._temporal_negate(expr)
        operand = self.atom(expr.operand)
        test = self._numeric(expr.operand)
        return f"-{operand}" if test is None else f"(-{operand} if {test} else negate({operand}))"

    def _concat(self, expr: Concat) -> str:
        return f"concat({self.value(expr.left)}, {self.value(expr.right)})"

    def _compare(self, expr: Compare) -> str:
        symbol, function = _COMPARISONS[expr.operator]
        if self._types.temporal(expr.left) or self._types.temporal(expr.right):
            return self._temporal_compare(expr, symbol)
        left, right = self.atom(expr.left), self.atom(expr.right)
        fast, slow = f"{left} {symbol} {right}", f"{function}({left}, {right})"
        texts = [self._types.certainly(operand, Type.TEXT) for operand in (expr.left, expr.right)]
        if all(texts):
            return f"({fast})"
        if any(texts):
            other = right if texts[0] else left
            return f"({fast} if type({other}) is str else {slow})"
        if isinstance(expr.right, Const) and isinstance(expr.right.value, bool) and expr.operator == "=":
            left = self.variable(expr.left)
            return f"({left} is {right} if type({left}) is bool else {slow})"
        if not (self._numeric_possible(expr.left) and self._numeric_possible(expr.right)):
            return slow
        numbers = self._both_numbers(expr.left, expr.right)
        return f"({fast})" if numbers is None else f"({fast} if {numbers} else {slow})"

    def _topic_matches(self, expr: TopicMatches) -> str:
        return f"topic_matches({self.value(expr.topic)}, {self.value(expr.topic_filter)})"

    # Conditions

    def _not(self, expr: Not) -> str:
        if self._types.certainly(expr.operand, Type.BOOLEAN):
            return f"(not {self.condition(expr.operand)})"
        return f"negation({self.value(expr.operand)})"

    def _and(self, expr: And) -> str:
        return self._short_circuit(expr.operands, "and", "if {}:")

    def _or(self, expr: Or) -> str:
        return self._short_circuit(expr.operands, "or", "if not {}:")

    def _short_circuit(self, operands: Sequence[Expr], word: str, header: str) -> str:
        out = self._out
        first = self.condition(operands[0])
        trials: list[tuple[list[str], str]] = []
        for operand in operands[1:]:
            with out.trial() as lines:
                text = self.condition(operand)
            trials.append((lines, text))
        if not any(lines for lines, _ in trials):
            return f"({f' {word} '.join([first, *(text for _, text in trials)])})"
        result = out.local(first)
        for lines, text in trials:
            with out.block(header.format(result)):
                out.lines.extend(lines)
                out.line(f"{result} = {text}")
        return result

    def _case(self, expr: Case) -> str:
        out = self._out
        operand = None if expr.operand is None else self.atom(expr.operand)
        result, hit = out.fresh(), out.fresh("hit")
        for position, (condition, value) in enumerate(expr.branches):
            if position == 0:
                self._branch(operand, condition, value, hit, result)
            else:
                with out.block(f"if not {hit}:"):
                    self._branch(operand, condition, value, hit, result)
        with out.block(f"if not {hit}:"):
            out.line(f"{result} = {self.value(expr.default)}")
        return result

    def _branch(self, operand: str | None, condition: Expr, value: Expr, hit: str, result: str) -> None:
        out = self._out
        test = self.condition(condition) if operand is None else self._same(operand, condition)
        out.line(f"{hit} = {test}")
        with out.block(f"if {hit}:"):
            out.line(f"{result} = {self.value(value)}")

    def _same(self, operand: str, expr: Expr) -> str:
        value = self.value(expr)
        if isinstance(expr, Const) and not is_null(expr):
            kind = PYTHON_TYPES[expr.type]
            return f"(type({operand}) is {kind} and {operand} == {value})"
        return f"same({operand}, {value})"

    def _call(self, expr: Call) -> str:
        function = self._out.constant(expr.function.call, f"{ascii(expr.name)[1:-1]}()")
        return f"{function}({', '.join(self.value(argument) for argument in expr.arguments)})"


_EMIT: Final[dict[type[Expr], Callable[[Expressions, Any], str]]] = {
    Const: Expressions._const,
    Column: Expressions._column,
    Document: Expressions._document,
    DocumentOf: Expressions._document_of,
    Opened: Expressions._opened,
    Ref: Expressions._ref,
    Received: Expressions._received,
    TopicLevel: Expressions._topic_level,
    Declared: Expressions._declared,
    Whole: Expressions._whole,
    KeyOf: Expressions._key_of,
    Shift: Expressions._shift,
    Extract: Expressions._extract,
    Item: Expressions._item,
    Sender: Expressions._sender,
    Key: Expressions._key,
    Index: Expressions._index,
    Slice: Expressions._slice,
    IntegerRange: Expressions._integer_range,
    ListOf: Expressions._list_of,
    ObjectOf: Expressions._object_of,
    Append: Expressions._append,
    Put: Expressions._put,
    First: Expressions._first,
    Arithmetic: Expressions._arithmetic,
    Negate: Expressions._negate,
    Concat: Expressions._concat,
    Compare: Expressions._compare,
    TopicMatches: Expressions._topic_matches,
    Like: Expressions._like,
    IsNull: Expressions._is_null,
    In: Expressions._in,
    InArray: Expressions._in_array,
    IsBoolean: Expressions._is_boolean,
    Distinct: Expressions._distinct,
    NullIf: Expressions._null_if,
    Extreme: Expressions._extreme,
    Coalesce: Expressions._coalesce,
    Not: Expressions._not,
    And: Expressions._and,
    Or: Expressions._or,
    Case: Expressions._case,
    Cast: Expressions._cast,
    Call: Expressions._call,
}
