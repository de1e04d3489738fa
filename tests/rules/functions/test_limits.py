"""Who overran rests, but for inputs that are quicker by far."""

from __future__ import annotations

import pytest

from rules.functions import limits
from rules.functions.limits import REST, Rest


def test_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(limits.time, "monotonic", lambda: now)
    rest = Rest()
    assert not rest.holds(1_000)
    rest.begin(1_000, 2.0)
    assert rest.holds(500)
    assert not rest.holds(499)
    rest.begin(301, 2.0)
    assert rest.holds(151)
    assert not rest.holds(150)
    rest.begin(1_000, 2.0)
    assert rest.holds(151)
    now += REST * 2.0
    assert not rest.holds(1_000)
    rest.begin(1_000, 2.0)
    assert not rest.holds(151)
    rest.begin(1, 2.0)
    assert rest.holds(1)
