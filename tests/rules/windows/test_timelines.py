"""The drawings of docs/concepts/windows.md are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.rules.windows.timeline import Timeline

PAGE = Path(__file__).resolve().parents[3] / "docs/concepts/windows.md"
DRAWINGS = re.findall(r"^```timeline\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_there_are_drawings() -> None:
    assert len(DRAWINGS) >= 15


@pytest.mark.parametrize("text", DRAWINGS, ids=[text.split("\n", 1)[0] for text in DRAWINGS])
def test_drawing(text: str) -> None:
    timeline = Timeline(text)
    found, late = timeline.run()
    assert found == timeline.windows
    assert late == timeline.late


def test_a_wrong_drawing_is_seen() -> None:
    wrong = DRAWINGS[0].replace("at 20", "at 19")
    assert wrong != DRAWINGS[0]
    timeline = Timeline(wrong)
    assert timeline.run()[0] != timeline.windows
