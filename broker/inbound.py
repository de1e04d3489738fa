"""What one client publishes: may it, under which topic, and does its packet identifier open a new exchange.

Made with a connection's first PUBLISH, so that one that only listens does without. Bounds: topic aliases by the
announced maximum, remembered permissions by ``_MAX_PERMISSIONS``, unanswered messages of an MQTT 5 client by the
receive maximum. Where messages go is the business of ``broker.connection`` and ``broker.router``.
"""

from __future__ import annotations

from typing import Any, Final

from broker.encode import encode, encode_pubrec
from broker.packets import MQTT_5_0, PubAck, Publish, PubRec, ReasonCode
from broker.rights import may_publish, remembered
from broker.router import Router
from broker.session import Session
from core import marks
from core.errors import PacketError
from core.message import Message, Publisher

_MAX_PERMISSIONS: Final = 1_024


class Inbound:
    """``permitted`` remembers answers by topic.

    Messages of QoS 1 that wait to be acknowledged: ``fresh`` are those of the present read, ``unsafe`` those of earlier
    ones. Those of QoS 2 stand in the session until they are released.
    """

    __slots__ = ("_publisher", "_router", "_topics", "_travelled", "_version", "fresh", "permitted", "unsafe")

    def __init__(self, router: Router, publisher: Publisher, version: int) -> None:
        self._router = router
        self._publisher = publisher
        self._version = version
        self._topics: dict[int, str] | None = None
        self._travelled: dict[int, Publisher] | None = None
        self.permitted: dict[str, bool] = {}
        self.fresh = 0
        self.unsafe = 0

    def may_publish(self, topic: str, now: int) -> bool:
        """Whether the client may publish to ``topic``: asked once, then remembered."""
        permitted = self.permitted
        known = permitted.get(topic)
        if known is not None:
            return remembered(self._router, self._publisher, topic, known, now)
        if len(permitted) >= _MAX_PERMISSIONS:
            permitted.clear()
        allowed = permitted[topic] = may_publish(self._router, self._publisher, topic, now)
        return allowed

    def publisher_of(self, properties: dict[str, Any]) -> Publisher:
        """Who published a message with these properties: one that a bridge has brought has passed rules before."""
        user = properties.get("user_properties")
        hops = marks.read(user).hops if user else 0
        known = self._publisher
        if not hops:
            return known
        if self._travelled is None:
            self._travelled = {}
        publisher = self._travelled.get(hops)
        if publisher is None:
            publisher = self._travelled[hops] = Publisher(
                known.client_id,
                username=known.username,
                peer_host=known.peer_host,
                peer_port=known.peer_port,
                protocol=known.protocol,
                hops=hops,
            )
        return publisher

    def resolve_alias(self, packet: Publish, properties: dict[str, Any]) -> None:
        """Give ``packet`` the topic that its alias stands for, and take the alias away."""
        if "subscription_identifier" in properties:
            raise PacketError(
                "a client's PUBLISH has a subscription identifier", ReasonCode.PROTOCOL_ERROR, "MQTT-3.3.4-6"
            )
        alias = properties.pop("topic_alias", None)
        if not properties:
            packet.properties = None
        if alias is None:
            return
        if alias > self._router.limits.topic_alias_maximum:
            raise PacketError(
                f"topic alias {alias} is above the maximum", ReasonCode.TOPIC_ALIAS_INVALID, "MQTT-3.3.2-9"
            )
        topics = self._topics
        if packet.topic:
            if topics is None:
                topics = self._topics = {}
            topics[alias] = packet.topic
            return
        topic = topics.get(alias) if topics else None
        if topic is None:
            raise PacketError(
                f"topic alias {alias} stands for nothing yet", ReasonCode.PROTOCOL_ERROR, "MQTT5 3.3.2.3.4"
            )
        packet.topic = topic

    def open_exchange(self, packet: Publish, session: Session, acknowledgements: list[bytes], now: int) -> bool:
        """Account for a message of QoS 1 or 2; False for a QoS 2 one that is ours already, which is answered again."""
        inbound = session.inbound
        if packet.qos == 2 and inbound and packet.packet_id in inbound:
            # MQTT-4.3.3-10: only our answer may have been lost.
            if not packet.dup:  # or it is another message by a number that is taken
                self._router.statistics.dropped_identifier_in_use.value += 1
                self._drop(packet, "packet_identifier_inuse", now)
            acknowledgements.append(encode_pubrec(packet.packet_id))
            return False
        waiting = self.unsafe + self.fresh + len(inbound or ())
        if self._version == MQTT_5_0 and waiting >= self._router.limits.receive_maximum:
            self._drop(packet, "receive_maximum_exceeded", now)
            raise PacketError(
                "more messages than the receive maximum wait for an answer",
                ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
                "MQTT-3.3.4-7",
            )
        if packet.qos == 1:
            self.fresh += 1
        else:
            if inbound is None:
                inbound = session.inbound = set()
            inbound.add(packet.packet_id)
        return True

    def _drop(self, packet: Publish, reason: str, now: int) -> None:
        dropped = self._router.events.dropped
        if dropped is not None:
            fields = (packet.topic, packet.payload, packet.qos, packet.retain, packet.dup, packet.properties)
            publisher = self._publisher if packet.properties is None else self.publisher_of(packet.properties)
            dropped(Message(*fields, publisher, now), reason, now)


def refusal(packet: Publish, session: Session, version: int) -> bytes:
    """The answer to a message of QoS 1 or 2 that is not allowed: MQTT 5 says so, older clients are answered as if."""
    code = ReasonCode.NOT_AUTHORIZED if version == MQTT_5_0 else ReasonCode.SUCCESS
    answer = PubAck if packet.qos == 1 else PubRec
    if packet.qos == 2 and code and session.inbound:
        # A PUBREC that fails ends the exchange: the identifier is free again (MQTT-4.3.3-9).
        session.inbound.discard(packet.packet_id)
    return encode(answer(packet.packet_id, code), version)
