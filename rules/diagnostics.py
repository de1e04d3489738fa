"""What is wrong with a rule file, said so that it can be mended: code, place, caret, label, help.

A :class:`Diagnostic` is plain data and renders itself; :class:`Source` turns character offsets into lines and columns;
:class:`Problems` collects, so that one run reports every error of every file. Which things are errors is decided by
the passes; every code they may use stands in ``codes``.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from core.registry import did_you_mean
from rules.codes import CODES, PAGE

Stage = Literal["parse", "bind"]

_PARSE_CODES: Final = frozenset({"syntax", "too-complex"})
_WIDTH: Final = 160
"""A line of a rule file is shown whole up to this many characters; of a longer one the part around the culprit."""
_MARGIN: Final = 60
_CUT: Final = "..."
_UNSHOWN: Final = re.compile("[\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]").match
"""Control characters, line ends, changes of direction, halves of characters."""


class Span(NamedTuple):
    """A half-open range of character offsets in a source text."""

    start: int
    end: int

    def to(self, other: Span) -> Span:
        """The range from the start of the earlier to the end of the later one."""
        return Span(min(self.start, other.start), max(self.end, other.end))


NOWHERE: Final = Span(0, 0)


class Source:
    """A text with a name, and where its lines begin."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self._starts = [0]
        for index, character in enumerate(text):
            if character == "\n":
                self._starts.append(index + 1)

    def position(self, offset: int) -> tuple[int, int]:
        """The 1-based line and column (in characters) of an offset."""
        line = bisect_right(self._starts, min(offset, len(self.text)))
        return line, min(offset, len(self.text)) - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a 1-based line, without its end."""
        end = self._starts[number] if number < len(self._starts) else len(self.text)
        return self.text[self._starts[number - 1] : end].rstrip("\r\n")


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One error. Lines and columns are 1-based; ``end_column`` is exclusive and on the same line."""

    code: str
    message: str
    file: str
    line: int
    column: int
    end_column: int
    text: str
    label: str = ""
    hint: str = ""

    @property
    def stage(self) -> Stage:
        return "parse" if self.code in _PARSE_CODES else "bind"

    def __str__(self) -> str:
        return self.render()

    def render(self, *, docs: bool = True) -> str:
        """The diagnostic with its line and a caret under the culprit, without colours, no newline at the end.

        ``docs``: the last line says where its code is explained.
        """
        number = str(self.line)
        gutter = " " * len(number)
        text, first, end = _excerpt(self.text, self.column - 1, self.end_column - 1)
        text = "".join(map(_visible, text))
        before = "".join(_blank(character) for character in text[:first])
        carets = "^" * max(1, sum(len(_blank(character)) for character in text[first:end]))
        lines = [
            f"error[{self.code}]: {self.message}",
            f"{gutter}--> {self.file}:{self.line}:{self.column}",
            f"{gutter} |",
            f"{number} | {text}".rstrip(),
            f"{gutter} | {before}{carets} {self.label}".rstrip(),
        ]
        if self.hint:
            lines.append(f"{gutter} = help: {self.hint}")
        if docs:
            lines.append(f"{gutter} = docs: {PAGE}#{self.code}")
        return "\n".join(lines)


def _excerpt(text: str, first: int, end: int) -> tuple[str, int, int]:
    """What is shown of a line, and where the culprit is in it."""
    if len(text) <= _WIDTH:
        return text, first, end
    start = max(0, min(first - _MARGIN, len(text) - _WIDTH))
    stop = start + _WIDTH
    head, tail = _CUT if start else "", _CUT if stop < len(text) else ""
    moved = len(head) - start
    return head + text[start:stop] + tail, first + moved, min(end, stop) + moved


def _visible(character: str) -> str:
    """The character itself, or one that stands for it where a terminal would obey it, or could not write it."""
    code = ord(character)
    if code < 32 and character != "\t":
        return chr(0x2400 + code)
    return "\ufffd" if _UNSHOWN(character) else character


def _blank(character: str) -> str:
    """As much blank space as ``character`` takes in a terminal."""
    if character == "\t":
        return "\t"
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return ""
    return "  " if unicodedata.east_asian_width(character) in "WF" else " "


@dataclass(slots=True)
class Problems:
    """The diagnostics found in one source so far, in the order of their discovery."""

    source: Source
    found: list[Diagnostic] = field(default_factory=list)

    def add(self, code: str, message: str, span: Span, *, label: str = "", hint: str | None = None) -> None:
        """Record one error; the same error at the same place counts once."""
        if code not in CODES:
            raise KeyError(f"a diagnostic without a description: {code}")
        line, column = self.source.position(span.start)
        text = self.source.line(line)
        column = min(column, len(text) + 1)
        end = min(len(text) + 1, column + max(1, span.end - span.start))
        diagnostic = Diagnostic(
            code, message, self.source.path, line, column, max(end, column + 1), text, label, hint or ""
        )
        if diagnostic not in self.found:
            self.found.append(diagnostic)


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """``did you mean 'x'?`` for the nearest name, or for the same name in another case."""
    names = list(known)
    folded = [candidate for candidate in names if candidate.casefold() == name.casefold()]
    return f"did you mean {folded[0]!r}?" if folded else did_you_mean(name, names)
