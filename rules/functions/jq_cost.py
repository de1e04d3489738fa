"""What a jq program may do at most, told from its tokens: so that only harmless ones run within the service.

A program is *finite* where it consists of paths, operators and built-ins whose work and output are bounded by their
input: no definitions, loops, assignments, regular expressions or anything that reaches the process. How its work grows
with the length of the input is over-estimated. Whatever is not known here is not finite.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from rules.functions.base import Refusal

MAX_WORK: Final = 1 << 20
"""Steps that may be taken within the service: some tenths of a second at the very most."""

_TOKEN: Final = re.compile(
    r"[ \t\r\n]+|(?P<comment>\#[^\n]*)"
    r"|(?P<format>@[A-Za-z0-9_]+)"
    r"|(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<field>\.[A-Za-z_]\w*)"
    r"|(?P<variable>\$\s*[A-Za-z_]\w*)"
    r"|(?P<name>[A-Za-z_]\w*(?:::\w+)*)"
    r"|(?P<operator>\?//|//=|//|\|=|\+=|-=|\*=|/=|%=|==|!=|<=|>=|\.\.|[\[\](){}.:,;|+\-*/%<>=?])"
    r"|(?P<quote>\")",
    re.ASCII,
)
_STRING: Final = re.compile(r"[^\"\\]*(?:\\[^(][^\"\\]*)*", re.DOTALL)

_REFUSED: Final = frozenset({"import", "include", "modulemeta", "get_search_list", "input_filename"})


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_KEYWORDS: Final = _words("and as catch elif else end if or then try")
_PLAIN: Final = _words(
    "abs arrays ascii_downcase ascii_upcase booleans ceil empty endswith error exp exp10 exp2 explode fabs false "
    "first floor fromjson has in infinite isinfinite isnan isnormal iterables last length log log10 log2 ltrim "
    "ltrimstr max min nan not now null nulls numbers objects pow round rtrim rtrimstr scalars select sqrt "
    "startswith strings tonumber trim trimstr true trunc type utf8bytelength values"
)
_VISITING: Final = _words(
    "add all any contains del flatten from_entries getpath group_by index indices inside isempty join keys "
    "keys_unsorted leaf_paths limit map map_values max_by min_by nth path paths reverse rindex sort sort_by split "
    "to_entries unique unique_by walk with_entries"
)
_GENERATORS: Final = _words("leaf_paths limit path paths")
_GROWING: Final = _words("tojson tostring")
_FORMATS: Final = _words("@base64 @csv @html @json @sh @text @tsv @uri")
_OPERATORS: Final = _words("[ ] ( ) { } . .. : , ; | + - * / % == != < <= > >= // ?")
_FORMAT_GROWTH: Final = 8
_MAX_DEPTH: Final = 64
_CLOSING: Final = {"(": ")", "[": "]", "{": "}"}


class Cost(NamedTuple):
    """Work for an input of some length: ``factor`` times ``(growth * length) ** visits``."""

    factor: int
    growth: int
    visits: int

    def fits(self, length: int) -> bool:
        work: int = self.factor * (self.growth * length) ** max(self.visits, 1)
        return work <= MAX_WORK


class _Unbounded(Exception):
    """The program is not finite as far as is known here; no error, it runs elsewhere."""


class _Amount(NamedTuple):
    """``factor * n ** degree``, where n is the largest number of elements there may be."""

    factor: int = 1
    degree: int = 0

    def times(self, other: _Amount) -> _Amount:
        return _Amount(self.factor * other.factor, self.degree + other.degree)

    def plus(self, other: _Amount) -> _Amount:
        return _Amount(self.factor + other.factor, max(self.degree, other.degree))


_ONE: Final = _Amount()
_N: Final = _Amount(1, 1)
_Token = tuple[str, str]
_END: Final[_Token] = ("", "")


def cost(program: str) -> Cost | None:
    """What a program costs, None where it is not finite; Refusal for one that would read files."""
    tokens = list(_tokens(program))
    for index, (kind, text) in enumerate(tokens):
        if kind == "name" and text.rpartition("::")[2] in _REFUSED and not _is_key(tokens, index):
            raise Refusal(f"a jq program must not use {text}: it reaches for files", "jq_exception")
    try:
        return _Estimate(tokens).whole()
    except _Unbounded:
        return None


def _is_key(tokens: list[_Token], index: int) -> bool:
    """Is a name the key of an object, not a call?"""
    before = tokens[index - 1] if index else _END
    after = tokens[index + 1] if index + 1 < len(tokens) else _END
    return after[1] == ":" or (before[1] in ("{", ",") and after[1] in ("}", ","))


class _Estimate:
    """Reads a program's tokens once. Within a segment (what stands between two pipes) everything is taken for a
    generator of the others' operands; from one segment to the next outputs multiply and work adds."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._growth = 1

    def whole(self) -> Cost:
        _, work = self._block("", 0)
        if self._at < len(self._tokens):
            raise _Unbounded  # a bracket too many, which jq will tell
        return Cost(work.factor, self._growth, work.degree)

    def _peek(self) -> _Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else _END

    def _block(self, opener: str, depth: int) -> tuple[_Amount, _Amount]:
        """Outputs and work of what stands between brackets, the right one included."""
        if depth > _MAX_DEPTH:
            raise _Unbounded
        outputs, work = _ONE, _ONE
        segment = _Segment()
        while self._at < len(self._tokens):
            index = self._at
            self._at += 1
            kind, text = self._tokens[index]
            if kind == "operator" and text in ")]}":
                if text != _CLOSING.get(opener):
                    raise _Unbounded
                break
            if kind == "operator" and text in "|;":
                outputs, work = self._settle(segment, outputs, work)
                segment = _Segment()
            else:
                self._token(index, segment, opener, depth)
        else:
            if opener:
                raise _Unbounded
        return self._settle(segment, outputs, work)

    def _settle(self, segment: _Segment, outputs: _Amount, work: _Amount) -> tuple[_Amount, _Amount]:
        self._growth *= segment.terms
        own = segment.outputs.times(_Amount(segment.commas + 1))
        return outputs.times(own), work.plus(outputs.times(own).times(segment.work))

    def _token(self, index: int, segment: _Segment, opener: str, depth: int) -> None:
        kind, text = self._tokens[index]
        segment.work = segment.work.plus(_ONE)
        if kind == "operator":
            self._operator(index, segment, opener, depth)
        elif kind == "name":
            if not _is_key(self._tokens, index):
                self._call(text, segment, depth)
        elif kind == "interpolation":
            segment.terms += 1
            segment.add(*self._block("(", depth + 1))
        elif kind == "format":
            if text not in _FORMATS:
                raise _Unbounded
            self._growth *= _FORMAT_GROWTH
        elif kind == "unknown" or (kind == "variable" and text[1:].strip() in ("ENV", "__prog_args")):
            raise _Unbounded

    def _operator(self, index: int, segment: _Segment, opener: str, depth: int) -> None:
        text = self._tokens[index][1]
        if text not in _OPERATORS:
            raise _Unbounded
        if text == "*":
            self._growth *= _times(self._tokens[index - 1] if index else _END, self._peek())
        elif text == ".." or (text == "[" and self._peek() == ("operator", "]")):
            self._at += text == "["
            segment.outputs = segment.outputs.times(_N)
        elif text in ("(", "{", "["):
            found, work = self._block(text, depth + 1)
            if text == "[":
                found = self._collected(found)
            segment.add(found, work)
        elif text == "," and opener != "{":
            segment.commas += 1
        elif text in "+-":
            segment.terms += 1

    def _collected(self, outputs: _Amount) -> _Amount:
        """Outputs in an array are one; there may be more of them than n."""
        if outputs.degree > 1:
            return outputs
        self._growth *= outputs.factor
        return _ONE

    def _call(self, name: str, segment: _Segment, depth: int) -> None:
        if name in _VISITING:
            work = _N
            if self._peek() == ("operator", "("):
                self._at += 1
                outputs, inner = self._block("(", depth + 1)
                segment.outputs = segment.outputs.times(self._collected(outputs.times(_N)))
                work = _N.times(inner.plus(_ONE))
            if name in _GENERATORS:
                segment.outputs = segment.outputs.times(_N)
            segment.work = segment.work.plus(work)
        elif name in _GROWING:
            self._growth *= 2
        elif name not in _PLAIN and name not in _KEYWORDS:
            raise _Unbounded


@dataclass(slots=True)
class _Segment:
    outputs: _Amount = _ONE
    work: _Amount = _ONE
    commas: int = 0
    terms: int = 1

    def add(self, outputs: _Amount, work: _Amount) -> None:
        self.outputs = self.outputs.times(outputs)
        self.work = self.work.plus(work)


def _times(before: _Token, after: _Token) -> int:
    """By how much ``*`` may lengthen a text: it repeats it. Only a number in the program says how often."""
    for kind, text in (before, after):
        if kind == "number" and float(text) <= 1_000:
            return int(float(text)) + 1
    raise _Unbounded


def _tokens(program: str) -> Iterator[tuple[str, str]]:
    """Kinds and texts; a text's own characters are left out, what it interpolates is not."""
    at = 0
    # Depths of round brackets within interpolations, innermost last.
    interpolations: list[int] = []
    depth = 0
    while at < len(program):
        found = _TOKEN.match(program, at)
        if found is None:
            yield "unknown", program[at]
            at += 1
            continue
        at = found.end()
        kind, text = found.lastgroup or "", found.group()
        if kind == "comment" and text.endswith("\\"):
            raise Refusal("a comment in a jq program must not end with a backslash", "jq_exception")
        if kind == "operator":
            depth += (text == "(") - (text == ")")
        closes = interpolations and text == ")" and depth == interpolations[-1]
        if kind not in ("", "comment", "quote"):
            yield kind, text
        if kind == "quote" or closes:
            if closes:
                interpolations.pop()
            end = _STRING.match(program, at)
            at = end.end() if end is not None else at
            if program.startswith("\\(", at):
                yield "interpolation", "\\("
                interpolations.append(depth)
                depth += 1
                at += 2
            else:
                if not program.startswith('"', at):
                    raise Refusal("a text in the jq program does not end", "jq_exception")
                yield "string", ""
                at += 1
