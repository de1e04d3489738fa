"""The operators of the rule grammar: conditions, comparisons, predicates, arithmetic.

Precedence from low to high: OR, AND, NOT, comparison and predicates, ``||``, ``+ -``, ``* / div mod``, sign, ``::``.
Comparisons do not chain, as in EMQX. Operands: ``grammar_operands``.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from sqlglot import Token, TokenType, exp

from rules.grammar_base import MAX_CHAIN, MAX_NESTING, NO_SUBQUERY
from rules.grammar_operands import OperandGrammar
from rules.nodes import InArray, IsDistinct, TopicMatch, mark

_COMPARISONS: Final = MappingProxyType(
    {
        TokenType.EQ: exp.EQ,
        TokenType.NEQ: exp.NEQ,
        TokenType.LT: exp.LT,
        TokenType.LTE: exp.LTE,
        TokenType.GT: exp.GT,
        TokenType.GTE: exp.GTE,
        TokenType.RLIKE: TopicMatch,
    }
)
_TERMS: Final = MappingProxyType({TokenType.PLUS: exp.Add, TokenType.DASH: exp.Sub})
_FACTORS: Final = MappingProxyType(
    {TokenType.STAR: exp.Mul, TokenType.SLASH: exp.Div, TokenType.DIV: exp.IntDiv, TokenType.MOD: exp.Mod}
)
_CONCATENATIONS: Final = MappingProxyType({TokenType.DPIPE: exp.DPipe})

_NO_ARRAY: Final = frozenset({TokenType.NUMBER, TokenType.STRING, TokenType.TRUE, TokenType.FALSE})
"""What follows IN by mistake: a value without its parentheses."""

Operators = MappingProxyType[TokenType, type[exp.Binary]]


class ExpressionGrammar(OperandGrammar):
    """Productions from ``_condition`` down to the signs; each returns a node or raises GrammarError."""

    # Conditions

    def _condition(self) -> exp.Expr:
        self._enter()
        node = self._logical(TokenType.OR, exp.Or, self._conjunction)
        self._depth -= 1
        return node

    def _conjunction(self) -> exp.Expr:
        return self._logical(TokenType.AND, exp.And, self._negation)

    def _logical(self, token_type: TokenType, kind: type[exp.Connector], operand: Callable[[], exp.Expr]) -> exp.Expr:
        first = self._curr
        operands: list[exp.Expr] = [operand()]
        while self._match(token_type):
            operands.append(operand())
            self._check_count(len(operands))
        if len(operands) == 1:
            return operands[0]
        return mark(balanced(kind, operands), first, self._prev)

    def _negation(self) -> exp.Expr:
        first = self._curr
        if not self._match(TokenType.NOT):
            return self._comparison()
        self._enter()
        node = exp.Not(this=self._negation())
        self._depth -= 1
        return mark(node, first, self._prev)

    def _comparison(self) -> exp.Expr:
        first = self._curr
        left = self._concatenation()
        kind = _COMPARISONS.get(self._curr.token_type)
        if kind is not None:
            self._advance()
            node: exp.Expr = mark(kind(this=left, expression=self._concatenation()), first, self._prev)
        else:
            node = self._predicate(left, first)
        if self._curr.token_type in _COMPARISONS:
            raise self._error(
                "comparisons do not chain", self._curr, label="second comparison", hint="use AND or parentheses"
            )
        return node

    def _predicate(self, left: exp.Expr, first: Token) -> exp.Expr:
        if self._word("IS"):
            return self._is(left, first)
        index = self._index
        negated = self._match(TokenType.NOT)
        node = self._in_like_between(left)
        if node is None:
            if negated:
                self._retreat(index)
            return left
        mark(node, first, self._prev)
        return mark(exp.Not(this=node), first, self._prev) if negated else node

    def _is(self, left: exp.Expr, first: Token) -> exp.Expr:
        negated = self._match(TokenType.NOT)
        if self._match(TokenType.TRUE) or self._match(TokenType.FALSE):
            value = exp.Boolean(this=self._prev.token_type is TokenType.TRUE)
            test: exp.Expr = exp.Is(this=left, expression=value)
        elif self._word("NULL") or self._word("UNKNOWN"):
            test = exp.Is(this=left, expression=exp.Null())
        elif self._word("DISTINCT"):
            self._expect(TokenType.FROM, "FROM after IS DISTINCT")
            test = IsDistinct(this=left, expression=self._concatenation())
        else:
            raise self._unexpected("NULL, TRUE, FALSE, UNKNOWN or DISTINCT FROM after IS")
        mark(test, first, self._prev)
        return mark(exp.Not(this=test), first, self._prev) if negated else test

    def _in_like_between(self, left: exp.Expr) -> exp.Expr | None:
        if self._match(TokenType.IN):
            return self._in(left)
        for word, kind in (("LIKE", exp.Like), ("ILIKE", exp.ILike)):
            if self._word(word):
                return self._like(kind(this=left, expression=self._concatenation()))
        if self._is_word(self._curr, "SIMILAR") and self._is_word(self._next, "TO"):
            raise self._unsupported("SIMILAR TO", hint="LIKE, or regex_match(x, 'regular expression')")
        if self._word("BETWEEN"):
            low = self._concatenation()
            self._expect(TokenType.AND, "AND after the lower bound of BETWEEN")
            return exp.Between(this=left, low=low, high=self._concatenation())
        return None

    def _in(self, left: exp.Expr) -> exp.Expr:
        if not self._match(TokenType.L_PAREN):
            if self._curr.token_type in _NO_ARRAY or not self._curr:
                raise self._unexpected("'(' or an array after IN")
            return InArray(this=left, expression=self._concatenation())
        if self._curr.token_type is TokenType.SELECT:
            raise self._unsupported("a subquery in IN", hint=NO_SUBQUERY)
        return exp.In(this=left, expressions=self._list_until(TokenType.R_PAREN, "')'"))

    def _like(self, node: exp.Expr) -> exp.Expr:
        if self._is_word(self._curr, "ESCAPE") and self._next.token_type is TokenType.STRING:
            self._advance()
            if len(self._curr.text) > 1:
                raise self._unexpected("one character, or none, as the escape character")
            node.set("escape", self._literal("a text"))
        return node

    # Arithmetic

    def _chain(self, operators: Operators, operand: Callable[[], exp.Expr]) -> exp.Expr:
        first = self._curr
        node: exp.Expr = operand()
        length = 1
        while (kind := operators.get(self._curr.token_type)) is not None:
            self._advance()
            node = mark(kind(this=node, expression=operand()), first, self._prev)
            length += 1
            self._check_count(length, MAX_CHAIN)
        return node

    def _concatenation(self) -> exp.Expr:
        return self._chain(_CONCATENATIONS, self._sum)

    def _sum(self) -> exp.Expr:
        return self._chain(_TERMS, self._product)

    def _product(self) -> exp.Expr:
        return self._chain(_FACTORS, self._signed)

    def _signed(self) -> exp.Expr:
        first = self._curr
        if not (self._match(TokenType.DASH) or self._match(TokenType.PLUS)):
            return self._suffixes(self._operand(), first)
        negative = first.token_type is TokenType.DASH
        self._enter()
        operand = self._signed()
        self._depth -= 1
        if not negative:  # "+x" asserts a number and changes nothing: the negative of the negative
            operand = mark(exp.Neg(this=operand), first, self._prev)
        return mark(exp.Neg(this=operand), first, self._prev)

    def _suffixes(self, node: exp.Expr, first: Token) -> exp.Expr:
        """``::type`` and ``AT TIME ZONE 'zone'`` behind an operand."""
        count = 0
        while True:
            if self._match(TokenType.DCOLON):
                node = mark(exp.Cast(this=node, to=self._type()), first, self._prev)
            elif self._is_word(self._curr, "AT") and self._is_word(self._next, "TIME"):
                self._advance(2)
                node = self._zone(node, first)
            else:
                return node
            count += 1
            self._check_count(count, MAX_NESTING)


def balanced(kind: type[exp.Connector], operands: list[exp.Expr]) -> exp.Expr:
    """A tree of two-armed nodes as shallow as can be; AND and OR are associative, and so is short-circuiting."""
    if len(operands) == 1:
        return operands[0]
    middle = len(operands) // 2
    left, right = balanced(kind, operands[:middle]), balanced(kind, operands[middle:])
    node = kind(this=left, expression=right)
    node.meta["start"], node.meta["end"] = left.meta.get("start"), right.meta.get("end")
    return node
