"""Whatever comes in: text as SQL gives rows or a RuleError, payloads never get an exception out of the engine."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.mutations import Mutator, material
from core.errors import RuleError
from core.message import Message
from core.metrics import Metrics
from rules.compiler import RuleSource, compile_rules
from rules.evaluate import EvalError, evaluate
from rules.functions import builtin_functions
from rules.functions.ordering import term_order
from rules.loaded import RuleFailure
from rules.runtime import Engine

# ruff: noqa: S608, SIM905 - SQL from strings is what is tested here

WORDS = st.sampled_from(
    "SELECT FROM WHERE AND OR NOT IN CASE WHEN THEN ELSE END AS FOREACH DO INCASE INSERT INTO CREATE RULE WITH LIKE "
    "ILIKE BETWEEN IS NULL CAST TRY_CAST EXTRACT INTERVAL TIMESTAMP AT TIME ZONE DECIMAL HOUR "
    "BIGINT TEXT true div mod payload payload.a topic qos a b upper concat json_decode "
    "'text' '1' \"name\" \"t/#\" 1 0 2.5 -1 ( ) [ ] , . ; + - * / = != < > <= =~ || :: .. [1] [-0] (1) * -- /* */ "
    "1e9 ? { } : trim( position( ARRAY BOTH EXCEPT REPLACE IS DISTINCT \u00e9 GROUP BY ORDER LIMIT DISTINCT "
    "SOURCE TABLE VIEW WATERMARK FOR LEFT JOIN ON HAVING QUALIFY FILTER OVER PARTITION DESC NULLS TUMBLE("
    " count(".split()
)
SOUP = st.lists(WORDS, max_size=30).map(" ".join)
OPERATORS = st.sampled_from("+ - * / div mod = != < >= =~ || and or like".split())
CASTS = st.sampled_from("bigint double text boolean decimal decimal(5,2) bytes timestamp interval array object".split())
EXPRESSIONS = st.recursive(
    st.sampled_from("1 0 2.5 'a' '12' true null payload.a payload.b.c payload qos x [1,'a'] now()".split())
    | st.sampled_from(["interval '1 hour'", "interval '1 month'", "timestamp '2026-01-31'"]),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, OPERATORS, inner),
        st.builds("(not {})".format, inner),
        st.builds("(- {})".format, inner),
        st.builds("({} in ({}, {}))".format, inner, inner, inner),
        st.builds("({} between {} and {})".format, inner, inner, inner),
        st.builds("(case when {} then {} when {} then {} else {} end)".format, inner, inner, inner, inner, inner),
        st.builds("(case {} when {} then {} end)".format, inner, inner, inner),
        st.builds("cast({} as {})".format, inner, CASTS),
        st.builds("try_cast({} as {})".format, inner, CASTS),
        st.builds("extract({} from {})".format, st.sampled_from(["epoch", "hour", "week", "second"]), inner),
        st.builds("date_trunc('day', {} at time zone 'Asia/Shanghai')".format, inner),
        st.builds("({})[{}]".format, inner, inner),
        st.builds("({}).a".format, inner),
        st.builds("{}({}, {})".format, st.sampled_from(["coalesce", "COALESCE", "NULLIF", "GREATEST"]), inner, inner),
        st.builds("({} is distinct from {})".format, inner, inner),
        st.builds("({} is not true)".format, inner),
        st.builds("{{'a': {}, b: {}}}".format, inner, inner),
        st.builds("OBJECT({}, {})".format, inner, inner),
        st.builds("array_sort([{}, {}])".format, inner, inner),
        st.builds("({} in {})".format, inner, inner),
        st.builds("str({})".format, inner),
        st.builds("({} is null)".format, inner),
    ),
    max_leaves=12,
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcxn"), inner, max_size=4),
    max_leaves=8,
)
PAYLOADS = st.binary(max_size=20) | JSON.map(json.dumps).map(str.encode)
CONDITION = st.one_of(st.just(""), EXPRESSIONS.map(" WHERE {}".format))


def rows_or_error(sql: str, columns: dict[str, Any]) -> None:
    with suppress(EvalError):
        try:
            found = evaluate(sql, columns)
        except EvalError as error:
            # An exception that generated code must never meet, and source that Python does not take.
            if error.reason == "failed" or "this statement is too complex" in str(error):
                raise AssertionError(str(error)) from error
            raise
        assert all(isinstance(row, dict) for row in found)


@given(st.text(max_size=80) | SOUP | SOUP.map("SELECT {} FROM t".format))
def test_any_text_gives_rows_or_an_error(sql: str) -> None:
    rows_or_error(sql, {"payload": "{}", "topic": "t"})
    with suppress(RuleError):
        compile_rules([RuleSource("x.sql", sql)], ["a"])


GOOD = material(
    [
        *(path.read_text("utf-8") for path in sorted((Path(__file__).parent / "fixtures").glob("[pt]*/*.sql"))),
        *(f"SELECT {call} AS x FROM t" for found in builtin_functions().values() for call, _result in found.examples),
    ],
    builtin_functions().names(),
)


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False), PAYLOADS)
def test_good_statements_gone_wrong_give_rows_or_an_error(numbers: Random, payload: bytes) -> None:
    sql = Mutator(GOOD, numbers).mutated()
    rows_or_error(sql, {"payload": payload, "topic": "t", "qos": 1})
    with suppress(RuleError):
        compile_rules([RuleSource("x.sql", sql), RuleSource("y.sql", f"INSERT INTO a {sql}")], ["a"])


@given(EXPRESSIONS, CONDITION, PAYLOADS)
def test_any_expression_over_any_payload_gives_rows_or_an_error(
    expression: str, condition: str, payload: bytes
) -> None:
    rows_or_error(f"SELECT {expression} AS x, x AS y FROM t{condition}", {"payload": payload, "topic": "t", "qos": 1})


@given(EXPRESSIONS, CONDITION, PAYLOADS)
def test_the_same_in_a_foreach(expression: str, condition: str, payload: bytes) -> None:
    sql = f"FOREACH payload.a AS x DO {expression} AS y INCASE x != 1 FROM t{condition}"
    rows_or_error(sql, {"payload": payload, "topic": "t", "qos": 1})


def compiles(sql: str) -> bool:
    try:
        compile_rules([RuleSource("x.sql", sql)])
    except RuleError:
        return False
    return True


RULES = ";\n".join(
    sql
    for sql in (
        'INSERT INTO o SELECT payload.a / 10 AS a, payload.b + 1 AS b FROM "t" WHERE payload.a > 5',
        'INSERT INTO o SELECT payload.a.b.c AS a, payload.x[1].n AS n, payload[1] AS one FROM "t"',
        'INSERT INTO o SELECT * FROM "t" WHERE payload.a = \'x\' OR payload.n LIKE \'a%\'',
        'INSERT INTO o SELECT payload, 1 AS payload.a.b, upper(payload.n) AS u FROM "t"',
        'INSERT INTO o FOREACH payload.x AS i DO i.a * i.b AS p, i INCASE i.n < 3 FROM "t"',
        'INSERT INTO o SELECT CASE payload.a WHEN 1 THEN payload.b END AS c FROM "t" WHERE qos IN (1, 2)',
        'INSERT INTO o SELECT payload.a BETWEEN payload.b AND payload.c AS t, payload.x[1..2] AS r FROM "t"',
        'INSERT INTO o SELECT payload AS p FROM "t" WHERE NOT payload.a = payload.b',
    )
)  # fmt: skip


LOADED = compile_rules([RuleSource("x.sql", RULES)])


@settings(max_examples=300, deadline=None)
@given(st.lists(PAYLOADS, max_size=5))
def test_payloads_never_raise_and_every_message_is_accounted_for(payloads: list[bytes]) -> None:
    failures: list[Exception] = []
    metrics = Metrics()
    engine = Engine(metrics, on_error=lambda _rule, _message, error: failures.append(error))
    engine.load(LOADED)
    engine.process([Message("t", payload) for payload in payloads], 0)
    assert all(isinstance(failure, RuleFailure) and failure.code != "failed" for failure in failures)
    counters = [family for family in metrics.collect() if family.kind == "counter"]
    totals = {family.name: sum(float(sample.value) for sample in family.samples) for family in counters}  # type: ignore[arg-type]
    assert totals["headrace_rule_matched_total"] == len(payloads) * len(engine.rules)
    assert totals["headrace_rule_matched_total"] == (
        totals["headrace_rule_passed_total"] + totals["headrace_rule_failed_total"]
    )


@given(JSON, JSON, JSON)
def test_terms_are_ordered(one: Any, two: Any, three: Any) -> None:
    assert term_order(one, two) == -term_order(two, one)
    if term_order(one, two) <= 0 and term_order(two, three) <= 0:
        assert term_order(one, three) <= 0


@given(EXPRESSIONS)
def test_code_and_plan_are_stable(expression: str) -> None:
    sql = f'INSERT INTO o SELECT {expression} AS y FROM "t"'.replace("x", "topic")
    if compiles(sql):
        [one], [two] = (compile_rules([RuleSource("x.sql", sql)]).rules for _ in range(2))
        assert one.source_code == two.source_code
        assert one.explain() == two.explain()
