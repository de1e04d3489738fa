"""A broker and its clients in memory: two ends back to back, no sockets, time by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from broker.acl import Verdict
from broker.connection import Connection
from broker.packets import (
    ConnAck,
    Connect,
    Packet,
    PubAck,
    Publish,
    ReasonCode,
    SubAck,
    Subscribe,
    Subscription,
    Will,
)
from broker.router import Router
from broker.settings import BrokerLimits
from broker.wire import Decoder, encode
from core.clock import SECOND
from core.events import EVENTS
from core.inbox import MemoryInbox
from core.message import Message, Publisher
from core.metrics import Metrics
from core.topics import matches

P = TypeVar("P", bound=Packet)


class Rights:
    """An access list of what is not allowed: pairs of action and filter."""

    def __init__(self) -> None:
        self.denied: list[tuple[str, str]] = []
        self.asked: list[tuple[str, str]] = []

    def judge(self, publisher: Publisher, action: str, topic: str) -> Verdict:
        self.asked.append((action, topic))
        return Verdict(not any(action == what and matches(where, topic) for what, where in self.denied), "test")


class Broker:
    """A router whose rules read ``rules/#``, and the events that :meth:`watch` names.

    ``wakes`` counts the calls of ``on_output``.
    """

    def __init__(self, *, max_messages: int = 1_000, **limits: Any) -> None:
        self.now = 1_000 * SECOND
        self.inbox = MemoryInbox(lambda: None, max_messages=max_messages)
        self.rights = Rights()
        self.metrics = Metrics()
        self.wakes = 0
        self.watched: frozenset[str] = frozenset()
        self.router = Router(
            self.inbox,
            lambda topic: ("rule",) if topic.startswith("rules/") or topic in self.watched else (),
            self.rights,
            limits=BrokerLimits(**limits),
            metrics=self.metrics,
            on_output=self._wake,
        )

    def _wake(self) -> None:
        self.wakes += 1

    def watch(self, *paths: str) -> None:
        """From here on rules read these events (``client/connected``) and no others."""
        self.watched = frozenset(event.source for event in EVENTS if event.path in paths)
        assert len(self.watched) == len(paths)
        self.router.rules_changed()

    def events(self) -> list[dict[str, Any]]:
        """The columns of the events that have come since; everything else in the inbox is dropped."""
        self.router.take_dirty()
        return [dict(message.columns) for message in self.inbox.take() if message.columns is not None]

    def sleep(self, seconds: float) -> None:
        """Let time pass, swept every second as the listeners do."""
        end = self.now + int(seconds * SECOND)
        while self.now < end:
            self.now = min(end, self.now + SECOND)
            self.router.advance(self.now)

    def counted(self, name: str, *labels: str) -> int | float:
        for family in self.metrics.collect():
            if family.name == f"headrace_broker_{name}":
                return sum(s.value for s in family.samples if not labels or s.labels == labels)  # type: ignore[misc]
        return 0

    def dropped(self, reason: str) -> int | float:
        return self.counted("messages_dropped_total", reason)

    def client(self, version: int = 5, **options: Any) -> Client:
        """A connection that has said nothing yet."""
        return Client(self, version, **options)

    def connect(self, client_id: str = "c", version: int = 5, *, accept: bool = True, **fields: Any) -> Client:
        """A client that is connected; ``session_expiry`` is seconds, ``receive_maximum`` etc. go as properties."""
        client = self.client(version)
        client.send(connect_packet(client_id, version, **fields))
        if accept:
            client.accept()
        return client

    def publish(self, topic: str, payload: bytes = b"x", **fields: Any) -> None:
        self.router.publish([Message(topic, payload, received_ns=self.now, **fields)])


def connect_packet(client_id: str = "c", version: int = 5, **fields: Any) -> Connect:
    properties = {
        name: fields.pop(name)
        for name in (
            "session_expiry_interval",
            "receive_maximum",
            "maximum_packet_size",
            "topic_alias_maximum",
            "authentication_method",
            "user_properties",
        )
        if name in fields
    }
    return Connect(client_id, version, properties=properties or None, **fields)


class Client:
    """The other end. ``packets()`` is what the broker has sent since it was last asked."""

    def __init__(self, broker: Broker, version: int, **options: Any) -> None:
        self.broker = broker
        self.version = version
        self.connection = Connection(broker.router, broker.now, peer_host="192.0.2.1", peer_port=40_000, **options)
        self._decoder = Decoder(version=version)
        self._early: list[Packet] = []
        self.connack: ConnAck | None = None

    @property
    def closed(self) -> bool:
        return self.connection.closed

    def send(self, *packets: Packet) -> None:
        self.send_bytes(b"".join(encode(packet, self.version) for packet in packets))

    def send_bytes(self, data: bytes) -> None:
        self.connection.receive(data, self.broker.now)

    def accept(self) -> ConnAck:
        assert self.connection.login is not None
        self.connection.accept(self.broker.now)
        # What follows the CONNACK is left for packets().
        first, *rest = self.packets()
        assert isinstance(first, ConnAck)
        self._early = rest
        self.connack = first
        return first

    def packets(self) -> list[Packet]:
        early, self._early = self._early, []
        self.broker.router.take_dirty()
        while data := self.connection.data_to_send(self.broker.now):
            early += self._decoder.feed(data)
            assert self._decoder.error is None, self._decoder.error
        return early

    def only(self, kind: type[P]) -> P:
        """The one packet that was sent, which is a ``kind``."""
        [packet] = self.packets()
        assert isinstance(packet, kind), packet
        return packet

    def messages(self) -> list[Publish]:
        """The messages that came; QoS 1 ones are acknowledged."""
        found = [packet for packet in self.packets() if isinstance(packet, Publish)]
        for packet in found:
            if packet.qos == 1:
                self.send(PubAck(packet.packet_id))
        return found

    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.messages()]

    def subscribe(self, topic_filter: str, qos: int = 0, *, identifier: int = 0, **options: Any) -> int:
        """Subscribe and return the reason code; what follows the SUBACK is left for packets()."""
        properties = {"subscription_identifier": [identifier]} if identifier else None
        self.send(Subscribe(1, [Subscription(topic_filter, qos, **options)], properties))
        first, *rest = self.packets()
        assert isinstance(first, SubAck), first
        self._early = rest
        [code] = first.reason_codes
        return code

    def publish(self, topic: str, payload: bytes = b"x", qos: int = 0, packet_id: int = 0, **fields: Any) -> None:
        self.send(Publish(topic, payload, qos, packet_id=packet_id or int(qos > 0), **fields))

    def drop(self) -> None:
        """The line is cut."""
        self.connection.lost(self.broker.now)


def will(topic: str = "gone", payload: bytes = b"bye", *, delay: int = 0, **fields: Any) -> Will:
    return Will(topic, payload, properties={"will_delay_interval": delay} if delay else None, **fields)


def reason_of(client: Client) -> ReasonCode:
    """The reason of the DISCONNECT that closed ``client``."""
    from broker.packets import Disconnect

    assert client.closed
    [*_, last] = client.packets()
    assert isinstance(last, Disconnect), last
    return ReasonCode(last.reason_code)


class LateInbox(MemoryInbox):
    """An inbox that calls nothing safe until :meth:`commit`, as a durable one does."""

    def __init__(self) -> None:
        super().__init__(lambda: None)
        self._waiting: list[Callable[[], None]] = []

    def when_safe(self, offset: int, callback: Callable[[], None]) -> None:
        self._waiting.append(callback)

    def commit(self) -> None:
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()
