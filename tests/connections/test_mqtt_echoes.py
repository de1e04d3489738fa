"""Echoes over MQTT 3.1.1: what was sent is known when it comes back, once, for a while, within bounds."""

from __future__ import annotations

import pytest

from connections.mqtt import echoes
from connections.mqtt.echoes import Echoes
from core.clock import SECOND


def test_what_was_sent_is_an_echo_as_often_as_it_was_sent() -> None:
    one = Echoes()
    one.listen(["a/#"])
    one.sent("a/b", b"1", 0)
    one.sent("a/b", b"1", 0)
    assert [one.came("a/b", b"1", 1) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(("topic", "payload"), [("a/c", b"1"), ("a/b", b"2")])
def test_another_topic_or_payload_is_none(topic: str, payload: bytes) -> None:
    one = Echoes()
    one.listen(["a/#"])
    one.sent("a/b", b"1", 0)
    assert not one.came(topic, payload, 1)
    assert one.came("a/b", b"1", 1)


def test_what_nobody_hears_is_not_kept() -> None:
    one = Echoes()
    one.sent("a/b", b"1", 0)
    one.listen(["b/+"])
    one.sent("a/b", b"1", 0)
    one.sent("b/b", b"1", 0)
    assert not one.came("a/b", b"1", 0)
    assert one.came("b/b", b"1", 0)


def test_who_listens_again_is_counted_once() -> None:
    one = Echoes()
    for _ in range(3):
        one.listen(["a/#", "b"])
    assert one._filters == ("a/#", "b")


def test_it_is_forgotten_after_a_minute() -> None:
    one = Echoes()
    one.listen(["#"])
    for second in (0, 50):
        one.sent("a", b"1", second * SECOND)
    assert one.came("a", b"1", 100 * SECOND)
    assert not one.came("a", b"1", 100 * SECOND)


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echoes, "MOST", 3)
    monkeypatch.setattr(echoes, "_MAX_TOPICS", 2)
    one = Echoes()
    one.listen(["#"])
    for number in range(5):
        one.sent(f"t{number}", b"x", 0)
    assert [one.came(f"t{number}", b"x", 0) for number in range(5)] == [False, False, True, True, True]
    assert (one._count, len(one._sent)) == (0, 0)
    assert len(one._heard) <= 2
