"""The events that rules read beside messages: names, columns, types, and when each is raised; EMQX's names and forms.

The broker makes messages of what happens (``broker.events``): :func:`event_message` says how they look. Their topic is
:attr:`Event.source`, which no client can name, their ``columns`` hold what is known, so that what is absent is missing
for a rule. Properties stand there as the packet had them, a payload as bytes: the form they have as columns is the
business of ``rules.columns``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from core.matching import Match
from core.message import MISSING, Message, Publisher, Type
from core.topics import has_wildcard, matches

PREFIX: Final = "$events/"


class EventColumn(NamedTuple):
    """A column has one type and one meaning in all events."""

    type: Type
    meaning: str


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """``path`` is its name behind ``$events/``, ``legacy`` EMQX's name there before 5.10, if there was one.

    ``columns`` come in the order of ``SELECT *``; those in ``certain`` are always there. ``raised`` says when, and is
    empty for an event of EMQX that nothing here raises. ``words`` are what a column may say.
    """

    path: str
    name: str
    """What the column ``event`` says."""
    legacy: str | None
    raised: str
    columns: tuple[str, ...]
    certain: frozenset[str]
    words: Mapping[str, Mapping[str, str]]

    @property
    def topic(self) -> str:
        """What FROM calls it."""
        return PREFIX + self.path

    @property
    def source(self) -> str:
        """The topic of its messages. No client and no sink can name it: it has a NUL."""
        return f"{self.topic}\0"


COLUMNS: Final[Mapping[str, EventColumn]] = MappingProxyType(
    {
        "id": EventColumn(Type.TEXT, "of the message, the same as the column `id` of the message itself"),
        "reason": EventColumn(Type.TEXT, "why"),
        "reason_code": EventColumn(Type.TEXT, "what the client was answered, as a word"),
        "from_clientid": EventColumn(Type.TEXT, "who published the message"),
        "from_username": EventColumn(Type.TEXT, "the publisher's user name"),
        "clientid": EventColumn(Type.TEXT, "the client that the event is about"),
        "username": EventColumn(Type.TEXT, "its user name; missing where it gave none"),
        "payload": EventColumn(Type.TEXT, "of the message; `payload.x` decodes it"),
        "peerhost": EventColumn(Type.TEXT, "the client's address; a publisher inside the process has none"),
        "peername": EventColumn(Type.TEXT, "the client's `address:port`"),
        "sockname": EventColumn(Type.TEXT, "the `address:port` here that the client reached"),
        "topic": EventColumn(Type.TEXT, "of the message, or the topic filter"),
        "qos": EventColumn(Type.BIGINT, "of the message as it was sent on, or what a subscription was granted"),
        "flags": EventColumn(Type.OBJECT, "`retain`, `dup`, `sys` of the message"),
        "pub_props": EventColumn(Type.OBJECT, "properties (MQTT 5) of the message"),
        "publish_received_at": EventColumn(Type.BIGINT, "when the message was published"),
        "puback_props": EventColumn(Type.OBJECT, "properties of the PUBACK or PUBCOMP"),
        "transformation": EventColumn(Type.TEXT, "the name of the transformation"),
        "validation": EventColumn(Type.TEXT, "the name of the validation"),
        "mountpoint": EventColumn(Type.TEXT, "always missing: there are none here"),
        "proto_name": EventColumn(Type.TEXT, "`MQTT`, or `MQIsdp` for 3.1"),
        "proto_ver": EventColumn(Type.BIGINT, "3, 4 (3.1.1) or 5"),
        "keepalive": EventColumn(Type.BIGINT, "seconds, as they hold; 0 for none"),
        "clean_start": EventColumn(Type.BOOLEAN, "whether it began without its old session (clean session in 3.1.1)"),
        "receive_maximum": EventColumn(Type.BIGINT, "how many messages it is sent before it acknowledges one"),
        "expiry_interval": EventColumn(Type.BIGINT, "seconds that its session outlives the connection, as they hold"),
        "is_bridge": EventColumn(Type.BOOLEAN, "always false: bridges of that kind are not let in"),
        "conn_props": EventColumn(Type.OBJECT, "properties of its CONNECT"),
        "connected_at": EventColumn(Type.BIGINT, "when it was let in; for a refusal, when it reached us"),
        "disconn_props": EventColumn(Type.OBJECT, "properties of the DISCONNECT that it sent"),
        "disconnected_at": EventColumn(Type.BIGINT, "when the connection ended"),
        "client_attrs": EventColumn(Type.OBJECT, "always empty"),
        "action": EventColumn(Type.TEXT, "what was asked"),
        "authz_source": EventColumn(Type.TEXT, "who said so: the name of an auth provider, or"),
        "result": EventColumn(Type.TEXT, "the answer"),
        "is_anonymous": EventColumn(Type.BOOLEAN, "let in without a proof, by `allow_anonymous`"),
        "is_superuser": EventColumn(Type.BOOLEAN, "always false: nobody passes the access list by"),
        "sub_props": EventColumn(Type.OBJECT, "properties of the SUBSCRIBE"),
        "unsub_props": EventColumn(Type.OBJECT, "properties of the UNSUBSCRIBE"),
        "name": EventColumn(Type.TEXT, "of the alarm"),
        "details": EventColumn(Type.OBJECT, "of the alarm"),
        "message": EventColumn(Type.TEXT, "of the alarm"),
        "activated_at": EventColumn(Type.BIGINT, "when the alarm was activated"),
        "deactivated_at": EventColumn(Type.BIGINT, "when the alarm was deactivated"),
    }
)
"""Every column of some event. Times are milliseconds since the epoch."""

COMMON: Final = ("event", "timestamp", "node", "metadata")
"""Columns that every event has as messages have them; they are no part of :attr:`Event.columns`."""

CONNACK_WORDS_3: Final = (
    "connection_accepted",
    "unacceptable_protocol_version",
    "client_identifier_not_valid",
    "server_unavaliable",
    "malformed_username_or_password",
    "unauthorized_client",
)
"""By the return code of MQTT 3.1 and 3.1.1; EMQX's words, its spelling included."""

Words = Mapping[str, str]
"""What a column may say, with what that means where the word alone does not tell."""

_ANSWERS: Final[Words] = {
    "success": "",
    "bad_username_or_password": "",
    "not_authorized": "also: the will's topic is not allowed",
    "client_identifier_not_valid": "",
    "unsupported_protocol_version": "",
    "bad_authentication_method": "enhanced authentication, which there is not",
    "retain_not_supported": "of the will",
    "quota_exceeded": "`max_sessions`",
    **{word: "before MQTT 5" for word in CONNACK_WORDS_3 if word != "client_identifier_not_valid"},
}
_ENDS: Final[Words] = {
    "normal": "it sent a DISCONNECT",
    "disconnect_with_will_message": "a DISCONNECT that asks for the will; other codes of a client by their words, too",
    "tcp_closed": "the connection was lost or closed without a word",
    "keepalive_timeout": "silent for one and a half times the keep-alive",
    "takenover": "the same client came again and goes on with the session",
    "discarded": "the same client came again with a clean start",
    "not_authorized": '`deny_action = "disconnect"`',
    "quota_exceeded": "it does not read its answers",
    "receive_maximum_exceeded": "",
    "malformed_packet": "",
    "protocol_error": "",
    "packet_too_large": "",
    "topic_alias_invalid": "",
    "topic_name_invalid": "",
    "topic_filter_invalid": "",
    "retain_not_supported": "",
    "server_shutting_down": "",
    "internal_error": "a defect of ours",
}


def _event(path: str, legacy: str | None, raised: str, columns: str, *, name: str = "", **words: Words) -> Event:
    """A row of the table; a column that is always there is written with ``!``."""
    names = columns.split()
    plain = tuple(column.rstrip("!") for column in names)
    certain = frozenset(column.rstrip("!") for column in names if column.endswith("!"))
    name = name or (legacy.replace("_", ".", 1) if legacy else path.replace("/", "."))
    return Event(path, name, legacy, raised, plain, certain, MappingProxyType(words))


_MESSAGE: Final = "payload! peerhost peername topic! qos! flags! pub_props!"
_DELIVERY: Final = f"from_clientid from_username clientid! username {_MESSAGE} publish_received_at"

EVENTS: Final[tuple[Event, ...]] = (
    _event(
        "client/connected",
        "client_connected",
        "a client has been let in",
        "clientid! username mountpoint peername sockname proto_name! proto_ver! keepalive! clean_start! "
        "receive_maximum! expiry_interval! is_bridge! conn_props! connected_at! client_attrs!",
    ),
    _event(
        "client/disconnected",
        "client_disconnected",
        "the connection of a client that had been let in has ended, however it did",
        "reason! clientid! username peername sockname proto_name! proto_ver! disconn_props! disconnected_at! "
        "connected_at! client_attrs!",
        reason=_ENDS,
    ),
    _event(
        "client/connack",
        "client_connack",
        "a CONNECT is answered, by a yes or a no",
        "reason_code! clientid username clean_start peername sockname proto_name proto_ver keepalive "
        "expiry_interval connected_at! conn_props",
        reason_code=_ANSWERS,
    ),
    _event(
        "client/ping",
        None,
        "a client pings (PINGREQ)",
        "clientid! username clean_start! peername sockname proto_name! proto_ver! keepalive! expiry_interval! "
        "conn_props!",
    ),
    _event(
        "auth/check_authn_complete",
        "client_check_authn_complete",
        "a client has proved who it is, or has not",
        "clientid! username peername reason_code! is_anonymous! is_superuser! client_attrs!",
        reason_code={"success": "", "bad_username_or_password": "", "not_authorized": "it gave no user name"},
    ),
    _event(
        "auth/check_authz_complete",
        "client_check_authz_complete",
        "a client wants to publish (each message, and its will) or to subscribe, and the access list was asked",
        "clientid! username peername peerhost topic! action! authz_source! result! client_attrs!",
        action={"publish": "", "subscribe": ""},
        authz_source={
            "file": "a rule of `[[acl]]`",
            "default": "no rule, which is a no",
            "cache": "as before on this connection",
        },
        result={"allow": "", "deny": ""},
    ),
    _event(
        "session/subscribed",
        "session_subscribed",
        "a subscription was made or changed",
        "clientid! username peerhost peername topic! qos! sub_props! client_attrs!",
    ),
    _event(
        "session/unsubscribed",
        "session_unsubscribed",
        "a client has ended a subscription",
        "clientid! username peerhost peername topic! qos! unsub_props! client_attrs!",
    ),
    _event(
        "message/delivered",
        "message_delivered",
        "a message is sent to a subscriber, also when it is sent again (`flags.dup`)",
        f"id {_DELIVERY}",
    ),
    _event(
        "message/acked",
        "message_acked",
        "a subscriber has acknowledged a message: PUBACK at QoS 1, PUBCOMP at QoS 2",
        f"id {_DELIVERY} puback_props!",
    ),
    _event(
        "message/dropped",
        "message_dropped",
        "a published message goes to no client",
        f"id! reason! clientid! username {_MESSAGE} publish_received_at!",
        reason={
            "no_subscribers": "whether rules read it or not",
            "receive_maximum_exceeded": "the connection is closed",
            "packet_identifier_inuse": "by another message of QoS 2, and this is not it again",
        },
    ),
    _event(
        "message/delivery_dropped",
        "delivery_dropped",
        "a message does not go to one of its subscribers",
        f"id reason! {_DELIVERY}",
        reason={
            "queue_full": "`max_queued_messages`; which one goes is said by `queue_full`",
            "no_local": "its own, and it asked not to get these",
            "expired": "it waited longer than its expiry interval",
            "qos0_msg": "QoS 0, and the client is away or too slow",
            "too_large": "for the maximum packet size of the client",
        },
    ),
    _event(
        "message_transformation/failed",
        "message_transformation_failed",
        "",
        f"transformation! id! clientid! username {_MESSAGE} publish_received_at!",
    ),
    _event(
        "schema_validation/failed",
        "schema_validation_failed",
        "",
        f"validation! id! clientid! username {_MESSAGE} publish_received_at!",
    ),
    _event("sys/alarm_activated", None, "", "name! details message! activated_at!", name="alarm.activated"),
    _event(
        "sys/alarm_deactivated",
        None,
        "",
        "name! details message! activated_at! deactivated_at!",
        name="alarm.deactivated",
    ),
)
"""All events that EMQX has, in the order of their documentation here."""

BY_NAME: Final[Mapping[str, Event]] = MappingProxyType(
    {
        **{event.topic: event for event in EVENTS},
        **{PREFIX + event.legacy: event for event in EVENTS if event.legacy is not None},
    }
)
"""By what FROM may call it: the present names, then the old ones."""

RAISED: Final[tuple[Event, ...]] = tuple(event for event in EVENTS if event.raised)


def events_of(name: str) -> tuple[Event, ...]:
    """The events that a name in FROM stands for: one, or all that a wildcard matches; none where there is none.

    A wildcard matches present names, and only what is raised.
    """
    if not has_wildcard(name):
        found = BY_NAME.get(name)
        return () if found is None else (found,)
    return tuple(event for event in RAISED if matches(name, event.topic))


_NOTHING_DECODED: Final[dict[str, Any]] = {}
"""The document of an event without a payload: whatever path a rule takes into it, there is nothing."""


def event_message(
    event: Event, publisher: Publisher, received_ns: int, columns: dict[str, Any], match: Match | None = None
) -> Message:
    """The message of an event about ``publisher``, with these columns, which belong to it from now on."""
    columns["event"] = event.name
    payload = columns.get("payload")
    document: Any = MISSING
    if payload is None:
        payload, document = b"", _NOTHING_DECODED
    return Message(
        event.source,
        payload,
        publisher=publisher,
        received_ns=received_ns,
        match=match,
        columns=columns,
        document=document,
    )
