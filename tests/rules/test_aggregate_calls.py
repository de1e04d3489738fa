"""Calls of aggregates in queries with a window: ORDER BY within them, ``*``, and what is wrong with them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.errors import RuleError
from core.message import Message
from core.metrics import Metrics
from rules.compiler import RuleSource, compile_rules
from rules.functions import builtin_functions
from rules.runtime import Engine

SOURCE = "CREATE SOURCE s (a BIGINT, b TEXT) WITH (topic = 's');"
ROWS = [{"a": 2, "b": "x"}, {"a": 3, "b": "y"}, {"a": 1, "b": "z"}, {"a": None, "b": "w"}]


def result(call: str, source: str = SOURCE, table: str = "s", rows: list[dict[str, Any]] = ROWS) -> Any:
    """What a call gives for rows that come one after the other."""
    text = f"{source}\nINSERT INTO out SELECT {call} AS r FROM COUNT_WINDOW({table}, {len(rows)});"  # noqa: S608
    engine = Engine(Metrics())
    engine.load(compile_rules([RuleSource("f.sql", text)], ["out"], builtin_functions()))
    [batch] = engine.process([Message("s", json.dumps(row).encode(), received_ns=10**9) for row in rows], 10**9)
    [row] = batch.rows
    return row[0]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("array_agg(b ORDER BY a)", ["z", "x", "y", "w"]),
        ("array_agg(b ORDER BY a DESC)", ["w", "y", "x", "z"]),
        ("array_agg(b ORDER BY a DESC NULLS LAST)", ["y", "x", "z", "w"]),
        ("array_agg(b ORDER BY a IS NULL, b DESC)", ["z", "y", "x", "w"]),
        ("array_agg(DISTINCT b ORDER BY b)", ["w", "x", "y", "z"]),
        ("string_agg(b, '-' ORDER BY a NULLS FIRST)", "w-z-x-y"),
        ("first(b ORDER BY a)", "z"),
        ("last(b ORDER BY a NULLS FIRST)", "y"),
        ("array_agg(b ORDER BY a) FILTER (WHERE a < 3)", ["z", "x"]),
        ("collect(*)[2]", {"a": 3, "b": "y"}),
        ("last(*)", {"a": None, "b": "w"}),
        ("merge_agg(*)", {"a": None, "b": "w"}),
        ("count(*)", 4),
    ],
)
def test_calls(call: str, expected: Any) -> None:
    assert result(call) == expected


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("sum(a ORDER BY b)", r"sum\(\) takes no ORDER BY: it is for array_agg, first, last"),
        ("array_agg(DISTINCT b ORDER BY a)", "can be ordered by its arguments only"),
        ("sum(*)", r"sum\(\*\) has no meaning"),
    ],
)
def test_what_is_wrong_with_a_call(call: str, words: str) -> None:
    with pytest.raises(RuleError, match=words):
        result(call)


def test_the_whole_row_needs_declared_columns() -> None:
    with pytest.raises(RuleError, match="without declared columns"):
        result("collect(*)", source="", table='"s"')
