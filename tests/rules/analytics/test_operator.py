"""Time, limits, bad rows and snapshots of the operator of analytic functions."""

from __future__ import annotations

from typing import Any, Final

import pytest

from core.message import MISSING, Type
from rules.analytics import ANALYTICS, AnalyticCall, AnalyticLimits, AnalyticPlan, CallError, build
from rules.windows import PlanError, SnapshotError, WhenFull, boxed

Row = tuple[Any, ...]
SECOND: Final = 1_000_000_000
LAG: Final = AnalyticCall("lag", (1,), (1, True), 0)
NUMBER: Final = AnalyticCall("row_number", (), (), 0)
LEAD: Final = AnalyticCall("lead", (1,), (1,), 0)


def plan(*calls: AnalyticCall, columns: int = 2, **limits: Any) -> AnalyticPlan:
    return AnalyticPlan(calls, (Type.ANY,) * columns, AnalyticLimits(**limits))


def last(rows: list[Row]) -> list[Any]:
    return [row[-1] for row in rows]


# Time


def test_a_key_without_rows_for_the_ttl_is_forgotten_and_not_a_moment_before() -> None:
    operator = build(plan(LAG, state_ttl=10_000_000))
    operator.process([("a", 1), ("b", 1)], 5 * SECOND)
    operator.process([("b", 2)], 14 * SECOND)
    assert last(operator.process([("a", 2)], 15 * SECOND)) == [1]
    assert last(operator.process([("b", 3)], 24 * SECOND + 1)) == [None]
    assert last(operator.process([("a", 3)], 25 * SECOND)) == [2]
    assert operator.counters.keys_forgotten == 1


def test_forgotten_keys_are_cleared_away_in_pieces() -> None:
    operator = build(plan(LAG, state_ttl=10_000_000))
    operator.max_per_call = 100
    operator.process([(number, 1) for number in range(250)], 0)
    now = 0
    steps = 0
    while operator.groups:
        deadline = operator.next_deadline
        assert deadline is not None
        now = max(now, deadline)
        operator.advance(now)
        steps += 1
        assert steps < 10
    assert now <= 21 * SECOND
    assert operator.counters.keys_forgotten == 250
    assert operator.next_deadline is None


def test_the_state_without_a_partition_is_never_forgotten() -> None:
    operator = build(plan(AnalyticCall("lag", (1,), (1, True)), state_ttl=1))
    operator.process([("a", 1)], 0)
    assert operator.next_deadline is None
    assert last(operator.process([("a", 2)], 999 * SECOND)) == [1]


def test_a_clock_that_is_set_back_forgets_nothing() -> None:
    operator = build(plan(LAG, state_ttl=10_000_000))
    operator.process([("a", 1)], 1_000 * SECOND)
    assert last(operator.process([("a", 2)], 5 * SECOND)) == [1]
    assert last(operator.process([("a", 3)], 14 * SECOND)) == [2]
    operator.advance(16 * SECOND)
    assert last(operator.process([("a", 4)], 30 * SECOND)) == [None]


# Limits


def test_at_max_keys_rows_of_new_keys_are_rejected() -> None:
    operator = build(plan(NUMBER, max_keys=2))
    found = operator.process([("a", 1), ("b", 1), ("c", 1), ("a", 2)], 0)
    assert found == [("a", 1, 1), ("b", 1, 1), ("a", 2, 2)]
    [rejected] = operator.take_rejected()
    assert (rejected.row, rejected.reason) == (("c", 1), "keys_full")
    assert operator.counters.keys_full == 1
    assert operator.take_rejected() == []


def test_at_max_keys_forgotten_ones_make_way_first() -> None:
    operator = build(plan(NUMBER, max_keys=2, state_ttl=10_000_000))
    operator.process([("a", 1), ("b", 1)], 0)
    operator.advance(11 * SECOND)  # a new generation
    operator.max_per_call = 0
    operator.advance(22 * SECOND)
    assert last(operator.process([("c", 1)], 22 * SECOND)) == [1]
    assert operator.groups == 2
    assert operator.take_rejected() == []


def test_at_max_keys_the_oldest_make_way_where_the_plan_says_so() -> None:
    operator = build(plan(NUMBER, max_keys=32, when_full=WhenFull.DROP_OLDEST))
    operator.process([(number, 0) for number in range(32)], 0)
    assert last(operator.process([(99, 0), (3, 0), (0, 0)], 0)) == [1, 2, 1]
    assert operator.counters.keys_dropped == 3
    assert operator.groups == 31
    assert operator.take_rejected() == []


def test_what_lag_remembers_is_bounded_by_its_offset() -> None:
    operator = build(plan(AnalyticCall("lag", (1,), (3, True), 0)))
    operator.process([("a", number) for number in range(1_000)], 0)
    assert len(operator.snapshot()) < 200


# Rows that do not fit


def test_a_row_that_does_not_fit_is_rejected_and_changes_nothing() -> None:
    operator = build(plan(AnalyticCall("acc_sum", (1,), (), 0), NUMBER))
    found = operator.process([("a", 1), ("a", "x"), ("a", 2)], 0)
    assert found == [("a", 1, 1, 1), ("a", 2, 3, 2)]
    [rejected] = operator.take_rejected()
    assert rejected.reason == "bad_argument"
    assert "string ('x')" in rejected.error
    assert operator.counters.bad_argument == 1


def test_what_does_not_count_need_not_fit() -> None:
    operator = build(plan(AnalyticCall("acc_sum", (1,), (), 0, 2), columns=3))
    found = operator.process([("a", 1, True), ("a", "x", False), ("a", "y", None)], 0)
    assert last(found) == [1, 1, 1]
    assert operator.take_rejected() == []


def test_a_boolean_is_no_number_and_a_whole_float_is_no_change() -> None:
    operator = build(plan(AnalyticCall("had_changed", (1,), (True,), 0)))
    found = operator.process([("a", 1), ("a", 1.0), ("a", True), ("a", [1]), ("a", [True]), ("a", [True])], 0)
    assert last(found) == [True, False, True, True, True, False]


def test_boxed_keys_tell_true_from_one() -> None:
    operator = build(plan(NUMBER))
    keys = [boxed(1), boxed(True), boxed([1]), boxed([True]), boxed(1.0)]
    assert last(operator.process([(key, 0) for key in keys], 0)) == [1, 1, 1, 1, 2]


# Lead


def test_a_row_waits_for_the_next_one_of_its_partition() -> None:
    operator = build(plan(LEAD))
    assert operator.process([("a", 1), ("b", 10), ("a", 2)], 0) == [("a", 1, 2)]
    assert operator.waiting == 2
    assert operator.process([("b", 20)], 0) == [("b", 10, 20)]


def test_a_row_whose_follower_does_not_come_has_the_default() -> None:
    operator = build(plan(AnalyticCall("lead", (1, 2), (1,), 0), columns=3, wait=60_000_000))
    operator.process([("a", 1, "none")], 0)
    assert operator.next_deadline == 60 * SECOND
    assert operator.advance(60 * SECOND - 1) == []
    assert operator.advance(60 * SECOND) == [("a", 1, "none", "none")]
    assert operator.counters.leads_timed_out == 1
    # What comes later is not the follower of a row that has gone.
    assert operator.process([("a", 2, "none")], 61 * SECOND) == []


def test_rows_of_a_partition_stay_in_order_however_far_they_look() -> None:
    operator = build(plan(AnalyticCall("lead", (1,), (3,), 0), AnalyticCall("lead", (1,), (1,), 0), wait=10_000_000))
    found = operator.process([("a", number) for number in range(5)], 0)
    assert found == [("a", 0, 3, 1), ("a", 1, 4, 2)]
    assert operator.advance(10 * SECOND) == [("a", 2, None, 3), ("a", 3, None, 4), ("a", 4, None, None)]


def test_at_max_keys_the_oldest_waiting_row_comes_out_and_none_is_lost() -> None:
    operator = build(plan(LEAD, max_keys=2))
    found = operator.process([("a", 1), ("b", 1), ("c", 1)], 0)
    assert found == [("a", 1, None)]
    assert operator.counters.leads_cut == 1
    assert operator.finish(0) == [("b", 1, None), ("c", 1, None)]
    assert operator.next_deadline is None


def test_waiting_rows_come_out_in_pieces() -> None:
    operator = build(plan(LEAD, wait=1_000_000))
    operator.max_per_call = 100
    operator.process([(number, 1) for number in range(250)], 0)
    sizes = []
    while (deadline := operator.next_deadline) is not None and deadline <= SECOND:
        sizes.append(len(operator.advance(SECOND)))
    assert sizes == [100, 100, 50]


@pytest.mark.parametrize("call", [LAG, LEAD])
def test_only_columns_that_are_kept_come_out_and_a_rejected_row_is_told_whole(call: AnalyticCall) -> None:
    calls = (call, AnalyticCall("acc_sum", (2,), (), 0))
    operator = build(AnalyticPlan(calls, (Type.ANY,) * 3, kept=1))
    message = object()
    found = operator.process([("a", 1, 5, message), ("a", 2, "x", message), ("a", 3, 6, message)], 0)
    assert operator.take_rejected()[0].row == ("a", 2, "x", message)
    operator.snapshot()  # the message is not in it
    found += operator.finish(0)
    assert found == ([("a", None, 5), ("a", 1, 11)] if call is LAG else [("a", 3, 5), ("a", None, 11)])


# Snapshots


def test_a_snapshot_of_another_query_or_a_damaged_one_is_refused_and_changes_nothing() -> None:
    operator = build(plan(LAG))
    operator.process([("a", 1)], 0)
    data = operator.snapshot()
    with pytest.raises(SnapshotError):
        build(plan(LAG, NUMBER)).restore(data)
    for wrong in (b"", data[:-1], data[:-3] + b"\x00\x00\x00"):
        with pytest.raises(SnapshotError):
            operator.restore(wrong)
    assert last(operator.process([("a", 2)], 0)) == [1]


def test_limits_may_change_over_a_snapshot() -> None:
    before, after = plan(LAG), plan(LAG, max_keys=1, state_ttl=99)
    assert before.fingerprint == after.fingerprint
    assert before.fingerprint != plan(LAG, columns=3).fingerprint


def test_a_snapshot_keeps_what_was_rejected() -> None:
    operator = build(plan(NUMBER, max_keys=1))
    operator.process([("a", MISSING), ("b", MISSING)], 0)
    other = build(plan(NUMBER, max_keys=1))
    other.restore(operator.snapshot())
    assert [rejected.reason for rejected in other.take_rejected()] == ["keys_full"]


# Plans


@pytest.mark.parametrize(
    "call",
    [
        AnalyticCall("lagg", (1,)),
        AnalyticCall("lag", (1,), (0, True)),
        AnalyticCall("lag", (1,), (1_001, True)),
        AnalyticCall("lag", (1,), (1, "no")),
        AnalyticCall("lag", (1,), (1,)),
        AnalyticCall("lag", (), (1, True)),
        AnalyticCall("acc_sum", (0, 1)),
        AnalyticCall("acc_sum"),
        AnalyticCall("had_changed", (), (True,)),
        AnalyticCall("had_changed", (0,) * 65, (True,)),
        AnalyticCall("hysteresis", (0, 1), (4, 3)),
        AnalyticCall("count_last", (0,), (True,)),
    ],
)
def test_calls_that_cannot_be(call: AnalyticCall) -> None:
    with pytest.raises(CallError):
        plan(call)


@pytest.mark.parametrize(
    ("calls", "limits"),
    [
        ((LEAD, AnalyticCall("lead", (1,), (1,), None)), {}),
        ((AnalyticCall("lead", (1,), (1,), 0, 1),), {}),
        ((AnalyticCall("lead", (1,), (11,), 0),), {"max_rows": 10}),
        ((AnalyticCall("lag", (2,), (1, True), 0),), {}),
        ((AnalyticCall("lag", (1,), (1, True), 2),), {}),
        ((LAG,), {"max_keys": 0}),
        ((LAG,), {"state_ttl": 0}),
    ],
)
def test_plans_that_cannot_be(calls: tuple[AnalyticCall, ...], limits: dict[str, Any]) -> None:
    with pytest.raises(PlanError):
        plan(*calls, **limits)


def test_the_forms_of_calls_are_told_as_they_are_written() -> None:
    forms = {name: function.form for name, function in ANALYTICS.items()}
    assert forms["lag"] == "lag(x[, offset[, default[, ignore_null]]])"
    assert forms["acc_count"] == "acc_count([x[, begin, reset]])"
    assert forms["had_changed"] == "had_changed(ignore_null, x, ...)"
    assert forms["hysteresis"] == "hysteresis(raise, clear[, needed, among])"
    assert forms["row_number"] == "row_number()"
