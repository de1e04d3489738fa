"""Who gets what: overlapping and shared subscriptions, no local, identifiers, and the match cache in step with it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.packets import PubAck, Publish, ReasonCode, SubAck, Subscribe, Subscription, UnsubAck, Unsubscribe
from core.topics import matches
from tests.broker.pair import Broker, Client


@pytest.mark.parametrize("version", [3, 4, 5])
def test_overlapping_subscriptions_give_one_copy_at_the_highest_qos(version: int) -> None:
    broker = Broker()
    client = broker.connect("c", version)
    client.subscribe("t/#", 0)
    client.subscribe("t/+", 2)
    client.subscribe("t/a", 1)
    broker.publish("t/a", qos=2)
    [message] = client.messages()
    assert message.qos == 2


def test_the_copy_carries_every_identifier() -> None:
    broker = Broker()
    client = broker.connect()
    client.subscribe("t/#", identifier=11)
    client.subscribe("t/a", identifier=300)
    client.subscribe("t/+")
    broker.publish("t/a")
    broker.publish("t/b")
    first, second = client.messages()
    assert sorted((first.properties or {})["subscription_identifier"]) == [11, 300]
    assert second.properties == {"subscription_identifier": [11]}


def test_a_new_subscription_replaces_the_old_one() -> None:
    broker = Broker()
    client = broker.connect()
    client.subscribe("t", 2, identifier=1)
    client.subscribe("t", 0)
    broker.publish("t", qos=2)
    [message] = client.messages()
    assert (message.qos, message.properties) == (0, None)
    assert len(broker.router.subscriptions) == 1


def test_no_local() -> None:
    broker = Broker()
    client, other = broker.connect("c"), broker.connect("o")
    client.subscribe("t/#", no_local=True, identifier=1)
    client.publish("t/a", b"mine")
    other.publish("t/a", b"theirs")
    assert client.payloads() == [b"theirs"]
    client.subscribe("t/a", identifier=2)
    client.publish("t/a", b"mine")
    [message] = client.messages()
    assert message.properties == {"subscription_identifier": [2]}


def test_retain_as_published() -> None:
    broker = Broker()
    client, old = broker.connect(), broker.connect("old", 4)
    client.subscribe("plain", 0)
    client.subscribe("kept", 0, retain_as_published=True)
    old.subscribe("#")
    for topic in ("plain", "kept"):
        broker.publish(topic, retain=True)
    assert [message.retain for message in client.messages()] == [False, True]
    assert [message.retain for message in old.messages()] == [False, False]


def test_wildcards_do_not_see_dollar_topics() -> None:
    broker = Broker()
    client = broker.connect()
    client.subscribe("#")
    client.subscribe("+/x")
    broker.publish("$SYS/x")
    assert client.messages() == []
    client.subscribe("$SYS/#")
    broker.publish("$SYS/x")
    assert len(client.messages()) == 1


@pytest.mark.parametrize(("version", "codes"), [(3, []), (4, []), (5, [0, 0x11, 0])])
def test_unsubscribe(version: int, codes: list[int]) -> None:
    broker = Broker()
    client = broker.connect("c", version)
    client.subscribe("t/#")
    client.subscribe("$share/g/t/#")
    client.send(Unsubscribe(5, ["t/#", "t/#", "$share/g/t/#"]))
    assert client.only(UnsubAck) == UnsubAck(5, codes)
    broker.publish("t/a")
    assert client.messages() == []
    assert len(broker.router.subscriptions) == 0


@pytest.mark.parametrize(("version", "refused"), [(3, 0x80), (4, 0x80), (5, 0x87)])
def test_each_subscription_is_judged_alone(version: int, refused: int) -> None:
    broker = Broker()
    broker.rights.denied.append(("subscribe", "no/#"))
    client = broker.connect("c", version)
    client.send(Subscribe(3, [Subscription("yes", 1), Subscription("no/1", 1), Subscription("yes/too", 2)]))
    assert client.only(SubAck) == SubAck(3, [1, refused, 2])
    broker.publish("no/1")
    assert client.messages() == []


def test_shared_subscriptions_are_asked_about_as_they_are() -> None:
    broker = Broker()
    broker.connect().subscribe("$share/g/t/#")
    assert broker.rights.asked[-1] == ("subscribe", "$share/g/t/#")


@pytest.mark.parametrize(("version", "code"), [(4, 0x80), (5, ReasonCode.QUOTA_EXCEEDED)])
def test_subscriptions_are_bounded(version: int, code: int) -> None:
    broker = Broker(max_subscriptions=1)
    client = broker.connect("c", version)
    assert client.subscribe("a") == 0
    assert client.subscribe("b") == code
    assert client.subscribe("a", 1) == 1


# Shared.


def test_a_shared_subscription_gives_each_message_to_one_in_turn() -> None:
    broker = Broker()
    members = [broker.connect(f"m{number}") for number in range(3)]
    for member in members:
        member.subscribe("$share/g/t/#", 1)
    other = broker.connect("other")
    other.subscribe("$share/h/t/#")
    for number in range(6):
        broker.publish("t/a", b"%d" % number, qos=1)
    assert [member.payloads() for member in members] == [[b"0", b"3"], [b"1", b"4"], [b"2", b"5"]]
    assert len(other.messages()) == 6


def test_a_shared_subscription_and_an_ordinary_one_are_two() -> None:
    broker = Broker()
    client = broker.connect()
    client.subscribe("t")
    client.subscribe("$share/g/t")
    broker.publish("t")
    assert len(client.messages()) == 2


def test_a_shared_subscription_prefers_who_is_there() -> None:
    broker = Broker()
    away = broker.connect("away", session_expiry_interval=60)
    there = broker.connect("there")
    for client in (away, there):
        client.subscribe("$share/g/t", 1)
    away.drop()
    for _ in range(3):
        broker.publish("t", qos=1)
    assert len(there.messages()) == 3
    there.connection.pause_writing()
    broker.publish("t", b"for there", qos=1)
    there.connection.resume_writing(broker.now)
    assert there.payloads() == [b"for there"]
    there.drop()
    broker.publish("t", b"kept", qos=1)
    away = broker.connect("away", clean_start=False)
    assert away.payloads() == [b"kept"]


def test_a_shared_subscription_may_change_and_end() -> None:
    broker = Broker()
    client = broker.connect()
    client.subscribe("$share/g/t", 0)
    client.subscribe("$share/g/t", 1)
    broker.publish("t", qos=1)
    [message] = client.messages()
    assert message.qos == 1
    client.drop()
    broker.publish("t", qos=1)
    assert len(broker.router.subscriptions) == 0


# The cache, by a model.

FILTERS = ["a", "a/b", "a/+", "+/b", "#", "a/#", "+", "$share/g/a/b", "$share/g/a/#"]
NAMES = ["a", "a/b", "a/b/c", "b", "$x/b"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["subscribe", "unsubscribe", "publish", "reconnect"]),
            st.integers(0, 2),
            st.sampled_from(FILTERS),
            st.sampled_from(NAMES),
        ),
        max_size=40,
    )
)
def test_deliveries_follow_subscriptions(steps: list[tuple[str, int, str, str]]) -> None:
    broker = Broker()
    clients: list[Client] = [broker.connect(f"c{number}") for number in range(3)]
    model: list[set[str]] = [set(), set(), set()]
    for action, who, topic_filter, name in steps:
        client = clients[who]
        if action == "subscribe":
            client.subscribe(topic_filter)
            model[who].add(topic_filter)
        elif action == "unsubscribe":
            client.send(Unsubscribe(1, [topic_filter]))
            assert client.only(UnsubAck)
            model[who].discard(topic_filter)
        elif action == "reconnect":
            clients[who] = broker.connect(f"c{who}")
            model[who].clear()
        else:
            broker.publish(name)
            got = [len(client.messages()) for client in clients]
            plain = [
                any(matches(entry, name) for entry in entries if not entry.startswith("$share/")) for entries in model
            ]
            shared = [
                entry
                for entry in {entry for entries in model for entry in entries}
                if entry.startswith("$share/") and matches(entry.removeprefix("$share/g/"), name)
            ]
            assert sum(got) == sum(plain) + len(shared)
            assert all(number >= expected for number, expected in zip(got, plain, strict=True))
    assert len(broker.router.subscriptions) == sum(map(len, model))


def test_one_encoding_for_all() -> None:
    broker = Broker()
    clients = [broker.connect(f"c{number}", version) for number, version in enumerate((4, 4, 3, 5))]
    for client in clients:
        client.subscribe("t", 1)
    broker.publish("t", b"x" * 100, qos=0)
    frames = [(client.connection._out or [b""])[-1] for client in clients]
    assert frames[0] is frames[1]
    assert frames[0] is frames[2]
    broker.publish("t", b"y" * 300, qos=1)
    tails = [(client.connection._out or [b""])[-1] for client in clients]
    assert tails[0] is tails[1]
    for client in clients:
        first, second = (packet for packet in client.packets() if isinstance(packet, Publish))
        assert (first.payload, second.payload) == (b"x" * 100, b"y" * 300)
        client.send(PubAck(second.packet_id))
        assert broker.router.sessions[client.connection.publisher.client_id].in_flight == 0
