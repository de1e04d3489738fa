"""Messages of a remote MQTT broker, as if its clients were ours.

A message is acknowledged (PUBACK, PUBREC) when the inbox has it safely. While the inbox is full none is, and the broker
stops sending after ``max_in_flight``. With a session that is kept (``clean_start = false``) what comes while we are
away waits at the broker. Exactly once holds for QoS 2 through lost connections; what had not been acknowledged when
this process ended comes again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import ClassVar, Final, Literal, NamedTuple

import msgspec

from connections.mqtt.connection import MqttConnection
from connections.mqtt.listener import Incoming, Listener
from core import marks, topics
from core.errors import ConfigError, TopicError, Unavailable
from core.message import Message, Publisher
from gateways.base import Source, SourceContext

_PLACEHOLDER: Final = re.compile(r"\$\{([^{}]*)\}")
_MAX_TOPICS: Final = 65_536
_CAME: Final = {"user_properties": list(marks.signed((), 1))}
"""On every message that came: rules tell it by that from what own clients send, and other services go on counting."""


class Subscription(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """One subscription. Of several that match a topic the first decides where its messages go."""

    filter: str
    """A topic filter, also a shared one (``$share/group/filter``)."""
    qos: Literal[0, 1, 2] = 1
    """The most; a message comes with that of its publisher where this is less."""
    to: str = "${topic}"
    """The topic that rules see: ``${topic}`` is the remote one, ``${1}`` its first level, ``${2}`` its second."""


class _Route(NamedTuple):
    """A subscription with its filter as it matches, and the maker of the local topic."""

    filter: str
    local: Callable[[str], str]


class _Arrival(NamedTuple):
    message: Message
    packet_id: int
    qos: int


class MqttSource(Source, Listener):
    """Subscribes at a remote broker."""

    name: ClassVar[str] = "mqtt"
    connection_type: ClassVar[str | None] = "mqtt"

    class Config(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
        """What to read."""

        topics: list[Subscription]
        """``[{ filter = "plant/#", qos = 1, to = "site7/${topic}" }]``"""

    def __init__(self, config: Config, context: SourceContext) -> None:
        super().__init__(config, context)
        self._connection = context.connected(MqttConnection)
        if not config.topics:
            raise ConfigError("needs at least one subscription", path="topics", hint='[{ filter = "plant/#" }]')
        self._routes = [_route(one, f"topics.{index}") for index, one in enumerate(config.topics)]
        self._echoes = self._connection.echoes
        self._locals: dict[str | None, str | None] = {}
        self._publishers: dict[int, Publisher] = {}
        self._client = self._connection.client(f"source-{context.name}", self, fresh=False)
        self._subscribed = False
        self._held: list[_Arrival] = []
        self._loss: asyncio.Future[str] | None = None

    # -- its life -------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        await self._connection.join(self)
        if self._echoes is not None:  # not before: a reload makes sources that never open
            self._echoes.listen([route.filter for route in self._routes])
        self._loss = asyncio.get_running_loop().create_future()
        await self._client.connect()
        if not (self._subscribed and self._client.session_present):
            await self._client.subscribe([(one.filter, one.qos) for one in self.config.topics])
            self._subscribed = True

    async def run(self) -> None:
        if self._loss is not None:
            raise Unavailable(await self._loss)

    async def check(self) -> None:
        """As a client of its own: with the source's client id it would push out the one that runs."""
        await self._connection.check()

    async def close(self) -> None:
        self._held.clear()
        await self._client.disconnect()
        await self._connection.leave(self)

    # -- what the client tells ------------------------------------------------------------------------------------

    def received(self, message: Incoming) -> None:
        topic, payload, qos, retain, dup, packet_id, properties = message
        local = self._locals[topic] if topic in self._locals else self._route(topic)
        hops, now = 0, self.context.clock.now()
        if self._echoes is not None and topic is not None and self._echoes.came(topic, payload, now):
            self._refuse(message, "echo")
            return
        if properties:
            user = properties.get("user_properties", ())
            hops, sender, _ = marks.read(user)
            if sender == self._connection.mark:
                self._refuse(message, "echo")
                return
            properties = {**properties, "user_properties": list(marks.signed(user, hops + 1))}
        if local is None:
            self._refuse(message, "no_topic")
            return
        publisher = self._publishers.get(hops) or self._publisher(hops)
        found = Message(
            local, payload, qos, retain, dup, properties=properties or _CAME, publisher=publisher, received_ns=now
        )
        self._held.append(_Arrival(found, packet_id, qos))

    def _refuse(self, message: Incoming, reason: str) -> None:
        self.context.intake.drop(reason)
        if message.qos:
            self._client.confirm(message.packet_id, message.qos, self._client.epoch)

    def read(self) -> None:
        self.resume()

    def resume(self) -> None:
        held, intake = self._held, self.context.intake
        if not held:
            return
        if intake.full:  # QoS 0 waits for nobody
            self._held = [arrival for arrival in held if arrival.qos]
            held = [arrival for arrival in held if not arrival.qos]
            if not held:
                return
        else:
            self._held = []
        client, epoch = self._client, self._client.epoch

        def safe() -> None:
            for _, packet_id, qos in held:
                if qos:
                    client.confirm(packet_id, qos, epoch)

        intake.accept([arrival.message for arrival in held], safe)

    def lost(self, reason: str) -> None:
        for arrival in self._held:
            if arrival.qos == 2:
                self._client.discard(arrival.packet_id)
        self._held.clear()  # not acknowledged: the broker has them
        if self._loss is not None and not self._loss.done():
            self._loss.set_result(reason)

    # -- topics ---------------------------------------------------------------------------------------------------

    def _publisher(self, hops: int) -> Publisher:
        config = self._connection.config
        publisher = self._publishers[hops] = Publisher(
            self._client.client_id, peer_host=config.host, peer_port=self._client.port, hops=hops
        )
        return publisher

    def _route(self, topic: str | None) -> str | None:
        """The local topic of a remote one; None where it has none. Kept for the next time."""
        if topic is None:
            return None
        if len(self._locals) >= _MAX_TOPICS:
            self._locals.clear()
        local: str | None = None
        route = next((route for route in self._routes if topics.matches(route.filter, topic)), None)
        if route is not None:
            try:
                local = route.local(topic)
                topics.validate_name(local)
            except TopicError:
                local = None
        self._locals[topic] = local
        return local


def _route(subscription: Subscription, path: str) -> _Route:
    try:
        shared = topics.split_shared(subscription.filter)
        topic_filter = subscription.filter if shared is None else shared.topic_filter
        topics.validate_filter(topic_filter)
    except TopicError as error:
        raise ConfigError(str(error), path=f"{path}.filter") from None
    return _Route(topic_filter, _local(subscription.to, f"{path}.to"))


def _local(text: str, path: str) -> Callable[[str], str]:
    """A function from remote to local topics."""
    for name in _PLACEHOLDER.findall(text):
        if name != "topic" and not (name.isdigit() and int(name)):
            raise ConfigError(f"${{{name}}} is neither ${{topic}} nor the number of a level", path=path)
    try:
        topics.validate_name(_PLACEHOLDER.sub("x", text))
    except TopicError as error:  # every message would be dropped
        raise ConfigError(str(error), path=path, hint="a topic, such as site7/${topic}") from None
    if text == "${topic}":
        return lambda topic: topic

    def local(topic: str) -> str:
        levels = topic.split("/")

        def part(found: re.Match[str]) -> str:
            if found[1] == "topic":
                return topic
            index = int(found[1]) - 1
            return levels[index] if index < len(levels) else ""

        return _PLACEHOLDER.sub(part, text)

    return local
