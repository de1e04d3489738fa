"""The expressions of the rule grammar: conditions, comparisons, arithmetic, paths, calls, literals.

Precedence from low to high: OR, AND, NOT, comparison and predicates, ``||``, ``+ -``, ``* / div mod``, sign, ``::``.
Comparisons do not chain, as in EMQX. Every node carries its place in the text (``nodes.span_of``).
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from sqlglot import Token, TokenType, exp, parser

from rules.lexer import KEYWORDS, GrammarError
from rules.nodes import Range, TopicMatch, mark

MAX_NESTING: Final = 32
"""Parentheses, calls, CASEs, brackets and signs inside one another."""
MAX_CHAIN: Final = 100
"""Operands of one chain of operators, steps of one path."""
MAX_ITEMS: Final = 1_000
"""Operands of one AND or OR chain, fields, arguments, list items."""

RESERVED: Final = frozenset({"FOREACH", "DO", "INCASE"})
"""Words that are no bare names although they are no tokens of their own."""

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

Operators = MappingProxyType[TokenType, type[exp.Binary]]


class ExpressionGrammar(parser.Parser):
    """Productions from ``_condition`` down; each returns a node or raises GrammarError."""

    _depth: int = 0

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
            negated = self._match(TokenType.NOT)
            if not self._word("NULL"):
                raise self._unexpected("NULL or NOT NULL after IS")
            test: exp.Expr = mark(exp.Is(this=left, expression=exp.Null()), first, self._prev)
            return mark(exp.Not(this=test), first, self._prev) if negated else test
        index = self._index
        negated = self._match(TokenType.NOT)
        node = self._in_like_between(left)
        if node is None:
            if negated:
                self._retreat(index)
            return left
        mark(node, first, self._prev)
        return mark(exp.Not(this=node), first, self._prev) if negated else node

    def _in_like_between(self, left: exp.Expr) -> exp.Expr | None:
        if self._match(TokenType.IN):
            self._expect(TokenType.L_PAREN, "'(' after IN")
            if self._curr.token_type is TokenType.SELECT:
                raise self._unsupported("a subquery in IN")
            return exp.In(this=left, expressions=self._list_until(TokenType.R_PAREN, "')'"))
        for word, kind in (("LIKE", exp.Like), ("ILIKE", exp.ILike)):
            if self._word(word):
                return kind(this=left, expression=self._concatenation())
        if self._word("BETWEEN"):
            low = self._concatenation()
            self._expect(TokenType.AND, "AND after the lower bound of BETWEEN")
            return exp.Between(this=left, low=low, high=self._concatenation())
        return None

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
            return self._cast_suffix(self._operand(), first)
        negative = first.token_type is TokenType.DASH
        self._enter()
        operand = self._signed()
        self._depth -= 1
        if not negative:  # "+x" asserts a number and changes nothing: the negative of the negative
            operand = mark(exp.Neg(this=operand), first, self._prev)
        return mark(exp.Neg(this=operand), first, self._prev)

    def _cast_suffix(self, node: exp.Expr, first: Token) -> exp.Expr:
        casts = 0
        while self._match(TokenType.DCOLON):
            node = mark(exp.Cast(this=node, to=self._type()), first, self._prev)
            casts += 1
            self._check_count(casts, MAX_NESTING)
        return node

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


def balanced(kind: type[exp.Connector], operands: list[exp.Expr]) -> exp.Expr:
    """A tree of two-armed nodes as shallow as can be; AND and OR are associative, and so is short-circuiting."""
    if len(operands) == 1:
        return operands[0]
    middle = len(operands) // 2
    left, right = balanced(kind, operands[:middle]), balanced(kind, operands[middle:])
    node = kind(this=left, expression=right)
    node.meta["start"], node.meta["end"] = left.meta.get("start"), right.meta.get("end")
    return node
