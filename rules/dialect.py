"""``headrace``: the SQL of rule files as a sqlglot dialect. A subclass; nothing in sqlglot is patched."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import Token, exp
from sqlglot.dialects.dialect import Dialect

from rules.grammar import Grammar
from rules.lexer import GrammarError, Lexer


class Headrace(Dialect):
    """Case-sensitive names, double quotes for names, functions as they are written."""

    NORMALIZE_FUNCTIONS = False

    class Tokenizer(Lexer):
        """See ``rules.lexer``."""

    class Parser(Grammar):
        """See ``rules.grammar``."""


_DIALECT = Headrace()


def tokenize(text: str) -> list[Token]:
    """The tokens of ``text``; GrammarError where there is none."""
    return _DIALECT.tokenize(text)


def parse_statement(tokens: Sequence[Token], text: str) -> exp.Expr:
    """The tree of one statement's tokens; GrammarError where they are none. ``text`` is what the offsets refer to."""
    trees = _DIALECT.parser().parse(list(tokens), text)
    if len(trees) != 1 or trees[0] is None:
        # sqlglot takes a leading ELSE for the end of a block and leaves it to its caller.
        first = tokens[0]
        raise GrammarError(f"no statement begins with {first.text!r}", first.start, first.end + 1)
    return trees[0]
