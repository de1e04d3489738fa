"""What is allowed where in a packet: first bytes, packet identifiers, topic names and filters, reason codes.

Each check raises, or each function returns, a PacketError with the reason code that MQTT 5 has for it and the
number of the violated clause in the version that is spoken. ``MQTT5 x.y`` names a section where the rule has no
number; MQTT 3.1 has no numbers at all and gets those of 3.1.1. Properties have a table of their own in
``broker.properties``.
"""

from __future__ import annotations

from typing import Final

from broker.fields import malformed, protocol_error
from broker.packets import MQTT_3_1, MQTT_3_1_1, MQTT_5_0, PacketType, ReasonCode
from core.errors import PacketError, TopicError
from core.topics import split_shared, validate_filter

_FLAGS: Final = {PacketType.PUBREL: 0b0010, PacketType.SUBSCRIBE: 0b0010, PacketType.UNSUBSCRIBE: 0b0010}
_FLAG_CLAUSES: Final = {
    PacketType.PUBREL: "MQTT-3.6.1-1",
    PacketType.SUBSCRIBE: "MQTT-3.8.1-1",
    PacketType.UNSUBSCRIBE: "MQTT-3.10.1-1",
    PacketType.DISCONNECT: "MQTT-3.14.1-1",
    PacketType.AUTH: "MQTT-3.15.1-1",
}

_PUBLISH_CODES: Final = frozenset(b"\x00\x10\x80\x83\x87\x90\x91\x97\x99")
_RELEASE_CODES: Final = frozenset(b"\x00\x92")
_REASON_CODES: Final = {
    PacketType.CONNACK: frozenset(
        b"\x00\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8c\x90\x95\x97\x99\x9a\x9b\x9c\x9d\x9f"
    ),
    PacketType.PUBACK: _PUBLISH_CODES,
    PacketType.PUBREC: _PUBLISH_CODES,
    PacketType.PUBREL: _RELEASE_CODES,
    PacketType.PUBCOMP: _RELEASE_CODES,
    PacketType.SUBACK: frozenset(b"\x00\x01\x02\x80\x83\x87\x8f\x91\x97\x9e\xa1\xa2"),
    PacketType.UNSUBACK: frozenset(b"\x00\x11\x80\x83\x87\x8f\x91"),
    PacketType.DISCONNECT: frozenset(b"\x00\x04\x80\x81\x82\x83\x87\x89\x8b\x8c\x8d\x8e\x8f\x90")
    | {*range(0x93, 0xA3)},
    PacketType.AUTH: frozenset(b"\x00\x18\x19"),
}
_REASON_CLAUSES: Final = {
    PacketType.CONNACK: "MQTT-3.2.2-8",
    PacketType.PUBACK: "MQTT-3.4.2-1",
    PacketType.PUBREC: "MQTT-3.5.2-1",
    PacketType.PUBREL: "MQTT-3.6.2-1",
    PacketType.PUBCOMP: "MQTT-3.7.2-1",
    PacketType.SUBACK: "MQTT-3.9.3-2",
    PacketType.UNSUBACK: "MQTT-3.11.3-2",
    PacketType.DISCONNECT: "MQTT-3.14.2-1",
    PacketType.AUTH: "MQTT-3.15.2-1",
}


def _first_byte_error(head: int, version: int) -> PacketError | None:
    kind = head >> 4
    flags = head & 0x0F
    if kind == 0 or (kind == PacketType.AUTH and version in (MQTT_3_1, MQTT_3_1_1)):
        return malformed(f"there is no packet of type {kind}", "MQTT5 2.1.2")
    if not version and kind != PacketType.CONNECT:
        return protocol_error("the first packet is not a CONNECT", "MQTT-3.1.0-1")
    if kind == PacketType.PUBLISH:
        if flags & 0b0110 == 0b0110:
            return malformed("a PUBLISH has QoS 3", "MQTT-3.3.1-4")
        if flags & 0b1110 == 0b1000:
            return malformed("a PUBLISH of QoS 0 has DUP set", "MQTT-3.3.1-2")
        return None
    packet = PacketType(kind)
    required = _FLAGS.get(packet, 0)
    if flags == required or (version == MQTT_3_1 and required and flags & 0b0111 == required):
        # MQTT 3.1 sends PUBREL, SUBSCRIBE and UNSUBSCRIBE at QoS 1, so that a repeated one has DUP set.
        return None
    general = "MQTT-2.1.3-1" if version in (0, MQTT_5_0) else "MQTT-2.2.2-2"
    return malformed(f"the reserved flags of a {packet.name} are {flags:#06b}", _FLAG_CLAUSES.get(packet, general))


_FIRST_BYTES: Final = {
    version: frozenset(head for head in range(256) if _first_byte_error(head, version) is None)
    for version in (0, MQTT_3_1, MQTT_3_1_1, MQTT_5_0)
}


def check_first_byte(head: int, version: int) -> None:
    """Raise PacketError unless ``head`` can begin a packet of ``version``; 0 (not known yet) takes a CONNECT alone."""
    if head not in _FIRST_BYTES[version]:
        error = _first_byte_error(head, version)
        if error is not None:
            raise error


def no_packet_identifier(version: int) -> PacketError:
    return protocol_error("the packet identifier is 0", "MQTT-2.2.1-3" if version >= MQTT_5_0 else "MQTT-2.3.1-1")


def bad_topic_name(topic: str, version: int) -> PacketError:
    """Why ``topic`` is no topic name: it is empty or has a wildcard."""
    if not topic:
        return PacketError("a topic name is empty", ReasonCode.TOPIC_NAME_INVALID, "MQTT-4.7.3-1")
    clause = "MQTT-3.3.2-2" if version >= MQTT_5_0 else "MQTT-4.7.1-1"
    return PacketError(f"topic name {topic!r} contains a wildcard", ReasonCode.TOPIC_NAME_INVALID, clause)


def _filter_clause(topic_filter: str, version: int) -> str:
    if not topic_filter:
        return "MQTT-4.7.3-1"
    levels = topic_filter.split("/")
    five = version == MQTT_5_0
    if any("#" in level and level != "#" for level in levels) or "#" in levels[:-1]:
        return "MQTT-4.7.1-1" if five else "MQTT-4.7.1-2"
    if any("+" in level and level != "+" for level in levels):
        return "MQTT-4.7.1-2" if five else "MQTT-4.7.1-3"
    return "MQTT-4.8.2-1" if len(levels) < 3 or not levels[1] or not levels[2] else "MQTT-4.8.2-2"


def check_topic_filter(topic_filter: str, version: int) -> None:
    """Raise PacketError unless ``topic_filter`` is one, ``$share/{group}/{filter}`` included (in every version)."""
    try:
        validate_filter(topic_filter)
        split_shared(topic_filter)
    except TopicError as error:
        clause = _filter_clause(topic_filter, version)
        raise PacketError(str(error), ReasonCode.TOPIC_FILTER_INVALID, clause) from None


def check_reason(code: int, packet: PacketType) -> None:
    """Raise PacketError unless MQTT 5 lets ``packet`` carry ``code``."""
    if code not in _REASON_CODES[packet]:
        raise protocol_error(f"{packet.name} has no reason code {code:#04x}", _REASON_CLAUSES[packet])
