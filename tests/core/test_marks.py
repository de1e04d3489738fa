"""The marks of bridges: what is read, what is written, what a stranger's text counts for."""

from __future__ import annotations

import pytest

from core.marks import FROM, HOPS, Marks, read, signed


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ((), Marks(0, "", ())),
        ((("a", "b"),), Marks(0, "", (("a", "b"),))),
        (((HOPS, "2"), ("a", "b"), (FROM, "x")), Marks(2, "x", (("a", "b"),))),
        (((HOPS, "2"), (HOPS, "1")), Marks(2, "", ())),
        (((HOPS, "256"),), Marks(255, "", ())),
        (((HOPS, "9" * 10_000),), Marks(255, "", ())),
        (((HOPS, "²"), (HOPS, "1e3"), (HOPS, ""), (HOPS, "-3")), Marks(0, "", ())),
    ],
)
def test_marks_are_read(user: tuple[tuple[str, str], ...], expected: Marks) -> None:
    assert read(user) == expected


def test_marks_are_written_over_those_that_are_there() -> None:
    user = (("a", "b"), (HOPS, "7"), (FROM, "other"))
    assert signed(user, 2, "me") == (("a", "b"), (HOPS, "2"), (FROM, "me"))
    assert signed(user, 2) == (("a", "b"), (HOPS, "2"))
    assert read(signed((), 3, "me")) == Marks(3, "me", ())
