"""Events of messages: delivered, acknowledged, dropped, and what of them rules that republish must not feed upon."""

from __future__ import annotations

from typing import Any

import pytest

from broker.events import MAX_HOPS
from broker.packets import Disconnect, PubAck, PubComp, Publish, PubRec, PubRel, ReasonCode
from core.clock import SECOND
from core.message import Message, Publisher, message_id
from tests.broker.pair import Broker, Client, reason_of, will
from tests.broker.test_events import HOST, check_columns, client_of, ms, only

RECEIVER = {"clientid": "cp2", "username": "u", **HOST}
SENDER = {"from_clientid": "cp1", "from_username": "u"}


def pair(broker: Broker, version: int = 5, **fields: Any) -> tuple[Client, Client]:
    """A publisher, cp1, and a subscriber, cp2."""
    return client_of(broker, "cp1", version), client_of(broker, "cp2", version, **fields)


def found(broker: Broker) -> list[dict[str, Any]]:
    events = broker.events()
    for columns in events:
        check_columns(columns)
    return events


def flags(*, retain: bool = False, dup: bool = False) -> dict[str, bool]:
    return {"retain": retain, "dup": dup, "sys": False}


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_delivered(qos: int) -> None:
    broker = Broker()
    broker.watch("message/delivered")
    sender, receiver = pair(broker)
    receiver.subscribe("rules/+", qos, identifier=4, retain_as_published=True)
    properties: dict[str, Any] = {"content_type": "json", "user_properties": [("a", "1")]}
    sender.publish("rules/m", b"hello", 2, retain=True, properties=properties)
    broker.router.take_dirty()
    message, event = broker.inbox.take()
    assert event.payload == b"hello"
    columns = dict(event.columns or {})
    check_columns(columns)
    assert columns == {
        "event": "message.delivered",
        "id": message_id(message),
        **SENDER,
        **RECEIVER,
        "payload": b"hello",
        "topic": "rules/m",
        "qos": qos,
        "flags": flags(retain=True),
        "pub_props": {**properties, "subscription_identifier": [4]},
        "publish_received_at": ms(broker.now),
    }
    assert event.publisher is receiver.connection.publisher


def test_delivered_again() -> None:
    broker = Broker()
    broker.watch("message/delivered")
    sender, receiver = pair(broker, clean_start=False, session_expiry_interval=60)
    receiver.subscribe("a", 1)
    sender.publish("a", b"1", 1)
    receiver.drop()
    published_at = broker.now
    broker.now += SECOND
    client_of(broker, "cp2", clean_start=False, session_expiry_interval=60)
    first, second = found(broker)
    assert (first["flags"]["dup"], second["flags"]["dup"]) == (False, True)
    assert first["id"] == second["id"]
    assert second["publish_received_at"] == ms(published_at)


def test_delivered_from_the_queue_and_the_store() -> None:
    broker = Broker()
    sender, receiver = pair(broker, clean_start=False, session_expiry_interval=60)
    receiver.subscribe("a", 1)
    receiver.drop()
    sender.publish("a", b"before the rule", 1)
    broker.watch("message/delivered")
    sender.publish("a", b"after", 1)
    sender.publish("kept", b"retained", 1, retain=True)
    assert found(broker) == []
    receiver = client_of(broker, "cp2", clean_start=False, session_expiry_interval=60)
    receiver.packets()
    receiver.subscribe("kept", 0)
    unknown, known, retained = found(broker)
    # Nobody kept where it came from.
    assert unknown.keys().isdisjoint({"id", "from_clientid", "from_username", "publish_received_at"})
    assert (unknown["payload"], unknown["clientid"], unknown["topic"]) == (b"before the rule", "cp2", "a")
    assert (known["payload"], known["from_clientid"]) == (b"after", "cp1")
    assert (retained["payload"], retained["qos"], retained["flags"]) == (b"retained", 0, flags(retain=True))
    assert retained["from_clientid"] == "cp1"


def test_a_retained_message_keeps_its_identity() -> None:
    broker = Broker()
    broker.watch("message/delivered")
    sender, receiver = pair(broker)
    sender.publish("rules/kept", b"1", retain=True)
    [message] = broker.inbox.take()
    receiver.subscribe("rules/kept")
    assert only(broker)["id"] == message_id(message)


# Acknowledged.


@pytest.mark.parametrize("version", [4, 5])
def test_acked_at_qos_1(version: int) -> None:
    broker = Broker()
    broker.watch("message/acked")
    sender, receiver = pair(broker, version)
    receiver.subscribe("a", 1)
    sender.publish("a", b"1", 1)
    assert found(broker) == []
    [message] = receiver.packets()
    assert isinstance(message, Publish)
    properties = {"user_properties": [("p", "q")]} if version == 5 else None
    receiver.send(PubAck(message.packet_id, properties=properties))
    columns = only(broker)
    assert len(columns.pop("id")) == 32
    assert columns == {
        "event": "message.acked",
        **SENDER,
        **RECEIVER,
        "payload": b"1",
        "topic": "a",
        "qos": 1,
        "flags": flags(),
        "pub_props": None,
        "publish_received_at": ms(broker.now),
        "puback_props": properties,
    }
    receiver.send(PubAck(message.packet_id))
    assert found(broker) == []


def test_acked_at_qos_2_with_pubcomp() -> None:
    broker = Broker()
    broker.watch("message/acked")
    sender, receiver = pair(broker, clean_start=False, session_expiry_interval=60)
    receiver.subscribe("a", 2)
    sender.publish("a", b"1", 2)
    [message] = receiver.packets()
    assert isinstance(message, Publish)
    receiver.send(PubRec(message.packet_id))
    assert found(broker) == []
    receiver.drop()
    receiver = client_of(broker, "cp2", clean_start=False, session_expiry_interval=60)
    receiver.only(PubRel)
    receiver.send(PubComp(message.packet_id, properties={"reason_string": "done"}))
    columns = only(broker)
    assert (columns["payload"], columns["qos"]) == (b"1", 2)
    assert columns["puback_props"] == {"reason_string": "done"}
    receiver.send(PubComp(message.packet_id))
    assert found(broker) == []


def test_what_a_subscriber_refuses_was_not_acknowledged() -> None:
    broker = Broker()
    broker.watch("message/acked")
    sender, receiver = pair(broker)
    receiver.subscribe("a", 2)
    sender.publish("a", b"1", 2)
    [message] = receiver.packets()
    assert isinstance(message, Publish)
    receiver.send(PubRec(message.packet_id, ReasonCode.QUOTA_EXCEEDED))
    assert found(broker) == []


def test_a_rule_that_goes_leaves_nothing_behind() -> None:
    broker = Broker()
    broker.watch("message/acked")
    sender, receiver = pair(broker)
    receiver.subscribe("a", 2)
    sender.publish("a", b"1", 2)
    [message] = receiver.packets()
    assert isinstance(message, Publish)
    receiver.send(PubRec(message.packet_id))
    session = broker.router.sessions["cp2"]
    assert session.unfinished == 1
    broker.watch()
    receiver.send(PubComp(message.packet_id))
    assert session.unfinished == 0
    assert found(broker) == []


# Dropped.


@pytest.mark.parametrize("version", [4, 5])
def test_dropped_because_nobody_subscribes(version: int) -> None:
    broker = Broker()
    broker.watch("message/dropped")
    client = client_of(broker, version=version)
    properties = {"content_type": "json"} if version == 5 else None
    client.publish("a", b"1", 1, retain=True, properties=properties)
    columns = only(broker)
    assert len(columns.pop("id")) == 32
    assert columns == {
        "event": "message.dropped",
        "reason": "no_subscribers",
        "clientid": "cp1",
        "username": "u",
        **HOST,
        "payload": b"1",
        "topic": "a",
        "qos": 1,
        "flags": flags(retain=True),
        "pub_props": properties,
        "publish_received_at": ms(broker.now),
    }


def test_dropped_is_told_of_messages_that_rules_read_too() -> None:
    broker = Broker()
    broker.watch("message/dropped")
    client_of(broker).send(*[Publish("rules/m", b"x")] * 3)
    broker.router.take_dirty()
    messages = broker.inbox.take()
    told = [message.columns["id"] for message in messages if message.columns is not None]
    assert told == [message_id(message) for message in messages if message.columns is None]
    assert len(set(told)) == 3


def test_identifiers_differ_even_where_messages_are_gone_at_once() -> None:
    broker = Broker()
    broker.watch("message/dropped")
    client_of(broker).send(*[Publish("a", b"x")] * 50)
    assert len({columns["id"] for columns in found(broker)}) == 50


def test_dropped_beyond_the_receive_maximum() -> None:
    broker = Broker(receive_maximum=1)
    broker.watch("message/dropped", "client/disconnected")
    client = client_of(broker)
    _, other = pair(broker)
    other.subscribe("a", 2)
    client = client_of(broker, "cp3")
    client.publish("a", b"1", 2, 1)
    client.publish("a", b"2", 2, 2)
    assert reason_of(client) == ReasonCode.RECEIVE_MAXIMUM_EXCEEDED
    dropped, disconnected = [each for each in found(broker) if each["clientid"] == "cp3"]
    assert (dropped["reason"], dropped["payload"], dropped["topic"]) == ("receive_maximum_exceeded", b"2", "a")
    assert disconnected["reason"] == "receive_maximum_exceeded"


def test_dropped_because_its_packet_identifier_is_in_use() -> None:
    broker = Broker()
    broker.watch("message/dropped")
    sender, receiver = pair(broker)
    receiver.subscribe("a", 2)
    sender.publish("a", b"1", 2, 7)
    sender.send(Publish("a", b"1", 2, dup=True, packet_id=7))
    assert found(broker) == []
    sender.send(Publish("a", b"another", 2, packet_id=7))
    columns = only(broker)
    assert (columns["reason"], columns["payload"]) == ("packet_identifier_inuse", b"another")
    assert broker.dropped("packet_identifier_in_use") == 1


def test_a_will_that_nobody_gets() -> None:
    broker = Broker()
    broker.watch("message/dropped")
    client_of(broker, will=will("gone", b"bye")).drop()
    columns = only(broker)
    assert (columns["reason"], columns["topic"], columns["payload"]) == ("no_subscribers", "gone", b"bye")
    assert (columns["clientid"], columns["publish_received_at"]) == ("cp1", ms(broker.now))


# Not delivered to one of its subscribers.


def lost(broker: Broker) -> list[tuple[str, bytes]]:
    return [(columns["reason"], columns["payload"]) for columns in found(broker)]


def test_delivery_dropped() -> None:
    broker = Broker()
    broker.watch("message/delivery_dropped")
    sender, receiver = pair(broker, clean_start=False, session_expiry_interval=60)
    receiver.subscribe("a", 1)
    receiver.drop()
    sender.publish("a", b"1")
    columns = only(broker)
    assert len(columns.pop("id")) == 32
    assert columns == {
        "event": "delivery.dropped",
        "reason": "qos0_msg",
        **SENDER,
        **RECEIVER,
        "payload": b"1",
        "topic": "a",
        "qos": 0,
        "flags": flags(),
        "pub_props": None,
        "publish_received_at": ms(broker.now),
    }


@pytest.mark.parametrize(("queue_full", "victim"), [("drop_oldest", b"0"), ("drop_new", b"2")])
def test_a_full_queue(queue_full: str, victim: bytes) -> None:
    broker = Broker(max_queued_messages=2, queue_full=queue_full)
    broker.watch("message/delivery_dropped")
    sender, receiver = pair(broker, clean_start=False, session_expiry_interval=60)
    receiver.subscribe("a", 1)
    receiver.send(Disconnect())
    for number in range(3):
        sender.publish("a", b"%d" % number, 1)
    assert lost(broker) == [("queue_full", victim)]


def test_a_slow_consumer() -> None:
    broker = Broker()
    broker.watch("message/delivery_dropped")
    sender, receiver = pair(broker)
    receiver.subscribe("a")
    receiver.connection.pause_writing()
    sender.publish("a", b"1")
    assert lost(broker) == [("qos0_msg", b"1")]


def test_no_local() -> None:
    broker = Broker()
    broker.watch("message/delivery_dropped")
    client = client_of(broker)
    client.subscribe("a", 1, no_local=True)
    client.publish("a", b"1", 1)
    assert lost(broker) == [("no_local", b"1")]


def test_expired() -> None:
    broker = Broker()
    broker.watch("message/delivery_dropped")
    sender, receiver = pair(broker, clean_start=False, session_expiry_interval=600)
    receiver.subscribe("a", 1)
    receiver.drop()
    sender.publish("a", b"1", 1, properties={"message_expiry_interval": 10})
    broker.now += 20 * SECOND
    client_of(broker, "cp2", clean_start=False, session_expiry_interval=600)
    assert lost(broker) == [("expired", b"1")]


@pytest.mark.parametrize("qos", [0, 1])
def test_too_large(qos: int) -> None:
    broker = Broker()
    broker.watch("message/delivery_dropped", "message/delivered")
    sender, receiver = pair(broker, maximum_packet_size=100)
    receiver.subscribe("a", qos)
    sender.publish("a", bytes(200), qos)
    assert lost(broker) == [("too_large", bytes(200))]


def test_too_large_for_the_client_that_comes_back() -> None:
    broker = Broker()
    broker.watch("message/delivery_dropped")
    sender, receiver = pair(broker, clean_start=False, session_expiry_interval=60)
    receiver.subscribe("a", 1)
    sender.publish("a", bytes(200), 1)
    receiver.drop()
    client_of(broker, "cp2", clean_start=False, session_expiry_interval=60, maximum_packet_size=100)
    assert lost(broker) == [("too_large", bytes(200))]


# Rules that republish.


def republish(broker: Broker, hops: int, rule: str = "r") -> None:
    publisher = Publisher(rule, rule=rule, hops=hops)
    broker.router.publish([Message("a", b"1", publisher=publisher, received_ns=broker.now)])


def test_an_event_about_a_republished_message_goes_by_the_rule() -> None:
    broker = Broker()
    broker.watch("message/delivered", "message/dropped")
    receiver = client_of(broker, "cp2")
    republish(broker, 2)
    receiver.subscribe("a")
    republish(broker, 3)
    broker.router.take_dirty()
    dropped, delivered = broker.inbox.take()
    assert dropped.columns is not None
    assert delivered.columns is not None
    assert (dropped.publisher.rule, dropped.publisher.hops) == ("r", 2)
    assert dropped.columns["clientid"] == "r"
    assert "peerhost" not in dropped.columns
    assert (delivered.publisher.rule, delivered.publisher.hops) == ("r", 3)
    assert (delivered.columns["clientid"], delivered.columns["from_clientid"]) == ("cp2", "r")


def test_rules_that_feed_on_what_they_cause_come_to_an_end() -> None:
    broker = Broker()
    broker.watch("message/delivered", "message/acked")
    client_of(broker, "cp2").subscribe("a")
    for hops in range(1, MAX_HOPS + 3):
        republish(broker, hops)
    assert len(found(broker)) == MAX_HOPS
    counts = {
        (family.name, *sample.labels): sample.value for family in broker.metrics.collect() for sample in family.samples
    }
    assert counts["headrace_events_dropped_total", "max_hops"] == 2
    assert counts["headrace_events_raised_total", "message.delivered"] == MAX_HOPS
