"""The translation of eKuiper's SQL that its golden cases are asked in, and the page of differences."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from benchmarks.ekuiper_sql import StreamTranslator, Translator, Untranslatable, create_source
from rules.functions import builtin_functions

ROOT = Path(__file__).parents[2]
KNOWN = tomllib.loads((ROOT / "benchmarks" / "ekuiper_known.toml").read_text())
STREAMS = tomllib.loads((ROOT / "benchmarks" / "ekuiper_streams_known.toml").read_text())


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ('a->b[0] = "x"', """payload."a" . b [1] = 'x'"""),
        ("a[1:3]", 'payload."a" [2..3]'),
        ("a[:]", 'payload."a" [1..-1]'),
        ("a[-2:-1]", 'payload."a" [-2..-2]'),
        ("a % 2", 'payload."a" mod 2'),
        ('cast(a, "bigint")', 'CAST(payload."a" AS BIGINT)'),
        (
            "SELECT a, b AS c FROM demo WHERE a > 1",
            'SELECT payload."a" AS "a" , payload."b" AS "c" FROM "t" WHERE payload."a" > 1',
        ),
        ("isNull(a)", '(payload."a" IS NULL)'),
        ("keys(`a b`)", 'object_keys(payload."a b")'),
    ],
)
def test_translation(theirs: str, ours: str) -> None:
    assert Translator(theirs, KNOWN["functions"]).translate() == ours


@pytest.mark.parametrize("theirs", ["SELECT * FROM demo", "SELECT a FROM demo GROUP BY a", "a[b]"])
def test_what_has_no_counterpart_is_refused(theirs: str) -> None:
    with pytest.raises(Untranslatable):
        Translator(theirs, KNOWN["functions"]).translate()


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            "SELECT *, window_end() FROM demo GROUP BY TUMBLINGWINDOW(ss, 1) Filter (where b = 1)",
            """SELECT * , window_end AS "window_end" FROM demo GROUP BY tumblingwindow(ss, 1) FILTER ( where b = 1 )""",
        ),
        (
            "select lag(a) over (partition by b) as c from demo",
            'select lag(a) OVER ( PARTITION BY b ) as "c" from demo',
        ),
        ("SELECT collect(*)[0]->a AS b FROM demo", 'SELECT collect(*) [1] . a AS "b" FROM demo'),
        (
            "SELECT demo.a FROM demo INNER JOIN b ON demo.a = b.a",
            "SELECT demo . a FROM demo INNER JOIN b ON demo . a = b . a",
        ),
    ],
)
def test_translation_of_streams(theirs: str, ours: str) -> None:
    assert StreamTranslator(theirs, {}).translate() == ours


def test_translation_of_streams_without_columns() -> None:
    theirs = "SELECT a FROM demo WHERE a > 1 GROUP BY tumblingwindow(ss, 1)"
    ours = 'SELECT payload."a" AS "a" FROM "demo" WHERE payload."a" > 1 GROUP BY tumblingwindow(ss, 1)'
    assert StreamTranslator(theirs, {}, topics=True).translate() == ours


def test_translation_of_declarations() -> None:
    mock = 'WITH (DATASOURCE="d", TYPE="mock", FORMAT="json"'
    declared = create_source(f"CREATE STREAM d (a STRING, `from` BIGINT, b ARRAY(BIGINT)) {mock});", [], 0)
    assert declared == """CREATE SOURCE d ("a" TEXT, "from" BIGINT, "b" ARRAY) WITH (topic = 'd');"""
    found = create_source(f'CREATE STREAM d () {mock}, TIMESTAMP="ts");', [{"ts": 1, "x": 1.5}], 1000)
    watermark = "WATERMARK FOR ts AS ts - INTERVAL '1000 milliseconds'"
    assert found == f"""CREATE SOURCE d ("ts" TIMESTAMP NOT NULL, "x" DOUBLE, {watermark}) WITH (topic = 'd');"""
    assert create_source(f"CREATE STREAM d () {mock});", [{"x": 1}], 0) == ""
    with pytest.raises(Untranslatable, match="table"):
        create_source('CREATE TABLE d (a STRING) WITH (DATASOURCE="d");', [], 0)


def test_the_page_says_every_difference_of_streams() -> None:
    page = (ROOT / "docs" / "reference" / "ekuiper-differences.md").read_text()
    for group in (*STREAMS["difference"], *STREAMS["absent"]):
        assert f"| {group['reason']} |" in page
    figures = json.loads((ROOT / "benchmarks" / "results" / "ekuiper_streams.json").read_text())
    assert f"**{figures['passed']} of {figures['cases']} give the same**" in page


def test_the_page_says_every_difference() -> None:
    page = (ROOT / "docs" / "reference" / "ekuiper-differences.md").read_text()
    for group in (*KNOWN["difference"], *KNOWN["absent"]):
        assert f"| {group['reason']} |" in page
    for name, form in KNOWN["functions"].items():
        assert f"| `{name}` | `" in page
        if form.isidentifier() and form != "OBJECT":
            assert form in builtin_functions()
