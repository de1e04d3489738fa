"""The formatter: what a file says stays to the letter, no comment is lost, and the second time nothing changes."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from rules import format as formatter
from rules import format_pieces
from rules.diagnostics import NOWHERE, Problems, Source
from rules.dialect import tokenize
from rules.format import WIDTH, Formatted, format_rules, same_tree
from rules.format_doc import Break, Group, Indent, Line, Remark, Text, render
from rules.format_pieces import comments_of
from rules.statements import parse
from tests.rules.test_properties import CONDITION, EXPRESSIONS

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```sql[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def trees_of(text: str) -> list[exp.Expr]:
    problems = Problems(Source("x.sql", text))
    trees = [statement.tree for statement in parse(problems)]
    assert not problems.found, problems.found[0].render()
    return trees


def stream(text: str) -> list[tuple[object, str]]:
    return [(token.token_type, " ".join(token.text.upper().split())) for token in tokenize(text)]


def check(text: str) -> str:
    """Format a text without errors, hold everything that the formatter promises, and return the result."""
    found = format_rules("x.sql", text)
    assert found.diagnostics == ()
    assert found.kept == (), "the formatter had to give up on a statement"
    assert stream(found.text) == stream(text)
    assert comments_of(found.text, tokenize(found.text)) == comments_of(text, tokenize(text))
    assert same_tree(trees_of(found.text), trees_of(text))
    again = format_rules("x.sql", found.text)
    assert again.text == found.text
    bare = re.sub(r"'[^']*'|\"[^\"]*\"|/\*.*?\*/", "x", found.text, flags=re.DOTALL)
    assert not re.search(r"[ \t]$|\n\n\n", bare, re.MULTILINE), "blanks at the end of a line, or two blank lines"
    return found.text


def rule_texts() -> list[object]:
    """Every rule file of the repository and every block of SQL in its pages that is right."""
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in sorted(ROOT.glob("examples/**/*.sql"))}
    texts |= {f"{path.parent.name}/{path.name}": path.read_text() for path in Path(__file__).parent.rglob("*.sql")}
    for page in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]:
        for number, block in enumerate(_BLOCK.findall(page.read_text())):
            texts[f"{page.relative_to(ROOT)}-{number}"] = block
    right = {}
    for name, text in texts.items():
        problems = Problems(Source(name, text))
        parse(problems)
        if not problems.found:
            right[name] = text
    return [pytest.param(text, id=name) for name, text in right.items()]


RULE_TEXTS = rule_texts()


def test_there_is_something_to_format() -> None:
    assert len(RULE_TEXTS) > 40


@pytest.mark.parametrize("text", RULE_TEXTS)
def test_every_rule_of_the_repository(text: str) -> None:
    check(text)
    check(text.replace("\n", "\n\n\n" if "--" in text else " "))


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/**/*.sql")), ids=lambda path: path.name)
def test_the_examples_are_formatted(path: Path) -> None:
    assert format_rules(str(path), path.read_text()).text == path.read_text()


GAPS = st.sampled_from(
    [
        *(" ", "  ", "\n", "\n\n\n", "\t", "\r\n"),
        *(" -- c\n", "\n-- c\n", "\n\n-- c\n\n-- d\n", " -- c\n -- d\n", " --\n"),
        *(" /* b */ ", "\n/* b */\n", " /* b */\n", "\n/* b */ ", " /* b\n   b */ ", "\n/* b\n\nb */\n"),
        *(" /* a */ -- c\n", " /* a */ /* b */ "),
    ]
)
CALLS = st.one_of(
    st.builds("count(distinct {})".format, EXPRESSIONS),
    st.builds("array_agg({} order by {} desc nulls last, b)".format, EXPRESSIONS, EXPRESSIONS),
    st.just("count(*)"),
)
STATEMENTS = st.one_of(
    st.builds("insert into a select {} as x, {} y, b.c[1] from t{}".format, EXPRESSIONS, EXPRESSIONS, CONDITION),
    st.builds("select * except (a, b) replace ({} as c) from \"a/+\", 'b'{}".format, EXPRESSIONS, CONDITION),
    st.builds("foreach payload.a as i do {} as x, i incase {} from t{}".format, EXPRESSIONS, EXPRESSIONS, CONDITION),
    st.builds(
        "select {}, sum(a) filter (where {}) over (partition by {}, b when c) x from t m left join u on {}{}".format,
        *(CALLS, EXPRESSIONS, EXPRESSIONS, EXPRESSIONS, CONDITION),
    ),
    st.builds(
        "create view v as select a, {} from tumble(t, ts, {}) w group by {}, b having {} qualify c limit 1".format,
        *(CALLS, EXPRESSIONS, EXPRESSIONS, EXPRESSIONS),
    ),
    st.builds(
        "create source s (a text, b decimal(5, 2) not null, watermark for a as {}) with (topic = '{}', k = [1])".format,
        *(EXPRESSIONS, st.sampled_from(["a/#", "a/{a}/" * 20])),
    ),
    st.just("create table t (a text, b double precision) with (type = 'lookup', key = ['a', 'b'])"),
    st.builds(
        "create rule r with (enabled = true, description = 'x') as insert into a, b select {} from t{}".format,
        EXPRESSIONS,
        CONDITION,
    ),
)


@st.composite
def files(draw: st.DrawFn) -> str:
    """Statements with anything that may stand between two tokens, in letters of any case."""
    chance = random.Random(draw(st.integers(0, 1 << 32)))  # noqa: S311 - a test
    gaps = draw(st.lists(GAPS, min_size=1, max_size=6))
    statements = draw(st.lists(STATEMENTS, min_size=1, max_size=3))
    text = ";".join(statements) + draw(st.sampled_from(["", ";"]))
    out = []
    end = 0
    for token in tokenize(text):
        between = text[end : token.start]
        if chance.random() < 0.3:
            between += chance.choice(gaps)
        word = text[token.start : token.end + 1]
        # Names are names in any case, but not the same ones; functions would be unknown, which does not matter here.
        out.append(between + (word.upper() if word.isalpha() and chance.random() < 0.2 else word))
        end = token.end + 1
    return "".join([chance.choice(gaps), *out, chance.choice(gaps)])


@settings(max_examples=150, deadline=None)
@given(files())
def test_any_statement_with_anything_between_its_tokens(text: str) -> None:
    problems = Problems(Source("x.sql", text))
    parse(problems)
    if not problems.found:
        check(text)


@settings(deadline=None)
@given(st.text(max_size=80) | st.lists(GAPS, max_size=5).map("".join))
def test_any_text_comes_back_or_is_formatted(text: str) -> None:
    found = format_rules("x.sql", text)
    if found.diagnostics:
        assert found.text == text
    else:
        check(text)


@pytest.mark.parametrize(
    ("text", "formatted"),
    [
        ("", ""),
        ("\n\n", ""),
        ("-- only this", "-- only this\n"),
        ("/* a */ -- b", "/* a */\n-- b\n"),
        (";", ";\n"),
        ("select 1 from t;;", "SELECT 1\nFROM t;\n\n;\n"),
        ("select a from t", "SELECT a\nFROM t\n"),
        ("select 'a\nb' as x from t", "SELECT 'a\nb' AS x\nFROM t\n"),
        ("select a.1 .2 from t", "SELECT a.1 .2\nFROM t\n"),
        ('select a as "from", b as select from t', 'SELECT a AS "from", b AS select\nFROM t\n'),
        ("select insert, row, rule from t", "SELECT insert, row, rule\nFROM t\n"),
        ("select y /* a */\n, /* b\nb */ c from t", "SELECT\n  y, /* a */ /* b\nb */\n  c\nFROM t\n"),
        ("select array[1], ARRAY[1] from t", "SELECT array[1], ARRAY[1]\nFROM t\n"),
    ],
)
def test_small_things(text: str, formatted: str) -> None:
    assert format_rules("x.sql", text).text == formatted
    check(text)


def test_a_line_has_so_many_columns_and_not_one_more() -> None:
    fields = "aaaaaaaaaa, " * 7
    head = f"SELECT {fields}"
    fitting = head + "b" * (WIDTH - len(head))
    assert check(f"{fitting} FROM t") == f"{fitting}\nFROM t\n"
    assert check(f"{fitting}b FROM t").startswith("SELECT\n  aaaaaaaaaa,\n")


def test_files_with_errors_are_left_alone() -> None:
    text = "select  a  from t; select from; select 'x"
    found = format_rules("x.sql", text)
    assert found.text == text
    assert [diagnostic.line for diagnostic in found.diagnostics] == [1, 1]


def test_a_statement_whose_new_form_would_mean_something_else_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot happen: a layout that loses a piece, or a comment."""
    text = "-- head\nselect  a  from t -- c\n;\n\nselect  b  from t\n"
    real = formatter.statement
    monkeypatch.setattr(formatter, "statement", lambda pieces: real(pieces[:1] + pieces[2:]))
    found = format_rules("x.sql", text)
    assert found.kept == (2, 5)
    assert found.text == text

    def without_comments(pieces: list) -> list:
        for piece in pieces:
            piece.behind = []
        return real(pieces)

    monkeypatch.setattr(formatter, "statement", without_comments)
    found = format_rules("x.sql", text)
    assert found.kept == (2,)
    assert "select  a  from t -- c\n;\n" in found.text
    assert found.text.endswith("SELECT b\nFROM t\n")


def test_words_that_the_tree_keeps_in_their_case_stay_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that the tree does not mark as one (a grammar's oversight) costs capitals, never a meaning."""
    real = format_pieces.span_of
    monkeypatch.setattr(format_pieces, "span_of", lambda node: NOWHERE if node.name == "Abc" else real(node))
    assert format_rules("x.sql", "select Abc from t;select a from t") == Formatted(
        "select Abc\nfrom t;\n\nSELECT a\nFROM t\n"
    )


def test_trees_are_compared_to_the_letter() -> None:
    def same(one: str, other: str) -> bool:
        return same_tree(trees_of(one), trees_of(other))

    assert same("select a from t", "SELECT  a FROM t")
    assert not same("select a from t", "select A from t")
    assert not same("select f(a) from t", "select F(a) from t")
    assert not same("select 'a' from t", "select 'A' from t")
    assert not same("select a from t", "select a, a from t")
    assert not same("select 1 from t", "select 1.0 from t")


def test_a_layout_breaks_from_the_outside_in() -> None:
    inner = Group((Text("("), Indent((Line(""), Text("aa,"), Line(), Text("bb"))), Line(""), Text(")")))
    outer = [Group((Text("f"), Indent((Line(), inner, Line(), Text("cc")))))]
    assert render(outer, 13) == "f (aa, bb) cc\n"
    assert render(outer, 12) == "f\n  (aa, bb)\n  cc\n"
    assert render(outer, 9) == "f\n  (\n    aa,\n    bb\n  )\n  cc\n"


def test_nothing_follows_a_remark_in_its_line() -> None:
    assert render([Text("a"), Remark("-- x"), Text("b")], 80) == "a -- x\nb\n"
    assert render([Group((Text("a"), Remark("-- x"), Line(), Text("b")))], 80) == "a -- x\nb\n"
    assert render([Group((Text("a"), Line(), Text("b"), Remark("-- x")))], 80) == "a b -- x\n"
    assert render([Text("a"), Remark("-- x"), Remark("-- y"), Break(), Break(), Text("b")], 80) == "a -- x\n-- y\nb\n"
