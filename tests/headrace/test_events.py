"""Events of the broker in the whole service: real clients of both protocols, rules that come and go with a reload."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from broker.packets import Connect
from broker.wire import encode
from core.events import EVENTS
from tests.headrace.live import TIMEOUT, Client, Folder, Headrace, wait_until

Start = Callable[..., Headrace]
Connect_ = Callable[..., Client]

pytestmark = pytest.mark.integration

EVERYTHING = 'CREATE RULE every AS INSERT INTO events SELECT * FROM "$events/#";'
SINK = """
[sinks.events]
type = "file"
path = "events.ndjson"
"""
VERSIONS = {"3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}
Row = dict[str, Any]


@pytest.fixture
def events(folder: Folder) -> Folder:
    """A service with a rule on all events, in which `secret/#` is nobody's."""
    folder.replace("[[acl]]", '[[acl]]\ndeny = ["publish", "subscribe"]\ntopics = ["secret/#"]\n\n[[acl]]')
    folder.config.write_text(folder.config.read_text() + SINK)
    folder.rule(EVERYTHING, "events.sql")
    return folder


def told(folder: Folder, event: str = "", **wanted: Any) -> list[Row]:
    """The events so far that say all that."""
    found: list[Row] = [
        {key: one for key, one in line.items() if one != "undefined"} for line in folder.lines("events.ndjson")
    ]
    return [
        row for row in found if event in ("", row["event"]) and all(row.get(key) == one for key, one in wanted.items())
    ]


def awaited(folder: Folder, event: str, **wanted: Any) -> Row:
    """The one event that says all that, once it is there; it has the columns of its kind and no others."""
    wait_until(lambda: bool(told(folder, event, **wanted)))
    [row] = told(folder, event, **wanted)
    [known] = [one for one in EVENTS if one.name == event]
    assert row.keys() - {"event", "timestamp", "node", "metadata"} <= set(known.columns)
    assert known.certain <= row.keys()
    assert row["metadata"] == {"rule_id": "every"}
    return row


def silent(port: int, packet: Connect) -> socket.socket:
    """A client that has nothing to say after its CONNECT."""
    line = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    line.sendall(encode(packet, packet.protocol_version))
    assert line.recv(4)
    return line


def subscribe(client: Client, topic: str, qos: int = 0) -> int:
    client.paho.subscribe(topic, qos)
    return client.subscribed.get(timeout=TIMEOUT)


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_the_life_of_a_client(events: Folder, headrace: Start, client: Connect_, version: str) -> None:
    service = headrace().ready()
    port = service.ports["mqtt"]
    number, five = (5, True) if version == "5" else (4, False)

    sender = client(port, "sender", protocol=VERSIONS[version])
    assert sender.connect() == 0
    connected = awaited(events, "client.connected", clientid="sender")
    assert (connected["proto_ver"], connected["proto_name"], connected["keepalive"]) == (number, "MQTT", 60)
    assert connected["sockname"] == f"127.0.0.1:{port}"
    assert connected["peername"].startswith("127.0.0.1:")
    assert abs(connected["connected_at"] - connected["timestamp"]) < 1_000
    connack = awaited(events, "client.connack", clientid="sender")
    assert connack["reason_code"] == ("success" if five else "connection_accepted")
    authn = awaited(events, "client.check_authn_complete", clientid="sender")
    assert (authn["reason_code"], authn["is_anonymous"]) == ("success", True)

    receiver = client(port, "receiver", protocol=VERSIONS[version])
    receiver.connect()
    assert subscribe(receiver, "news/#", 1) == 1
    subscribed = awaited(events, "session.subscribed", clientid="receiver")
    assert (subscribed["topic"], subscribed["qos"]) == ("news/#", 1)
    assert awaited(events, "client.check_authz_complete", clientid="receiver")["result"] == "allow"

    properties = None
    if five:
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = [("site", "7")]
    sender.paho.publish("news/1", "hello", 2, properties=properties).wait_for_publish(TIMEOUT)
    assert receiver.messages.get(timeout=TIMEOUT).payload == b"hello"
    delivered = awaited(events, "message.delivered", clientid="receiver")
    acked = awaited(events, "message.acked", clientid="receiver")
    for row in (delivered, acked):
        assert (row["from_clientid"], row["topic"], row["payload"], row["qos"]) == ("sender", "news/1", "hello", 1)
        assert row["pub_props"].get("User-Property", {}) == ({"site": "7"} if five else {})
    assert delivered["id"] == acked["id"]
    assert acked["puback_props"] == {}

    [listed] = [rule for rule in json.loads(service.get("/rules")) if rule["name"] == "every"]
    assert "$events/client/connected" in listed["filters"]
    assert {"keepalive", "reason", "puback_props"} <= listed["columns"].keys()

    sender.publish("nobody", "lost")
    dropped = awaited(events, "message.dropped", clientid="sender")
    assert (dropped["reason"], dropped["topic"], dropped["payload"]) == ("no_subscribers", "nobody", "lost")

    sender.publish("secret/1", "no")
    assert subscribe(receiver, "secret/#") >= 0x80
    for who, action in (("sender", "publish"), ("receiver", "subscribe")):
        denied = awaited(events, "client.check_authz_complete", clientid=who, result="deny")
        assert (denied["action"], denied["authz_source"]) == (action, "file")

    receiver.paho.unsubscribe("news/#")
    unsubscribed = awaited(events, "session.unsubscribed", clientid="receiver")
    assert (unsubscribed["topic"], unsubscribed["qos"]) == ("news/#", 1)

    sender.paho.disconnect()
    disconnected = awaited(events, "client.disconnected", clientid="sender")
    assert (disconnected["reason"], disconnected["connected_at"]) == ("normal", connected["connected_at"])
    assert service.stop() == 0
    assert awaited(events, "client.disconnected", clientid="receiver")["reason"] == "server_shutting_down"


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_a_client_that_is_refused(events: Folder, headrace: Start, client: Connect_, version: str) -> None:
    service = headrace().ready()
    one = client(service.ports["mqtt"], "liar", protocol=VERSIONS[version])
    one.paho.username_pw_set("nobody-knows-me", "x")
    assert one.connect() != 0
    authn = awaited(events, "client.check_authn_complete", clientid="liar")
    assert (authn["username"], authn["reason_code"]) == ("nobody-knows-me", "bad_username_or_password")
    words = {"3.1.1": "malformed_username_or_password", "5": "bad_username_or_password"}
    assert awaited(events, "client.connack", clientid="liar")["reason_code"] == words[version]
    assert told(events, "client.connected") == told(events, "client.disconnected") == []


@pytest.mark.parametrize("version", [4, 5])
def test_ways_to_go(events: Folder, headrace: Start, version: str) -> None:
    service = headrace().ready()
    port = service.ports["mqtt"]
    kept: Any = {"properties": {"session_expiry_interval": 60}} if version == 5 else {}
    lines = [
        silent(port, Connect("sleepy", version, keep_alive=1)),
        silent(port, Connect("cut", version)),
        silent(port, Connect("old", version, clean_start=False, **kept)),
        silent(port, Connect("old", version, clean_start=False, **kept)),
        silent(port, Connect("old", version, clean_start=True)),
    ]
    lines[1].close()
    assert awaited(events, "client.disconnected", clientid="cut")["reason"] == "tcp_closed"
    assert awaited(events, "client.disconnected", reason="takenover")["clientid"] == "old"
    assert awaited(events, "client.disconnected", reason="discarded")["clientid"] == "old"
    assert awaited(events, "client.disconnected", reason="keepalive_timeout")["clientid"] == "sleepy"
    order = [row["event"] for row in told(events, clientid="old") if row["event"] != "client.check_authn_complete"]
    assert order == [
        *("client.connack", "client.connected"),
        *("client.disconnected", "client.connack", "client.connected") * 2,
    ]
    for line in lines:
        line.close()


def test_the_end_of_a_session_and_its_will(events: Folder, headrace: Start, client: Connect_) -> None:
    service = headrace().ready()
    watcher = client(service.ports["mqtt"], "watcher", protocol=mqtt.MQTTv5)
    watcher.connect()
    subscribe(watcher, "gone/#")
    gone = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "gone", protocol=mqtt.MQTTv5)
    will = Properties(PacketTypes.WILLMESSAGE)
    will.WillDelayInterval = 60
    gone.will_set("gone/1", "bye", properties=will)
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = 1
    gone.connect("127.0.0.1", service.ports["mqtt"], properties=session)
    gone.loop_start()
    assert awaited(events, "client.connected", clientid="gone")["expiry_interval"] == 1
    assert awaited(events, "client.connected", clientid="gone")["conn_props"] == {"Session-Expiry-Interval": 1}
    gone.loop_stop()  # before the line is cut, or it would come again
    gone._sock_close()  # type: ignore[no-untyped-call]
    assert awaited(events, "client.disconnected", clientid="gone")["reason"] == "tcp_closed"
    # The session ends before the will's delay: that is when the will is published.
    assert watcher.messages.get(timeout=TIMEOUT).payload == b"bye"
    assert service.metric("headrace_broker_sessions") == 1
    delivered = awaited(events, "message.delivered", clientid="watcher")
    assert (delivered["from_clientid"], delivered["topic"]) == ("gone", "gone/1")
    authz = awaited(events, "client.check_authz_complete", clientid="gone")
    assert (authz["action"], authz["topic"]) == ("publish", "gone/1")
    assert told(events, "session.unsubscribed") == []


def test_messages_that_wait_for_a_client_in_vain(events: Folder, headrace: Start, client: Connect_) -> None:
    events.replace("[auth]", "[broker]\nmax_queued_messages = 1\n\n[auth]")
    service = headrace().ready()
    away = client(service.ports["mqtt"], "away", clean_session=False)
    away.connect()
    subscribe(away, "news", 1)
    away.close()
    sender = client(service.ports["mqtt"], "sender")
    sender.connect()
    for number in range(2):
        sender.publish("news", str(number))
    sender.publish("news", "light", qos=0)
    full = awaited(events, "delivery.dropped", reason="queue_full")
    assert (full["clientid"], full["from_clientid"], full["payload"]) == ("away", "sender", "0")
    assert awaited(events, "delivery.dropped", reason="qos0_msg")["payload"] == "light"


def test_rules_on_events_come_and_go_with_a_reload(events: Folder, headrace: Start, client: Connect_) -> None:
    (events.rules / "events.sql").unlink()
    service = headrace().ready()
    port = service.ports["mqtt"]
    client(port, "before").connect()
    events.rule(EVERYTHING.replace("#", "client_connected"), "events.sql")
    service.send(signal.SIGHUP)
    service.wait_for("reloaded: 2 rules")
    client(port, "between").connect()
    awaited(events, "client.connected", clientid="between")
    (events.rules / "events.sql").unlink()
    service.send(signal.SIGHUP)
    service.wait_for("reloaded: 1 rules")
    client(port, "after").connect()
    assert service.metric('headrace_events_raised_total{event="client.connected"}') == 1
    assert service.stop() == 0
    assert [row["clientid"] for row in told(events)] == ["between"]


def test_a_rule_that_answers_to_what_it_causes_comes_to_an_end(
    events: Folder, headrace: Start, client: Connect_
) -> None:
    events.config.write_text(events.config.read_text() + '\n[sinks.echo]\ntype = "mqtt"\ntopic = "echo"\nqos = 1\n')
    events.rule(
        'INSERT INTO echo SELECT topic FROM "$events/message/delivered";\n'
        'INSERT INTO echo SELECT topic FROM "$events/message/acked", "$events/message/dropped"',
        "events.sql",
    )
    service = headrace().ready()
    one = client(service.ports["mqtt"], "one")
    one.connect()
    for topic in ("a", "echo"):
        assert subscribe(one, topic, 1) == 1
    one.publish("a", "1")
    lost = 'headrace_events_dropped_total{reason="max_hops"}'
    wait_until(lambda: service.metric(lost) > 0)
    done = threading.Event()

    def quiet() -> bool:
        before = service.metric("headrace_broker_messages_sent_total")
        done.wait(0.2)
        return service.metric("headrace_broker_messages_sent_total") == before

    wait_until(quiet)
    assert service.stop() == 0


def test_events_that_no_rule_can_take_are_counted(events: Folder, headrace: Start) -> None:
    events.replace("[auth]", "[inbox]\nmax_messages = 50\n\n[auth]")
    text = SINK.replace('"events.ndjson"', '"nowhere/x/events.ndjson"')
    events.replace(SINK, text + "buffer = { max_rows = 10 }\nbatch = { max_rows = 5 }\n")
    (events.path / "nowhere").touch()  # no folder: the sink never opens
    events.rule('CREATE RULE every AS INSERT INTO events SELECT * FROM "$events/client/connected"', "events.sql")
    events.replace('shutdown_timeout = "20s"', 'shutdown_timeout = "100ms"')
    service = headrace().ready()
    lines = [silent(service.ports["mqtt"], Connect(f"cp{number}")) for number in range(200)]
    raised = 'headrace_events_raised_total{event="client.connected"}'
    lost = 'headrace_events_dropped_total{reason="inbox_full"}'
    wait_until(lambda: service.metric(raised) == 200)
    waiting = service.metric("headrace_inbox_messages") + service.metric("headrace_pump_held_rows")
    assert service.metric(lost) > 100
    assert service.metric(raised) == service.metric(lost) + waiting + service.metric(
        'headrace_sink_rows_in_total{sink="events"}'
    )
    for line in lines:
        line.close()
    assert service.stop() == 1
