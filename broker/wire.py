"""The MQTT wire format: bytes in, packets out, and back. The one import door to the codec.

``Decoder`` splits a stream into packets and decodes PUBLISH in place, because that is what nearly every packet is;
other packets go to ``broker.decode``. Invariants: ``feed`` never raises; how a stream is cut into chunks changes
neither packets nor error; nothing larger than ``max_packet_size`` is ever gathered; a topic that leaves here is a
valid topic name. Order, direction and session rules are left to ``broker.connection``.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from broker.decode import decode_body
from broker.encode import (
    PINGREQ,
    PINGRESP,
    connack_return_code,
    encode,
    encode_puback,
    encode_pubcomp,
    encode_publish,
    encode_pubrec,
    encode_pubrel,
)
from broker.fields import cut_short, malformed, protocol_error, read_variable_integer, text_of
from broker.form import bad_topic_name, check_first_byte, no_packet_identifier
from broker.packets import (
    MQTT_5_0,
    Connect,
    Packet,
    PacketType,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    UnsupportedProtocol,
)
from broker.properties import decode_properties
from core.errors import PacketError

__all__ = [
    "PINGREQ",
    "PINGRESP",
    "Decoder",
    "UnsupportedProtocol",
    "connack_return_code",
    "encode",
    "encode_puback",
    "encode_pubcomp",
    "encode_publish",
    "encode_pubrec",
    "encode_pubrel",
]

_MAX_CACHED_TOPICS: Final = 32_768
_MAX_CACHED_TOPIC_BYTES: Final = 256

_PUBLISH: Final = int(PacketType.PUBLISH)

_topics: dict[bytes, str] = {}
"""Topic names that were found valid, shared by all decoders; its size is bounded by the two numbers above."""

_SHORT_ACKS: Final[dict[int, type[PubAck | PubRec | PubRel | PubComp]]] = {
    0x40: PubAck,
    0x50: PubRec,
    0x62: PubRel,
    0x70: PubComp,
}


# By first byte: the QoS of a PUBLISH that is right so far, 3 for every other packet (and, before the version is
# known, for all of them); then its two flags. A lookup costs a fraction of the masks and comparisons it replaces.
_QOS: Final = tuple(
    head >> 1 & 3 if head >> 4 == PacketType.PUBLISH and head & 0b1110 != 0b1000 else 3 for head in range(256)
)
_NO_QOS: Final = (3,) * 256
_RETAIN: Final = tuple(head & 1 == 1 for head in range(256))
_DUP: Final = tuple(head & 8 == 8 for head in range(256))
# By second byte of a remaining length of two: what it adds to the first, -1 where it is not the last or needless.
_UPPER: Final = tuple((byte << 7) - 0x80 if 0 < byte < 0x80 else -1 for byte in range(256))


def _too_large(size: int, limit: int) -> PacketError:
    return PacketError(f"a packet of {size} bytes is larger than {limit}", ReasonCode.PACKET_TOO_LARGE, "MQTT-3.2.2-15")


def _new_topic(raw: bytes, version: int) -> str:
    """Validate a topic name that is not in the cache and put it there; an empty one passes in MQTT 5."""
    topic = text_of(raw, version)
    if not topic:
        if version == MQTT_5_0:
            return topic
        raise bad_topic_name(topic, version)
    if "+" in topic or "#" in topic:
        raise bad_topic_name(topic, version)
    if len(raw) <= _MAX_CACHED_TOPIC_BYTES:
        if len(_topics) >= _MAX_CACHED_TOPICS:
            for old in list(islice(_topics, _MAX_CACHED_TOPICS // 4)):
                _topics.pop(old, None)
        _topics[raw] = topic
    return topic


def _remaining_length(data: bytes, at: int, version: int) -> tuple[int, int]:
    """The remaining length that begins at ``at`` and the offset behind it; (-1, at) while bytes are missing."""
    value = 0
    for count in range(4):
        if at + count >= len(data):
            return -1, at
        byte = data[at + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            if count and not byte and version == MQTT_5_0:
                raise malformed("the remaining length takes more bytes than it needs", "MQTT-1.5.5-1")
            return value, at + count + 1
    raise malformed("the remaining length takes more than four bytes", "MQTT5 1.5.5")


def _publish_properties(data: bytes, at: int, end: int, topic: str) -> tuple[Properties | None, int]:
    """The property section at ``at`` of a PUBLISH that ends at ``end``, and the offset of its payload."""
    if at < end and (length := data[at]) < 0x80:
        start = at + 1
    else:
        length, used = read_variable_integer(data[at : min(at + 4, end)], 0)
        start = at + used
    stop = start + length
    if stop > end:
        raise cut_short()
    properties = decode_properties(data[start:stop], _PUBLISH)
    if not topic and (properties is None or "topic_alias" not in properties):
        raise protocol_error("a PUBLISH has neither a topic name nor a topic alias", "MQTT5 3.3.2.1")
    return properties, stop


class Decoder:
    """One direction of one connection. ``max_packet_size`` is bytes of a whole packet and may be changed between feeds.

    ``version`` None expects a CONNECT first and takes the version from it. After ``error`` is set the stream is
    over: ``feed`` returns nothing any more.
    """

    __slots__ = ("_needed", "_rest", "error", "max_packet_size", "version")

    def __init__(self, max_packet_size: int = 1_048_576, version: int | None = None) -> None:
        self.max_packet_size = max_packet_size
        self.version = version
        self.error: PacketError | None = None
        # The beginning of a packet whose end is still to come, and its whole size (0 until its header is here).
        self._rest: bytes | bytearray = b""
        self._needed = 0

    @property
    def waiting_bytes(self) -> int:
        """How many bytes of an unfinished packet are held."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that ``data`` completes, oldest first; look at ``error`` afterwards."""
        if self.error is not None:
            return []
        rest = self._rest
        if rest:
            if len(rest) + len(data) < self._needed:
                # Gather in place: joining what is there with each chunk would be quadratic in a packet's size.
                if isinstance(rest, bytes):
                    self._rest = rest = bytearray(rest)
                rest += data
                return []
            data = b"".join((rest, data))
            self._rest = b""
        packets: list[Packet] = []
        try:
            self._decode(data, packets)
        except PacketError as error:
            # Its frames would keep the read and this decoder alive in a cycle.
            self.error = error.with_traceback(None)
            self._rest = b""
        return packets

    def _decode(self, data: bytes, packets: list[Packet]) -> None:  # noqa: C901 - calls would cost more than branches
        """Append the whole packets in ``data`` to ``packets`` and keep what is left.

        The hottest loop of the product: PUBLISH is decoded without a call, by offsets into ``data``; the only copies
        are its topic (a key into the cache) and its payload.
        """
        append = packets.append
        cached_topic = _topics.get
        limit = self.max_packet_size
        version = self.version or 0
        qos_of = _QOS if version else _NO_QOS
        retain_of = _RETAIN
        dup_of = _DUP
        upper_of = _UPPER
        five = version == MQTT_5_0
        size = len(data)
        tight = limit < size
        last = size - 1
        at = 0
        needed = 0
        while at < last:
            head = data[at]
            body = at + 2
            length = data[at + 1]
            if length > 0x7F:
                if body < size and (upper := upper_of[data[body]]) >= 0:
                    length += upper
                    body += 1
                else:
                    length, body = _remaining_length(data, at + 1, version)
                    if length < 0:
                        break
            end = body + length
            if end > size or tight:
                if end - at > limit:
                    raise _too_large(end - at, limit)
                if end > size:
                    check_first_byte(head, version)
                    needed = end - at
                    break

            qos = qos_of[head]
            if qos < 3:
                if length < 2:
                    raise cut_short()
                start = body + 2
                stop = start + data[body + 1]
                if data[body]:
                    stop += data[body] << 8
                if stop > end:
                    raise cut_short()
                raw = data[start:stop]
                topic = cached_topic(raw) or _new_topic(raw, version)
                identifier = 0
                if qos:
                    start = stop + 2
                    if start > end:
                        raise cut_short()
                    identifier = data[stop] << 8 | data[stop + 1]
                    if not identifier:
                        raise no_packet_identifier(version)
                    stop = start
                properties = None
                if five:
                    if stop < end and not data[stop] and topic:
                        stop += 1
                    else:
                        properties, stop = _publish_properties(data, stop, end, topic)
                append(Publish(topic, data[stop:end], qos, retain_of[head], dup_of[head], identifier, properties))
            elif length == 2 and version and (ack := _SHORT_ACKS.get(head)) is not None:
                identifier = data[body] << 8 | data[body + 1]
                if not identifier:
                    raise no_packet_identifier(version)
                append(ack(identifier))
            else:
                check_first_byte(head, version)
                packet = decode_body(head, data[body:end], version)
                if isinstance(packet, Connect):
                    self.version = version = packet.protocol_version
                    qos_of = _QOS
                    five = version == MQTT_5_0
                append(packet)
            at = end
        if at < size:
            self._rest = data[at:] if at else data
            self._needed = needed
