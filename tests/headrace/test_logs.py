"""Log lines: one form, no tracebacks without --debug, no secrets."""

import logging
import re

import pytest

from core.settings import Secret
from headrace import logs

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info|warning|error) [\w.]+: .*")


@pytest.mark.parametrize("debug", [False, True])
def test_an_exception_is_a_clause_of_the_line(capsys: pytest.CaptureFixture[str], debug: bool) -> None:
    restore = logs.configure("info", debug=debug)
    try:
        try:
            int("broken")
        except ValueError:
            logging.getLogger("headrace.test").exception("it failed")
    finally:
        restore()
    text = capsys.readouterr().err
    assert "error headrace.test: it failed: ValueError: invalid literal for int() with base 10: 'broken'\n" in text
    assert ("Traceback" in text) is debug


def test_every_event_begins_a_line_and_nothing_else_does(capsys: pytest.CaptureFixture[str]) -> None:
    restore = logs.configure("info")
    try:
        logging.getLogger("headrace.test").info("first\nsecond %r", Secret.parse("hidden"))
        logging.getLogger("headrace.test").debug("not shown")
    finally:
        restore()
    first, second = capsys.readouterr().err.splitlines()
    assert LINE.fullmatch(first)
    assert second == "  second Secret(***)"


def test_afterwards_nothing_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    before = list(logging.getLogger().handlers)
    logs.configure("info")()
    assert logging.getLogger().handlers == before
