"""What one message may become: rows, and bytes of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.message import Message
from core.metrics import Metrics
from rules.compiler import RuleSource, compile_rules
from rules.limits import DEFAULT, Limits
from rules.loaded import RuleFailure
from rules.runtime import Engine


def run(query: str, *payloads: Any, limits: Limits = DEFAULT) -> tuple[list[tuple[Any, ...]], list[str]]:
    """The rows of a query for some payloads, and the codes of the failures."""
    failures: list[str] = []

    def failed(_rule: str, _message: Message, error: Exception) -> None:
        assert isinstance(error, RuleFailure)
        failures.append(error.code)

    engine = Engine(Metrics(), on_error=failed)
    engine.load(compile_rules([RuleSource("r.sql", f'INSERT INTO a {query} FROM "t"')]), limits=limits)
    batches = engine.process([Message("t", json.dumps(payload).encode()) for payload in payloads], 0)
    return [row for batch in batches for row in batch.rows], failures


@pytest.mark.parametrize("condition", ["", "INCASE i > 0"])
def test_foreach_makes_so_many_rows_of_a_message_and_no_more(condition: str) -> None:
    limits = Limits(max_rows=3)
    rows, failures = run(f"FOREACH payload AS i DO i {condition}", [1] * 3, [1] * 4, [1], limits=limits)
    assert (len(rows), failures) == (4, ["too_many_rows"])
    rows, failures = run("FOREACH payload AS i DO i INCASE i > 0", [0] * 100 + [1] * 3, limits=limits)
    assert (len(rows), failures) == (3, [])


@pytest.mark.parametrize(
    "field",
    [
        "pad(payload.a, 6000)",
        "payload.a || payload.a",
        "payload.a + payload.a",
        "[payload.a, payload.a]",
        "{'x': payload.a, 'y': [payload.a]}",
        "map_put('a.b', payload.a || payload.a, {'x': 1})",
        "split(payload.a || payload.a, 'q')",
        "CASE WHEN payload.n = 1 THEN payload.a || payload.a END",
        "coalesce(payload.none, payload.a || payload.a)",
    ],
)
def test_a_row_may_not_grow_beyond_the_limit(field: str) -> None:
    limits = Limits(max_bytes=5_000)
    payloads = [{"a": "x" * size, "n": 1} for size in (10, 3_000, 20)]
    if "6000" in field:
        assert run(f"SELECT {field} AS f", *payloads, limits=limits) == ([], ["result_too_large"] * 3)
        return
    rows, failures = run(f"SELECT {field} AS f", *payloads, limits=limits)
    assert (len(rows), failures) == (2, ["result_too_large"])


def test_several_values_count_together() -> None:
    fields = ", ".join(f"payload.a || '' AS f{number}" for number in range(10))
    limits = Limits(max_bytes=5_000)
    rows, failures = run(f"SELECT {fields}", {"a": "x" * 400}, {"a": "x" * 600}, limits=limits)
    assert (len(rows), failures) == (1, ["result_too_large"])


def test_what_foreach_repeats_counts_with_every_row() -> None:
    limits = Limits(max_bytes=50_000)
    payload = {"big": "x" * 900, "l": [1] * 20}
    assert len(run("FOREACH payload.l AS i DO i, payload.big AS big", payload, limits=limits)[0]) == 20
    payload["l"] = [1] * 60
    assert run("FOREACH payload.l AS i DO i, payload.big AS big", payload, limits=limits) == ([], ["result_too_large"])
    assert len(run("FOREACH payload.l AS i DO i", payload, limits=limits)[0]) == 60
    grown = "FOREACH payload.l AS i DO i, payload.big || 'x' AS big"
    assert run(grown, payload, limits=limits) == ([], ["result_too_large"])


def test_a_large_result_that_is_within_the_limit_passes() -> None:
    rows, failures = run("SELECT payload.a || payload.a AS f, [payload.a] AS l", {"a": "x" * (1 << 20)})
    assert (len(rows[0][0]), failures) == (2 << 20, [])


def test_joined_texts_have_the_limit_of_functions() -> None:
    doubled = ", ".join(f"a{n} || a{n} AS a{n + 1}" for n in range(6))
    rows, failures = run(f"SELECT payload.a AS a0, {doubled}", {"a": "x" * (1 << 18)}, limits=Limits(max_bytes=1 << 40))
    assert (rows, failures) == ([], ["result_too_large"])


def test_a_shared_array_is_not_visited_for_ever() -> None:
    doubled = ", ".join(f"[a{n}, a{n}] AS a{n + 1}" for n in range(9))
    assert run(f"SELECT payload.a AS a0, {doubled}", {"a": "x" * 40_000}) == ([], ["result_too_large"])


def test_impure_values_are_computed_once() -> None:
    [(one, other)], _ = run("SELECT uuid_v4() AS u, u AS v", {})
    assert one == other
