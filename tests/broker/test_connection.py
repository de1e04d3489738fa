"""The lifecycle of one connection: handshake, table, keep-alive, take-over, errors, and how bytes are cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.connection import HANDLERS
from broker.lifecycle import State
from broker.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
)
from broker.wire import encode
from core.clock import SECOND
from tests.broker.packets import BAD, GOOD, Case
from tests.broker.pair import Broker, connect_packet, reason_of, will

VERSIONS = (3, 4, 5)

SAMPLES: dict[type, Packet] = {
    Connect: Connect("c", 5),
    ConnAck: ConnAck(),
    Publish: Publish("a", b"x", 1, packet_id=1),
    PubAck: PubAck(1),
    PubRec: PubRec(1),
    PubRel: PubRel(1),
    PubComp: PubComp(1),
    Subscribe: Subscribe(1, [Subscription("a")]),
    SubAck: SubAck(1, [0]),
    Unsubscribe: Unsubscribe(1, ["a"]),
    UnsubAck: UnsubAck(1, [0]),
    PingReq: PingReq(),
    PingResp: PingResp(),
    Disconnect: Disconnect(),
    Auth: Auth(0x18, {"authentication_method": "m"}),
}


# The handshake.


@pytest.mark.parametrize("version", VERSIONS)
def test_connects_and_says_goodbye(version: int) -> None:
    broker = Broker()
    client = broker.connect("c", version)
    assert client.connack is not None
    assert (client.connack.session_present, client.connack.reason_code) == (False, 0)
    assert broker.router.connected == 1
    client.send(Disconnect())
    assert client.closed
    assert client.packets() == []
    assert (broker.router.connected, len(broker.router.sessions)) == (0, 0)


def test_connack_tells_the_limits() -> None:
    broker = Broker(receive_maximum=7, topic_alias_maximum=3, max_keep_alive=60, max_session_expiry=5 * SECOND)
    client = broker.connect("c", keep_alive=300, session_expiry_interval=100)
    assert client.connack is not None
    assert client.connack.properties == {
        "receive_maximum": 7,
        "maximum_packet_size": 1 << 20,
        "topic_alias_maximum": 3,
        "server_keep_alive": 60,
        "session_expiry_interval": 5,
    }


def test_connack_says_that_there_are_no_retained_messages() -> None:
    client = Broker(max_retained_messages=0).connect()
    assert client.connack is not None
    assert (client.connack.properties or {})["retain_available"] == 0


@pytest.mark.parametrize("clean", [True, False])
def test_v5_gets_a_client_id(clean: bool) -> None:
    broker = Broker()
    client = broker.connect("", 5, clean_start=clean)
    assert client.connack is not None
    assigned = (client.connack.properties or {})["assigned_client_identifier"]
    assert assigned == client.connection.publisher.client_id
    assert list(broker.router.sessions) == [assigned]


def test_v4_without_a_client_id_needs_a_clean_session() -> None:
    assert not Broker().connect("", 4).closed
    client = Broker().connect("", 4, clean_start=False, accept=False)
    assert client.only(ConnAck).reason_code == 2
    assert client.closed


def test_v31_needs_a_client_id() -> None:
    assert Broker().connect("", 3, accept=False).only(ConnAck).reason_code == 2


@pytest.mark.parametrize(("version", "username", "code"), [(4, None, 5), (4, "u", 4), (5, None, 0x87), (5, "u", 0x86)])
def test_refused_by_authentication(version: int, username: str | None, code: int) -> None:
    broker = Broker()
    client = broker.connect("c", version, accept=False, username=username)
    client.connection.refuse(broker.now)
    assert client.only(ConnAck).reason_code == code
    assert client.closed
    assert broker.router.sessions == {}
    assert broker.counted("auth_failures_total") == 1


def test_authentication_is_asked_about_the_publisher() -> None:
    client = Broker().connect("cp1", 5, accept=False, username="u", password=b"secret")
    login = client.connection.login
    assert login is not None
    assert (login.publisher.client_id, login.publisher.username, login.password) == ("cp1", "u", b"secret")
    assert (login.publisher.peer_host, login.publisher.peer_port) == ("192.0.2.1", 40_000)
    assert login.publisher.protocol == "MQTT/5.0"


def test_enhanced_authentication_is_refused() -> None:
    client = Broker().connect("c", 5, accept=False, authentication_method="SCRAM")
    assert client.only(ConnAck).reason_code == ReasonCode.BAD_AUTHENTICATION_METHOD


def test_what_comes_before_the_answer_is_kept_and_handled_in_order() -> None:
    broker = Broker()
    client = broker.client()
    client.send(connect_packet("c"), Publish("rules/a", b"1"), PingReq())
    client.send(Publish("rules/a", b"2", 1, packet_id=9))
    assert client.packets() == []
    assert broker.inbox.take() == []
    client.accept()
    assert client.packets() == [PingResp(), PubAck(9)]
    assert [message.payload for message in broker.inbox.take()] == [b"1", b"2"]


def test_reading_pauses_when_much_comes_before_the_answer() -> None:
    broker = Broker()
    client = broker.connect("c", accept=False)
    client.publish("a", b"x" * 70_000)
    assert not client.connection.reading
    client.accept()
    assert client.connection.reading


def test_a_bad_packet_before_the_answer_closes_after_it() -> None:
    broker = Broker()
    client = broker.client()
    client.send_bytes(encode(connect_packet("c"), 5) + encode(Publish("rules/a", b"1"), 5) + b"\xf3\x00")
    client.accept()
    assert reason_of(client) == ReasonCode.MALFORMED_PACKET
    assert len(broker.inbox.take()) == 1


def test_the_answer_of_authentication_may_come_too_late() -> None:
    broker = Broker()
    client = broker.connect("c", accept=False)
    client.drop()
    client.connection.accept(broker.now)
    client.connection.refuse(broker.now)
    assert client.packets() == []
    assert broker.router.sessions == {}


def test_too_many_sessions() -> None:
    broker = Broker(max_sessions=1)
    broker.connect("a")
    client = broker.connect("b", accept=False)
    assert client.accept().reason_code == ReasonCode.QUOTA_EXCEEDED
    assert client.closed
    assert broker.router.connected == 1


@pytest.mark.parametrize(("level", "version", "code"), [(6, 5, 0x84), (2, 4, 1)])
def test_unknown_protocol_versions_are_told(level: int, version: int, code: int) -> None:
    client = Broker().client(version)
    client.send_bytes(b"\x10\x0d\x00\x04MQTT" + bytes([level]) + b"\x02\x00\x00\x00\x01c")
    assert client.only(ConnAck).reason_code == code
    assert client.closed


# The table.


@pytest.mark.parametrize("kind", SAMPLES, ids=lambda kind: kind.__name__)
def test_before_connect_only_connect_is_taken(kind: type) -> None:
    broker = Broker()
    client = broker.client()
    client.send(SAMPLES[kind])
    assert client.closed is ((State.NEW, kind) not in HANDLERS)
    assert client.closed is (kind is not Connect)
    assert client.packets() == []


@pytest.mark.parametrize("kind", SAMPLES, ids=lambda kind: kind.__name__)
def test_every_packet_has_its_place_or_closes_with_a_reason(kind: type) -> None:
    broker = Broker()
    client = broker.connect()
    client.send(SAMPLES[kind])
    if kind in (ConnAck, Connect, SubAck, UnsubAck, PingResp, Auth):
        assert reason_of(client) == ReasonCode.PROTOCOL_ERROR
    else:
        assert client.closed is (kind is Disconnect)


@pytest.mark.parametrize("version", [3, 4])
def test_before_mqtt_5_a_protocol_error_is_a_plain_close(version: int) -> None:
    client = Broker().connect("c", version)
    client.send(Connect("c", version))
    assert client.closed
    assert client.packets() == []


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(SAMPLES, key=lambda kind: kind.__name__)), max_size=8), st.sampled_from(VERSIONS)
)
def test_any_packets_in_any_state_stay_in_the_table_or_close(kinds: list[type], version: int) -> None:
    broker = Broker()
    watcher = broker.connect("watcher")
    watcher.subscribe("#", 2)
    client = broker.client(version)
    for kind in kinds:
        packet = Connect("c", version) if kind is Connect else SAMPLES[kind]
        if kind is Auth and version < 5:
            continue
        before = client.connection.state
        if before is State.AUTHENTICATING:
            client.connection.accept(broker.now)
            before = client.connection.state
        client.send(packet)
        legal = (before, kind) in HANDLERS or (before is State.OPEN and kind is Publish)
        if not legal or kind is Disconnect:
            assert client.closed
        sent = client.packets()
        if before is State.OPEN and not legal and version == 5:
            assert isinstance(sent[-1], Disconnect)
            assert sent[-1].reason_code >= 0x80
    client.drop()
    assert client.closed
    assert broker.router.connected == 1


# Errors of the wire.


@pytest.mark.parametrize("case", [case for case in BAD if case.wire[0] >> 4 != 1], ids=str)
def test_bad_packets_close_with_their_reason(case: Case) -> None:
    broker = Broker()
    client = broker.connect("c", case.version)
    client.send_bytes(case.wire)
    assert client.closed
    if case.version == 5:
        assert reason_of(client) == case.reason_code
    else:
        assert client.packets() == []
    assert broker.counted("packet_errors_total", ReasonCode(case.reason_code or 0).name.lower()) == 1


@pytest.mark.parametrize("case", [case for case in BAD if case.wire[0] >> 4 == 1], ids=str)
def test_bad_connects_never_get_in(case: Case) -> None:
    broker = Broker()
    client = broker.client(case.version)
    client.send_bytes(case.wire)
    assert client.closed
    assert broker.router.sessions == {}


def test_the_reason_is_told_in_words_where_it_fits() -> None:
    def closed_by(maximum: int) -> Disconnect:
        client = Broker().connect("c", maximum_packet_size=maximum)
        client.send(ConnAck())
        return client.only(Disconnect)

    assert closed_by(1_000).properties == {"reason_string": "CONNACK has no place here"}
    assert closed_by(20).properties is None


def test_a_packet_larger_than_the_limit_closes() -> None:
    broker = Broker()
    client = broker.client(5, max_packet_size=100)
    client.send(connect_packet("c"))
    client.accept()
    client.publish("a", b"x" * 200)
    assert reason_of(client) == ReasonCode.PACKET_TOO_LARGE


def test_nothing_is_taken_after_the_end() -> None:
    broker = Broker()
    client = broker.connect()
    client.send(Disconnect(), Publish("rules/a", b"1"))
    client.send(Publish("rules/a", b"1"))
    client.connection.close(ReasonCode.SERVER_BUSY, broker.now)
    assert broker.inbox.take() == []
    assert client.packets() == []


# How bytes are cut.


def script(version: int) -> bytes:
    packets: list[Packet] = [
        Connect("c", version),
        Subscribe(1, [Subscription("a/#", 2), Subscription("b", 0)]),
        Publish("a/b", b"0"),
        Publish("rules/b", b"1", 1, packet_id=1),
        Publish("a/c", b"2", 2, packet_id=2),
        PubRel(2),
        PingReq(),
        Unsubscribe(3, ["a/#", "nothing"]),
        Publish("a/b", b"3"),
        Disconnect(),
    ]
    return b"".join(encode(packet, version) for packet in packets)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [1, 2, 7, 1_000])
def test_how_bytes_are_cut_changes_nothing(version: int, size: int) -> None:
    broker = Broker()
    client = broker.client(version)
    data = script(version)
    found: list[Packet] = []
    for at in range(0, len(data), size):
        client.send_bytes(data[at : at + size])
        if client.connection.state is State.AUTHENTICATING:
            client.connection.accept(broker.now)
        found += client.packets()
    kinds = [type(packet) for packet in found]
    # Answers may pass messages, but each kind keeps its order and number.
    assert sorted(kind.__name__ for kind in kinds) == [
        "ConnAck", "PingResp", "PubAck", "PubComp", "PubRec", "Publish", "Publish", "SubAck", "UnsubAck",
    ]  # fmt: skip
    assert [packet.payload for packet in found if isinstance(packet, Publish)] == [b"0", b"2"]
    assert [message.payload for message in broker.inbox.take()] == [b"1"]
    assert client.closed


@pytest.mark.parametrize("case", GOOD, ids=str)
def test_no_packet_raises(case: Case) -> None:
    broker = Broker()
    client = broker.client(case.version)
    client.send_bytes(case.wire)
    other = broker.connect("other", case.version)
    other.send_bytes(case.wire)
    other.packets()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(VERSIONS), st.booleans())
def test_no_bytes_raise(data: bytes, version: int, connected: bool) -> None:
    broker = Broker()
    client = broker.connect("c", version) if connected else broker.client(version)
    client.send_bytes(data)
    client.packets()


# Time.


@pytest.mark.parametrize("version", VERSIONS)
def test_keep_alive(version: int) -> None:
    broker = Broker()
    client = broker.connect("c", version, keep_alive=10)
    broker.sleep(14)
    client.send(PingReq())
    assert client.only(PingResp)
    broker.sleep(14)
    assert not client.closed
    broker.sleep(3)
    assert client.closed
    if version == 5:
        assert reason_of(client) == ReasonCode.KEEP_ALIVE_TIMEOUT
    assert broker.router.connected == 0


def test_without_keep_alive_nobody_is_closed() -> None:
    broker = Broker()
    client = broker.connect("c")
    broker.sleep(200)
    assert not client.closed
    assert client.connection.next_deadline is None


def test_a_server_keep_alive_counts() -> None:
    broker = Broker(max_keep_alive=10)
    client = broker.connect("c", keep_alive=0)
    broker.sleep(17)
    assert client.closed


def test_who_never_connects_is_closed() -> None:
    broker = Broker(connect_timeout=5 * SECOND)
    silent, waiting = broker.client(), broker.connect("c", accept=False)
    broker.sleep(4)
    silent.send_bytes(b"\x10")
    assert not silent.closed
    broker.sleep(2)
    assert silent.closed
    assert waiting.closed
    assert silent.packets() == []
    assert broker.counted("connections_total", "timeout") == 2


# Take-over.


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_id_is_taken_over(version: int) -> None:
    broker = Broker()
    old = broker.connect("c", version)
    new = broker.connect("c", version)
    assert old.closed
    assert not new.closed
    if version == 5:
        assert reason_of(old) == ReasonCode.SESSION_TAKEN_OVER
    assert broker.router.connected == 1
    old.drop()
    assert broker.router.connected == 1
    assert broker.router.sessions["c"].connection is new.connection


def test_the_session_goes_to_the_one_who_takes_over() -> None:
    broker = Broker()
    old = broker.connect("c", clean_start=False, session_expiry_interval=60)
    old.subscribe("a", 1)
    new = broker.connect("c", clean_start=False, session_expiry_interval=60)
    assert new.connack is not None
    assert new.connack.session_present
    broker.publish("a", b"1", qos=1)
    assert new.payloads() == [b"1"]


def test_many_at_once_are_disconnected() -> None:
    broker = Broker()
    clients = [broker.connect(f"c{number}", version) for number, version in enumerate(VERSIONS)]
    watcher = broker.connect("w", will=will())
    broker.router.disconnect_all(broker.now)
    assert all(client.closed for client in clients)
    assert reason_of(clients[2]) == ReasonCode.SERVER_SHUTTING_DOWN
    assert reason_of(watcher) == ReasonCode.SERVER_SHUTTING_DOWN
    assert broker.router.connected == 0


# Writing.


def test_output_is_asked_for_once_per_turn() -> None:
    broker = Broker()
    a, b = broker.connect("a"), broker.connect("b")
    for client in (a, b):
        client.subscribe("t")
    before = broker.wakes
    a.publish("t", b"1")
    a.publish("t", b"2")
    assert broker.wakes == before + 1
    assert set(broker.router.take_dirty()) == {a.connection, b.connection}
    assert broker.router.take_dirty() == []
    assert b.payloads() == [b"1", b"2"]


def test_who_asks_and_never_listens_is_closed() -> None:
    broker = Broker(max_write_buffer=100)
    client = broker.connect()
    client.connection.pause_writing()
    client.send(*[PingReq()] * 90)
    assert not client.closed
    client.send(*[PingReq()] * 20)
    assert client.closed


def test_metrics_have_the_broker_in_numbers() -> None:
    broker = Broker()
    client = broker.connect("c")
    client.subscribe("a")
    client.publish("a", retain=True)
    counted: dict[str, Any] = {
        name: broker.counted(name)
        for name in ("connections", "sessions", "subscriptions", "retained_messages", "messages_received_total")
    }
    assert counted == dict.fromkeys(counted, 1)
    assert client.payloads() == [b"x"]
    assert broker.counted("messages_sent_total") == 1
    assert broker.counted("connections_total", "accepted") == 1
