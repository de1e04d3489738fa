"""The control packets of MQTT 3.1, 3.1.1 and 5.0 as plain values, and the names of their codes.

Invariants: one struct serves all protocol versions; what a version does not have is at its default (reason code 0,
``properties`` None, no subscription options). Properties go by their snake-case names of MQTT 5 table 2-4 (see
``broker.properties``); an absent property section and an empty one are both None. The bytes are the business of
``broker.wire``, who may send what and when that of ``broker.connection``.
"""

from __future__ import annotations

import enum
from typing import Any, ClassVar, Final

import msgspec

from core.errors import PacketError

MQTT_3_1: Final = 3
MQTT_3_1_1: Final = 4
MQTT_5_0: Final = 5

Properties = dict[str, Any]


class PacketType(enum.IntEnum):
    """The four high bits of the first byte (MQTT 5 table 2-1)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


class ReasonCode(enum.IntEnum):
    """Reason codes of MQTT 5 (table 2-6); 0x80 and above are failures."""

    SUCCESS = 0x00
    NORMAL_DISCONNECTION = 0x00
    GRANTED_QOS_0 = 0x00
    GRANTED_QOS_1 = 0x01
    GRANTED_QOS_2 = 0x02
    DISCONNECT_WITH_WILL = 0x04
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    CONTINUE_AUTHENTICATION = 0x18
    RE_AUTHENTICATE = 0x19
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    PACKET_IDENTIFIER_IN_USE = 0x91
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2


class UnsupportedProtocol(PacketError):
    """A CONNECT of a protocol that is none of ours; ``level`` is the protocol level byte as it was seen.

    ``answer_version`` is the version whose CONNACK the peer can read: return code 0x01 before MQTT 5, else 0x84.
    """

    def __init__(self, message: str, level: int, clause: str) -> None:
        super().__init__(message, ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, clause)
        self.level = level

    @property
    def answer_version(self) -> int:
        # Bit 7 marks a bridge (mosquitto's convention) and is no part of the version.
        return MQTT_5_0 if self.level & 0x7F >= MQTT_5_0 else MQTT_3_1_1


class Will(msgspec.Struct, gc=False):
    """The message that CONNECT leaves with the server."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties | None = None


class Connect(msgspec.Struct, gc=False):
    """``keep_alive`` is seconds, 0 for none. ``clean_start`` is the clean-session flag before MQTT 5."""

    packet_type: ClassVar[PacketType] = PacketType.CONNECT

    client_id: str
    protocol_version: int = MQTT_3_1_1
    clean_start: bool = True
    keep_alive: int = 0
    username: str | None = None
    password: bytes | None = None
    will: Will | None = None
    properties: Properties | None = None


class ConnAck(msgspec.Struct, gc=False):
    """``reason_code`` as it is on the wire when decoded (0..5 before MQTT 5); encoding takes either form."""

    packet_type: ClassVar[PacketType] = PacketType.CONNACK

    session_present: bool = False
    reason_code: int = 0
    properties: Properties | None = None


class Publish(msgspec.Struct, gc=False):
    """``packet_id`` is 0 at QoS 0; ``topic`` is empty only where MQTT 5 names it by a ``topic_alias``."""

    packet_type: ClassVar[PacketType] = PacketType.PUBLISH

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    properties: Properties | None = None


class PubAck(msgspec.Struct, gc=False):
    packet_type: ClassVar[PacketType] = PacketType.PUBACK

    packet_id: int
    reason_code: int = 0
    properties: Properties | None = None


class PubRec(msgspec.Struct, gc=False):
    packet_type: ClassVar[PacketType] = PacketType.PUBREC

    packet_id: int
    reason_code: int = 0
    properties: Properties | None = None


class PubRel(msgspec.Struct, gc=False):
    packet_type: ClassVar[PacketType] = PacketType.PUBREL

    packet_id: int
    reason_code: int = 0
    properties: Properties | None = None


class PubComp(msgspec.Struct, gc=False):
    packet_type: ClassVar[PacketType] = PacketType.PUBCOMP

    packet_id: int
    reason_code: int = 0
    properties: Properties | None = None


class Subscription(msgspec.Struct, gc=False):
    """One request of a SUBSCRIBE; the last three are MQTT 5 (``retain_handling`` 0 send, 1 if new, 2 never)."""

    topic_filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


class Subscribe(msgspec.Struct, gc=False):
    packet_type: ClassVar[PacketType] = PacketType.SUBSCRIBE

    packet_id: int
    subscriptions: list[Subscription]
    properties: Properties | None = None


class SubAck(msgspec.Struct, gc=False):
    """One code per subscription of the SUBSCRIBE, in its order."""

    packet_type: ClassVar[PacketType] = PacketType.SUBACK

    packet_id: int
    reason_codes: list[int]
    properties: Properties | None = None


class Unsubscribe(msgspec.Struct, gc=False):
    packet_type: ClassVar[PacketType] = PacketType.UNSUBSCRIBE

    packet_id: int
    topic_filters: list[str]
    properties: Properties | None = None


class UnsubAck(msgspec.Struct, gc=False):
    """``reason_codes`` is empty before MQTT 5."""

    packet_type: ClassVar[PacketType] = PacketType.UNSUBACK

    packet_id: int
    reason_codes: list[int] = []
    properties: Properties | None = None


class PingReq(msgspec.Struct, gc=False):
    packet_type: ClassVar[PacketType] = PacketType.PINGREQ


class PingResp(msgspec.Struct, gc=False):
    packet_type: ClassVar[PacketType] = PacketType.PINGRESP


class Disconnect(msgspec.Struct, gc=False):
    packet_type: ClassVar[PacketType] = PacketType.DISCONNECT

    reason_code: int = 0
    properties: Properties | None = None


class Auth(msgspec.Struct, gc=False):
    """MQTT 5 only."""

    packet_type: ClassVar[PacketType] = PacketType.AUTH

    reason_code: int = 0
    properties: Properties | None = None


Packet = (
    Connect
    | ConnAck
    | Publish
    | PubAck
    | PubRec
    | PubRel
    | PubComp
    | Subscribe
    | SubAck
    | Unsubscribe
    | UnsubAck
    | PingReq
    | PingResp
    | Disconnect
    | Auth
)

SERVER_ONLY: Final = (ConnAck, SubAck, UnsubAck, PingResp)
"""Packets that a client must never send."""

CLIENT_ONLY: Final = (Connect, Subscribe, Unsubscribe, PingReq)
"""Packets that a server must never send; DISCONNECT is a client's only before MQTT 5."""
