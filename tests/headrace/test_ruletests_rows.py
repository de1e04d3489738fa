"""Rows that came beside rows that were expected: what counts as the same, and what is said where it is not."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.message import MISSING, Schema, Type
from headrace.ruletests.bench import ActualRow
from headrace.ruletests.rows import agree, compare, show, unexpected
from headrace.ruletests.settings import Expect
from headrace.ruletests.values import ANYTHING, ExpectedRow

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)
NOON_US = 1_748_779_200_000_000


def row(rule: str = "r", kinds: dict[str, Type] | None = None, **values: Any) -> ActualRow:
    types = tuple((kinds or {}).get(name, Type.ANY) for name in values)
    return ActualRow(rule, Schema(tuple(values), types), tuple(values.values()))


def expect(*rows: Any, **options: Any) -> Expect:
    return Expect(sink="s", rows=[ExpectedRow.parse(one) for one in rows], **options)


def told(expected: Expect, *actual: ActualRow) -> list[str]:
    return [
        line
        for difference in compare(expected, actual)
        for line in [difference.title, *(f"{mark} {text}" for mark, text in difference.lines)]
    ]


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        (1, 1, True),
        (1, 1.0, False),
        (1.0, 1, False),
        (1, True, False),
        (False, 0, False),
        (1, "1", False),
        ("a", b"a", False),
        (b"a", b"a", True),
        (None, None, True),
        (None, MISSING, False),
        (MISSING, MISSING, True),
        (MISSING, None, False),
        (ANYTHING, None, True),
        (ANYTHING, MISSING, False),
        ([1, [2.0]], [1, [2.0]], True),
        ([1], [1, 2], False),
        ({"a": 1}, {"a": 1.0}, False),
        ({"a": ANYTHING}, {"a": "x"}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        (12.5, Decimal("12.50"), True),
        (12, Decimal("12.5"), False),
        (0.1, Decimal("0.1"), True),
        (NOON, NOON, True),
    ],
)
def test_values_agree_or_not(expected: Any, actual: Any, same: bool) -> None:
    assert agree(expected, actual) is same


def test_a_tolerance_makes_numbers_of_both_kinds_comparable() -> None:
    assert agree(7.3, 7.31, 0.1)
    assert not agree(7.3, 7.5, 0.1)
    assert agree(7, 7.0, 0.1)
    assert agree([{"a": 1.0}], [{"a": 1.05}], 0.1)
    assert not agree(1, True, 2)
    assert not agree("1", 1, 2)
    assert not agree(float("nan"), 1.0, 2)


def test_a_row_that_differs_is_told_column_by_column() -> None:
    expected = expect({"station": "CP-1", "kw": 7, "id": "x", "note": {"is": "null"}})
    assert told(expected, row(station="CP-1", kw=7.0, id=MISSING, more=[1])) == [
        "row 1 differs (from rule r)",
        '  station  "CP-1"',
        "- kw       7  (integer)",
        "+ kw       7.0  (float)",
        '- id       "x"  (text)',
        "+ id       missing",
        "+ more     [1]  (not expected)",
        "- note     null  (there is no such column)",
    ]


def test_a_subset_looks_at_the_named_columns_only() -> None:
    assert told(expect({"a": 1}, match="subset"), row(a=1, b=2)) == []
    assert told(expect({"a": 1}), row(a=1, b=2)) != []
    assert told(expect({"a": 2}, match="subset"), row(a=1, b=2)) == ["row 1 differs (from rule r)", "- a  2", "+ a  1"]


def test_one_row_too_many_or_too_few_does_not_shift_the_others() -> None:
    rows = [row(n=n) for n in range(1, 5)]
    assert told(expect({"n": 1}, {"n": 3}, {"n": 4}), *rows) == ["one row too many (from rule r)", '+ {"n": 2}']
    assert told(expect(*({"n": n} for n in (1, 2, 9, 3, 4))), *rows) == ["row 3 is not there", '- {"n": 9}']
    assert told(expect({"n": 1}, {"n": 2}), row(n=2), row(n=1)) != []


def test_rows_in_any_order() -> None:
    expected = expect({"n": 1}, {"n": 2}, unordered=True)
    assert told(expected, row(n=2), row(n=1)) == []
    # The first that fits is not always the right one: "anything" must leave 2 to its own.
    expected = expect({"n": {"is": "anything"}}, {"n": 2}, unordered=True)
    assert told(expected, row(n=2), row(n=1)) == []


def test_what_has_no_partner_is_told_beside_what_is_most_like_it() -> None:
    expected = expect({"a": 1, "b": 1}, {"a": 5, "b": 5}, unordered=True)
    assert told(expected, row(a=5, b=6), row(a=1, b=1), row(a=7, b=7)) == [
        "row 2 differs (from rule r)",
        "  a  5",
        "- b  5",
        "+ b  6",
        "one row too many (from rule r)",
        '+ {"a": 7, "b": 7}',
    ]


def test_the_number_of_rows() -> None:
    counted = Expect(sink="s", count=2)
    assert told(counted, row(a=1), row(a=2)) == []
    assert told(counted, row(a=1)) == ["expected 2 rows, got 1", '+ {"a": 1}']
    assert told(expect(), row(a=1)) == ["one row too many (from rule r)", '+ {"a": 1}']
    title, lines, _ = unexpected([row(a=n) for n in range(100)])
    assert title == "expected no rows, got 100"
    assert lines[-1].text == "... and 80 more"


def test_timestamps_are_points_in_time() -> None:
    actual = row(kinds={"t": Type.TIMESTAMP}, t=NOON_US)
    assert told(expect({"t": NOON}), actual) == []
    assert told(expect({"t": "2025-06-01T14:00:00+02:00"}), actual) == []
    assert told(expect({"t": "2025-06-01T12:00:01Z"}), actual) == [
        "row 1 differs (from rule r)",
        '- t  "2025-06-01T12:00:01Z"  (text)',
        "+ t  2025-06-01T12:00:00Z  (timestamp)",
    ]
    assert told(expect({"t": NOON_US}), actual) != []
    assert told(expect({"t": NOON_US}), row(t=NOON_US)) == []
    assert told(expect({"t": 1 << 62}), row(kinds={"t": Type.TIMESTAMP}, t=1 << 62)) == []


def test_a_row_as_a_json_text_has_no_special_forms() -> None:
    assert told(expect('{"a": null, "b": {"is": "null"}}'), row(a=None, b={"is": "null"})) == []


def test_every_kind_of_value_is_shown() -> None:
    value = {"a": [1, 1.0, True, None, MISSING, ANYTHING, b"\x00\xff", b"", Decimal("1.50"), NOON], "ü\n": "ü\n"}
    assert show(value) == (
        '{"a": [1, 1.0, true, null, missing, anything, hex 00 ff, no bytes, 1.50, 2025-06-01T12:00:00Z], '
        '"ü\\n": "ü\\n"}'
    )


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text("ab1", max_size=3)
    | st.just(MISSING),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
ROWS = st.lists(st.fixed_dictionaries({"a": VALUES, "b": st.integers(0, 2)}), max_size=6)


@given(ROWS, st.randoms(use_true_random=False))
def test_rows_agree_with_themselves_in_any_order(rows: list[dict[str, Any]], chance: Any) -> None:
    expected = [ExpectedRow(one) for one in rows]
    actual = [row(**one) for one in rows]
    assert compare(Expect(sink="s", rows=expected), actual) == []
    chance.shuffle(actual)
    assert compare(Expect(sink="s", rows=expected, unordered=True), actual) == []


@given(ROWS, ROWS)
def test_a_difference_is_found_whenever_there_is_one(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    expected = [ExpectedRow(columns) for columns in one]
    actual = [row(**columns) for columns in other]
    same = len(one) == len(other) and all(map(agree, one, other))
    assert (compare(Expect(sink="s", rows=expected), actual) == []) is same
    if len(one) != len(other):
        assert compare(Expect(sink="s", rows=expected, unordered=True), actual) != []
