"""An oracle: expressions that PostgreSQL and its kin define give what DuckDB gives, over the same rows.

Every expression is made twice, in our text and in DuckDB's, from columns of known types. What the two define otherwise
never comes up, by construction:

* null in arithmetic, comparisons and functions of EMQX (EMQX refuses undefined and null, ``AND``, ``OR`` and ``NOT``
  know two values): columns that may be null stand only under COALESCE, IS NULL, IS DISTINCT FROM, and NULLIF and a CASE
  without ELSE only outermost;
* ``div`` and division by zero (an error here, NULL in DuckDB): divisors are constants;
* mod of floats, and CAST of a float to an integer or a text;
* integers beyond 64 bits, which EMQX has: leaves are small;
* the backslash in LIKE patterns, which escapes here;
* casing of ß and its like, characters of several code points (one character here, several there);
* empty texts as what is searched, replaced or filled with.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, NamedTuple

import duckdb
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from core.errors import RuleError
from core.message import Message, Missing, Publisher
from core.metrics import Metrics
from rules.compiler import RuleSet, RuleSource, compile_rules
from rules.runtime import Engine

# ruff: noqa: S608 - SQL from strings is what is tested here

ALPHABET: Final = "aAbBz09 -_%\u00e9\u4e2d"
COLUMNS: Final = {
    **dict.fromkeys(("i", "j", "ni"), "BIGINT"),
    **dict.fromkeys(("d", "e", "nd"), "DOUBLE"),
    **dict.fromkeys(("s", "t", "ns"), "VARCHAR"),
    **dict.fromkeys(("b", "c", "nb"), "BOOLEAN"),
}


class Sql(NamedTuple):
    """One expression in both languages."""

    ours: str
    theirs: str


def form(template: str, *parts: Any, theirs: str | None = None) -> st.SearchStrategy[Sql]:
    """A template over strategies of expressions; ``theirs`` where DuckDB says it otherwise."""
    return st.tuples(*parts).map(
        lambda found: Sql(
            template.format(*(part.ours if isinstance(part, Sql) else part for part in found)),
            (theirs or template).format(*(part.theirs if isinstance(part, Sql) else part for part in found)),
        )
    )


def column(*names: str) -> st.SearchStrategy[Sql]:
    return st.sampled_from(names).map(lambda name: Sql(f"payload.{name}", name))


def quoted(text: str) -> str:
    return "'" + text.replace("'", "") + "'"


SMALL = st.integers(-50, 50)
QUARTERS = st.integers(-200, 200).map(lambda number: number / 4)
TEXTS = st.text(ALPHABET, max_size=6)
WORDS = st.text(ALPHABET, min_size=1, max_size=2)

integers = st.deferred(lambda: INTEGERS)
doubles = st.deferred(lambda: DOUBLES)
texts = st.deferred(lambda: TEXT)
booleans = st.deferred(lambda: BOOLEANS)
compared = st.sampled_from(("=", "!=", "<>", "<", "<=", ">", ">="))


def leaf_or(leaves: st.SearchStrategy[Sql], *more: st.SearchStrategy[Sql]) -> st.SearchStrategy[Sql]:
    return leaves | leaves | st.one_of(*more)


INTEGERS = leaf_or(
    SMALL.map(lambda number: Sql(f"({number})", f"({number}::BIGINT)")) | column("i", "j"),
    form("({} {} {})", integers, st.sampled_from("+-*"), integers),
    form("(- {})", integers),
    form("({} mod {})", integers, st.sampled_from([2, 3, 7, -5]), theirs="({} % {})"),
    form("abs({})", integers),
    form("COALESCE({}, {})", column("ni"), integers),
    form("CASE WHEN {} THEN {} ELSE {} END", booleans, integers, integers),
    form("CASE {} WHEN {} THEN {} WHEN 0 THEN 1 ELSE {} END", integers, integers, integers, integers),
    form("GREATEST({}, {})", integers, integers),
    form("LEAST({}, {}, {})", integers, integers, integers),
    form("char_length({})", texts, theirs="length({})"),
    form("strpos({}, {})", texts, WORDS.map(quoted)),
    form("CAST({} AS BIGINT)", SMALL.map(str).map(quoted)),
    form("CAST({} AS BIGINT)", booleans.map(lambda b: Sql(f"(CASE WHEN {b.ours} THEN 1 ELSE 0 END)", b.theirs))),
    form("sign({})", integers),
)
DOUBLES = leaf_or(
    QUARTERS.map(lambda number: Sql(f"({number})", f"({number}::DOUBLE)")) | column("d", "e"),
    form("({} {} {})", doubles, st.sampled_from("+-*"), doubles),
    form("({} {} {})", doubles, st.sampled_from("+-*"), integers),
    form("({} / {})", doubles | integers, st.sampled_from(["4.0", "-3.0", "0.5"])),
    form("(- {})", doubles),
    form("CAST({} AS DOUBLE)", integers),
    form("sqrt(abs({}))", doubles),
    form("COALESCE({}, {})", column("nd"), doubles),
    form("CASE WHEN {} THEN {} ELSE {} END", booleans, doubles, doubles),
    form("GREATEST({}, {})", doubles, doubles),
)
TEXT = leaf_or(
    TEXTS.map(quoted).map(lambda text: Sql(text, text)) | column("s", "t"),
    form("({} || {})", texts, texts),
    form("concat({}, {})", texts, texts),
    form("upper({})", texts),
    form("lower({})", texts),
    form("trim({})", texts),
    form("ltrim({})", texts),
    form("rtrim({})", texts),
    form("reverse({})", texts),
    form("left({}, {})", texts, st.integers(0, 4)),
    form("right({}, {})", texts, st.integers(0, 4)),
    form("substring({}, {}, {})", texts, st.integers(1, 5), st.integers(0, 4)),
    form("repeat({}, {})", texts, st.integers(0, 2)),
    form("replace({}, {}, {})", texts, WORDS.map(quoted), TEXTS.map(quoted)),
    form("lpad({}, {}, {})", texts, st.integers(0, 8), WORDS.map(quoted)),
    form("rpad({}, {}, {})", texts, st.integers(0, 8), WORDS.map(quoted)),
    form("split_part({}, {}, {})", texts, WORDS.map(quoted), st.integers(1, 3)),
    form("CAST({} AS TEXT)", integers),
    form("CAST({} AS TEXT)", booleans),
    form("COALESCE({}, {})", column("ns"), texts),
    form("CASE WHEN {} THEN {} ELSE {} END", booleans, texts, texts),
)
BOOLEANS = leaf_or(
    st.sampled_from(["true", "false"]).map(lambda text: Sql(text, text)) | column("b", "c"),
    form("({} {} {})", integers, compared, integers),
    form("({} {} {})", doubles, compared, doubles | integers),
    form("({} {} {})", texts, compared, texts),
    form("({} = {})", booleans, booleans),
    form("({} AND {})", booleans, booleans),
    form("({} OR {})", booleans, booleans),
    form("(NOT {})", booleans),
    form("({} BETWEEN {} AND {})", integers, integers, integers),
    form("({} NOT BETWEEN {} AND {})", texts, texts, texts),
    form("({} IN ({}, {}))", integers, integers, integers),
    form("({} NOT IN ({}, {}, {}))", texts, texts, texts, texts),
    form("({} LIKE {})", texts, TEXTS.map(quoted)),
    form("({} NOT LIKE {})", texts, TEXTS.map(quoted)),
    form("({} ILIKE {})", texts, TEXTS.map(quoted)),
    form("starts_with({}, {})", texts, texts),
    form("ends_with({}, {})", texts, texts),
    form("({} IS NULL)", column("ni", "nd", "ns", "nb")),
    form("({} IS NOT NULL)", column("ni", "nd", "ns", "nb")),
    form("({} IS DISTINCT FROM {})", column("ni"), integers),
    form("({} IS NOT DISTINCT FROM {})", column("ns"), texts | column("ns")),
    form("({} IS TRUE)", column("nb")),
    form("({} IS NOT FALSE)", column("nb")),
    form("COALESCE({}, {})", column("nb"), booleans),
    form("CASE WHEN {} THEN {} ELSE {} END", booleans, booleans, booleans),
)
OUTERMOST = st.one_of(
    INTEGERS,
    DOUBLES,
    TEXT,
    BOOLEANS,
    form("NULLIF({}, {})", integers, integers),
    form("NULLIF({}, {})", texts, texts),
    form("CASE WHEN {} THEN {} END", booleans, texts),
    form("CASE WHEN {} THEN {} WHEN {} THEN {} END", booleans, doubles, booleans, doubles),
    column("ni", "nd", "ns", "nb"),
)

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            **dict.fromkeys(("i", "j"), SMALL),
            **dict.fromkeys(("d", "e"), QUARTERS),
            **dict.fromkeys(("s", "t"), TEXTS),
            **dict.fromkeys(("b", "c"), st.booleans()),
            "ni": SMALL | st.none(),
            "nd": QUARTERS | st.none(),
            "ns": TEXTS | st.none(),
            "nb": st.booleans() | st.none(),
        }
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def oracle() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 1})


def theirs(oracle: duckdb.DuckDBPyConnection, value: Sql, condition: Sql, rows: list[dict[str, Any]]) -> list[Any]:
    holes = ", ".join(f"?::{kind}" for kind in COLUMNS.values())
    table = ", ".join(f"({number}, {holes})" for number in range(len(rows)))
    sql = f"SELECT {value.theirs} FROM (VALUES {table}) r(n, {', '.join(COLUMNS)}) WHERE {condition.theirs} ORDER BY n"
    return [found for (found,) in oracle.execute(sql, [row[name] for row in rows for name in COLUMNS]).fetchall()]


def compiled(sql: str) -> RuleSet:
    try:
        return compile_rules([RuleSource("x.sql", sql)])
    except RuleError as error:
        # Strategies bound the number of leaves, and not how deep one call stands in another.
        assume({found.code for found in error.diagnostics} != {"too-complex"})
        raise


def ours(value: Sql, condition: Sql, rows: list[dict[str, Any]]) -> list[Any]:
    failures: list[Exception] = []
    engine = Engine(Metrics(), on_error=lambda _rule, _message, error: failures.append(error))
    sql = f'INSERT INTO o SELECT {value.ours} AS x FROM "t" WHERE {condition.ours}'
    engine.load(compiled(sql))
    publisher = Publisher("c")
    messages = [Message("t", json.dumps(row).encode(), publisher=publisher) for row in rows]
    batches = engine.process(messages, 0)
    assert not failures, (sql, failures)
    return [row[0] for batch in batches for row in batch.rows]


def same(one: Any, two: Any) -> bool:
    one = None if isinstance(one, Missing) else one
    if isinstance(one, bool) or isinstance(two, bool) or one is None or two is None:
        return one is two
    if isinstance(one, float) or isinstance(two, float):
        return math.isclose(one, two, rel_tol=1e-9, abs_tol=1e-9)
    return bool(one == two)


ROW: Final[dict[str, Any]] = {
    **dict(zip("ijdestbc", (1, 2, 0.5, -1.0, "a", "B", True, False), strict=True)),
    **dict.fromkeys(("ni", "nd", "ns", "nb")),
}


@settings(max_examples=200, deadline=None)
@given(OUTERMOST, BOOLEANS, ROWS)
@example(Sql("payload.i + 1", "i + 1"), Sql("payload.b", "b"), [ROW])
def test_expressions_give_what_duckdb_gives(
    oracle: duckdb.DuckDBPyConnection, value: Sql, condition: Sql, rows: list[dict[str, Any]]
) -> None:
    expected, found = theirs(oracle, value, condition, rows), ours(value, condition, rows)
    assert len(expected) == len(found), (value, condition)
    assert all(map(same, found, expected)), (value, found, expected)


def test_the_oracle_would_notice(oracle: duckdb.DuckDBPyConnection) -> None:
    true = Sql("true", "true")
    assert theirs(oracle, Sql("", "i + 1"), true, [ROW]) != ours(Sql("payload.i + 2", ""), true, [ROW])
    assert not same("a", "b")
    assert not same(1, True)
    assert not same(None, 0)
