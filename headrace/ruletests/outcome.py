"""One test judged: what came of it beside what was expected, as problems with their places. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headrace.ruletests.bench import Failure, Result, StepError, run
from headrace.ruletests.files import TestFile
from headrace.ruletests.rows import MAX_SHOWN, Difference, Line, compare, unexpected
from headrace.ruletests.settings import ExpectedError, RuleTest
from headrace.ruletests.steady import Steady


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as expected; ``line`` is where the test file says what is."""

    title: str
    line: int
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A test that ran; it has passed where there are no problems. ``seconds`` is what it took."""

    name: str
    line: int
    problems: tuple[Problem, ...]
    seconds: float = 0.0


def judge(file: TestFile, index: int, test: RuleTest, steady: Steady, timer: Callable[[], float]) -> Outcome:
    """Run test number ``index`` of a file."""
    started = timer()
    try:
        result = run(test, file.rules, steady, file.tables)
    except StepError as error:
        problems = [Problem(str(error), file.line("test", index, "given", error.step, "at"))]
    else:
        problems = [*_errors(file, index, test, result), *_rows(file, index, test, result)]
        if problems:
            problems += _hints(file, index, test, result)
    return Outcome(test.name, file.line("test", index, "name"), tuple(problems), timer() - started)


def _rows(file: TestFile, index: int, test: RuleTest, result: Result) -> list[Problem]:
    problems: list[Problem] = []
    for place, expect in enumerate(test.expect):
        differences = compare(expect, result.rows.get(expect.sink, []))
        for difference in differences[:MAX_SHOWN]:
            path: tuple[str | int, ...] = ("test", index, "expect", place)
            if difference.row is not None:
                path = (*path, "rows", difference.row)
            problems.append(_problem(expect.sink, difference, file.line(*path)))
        if len(differences) > MAX_SHOWN:
            more = len(differences) - MAX_SHOWN
            problems.append(
                Problem(f"sink {expect.sink}: {more} rows more differ", file.line("test", index, "expect", place))
            )
    if test.others == "nothing":
        named = {expect.sink for expect in test.expect}
        line = file.line("test", index, "name")
        for sink, rows in result.rows.items():
            if sink not in named:
                problems.append(_problem(sink, unexpected(rows), line))
    return problems


def _problem(sink: str, difference: Difference, line: int) -> Problem:
    return Problem(f"sink {sink}: {difference.title}", line, difference.lines)


def _errors(file: TestFile, index: int, test: RuleTest, result: Result) -> list[Problem]:
    """Failures that nobody expected, and expected ones that did not happen. Each failure counts once."""
    left = list(result.failures)
    problems: list[Problem] = []
    for place, expected in enumerate(test.error):
        fitting = [failure for failure in left if _fits(expected, failure)][: expected.count]
        for failure in fitting:
            left.remove(failure)
        if len(fitting) < expected.count:
            title = "an expected error did not happen"
            if expected.count > 1:
                title = f"an error that is expected {expected.count} times happened {_times(len(fitting))}"
            problems.append(Problem(title, file.line("test", index, "error", place), (Line("-", _wanted(expected)),)))
    places = {query.name: f"{query.path}:{query.line}" for query in file.rules.queries}
    for failure in left[:MAX_SHOWN]:
        line = file.line("test", index, "name")
        if failure.step is not None:
            line = file.line("test", index, "given", failure.step)
        told = (
            Line("+", f"{failure.stage}, {failure.code}"),
            Line("+", failure.text),
            Line(" ", f"rule {failure.rule} ({places.get(failure.rule, '')}), topic {failure.topic}"),
        )
        problems.append(Problem(f"rule {failure.rule} fails, which is not expected", line, told))
    if len(left) > MAX_SHOWN:
        problems.append(Problem(f"{len(left) - MAX_SHOWN} more failures", file.line("test", index, "name")))
    return problems


def _fits(expected: ExpectedError, failure: Failure) -> bool:
    return (
        expected.rule in (None, failure.rule)
        and expected.stage in (None, failure.stage)
        and expected.code in (None, failure.code)
        and (expected.text is None or expected.text in failure.text)
    )


def _wanted(expected: ExpectedError) -> str:
    keys = {"rule": expected.rule, "stage": expected.stage, "code": expected.code, "text": expected.text}
    return ", ".join(f"{key} {value!r}" for key, value in keys.items() if value is not None) or "any"


def _times(count: int) -> str:
    return {0: "not at all", 1: "once"}.get(count, f"{count} times")


def _hints(file: TestFile, index: int, test: RuleTest, result: Result) -> list[Problem]:
    """What may explain a failure and is none itself: no test has to expect it."""
    found = [
        (step, f"no rule reads {test.given[step].topic or test.given[step].event!r}")
        for step in result.unread[:MAX_SHOWN]
    ]
    return [
        Problem(title, file.line("test", index, *(() if step is None else ("given", step))))
        for step, title in [*result.disabled, *found]
    ]
