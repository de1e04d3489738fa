"""Samples that go over from one window of a key to the next: nothing between is lost, and nothing counts twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.message import Type
from rules.aggregates import AggregateCall
from rules.windows import (
    Count,
    Emit,
    EventTime,
    Hop,
    Limits,
    PlanError,
    ProcessingTime,
    Session,
    Tumble,
    WhenFull,
    WindowPlan,
    build,
)
from tests.rules.windows.test_oracle import DELAY, Row, finished, grids, run, sessions, sizes, spans_of

CALLS: Final = (
    AggregateCall("counter_delta", (2,)),
    AggregateCall("counter_rate", (2,)),
    AggregateCall("time_weighted_avg", (2,)),
    AggregateCall("duration", (3,)),
    AggregateCall("counter_delta", (2,), filter=3),
    AggregateCall("count"),
)
COLUMNS: Final = (Type.BIGINT, Type.BOOLEAN)
EVERYTHING: Final = Limits(carry=1 << 40)
Sample = tuple[int, Any]


def plan(window: Any, calls: Any = CALLS, **options: Any) -> WindowPlan:
    timing = EventTime(delay=DELAY, max_ahead=None)
    return WindowPlan(window, calls, COLUMNS, **{"keys": 1, "timing": timing, "limits": EVERYTHING, **options})


@st.composite
def registers(draw: st.DrawFn, ordered: bool = True) -> list[Row]:
    """Rows (time, key, register, flag) of registers that are reset now and then; some show nothing."""
    rows = []
    for _ in range(draw(st.integers(1, 40))):
        value = draw(st.none() | st.integers(0, 20))
        rows.append((draw(st.integers(-100, 200)), draw(st.sampled_from("ab")), value, draw(st.booleans())))
    if ordered:
        jitter = [draw(st.integers(0, DELAY)) for _ in rows]
        rows = [row for _, row in sorted(zip(jitter, rows, strict=True), key=lambda pair: pair[1][0] + pair[0])]
    return rows


def growth(samples: Sequence[Sample]) -> int:
    return sum(after - before if after >= before else after for (_, before), (_, after) in pairwise(samples))


def stood(samples: Sequence[Sample], since: int, until: int) -> tuple[int, int]:
    """The integral over [since, until) and how much of it is known."""
    total = known = 0
    for (begin, value), (end, _) in pairwise([*samples, (max(until, samples[-1][0]), None)]):
        length = max(min(end, until) - max(begin, since), 0)
        total += value * length
        known += length
    return total, known


def expected(before: Sequence[Row], rows: Sequence[Row], since: int, until: int, start: int, carry: int) -> list[Any]:
    """CALLS by their definition. ``before``: the key's rows before the window, both in the order of time."""

    def series(of: Sequence[Row], place: int, wanted: bool = False) -> list[Sample]:
        return [(row[0], row[place]) for row in of if row[place] is not None and (row[3] or not wanted)]

    def with_last(place: int, wanted: bool = False) -> tuple[list[Sample], list[Sample]]:
        last = [sample for sample in series(before, place, wanted)[-1:] if start - sample[0] <= carry]
        return last, series(rows, place, wanted)

    results: list[Any] = []
    last, own = with_last(2)
    whole = last + own
    results.append(growth(whole) if own else None)
    span = whole[-1][0] - whole[0][0] if own else 0
    results.append(growth(whole) * 1_000_000 / span if span else None)
    total, known = stood(whole, since, until) if whole else (0, 0)
    results.append(None if not whole else total / known if known else whole[-1][1])
    last, own = with_last(3)
    results.append(stood(last + own, since, until)[0])
    last, own = with_last(2, wanted=True)
    results.append(growth(last + own) if own else None)
    results.append(len(rows))
    return results


def by_key(rows: Sequence[Row]) -> dict[Any, list[Row]]:
    found = defaultdict(list)
    for row in sorted(rows, key=lambda row: row[0]):
        found[row[1]].append(row)
    return found


def grid_oracle(window: Tumble | Hop, rows: Sequence[Row], carry: int) -> dict[Any, list[Any]]:
    results = {}
    inside = [row for row in rows if spans_of(window, row[0])]
    for key, own in by_key(inside).items():
        for start, end in {span for row in own for span in spans_of(window, row[0])}:
            before = [row for row in own if row[0] < start]
            members = [row for row in own if start <= row[0] < end]
            results[key, start, end] = expected(before, members, start, end, start, carry)
    return results


def session_oracle(window: Session, rows: Sequence[Row]) -> dict[Any, list[Any]]:
    gap, cell = window.gap, window.max_duration
    results = {}
    for key, own in by_key(rows).items():
        first = 0
        for number, row in enumerate(own):
            follows = own[number + 1][0] if number + 1 < len(own) else None
            cut = cell is not None and follows is not None and follows // cell != row[0] // cell
            if follows is not None and follows - row[0] < gap and not cut:
                continue
            before, members = own[:first], own[first : number + 1]
            start, last = members[0][0], row[0]
            end = last + gap if cell is None else min(last + gap, (start // cell + 1) * cell)
            results[key, start, end] = [before, members, start, last, end]
            first = number + 1
    for (_, start, end), (before, members, _, last, _) in list(results.items()):
        since = start
        samples = [row for row in before if row[2] is not None][-1:] + before[-1:]
        if cell is not None and any(start - row[0] < gap for row in samples):
            since = start // cell * cell
        until = end if end < last + gap else last
        results[members[0][1], start, end] = expected(before, members, since, until, start, 1 << 40)
    return results


def found(rows: Sequence[Row]) -> dict[Any, list[Any]]:
    """The last result of each window."""
    return {row[:3]: list(row[3:]) for row in rows}


def same(one: dict[Any, list[Any]], two: dict[Any, list[Any]]) -> bool:
    return one.keys() == two.keys() and all(
        one[key] == [pytest.approx(value) if isinstance(value, float) else value for value in two[key]] for key in one
    )


carries = st.sampled_from([0, 10, 50, 1 << 40])


@given(registers(), grids, sizes, st.booleans(), carries)
def test_tumbling_and_hopping_windows(
    rows: list[Row], window: Any, sizes: list[int], restarts: bool, carry: int
) -> None:
    operator = build(plan(window, limits=Limits(carry=carry)))
    assert same(found(run(operator, rows, sizes, restarts)), grid_oracle(window, rows, carry))
    assert operator.counters.samples_dropped == 0


@given(registers(), sessions, sizes, st.booleans())
def test_sessions(rows: list[Row], window: Session, sizes: list[int], restarts: bool) -> None:
    assert same(found(run(build(plan(window)), rows, sizes, restarts)), session_oracle(window, rows))


@given(registers(ordered=False), grids, sizes, st.integers(0, 60), st.booleans())
def test_corrections_reach_the_windows_that_go_on_from_what_changed(
    rows: list[Row], window: Any, sizes: list[int], lateness: int, on_change: bool
) -> None:
    timing = EventTime(delay=5, allowed_lateness=lateness, max_ahead=None)
    operator = build(plan(window, timing=timing, emit=Emit.ON_CHANGE if on_change else Emit.ON_CLOSE))
    told = found(run(operator, rows, sizes))
    late = [id(entry.row) for entry in operator.take_rejected()]
    taken = [row for row in rows if id(row) not in late]
    wanted = grid_oracle(window, taken, 1 << 40)
    # A window that was past for one of its rows has not that row; test_oracle looks at those.
    partly = {
        (row[1], *span)
        for row in taken
        for span in spans_of(window, row[0])
        if span[1] + lateness <= max([r[0] for r in rows[: rows.index(row)]], default=-(10**9)) - 5
    }
    assert same(*({key: value for key, value in some.items() if key not in partly} for some in (told, wanted)))


@given(registers(), st.integers(1, 60), sizes)
def test_the_windows_of_a_series_add_up_to_it(rows: list[Row], size: int, sizes: list[int]) -> None:
    calls = (CALLS[0], CALLS[3])
    emitted = run(build(plan(Tumble(size), calls)), rows, sizes)
    for key, own in by_key(rows).items():
        parts = [row for row in emitted if row[0] == key]
        samples = [(row[0], row[2]) for row in own if row[2] is not None]
        assert sum(row[3] or 0 for row in parts) == growth(samples)
        spans = [range(row[1], row[2]) for row in parts]  # what lies in windows without any row is in none
        known = [time for span in spans for time in span if time >= own[0][0]]
        flags = [(row[0], row[3]) for row in own]
        assert sum(row[4] for row in parts) == sum(stood(flags, time, time + 1)[0] for time in known)


TIGHT: Final = EventTime(max_ahead=None)


def test_a_minute_of_a_meter() -> None:
    """The first window of a key begins with its first row, the next ones where the one before has ended."""
    operator = build(plan(Tumble(60), timing=TIGHT))
    rows = [(30, "a", 100, True), (90, "a", 130, False), (150, "a", 5, False), (500, "a", 6, True), (600, "a", 7, True)]
    emitted = [row[:6] for row in operator.process(rows, 0)]
    assert emitted == [
        ("a", 0, 60, 0, None, 100.0),
        ("a", 60, 120, 30, 30 * 1e6 / 60, (100 * 30 + 130 * 30) / 60),
        ("a", 120, 180, 5, 5 * 1e6 / 60, (130 * 30 + 5 * 30) / 60),
        ("a", 480, 540, 1, 1e6 / 350, (5 * 20 + 6 * 40) / 60),
    ]


def test_a_sample_that_is_too_old_is_forgotten() -> None:
    operator = build(plan(Tumble(60), timing=TIGHT, limits=Limits(carry=100)))
    rows = [(30, "a", 100, True), (130, "b", 1, True), (150, "a", 110, True), (170, "b", 2, True)]
    emitted = operator.process([*rows, (350, "a", 200, True), (420, "c", 0, True)], 0)
    assert [row[:4] for row in emitted] == [
        ("a", 0, 60, 0),
        ("b", 120, 180, 1),
        ("a", 120, 180, 10),
        ("a", 300, 360, 0),
    ]
    operator.process([(1_000, "c", 0, True)], 0)
    assert operator.bytes < 5_000


def test_samples_are_bounded() -> None:
    operator = build(plan(Tumble(10), timing=TIGHT, limits=Limits(max_keys=3, when_full=WhenFull.DROP_OLDEST)))
    for number in range(10):
        operator.process([(number * 10, f"k{number}", 0, True)], 0)
    assert operator.counters.samples_dropped == 6
    assert operator.finish(0)


def test_without_such_calls_nothing_is_kept() -> None:
    operator = build(plan(Tumble(10), (AggregateCall("max", (2,)),), timing=TIGHT))
    for number in range(10):
        operator.process([(number * 10, f"k{number}", 0, True)], 0)
    assert operator.bytes < 1_000
    assert operator.counters.samples_dropped == 0


def test_a_late_row_moves_what_the_next_window_begins_with() -> None:
    timing = EventTime(allowed_lateness=100, max_ahead=None)
    operator = build(plan(Tumble(10), CALLS[:1], timing=timing))
    assert operator.process([(5, "a", 10, True), (15, "a", 30, True), (20, "b", 0, True)], 0) == [
        ("a", 0, 10, 0),
        ("a", 10, 20, 20),
    ]
    assert operator.process([(8, "a", 25, True)], 0) == [("a", 0, 10, 15), ("a", 10, 20, 5)]


def test_a_late_row_reaches_over_windows_that_have_no_sample_of_their_own() -> None:
    timing = EventTime(allowed_lateness=100, max_ahead=None)
    rows = [(5, "a", 10, True), (15, "a", None, True), (25, "a", None, True), (35, "a", 40, True), (60, "b", 0, True)]
    operator = build(plan(Tumble(10), CALLS[2:3], timing=timing))
    operator.process(rows, 0)
    assert operator.process([(8, "a", 20, True)], 0) == [
        ("a", 0, 10, 14.0),
        ("a", 10, 20, 20.0),
        ("a", 20, 30, 20.0),
        ("a", 30, 40, 30.0),
    ]
    operator = build(plan(Session(5), CALLS[:1], timing=timing))
    operator.process(rows, 0)
    assert operator.process([(8, "a", 20, True)], 0) == [
        ("a", 5, 13, 10),
        ("a", 15, 20, None),
        ("a", 25, 30, None),
        ("a", 35, 40, 20),
    ]


def test_a_late_row_in_a_session_moves_what_the_next_one_begins_with() -> None:
    timing = EventTime(allowed_lateness=100, max_ahead=None)
    operator = build(plan(Session(5), CALLS[:1], timing=timing))
    assert operator.process([(1, "a", 10, True), (15, "a", 30, True), (30, "b", 0, True)], 0) == [
        ("a", 1, 6, 0),
        ("a", 15, 20, 20),
    ]
    assert operator.process([(3, "a", 25, True)], 0) == [("a", 1, 8, 15), ("a", 15, 20, 5)]


def test_windows_that_close_in_pieces_and_while_others_are_forgotten() -> None:
    """A jump of time makes many windows due at once; each still begins with the one before."""
    operator = build(plan(Tumble(10), CALLS[:1], timing=ProcessingTime()))
    operator.max_groups = 3
    emitted = []
    for minute in range(4):
        emitted += operator.process([(minute * 10, f"k{key}", minute * key, True) for key in range(10)], 0)
    emitted += operator.advance(10**6)
    while (due := operator.next_deadline) is not None and due <= 10**6:
        image = operator.snapshot()
        operator = build(operator.plan)
        operator.max_groups = 3
        operator.restore(image)
        emitted += operator.advance(10**6)
    assert {row[:2]: row[3] for row in emitted} == {
        (f"k{key}", minute * 10): key if minute else 0 for key in range(10) for minute in range(4)
    }
    assert operator.groups == 0


def test_windows_of_rows_tell_of_their_rows_alone() -> None:
    operator = build(plan(Count(2, 2), CALLS[:3], timing=TIGHT))
    rows = [(time, "a", 100 + time, True) for time in (0, 10, 20, 40)]
    assert operator.process(rows, 0) == [("a", 0, 10, 10, 1e6, 100.0), ("a", 20, 40, 20, 1e6, 120.0)]
    assert finished(operator) == []


def test_a_negative_carry_is_refused() -> None:
    with pytest.raises(PlanError, match="carry"):
        plan(Tumble(10), limits=Limits(carry=-1))
