"""A message of a few bytes never becomes a row that no machine holds, and no statement takes for ever to compile."""

from __future__ import annotations

import pytest

from core.errors import RuleError
from rules.compiler import RuleSource, compile_rules
from rules.evaluate import EvalError, evaluate

# ruff: noqa: S608 - SQL from strings is what is tested here


def chain(form: str, length: int) -> str:
    """Fields each of which is made of the one before it, as ``form`` says."""
    fields = [form.format("payload.a") + " AS a1"]
    fields += [form.format(f"a{number - 1}") + f" AS a{number}" for number in range(2, length + 1)]
    return f'SELECT {", ".join(fields)} FROM "t"'


GROWING = (
    "[{0}, {0}]",
    "{{'x': {0}, 'y': {0}}}",
    "{0} || {0}",
    "{0} + {0}",
    "{0} * {0}",
    "concat({0}, {0})",
    "map_put('x', {0}, {{'y': {0}}})",
    "CASE WHEN qos = 1 THEN [{0}, {0}] ELSE {0} END",
    "CAST([{0}, {0}] AS TEXT)",
    "COALESCE([{0}, {0}], 1)",
)


@pytest.mark.parametrize("form", GROWING)
def test_what_doubles_with_every_field_is_refused(form: str) -> None:
    sql = chain(form, 40)
    with pytest.raises(RuleError) as caught:
        compile_rules([RuleSource("x.sql", f"INSERT INTO o {sql}")])
    assert [found.code for found in caught.value.diagnostics] == ["too-complex"]
    with pytest.raises(EvalError) as refused:
        evaluate(sql, {"payload": '{"a": 3}'})
    assert refused.value.code == "too-complex"


@pytest.mark.parametrize("form", GROWING)
def test_a_few_of_them_are_fine(form: str) -> None:
    assert compile_rules([RuleSource("x.sql", f"INSERT INTO o {chain(form, 9)}")]).rules


@pytest.mark.parametrize(
    "form",
    ["{0} > {0}", "{0} IS NULL OR {0}", "upper(lower({0}))", "sqrt({0}) + 1", "[{0}]", "sqrt({0}) * sqrt({0})"],
)
def test_what_does_not_grow_may_go_on(form: str) -> None:
    assert compile_rules([RuleSource("x.sql", f"INSERT INTO o {chain(form, 60)}")]).rules


def test_lists_of_constants_are_no_copies() -> None:
    items = ", ".join(["1"] * 900)
    assert compile_rules([RuleSource("x.sql", f'INSERT INTO o SELECT [{items}] AS a, [a, a] AS b FROM "t"')]).rules


def test_values_without_a_name_do_not_grow_in_plans() -> None:
    fields = "1 AS a.x, " + ", ".join(f"a IS NULL AS a.x{number}, a IS NULL AS a.y{number}" for number in range(40))
    [rule] = compile_rules([RuleSource("x.sql", f'INSERT INTO o SELECT {fields} FROM "t"')]).rules
    assert len(rule.explain()) < 20_000


def test_a_text_that_is_joined_too_often_fails_where_it_runs() -> None:
    sql = chain("{0} || {0}", 9)
    with pytest.raises(EvalError, match="result_too_large"):
        evaluate(sql, {"payload": {"a": "x" * (1 << 20)}})
    with pytest.raises(EvalError, match="result_too_large"):
        evaluate(sql.replace("||", "+"), {"payload": {"a": "x" * (1 << 20)}})
