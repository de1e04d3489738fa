"""What a CONNECT asks for and what it gets: pure functions from the packet and the limits to the terms or a refusal."""

from __future__ import annotations

from typing import Final, NamedTuple

from broker.packets import MQTT_3_1, MQTT_3_1_1, MQTT_5_0, Connect, Properties, ReasonCode, Will
from broker.settings import BrokerLimits
from core.clock import SECOND
from core.errors import PacketError
from core.message import Message, Publisher

PROTOCOLS: Final = {MQTT_3_1: "MQTT/3.1", MQTT_3_1_1: "MQTT/3.1.1", MQTT_5_0: "MQTT/5.0"}
NEVER: Final = 0xFFFF_FFFF
"""The session expiry interval of a session that does not expire (MQTT5 3.1.2.11.2)."""


class Terms(NamedTuple):
    """How a connection is held: times in nanoseconds, 0 for none; ``properties`` are those of its CONNACK."""

    keep_alive: int
    expiry: int
    window: int
    properties: Properties | None


def check_connect(packet: Connect) -> None:
    """Raise PacketError with the code of the CONNACK for a CONNECT that cannot be served whoever sends it."""
    properties = packet.properties or {}
    if "authentication_method" in properties:
        raise PacketError(
            "enhanced authentication is not supported", ReasonCode.BAD_AUTHENTICATION_METHOD, "MQTT-4.12.0-1"
        )
    if packet.client_id:
        return
    if packet.protocol_version == MQTT_3_1 or (packet.protocol_version == MQTT_3_1_1 and not packet.clean_start):
        raise PacketError(
            "an empty client id needs a clean session", ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "MQTT-3.1.3-8"
        )


def capped_expiry(seconds: int, limits: BrokerLimits) -> int:
    """A session expiry interval as nanoseconds within the limit."""
    return limits.max_session_expiry if seconds == NEVER else min(seconds * SECOND, limits.max_session_expiry)


def terms_of(packet: Connect, client_id: str, limits: BrokerLimits, max_packet_size: int) -> Terms:
    """The terms of a CONNECT that :func:`check_connect` passed; ``client_id`` is the one it goes by."""
    keep_alive = packet.keep_alive
    if packet.protocol_version != MQTT_5_0:
        expiry = 0 if packet.clean_start else limits.max_session_expiry
        return Terms(_patience(keep_alive), expiry, limits.max_in_flight, None)
    asked = packet.properties or {}
    seconds = asked.get("session_expiry_interval", 0)
    expiry = capped_expiry(seconds, limits)
    answer: Properties = {"receive_maximum": limits.receive_maximum, "maximum_packet_size": max_packet_size}
    if limits.topic_alias_maximum:
        answer["topic_alias_maximum"] = limits.topic_alias_maximum
    if not limits.max_retained_messages:
        answer["retain_available"] = 0
    if client_id != packet.client_id:
        answer["assigned_client_identifier"] = client_id
    if expiry != seconds * SECOND:
        answer["session_expiry_interval"] = expiry // SECOND
    if limits.max_keep_alive < 65_535 and not 0 < keep_alive <= limits.max_keep_alive:
        answer["server_keep_alive"] = keep_alive = limits.max_keep_alive
    window = min(asked.get("receive_maximum", 65_535), limits.max_in_flight)
    return Terms(_patience(keep_alive), expiry, window, answer)


def _patience(keep_alive: int) -> int:
    """One and a half times the keep-alive in nanoseconds (MQTT-3.1.2-22)."""
    return keep_alive * SECOND * 3 // 2


def will_message(will: Will, publisher: Publisher) -> tuple[Message, int]:
    """The message of a will and its delay in nanoseconds; the time is set when it is published."""
    properties = dict(will.properties or ())
    delay = properties.pop("will_delay_interval", 0)
    message = Message(
        will.topic, will.payload, will.qos, will.retain, properties=properties or None, publisher=publisher
    )
    return message, delay * SECOND
