"""The grammar of rule files: EMQX's rule SQL (emqx.md 1.2) with predicates and casts of PostgreSQL, and the windows,
joins and declarations of streaming SQL.

A subclass of sqlglot's parser with productions of its own, because EMQX's paths, ranges, path aliases and quoting have
no counterpart there; it makes sqlglot's nodes. Invariants: what the productions do not name is a GrammarError, never a
silent pass-through; nesting and chains are bounded, so that the later passes may recurse. From here down, each file
stands on the next: ``grammar_statements``, ``grammar_queries``, ``grammar_from``, ``grammar_expressions``,
``grammar_operands``, ``grammar_calls``, ``grammar_forms``, ``grammar_base``.
"""

from __future__ import annotations

from sqlglot import TokenType, exp

from rules.grammar_statements import StatementGrammar
from rules.nodes import MORE_SINKS_ARG, mark


class Grammar(StatementGrammar):
    """Statements. ``parse`` gets the tokens of one statement and gives one tree, or raises GrammarError."""

    def _parse_statement(self) -> exp.Expr:
        self._depth = 0
        if self._word("INSERT"):
            statement: exp.Expr = self._insert()
        elif self._word("CREATE"):
            statement = self._declaration() or self._rule()
        else:
            statement = self._query("SELECT, FOREACH, INSERT INTO or CREATE")
        self._end()
        return statement

    def _rule(self) -> exp.Create:
        first = self._prev
        if not self._word("RULE"):
            raise self._unexpected("SOURCE, TABLE, VIEW or RULE after CREATE")
        name = self._name("a rule name")
        options = self._options()
        self._expect(TokenType.ALIAS, "AS")
        if not self._word("INSERT"):
            raise self._unexpected("INSERT INTO")
        create = exp.Create(this=name, kind="RULE", expression=self._insert())
        if options:
            create.set("properties", exp.Properties(expressions=options))
        return mark(create, first, self._prev)

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
