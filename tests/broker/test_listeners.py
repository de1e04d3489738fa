"""Real sockets: TCP and TLS, independent clients, limits, bugs, and the end of the service."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
import pytest
import trustme
from paho.mqtt.enums import CallbackAPIVersion

from broker.acl import Verdict
from broker.auth import Admission
from broker.listeners import Listeners
from broker.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    ReasonCode,
    Subscribe,
    Subscription,
)
from broker.router import Router
from broker.settings import BrokerLimits, ListenerSettings, TlsSettings
from broker.wire import Decoder, encode
from core.clock import SECOND, SystemClock
from core.errors import ConfigError
from core.inbox import MemoryInbox
from core.message import Publisher
from core.metrics import Metrics
from core.settings import Bind

ANY_PORT = Bind("127.0.0.1", 0)


class Guard:
    """Lets in whoever does not bring the password ``wrong``; ``slow`` waits until it is told."""

    def __init__(self) -> None:
        self.slow: asyncio.Event | None = None

    async def authenticate(self, publisher: Publisher, password: bytes | None) -> Admission:
        if publisher.client_id == "bug":
            raise RuntimeError("a bug in authentication")
        if self.slow is not None:
            await self.slow.wait()
        return Admission.REFUSED if password == b"wrong" else Admission.PROVED

    def judge(self, publisher: Publisher, action: str, topic: str) -> Verdict:
        if topic == "bug":
            raise RuntimeError("a bug in authorization")
        return Verdict(True, "test")


class Running:
    """A broker whose rules read everything below ``rules/``, on a port that the system chose."""

    def __init__(self, settings: dict[str, ListenerSettings], base_dir: Path | None, limits: dict[str, Any]) -> None:
        self.metrics = Metrics()
        self.guard = Guard()
        self.inbox = MemoryInbox(lambda: None, max_messages=limits.pop("max_messages", 1_000))
        self.router = Router(
            self.inbox,
            lambda topic: ("rule",) if topic.startswith("rules/") else (),
            self.guard,
            limits=BrokerLimits(**limits),
            metrics=self.metrics,
        )
        self.listeners = Listeners(settings, self.router, self.guard, SystemClock(), base_dir=base_dir)

    @property
    def port(self) -> int:
        [(_, port)] = self.listeners.addresses.values()
        return port

    def counted(self, name: str, label: str) -> float:
        for family in self.metrics.collect():
            if family.name == name:
                return sum(s.value for s in family.samples if s.labels == (label,))  # type: ignore[misc]
        return 0


@contextlib.asynccontextmanager
async def running(
    settings: ListenerSettings | None = None, base_dir: Path | None = None, **limits: Any
) -> AsyncIterator[Running]:
    broker = Running({"mqtt": settings or ListenerSettings(bind=ANY_PORT)}, base_dir, limits)
    await broker.listeners.start()
    try:
        yield broker
    finally:
        await broker.listeners.stop()
        await broker.listeners.disconnect_all()


class Line:
    """A client of bytes: our own codec over an asyncio stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: int) -> None:
        self.reader = reader
        self.writer = writer
        self.version = version
        self._decoder = Decoder(version=version)
        self._packets: list[Packet] = []

    def send(self, *packets: Packet) -> None:
        self.writer.write(b"".join(encode(packet, self.version) for packet in packets))

    async def next(self) -> Packet | None:
        """The next packet; None at the end of the stream."""
        while not self._packets:
            data = await self.reader.read(65_536)
            if not data:
                return None
            self._packets = self._decoder.feed(data)
        return self._packets.pop(0)

    async def ended(self) -> bool:
        """True once the broker has closed, whatever it says before."""
        with contextlib.suppress(ConnectionError):
            while await self.next() is not None:
                pass
        return True

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await self.writer.wait_closed()


@pytest.fixture
async def lines() -> AsyncIterator[Callable[..., Any]]:
    """Opens lines and closes them in the end."""
    opened: list[Line] = []

    async def open_line(port: int, version: int = 5, *, connect: str | None = "c", **options: Any) -> Line:
        fields = {name: options.pop(name) for name in ("keep_alive", "password", "username") if name in options}
        line = Line(*await asyncio.open_connection("127.0.0.1", port, **options), version)
        opened.append(line)
        if connect is not None:
            line.send(Connect(connect, version, **fields))
        return line

    yield open_line
    for line in opened:
        await line.close()


async def _until(condition: Callable[[], bool]) -> None:
    """Give the loop its turns until ``condition`` holds; the test's time limit is ten seconds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


pytestmark = pytest.mark.integration


async def test_a_round_trip(lines: Callable[..., Any]) -> None:
    async with running() as broker:
        line = await lines(broker.port)
        assert isinstance(await line.next(), ConnAck)
        line.send(Subscribe(1, [Subscription("rules/#", 1)]), Publish("rules/a", b"x", 1, packet_id=5), PingReq())
        kinds = {type(await line.next()) for _ in range(4)}
        assert {Publish, PubAck, PingResp} < kinds
        [message] = broker.inbox.take()
        assert (message.publisher.peer_host, message.payload) == ("127.0.0.1", b"x")
        assert message.publisher.peer_port == line.writer.get_extra_info("sockname")[1]


async def test_authentication_may_take_its_time(lines: Callable[..., Any]) -> None:
    async with running() as broker:
        broker.guard.slow = asyncio.Event()
        line = await lines(broker.port)
        other = await lines(broker.port, connect=None)
        line.send(PingReq())
        broker.guard.slow.set()
        assert isinstance(await line.next(), ConnAck)
        assert isinstance(await line.next(), PingResp)
        other.send(Connect("other", 5, username="u", password=b"wrong"))
        refusal = await other.next()
        assert isinstance(refusal, ConnAck)
        assert refusal.reason_code == ReasonCode.BAD_USER_NAME_OR_PASSWORD
        assert await other.ended()


async def test_a_client_that_leaves_while_it_is_authenticated(lines: Callable[..., Any]) -> None:
    async with running() as broker:
        broker.guard.slow = asyncio.Event()
        line = await lines(broker.port)
        await line.close()
        broker.guard.slow.set()
        other = await lines(broker.port, connect="other")
        assert isinstance(await other.next(), ConnAck)
        assert list(broker.router.sessions) == ["other"]


async def test_no_more_connections_than_allowed(lines: Callable[..., Any]) -> None:
    async with running(ListenerSettings(bind=ANY_PORT, max_connections=1)) as broker:
        first = await lines(broker.port)
        assert isinstance(await first.next(), ConnAck)
        assert await (await lines(broker.port, connect="d")).ended()
        assert broker.counted("headrace_broker_connections_total", "connection_limit") == 1
        first.send(Disconnect())
        assert await first.ended()
        await first.close()
        await _until(lambda: not broker.listeners.connections)
        assert isinstance(await (await lines(broker.port)).next(), ConnAck)


async def test_silence_is_ended(lines: Callable[..., Any]) -> None:
    async with running(connect_timeout=SECOND // 10) as broker:
        assert await (await lines(broker.port, connect=None)).ended()


async def test_the_reason_reaches_a_client_that_is_still_sending(lines: Callable[..., Any]) -> None:
    async with running(ListenerSettings(bind=ANY_PORT, max_packet_size=1_000)) as broker:  # type: ignore[arg-type]
        line = await lines(broker.port)
        assert isinstance(await line.next(), ConnAck)
        line.send(Publish("a", b"x" * 3_000_000))
        reason = await line.next()
        assert isinstance(reason, Disconnect)
        assert reason.reason_code == ReasonCode.PACKET_TOO_LARGE


async def test_who_does_not_hang_up_is_hung_up_on(lines: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.listeners._LINGER", 0)
    monkeypatch.setattr("broker.listeners._TICK_SECONDS", 0.01)
    async with running() as broker:
        line = await lines(broker.port, 4)
        line.send(Connect("c", 4))
        assert await line.ended()
        # The client has not closed its side: the listeners have, when they had enough.
        await _until(lambda: not broker.listeners.connections)


async def test_a_full_inbox_pauses_the_socket(lines: Callable[..., Any]) -> None:
    async with running(max_messages=10) as broker:
        line = await lines(broker.port)
        assert isinstance(await line.next(), ConnAck)
        for number in range(1, 200):
            line.send(Publish("rules/a", b"x" * 50_000, 1, packet_id=number))
        answers = 0
        while answers < 199:
            packet = await line.next()
            assert isinstance(packet, PubAck)
            answers += 1
            # What one read brings may exceed the limit, more may not.
            assert len(broker.inbox) <= 10 + 256_000 // 50_000 + 1
            if broker.inbox.full:
                broker.inbox.take()
                broker.router.resume(broker.listeners.clock.now())


async def test_a_slow_consumer_does_not_grow_the_broker(lines: Callable[..., Any]) -> None:
    async with running(max_write_buffer=100_000) as broker:
        slow, fast = await lines(broker.port, connect="slow"), await lines(broker.port, connect="fast")
        slow.send(Subscribe(1, [Subscription("t", 0)]))
        assert isinstance(await slow.next(), ConnAck)
        await slow.next()
        slow.writer.transport.pause_reading()
        connection: Any = broker.router.sessions["slow"].connection
        assert isinstance(await fast.next(), ConnAck)
        for _ in range(1_000):
            fast.send(Publish("t", b"x" * 60_000), PingReq())
            assert isinstance(await fast.next(), PingResp)
            if connection.blocked:
                break
        for _ in range(10):
            fast.send(Publish("t", b"x" * 60_000), PingReq())
            assert isinstance(await fast.next(), PingResp)
        assert connection.blocked
        assert connection._buffered < 300_000
        assert broker.counted("headrace_broker_messages_dropped_total", "slow_consumer") > 0


@pytest.mark.parametrize("where", ["publish", "authenticate"])
async def test_a_bug_closes_one_connection_and_says_so_once(
    lines: Callable[..., Any], where: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running() as broker:
        bystander = await lines(broker.port, connect="bystander")
        assert isinstance(await bystander.next(), ConnAck)
        line = await lines(broker.port, connect="bug" if where == "authenticate" else "c")
        if where == "publish":
            assert isinstance(await line.next(), ConnAck)
            line.send(Publish("bug", b"x"))
        assert await line.ended()
        bystander.send(PingReq())
        assert isinstance(await bystander.next(), PingResp)
    [record] = caplog.records
    assert "RuntimeError: a bug in auth" in record.message
    assert record.exc_info is None


async def test_the_end_of_the_service(lines: Callable[..., Any]) -> None:
    async with running() as broker:
        port = broker.port
        new, old, silent = await lines(port), await lines(port, 4, connect="d"), await lines(port, connect=None)
        assert isinstance(await new.next(), ConnAck)
        assert isinstance(await old.next(), ConnAck)
        await broker.listeners.stop()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        new.send(PingReq())
        assert isinstance(await new.next(), PingResp)
        await broker.listeners.disconnect_all()
        goodbye = await new.next()
        assert isinstance(goodbye, Disconnect)
        assert goodbye.reason_code == ReasonCode.SERVER_SHUTTING_DOWN
        assert await new.next() is None
        assert await old.next() is None
        assert await silent.ended()


async def test_a_port_in_use_is_said() -> None:
    async with running() as broker:
        again = Running(
            {
                "free": ListenerSettings(bind=ANY_PORT),
                "taken": ListenerSettings(bind=Bind("127.0.0.1", broker.port)),
            },
            None,
            {},
        )
        with pytest.raises(ConfigError, match=rf"listeners.taken.bind: cannot listen on 127.0.0.1:{broker.port}"):
            await again.listeners.start()
        assert again.listeners.addresses == {}


# Independent clients.


def _paho(client_id: str, protocol: int, **options: Any) -> paho.Client:
    return paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=protocol, **options)


@pytest.mark.parametrize("protocol", [3, 4, 5])
async def test_paho(protocol: int) -> None:
    loop = asyncio.get_running_loop()
    got: asyncio.Queue[tuple[str, bytes, int]] = asyncio.Queue()
    ready = asyncio.Event()
    async with running() as broker:
        client = _paho("paho", protocol)
        client.on_connect = lambda client, *_: client.subscribe("rules/#", 2)
        client.on_subscribe = lambda *_: loop.call_soon_threadsafe(ready.set)
        client.on_message = lambda _, __, message: loop.call_soon_threadsafe(
            got.put_nowait, (message.topic, message.payload, message.qos)
        )
        client.connect_async("127.0.0.1", broker.port)
        client.loop_start()
        try:
            async with asyncio.timeout(10):
                await ready.wait()
                for qos in (0, 1, 2):
                    client.publish("rules/a", b"%d" % qos, qos)
                found = [await got.get() for _ in range(3)]
        finally:
            client.disconnect()
            await asyncio.to_thread(client.loop_stop)
    assert sorted(found) == [("rules/a", b"%d" % qos, qos) for qos in (0, 1, 2)]
    assert len(broker.inbox.take()) == 3


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def certificates(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = authority.issue_cert("127.0.0.1", "localhost")
    server.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    device = authority.issue_cert("device@example.org")
    device.private_key_and_cert_chain_pem.write_to_path(tmp_path / "device.pem")
    return tmp_path


def _tls(verify: Any = "none") -> ListenerSettings:
    ca = None if verify == "none" else "ca.pem"
    return ListenerSettings(
        bind=ANY_PORT,
        type="tls",
        tls=TlsSettings(cert="server.pem", key="server.pem", client_ca=ca, verify=verify),
    )


async def test_aiomqtt_over_tls(certificates: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    async with (
        running(_tls(), certificates) as broker,
        aiomqtt.Client("127.0.0.1", broker.port, identifier="a", tls_context=context) as client,
    ):
        await client.subscribe("t/#", qos=1)
        await client.publish("t/a", b"x" * 200_000, qos=1)
        async with asyncio.timeout(10):
            message = await anext(client.messages)
        assert message.payload == b"x" * 200_000


async def test_certificates_of_clients(certificates: Path, lines: Callable[..., Any]) -> None:
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    async with running(_tls("required"), certificates) as broker:
        options = {"ssl": context, "server_hostname": "127.0.0.1"}
        stranger = await lines(broker.port, 4, connect=None, **options)
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            stranger.send(Connect("stranger", 4))
            assert await stranger.next() is None
        context.load_cert_chain(certificates / "device.pem")
        known = await lines(broker.port, 4, connect="known", **options)
        assert isinstance(await known.next(), ConnAck)
        assert list(broker.router.sessions) == ["known"]


async def test_a_missing_certificate_is_said(tmp_path: Path) -> None:
    broker = Running({"mqtts": _tls()}, tmp_path, {})
    with pytest.raises(
        ConfigError, match=r"listeners.mqtts.tls.cert: cannot use server.pem and server.pem: No such file"
    ):
        await broker.listeners.start()


async def test_a_file_that_is_no_certificate_is_said(certificates: Path) -> None:
    (certificates / "ca.pem").write_text("no certificate")
    broker = Running({"mqtts": _tls("optional")}, certificates, {})
    with pytest.raises(ConfigError, match=r"listeners.mqtts.tls.client_ca: cannot use ca.pem"):
        await broker.listeners.start()


async def _run(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output


@pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="mosquitto_pub is not installed")
@pytest.mark.parametrize("version", ["31", "311", "5"])
async def test_mosquittos_clients(version: str) -> None:
    async with running() as broker:
        common = ("-h", "127.0.0.1", "-p", str(broker.port), "-V", version, "-t", "rules/m", "-q", "2")
        await _run("mosquitto_pub", *common, "-r", "-m", "hello")
        output = await _run("mosquitto_sub", *common, "-C", "1", "-W", "10", "-F", "%t %q %r %p")
        assert output == b"rules/m 2 1 hello\n"
    [message] = broker.inbox.take()
    assert (message.payload, message.qos) == (b"hello", 2)
