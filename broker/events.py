"""What happens to clients and messages, made into messages for the rules that read of it (``core.events``).

The seam: :class:`Events` has an attribute for each event, which is None while no rule reads it, else the function that
raises it, so that what nobody reads costs a test. Invariants: what is raised keeps its order, and its place among the
messages of a connection; it is handed on once per read or loop turn, and nothing piles up: where the inbox is full it
is counted and given up. An event about a message that a rule republished goes by that rule's name and has passed as
many rules, so that the engine's loop guard knows it; beyond ``MAX_HOPS`` of them there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from broker import facts
from broker.acl import Verdict
from broker.packets import Properties
from core.clock import MILLISECOND
from core.events import RAISED, Event, event_message
from core.inbox import Inbox
from core.matching import Match
from core.message import Message, Publisher, message_id
from core.metrics import Metrics

if TYPE_CHECKING:
    from broker.connection import Connection
    from broker.outgoing import Outgoing
    from broker.session import Session
    from broker.settings import BrokerLimits

ATTRIBUTES: Final[Mapping[str, str]] = {
    "client/connected": "connected",
    "client/disconnected": "disconnected",
    "client/connack": "connack",
    "client/ping": "ping",
    "auth/check_authn_complete": "authn",
    "auth/check_authz_complete": "authz",
    "session/subscribed": "subscribed",
    "session/unsubscribed": "unsubscribed",
    "message/delivered": "delivered",
    "message/acked": "acked",
    "message/dropped": "dropped",
    "message/delivery_dropped": "delivery_dropped",
}
"""The attribute of :class:`Events` for each event."""

MAX_HOPS: Final = 4
"""An event is raised about a message that has passed so many rules, not about one that has passed more."""
_DELIVERIES: Final = ("message.delivered", "message.acked", "delivery.dropped")
_HANDED_ON: Final = 1_000
"""So many that wait are handed on at once."""


class Owner(Protocol):
    """The router, as far as events need it."""

    inbox: Inbox
    on_output: Callable[[], None]
    limits: BrokerLimits


class Events:
    """The events of one router; ``rules`` are the rules that read a topic. :meth:`refresh` when those have changed.

    ``deliveries`` says that the origin of what is sent must be kept, ``active`` that any event is read at all;
    ``waiting`` is what :meth:`hand_on` will hand on.
    """

    def __init__(self, owner: Owner, rules: Callable[[str], tuple[Any, ...]], metrics: Metrics) -> None:
        self._owner = owner
        self._rules = rules
        self._read: dict[str, tuple[Event, Match]] = {}
        self._raised: dict[str, int] = {}
        self.waiting: list[Message] = []
        self.connected: Callable[[Connection, int], None] | None = None
        self.disconnected: Callable[[Connection, str, Properties | None, int], None] | None = None
        self.connack: Callable[[Connection, int, int], None] | None = None
        self.ping: Callable[[Connection, int], None] | None = None
        self.authn: Callable[[Publisher, int, bool, int], None] | None = None
        self.authz: Callable[[Publisher, str, str, Verdict, int], None] | None = None
        self.subscribed: Callable[[Publisher, str, int, Properties | None, int], None] | None = None
        self.unsubscribed: Callable[[Publisher, str, int, Properties | None, int], None] | None = None
        self.delivered: Callable[[Session, Outgoing, bool, int], None] | None = None
        self.acked: Callable[[Session, Outgoing, Properties | None, int], None] | None = None
        self.dropped: Callable[[Message, str, int], None] | None = None
        self.delivery_dropped: Callable[[Session, Outgoing, str, int], None] | None = None
        self.deliveries = self.active = False
        self._lost = {
            reason: metrics.counter(
                "headrace_events_dropped_total",
                "Events of the broker that rules read and did not get, by reason",
                reason=reason,
            )
            for reason in ("inbox_full", "max_hops")
        }
        metrics.read(
            "headrace_events_raised_total",
            "Events of the broker that were raised because a rule reads them",
            "counter",
            lambda: [((name,), count) for name, count in self._raised.items()],
            ("event",),
        )

    def refresh(self) -> None:
        """Raise what the present rules read, and nothing else."""
        self._read = {}
        for event in RAISED:
            rules = self._rules(event.source)
            attribute = ATTRIBUTES[event.path]
            setattr(self, attribute, getattr(self, f"_on_{attribute}") if rules else None)
            if rules:
                self._read[event.name] = event, Match(event.source, (), rules)
                self._raised.setdefault(event.name, 0)
        self.active = bool(self._read)
        self.deliveries = not self._read.keys().isdisjoint(_DELIVERIES)

    def hand_on(self) -> None:
        """Give what waits to the rules, or give it up where they cannot take it."""
        waiting, self.waiting = self.waiting, []
        inbox = self._owner.inbox
        if inbox.full:
            self._lost["inbox_full"].value += len(waiting)
        else:
            inbox.append(waiting)

    def _raise(
        self, name: str, publisher: Publisher, now: int, columns: dict[str, Any], cause: Publisher | None = None
    ) -> None:
        """``publisher`` is whom the event is about; ``cause`` published the message that it is about."""
        if cause is not None and cause.hops:
            if cause.hops > MAX_HOPS:
                self._lost["max_hops"].value += 1
                return
            publisher = Publisher(publisher.client_id, username=publisher.username, rule=cause.rule, hops=cause.hops)
        event, match = self._read[name]
        waiting = self.waiting
        waiting.append(event_message(event, publisher, now, columns, match))
        self._raised[name] += 1
        if len(waiting) == 1:
            self._owner.on_output()
        elif len(waiting) >= _HANDED_ON:
            self.hand_on()

    # Clients.

    def _on_connected(self, connection: Connection, now: int) -> None:
        session = connection.session
        columns = {
            **facts.of_link(connection),
            **facts.of_terms(connection, self._owner.limits),
            "is_bridge": False,
            "connected_at": connection.connected_at // MILLISECOND,
            "client_attrs": {},
        }
        if session is not None:
            columns["receive_maximum"] = session.window
        self._raise("client.connected", connection.publisher, now, columns)

    def _on_disconnected(self, connection: Connection, reason: str, properties: Properties | None, now: int) -> None:
        columns = {
            **facts.of_link(connection),
            "reason": reason,
            "disconn_props": properties,
            "disconnected_at": now // MILLISECOND,
            "connected_at": connection.connected_at // MILLISECOND,
            "client_attrs": {},
        }
        self._raise("client.disconnected", connection.publisher, now, columns)

    def _on_connack(self, connection: Connection, code: int, now: int) -> None:
        columns = {
            **facts.of_link(connection),
            **facts.of_terms(connection, self._owner.limits),
            "reason_code": facts.answer_word(code, connection.version),
            "connected_at": connection.connected_at // MILLISECOND,
        }
        self._raise("client.connack", connection.publisher, now, columns)

    def _on_ping(self, connection: Connection, now: int) -> None:
        columns = {**facts.of_link(connection), **facts.of_terms(connection, self._owner.limits)}
        self._raise("client.ping", connection.publisher, now, columns)

    # Rights.

    def _on_authn(self, publisher: Publisher, code: int, anonymous: bool, now: int) -> None:
        columns = {
            **facts.of_client(publisher),
            "reason_code": facts.word(code),
            "is_anonymous": anonymous,
            "is_superuser": False,
            "client_attrs": {},
        }
        if publisher.peer_host:
            columns["peername"] = publisher.peer_name
        self._raise("client.check_authn_complete", publisher, now, columns)

    def _on_authz(self, publisher: Publisher, action: str, topic: str, verdict: Verdict, now: int) -> None:
        columns = {
            **facts.of_peer(publisher),
            "topic": topic,
            "action": action,
            "authz_source": verdict.source,
            "result": "allow" if verdict.allowed else "deny",
            "client_attrs": {},
        }
        self._raise("client.check_authz_complete", publisher, now, columns)

    # Subscriptions.

    def _on_subscribed(
        self, publisher: Publisher, topic_filter: str, qos: int, properties: Properties | None, now: int
    ) -> None:
        columns = {
            **facts.of_peer(publisher),
            "topic": topic_filter,
            "qos": qos,
            "sub_props": properties,
            "client_attrs": {},
        }
        self._raise("session.subscribed", publisher, now, columns)

    def _on_unsubscribed(
        self, publisher: Publisher, topic_filter: str, qos: int, properties: Properties | None, now: int
    ) -> None:
        columns = {
            **facts.of_peer(publisher),
            "topic": topic_filter,
            "qos": qos,
            "unsub_props": properties,
            "client_attrs": {},
        }
        self._raise("session.unsubscribed", publisher, now, columns)

    # Messages.

    def _on_delivered(self, session: Session, outgoing: Outgoing, again: bool, now: int) -> None:
        self._deliver("message.delivered", session, outgoing, now, facts.of_delivery(session, outgoing, again))

    def _on_acked(self, session: Session, outgoing: Outgoing, properties: Properties | None, now: int) -> None:
        columns = facts.of_delivery(session, outgoing)
        columns["puback_props"] = properties
        self._deliver("message.acked", session, outgoing, now, columns)

    def _on_delivery_dropped(self, session: Session, outgoing: Outgoing, reason: str, now: int) -> None:
        columns = facts.of_delivery(session, outgoing)
        columns["reason"] = reason
        self._deliver("delivery.dropped", session, outgoing, now, columns)

    def _deliver(self, name: str, session: Session, outgoing: Outgoing, now: int, columns: dict[str, Any]) -> None:
        origin = outgoing.origin
        self._raise(name, session.publisher, now, columns, None if origin is None else origin.publisher)

    def _on_dropped(self, message: Message, reason: str, now: int) -> None:
        publisher = message.publisher
        columns = {
            **facts.of_peer(publisher),
            **facts.of_content(
                message.topic, message.payload, message.qos, message.properties, message.retain, message.dup
            ),
            "id": message_id(message),
            "reason": reason,
            "publish_received_at": message.received_ns // MILLISECOND,
        }
        self._raise("message.dropped", publisher, now, columns, publisher)
