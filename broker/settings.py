"""The settings of the broker: one struct for its limits and one per listener.

Each is one TOML section. Durations are nanoseconds and sizes bytes once decoded (``core.settings``); relative paths
start at the folder of the configuration file. Bounds that types cannot express are checked on construction with
ValueError, which msgspec reports with the path to the field.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from core.clock import SECOND
from core.settings import Bind, Duration, Size


class TlsSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Certificates of a listener; relative paths start at the folder of the configuration file."""

    cert: str
    """The server's certificate and those between it and the CA, a PEM file."""
    key: str
    """The private key of that certificate, a PEM file without a password."""
    client_ca: str | None = None
    """The CA whose certificates clients must show, a PEM file."""
    verify: Literal["none", "optional", "required"] = "none"
    """Whether a client is asked for a certificate, and refused without one."""

    def __post_init__(self) -> None:
        if self.verify != "none" and self.client_ca is None:
            raise ValueError(f'verify = "{self.verify}" needs client_ca, the file with the CA of the clients')
        if self.verify == "none" and self.client_ca is not None:
            raise ValueError('client_ca is of use with verify = "optional" or "required" only')


class ListenerSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One address to listen on."""

    bind: Bind
    """Address and port; ``0.0.0.0`` and ``[::]`` are all addresses, port 0 lets the system choose."""
    type: Literal["tcp", "tls"] = "tcp"
    """What the bytes travel in."""
    tls: TlsSettings | None = None
    """Certificates, for ``type = "tls"``."""
    max_connections: int = 50_000
    """A client beyond these is refused and counted."""
    max_packet_size: Size = Size(1 << 20)
    """The largest packet a client may send; MQTT 5 clients are told."""

    def __post_init__(self) -> None:
        if self.type == "tls" and self.tls is None:
            raise ValueError('type = "tls" needs tls = { cert = "...", key = "..." }')
        if self.type == "tcp" and self.tls is not None:
            raise ValueError('tls = { ... } is of use with type = "tls" only')
        if self.max_connections < 1:
            raise ValueError("max_connections must be at least 1")
        if not 64 <= self.max_packet_size <= 268_435_461:
            raise ValueError("max_packet_size must be 64B to 268435461B, the largest packet that MQTT has")


class BrokerLimits(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What one client, and all of them together, may hold of the broker; every limit that is met is counted."""

    connect_timeout: Duration = Duration(10 * SECOND)
    """How long a new connection may take until its CONNECT is complete."""
    max_keep_alive: int = 65_535
    """Seconds; MQTT 5 clients that ask for more are told to keep to it."""
    max_sessions: int = 200_000
    """Sessions, connected or not; beyond them only known clients get in."""
    max_session_expiry: Duration = Duration(7 * 86_400 * SECOND)
    """The longest that a session outlives its connection, and what a persistent one before MQTT 5 gets."""
    max_in_flight: int = 100
    """QoS 1 and 2 messages sent to a client and not yet acknowledged."""
    receive_maximum: int = 1_000
    """QoS 1 and 2 messages that an MQTT 5 client may send without an acknowledgement."""
    max_queued_messages: int = 1_000
    """What waits per session beyond those in flight."""
    queue_full: Literal["drop_oldest", "drop_new"] = "drop_oldest"
    """Which message a full queue loses; it is counted."""
    max_subscriptions: int = 1_000
    """Subscriptions of one session."""
    topic_alias_maximum: int = 16
    """Topic aliases that an MQTT 5 client may use; 0 forbids them."""
    max_retained_messages: int = 100_000
    """Retained messages; one beyond them is refused and counted."""
    max_retained_bytes: Size = Size(64 << 20)
    """Bytes of their topics and payloads."""
    max_write_buffer: Size = Size(1 << 20)
    """Bytes that wait for a slow reader before QoS 0 is dropped and the rest stays in its queue; at twice
    that the connection is closed."""
    deny_action: Literal["ignore", "disconnect"] = "ignore"
    """About a publish that is not allowed: drop it, count it and tell MQTT 5 clients, or close the connection."""

    def __post_init__(self) -> None:
        for name in ("max_in_flight", "receive_maximum", "max_keep_alive"):
            if not 1 <= getattr(self, name) <= 65_535:
                raise ValueError(f"{name} must be 1 to 65535")
        for name in ("connect_timeout", "max_sessions", "max_queued_messages", "max_subscriptions", "max_write_buffer"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if not 0 <= self.topic_alias_maximum <= 65_535:
            raise ValueError("topic_alias_maximum must be 0 to 65535")
        for name in ("max_retained_messages", "max_session_expiry", "max_retained_bytes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
