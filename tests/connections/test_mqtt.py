"""MQTT connections: what their settings say, what a check answers, and how a broker's refusals are told."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from connections.base import Connection, ConnectionContext
from connections.mqtt.channel import Channel
from connections.mqtt.client import MqttClient
from connections.mqtt.config import MqttConfig, verdict, words
from connections.mqtt.connection import MqttConnection
from connections.mqtt.driver import pack, unpack
from connections.mqtt.listener import Incoming, Listener
from core.errors import ConfigError, Unavailable
from core.settings import decode_hook
from headrace.testing import ConnectionContract
from tests.servers import Mosquitto, free_port


def connection(port: int, context: ConnectionContext | None = None, **settings: Any) -> MqttConnection:
    context = context or ConnectionContext(name="remote", base_dir=Path())
    given = {"host": "127.0.0.1", "port": port, **settings}
    return MqttConnection(msgspec.convert(given, MqttConfig, dec_hook=decode_hook), context)


@pytest.mark.integration
class TestMqtt(ConnectionContract):
    secrets = ("s3cret",)

    @pytest.fixture(autouse=True)
    def broker(self, mosquitto: Mosquitto) -> None:
        self.port = mosquitto.port

    def make_connection(self, context: ConnectionContext) -> Connection:
        return connection(self.port, context, user="somebody", password="s3cret")

    def make_unreachable(self, context: ConnectionContext) -> Connection:
        return connection(free_port(), context, user="somebody", password="s3cret")


class TestMqtt311(TestMqtt):
    def make_connection(self, context: ConnectionContext) -> Connection:
        return connection(self.port, context, version="3.1.1")


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"password": "x"}, "name the user in `user`"),
        ({"client_id": ""}, "name one, or set `clean_start = true`"),
        ({"host": ""}, "a name or an address"),
        ({"host": "127.0.0.1:1884"}, "the number goes into `port`"),
        ({"host": "mqtt://example.org"}, "without mqtt://"),
        ({"host": "mqtts://example.org:8883/"}, "without mqtts://, and `tls = true`"),
        ({"host": "example.org/mqtt"}, "a name or an address"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        connection(1883, **settings)
    assert caught.value.path in settings
    assert hint in str(caught.value.hint)


def test_an_address_of_version_6_is_a_host() -> None:
    assert connection(1883, host="::1").config.host == "::1"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_broker_that_is_not_there_is_told_in_the_words_of_the_system(host: str) -> None:
    port = free_port()
    with pytest.raises(Unavailable) as caught:
        await connection(port, host=host).check()
    assert str(caught.value) == f"{host}:{port} cannot be reached: Connection refused"


def test_reason_codes_are_told_in_words() -> None:
    assert words(0x87) == "not authorized (0x87)"
    assert words(0x97, "ten a second") == "quota exceeded (0x97): ten a second"
    assert words(0xFE) == "refused (0xFE)"
    assert [verdict(code) for code in (0, 0x10, 0x80, 0x87, 0x90, 0x95, 0x97)] == [
        *("done", "done", "again", "again", "never", "never", "slower")
    ]


def test_properties_are_packed_once() -> None:
    given = (("content_type", "text/plain"), ("user_properties", (("a", "1"), ("a", "2"))))
    packed = pack(given)
    assert pack(given) is packed
    assert packed.pack() == b"\x1b\x03\x00\x0atext/plain\x26\x00\x01a\x00\x011\x26\x00\x01a\x00\x012"
    with pytest.raises(ValueError, match="cannot be sent"):
        pack((("payload_format_indicator", 7),))


def test_large_properties_are_not_kept() -> None:
    given = (("correlation_data", b"x" * 2_000),)
    packed = pack(given)
    assert pack(given) is not packed
    assert unpack(packed.pack()) == dict(given)
    assert unpack(packed.pack()) is not unpack(packed.pack())
    small = pack((("content_type", "a"),)).pack()
    assert unpack(small) is unpack(small)


class _Asked:
    """A transport and its socket in one, which keeps what the socket was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, int]] = []

    def set_write_buffer_limits(self, _high: int) -> None:
        """Not of interest here."""

    def get_extra_info(self, name: str) -> _Asked | None:
        return self if name == "socket" else None

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.asked.append((level, option, value))
        if len(self.asked) > 2:
            raise OSError("Bad file descriptor")


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="Linux has it")
async def test_what_comes_is_acknowledged_at_once_and_not_after_a_delay() -> None:
    channel, transport = Channel(lambda: None, lambda: None), _Asked()
    channel.connection_made(transport)  # type: ignore[arg-type]
    for _ in range(2):
        channel.data_received(b"@\x02\x00\x01")
    assert transport.asked == [(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)] * 3
    channel.data_received(b"@\x02\x00\x02")  # the socket has been closed meanwhile: no error


async def test_what_was_sent_last_is_read_though_the_far_side_is_still_writing() -> None:
    read = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(2)
            for _ in range(3):  # a socket that is closed with this on its way answers with a reset
                writer.write(b"more")
                await writer.drain()
                await asyncio.sleep(0.02)
            read.set_result(await reader.readexactly(5))
        except OSError as error:
            read.set_exception(error)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    channel = Channel(lambda: None, lambda: None)
    port = server.sockets[0].getsockname()[1]
    await asyncio.get_running_loop().create_connection(lambda: channel, "127.0.0.1", port)
    channel.send(b"hi")
    await asyncio.sleep(0)
    channel.send(b"there")
    channel.close()
    assert await asyncio.wait_for(read, 10) == b"there"
    await asyncio.wait_for(channel.closed, 10)
    server.close()
    await server.wait_closed()


class _Answering(asyncio.Protocol):
    """Answers the first packet with given bytes."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.answer)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"\x20\x03\x00\x86\x00", r"bad user name or password \(0x86\) \(it was asked without a `user`\)"),
        (b"\x20\x03\x00\x89\x00", r"the broker is busy \(0x89\)$"),
        (b"\x20\x0b\x00\x87\x08\x1f\x00\x05not u", r"not authorized \(0x87\): not u"),
        (b"\xff\xff\xff\xff\xff\xff", r"127\.0\.0\.1:\d+ ended the connection instead of an answer; does it want TLS"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not answer"),
        (b"", "does not answer within 300ms"),
    ],
)
async def test_what_a_broker_answers_instead_of_a_welcome(answer: bytes, reason: str) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Answering(answer), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable, match=reason):
            await connection(port, connect_timeout="300ms").check()


async def test_who_is_refused_reads_as_whom_it_came() -> None:
    refusal = b"\x20\x03\x00\x87\x00"
    server = await asyncio.get_running_loop().create_server(lambda: _Answering(refusal), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable, match=r"\(0x87\) \(as user 'bridge'\)$"):
            await connection(port, user="bridge", password="s3cret").check()


class Heard(Listener):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.acks: list[tuple[int, int]] = []
        self.messages: list[Incoming] = []
        self.ends: list[str] = []

    def acknowledged(self, packet_id: int, code: int, detail: str) -> None:
        self.acks.append((packet_id, code))

    def received(self, message: Incoming) -> None:
        self.messages.append(message)

    def lost(self, reason: str) -> None:
        self.ends.append(reason)


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so; TimeoutError after half a minute."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what it waits for happens in another process
            await asyncio.sleep(0.005)


class _Silent(_Answering):
    """Answers the first packet only."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.answer = b""


@pytest.mark.parametrize(("version", "welcome"), [("5", b"\x20\x03\x00\x00\x00"), ("3.1.1", b"\x20\x02\x00\x00")])
async def test_a_broker_that_falls_silent_is_given_up_and_the_reason_says_so(version: str, welcome: bytes) -> None:
    heard = Heard()
    server = await asyncio.get_running_loop().create_server(lambda: _Silent(welcome), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        client = connection(port, version=version, keepalive="1s").client("silent", heard, fresh=False)
        await client.connect()
        await until(lambda: heard.ends)
        await client.disconnect()
    assert heard.ends == [f"the connection to 127.0.0.1:{port} was lost: nothing came for twice the keepalive (1s)"]


@pytest.mark.integration
@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("qos", [1, 2])
async def test_messages_there_and_back(mosquitto: Mosquitto, version: str, qos: int) -> None:
    heard = Heard()
    one = connection(mosquitto.port, version=version)
    client: MqttClient = one.client(f"there-and-back-{version}-{qos}", heard, fresh=True)
    await client.connect()
    topic = f"back/{version}/{qos}"
    await client.subscribe([(topic, qos)])
    ids = [client.publish(topic, b"%d" % number, qos, False, None) for number in range(50)]
    await until(lambda: len(heard.acks) == 50 and len(heard.messages) == 50)
    assert heard.acks == [(packet_id, 0) for packet_id in ids]
    assert client.outstanding == 0
    assert [message.payload for message in heard.messages] == [b"%d" % number for number in range(50)]
    assert [message.qos for message in heard.messages] == [qos] * 50
    for message in heard.messages:
        client.confirm(message.packet_id, message.qos, client.epoch)
    await client.disconnect()
    await client.disconnect()
    assert heard.ends == []
