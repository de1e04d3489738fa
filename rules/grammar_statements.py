"""CREATE SOURCE, CREATE TABLE and CREATE VIEW, and the options that every CREATE takes in WITH.

Which options there are, and what columns and watermarks may be, is decided by the passes that read these statements.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from sqlglot import TokenType, exp

from rules.grammar_base import WORD_TOKENS
from rules.grammar_queries import QueryGrammar
from rules.nodes import ColumnDef, CreateSource, CreateTable, CreateView, Watermark, mark

_KINDS: Final = MappingProxyType(
    {
        "STREAM": "write CREATE SOURCE",
        "MATERIALIZED": "write CREATE VIEW: a view is computed once, however many rules read it",
        "TEMPORARY": "leave the word out: what a file says is there as long as the file",
        "TEMP": "leave the word out: what a file says is there as long as the file",
        "OR": "leave OR REPLACE out: a reload takes what the files say",
        "SINK": "sinks stand in headrace.toml: [sinks.name]",
        "CONNECTION": "connections stand in headrace.toml: [connections.name]",
        "FUNCTION": "functions come with packages: the entry point headrace.functions",
    }
)
"""What other systems have behind CREATE, with the way out."""
_IF_NOT_EXISTS: Final = "leave it out: a name that is there twice is an error"
_KEY_HINT: Final = "the key of a table stands among its options: WITH (key = 'id')"
_CONSTRAINTS: Final = MappingProxyType(
    {
        "PRIMARY": ("PRIMARY KEY", _KEY_HINT),
        "UNIQUE": ("UNIQUE", _KEY_HINT),
        "DEFAULT": ("DEFAULT", "COALESCE(x, value) in a view gives a missing value"),
        "CHECK": ("CHECK", "WHERE in a view leaves rows out"),
        "REFERENCES": ("REFERENCES", "rows of two sources meet in a JOIN"),
        "GENERATED": ("GENERATED", "a view has computed columns: CREATE VIEW v AS SELECT *, a + b AS c FROM ..."),
    }
)


class StatementGrammar(QueryGrammar):
    """Productions of the statements that declare something; each returns a node or raises GrammarError."""

    def _declaration(self) -> exp.Expr | None:
        """What stands behind CREATE, if it is none of a rule."""
        first = self._prev
        word = self._curr.text.upper()
        if self._curr.token_type in WORD_TOKENS and word in _KINDS:
            raise self._unsupported(f"CREATE {'OR REPLACE' if word == 'OR' else word}", hint=_KINDS[word])
        for kind, production in _PRODUCTIONS.items():
            if self._word(kind):
                if self._is_word(self._curr, "IF") and self._next.token_type is TokenType.NOT:
                    raise self._unsupported("IF NOT EXISTS", hint=_IF_NOT_EXISTS)
                return mark(production(self), first, self._prev)
        return None

    def _source(self) -> CreateSource:
        node = CreateSource(this=self._name("the name of a source"))
        self._expect(TokenType.L_PAREN, "'(' and the columns of the source")
        columns: list[exp.Expr] = []
        while True:
            first = self._curr
            if self._is_word(first, "WATERMARK") and self._is_word(self._next, "FOR"):
                if node.args.get("watermark") is not None:
                    raise self._error("a source has one watermark", first)
                node.set("watermark", self._watermark())
            else:
                columns.append(self._column())
                self._check_count(len(columns))
            if not self._match(TokenType.COMMA):
                break
        self._expect(TokenType.R_PAREN, "',' or ')'")
        node.set("columns", columns)
        self._with(node)
        return node

    def _table_of_rows(self) -> CreateTable:
        node = CreateTable(this=self._name("the name of a table"))
        if self._match(TokenType.L_PAREN):
            columns = [self._column()]
            while self._match(TokenType.COMMA):
                columns.append(self._column())
                self._check_count(len(columns))
            self._expect(TokenType.R_PAREN, "',' or ')'")
            node.set("columns", columns)
        self._with(node)
        return node

    def _view(self) -> CreateView:
        node = CreateView(this=self._name("the name of a view"))
        if self._curr.token_type is TokenType.L_PAREN:
            raise self._unsupported("a list of columns after CREATE VIEW", hint="name them in the SELECT with AS")
        self._with(node)
        self._expect(TokenType.ALIAS, "WITH (...) or AS" if not node.args.get("options") else "AS")
        node.set("expression", self._query("SELECT or FOREACH"))
        return node

    def _column(self) -> ColumnDef:
        first = self._curr
        self._refuse_constraint(of_table=True)
        name = self._name("the name of a column")
        if self._curr.token_type is TokenType.ALIAS:
            raise self._unsupported("a computed column", hint=_CONSTRAINTS["GENERATED"][1])
        node = ColumnDef(this=name, kind=self._type())
        if self._match(TokenType.NOT):
            if not self._word("NULL"):
                raise self._unexpected("NULL after NOT")
            node.set("not_null", True)
        self._refuse_constraint()
        return mark(node, first, self._prev)

    def _refuse_constraint(self, *, of_table: bool = False) -> None:
        """GrammarError where a constraint begins, behind a column or in the place of one."""
        first, following = self._curr, self._next
        found = self._is_word(first, *_CONSTRAINTS)
        if found and of_table:
            found = self._is_word(following, "KEY") or following.token_type is TokenType.L_PAREN
        if found:
            text, hint = _CONSTRAINTS[first.text.upper()]
            raise self._unsupported(text, hint=hint)

    def _watermark(self) -> Watermark:
        first = self._curr
        self._advance(2)
        name = self._name("the name of a column")
        if self._curr.token_type is TokenType.COMMA:
            raise self._error("a watermark is of one column", self._curr, label="second column")
        self._expect(TokenType.ALIAS, "AS and how far time has come, such as ts - INTERVAL '10 seconds'")
        return mark(Watermark(this=name, expression=self._condition()), first, self._prev)

    # Options

    def _with(self, node: exp.Expr) -> None:
        options = self._options()
        if options:
            node.set("options", options)

    def _options(self) -> list[exp.Expr]:
        """``WITH (key = value, ...)``, none where there is no WITH."""
        if not self._word("WITH"):
            return []
        self._expect(TokenType.L_PAREN, "'('")
        options: list[exp.Expr] = [self._option()]
        while self._match(TokenType.COMMA):
            options.append(self._option())
            self._check_count(len(options))
        self._expect(TokenType.R_PAREN, "')'")
        return options

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


_PRODUCTIONS: Final[MappingProxyType[str, Callable[[StatementGrammar], exp.Expr]]] = MappingProxyType(
    {
        "SOURCE": StatementGrammar._source,
        "TABLE": StatementGrammar._table_of_rows,
        "VIEW": StatementGrammar._view,
    }
)
