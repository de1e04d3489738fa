"""The index gives what asking every filter in turn would give, whatever was added and removed before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.topic_index import TopicIndex
from core.topics import matches

levels = st.sampled_from(["a", "b", "", "$a"])
names = st.lists(levels, min_size=1, max_size=4).map("/".join).filter(bool)
filters = (
    st.tuples(st.lists(st.one_of(levels, st.just("+")), max_size=3), st.booleans())
    .map(lambda parts: "/".join([*parts[0], *(["#"] if parts[1] else [])]))
    .filter(bool)
)
steps = st.lists(st.tuples(st.booleans(), filters, st.integers(0, 3)), max_size=40)


@given(steps, st.lists(names, max_size=10))
def test_it_agrees_with_asking_every_filter(changes: list[tuple[bool, str, int]], wanted: list[str]) -> None:
    index: TopicIndex[int] = TopicIndex()
    pairs: dict[tuple[str, int], None] = {}
    for adding, topic_filter, value in changes:
        if adding:
            index.add(topic_filter, value)
            pairs[topic_filter, value] = None
        else:
            index.discard(topic_filter, value)
            pairs.pop((topic_filter, value), None)
    for name in wanted:
        found = index.match(name)
        assert len(found) == len(set(found))
        assert set(found) == {value for topic_filter, value in pairs if matches(topic_filter, name)}
    assert sorted(index) == sorted(value for _, value in pairs)


@given(st.lists(st.tuples(filters, st.integers(0, 3)), max_size=20))
def test_what_was_removed_leaves_nothing_behind(pairs: list[tuple[str, int]]) -> None:
    index: TopicIndex[int] = TopicIndex()
    for topic_filter, value in pairs:
        index.add(topic_filter, value)
    for topic_filter, value in pairs:
        index.discard(topic_filter, value)
    assert list(index) == []
    assert index._root.empty()
    assert index._exact == {}


def test_values_of_one_filter_keep_their_order() -> None:
    index: TopicIndex[str] = TopicIndex()
    for value in ("c", "a", "b", "a"):
        index.add("x/+", value)
        index.add("x/y", value)
    assert index.match("x/z") == ["c", "a", "b"]
    assert index.match("x/y") == ["c", "a", "b"]


def test_a_topic_of_very_many_levels_is_no_trouble() -> None:
    index: TopicIndex[int] = TopicIndex()
    deep = "/" * 60_000
    index.add("+/" + deep[2:] + "/#", 1)
    assert index.match(deep) == [1]
    index.discard("+/" + deep[2:] + "/#", 1)
    assert index.match(deep) == []
