"""A message on its way out, as all subscribers of one kind get it, and its bytes, encoded once for all of them.

Invariants: never changed once it is shared, but for the cached bytes; it knows nothing of the ``Message`` it came
from but a few facts for events, so that a queue keeps alive neither match objects nor sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from broker.encode import encode_publish
from broker.facts import Origin
from broker.packets import MQTT_3_1_1, MQTT_5_0
from broker.retained import expires_at
from core.clock import SECOND
from core.message import Message, message_id

_FORWARDED: Final = frozenset(
    {
        "payload_format_indicator",
        "message_expiry_interval",
        "content_type",
        "response_topic",
        "correlation_data",
        "user_properties",
    }
)
Frame = tuple[bytes, bytes]


class Outgoing:
    """One PUBLISH without its packet identifier. ``expires_at`` is nanoseconds, 0 for never.

    ``origin`` says what message it came from, where :meth:`trace` was asked to keep that.
    """

    __slots__ = ("_at", "_new", "_old", "_topic", "expires_at", "origin", "payload", "properties", "qos", "retain")

    def __init__(self, message: Message, qos: int, retain: bool, identifiers: tuple[int, ...] = ()) -> None:
        self._topic = message.topic.encode()
        self.payload = message.payload
        self.qos = qos
        self.retain = retain
        self.expires_at = expires_at(message)
        properties: Mapping[str, Any] | None = message.properties
        if properties is not None:
            properties = {name: value for name, value in properties.items() if name in _FORWARDED}
        if identifiers:
            properties = {**(properties or {}), "subscription_identifier": list(identifiers)}
        self.properties = dict(properties) if properties else None
        self.origin: Origin | None = None
        self._old: Frame | None = None
        self._new: Frame | None = None
        self._at = 0

    @property
    def topic(self) -> str:
        return self._topic.decode()

    def trace(self, message: Message) -> None:
        """Keep what events tell of ``message``, the one it was made of."""
        self.origin = Origin(message_id(message), message.publisher, message.received_ns)

    def frame(self, version: int, now: int) -> Frame:
        """What goes before and behind the packet identifier; at QoS 0 the first is the whole packet."""
        if version != MQTT_5_0:
            if self._old is None:
                self._old = self._encode(MQTT_3_1_1, None)
            return self._old
        # What is left of the expiry interval (MQTT-3.3.2-6) makes the bytes right for this moment alone.
        if self._new is None or (self.expires_at and self._at != now):
            properties = self.properties
            if self.expires_at:
                properties = {**(properties or {}), "message_expiry_interval": -((now - self.expires_at) // SECOND)}
            self._new = self._encode(MQTT_5_0, properties)
            self._at = now
        return self._new

    def forget_frames(self) -> None:
        """Drop the cached bytes: a message that waits for its acknowledgement keeps its payload only."""
        self._old = self._new = None

    def _encode(self, version: int, properties: dict[str, Any] | None) -> Frame:
        packet = encode_publish(self._topic, self.payload, self.qos, self.retain, False, 0, properties, version)
        if not self.qos:
            return packet, b""
        at = 2
        while packet[at - 1] > 0x7F:
            at += 1
        at += 2 + len(self._topic)
        return packet[:at], packet[at + 2 :]


def mark_duplicate(head: bytes) -> bytes:
    """``head`` of a frame with DUP set (MQTT-3.3.1-1)."""
    return bytes((head[0] | 0x08,)) + head[1:]
