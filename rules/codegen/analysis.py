"""What code generation must know about expressions: which may fail, which are used how often."""

from __future__ import annotations

from collections import Counter

from core.message import Type
from rules.tree import (
    And,
    Arithmetic,
    Call,
    Case,
    Cast,
    Coalesce,
    Compare,
    Concat,
    Const,
    Declared,
    Document,
    DocumentOf,
    Expr,
    Extract,
    Extreme,
    InArray,
    IntegerRange,
    Like,
    ListOf,
    Negate,
    Not,
    ObjectOf,
    Or,
    Put,
    Query,
    Ref,
    Shift,
    Slice,
    TopicMatches,
    children,
    is_pure,
    walk,
)
from rules.types import Types

# Connectives, because their operands are put inline.
_FALLIBLE = (
    And,
    Case,
    Coalesce,
    Not,
    Or,
    Call,
    Cast,
    Concat,
    Declared,
    Document,
    DocumentOf,
    Extract,
    Extreme,
    InArray,
    IntegerRange,
    Like,
    Negate,
    Put,
    Shift,
    Slice,
    TopicMatches,
)
_GROWING = (Call, Concat, IntegerRange, ListOf, ObjectOf, Put)
_SMALL = frozenset({Type.BOOLEAN, Type.BIGINT, Type.DOUBLE, Type.DECIMAL, Type.TIMESTAMP, Type.INTERVAL})
_MAX_EXPONENT = 1e290


class Analysis:
    """Facts about one query's expressions."""

    def __init__(self, query: Query) -> None:
        self.query = query
        self.types = Types.of_query(query)
        self.uses: Counter[Expr] = Counter()
        """How often each expression is asked for."""
        self.numeric_uses: Counter[Expr] = Counter()
        """How often it matters whether its value is a number."""
        self._fallible: dict[Expr, bool] = {}
        self._pure: dict[Expr, bool] = {}
        self._growing: dict[Expr, bool] = {}
        self._count()

    def _count(self) -> None:
        query = self.query
        roots = [*query.lets, *(Ref(index) for _, index in query.outputs)]
        if query.where is not None:
            roots.append(query.where)
        if query.unnest is not None:
            roots.append(query.unnest.array)
            if query.unnest.condition is not None:
                roots.append(query.unnest.condition)
        seen: set[Expr] = set()
        for root in roots:
            self.uses[root] += not isinstance(root, Ref)
            for node in walk(root):
                # An expression that occurs twice is computed once, so its operands are asked for once.
                if node in seen and self.pure(node):
                    continue
                seen.add(node)
                self.uses.update(children(node))
                if isinstance(node, Arithmetic | Compare):
                    self.numeric_uses.update((node.left, node.right))
                elif isinstance(node, Negate):
                    self.numeric_uses[node.operand] += 1
        for _, index in query.outputs:
            self.uses[Ref(index)] += 1

    def pure(self, expr: Expr) -> bool:
        known = self._pure.get(expr)
        if known is None:
            known = self._pure[expr] = is_pure(expr)
        return known

    def shared(self, expr: Expr) -> bool:
        """Is the value asked for more than once, so that it deserves a local name?"""
        return self.uses[expr] > 1

    def may_fail(self, expr: Expr) -> bool:
        """May computing ``expr`` raise, itself or in what it is made of?"""
        known = self._fallible.get(expr)
        if known is None:
            known = self._fallible[expr] = self.fails_itself(expr) or any(map(self.may_fail, children(expr)))
        return known

    def fails_itself(self, expr: Expr) -> bool:
        """May the operation of ``expr`` raise, given its operands?"""
        if isinstance(expr, Ref):
            return self.may_fail(self.query.lets[expr.index])
        if isinstance(expr, Compare):
            types = self.types
            if types.temporal(expr.left) or types.temporal(expr.right):
                return False
            numbers = types.number(expr.left) and types.number(expr.right)
            return not (numbers or (types.certainly(expr.left, Type.TEXT) and types.certainly(expr.right, Type.TEXT)))
        if isinstance(expr, Arithmetic):
            return True
        if isinstance(expr, ObjectOf):
            return not all(isinstance(key, Const) and isinstance(key.value, str) for key, _ in expr.entries)
        return isinstance(expr, _FALLIBLE)

    def grows(self, expr: Expr) -> bool:
        """May the value be larger than the message that it is made of?"""
        known = self._growing.get(expr)
        if known is None:
            static = self.types.of(expr)
            if isinstance(expr, Ref):
                known = self.grows(self.query.lets[expr.index])
            elif static.fixed and static.type in _SMALL:
                known = False
            else:
                joins = isinstance(expr, Arithmetic) and expr.operator == "+" and not self.types.number(expr)
                known = joins or isinstance(expr, _GROWING) or any(map(self.grows, children(expr)))
            self._growing[expr] = known
        return known

    def stays_finite(self, expr: Arithmetic) -> bool:
        """Is the result of two finite numbers certain to be finite?"""
        if self.types.certainly(expr.left, Type.BIGINT) and self.types.certainly(expr.right, Type.BIGINT):
            return expr.operator != "/"
        right = expr.right
        if not isinstance(right, Const) or type(right.value) not in (int, float):
            return False
        size = abs(right.value)
        if expr.operator == "/":
            return bool(size >= 1)
        return bool(size <= 1 if expr.operator == "*" else size < _MAX_EXPONENT)
