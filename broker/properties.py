"""The properties of MQTT 5: one table of identifier, name, type, packets and bounds, and a codec driven by it.

Values by type: integers of one, two or four bytes and variable byte integers are ``int``, strings ``str``, binary
data ``bytes``. Two may come several times and are lists, always: ``user_properties`` of ``(name, value)`` in their
order, and ``subscription_identifier`` of ``int`` (one in SUBSCRIBE, any number in PUBLISH).

Invariants: a decoded property is allowed in its packet, of its type, within its bounds and, those two apart, came
once. What a property means is the business of ``broker.connection`` and ``broker.session``.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Final, NamedTuple

from broker import fields
from broker.fields import malformed, protocol_error
from broker.packets import PacketType, Properties, ReasonCode
from core.errors import PacketError

WILL: Final = 0
"""Stands for the will's properties where others name a packet type (no packet has type 0)."""


class Kind(Enum):
    BYTE = "byte"
    TWO_BYTES = "two byte integer"
    FOUR_BYTES = "four byte integer"
    VARIABLE = "variable byte integer"
    STRING = "UTF-8 encoded string"
    BINARY = "binary data"
    PAIR = "UTF-8 string pair"


class Property(NamedTuple):
    """A row of table 2-4. ``minimum`` and ``maximum`` hold for integers; ``clause`` is that of its bounds or form."""

    identifier: int
    name: str
    kind: Kind
    packets: frozenset[int]
    clause: str
    minimum: int = 0
    maximum: int = 0xFFFF_FFFF


def _table() -> tuple[Property, ...]:
    connect, connack, publish = PacketType.CONNECT, PacketType.CONNACK, PacketType.PUBLISH
    subscribe, disconnect, auth = PacketType.SUBSCRIBE, PacketType.DISCONNECT, PacketType.AUTH
    message = frozenset({publish, WILL})
    opening = frozenset({connect, connack})
    authentication = opening | {auth}
    answer = frozenset({connack})
    everywhere = frozenset(PacketType) - {PacketType.PINGREQ, PacketType.PINGRESP}
    explained = everywhere - {connect, publish, subscribe, PacketType.UNSUBSCRIBE}
    ends = opening | {disconnect}
    byte, two, four, string, binary = Kind.BYTE, Kind.TWO_BYTES, Kind.FOUR_BYTES, Kind.STRING, Kind.BINARY
    return (
        Property(0x01, "payload_format_indicator", byte, message, "MQTT5 3.3.2.3.2", 0, 1),
        Property(0x02, "message_expiry_interval", four, message, "MQTT5 3.3.2.3.3"),
        Property(0x03, "content_type", string, message, "MQTT-3.3.2-19"),
        Property(0x08, "response_topic", string, message, "MQTT-3.3.2-14"),
        Property(0x09, "correlation_data", binary, message, "MQTT5 3.3.2.3.6"),
        Property(
            0x0B,
            "subscription_identifier",
            Kind.VARIABLE,
            frozenset({publish, subscribe}),
            "MQTT5 3.8.2.1.2",
            1,
            fields.MAX_VARIABLE_INTEGER,
        ),
        Property(0x11, "session_expiry_interval", four, ends, "MQTT5 3.1.2.11.2"),
        Property(0x12, "assigned_client_identifier", string, answer, "MQTT5 3.2.2.3.7"),
        Property(0x13, "server_keep_alive", two, answer, "MQTT5 3.2.2.3.14"),
        Property(0x15, "authentication_method", string, authentication, "MQTT5 3.1.2.11.9"),
        Property(0x16, "authentication_data", binary, authentication, "MQTT5 3.1.2.11.10"),
        Property(0x17, "request_problem_information", byte, frozenset({connect}), "MQTT5 3.1.2.11.7", 0, 1),
        Property(0x18, "will_delay_interval", four, frozenset({WILL}), "MQTT5 3.1.3.2.2"),
        Property(0x19, "request_response_information", byte, frozenset({connect}), "MQTT5 3.1.2.11.6", 0, 1),
        Property(0x1A, "response_information", string, answer, "MQTT5 3.2.2.3.15"),
        Property(0x1C, "server_reference", string, frozenset({connack, disconnect}), "MQTT5 3.2.2.3.16"),
        Property(0x1F, "reason_string", string, explained, "MQTT5 3.2.2.3.9"),
        Property(0x21, "receive_maximum", two, opening, "MQTT5 3.1.2.11.3", 1),
        Property(0x22, "topic_alias_maximum", two, opening, "MQTT5 3.1.2.11.5"),
        Property(0x23, "topic_alias", two, frozenset({publish}), "MQTT-3.3.2-8", 1),
        Property(0x24, "maximum_qos", byte, answer, "MQTT5 3.2.2.3.4", 0, 1),
        Property(0x25, "retain_available", byte, answer, "MQTT5 3.2.2.3.5", 0, 1),
        Property(0x26, "user_properties", Kind.PAIR, everywhere | {WILL}, "MQTT-1.5.7-1"),
        Property(0x27, "maximum_packet_size", four, opening, "MQTT5 3.1.2.11.4", 1),
        Property(0x28, "wildcard_subscription_available", byte, answer, "MQTT5 3.2.2.3.11", 0, 1),
        Property(0x29, "subscription_identifier_available", byte, answer, "MQTT5 3.2.2.3.12", 0, 1),
        Property(0x2A, "shared_subscription_available", byte, answer, "MQTT5 3.2.2.3.13", 0, 1),
    )


PROPERTIES: Final = _table()
BY_IDENTIFIER: Final = {row.identifier: row for row in PROPERTIES}
BY_NAME: Final = {row.name: row for row in PROPERTIES}

_LISTS: Final = frozenset({"user_properties", "subscription_identifier"})
_SIZES: Final = {Kind.BYTE: 1, Kind.TWO_BYTES: 2, Kind.FOUR_BYTES: 4}
_READERS: Final[dict[Kind, Callable[[bytes, int], tuple[Any, int]]]] = {
    Kind.BYTE: fields.read_byte,
    Kind.TWO_BYTES: fields.read_two_bytes,
    Kind.FOUR_BYTES: fields.read_four_bytes,
    Kind.VARIABLE: fields.read_variable_integer,
    Kind.STRING: fields.read_string,
    Kind.BINARY: fields.read_binary,
    Kind.PAIR: fields.read_pair,
}


class _Decoding(NamedTuple):
    """What decoding needs of a property in one kind of packet, found out once."""

    name: str
    read: Callable[[bytes, int], tuple[Any, int]]
    in_list: bool
    once: bool
    bounded: bool
    row: Property


def _decoding(row: Property, packet: int) -> _Decoding:
    many = row.kind is Kind.PAIR or (row.name == "subscription_identifier" and packet == PacketType.PUBLISH)
    bounded = row.kind in (Kind.BYTE, Kind.TWO_BYTES, Kind.FOUR_BYTES, Kind.VARIABLE)
    return _Decoding(row.name, _READERS[row.kind], row.name in _LISTS, not many, bounded, row)


_DECODINGS: Final = tuple(
    {row.identifier: _decoding(row, packet) for row in PROPERTIES if packet in row.packets}
    for packet in (WILL, *PacketType)
)


def decode_properties(section: bytes, packet: int) -> Properties | None:
    """The properties in ``section``, the bytes behind the property length, as ``packet`` (or WILL) may carry them."""
    if not section:
        return None
    decodings = _DECODINGS[packet]
    found: Properties = {}
    at = 0
    size = len(section)
    while at < size:
        decoding = decodings.get(section[at])
        if decoding is None:
            raise malformed(f"property {section[at]:#04x} has no place in this packet", "MQTT5 2.2.2.2")
        name, read, in_list, once, bounded, row = decoding
        value, at = read(section, at + 1)
        if once and name in found:
            raise protocol_error(f"{name} comes twice", row.clause)
        if bounded and not row.minimum <= value <= row.maximum:
            raise _out_of_bounds(row, value)
        if not in_list:
            found[name] = value
        elif name in found:
            found[name].append(value)
        else:
            found[name] = [value]
    response_topic = found.get("response_topic")
    if response_topic and ("+" in response_topic or "#" in response_topic):
        raise protocol_error("the response topic contains a wildcard", BY_NAME["response_topic"].clause)
    if "authentication_data" in found and "authentication_method" not in found:
        raise protocol_error("authentication data without a method", BY_NAME["authentication_data"].clause)
    return found


def _out_of_bounds(row: Property, value: int) -> PacketError:
    code = ReasonCode.TOPIC_ALIAS_INVALID if row.name == "topic_alias" else ReasonCode.PROTOCOL_ERROR
    return PacketError(f"{row.name} is {value}, not {row.minimum} to {row.maximum}", code, row.clause)


def encode_properties(properties: Properties | None, packet: int) -> bytes:
    """The whole section with its length (MQTT-2.2.2-1: one zero byte for none).

    PacketError for a name that is none or has no place in ``packet``, and for a value that does not fit its type.
    """
    if not properties:
        return b"\x00"
    parts: list[bytes] = []
    for name, value in properties.items():
        row = BY_NAME.get(name)
        if row is None or packet not in row.packets:
            raise protocol_error(f"property {name!r} has no place in this packet", "MQTT5 2.2.2.2")
        identifier = row.identifier.to_bytes(1)
        for item in value if name in _LISTS else (value,):
            parts.append(identifier)
            parts.append(_encode_value(row, item))
    section = b"".join(parts)
    return fields.write_variable_integer(len(section)) + section


def _encode_value(row: Property, value: Any) -> bytes:
    if row.kind is Kind.PAIR:
        key, text = value
        return fields.write_string(key) + fields.write_string(text)
    if row.kind is Kind.STRING:
        return fields.write_string(value)
    if row.kind is Kind.BINARY:
        return fields.write_binary(value)
    if not row.minimum <= value <= row.maximum:
        raise _out_of_bounds(row, value)
    if row.kind is Kind.VARIABLE:
        return fields.write_variable_integer(value)
    return fields.write_integer(value, _SIZES[row.kind])
