"""Events of clients: raised with their columns where a rule reads them, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from broker.events import ATTRIBUTES
from broker.packets import (
    ConnAck,
    Disconnect,
    PingReq,
    Publish,
    ReasonCode,
    Subscribe,
    Subscription,
    Unsubscribe,
)
from core.clock import MILLISECOND, SECOND
from core.events import EVENTS, RAISED
from core.message import Message
from tests.broker.pair import Broker, Client, connect_packet, will

PEER = {"peername": "192.0.2.1:40000"}
HOST = {"peerhost": "192.0.2.1", **PEER}
LINK = {**PEER, "sockname": "192.0.2.9:1883"}
USER_PROPERTIES = [("site", "7"), ("site", "8")]


def ms(now: int) -> int:
    return now // MILLISECOND


def check_columns(columns: dict[str, Any]) -> None:
    """No event has a column that the table does not give it, or lacks one that the table calls certain."""
    [event] = [event for event in RAISED if event.name == columns["event"]]
    assert columns.keys() - {"event"} <= set(event.columns)
    assert event.certain <= columns.keys()
    for column, words in event.words.items():
        assert columns[column] in words or (column == "authz_source" and columns[column] == "test")


def client_of(broker: Broker, client_id: str = "cp1", version: int = 5, **fields: Any) -> Client:
    client = broker.client(version, sockname="192.0.2.9:1883")
    client.send(connect_packet(client_id, version, username="u", **fields))
    client.accept()
    return client


def only(broker: Broker) -> dict[str, Any]:
    [columns] = broker.events()
    check_columns(columns)
    return columns


def test_every_event_that_is_raised_has_its_seam() -> None:
    assert set(ATTRIBUTES) == {event.path for event in RAISED}
    assert len({event.name for event in EVENTS}) == len(EVENTS)
    broker = Broker()
    for event in RAISED:
        attribute = ATTRIBUTES[event.path]
        assert getattr(broker.router.events, attribute) is None
        broker.watch(event.path)
        assert getattr(broker.router.events, attribute) is not None


def test_nothing_is_raised_that_no_rule_reads() -> None:
    broker = Broker()
    client = client_of(broker)
    client.subscribe("a", 1)
    client.publish("a", qos=1)
    client.publish("b")
    client.send(PingReq(), Disconnect())
    assert broker.events() == []
    assert not broker.router.events.active


def test_rules_that_come_and_go() -> None:
    broker = Broker()
    broker.watch("client/connected")
    client = client_of(broker)
    assert only(broker)["event"] == "client.connected"
    broker.watch("client/ping")
    client.send(PingReq())
    client_of(broker, "cp2")
    assert [columns["event"] for columns in broker.events()] == ["client.ping"]
    broker.watch()
    client.send(PingReq())
    assert broker.events() == []


# Coming and going.


def test_connected_v5() -> None:
    broker = Broker(max_in_flight=50)
    broker.watch("client/connected")
    client_of(
        broker,
        keep_alive=60,
        clean_start=False,
        session_expiry_interval=3_600,
        receive_maximum=20,
        user_properties=USER_PROPERTIES,
    )
    assert only(broker) == {
        "event": "client.connected",
        "clientid": "cp1",
        "username": "u",
        **LINK,
        "proto_name": "MQTT",
        "proto_ver": 5,
        "keepalive": 60,
        "clean_start": False,
        "receive_maximum": 20,
        "expiry_interval": 3_600,
        "is_bridge": False,
        "conn_props": {
            "session_expiry_interval": 3_600,
            "receive_maximum": 20,
            "user_properties": USER_PROPERTIES,
        },
        "connected_at": ms(broker.now),
        "client_attrs": {},
    }


@pytest.mark.parametrize(("version", "name"), [(3, "MQIsdp"), (4, "MQTT")])
def test_connected_before_v5(version: int, name: str) -> None:
    broker = Broker(max_in_flight=50)
    broker.watch("client/connected")
    client_of(broker, version=version)
    columns = only(broker)
    assert (columns["proto_name"], columns["proto_ver"]) == (name, version)
    assert (columns["keepalive"], columns["receive_maximum"], columns["expiry_interval"]) == (0, 50, 0)
    assert columns["conn_props"] is None
    assert columns["clean_start"] is True


def test_what_holds_is_told_not_what_was_asked_for() -> None:
    broker = Broker(max_keep_alive=30, max_session_expiry=60 * SECOND)
    broker.watch("client/connected", "client/ping")
    client = client_of(broker, keep_alive=600, session_expiry_interval=3_600)
    columns = only(broker)
    assert (columns["keepalive"], columns["expiry_interval"]) == (30, 60)
    assert columns["conn_props"] == {"session_expiry_interval": 3_600}
    client.send(PingReq())
    assert only(broker)["keepalive"] == 30


def test_what_is_not_known_is_absent() -> None:
    broker = Broker()
    broker.watch("client/connected")
    client = broker.client(4)
    client.connection.publisher.peer_host = ""
    client.send(connect_packet("", 4))
    client.accept()
    columns = only(broker)
    assert columns["clientid"].startswith("headrace-")
    assert columns.keys().isdisjoint({"username", "peername", "sockname", "mountpoint"})


def test_ping() -> None:
    broker = Broker()
    broker.watch("client/ping")
    client = client_of(broker, keep_alive=10, user_properties=USER_PROPERTIES)
    client.send(PingReq())
    assert only(broker) == {
        "event": "client.ping",
        "clientid": "cp1",
        "username": "u",
        "clean_start": True,
        **LINK,
        "proto_name": "MQTT",
        "proto_ver": 5,
        "keepalive": 10,
        "expiry_interval": 0,
        "conn_props": {"user_properties": USER_PROPERTIES},
    }


def test_disconnected() -> None:
    broker = Broker()
    broker.watch("client/disconnected")
    client = client_of(broker)
    connected_at = broker.now
    broker.sleep(5)
    client.send(Disconnect(properties={"reason_string": "bye"}))
    assert only(broker) == {
        "event": "client.disconnected",
        "reason": "normal",
        "clientid": "cp1",
        "username": "u",
        **LINK,
        "proto_name": "MQTT",
        "proto_ver": 5,
        "disconn_props": {"reason_string": "bye"},
        "disconnected_at": ms(broker.now),
        "connected_at": ms(connected_at),
        "client_attrs": {},
    }
    client.drop()
    assert broker.events() == []


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize(
    ("reason", "how"),
    [
        ("normal", lambda _, client: client.send(Disconnect())),
        ("tcp_closed", lambda _, client: client.drop()),
        ("keepalive_timeout", lambda broker, _: broker.sleep(20)),
        ("takenover", lambda broker, client: client_of(broker, version=client.version, clean_start=False)),
        ("discarded", lambda broker, client: client_of(broker, version=client.version, clean_start=True)),
        ("protocol_error", lambda _, client: client.send(connect_packet("cp1", client.version))),
        ("malformed_packet", lambda _, client: client.send_bytes(b"\x36\x00")),
        ("packet_too_large", lambda _, client: client.send(Publish("a", bytes(2_000)))),
        ("server_shutting_down", lambda broker, _: broker.router.disconnect_all(broker.now)),
        ("internal_error", lambda broker, client: client.connection.close(ReasonCode.UNSPECIFIED_ERROR, broker.now)),
        ("kicked", lambda broker, client: client.connection.close(ReasonCode.ADMINISTRATIVE_ACTION, broker.now)),
    ],
)
def test_why_a_connection_ended(version: int, reason: str, how: Any) -> None:
    broker = Broker()
    broker.watch("client/disconnected")
    client = broker.client(version, max_packet_size=1_000)
    client.send(connect_packet("cp1", version, keep_alive=10))
    client.accept()
    how(broker, client)
    [columns] = broker.events()
    assert columns["reason"] == reason
    if reason != "kicked":  # nothing does that yet
        check_columns(columns)


@pytest.mark.parametrize(
    ("code", "reason"),
    [(0x04, "disconnect_with_will_message"), (0x80, "unspecified_error"), (0x97, "quota_exceeded")],
)
def test_a_client_says_itself_why_it_leaves(code: int, reason: str) -> None:
    broker = Broker()
    broker.watch("client/disconnected")
    client_of(broker).send(Disconnect(code))
    [columns] = broker.events()
    assert columns["reason"] == reason


def test_a_publish_that_is_not_allowed_may_end_the_connection() -> None:
    broker = Broker(deny_action="disconnect")
    broker.rights.denied.append(("publish", "secret"))
    broker.watch("client/disconnected")
    client_of(broker).publish("secret")
    assert only(broker)["reason"] == "not_authorized"


def test_a_client_that_was_not_let_in_is_not_disconnected() -> None:
    broker = Broker()
    broker.watch("client/disconnected")
    broker.client().drop()
    client = broker.connect(accept=False)
    client.connection.refuse(broker.now)
    assert broker.events() == []


def test_a_session_that_expires_later_raises_nothing_more() -> None:
    broker = Broker()
    broker.watch("client/connected", "client/disconnected", "session/unsubscribed")
    client = client_of(broker, session_expiry_interval=60)
    client.subscribe("a")
    client.drop()
    assert [columns["event"] for columns in broker.events()] == ["client.connected", "client.disconnected"]
    broker.sleep(70)
    assert broker.router.sessions == {}
    assert broker.events() == []


# Being let in.


@pytest.mark.parametrize(("version", "code"), [(4, "connection_accepted"), (5, "success")])
def test_connack_of_a_client_that_is_let_in(version: int, code: str) -> None:
    broker = Broker()
    broker.watch("client/connack")
    client_of(broker, version=version, keep_alive=10)
    assert only(broker) == {
        "event": "client.connack",
        "reason_code": code,
        "clientid": "cp1",
        "username": "u",
        "clean_start": True,
        **LINK,
        "proto_name": "MQTT",
        "proto_ver": version,
        "keepalive": 10,
        "expiry_interval": 0,
        "connected_at": ms(broker.now),
        "conn_props": None,
    }


@pytest.mark.parametrize(
    ("version", "username", "code"),
    [
        (3, "u", "malformed_username_or_password"),
        (4, None, "unauthorized_client"),
        (5, "u", "bad_username_or_password"),
        (5, None, "not_authorized"),
    ],
)
def test_connack_of_a_client_that_is_refused(version: int, username: str | None, code: str) -> None:
    broker = Broker()
    broker.watch("client/connack", "auth/check_authn_complete")
    reached_at = broker.now
    client = broker.connect("cp1", version, accept=False, username=username)
    broker.now += SECOND
    client.connection.refuse(broker.now)
    authn, connack = broker.events()
    check_columns(authn)
    check_columns(connack)
    assert (connack["reason_code"], connack["clientid"]) == (code, "cp1")
    assert connack["connected_at"] == ms(reached_at)
    assert authn == {
        "event": "client.check_authn_complete",
        "clientid": "cp1",
        **({"username": username} if username else {}),
        **PEER,
        "reason_code": "bad_username_or_password" if username else "not_authorized",
        "is_anonymous": False,
        "is_superuser": False,
        "client_attrs": {},
    }


@pytest.mark.parametrize("anonymous", [True, False])
def test_authn_of_a_client_that_is_let_in(anonymous: bool) -> None:
    broker = Broker()
    broker.watch("auth/check_authn_complete")
    client = broker.connect(accept=False)
    client.connection.accept(broker.now, anonymous=anonymous)
    columns = only(broker)
    assert (columns["reason_code"], columns["is_anonymous"]) == ("success", anonymous)


def test_other_refusals_are_told_by_connack_alone() -> None:
    broker = Broker(max_sessions=1)
    broker.watch("client/connack", "auth/check_authn_complete", "client/connected")
    broker.connect("a", authentication_method="SCRAM", accept=False)
    broker.connect("", 4, clean_start=False, accept=False)
    assert [columns["reason_code"] for columns in broker.events()] == [
        "bad_authentication_method",
        "client_identifier_not_valid",
    ]
    broker.connect("a")
    broker.events()
    client = broker.connect("b", accept=False)
    client.connection.accept(broker.now)
    assert client.only(ConnAck).reason_code == ReasonCode.QUOTA_EXCEEDED
    assert [(columns["event"], columns["reason_code"]) for columns in broker.events()] == [
        ("client.check_authn_complete", "success"),
        ("client.connack", "quota_exceeded"),
    ]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x10\x0c\x00\x04MQTT\x09\x02\x00\x00\x00\x00", "unsupported_protocol_version"),
        (b"\x10\x0c\x00\x04MQTT\x03\x02\x00\x00\x00\x00", "unacceptable_protocol_version"),
    ],
)
def test_a_connect_that_cannot_be_read_says_little(data: bytes, code: str) -> None:
    broker = Broker()
    broker.watch("client/connack")
    client = broker.client()
    client.send_bytes(data)
    columns = only(broker)
    assert columns == {"event": "client.connack", "reason_code": code, **PEER, "connected_at": ms(broker.now)}


def test_what_is_no_connect_raises_nothing() -> None:
    broker = Broker()
    broker.watch(*ATTRIBUTES)
    broker.client().send_bytes(b"\x10\x0d\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x00")
    broker.client().send_bytes(b"GET / HTTP/1.1")
    assert broker.events() == []


# Rights.


def test_checks_of_rights() -> None:
    broker = Broker()
    broker.rights.denied.append(("publish", "secret"))
    broker.rights.denied.append(("subscribe", "secret/#"))
    broker.watch("auth/check_authz_complete")
    client = client_of(broker, will=will("gone"))
    client.publish("open")
    client.publish("open")
    client.publish("secret")
    client.publish("$SYS/x")
    client.subscribe("$share/g/open")
    client.subscribe("secret/#")
    found = broker.events()
    for columns in found:
        check_columns(columns)
    assert found[1] == {
        "event": "client.check_authz_complete",
        "clientid": "cp1",
        "username": "u",
        **HOST,
        "topic": "open",
        "action": "publish",
        "authz_source": "test",
        "result": "allow",
        "client_attrs": {},
    }
    assert [(each["action"], each["topic"], each["result"], each["authz_source"]) for each in found] == [
        ("publish", "gone", "allow", "test"),
        ("publish", "open", "allow", "test"),
        ("publish", "open", "allow", "cache"),
        ("publish", "secret", "deny", "test"),
        ("publish", "$SYS/x", "deny", "default"),
        ("subscribe", "open", "allow", "test"),
        ("subscribe", "secret/#", "deny", "test"),
    ]


def test_a_rule_that_comes_later_reads_of_topics_that_were_asked_for_before() -> None:
    broker = Broker()
    client = client_of(broker)
    client.publish("a")
    broker.watch("auth/check_authz_complete")
    client.publish("a")
    assert only(broker)["authz_source"] == "cache"
    broker.watch()
    client.publish("a")
    client.publish("b")
    client.publish("b")
    assert [topic for _, topic in broker.rights.asked] == ["a", "b"]


# Subscriptions.


def test_subscribed_and_unsubscribed() -> None:
    broker = Broker()
    broker.rights.denied.append(("subscribe", "secret"))
    broker.watch("session/subscribed", "session/unsubscribed")
    client = client_of(broker)
    properties = {"subscription_identifier": [9], "user_properties": USER_PROPERTIES}
    client.send(
        Subscribe(1, [Subscription("$share/g/a/+", 1), Subscription("secret"), Subscription("b", 2)], properties)
    )
    client.send(Unsubscribe(2, ["b", "nothing"], {"user_properties": USER_PROPERTIES}))
    first, second, third = broker.events()
    for columns in (first, second, third):
        check_columns(columns)
    assert first == {
        "event": "session.subscribed",
        "clientid": "cp1",
        "username": "u",
        **HOST,
        "topic": "$share/g/a/+",
        "qos": 1,
        "sub_props": properties,
        "client_attrs": {},
    }
    assert (second["topic"], second["qos"]) == ("b", 2)
    assert third == {
        "event": "session.unsubscribed",
        "clientid": "cp1",
        "username": "u",
        **HOST,
        "topic": "b",
        "qos": 2,
        "unsub_props": {"user_properties": USER_PROPERTIES},
        "client_attrs": {},
    }


# The seam.


def test_events_keep_their_place_among_the_messages_of_a_connection() -> None:
    broker = Broker()
    broker.watch("client/connected", "client/disconnected", "client/ping", "message/dropped")
    client = broker.client()
    client.send(connect_packet("cp1"), Publish("rules/1", b"early"))
    client.accept()
    client.send(Publish("rules/2", b"x"), PingReq(), Publish("rules/3", b"x"), Disconnect())
    broker.router.take_dirty()

    def told(message: Message) -> str:
        return message.topic if message.columns is None else message.columns["event"].partition(".")[2]

    order = [told(message) for message in broker.inbox.take()]
    assert order == [
        *("connected", "rules/1", "dropped"),
        *("rules/2", "dropped", "ping", "rules/3", "dropped", "disconnected"),
    ]


def test_an_event_is_a_message_of_its_client() -> None:
    broker = Broker()
    broker.watch("client/connected")
    client = client_of(broker)
    broker.router.take_dirty()
    [message] = broker.inbox.take()
    assert message.topic == "$events/client/connected\0"
    assert message.received_ns == broker.now
    assert message.publisher is client.connection.publisher
    assert message.match is not None
    assert message.match.rules == ("rule",)
    assert (message.payload, message.document) == (b"", {})


def test_events_wake_whoever_hands_them_on() -> None:
    broker = Broker()
    broker.watch("client/disconnected")
    client = client_of(broker, keep_alive=10)
    client.packets()
    wakes = broker.wakes
    broker.sleep(20)
    assert broker.wakes > wakes
    assert only(broker)["reason"] == "keepalive_timeout"


def test_where_the_inbox_is_full_events_are_counted_and_given_up() -> None:
    broker = Broker(max_messages=10)
    broker.watch("client/connected")
    for number in range(30):
        client_of(broker, f"cp{number}")
        broker.router.take_dirty()
    counts = {
        (family.name, *sample.labels): sample.value for family in broker.metrics.collect() for sample in family.samples
    }
    assert len(broker.inbox) == 10
    assert counts["headrace_events_raised_total", "client.connected"] == 30
    assert counts["headrace_events_dropped_total", "inbox_full"] == 20


def test_many_events_of_one_turn_do_not_pile_up_outside_of_the_inbox() -> None:
    broker = Broker(max_messages=1_500)
    broker.watch("session/subscribed")
    client = client_of(broker)
    for number in range(30):
        client.send(Subscribe(1, [Subscription(f"t/{number}/{one}") for one in range(100)]))
        assert len(broker.router.events.waiting) <= 1_000
    assert len(broker.inbox) <= 2_500


def test_no_password_is_kept_after_a_client_was_let_in() -> None:
    broker = Broker()
    client = client_of(broker, password=b"secret", will=will("gone"))
    assert client.connection.request is not None
    assert client.connection.request.password is None
    assert client.connection.request.will is None
    client.drop()
    assert client.connection.request is None
    assert [message.payload for message in broker.inbox.take()] == []
