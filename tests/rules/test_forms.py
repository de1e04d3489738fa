"""SQL's own forms: COALESCE and its like, IS, IN with arrays, LIKE ... ESCAPE, names in any case, ``*``."""

from __future__ import annotations

from typing import Any

import pytest

from core.message import MISSING
from rules.evaluate import EvalError, evaluate

# ruff: noqa: S608 - SQL from strings is what is tested here

PAYLOAD = (
    '{"n": 7, "f": 2.5, "s": "a_c", "e": "", "nul": null, "t": true, "no": false, "l": [1, "a", 7], "o": {"k": 1}}'
)


class Fails(str):
    """The expected reason of a failure at run time."""

    __slots__ = ()


def value_of(expression: str) -> Any:
    try:
        [row] = evaluate(f'SELECT {expression} AS x FROM "t"', {"payload": PAYLOAD, "topic": "t", "qos": 1})
    except EvalError as error:
        if error.stage != "run":
            raise
        return Fails(error.reason)
    return row["x"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # EMQX's coalesce keeps JSON's null, SQL's does not
        ("coalesce(payload.nul, 1)", None),
        ("coalesce(payload.gone, 1)", 1),
        ("COALESCE(payload.nul, 1)", 1),
        ("Coalesce(payload.gone, 1)", 1),
        ("coalesce(payload.nul, payload.gone, 1)", 1),
        ("COALESCE(payload.nul, payload.gone)", MISSING),
        ("COALESCE(payload.n)", 7),
        ("COALESCE(payload.n, upper(payload.n))", 7),
        ("COALESCE(payload.nul, upper(payload.n), 1)", Fails("bad_sql_function_argument")),
        ("COALESCE(payload.nul, payload.gone, payload.l[3], 1)", 7),
        ("COALESCE(CAST(payload.nul AS TIMESTAMP), '2026-01-01')", "2026-01-01T00:00:00Z"),
        ("NULLIF(payload.e, '')", None),
        ("NULLIF(payload.n, '')", 7),
        ("nullif(payload.n, 7.0)", None),
        ("NULLIF(payload.gone, 1)", MISSING),
        ("GREATEST(payload.n, 2, payload.f)", 7),
        ("LEAST(payload.n, payload.nul, payload.f, payload.gone)", 2.5),
        ("GREATEST(payload.nul, payload.gone)", None),
        ("least('b', 'a')", "a"),
        ("GREATEST(payload.n, 'many')", Fails("not_a_number")),
        ("GREATEST(TIMESTAMP '2026-01-01', '2026-02-01')", "2026-02-01T00:00:00Z"),
        # names of functions in any case
        ("UPPER('a')", "A"),
        ("Abs(-1)", 1),
        ("LENGTH([1])", 1),
        # IS
        ("payload.t IS TRUE", True),
        ("payload.n IS TRUE", False),
        ("payload.gone IS TRUE", False),
        ("payload.no IS NOT TRUE", True),
        ("payload.no IS FALSE", True),
        ("payload.gone IS NOT FALSE", True),
        ("payload.nul IS UNKNOWN", True),
        ("payload.t IS NOT UNKNOWN", True),
        ("payload.n > 5 IS TRUE", Fails("syntax")),
        ("(payload.n > 5) IS TRUE", True),
        ("payload.n IS DISTINCT FROM 7.0", False),
        ("payload.n IS DISTINCT FROM '7'", True),
        ("payload.nul IS DISTINCT FROM payload.gone", False),
        ("payload.nul IS NOT DISTINCT FROM NULL", True),
        ("payload.n IS DISTINCT FROM payload.gone", True),
        ("payload.gone IS DISTINCT FROM payload.n", True),
        # IN
        ("7 IN payload.l", True),
        ("payload.n IN payload.l", True),
        ("'7' IN payload.l", False),
        ("7.0 IN payload.l", False),
        ("8 NOT IN payload.l", True),
        ("1 IN payload.nul", None),
        ("1 IN payload.gone", MISSING),
        ("1 IN payload.s", Fails("bad_operand")),
        ("1 IN [1, 2]", True),
        ("payload.l IN (payload.l)", True),
        # LIKE
        ("payload.s LIKE 'a!_c' ESCAPE '!'", True),
        ("'abc' LIKE 'a!_c' ESCAPE '!'", False),
        (r"'a\c' LIKE 'a\_' ESCAPE ''", True),
        ("'50%' NOT LIKE '50!%' ESCAPE '!'", False),
        ("'x' LIKE payload.s ESCAPE 'c'", Fails("bad_pattern")),
        # conditions as values
        ("payload.n > 5 AND payload.s = 'a_c'", True),
        ("bool(payload.n > 5 OR payload.gone)", True),
        ("[NOT payload.t, payload.n IN (7), payload.s LIKE 'a%']", [False, True, True]),
    ],
)
def test_expression(expression: str, expected: Any) -> None:
    if expected == "syntax":
        with pytest.raises(EvalError, match="syntax"):
            value_of(expression)
        return
    actual = value_of(expression)
    assert type(actual) is type(expected), f"{expression} gave {actual!r}"
    assert actual == expected


ROWS: list[tuple[str, dict[str, Any], list[dict[str, Any]]]] = [
    ("SELECT * EXCEPT (a) FROM t", {"a": 1, "b": 2, "c": 3}, [{"b": 2, "c": 3}]),
    ("SELECT * EXCLUDE (a, c), b + 1 AS d FROM t", {"a": 1, "b": 2, "c": 3}, [{"b": 2, "d": 3}]),
    ("SELECT * REPLACE (b * 10 AS a) FROM t", {"a": 1, "b": 2}, [{"a": 20, "b": 2}]),
    ("SELECT * EXCEPT (b) REPLACE (a + b AS a) FROM t", {"a": 1, "b": 2}, [{"a": 3}]),
    ('SELECT *, a AS "a b", 5 AS b FROM t', {"a": 1, "b": 2}, [{"a": 1, "b": 5, "a b": 1}]),
    ("SELECT 7 AS x, * EXCEPT (b) REPLACE (x AS a) FROM t", {"a": 1, "b": 2}, [{"x": 7, "a": 7}]),
    (
        "FOREACH payload.l AS i DO * EXCEPT (payload) FROM t",
        {"payload": '{"l": [1, 2]}', "q": 0},
        [{"q": 0, "i": 1}, {"q": 0, "i": 2}],
    ),
]


@pytest.mark.parametrize(("sql", "columns", "expected"), ROWS)
def test_rows(sql: str, columns: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    rows = evaluate(sql, columns)
    assert rows == expected
    assert list(rows[0]) == list(expected[0])


def test_what_a_later_operand_needs_is_computed_only_for_nulls() -> None:
    sql = "SELECT COALESCE(a, payload.x) AS x FROM t"
    assert evaluate(sql, {"a": 1, "payload": "{"}) == [{"x": 1}]
    with pytest.raises(EvalError):
        evaluate(sql, {"a": None, "payload": "{"})


def test_words_of_forms_stay_names() -> None:
    for name in ("escape", "unknown", "distinct", "similar", "exclude", "replace", "nullif", "least", "now"):
        assert evaluate(f"SELECT {name} AS x FROM t WHERE {name} = 1", {name: 1}) == [{"x": 1}]
        assert evaluate(f"SELECT 1 {name} FROM t", {}) == [{name: 1}]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # arrays and objects
        ("ARRAY[1, 'a']", [1, "a"]),
        ("ARRAY[]", []),
        ("Array[1, 2][2]", 2),
        ("{'a': 1, b: payload.n, \"c d\": [2]}", {"a": 1, "b": 7, "c d": [2]}),
        ("{}", {}),
        ("{'a': {'b': payload.n}}.a.b", 7),
        ("{'a': 1, 'a': 2}", {"a": 2}),
        (
            "{'at': TIMESTAMP '2026-01-01', 'for': INTERVAL '1 second'}",
            {"at": "2026-01-01T00:00:00Z", "for": 1_000_000},
        ),
        ("json_build_object('a', 1, payload.s, 2)", {"a": 1, "a_c": 2}),
        ("OBJECT('a', OBJECT())", {"a": {}}),
        ("OBJECT(payload.n, 1)", Fails("bad_operand")),
        ("json_build_array(1, payload.nul)", [1, None]),
        ("object_pick(payload.o, 'k')", {"k": 1}),
        ("object_merge(payload.o, {'z': payload.n})", {"k": 1, "z": 7}),
        ("object_keys(payload.nul)", None),
        ("array_contains(payload.l, 7.0)", True),
        ("array_contains(payload.l, payload.nul)", False),
        ("array_append(payload.l, payload.nul)", [1, "a", 7, None]),
        ("array_sort([3, null(), 1.5, 'a', true])", [1.5, 3, True, "a", MISSING]),
        ("array_sum([1, CAST('0.5' AS DECIMAL), 2.5])", 4.0),
        ("array_sum([1, 'a'])", Fails("bad_sql_function_argument")),
        ("array_sum([1.0e308, 1.0e308])", Fails("out_of_range")),
        ("array_distinct([1, 1.0, '1', [1], [1.0], true])", [1, "1", [1], True]),
        ("array_slice(payload.l, 0, 9)", [1, "a", 7]),
        ("generate_series(1, 100000)", Fails("result_too_large")),
        ("cardinality(payload.gone)", MISSING),
        # texts
        ("substring('abcdef' FROM 2 FOR 3)", "bcd"),
        ("SUBSTRING('abcdef' FOR 2)", "ab"),
        ("substring('abcdef', 3)", "cdef"),
        ("substring('abcdef' FROM -1 FOR 1)", ""),
        ("trim(BOTH 'x' FROM 'xaxx')", "ax"[:1]),
        ("trim(LEADING FROM '  a ')", "a "),
        ("TRIM(TRAILING 'x' FROM 'xax')", "xa"),
        ("trim('x' FROM 'xax')", "a"),
        ("trim(' a ')", "a"),
        ("trim('-a-', '-')", "a"),
        ("position('c' IN payload.s)", 3),
        ("length(payload.s)", 3),
        ("length(payload.l)", 3),
        ("length(payload.n)", Fails("bad_sql_function_argument")),
        ("left(payload.gone, 2)", MISSING),
        ("lpad(payload.s, 6, 'xy')", "xyxa_c"),
        ("repeat('a', 99999999)", Fails("result_too_large")),
        ("round(2.5)", 3),
        ("round(-2.675, 2)", -2.68),
        ("round(payload.nul, 1)", None),
        ("sign(payload.f)", 1),
        ("degrees(1.0e308)", Fails("out_of_range")),
    ],
)
def test_constructor_or_function(expression: str, expected: Any) -> None:
    actual = value_of(expression)
    assert type(actual) is type(expected), f"{expression} gave {actual!r}"
    assert actual == expected


def test_an_index_into_what_is_called_array_stays_one() -> None:
    assert evaluate("SELECT array[2] AS x FROM t", {"array": [1, 2]}) == [{"x": 2}]
    assert evaluate("SELECT both, trim(both) AS x, trim(both || ' ') AS y FROM t", {"both": " a "}) == [
        {"both": " a ", "x": "a", "y": "a"}
    ]


def test_nested_calls_are_read_once() -> None:
    for name in ("trim", "substring"):
        sql = f"SELECT {name}({'trim(' * 25}'a'{')' * 25}{', 1' * (name == 'substring')}) AS x FROM t"
        assert evaluate(sql, {}) == [{"x": "a"}]


def test_eval_takes_messages_without_the_columns_of_system_errors() -> None:
    assert evaluate("SELECT kind FROM system.errors WHERE kind > 'rejected'", {"topic": "t"}) == []
    with pytest.raises(EvalError, match="unknown-column"):
        evaluate("SELECT nope FROM system.errors", {"topic": "t"})
