"""A layout: texts, places where a line may end, groups that stand on one line where they fit; and its printing.

A :class:`Group` is printed flat, its :class:`Line` as blanks, or broken, each of its own lines ended; which of the two
is decided from the outside in. A :class:`Remark` goes to the end of the line that it stands in, whatever comes next
goes to a new one. Nothing here knows SQL.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

INDENT: Final = 2


@dataclass(frozen=True, slots=True)
class Text:
    """Characters as they are; they may have line ends of their own."""

    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """Where a line may end; ``flat`` stands there where it does not."""

    flat: str = " "


@dataclass(frozen=True, slots=True)
class Break:
    """Where a line ends, unless it has just begun."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A text at the end of a line; nothing may follow it there."""

    text: str


@dataclass(frozen=True, slots=True)
class Indent:
    """Lines that begin in here begin further right."""

    items: tuple[Doc, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """On one line, or with an end of line at each of its places for one."""

    items: tuple[Doc, ...]
    broken: bool = field(init=False)
    """It holds something that makes it impossible to stand on one line."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "broken", _must_break(self.items))


Doc = Text | Line | Break | Remark | Indent | Group


def _leaves(items: Sequence[Doc]) -> Iterator[Text | Line | Break | Remark]:
    for item in items:
        if isinstance(item, Indent | Group):
            yield from _leaves(item.items)
        else:
            yield item


def _must_break(items: Sequence[Doc]) -> bool:
    remarked = False
    for leaf in _leaves(items):
        if isinstance(leaf, Break) or (remarked and isinstance(leaf, Text)):
            return True
        remarked = remarked or isinstance(leaf, Remark)
    return False


@dataclass(frozen=True, slots=True)
class _Job:
    """A part that is still to be printed."""

    doc: Doc
    indent: int
    flat: bool


class _Printer:
    def __init__(self, width: int) -> None:
        self._width = width
        self._lines: list[str] = []
        self._line = ""
        self._remarked = False
        self._fresh = True  # nothing but the indentation is in the line

    def print(self, items: Sequence[Doc]) -> str:
        jobs = [_Job(item, 0, flat=False) for item in reversed(items)]
        while jobs:
            job = jobs.pop()
            doc = job.doc
            if isinstance(doc, Text):
                self._text(doc.text, job.indent)
            elif isinstance(doc, Remark):
                self._remark(doc.text, job.indent)
            elif isinstance(doc, Break):
                self._end(job.indent)
            elif isinstance(doc, Line):
                if job.flat:
                    self._line += doc.flat
                else:
                    self._end(job.indent)
            else:
                indent = job.indent + INDENT if isinstance(doc, Indent) else job.indent
                flat = job.flat
                if isinstance(doc, Group) and not flat:
                    flat = not doc.broken and self._fits(_Job(doc, indent, flat=True), jobs)
                jobs.extend(_Job(item, indent, flat) for item in reversed(doc.items))
        self._finish()
        return "".join(f"{line}\n" for line in self._lines)

    def _text(self, text: str, indent: int) -> None:
        if self._remarked:
            self._end(indent)
        if self._fresh:
            text = text.lstrip(" ")
        self._line += text
        self._fresh = self._fresh and not text

    def _remark(self, text: str, indent: int) -> None:
        if self._remarked:
            self._end(indent)
        self._line = self._line + text if self._fresh else f"{self._line.rstrip()} {text}"
        self._fresh = False
        self._remarked = True

    def _end(self, indent: int) -> None:
        if not self._fresh:
            self._finish()
        self._line = " " * indent
        self._fresh = True
        self._remarked = False

    def _finish(self) -> None:
        if self._line.strip():
            self._lines.append(self._line.rstrip())
        self._line = ""

    def _fits(self, job: _Job, rest: Sequence[_Job]) -> bool:
        """Does the line up to its next possible end fit, with this job flat?"""
        room = self._width - (len(self._line) - self._line.rfind("\n") - 1)
        jobs = [job]
        behind = len(rest)
        while room >= 0:
            if not jobs:
                if not behind:
                    return True
                behind -= 1
                jobs.append(rest[behind])
            one = jobs.pop()
            doc = one.doc
            if isinstance(doc, Text):
                first, newline, _ = doc.text.partition("\n")
                room -= len(first)
                if newline:
                    return room >= 0
            elif isinstance(doc, Line):
                if not one.flat:
                    return True
                room -= len(doc.flat)
            elif isinstance(doc, Break):
                return True
            elif isinstance(doc, Indent | Group):
                jobs.extend(_Job(item, one.indent, one.flat) for item in reversed(doc.items))
        return False


def render(items: Sequence[Doc], width: int) -> str:
    """The lines of a layout, each with its end; blank ones are left out."""
    return _Printer(width).print(items)
