"""A file's tokens as they are to be printed: keywords in capitals, the comments that belong to each, the blanks before.

Which words are keywords is asked of the tree, not of a list: a word that is part of no name is one. New syntax
needs nothing here as long as its names are ``exp.Identifier``, ``exp.Literal``, ``exp.Anonymous`` or ``WindowTable``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Final, Literal

from sqlglot import Token, TokenType, exp

from rules.lexer import KEYWORDS
from rules.nodes import WindowTable, span_of

Kind = Literal["keyword", "name", "call", "number", "text", "mark", "end"]

_WORDS: Final = frozenset({TokenType.VAR, *KEYWORDS.values()})
_KINDS: Final[dict[TokenType, Kind]] = {
    TokenType.NUMBER: "number",
    TokenType.STRING: "text",
    TokenType.IDENTIFIER: "name",
}
_COMMENT: Final = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)

_BEFORE_PARENTHESIS: Final = frozenset(
    {
        *("AND", "AS", "BETWEEN", "CASE", "DISTINCT", "DIV", "DO", "ELSE", "ESCAPE", "EXCEPT", "EXCLUDE", "FILTER"),
        *("FOREACH", "FROM", "GROUP BY", "HAVING", "ILIKE", "IN", "INCASE", "INTO", "JOIN", "LIKE", "LIMIT", "MOD"),
        *("NOT", "ON", "OR", "ORDER BY", "OVER", "PARTITION BY", "QUALIFY"),
        *("REPLACE", "SELECT", "THEN", "USING", "VALUES", "WHEN", "WHERE", "WITH"),
    }
)
"""Keywords with a blank between them and a parenthesis; behind others it stays as it was written."""
_BEFORE_SIGN: Final = _BEFORE_PARENTHESIS | {"IS"}
"""Keywords behind which + and - are signs; behind others, such as END, they are operators."""
_CLOSING: Final = frozenset({")", "]", "}"})
_TIGHT_BEFORE: Final = frozenset({",", ";", ".", "::", "..", ":"}) | _CLOSING
_TIGHT_AFTER: Final = frozenset({"(", "[", "{", ".", "::", ".."})


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment as written, from ``start`` to ``end``; ``parted``: there is a blank line before it."""

    text: str
    start: int
    end: int
    parted: bool


@dataclass(slots=True)
class Piece:
    """One token. ``above`` stand on lines of their own before it, ``inside`` in its line, ``behind`` at its end."""

    text: str
    kind: Kind
    start: int
    end: int
    above: list[Comment] = field(default_factory=list)
    inside: list[Comment] = field(default_factory=list)
    behind: list[Comment] = field(default_factory=list)
    space: bool = False
    sign: bool = False
    parted: bool = False
    """There is a blank line between it and what is above it."""

    @property
    def word(self) -> str:
        """The keyword that it is, in capitals; empty for anything else."""
        return self.text.upper() if self.kind == "keyword" else ""

    @property
    def mark(self) -> str:
        """The punctuation or operator that it is; empty for anything else."""
        return self.text if self.kind == "mark" else ""

    @property
    def ends_operand(self) -> bool:
        if self.word:
            return self.word not in _BEFORE_SIGN
        return not self.mark or self.mark in _CLOSING


def comments_of(text: str, tokens: Sequence[Token]) -> list[str]:
    """Every comment of a text, without blanks at the ends of lines."""
    places = [*(token.start for token in tokens), len(text)]
    ends = [0, *(token.end + 1 for token in tokens)]
    gaps = (text[end:start] for end, start in zip(ends, places, strict=True))
    return [_clean(found.group()) for gap in gaps for found in _COMMENT.finditer(gap)]


def _clean(comment: str) -> str:
    return "\n".join(line.rstrip() for line in comment.split("\n"))


def pieces_of(text: str, tokens: Sequence[Token], trees: Iterable[exp.Expr], *, capitals: bool = True) -> list[Piece]:
    """The pieces of a text and, last, an empty one that holds the comments at its end.

    ``capitals`` False leaves keywords as they are written.
    """
    kinds = _kinds(tokens, trees)
    pieces = [_piece(text, token, kinds[token.start], capitals) for token in tokens]
    pieces.append(Piece("", "end", len(text), len(text)))
    _attach(text, pieces)
    for index in range(1, len(pieces)):
        previous, piece = pieces[index - 1], pieces[index]
        piece.sign = piece.mark in ("+", "-") and not previous.ends_operand
        following = pieces[index + 1] if index + 1 < len(pieces) else None
        piece.space = _spaced(previous, piece, following)
    return pieces


def _kinds(tokens: Sequence[Token], trees: Iterable[exp.Expr]) -> dict[int, Kind]:
    """What each token is, by its start."""
    names: set[int] = set()
    calls: set[int] = set()
    for tree in trees:
        for node in tree.walk():
            if isinstance(node, exp.Identifier | exp.Literal):  # a literal may be a word: {key: 1}
                names.add(span_of(node).start)
            elif isinstance(node, exp.Anonymous | WindowTable):
                calls.add(span_of(node).start)
    kinds: dict[int, Kind] = {}
    for index, token in enumerate(tokens):
        if token.start in calls:
            for part in _until_parenthesis(tokens, index):
                kinds[part.start] = "call"
        if token.start in kinds:
            continue
        if token.token_type in _WORDS:
            kinds[token.start] = "name" if token.start in names else "keyword"
        else:
            kinds[token.start] = _KINDS.get(token.token_type, "mark")
    return kinds


def _until_parenthesis(tokens: Sequence[Token], index: int) -> Iterator[Token]:
    """The words and dots of a function's name."""
    while index < len(tokens) and tokens[index].token_type is not TokenType.L_PAREN:
        if tokens[index].token_type is not TokenType.DOT:
            yield tokens[index]
        index += 1


def _piece(text: str, token: Token, kind: Kind, capitals: bool) -> Piece:
    written = text[token.start : token.end + 1]
    if kind == "keyword":
        written = " ".join(written.split())
        written = written.upper() if capitals else written
    return Piece(written, kind, token.start, token.end + 1)


def _attach(text: str, pieces: list[Piece]) -> None:
    """Give every comment to a piece; those between two pieces keep their order."""
    end = 0
    previous: Piece | None = None
    for piece in pieces:
        _attach_gap(text[end : piece.start], end, previous, piece)
        end = piece.end
        previous = piece
    for piece, following in pairwise(pieces):
        following.above[:0] = _moved(piece) if piece.mark == "," and piece.above else _overflow(piece)
        if piece.word in ("AND", "OR") and not (piece.inside or piece.behind):
            # The operator begins the line of its operand, so what is told of that goes above both.
            piece.above += following.above
            following.above = []


def _moved(comma: Piece) -> list[Comment]:
    """Take from a comma what is above it, which is about what comes after, and with it what follows in the text."""
    moved = [*comma.above, *comma.inside, *(comment for comment in comma.behind if comment.start > comma.start)]
    comma.behind = [comment for comment in comma.behind if comment.start < comma.start]
    comma.above, comma.inside = [], []
    return moved


def _overflow(piece: Piece) -> list[Comment]:
    """Leave one comment behind a piece, of several in one line all, and return the others."""
    behind = piece.behind
    while len(behind) > 1 and not behind[0].text.startswith("--") and "--" not in behind[0].text.rpartition("*/")[2]:
        one, other = behind[:2]
        behind[:2] = [replace(one, text=f"{one.text} {other.text}", end=other.end)]
    piece.behind = behind[:1]
    return behind[1:]


def _attach_gap(gap: str, offset: int, previous: Piece | None, piece: Piece) -> None:
    last = 0
    for found in _COMMENT.finditer(gap):
        before = gap[last : found.start()]
        line, newline, _ = _COMMENT.sub("", gap[found.end() :]).partition("\n")
        last = found.end()
        parted = before.count("\n") > 1
        comment = Comment(_clean(found.group()), offset + found.start(), offset + found.end(), parted)
        ends_line = not line.strip() and (newline or piece.kind == "end")
        alone = comment.text.startswith("--") or "\n" in comment.text or ends_line
        if alone and previous is not None and "\n" not in before and not piece.above and not piece.inside:
            _behind(previous, piece).append(comment)
        elif alone:
            piece.above += [*piece.inside, comment]
            piece.inside = []
        else:
            piece.inside.append(comment)
    if piece.mark == ";" and piece.above and previous is not None:
        # The semicolon stands below what is above it, and cannot share the line of what is before that.
        previous.behind += piece.behind
        piece.behind = []
    piece.parted = gap[last:].count("\n") > 1


def _behind(previous: Piece, piece: Piece) -> list[Comment]:
    """Where a comment at a line's end goes: behind the comma or semicolon that follows, which stays in the line."""
    return piece.behind if piece.mark in (",", ";") else previous.behind


def _spaced(previous: Piece, piece: Piece, following: Piece | None) -> bool:
    if piece.mark in _TIGHT_BEFORE:
        # 1 . 2 must not become 1.2
        numbers = previous.kind == "number" and following is not None and following.kind == "number"
        return piece.mark == "." and numbers
    if previous.mark in _TIGHT_AFTER:
        return False
    if previous.sign:
        return piece.text == previous.text
    if piece.mark == "(":
        return _spaced_parenthesis(previous, piece)
    return not (piece.mark == "[" and previous.ends_operand)


def _spaced_parenthesis(previous: Piece, piece: Piece) -> bool:
    if previous.kind == "call":
        return False
    if previous.word and previous.word not in _BEFORE_PARENTHESIS:
        return piece.start > previous.end
    return True


def inline(piece: Piece) -> str:
    """The piece with the comments in its line."""
    if not piece.inside:
        return piece.text
    notes = " ".join(comment.text for comment in piece.inside)
    return f" {notes}{piece.text}" if piece.mark in _TIGHT_BEFORE else f"{notes} {piece.text}"


CLAUSES: Final = MappingProxyType(
    {
        "INSERT": "flow",
        "SELECT": "list",
        "FOREACH": "list",
        "DO": "list",
        "INCASE": "condition",
        "FROM": "list",
        "JOIN": "join",
        "INNER": "join",
        "LEFT": "join",
        "WHERE": "condition",
        "GROUP BY": "list",
        "HAVING": "condition",
        "QUALIFY": "condition",
        "ORDER BY": "list",
        "LIMIT": "flow",
    }
)
"""The keywords that begin a line, and how what follows them is broken where it is too long."""
