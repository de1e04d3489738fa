"""The mqtt sink: without a connection it republishes into the own broker, with one it is a bridge to another.

Republishing delivers to the router of this process. The loop guard has two halves: rules skip what they themselves have
republished (``publisher.rule``), and rows that have passed ``max_hops`` rules are rejected here, which ends every ring
of several rules. What leaves this process carries the number along, once it is more than one or crosses a bridge. How
the bridge delivers: :mod:`sinks.mqtt.bridge`.
"""

from __future__ import annotations

from typing import ClassVar, Final

from connections.mqtt.connection import MqttConnection
from core.errors import ConfigError, HeadraceError, Rejected
from core.marks import signed
from core.message import Batch, Message, Publisher, Schema
from sinks.base import Sink, SinkContext
from sinks.mqtt.bridge import Bridge
from sinks.mqtt.config import Config as MqttSinkConfig
from sinks.mqtt.encode import Encode, Encoder, Publication, encoded

_MAX_SCHEMAS: Final = 256


class MqttSink(Sink):
    """Publishes every row: into the broker of this process as client ``<rule>``, or over a connection to another."""

    name: ClassVar[str] = "mqtt"
    connection_type: ClassVar[str | None] = "mqtt"
    connection_required: ClassVar[bool] = False
    templates: ClassVar[tuple[str, ...]] = ("topic", "qos", "retain", "payload", "mqtt_properties", "user_properties")
    Config = MqttSinkConfig

    def __init__(self, config: MqttSinkConfig, context: SinkContext) -> None:
        super().__init__(config, context)
        self._encoder = Encoder(config, republishes=context.connection is None)
        self._bound: dict[Schema, Encode] = {}
        self._connection: MqttConnection | None = None
        self._bridge: Bridge | None = None
        if context.connection is not None:
            self._connection = context.connected(MqttConnection)
            if self._connection.config.version != "5" and self._encoder.has_properties:
                raise ConfigError("MQTT 3.1.1 has no properties", path="mqtt_properties", hint='version = "5" has')
        elif context.publish is None:
            raise ConfigError("the mqtt sink republishes into the own broker, and there is none here")
        if config.direct_dispatch and (self._connection is not None or context.dispatch is None):
            raise ConfigError("is for messages into the own broker", path="direct_dispatch", hint="leave it away")
        self._publish = context.dispatch if config.direct_dispatch else context.publish
        self.republishes = self._connection is None and not config.direct_dispatch

    async def open(self) -> None:
        if self._connection is not None:
            await self._connection.join(self)
            if self._bridge is None:
                self._bridge = Bridge(self._connection, self.context.name, self.context.clock)
            await self._bridge.open()

    async def check(self) -> None:
        """As a client of its own: with the sink's client id it would push out the one that runs."""
        if self._connection is not None:
            await self._connection.check()

    async def write(self, batch: Batch) -> None:
        if batch.hops >= self.config.max_hops:
            reason = f"passed {batch.hops} rules already, max_hops is {self.config.max_hops}: rules feed one another"
            raise Rejected(reason, [(index, reason) for index in range(len(batch.rows))])
        encode = self._bind(batch.schema)
        if self._bridge is not None:
            dead = await self._bridge.write(batch, encode)
        else:
            dead = self._republish(batch, encode)
        if dead:
            raise Rejected(f"{len(dead)} rows cannot be published, the first: {dead[0][1]}", sorted(dead))

    def _republish(self, batch: Batch, encode: Encode) -> list[tuple[int, str]]:
        publications, places, dead = encoded(encode, batch.rows)
        publisher = Publisher(batch.rule, rule=batch.rule, hops=batch.hops + 1)
        now = self.context.clock.now()
        publish = self._publish
        if publications and publish is not None:
            messages = [_message(publication, publisher, now) for publication in publications]
            try:
                publish(messages)
            except HeadraceError:  # nothing was published, because one of them cannot be
                for place, message in zip(places, messages, strict=True):
                    try:
                        publish([message])
                    except HeadraceError as error:
                        dead.append((place, str(error)))
        return dead

    def _bind(self, schema: Schema) -> Encode:
        encode = self._bound.get(schema)
        if encode is None:
            if len(self._bound) >= _MAX_SCHEMAS:
                self._bound.clear()
            encode = self._bound[schema] = self._encoder.bind(schema)
        return encode

    async def close(self) -> None:
        bridge, self._bridge = self._bridge, None
        if bridge is not None:
            await bridge.close()
        if self._connection is not None:
            await self._connection.leave(self)


def _message(publication: Publication, publisher: Publisher, now: int) -> Message:
    topic, payload, qos, retain, given, user = publication
    if publisher.hops > 1:  # so that another service, which reads it here, goes on counting
        user = signed(user, publisher.hops)
    properties = None
    if given or user:
        properties = dict(given)
        if user:
            properties["user_properties"] = list(user)
    return Message(topic, payload, qos, retain, properties=properties, publisher=publisher, received_ns=now)
