"""The match cache: one object per topic, bounded, and never older than the last change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.matching import MatchCache


def make(max_entries: int = 100) -> tuple[MatchCache, list[str]]:
    asked: list[str] = []

    def subscribers(topic: str) -> tuple[str, ...]:
        asked.append(topic)
        return (f"s:{topic}",)

    return MatchCache(subscribers, lambda topic: (f"r:{topic}",), max_entries=max_entries), asked


def test_a_topic_is_worked_out_once() -> None:
    cache, asked = make()
    match = cache.look_up("a")
    assert (match.topic, match.subscribers, match.rules) == ("a", ("s:a",), ("r:a",))
    assert cache.look_up("a") is match is cache.entries["a"]
    assert asked == ["a"]
    assert cache.misses == 1


def test_a_change_drops_what_it_may_touch() -> None:
    cache, asked = make()
    cache.look_up("a")
    cache.look_up("b")
    cache.forget("a")
    cache.forget("never seen")
    assert list(cache.entries) == ["b"]
    entries = cache.entries
    cache.clear()
    assert cache.entries is entries
    assert not entries
    assert cache.generation == 1
    cache.look_up("a")
    assert asked == ["a", "b", "a"]


@given(st.integers(1, 9), st.lists(st.integers(0, 30).map(str), max_size=60))
def test_it_never_outgrows_its_limit(limit: int, topics: list[str]) -> None:
    cache, _ = make(limit)
    for topic in topics:
        assert cache.look_up(topic).topic == topic
        assert topic in cache.entries
        assert len(cache.entries) <= limit


def test_the_oldest_go_first() -> None:
    cache, _ = make(4)
    for topic in "abcde":
        cache.look_up(topic)
    assert list(cache.entries) == ["b", "c", "d", "e"]


def test_no_room_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="max_entries"):
        make(0)
