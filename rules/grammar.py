"""The grammar of rule files: EMQX's rule SQL (emqx.md 1.2) with predicates and casts of PostgreSQL.

A subclass of sqlglot's parser with productions of its own, because EMQX's paths, ranges, path aliases and quoting have
no counterpart there; it makes sqlglot's nodes. Invariants: what the productions do not name is a GrammarError, never a
silent pass-through; nesting and chains are bounded, so that the later passes may recurse. Clauses that
rules do not have yet are recognised in order to be refused by name. Expressions: ``grammar_expressions``.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from sqlglot import Token, TokenType, exp

from rules.grammar_base import ONE_MESSAGE
from rules.grammar_expressions import ExpressionGrammar
from rules.nodes import FROM_ARG, MORE_SINKS_ARG, Foreach, SelectAll, mark

_REFUSED_WORDS: Final = MappingProxyType(
    {
        "LIMIT": "LIMIT",
        "OFFSET": "OFFSET",
        "HAVING": "HAVING",
        "QUALIFY": "QUALIFY",
        "UNION": "UNION",
        "EXCEPT": "EXCEPT",
        "INTERSECT": "INTERSECT",
        "JOIN": "JOIN",
        "LEFT": "JOIN",
        "RIGHT": "JOIN",
        "INNER": "JOIN",
        "FULL": "JOIN",
        "CROSS": "JOIN",
        "LATERAL": "LATERAL",
        "WINDOW": "WINDOW",
    }
)
_REFUSED_TOKENS: Final = MappingProxyType(
    {TokenType.GROUP_BY: "GROUP BY", TokenType.ORDER_BY: "ORDER BY", TokenType.PARTITION_BY: "PARTITION BY"}
)
_EXPRESSION_STARTS: Final = frozenset(
    {TokenType.VAR, TokenType.IDENTIFIER, TokenType.NUMBER, TokenType.STRING, TokenType.L_PAREN, TokenType.STAR}
)


class Grammar(ExpressionGrammar):
    """Statements. ``parse`` gets the tokens of one statement and gives one tree, or raises GrammarError."""

    def _parse_statement(self) -> exp.Expr:
        self._depth = 0
        if self._word("INSERT"):
            statement: exp.Expr = self._insert()
        elif self._word("CREATE"):
            statement = self._create()
        else:
            statement = self._query("SELECT, FOREACH, INSERT INTO or CREATE RULE")
        if self._curr:
            self._refuse_clause()
            raise self._unexpected("the end of the statement")
        return statement

    def _create(self) -> exp.Create:
        first = self._prev
        if not self._word("RULE"):
            raise self._unexpected("RULE after CREATE")
        name = self._name("a rule name")
        options: list[exp.Expr] = []
        if self._word("WITH"):
            self._expect(TokenType.L_PAREN, "'('")
            options.append(self._option())
            while self._match(TokenType.COMMA):
                options.append(self._option())
            self._expect(TokenType.R_PAREN, "')'")
        self._expect(TokenType.ALIAS, "AS")
        if not self._word("INSERT"):
            raise self._unexpected("INSERT INTO")
        create = exp.Create(this=name, kind="RULE", expression=self._insert())
        if options:
            create.set("properties", exp.Properties(expressions=options))
        return mark(create, first, self._prev)

    def _option(self) -> exp.Property:
        first = self._curr
        key = self._name("an option")
        self._expect(TokenType.EQ, "'='")
        return mark(exp.Property(this=key, value=self._option_value()), first, self._prev)

    def _option_value(self) -> exp.Expr:
        first = self._curr
        if not self._match(TokenType.L_BRACKET):
            return self._literal("a text, a number, true, false or a list of these")
        items = [self._literal("a text, a number, true or false")]
        while self._match(TokenType.COMMA):
            items.append(self._literal("a text, a number, true or false"))
            self._check_count(len(items))
        self._expect(TokenType.R_BRACKET, "',' or ']'")
        return mark(exp.Array(expressions=items), first, self._prev)

    def _insert(self) -> exp.Insert:
        first = self._prev
        if not self._word("INTO"):
            raise self._unexpected("INTO after INSERT")
        tables = [self._sink()]
        while self._match(TokenType.COMMA):
            tables.append(self._sink())
            self._check_count(len(tables))
        if self._curr.token_type is TokenType.L_PAREN:
            raise self._error(
                "a list of columns after INSERT INTO is not supported",
                self._curr,
                code="unsupported",
                hint="name the columns in the SELECT with AS",
            )
        query = self._query("',', SELECT or FOREACH")
        insert = exp.Insert(this=tables[0], expression=query)
        if len(tables) > 1:
            insert.set(MORE_SINKS_ARG, tables[1:])
        return mark(insert, first, self._prev)

    def _sink(self) -> exp.Table:
        token = self._curr
        return mark(exp.Table(this=self._name("the name of a sink")), token, token)

    def _query(self, expected: str) -> exp.Expr:
        first = self._curr
        if self._word("FOREACH"):
            return self._foreach()
        if not self._match(TokenType.SELECT):
            raise self._unexpected(expected)
        if self._curr.text.upper() in ("DISTINCT", "ALL") and self._next.token_type in _EXPRESSION_STARTS:
            raise self._unsupported(f"SELECT {self._curr.text.upper()}", hint=ONE_MESSAGE)
        select = exp.Select(expressions=self._fields())
        tables = self._from()
        select.set(FROM_ARG, exp.From(this=tables[0]))
        for table in tables[1:]:
            select.append("joins", exp.Join(this=table))
        condition = self._where()
        if condition is not None:
            select.set("where", condition)
        return mark(select, first, self._prev)

    def _foreach(self) -> Foreach:
        first = self._prev
        foreach = Foreach(expressions=self._fields())
        if self._word("DO"):
            foreach.set("do", self._fields())
        if self._word("INCASE"):
            foreach.set("incase", self._condition())
        foreach.set("tables", self._from())
        condition = self._where()
        if condition is not None:
            foreach.set("where", condition)
        return mark(foreach, first, self._prev)

    def _where(self) -> exp.Where | None:
        if not self._match(TokenType.WHERE):
            return None
        first = self._prev
        return mark(exp.Where(this=self._condition()), first, self._prev)

    def _from(self) -> list[exp.Table]:
        if self._curr.token_type is not TokenType.FROM:
            self._refuse_clause()
        self._expect(TokenType.FROM, "',' or FROM")
        tables = [self._table()]
        while self._match(TokenType.COMMA):
            tables.append(self._table())
        return tables

    def _table(self) -> exp.Table:
        token = self._curr
        if token.token_type is TokenType.L_PAREN:
            raise self._unsupported("a subquery in FROM", hint=ONE_MESSAGE)
        if token.token_type is TokenType.STRING:
            self._advance()
            name = mark(exp.Identifier(this=token.text, quoted=True), token, token)
        else:
            name = self._name('a topic filter, such as "cp/+/meter"')
            if name.name == "system" and not name.args.get("quoted") and self._match(TokenType.DOT):
                source = self._name("a source of the system, such as system.errors")
                return mark(exp.Table(this=source, db=name), token, self._prev)
        return mark(exp.Table(this=name), token, token)

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
        elif self._curr.token_type is TokenType.IDENTIFIER or (
            self._is_bare_name() and self._curr.text.upper() not in _REFUSED_WORDS
        ):
            alias = self._alias_path(any_word=False)
        else:
            return value
        return mark(exp.Alias(this=value, alias=alias), first, self._prev)

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

    def _refuse_clause(self) -> None:
        """GrammarError with the clause's name where the next token begins one that rules do not have."""
        clause = _REFUSED_TOKENS.get(self._curr.token_type)
        if clause is None and self._curr.token_type is TokenType.VAR:
            clause = _REFUSED_WORDS.get(self._curr.text.upper())
        if clause is not None:
            raise self._unsupported(clause, hint=ONE_MESSAGE)
