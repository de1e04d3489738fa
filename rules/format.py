"""``headrace fmt``: a rule file in its one form. What a file says is never changed, and no comment is lost.

Keywords in capitals, names as they are written, a clause a line, lists and conditions on one line where they fit into
:data:`WIDTH` columns. Every statement is checked: the same tokens, the same tree, the same comments as before. One that
fails the check keeps its text: that is a defect of this formatter, and no reason to touch a rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlglot import Token, TokenType, exp

from rules.diagnostics import Diagnostic, Problems, Source
from rules.dialect import parse_statement, tokenize
from rules.format_doc import render
from rules.format_layout import statement
from rules.format_pieces import Piece, comments_of, pieces_of
from rules.lexer import GrammarError
from rules.statements import parse

WIDTH: Final = 100


@dataclass(frozen=True, slots=True)
class Formatted:
    """``text`` is the new one, or the old one where there are ``diagnostics``.

    ``kept`` are the lines of statements that were left as they are, because their new form did not pass the check.
    """

    text: str
    diagnostics: tuple[Diagnostic, ...] = ()
    kept: tuple[int, ...] = ()


def format_rules(path: str, text: str) -> Formatted:
    """The text of a rule file in its one form."""
    problems = Problems(Source(path, text))
    trees = [found.tree for found in parse(problems)]
    if problems.found:
        return Formatted(text, tuple(problems.found))
    tokens = tokenize(text)
    pieces = pieces_of(text, tokens, trees)
    blocks: list[str] = []
    kept: list[int] = []
    as_written = _chunks(pieces_of(text, tokens, trees, capitals=False))
    for chunk, same in zip(_chunks(pieces), as_written, strict=True):
        before = _source(text, chunk)
        body = next((body for body in (_body(chunk), _body(same)) if _same(before, body)), None)
        if body is None:
            kept.append(problems.source.position(chunk[0].start)[0])
        blocks.append(_heading(chunk[0]) + (before if body is None else body))
    ending = _heading(pieces[-1])
    return Formatted("\n".join([*blocks, *([ending] if ending else [])]), kept=tuple(kept))


def _chunks(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """The pieces of each statement, with its semicolon; without the last piece, which is the end of the file."""
    chunks: list[list[Piece]] = [[]]
    for piece in pieces[:-1]:
        chunks[-1].append(piece)
        if piece.mark == ";":
            chunks.append([])
    return [chunk for chunk in chunks if chunk]


def _heading(piece: Piece) -> str:
    """The comments before a statement, with the blank lines between them."""
    lines: list[str] = []
    for index, comment in enumerate(piece.above):
        if comment.parted and index:
            lines.append("")
        lines.append(comment.text)
    if piece.parted and lines and piece.text:
        lines.append("")
    return "".join(f"{line}\n" for line in lines)


def _body(chunk: Sequence[Piece]) -> str:
    first = chunk[0]
    above, first.above = first.above, []
    body = render(statement(chunk), WIDTH)
    first.above = above
    return body


def _source(text: str, chunk: Sequence[Piece]) -> str:
    """A statement as it is written, with the comments in its first and at the end of its last line."""
    first, last = chunk[0], chunk[-1]
    start = min([first.start, *(comment.start for comment in first.inside)])
    end = max([last.end, *(comment.end for comment in last.behind)])
    return text[start:end] + "\n"


def _same(before: str, after: str) -> bool:
    """Do two texts of one statement say the same, and is the second one stable?"""
    try:
        one, other = tokenize(before), tokenize(after)
        if [_known(token) for token in one] != [_known(token) for token in other]:
            return False
        if comments_of(before, one) != comments_of(after, other):
            return False
        return same_tree(_tree(one, before), _tree(other, after))
    except (GrammarError, RecursionError):
        return False


def _tree(tokens: Sequence[Token], text: str) -> exp.Expr | None:
    bare = [token for token in tokens if token.token_type is not TokenType.SEMICOLON]
    return parse_statement(bare, text) if bare else None


def _known(token: Token) -> tuple[Any, str]:
    """A token but for the case of its letters, which is a question for the tree."""
    return token.token_type, " ".join(token.text.upper().split())


def same_tree(one: Any, other: Any) -> bool:
    """Are two trees the same to the letter? sqlglot's own comparison ignores the case of names."""
    stack = [(one, other)]
    while stack:
        left, right = stack.pop()
        if type(left) is not type(right):
            return False
        if isinstance(left, exp.Expr):
            if left.args.keys() != right.args.keys():
                return False
            stack += [(value, right.args[key]) for key, value in left.args.items()]
        elif isinstance(left, list):
            if len(left) != len(right):
                return False
            stack += zip(left, right, strict=True)
        elif left != right:
            return False
    return True
