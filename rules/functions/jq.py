"""jq programs. Harmless ones run here; what may take long runs in a process of its own (``Host.jq``), which can be
stopped.

Which is which, told from the program and the length of its input: ``jq_cost``. Compiled programs are kept in a bounded
cache. jq knows no other numbers than doubles.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any, Final

from core.message import Type
from formats.json import decode_document
from rules.functions.base import Anything, Category, Int, Refusal, Text, check_size, decode_text, shown
from rules.functions.host import Host
from rules.functions.jq_cost import cost
from rules.functions.limits import Rest
from rules.functions.values import json_text

NAME: Final = "jq"
ERROR: Final = "jq_exception"
MAX_PROGRAM: Final = 4_096
MAX_CACHED: Final = 128


class Program:
    """A program and what is known of it."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_PROGRAM:
            raise Refusal(f"the program has {len(text)} characters, the limit is {MAX_PROGRAM}", ERROR)
        if "\0" in text:
            raise Refusal("the program has a NUL", ERROR)
        self.text = text
        self.cost = cost(text)
        self.rest = Rest()

    def quick(self, length: int) -> bool:
        """Is it certain to be done soon with an input of this length?"""
        return self.cost is not None and self.cost.fits(length + len(self.text))

    @cached_property
    def compiled(self) -> Any:
        """To be asked for only if the program is quick."""
        import jq

        try:
            return jq.compile(self.text)
        except ValueError as error:
            raise Refusal(_plain(str(error)), ERROR) from None

    def run(self, document: str) -> list[Any]:
        """All outputs, computed here."""
        try:
            found: list[Any] = self.compiled.input_text(document).all()
        except ValueError as error:
            raise self.failure(str(error), document) from None
        check_size(len(found))
        return found

    def failure(self, message: str, document: str) -> Refusal:
        """An error with where it came from: the program and what it was given."""
        return Refusal(f"{_plain(message)}; program {_short(self.text)}, input {_short(document)}", ERROR)


def _plain(message: str) -> str:
    """jq's message without the drawing of the place that it names in the same line."""
    first, _, rest = message.strip().partition("\n")
    return (
        first.removeprefix("jq: ").removeprefix("error: ").rstrip(":") if "compile error" in rest else message.strip()
    )


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}..."


@lru_cache(maxsize=MAX_CACHED)
def _program(text: str) -> Program:
    return Program(text)


class _Runs:
    """The programs of one host."""

    def __init__(self, host: Host) -> None:
        self._runner = host.jq
        self.most = host.jq_timeout

    def outputs(self, text: str, value: Any, seconds: float) -> list[Any]:
        program = _program(text)
        if isinstance(value, bytes):
            value = decode_text(value)
        document = value if isinstance(value, str) else json_text(value)
        if not document or document.isspace():
            raise program.failure("there is no JSON", document)
        if program.quick(len(document)):
            return program.run(document)
        return self._elsewhere(program, document, min(seconds, self.most))

    def _elsewhere(self, program: Program, document: str, seconds: float) -> list[Any]:
        if self._runner is None:
            raise Refusal("the program may take long, and there is no process here to run it in", ERROR)
        check_size(len(document))
        if program.rest.holds(len(document)):
            raise Refusal(f"{_short(program.text)} rests, as it took longer than allowed a moment ago", ERROR)
        try:
            outputs = self._runner.run(program.text, document, seconds)
        except TimeoutError:
            program.rest.begin(len(document), seconds)
            raise program.failure(f"timeout after {seconds:g} s", document) from None
        except Refusal as refusal:
            raise program.failure(str(refusal), document) from None
        return [decode_document(line) for line in outputs.split("\n")] if outputs else []

    def check(self, text: Any) -> None:
        """Compile a constant program. Elsewhere, if that too may take long: jq computes what is constant."""
        if not isinstance(text, str):
            return
        program = _program(text)
        if program.quick(0):
            _ = program.compiled
        elif self._runner is not None:
            try:
                self._runner.check(text, self.most)
            except TimeoutError:
                raise Refusal(f"{_short(text)} takes longer than {self.most:g} s to compile", ERROR) from None


def category(host: Host) -> Category:
    """The function, with the host's process and time limit."""
    found = Category(NAME)
    runs = _Runs(host)

    @found.scalar(
        Type.ARRAY,
        ('jq(\'.a | .[] | .b\', \'{"a": [{"b": 1}, {"b": 2}]}\')', [1, 2]),
        ("jq('{total: map(.n) | add}', json_decode('[{\"n\": 1}, {\"n\": 2}]'))", [{"total": 3}]),
        ("jq('empty', '1')", []),
        checks={"program": runs.check},
    )
    def jq(program: Text, document: Anything) -> list[Any]:
        """All outputs of a jq program for a JSON text or any other value, as an array.

        `timeout`, in milliseconds, shortens the time that a program may take if it may take long (loops, definitions,
        regular expressions, large inputs): such a program runs in a process of its own, and the service waits for it.
        Programs do not reach environment variables, files or modules, and numbers are doubles."""
        return runs.outputs(program, document, runs.most)

    @found.scalar(Type.ARRAY, ("jq('.a', '{\"a\": null}', 100)", [None]), name="jq", checks={"program": runs.check})
    def _jq(program: Text, document: Anything, timeout: Int) -> list[Any]:
        if timeout < 0:
            raise Refusal(f"the timeout must not be negative, not {shown(timeout)}")
        return runs.outputs(program, document, timeout / 1_000)

    return found
