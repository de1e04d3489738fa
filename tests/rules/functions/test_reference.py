"""The reference page says what the code does."""

from __future__ import annotations

from pathlib import Path

from rules.bind_message import MESSAGE_FUNCTIONS
from rules.functions import builtin_functions
from rules.functions.reference import markdown

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "functions.md"


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown(), (
        "run: python -m rules.functions.reference > docs/reference/functions.md"
    )


def test_the_page_has_every_function() -> None:
    headings = [line for line in markdown().splitlines() if line.startswith("### ")]
    assert sorted(heading.strip("# `") for heading in headings) == sorted([*builtin_functions(), *MESSAGE_FUNCTIONS])
