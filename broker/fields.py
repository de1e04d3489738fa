"""The data types inside MQTT packets: integers, strings, binary data and variable byte integers, both ways.

Readers take the bytes of one packet and an offset and return the value and the offset behind it; they raise
PacketError, never IndexError, and allocate nothing before its length is known to lie inside the packet. Which field
stands where is the business of ``broker.decode``, ``broker.encode`` and ``broker.properties``.
"""

from __future__ import annotations

from typing import Final

from broker.packets import MQTT_5_0, ReasonCode
from core.errors import PacketError

MAX_VARIABLE_INTEGER: Final = 268_435_455


def malformed(message: str, clause: str | None) -> PacketError:
    return PacketError(message, ReasonCode.MALFORMED_PACKET, clause)


def protocol_error(message: str, clause: str | None) -> PacketError:
    return PacketError(message, ReasonCode.PROTOCOL_ERROR, clause)


def cut_short() -> PacketError:
    """The error of a packet whose fields need more bytes than its remaining length announced."""
    return malformed("the packet ends inside a field", "MQTT5 2.1.4")


def read_byte(data: bytes, at: int) -> tuple[int, int]:
    if at >= len(data):
        raise cut_short()
    return data[at], at + 1


def read_two_bytes(data: bytes, at: int) -> tuple[int, int]:
    end = at + 2
    if end > len(data):
        raise cut_short()
    return data[at] << 8 | data[at + 1], end


def read_four_bytes(data: bytes, at: int) -> tuple[int, int]:
    end = at + 4
    if end > len(data):
        raise cut_short()
    return data[at] << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3], end


def read_variable_integer(data: bytes, at: int) -> tuple[int, int]:
    """Inside an MQTT 5 packet: at most four bytes, and no more than the value needs (MQTT-1.5.5-1)."""
    value = shift = 0
    while True:
        if at >= len(data):
            raise cut_short()
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if shift and not byte:
                raise malformed("a variable byte integer is longer than it needs to be", "MQTT-1.5.5-1")
            return value, at
        shift += 7
        if shift == 28:
            raise malformed("a variable byte integer takes more than four bytes", "MQTT5 1.5.5")


def read_binary(data: bytes, at: int) -> tuple[bytes, int]:
    start = at + 2
    if start > len(data):
        raise cut_short()
    end = start + (data[at] << 8 | data[at + 1])
    if end > len(data):
        raise cut_short()
    return data[start:end], end


def read_string(data: bytes, at: int, version: int = MQTT_5_0) -> tuple[str, int]:
    raw, at = read_binary(data, at)
    return text_of(raw, version), at


def read_pair(data: bytes, at: int) -> tuple[tuple[str, str], int]:
    name, at = read_string(data, at)
    value, at = read_string(data, at)
    return (name, value), at


def text_of(raw: bytes, version: int) -> str:
    """The text of a UTF-8 encoded string: well-formed, no surrogates, no U+0000; a BOM stays what it is."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise malformed("a string is not UTF-8", "MQTT-1.5.4-1" if version >= MQTT_5_0 else "MQTT-1.5.3-1") from None
    if "\0" in text:
        raise malformed("a string contains U+0000", "MQTT-1.5.4-2" if version >= MQTT_5_0 else "MQTT-1.5.3-2")
    return text


def write_variable_integer(value: int) -> bytes:
    if value < 0x80:
        if value < 0:
            raise malformed(f"{value} is no variable byte integer", "MQTT5 1.5.5")
        return value.to_bytes(1)
    if value > MAX_VARIABLE_INTEGER:
        raise PacketError(f"{value} exceeds {MAX_VARIABLE_INTEGER}", ReasonCode.PACKET_TOO_LARGE, "MQTT5 1.5.5")
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def write_integer(value: int, size: int) -> bytes:
    try:
        return value.to_bytes(size)
    except OverflowError:
        raise malformed(f"{value} does not fit into {size} bytes", "MQTT5 1.5") from None


def write_binary(value: bytes) -> bytes:
    if len(value) > 0xFFFF:
        raise malformed(f"a field of {len(value)} bytes is longer than 65535", "MQTT5 1.5.6")
    return len(value).to_bytes(2) + value


def write_string(value: str) -> bytes:
    if "\0" in value:
        raise malformed("a string contains U+0000", "MQTT-1.5.4-2")
    try:
        return write_binary(value.encode())
    except UnicodeEncodeError:
        raise malformed("a string contains a surrogate", "MQTT-1.5.4-1") from None
