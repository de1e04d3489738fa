"""Predicates and choices -> Python: LIKE, IN, IS, COALESCE and their like."""

from __future__ import annotations

from core.message import Type
from rules.codegen.temporal import Temporal
from rules.codegen.values import tuple_text
from rules.operators import like_matcher
from rules.tree import Coalesce, Const, Distinct, Extreme, In, InArray, IsBoolean, IsNull, Like, NullIf


class Predicates(Temporal):
    """Emits what asks about values; operators are in ``expressions``."""

    def _like(self, expr: Like) -> str:
        pattern = expr.pattern.value if isinstance(expr.pattern, Const) else None
        options = (expr.ignore_case,) if expr.escape == "\\" else (expr.ignore_case, expr.escape)
        arguments = ", ".join(map(self._out.constant, options))
        if isinstance(pattern, str) and not (expr.escape and pattern.endswith(expr.escape)):
            operand = self.atom(expr.operand)
            matcher = self._out.constant(like_matcher(pattern, *options), f"LIKE {pattern!a}")
            if self._types.certainly(expr.operand, Type.TEXT):
                return f"({matcher}({operand}) is not None)"
            slow = f"like({operand}, {self._out.constant(pattern)}, {arguments})"
            return f"({matcher}({operand}) is not None if type({operand}) is str else {slow})"
        return f"like({self.value(expr.operand)}, {self.value(expr.pattern)}, {arguments})"

    def _is_null(self, expr: IsNull) -> str:
        operand = self.variable(expr.operand)
        return f"({operand} is None or {operand} is MISSING)"

    def _in(self, expr: In) -> str:
        operand = self.atom(expr.operand)
        items = [item.value for item in expr.items if isinstance(item, Const)]
        if len(items) == len(expr.items):
            all_items = self._out.constant(tuple(items))
            texts = frozenset(item for item in items if type(item) is str)
            label = f"{{{', '.join(sorted(map(ascii, texts)))}}}"
            slow = f"is_in({operand}, {all_items})"
            return (
                f"({operand} in {self._out.constant(texts, label)} if type({operand}) is str else {slow})"
                if texts
                else slow
            )
        return f"is_in({operand}, {tuple_text([self.value(item) for item in expr.items])})"

    def _in_array(self, expr: InArray) -> str:
        return f"in_array({self.value(expr.operand)}, {self.value(expr.array)})"

    def _is_boolean(self, expr: IsBoolean) -> str:
        return f"({self.variable(expr.operand)} is {expr.value})"

    def _distinct(self, expr: Distinct) -> str:
        return f"distinct({self.value(expr.left)}, {self.value(expr.right)})"

    def _null_if(self, expr: NullIf) -> str:
        return f"null_if({self.value(expr.left)}, {self.value(expr.right)})"

    def _extreme(self, expr: Extreme) -> str:
        return (
            f"extreme({tuple_text([self.value(operand) for operand in expr.operands])}, {1 if expr.greatest else -1})"
        )

    def _coalesce(self, expr: Coalesce) -> str:
        """What a later operand needs is computed only where all before it are null."""
        out = self._out
        result = self.variable(expr.operands[0])
        for position, operand in enumerate(expr.operands[1:]):
            with out.trial() as lines:
                text = self.value(operand)
            if not lines:
                result = out.local(f"{text} if {result} is None or {result} is MISSING else {result}")
                continue
            if position == 0:
                result = out.local(result)
            with out.block(f"if {result} is None or {result} is MISSING:"):
                out.lines.extend(lines)
                out.line(f"{result} = {text}")
        return result
