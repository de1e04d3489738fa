"""Retained messages: the store against a model, and what subscribers see of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.packets import Disconnect, Subscribe, Subscription
from broker.retained import RetainedStore
from core.clock import SECOND
from core.message import Message
from core.topics import matches
from tests.broker.pair import Broker

LEVELS = st.sampled_from(["a", "b", "", "$x"])
NAMES = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = st.builds(
    lambda levels, rest: "/".join([*levels, *rest]),
    st.lists(st.sampled_from(["a", "b", "", "$x", "+"]), max_size=3),
    st.sampled_from([["#"], ["+"], ["a"]]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NAMES, st.booleans()), max_size=30), FILTERS)
def test_the_store_is_a_dict_that_filters_search(steps: list[tuple[str, bool]], topic_filter: str) -> None:
    store = RetainedStore(1_000, 1 << 20)
    model: dict[str, Message] = {}
    for name, keep in steps:
        message = Message(name, b"x" if keep else b"")
        assert store.put(message)
        if keep:
            model[name] = message
        else:
            model.pop(name, None)
    assert len(store) == len(model)
    assert store.size == sum(len(name) + 1 for name in model)
    found = {message.topic: message for message in store.match(topic_filter, 0)}
    assert found == {name: message for name, message in model.items() if matches(topic_filter, name)}
    for name, message in model.items():
        assert store.get(name, 0) is message
        store.discard(name)
    assert (len(store), store.size) == (0, 0)
    assert not store._root.children


def test_limits_refuse_new_topics() -> None:
    store = RetainedStore(2, 1_000)
    assert store.put(Message("a", b"1"))
    assert store.put(Message("b", b"1"))
    assert not store.put(Message("c", b"1"))
    assert store.put(Message("a", b"2"))
    assert store.put(Message("b", b""))
    assert store.put(Message("c", b"1"))


def test_limits_count_bytes_and_never_keep_what_is_no_longer_the_last() -> None:
    store = RetainedStore(10, 20)
    assert store.put(Message("a", b"x" * 10))
    assert not store.put(Message("b", b"x" * 10))
    assert not store.put(Message("a", b"x" * 30))
    assert store.get("a", 0) is None
    assert store.size == 0


def test_expired_messages_are_gone() -> None:
    store = RetainedStore(10, 100)
    for name in ("a", "b"):
        store.put(Message(name, b"x", properties={"message_expiry_interval": 5}, received_ns=0))
    assert len(store.match("#", 4 * SECOND)) == 2
    assert store.get("a", 5 * SECOND) is None
    assert store.match("#", 5 * SECOND) == []
    assert len(store) == 0


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_new_subscriber_gets_what_is_retained(version: int) -> None:
    broker = Broker()
    publisher = broker.connect("p", 4)
    for topic, qos in (("t/a", 0), ("t/b", 1), ("t/c", 2), ("other", 1)):
        publisher.publish(topic, topic.encode(), qos=qos, packet_id=qos, retain=True)
    client = broker.connect("c", version)
    client.subscribe("t/+", 1)
    got = sorted((message.payload, message.qos, message.retain) for message in client.messages())
    assert got == [(b"t/a", 0, True), (b"t/b", 1, True), (b"t/c", 1, True)]
    publisher.publish("t/a", b"", retain=True)
    assert [(message.payload, message.retain) for message in client.messages()] == [(b"", False)]
    client.subscribe("t/a", 1)
    assert client.messages() == []


def test_retain_handling() -> None:
    broker = Broker()
    broker.publish("t", retain=True)
    client = broker.connect()
    client.subscribe("t", retain_handling=2)
    assert client.messages() == []
    client.subscribe("t", retain_handling=1)
    assert client.messages() == []
    client.subscribe("t", retain_handling=0)
    assert len(client.messages()) == 1
    client.subscribe("+", retain_handling=1, identifier=9)
    [message] = client.messages()
    assert message.properties == {"subscription_identifier": [9]}


def test_shared_subscriptions_get_no_retained_messages() -> None:
    broker = Broker()
    broker.publish("t", retain=True)
    client = broker.connect()
    client.subscribe("$share/g/t")
    assert client.messages() == []


def test_only_what_the_client_may_read_is_replayed() -> None:
    broker = Broker()
    for topic in ("t/yes", "t/no"):
        broker.publish(topic, topic.encode(), retain=True)
    broker.rights.denied.append(("subscribe", "t/no"))
    client = broker.connect()
    client.subscribe("t/#")
    assert client.payloads() == [b"t/yes"]


def test_no_local_holds_for_retained_messages() -> None:
    broker = Broker()
    client = broker.connect()
    client.publish("t", retain=True)
    client.subscribe("t", no_local=True)
    assert client.messages() == []


def test_what_is_left_of_the_expiry_is_told() -> None:
    broker = Broker()
    broker.publish("t", retain=True, properties={"message_expiry_interval": 10})
    broker.sleep(4)
    client = broker.connect()
    client.subscribe("t")
    [message] = client.messages()
    assert message.properties == {"message_expiry_interval": 6}
    broker.sleep(6)
    client.subscribe("t")
    assert client.messages() == []


def test_a_full_store_counts_and_still_delivers() -> None:
    broker = Broker(max_retained_messages=1)
    client = broker.connect()
    client.subscribe("#")
    for topic in ("a", "b"):
        client.publish(topic, retain=True)
    assert len(client.messages()) == 2
    assert broker.counted("retained_refused_total") == 1


def test_retained_messages_not_available() -> None:
    from broker.packets import ReasonCode
    from tests.broker.pair import reason_of, will

    broker = Broker(max_retained_messages=0)
    old, new = broker.connect("old", 4), broker.connect("new", 5)
    old.publish("t", retain=True)
    new.publish("rules/t", retain=True)
    assert not old.closed
    assert reason_of(new) == ReasonCode.RETAIN_NOT_SUPPORTED
    assert broker.inbox.take() == []
    refused = broker.connect("w", accept=False, will=will(retain=True))
    assert refused.accept().reason_code == ReasonCode.RETAIN_NOT_SUPPORTED


def test_a_large_replay_keeps_to_the_line_and_is_never_stale() -> None:
    broker = Broker(max_write_buffer=200, max_in_flight=5)
    for number in range(50):
        broker.publish(f"t/{number}", b"old", retain=True, qos=number % 2)
    client = broker.connect()
    client.send(Subscribe(1, [Subscription("t/#", 1)]))
    connection = client.connection
    assert connection._buffered < 300
    broker.publish("t/49", b"new", retain=True, qos=1)
    broker.publish("t/48", b"", retain=True)
    last: dict[str, bytes] = {}
    while got := client.messages():
        for message in got:
            last[message.topic] = message.payload
    assert last.pop("t/49") == b"new"
    # Deleted while it waited for its turn.
    assert last.pop("t/48") == b""
    assert last == {f"t/{number}": b"old" for number in range(48)}


def test_a_replay_goes_on_after_a_reconnect() -> None:
    broker = Broker(max_in_flight=1)
    for number in range(3):
        broker.publish(f"t/{number}", b"%d" % number, retain=True, qos=1)
    client = broker.connect("k", session_expiry_interval=60)
    client.send(Subscribe(1, [Subscription("t/#", 1)]), Disconnect())
    client = broker.connect("k", clean_start=False, session_expiry_interval=60)
    got = set()
    while payloads := client.payloads():
        got.update(payloads)
    assert got == {b"0", b"1", b"2"}
