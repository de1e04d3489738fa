"""A rule file's text -> its statements, each with its tree and its lines; every syntax error of the file.

A statement with an error is left out and the next one is read: statements end at semicolons. Names and
meanings are the business of ``bind``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlglot import Token, TokenType, exp

from rules.diagnostics import Problems, Span
from rules.dialect import parse_statement, tokenize
from rules.lexer import GrammarError
from rules.nodes import span_of

MAX_TEXT: Final = 1_000_000
"""Characters in one source; more is refused before it is read."""
_MAX_UNREADABLE: Final = 20


@dataclass(frozen=True, slots=True)
class Statement:
    """``tree`` is an exp.Select, nodes.Foreach, exp.Insert, exp.Create (a rule), nodes.CreateSource, CreateTable or
    CreateView; ``text`` is as written, without semicolon."""

    tree: exp.Expr
    span: Span
    line: int
    text: str


def parse(problems: Problems) -> list[Statement]:
    """The statements of ``problems.source`` that are well-formed; the errors of the others go to ``problems``."""
    text = problems.source.text
    if len(text) > MAX_TEXT:
        problems.add("too-complex", f"a rule file takes at most {MAX_TEXT} characters", Span(0, 1))
        return []
    tokens, unreadable = _tokens(problems)
    statements: list[Statement] = []
    for chunk, end in _split(tokens, len(text)):
        span = Span(chunk[0].start, chunk[-1].end + 1)
        if any(span.start <= offset < end for offset in unreadable):
            continue
        try:
            tree = parse_statement(chunk, text)
        except GrammarError as error:
            place = Span(error.start, error.end)
            problems.add(error.code, error.message, place, label=error.label, hint=error.hint)
        except RecursionError:
            problems.add("too-complex", "the statement is nested too deeply", span)
        else:
            statements.append(Statement(tree, span_of(tree), chunk[0].line, text[span.start : span.end]))
    return statements


def _tokens(problems: Problems) -> tuple[list[Token], list[int]]:
    """The tokens of the source and the offsets of what could not be read, which is reported and stepped over."""
    text = problems.source.text
    unreadable: list[int] = []
    while True:
        try:
            return tokenize(text), unreadable
        except GrammarError as error:
            problems.add(error.code, error.message, Span(error.start, error.end), label=error.label, hint=error.hint)
            unreadable.append(error.start)
            if len(unreadable) >= _MAX_UNREADABLE:
                return [], unreadable
            text = text[: error.start] + " " * (error.end - error.start) + text[error.end :]


def _split(tokens: list[Token], length: int) -> Iterator[tuple[list[Token], int]]:
    """The tokens of each statement, and where its semicolon or the text's end is."""
    chunk: list[Token] = []
    for token in tokens:
        if token.token_type is not TokenType.SEMICOLON:
            chunk.append(token)
        elif chunk:
            yield chunk, token.start
            chunk = []
    if chunk:
        yield chunk, length
