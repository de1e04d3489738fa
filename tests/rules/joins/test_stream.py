"""Joins of two streams: a nested loop over sorted data is the oracle; what time and limits do, case by case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.message import MISSING
from rules.joins.stream import Bounds, Side, StreamJoin, StreamLimits, StreamPlan
from rules.windows import EventTime, PlanError, ProcessingTime, SnapshotError, Tumble

Row = tuple[Any, ...]

DELAY = 10
LEFT = Side(key=(1,), time=0, width=3, timing=EventTime(delay=DELAY, max_ahead=None))
RIGHT = Side(key=(0,), time=1, width=3, timing=EventTime(delay=DELAY, max_ahead=None))

KEYS = st.sampled_from(["a", "b", 1, 1.0, True, "1", None])
near = st.one_of(
    st.tuples(st.integers(-20, 20), st.integers(0, 25)).map(lambda two: Bounds(two[0], two[0] + two[1])),
    st.builds(Tumble, st.integers(1, 40), st.integers(0, 7)),
)


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[str, Row]]:
    """Rows of both sides as they arrive, none later than the watermark allows on its own side."""
    events: list[tuple[int, str, Row]] = []
    for number, side in enumerate(draw(st.lists(st.sampled_from("lr"), max_size=40))):
        time = draw(st.integers(0, 100))
        arrival = time + draw(st.integers(0, DELAY))
        key = draw(KEYS)
        row = (time, key, number) if side == "l" else (key, time, number)
        # One side as a whole may lag behind the other one.
        events.append((arrival, side, row))
    lag = draw(st.integers(0, 60))
    events.sort(key=lambda event: event[0] + (lag if event[1] == "l" else 0))
    return [(side, row) for _, side, row in events]


def equal(one: Any, other: Any) -> bool:
    """SQL's = is true."""
    if one is None or other is None or isinstance(one, bool) is not isinstance(other, bool):
        return False
    return bool(one == other)


def oracle(plan: StreamPlan, events: Iterable[tuple[str, Row]]) -> Counter[str]:
    lefts = sorted((row for side, row in events if side == "l"), key=lambda row: row[0])
    rights = sorted((row for side, row in events if side == "r"), key=lambda row: row[1])
    found: list[Row] = []
    for left in lefts:
        matches = [right for right in rights if equal(left[1], right[0]) and is_near(plan.near, left[0], right[1])]
        if plan.on is not None:
            matches = [right for right in matches if plan.on(left + right) is True]
        found += [left + right for right in matches]
        if plan.outer and not matches:
            found.append((*left, None, None, None))
    return Counter(map(repr, found))


def is_near(bounds: Bounds | Tumble, left: int, right: int) -> bool:
    if isinstance(bounds, Bounds):
        return bounds.low <= right - left <= bounds.high
    return (left - bounds.offset) // bounds.size == (right - bounds.offset) // bounds.size


def pieces(events: Sequence[tuple[str, Row]], sizes: Sequence[int]) -> Iterable[tuple[str, list[Row]]]:
    """Rows of one side that follow each other, in calls of at most these many."""
    place = number = 0
    while place < len(events):
        side = events[place][0]
        rows: list[Row] = []
        while place < len(events) and events[place][0] == side and len(rows) < sizes[number % len(sizes)]:
            rows.append(events[place][1])
            place += 1
        number += 1
        yield side, rows


def run(plan: StreamPlan, events: Sequence[tuple[str, Row]], sizes: Sequence[int], restarts: bool) -> list[Row]:
    join = StreamJoin(plan)
    join.max_forgotten = sizes[0]
    emitted: list[Row] = []
    for side, rows in pieces(events, sizes):
        emitted += (join.process_left if side == "l" else join.process_right)(rows, 0)
        if restarts:
            image = join.snapshot()
            join = StreamJoin(plan)
            join.max_forgotten = sizes[0]
            join.restore(image)
            assert join.snapshot() == image
        watermark = join.watermark
        later = join.advance(0)
        assert all(row[0] >= watermark for row in later)
        emitted += later
    emitted += join.finish(0)
    while join.next_deadline is not None:
        emitted += join.finish(0)
    assert join.rows == 0
    assert join.take_rejected() == []
    return emitted


sizes = st.lists(st.integers(1, 9), min_size=1, max_size=5)


@given(streams(), near, st.booleans(), st.booleans(), sizes, st.booleans())
def test_it_is_a_nested_loop(
    events: list[tuple[str, Row]], near: Any, outer: bool, conditional: bool, sizes: list[int], restarts: bool
) -> None:
    on = (lambda row: row[2] % 2 == row[5] % 2) if conditional else None
    plan = StreamPlan(LEFT, RIGHT, near, outer, on)
    assert Counter(map(repr, run(plan, events, sizes, restarts))) == oracle(plan, events)


@given(streams(), near, st.booleans(), sizes)
def test_no_row_comes_out_before_the_watermark(
    events: list[tuple[str, Row]], near: Any, outer: bool, sizes: list[int]
) -> None:
    join = StreamJoin(StreamPlan(LEFT, RIGHT, near, outer))
    for side, rows in pieces(events, sizes):
        promised = join.watermark
        for row in (join.process_left if side == "l" else join.process_right)(rows, 0):
            # A row that equals nothing is told at once, and is as late as its side allows.
            assert row[0] >= promised
        assert join.watermark >= promised


def plan_of(near: Any = Bounds(-5, 5), **options: Any) -> StreamPlan:  # noqa: B008  frozen
    return StreamPlan(options.pop("left", LEFT), options.pop("right", RIGHT), near, **options)


def test_what_can_find_no_partner_is_forgotten() -> None:
    join = StreamJoin(plan_of())
    join.process_left([(0, "a", 1), (100, "b", 2)], 0)
    join.process_right([("c", 15, 3)], 0)
    assert join.rows == 2  # the left side's watermark is 90; the right side's 5, so a right row of time 5 may come
    join.process_right([("c", 16, 4)], 0)
    assert join.rows == 1
    assert join.process_right([("b", 95, 5)], 0) == [(100, "b", 2, "b", 95, 5)]


def test_late_rows_and_rows_without_a_time_are_rejected() -> None:
    timing = EventTime(delay=10, max_ahead=1_000)
    join = StreamJoin(plan_of(left=Side((1,), 0, 3, timing)))
    join.process_left(
        [(100, "a", 1), (89, "a", 2), (90, "a", 3), (None, "a", 4), (MISSING, "a", 5), (1_001, "a", 6)], 0
    )
    assert [(entry.row[2], entry.reason) for entry in join.take_rejected()] == [
        (2, "late"),
        (4, "no_time"),
        (5, "no_time"),
        (6, "ahead"),
    ]
    assert (join.counters.late, join.counters.no_time, join.counters.ahead, join.counters.rows) == (1, 2, 1, 6)
    assert join.take_rejected() == []


def test_a_left_join_waits_until_no_partner_can_come() -> None:
    join = StreamJoin(plan_of(outer=True))
    assert join.process_left([(0, "a", 1), (0, None, 2)], 0) == [(0, None, 2, None, None, None)]
    assert join.process_right([("b", 15, 3)], 0) == []
    assert join.process_right([("b", 16, 4)], 0) == [(0, "a", 1, None, None, None)]
    assert (join.counters.no_match, join.counters.null_key) == (1, 1)


def test_silence_of_the_other_side_ends_the_waiting() -> None:
    idle = EventTime(delay=10, idle_timeout=1_000, max_ahead=None)
    join = StreamJoin(plan_of(outer=True, right=Side((0,), 1, 3, idle)))
    assert join.next_deadline is None
    assert join.process_left([(50, "a", 1)], 7_000_000) == []
    assert join.next_deadline == 8_000_000  # the right side has never said anything
    assert join.advance(7_999_000) == []
    assert join.advance(8_000_000) == [(50, "a", 1, None, None, None)]
    assert join.next_deadline is None


def test_without_a_timeout_a_silent_side_is_waited_for() -> None:
    join = StreamJoin(plan_of(outer=True))
    join.process_left([(50, "a", 1)], 0)
    assert join.next_deadline is None
    assert join.advance(10**18) == []
    assert join.rows == 1


def test_in_processing_time_rows_meet_as_they_come() -> None:
    sides = {"left": Side((1,), 0, 3), "right": Side((0,), 1, 3)}
    join = StreamJoin(plan_of(Bounds(-5, 5), outer=True, **sides))
    assert join.process_left([(1_000, "a", 1)], 1_000_000) == []
    assert join.process_right([("a", 1_005, 2)], 1_005_000) == [(1_000, "a", 1, "a", 1_005, 2)]
    assert join.process_left([(900, "a", 3)], 1_010_000) == [(900, "a", 3, "a", 1_005, 2)]  # it counts as 1,005
    assert join.process_left([(1_011, "b", 4)], 1_011_000) == []
    assert join.rows == 1  # the clock is the watermark of both sides
    assert join.next_deadline == 1_017_000
    assert join.advance(1_017_000) == [(1_011, "b", 4, None, None, None)]
    assert isinstance(join.plan.left.timing, ProcessingTime)


def test_at_the_limit_the_oldest_rows_make_way() -> None:
    join = StreamJoin(plan_of(Bounds(-50, 50), outer=True, limits=StreamLimits(max_rows=2)))
    assert join.process_left([(3, "a", 1), (1, "a", 2), (2, "a", 3)], 0) == [(1, "a", 2, None, None, None)]
    assert (join.counters.rows_dropped, join.rows) == (1, 2)
    assert [row[2] for row in join.process_right([("a", 4, 9)], 0)] == [3, 1]


def test_forgotten_rows_leave_the_lists_of_their_key() -> None:
    join = StreamJoin(plan_of(Bounds(0, 0)))
    join.process_left([(time, "a", time) for time in range(200)], 0)
    join.process_right([("b", 160, 0)], 0)
    assert join.rows == 50  # the left ones from 150 on; the right one was forgotten, as the left side is at 189
    assert join.process_right([("a", 199, 1)], 0) == [(199, "a", 199, "a", 199, 1)]
    assert join.process_right([("a", 189, 2)], 0) == [(189, "a", 189, "a", 189, 2)]


def test_a_condition_that_fails_rejects_the_row_that_came() -> None:
    join = StreamJoin(plan_of(on=lambda row: row[2] / row[5] > 0))
    join.process_left([(0, "a", 1)], 0)
    assert join.process_right([("a", 0, 0), ("a", 0, 2)], 0) == [(0, "a", 1, "a", 0, 2)]
    [rejected] = join.take_rejected()
    assert (rejected.row, rejected.reason, rejected.error) == (("a", 0, 0), "bad_condition", "division by zero")


def test_a_row_with_too_many_matches_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rules.joins.stream.MAX_MATCHES", 2)
    join = StreamJoin(plan_of())
    join.process_left([(0, "a", number) for number in range(3)], 0)
    assert join.process_right([("a", 0, 9)], 0) == []
    assert join.take_rejected()[0].reason == "too_many_matches"


def test_snapshots_of_other_joins_are_refused() -> None:
    join = StreamJoin(plan_of())
    join.process_left([(0, "a", 1)], 0)
    image = join.snapshot()
    other = StreamJoin(plan_of(Bounds(-5, 6)))
    with pytest.raises(SnapshotError):
        other.restore(image)
    assert other.rows == 0
    StreamJoin(plan_of(limits=StreamLimits(max_rows=5))).restore(image)  # limits may change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"near": Bounds(1, 0)}, "exclude all rows"),
        ({"near": Tumble(0)}, "greater than zero"),
        ({"left": Side((0, 1), 0, 3)}, "as many columns"),
        ({"left": Side((1,), 3, 3)}, "place 3"),
        ({"limits": StreamLimits(max_rows=0)}, "max_rows"),
    ],
)
def test_joins_that_cannot_be(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(PlanError, match=complaint):
        plan_of(**change)
