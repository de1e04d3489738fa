"""Random streams against plain Python, key by key; and cut at any place by a snapshot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.message import MISSING, Type
from rules.analytics import AnalyticCall, AnalyticLimits, AnalyticPlan, build
from rules.operators import distinct

Row = tuple[Any, ...]
Oracle = Callable[[list[Row]], list[Any]]
"""The results of a call for the rows (value, flag, flag) of one key that WHEN lets through."""

KEY, VALUE, ONE, TWO, WHEN = range(5)
SECOND: Final = 1_000_000_000


def null(value: Any) -> bool:
    return value is None or value is MISSING


def lag(offset: int, default: Any, ignore: bool) -> Oracle:
    def results(rows: list[Row]) -> list[Any]:
        found = []
        for place in range(len(rows)):
            before = [row[VALUE] for row in rows[:place] if not (ignore and null(row[VALUE]))]
            value = before[-offset] if len(before) >= offset else default
            found.append(None if value is MISSING else value)
        return found

    return results


def latest(rows: list[Row]) -> list[Any]:
    return [
        next((row[VALUE] for row in reversed(rows[: place + 1]) if not null(row[VALUE])), None)
        for place in range(len(rows))
    ]


def had_changed(ignore: bool) -> Oracle:
    def results(rows: list[Row]) -> list[Any]:
        found = []
        for place, row in enumerate(rows):
            before = [other[VALUE] for other in rows[:place] if not (ignore and null(other[VALUE]))]
            skipped = ignore and null(row[VALUE])
            found.append(not skipped and (not before or distinct(before[-1], row[VALUE])))
        return found

    return results


def changed_col(rows: list[Row]) -> list[Any]:
    return [row[VALUE] if changed else None for row, changed in zip(rows, had_changed(True)(rows), strict=True)]


def accumulated(result: Callable[[list[Any]], Any]) -> Oracle:
    def results(rows: list[Row]) -> list[Any]:
        return [result([row[VALUE] for row in rows[: place + 1] if not null(row[VALUE])]) for place in range(len(rows))]

    return results


def between(rows: list[Row]) -> list[Any]:
    """acc_count(value, one, two)"""
    found = []
    running, count = False, 0
    for row in rows:
        running = running or row[ONE] is True
        count += running and not null(row[VALUE])
        found.append(count)
        if row[TWO] is True:
            running, count = False, 0
    return found


def consecutive(rows: list[Row]) -> list[Any]:
    found = []
    for place in range(len(rows)):
        held = 0
        while held <= place and rows[place - held][ONE] is True:
            held += 1
        found.append(held)
    return found


def count_last(rows: list[Row]) -> list[Any]:
    return [sum(row[ONE] is True for row in rows[max(0, place - 2) : place + 1]) for place in range(len(rows))]


def hysteresis(rows: list[Row]) -> list[Any]:
    """2 of 3"""
    found = []
    active, since = False, 0
    for place, row in enumerate(rows):
        if active:
            if row[TWO] is True:
                active, since = False, place + 1
        else:
            held = sum(other[ONE] is True for other in rows[max(since, place - 2) : place + 1])
            active = row[ONE] is True and row[TWO] is not True and held >= 2
        found.append(active)
    return found


CALLS: Final[dict[str, tuple[AnalyticCall, Oracle, Any]]] = {
    "lag": (AnalyticCall("lag", (VALUE,), (1, True)), lag(1, None, True), None),
    "lag 3": (AnalyticCall("lag", (VALUE,), (3, True)), lag(3, None, True), None),
    "lag with nulls": (AnalyticCall("lag", (VALUE,), (2, False)), lag(2, None, False), None),
    "lag 1 with nulls": (AnalyticCall("lag", (VALUE,), (1, False)), lag(1, None, False), None),
    "latest": (AnalyticCall("latest", (VALUE,)), latest, None),
    "had_changed": (AnalyticCall("had_changed", (VALUE,), (True,)), had_changed(True), False),
    "had_changed with nulls": (AnalyticCall("had_changed", (VALUE,), (False,)), had_changed(False), False),
    "changed_col": (AnalyticCall("changed_col", (VALUE,), (True,)), changed_col, None),
    "row_number": (AnalyticCall("row_number"), lambda rows: [*range(1, len(rows) + 1)], 0),
    "acc_count(*)": (AnalyticCall("acc_count"), lambda rows: [*range(1, len(rows) + 1)], 0),
    "acc_count": (AnalyticCall("acc_count", (VALUE,)), accumulated(len), 0),
    "acc_sum": (AnalyticCall("acc_sum", (VALUE,)), accumulated(lambda values: sum(values) if values else None), None),
    "acc_avg": (
        AnalyticCall("acc_avg", (VALUE,)),
        accumulated(lambda values: sum(values) / len(values) if values else None),
        None,
    ),
    "acc_min": (AnalyticCall("acc_min", (VALUE,)), accumulated(lambda values: min(values, default=None)), None),
    "acc_max": (AnalyticCall("acc_max", (VALUE,)), accumulated(lambda values: max(values, default=None)), None),
    "acc_count between": (AnalyticCall("acc_count", (VALUE, ONE, TWO)), between, 0),
    "consecutive": (AnalyticCall("consecutive", (ONE,)), consecutive, 0),
    "count_last": (AnalyticCall("count_last", (ONE,), (3,)), count_last, 0),
    "hysteresis": (AnalyticCall("hysteresis", (ONE, TWO), (2, 3)), hysteresis, False),
}
"""The call, its oracle, and what it gives before any row."""

values = st.none() | st.just(MISSING) | st.integers(-3, 3)
flags = st.booleans() | st.none()
rows = st.lists(st.tuples(st.sampled_from("abc"), values, flags, flags, flags), max_size=30)
COLUMNS: Final = (Type.TEXT, Type.BIGINT, Type.BOOLEAN, Type.BOOLEAN, Type.BOOLEAN)


def expected(stream: Sequence[Row], oracle: Oracle, partition: int | None) -> list[Any]:
    groups: dict[Any, list[int]] = defaultdict(list)
    for number, row in enumerate(stream):
        groups[None if partition is None else row[partition]].append(number)
    found: list[Any] = [None] * len(stream)
    for members in groups.values():
        for number, value in zip(members, oracle([stream[number] for number in members]), strict=True):
            found[number] = value
    return found


@pytest.mark.parametrize("name", CALLS)
@given(stream=rows, partition=st.sampled_from([KEY, None]), typed=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_call_gives_what_its_definition_says(
    name: str, stream: list[Row], partition: int | None, typed: bool
) -> None:
    call, oracle, _ = CALLS[name]
    call = AnalyticCall(call.name, call.arguments, call.constants, partition)
    operator = build(AnalyticPlan((call,), COLUMNS if typed else (Type.ANY,) * 5))
    found = operator.process(stream, SECOND)
    assert [row[:-1] for row in found] == stream
    assert [row[-1] for row in found] == expected(stream, oracle, partition)
    assert operator.take_rejected() == []


@pytest.mark.parametrize("name", [name for name in CALLS if name not in ("lag", "lag 1 with nulls", "lag 3")])
@given(stream=rows)
@settings(max_examples=40, deadline=None)
def test_where_when_does_not_hold_the_state_stays(name: str, stream: list[Row]) -> None:
    call, oracle, empty = CALLS[name]
    call = AnalyticCall(call.name, call.arguments, call.constants, None, WHEN)
    found = build(AnalyticPlan((call,), COLUMNS)).process(stream, SECOND)
    seen = [row for row in stream if row[WHEN] is True]
    results = oracle(seen)
    assert [row[-1] for row in found if row[WHEN] is True] == results
    if name in ("had_changed", "had_changed with nulls", "changed_col", "lag with nulls", "acc_count between"):
        return  # these tell of the row itself
    last, told = empty, iter(results)
    for row in found:
        last = next(told) if row[WHEN] is True else last
        assert row[-1] == last


EVERYTHING: Final = (
    *(AnalyticCall(call.name, call.arguments, call.constants, KEY) for call, _, _ in CALLS.values()),
    *(AnalyticCall(call.name, call.arguments, call.constants, None, WHEN) for call, _, _ in CALLS.values()),
    AnalyticCall("lead", (VALUE,), (2,), KEY),
    AnalyticCall("lead", (ONE, TWO), (1,), KEY),
)


@given(stream=rows, cuts=st.lists(st.integers(1, 10), min_size=1, max_size=5), steps=st.lists(st.integers(0, 9)))
@settings(max_examples=100, deadline=None)
def test_a_snapshot_between_any_two_calls_changes_nothing(stream: list[Row], cuts: list[int], steps: list[int]) -> None:
    plan = AnalyticPlan(EVERYTHING, COLUMNS, AnalyticLimits(state_ttl=10_000_000, wait=5_000_000))

    def run(restarted: bool) -> list[Row]:
        operator = build(plan)
        found: list[Row] = []
        now = place = number = 0
        while place < len(stream):
            if restarted:
                data = operator.snapshot()
                operator = build(plan)
                operator.restore(data)
            now += (steps[number % len(steps)] if steps else 0) * SECOND
            size = cuts[number % len(cuts)]
            if number % 2:
                found += operator.advance(now)
            found += operator.process(stream[place : place + size], now)
            place, number = place + size, number + 1
        while operator.next_deadline is not None:
            found += operator.finish(now)
        return found

    assert run(restarted=True) == run(restarted=False)


@given(stream=rows, cuts=st.lists(st.integers(1, 10), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_how_the_stream_is_cut_into_calls_changes_nothing(stream: list[Row], cuts: list[int]) -> None:
    plan = AnalyticPlan(EVERYTHING, COLUMNS)
    whole, parts = build(plan), build(plan)
    found: list[Row] = []
    place = number = 0
    while place < len(stream):
        size = cuts[number % len(cuts)]
        found += parts.process(stream[place : place + size], SECOND)
        place, number = place + size, number + 1
    assert found + parts.finish(SECOND) == whole.process(stream, SECOND) + whole.finish(SECOND)


@given(stream=rows, offset=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_lead_is_lag_read_backwards(stream: list[Row], offset: int) -> None:
    plan = AnalyticPlan((AnalyticCall("lead", (VALUE, WHEN), (offset,), KEY),), COLUMNS)
    operator = build(plan)
    found = operator.process(stream, SECOND) + operator.finish(SECOND)
    for key in "abc":
        own = [row for row in stream if row[KEY] == key]
        told = [row for row in found if row[KEY] == key]
        assert [row[:-1] for row in told] == own
        assert [row[-1] for row in told] == [
            own[place + offset][VALUE] if place + offset < len(own) else row[WHEN] for place, row in enumerate(own)
        ]
