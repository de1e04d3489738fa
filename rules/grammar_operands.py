"""The operands of rule SQL's expressions (paths, lists, CASE).

What SQL writes in a way of its own: ``grammar_forms``; calls: ``grammar_calls``.
Every node carries its place in the text (``nodes.span_of``). Conditions and operators: ``grammar_expressions``.
"""

from __future__ import annotations

from sqlglot import Token, TokenType, exp

from rules.grammar_base import BOOLEANS, MAX_CHAIN, NO_SUBQUERY, WORD_TOKENS
from rules.grammar_calls import CallGrammar
from rules.nodes import Range, mark


class OperandGrammar(CallGrammar):
    """Productions of operands; each returns a node or raises GrammarError."""

    def _operand(self) -> exp.Expr:
        first = self._curr
        token_type = first.token_type
        if token_type is TokenType.NUMBER or token_type is TokenType.STRING or token_type in BOOLEANS:
            return self._literal("a literal")
        if self._match(TokenType.L_PAREN):
            if self._curr.token_type is TokenType.SELECT:
                raise self._unsupported("a subquery", hint=NO_SUBQUERY)
            inner = exp.Paren(this=self._condition())
            self._expect(TokenType.R_PAREN, "')'")
            return self._steps(mark(inner, first, self._prev), first, ranges=True)
        if self._match(TokenType.L_BRACKET):
            return self._list_or_range(first)
        if self._match(TokenType.L_BRACE):
            return self._steps(self._object(first), first, ranges=True)
        if self._is_word(first, "ARRAY") and first.text != "array" and self._next.token_type is TokenType.L_BRACKET:
            self._advance(2)  # "array[1]" is EMQX's index into what is called so
            return self._steps(self._list_or_range(first), first, ranges=True)
        if self._match(TokenType.CASE):
            return self._case(first)
        if self._next.token_type is TokenType.L_PAREN and token_type in (TokenType.DIV, TokenType.MOD):
            self._advance()
            return self._call(first.text.lower(), first)
        form = self._form()
        if form is not None:
            return self._steps(form, first, ranges=True)
        if token_type is not TokenType.IDENTIFIER and not self._is_bare_name():
            raise self._unexpected("an expression")
        return self._path_or_call()

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
                if self._curr.token_type is TokenType.STAR:
                    raise self._unsupported(
                        f"{self._find_sql(first, self._curr)}",
                        hint="the columns of a row are fixed before any message comes: name the fields that are wanted",
                    )
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
            whole or token.token_type in (TokenType.IDENTIFIER, TokenType.STRING) or token.token_type in WORD_TOKENS
        ):
            raise self._unexpected("a name, a whole number or a quoted key after '.'")
        self._advance()
        quoted = token.token_type not in WORD_TOKENS
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
