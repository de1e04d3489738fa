"""Queries: SELECT and FOREACH with their fields and clauses.

Clauses stand in one order, each once; those that rules do not have are recognised in order to be refused by name, with
the way out. FROM and joins: ``grammar_from``.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from sqlglot import Token, TokenType, exp

from rules.diagnostics import suggestion
from rules.grammar_from import CLAUSE_WORDS, FromGrammar
from rules.lexer import GrammarError
from rules.nodes import FROM_ARG, Foreach, SelectAll, WindowTable, mark

_REFUSED: Final = MappingProxyType(
    {
        "OFFSET": "LIMIT n takes the first rows of each window",
        "FETCH": "write LIMIT n",
        "UNION": "write one rule for each part, with the same sink",
        "EXCEPT": "a LEFT JOIN and WHERE x IS NULL leaves out what the other has",
        "INTERSECT": "a JOIN keeps what the other has",
        "LATERAL": "FOREACH reads the items of an array, a view names a query",
        "WINDOW": "write the parts behind each call: f(x) OVER (PARTITION BY ...)",
        "PARTITION BY": "it stands behind a call: f(x) OVER (PARTITION BY ...)",
    }
)
"""Clauses that rules do not have, with the form that they have for it."""
_ORDER: Final = ("FROM", "JOIN", "WHERE", "GROUP BY", "HAVING", "QUALIFY", "ORDER BY", "LIMIT")
_ORDER_HINT: Final = f"clauses stand in this order, each once: {', '.join(_ORDER)}"
_FOREACH_HINT: Final = "name its rows and read them: CREATE VIEW v AS FOREACH ..., SELECT ... FROM v"
_JOIN_WORDS: Final = frozenset({"JOIN", "INNER", "LEFT", "RIGHT", "FULL", "CROSS", "NATURAL"})
_CLAUSE_TOKENS: Final = MappingProxyType(
    {
        TokenType.FROM: "FROM",
        TokenType.WHERE: "WHERE",
        TokenType.GROUP_BY: "GROUP BY",
        TokenType.ORDER_BY: "ORDER BY",
        TokenType.PARTITION_BY: "PARTITION BY",
    }
)
_EXPRESSION_STARTS: Final = frozenset(
    {TokenType.VAR, TokenType.IDENTIFIER, TokenType.NUMBER, TokenType.STRING, TokenType.L_PAREN, TokenType.STAR}
)
_NO_ALIASES: Final = CLAUSE_WORDS - {"FETCH", "NATURAL"}
_BEHIND_FIELD: Final = frozenset({TokenType.COMMA, TokenType.FROM})
_MAX_LIMIT: Final = 1_000_000_000


class QueryGrammar(FromGrammar):
    """Productions of queries; each returns a node or raises GrammarError."""

    def _query(self, expected: str) -> exp.Expr:
        first = self._curr
        if self._word("FOREACH"):
            return self._foreach()
        if not self._match(TokenType.SELECT):
            raise self._unexpected(expected)
        if self._curr.text.upper() in ("DISTINCT", "ALL") and self._next.token_type in _EXPRESSION_STARTS:
            word = self._curr.text.upper()
            hint = "GROUP BY the columns in a query with a window" if word == "DISTINCT" else "leave the word out"
            raise self._unsupported(f"SELECT {word}", hint=hint)
        select = exp.Select(expressions=self._fields())
        items = self._from()
        select.set(FROM_ARG, exp.From(this=items[0]))
        joins = [exp.Join(this=item) for item in items[1:]] + self._joins()
        if joins:
            select.set("joins", joins)
        for name, clause in self._clauses():
            select.set(name, clause)
        return mark(select, first, self._prev)

    def _foreach(self) -> Foreach:
        first = self._prev
        foreach = Foreach(expressions=self._fields())
        if self._word("DO"):
            foreach.set("do", self._fields())
        if self._word("INCASE"):
            foreach.set("incase", self._condition())
        items = self._from()
        for item in items:
            if isinstance(item, WindowTable):
                raise self._at(item, "a window in the FROM of FOREACH is not supported", hint=_FOREACH_HINT)
        foreach.set("tables", items)
        condition = self._where()
        if condition is not None:
            foreach.set("where", condition)
        clause = self._clause()
        if clause and clause not in _REFUSED and clause not in ("FROM", "WHERE"):
            raise self._unsupported(f"{clause} after FOREACH", hint=_FOREACH_HINT)
        return mark(foreach, first, self._prev)

    # Clauses

    def _from(self) -> list[exp.Expr]:
        if not self._match(TokenType.FROM):
            self._refuse_clause()
            clause = self._clause()
            raise self._unexpected("',' or FROM", hint=f"FROM stands before {clause}" if clause else "")
        return self._items()

    def _clauses(self) -> list[tuple[str, exp.Expr]]:
        """What stands behind FROM, by the argument of exp.Select that it is."""
        found: list[tuple[str, exp.Expr | None]] = [
            ("where", self._where()),
            ("group", self._group()),
            ("having", self._tested("HAVING", exp.Having)),
            ("qualify", self._tested("QUALIFY", exp.Qualify)),
            ("order", self._order() if self._curr.token_type is TokenType.ORDER_BY else None),
            ("limit", self._limit()),
        ]
        return [(name, clause) for name, clause in found if clause is not None]

    def _where(self) -> exp.Where | None:
        if not self._match(TokenType.WHERE):
            return None
        first = self._prev
        return mark(exp.Where(this=self._condition()), first, self._prev)

    def _group(self) -> exp.Group | None:
        if not self._match(TokenType.GROUP_BY):
            return None
        first = self._prev
        items = [self._condition()]
        while self._match(TokenType.COMMA):
            items.append(self._condition())
            self._check_count(len(items))
        return mark(exp.Group(expressions=items), first, self._prev)

    def _tested(self, word: str, kind: type[exp.Having | exp.Qualify]) -> exp.Expr | None:
        if not self._word(word):
            return None
        first = self._prev
        return mark(kind(this=self._condition()), first, self._prev)

    def _limit(self) -> exp.Limit | None:
        if not self._word("LIMIT"):
            return None
        first, token = self._prev, self._curr
        digits = token.text if token.token_type is TokenType.NUMBER else ""
        if not digits.isdigit() or len(digits) > len(str(_MAX_LIMIT)) or not 1 <= int(digits) <= _MAX_LIMIT:
            raise self._unexpected("a whole number, at least 1, after LIMIT")
        return mark(exp.Limit(expression=self._literal("a number")), first, self._prev)

    def _clause(self) -> str:
        """The clause that begins here, by its name; empty where none does."""
        clause = _CLAUSE_TOKENS.get(self._curr.token_type, "")
        if not clause and self._curr.token_type is TokenType.VAR:
            word = self._curr.text.upper()
            clause = "JOIN" if word in _JOIN_WORDS else word if word in CLAUSE_WORDS else ""
        return clause

    def _refuse_clause(self) -> None:
        """GrammarError with the clause's name where the next token begins one that rules do not have."""
        clause = self._clause()
        if clause in _REFUSED:
            raise self._unsupported(clause, hint=_REFUSED[clause])

    def _end(self) -> None:
        """GrammarError where the statement goes on behind its last clause."""
        if not self._curr:
            return
        self._refuse_clause()
        clause = self._clause()
        if clause:
            raise self._error(f"{clause} cannot stand here", self._curr, hint=_ORDER_HINT)
        meant = suggestion(self._curr.text.upper(), ["WHERE", "GROUP BY", "ORDER BY", *sorted(CLAUSE_WORDS)])
        raise self._unexpected("the end of the statement", hint=meant or "")

    def _at(self, node: exp.Expr, message: str, *, hint: str) -> GrammarError:
        return GrammarError(message, node.meta["start"], node.meta["end"], code="unsupported", hint=hint)

    # Fields

    def _fields(self) -> list[exp.Expr]:
        fields = [self._field()]
        while self._match(TokenType.COMMA):
            fields.append(self._field())
        return fields

    def _field(self) -> exp.Expr:
        first = self._curr
        if self._match(TokenType.STAR):
            return self._star(first)
        value = self._condition()
        if self._match(TokenType.ALIAS):
            alias = self._alias_path(any_word=True)
        elif self._curr.token_type is TokenType.IDENTIFIER or (self._is_bare_name() and self._names_field()):
            alias = self._alias_path(any_word=False)
        else:
            return value
        return mark(exp.Alias(this=value, alias=alias), first, self._prev)

    def _names_field(self) -> bool:
        """Is the word here an alias, and not the clause that it may begin?"""
        return self._curr.text.upper() not in _NO_ALIASES or self._next.token_type in _BEHIND_FIELD

    def _star(self, first: Token) -> exp.Expr:
        excluded: list[exp.Expr] = []
        replaced: list[exp.Expr] = []
        if self._opens("EXCEPT", "EXCLUDE"):
            excluded = self._in_parentheses(lambda: self._name("the name of a column"))
        if self._opens("REPLACE"):
            replaced = self._in_parentheses(self._replacement)
        if not (excluded or replaced):
            return mark(exp.Star(), first, first)
        return mark(SelectAll(excluded=excluded, replaced=replaced), first, self._prev)

    def _opens(self, *words: str) -> bool:
        """Step over one of the words and the parenthesis behind it, if both are here."""
        found = self._is_word(self._curr, *words) and self._next.token_type is TokenType.L_PAREN
        if found:
            self._advance(2)
        return found

    def _in_parentheses(self, item: Callable[[], exp.Expr]) -> list[exp.Expr]:
        items = [item()]
        while self._match(TokenType.COMMA):
            items.append(item())
            self._check_count(len(items))
        self._expect(TokenType.R_PAREN, "',' or ')'")
        return items

    def _replacement(self) -> exp.Expr:
        first = self._curr
        value = self._condition()
        self._expect(TokenType.ALIAS, "AS and the name of a column")
        name = self._name("the name of a column", any_word=True)
        return mark(exp.Alias(this=value, alias=name), first, self._prev)

    def _alias_path(self, *, any_word: bool) -> exp.Expr:
        first = self._curr
        name = self._name("a name after AS", any_word=any_word)
        column = mark(exp.Column(this=name), first, first)
        return self._steps(column, first, ranges=False)
