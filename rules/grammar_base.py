"""What every production of the grammar stands on: limits, tokens, names, and how it says what it expected."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from sqlglot import Token, TokenType, exp, parser

from rules.lexer import KEYWORDS, GrammarError
from rules.nodes import mark

MAX_NESTING: Final = 32
"""Parentheses, calls, CASEs, brackets and signs inside one another."""
MAX_CHAIN: Final = 100
"""Operands of one chain of operators, steps of one path."""
MAX_ITEMS: Final = 1_000
"""Operands of one AND or OR chain, fields, arguments, list items."""

NO_SUBQUERY: Final = "give the inner query a name, CREATE VIEW v AS SELECT ..., and JOIN it"
"""The way out where a query stands in an expression."""

_SPLIT: Final = "compute a part of it in a field before it, or split the rule"

RESERVED: Final = frozenset({"FOREACH", "DO", "INCASE"})
"""Words that are no bare names although they are no tokens of their own."""

WORD_TOKENS: Final = frozenset({TokenType.VAR, *KEYWORDS.values()})
BOOLEANS: Final = MappingProxyType({TokenType.TRUE: True, TokenType.FALSE: False})


class BaseGrammar(parser.Parser):
    """Helpers of the productions; each production returns a node or raises GrammarError."""

    _depth: int = 0

    def _condition(self) -> exp.Expr:
        """Any expression; the productions above the operands define it."""
        raise NotImplementedError

    def _concatenation(self) -> exp.Expr:
        """An expression without comparisons and connectives."""
        raise NotImplementedError

    def _signed(self) -> exp.Expr:
        """An operand with signs before and casts behind it."""
        raise NotImplementedError

    # Errors

    def _error(
        self, message: str, token: Token, *, code: str = "syntax", label: str = "", hint: str = ""
    ) -> GrammarError:
        if not token:
            last = self._prev.end + 1 if self._prev else 0
            return GrammarError(message, last, last + 1, code=code, label=label, hint=hint)
        return GrammarError(message, token.start, token.end + 1, code=code, label=label, hint=hint)

    def _unexpected(self, expected: str, *, hint: str = "") -> GrammarError:
        token = self._curr
        found = repr(self._find_sql(token, token)) if token else "the end of the statement"
        return self._error(f"expected {expected}, found {found}", token, label=f"expected {expected}", hint=hint)

    def _unsupported(self, what: str, *, hint: str = "") -> GrammarError:
        return self._error(f"{what} is not supported", self._curr, code="unsupported", hint=hint)

    # Tokens

    def _word(self, text: str) -> bool:
        if self._curr.token_type is TokenType.VAR and self._curr.text.upper() == text:
            self._advance()
            return True
        return False

    def _expect(self, token_type: TokenType, what: str) -> Token:
        if not self._match(token_type):
            raise self._unexpected(what)
        return self._prev

    def _is_bare_name(self) -> bool:
        return self._curr.token_type is TokenType.VAR and self._curr.text.upper() not in RESERVED

    def _name(self, what: str, *, any_word: bool = False) -> exp.Identifier:
        token = self._curr
        quoted = token.token_type is TokenType.IDENTIFIER
        if not (quoted or self._is_bare_name() or (any_word and token.token_type in WORD_TOKENS)):
            hint = f'write "{token.text}" to use this word as a name' if token.token_type in WORD_TOKENS else ""
            raise self._unexpected(what, hint=hint)
        self._advance()
        return mark(exp.Identifier(this=token.text, quoted=quoted), token, token)

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self._error(f"more than {MAX_NESTING} levels of nesting", self._curr, code="too-complex", hint=_SPLIT)

    def _check_count(self, count: int, limit: int = MAX_ITEMS) -> None:
        if count > limit:
            raise self._error(
                f"more than {limit} operands or items in a row", self._prev, code="too-complex", hint=_SPLIT
            )

    def _ahead(self, count: int) -> Token | None:
        """The token ``count`` places after the current one, None behind the last."""
        place = self._index + count
        return self._tokens[place] if place < len(self._tokens) else None

    def _is_word(self, token: Token | None, *words: str) -> bool:
        return token is not None and token.token_type is TokenType.VAR and token.text.upper() in words

    def _literal(self, what: str) -> exp.Expr:
        token = self._curr
        if token.token_type is TokenType.NUMBER:
            node: exp.Expr = exp.Literal.number(token.text)
        elif token.token_type is TokenType.STRING:
            node = exp.Literal.string(token.text)
        elif token.token_type in BOOLEANS:
            node = exp.Boolean(this=BOOLEANS[token.token_type])
        else:
            raise self._unexpected(what)
        self._advance()
        return mark(node, token, token)

    def _list_until(self, end: TokenType, what: str) -> list[exp.Expr]:
        items = [self._condition()]
        while self._match(TokenType.COMMA):
            items.append(self._condition())
            self._check_count(len(items))
        self._expect(end, f"',' or {what}")
        return items
