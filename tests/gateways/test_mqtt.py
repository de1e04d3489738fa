"""The mqtt source: what becomes of messages, when they are acknowledged, and what a lost connection costs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from connections.base import ConnectionContext
from connections.mqtt.config import MqttConfig
from connections.mqtt.connection import MqttConnection
from core.errors import ConfigError, Unavailable
from core.message import Batch, Message, Schema, Type
from core.settings import decode_hook
from gateways.base import SourceContext
from gateways.mqtt import MqttSource
from sinks.base import SinkContext
from sinks.mqtt.sink import MqttSink
from tests.servers import Mosquitto, Proxy

SECONDS = 30


class Basket:
    """An intake that keeps everything; ``full`` and when a message is safe are the test's to say."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.dropped: list[str] = []
        self.full = False
        self.safe_at_once = True
        self.waiting: list[Callable[[], None]] = []

    def accept(self, messages: Sequence[Message], when_safe: Callable[[], None]) -> None:
        self.messages += messages
        if self.safe_at_once:
            when_safe()
        else:
            self.waiting.append(when_safe)

    def drop(self, reason: str) -> None:
        self.dropped.append(reason)

    def numbers(self) -> list[int]:
        return [int(message.payload) for message in self.messages]


def connection(port: int, **settings: Any) -> MqttConnection:
    given = {"host": "127.0.0.1", "port": port, **settings}
    config = msgspec.convert(given, MqttConfig, dec_hook=decode_hook)
    return MqttConnection(config, ConnectionContext(name="remote", base_dir=Path()))


def source(remote: MqttConnection, basket: Basket, *topics: dict[str, Any], name: str = "in") -> MqttSource:
    context = SourceContext(name=name, base_dir=Path(), intake=basket, connection=remote)
    return MqttSource(msgspec.convert({"topics": list(topics)}, MqttSource.Config), context)


class Publisher:
    """A device at the remote broker, in a thread of its own."""

    def __init__(self, port: int) -> None:
        connected = threading.Event()
        self.paho = paho.Client(paho.CallbackAPIVersion.VERSION2, "device", protocol=paho.MQTTv5)
        self.paho.max_inflight_messages = 500
        self.paho.on_connect = lambda *_: connected.set()
        self.paho.connect("127.0.0.1", port)
        self.paho.loop_start()
        assert connected.wait(SECONDS)

    def publish(self, topic: str, numbers: range, qos: int = 1, **properties: Any) -> None:
        given = Properties(PacketTypes.PUBLISH)
        for key, value in properties.items():
            setattr(given, key, value)
        sent = [self.paho.publish(topic, b"%d" % number, qos, properties=given) for number in numbers]
        for one in sent:
            one.wait_for_publish(SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - what it waits for happens in another process
            await asyncio.sleep(0.005)


async def kept_open(one: MqttSource) -> None:
    """What the service does with a source."""
    while True:
        try:
            await one.open()
            await one.run()
        except Unavailable:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("topics", "path"),
    [
        ([], "topics"),
        ([{"filter": "a/#/b"}], "topics.0.filter"),
        ([{"filter": "a"}, {"filter": "$share/x"}], "topics.1.filter"),
        ([{"filter": "a", "to": "x/${0}"}], "topics.0.to"),
        ([{"filter": "a", "to": "x/${payload}"}], "topics.0.to"),
        ([{"filter": "a", "to": "x/#"}], "topics.0.to"),
        ([{"filter": "a", "to": "${1}/+/${2}"}], "topics.0.to"),
        ([{"filter": "a", "to": ""}], "topics.0.to"),
    ],
)
def test_wrong_settings(topics: list[dict[str, Any]], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        source(connection(1883), Basket(), *topics)
    assert caught.value.path == path


def test_topics_are_mapped() -> None:
    one = source(
        connection(1883),
        Basket(),
        {"filter": "plant/+/meter", "to": "site7/${2}/${topic}"},
        {"filter": "$share/group/plant/#"},
        {"filter": "far/#", "to": "${9}"},
    )
    assert one._route("plant/3/meter") == "site7/3/plant/3/meter"
    assert one._route("plant/3") == "plant/3"
    assert one._route("far/1") is None, "no topic is left of it"
    assert one._route("other") is None


@pytest.mark.integration
@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_messages_come_in_order(mosquitto: Mosquitto, qos: int, version: str) -> None:
    basket, topic = Basket(), f"in/{qos}/{version}"
    one = source(
        connection(mosquitto.port, version=version),
        basket,
        {"filter": topic, "qos": qos, "to": "x/${topic}"},
        name=topic,
    )
    await one.open()
    with Publisher(mosquitto.port) as device:
        await asyncio.to_thread(device.publish, topic, range(500), qos)
        await until(lambda: len(basket.messages) >= 500)
    await one.close()
    assert basket.numbers() == list(range(500))
    first = basket.messages[0]
    assert (first.topic, first.qos, first.publisher.client_id) == (f"x/{topic}", qos, f"headrace-source-{topic}")
    assert (first.publisher.peer_host, first.publisher.peer_port) == ("127.0.0.1", mosquitto.port)
    assert isinstance(first.payload, bytes)


@pytest.mark.integration
async def test_properties_come_with_a_message(mosquitto: Mosquitto) -> None:
    basket = Basket()
    one = source(connection(mosquitto.port), basket, {"filter": "props-in"}, name="props")
    await one.open()
    with Publisher(mosquitto.port) as device:
        device.publish("props-in", range(1))
        user = [("a", "1"), ("headrace-hops", "3"), ("a", "2"), ("headrace-from", "elsewhere")]
        device.publish("props-in", range(1), ContentType="text/plain", CorrelationData=b"\x01", UserProperty=user)
        await until(lambda: len(basket.messages) == 2)
    await one.close()
    plain, message = basket.messages
    assert (plain.publisher.hops, plain.properties) == (0, {"user_properties": [("headrace-hops", "1")]})
    assert message.publisher.hops == 3
    assert message.properties == {
        "content_type": "text/plain",
        "correlation_data": b"\x01",
        "user_properties": [("a", "1"), ("a", "2"), ("headrace-hops", "4")],
    }


@pytest.mark.integration
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_what_was_published_meanwhile_comes_afterwards(mosquitto: Mosquitto, version: str) -> None:
    topic = f"away/{version}"
    for qos, numbers in ((1, range(200)), (2, range(200, 400))):
        settings = {"filter": f"{topic}/{qos}", "qos": qos}
        first = source(connection(mosquitto.port, version=version), Basket(), settings, name=f"{topic}{qos}")
        await first.open()
        await first.close()
        with Publisher(mosquitto.port) as device:
            await asyncio.to_thread(device.publish, f"{topic}/{qos}", numbers, qos)
        basket = Basket()
        second = source(connection(mosquitto.port, version=version), basket, settings, name=f"{topic}{qos}")
        await second.open()
        await until(lambda basket=basket: len(basket.messages) >= 200)
        await second.close()
        assert basket.numbers() == list(numbers)


@pytest.mark.integration
@pytest.mark.parametrize("qos", [1, 2])
async def test_what_is_not_safe_is_not_acknowledged(mosquitto: Mosquitto, qos: int) -> None:
    topic = f"unsafe/{qos}"
    basket = Basket()
    basket.safe_at_once = False
    one = source(connection(mosquitto.port), basket, {"filter": topic, "qos": qos}, name=topic)
    await one.open()
    with Publisher(mosquitto.port) as device:
        await asyncio.to_thread(device.publish, topic, range(10), qos)
    await until(lambda: len(basket.messages) == 10)
    await one.close()  # as a crash would: nothing was confirmed
    again = Basket()
    two = source(connection(mosquitto.port), again, {"filter": topic, "qos": qos}, name=topic)
    await two.open()
    await until(lambda: len(again.messages) == 10)
    await two.close()
    for late in basket.waiting:
        late()
    third = Basket()
    three = source(connection(mosquitto.port), third, {"filter": topic, "qos": qos}, name=topic)
    await three.open()
    await three.close()
    assert third.messages == []
    assert again.numbers() == list(range(10))


@pytest.mark.integration
async def test_a_full_inbox_holds_the_broker_back(mosquitto: Mosquitto) -> None:
    basket = Basket()
    basket.full = True
    remote = connection(mosquitto.port, max_in_flight=20)
    one = source(remote, basket, {"filter": "full/#", "qos": 1}, name="full")
    await one.open()
    with Publisher(mosquitto.port) as device:
        await asyncio.to_thread(device.publish, "full/x", range(300))
        await asyncio.to_thread(device.publish, "full/lossy", range(300, 301), 0)
        await until(lambda: basket.messages)
    assert basket.numbers() == [300], "QoS 0 does not wait"
    assert len(one._held) == 20, "the broker sends no more than may be under way"
    basket.full = False
    one.resume()
    await until(lambda: len(basket.messages) == 301)
    await one.close()
    assert basket.numbers()[1:] == list(range(300))


@pytest.mark.integration
@pytest.mark.parametrize(("qos", "version"), [(1, "5"), (2, "5"), (2, "3.1.1")])
async def test_cut_connections_cost_nothing(mosquitto: Mosquitto, qos: int, version: str) -> None:
    """QoS 1 at least once, QoS 2 exactly once."""
    topic = f"cut-in/{qos}/{version}"
    basket = Basket()
    with Proxy(mosquitto.port) as proxy, Publisher(mosquitto.port) as device:
        remote = connection(proxy.port, version=version, max_in_flight=50)
        one = source(remote, basket, {"filter": topic, "qos": qos}, name=topic)
        running = asyncio.ensure_future(kept_open(one))
        await until(lambda: one._subscribed)
        publishing = asyncio.ensure_future(asyncio.to_thread(device.publish, topic, range(3_000), qos))
        cuts = 0
        while not publishing.done() or len(basket.messages) < 3_000:
            # Not before something has come: mosquitto 2.0 forgets, at the second connection in vain, that a message
            # of QoS 2 was taken, and sends it as a new one.
            before = len(basket.messages)
            await until(lambda before=before: len(basket.messages) > before or len(basket.messages) >= 3_000)
            await asyncio.sleep(0.01)
            if cuts < 15:
                cuts += 1
                proxy.cut()
        await publishing
        await until(lambda: set(basket.numbers()) == set(range(3_000)))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await one.close()
    assert one._client.epoch > 1, "nothing was cut"
    if qos == 2:
        assert sorted(basket.numbers()) == list(range(3_000))


@pytest.mark.integration
async def test_a_broker_that_has_lost_the_session_is_subscribed_to_again(own_server: Callable[..., Any]) -> None:
    server = own_server(Mosquitto, "persistence false")
    basket = Basket()
    one = source(connection(server.port), basket, {"filter": "a/#"})
    running = asyncio.ensure_future(kept_open(one))
    await until(lambda: one._subscribed)
    await asyncio.to_thread(server.restart)
    with Publisher(server.port) as device:
        number = 0
        async with asyncio.timeout(SECONDS):
            while not basket.messages:
                await asyncio.to_thread(device.publish, "a/b", range(number, number + 1))
                number += 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await one.close()


@pytest.mark.integration
async def test_a_subscription_that_is_refused_is_told(own_server: Callable[..., Any]) -> None:
    server = own_server(Mosquitto, "allow_anonymous false")
    one = source(connection(server.port, user="x", password="s3cret"), Basket(), {"filter": "a/#"})
    for attempt in (one.open, one.check):
        with pytest.raises(Unavailable, match="not authorized") as caught:
            await attempt()
        assert "s3cret" not in repr(caught.value)
    await one.close()


@pytest.mark.integration
async def test_loops_over_a_bridge_end(mosquitto: Mosquitto) -> None:
    """What comes back over the connection that sent it is an echo; over another, the hops are counted."""
    schema = Schema(("n",), (Type.BIGINT,))
    shared, other = connection(mosquitto.port), connection(mosquitto.port, client_id="other")
    mine, theirs = Basket(), Basket()
    echo = source(shared, mine, {"filter": "ring/#"}, name="echo")
    ring = source(other, theirs, {"filter": "ring/#"}, name="ring")
    config = MqttSink.Config(topic="ring/a", payload="${n}", qos=1, max_hops=4)
    sink = MqttSink(config, SinkContext(name="ring", base_dir=Path(), connection=shared))
    for one in (echo, ring, sink):
        await one.open()
    hops = 0
    for turn in range(4):
        await sink.write(Batch("out", "r", schema, [(turn,)], hops))
        await until(lambda turn=turn: len(theirs.messages) == turn + 1 and len(mine.dropped) == turn + 1)
        assert theirs.messages[-1].publisher.hops == hops + 1
        hops = theirs.messages[-1].publisher.hops
    with pytest.raises(Exception, match="passed 4 rules already"):
        await sink.write(Batch("out", "r", schema, [(9,)], hops))
    for one in (echo, ring, sink):
        await one.close()
    assert mine.messages == []
    assert set(mine.dropped) == {"echo"}


@pytest.mark.integration
async def test_over_mqtt_3_1_1_echoes_are_told_by_what_was_sent(mosquitto: Mosquitto) -> None:
    schema = Schema(("n",), (Type.BIGINT,))
    shared = connection(mosquitto.port, version="3.1.1", client_id="old")
    basket = Basket()
    echo = source(shared, basket, {"filter": "old-ring/#"}, name="echo")
    config = MqttSink.Config(topic="old-ring/a", payload="${n}", qos=1)
    sink = MqttSink(config, SinkContext(name="ring", base_dir=Path(), connection=shared))
    for one in (echo, sink):
        await one.open()
    with Publisher(mosquitto.port) as device:
        await sink.write(Batch("out", "r", schema, [(number,) for number in range(100)]))
        await until(lambda: len(basket.dropped) == 100)
        device.publish("old-ring/a", range(100))
        await until(lambda: len(basket.messages) == 100)
    for one in (echo, sink):
        await one.close()
    assert basket.numbers() == list(range(100))
    assert set(basket.dropped) == {"echo"}
