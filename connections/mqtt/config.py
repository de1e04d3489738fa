"""How a remote MQTT broker is reached, and what its reason codes mean for a message."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from connections.tls import TlsSettings
from core.clock import SECOND
from core.settings import Duration, Secret


class MqttConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One broker. Every sink and source that uses it is a client of its own, with a session of its own."""

    host: str
    """Its name or address, without scheme and port."""
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] | None = None
    """1883, or 8883 with ``tls``."""
    version: Literal["5", "3.1.1"] = "5"
    """With 3.1.1 there are no properties, no reasons for a refusal, and rings of several services do not end."""
    client_id: str = "headrace"
    """What client ids begin with: a sink connects as ``<client_id>-sink-<name>``, a source as
    ``<client_id>-source-<name>``. Give every service that talks to the same broker its own."""
    user: str | None = None
    """Without it we connect anonymously, or as whom our certificate says."""
    password: Secret | None = None
    """``{ env = "NAME" }`` or ``{ file = "path" }``."""
    tls: bool | TlsSettings = False
    """true trusts the system's authorities; a table names others, or our own certificate."""
    keepalive: Duration = Duration(30 * SECOND)
    """A broker that is silent for twice as long is given up and connected to anew."""
    clean_start: bool = False
    """true forgets the session at every connect, and with it what the broker has kept for us meanwhile."""
    session_expiry: Duration = Duration(24 * 3600 * SECOND)
    """How long the broker keeps the session, and what comes for it, while we are away (MQTT 5)."""
    connect_timeout: Duration = Duration(10 * SECOND)
    """For the way to the broker, TLS and its answer together."""
    max_in_flight: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 1_000
    """Messages under way at a time without an acknowledgement, each way; the broker may allow fewer."""


def host_problem(host: str) -> tuple[str, str] | None:
    """What is wrong with a host's name, and the way out; None where nothing is: whether it exists shows later."""
    scheme, found, _ = host.partition("://")
    if found:
        secure = scheme in ("mqtts", "ssl", "wss")
        return f"{host!r} is a URL", f"the name alone, without {scheme}://{', and `tls = true`' if secure else ''}"
    name, found, port = host.partition(":")
    if found and name and port.isdigit():
        return f"{host!r} is more than a host", f"the number goes into `port`: port = {port}"
    if not host or not set(host).isdisjoint("/[]@ \t"):
        return f"{host!r} is no host", "a name or an address, such as broker.example.org or 192.0.2.1"
    return None


Verdict = Literal["done", "again", "slower", "never"]

_VERDICTS: Final[dict[int, Verdict]] = {
    0x90: "never",  # Topic Name invalid
    0x95: "never",  # Packet too large
    0x97: "slower",  # Quota exceeded
    0x99: "never",  # Payload format invalid
    0x9A: "never",  # Retain not supported
    0x9B: "never",  # QoS not supported
}
_WORDS: Final[dict[int, str]] = {
    0x01: "refused: protocol version",
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x82: "protocol error",
    0x83: "refused for a reason of the broker's own",
    0x84: "the broker does not speak this version of MQTT",
    0x85: "client identifier not valid",
    0x86: "bad user name or password",
    0x87: "not authorized",
    0x88: "the broker is unavailable",
    0x89: "the broker is busy",
    0x8A: "banned",
    0x8B: "the broker is shutting down",
    0x8C: "bad authentication method",
    0x8D: "the broker heard nothing for too long",
    0x8E: "another client has connected with this client id",
    0x8F: "topic filter not valid",
    0x90: "topic name not valid",
    0x91: "packet identifier in use",
    0x93: "more messages in flight than the broker takes",
    0x95: "packet too large",
    0x96: "too many messages at a time",
    0x97: "quota exceeded",
    0x98: "disconnected by an administrator",
    0x99: "payload format not valid",
    0x9A: "retained messages are not supported",
    0x9B: "this QoS is not supported",
    0x9C: "use another server",
    0x9D: "the server has moved",
    0x9E: "shared subscriptions are not supported",
    0x9F: "too many connections at a time",
    0xA1: "subscription identifiers are not supported",
    0xA2: "wildcard subscriptions are not supported",
}


def verdict(code: int) -> Verdict:
    """What a reason code of PUBACK, PUBREC or PUBCOMP means for the message."""
    return "done" if code < 0x80 else _VERDICTS.get(code, "again")


def words(code: int, detail: str = "") -> str:
    """A reason code for people; ``detail`` is what the broker itself said."""
    said = f": {detail}" if detail else ""
    return f"{_WORDS.get(code, 'refused')} (0x{code:02X}){said}"
