"""What a client publishes: QoS in, aliases, rights, the inbox and its acknowledgements."""

from __future__ import annotations

from typing import Any

import pytest

from broker.packets import Disconnect, PubAck, PubComp, Publish, PubRec, PubRel, ReasonCode
from core.matching import Match
from tests.broker.pair import Broker, LateInbox, reason_of, will


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_message_enters_the_inbox_as_it_is(version: int) -> None:
    broker = Broker()
    client = broker.connect("cp1", version, username="u")
    client.publish("rules/m", b"\x00\xff", qos=1, retain=True)
    [message] = broker.inbox.take()
    assert (message.topic, message.payload, message.qos, message.retain) == ("rules/m", b"\x00\xff", 1, True)
    assert (message.publisher.client_id, message.publisher.username) == ("cp1", "u")
    assert message.received_ns == broker.now
    assert isinstance(message.match, Match)
    assert message.match.rules == ("rule",)
    assert client.only(PubAck) == PubAck(1)


def test_properties_come_along_but_not_those_of_the_hop() -> None:
    broker = Broker()
    client = broker.connect()
    mine: dict[str, Any] = {"content_type": "json", "user_properties": [("a", "1"), ("a", "2")]}
    client.publish("rules/m", properties={**mine, "topic_alias": 1})
    client.publish("rules/m", properties={"topic_alias": 2})
    first, second = broker.inbox.take()
    assert first.properties == mine
    assert second.properties is None


@pytest.mark.parametrize(
    ("marks", "hops"),
    [
        ([("headrace-hops", "3"), ("headrace-from", "x")], 3),
        ([("headrace-hops", "1"), ("headrace-hops", "2")], 2),
        ([("headrace-hops", "x"), ("headrace-hops", "-1")], 0),
        ([("headrace-hops", "9" * 5_000)], 255),
        ([("hops", "3")], 0),
    ],
)
def test_a_message_says_how_many_rules_it_has_passed_elsewhere(marks: list[tuple[str, str]], hops: int) -> None:
    broker = Broker()
    client = broker.connect("bridge", username="u")
    for _ in range(2):
        client.publish("rules/m", properties={"user_properties": marks})
    client.publish("rules/m")
    *marked, plain = (message.publisher for message in broker.inbox.take())
    for publisher in marked:
        assert (publisher.client_id, publisher.username, publisher.protocol) == ("bridge", "u", plain.protocol)
        assert (publisher.hops, publisher.rule) == (hops, None)
    assert marked[0] is marked[1], "one object for all of them"
    assert plain.hops == 0


def test_all_messages_of_a_read_go_in_at_once() -> None:
    broker = Broker()
    client = broker.connect()
    appended: list[int] = []
    append = broker.inbox.append
    broker.inbox.append = lambda messages: (appended.append(len(messages)), append(messages))[1]  # type: ignore[method-assign]
    client.send(*[Publish("rules/m", b"x", 1, packet_id=number) for number in range(1, 6)])
    assert appended == [5]
    assert client.packets() == [PubAck(number) for number in range(1, 6)]


def test_what_no_rule_reads_does_not_enter_the_inbox() -> None:
    broker = Broker()
    client = broker.connect()
    client.publish("other", qos=1)
    assert client.only(PubAck)
    assert broker.inbox.take() == []


# QoS 2: handed on once.


def test_qos_2_is_handed_on_once() -> None:
    broker = Broker()
    client = broker.connect(clean_start=False, session_expiry_interval=60)
    client.publish("rules/m", b"1", qos=2, packet_id=7)
    assert client.only(PubRec) == PubRec(7)
    client.send(Publish("rules/m", b"1", 2, dup=True, packet_id=7))
    assert client.only(PubRec) == PubRec(7)
    client.drop()
    client = broker.connect(clean_start=False, session_expiry_interval=60)
    client.send(Publish("rules/m", b"1", 2, dup=True, packet_id=7))
    assert client.only(PubRec) == PubRec(7)
    client.send(PubRel(7))
    assert client.only(PubComp) == PubComp(7)
    assert len(broker.inbox.take()) == 1
    client.publish("rules/m", b"2", qos=2, packet_id=7)
    assert len(broker.inbox.take()) == 1


@pytest.mark.parametrize(("version", "code"), [(4, 0), (5, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)])
def test_pubrel_for_nothing_is_answered(version: int, code: int) -> None:
    client = Broker().connect("c", version)
    client.send(PubRel(9))
    assert client.only(PubComp) == PubComp(9, code)


# Acknowledged when safe.


def test_acknowledgements_wait_for_the_inbox_and_keep_their_order() -> None:
    broker = Broker()
    broker.router.inbox = inbox = LateInbox()
    client = broker.connect()
    client.publish("rules/m", qos=1, packet_id=1)
    client.publish("other", qos=1, packet_id=2)
    client.publish("rules/m", qos=2, packet_id=3)
    client.publish("rules/m", qos=0)
    assert client.packets() == []
    inbox.commit()
    assert client.packets() == [PubAck(1), PubAck(2), PubRec(3)]


def test_a_connection_that_ended_gets_no_acknowledgement() -> None:
    broker = Broker()
    broker.router.inbox = inbox = LateInbox()
    client = broker.connect()
    client.publish("rules/m", qos=1)
    client.send(Disconnect())
    inbox.commit()
    assert client.packets() == []
    assert len(inbox.take()) == 1


def test_receive_maximum() -> None:
    broker = Broker(receive_maximum=3)
    client = broker.connect()
    for number in (1, 2, 3):
        client.publish("a", qos=2, packet_id=number)
    assert client.packets() == [PubRec(1), PubRec(2), PubRec(3)]
    client.send(PubRel(1))
    client.publish("a", qos=2, packet_id=4)
    assert client.packets() == [PubComp(1), PubRec(4)]
    client.publish("a", qos=1, packet_id=5)
    assert reason_of(client) == ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


def test_receive_maximum_counts_what_is_not_safe_yet() -> None:
    broker = Broker(receive_maximum=2)
    broker.router.inbox = inbox = LateInbox()
    client = broker.connect()
    client.publish("rules/m", qos=1, packet_id=1)
    client.publish("rules/m", qos=1, packet_id=2)
    inbox.commit()
    client.publish("rules/m", qos=1, packet_id=3)
    client.publish("rules/m", qos=1, packet_id=4)
    client.publish("rules/m", qos=1, packet_id=5)
    assert reason_of(client) == ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


# Topic aliases.


@pytest.mark.parametrize("late", [False, True])
def test_receive_maximum_counts_each_message_once(late: bool) -> None:
    """A bridge sends all that it may at once, most of all when it comes back after an outage."""
    broker = Broker(receive_maximum=4)
    inbox = LateInbox()
    if late:
        broker.router.inbox = inbox
    client = broker.connect()
    client.send(*[Publish("rules/m", b"x", qos, packet_id=number) for number, qos in ((1, 2), (2, 2), (3, 1), (4, 2))])
    client.send(*[Publish("rules/m", b"x", 2, True, packet_id=number) for number in (1, 2, 4)])
    inbox.commit()
    answers: list[object] = [PubRec(1), PubRec(2), PubAck(3), PubRec(4), PubRec(1), PubRec(2), PubRec(4)]
    assert client.packets() == answers
    client.send(PubRel(1), Publish("rules/m", b"x", 2, packet_id=5), Publish("rules/m", b"x", 1, packet_id=6))
    inbox.commit()
    assert client.packets() == [PubComp(1), PubRec(5), PubAck(6)]
    client.send(*[Publish("rules/m", b"x", 1, packet_id=number) for number in (7, 8)])
    assert reason_of(client) == ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


def test_topic_aliases() -> None:
    broker = Broker(topic_alias_maximum=2)
    client = broker.connect()
    client.publish("rules/a", properties={"topic_alias": 1})
    client.publish("rules/b", properties={"topic_alias": 2})
    client.publish("", properties={"topic_alias": 1})
    client.publish("rules/c", properties={"topic_alias": 1})
    client.publish("", properties={"topic_alias": 1})
    assert [m.topic for m in broker.inbox.take()] == ["rules/a", "rules/b", "rules/a", "rules/c", "rules/c"]


@pytest.mark.parametrize(
    ("topic", "properties", "code"),
    [
        ("a", {"topic_alias": 3}, ReasonCode.TOPIC_ALIAS_INVALID),
        ("", {"topic_alias": 1}, ReasonCode.PROTOCOL_ERROR),
        ("a", {"subscription_identifier": [1]}, ReasonCode.PROTOCOL_ERROR),
    ],
)
def test_bad_properties_of_a_publish(topic: str, properties: dict[str, Any], code: int) -> None:
    client = Broker(topic_alias_maximum=2).connect()
    client.publish(topic, properties=properties)
    assert reason_of(client) == code


def test_aliases_end_with_their_connection() -> None:
    broker = Broker()
    first = broker.connect(session_expiry_interval=60)
    first.publish("rules/a", properties={"topic_alias": 1})
    second = broker.connect(clean_start=False)
    second.publish("", properties={"topic_alias": 1})
    assert second.closed


# Rights.


@pytest.mark.parametrize("version", [4, 5])
def test_what_is_not_allowed_is_dropped_and_said_where_it_can_be(version: int) -> None:
    broker = Broker()
    broker.rights.denied.append(("publish", "rules/no"))
    watcher = broker.connect("w")
    watcher.subscribe("rules/#")
    client = broker.connect("c", version)
    for qos in (0, 1, 2):
        client.publish("rules/no", qos=qos, packet_id=qos, retain=True)
    code = ReasonCode.NOT_AUTHORIZED if version == 5 else 0
    assert client.packets() == [PubAck(1, code), PubRec(2, code)]
    assert broker.inbox.take() == []
    assert len(broker.router.retained) == 0
    assert watcher.messages() == []
    assert broker.dropped("not_authorized") == 3
    assert not client.closed
    client.send(PubRel(2))
    assert client.only(PubComp).reason_code == (ReasonCode.PACKET_IDENTIFIER_NOT_FOUND if version == 5 else 0)


def test_what_is_not_allowed_may_close() -> None:
    broker = Broker(deny_action="disconnect")
    broker.rights.denied.append(("publish", "no"))
    client = broker.connect()
    client.send(Publish("no", b"x"), Publish("rules/yes", b"x"))
    assert reason_of(client) == ReasonCode.NOT_AUTHORIZED
    assert broker.inbox.take() == []


def test_rights_are_asked_once_per_topic_and_forgotten_within_bounds() -> None:
    broker = Broker()
    client = broker.connect()
    for _ in range(3):
        client.publish("a")
    assert broker.rights.asked == [("publish", "a")]
    for number in range(1_100):
        client.publish(f"t/{number}")
    inbound = client.connection._inbound
    assert inbound is not None
    assert len(inbound.permitted) <= 1_024


@pytest.mark.parametrize("topic", ["$SYS/x", "$events/client_connected", "$share/g/x"])
def test_the_brokers_own_topics_are_not_for_clients(topic: str) -> None:
    broker = Broker()
    client = broker.connect()
    client.publish(topic, qos=1)
    assert client.only(PubAck).reason_code == ReasonCode.NOT_AUTHORIZED
    refused = broker.connect("d", accept=False, will=will(topic))
    assert refused.accept().reason_code == ReasonCode.NOT_AUTHORIZED
    assert refused.closed


# A full inbox.


def test_a_full_inbox_drops_qos_0_and_pauses_the_others() -> None:
    broker = Broker(max_messages=2)
    watcher = broker.connect("w")
    watcher.subscribe("rules/#")
    client = broker.connect()
    for number in range(3):
        client.publish("rules/m", b"%d" % number)
    assert broker.dropped("inbox_full") == 1
    assert watcher.payloads() == [b"0", b"1", b"2"]
    assert client.connection.reading
    client.publish("rules/m", b"3", qos=1)
    assert client.only(PubAck)
    assert not client.connection.reading
    assert broker.counted("paused_publishers") == 1
    broker.router.resume(broker.now)
    assert not client.connection.reading
    assert [message.payload for message in broker.inbox.take()] == [b"0", b"1", b"3"]
    broker.router.take_dirty()
    broker.router.resume(broker.now)
    assert client.connection.reading
    assert broker.router.take_dirty() == [client.connection]
    broker.router.resume(broker.now)


def test_a_paused_publisher_is_not_found_silent() -> None:
    broker = Broker(max_messages=1)
    client = broker.connect(keep_alive=10)
    client.publish("rules/m", qos=1)
    broker.sleep(60)
    assert not client.closed
    broker.inbox.take()
    broker.router.resume(broker.now)
    broker.sleep(14)
    assert not client.closed
    broker.sleep(3)
    assert client.closed


def test_a_paused_publisher_may_go() -> None:
    broker = Broker(max_messages=1)
    client = broker.connect()
    client.publish("rules/m", qos=1)
    client.drop()
    assert broker.counted("paused_publishers") == 0
    broker.inbox.take()
    broker.router.resume(broker.now)


def test_a_bug_behind_a_message_does_not_lose_those_before_it() -> None:
    broker = Broker()
    client = broker.connect()
    fan_out = broker.router.matches.look_up

    def broken(topic: str) -> Match:
        if topic == "rules/bug":
            raise RuntimeError("bug")
        return fan_out(topic)

    broker.router.matches.look_up = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        client.send(Publish("rules/m", b"1", 2, packet_id=1), Publish("rules/bug", b"2"))
    assert [message.payload for message in broker.inbox.take()] == [b"1"]


# From inside.


def test_a_local_publisher() -> None:
    from core.errors import PacketError, TopicError
    from core.message import Message

    broker = Broker(max_messages=1)
    watcher = broker.connect("w")
    watcher.subscribe("rules/#", 1)
    message = Message("rules/a", b"1", 1, True, properties={"content_type": "x"}, received_ns=broker.now)
    broker.router.publish([message])
    [got] = watcher.messages()
    assert (got.payload, got.qos, got.retain, got.properties) == (b"1", 1, False, {"content_type": "x"})
    broker.publish("rules/a", b"2")
    assert broker.inbox.take() == [message]
    assert broker.dropped("inbox_full") == 1
    assert len(broker.router.retained) == 1
    with pytest.raises(TopicError):
        broker.publish("rules/#")
    with pytest.raises(PacketError):
        broker.publish("rules/a", properties={"no_such": 1})


def test_direct_dispatch_reaches_subscribers_only() -> None:
    from core.errors import TopicError
    from core.message import Message

    broker = Broker()
    watcher = broker.connect("w")
    watcher.subscribe("rules/#", 1)
    broker.router.dispatch([Message("rules/a", b"1", 1, True, received_ns=broker.now), Message("rules/b", b"2")])
    assert [got.payload for got in watcher.messages()] == [b"1", b"2"]
    assert not broker.inbox.take()
    assert len(broker.router.retained) == 0
    with pytest.raises(TopicError):
        broker.router.dispatch([Message("rules/a", b"1"), Message("rules/#", b"2")])
    assert watcher.messages() == []
