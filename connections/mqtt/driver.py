"""paho as a bridge needs it: over a :class:`Channel`, and with the handshakes of QoS 1 and 2 done in full.

The methods of paho that handle PUBLISH, PUBACK, PUBREC, PUBREL and PUBCOMP are replaced. They lack the reason in a
PUBREC, a PUBREC that is only sent when the message is safe, and the answer to a PUBREL that was repeated; and for a
message with properties they take several times as long.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt import properties as paho_properties
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes

from connections.mqtt.channel import Channel
from connections.mqtt.config import MqttConfig
from connections.mqtt.listener import Incoming

Properties: Any = paho_properties.Properties  # it has no types
VariableByteIntegers: Any = paho_properties.VariableByteIntegers
_NO_PROPERTIES: Final[Mapping[str, Any]] = {}
OK: Final = MQTTErrorCode.MQTT_ERR_SUCCESS
_PROPERTIES: Final = {
    "payload_format_indicator": "PayloadFormatIndicator",
    "message_expiry_interval": "MessageExpiryInterval",
    "content_type": "ContentType",
    "response_topic": "ResponseTopic",
    "correlation_data": "CorrelationData",
    "user_properties": "UserProperty",
}
"""The properties of a message by their names here and in paho."""


class Packed:
    """Properties as bytes, for any number of messages: paho takes tens of microseconds for each."""

    __slots__ = ("_bytes",)

    def __init__(self, properties: Any) -> None:
        self._bytes: bytes = properties.pack()

    def __len__(self) -> int:
        return len(self._bytes)

    def pack(self) -> bytes:
        return self._bytes


_packed: dict[tuple[tuple[str, Any], ...], Packed] = {}
_unpacked: dict[bytes, Mapping[str, Any]] = {}
_MAX_KNOWN: Final = 4_096
_MAX_KNOWN_BYTES: Final = 1_024
"""Longer properties are not remembered: a broker, or a column, may come with a new megabyte in every message."""


def pack(properties: tuple[tuple[str, Any], ...]) -> Packed:
    """Pairs of a property's name and value; ``user_properties`` is a tuple of pairs. ValueError for a bad value."""
    known = _packed.get(properties)
    if known is None:
        known = _pack(properties)
        if len(known) <= _MAX_KNOWN_BYTES:
            if len(_packed) >= _MAX_KNOWN:
                _packed.clear()
            _packed[properties] = known
    return known


def _pack(properties: tuple[tuple[str, Any], ...]) -> Packed:
    found = Properties(PacketTypes.PUBLISH)
    try:
        for name, value in properties:
            setattr(found, _PROPERTIES[name], list(value) if name == "user_properties" else value)
        return Packed(found)
    except Exception as error:  # noqa: BLE001 - of any kind, down to struct.error
        raise ValueError(f"a property of the message cannot be sent: {error}") from None


def unpack(packed: bytes) -> Mapping[str, Any]:
    """The properties of a message by their names here, from their bytes; paho's errors where they are none."""
    known = _unpacked.get(packed)
    if known is None:
        known = _unpack(packed)
        if len(packed) <= _MAX_KNOWN_BYTES:
            if len(_unpacked) >= _MAX_KNOWN:
                _unpacked.clear()
            _unpacked[packed] = known
    return known


def _unpack(packed: bytes) -> Mapping[str, Any]:
    given = Properties(PacketTypes.PUBLISH)
    given.unpack(packed)
    found = {name: getattr(given, theirs) for name, theirs in _PROPERTIES.items() if hasattr(given, theirs)}
    if "user_properties" in found:
        found["user_properties"] = tuple(found["user_properties"])
    return found


class Driver(paho.Client):
    """paho over a channel, with the handshakes of QoS 1 and 2 that a bridge needs."""

    channel: Channel
    on_ack: Callable[[int, int, str], None]
    on_received: Callable[[Incoming], None]

    def __init__(self, config: MqttConfig, client_id: str, *, clean: bool) -> None:
        version = paho.MQTTv5 if config.version == "5" else paho.MQTTv311
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if config.version == "5" else clean,
            protocol=version,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        self.max_inflight_messages = 0  # whoever publishes keeps to the limit; paho's way is quadratic
        self._taken: set[int] = set()
        """Packet ids of QoS 2 that were handed on and not yet released; a message of such an id is a repetition."""
        self._confirmed: set[int] = set()
        """Those of them that were answered with PUBREC."""

    def _create_socket(self) -> Any:
        return self.channel

    @property
    def outstanding(self) -> int:
        return len(self._out_messages)

    def drop_pending(self) -> None:
        """Forget what is under way."""
        self._out_messages.clear()

    def forget_session(self) -> None:
        """The broker has none: what is under way is published anew, what was received is no repetition."""
        self._taken.clear()
        self._confirmed.clear()
        for message in self._out_messages.values():
            message.state = paho.mqtt_ms_publish
            message.dup = False

    def _messages_reconnect_reset_out(self) -> None:
        # paho forgets at the second attempt to connect that such a message was taken, and sends it as a new one.
        for message in self._out_messages.values():
            if message.state == paho.mqtt_ms_resend_pubrel:
                message.state = paho.mqtt_ms_wait_for_pubcomp
        super()._messages_reconnect_reset_out()

    def _refusal(self) -> tuple[int, str]:
        """The reason code in the packet at hand, and the broker's own words where it has any."""
        packet = self._in_packet["packet"]
        code = packet[2] if len(packet) > 2 else 0
        if code < 0x80 or len(packet) < 4:
            return code, ""
        properties = Properties(PacketTypes.PUBACK)
        with contextlib.suppress(Exception):  # it is only an explanation
            properties.unpack(bytes(packet[3:]))
        return code, str(getattr(properties, "ReasonString", ""))

    def _packet_id(self) -> int:
        return int.from_bytes(self._in_packet["packet"][:2], "big")

    def _settle(self, packet_id: int, code: int, detail: str) -> None:
        if self._out_messages.pop(packet_id, None) is not None:
            self._inflight_messages -= 1
            self.on_ack(packet_id, code, detail)

    def _handle_pubackcomp(self, cmd: Any) -> MQTTErrorCode:
        code, detail = self._refusal()
        # Packet Identifier not found in PUBCOMP: the message was released before, and the answer lost.
        self._settle(self._packet_id(), 0 if cmd == "PUBCOMP" and code == 0x92 else code, detail)
        return OK

    def _handle_pubrec(self) -> MQTTErrorCode:
        code, detail = self._refusal()
        packet_id = self._packet_id()
        if code >= 0x80:
            self._settle(packet_id, code, detail)
            return OK
        message = self._out_messages.get(packet_id)
        if message is not None:
            message.state = paho.mqtt_ms_wait_for_pubcomp
        return self._send_pubrel(packet_id)

    def _handle_publish(self) -> MQTTErrorCode:
        """A message of QoS 2 is handed on when it comes, and what comes again with its packet id is not."""
        header, packet = self._in_packet["command"], bytes(self._in_packet["packet"])
        qos = header >> 1 & 3
        end = 2 + int.from_bytes(packet[:2], "big")
        try:
            topic = packet[2:end].decode()
        except UnicodeDecodeError:
            topic = None
        packet_id = 0
        if qos:
            packet_id = int.from_bytes(packet[end : end + 2], "big")
            end += 2
        properties = _NO_PROPERTIES
        if self._protocol == paho.MQTTv5:
            length, size = VariableByteIntegers.decode(packet[end : end + 4])
            start, end = end, end + size + length
            if length:
                properties = unpack(packet[start:end])
        if end > len(packet) or qos > 2:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        if qos == 2 and packet_id in self._taken:
            return self._send_pubrec(packet_id) if packet_id in self._confirmed else OK
        if qos == 2:
            self._taken.add(packet_id)
        self.on_received(Incoming(topic, packet[end:], qos, bool(header & 1), bool(header & 8), packet_id, properties))
        return OK

    def confirm(self, packet_id: int, qos: int) -> None:
        """Acknowledge a message that is safe."""
        if qos == 1:
            self._send_puback(packet_id)
        elif packet_id in self._taken:
            self._confirmed.add(packet_id)
            self._send_pubrec(packet_id)

    def discard(self, packet_id: int) -> None:
        """Forget a message that was never confirmed: the broker sends it again."""
        self._taken.discard(packet_id)

    def _handle_pubrel(self) -> MQTTErrorCode:
        packet_id = self._packet_id()
        self._taken.discard(packet_id)
        self._confirmed.discard(packet_id)
        return self._send_pubcomp(packet_id)
