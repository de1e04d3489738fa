"""What a wire case is, and the few bricks that cases are written with."""

from __future__ import annotations

from typing import NamedTuple

from broker.packets import Packet


class Case(NamedTuple):
    """``packet`` is what ``wire`` means to a peer of ``version``; without one, ``reason_code`` and ``clause`` say why.

    ``canonical`` is False where our own encoding of ``packet`` is another one.
    """

    name: str
    wire: bytes
    version: int
    packet: Packet | None = None
    reason_code: int | None = None
    clause: str | None = None
    canonical: bool = True

    def __str__(self) -> str:
        return f"v{self.version} {self.name}"


def body(head: int, *parts: bytes) -> bytes:
    """A packet of at most 127 bytes behind its header."""
    rest = b"".join(parts)
    assert len(rest) < 128, "write the remaining length by hand"
    return bytes([head, len(rest)]) + rest


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return bytes([len(raw) >> 8, len(raw) & 0xFF]) + raw


def good(name: str, version: int, packet: Packet, wire: bytes, *, canonical: bool = True) -> Case:
    return Case(name, wire, version, packet, canonical=canonical)


def bad(name: str, version: int, reason_code: int, clause: str, wire: bytes) -> Case:
    return Case(name, wire, version, None, reason_code, clause)


V3, V4, V5 = 3, 4, 5
ALL = (V3, V4, V5)
OLD = (V3, V4)
MQISDP = b"\x00\x06MQIsdp\x03"
MQTT4 = b"\x00\x04MQTT\x04"
MQTT5 = b"\x00\x04MQTT\x05"
HELLO = {V3: MQISDP, V4: MQTT4, V5: MQTT5}
NO_PROPERTIES = {V3: b"", V4: b"", V5: b"\x00"}

USER = b"\x26\x00\x01k\x00\x01v"
REASON = b"\x1f\x00\x03why"
WHY = {"reason_string": "why", "user_properties": [("k", "v"), ("k", "v")]}
WHY_WIRE = b"\x14" + REASON + USER + USER
