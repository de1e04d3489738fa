"""The bridge to a real broker: what arrives, what is refused, and what a broken connection costs."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as paho
import pytest
import trustme
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from connections.base import ConnectionContext
from connections.mqtt.config import MqttConfig
from connections.mqtt.connection import MqttConnection
from core.errors import ConfigError, ExtensionError, Rejected, SinkError, Unavailable
from core.message import MISSING, Batch, Row, Schema, Type
from core.settings import decode_hook
from formats.json import decode_document, encode_document
from headrace.testing import SinkContract
from sinks.base import Sink, SinkContext
from sinks.encoding import rfc3339
from sinks.mqtt.sink import MqttSink
from tests.servers import Mosquitto, Proxy

pytestmark = pytest.mark.integration

SCHEMA = Schema(("station", "n"), (Type.TEXT, Type.BIGINT))
SECONDS = 20


class Subscriber:
    """Reads everything below a topic with a session of its own, in a thread; at most once where the broker says so."""

    def __init__(self, port: int, topic: str = "#", client_id: str = "reader", **options: Any) -> None:
        self.messages: list[paho.MQTTMessage] = []
        self.subscribed = threading.Event()
        self.paho = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5, manual_ack=False)
        self.paho.reconnect_delay_set(1, 1)
        self.paho.on_message = lambda _client, _data, message: self.messages.append(message)
        self.paho.on_connect = lambda client, *_: client.subscribe(topic, 2)
        self.paho.on_subscribe = lambda *_: self.subscribed.set()
        if "user" in options:
            self.paho.username_pw_set(options["user"], options["password"])
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3_600
        properties.ReceiveMaximum = 1_000
        self.paho.connect("127.0.0.1", port, clean_start=False, properties=properties)
        self.paho.loop_start()
        assert self.subscribed.wait(SECONDS)

    def numbers(self) -> list[int]:
        return [int(message.payload) for message in self.messages]

    def wait(self, count: int) -> None:
        deadline = time.monotonic() + SECONDS
        while len({message.payload for message in self.messages}) < count:
            if time.monotonic() > deadline:
                absent = sorted(set(range(count)) - {int(message.payload) for message in self.messages})
                pytest.fail(f"{len(absent)} of {count} did not arrive: {absent[:5]} to {absent[-5:]}")
            time.sleep(0.01)

    def close(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()


@pytest.fixture
def subscriber() -> Iterator[Callable[..., Subscriber]]:
    made: list[Subscriber] = []

    def make(*arguments: Any, **options: Any) -> Subscriber:
        made.append(Subscriber(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def connection(port: int, **settings: Any) -> MqttConnection:
    given = {"host": "127.0.0.1", "port": port, **settings}
    config = msgspec.convert(given, MqttConfig, dec_hook=decode_hook)
    return MqttConnection(config, ConnectionContext(name="remote", base_dir=settings.get("base", Path())))


def bridge(port: int, config: dict[str, Any] | None = None, name: str = "out", **settings: Any) -> MqttSink:
    context = SinkContext(name=name, base_dir=Path(), connection=connection(port, **settings))
    given = {"topic": "out/${station}", "payload": "${n}", "user_properties": "", **(config or {})}
    return MqttSink(msgspec.convert(given, MqttSink.Config), context)


def batch(numbers: range | Sequence[int], hops: int = 0, station: str = "cp1") -> Batch:
    return Batch("out", "file.out", SCHEMA, [(station, number) for number in numbers], hops)


async def written(sink: MqttSink, rows: Batch, pause: float = 0.02) -> int:
    """Write until it is done, as a delivery does; the number of attempts in vain."""
    failures = 0
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                await sink.write(rows)
                return failures
            except Unavailable:
                failures += 1
                await asyncio.sleep(pause)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - what it waits for happens in a thread
            await asyncio.sleep(0.01)


class TestBridge(SinkContract):
    version = "5"

    @pytest.fixture(autouse=True)
    def broker(self, mosquitto: Mosquitto) -> Iterator[None]:
        self.port = mosquitto.port
        self.prefix = f"contract/{time.monotonic_ns()}"
        self.reader = Subscriber(mosquitto.port, f"{self.prefix}/#", f"reader-{time.monotonic_ns()}")
        yield
        self.reader.close()

    def make_sink(self, context: SinkContext) -> Sink:
        context = dataclasses.replace(context, connection=connection(self.port, version=self.version))
        return MqttSink(MqttSink.Config(topic=f"{self.prefix}/x${{station}}", qos=1), context)

    async def read_back(self) -> Sequence[dict[str, Any]]:
        end = f"{self.prefix}/end"
        sent = self.reader.paho.publish(end, b"end", 1)
        await asyncio.to_thread(sent.wait_for_publish, SECONDS)
        async with asyncio.timeout(SECONDS):
            while not any(message.topic == end for message in self.reader.messages):  # noqa: ASYNC110 - of a thread
                await asyncio.sleep(0.01)
        return [decode_document(message.payload) for message in self.reader.messages if message.topic != end]

    def arrives_as(self, kind: Type, value: Any) -> Any:
        if value is MISSING:
            return "undefined"
        if kind is Type.TIMESTAMP and value is not None:
            return rfc3339(value)
        return decode_document(encode_document(value))

    def bad_row(self, identity: int) -> Row:
        return (identity, "wild/#", 1.0)


class TestBridge311(TestBridge):
    version = "3.1.1"


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_every_quality_of_service_in_order(
    mosquitto: Mosquitto, subscriber: Callable[..., Subscriber], qos: int, version: str
) -> None:
    station = f"q{qos}v{version}"
    reader = subscriber(mosquitto.port, f"out/{station}", f"reader-{station}")
    sink = bridge(mosquitto.port, {"qos": qos}, version=version)
    await sink.open()
    await sink.write(batch(range(3_000), station=station))
    await sink.close()
    await asyncio.to_thread(reader.wait, 3_000)
    assert reader.numbers() == list(range(3_000))
    assert {message.qos for message in reader.messages} == {qos}


async def test_properties_and_marks_arrive(mosquitto: Mosquitto, subscriber: Callable[..., Subscriber]) -> None:
    reader = subscriber(mosquitto.port, "props/#", "reader-props")
    config = {
        "topic": "props/${station}",
        "qos": 1,
        "mqtt_properties": {
            "payload_format_indicator": 1,
            "message_expiry_interval": "60",
            "content_type": "text/${station}",
            "response_topic": "answers/${station}",
            "correlation_data": "${n}",
        },
        "user_properties": {"site": "${station}", "absent": "${nothing}"},
    }
    sink = bridge(mosquitto.port, config)
    await sink.open()
    await sink.write(batch([7], hops=2))
    await sink.close()
    await asyncio.to_thread(reader.wait, 1)
    found: Any = reader.messages[0].properties
    assert (found.PayloadFormatIndicator, found.ContentType, found.ResponseTopic) == (1, "text/cp1", "answers/cp1")
    assert found.CorrelationData == b"7"
    assert 0 < found.MessageExpiryInterval <= 60
    user = dict(found.UserProperty)
    assert user.pop("headrace-from")
    assert user == {"site": "cp1", "headrace-hops": "3"}


@pytest.mark.parametrize(("qos", "version"), [(1, "5"), (2, "5"), (1, "3.1.1"), (2, "3.1.1")])
async def test_cut_connections_cost_nothing(
    mosquitto: Mosquitto, subscriber: Callable[..., Subscriber], qos: int, version: str
) -> None:
    """QoS 1 at least once, QoS 2 exactly once: the broker keeps the session while the connection is away."""
    station = f"cut{qos}v{version}"
    reader = subscriber(mosquitto.port, f"out/{station}", f"reader-{station}")
    with Proxy(mosquitto.port) as proxy:
        sink = bridge(proxy.port, {"qos": qos}, name=station, version=version, max_in_flight=100)
        await sink.open()
        stop = asyncio.Event()

        async def vandal() -> None:
            while not stop.is_set():
                await asyncio.sleep(0.02)
                proxy.cut()

        breaking = asyncio.ensure_future(vandal())
        failures = 0
        for start in range(0, 2_000, 500):
            failures += await written(sink, batch(range(start, start + 500), station=station))
        stop.set()
        await breaking
        await sink.close()
    assert failures, "nothing was cut in the middle"
    await asyncio.to_thread(reader.wait, 2_000)
    await asyncio.sleep(0.1)
    numbers = reader.numbers()
    assert set(numbers) == set(range(2_000))
    if qos == 2:
        assert len(numbers) == 2_000


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_broker_that_is_stopped_killed_and_frozen(
    own_server: Callable[..., Any], subscriber: Callable[..., Subscriber], qos: int
) -> None:
    server = own_server(Mosquitto)
    reader = subscriber(server.port, "out/#")
    sink = bridge(server.port, {"qos": qos}, keepalive="1s", connect_timeout="2s")
    await sink.open()
    failures = 0
    for number, disturb in enumerate((server.restart, server.pause, server.kill)):
        rows = range(number * 2_000, number * 2_000 + 2_000)
        reader.subscribed.clear()
        writing = asyncio.ensure_future(written(sink, batch(rows), 0.1))
        await asyncio.sleep(0.02)
        await asyncio.to_thread(disturb)
        await asyncio.sleep(0.3)
        if disturb == server.kill:
            await asyncio.to_thread(server.start)
        server.resume()
        failures += await writing
        if disturb == server.kill:  # what it had acknowledged and not saved is gone
            await asyncio.to_thread(reader.subscribed.wait, SECONDS)
            await written(sink, batch(rows))
        await asyncio.to_thread(reader.wait, number * 2_000 + 2_000)
    await sink.close()
    assert failures


async def test_a_wrong_password_is_told_and_never_shown(own_server: Callable[..., Any], tmp_path: Path) -> None:
    server = own_server(Mosquitto, "allow_anonymous false")
    sink = bridge(server.port, user="somebody", password="s3cret")
    for attempt in (sink.open, sink.check):
        with pytest.raises(Unavailable, match=r"refuses the connection: not authorized \(0x87\)") as caught:
            await attempt()
        assert "s3cret" not in repr(caught.value)
    await sink.close()


async def test_what_the_broker_denies_is_tried_again_and_the_rest_arrives(
    own_server: Callable[..., Any], subscriber: Callable[..., Subscriber], tmp_path: Path
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic write out/good\ntopic read #\n")
    acl.chmod(0o644)
    for parent in list(acl.parents)[:4]:
        parent.chmod(parent.stat().st_mode | 0o011)
    server = own_server(Mosquitto, f"acl_file {acl}")
    reader = subscriber(server.port, "out/#")
    for qos in (1, 2):
        sink = bridge(server.port, {"qos": qos})
        await sink.open()
        rows = Batch("out", "r", SCHEMA, [("good", 10 * qos), ("bad", 10 * qos + 1), ("good", 10 * qos + 2)])
        told = ""
        async with asyncio.timeout(SECONDS):
            # mosquitto 2.0 hangs up after a refusal, sometimes before it could be read.
            while len(reader.messages) < 2 * qos or "not authorized" not in told:
                with pytest.raises(Unavailable) as caught:
                    await sink.write(rows)
                told = told or str(caught.value) if "authorized" in str(caught.value) else told
                await asyncio.sleep(0.01)
        assert told == "the broker refuses a message to 'out/bad': not authorized (0x87)"
        await sink.close()
    await asyncio.to_thread(reader.wait, 4)
    assert reader.numbers() == [10, 12, 20, 22]


async def test_too_large_rows_are_refused_one_by_one(
    own_server: Callable[..., Any], subscriber: Callable[..., Subscriber]
) -> None:
    server = own_server(Mosquitto, "max_packet_size 200")
    reader = subscriber(server.port, "out/#")
    sink = bridge(server.port, {"qos": 1})
    await sink.open()
    rows = batch(range(5))
    rows.rows[3] = ("cp1", 10**300)
    with pytest.raises(Rejected, match="more than the broker takes") as caught:
        await sink.write(rows)
    assert [index for index, _ in caught.value.rows] == [3]
    await sink.close()
    await until(lambda: reader.numbers() == [0, 1, 2, 4])


class Choosy(asyncio.Protocol):
    """A broker that says what it does not take only when it gets it, and then hangs up."""

    def __init__(self, taken: list[bytes]) -> None:
        self.taken = taken
        self.received = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while len(self.received) > 1:
            size, start = self.received[1], 2
            if size > 127:
                size, start = (size & 127) + (self.received[2] << 7), 3
            if len(self.received) < start + size:
                return
            kind, packet = self.received[0] & 0xF0, self.received[start : start + size]
            self.received = self.received[start + size :]
            if kind == 0x10:
                self.transport.write(b"\x20\x03\x01\x00\x00")
            elif kind == 0x30 and size > 200:
                self.transport.write(b"\xe0\x02\x95\x00")
                self.transport.close()
                return
            elif kind == 0x30:
                topic = 2 + int.from_bytes(packet[:2], "big")
                self.taken.append(packet)
                self.transport.write(b"\x40\x02" + packet[topic : topic + 2])


async def test_the_row_that_a_broker_hangs_up_on_is_found() -> None:
    taken: list[bytes] = []
    server = await asyncio.get_running_loop().create_server(lambda: Choosy(taken), "127.0.0.1", 0)
    async with server:
        sink = bridge(server.sockets[0].getsockname()[1], {"qos": 1})
        await sink.open()
        rows = batch(range(5))
        rows.rows[2] = ("cp1", 10**300)
        with pytest.raises(Rejected, match="packet too large") as caught:
            await written(sink, rows)
        await sink.close()
    assert [index for index, _ in caught.value.rows] == [2]
    assert {packet[-1:] for packet in taken} == {b"0", b"1", b"3", b"4"}


class Narrow(Choosy):
    """A broker that takes fewer messages at a time than it says."""

    most = 0

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_soon(super().data_received, b"")
        self.received += data
        if data[0] & 0xF0 == 0x10:
            self.most = 0
        self.most = max(self.most, self.received.count(b"\x00\x07out/cp1"))
        if self.most > 5:
            self.transport.write(b"\xe0\x02\x93\x00")
            self.transport.close()
            self.received = b""


async def test_a_broker_that_takes_fewer_messages_than_it_says() -> None:
    taken: list[bytes] = []
    server = await asyncio.get_running_loop().create_server(lambda: Narrow(taken), "127.0.0.1", 0)
    async with server:
        sink = bridge(server.sockets[0].getsockname()[1], {"qos": 1})
        await sink.open()
        assert await written(sink, batch(range(10, 60))) > 1
        await sink.close()
    assert [packet[-2:] for packet in taken] == [b"%d" % number for number in range(10, 60)]


async def test_tls(own_server: Callable[..., Any], tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    for parent in [tmp_path / "server.pem", tmp_path / "ca.pem", *list(tmp_path.parents)[:3], tmp_path]:
        parent.chmod(parent.stat().st_mode | 0o055)
    server = own_server(
        Mosquitto,
        f"cafile {tmp_path / 'ca.pem'}",
        f"certfile {tmp_path / 'server.pem'}",
        f"keyfile {tmp_path / 'server.pem'}",
    )
    sink = bridge(server.port, {"qos": 1}, tls={"ca": str(tmp_path / "ca.pem")})
    await sink.open()
    await sink.write(batch(range(100)))
    await sink.close()
    with pytest.raises(Unavailable, match=r"its certificate is not accepted: .* \(see tls\.ca\)$"):
        await bridge(server.port, tls=True).check()
    trusting = {"ca": str(tmp_path / "ca.pem")}
    plain = own_server(Mosquitto)
    with pytest.raises(Unavailable, match=r"\(does the port speak TLS\?\)$"):
        await bridge(plain.port, tls=trusting).check()


async def test_tls_with_certificates_of_clients(own_server: Callable[..., Any], tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    for name, issuer in (("mine", authority), ("strange", stranger)):
        issued = issuer.issue_cert("bridge@site7")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    for path in [*tmp_path.iterdir(), *list(tmp_path.parents)[:3], tmp_path]:
        path.chmod(path.stat().st_mode | 0o055)
    server = own_server(
        Mosquitto,
        f"cafile {tmp_path / 'ca.pem'}",
        f"certfile {tmp_path / 'server.pem'}",
        f"keyfile {tmp_path / 'server.pem'}",
        "require_certificate true",
    )

    def tls(name: str | None) -> dict[str, str]:
        own = {} if name is None else {"cert": str(tmp_path / f"{name}.pem"), "key": str(tmp_path / f"{name}.key")}
        return {"ca": str(tmp_path / "ca.pem"), **own}

    sink = bridge(server.port, {"qos": 1}, tls=tls("mine"))
    await sink.open()
    await sink.write(batch(range(10)))
    await sink.close()
    # A broker may be gone before its alert was read.
    reset = "Connection reset by peer"
    with pytest.raises(Unavailable, match=r"want.* to see a certificate of ours \(see tls\.cert and tls\.key\)"):
        await bridge(server.port, tls=tls(None)).check()
    with pytest.raises(
        Unavailable, match=rf"ended the connection instead of an answer: (TLS fails: .*unknown ca|{reset})"
    ):
        await bridge(server.port, tls=tls("strange")).check()
    with pytest.raises(Unavailable, match=r"instead of an answer.*; does it want TLS \(tls = true\)\?"):
        await bridge(server.port).check()


async def test_a_batch_that_was_given_up_does_not_disturb_the_next(
    mosquitto: Mosquitto, subscriber: Callable[..., Subscriber]
) -> None:
    reader = subscriber(mosquitto.port, "out/givenup", "reader-givenup")
    with Proxy(mosquitto.port) as proxy:
        sink = bridge(proxy.port, {"qos": 1}, name="givenup")
        await sink.open()
        proxy.stall()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await sink.write(batch(range(10), station="givenup"))
        proxy.go_on()
        await sink.write(batch(range(10, 20), station="givenup"))
        await sink.close()
    await asyncio.to_thread(reader.wait, 20)
    assert reader.numbers() == list(range(20))


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_sink_and_its_successor_do_not_push_each_other_out(
    mosquitto: Mosquitto, subscriber: Callable[..., Subscriber], qos: int
) -> None:
    """A reload opens the new one, which has the same client id, while the old one delivers what is under way."""
    station = f"heir{qos}"
    reader = subscriber(mosquitto.port, f"out/{station}", f"reader-{station}")
    first, second = (bridge(mosquitto.port, {"qos": qos}, name=station) for _ in range(2))
    await first.open()
    writing = asyncio.ensure_future(first.write(batch(range(2_000), station=station)))
    await asyncio.sleep(0)
    opening = asyncio.ensure_future(second.open())
    await writing
    assert not opening.done()
    await first.close()
    await opening
    await second.write(batch(range(2_000, 2_100), station=station))
    await second.close()
    await asyncio.to_thread(reader.wait, 2_100)
    assert reader.numbers() == list(range(2_100))


async def test_a_successor_that_waits_in_vain_says_for_what(mosquitto: Mosquitto) -> None:
    first, second = (bridge(mosquitto.port, name="slow", connect_timeout="100ms") for _ in range(2))
    await first.open()
    with pytest.raises(Unavailable, match="headrace-sink-slow is still in use by the sink that this one replaces"):
        await second.open()
    await second.close()
    await first.write(batch(range(1), station="slow"))
    await first.close()
    await second.open()
    await second.close()


def test_settings_that_do_not_fit_together() -> None:
    with pytest.raises(ConfigError, match=r"MQTT 3\.1\.1 has no properties"):
        bridge(1883, {"user_properties": {"a": "b"}}, version="3.1.1")


async def test_it_is_closed_before_it_was_open() -> None:
    sink = bridge(1)
    with pytest.raises(SinkError):
        await sink.open()
    await sink.close()
    await sink.close()


def test_without_paho_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "paho.mqtt.client", None)
    with pytest.raises(ExtensionError, match=r"pip install 'headrace\[mqtt\]'"):
        connection(1883)
