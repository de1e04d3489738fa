"""The translation of eKuiper's SQL that its golden cases are asked in, and the page of differences."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from benchmarks.ekuiper_sql import Translator, Untranslatable
from rules.functions import builtin_functions

ROOT = Path(__file__).parents[2]
KNOWN = tomllib.loads((ROOT / "benchmarks" / "ekuiper_known.toml").read_text())


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


def test_the_page_says_every_difference() -> None:
    page = (ROOT / "docs" / "reference" / "ekuiper-differences.md").read_text()
    for group in (*KNOWN["difference"], *KNOWN["absent"]):
        assert f"| {group['reason']} |" in page
    for name, form in KNOWN["functions"].items():
        assert f"| `{name}` | `" in page
        if form.isidentifier() and form != "OBJECT":
            assert form in builtin_functions()
