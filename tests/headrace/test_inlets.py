"""Sources in the service: from another broker to a table, what their state shows, and what becomes of messages."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
import pytest

from broker.router import Router
from core.inbox import MemoryInbox
from core.message import Message, Publisher
from headrace.config import inspect
from headrace.effective import effective
from headrace.inlets import Gate
from tests.headrace.live import RULE, TIMEOUT, Client, Folder, Headrace
from tests.servers import Mosquitto, free_port

Start = Callable[..., Headrace]
SOURCE = """\
[connections.plant]
type = "mqtt"
host = "127.0.0.1"
port = {port}

[sources.plant]
connection = "plant"
topics = [{{ filter = "floor/+/meter", qos = 1, to = "cp/${{2}}/meter" }}]
"""


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Everyone:
    def authorize(self, *_: object) -> bool:
        return True


def gate(*, publish: bool, rules: bool = True, max_messages: int = 10) -> tuple[Gate, MemoryInbox, Router]:
    inbox = MemoryInbox(lambda: None, max_messages=max_messages)
    router = Router(inbox, lambda _: (object(),) if rules else (), Everyone())
    return Gate(router, publish=publish), inbox, router


@pytest.mark.parametrize("publish", [True, False])
def test_what_comes_is_in_the_inbox_and_then_safe(publish: bool) -> None:
    one, inbox, _ = gate(publish=publish)
    heard: list[int] = []
    one.accept([Message("a/b", b"1", 1), Message("a/b", b"2")], lambda: heard.append(len(inbox)))
    assert heard == [2]
    assert one.received == 2


def test_only_what_a_rule_reads_is_kept() -> None:
    one, inbox, _ = gate(publish=False, rules=False)
    heard: list[int] = []
    one.accept([Message("a/b", b"1", 1)], lambda: heard.append(len(inbox)))
    assert heard == [0]


def test_a_full_inbox_drops_qos_0_and_says_so() -> None:
    one, inbox, _ = gate(publish=False, max_messages=1)
    one.accept([Message("a", b"1", 1)], lambda: None)
    assert one.full
    one.accept([Message("a", b"2"), Message("a", b"3", 1)], lambda: None)
    assert [message.payload for message in inbox.take()] == [b"1", b"3"]
    assert one.dropped == {"inbox_full": 1}


def test_what_goes_round_is_dropped_and_counted() -> None:
    one, inbox, _ = gate(publish=True)
    heard: list[int] = []
    one.accept([Message("a", b"1", 1, publisher=Publisher("x", hops=8))], lambda: heard.append(1))
    assert (inbox.take(), one.dropped, heard) == ([], {"loop": 1}, [1])


def test_retained_messages_are_published_and_what_cannot_be_is_counted() -> None:
    one, inbox, router = gate(publish=True)
    bad = Message("a/c", b"2", 1, properties={"content_type": "\0" * 70_000})
    one.accept([Message("a/b", b"1", 1, True), bad], lambda: None)
    assert len(inbox) == 1
    assert len(router.retained) == 1
    assert one.dropped == {"invalid": 1}


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ('connection = "plant"\ntopics = []', "sources.plant.topics: needs at least one subscription"),
        ('connection = "plant"\ntopics = [{ filter = "a", to = "${x}" }]', "sources.plant.topics[0].to: "),
        ('connection = "plant"\ntopics = [{ filter = "a", qos = 3 }]', "sources.plant.topics[0].qos: expected one of"),
        ('connection = "plant"\nhost = "x"\ntopics = []', "belongs to [connections.plant], which this source uses"),
        ('type = "mqtt"\ntopics = [{ filter = "a" }]', "`host` is missing"),
        ('type = "amqp"\ntopics = []', "no headrace.gateways extension named 'amqp'"),
    ],
)
def test_wrong_sources_are_told_with_their_place(
    folder: Folder, table: str, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from headrace.commands import check

    text = SOURCE.format(port=1883).partition("[sources.plant]")[0]
    folder.config.write_text(f"{folder.config.read_text()}\n{text}\n[sources.plant]\n{table}\n")
    assert check(str(folder.config)) == 1
    assert error in capsys.readouterr().err


def test_a_source_may_bring_its_own_connection_and_shows_no_password(folder: Folder) -> None:
    with folder.config.open("a") as file:
        file.write(
            '\n[sources.plant]\ntype = "mqtt"\nhost = "h"\nuser = "u"\npassword = "s3cret"\n'
            'topics = [{ filter = "a" }]\npublish = true\n'
        )
    survey = inspect(folder.config)
    assert survey.config is not None, survey.errors
    shown = effective(survey.config)["sources"]["plant"]
    assert shown["password"] == "***"
    assert (shown["host"], shown["publish"]) == ("h", True)
    assert shown["topics"] == [{"filter": "a", "qos": 1, "to": "${topic}"}]


class Device:
    """A client of the remote broker."""

    def __init__(self, port: int) -> None:
        connected = threading.Event()
        self.paho = paho.Client(paho.CallbackAPIVersion.VERSION2, "device")
        self.paho.on_connect = lambda *_: connected.set()
        self.paho.connect("127.0.0.1", port)
        self.paho.loop_start()
        assert connected.wait(TIMEOUT)

    def publish(self, *numbers: int) -> None:
        for number in numbers:
            payload = json.dumps({"station": f"s{number}", "power": 1_000})
            self.paho.publish(f"floor/{number}/meter", payload, 1).wait_for_publish(TIMEOUT)

    def close(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()


@pytest.mark.integration
def test_from_another_broker_through_a_rule_to_a_table(folder: Folder, headrace: Start, mosquitto: Mosquitto) -> None:
    with folder.config.open("a") as file:
        file.write(SOURCE.format(port=mosquitto.port))
    folder.rule(RULE.replace("clientid,", "clientid, topic,"))
    device = Device(mosquitto.port)
    service = headrace().ready()
    until(lambda: service.metric('headrace_source_connected{source="plant",type="mqtt"}') == 1)
    device.publish(*range(50))
    until(lambda: service.metric('headrace_sink_rows_delivered_total{sink="meter"}') == 50)
    component = json.loads(service.get("/readyz?verbose"))["components"]["sources.plant"]
    assert (component["state"], component["connection"]) == ("connected", "connections.plant")
    assert service.metric('headrace_source_messages_total{source="plant",type="mqtt"}') == 50
    assert service.stop() == 0
    device.publish(*range(50, 100))  # the broker keeps them
    again = headrace().ready()
    until(lambda: again.metric('headrace_sink_rows_delivered_total{sink="meter"}') == 50)
    assert again.stop() == 0
    device.close()
    expected = [("headrace-source-plant", f"cp/{number}/meter", f"s{number}") for number in range(100)]
    assert folder.rows("clientid, topic, station") == expected


@pytest.mark.integration
def test_own_clients_get_what_is_published(
    folder: Folder, headrace: Start, client: Callable[..., Client], mosquitto: Mosquitto
) -> None:
    with folder.config.open("a") as file:
        file.write(SOURCE.format(port=mosquitto.port).replace("meter", "state") + "publish = true\n")
    service = headrace().ready()
    until(lambda: service.metric('headrace_source_connected{source="plant",type="mqtt"}') == 1)
    reader = client(service.ports["mqtt"], "reader")
    reader.connect()
    reader.paho.subscribe("cp/+/state", 1)
    reader.subscribed.get(timeout=TIMEOUT)
    device = Device(mosquitto.port)
    device.paho.publish("floor/7/state", b"up", 1).wait_for_publish(TIMEOUT)
    message: Any = reader.messages.get(timeout=TIMEOUT)
    device.close()
    assert (message.topic, message.payload) == ("cp/7/state", b"up")
    assert service.stop() == 0


BOTH_WAYS = """\
[connections.hq]
type = "mqtt"
host = "127.0.0.1"
port = {port}
version = "{version}"

[sinks.hq]
connection = "hq"
topic = "${{topic}}"
payload = "${{payload}}"
qos = 1

[sources.hq]
connection = "hq"
topics = [{{ filter = "ev/#", qos = 1 }}]
publish = true
"""


@pytest.mark.integration
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_echoes_are_known_after_a_reload_of_their_connection(
    folder: Folder, headrace: Start, client: Callable[..., Client], mosquitto: Mosquitto, version: str
) -> None:
    """The sink has the new connection then, and the source the old one."""
    with folder.config.open("a") as file:
        file.write(BOTH_WAYS.format(port=mosquitto.port, version=version))
    rule = 'INSERT INTO hq SELECT topic, payload FROM "ev/#"'
    folder.rule(f"{rule} WHERE pub_props.'User-Property'.'headrace-hops' IS NULL;\n", "hq.sql")
    service = headrace().ready()
    until(lambda: service.metric('headrace_source_connected{source="hq",type="mqtt"}') == 1)
    folder.replace("[sinks.hq]", "max_in_flight = 7\n\n[sinks.hq]")
    service.send(signal.SIGHUP)
    service.wait_for(r"changes of connections\.hq for sources\.hq take effect at the next start")
    device = client(service.ports["mqtt"], "own")
    device.connect()
    device.publish("ev/1", "up")
    until(lambda: service.metric('headrace_source_dropped_total{reason="echo",source="hq"}') == 1)
    assert service.metric('headrace_source_messages_total{source="hq",type="mqtt"}') == 0
    assert service.stop() == 0


@pytest.mark.integration
def test_a_source_that_cannot_be_reached_holds_readiness_back(
    folder: Folder, headrace: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    from headrace.commands import check

    with folder.config.open("a") as file:
        file.write(SOURCE.format(port=free_port()))
    assert check(str(folder.config), 5) == 1
    found = capsys.readouterr().out
    assert "sources.plant: FAILED: 127.0.0.1:" in found
    service = headrace().ready()
    told = "source plant is unavailable and is tried again: 127.0.0.1:"
    if told not in service.text:
        service.wait_for(told)
    with pytest.raises(Exception, match="503"):
        service.get("/readyz")
    assert service.stop() == 0
