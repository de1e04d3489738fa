"""What outlives a connection: a client's subscriptions, what was sent to it and not acknowledged, and what waits.

Outbound, a message takes a packet identifier from our own space, stays in flight until PUBACK or PUBCOMP, and is sent
again in its old order, with DUP, when the client comes back. Inbound QoS 2 identifiers are the client's own space: an
identifier is remembered from PUBLISH to PUBREL, so that its message is handed on once.

Invariants: at most ``window`` messages are in flight on a connection; the queue holds at most ``max_queued_messages``
and loses by the ``queue_full`` setting, counted; nothing is queued at QoS 0. Containers are made when they are first
needed: most sessions never do. Who the client is and what it may do is left to ``broker.connection``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Protocol

from broker.encode import encode_pubrel
from broker.events import Events
from broker.outgoing import Outgoing, mark_duplicate
from broker.packets import Properties
from broker.settings import BrokerLimits
from broker.statistics import Statistics
from broker.subscriptions import Route
from core.message import ANONYMOUS, Message, Publisher


class Link(Protocol):
    """The connection a session sends through. ``max_send_size`` is bytes, 0 for no limit."""

    version: int
    publisher: Publisher
    writable: bool
    max_send_size: int

    def send(self, *parts: bytes) -> None: ...


class Owner(Protocol):
    """The router, as far as a session needs it."""

    limits: BrokerLimits
    statistics: Statistics
    events: Events

    def session_due(self, session: Session, now: int) -> None: ...


class Session:
    """One client's state. ``expiry`` is the nanoseconds it outlives its connection, 0 for not at all.

    ``connection`` is None while the client is away; ``expires_at`` and ``will_at`` count from then on. ``publisher`` is
    the client as it was last here.
    ``safe_offset`` is the inbox offset behind the last message that came in through this session.
    """

    __slots__ = (
        "_events",
        "_in_flight",
        "_last_identifier",
        "_owner",
        "_queue",
        "_released",
        "_replay",
        "_resend",
        "client_id",
        "connection",
        "expires_at",
        "expiry",
        "inbound",
        "publisher",
        "safe_offset",
        "scheduled",
        "subscriptions",
        "will",
        "will_at",
        "window",
    )

    def __init__(self, client_id: str, owner: Owner) -> None:
        self.client_id = client_id
        self.publisher = ANONYMOUS
        self.connection: Link | None = None
        self.subscriptions: dict[str, Route] | None = None
        self.expiry = 0
        self.expires_at = 0
        self.inbound: set[int] | None = None
        self.safe_offset = 0
        self.will: Message | None = None
        self.will_at = 0
        self.window = 0
        self.scheduled = 0
        self._owner = owner
        self._events = owner.events
        self._last_identifier = 0
        # None instead of a message: PUBREL was sent and PUBCOMP is to come.
        self._in_flight: dict[int, Outgoing | None] | None = None
        # By identifier, while a rule reads of acknowledgements: what PUBREL was sent for.
        self._released: dict[int, Outgoing] | None = None
        self._resend: deque[int] | None = None
        self._queue: deque[Outgoing] | None = None
        self._replay: Iterator[Outgoing] | None = None

    @property
    def queued(self) -> int:
        return len(self._queue or ())

    @property
    def in_flight(self) -> int:
        return len(self._in_flight or ())

    @property
    def unfinished(self) -> int:
        """QoS 2 messages that are kept for an event until PUBCOMP comes."""
        return len(self._released or ())

    def attach(self, link: Link, window: int) -> None:
        """The client is here, able to take ``window`` messages at a time; call :meth:`pump` after its CONNACK."""
        self.connection = link
        self.publisher = link.publisher
        self.window = window
        self.expires_at = self.will_at = 0
        self.will = None
        self._resend = deque(self._in_flight) if self._in_flight else None

    def detach(self) -> None:
        self.connection = None
        self._resend = None

    def clear(self) -> None:
        """Let go of everything, at the session's end."""
        self.subscriptions = self.inbound = self._in_flight = self._resend = self._queue = self._replay = None
        self._released = None

    # Time, for the deadline wheel.

    @property
    def next_deadline(self) -> int | None:
        if self.connection is not None:
            return None
        return min((at for at in (self.expires_at, self.will_at) if at), default=None)

    def on_deadline(self, now: int) -> None:
        self._owner.session_due(self, now)

    # Outbound.

    def offer(self, message: Outgoing, now: int) -> None:
        """Send a message of QoS 1 or 2, or keep it until the client, its window and its line are ready."""
        queue = self._queue
        if not queue and self._ready():
            self._transmit(message, now)
            return
        if queue is None:
            queue = self._queue = deque()
        limits = self._owner.limits
        if len(queue) >= limits.max_queued_messages:
            self._owner.statistics.dropped_queue_full.value += 1
            newest = limits.queue_full == "drop_new"
            self._lose(message if newest else queue.popleft(), "queue_full", now)
            if newest:
                return
        queue.append(message)

    def replay(self, messages: Iterator[Outgoing]) -> None:
        """Send retained messages of any QoS, as far and as fast as the client takes them."""
        self._replay = messages if self._replay is None else chain(self._replay, messages)

    def pump(self, now: int) -> None:
        """Send what waits: first what was sent before, then the queue, then retained messages."""
        while self._ready():
            if self._resend:
                self._send_again(self._resend.popleft(), now)
                continue
            message: Outgoing | None
            if self._queue:
                message = self._queue.popleft()
            elif self._replay is not None:
                message = next(self._replay, None)
                if message is None:
                    self._replay = None
                    return
            else:
                return
            self._transmit(message, now)
            message.forget_frames()

    def _ready(self) -> bool:
        link = self.connection
        if link is None or not link.writable:
            return False
        flying = self._in_flight
        return not flying or len(flying) - len(self._resend or ()) < self.window

    def _transmit(self, message: Outgoing, now: int) -> None:
        link = self.connection
        if link is None:
            return
        statistics = self._owner.statistics
        if message.expires_at and message.expires_at <= now:
            statistics.dropped_expired.value += 1
            self._lose(message, "expired", now)
            return
        head, tail = message.frame(link.version, now)
        if link.max_send_size and len(head) + len(tail) + (2 if message.qos else 0) > link.max_send_size:
            # MQTT-3.1.2-25: as if the message had been delivered.
            statistics.dropped_too_large.value += 1
            self._lose(message, "too_large", now)
            return
        statistics.messages_sent.value += 1
        delivered = self._events.delivered
        if delivered is not None:
            delivered(self, message, False, now)
        if not message.qos:
            link.send(head)
            return
        flying = self._in_flight
        if flying is None:
            flying = self._in_flight = {}
        identifier = self._last_identifier % 65_535 + 1
        while identifier in flying:
            identifier = identifier % 65_535 + 1
        self._last_identifier = identifier
        flying[identifier] = message
        link.send(head, identifier.to_bytes(2), tail)

    def _send_again(self, identifier: int, now: int) -> None:
        link = self.connection
        flying = self._in_flight
        if link is None or flying is None or identifier not in flying:
            return
        message = flying[identifier]
        if message is None:
            link.send(encode_pubrel(identifier))
            return
        head, tail = message.frame(link.version, now)
        if link.max_send_size and len(head) + len(tail) + 2 > link.max_send_size:
            self._owner.statistics.dropped_too_large.value += 1
            del flying[identifier]
            self._lose(message, "too_large", now)
            return
        self._owner.statistics.messages_sent.value += 1
        delivered = self._events.delivered
        if delivered is not None:
            delivered(self, message, True, now)
        link.send(mark_duplicate(head), identifier.to_bytes(2), tail)
        message.forget_frames()

    def _lose(self, message: Outgoing, reason: str, now: int) -> None:
        dropped = self._events.delivery_dropped
        if dropped is not None:
            dropped(self, message, reason, now)

    def acknowledged(self, identifier: int, now: int, properties: Properties | None = None) -> None:
        """PUBACK; one for nothing in flight is ignored, because a resumed client may be a step behind."""
        flying = self._in_flight
        message = flying.get(identifier) if flying else None
        if flying is not None and message is not None and message.qos == 1:
            del flying[identifier]
            acked = self._events.acked
            if acked is not None:
                acked(self, message, properties, now)
            self.pump(now)

    def received(self, identifier: int, failed: bool, now: int) -> bool:
        """PUBREC; True where PUBREL is to be sent, False where the message is over or there is none."""
        flying = self._in_flight
        if flying is None or identifier not in flying:
            return False
        message = flying[identifier]
        if message is not None and message.qos != 2:
            return False
        if failed:
            del flying[identifier]
            self.pump(now)
            return False
        flying[identifier] = None
        if message is not None and self._events.acked is not None:
            released = self._released
            if released is None:
                released = self._released = {}
            released[identifier] = message
        return True

    def completed(self, identifier: int, now: int, properties: Properties | None = None) -> None:
        """PUBCOMP."""
        flying = self._in_flight
        if flying and identifier in flying and flying[identifier] is None:
            del flying[identifier]
            message = self._released.pop(identifier, None) if self._released else None
            acked = self._events.acked
            if message is not None and acked is not None:
                acked(self, message, properties, now)
            self.pump(now)
