"""What became of the tests, for a person at a terminal. Pure: text in, text out; colours are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.ruletests.outcome import Outcome

_COLOURS: Final = {"-": "\x1b[31m", "+": "\x1b[32m", " ": "", "ok": "\x1b[32m", "FAIL": "\x1b[1;31m"}
_PLAIN: Final = "\x1b[0m"


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """A test file that ran, or one with ``errors`` that could not."""

    path: str
    errors: tuple[str, ...]
    outcomes: tuple[Outcome, ...]


class Report:
    """Writes lines, with ``colours`` or without."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def file(self, file: FileOutcome) -> Iterator[str]:
        """One line per test; below a failed one, what is wrong."""
        if file.errors:
            yield f"{self._paint('FAIL', 'FAIL')}  {file.path}: cannot be run"
        for error in file.errors:
            yield from _indented(error)
        for outcome in file.outcomes:
            word = "FAIL" if outcome.problems else "ok"
            yield f"{self._paint(word.ljust(4), word)}  {file.path}:{outcome.line}: {outcome.name}"
            for problem in outcome.problems:
                yield f"      {file.path}:{problem.line}: {problem.title}"
                for mark, text in problem.lines:
                    first, *rest = text.splitlines() or [""]
                    yield "        " + self._paint(f"{mark} {first}".rstrip(), mark)
                    yield from ("          " + self._paint(line, mark) for line in rest)

    def summary(self, files: Sequence[FileOutcome]) -> str:
        """The last line."""
        outcomes = [outcome for file in files for outcome in file.outcomes]
        failed = sum(bool(outcome.problems) for outcome in outcomes)
        broken = sum(bool(file.errors) for file in files)
        parts = [f"{len(outcomes) - failed} passed"]
        if failed:
            parts.append(f"{failed} failed")
        if broken:
            parts.append(f"{broken} file{'' if broken == 1 else 's'} could not be run")
        legend = "  (- expected, + got)" if failed else ""
        return self._paint(", ".join(parts), "FAIL" if failed or broken else "ok") + legend

    def _paint(self, text: str, colour: str) -> str:
        return f"{code}{text}{_PLAIN}" if self._colours and (code := _COLOURS[colour]) else text


def _indented(text: str) -> Iterator[str]:
    yield from (f"      {line}".rstrip() for line in text.splitlines())
