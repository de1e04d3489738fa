"""The inbox in memory: order, offsets, one wake-up per batch, and the limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.inbox import MemoryInbox
from core.message import Message


def messages(*topics: str) -> list[Message]:
    return [Message(topic, b"") for topic in topics]


def test_messages_come_out_as_they_went_in() -> None:
    inbox = MemoryInbox(lambda: None)
    assert inbox.append(messages("a", "b")) == 2
    assert inbox.append(messages("c")) == 3
    assert len(inbox) == 3
    assert [message.topic for message in inbox.take()] == ["a", "b", "c"]
    assert inbox.take() == []
    assert len(inbox) == 0
    assert inbox.append(messages("d")) == 4


def test_it_wakes_when_it_stops_being_empty_and_only_then() -> None:
    wakes: list[int] = []
    inbox = MemoryInbox(lambda: wakes.append(len(inbox)))
    inbox.append([])
    inbox.append(messages("a", "b"))
    inbox.append(messages("c"))
    assert wakes == [2]
    inbox.take()
    inbox.append(messages("d"))
    assert wakes == [2, 1]


def test_one_that_is_woken_may_take_at_once() -> None:
    taken: list[Message] = []
    inbox = MemoryInbox(lambda: taken.extend(inbox.take()))
    inbox.append(messages("a", "b"))
    inbox.append(messages("c"))
    assert [message.topic for message in taken] == ["a", "b", "c"]


def test_what_lies_in_memory_is_as_safe_as_it_gets() -> None:
    inbox = MemoryInbox(lambda: None)
    calls: list[str] = []
    offset = inbox.append(messages("a"))
    inbox.when_safe(offset, lambda: calls.append("now"))
    inbox.when_safe(0, lambda: calls.append("long since"))
    assert calls == ["now", "long since"]
    with pytest.raises(ValueError, match="behind the inbox's end"):
        inbox.when_safe(offset + 1, lambda: None)


def test_it_is_full_at_its_limit_and_still_refuses_nothing() -> None:
    inbox = MemoryInbox(lambda: None, max_messages=2)
    inbox.append(messages("a"))
    assert not inbox.full
    inbox.append(messages("b", "c"))
    assert inbox.full
    assert len(inbox.take()) == 3
    assert not inbox.full
    with pytest.raises(ValueError, match="max_messages"):
        MemoryInbox(lambda: None, max_messages=0)


@given(st.lists(st.one_of(st.integers(0, 5), st.none()), max_size=30))
def test_offsets_count_every_message_once(steps: list[int | None]) -> None:
    inbox = MemoryInbox(lambda: None)
    appended = taken = 0
    for step in steps:
        if step is None:
            taken += len(inbox.take())
        else:
            appended += step
            assert inbox.append(messages(*"x" * step)) == appended
        assert taken + len(inbox) == appended
