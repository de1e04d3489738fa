"""One statement's pieces -> its layout: a clause a line, lists and conditions broken where they do not fit.

Works on pieces alone: brackets, CASE ... END, commas, AND and OR give the structure. A keyword that is not in
:data:`~rules.format_pieces.CLAUSES` stands in its clause's line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Final

from rules.format_doc import Break, Doc, Group, Indent, Line, Remark, Text
from rules.format_pieces import CLAUSES, Piece, inline

Pieces = Sequence[Piece]

_OPENING: Final = frozenset({"(", "[", "{"})
_CLOSING: Final = frozenset({")", "]", "}"})
_JOIN_WORDS: Final = frozenset({"LEFT", "INNER", "OUTER"})
_DECLARED: Final = frozenset({"SOURCE", "TABLE"})
_PARTS: Final = frozenset({"PARTITION BY", "WHEN", "WHERE"})
"""What begins a line in the parentheses of OVER and FILTER."""


def statement(pieces: Pieces) -> list[Doc]:
    """The layout of a statement, its semicolon included."""
    end = len(pieces) - 1 if pieces and pieces[-1].mark == ";" else len(pieces)
    docs = _clauses(pieces[:end])
    for piece in pieces[end:]:
        docs += _one(piece)
    return docs


def _clauses(pieces: Pieces) -> list[Doc]:
    docs: list[Doc] = []
    for clause in _split(pieces, _begins_clause):
        if docs:
            docs.append(Break())
        docs.append(Group(tuple(_clause(clause))))
    return docs


def _begins_clause(pieces: Pieces, index: int) -> bool:
    word = pieces[index].word
    before = pieces[index - 1].word if index else ""
    if word == "FROM":
        return before != "DISTINCT"  # IS DISTINCT FROM is an operator
    return word in CLAUSES and not (word == "JOIN" and before in _JOIN_WORDS)


def _clause(pieces: Pieces) -> list[Doc]:
    head, rest = pieces[0], pieces[1:]
    form = CLAUSES.get(head.word)
    if head.word == "CREATE" and rest and rest[0].word in _DECLARED:
        return _declaration(pieces)
    if form == "join":
        return _join(pieces)
    if form is None or form == "flow" or not rest:
        return _sequence(pieces, hang=True)
    if form == "condition":
        return [*_one(head), Text(" "), Indent(tuple(_sequence(rest, hang=False)))]
    heads = 2 if rest[0].word in ("DISTINCT", "ALL") else 1
    return [*_flow(pieces[:heads]), Indent((Line(), *_list(pieces[heads:])))]


def _declaration(pieces: Pieces) -> list[Doc]:
    """CREATE SOURCE or TABLE: where the whole does not fit on a line, each column has one of its own."""
    docs: list[Doc] = []
    options = False
    for part in _parts(pieces):
        first = part[0]
        docs += _space(first, bool(docs))
        options = options or first.word == "WITH"
        if len(part) == 1:
            docs += _one(first)
        elif options:
            docs.append(_bracket(part))
        else:
            docs += _in_bracket(part)
    return docs


def _join(pieces: Pieces) -> list[Doc]:
    docs: list[Doc] = []
    for part in _split(pieces, lambda found, index: found[index].word == "ON"):
        if not docs:
            docs = _flow(part)
        else:
            docs.append(Indent((Line(), *_one(part[0]), Text(" "), Indent(tuple(_sequence(part[1:], hang=False))))))
    return docs


def _list(pieces: Pieces, *, hang: bool = True) -> list[Doc]:
    """Items with commas between them, each on a line of its own where the whole does not fit."""
    items: list[list[Piece]] = [[]]
    commas: list[Piece] = []
    for part in _parts(pieces):
        if part[0].mark == ",":
            commas.append(part[0])
            items.append([])
        else:
            items[-1] += part
    hang = hang or len(items) > 1
    docs: list[Doc] = []
    for item, comma in zip_longest(items, commas):
        docs.append(Group(tuple(_sequence(item, hang=hang))))
        if comma is not None:
            docs += [*_one(comma), Line()]
    return docs


def _sequence(pieces: Pieces, *, hang: bool) -> list[Doc]:
    """An expression, or anything else without commas of its own: broken before its OR, else before its AND.

    ``hang``: what follows the first line stands further right, as it would otherwise look like another item.
    """
    for word in ("OR", "AND"):
        first, *others = _split(pieces, _connective(word)) if pieces else [pieces]
        if others:
            docs = [doc for other in others for doc in (Line(), _operand(other, word))]
            return [_operand(first, word), *([Indent(tuple(docs))] if hang else docs)]
    return _flow(pieces)


def _operand(pieces: Pieces, word: str) -> Doc:
    """What stands between two ORs, or between two ANDs."""
    return Group(tuple(_sequence(pieces, hang=True) if word == "OR" else _flow(pieces)))


def _connective(word: str) -> Callable[[Pieces, int], bool]:
    def found(pieces: Pieces, index: int) -> bool:
        return index > 0 and pieces[index].word == word and not (word == "AND" and _bounds(pieces, index))

    return found


def _bounds(pieces: Pieces, index: int) -> bool:
    """Is the AND at ``index`` that of a BETWEEN?"""
    open_betweens = 0
    depth = 0
    for piece in pieces[:index]:
        depth += _depth(piece)
        if depth == 0 and piece.word == "BETWEEN":
            open_betweens += 1
        elif depth == 0 and piece.word == "AND" and open_betweens:
            open_betweens -= 1
    return open_betweens > 0


def _depth(piece: Piece) -> int:
    """+1 for what opens a bracket or a CASE, -1 for what closes one."""
    if piece.mark in _OPENING or piece.word == "CASE":
        return 1
    return -1 if piece.mark in _CLOSING or piece.word == "END" else 0


def _split(pieces: Pieces, begins: Callable[[Pieces, int], bool]) -> Iterator[Pieces]:
    """The runs of pieces that begin where ``begins`` says so, outside of brackets and CASEs."""
    start = depth = 0
    for index, piece in enumerate(pieces):
        if depth == 0 and index > start and begins(pieces, index):
            yield pieces[start:index]
            start = index
        depth += _depth(piece)
    if start < len(pieces):
        yield pieces[start:]


def _parts(pieces: Pieces) -> Iterator[list[Piece]]:
    """Single pieces, and whole brackets and CASEs."""
    part: list[Piece] = []
    depth = 0
    for piece in pieces:
        part.append(piece)
        depth += _depth(piece)
        if depth <= 0:
            yield part
            part, depth = [], 0
    if part:
        yield part


def _flow(pieces: Pieces) -> list[Doc]:
    """Pieces one after the other, with their brackets and CASEs as groups."""
    docs: list[Doc] = []
    for part in _parts(pieces):
        first = part[0]
        docs += _space(first, bool(docs))
        if len(part) == 1:
            docs += _one(first)
        elif first.mark:
            docs.append(_bracket(part))
        else:
            docs.append(_case(part))
    return docs


def _space(piece: Piece, within: bool) -> list[Doc]:
    return [Text(" ")] if within and piece.space else []


def _bracket(part: Pieces) -> Doc:
    return Group(tuple(_in_bracket(part)))


def _in_bracket(part: Pieces) -> list[Doc]:
    """A bracket with what is in it, whose lines end as those around it do."""
    opening, inner, closing = part[0], part[1:-1], part[-1]
    if not inner:
        return [*_one(opening), *_one(closing)]
    if inner[0].word in ("SELECT", "FOREACH"):
        content: list[Doc] = _clauses(inner)
        content.append(Break())
    elif inner[0].word in _PARTS:
        content = _of_call(inner)
    else:
        content = _list(inner, hang=False)
    return [*_one(opening), Indent((Line(""), *content)), Line(""), *_one(closing)]


def _of_call(pieces: Pieces) -> list[Doc]:
    """What stands in the parentheses of OVER and FILTER."""
    docs: list[Doc] = []
    for part in _split(pieces, lambda found, index: found[index].word in _PARTS):
        head, rest = part[0], part[1:]
        content = _list(rest) if head.word == "PARTITION BY" else _sequence(rest, hang=False)
        docs += [Line()] if docs else []
        docs.append(Group((*_one(head), Text(" "), Indent(tuple(content)))))
    return docs


def _case(part: Pieces) -> Doc:
    case, inner, end = part[0], part[1:-1], part[-1]
    branches = list(_split(inner, lambda pieces, index: pieces[index].word in ("WHEN", "ELSE")))
    docs: list[Doc] = _one(case)
    if branches and branches[0][0].word != "WHEN":
        docs += [Text(" "), *_sequence(branches.pop(0), hang=False)]
    for branch in branches:
        parts = list(_split(branch, lambda pieces, index: pieces[index].word == "THEN"))
        first, *others = (_branch(one) for one in parts)
        doc: Doc = Group((first, Indent(tuple(doc for other in others for doc in (Line(), other)))))
        docs.append(Indent((Line(), doc)))
    return Group((*docs, Line(), *_one(end)))


def _branch(pieces: Pieces) -> Doc:
    """WHEN, THEN or ELSE with its expression."""
    return Group((*_one(pieces[0]), Text(" "), Indent(tuple(_sequence(pieces[1:], hang=False)))))


def _one(piece: Piece) -> list[Doc]:
    """One piece with its comments."""
    docs: list[Doc] = []
    for comment in piece.above:
        docs += [Break(), Text(comment.text), Break()]
    docs.append(Text(inline(piece)))
    docs += [Remark(comment.text) for comment in piece.behind]
    return docs
