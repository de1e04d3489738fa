"""Every aggregate: its examples, its types, its nulls, merging in any grouping, DISTINCT, FILTER."""

from __future__ import annotations

import ast
import math
import statistics
import sys
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ExtensionError
from core.message import MISSING, Type
from rules.aggregates import AGGREGATES, Accumulators, AggregateCall, OrderBy, Tally, check_call, from_functions
from rules.aggregates.accumulator import CallError
from rules.aggregates.base import Aggregate, AggregateTable
from rules.aggregates.meters import KEPT, MAX_PENDING
from rules.functions.base import Refusal

SECOND = 1_000_000
APPROXIMATE = {"approx_count_distinct", "approx_percentile"}


def call_of(text: str, **options: Any) -> AggregateCall:
    """``percentile_cont(x, 0.5)``: names are arguments, literals are constants."""
    node = ast.parse(text.replace("(*)", "()"), mode="eval").body
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    arguments = [item for item in node.args if isinstance(item, ast.Name)]
    constants = tuple(ast.literal_eval(item) for item in node.args[len(arguments) :])
    return AggregateCall(node.func.id, tuple(range(2, 2 + len(arguments))), constants, **options)


def run(text: str, rows: Sequence[tuple[Any, ...]], types: Sequence[Type] = (), **options: Any) -> Any:
    """The result for rows a second apart."""
    known = dict(enumerate(types, 2))
    accumulators = Accumulators([call_of(text, **options)], AGGREGATES, Tally(), known)
    state = accumulators.new()
    for number, row in enumerate(rows):
        accumulators.add(state, (number * SECOND, None, *row))
    return accumulators.output(state)[0]


BY_NAME = {aggregate.name: aggregate for aggregate in AGGREGATES.values()}
EXAMPLES = [example for aggregate in BY_NAME.values() for example in aggregate.examples]


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.call for example in EXAMPLES])
def test_example(example: Any) -> None:
    found = run(example.call, example.rows)
    assert type(found) is type(example.result)
    assert found == (pytest.approx(example.result) if isinstance(found, float) else example.result)


@pytest.mark.parametrize("aggregate", BY_NAME.values(), ids=BY_NAME)
class TestEveryAggregate:
    def test_is_documented_and_has_an_example(self, aggregate: Aggregate) -> None:
        assert aggregate.doc.endswith((".", "?", "`."))
        assert aggregate.examples

    def test_of_nothing_and_of_nulls(self, aggregate: Aggregate) -> None:
        text = aggregate.examples[0].call
        nulls = [(None,) * 3, (MISSING,) * 3]
        empty = 0 if "count" in aggregate.name and aggregate.result is Type.BIGINT else None
        empty_list = [] if aggregate.name == "array_agg" else empty
        assert run(text, []) == empty_list
        assert run(text, nulls) == ([None, None] if aggregate.name == "array_agg" else empty)

    def test_merging_gives_what_one_state_gives(self, aggregate: Aggregate) -> None:
        """In any grouping, with states of no row between, and without changing what is merged in."""
        example = aggregate.examples[0]
        rows = [(number * SECOND, None, *row) for number, row in enumerate(example.rows * 3)]
        accumulators = Accumulators([call_of(example.call)], AGGREGATES, Tally())

        def state_of(some: Sequence[Any]) -> list[Any]:
            state = accumulators.new()
            for row in some:
                accumulators.add(state, row)
            return state

        whole = accumulators.output(state_of(rows))
        third = len(rows) // 3
        parts = [rows[:third], [], rows[third : 2 * third], rows[2 * third :]]
        left = accumulators.joined([accumulators.joined([state_of(part) for part in parts[:3]]), state_of(parts[3])])
        last = accumulators.joined([state_of(part) for part in parts[1:]])
        before = accumulators.output(last)
        right = accumulators.joined([state_of(parts[0]), last])
        assert accumulators.output(last) == before
        for found in (accumulators.output(left), accumulators.output(right)):
            assert found == (pytest.approx(whole) if isinstance(whole[0], float) else whole)

    def test_types_decide_only_the_speed(self, aggregate: Aggregate) -> None:
        """Declared columns give the same results as columns of which nothing is known."""
        for example in aggregate.examples:
            columns = list(zip(*example.rows, strict=True))
            types = []
            for column in columns:
                kinds = {type(value) for value in column if value is not None}
                by_kind = {int: Type.BIGINT, float: Type.DOUBLE, str: Type.TEXT, bool: Type.BOOLEAN, dict: Type.OBJECT}
                types.append(by_kind.get(kinds.pop(), Type.ANY) if len(kinds) == 1 else Type.ANY)
            assert run(example.call, example.rows, types) == run(example.call, example.rows)


numbers = st.integers(-100, 100) | st.integers(-100, 100).map(float) | st.none()


@given(st.lists(st.tuples(numbers), max_size=30))
def test_numbers_against_the_standard_library(rows: list[tuple[Any, ...]]) -> None:
    values = [value for (value,) in rows if value is not None]
    assert run("sum(x)", rows) == (sum(values) if values else None)
    assert run("avg(x)", rows) == (sum(values) / len(values) if values else None)
    assert run("min(x)", rows) == min(values, default=None)
    assert run("max(x)", rows) == max(values, default=None)
    assert run("median(x)", rows) == (statistics.median(values) if values else None)
    wanted = statistics.pvariance(values) if values else None
    assert run("var_pop(x)", rows) == (None if wanted is None else pytest.approx(float(wanted)))
    if len(values) > 1:
        assert run("stddev_samp(x)", rows) == pytest.approx(statistics.stdev(values))
    assert run("count(x)", rows, distinct=True) == len(set(values))
    assert run("sum(x)", rows, distinct=True) == (sum(set(values)) if values else None)


@given(st.lists(st.tuples(st.integers(-50, 50)), min_size=1, max_size=40), st.data())
def test_merges_of_numbers_at_any_place(rows: list[tuple[Any, ...]], data: st.DataObject) -> None:
    calls = [call_of(f"{name}(x)") for name in ("var_samp", "avg", "min", "mode", "counter_delta", "time_weighted_avg")]
    accumulators = Accumulators(calls, AGGREGATES, Tally())
    places = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    states = []
    for first, last in zip([0, *places], [*places, len(rows)], strict=True):
        state = accumulators.new()
        for number in range(first, last):
            accumulators.add(state, (number * SECOND, None, *rows[number]))
        states.append(state)
    whole = accumulators.new()
    for number, row in enumerate(rows):
        accumulators.add(whole, (number * SECOND, None, *row))
    assert accumulators.output(accumulators.joined(states)) == pytest.approx(accumulators.output(whole))


def test_the_types_of_sums_and_means() -> None:
    decimals = [(Decimal("0.1"),), (Decimal("0.2"),)]
    for types in ([Type.DECIMAL], [Type.ANY]):
        total = run("sum(x)", decimals, types)
        assert (total, type(total)) == (Decimal("0.3"), Decimal)
        assert run("avg(x)", decimals, types) == Decimal("0.15")
    assert run("sum(x)", [(1 << 70,), (1,)]) == (1 << 70) + 1
    assert type(run("avg(x)", [(2,), (4,)])) is float
    assert run("sum(x)", [(Decimal(1),), (0.5,), (2,)]) == 3.5
    assert AGGREGATES["sum"].result_type([Type.DECIMAL]) is Type.DECIMAL
    assert AGGREGATES["avg"].result_type([Type.BIGINT]) is Type.DOUBLE


def test_a_sum_beyond_all_numbers_is_null_and_counted() -> None:
    tally = Tally()
    accumulators = Accumulators([call_of("sum(x)"), call_of("avg(x)"), call_of("stddev(x)")], AGGREGATES, tally)
    state = accumulators.new()
    for _ in range(3):
        accumulators.add(state, (0, None, 1.7e308))
        accumulators.add(state, (0, None, -1e308))
    accumulators.add(state, (0, None, 1.7e308))
    accumulators.add(state, (0, None, 1.7e308))
    assert accumulators.output(state)[:2] == (None, None)
    assert tally.out_of_range >= 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("sum(x)", "1"), ("avg(x)", True), ("stddev(x)", [1]), ("bool_or(x)", 1), ("string_agg(x, ',')", 1)),
        *(("merge_agg(x)", "a"), ("median(x)", "a"), ("counter_delta(x)", "a"), ("duration(x)", 1)),
    ],
)
def test_a_value_of_the_wrong_type_changes_nothing(text: str, value: Any) -> None:
    accumulators = Accumulators([AggregateCall("count"), call_of(text)], AGGREGATES, Tally())
    state = accumulators.new()
    with pytest.raises(Refusal):
        accumulators.add(state, (0, None, value))
    assert accumulators.output(state)[0] == 0


def test_a_filter_keeps_the_row_from_one_aggregate_and_from_its_checks() -> None:
    calls = [AggregateCall("count"), AggregateCall("sum", (2,), filter=3), AggregateCall("count", filter=3)]
    accumulators = Accumulators(calls, AGGREGATES, Tally())
    state = accumulators.new()
    for row in [(0, None, 5, True), (0, None, "text", False), (0, None, 7, None), (0, None, None, True)]:
        accumulators.add(state, row)
    assert accumulators.output(state) == (4, 5, 2)


def test_distinct_values_are_those_of_sql() -> None:
    rows = [(1,), (1.0,), (True,), ("1",), (None,), ([1],), ([1],), ({"a": 1},)]
    assert run("count(x)", rows, distinct=True) == 5
    assert run("array_agg(x)", [(2,), (None,), (2,), (1,)], distinct=True) == [2, None, 1]
    assert run("string_agg(x, '-')", [("b",), ("a",), ("b",)], distinct=True) == "b-a"
    assert run("percentile_disc(x, 0.5)", [(1,), (1,), (1,), (2,), (3,)], distinct=True) == 2


def test_mixed_values_have_an_order() -> None:
    rows = [("b",), (2,), (None,), (True,), ([1],)]
    assert run("min(x)", rows) == 2
    assert run("max(x)", rows) == "b"
    assert run("max(x)", [(Decimal("1.5"),), (1.25,), (1,)]) == Decimal("1.5")


def test_first_and_last_go_by_time() -> None:
    accumulators = Accumulators([call_of(f"{name}(x)") for name in ("first", "last", "array_agg")], AGGREGATES, Tally())
    state = accumulators.new()
    for time, value in [(5, "c"), (9, "d"), (9, "e"), (1, "a"), (1, "b")]:
        accumulators.add(state, (time, None, value))
    assert accumulators.output(state) == ("a", "e", ["a", "b", "c", "d", "e"])


@pytest.mark.parametrize(
    ("terms", "letters"),
    [
        ((OrderBy(3),), "bbcade"),
        ((OrderBy(3, desc=True),), "deabcb"),
        ((OrderBy(3, nulls_first=True),), "debbca"),
        ((OrderBy(3, desc=True, nulls_first=False),), "abcbde"),
        ((OrderBy(3), OrderBy(4, desc=True)), "bcbade"),
        ((OrderBy(4), OrderBy(2)), "ebdacb"),
        ((OrderBy(2),), "abbcde"),
    ],
)
@pytest.mark.parametrize("split", range(7))
def test_order_by_in_a_call(terms: tuple[OrderBy, ...], letters: str, split: int) -> None:
    rows = [("b", 2, 1), ("d", None, 1), ("a", 3, 2), ("c", 2, 2), ("e", MISSING, 0), ("b", 1, 9)]
    calls = [AggregateCall(name, (2,), order=terms) for name in ("array_agg", "first", "last")]
    calls.append(AggregateCall("string_agg", (2,), ("-",), order=terms))
    accumulators = Accumulators(calls, AGGREGATES, Tally())
    states = [accumulators.new(), accumulators.new()]
    for number, row in enumerate(rows):
        accumulators.add(states[number >= split], (number, None, *row))
    for parts in (states, states[::-1]):
        assert accumulators.output(accumulators.joined(parts)) == (
            list(letters),
            letters[0],
            letters[-1],
            "-".join(letters),
        )


def test_distinct_values_in_an_order() -> None:
    rows = [("b",), ("c",), ("b",), ("a",)]
    assert run("array_agg(x)", rows, distinct=True, order=(OrderBy(2, desc=True),)) == ["c", "b", "a"]
    assert run("string_agg(x, '')", rows, distinct=True, order=(OrderBy(2),)) == "abc"
    assert run("last(x)", rows, distinct=True, order=(OrderBy(2),)) == "c"
    assert run("counter_delta(x)", [(1,), (5,), (1,)], distinct=True) == 4


@given(st.permutations(range(40)))
def test_meters_go_by_time(order: list[int]) -> None:
    register = [number * 3 % 50 for number in range(40)]
    rows = [(number * SECOND, None, register[number], register[number] > 20) for number in range(40)]
    calls = [call_of("counter_delta(x)"), call_of("time_weighted_avg(x)"), AggregateCall("duration", (3,))]
    accumulators = Accumulators(calls, AGGREGATES, Tally())
    state = accumulators.new()
    for number in order:
        accumulators.add(state, rows[number])
    steps = list(pairwise(register))
    grown = sum(after - before if after >= before else after for before, after in steps)
    assert accumulators.output(state) == (
        grown,
        pytest.approx(sum(before for before, _ in steps) / 39),
        sum(before > 20 for before, _ in steps) * SECOND,
    )


def test_a_long_series_is_folded_and_very_old_rows_are_left_out() -> None:
    tally = Tally()
    accumulators = Accumulators([call_of("counter_delta(x)")], AGGREGATES, tally)
    state = accumulators.new()
    count = 10 * MAX_PENDING
    for number in range(count):
        accumulators.add(state, (number, None, number))
    assert len(state[0][5]) < MAX_PENDING
    accumulators.add(state, (count - KEPT, None, count - KEPT))
    assert tally.left_out == 0
    accumulators.add(state, (5, None, 5))
    assert tally.left_out == 1
    assert accumulators.output(state) == (count - 1,)
    other = accumulators.new()
    for number in range(count, 2 * count):
        accumulators.add(other, (number, None, number))
    few = accumulators.new()
    accumulators.add(few, (2 * count, None, 2 * count))
    for states in ([state, other, few], [few, other, state], [other, state, few]):
        assert accumulators.output(accumulators.joined(states)) == (2 * count,)


def test_sketches_are_close() -> None:
    rows = [(number,) for number in range(20_000)]
    assert run("approx_count_distinct(x)", rows) == pytest.approx(20_000, rel=0.1)
    assert run("approx_percentile(x, 0.9)", rows) == pytest.approx(18_000, abs=1_000)


def test_an_aggregate_of_four_functions() -> None:
    product = from_functions(
        "product",
        "The product.",
        init=lambda: [1],
        add=lambda state, value: state.__setitem__(0, state[0] * value),
        merge=lambda one, other: one.__setitem__(0, one[0] * other[0]),
        result=lambda state: state[0],
    )
    accumulators = Accumulators([AggregateCall("product", (2,))], AggregateTable((product,)), Tally())
    states = [accumulators.new(), accumulators.new()]
    for state, value in zip(states, (6, 7), strict=True):
        accumulators.add(state, (0, None, value))
        accumulators.add(state, (0, None, None))
    assert accumulators.output(accumulators.joined(states)) == (42,)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (AggregateCall("nothing"), "no aggregate function nothing"),
        (AggregateCall("sum"), r"sum\(x\) was given 0 arguments"),
        (AggregateCall("percentile_cont", (2,)), "fraction"),
        (AggregateCall("percentile_cont", (2,), (1.5,)), "between 0 and 1, not a float"),
        (AggregateCall("string_agg", (2,), (1,)), "must be a text"),
        (AggregateCall("count", distinct=True), "DISTINCT"),
        (AggregateCall("sum", (2,), order=(OrderBy(3),)), "sum.. takes no ORDER BY: it is for array_agg, first, last"),
        (AggregateCall("array_agg", (2,), order=(OrderBy(3),), distinct=True), "ordered by its arguments only"),
    ],
)
def test_a_wrong_call_is_refused(call: AggregateCall, words: str) -> None:
    with pytest.raises(CallError, match=words):
        check_call(call, AGGREGATES)


def test_a_missing_library_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketches", None)
    with pytest.raises(ExtensionError, match=r"pip install 'headrace\[sketches\]'"):
        check_call(AggregateCall("approx_count_distinct", (2,)), AGGREGATES)


def test_variance_survives_a_large_mean() -> None:
    rows = [(1e9 + value,) for value in (4.0, 7.0, 13.0, 16.0)]
    assert run("var_samp(x)", rows) == pytest.approx(30.0)
    assert math.isfinite(run("stddev_pop(x)", rows))
