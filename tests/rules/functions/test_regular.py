"""Three engines, one meaning, and no pattern that a text can hang the service with."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.functions import FunctionError, Host, functions_for
from rules.functions.backtracking import safe_length
from rules.functions.base import Refusal
from rules.functions.matching import MAX_LINEAR_WORK, Matcher
from rules.functions.pcre import translate

FOREVER = 60.0


class Engines:
    """One pattern as each engine alone sees it."""

    def __init__(self, pattern: str) -> None:
        self.quick = Matcher(pattern)
        self.quick._safe = 1 << 30
        self.linear = Matcher(pattern)
        self.linear._safe = -1
        self.linear._overran = True
        self.slow = Matcher(pattern)
        self.slow._safe = -1
        self.slow._linear = None

    def spans(self, text: str) -> list[list[tuple[Any, ...]]]:
        """What each finds: the place of the first match with its groups, and all matches replaced."""
        found = []
        for matcher in (self.quick, self.linear, self.slow):
            first = matcher.search(text, FOREVER, groups=True)
            replaced = matcher.replace(text, lambda: lambda match: f"<{match.group(0)}>", FOREVER)
            found.append([() if first is None else (first.start(), first.group(0), first.groups()), (replaced,)])
        return found


ATOMS = st.sampled_from(
    ["a", "b", "\\d", "\\w", "\\s", "\\S", "[ab]", "[^a]", ".", "[a-c\\d]", "[[:alpha:]]", "\\Q.\\E", "\\b", "^", "$",
     "é", "[\\S\\n]", "\\h", "\\v"]
)  # fmt: skip
QUANTIFIERS = st.sampled_from(["", "", "", "*", "+", "?", "*?", "{2}", "{1,3}"])
PIECES = st.recursive(
    st.tuples(ATOMS, QUANTIFIERS).map(lambda pair: pair[0] if pair[0] in "\\b^$" else "".join(pair)),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map("".join)
        | st.tuples(st.lists(inner, min_size=1, max_size=2).map("|".join), QUANTIFIERS).map(lambda p: f"({p[0]}){p[1]}")
        | st.lists(inner, min_size=1, max_size=2).map(lambda parts: f"(?i:{''.join(parts)})")
    ),
    max_leaves=6,
)
TEXTS = st.text("abAB1 .\n\x0béK", max_size=8)


@settings(max_examples=300, deadline=None)
@given(pattern=PIECES, text=TEXTS)
def test_all_engines_find_the_same(pattern: str, text: str) -> None:
    try:
        engines = Engines(pattern)
    except Refusal:
        return
    first, *others = engines.spans(text)
    assert all(other == first for other in others)


@pytest.mark.parametrize(
    ("pattern", "length"),
    [("(a+)+$", 0), ("(a|aa)+$", 0), ("^(a|b|ab)*c", 0), ("(?=a)b", 0), ("(a)\\1", 0), ("((a{50}){50}){50}", 8)],
)
def test_patterns_that_backtrack_are_not_trusted(pattern: str, length: int) -> None:
    assert safe_length(translate(pattern).python) <= length


@pytest.mark.parametrize(
    "pattern",
    ["^[a-z]+-\\d+$", "station-(\\d+)", "\\d+\\.\\d+", "^([\\w.+-]+)@([a-z0-9-]+)$", "alarm|fault", "(?i)^abc"],
)
def test_plain_patterns_are_for_the_fastest_engine(pattern: str) -> None:
    assert safe_length(translate(pattern).python) >= 200


def test_overlapping_repetitions_are_trusted_with_less() -> None:
    lengths = [safe_length(pattern) for pattern in ("a+b", "a+a+a", "a+a+a+a", "a+a+a+a+a")]
    assert lengths == sorted(lengths, reverse=True)
    assert len(set(lengths)) == 4


EVIL = [("(a+)+$", "a" * 200_000 + "b"), ("(x+x+)+y", "x" * 50_000), ("^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 100_000)]


@pytest.mark.parametrize(("pattern", "text"), EVIL)
def test_evil_texts_take_linear_time(pattern: str, text: str) -> None:
    """Backtracking would take longer than the universe has."""
    pytest.importorskip("re2")
    matcher = Matcher(pattern)
    assert matcher.search(text, FOREVER) is None
    assert matcher.replace(text, lambda: lambda match: "", FOREVER) == text


def test_from_the_first_overrun_on_re2_searches() -> None:
    pytest.importorskip("re2")
    matcher = Matcher("[ab]{400}[cd]")
    text = "c" + "ab" * 30_000
    assert matcher.search("ab", FOREVER) is None
    assert not matcher._overran
    assert matcher.search(text, FOREVER) is None
    assert matcher._overran
    assert matcher.replace(text + "ab" * 200 + "c", lambda: lambda match: "", FOREVER) == text


SLOW = "(?:(?:a{30}){30}){30}b"


def test_what_no_linear_engine_takes_is_stopped_and_rests() -> None:
    call = functions_for(Host(regex_timeout=0.01))["regex_match"].call
    with pytest.raises(FunctionError, match=r"took longer than 0.01 s") as caught:
        call("a" * 200_000, SLOW)
    assert caught.value.code == "regex_timeout"
    with pytest.raises(FunctionError, match="rests, as it took longer"):
        call("a" * 100_000, SLOW)
    assert call("aaab", SLOW) is False


def test_without_re2_the_time_limit_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "re2", None)
    matcher = Matcher("(a|b|ab)*(?:bc|bd)$")
    text = "ab" * 100_000
    with pytest.raises(Refusal, match="took longer"):
        matcher.search(text, 0.0001)
    assert Matcher("b+").search("abb", 1).group(0) == "bb"


def test_a_large_program_on_a_large_text_is_not_for_re2() -> None:
    pytest.importorskip("re2")
    matcher = Matcher("(a|b)*a(a|b){300}$")
    assert matcher._linear is not None
    assert not matcher._suits("a" * (MAX_LINEAR_WORK // matcher._linear.programsize + 1), groups=False)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", "is no regular expression"), ("[[:nope:]]", "no POSIX class"), ("\\x{110000}", "is no character")],
)
def test_a_pattern_that_is_none(pattern: str, message: str) -> None:
    with pytest.raises(Refusal, match=re.escape(message)):
        Matcher(pattern)
