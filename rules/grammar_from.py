"""FROM: topic filters, names, windows of rows, aliases and joins.

What a name means (a topic, a source, a view, a table) and whether a window exists is the business of ``bind``. A word
is an alias without AS only where what follows could stand behind one, so that a misspelt clause is told as such; a
quoted alias needs its AS, as ``FROM "a" "b"`` more likely lacks a comma.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from sqlglot import TokenType, exp

from rules.grammar_expressions import ExpressionGrammar
from rules.nodes import WindowTable, mark

VIEW_HINT: Final = "give the inner query a name: CREATE VIEW v AS SELECT ..., and read v"

_ON: Final = "a join has a condition: a JOIN b ON b.key = a.key"
_REFUSED_JOINS: Final = MappingProxyType(
    {
        "RIGHT": "turn it round: b LEFT JOIN a ON ...",
        "FULL": "write one LEFT JOIN each way, in a rule of its own",
        "CROSS": _ON,
        "NATURAL": _ON,
    }
)
CLAUSE_WORDS: Final = frozenset(
    {
        *("JOIN", "INNER", "LEFT", *_REFUSED_JOINS, "LATERAL"),
        *("HAVING", "QUALIFY", "LIMIT", "OFFSET", "FETCH", "UNION", "EXCEPT", "INTERSECT", "WINDOW"),
    }
)
"""Words that begin a clause where an alias without AS could stand."""
_BEHIND_ALIAS: Final = frozenset(
    {TokenType.COMMA, TokenType.R_PAREN, TokenType.WHERE, TokenType.GROUP_BY, TokenType.ORDER_BY}
)


class FromGrammar(ExpressionGrammar):
    """Productions of FROM; each returns nodes or raises GrammarError."""

    def _items(self) -> list[exp.Expr]:
        """``item, item, ...``: tables and windows."""
        items = [self._item()]
        while self._match(TokenType.COMMA):
            items.append(self._item())
            self._check_count(len(items))
        return items

    def _joins(self) -> list[exp.Join]:
        joins: list[exp.Join] = []
        while self._is_word(self._curr, "JOIN", "INNER", "LEFT", *_REFUSED_JOINS):
            joins.append(self._join())
            self._check_count(len(joins))
        if joins and self._curr.token_type is TokenType.COMMA:
            raise self._error(
                "a ',' cannot stand behind a join", self._curr, hint="write JOIN ... ON ... for each source"
            )
        return joins

    def _join(self) -> exp.Join:
        first = self._curr
        word = first.text.upper()
        if word in _REFUSED_JOINS:
            raise self._unsupported(f"{word} JOIN", hint=_REFUSED_JOINS[word])
        if word != "JOIN":
            self._advance()
            if word == "LEFT":
                self._word("OUTER")
        if not self._word("JOIN"):
            raise self._unexpected(f"JOIN after {word}")
        node = exp.Join(this=self._item())
        if word == "LEFT":
            node.set("side", "LEFT")
        if self._is_word(self._curr, "USING"):
            raise self._unsupported("USING", hint=_ON)
        if not self._word("ON"):
            raise self._unexpected("ON and a condition after what is joined", hint=_ON)
        node.set("on", self._condition())
        return mark(node, first, self._prev)

    def _item(self) -> exp.Expr:
        first = self._curr
        self._refuse_lateral()
        if first.token_type is not TokenType.STRING and self._next.token_type is TokenType.L_PAREN:
            node: exp.Expr = self._window_table()
        else:
            node = self._table()
        if self._match(TokenType.ALIAS):
            node.set("alias", self._name("a name after AS", any_word=True))
        elif self._is_alias():
            node.set("alias", self._name("an alias"))
        elif self._curr.token_type in (TokenType.IDENTIFIER, TokenType.STRING):
            raise self._unexpected("',' between sources, or AS before an alias")
        return mark(node, first, self._prev)

    def _refuse_lateral(self) -> None:
        first, following, behind = self._curr, self._next, self._ahead(2)
        if first.token_type is TokenType.L_PAREN:
            raise self._unsupported("a subquery in FROM", hint=VIEW_HINT)
        calls = following.token_type is TokenType.VAR and behind is not None and behind.token_type is TokenType.L_PAREN
        if self._is_word(first, "LATERAL") and (calls or following.token_type is TokenType.L_PAREN):
            raise self._unsupported("LATERAL", hint="FOREACH reads the items of an array, a view names a query")
        if self._is_word(first, "TABLE") and following.token_type is TokenType.L_PAREN:
            raise self._unsupported(
                "TABLE (...)", hint="write the window alone: TUMBLE(meter, ts, INTERVAL '1 minute')"
            )

    def _is_alias(self) -> bool:
        following = self._next
        if not self._is_bare_name() or self._is_word(self._curr, "ON", "USING", *CLAUSE_WORDS):
            return False
        ends = not following or following.token_type in _BEHIND_ALIAS
        return ends or self._is_word(following, "ON", "USING", *CLAUSE_WORDS)

    def _window_table(self) -> WindowTable:
        first = self._curr
        name = self._name("the name of a window")
        self._expect(TokenType.L_PAREN, "'('")
        self._refuse_lateral()
        if self._next.token_type is TokenType.L_PAREN:
            raise self._unsupported("a window over a window", hint=VIEW_HINT)
        node = WindowTable(name=name, this=self._table())
        arguments: list[exp.Expr] = []
        while self._match(TokenType.COMMA):
            arguments.append(self._condition())
            self._check_count(len(arguments))
        self._expect(TokenType.R_PAREN, "',' or ')'")
        if arguments:
            node.set("expressions", arguments)
        return mark(node, first, self._prev)

    def _table(self) -> exp.Table:
        token = self._curr
        if token.token_type is TokenType.STRING:
            self._advance()
            name = mark(exp.Identifier(this=token.text, quoted=True), token, token)
        else:
            name = self._name('a topic filter, such as "cp/+/meter", or the name of a source or view')
            if name.name == "system" and not name.args.get("quoted") and self._match(TokenType.DOT):
                source = self._name("a source of the system, such as system.errors")
                return mark(exp.Table(this=source, db=name), token, self._prev)
        return mark(exp.Table(this=name), token, token)
