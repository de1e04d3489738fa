"""The wheel: every deadline is met within a second, and nothing is held that has none."""

from __future__ import annotations

import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.deadlines import HORIZON, DeadlineWheel
from core.clock import SECOND


class Item:
    def __init__(self, deadline: int | None, *, again: int = 0) -> None:
        self.scheduled = 0
        self.next_deadline = deadline
        self.again = again
        self.calls: list[int] = []

    def on_deadline(self, now: int) -> None:
        self.calls.append(now)
        self.next_deadline = now + self.again if self.again else None


@given(st.lists(st.integers(0, 300 * SECOND), max_size=20))
def test_deadlines_are_met_within_a_second(deadlines: list[int]) -> None:
    wheel = DeadlineWheel()
    items = [Item(deadline) for deadline in deadlines]
    for item in items:
        wheel.add(item, 0)
    for second in range(302):
        wheel.advance(second * SECOND)
    for item, deadline in zip(items, deadlines, strict=True):
        [called] = item.calls
        assert deadline <= called < deadline + SECOND
    assert not wheel._slots


def test_a_deadline_that_moved_away_is_not_called() -> None:
    wheel = DeadlineWheel()
    item = Item(5 * SECOND)
    wheel.add(item, 0)
    item.next_deadline = 20 * SECOND
    wheel.advance(19 * SECOND)
    assert item.calls == []
    wheel.advance(20 * SECOND)
    assert len(item.calls) == 1


def test_a_deadline_that_moved_closer_is_added_again() -> None:
    wheel = DeadlineWheel()
    item = Item(50 * SECOND)
    wheel.add(item, 0)
    item.next_deadline = 5 * SECOND
    wheel.add(item, 0)
    wheel.add(item, 0)
    wheel.advance(5 * SECOND)
    assert item.calls == [5 * SECOND]
    item.next_deadline = 100 * SECOND
    wheel.advance(60 * SECOND)
    assert item.calls == [5 * SECOND]


def test_an_item_may_come_again() -> None:
    wheel = DeadlineWheel()
    item = Item(SECOND, again=2 * SECOND)
    wheel.add(item, 0)
    for second in range(8):
        wheel.advance(second * SECOND)
    assert item.calls == [1 * SECOND, 3 * SECOND, 5 * SECOND, 7 * SECOND]


def test_nothing_is_held_for_longer_than_the_horizon() -> None:
    wheel = DeadlineWheel()
    item = Item(10_000 * SECOND)
    wheel.add(item, 0)
    item.next_deadline = None
    gone = weakref.ref(item)
    del item
    wheel.advance(HORIZON * SECOND)
    assert gone() is None


def test_an_item_that_raises_takes_no_other_along() -> None:
    class Broken(Item):
        def on_deadline(self, now: int) -> None:
            raise RuntimeError("bug")

    wheel = DeadlineWheel()
    items = [Item(SECOND), Broken(SECOND), Item(SECOND)]
    for item in items:
        wheel.add(item, 0)
    with pytest.raises(RuntimeError):
        wheel.advance(SECOND)
    wheel.advance(SECOND)
    assert [len(item.calls) for item in items] == [1, 0, 1]
