"""From packet structs to bytes, in the form of the receiver's protocol version.

Invariants: what is returned is one whole packet that a decoder of that version can read. What a version cannot
express is left out (properties, subscription options and reason codes before MQTT 5), so that one packet may go to
clients of any version; CONNACK and SUBACK codes of MQTT 5 become the nearest ones of 3.1.1. PacketError where a
value does not fit its field. The receiver's maximum packet size is checked by whoever sends.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from struct import Struct
from typing import Any, Final

from broker.fields import (
    MAX_VARIABLE_INTEGER,
    malformed,
    write_binary,
    write_integer,
    write_string,
    write_variable_integer,
)
from broker.form import no_packet_identifier
from broker.packets import (
    MQTT_3_1,
    MQTT_5_0,
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PacketType,
    PingReq,
    PingResp,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)
from broker.properties import WILL, encode_properties
from core.errors import PacketError

_pack_ack = Struct(">BBH").pack
_pack_short = Struct(">BBH").pack
_pack_long = Struct(">BBBH").pack

encode_puback: Callable[[int], bytes] = partial(_pack_ack, 0x40, 2)
"""Packet identifier (1..65535, not checked here) -> PUBACK with success, the same bytes in every version."""
encode_pubrec: Callable[[int], bytes] = partial(_pack_ack, 0x50, 2)
encode_pubrel: Callable[[int], bytes] = partial(_pack_ack, 0x62, 2)
encode_pubcomp: Callable[[int], bytes] = partial(_pack_ack, 0x70, 2)

PINGREQ: Final = b"\xc0\x00"
PINGRESP: Final = b"\xd0\x00"

_RETURN_CODES: Final[dict[int, int]] = {
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION: 1,
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID: 2,
    ReasonCode.BAD_USER_NAME_OR_PASSWORD: 4,
    ReasonCode.BAD_AUTHENTICATION_METHOD: 4,
    ReasonCode.NOT_AUTHORIZED: 5,
    ReasonCode.BANNED: 5,
}
_SERVER_UNAVAILABLE: Final = 3

# An attribute of an enum costs more than the rest of some functions here.
_PUBLISH: Final = int(PacketType.PUBLISH)


def encode_publish(
    topic: bytes,
    payload: bytes,
    qos: int = 0,
    retain: bool = False,
    dup: bool = False,
    packet_id: int = 0,
    properties: Properties | None = None,
    version: int = 4,
) -> bytes:
    """A PUBLISH; ``topic`` is a valid topic name in UTF-8 (empty with a topic alias). The fan-out's hot path.

    The caller gives a packet identifier exactly where ``qos`` is not 0 (struct.error where it is out of range).
    """
    if version == MQTT_5_0:
        section = encode_properties(properties, _PUBLISH) if properties else b"\x00"
    else:
        section = b""
    topic_length = len(topic)
    if qos:
        head = 0x30 | qos << 1 | retain | dup << 3
        section = packet_id.to_bytes(2) + section
    else:
        head = 0x31 if retain else 0x30
    length = 2 + topic_length + len(section) + len(payload)
    if length < 0x80:
        return _pack_short(head, length, topic_length) + topic + section + payload
    if length < 0x4000:
        return b"".join((_pack_long(head, length & 0x7F | 0x80, length >> 7, topic_length), topic, section, payload))
    return b"".join((_header(head, length), topic_length.to_bytes(2), topic, section, payload))


def encode(packet: Packet, version: int) -> bytes:
    """The bytes of any packet for a peer of protocol ``version`` (a CONNECT names its own)."""
    return _ENCODERS[type(packet)](packet, version)


def _header(head: int, length: int) -> bytes:
    if length > MAX_VARIABLE_INTEGER:
        raise PacketError(f"a packet of {length} bytes cannot be sent", ReasonCode.PACKET_TOO_LARGE, "MQTT5 2.1.4")
    return head.to_bytes(1) + write_variable_integer(length)


def _packet(head: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return _header(head, len(body)) + body


def _packet_identifier(identifier: int, version: int) -> bytes:
    if not identifier:
        raise no_packet_identifier(version)
    return write_integer(identifier, 2)


def _properties(properties: Properties | None, packet: int, version: int) -> bytes:
    return encode_properties(properties, packet) if version == MQTT_5_0 else b""


def _qos(qos: int) -> int:
    if not 0 <= qos <= 2:
        raise malformed(f"there is no QoS {qos}", "MQTT-3.3.1-4")
    return qos


def _connect(packet: Connect, _: int) -> bytes:
    version = packet.protocol_version
    flags = 0x02 if packet.clean_start else 0
    payload = [write_string(packet.client_id)]
    if packet.will is not None:
        will = packet.will
        flags |= 0x04 | _qos(will.qos) << 3 | (0x20 if will.retain else 0)
        payload.append(_properties(will.properties, WILL, version))
        payload.append(write_string(will.topic))
        payload.append(write_binary(will.payload))
    if packet.username is not None:
        flags |= 0x80
        payload.append(write_string(packet.username))
    if packet.password is not None:
        if packet.username is None and version != MQTT_5_0:
            raise malformed("there is a password without a user name", "MQTT-3.1.2-22")
        flags |= 0x40
        payload.append(write_binary(packet.password))
    return _packet(
        0x10,
        b"\x00\x06MQIsdp" if version == MQTT_3_1 else b"\x00\x04MQTT",
        bytes((version, flags)),
        write_integer(packet.keep_alive, 2),
        _properties(packet.properties, PacketType.CONNECT, version),
        *payload,
    )


def connack_return_code(reason_code: int) -> int:
    """What says ``reason_code`` best in MQTT 3.1.1 (table 3.1 there); its own codes 0 to 5 stay as they are."""
    if reason_code < 0x80:
        return reason_code
    return _RETURN_CODES.get(reason_code, _SERVER_UNAVAILABLE)


def _connack(packet: ConnAck, version: int) -> bytes:
    code = packet.reason_code if version == MQTT_5_0 else connack_return_code(packet.reason_code)
    return _packet(
        0x20,
        b"\x01" if packet.session_present else b"\x00",
        write_integer(code, 1),
        _properties(packet.properties, PacketType.CONNACK, version),
    )


def _publish(packet: Publish, version: int) -> bytes:
    if _qos(packet.qos):
        if not 0 < packet.packet_id <= 0xFFFF:
            raise no_packet_identifier(version)
    elif packet.dup:
        raise malformed("a PUBLISH of QoS 0 has DUP set", "MQTT-3.3.1-2")
    return encode_publish(
        write_string(packet.topic)[2:],
        packet.payload,
        packet.qos,
        packet.retain,
        packet.dup,
        packet.packet_id,
        packet.properties,
        version,
    )


def _reason_and_properties(code: int, properties: Properties | None, packet: PacketType, version: int) -> bytes:
    """Both, the reason code alone, or nothing: the shortest that says it (MQTT 5 sections 3.4.2.1, 3.14.2.1)."""
    if version != MQTT_5_0 or (not code and not properties):
        return b""
    reason = write_integer(code, 1)
    # AUTH is the one packet that may not leave out the property length alone (section 3.15.2.1).
    return reason + encode_properties(properties, packet) if properties or packet == PacketType.AUTH else reason


def _acknowledgement(packet: PubAck | PubRec | PubRel | PubComp, version: int) -> bytes:
    kind = packet.packet_type
    return _packet(
        0x62 if kind == PacketType.PUBREL else kind << 4,
        _packet_identifier(packet.packet_id, version),
        _reason_and_properties(packet.reason_code, packet.properties, kind, version),
    )


def _subscribe(packet: Subscribe, version: int) -> bytes:
    parts = [
        _packet_identifier(packet.packet_id, version),
        _properties(packet.properties, PacketType.SUBSCRIBE, version),
    ]
    if not packet.subscriptions:
        raise malformed("a SUBSCRIBE asks for nothing", "MQTT-3.8.3-2")
    for subscription in packet.subscriptions:
        options = _qos(subscription.qos)
        if version == MQTT_5_0:
            options |= subscription.no_local << 2 | subscription.retain_as_published << 3
            options |= subscription.retain_handling << 4
        parts.append(write_string(subscription.topic_filter))
        parts.append(write_integer(options, 1))
    return _packet(0x82, *parts)


def _suback(packet: SubAck, version: int) -> bytes:
    codes = packet.reason_codes
    if version != MQTT_5_0:
        codes = [min(code, 0x80) for code in codes]
    return _packet(
        0x90,
        _packet_identifier(packet.packet_id, version),
        _properties(packet.properties, PacketType.SUBACK, version),
        _codes(codes),
    )


def _codes(codes: list[int]) -> bytes:
    try:
        return bytes(codes)
    except ValueError:
        raise malformed("a reason code does not fit into a byte", "MQTT5 2.4") from None


def _unsubscribe(packet: Unsubscribe, version: int) -> bytes:
    if not packet.topic_filters:
        raise malformed("an UNSUBSCRIBE names nothing", "MQTT-3.10.3-2")
    return _packet(
        0xA2,
        _packet_identifier(packet.packet_id, version),
        _properties(packet.properties, PacketType.UNSUBSCRIBE, version),
        *map(write_string, packet.topic_filters),
    )


def _unsuback(packet: UnsubAck, version: int) -> bytes:
    return _packet(
        0xB0,
        _packet_identifier(packet.packet_id, version),
        _properties(packet.properties, PacketType.UNSUBACK, version),
        _codes(packet.reason_codes) if version == MQTT_5_0 else b"",
    )


def _pingreq(_: PingReq, __: int) -> bytes:
    return PINGREQ


def _pingresp(_: PingResp, __: int) -> bytes:
    return PINGRESP


def _disconnect(packet: Disconnect, version: int) -> bytes:
    return _packet(0xE0, _reason_and_properties(packet.reason_code, packet.properties, PacketType.DISCONNECT, version))


def _auth(packet: Auth, version: int) -> bytes:
    if version != MQTT_5_0:
        raise malformed("there is no AUTH before MQTT 5", "MQTT5 2.1.2")
    return _packet(0xF0, _reason_and_properties(packet.reason_code, packet.properties, PacketType.AUTH, version))


_ENCODERS: Final[dict[type[Packet], Callable[[Any, int], bytes]]] = {
    Connect: _connect,
    ConnAck: _connack,
    Publish: _publish,
    PubAck: _acknowledgement,
    PubRec: _acknowledgement,
    PubRel: _acknowledgement,
    PubComp: _acknowledgement,
    Subscribe: _subscribe,
    SubAck: _suback,
    Unsubscribe: _unsubscribe,
    UnsubAck: _unsuback,
    PingReq: _pingreq,
    PingResp: _pingresp,
    Disconnect: _disconnect,
    Auth: _auth,
}
