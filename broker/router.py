"""The one owner of all sessions, subscriptions, retained messages and wills: what comes in goes through here.

Fans a message out to its subscribers, keeps retained messages, publishes wills, ends sessions, pauses publishers while
the inbox is full. Invariants: one session per client id and at most one connection per session; a message is encoded
once for all subscribers that get the same bytes; every loss is counted by its reason. No I/O and no clock: listeners
bring bytes and the time, call :meth:`take_dirty` when ``on_output`` asked for it, and :meth:`advance` once a second.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from broker.acl import Verdict
from broker.deadlines import DeadlineWheel
from broker.events import Events
from broker.outgoing import Outgoing
from broker.packets import PacketType, ReasonCode
from broker.properties import encode_properties
from broker.retained import RetainedStore
from broker.session import Session
from broker.settings import BrokerLimits
from broker.statistics import Statistics
from broker.subscriptions import Route, SharedGroup, Subscriptions
from core.inbox import Inbox
from core.matching import MatchCache
from core.message import Message, Publisher, number_of
from core.metrics import Metrics
from core.topics import validate_name

if TYPE_CHECKING:
    from broker.connection import Connection


class Authorizer(Protocol):
    """What the router asks about rights: ``broker.auth.AccessControl`` or anything like it."""

    def judge(self, publisher: Publisher, action: Literal["publish", "subscribe"], topic: str) -> Verdict: ...


def _check(messages: Sequence[Message]) -> None:
    """TopicError or PacketError where a topic or a property cannot be sent on."""
    for message in messages:
        validate_name(message.topic)
        if message.properties:
            encode_properties(dict(message.properties), PacketType.PUBLISH)


def _nothing() -> None:
    pass


class Router:
    """``rules(topic)`` are the rules that read a topic (``Engine.rules_for``); only messages with some enter ``inbox``.

    ``matches`` is the process's one match cache, ``events`` what rules read beside messages: :meth:`rules_changed` when
    the rules are others.
    """

    def __init__(
        self,
        inbox: Inbox,
        rules: Callable[[str], tuple[Any, ...]],
        access: Authorizer,
        *,
        limits: BrokerLimits | None = None,
        metrics: Metrics | None = None,
        on_output: Callable[[], None] = _nothing,
    ) -> None:
        self.inbox = inbox
        self.access = access
        self.limits = limits or BrokerLimits()
        self.statistics = Statistics(metrics or Metrics())
        self.on_output = on_output
        self.subscriptions = Subscriptions()
        self.events = Events(self, rules, self.statistics.metrics)
        self.matches = MatchCache(self.subscriptions.match, rules)
        self.subscriptions.matches = self.matches
        self.retained = RetainedStore(self.limits.max_retained_messages, self.limits.max_retained_bytes)
        self.sessions: dict[str, Session] = {}
        self.wheel = DeadlineWheel()
        self._connected = 0
        self._dirty: list[Connection] = []
        self._paused: dict[Connection, None] = {}
        self._register_gauges()

    def _register_gauges(self) -> None:
        gauges: tuple[tuple[str, str, Callable[[], int]], ...] = (
            ("connections", "Clients that are connected", lambda: self._connected),
            ("sessions", "Sessions of clients, connected or not", lambda: len(self.sessions)),
            ("subscriptions", "Subscriptions of all sessions", lambda: len(self.subscriptions)),
            ("retained_messages", "Retained messages", lambda: len(self.retained)),
            ("retained_bytes", "Bytes of retained topics and payloads", lambda: self.retained.size),
            ("paused_publishers", "Connections not read while the inbox is full", lambda: len(self._paused)),
        )
        for name, text, read in gauges:
            self.statistics.metrics.read(
                f"headrace_broker_{name}",
                text,
                "gauge",
                lambda read=read: (((), read()),),  # type: ignore[misc]
            )

    def rules_changed(self) -> None:
        """Other rules are there: forget which read what, and raise the events that they read."""
        self.matches.clear()
        self.events.refresh()

    # Sessions.

    @property
    def connected(self) -> int:
        """How many clients are connected."""
        return self._connected

    def new_client_id(self) -> str:
        """A client id for a client that brought none; nobody else has it or will guess it."""
        return f"headrace-{secrets.token_hex(12)}"

    def attach(self, client_id: str, clean_start: bool, now: int) -> tuple[Session, bool] | None:
        """The session for a client that has just been let in, and whether it was there before (session present).

        A connection that holds the session is closed with SESSION_TAKEN_OVER (MQTT-3.1.4-3). None where the limit of
        sessions is reached.
        """
        session = self.sessions.get(client_id)
        if session is not None and session.connection is not None:
            self.take_over(session, now, discard=clean_start)
            session = self.sessions.get(client_id)
        if session is not None and clean_start:
            self.end(session, now)
            session = None
        present = session is not None
        if session is None:
            if len(self.sessions) >= self.limits.max_sessions:
                return None
            session = self.sessions[client_id] = Session(client_id, self)
        self._connected += 1
        return session, present

    def take_over(self, session: Session, now: int, *, discard: bool = False) -> None:
        """Close the connection of ``session`` in favour of another one, which goes on with it or discards it."""
        connection: Any = session.connection
        connection.close(ReasonCode.SESSION_TAKEN_OVER, now, word="discarded" if discard else "takenover")

    def detach(self, session: Session, will: Message | None, will_delay: int, now: int) -> None:
        """The connection of ``session`` is over; ``will`` is None where it ended well."""
        session.detach()
        self._connected -= 1
        if will is not None and will_delay and session.expiry:
            # MQTT-3.1.3-9: whichever comes first, the delay's end or the session's.
            session.will = will
            session.will_at = now + will_delay
            will = None
        if session.expiry:
            session.expires_at = now + session.expiry
            self.wheel.add(session, now)
        else:
            self.end(session, now)
        if will is not None:
            self._publish_will(will, now)

    def end(self, session: Session, now: int) -> None:
        """Forget ``session``; a will that waits for its delay is published (MQTT5 3.1.3.2.2)."""
        if self.sessions.get(session.client_id) is session:
            del self.sessions[session.client_id]
        self.subscriptions.discard_all(session)
        will, session.will = session.will, None
        session.expires_at = session.will_at = 0
        session.clear()
        if will is not None:
            self._publish_will(will, now)

    def session_due(self, session: Session, now: int) -> None:
        if session.will_at and session.will_at <= now and session.will is not None:
            will, session.will = session.will, None
            session.will_at = 0
            self._publish_will(will, now)
        if session.expires_at and session.expires_at <= now:
            self.end(session, now)

    def _publish_will(self, will: Message, now: int) -> None:
        will.received_ns = now
        self.publish((will,))

    # Messages.

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish from inside the process; ``received_ns`` of each says when. Nothing asks for rights here.

        TopicError or PacketError, before anything is published, where a topic or a property cannot be sent on.
        """
        _check(messages)
        full = self.inbox.full
        dropped = self.events.dropped
        gathered: list[Message] = []
        for message in messages:
            match = self.matches.look_up(message.topic)
            message.match = match
            if message.retain:
                self.retain(message)
            if match.subscribers:
                self.fan_out(message, match.subscribers, message.received_ns)
            elif dropped is not None:
                dropped(message, "no_subscribers", message.received_ns)
            if match.rules:
                if full and not message.qos:
                    self.statistics.dropped_inbox_full.value += 1
                else:
                    gathered.append(message)
        if gathered:
            self.inbox.append(gathered)

    def dispatch(self, messages: Sequence[Message]) -> None:
        """As :meth:`publish`, but only clients that are subscribed get them: no rule does, and nothing is retained."""
        _check(messages)
        for message in messages:
            match = message.match = self.matches.look_up(message.topic)
            if match.subscribers:
                self.fan_out(message, match.subscribers, message.received_ns)

    def retain(self, message: Message) -> None:
        """Keep ``message`` as its topic's last, or delete that; a full store refuses and counts."""
        # A copy without its match object, which would keep sessions alive; it stays the same message.
        kept = Message(
            message.topic,
            message.payload,
            message.qos,
            True,
            properties=message.properties,
            publisher=message.publisher,
            received_ns=message.received_ns,
            number=number_of(message),
        )
        if not self.retained.put(kept):
            self.statistics.retained_refused.value += 1

    def fan_out(  # noqa: C901 - calls would cost more than branches
        self, message: Message, subscribers: tuple[Route | SharedGroup, ...], now: int
    ) -> None:
        """Give ``message`` to everyone in ``subscribers``, the ones of its match."""
        statistics = self.statistics
        events = self.events
        delivered = events.delivered
        lost = events.delivery_dropped
        made: dict[tuple[int, bool, tuple[int, ...]], Outgoing] = {}
        message_qos = message.qos
        message_retain = message.retain
        sent = 0
        for subscriber in subscribers:
            if isinstance(subscriber, SharedGroup):
                turn = subscriber.next()
                if turn is None:
                    continue
                route = turn
            else:
                route = subscriber
            session = route.session
            if route.no_local and session.client_id == message.publisher.client_id:
                if route.own is None:
                    if lost is not None:
                        self._lose(message, route, "no_local", now)
                    continue
                route = route.own
            qos = route.qos
            if message_qos < qos:
                qos = message_qos
            link = session.connection
            if not qos:
                if link is None:
                    statistics.dropped_offline.value += 1
                    if lost is not None:
                        self._lose(message, route, "qos0_msg", now)
                    continue
                if not link.writable:
                    statistics.dropped_slow_consumer.value += 1
                    if lost is not None:
                        self._lose(message, route, "qos0_msg", now)
                    continue
            retain = message_retain and route.retain_as_published
            key = (qos, retain, route.identifiers)
            outgoing = made.get(key)
            if outgoing is None:
                outgoing = made[key] = Outgoing(message, qos, retain, route.identifiers)
                if events.deliveries:
                    outgoing.trace(message)
            if qos or link is None:
                session.offer(outgoing, now)
                continue
            frame = outgoing.frame(link.version, now)[0]
            if link.max_send_size and len(frame) > link.max_send_size:
                statistics.dropped_too_large.value += 1
                if lost is not None:
                    lost(session, outgoing, "too_large", now)
                continue
            link.send(frame)
            sent += 1
            if delivered is not None:
                delivered(session, outgoing, False, now)
        statistics.messages_sent.value += sent
        if message_qos:
            for outgoing in made.values():
                outgoing.forget_frames()

    def _lose(self, message: Message, route: Route, reason: str, now: int) -> None:
        """Tell the rules of a message that does not even become one for a subscriber."""
        outgoing = Outgoing(
            message,
            min(message.qos, route.qos),
            message.retain and route.retain_as_published,
            route.identifiers,
        )
        outgoing.trace(message)
        if self.events.delivery_dropped is not None:
            self.events.delivery_dropped(route.session, outgoing, reason, now)

    # Publishers that wait for the inbox.

    def pause(self, connection: Connection) -> None:
        """``connection`` is not to be read until :meth:`resume`."""
        connection.reading = False
        self._paused[connection] = None
        self.dirty(connection)

    def forget_paused(self, connection: Connection) -> None:
        self._paused.pop(connection, None)

    def resume(self, now: int) -> None:
        """Read paused connections again if the inbox has room; call it after the inbox was drained."""
        if not self._paused or self.inbox.full:
            return
        paused, self._paused = self._paused, {}
        for connection in paused:
            connection.resume_reading(now)
            self.dirty(connection)

    # Output and time.

    def dirty(self, connection: Connection) -> None:
        """``connection`` has something for its shell: bytes, a change of ``reading``, its end."""
        if connection.dirty:
            return
        connection.dirty = True
        if not self._dirty:
            self.on_output()
        self._dirty.append(connection)

    def take_dirty(self) -> list[Connection]:
        """The connections whose shells must act; each comes once per turn. Events that wait reach the rules."""
        if self.events.waiting:
            self.events.hand_on()
        connections, self._dirty = self._dirty, []
        for connection in connections:
            connection.dirty = False
        return connections

    def advance(self, now: int) -> None:
        """Keep-alives, connect time-outs, session expiry and delayed wills; call it about once a second."""
        self.wheel.advance(now)

    def disconnect_all(self, now: int, reason: ReasonCode = ReasonCode.SERVER_SHUTTING_DOWN) -> None:
        """Close every connection that has a session; wills are published as for any close by the server."""
        for session in list(self.sessions.values()):
            connection: Any = session.connection
            if connection is not None:
                connection.close(reason, now)
