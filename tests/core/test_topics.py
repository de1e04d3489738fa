"""Topic names, filters and templates; covering and overlapping agree with matching."""

from __future__ import annotations

import doctest
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import topics
from core.errors import TopicError
from core.topics import (
    SharedFilter,
    TopicTemplate,
    covers,
    has_wildcard,
    matches,
    overlaps,
    split_shared,
    validate_filter,
    validate_name,
)

# Small enough to be tried out whole: every filter of up to three levels over these, every name of up to four. 'z' is
# in no filter and stands for all the levels that a filter does not know. The empty name cannot be sent, but it is
# what "+" and "/#" have in common.
_FILTER_LEVELS = ("a", "", "$a", "+")
_NAMES = [name for depth in range(1, 5) for name in map("/".join, product(("a", "", "$a", "z"), repeat=depth))]
_PLAIN = [one for depth in range(4) for one in map("/".join, product(_FILTER_LEVELS, repeat=depth)) if one or depth > 1]
_FILTERS = [one for one in [*_PLAIN, *(f"{one}/#" for one in _PLAIN), "#", "/#"] if one]
filters = st.sampled_from(_FILTERS)
names = st.sampled_from(_NAMES)


def test_the_examples_of_the_docstrings() -> None:
    assert doctest.testmod(topics).failed == 0


@pytest.mark.parametrize("name", ["a", "/", "//", "a/b", " ", "$SYS/x", "ä/ö", "a" * 65_535, "ä" * 32_767, "a\nb"])
def test_valid_names(name: str) -> None:
    validate_name(name)
    validate_filter(name)


@pytest.mark.parametrize(
    ("name", "clause"),
    [("", "4.7.3-1"), ("+", "3.3.2-2"), ("a/#", "3.3.2-2"), ("a\x00", "3.3.2-2"), ("ä" * 32_768, "4.7.3-3")],
)
def test_invalid_names(name: str, clause: str) -> None:
    with pytest.raises(TopicError, match=clause):
        validate_name(name)


@pytest.mark.parametrize("topic_filter", ["#", "+", "+/+", "/#", "+/#", "a/+/b", "a/b/#", "$share/g/+/#"])
def test_valid_filters(topic_filter: str) -> None:
    validate_filter(topic_filter)
    assert has_wildcard(topic_filter)


@pytest.mark.parametrize(
    "bad", ["", "a#", "#/a", "a/#/b", "##", "#\n", "a/#\n", "a+", "+a", "a/+b", "++", "a\x00", "+\n"]
)
def test_invalid_filters(bad: str) -> None:
    with pytest.raises(TopicError):
        validate_filter(bad)


@given(st.text(alphabet="a/+#\n\x00", max_size=6))
def test_a_filter_is_valid_exactly_where_wildcards_stand_alone(text: str) -> None:
    levels = text.split("/")
    proper = all(level in ("+", "#") or not set(level) & set("+#\x00") for level in levels)
    expected = bool(text) and proper and "#" not in levels[:-1]
    if expected:
        validate_filter(text)
    else:
        with pytest.raises(TopicError) as caught:
            validate_filter(text)
        assert caught.value.topic == text


@pytest.mark.parametrize(
    ("topic_filter", "name", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/B", False),
        ("a/+", "a/", True),
        ("a/+", "a", False),
        ("+", "a", True),
        ("+", "/a", False),
        ("+/+", "/a", True),
        ("/+", "/a", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "ab", False),
        ("+/#", "a", True),
        ("#", "/", True),
        ("#", "$SYS", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS", True),
        ("$SYS/+", "$SYS/x", True),
        ("a/+/c", "a/$b/c", True),
    ],
)  # fmt: skip
def test_matching(topic_filter: str, name: str, expected: bool) -> None:
    assert matches(topic_filter, name) is expected


def test_covering_and_overlapping_agree_with_matching_for_every_pair_of_small_filters() -> None:
    matched = {one: frozenset(name for name in _NAMES if matches(one, name)) for one in _FILTERS}
    wrong = [
        (one, other)
        for one, other in product(_FILTERS, repeat=2)
        if covers(one, other) is not (matched[other] <= matched[one])
        or overlaps(one, other) is matched[one].isdisjoint(matched[other])
    ]
    assert wrong == []


levels = st.sampled_from(["a", "b", "", "$a", "+"])
long_filters = (
    st.tuples(st.lists(levels, max_size=8), st.booleans())
    .map(lambda parts: "/".join([*parts[0], *(["#"] if parts[1] else [])]))
    .filter(bool)
)


@given(long_filters, long_filters, st.lists(levels.filter(lambda level: level != "+"), min_size=1, max_size=9))
def test_covering_and_overlapping_are_never_at_odds_with_matching(one: str, other: str, name_levels: list[str]) -> None:
    name = "/".join(name_levels)
    if matches(other, name):
        assert matches(one, name) or not covers(one, other)
        assert not matches(one, name) or overlaps(one, other)
    assert overlaps(one, other) is overlaps(other, one)
    if covers(one, other):
        assert overlaps(one, other)


@given(filters, names)
def test_a_name_is_the_filter_of_itself_alone(topic_filter: str, name: str) -> None:
    assert covers(topic_filter, name) is overlaps(topic_filter, name) is matches(topic_filter, name)


@given(filters, filters, filters)
def test_covering_is_an_order(one: str, two: str, three: str) -> None:
    assert covers(one, one)
    if covers(one, two) and covers(two, three):
        assert covers(one, three)


def test_shared_filters() -> None:
    assert split_shared("$share/g/a/+/#") == SharedFilter("g", "a/+/#")
    assert split_shared("$share/g//") == SharedFilter("g", "/")
    assert split_shared("a/b") is None
    assert split_shared("$shared/g/a") is None


@pytest.mark.parametrize("bad", ["$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/g#/a"])
def test_bad_shared_filters(bad: str) -> None:
    with pytest.raises(TopicError, match=r"4\.8\.2-1"):
        split_shared(bad)


@pytest.mark.parametrize(
    ("template", "topic_filter", "name", "bound"),
    [
        ("cp/{station}/{n:int}/meter", "cp/+/+/meter", "cp/A7/2/meter", {"station": "A7", "n": 2}),
        ("cp/{station}/{n:int}/meter", "cp/+/+/meter", "cp/A7/x/meter", None),
        ("cp/{station}/{n:int}/meter", "cp/+/+/meter", "cp/A7/2/meter/x", None),
        ("cp/{station}", "cp/+", "cp/", None),
        ("cp/{station:str}", "cp/+", "cp/a b\n", {"station": "a b\n"}),
        ("{n:int}", "+", "-12", {"n": -12}),
        ("{n:int}", "+", "٣", None),
        ("{n:int}", "+", "9" * 18, {"n": 10**18 - 1}),
        ("{n:int}", "+", "9" * 5_000, None),
        ("{a}/+/{b}/#", "+/+/+/#", "x//y", {"a": "x", "b": "y"}),
        ("{a}/+/{b}/#", "+/+/+/#", "x//y/z/z", {"a": "x", "b": "y"}),
        ("{a}/#", "+/#", "$SYS/uptime", None),
        ("#", "#", "$SYS", None),
        ("#", "#", "a/b", {}),
        ("a.b/{c}", "a.b/+", "axb/c", None),
        ("plain", "plain", "plain", {}),
    ],
)  # fmt: skip
def test_templates(template: str, topic_filter: str, name: str, bound: dict[str, Any] | None) -> None:
    made = TopicTemplate(template)
    assert made.filter == topic_filter
    assert made.bind(name) == bound
    assert bound is None or tuple(bound) == made.names


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("a/x{b}", "a placeholder is a whole level"),
        ("a/{b", "a placeholder is a whole level"),
        ("a/{}", "a placeholder is a whole level"),
        ("a/{1b}", "a placeholder is a whole level"),
        ("{a}/{a}", "binds 'a' twice"),
        ("{a:float}", "unknown converter 'float', known are str, int"),
        ("a/#/{b}", "not valid"),
        ("", "at least one character"),
    ],
)
def test_bad_templates(template: str, text: str) -> None:
    with pytest.raises(TopicError, match=text):
        TopicTemplate(template)


templates = st.lists(st.sampled_from(["a", "", "+", "{p}", "{q:int}"]), min_size=1, max_size=3, unique=True)


@given(templates, st.booleans(), names)
def test_a_template_binds_only_what_its_filter_matches(levels: list[str], rest: bool, name: str) -> None:
    text = "/".join([*levels, *(["#"] if rest else [])])
    if text:
        template = TopicTemplate(text)
        fits = matches(template.filter, name)
        assert template.bind(name) is None or fits
        if not template.names:
            assert (template.bind(name) is not None) is fits
