"""Calls and what may stand in and behind their parentheses: DISTINCT, ORDER BY, FILTER (WHERE ...), OVER (...).

Owns the syntax alone: which functions are aggregates, and which of these take what, is the business of ``bind``. All of
the words stay names where they can mean nothing else: ``f(distinct)``, ``f(x) filter``.
"""

from __future__ import annotations

from typing import Final

from sqlglot import Token, TokenType, exp

from rules.grammar_forms import FormGrammar
from rules.nodes import Modified, Over, mark

_ENDS: Final = frozenset({TokenType.R_PAREN, TokenType.COMMA, TokenType.ORDER_BY})
_BEGINS: Final = frozenset(
    {
        *(TokenType.VAR, TokenType.IDENTIFIER, TokenType.NUMBER, TokenType.STRING, TokenType.TRUE, TokenType.FALSE),
        *(TokenType.L_PAREN, TokenType.L_BRACE, TokenType.CASE, TokenType.NOT, TokenType.STAR),
    }
)
"""What follows a DISTINCT that is no name."""
_OPERATORS: Final = ("IS", "LIKE", "ILIKE", "BETWEEN", "SIMILAR", "AT")
"""Words that follow a name as well as DISTINCT."""
_ARRIVAL: Final = "rows come in the order of their arrival"


class CallGrammar(FormGrammar):
    """Productions of calls, of lists in an order and of what stands behind a call."""

    def _steps(self, node: exp.Expr, first: Token, *, ranges: bool) -> exp.Expr:
        """What stands behind an operand; the productions of paths define it."""
        raise NotImplementedError

    def _call(self, name: str, first: Token) -> exp.Expr:
        self._expect(TokenType.L_PAREN, "'('")
        distinct = self._is_distinct()
        if distinct:
            self._advance()
            if self._curr.token_type is TokenType.STAR:
                raise self._unsupported("DISTINCT *", hint=f"name the column: {name}(DISTINCT x)")
        call = mark(exp.Anonymous(this=name, expressions=self._arguments()), first, self._prev)
        order = self._order() if self._curr.token_type is TokenType.ORDER_BY and call.expressions else None
        star = bool(call.expressions) and isinstance(call.expressions[0], exp.Star)
        self._expect(TokenType.R_PAREN, "')'" if star else "',' or ')'")
        mark(call, first, self._prev)
        behind = self._behind()
        if not (distinct or order or behind):
            return self._steps(call, first, ranges=True)
        node = Modified(this=call)
        if distinct:
            node.set("distinct", True)
        if order is not None:
            node.set("order", order.expressions)
        for key, value in behind.items():
            node.set(key, value)
        return self._steps(mark(node, first, self._prev), first, ranges=True)

    def _is_distinct(self) -> bool:
        """Is the word here a DISTINCT, and no name?"""
        following = self._next
        if not self._is_word(self._curr, "DISTINCT") or following.token_type not in _BEGINS:
            return False
        behind = self._ahead(2)
        ends = behind is not None and behind.token_type in _ENDS
        if following.token_type is TokenType.STAR:
            return ends  # "distinct * 2" is a product
        if following.token_type is TokenType.NOT:
            word = behind is not None and behind.token_type is TokenType.VAR
            return not (behind is not None and behind.token_type is TokenType.IN) and not (
                word and self._is_word(behind, *_OPERATORS)
            )
        return ends or not self._is_word(following, *_OPERATORS)

    def _arguments(self) -> list[exp.Expr]:
        token = self._curr
        if token.token_type is TokenType.R_PAREN:
            return []
        if self._match(TokenType.STAR):
            return [mark(exp.Star(), token, token)]
        items = [self._condition()]
        while self._match(TokenType.COMMA):
            token = self._curr
            if token.token_type is TokenType.STAR and self._next.token_type is TokenType.R_PAREN:
                self._advance()
                return [*items, mark(exp.Star(), token, token)]
            items.append(self._condition())
            self._check_count(len(items))
        return items

    def _order(self) -> exp.Order:
        """``ORDER BY x DESC NULLS LAST, ...``."""
        first = self._curr
        self._expect(TokenType.ORDER_BY, "ORDER BY")
        items = [self._ordered()]
        while self._match(TokenType.COMMA):
            items.append(self._ordered())
            self._check_count(len(items))
        return mark(exp.Order(expressions=items), first, self._prev)

    def _ordered(self) -> exp.Ordered:
        first = self._curr
        node = exp.Ordered(this=self._condition())
        if self._word("DESC"):
            node.set("desc", True)
        else:
            self._word("ASC")
        if self._word("NULLS"):
            if not self._is_word(self._curr, "FIRST", "LAST"):
                raise self._unexpected("FIRST or LAST after NULLS")
            self._advance()
            node.set("nulls_first", self._prev.text.upper() == "FIRST")
        return mark(node, first, self._prev)

    def _behind(self) -> dict[str, exp.Expr]:
        """FILTER and OVER behind a call, by the argument of nodes.Modified that they are."""
        found: dict[str, exp.Expr] = {}
        while self._is_word(self._curr, "FILTER", "OVER") and self._next.token_type is TokenType.L_PAREN:
            word = self._curr
            key = word.text.lower()
            if key in found:
                raise self._error(f"{word.text.upper()} stands behind this call twice", word)
            self._advance(2)
            found[key] = self._over(word) if key == "over" else self._filter()
        within, group = self._curr, self._next
        if self._is_word(within, "WITHIN") and self._is_word(group, "GROUP"):
            raise self._unsupported("WITHIN GROUP", hint="its values are an argument: percentile_cont(x, 0.5)")
        return found

    def _filter(self) -> exp.Expr:
        self._expect(TokenType.WHERE, "WHERE")
        condition = self._condition()
        self._expect(TokenType.R_PAREN, "')'")
        return condition

    def _over(self, first: Token) -> Over:
        node = Over()
        if self._match(TokenType.PARTITION_BY):
            parts = [self._condition()]
            while self._match(TokenType.COMMA):
                parts.append(self._condition())
                self._check_count(len(parts))
            node.set("partition", parts)
        if self._curr.token_type is TokenType.ORDER_BY:
            raise self._unsupported("ORDER BY in OVER (...)", hint=_ARRIVAL)
        if self._is_word(self._curr, "ROWS", "RANGE", "GROUPS") and self._is_word(self._next, "BETWEEN", "UNBOUNDED"):
            raise self._unsupported("a frame in OVER (...)", hint="GROUP BY a window tells which rows are taken")
        if self._match(TokenType.WHEN):
            node.set("when", self._condition())
        expected = "')'"
        if "when" not in node.args:
            expected = "',', WHEN or ')'" if node.args else "PARTITION BY, WHEN or ')'"
        self._expect(TokenType.R_PAREN, expected)
        return mark(node, first, self._prev)
