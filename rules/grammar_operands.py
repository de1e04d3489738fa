"""The operands of rule SQL's expressions (literals, paths, lists, calls, CASE, CAST), and how any production says
what it expected.

Every node carries its place in the text (``nodes.span_of``). Conditions and operators: ``grammar_expressions``.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from sqlglot import Token, TokenType, exp, parser

from rules.lexer import KEYWORDS, GrammarError
from rules.nodes import Range, mark

MAX_NESTING: Final = 32
"""Parentheses, calls, CASEs, brackets and signs inside one another."""
MAX_CHAIN: Final = 100
"""Operands of one chain of operators, steps of one path."""
MAX_ITEMS: Final = 1_000
"""Operands of one AND or OR chain, fields, arguments, list items."""

RESERVED: Final = frozenset({"FOREACH", "DO", "INCASE"})
"""Words that are no bare names although they are no tokens of their own."""

_WORD_TOKENS: Final = frozenset({TokenType.VAR, *KEYWORDS.values()})
_BOOLEANS: Final = MappingProxyType({TokenType.TRUE: True, TokenType.FALSE: False})

_TYPES: Final = MappingProxyType(
    {
        "BOOLEAN": "BOOLEAN",
        "BOOL": "BOOLEAN",
        "SMALLINT": "BIGINT",
        "INT": "BIGINT",
        "INTEGER": "BIGINT",
        "BIGINT": "BIGINT",
        "FLOAT": "DOUBLE",
        "REAL": "DOUBLE",
        "DOUBLE": "DOUBLE",
        "TEXT": "TEXT",
        "STRING": "TEXT",
        "VARCHAR": "TEXT",
    }
)


class OperandGrammar(parser.Parser):
    """Productions of operands; each returns a node or raises GrammarError."""

    _depth: int = 0

    def _condition(self) -> exp.Expr:
        """Any expression; the productions above the operands define it."""
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
        if not (quoted or self._is_bare_name() or (any_word and token.token_type in _WORD_TOKENS)):
            hint = f'write "{token.text}" to use this word as a name' if token.token_type in _WORD_TOKENS else ""
            raise self._unexpected(what, hint=hint)
        self._advance()
        return mark(exp.Identifier(this=token.text, quoted=quoted), token, token)

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self._error(f"more than {MAX_NESTING} levels of nesting", self._curr, code="too-complex")

    def _check_count(self, count: int, limit: int = MAX_ITEMS) -> None:
        if count > limit:
            raise self._error(f"more than {limit} of them in a row", self._prev, code="too-complex")

    # Operands

    def _operand(self) -> exp.Expr:
        first = self._curr
        token_type = first.token_type
        if token_type is TokenType.NUMBER or token_type is TokenType.STRING or token_type in _BOOLEANS:
            return self._literal("a literal")
        if self._match(TokenType.L_PAREN):
            if self._curr.token_type is TokenType.SELECT:
                raise self._unsupported("a subquery")
            inner = exp.Paren(this=self._condition())
            self._expect(TokenType.R_PAREN, "')'")
            return self._steps(mark(inner, first, self._prev), first, ranges=True)
        if self._match(TokenType.L_BRACKET):
            return self._list_or_range(first)
        if self._match(TokenType.CASE):
            return self._case(first)
        if self._next.token_type is TokenType.L_PAREN:
            if token_type is TokenType.DIV or token_type is TokenType.MOD:
                self._advance()
                return self._call(first.text.lower(), first)
            if token_type is TokenType.VAR and first.text.upper() == "CAST":
                return self._cast()
        if token_type is not TokenType.IDENTIFIER and not self._is_bare_name():
            raise self._unexpected("an expression")
        return self._path_or_call()

    def _literal(self, what: str) -> exp.Expr:
        token = self._curr
        if token.token_type is TokenType.NUMBER:
            node: exp.Expr = exp.Literal.number(token.text)
        elif token.token_type is TokenType.STRING:
            node = exp.Literal.string(token.text)
        elif token.token_type in _BOOLEANS:
            node = exp.Boolean(this=_BOOLEANS[token.token_type])
        else:
            raise self._unexpected(what)
        self._advance()
        return mark(node, token, token)

    def _path_or_call(self) -> exp.Expr:
        first = self._curr
        name = self._name("an expression")
        if self._curr.token_type is TokenType.L_PAREN:
            return self._call(name.name, first)
        return self._steps(mark(exp.Column(this=name), first, first), first, ranges=True)

    def _steps(self, node: exp.Expr, first: Token, *, ranges: bool) -> exp.Expr:
        """``.name``, ``.1``, ``.'text'``, ``[index]`` and a last ``[from..to]`` behind ``node``."""
        names = [node.name] if isinstance(node, exp.Column) else []
        count = 0
        while True:
            if self._match(TokenType.DOT):
                step = self._step()
                node = mark(exp.Dot(this=node, expression=step), first, self._prev)
                if names:
                    names.append(step.name)
                if self._curr.token_type is TokenType.L_PAREN and names:
                    return self._call(".".join(names), first)
            elif self._match(TokenType.L_BRACKET):
                names = []
                index = self._index_or_range(ranges=ranges)
                node = mark(exp.Bracket(this=node, expressions=[index]), first, self._prev)
                if isinstance(index, Range):
                    return node
            else:
                return node
            count += 1
            self._check_count(count, MAX_CHAIN)

    def _step(self) -> exp.Identifier:
        token = self._curr
        whole = token.token_type is TokenType.NUMBER and token.text.isdigit()
        if not (
            whole or token.token_type in (TokenType.IDENTIFIER, TokenType.STRING) or token.token_type in _WORD_TOKENS
        ):
            raise self._unexpected("a name, a whole number or a quoted key after '.'")
        self._advance()
        quoted = token.token_type not in _WORD_TOKENS
        return mark(exp.Identifier(this=token.text, quoted=quoted), token, token)

    def _index_or_range(self, *, ranges: bool) -> exp.Expr:
        self._enter()
        first = self._curr
        index = self._signed()
        if ranges and self._match(TokenType.RANGE):
            index = mark(Range(this=index, expression=self._signed()), first, self._prev)
        self._expect(TokenType.R_BRACKET, "']'")
        self._depth -= 1
        return index

    def _list_or_range(self, first: Token) -> exp.Expr:
        if self._match(TokenType.R_BRACKET):
            return mark(exp.Array(expressions=[]), first, self._prev)
        item = self._condition()
        if self._match(TokenType.RANGE):
            end = self._signed()
            self._expect(TokenType.R_BRACKET, "']'")
            return mark(Range(this=item, expression=end), first, self._prev)
        items = [item]
        while self._match(TokenType.COMMA):
            items.append(self._condition())
            self._check_count(len(items))
        self._expect(TokenType.R_BRACKET, "',' or ']'")
        return mark(exp.Array(expressions=items), first, self._prev)

    def _list_until(self, end: TokenType, what: str) -> list[exp.Expr]:
        items = [self._condition()]
        while self._match(TokenType.COMMA):
            items.append(self._condition())
            self._check_count(len(items))
        self._expect(end, f"',' or {what}")
        return items

    def _call(self, name: str, first: Token) -> exp.Expr:
        self._expect(TokenType.L_PAREN, "'('")
        if self._curr.token_type is TokenType.STAR:
            raise self._unsupported(
                f"{name}(*)", hint="there are no aggregate functions: a rule sees one message at a time"
            )
        empty = self._match(TokenType.R_PAREN)
        call = exp.Anonymous(this=name, expressions=[] if empty else self._list_until(TokenType.R_PAREN, "')'"))
        mark(call, first, self._prev)
        if self._curr.text.upper() in ("OVER", "FILTER") and self._next.token_type is TokenType.L_PAREN:
            raise self._unsupported(f"{self._curr.text.upper()} (...)")
        return self._steps(call, first, ranges=True)

    def _case(self, first: Token) -> exp.Expr:
        self._enter()
        operand = None if self._curr.token_type is TokenType.WHEN else self._condition()
        branches: list[exp.If] = []
        while self._match(TokenType.WHEN):
            when = self._prev
            condition = self._condition()
            self._expect(TokenType.THEN, "THEN")
            branches.append(mark(exp.If(this=condition, true=self._condition()), when, self._prev))
            self._check_count(len(branches), MAX_CHAIN)
        if not branches:
            raise self._unexpected("WHEN")
        default = self._condition() if self._match(TokenType.ELSE) else None
        self._expect(TokenType.END, "WHEN, ELSE or END")
        self._depth -= 1
        case = exp.Case(ifs=branches)
        if operand is not None:
            case.set("this", operand)
        if default is not None:
            case.set("default", default)
        return mark(case, first, self._prev)

    def _cast(self) -> exp.Expr:
        first = self._curr
        self._advance(2)
        value = self._condition()
        self._expect(TokenType.ALIAS, "AS and a type")
        cast = exp.Cast(this=value, to=self._type())
        self._expect(TokenType.R_PAREN, "')'")
        return mark(cast, first, self._prev)

    def _type(self) -> exp.DataType:
        token = self._curr
        name = _TYPES.get(token.text.upper()) if token.token_type is TokenType.VAR else None
        if name is None:
            raise self._unexpected("a type", hint="types are BOOLEAN, BIGINT, DOUBLE and TEXT")
        self._advance()
        if token.text.upper() == "DOUBLE":
            self._word("PRECISION")
        if self._curr.token_type is TokenType.L_PAREN:
            raise self._unsupported("a length or precision of a type")
        return mark(exp.DataType.build(name), token, self._prev)
