"""Timelines drawn in ASCII, as in docs/concepts/windows.md: what they say is run against the operators.

A column is a second. ``arrive`` has rows where they come, ``time`` (if there is one) where their event time is. Small
letters are one key, capitals another. Every ``window`` line draws the boundaries, names the rows within, and says when
it is emitted; ``late`` names rows that are in none. A sliding window is drawn ``(--]``, one of rows ``[--]``, one of a
single instant ``|``.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from core.message import Type
from rules.aggregates import AggregateCall
from rules.windows import (
    Count,
    Emit,
    EventTime,
    Hop,
    ProcessingTime,
    Session,
    Sliding,
    State,
    Tumble,
    Window,
    WindowPlan,
    build,
)

SECOND: Final = 1_000_000
BEGIN, EMIT = 3, 4
_BAR: Final = re.compile(r"[\[(]-*[)\]]|\|")


class Result(NamedTuple):
    start: int
    end: int
    rows: str
    at: str


class Timeline:
    def __init__(self, text: str) -> None:
        self.plan = ""
        self.arrivals: list[tuple[int, str]] = []
        self.times: dict[str, int] = {}
        self.windows: list[Result] = []
        self.late = ""
        self._zero = 0
        self.last = 0
        for line in text.splitlines():
            if line.strip():
                self._read(line)

    def _read(self, line: str) -> None:
        name = line.split(maxsplit=1)[0]
        if name == "plan":
            self.plan = line.removeprefix("plan").strip()
        elif name == "seconds":
            numbers = [(found.start(), int(found[0])) for found in re.finditer(r"-?\d+", line)]
            self._zero = numbers[0][0] - numbers[0][1]
            assert all(column - self._zero == number for column, number in numbers), f"the axis is not straight: {line}"
            self.last = len(line.rstrip()) - self._zero
        elif name == "arrive":
            self.arrivals = self._letters(line)
        elif name == "time":
            self.times = {letter: second for second, letter in self._letters(line)}
        elif name == "window":
            bar = _BAR.search(line)
            assert bar is not None, f"no window is drawn: {line}"
            found = re.fullmatch(r"\s*(\w+)\s+at (\w+)", line[bar.end() :].rstrip())
            assert found is not None, f"rows and time are missing: {line}"
            start, end = bar.start() - self._zero, bar.end() - 1 - self._zero
            self.windows.append(Result(start, end, found[1], found[2]))
        elif name == "late":
            self.late = "".join(line.split()[1:])
        else:
            raise AssertionError(f"unknown line: {line}")

    def _letters(self, line: str) -> list[tuple[int, str]]:
        body = line.split(maxsplit=1)[0]
        return [
            (column - self._zero, letter)
            for column, letter in enumerate(line)
            if column >= len(body) and not letter.isspace()
        ]

    def run(self) -> tuple[list[Result], str]:
        """What the operator gives, and the late rows."""
        operator = build(plan_of(self.plan))
        marks = dict(re.findall(r"(begin|emit|when)=(\w)", self.plan))
        found: list[Result] = []
        late = ""

        def tell(rows: list[tuple[Any, ...]], at: str) -> None:
            found.extend(
                Result(start // SECOND, end // SECOND, "".join(letters), at) for _, start, end, letters in rows
            )

        for second in range(max(self.last, *(place for place, _ in self.arrivals)) + 1):
            now = second * SECOND * 1_000
            rows = [
                (
                    self.times.get(letter, second) * SECOND,
                    "capitals" if letter.isupper() else "small",
                    letter,
                    letter.lower() in (marks.get("begin"), marks.get("when")),
                    letter.lower() == marks.get("emit"),
                )
                for place, letter in self.arrivals
                if place == second
            ]
            if rows:
                tell(operator.process(rows, now), str(second))
            while (due := operator.next_deadline) is not None and due <= now:
                tell(operator.advance(now), str(second))
            late += "".join(entry.row[2] for entry in operator.take_rejected() if entry.reason == "late")
        tell(operator.finish(0), "end")
        return found, late


def plan_of(text: str) -> WindowPlan:
    """``tumble 10, event time, delay 5``."""
    first, *options = (part.strip() for part in text.split(","))
    kind, *numbers = first.split()
    sizes = [int(number) * SECOND for number in numbers if number.isdigit()]
    counts = [int(number) for number in numbers if number.isdigit()]
    window: Window
    if kind == "tumble":
        window = Tumble(sizes[0])
    elif kind == "hop":
        window = Hop(*sizes)
    elif kind == "session":
        window = Session(*sizes)
    elif kind == "count":
        window = Count(*counts)
    elif kind == "sliding":
        window = Sliding(*sizes, when=BEGIN if "when=" in first else None)
    else:
        window = State(BEGIN, EMIT if "emit=" in first else None)
    values = {words[0]: words[-1] for words in (option.split() for option in options)}
    emit = Emit.ON_CHANGE if "emit on_change" in options else Emit.ON_CLOSE
    if "offset" in values and isinstance(window, Tumble):
        window = Tumble(window.size, int(values["offset"]) * SECOND)
    timing: EventTime | ProcessingTime = ProcessingTime()
    if "event time" in options:
        timing = EventTime(
            delay=int(values.get("delay", 0)) * SECOND,
            idle_timeout=int(values["idle"]) * SECOND if "idle" in values else None,
            allowed_lateness=int(values.get("lateness", 0)) * SECOND,
        )
    calls = (AggregateCall("array_agg", (2,)),)
    columns = (Type.TEXT, Type.BOOLEAN, Type.BOOLEAN)
    return WindowPlan(window, calls, columns, keys=1, timing=timing, emit=emit)
