"""Every function: its examples, run as SQL, what the page says of it, and eKuiper's own tests."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import RuleError
from core.message import MISSING, Message, Type
from core.metrics import Metrics
from rules.analytics import ANALYTICS, AnalyticCall, AnalyticPlan, build
from rules.analytics.base import Example
from rules.analytics.reference import analytics_page
from rules.compiler import RuleSource, compile_rules
from rules.runtime import Engine

# ruff: noqa: S608 - SQL from strings is what is tested here

EXAMPLES = [example for function in ANALYTICS.values() for example in function.examples]
VIEW = 'CREATE VIEW v AS SELECT payload.x AS x, payload.y AS y FROM "t";'


def results(call: str, rows: tuple[tuple[Any, ...], ...]) -> list[Any]:
    """What a call gives for rows of x and y."""
    failures: list[Exception] = []
    engine = Engine(Metrics(), on_error=lambda _rule, _message, error: failures.append(error))
    engine.load(compile_rules([RuleSource("r.sql", f"{VIEW} INSERT INTO o SELECT {call} AS r FROM v")]))
    messages = []
    for row in rows:
        message = Message("t", b"")
        message.document = dict(zip("xy", row, strict=False))
        messages.append(message)
    batches = [*engine.process(messages, 1), *engine.finish(1)]
    assert failures == []
    return [row[0] for batch in batches for row in batch.rows]


def test_every_function_has_examples_and_an_entry() -> None:
    page = analytics_page("")
    for function in ANALYTICS.values():
        assert function.examples
        assert f"`{function.form} -> " in page
        assert function.doc.endswith(".")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.call)
def test_examples(example: Example) -> None:
    found = results(example.call, example.rows)
    assert found == list(example.results)
    assert [type(value) for value in found] == [type(value) for value in example.results]


# eKuiper's own tests: rows of arguments, WHEN and partition, and the results


def through(name: str, constants: tuple[Any, ...], rows: list[tuple[Any, ...]], keyed: bool = False) -> list[Any]:
    """``rows``: arguments, then WHEN, then the partition."""
    count = len(rows[0]) - 2
    call = AnalyticCall(name, tuple(range(count)), constants, count + 1 if keyed else None, count)
    return [row[-1] for row in build(AnalyticPlan((call,), (Type.ANY,) * (count + 2))).process(rows, 1)]


def test_lag_as_in_ekuiper() -> None:
    values = ["foo", None, "bar", "foo", "foo"]
    rows = [(value, "default", True, "self") for value in values]
    assert through("lag", (1, True), rows) == ["default", "foo", "foo", "bar", "foo"]
    rows = [("foo", True, "1"), ("bar", True, "1"), ("bar", True, "2"), ("foo", True, "1"), ("foo", True, "2")]
    assert through("lag", (1, True), rows, keyed=True) == [None, "foo", None, "bar", "bar"]
    rows = [("foo", True, ""), ("bar", False, ""), ("bar", True, ""), ("foo", False, ""), ("foo", True, "")]
    assert through("lag", (1, True), rows) == [None, "foo", "foo", "bar", "bar"]
    rows = [(value, True, "") for value in ("bar", "bar", "foo", "foo", "foo")]
    assert through("lag", (2, True), rows) == [None, None, "bar", "bar", "foo"]


def test_latest_as_in_ekuiper() -> None:
    rows = [(value, True, "") for value in (None, "foo", None, "bar", None, "foo")]
    assert through("latest", (), rows) == [None, "foo", "foo", "bar", "bar", "foo"]


def test_had_changed_as_in_ekuiper() -> None:
    pairs = [("bar", 20), ("baz", 44), ("baz", 44), ("foo", 44), ("foo", None), ("foo", 44), ("baz", 44)]
    rows = [(*pair, True, "") for pair in pairs]
    assert through("had_changed", (True,), rows) == [True, True, False, True, False, False, True]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        # eKuiper has 0 where nothing was accumulated yet; here that is null, as for aggregates.
        ("acc_avg", (1, 1, 1, 1, 1), (None, 1.0, 1.0, 1.0, None)),
        ("acc_min", (1, 5, 4, 3, 2), (None, 5, 4, 3, None)),
        ("acc_sum", (1, 1, 1, 1, 1), (None, 1, 2, 3, None)),
        ("acc_count", (1, 1, 1, 1, 1), (0, 1, 2, 3, 0)),
    ],
)
def test_accumulating_between_conditions_as_in_ekuiper(
    name: str, values: tuple[int, ...], expected: tuple[Any, ...]
) -> None:
    begin, reset = (False, True, False, False, False), (False, False, False, True, False)
    rows = [(value, one, two, True, "") for value, one, two in zip(values, begin, reset, strict=True)]
    assert through(name, (), rows) == list(expected)


def test_missing_is_null() -> None:
    rows = [(1, True, ""), (MISSING, True, ""), (3, True, "")]
    assert through("lag", (1, False), rows) == [None, 1, None]
    assert through("had_changed", (False,), rows) == [True, True, True]
    assert through("changed_col", (False,), rows) == [1, None, 3]


def test_an_unknown_name_suggests_one() -> None:
    with pytest.raises(RuleError, match="did you mean 'latest'"):
        compile_rules([RuleSource("r.sql", 'INSERT INTO o SELECT lattest(qos) FROM "t"')])
