"""From the bytes of one whole packet to its struct, for every packet but PUBLISH (which ``broker.wire`` inlines).

Invariants: a packet that is returned obeys the rules of its own version on form: flags, reserved bits, identifiers,
strings, topic names and filters, reason codes, properties, nothing missing and nothing left over. Everything else
raises PacketError with reason code and clause (``broker.form``). What depends on more than one packet (order,
direction, session) is left to ``broker.connection``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from broker.fields import (
    cut_short,
    malformed,
    protocol_error,
    read_binary,
    read_byte,
    read_string,
    read_two_bytes,
    read_variable_integer,
)
from broker.form import bad_topic_name, check_reason, check_topic_filter, no_packet_identifier
from broker.packets import (
    MQTT_3_1,
    MQTT_3_1_1,
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
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    UnsupportedProtocol,
    Will,
)
from broker.properties import WILL, decode_properties

_LEVELS: Final = {(b"MQIsdp", 3): MQTT_3_1, (b"MQTT", 4): MQTT_3_1_1, (b"MQTT", 5): MQTT_5_0}


def decode_body(head: int, body: bytes, version: int) -> Packet:
    """The packet with first byte ``head`` (checked, not a PUBLISH) and ``body`` behind its remaining length."""
    return _DECODERS[head >> 4](body, version)


def _finish(body: bytes, at: int) -> None:
    if at != len(body):
        raise malformed(f"{len(body) - at} bytes are left behind the last field", "MQTT5 2.1.4")


def _packet_identifier(body: bytes, version: int) -> tuple[int, int]:
    identifier, at = read_two_bytes(body, 0)
    if not identifier:
        raise no_packet_identifier(version)
    return identifier, at


def _properties(body: bytes, at: int, packet: int) -> tuple[Properties | None, int]:
    length, at = read_variable_integer(body, at)
    end = at + length
    if end > len(body):
        raise cut_short()
    return decode_properties(body[at:end], packet), end


def _connect(body: bytes, _: int) -> Connect:
    name, at = read_binary(body, 0)
    level, at = read_byte(body, at)
    version = _LEVELS.get((name, level))
    if version is None:
        known = name in (b"MQTT", b"MQIsdp")
        raise UnsupportedProtocol(
            f"protocol {name[:16]!r} level {level} is not supported", level, "MQTT-3.1.2-2" if known else "MQTT-3.1.2-1"
        )
    flags, at = read_byte(body, at)
    _check_connect_flags(flags, version)
    keep_alive, at = read_two_bytes(body, at)
    properties: Properties | None = None
    if version == MQTT_5_0:
        properties, at = _properties(body, at, PacketType.CONNECT)
    client_id, at = read_string(body, at, version)
    will: Will | None = None
    if flags & 0x04:
        will, at = _will(body, at, flags, version)
    username: str | None = None
    password: bytes | None = None
    # In MQTT 3.1 the remaining length goes before the flags: a missing field is no error (section 3.1 there).
    if flags & 0x80 and not (version == MQTT_3_1 and at == len(body)):
        username, at = read_string(body, at, version)
    if flags & 0x40 and not (version == MQTT_3_1 and at == len(body)):
        password, at = read_binary(body, at)
    _finish(body, at)
    return Connect(client_id, version, bool(flags & 0x02), keep_alive, username, password, will, properties)


def _check_connect_flags(flags: int, version: int) -> None:
    five = version == MQTT_5_0
    if flags & 0x01 and version != MQTT_3_1:
        raise malformed("the reserved flag of CONNECT is set", "MQTT-3.1.2-3")
    if flags & 0x04:
        if flags & 0x18 == 0x18:
            raise malformed("the will has QoS 3", "MQTT-3.1.2-12" if five else "MQTT-3.1.2-14")
    elif flags & 0x18:
        raise malformed("there is a will QoS without a will", "MQTT-3.1.2-11" if five else "MQTT-3.1.2-13")
    elif flags & 0x20:
        raise malformed("there is a will retain flag without a will", "MQTT-3.1.2-13" if five else "MQTT-3.1.2-15")
    if flags & 0xC0 == 0x40 and not five:
        raise malformed("there is a password without a user name", "MQTT-3.1.2-22")


def _will(body: bytes, at: int, flags: int, version: int) -> tuple[Will, int]:
    properties: Properties | None = None
    if version == MQTT_5_0:
        properties, at = _properties(body, at, WILL)
    topic, at = read_string(body, at, version)
    if not topic or "+" in topic or "#" in topic:
        raise bad_topic_name(topic, version)
    payload, at = read_binary(body, at)
    return Will(topic, payload, flags >> 3 & 3, bool(flags & 0x20), properties), at


def _connack(body: bytes, version: int) -> ConnAck:
    flags, at = read_byte(body, 0)
    code, at = read_byte(body, at)
    properties: Properties | None = None
    if version == MQTT_5_0:
        check_reason(code, PacketType.CONNACK)
        properties, at = _properties(body, at, PacketType.CONNACK)
    elif code > 5:
        raise protocol_error(f"return code {code} is reserved", "MQTT 3.1.1 3.2.2.3")
    _finish(body, at)
    if flags > 1:
        raise malformed("reserved flags of CONNACK are set", "MQTT-3.2.2-1")
    if flags and code:
        clause = "MQTT-3.2.2-6" if version == MQTT_5_0 else "MQTT-3.2.2-4"
        raise protocol_error("a refused connection has a session present", clause)
    return ConnAck(bool(flags), code, properties)


def _reason_and_properties(body: bytes, at: int, version: int, packet: PacketType) -> tuple[int, Properties | None]:
    """What ends most packets of MQTT 5: both, the reason code alone, or nothing."""
    if version != MQTT_5_0 or at == len(body):
        _finish(body, at)
        return 0, None
    code = body[at]
    check_reason(code, packet)
    properties: Properties | None = None
    at += 1
    if at < len(body):
        properties, at = _properties(body, at, packet)
    _finish(body, at)
    return code, properties


def _acknowledgement(kind: type[PubAck | PubRec | PubRel | PubComp]) -> Callable[[bytes, int], Packet]:
    def decode(body: bytes, version: int) -> Packet:
        identifier, at = _packet_identifier(body, version)
        code, properties = _reason_and_properties(body, at, version, kind.packet_type)
        return kind(identifier, code, properties)

    return decode


def _topic_filter(body: bytes, at: int, version: int) -> tuple[str, int]:
    text, at = read_string(body, at, version)
    check_topic_filter(text, version)
    return text, at


def _subscribe(body: bytes, version: int) -> Subscribe:
    identifier, at = _packet_identifier(body, version)
    five = version == MQTT_5_0
    properties: Properties | None = None
    if five:
        properties, at = _properties(body, at, PacketType.SUBSCRIBE)
    subscriptions: list[Subscription] = []
    while at < len(body):
        topic_filter, at = _topic_filter(body, at, version)
        options, at = read_byte(body, at)
        subscriptions.append(_subscription(topic_filter, options, version))
    if not subscriptions:
        raise protocol_error("a SUBSCRIBE asks for nothing", "MQTT-3.8.3-2" if five else "MQTT-3.8.3-3")
    return Subscribe(identifier, subscriptions, properties)


def _subscription(topic_filter: str, options: int, version: int) -> Subscription:
    qos = options & 3
    if version != MQTT_5_0:
        # MQTT 3.1 calls the upper bits "not used", which asks nothing of a sender.
        if qos == 3 or (options > 3 and version == MQTT_3_1_1):
            raise malformed(f"the requested QoS is {options:#04x}", "MQTT-3.8.3-4")
        return Subscription(topic_filter, qos)
    if options & 0xC0:
        raise malformed("reserved bits of the subscription options are set", "MQTT-3.8.3-5")
    if qos == 3:
        raise protocol_error("the requested QoS is 3", "MQTT5 3.8.3.1")
    if options & 0x30 == 0x30:
        raise protocol_error("retain handling is 3", "MQTT5 3.8.3.1")
    if options & 0x04 and topic_filter.startswith("$share/"):
        raise protocol_error("a shared subscription has no-local set", "MQTT-3.8.3-4")
    return Subscription(topic_filter, qos, bool(options & 0x04), bool(options & 0x08), options >> 4)


def _suback(body: bytes, version: int) -> SubAck:
    identifier, at = _packet_identifier(body, version)
    properties: Properties | None = None
    if version == MQTT_5_0:
        properties, at = _properties(body, at, PacketType.SUBACK)
    codes = list(body[at:])
    if not codes:
        raise protocol_error("a SUBACK answers nothing", "MQTT-3.9.3-1")
    for code in codes:
        if version == MQTT_5_0:
            check_reason(code, PacketType.SUBACK)
        elif code > 2 and code != 0x80:
            raise protocol_error(f"SUBACK has no return code {code:#04x}", "MQTT-3.9.3-2")
    return SubAck(identifier, codes, properties)


def _unsubscribe(body: bytes, version: int) -> Unsubscribe:
    identifier, at = _packet_identifier(body, version)
    properties: Properties | None = None
    if version == MQTT_5_0:
        properties, at = _properties(body, at, PacketType.UNSUBSCRIBE)
    topic_filters: list[str] = []
    while at < len(body):
        topic_filter, at = _topic_filter(body, at, version)
        topic_filters.append(topic_filter)
    if not topic_filters:
        raise protocol_error("an UNSUBSCRIBE names nothing", "MQTT-3.10.3-2")
    return Unsubscribe(identifier, topic_filters, properties)


def _unsuback(body: bytes, version: int) -> UnsubAck:
    identifier, at = _packet_identifier(body, version)
    if version != MQTT_5_0:
        _finish(body, at)
        return UnsubAck(identifier, [])
    properties, at = _properties(body, at, PacketType.UNSUBACK)
    codes = list(body[at:])
    if not codes:
        raise protocol_error("an UNSUBACK answers nothing", "MQTT-3.11.3-1")
    for code in codes:
        check_reason(code, PacketType.UNSUBACK)
    return UnsubAck(identifier, codes, properties)


def _pingreq(body: bytes, _: int) -> PingReq:
    _finish(body, 0)
    return PingReq()


def _pingresp(body: bytes, _: int) -> PingResp:
    _finish(body, 0)
    return PingResp()


def _disconnect(body: bytes, version: int) -> Disconnect:
    return Disconnect(*_reason_and_properties(body, 0, version, PacketType.DISCONNECT))


def _auth(body: bytes, version: int) -> Auth:
    return Auth(*_reason_and_properties(body, 0, version, PacketType.AUTH))


_DECODERS: Final[dict[int, Callable[[bytes, int], Packet]]] = {
    PacketType.CONNECT: _connect,
    PacketType.CONNACK: _connack,
    PacketType.PUBACK: _acknowledgement(PubAck),
    PacketType.PUBREC: _acknowledgement(PubRec),
    PacketType.PUBREL: _acknowledgement(PubRel),
    PacketType.PUBCOMP: _acknowledgement(PubComp),
    PacketType.SUBSCRIBE: _subscribe,
    PacketType.SUBACK: _suback,
    PacketType.UNSUBSCRIBE: _unsubscribe,
    PacketType.UNSUBACK: _unsuback,
    PacketType.PINGREQ: _pingreq,
    PacketType.PINGRESP: _pingresp,
    PacketType.DISCONNECT: _disconnect,
    PacketType.AUTH: _auth,
}
