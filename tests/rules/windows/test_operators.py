"""What streams at random seldom meet: limits, rejected rows, chunks, clocks that jump, snapshots that do not fit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from core.message import MISSING, Type
from rules.aggregates import AggregateCall, OrderBy
from rules.windows import (
    Count,
    Emit,
    EventTime,
    Hop,
    Limits,
    PlanError,
    ProcessingTime,
    Session,
    Sliding,
    SnapshotError,
    State,
    Tumble,
    WhenFull,
    WindowPlan,
    boxed,
    build,
)

COUNT = (AggregateCall("count"),)
SUM = (AggregateCall("count"), AggregateCall("sum", (2,)))
EVENT = EventTime(max_ahead=None)


def plan(window: Any, calls: Any = COUNT, columns: Any = (Type.ANY,), **options: Any) -> WindowPlan:
    return WindowPlan(window, calls, columns, **{"keys": 1, "timing": EVENT, **options})


FAMILIES = [Tumble(10), Hop(20, 10), Session(10), Count(100, 100), Sliding(10), State(2)]


@pytest.mark.parametrize("window", FAMILIES, ids=lambda window: type(window).__name__)
class TestEveryOperator:
    def test_rows_without_a_time_and_far_ahead_are_rejected_and_move_nothing(self, window: Any) -> None:
        operator = build(plan(window, timing=EventTime(max_ahead=1_000)))
        rows: list[tuple[Any, ...]] = [(None, "a", 1), (1_001, "a", 1), (5, "a", True)]
        operator.process(rows, 0)
        assert [(entry.row, entry.reason) for entry in operator.take_rejected()] == [
            (rows[0], "no_time"),
            (rows[1], "ahead"),
        ]
        assert operator.take_rejected() == []
        counters = operator.counters
        assert (counters.rows, counters.no_time, counters.ahead, counters.late) == (3, 1, 1, 0)
        assert operator.clock.watermark <= 5

    def test_a_bad_argument_counts_nowhere(self, window: Any) -> None:
        operator = build(plan(window, (AggregateCall("count"), AggregateCall("sum", (3,))), (Type.BOOLEAN, Type.ANY)))
        operator.process([(1, "a", True, "seven", "carried along")], 0)
        [entry] = operator.take_rejected()
        assert (entry.reason, entry.row[-1]) == ("bad_argument", "carried along")
        assert "seven" in entry.error
        assert operator.groups == 0
        operator.process([(2, "a", True, 7), (3, "a", False, 1)], 0)
        assert operator.counters.bad_argument == 1

    def test_new_keys_are_refused_at_the_limit(self, window: Any) -> None:
        operator = build(plan(window, limits=Limits(max_keys=2)))
        operator.process([(1, key, True) for key in "abcab"], 0)
        assert [(entry.row[1], entry.reason) for entry in operator.take_rejected()] == [("c", "keys_full")]
        assert operator.counters.keys_full == 1

    def test_old_keys_are_given_up_at_the_limit(self, window: Any) -> None:
        operator = build(plan(window, limits=Limits(max_keys=2, when_full=WhenFull.DROP_OLDEST)))
        operator.process([(1, key, True) for key in "abc"], 0)
        assert operator.take_rejected() == []
        assert operator.counters.keys_dropped == 1
        assert operator.groups == 2

    def test_a_snapshot_that_does_not_fit_is_refused(self, window: Any) -> None:
        operator = build(plan(window))
        operator.process([(1, "a", True)], 0)
        image = operator.snapshot()
        other = build(plan(window, identity="another query"))
        with pytest.raises(SnapshotError, match="another query"):
            other.restore(image)
        with pytest.raises(SnapshotError, match="damaged"):
            operator.restore(image[:-1] + bytes([image[-1] ^ 1]))
        with pytest.raises(SnapshotError, match="no snapshot"):
            operator.restore(b"\xc1")
        assert operator.snapshot() == image

    def test_values_survive_a_snapshot(self, window: Any) -> None:
        values = [1, 1.0, True, None, MISSING, b"\xff", "\ud800", "é", Decimal("1.50"), 1 << 70, [1, {"a": None}]]
        values += [{"b": (1, 2.5)}]
        calls = tuple(AggregateCall(name, (3,)) for name in ("array_agg", "max", "first", "mode"))
        calls += (AggregateCall("count", (3,), distinct=True),)
        wide = plan(window, calls, (Type.BOOLEAN, Type.ANY), keys=2, boxed=frozenset({1}))
        operator = build(wide)
        operator.process([(1, ("k", boxed(value)), True, value) for value in values], 0)
        operator.process([(None, "rejected", True, MISSING)], 0)
        image = operator.snapshot()
        copy = build(wide)
        copy.restore(image)
        assert copy.snapshot() == image
        assert copy.take_rejected() == operator.take_rejected()
        assert repr(copy.finish(0)) == repr(operator.finish(0))

    def test_time_that_was_seen_elsewhere_counts(self, window: Any) -> None:
        operator = build(plan(window, timing=EventTime(delay=5, max_ahead=1_000)))
        assert operator.observe(3, 0) == []
        assert operator.clock.watermark == -2
        assert operator.observe(1_001, 0) == []  # too far ahead to be believed
        assert operator.observe(1, 0) == []
        assert operator.clock.watermark == -2
        assert operator.counters.rows == 0
        operator.process([(4, "a", True)], 0)
        emitted = operator.observe(100, 0)
        assert emitted == ([] if isinstance(window, Count | State) else emitted)
        assert operator.clock.watermark == 95
        assert operator.groups == (1 if isinstance(window, Count | State) else 0)

    def test_nothing_is_due_without_rows(self, window: Any) -> None:
        operator = build(plan(window))
        assert operator.next_deadline is None
        assert operator.advance(10**18) == []
        assert operator.process([], 10**18) == []
        assert operator.finish(0) == []


def test_a_window_version_of_the_future_is_refused() -> None:
    operator = build(plan(Tumble(10)))
    image = bytearray(operator.snapshot())
    image[1] = 99  # the array's first element
    with pytest.raises(SnapshotError, match="version 99"):
        operator.restore(bytes(image))


def test_keys_of_any_type_stay_apart_and_come_back() -> None:
    operator = build(plan(Tumble(10), boxed=frozenset({0})))
    keys: list[Any] = [1, True, 1.0, "1", None, [1], [True], {"a": 1}, {"a": True}, MISSING]
    operator.process([(1, boxed(key), 0) for key in keys], 0)
    found = [(row[0], row[3]) for row in operator.finish(0)]
    assert repr(found) == repr([(1, 2), *((key, 1) for key in keys if key is True or type(key) not in (int, float))])


@pytest.mark.parametrize(("keys", "key", "head"), [(0, (), ()), (1, "a", ("a",)), (2, ("a", 1), ("a", 1))])
def test_the_emitted_row(keys: int, key: Any, head: tuple[Any, ...]) -> None:
    operator = build(plan(Tumble(10), SUM, keys=keys))
    assert operator.process([(12, key, 4), (13, key, None), (20, key, 1)], 0) == [(*head, 10, 20, 2, 4)]


def test_a_window_closes_in_pieces() -> None:
    operator = build(plan(Tumble(10)))
    operator.max_groups = 2
    operator.process([(1, number, 0) for number in range(10)], 0)
    pieces = [operator.process([(10, 0, 0)], 0)]
    while (due := operator.next_deadline) is not None and due <= 0:
        pieces.append(operator.advance(0))
    assert [len(piece) for piece in pieces if piece] == [2, 2, 2, 2, 2]
    assert [row[0] for piece in pieces for row in piece] == list(range(10))
    assert operator.groups == 1  # and what is past was forgotten, in pieces too


def test_a_row_that_comes_while_its_window_is_told() -> None:
    """The window [0, 10) is past for the row, though keys of it are still to be told; [5, 15) takes it."""
    operator = build(plan(Hop(10, 5), SUM))
    operator.max_groups = 1
    emitted = operator.process([(6, "a", 1), (6, "b", 1), (10, "c", 0)], 0)  # [0, 10) is due, a is told
    emitted += operator.process([(7, "a", 10), (7, "b", 10)], 0)
    emitted += operator.finish(0)
    while operator.next_deadline is not None:
        emitted += operator.finish(0)
    assert sorted(emitted) == [
        ("a", 0, 10, 1, 1),
        ("a", 5, 15, 2, 11),
        ("b", 0, 10, 1, 1),
        ("b", 5, 15, 2, 11),
        ("c", 5, 15, 1, 0),
        ("c", 10, 20, 1, 0),
    ]


def test_a_pane_that_begins_while_its_window_is_told() -> None:
    """The rest of [0, 20) has the rows of the pane [10, 20), though a late row has opened it only now."""
    operator = build(plan(Hop(20, 10), SUM, timing=EventTime(allowed_lateness=10, max_ahead=None)))
    operator.max_groups = 1
    emitted = operator.process([(5, "a", 1), (5, "b", 1), (20, "c", 0)], 0)
    while len(emitted) < 3:
        emitted += operator.advance(0)
    assert emitted[-1] == ("a", 0, 20, 1, 1)
    emitted = operator.process([(15, "b", 10)], 0)
    while (due := operator.next_deadline) is not None and due <= 0:
        emitted += operator.advance(0)
    assert {row[:3]: row for row in emitted}["b", 0, 20] == ("b", 0, 20, 2, 11)


def test_a_delayed_sliding_window_waits_for_all_rows_of_its_last_instant() -> None:
    operator = build(plan(Sliding(10, 5, when=3), SUM, (Type.ANY, Type.BOOLEAN)))
    assert operator.process([(10, "a", 1, True), (15, "a", 2, False), (15, "a", 4, False)], 0) == []
    assert operator.process([(16, "a", 8, False)], 0) == [("a", 0, 15, 3, 7)]


def test_a_sliding_window_forgets_rows_and_keys() -> None:
    operator = build(plan(Sliding(10), limits=Limits(max_rows=3)))
    rows = operator.process([(time, "a", 0) for time in range(5)], 0)
    assert [row[-1] for row in rows] == [1, 2, 3, 3, 3]
    assert operator.counters.rows_dropped == 2
    operator.process([(100, "b", 0)], 0)
    assert operator.groups == 1


def test_rows_between_windows_are_counted() -> None:
    operator = build(plan(Hop(5, 10)))
    assert operator.process([(3, "a", 0), (7, "a", 0), (12, "a", 0)], 0) == [("a", 0, 5, 1)]
    assert [entry.reason for entry in operator.take_rejected()] == ["between_windows"]
    assert operator.counters.between_windows == 1


def test_rows_that_where_has_dropped_close_windows() -> None:
    operator = build(plan(Tumble(10), timing=EventTime(delay=2, idle_timeout=5, max_ahead=None)))
    operator.process([(4, "a", 0)], 100_000)
    assert operator.observe(11, 101_000) == []
    assert operator.next_deadline == 106_000  # the source was seen
    assert operator.observe(12, 102_000) == [("a", 0, 10, 1)]
    operator.process([(9, "a", 0)], 102_000)
    assert [entry.reason for entry in operator.take_rejected()] == ["late"]


def test_in_processing_time_only_the_clock_is_observed() -> None:
    operator = build(plan(Tumble(10), timing=ProcessingTime()))
    operator.process([(4, "a", 0)], 4_000)
    assert operator.observe(50, 9_000) == []
    assert operator.observe(0, 10_000) == [("a", 0, 10, 1)]


@pytest.mark.parametrize(
    ("window", "span"), [(Tumble(10), (0, 10)), (Hop(20, 10), (0, 20)), (Session(10), (5, 15)), (Sliding(10), None)]
)
def test_a_late_row_says_what_it_has_missed(window: Any, span: Any) -> None:
    operator = build(plan(window))
    operator.process([(40, "a", True), (5, "a", True)], 0)
    [entry] = operator.take_rejected()
    assert (entry.reason, entry.window_start, entry.window_end) == ("late", *(span or (None, None)))


@pytest.mark.parametrize("window", [Count(3, 3), Count(3, 1), State(2, 3)], ids=repr)
def test_a_key_that_falls_silent_is_given_up(window: Any) -> None:
    columns = (Type.BOOLEAN, Type.BOOLEAN)
    operator = build(plan(window, columns=columns, limits=Limits(idle_keys=100)))
    operator.process([(1, "a", True, False), (2, "b", True, False)], 10_000)
    operator.process([(3, "a", True, False)], 60_000)
    assert operator.next_deadline == 110_000
    assert operator.advance(109_999) == []
    assert operator.groups > 0
    operator.process([], 110_000)
    assert operator.counters.keys_idle == 1
    assert operator.next_deadline == 160_000
    copy = build(operator.plan)
    copy.restore(operator.snapshot())
    assert copy.next_deadline == 160_000
    copy.advance(160_000)
    assert (copy.groups, copy.next_deadline, copy.counters.keys_idle) == (0, None, 1)
    assert operator.process([(4, "a", True, True)], 159_999)[0][-1] == 3


def test_many_silent_keys_are_given_up_in_pieces() -> None:
    operator = build(plan(Count(3, 3), limits=Limits(idle_keys=100)))
    operator.max_groups = 4
    operator.process([(1, number, True) for number in range(10)], 0)
    pieces = []
    while (due := operator.next_deadline) is not None and due <= 200_000:
        assert operator.advance(200_000) == []
        pieces.append(operator.groups)
    assert pieces == [6, 2, 0]
    assert build(plan(Count(3, 3), limits=Limits(idle_keys=None))).process([(1, "a", True)], 0) == []


def test_at_the_limit_the_key_that_was_silent_longest_goes() -> None:
    operator = build(plan(Count(3, 3), limits=Limits(max_keys=2, when_full=WhenFull.DROP_OLDEST)))
    operator.process([(time, key, True) for time, key in enumerate("abac")], 0)
    assert operator.process([(9, "a", True)], 0) == [("a", 0, 9, 3)]


def test_an_idle_source_closes_its_windows() -> None:
    operator = build(plan(Tumble(10), timing=EventTime(delay=2, idle_timeout=5, max_ahead=None)))
    operator.process([(4, "a", 0)], 100_000)  # the clock is at 100
    assert operator.next_deadline == 108_000
    assert operator.advance(107_999) == []
    assert operator.advance(108_000) == [("a", 0, 10, 1)]
    assert operator.next_deadline is None


def test_stragglers_are_no_pause() -> None:
    operator = build(plan(Tumble(10), timing=EventTime(idle_timeout=5, allowed_lateness=100, max_ahead=None)))
    operator.process([(9, "a", 0)], 100_000)
    operator.process([(3, "a", 0)], 104_000)
    assert operator.next_deadline == 109_000
    assert operator.advance(108_999) == []
    assert operator.advance(109_000) == [("a", 0, 10, 2)]


def test_a_clock_that_is_set_back_begins_the_pause_anew() -> None:
    operator = build(plan(Tumble(10), timing=EventTime(idle_timeout=5, max_ahead=None)))
    operator.process([(9, "a", 0)], 100_000)
    assert operator.advance(50_000) == []
    assert operator.next_deadline == 55_000
    assert operator.advance(55_000) == [("a", 0, 10, 1)]


def test_processing_time_does_not_go_back() -> None:
    operator = build(plan(Tumble(10), timing=ProcessingTime()))
    assert operator.process([(15, "a", 0)], 20_000) == [("a", 10, 20, 1)]
    assert operator.process([(5, "a", 0), (6, "a", 0)], 6_000) == []
    assert operator.next_deadline == 30_000
    assert operator.advance(30_000) == [("a", 20, 30, 2)]
    assert operator.counters.late == 0


def test_a_correction_has_the_same_key_and_window() -> None:
    operator = build(plan(Hop(20, 10), SUM, timing=EventTime(allowed_lateness=10, max_ahead=None)))
    assert operator.process([(5, "a", 1), (10, "a", 2)], 0) == [("a", -10, 10, 1, 1)]
    assert operator.process([(6, "a", 4)], 0) == [("a", -10, 10, 2, 5)]
    assert operator.process([(20, "a", 0)], 0) == [("a", 0, 20, 3, 7)]
    assert operator.process([(7, "a", 8)], 0) == [("a", 0, 20, 4, 15)]
    assert operator.take_rejected() == []
    operator.process([(30, "a", 0), (8, "a", 1)], 0)
    assert [entry.reason for entry in operator.take_rejected()] == ["late"]


def test_a_session_is_corrected_and_then_forgotten() -> None:
    operator = build(plan(Session(5), SUM, timing=EventTime(allowed_lateness=10, max_ahead=None)))
    operator.process([(1, "a", 1)], 0)
    assert operator.process([(9, "b", 0)], 0) == [("a", 1, 6, 1, 1)]
    assert operator.process([(3, "a", 2)], 0) == [("a", 1, 8, 2, 3)]
    assert operator.process([(30, "b", 0)], 0) == [("b", 9, 14, 1, 0)]
    assert operator.groups == 1
    operator.process([(3, "a", 2)], 0)
    assert operator.counters.late == 1


def test_emit_on_change_tells_a_window_after_each_batch_and_not_at_its_end() -> None:
    operator = build(plan(Tumble(10), SUM, emit=Emit.ON_CHANGE))
    assert operator.process([(1, "a", 1), (2, "a", 1), (3, "b", 1)], 0) == [("a", 0, 10, 2, 2), ("b", 0, 10, 1, 1)]
    assert operator.process([(12, "a", 5)], 0) == [("a", 10, 20, 1, 5)]
    assert operator.finish(0) == []
    assert operator.groups == 0


def test_what_is_left_out_is_counted() -> None:
    operator = build(plan(Tumble(10), (AggregateCall("array_agg", (2,)),), limits=Limits(max_values=2)))
    operator.process([(1, "a", number) for number in range(5)], 0)
    assert operator.finish(0) == [("a", 0, 10, [0, 1])]
    assert operator.counters.values_left_out == 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: plan(Tumble(0)), "greater than zero"),
        (lambda: plan(Count(2, 3)), "must not be greater than the size"),
        (lambda: plan(Hop(86_400_000_000, 1_000_000)), "limit is 1440"),
        (lambda: plan(Tumble(7_000_000, zone="Asia/Shanghai")), "divide a day"),
        (lambda: plan(Tumble(3_600_000_000, zone="Asia/Peking")), "Asia/Peking"),
        (lambda: plan(Tumble(10), timing=EventTime(delay=-1)), "delay must not be negative"),
        (lambda: plan(Tumble(10), limits=Limits(max_keys=0)), "max_keys"),
        (lambda: plan(Sliding(10, delay=-1)), "delay"),
        (lambda: plan(State(2), emit=Emit.ON_CHANGE), "on_change"),
        (lambda: plan(Sliding(10), timing=EventTime(allowed_lateness=1)), "allowed_lateness"),
        (lambda: plan(State(9)), "place 9"),
        (lambda: plan(Tumble(10), (AggregateCall("array_agg", (2,), order=(OrderBy(5),)),)), "place 5"),
        (lambda: plan(Count(2, 2), limits=Limits(idle_keys=0)), "idle_keys"),
    ],
)
def test_a_plan_that_cannot_be(make: Any, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        make()


def test_the_fingerprint_tells_what_states_mean() -> None:
    first = plan(Tumble(10))
    assert first.fingerprint == plan(Tumble(10), limits=Limits(max_keys=5), timing=EventTime(delay=7)).fingerprint
    others = [plan(Tumble(20)), plan(Tumble(10), SUM), plan(Tumble(10), keys=2), plan(Tumble(10), identity="x")]
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 5
