"""What SQL means, as tables: expression, columns of the message, value (or the reason why there is none)."""

from __future__ import annotations

from typing import Any

import pytest

from core.message import MISSING
from rules.evaluate import EvalError, evaluate

# ruff: noqa: S608, E501 - SQL from strings is what is tested here, in tables with a case a line

PAYLOAD = (
    '{"n": 7, "f": 2.5, "neg": -7, "s": "abc", "num": "12", "dec": "1.50", "t": true, "o": {"a": {"b": 1}, "k": 2},'
    ' "nul": null, "l": [10, 20, 30], "json": "{\\"x\\": [1, {\\"y\\": 5}]}", "big": 1e308, "e": "", "ts": "true",'
    ' "many": [{"v": 1}, {"v": 2}], "i": 2, "k": "a"}'
)


class Fails(str):
    """The expected reason of a failure at run time."""

    __slots__ = ()


def value_of(expression: str, **columns: Any) -> Any:
    try:
        [row] = evaluate(f'SELECT {expression} AS x FROM "t"', {"payload": PAYLOAD, "topic": "t", "qos": 1, **columns})
    except EvalError as error:
        if error.stage != "run":
            raise
        return Fails(error.reason)
    return row["x"]


def same(one: Any, two: Any) -> bool:
    return type(one) is type(two) and one == two


EXPRESSIONS: list[tuple[str, Any]] = [
    # literals
    ("1", 1),
    ("1.100", 1.1),
    ("1.5e3", 1500.0),
    ("'a'", "a"),
    ("true", True),
    ("FALSE", False),
    (r"'\n'", "\\n"),
    ("'it''s'", "it''s"),
    ("'''quoted'''", "quoted"),
    ("null", MISSING),
    ("[1, 'a', [2]]", [1, "a", [2]]),
    ("[]", []),
    ("[1..4]", [1, 2, 3, 4]),
    ("[-1..1]", [-1, 0, 1]),
    ("[3..1]", []),
    ("[1..99999999]", Fails("out_of_range")),
    # paths
    ("payload.n", 7),
    ("payload.o.a.b", 1),
    ("payload.missing", MISSING),
    ("payload.missing.deeper", MISSING),
    ("payload.n.deeper", MISSING),
    ("payload.nul", None),
    ("payload.nul.deeper", MISSING),
    ("payload.l[1]", 10),
    ("payload.l[-1]", 30),
    ("payload.l[0]", MISSING),
    ("payload.l[4]", MISSING),
    ("payload.l[-4]", MISSING),
    ("payload.l['a']", MISSING),
    ("payload.n[1]", MISSING),
    ("payload.l[payload.i]", 20),
    ("payload.l[payload.s]", MISSING),
    ("payload.many[2].v", 2),
    ("payload.json.x[2].y", 5),
    ("payload.s.x", MISSING),
    ("payload.l[2..3]", [20, 30]),
    ("payload.l[-2..-1]", [20, 30]),
    ("payload.l[2..9]", [20, 30]),
    ("payload.l[3..1]", []),
    ("payload.l[0..1]", Fails("range_get")),
    ("payload.s[1..2]", Fails("range_get")),
    ("payload.missing[1..2]", Fails("range_get")),
    ("unknown", MISSING),
    ("unknown.path", MISSING),
    ("json_decode(payload).o.k", 2),
    # arithmetic
    ("1 + 2 * 3", 7),
    ("(1 + 2) * 3", 9),
    ("7 / 2", 3.5),
    ("6 / 2", 3.0),
    ("payload.n / 2", 3.5),
    ("payload.neg div 2", -3),
    ("payload.neg mod 3", -1),
    ("7 mod -3", 1),
    ("div(-7, 2)", -3),
    ("mod(-7, 3)", -1),
    ("payload.f div 2", Fails("bad_operand")),
    ("payload.n / 0", Fails("division_by_zero")),
    ("payload.n div 0", Fails("division_by_zero")),
    ("payload.n mod 0", Fails("division_by_zero")),
    ("payload.n + payload.f", 9.5),
    ("payload.n - payload.s", Fails("bad_operand")),
    ("payload.n + payload.missing", Fails("bad_operand")),
    ("payload.n + payload.nul", Fails("bad_operand")),
    ("payload.t + 1", Fails("bad_operand")),
    ("payload.big * 10", Fails("out_of_range")),
    ("payload.big + payload.big", Fails("out_of_range")),
    ("payload.big * 10 - payload.big", Fails("out_of_range")),
    ("payload.big / 0.01", Fails("out_of_range")),
    ("-payload.n", -7),
    ("+payload.n", 7),
    ("-payload.s", Fails("bad_operand")),
    ("- - 3", 3),
    ("9007199254740993 + 1", 9007199254740994),
    # joining texts
    ("'a' + 'b'", "ab"),
    ("'a' + 1", "a1"),
    ("1 + 'a'", "1a"),
    ("'v' + 1.50", "v1.5"),
    ("'v' + payload.t", "vtrue"),
    ("'v' + payload.o.a", 'v{"b":1}'),
    ("'v' + payload.missing", "vundefined"),
    ("'v' + payload.nul", "vnull"),
    ("'a' || 1 || 'b'", "a1b"),
    ("'a' || payload.nul", None),
    ("payload.missing || 'a'", MISSING),
    ("'a' || 1 + 2", "a3"),
    # comparison
    ("1 = 1.0", True),
    ("payload.n = 7.0", True),
    ("payload.num = 12", True),
    ("payload.num > 9", True),
    ("payload.dec = 1.5", True),
    ("payload.s = 1", Fails("not_a_number")),
    ("payload.e < 1", Fails("not_a_number")),
    ("payload.t = 'true'", True),
    ("payload.t = payload.ts", True),
    ("payload.nul = 'null'", True),
    ("payload.nul = payload.nul", True),
    ("payload.t = 1", False),
    ("payload.t > 1", True),
    ("payload.t = true", True),
    ("payload.n = true", False),
    ("payload.missing = payload.gone", True),
    ("payload.missing != payload.gone", False),
    ("payload.missing <= payload.gone", True),
    ("payload.missing < payload.gone", False),
    ("payload.missing = 1", False),
    ("payload.missing != 1", False),
    ("payload.missing <> 'a'", False),
    ("payload.missing = 'undefined'", False),
    ("payload.n < payload.t", True),
    ("payload.t < payload.o", True),
    ("payload.o < payload.l", True),
    ("payload.l < payload.s", True),
    ("payload.s > 'abb'", True),
    ("payload.l = [10, 20.0, 30]", True),
    ("payload.l < [10, 21]", True),
    ("payload.l > [10, 20]", True),
    ("payload.o > payload.o.a", True),
    ("'ä' > 'z'", True),
    ("'t/1' =~ 't/+'", True),
    ("topic =~ 'x/#'", False),
    ("'$SYS/x' =~ '#'", False),
    ("payload.n =~ 't'", Fails("bad_operand")),
    ("'t' =~ 't/#/x'", Fails("bad_topic_filter")),
    # lists and ranges of values
    ("1 in (1.0)", False),
    ("1 in ('1')", False),
    ("payload.n in (1, 7)", True),
    ("payload.s in ('x', 'abc')", True),
    ("payload.s not in ('x', 'abc')", False),
    ("payload.n in ('7', payload.n)", True),
    ("payload.missing in (payload.gone)", True),
    ("payload.nul in ('null')", False),
    ("payload.t in (1)", False),
    ("payload.n between 7 and 9", True),
    ("payload.n not between 7 and 9", False),
    ("payload.missing between 1 and 2", False),
    # LIKE
    ("payload.s like 'a%'", True),
    ("payload.s like '%c'", True),
    ("payload.s like 'a_c'", True),
    ("payload.s like 'abc'", True),
    ("payload.s like '%'", True),
    ("payload.s like 'ab%bc'", False),
    ("payload.s like 'a%c'", True),
    ("payload.s like '%b%'", True),
    ("payload.s like '%b%b%'", False),
    ("payload.s like '%bb%'", False),
    ("payload.s ilike '%B_'", True),
    ("payload.s like 'A%'", False),
    ("payload.s ilike 'A%'", True),
    ("payload.s not like 'b%'", True),
    ("'a%b' like 'a\\%b'", True),
    ("'axb' like 'a\\%b'", False),
    ("'aXbXc' like '%X%X%'", True),
    ("'aXbc' like '%X%X%'", False),
    ("'line\nbreak' like 'line%'", True),
    ("payload.missing like 'a'", MISSING),
    ("payload.nul like 'a'", None),
    ("payload.n like '7'", Fails("bad_operand")),
    ("'a' like 'a\\'", Fails("bad_pattern")),
    # null and missing
    ("payload.nul is null", True),
    ("payload.missing is null", True),
    ("payload.e is null", False),
    ("payload.e = ''", True),
    ("payload.missing = ''", False),
    ("payload.n is not null", True),
    ("is_null(payload.nul)", False),
    ("coalesce(payload.missing, 'd')", "d"),
    # what only a machine would write
    ("1 is null", False),
    ("null is null", True),
    ("(1).a", MISSING),
    ("(true)[1]", MISSING),
    ("('[5]')[1]", 5),
    ("(2.5).a is null", True),
    ("1 = true", False),
    # logic
    ("not payload.n = 7", False),
    ("not payload.missing", False),
    ("not payload.s", False),
    ("not not payload.n = 7", True),
    ("payload.n = 7 and payload.s = 'abc'", True),
    ("payload.n = 8 or payload.s = 'abc'", True),
    ("payload.n = 8 and payload.s = 1", False),
    ("payload.n = 7 or payload.s = 1", True),
    ("payload.t and true", True),
    ("payload.missing and true", False),
    ("payload.n and true", Fails("not_boolean")),
    ("true or false and false", True),
    # CASE
    ("case when payload.n > 5 then 'big' else 'small' end", "big"),
    ("case when payload.n > 9 then 'big' when payload.n > 6 then 'mid' end", "mid"),
    ("case when payload.n > 9 then 'big' end", MISSING),
    ("case payload.n when 7.0 then 'float' when '7' then 'text' when 7 then 'int' end", "int"),
    ("case payload.t when 1 then 'one' when true then 'yes' end", "yes"),
    ("case payload.nul when payload.missing then 1 else 2 end", 2),
    ("case when payload.n = 7 then 1 when payload.s = 1 then 2 end", 1),
    ("case when payload.s = 1 then 1 end", Fails("not_a_number")),
    # CAST
    ("cast(payload.num as bigint)", 12),
    ("cast('1.5' as bigint)", Fails("bad_cast")),
    ("cast(2.5 as bigint)", 2),
    ("cast(payload.t as integer)", 1),
    ("cast(payload.dec as double precision)", 1.5),
    ("cast(7 as double)", 7.0),
    ("cast('1e999' as double)", Fails("bad_cast")),
    ("cast('inf' as double)", Fails("bad_cast")),
    ("cast(payload.t as double)", Fails("bad_cast")),
    ("payload.n::text", "7"),
    ("payload.o::text", '{"a":{"b":1},"k":2}'),
    ("'yes'::boolean", True),
    ("'0'::boolean", False),
    ("'maybe'::boolean", Fails("bad_cast")),
    ("cast(payload.missing as bigint)", MISSING),
    ("cast(payload.nul as text)", None),
    # functions
    ("upper(payload.s)", "ABC"),
    ("upper(payload.n)", Fails("bad_sql_function_argument")),
    ("upper(payload.missing)", Fails("bad_sql_function_argument")),
]


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS)
def test_expression(expression: str, expected: Any) -> None:
    actual = value_of(expression)
    assert same(actual, expected), f"{expression} gave {actual!r}"


def number_of_rows(condition: str) -> int | Fails:
    try:
        return len(evaluate(f'SELECT 1 FROM "t" WHERE {condition}', {"payload": PAYLOAD, "topic": "t", "qos": 1}))
    except EvalError as error:
        return Fails(error.reason)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("true", 1),
        ("false", 0),
        ("payload.t", 1),
        ("payload.missing", 0),
        ("payload.nul", 0),
        ("payload.n", Fails("not_boolean")),
        ("'true'", Fails("not_boolean")),
        ("is_null(payload.missing)", 1),
        ("payload.s like 'a%' and payload.missing like 'a%'", 0),
        ("not payload.missing like 'a%'", 0),
        ("payload.n = 7 and (payload.s = 'x' or payload.o.k = 2) and not payload.f > 3", 1),
    ],
)
def test_condition(condition: str, expected: int | Fails) -> None:
    assert number_of_rows(condition) == expected


ROWS: list[tuple[str, dict[str, Any], list[dict[str, Any]]]] = [
    # output names
    ("SELECT payload.a FROM t", {"payload": '{"a": 1}'}, [{"payload": {"a": 1}}]),
    ("SELECT payload.a, payload.b FROM t", {"payload": '{"a": 1, "b": 2}'}, [{"payload": {"a": 1, "b": 2}}]),
    ("SELECT payload.l[2] FROM t", {"payload": '{"l": [1, 3]}'}, [{"payload": {"l": [3]}}]),
    ("SELECT 'txt' FROM t", {}, [{"txt": "txt"}]),
    ("SELECT 1, 2 FROM t", {}, [{"column_1": 1, "column_2": 2}]),
    ("SELECT upper('a'), 1 AS upper FROM t", {}, [{"column_1": "A", "upper": 1}]),
    ("SELECT lower('A') FROM t", {}, [{"lower": "a"}]),
    ("SELECT a b FROM t", {"a": 1}, [{"b": 1}]),
    ("SELECT a AS select FROM t", {"a": 1}, [{"select": 1}]),
    ('SELECT a AS "two words" FROM t', {"a": 1}, [{"two words": 1}]),
    ("SELECT 1 AS x, 2 AS y, 3 AS x FROM t", {}, [{"x": 3, "y": 2}]),
    # aliases are seen by later fields and by WHERE, and fall through to the columns while they are missing
    ("SELECT a + 1 AS b, b + 1 AS c FROM t WHERE b < c", {"a": 1}, [{"b": 2, "c": 3}]),
    ("SELECT payload.n AS qos, qos AS q FROM t", {"payload": "{}", "qos": 1}, [{"qos": MISSING, "q": 1}]),
    ("SELECT payload.n AS qos, qos AS q FROM t", {"payload": '{"n": 5}', "qos": 1}, [{"qos": 5, "q": 5}]),
    ("SELECT payload.n AS qos FROM t WHERE qos = 1", {"payload": "{}", "qos": 1}, []),
    ("SELECT payload.a FROM t WHERE payload.b = 2", {"payload": '{"a": 1, "b": 2}'}, [{"payload": {"a": 1}}]),
    # path aliases
    ("SELECT 1 AS a.b.c, 2 AS a.b.d FROM t", {}, [{"a": {"b": {"c": 1, "d": 2}}}]),
    ("SELECT 1 AS a, 2 AS a.b FROM t", {}, [{"a": {"b": 2}}]),
    ("SELECT [1, 2, 3] AS l, 9 AS l[2], 8 AS l[-1], 7 AS l[5] FROM t", {}, [{"l": [1, 9, 8]}]),
    ("SELECT [1] AS l, 0 AS l[0], 2 AS l[-0] FROM t", {}, [{"l": [0, 1, 2]}]),
    ("SELECT [[1], [2]] AS l, 9 AS l[2][1] FROM t", {}, [{"l": [[1], [9]]}]),
    ("SELECT 2 AS n, 'x' AS l[n] FROM t", {}, [{"n": 2, "l": ["x"]}]),
    (
        "SELECT payload, 'x' AS payload.a FROM t",
        {"payload": '{"a": 1, "b": 2}'},
        [{"payload": {"a": "x", "b": 2}}],
    ),
    ("SELECT payload AS p, 'x' AS p.a FROM t", {"payload": '{"b": 2}'}, [{"p": {"a": "x"}}]),
    # star
    ("SELECT * FROM t", {"a": 1, "b": MISSING}, [{"a": 1, "b": MISSING}]),
    ("SELECT 5 AS a, * FROM t", {"a": 1}, [{"a": 1}]),
    ("SELECT *, 5 AS a FROM t", {"a": 1}, [{"a": 5}]),
    ("SELECT *, payload.x AS x FROM t", {"payload": '{"x": 1}'}, [{"payload": '{"x": 1}', "x": 1}]),
    # payloads
    ("SELECT payload FROM t", {"payload": "no json"}, [{"payload": "no json"}]),
    ("SELECT payload FROM t", {"payload": b"\xff"}, [{"payload": b"\xff"}]),
    ("SELECT payload.a AS a FROM t", {"payload": {"a": [1]}}, [{"a": [1]}]),
    ("SELECT payload.a AS a, payload[1] AS one FROM t", {"payload": "[7]"}, [{"a": MISSING, "one": 7}]),
    ("SELECT payload.a AS a FROM t", {"payload": '"{\\"a\\": 1}"'}, [{"a": 1}]),
    ("SELECT payload.n AS n FROM t", {"payload": '{"n": 123456789012345678901234567890}'}, [{"n": 123456789012345678901234567890}]),
    # FOREACH
    ("FOREACH payload.l AS i DO i.v AS v, q FROM t", {"payload": '{"l": [{"v": 1}, {}]}', "q": 2}, [{"v": 1, "q": 2}, {"v": MISSING, "q": 2}]),
    ("FOREACH payload.l FROM t", {"payload": '{"l": [1]}', "q": 2}, [{"payload": '{"l": [1]}', "q": 2, "item": 1}]),
    ("FOREACH payload.l AS i FROM t WHERE q = 3", {"payload": '{"l": [1]}', "q": 2}, []),
    ("FOREACH payload.l AS i DO i * 2 AS x INCASE i > 1 FROM t", {"payload": '{"l": [1, 2, 3]}'}, [{"x": 4}, {"x": 6}]),
    ("FOREACH q AS i DO i FROM t", {"q": 1}, []),
    ("FOREACH payload.o AS p, p.l AS i DO p.n AS n, i FROM t", {"payload": '{"o": {"n": 1, "l": [5]}}'}, [{"n": 1, "i": 5}]),
    ("FOREACH payload AS p DO p.a AS a FROM t", {"payload": '[{"a": 1}]'}, [{"a": 1}]),
    ("FOREACH payload AS p DO p.a AS a FROM t", {"payload": "no json"}, []),
    ("FOREACH [1..3] AS i DO i + q AS x, x * 2 AS y FROM t", {"q": 1}, [{"x": n + 1, "y": 2 * n + 2} for n in (1, 2, 3)]),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "columns", "expected"), ROWS)
def test_rows(sql: str, columns: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    assert evaluate(sql, columns) == expected


ERRORS = [
    ("SELECT payload.a AS a FROM t", "{", "select_and_transform_error", "decode_json_failed"),
    ("SELECT 1 AS one FROM t WHERE payload.a = 1", "{", "match_conditions_error", "decode_json_failed"),
    (
        "SELECT upper(payload.x) AS u FROM t WHERE false",
        "{}",
        "select_and_transform_error",
        "bad_sql_function_argument",
    ),
    ("SELECT 1 AS one FROM t WHERE payload.a > 1", '{"a": "x"}', "match_conditions_error", "not_a_number"),
    ("SELECT 'no json' AS payload, payload.a AS a FROM t", "{}", "select_and_transform_error", "decode_json_failed"),
    ("FOREACH payload.l AS i FROM t", "{", "select_and_collect_error", "decode_json_failed"),
    ("FOREACH [1] AS i INCASE i > 'x' FROM t", "", "match_incase_error", "not_a_number"),
    ("FOREACH [2, 0] AS i DO 1 / i AS x FROM t", "", "doeach_error", "division_by_zero"),
]


@pytest.mark.parametrize(("sql", "payload", "code", "reason"), ERRORS)
def test_error_class(sql: str, payload: str, code: str, reason: str) -> None:
    with pytest.raises(EvalError) as caught:
        evaluate(sql, {"payload": payload})
    assert (caught.value.stage, caught.value.code, caught.value.reason) == ("run", code, reason)


def test_what_only_one_branch_needs_is_not_decoded() -> None:
    sql = "SELECT CASE WHEN qos = 1 THEN payload.a ELSE 0 END AS x FROM t"
    assert evaluate(sql, {"payload": "{", "qos": 0}) == [{"x": 0}]
    with pytest.raises(EvalError):
        evaluate(sql, {"payload": "{", "qos": 1})


@pytest.mark.parametrize(
    ("sql", "stage", "code"),
    [
        ("", "parse", "syntax"),
        ("  -- nothing\n", "parse", "syntax"),
        ("SELECT", "parse", "syntax"),
        ("ELSE", "parse", "syntax"),
        ("END", "parse", "syntax"),
        ("BEGIN SELECT 1 FROM t", "parse", "syntax"),
        ("SELECT 1.b FROM t", "parse", "syntax"),
        ("SELECT a FROM t; SELECT b FROM t", "parse", "syntax"),
        ("SELECT 1.0e999 AS x FROM t", "parse", "syntax"),
        (f"SELECT {'9' * 5000} AS x FROM t", "parse", "syntax"),
        (f"SELECT {'(' * 5000}1 FROM t", "parse", "too-complex"),
        (f"SELECT {'+'.join('1' * 5000)} AS x FROM t", "parse", "too-complex"),
        (f"SELECT a{'.b' * 5000} AS x FROM t", "parse", "too-complex"),
        (f"SELECT {'- ' * 5000}1 AS x FROM t", "parse", "too-complex"),
        (f"SELECT {'CASE WHEN true THEN ' * 5000} 1", "parse", "too-complex"),
        ("SELECT nosuch(1) AS x FROM t", "bind", "unknown-function"),
        ("INSERT INTO a SELECT 1 FROM t", "bind", "unsupported"),
        ("SELECT 1 AS x FROM t LIMIT 1", "bind", "no-window"),
        ("SELECT qos FROM t GROUP BY qos", "bind", "no-window"),
        ("SELECT qos FROM t QUALIFY qos", "bind", "misplaced-analytic"),
        ("SELECT 1 AS x FROM 'a+'", "bind", "bad-topic-filter"),
    ],
)
def test_statement_without_rows(sql: str, stage: str, code: str) -> None:
    with pytest.raises(EvalError) as caught:
        evaluate(sql, {})
    assert (caught.value.stage, caught.value.code) == (stage, code)


def test_long_conditions_and_deep_cases_compile() -> None:
    condition = " OR ".join(f"a = {number}" for number in range(1000))
    assert evaluate(f"SELECT 1 AS x FROM t WHERE {condition}", {"a": 999}) == [{"x": 1}]
    branches = " ".join(f"WHEN a = {number} THEN {number}" for number in range(100))
    assert evaluate(f"SELECT CASE {branches} END AS x FROM t", {"a": 99}) == [{"x": 99}]
    nested = "CASE WHEN a = 1 THEN " * 15 + "1" + " END" * 15
    assert evaluate(f"SELECT {nested} AS x FROM t", {"a": 1}) == [{"x": 1}]
    assert evaluate(f"SELECT {'+'.join('1' * 100)} AS x FROM t", {}) == [{"x": 100}]
