"""What a session delivers: QoS out, windows, queues, redelivery, expiry, slow consumers."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.packets import Disconnect, Packet, PubAck, PubComp, Publish, PubRec, PubRel, ReasonCode
from core.clock import SECOND
from tests.broker.pair import Broker, Client, reason_of

KEPT: dict[str, Any] = {"clean_start": False, "session_expiry_interval": 600}


def kept(broker: Broker, version: int = 5, **fields: Any) -> Client:
    """A client whose session outlives its connection."""
    return broker.connect("k", version, **(KEPT if version == 5 else {"clean_start": False}), **fields)


def publishes(client: Client) -> list[Publish]:
    """The messages that came, not acknowledged."""
    return [packet for packet in client.packets() if isinstance(packet, Publish)]


@pytest.mark.parametrize("version", [3, 4, 5])
def test_each_gets_the_lower_qos(version: int) -> None:
    broker = Broker()
    client = broker.connect("c", version)
    for qos in (0, 1, 2):
        assert client.subscribe(f"t{qos}", qos) == qos
    for granted in (0, 1, 2):
        for sent in (0, 1, 2):
            broker.publish(f"t{granted}", qos=sent)
            assert [packet.qos for packet in publishes(client)] == [min(granted, sent)]


def test_qos_2_out() -> None:
    broker = Broker()
    client = broker.connect()
    client.subscribe("t", 2)
    broker.publish("t", b"1", qos=2)
    [message] = publishes(client)
    client.send(PubRec(message.packet_id))
    assert client.only(PubRel) == PubRel(message.packet_id)
    client.send(PubRec(message.packet_id))
    assert client.only(PubRel) == PubRel(message.packet_id)
    session = broker.router.sessions["c"]
    assert session.in_flight == 1
    client.send(PubComp(message.packet_id))
    assert client.packets() == []
    assert session.in_flight == 0


@pytest.mark.parametrize(("version", "code"), [(4, 0), (5, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)])
def test_pubrec_for_nothing(version: int, code: int) -> None:
    client = Broker().connect("c", version)
    client.send(PubRec(4))
    assert client.only(PubRel) == PubRel(4, code)
    client.send(PubAck(4), PubComp(4))
    assert client.packets() == []


def test_a_failed_pubrec_ends_the_exchange() -> None:
    broker = Broker()
    client = broker.connect()
    client.subscribe("t", 2)
    broker.publish("t", qos=2)
    [message] = publishes(client)
    client.send(PubRec(message.packet_id, ReasonCode.QUOTA_EXCEEDED))
    assert client.packets() == []
    assert broker.router.sessions["c"].in_flight == 0


def test_answers_of_the_wrong_kind_change_nothing() -> None:
    broker = Broker()
    client = broker.connect()
    client.subscribe("t", 2)
    broker.publish("t", qos=1)
    broker.publish("t", qos=2)
    one, two = publishes(client)
    client.send(PubComp(one.packet_id), PubAck(two.packet_id), PubComp(two.packet_id))
    assert client.packets() == []
    assert broker.router.sessions["c"].in_flight == 2
    client.send(PubRec(one.packet_id))
    assert client.only(PubRel).reason_code == ReasonCode.PACKET_IDENTIFIER_NOT_FOUND


def test_identifiers_of_both_sides_are_two_spaces() -> None:
    broker = Broker()
    client = broker.connect()
    client.subscribe("t", 1)
    broker.publish("t", b"ours", qos=1)
    [ours] = publishes(client)
    client.publish("t", b"theirs", qos=1, packet_id=ours.packet_id)
    sent = client.packets()
    assert PubAck(ours.packet_id) in sent
    assert broker.router.sessions["c"].in_flight == 2
    client.send(PubAck(ours.packet_id))
    assert broker.router.sessions["c"].in_flight == 1


def test_identifiers_in_use_are_skipped_and_never_0() -> None:
    broker = Broker()
    client = broker.connect()
    client.subscribe("t", 1)
    broker.publish("t", b"stays", qos=1)
    [stays] = publishes(client)
    session = broker.router.sessions["c"]
    session._last_identifier = 65_534
    seen = []
    for _ in range(3):
        broker.publish("t", qos=1)
        [message] = publishes(client)
        seen.append(message.packet_id)
        client.send(PubAck(message.packet_id))
    assert stays.packet_id == 1
    assert seen == [65_535, 2, 3]


# Windows.


@pytest.mark.parametrize(("receive_maximum", "limit", "window"), [(2, 100, 2), (50, 3, 3)])
def test_no_more_is_in_flight_than_both_sides_allow(receive_maximum: int, limit: int, window: int) -> None:
    broker = Broker(max_in_flight=limit)
    client = broker.connect(receive_maximum=receive_maximum)
    client.subscribe("t", 2)
    for number in range(6):
        broker.publish("t", b"%d" % number, qos=1 + number % 2)
    got = publishes(client)
    assert len(got) == window
    order = [message.payload for message in got]
    while got:
        message = got.pop(0)
        client.send(PubAck(message.packet_id) if message.qos == 1 else PubRec(message.packet_id))
        if message.qos == 2:
            assert publishes(client) == []
            client.send(PubComp(message.packet_id))
        more = publishes(client)
        order += [message.payload for message in more]
        got += more
    assert order == [b"%d" % number for number in range(6)]


def test_qos_0_passes_a_closed_window() -> None:
    broker = Broker(max_in_flight=1)
    client = broker.connect()
    client.subscribe("t", 1)
    broker.publish("t", b"1", qos=1)
    broker.publish("t", b"2", qos=1)
    broker.publish("t", b"3", qos=0)
    assert [message.payload for message in publishes(client)] == [b"1", b"3"]


# Away and back.


@pytest.mark.parametrize("version", [3, 4, 5])
def test_messages_wait_for_a_client_that_is_away(version: int) -> None:
    broker = Broker()
    client = kept(broker, version)
    client.subscribe("t", 2)
    client.drop()
    for qos in (0, 1, 2):
        broker.publish("t", b"%d" % qos, qos=qos)
    client = kept(broker, version)
    assert client.connack is not None
    assert client.connack.session_present
    got = publishes(client)
    assert [(message.payload, message.qos, message.dup) for message in got] == [(b"1", 1, False), (b"2", 2, False)]
    assert broker.dropped("offline") == 1


@pytest.mark.parametrize("version", [4, 5])
def test_what_was_not_acknowledged_comes_again_in_order_with_dup(version: int) -> None:
    broker = Broker()
    client = kept(broker, version)
    client.subscribe("t", 2)
    for number, qos in enumerate((1, 2, 1, 2, 1)):
        broker.publish("t", b"%d" % number, qos=qos)
    first = publishes(client)
    client.send(PubAck(first[2].packet_id), PubRec(first[1].packet_id))
    assert client.only(PubRel)
    client.drop()
    broker.publish("t", b"new", qos=1)
    client = kept(broker, version)
    again = client.packets()
    expected: list[Packet] = [
        Publish("t", b"0", 1, dup=True, packet_id=first[0].packet_id),
        PubRel(first[1].packet_id),
        Publish("t", b"3", 2, dup=True, packet_id=first[3].packet_id),
        Publish("t", b"4", 1, dup=True, packet_id=first[4].packet_id),
    ]
    assert again[:4] == expected
    [new] = again[4:]
    assert isinstance(new, Publish)
    assert (new.payload, new.dup) == (b"new", False)


def test_redelivery_keeps_to_a_smaller_window() -> None:
    broker = Broker()
    client = kept(broker)
    client.subscribe("t", 1)
    for number in range(4):
        broker.publish("t", b"%d" % number, qos=1)
    client.drop()
    client = kept(broker, receive_maximum=2)
    order = []
    while got := publishes(client):
        assert len(got) <= 2
        order += [message.payload for message in got]
        client.send(*[PubAck(message.packet_id) for message in got])
    assert order == [b"0", b"1", b"2", b"3"]


def test_a_clean_start_forgets() -> None:
    broker = Broker()
    client = kept(broker)
    client.subscribe("t", 1)
    client.drop()
    broker.publish("t", qos=1)
    client = broker.connect("k", clean_start=True)
    assert client.connack is not None
    assert not client.connack.session_present
    assert client.packets() == []
    assert len(broker.router.subscriptions) == 0


def test_a_session_expires() -> None:
    broker = Broker()
    client = broker.connect("k", session_expiry_interval=10)
    client.subscribe("t", 1)
    client.drop()
    broker.sleep(9)
    assert len(broker.router.sessions) == 1
    broker.sleep(3)
    assert broker.router.sessions == {}
    assert len(broker.router.subscriptions) == 0
    again = broker.connect("k", clean_start=False)
    assert again.connack is not None
    assert not again.connack.session_present


def test_coming_back_stops_the_expiry() -> None:
    broker = Broker()
    broker.connect("k", session_expiry_interval=10).drop()
    broker.sleep(5)
    client = broker.connect("k", clean_start=False, session_expiry_interval=10)
    broker.sleep(30)
    assert list(broker.router.sessions) == ["k"]
    client.send(Disconnect())
    broker.sleep(12)
    assert broker.router.sessions == {}


def test_no_session_is_kept_for_longer_than_the_limit() -> None:
    broker = Broker(max_session_expiry=20 * SECOND)
    broker.connect("five", session_expiry_interval=0xFFFF_FFFF).drop()
    broker.connect("four", 4, clean_start=False).drop()
    broker.sleep(19)
    assert len(broker.router.sessions) == 2
    broker.sleep(2)
    assert broker.router.sessions == {}


def test_disconnect_changes_the_expiry() -> None:
    broker = Broker()
    client = broker.connect("k", session_expiry_interval=600)
    client.send(Disconnect(0, {"session_expiry_interval": 5}))
    broker.sleep(7)
    assert broker.router.sessions == {}
    client = broker.connect("k", session_expiry_interval=600)
    client.send(Disconnect(0, {"session_expiry_interval": 0}))
    assert broker.router.sessions == {}
    client = broker.connect("k")
    client.send(Disconnect(0, {"session_expiry_interval": 5}))
    assert reason_of(client) == ReasonCode.PROTOCOL_ERROR


# Bounds.


@pytest.mark.parametrize(("policy", "left"), [("drop_oldest", [b"2", b"3"]), ("drop_new", [b"0", b"1"])])
def test_the_queue_is_bounded(policy: str, left: list[bytes]) -> None:
    broker = Broker(max_queued_messages=2, queue_full=policy)
    client = kept(broker)
    client.subscribe("t", 1)
    client.drop()
    for number in range(4):
        broker.publish("t", b"%d" % number, qos=1)
    assert broker.dropped("queue_full") == 2
    client = kept(broker)
    assert client.payloads() == left


def test_messages_expire() -> None:
    broker = Broker()
    client = kept(broker)
    client.subscribe("t", 1)
    client.drop()
    broker.publish("t", b"short", qos=1, properties={"message_expiry_interval": 5})
    broker.publish("t", b"long", qos=1, properties={"message_expiry_interval": 60, "content_type": "x"})
    broker.sleep(10)
    client = kept(broker)
    [message] = publishes(client)
    assert message.payload == b"long"
    assert message.properties == {"message_expiry_interval": 50, "content_type": "x"}
    assert broker.dropped("expired") == 1


def test_what_is_too_large_for_a_client_is_not_sent() -> None:
    broker = Broker()
    client = kept(broker, maximum_packet_size=40)
    client.subscribe("t", 1)
    for qos in (0, 1):
        broker.publish("t", b"x" * 50, qos=qos)
        broker.publish("t", b"fits", qos=qos)
    assert client.payloads() == [b"fits", b"fits"]
    assert broker.dropped("packet_too_large") == 2
    broker.publish("t", b"y" * 30, qos=1)
    client.drop()
    client = kept(broker, maximum_packet_size=30)
    assert client.payloads() == []
    assert broker.router.sessions["k"].in_flight == 0


def test_a_slow_consumer_loses_qos_0_and_nothing_else() -> None:
    broker = Broker(max_write_buffer=100)
    client = broker.connect()
    client.subscribe("t", 1)
    client.connection.pause_writing()
    for number in range(3):
        broker.publish("t", b"q0", qos=0)
        broker.publish("t", b"%d" % number, qos=1)
    assert broker.dropped("slow_consumer") == 3
    client.connection.resume_writing(broker.now)
    assert client.payloads() == [b"0", b"1", b"2"]


def test_one_turn_of_output_is_bounded() -> None:
    broker = Broker(max_write_buffer=100)
    client = broker.connect()
    client.subscribe("t", 1)
    for number in range(20):
        broker.publish("t", b"x" * 20, qos=number % 2)
    assert broker.dropped("slow_consumer") > 0
    assert client.connection._buffered < 200
    while client.messages():
        pass
    session = broker.router.sessions["c"]
    assert (session.queued, session.in_flight) == (0, 0)


# The model: whatever happens to the line, QoS 1 arrives at least and QoS 2 exactly once, in order.


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.sampled_from([4, 5]))
def test_nothing_is_lost_on_a_bad_line(seed: int, window: int, version: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    broker = Broker(max_in_flight=window)
    client = kept(broker, version)
    client.subscribe("t/#", 2)
    arrived: dict[int, list[bytes]] = {1: [], 2: []}
    open_exchanges: set[int] = set()
    sent: dict[int, list[bytes]] = {1: [], 2: []}

    def reconnect() -> None:
        nonlocal client
        client.drop()
        client = kept(broker, version)

    def take() -> None:
        for packet in client.packets():
            if chance.random() < 0.1:
                reconnect()  # and what came behind this packet never arrives
                return
            if isinstance(packet, Publish):
                if packet.qos == 1:
                    arrived[1].append(packet.payload)
                    client.send(PubAck(packet.packet_id))
                else:
                    if packet.packet_id not in open_exchanges:
                        open_exchanges.add(packet.packet_id)
                        arrived[2].append(packet.payload)
                    client.send(PubRec(packet.packet_id))
            elif isinstance(packet, PubRel):
                open_exchanges.discard(packet.packet_id)
                client.send(PubComp(packet.packet_id))

    for number in range(30):
        qos = chance.choice((1, 2))
        broker.publish(f"t/{qos}", b"%d" % number, qos=qos)
        sent[qos].append(b"%d" % number)
        if chance.random() < 0.5:
            take()
        if chance.random() < 0.2:
            reconnect()
    chance.random = lambda: 1.0  # type: ignore[method-assign]
    reconnect()
    for _ in range(100):
        take()
    assert arrived[2] == sent[2]
    assert list(dict.fromkeys(arrived[1])) == sent[1]
    session = broker.router.sessions["k"]
    assert (session.queued, session.in_flight) == (0, 0)
