"""What is wrong with a rule file, said so that it can be mended: code, place, caret, label, help.

A :class:`Diagnostic` is plain data and renders itself; :class:`Source` turns character offsets into lines and columns;
:class:`Problems` collects, so that one run reports every error of every file. Which things are errors is decided by
the passes; every code they may use stands in :data:`CODES`.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from core.registry import did_you_mean

Stage = Literal["parse", "bind"]

CODES: Final = MappingProxyType(
    {
        "syntax": "the text does not follow the grammar",
        "too-complex": "a statement is nested too deeply or too long",
        "unsupported": "the grammar knows this construct, but rules do not have it",
        "unknown-option": "WITH (...) has an option that does not exist or a value of the wrong kind",
        "no-target": "a SELECT in a rule file has no INSERT INTO",
        "unknown-target": "INSERT INTO names a sink that is not configured",
        "duplicate-target": "INSERT INTO names a sink twice",
        "unknown-function": "no function has this name",
        "wrong-arity": "a function is called with too few or too many arguments",
        "unknown-column": "the source has no column of this name",
        "mixed-sources": "FROM has a source of the system beside others",
        "unknown-source": "FROM names a source of the system that there is not",
        "bad-topic-filter": "FROM has something that is no valid topic filter",
        "bad-path": "an index or a range cannot be used like this",
        "duplicate-rule": "two rules have the same name",
        "not-boolean": "a condition is certain not to be true or false",
        "wrong-type": "an operator gets a value that it is certain to refuse",
        "bad-literal": "a literal's text is none of what it must be: a time, interval, zone, field, pattern, program",
    }
)
"""Every diagnostic code with its meaning; the codes are stable, messages are not."""

_PARSE_CODES: Final = frozenset({"syntax", "too-complex"})


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

    def render(self) -> str:
        """The diagnostic with its line and a caret under the culprit, without colours, no newline at the end."""
        number = str(self.line)
        gutter = " " * len(number)
        before = "".join(_blank(character) for character in self.text[: self.column - 1])
        culprit = self.text[self.column - 1 : self.end_column - 1]
        carets = "^" * max(1, sum(len(_blank(character)) for character in culprit))
        lines = [
            f"error[{self.code}]: {self.message}",
            f"{gutter}--> {self.file}:{self.line}:{self.column}",
            f"{gutter} |",
            f"{number} | {self.text}",
            f"{gutter} | {before}{carets} {self.label}".rstrip(),
        ]
        if self.hint:
            lines.append(f"{gutter} = help: {self.hint}")
        return "\n".join(lines)


def _blank(character: str) -> str:
    """As much blank space as ``character`` takes in a terminal."""
    if character == "\t":
        return "\t"
    if unicodedata.combining(character):
        return ""
    return "  " if unicodedata.east_asian_width(character) in "WF" else " "


@dataclass(slots=True)
class Problems:
    """The diagnostics found in one source so far, in the order of their discovery."""

    source: Source
    found: list[Diagnostic] = field(default_factory=list)

    def add(self, code: str, message: str, span: Span, *, label: str = "", hint: str | None = None) -> None:
        """Record one error; the same error at the same place counts once."""
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
