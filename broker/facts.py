"""What is known of clients and messages, named as the columns of events are (``core.events``), and words for reasons.

Pure functions. What is not known is left out, never made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from broker.encode import connack_return_code
from broker.handshake import terms_of
from broker.packets import MQTT_3_1, MQTT_5_0, ReasonCode
from broker.settings import BrokerLimits
from core.clock import MILLISECOND, SECOND
from core.events import CONNACK_WORDS_3
from core.message import Publisher

if TYPE_CHECKING:
    from broker.connection import Connection
    from broker.outgoing import Outgoing
    from broker.session import Session

_WORDS: Final = {
    ReasonCode.SUCCESS: "success",
    ReasonCode.BAD_USER_NAME_OR_PASSWORD: "bad_username_or_password",
    ReasonCode.DISCONNECT_WITH_WILL: "disconnect_with_will_message",
    ReasonCode.KEEP_ALIVE_TIMEOUT: "keepalive_timeout",
    ReasonCode.PACKET_IDENTIFIER_IN_USE: "packet_identifier_inuse",
}
_CLOSED_BY_US: Final = {
    ReasonCode.ADMINISTRATIVE_ACTION: "kicked",
    ReasonCode.SESSION_TAKEN_OVER: "takenover",
    ReasonCode.UNSPECIFIED_ERROR: "internal_error",
}


class Origin(NamedTuple):
    """What is kept of the message that an ``Outgoing`` is made of, while a rule reads of deliveries."""

    identity: str
    publisher: Publisher
    received_ns: int


def word(code: int) -> str:
    """The word of EMQX for a reason code of MQTT 5."""
    reason = ReasonCode(code)
    return _WORDS.get(reason) or reason.name.lower()


def end_word(code: int) -> str:
    """The word for a connection that we closed with this reason."""
    return _CLOSED_BY_US.get(ReasonCode(code)) or word(code)


def left_word(code: int) -> str:
    """The word for a connection that the client ended with a DISCONNECT."""
    return word(code) if code else "normal"


def answer_word(code: int, version: int) -> str:
    """The word for a CONNACK, by what a client of this version can be told."""
    return word(code) if version == MQTT_5_0 else CONNACK_WORDS_3[connack_return_code(code)]


def of_client(publisher: Publisher) -> dict[str, Any]:
    if publisher.username is None:
        return {"clientid": publisher.client_id}
    return {"clientid": publisher.client_id, "username": publisher.username}


def of_peer(publisher: Publisher) -> dict[str, Any]:
    columns = of_client(publisher)
    if publisher.peer_host:
        columns["peerhost"] = publisher.peer_host
        columns["peername"] = publisher.peer_name
    return columns


def of_link(connection: Connection) -> dict[str, Any]:
    """Who it is, from where to where, and what it speaks; a CONNECT that could not be read says nothing of that."""
    publisher = connection.publisher
    columns: dict[str, Any] = {}
    if connection.request is not None:
        columns = of_client(publisher)
        columns["proto_name"] = "MQIsdp" if connection.version == MQTT_3_1 else "MQTT"
        columns["proto_ver"] = connection.version
    if publisher.peer_host:
        columns["peername"] = publisher.peer_name
    if connection.sockname:
        columns["sockname"] = connection.sockname
    return columns


def of_terms(connection: Connection, limits: BrokerLimits) -> dict[str, Any]:
    """What a CONNECT asked for, as it holds."""
    request = connection.request
    if request is None:
        return {}
    session = connection.session
    terms = terms_of(request, connection.publisher.client_id, limits, 0)
    return {
        "clean_start": request.clean_start,
        "keepalive": terms.keep_alive * 2 // 3 // SECOND,
        "expiry_interval": (terms.expiry if session is None else session.expiry) // SECOND,
        "conn_props": request.properties,
    }


def of_content(
    topic: str, payload: bytes, qos: int, properties: Mapping[str, Any] | None, retain: bool, dup: bool
) -> dict[str, Any]:
    return {
        "topic": topic,
        "payload": payload,
        "qos": qos,
        "pub_props": properties,
        "flags": {"retain": retain, "dup": dup, "sys": topic.startswith("$SYS/")},
    }


def of_delivery(session: Session, outgoing: Outgoing, again: bool = False) -> dict[str, Any]:
    """What is known of a message for one subscriber; of its origin only where a rule read of it when it came."""
    columns = {
        **of_peer(session.publisher),
        **of_content(outgoing.topic, outgoing.payload, outgoing.qos, outgoing.properties, outgoing.retain, again),
    }
    origin = outgoing.origin
    if origin is not None:
        publisher = origin.publisher
        columns["id"] = origin.identity
        columns["from_clientid"] = publisher.client_id
        if publisher.username is not None:
            columns["from_username"] = publisher.username
        columns["publish_received_at"] = origin.received_ns // MILLISECOND
    return columns
