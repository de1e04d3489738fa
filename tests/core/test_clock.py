"""Time never goes backwards, whatever the wall clock does, and finds back to it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import SECOND, ManualClock, SystemClock


class Machine:
    """A machine whose two clocks the test moves."""

    def __init__(self) -> None:
        self.wall = 1_000 * SECOND
        self.ticks = 5 * SECOND
        self.clock = SystemClock(lambda: self.wall, lambda: self.ticks)

    def run(self, nanoseconds: int, wall: int | None = None) -> None:
        self.ticks += nanoseconds
        self.wall += nanoseconds if wall is None else wall


def test_it_starts_at_the_wall_clock_and_runs_with_the_monotonic_one() -> None:
    machine = Machine()
    assert machine.clock.now() == 1_000 * SECOND
    machine.run(SECOND, wall=77)
    assert machine.clock.now() == 1_001 * SECOND


def test_forward_it_jumps() -> None:
    machine = Machine()
    machine.run(SECOND, wall=3_600 * SECOND)
    assert machine.clock.sync() == 3_599 * SECOND
    assert machine.clock.now() == machine.wall


def test_backward_it_slows_down_until_it_has_fallen_back() -> None:
    machine = Machine()
    machine.run(SECOND, wall=0)
    assert machine.clock.sync() == -SECOND
    assert machine.clock.now() == 1_001 * SECOND
    machine.run(5 * SECOND)
    assert machine.clock.now() == 1_001 * SECOND + 4_500_000_000
    assert machine.clock.sync() == -SECOND // 2
    machine.run(5 * SECOND)
    assert machine.clock.now() == machine.wall
    machine.run(60 * SECOND)
    assert machine.clock.now() == machine.wall


DAY = 86_400 * SECOND
steps = st.lists(
    st.tuples(st.integers(0, 100 * SECOND), st.one_of(st.none(), st.integers(-DAY, DAY)), st.booleans()), max_size=30
)


@given(steps)
def test_it_never_goes_backwards(changes: list[tuple[int, int | None, bool]]) -> None:
    machine = Machine()
    last = machine.clock.now()
    for elapsed, wall, syncing in changes:
        machine.run(elapsed, wall)
        before = machine.clock.now()
        assert before >= last
        if syncing:
            machine.clock.sync()
        last = machine.clock.now()
        assert last >= before


@given(steps)
def test_it_finds_back_to_the_wall_clock(changes: list[tuple[int, int | None, bool]]) -> None:
    machine = Machine()
    for elapsed, wall, syncing in changes:
        machine.run(elapsed, wall)
        if syncing:
            machine.clock.sync()
    error = machine.clock.sync()
    machine.run(10 * abs(error) + 10)
    assert machine.clock.now() == machine.wall


def test_the_machines_own_time() -> None:
    before = time.time_ns()
    clock = SystemClock()
    first = clock.now()
    clock.sync()
    assert clock.now() >= first >= before - SECOND


def test_a_clock_by_hand() -> None:
    clock = ManualClock(5)
    assert clock.now() == clock.now() == 5
    assert clock.advance(10) == 15 == clock.now()
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)
