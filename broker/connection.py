"""One connection's protocol, without I/O: bytes and the time in, bytes and the next deadline out.

The lifecycle is the table ``HANDLERS``: a packet that has no handler in the present state is a protocol error. A shell
(``broker.listeners``) calls :meth:`Connection.receive` with what it read; authenticates when ``login`` is set and
answers with :meth:`Connection.accept` or :meth:`Connection.refuse`; and, when the router names the connection dirty,
writes :meth:`Connection.data_to_send`, reads or not by ``reading``, and closes by ``closed``.

Invariants: nothing that a client sends raises; after ``closed`` nothing is sent or taken any more; a QoS 1 or 2 message
is acknowledged when the inbox calls it safe, in the order of arrival; every container has a bound. Delivery state that
outlives the connection is the business of ``broker.session``, who gets what that of ``broker.router``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from broker import acknowledgements, requests
from broker.encode import PINGRESP, encode, encode_puback, encode_pubrec
from broker.facts import end_word, left_word
from broker.handshake import PROTOCOLS, Terms, capped_expiry, check_connect, terms_of, will_message
from broker.inbound import Inbound, refusal
from broker.lifecycle import AUTHENTICATING, CLOSED, NEW, OPEN, Login, State
from broker.packets import (
    MQTT_3_1_1,
    MQTT_5_0,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    UnsupportedProtocol,
)
from broker.rights import may_publish
from broker.router import Router
from broker.session import Session
from broker.wire import Decoder
from core.errors import PacketError
from core.message import Message, Publisher

_MAX_HELD_BYTES: Final = 65_536
"""How much may come before authentication has answered; then the client is not read until it has."""


class Connection:
    """One client's connection. ``shell`` is whoever owns the transport; the connection never looks at it.

    ``reading`` False asks the shell not to read; ``writable`` is False while the client does not keep up;
    ``last_received`` is when bytes came last. ``login`` is set once, while authentication is to be asked.
    ``request`` is the CONNECT, without password and will once it was let in, which was at ``connected_at``.
    """

    __slots__ = (
        "_buffered",
        "_decoder",
        "_held",
        "_held_bytes",
        "_inbound",
        "_out",
        "_patience",
        "_router",
        "_will",
        "_will_delay",
        "blocked",
        "connected_at",
        "dirty",
        "last_received",
        "login",
        "max_send_size",
        "publisher",
        "reading",
        "request",
        "scheduled",
        "session",
        "shell",
        "sockname",
        "state",
        "version",
        "writable",
    )

    def __init__(
        self,
        router: Router,
        now: int,
        *,
        max_packet_size: int = 1 << 20,
        peer_host: str = "",
        peer_port: int = 0,
        sockname: str = "",
        shell: Any = None,
    ) -> None:
        self._router = router
        self._decoder = Decoder(max_packet_size)
        self.shell = shell
        self.sockname = sockname
        self.state = NEW
        self.version = MQTT_3_1_1
        self.publisher = Publisher("", peer_host=peer_host, peer_port=peer_port)
        self.session: Session | None = None
        self.login: Login | None = None
        self.reading = True
        self.writable = True
        self.dirty = False
        self.max_send_size = 0
        self.last_received = self.connected_at = now
        self.scheduled = 0
        # Until OPEN the time that is left for the handshake, from the start; then 1.5 times the keep-alive.
        self._patience: int = router.limits.connect_timeout
        self.request: Connect | None = None
        self._held: list[Packet] | None = None
        self._held_bytes = 0
        self._will: Message | None = None
        self._will_delay = 0
        self._inbound: Inbound | None = None
        self._out: list[bytes] | None = None
        self._buffered = 0
        self.blocked = False
        router.wheel.add(self, now)

    # Outlets for the shell.

    @property
    def closed(self) -> bool:
        return self.state is CLOSED

    @property
    def next_deadline(self) -> int | None:
        """When the client will have been silent for too long, in nanoseconds; None for never."""
        if self.state is CLOSED or not self._patience or (self.state is OPEN and not self.reading):
            return None
        return self.last_received + self._patience

    def on_deadline(self, now: int) -> None:
        if self.state is OPEN:
            self.close(ReasonCode.KEEP_ALIVE_TIMEOUT, now)
        else:
            self._end("timeout", now)

    def data_to_send(self, now: int) -> bytes:
        """Everything that waits to be written. Not to be called while the transport is full."""
        out, self._out = self._out, None
        if out is None:
            return b""
        self._buffered = 0
        data = out[0] if len(out) == 1 else b"".join(out)
        self._router.statistics.bytes_sent.value += len(data)
        if not self.writable and not self.blocked:
            self.resume_writing(now)
        return data

    def pause_writing(self) -> None:
        """The transport is full."""
        self.blocked = True
        self.writable = False

    def resume_writing(self, now: int) -> None:
        """The transport has room again; what the session kept back follows."""
        self.blocked = False
        self.writable = True
        if self.session is not None:
            self.session.pump(now)

    def resume_reading(self, now: int) -> None:
        self.reading = True
        self.last_received = max(self.last_received, now)
        self._router.wheel.add(self, now)

    def lost(self, now: int) -> None:
        """The transport is gone."""
        if self.state is not CLOSED:
            self._end("lost" if self.session is not None else "gone_early", now)

    # Input.

    def receive(self, data: bytes, now: int) -> None:
        """Take what one read brought. ``now`` is the time of all of its messages."""
        state = self.state
        if state is CLOSED:
            return
        statistics = self._router.statistics
        statistics.bytes_received.value += len(data)
        decoder = self._decoder
        packets = decoder.feed(data)
        if state is OPEN:
            self.last_received = now
        elif state is AUTHENTICATING:
            self._hold(packets, len(data))
            return
        if packets:
            statistics.packets_received.value += len(packets)
            self._handle(packets, now)
        if decoder.error is not None:
            self._look_for_error(now)
        if self.blocked and self._buffered > 2 * self._router.limits.max_write_buffer:
            # Messages stop at the limit: what grows beyond is answers to a client that asks and never listens.
            self.close(ReasonCode.QUOTA_EXCEEDED, now)

    def _hold(self, packets: Iterable[Packet], size: int) -> None:
        if self._held is None:
            self._held = []
        self._held.extend(packets)
        self._held_bytes += size
        if self._held_bytes > _MAX_HELD_BYTES and self.reading:
            self.reading = False
            self._router.dirty(self)

    def _look_for_error(self, now: int) -> None:
        error = self._decoder.error
        if error is not None and self.state in (NEW, OPEN):
            self._fail(error, now)

    def _handle(self, packets: list[Packet], now: int) -> None:  # noqa: C901 - calls would cost more than branches
        """Handle packets in order. PUBLISH, which is nearly all of them, is handled in line."""
        router = self._router
        events = router.events
        if events.waiting:
            events.hand_on()  # what was before this read comes before it
        dropped = events.dropped
        look_up = router.matches.look_up
        known = router.matches.entries.get
        publisher = self.publisher
        session = self.session
        inbound = self._inbound
        if inbound is None and Publish in map(type, packets):
            inbound = self._inbound = Inbound(router, publisher, self.version)
        # While rules read of checks, each message is one.
        permitted = inbound.permitted if inbound is not None and events.authz is None else {}
        is_open = self.state is OPEN
        full = router.inbox.full
        gathered: list[Message] = []
        acknowledgements: list[bytes] = []
        received = 0
        refused = 0
        rest = iter(packets)
        try:
            for packet in rest:
                if is_open and type(packet) is Publish and inbound is not None:
                    received += 1
                    qos = packet.qos
                    if (qos or packet.properties is not None) and not self._admit(
                        packet, inbound, acknowledgements, now
                    ):
                        if self.state is not OPEN:
                            break
                        continue
                    topic = packet.topic
                    allowed = permitted.get(topic)
                    if allowed is None:
                        allowed = inbound.may_publish(topic, now)
                    if not allowed:
                        self._deny(packet, acknowledgements, now)
                        if self.state is not OPEN:
                            break
                        continue
                    match = known(topic) or look_up(topic)
                    message = Message(
                        topic, packet.payload, qos, packet.retain, packet.dup, packet.properties, publisher, now, match
                    )
                    if packet.properties is not None:
                        message.publisher = inbound.publisher_of(packet.properties)
                    if qos:
                        acknowledgements.append((encode_puback if qos == 1 else encode_pubrec)(packet.packet_id))
                    if packet.retain and not self._retain(message, now):
                        break
                    if match.rules:
                        if full and not qos:
                            refused += 1
                        else:
                            gathered.append(message)
                    if match.subscribers:
                        router.fan_out(message, match.subscribers, now)
                    elif dropped is not None:
                        dropped(message, "no_subscribers", now)
                    if self.state is not OPEN:
                        break
                    continue
                handler = HANDLERS.get((self.state, type(packet)))
                if handler is None:
                    if self.state is not CLOSED:
                        self._unexpected(packet, now)
                    break
                if acknowledgements or (gathered and events.active):
                    # Answers leave in the order of their causes; after a DISCONNECT there are none.
                    self._hand_on(session, gathered, acknowledgements)
                    gathered, acknowledgements = [], []
                handler(self, packet, now)
                if events.waiting:
                    events.hand_on()
                is_open = self.state is OPEN
                if not is_open:
                    break
        finally:
            if received:
                router.statistics.messages_received.value += received
            if refused:
                router.statistics.dropped_inbox_full.value += refused
            if gathered or acknowledgements:
                self._hand_on(session, gathered, acknowledgements)
            if events.waiting:
                events.hand_on()
        if self.state is AUTHENTICATING:
            self._hold(rest, 0)

    def _hand_on(self, session: Session | None, gathered: list[Message], acknowledgements: list[bytes]) -> None:
        """Give the messages of one read to the inbox and have them acknowledged when it calls them safe."""
        router = self._router
        inbound = self._inbound
        fresh = 0
        if inbound is not None:
            fresh, inbound.fresh = inbound.fresh, 0
        offset = router.inbox.append(gathered) if gathered else 0
        if session is None:
            return
        if offset:
            session.safe_offset = offset
        if not acknowledgements or self.state is not OPEN:
            return
        data = b"".join(acknowledgements)
        if not session.safe_offset:
            self.send(data)
            return
        # Through the last offset of the session even where this read brought nothing for the rules: acknowledgements
        # keep their order (MQTT-4.6.0-2), and a repeated QoS 2 message is as safe as its first sending was.
        if inbound is not None:
            inbound.unsafe += fresh
        router.inbox.when_safe(session.safe_offset, partial(self._acknowledge, data, fresh))
        if router.inbox.full and self.state is OPEN:
            router.pause(self)

    def _acknowledge(self, data: bytes, count: int) -> None:
        if self._inbound is not None:
            self._inbound.unsafe -= count
        self.send(data)

    # PUBLISH, where there is more to it than a topic.

    def _admit(self, packet: Publish, inbound: Inbound, acknowledgements: list[bytes], now: int) -> bool:
        """Resolve the topic alias and account for the packet identifier; False where the message goes no further."""
        session = self.session
        try:
            if packet.properties is not None:
                inbound.resolve_alias(packet, packet.properties)
            if packet.qos and session is not None:
                return inbound.open_exchange(packet, session, acknowledgements, now)
        except PacketError as error:
            self._fail(error, now)
            return False
        return True

    def _retain(self, message: Message, now: int) -> bool:
        if self.version == MQTT_5_0 and not self._router.limits.max_retained_messages:
            error = PacketError("retained messages are not available", ReasonCode.RETAIN_NOT_SUPPORTED, "MQTT-3.2.2-14")
            self._fail(error, now)
            return False
        self._router.retain(message)
        return True

    def _deny(self, packet: Publish, acknowledgements: list[bytes], now: int) -> None:
        """The client may not publish that: MQTT 5 says so, older clients are answered as if (MQTT-3.3.5-2)."""
        self._router.statistics.dropped_not_authorized.value += 1
        if self._router.limits.deny_action == "disconnect":
            self.close(ReasonCode.NOT_AUTHORIZED, now)
            return
        if packet.qos and self.session is not None:
            acknowledgements.append(refusal(packet, self.session, self.version))

    # CONNECT.

    def _on_connect(self, packet: Connect, now: int) -> None:
        self.version = packet.protocol_version
        self.max_send_size = (packet.properties or {}).get("maximum_packet_size", 0)
        self.request = packet
        publisher = self.publisher
        publisher.client_id = packet.client_id
        publisher.username = packet.username
        publisher.protocol = PROTOCOLS[packet.protocol_version]
        try:
            check_connect(packet)
        except PacketError as error:
            self._refuse(error.reason_code, "protocol_error", now, str(error))
            return
        if not packet.client_id:
            publisher.client_id = self._router.new_client_id()
        self.state = AUTHENTICATING
        self.login = Login(publisher, packet.password)

    def refuse(self, now: int, reason: ReasonCode | None = None) -> None:
        """Authentication said no."""
        if self.state is not AUTHENTICATING:
            return
        self._router.statistics.auth_failures.value += 1
        if reason is None:
            named = self.publisher.username is not None
            reason = ReasonCode.BAD_USER_NAME_OR_PASSWORD if named else ReasonCode.NOT_AUTHORIZED
        authn = self._router.events.authn
        if authn is not None:
            authn(self.publisher, reason, False, now)
        self._refuse(reason, "not_authenticated", now)

    def accept(self, now: int, *, anonymous: bool = False) -> None:
        """Authentication said yes: answer, resume the session, and handle what came meanwhile."""
        packet = self.request
        if self.state is not AUTHENTICATING or packet is None:
            return
        self.login = None
        publisher = self.publisher
        authn = self._router.events.authn
        if authn is not None:
            authn(publisher, ReasonCode.SUCCESS, anonymous, now)
        if packet.will is not None and not may_publish(self._router, publisher, packet.will.topic, now):
            self._refuse(ReasonCode.NOT_AUTHORIZED, "will_not_authorized", now, "the will's topic is not allowed")
            return
        if packet.will is not None and packet.will.retain and not self._router.limits.max_retained_messages:
            self._refuse(ReasonCode.RETAIN_NOT_SUPPORTED, "protocol_error", now)
            return
        router = self._router
        terms = terms_of(packet, publisher.client_id, router.limits, self._decoder.max_packet_size)
        attached = router.attach(publisher.client_id, packet.clean_start, now)
        if attached is None:
            self._refuse(ReasonCode.QUOTA_EXCEEDED, "session_limit", now)
            return
        self._open(packet, terms, *attached, now)

    def _open(self, packet: Connect, terms: Terms, session: Session, present: bool, now: int) -> None:
        self.state = OPEN
        self.session = session
        self.last_received = self.connected_at = now
        self._patience = terms.keep_alive
        if packet.will is not None:
            self._will, self._will_delay = will_message(packet.will, self.publisher)
        packet.password = packet.will = None
        session.expiry = terms.expiry
        session.attach(self, terms.window)
        self._router.wheel.add(self, now)
        self._router.statistics.connection("accepted")
        self._answer(ConnAck(present, ReasonCode.SUCCESS, terms.properties), now)
        connected = self._router.events.connected
        if connected is not None:
            connected(self, now)
        session.pump(now)
        if not self.reading:
            self.reading = True
            self._router.dirty(self)
        held, self._held, self._held_bytes = self._held, None, 0
        if held:
            self._router.statistics.packets_received.value += len(held)
            self._handle(held, now)
        self._look_for_error(now)

    def _refuse(self, reason: int, result: str, now: int, text: str = "") -> None:
        """Answer CONNECT with a failure and close; no session has been touched."""
        self._answer(ConnAck(False, reason), now, text)
        self._end(result, now)

    def _answer(self, packet: ConnAck, now: int, text: str = "") -> None:
        connack = self._router.events.connack
        if connack is not None:
            connack(self, packet.reason_code, now)
        self._explain(packet, text)

    def _explain(self, packet: ConnAck | Disconnect, text: str) -> None:
        """Send ``packet`` with ``text`` as its reason string where the client takes that much."""
        data = encode(packet, self.version)
        if text and self.version == MQTT_5_0:
            packet.properties = {"reason_string": text}
            explained = encode(packet, self.version)
            if not self.max_send_size or len(explained) <= self.max_send_size:
                data = explained
        self._put(data)

    # Requests.

    def _on_subscribe(self, packet: Subscribe, now: int) -> None:
        session = self.session
        if session is not None:
            codes = requests.subscribe(self._router, session, self.publisher, packet, now)
            self.send(encode(SubAck(packet.packet_id, codes), self.version))
            session.pump(now)

    def _on_unsubscribe(self, packet: Unsubscribe, now: int) -> None:
        if self.session is not None:
            codes = requests.unsubscribe(self._router, self.session, self.publisher, packet, now)
            self.send(encode(UnsubAck(packet.packet_id, codes), self.version))

    def _on_pingreq(self, packet: PingReq, now: int) -> None:  # noqa: ARG002 - the table's signature
        ping = self._router.events.ping
        if ping is not None:
            ping(self, now)
        self.send(PINGRESP)

    # The end.

    def _on_disconnect(self, packet: Disconnect, now: int) -> None:
        session = self.session
        interval = (packet.properties or {}).get("session_expiry_interval")
        if interval is not None and session is not None:
            if interval and not session.expiry:
                error = PacketError("a session that ends with its connection cannot be kept", 0x82, "MQTT-3.14.2-2")
                self._fail(error, now)
                return
            session.expiry = capped_expiry(interval, self._router.limits)
        if packet.reason_code != ReasonCode.DISCONNECT_WITH_WILL:
            self._will = None
        self._end("disconnected", now, left_word(packet.reason_code), packet.properties)

    def _unexpected(self, packet: Packet, now: int) -> None:
        self._fail(PacketError(f"{packet.packet_type.name} has no place here", ReasonCode.PROTOCOL_ERROR), now)

    def _fail(self, error: PacketError, now: int) -> None:
        """The client did what it must not: say so as far as its version can, and close."""
        self._router.statistics.packet_error(error.reason_code)
        if self.state is OPEN:
            self.close(error.reason_code, now, str(error))
            return
        if isinstance(error, UnsupportedProtocol):
            self.version = error.answer_version
            self._answer(ConnAck(False, error.reason_code), now)
        elif self._decoder.version == MQTT_5_0:
            self.version = MQTT_5_0
            self._answer(ConnAck(False, error.reason_code), now)
        self._end("protocol_error", now)

    def close(self, reason: int, now: int, text: str = "", word: str = "") -> None:
        """Close from our side; an MQTT 5 client is told the reason, rules ``word``. The will is published."""
        if self.state is CLOSED:
            return
        if self.state is OPEN and self.version == MQTT_5_0:
            self._explain(Disconnect(reason), text)
        self._end(ReasonCode(reason).name.lower(), now, word or end_word(reason))

    def _end(self, result: str, now: int, word: str = "tcp_closed", properties: Properties | None = None) -> None:
        """``word`` and ``properties`` are what rules read of the end of a client that was let in."""
        self.state = CLOSED
        router = self._router
        session, self.session = self.session, None
        will, self._will = self._will, None
        self.login = self._held = self._inbound = None
        router.forget_paused(self)
        router.dirty(self)
        if session is None:
            self.request = None
            router.statistics.connection(result)
            return
        router.statistics.disconnect(result)
        if router.events.disconnected is not None:
            router.events.disconnected(self, word, properties, now)
        self.request = None
        router.detach(session, will, self._will_delay, now)

    # Output.

    def send(self, *parts: bytes) -> None:
        """Queue bytes for the client, one packet in any number of parts."""
        if self.state is OPEN:
            self._put(*parts)

    def _put(self, *parts: bytes) -> None:
        out = self._out
        if out is None:
            self._out = list(parts)
            self._router.dirty(self)
        else:
            out.extend(parts)
        for part in parts:
            self._buffered += len(part)
        if self._buffered > self._router.limits.max_write_buffer:
            self.writable = False


Handler = Callable[[Any, Any, int], None]

HANDLERS: Final[dict[tuple[State, type[Packet]], Handler]] = {
    (NEW, Connect): Connection._on_connect,
    (OPEN, PubAck): acknowledgements.on_puback,
    (OPEN, PubRec): acknowledgements.on_pubrec,
    (OPEN, PubRel): acknowledgements.on_pubrel,
    (OPEN, PubComp): acknowledgements.on_pubcomp,
    (OPEN, Subscribe): Connection._on_subscribe,
    (OPEN, Unsubscribe): Connection._on_unsubscribe,
    (OPEN, PingReq): Connection._on_pingreq,
    (OPEN, Disconnect): Connection._on_disconnect,
}
"""What is allowed when; what is absent is a protocol error. PUBLISH in OPEN is handled in ``Connection._handle``."""
