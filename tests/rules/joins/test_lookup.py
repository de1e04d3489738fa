"""Lookup tables and their joins: order, waiting, caching, failure and limits, without any far side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import SECOND
from core.message import MISSING
from rules.joins import LookupJoin, LookupOptions, LookupPlan, LookupTable, OnFailure, grouped, join_key, key_reader
from rules.joins.keys import key_values
from rules.windows import PlanError, SnapshotError

Row = tuple[Any, ...]

OPTIONS = LookupOptions(
    key=("id",), connection="db", table="stations", ttl=10_000_000, negative_ttl=2_000_000, timeout=5_000_000
)
FILE = LookupOptions(key=("id",), file="stations.csv")
PLAN = LookupPlan((1,))


def table(**options: Any) -> LookupTable:
    return LookupTable("stations", replace(OPTIONS, **options), 2)


def joined(table: LookupTable, **options: Any) -> LookupJoin:
    return LookupJoin(replace(PLAN, **options), table)


def answer(table: LookupTable, rows: dict[Any, list[Row]], now: int) -> None:
    """Ask and answer all that waits; keys that ``rows`` lacks have none."""
    keys = table.take_requests(now)
    assert keys
    table.resolve({key: rows.get(key, []) for key in keys}, now)


def test_rows_behind_one_that_waits_wait_too() -> None:
    stations = table()
    join = joined(stations)
    stations.take_requests(0)
    assert join.process([(1, "a"), (2, "b"), (3, "a")], 0) == []
    assert join.parked == 3
    assert stations.take_requests(0) == ["a", "b"]  # each once
    stations.resolve({"b": [("b", "B")]}, 0)
    assert join.next_deadline == 5 * SECOND
    assert join.advance(0) == []  # the first row still waits for a
    stations.resolve({"a": [("a", "A")]}, 0)
    assert join.next_deadline == 0
    assert join.advance(0) == [(1, "a", "a", "A"), (2, "b", "b", "B"), (3, "a", "a", "A")]
    assert join.next_deadline is None
    assert join.process([(4, "b")], 0) == [(4, "b", "b", "B")]
    assert (join.counters.rows, join.counters.emitted) == (4, 4)


def test_all_rows_of_a_key_join() -> None:
    stations = table()
    join = joined(stations)
    join.process([(1, "a")], 0)
    answer(stations, {"a": [("a", 1), ("a", 2)]}, 0)
    assert join.advance(0) == [(1, "a", "a", 1), (1, "a", "a", 2)]
    assert join.process([(2, "a")], 0) == [(2, "a", "a", 1), (2, "a", "a", 2)]


@pytest.mark.parametrize("outer", [False, True])
def test_a_row_without_a_match(outer: bool) -> None:
    stations = table()
    join = joined(stations, outer=outer)
    rows: list[Row] = [(1, "none"), (2, None), (3, MISSING), (4, float("nan"))]
    assert join.process(rows, 0) == []
    assert stations.take_requests(0) == ["none"]  # what equals nothing is not asked for
    stations.resolve({"none": []}, 0)
    assert repr(join.advance(0)) == repr([(*row, None, None) for row in rows] if outer else [])
    assert join.counters.no_match == 4
    assert join.take_rejected() == []


def test_what_else_on_asks_for() -> None:
    for outer, expected in ((False, [(5, "a", "a", 3)]), (True, [(5, "a", "a", 3), (1, "a", None, None)])):
        stations = table()
        join = joined(stations, outer=outer, on=lambda row: row[0] > row[3])
        join.process([(5, "a"), (1, "a"), (None, "a")], 0)
        answer(stations, {"a": [("a", 3), ("a", 9)]}, 0)
        assert join.advance(0) == expected
        [rejected] = join.take_rejected()
        assert (rejected.row, rejected.reason) == ((None, "a"), "bad_condition")
        assert join.counters.bad_condition == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, True),
        (1, Decimal("1.00"), True),
        (1.5, Decimal("1.5"), True),
        (1, "1", False),
        (1, True, False),
        (0, False, False),
        ("a", b"a", False),
        ([1, "x"], [1.0, "x"], True),
        ([1], [True], False),
        ({"a": 1}, {"a": 1}, True),
        (None, None, False),
        (MISSING, MISSING, False),
        (Decimal("NaN"), Decimal("NaN"), False),
    ],
)
def test_keys_are_equal_where_sql_says_so(one: Any, other: Any, same: bool) -> None:
    rows = grouped([(one,)], key_reader((0,)))
    assert (join_key(other) in rows) is same
    both = grouped([(one, "x")], key_reader((0, 1)))
    assert (key_reader((0, 1))((other, "x")) in both) is same
    assert [key_values(key) for key in both] == ([] if one is None or one is MISSING or one != one else [(one, "x")])


def test_answers_grow_old() -> None:
    stations = table()
    join = joined(stations)
    join.process([(1, "a"), (2, "b")], 0)
    answer(stations, {"a": [("a", 1)]}, 0)
    assert len(join.advance(0)) == 1
    assert join.process([(3, "b"), (4, "a")], 2 * SECOND - 1) == [(4, "a", "a", 1)]
    assert stations.take_requests(2 * SECOND) == []
    join.process([(5, "a"), (6, "b")], 2 * SECOND)  # that there is no b is known for two seconds
    assert stations.take_requests(2 * SECOND) == ["b"]
    stations.resolve({"b": [("b", 2)]}, 2 * SECOND)
    assert join.advance(2 * SECOND) == [(6, "b", "b", 2)]
    join.process([(7, "a")], 10 * SECOND)
    assert stations.take_requests(10 * SECOND) == ["a"]
    assert (stations.counters.requested, stations.counters.absent) == (4, 1)


def test_the_answer_that_was_not_used_makes_way() -> None:
    stations = table(max_entries=2)
    join = joined(stations)
    join.process([(1, "a"), (2, "b")], 0)
    answer(stations, {"a": [("a", 1)], "b": [("b", 1)]}, 0)
    join.advance(0)
    join.process([(3, "a"), (4, "c")], 0)
    answer(stations, {"c": [("c", 1)]}, 0)
    assert (stations.entries, stations.counters.evicted) == (2, 1)
    assert len(join.process([(5, "a"), (6, "c")], 0)) == 3
    assert join.process([(7, "b")], 0) == []


def test_rows_get_their_answer_though_it_finds_no_place() -> None:
    stations = table(max_entries=1)
    join = joined(stations)
    join.process([(number, number) for number in range(5)], 0)
    answer(stations, {number: [(number, "x")] for number in range(5)}, 0)
    assert [row[0] for row in join.advance(0)] == [0, 1, 2, 3, 4]
    assert stations.entries == 1


def test_answers_of_many_rows_count_as_many_and_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rules.joins.table.MAX_ROWS_PER_KEY", 3)
    stations = table(max_entries=4)
    join = joined(stations)
    join.process([(1, "a"), (2, "b")], 0)
    answer(stations, {"a": [("a", number) for number in range(5)], "b": [("b", 1), ("b", 2)]}, 0)
    assert len(join.advance(0)) == 5
    assert (stations.counters.rows_left_out, stations.counters.evicted, stations.entries) == (2, 1, 2)


def test_answers_to_long_keys_are_not_kept() -> None:
    stations = table()
    join = joined(stations)
    join.process([(1, "x" * 5_000), (2, ["y" * 5_000])], 0)
    keys = stations.take_requests(0)
    stations.resolve({key: [("x", 1)] for key in keys}, 0)
    assert len(join.advance(0)) == 2
    assert stations.entries == 0


POLICIES = [
    (OnFailure.STALE, False, []),
    (OnFailure.STALE, True, [(1, "a", None, None)]),
    (OnFailure.NULL, False, []),
    (OnFailure.NULL, True, [(1, "a", None, None)]),
    (OnFailure.DROP, False, []),
    (OnFailure.DROP, True, []),
]


@pytest.mark.parametrize(("policy", "outer", "expected"), POLICIES)
def test_a_row_whose_key_gets_no_answer(policy: OnFailure, outer: bool, expected: list[Row]) -> None:
    stations = table(on_error=policy)
    join = joined(stations, outer=outer)
    join.process([(1, "a")], SECOND)
    assert stations.take_requests(SECOND) == ["a"]
    assert join.next_deadline == 6 * SECOND
    assert join.advance(6 * SECOND - 1) == []
    assert join.advance(6 * SECOND) == expected
    assert (join.counters.unanswered, join.counters.stale, stations.waiting) == (1, 0, 0)
    dropped = policy is OnFailure.DROP or (policy is OnFailure.STALE and not outer)
    assert [(entry.row, entry.reason, entry.error) for entry in join.take_rejected()] == (
        [((1, "a"), "unanswered", "stations: no answer in time")] if dropped else []
    )
    # The answer that comes after all is of use to the next row.
    stations.resolve({"a": [("a", "A")]}, 7 * SECOND)
    assert join.process([(2, "a")], 7 * SECOND) == [(2, "a", "a", "A")]


def test_an_old_answer_is_better_than_none() -> None:
    stations = table()
    join = joined(stations)
    join.process([(1, "a")], 0)
    answer(stations, {"a": [("a", "A")]}, 0)
    join.advance(0)
    assert join.process([(2, "a")], 20 * SECOND) == []
    keys = stations.take_requests(20 * SECOND)
    stations.failed(keys, "connection refused", 20 * SECOND)
    assert join.advance(25 * SECOND) == [(2, "a", "a", "A")]
    assert (join.counters.unanswered, join.counters.stale) == (1, 1)


def test_a_request_that_fails_is_repeated() -> None:
    stations = table()
    join = joined(stations)
    join.process([(1, "a")], 0)
    stations.failed(stations.take_requests(0), "connection refused", 0)
    assert stations.last_error == "connection refused"
    assert stations.next_request == SECOND
    assert stations.take_requests(SECOND - 1) == []
    answer(stations, {"a": [("a", "A")]}, SECOND)
    assert join.advance(SECOND) == [(1, "a", "a", "A")]
    assert stations.last_error is None
    assert stations.counters.failed == 1


def test_while_nothing_answers_rows_do_not_wait_and_its_return_is_noticed() -> None:
    stations = table(on_error=OnFailure.NULL)
    join = joined(stations, outer=True)
    join.process([(1, "a")], 0)
    for second in range(5):
        stations.failed(stations.take_requests(second * SECOND), "connection refused", second * SECOND)
    assert join.advance(5 * SECOND) == [(1, "a", None, None)]
    assert join.process([(2, "b")], 5 * SECOND) == [(2, "b", None, None)]  # at once
    assert join.parked == 0
    keys = stations.take_requests(5 * SECOND)
    assert "b" in keys  # but it is asked for
    stations.resolve({key: [(key, "back")] for key in keys}, 5 * SECOND)
    assert join.process([(3, "b")], 5 * SECOND) == [(3, "b", "b", "back")]
    assert join.process([(4, "c")], 5 * SECOND) == []  # and rows wait again


def test_after_a_long_silence_rows_wait_again() -> None:
    stations = table()
    join = joined(stations, outer=True)
    join.process([(1, "a")], 0)
    stations.failed(stations.take_requests(0), "connection refused", 0)
    assert len(join.advance(5 * SECOND)) == 1
    assert join.process([(2, "a")], 3_600 * SECOND) == []


def test_keys_that_nobody_waits_for_are_bounded_and_go() -> None:
    stations = table(on_error=OnFailure.NULL)
    join = joined(stations, outer=True)
    join.process([(0, "first")], 0)
    stations.failed(stations.take_requests(0), "connection refused", 0)
    join.advance(5 * SECOND)
    assert len(join.process([(number, number) for number in range(2_000)], 6 * SECOND)) == 2_000
    assert stations.waiting == 0
    stations.failed(stations.take_requests(6 * SECOND), "connection refused", 6 * SECOND)
    remaining = 0
    while keys := stations.take_requests((7 + remaining) * SECOND):
        stations.failed(keys, "connection refused", (7 + remaining) * SECOND)
        remaining += 1
    assert remaining <= 1
    assert stations.in_flight == 0


def test_keys_whose_join_has_gone_are_forgotten() -> None:
    stations = table()
    joined(stations).process([(1, "a")], 0)
    stations.failed(stations.take_requests(0), "connection refused", 0)
    stations.failed(stations.take_requests(9 * SECOND), "connection refused", 9 * SECOND)
    assert (stations.waiting, stations.next_request) == (0, None)


def test_keys_that_are_given_back_are_asked_for_at_once() -> None:
    stations = table()
    joined(stations).process([(1, "a")], 0)
    stations.give_back(stations.take_requests(0))
    assert (stations.in_flight, stations.last_error, stations.counters.failed) == (0, None, 0)
    assert stations.take_requests(0) == ["a"]


def test_joins_share_their_table() -> None:
    stations = table()
    one, other = joined(stations), joined(stations)
    one.process([(1, "a")], 0)
    other.process([(2, "a")], 0)
    assert stations.take_requests(0) == ["a"]
    stations.resolve({"a": [("a", "A")]}, 0)
    assert one.advance(0) == [(1, "a", "a", "A")]
    assert other.advance(0) == [(2, "a", "a", "A")]


def test_the_owner_is_woken_by_the_first_key() -> None:
    stations = table()
    woken: list[int] = []
    stations.wake = lambda: woken.append(len(woken))
    join = joined(stations)
    join.process([(1, "a"), (2, "b")], 0)
    assert woken == [0]
    stations.take_requests(0)
    join.process([(3, "c")], 0)
    assert woken == [0, 1]


def test_requests_come_in_bounded_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rules.joins.table.MAX_KEYS_PER_REQUEST", 3)
    stations = table()
    joined(stations).process([(number, number) for number in range(5)], 0)
    assert stations.take_requests(0) == [0, 1, 2]
    assert stations.next_request == 0
    assert stations.take_requests(0) == [3, 4]
    assert stations.next_request is None
    assert stations.in_flight == 5


def test_a_full_join_says_so_and_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rules.joins.lookup.MAX_OVERSHOOT", 2)
    stations = table()
    join = joined(stations, max_parked=3)
    join.process([(1, "a"), (2, "a")], 0)
    assert not join.full
    join.process([(number, "a") for number in range(3, 8)], 0)
    assert join.full
    assert [(entry.row[0], entry.reason) for entry in join.take_rejected()] == [(6, "parked_full"), (7, "parked_full")]
    answer(stations, {"a": [("a", 0)]}, 0)
    assert len(join.advance(0)) == 5
    assert not join.full


def test_many_rows_are_told_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rules.joins.lookup.MAX_ROWS_PER_CALL", 2)
    monkeypatch.setattr("rules.joins.lookup.MAX_EMITTED_PER_CALL", 4)
    stations = table()
    join = joined(stations)
    join.process([(number, "a") for number in range(5)], 0)
    answer(stations, {"a": [("a", 0), ("a", 1), ("a", 2)]}, 0)
    sizes = []
    while join.next_deadline is not None:
        assert join.next_deadline == 0
        sizes.append(len(join.advance(0)))
    assert sizes == [6, 6, 3]
    assert len(join.process([(number, "a") for number in range(5)], 0)) == 6
    assert join.parked == 3


def test_the_end_of_the_stream_ends_the_waiting() -> None:
    stations = table()
    join = joined(stations, outer=True)
    join.process([(1, "a")], 0)
    assert join.finish(0) == [(1, "a", None, None)]
    assert join.next_deadline is None


def test_rows_that_wait_are_in_the_snapshot_and_ask_again() -> None:
    stations = table()
    join = joined(stations)
    join.process([(1, "a"), (2, "b"), (3, None)], 0)
    image = join.snapshot()
    fresh = table()
    other = joined(fresh)
    other.restore(image)
    assert other.snapshot() == image
    assert other.next_deadline == 0
    assert other.process([(4, "a")], 0) == []
    answer(fresh, {"a": [("a", "A")], "b": [("b", "B")]}, 0)
    assert other.advance(0) == [(1, "a", "a", "A"), (2, "b", "b", "B"), (4, "a", "a", "A")]
    with pytest.raises(SnapshotError):
        joined(fresh, identity="another").restore(image)


def test_a_table_from_a_file_knows_everything() -> None:
    stations = LookupTable("stations", replace(FILE, max_entries=3), 2)
    join = joined(stations, outer=True)
    stations.replace(grouped([("a", 1), ("b", 2), (None, 3), ("a", 4)], key_reader((0,))))
    assert join.process([(1, "a"), (2, "z"), (3, "b")], 0) == [
        (1, "a", "a", 1),
        (1, "a", "a", 4),
        (2, "z", None, None),
        (3, "b", "b", 2),
    ]
    assert (join.parked, stations.next_request, stations.entries) == (0, None, 3)
    with pytest.raises(PlanError, match="max_entries = 3"):
        stations.replace({number: ((number, 0),) for number in range(4)})
    assert join.process([(4, "b")], 0) == [(4, "b", "b", 2)]


def test_joins_that_cannot_be() -> None:
    for options in ({"key": ()}, {"max_parked": 0}):
        with pytest.raises(PlanError):
            replace(PLAN, **options)
    with pytest.raises(PlanError, match="has 1 columns, 2 are given"):
        joined(table(), key=(0, 1))


ROWS = st.lists(st.tuples(st.integers(0, 99), st.sampled_from(["a", "b", "c", "d", None])), max_size=30)


@given(ROWS, st.lists(st.integers(1, 5), min_size=1, max_size=4), st.booleans(), st.booleans(), st.data())
def test_however_answers_come_the_result_is_that_of_a_known_table(
    rows: Sequence[Row], sizes: list[int], outer: bool, restarts: bool, data: st.DataObject
) -> None:
    """Late answers, failures, restarts: as long as every key is answered, order and rows are those of a file."""
    content = {"a": [("a", 1)], "b": [("b", 2), ("b", 3)], "d": [("d", 4)]}
    known = LookupTable("stations", FILE, 2)
    known.replace({key: tuple(found) for key, found in content.items()})
    expected = joined(known, outer=outer).process(rows, 0)
    stations = table(timeout=10**12)
    join = joined(stations, outer=outer)
    emitted: list[Row] = []
    flying: list[Any] = []
    failures = data.draw(st.integers(0, 5))
    now = place = number = 0
    while place < len(rows) or join.parked:
        size = sizes[number % len(sizes)]
        emitted += join.process(rows[place : place + size], now)
        place += size
        number += 1
        flying += stations.take_requests(now)
        if flying and (number > 40 or data.draw(st.booleans())):
            key = flying.pop(data.draw(st.integers(0, len(flying) - 1)))
            if failures and number % 2:
                failures -= 1
                stations.failed([key], "lost", now)
            else:
                stations.resolve({key: content.get(key, [])}, now)
        if restarts and number % 3 == 0:
            image = join.snapshot()
            join = joined(stations, outer=outer)
            join.restore(image)
        now += SECOND // 4  # less than the pause after a failure
    assert emitted == expected
