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
    """``cert`` (with its chain) and ``key`` are PEM files; ``verify`` is about the certificates of clients."""

    cert: str
    key: str
    client_ca: str | None = None
    verify: Literal["none", "optional", "required"] = "none"

    def __post_init__(self) -> None:
        if self.verify != "none" and self.client_ca is None:
            raise ValueError(f'verify = "{self.verify}" needs client_ca, the file with the CA of the clients')
        if self.verify == "none" and self.client_ca is not None:
            raise ValueError('client_ca is of use with verify = "optional" or "required" only')


class ListenerSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One address to listen on. A client beyond ``max_connections`` is refused and counted."""

    bind: Bind
    type: Literal["tcp", "tls"] = "tcp"
    tls: TlsSettings | None = None
    max_connections: int = 50_000
    max_packet_size: Size = Size(1 << 20)

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
    """What one client, and all of them together, may hold of the broker; every limit that is met is counted.

    ``max_session_expiry`` also is what a persistent session before MQTT 5 gets. ``max_queued_messages`` waits per
    session beyond the ``max_in_flight`` that were sent and not acknowledged. ``receive_maximum`` is how many QoS 1
    and 2 messages an MQTT 5 client may send without an acknowledgement. ``max_keep_alive`` is seconds: MQTT 5 clients
    are told to keep to it. ``max_write_buffer`` is what may wait for a slow consumer before QoS 0 is dropped and
    higher ones stay in its queue; at twice that the connection is closed.
    """

    connect_timeout: Duration = Duration(10 * SECOND)
    max_keep_alive: int = 65_535
    max_sessions: int = 200_000
    max_session_expiry: Duration = Duration(7 * 86_400 * SECOND)
    max_in_flight: int = 100
    receive_maximum: int = 1_000
    max_queued_messages: int = 1_000
    queue_full: Literal["drop_oldest", "drop_new"] = "drop_oldest"
    max_subscriptions: int = 1_000
    topic_alias_maximum: int = 16
    max_retained_messages: int = 100_000
    max_retained_bytes: Size = Size(64 << 20)
    max_write_buffer: Size = Size(1 << 20)
    deny_action: Literal["ignore", "disconnect"] = "ignore"

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
