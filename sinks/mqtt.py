"""Republishes rows into the own broker: each row becomes one message, its parts rendered from templates.

Delivered means: handed to the router. The loop guard has two halves: rules skip what they themselves have
republished (``publisher.rule``), and rows that have passed ``max_hops`` rules are rejected here, which ends every
ring of several rules.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal, NamedTuple

import msgspec

from core import topics
from core.errors import ConfigError, PayloadError, Rejected, TopicError
from core.message import Batch, Message, Publisher, Row, Schema
from sinks.base import Sink, SinkContext
from sinks.template import Renderer, Template, render_value

_QOS: Final = {b"0": 0, b"1": 1, b"2": 2, b"undefined": 0, b"null": 0}
_RETAIN: Final = {b"true": True, b"1": True, b"false": False, b"0": False, b"undefined": False, b"null": False}
_MAX_SCHEMAS: Final = 256


class _Renderers(NamedTuple):
    """The templates of one sink, bound to one schema."""

    topic: Renderer
    qos: Renderer
    retain: Renderer
    payload: Renderer


class MqttSink(Sink):
    """Publishes into the broker of this process, as client ``<rule>``."""

    name: ClassVar[str] = "mqtt"

    class Config(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
        """Texts take ``${column}`` and ``${column.key}``."""

        topic: str
        """The topic to publish to. A row whose topic is empty or has a wildcard is rejected."""
        qos: Literal[0, 1, 2] | str = "${qos}"
        """0, 1, 2 or a template; a missing value means 0."""
        retain: bool | str = "${retain}"
        """true, false or a template; a missing value means false."""
        payload: str = ""
        """Empty: the whole row as a JSON object."""
        max_hops: int = 8
        """Rows that have passed this many rules before are rejected: the rules feed one another."""

    def __init__(self, config: Config, context: SinkContext) -> None:
        super().__init__(config, context)
        if context.publish is None:
            raise ConfigError("the mqtt sink republishes into the own broker, and there is none here")
        self._publish = context.publish
        self._topic = Template(config.topic)
        if self._topic.constant is not None:
            try:
                topics.validate_name(self._topic.constant)
            except TopicError as error:
                raise ConfigError(str(error), path="topic") from error
        self._qos = self._choice("qos", config.qos, _QOS)
        self._retain = self._choice("retain", config.retain, _RETAIN)
        self._payload = Template(config.payload or "${.}")
        self._renderers: dict[Schema, _Renderers] = {}

    @staticmethod
    def _choice(setting: str, value: Any, choices: dict[bytes, Any]) -> Template:
        text = value if isinstance(value, str) else render_value(value).decode()
        template = Template(text)
        if template.constant is not None and template.constant.encode() not in choices:
            known = ", ".join(choice.decode() for choice in choices)
            raise ConfigError(f"{text!r} is none of {known} and no template", path=setting)
        return template

    async def open(self) -> None:
        """The broker is in this process."""

    async def write(self, batch: Batch) -> None:
        if batch.hops >= self.config.max_hops:
            reason = f"passed {batch.hops} rules already, max_hops is {self.config.max_hops}: rules feed one another"
            raise Rejected(reason, [(index, reason) for index in range(len(batch.rows))])
        renderers = self._bound(batch.schema)
        publisher = Publisher(batch.rule, rule=batch.rule, hops=batch.hops + 1)
        now = self.context.clock.now()
        messages: list[Message] = []
        dead: list[tuple[int, str]] = []
        for index, row in enumerate(batch.rows):
            try:
                messages.append(_message(renderers, row, publisher, now))
            except (TopicError, PayloadError) as error:
                dead.append((index, str(error)))
        if messages:
            self._publish(messages)
        if dead:
            raise Rejected(f"{len(dead)} rows cannot be published", dead)

    def _bound(self, schema: Schema) -> _Renderers:
        renderers = self._renderers.get(schema)
        if renderers is None:
            if len(self._renderers) >= _MAX_SCHEMAS:
                self._renderers.clear()
            parts = (self._topic, self._qos, self._retain, self._payload)
            renderers = self._renderers[schema] = _Renderers(*[part.bind(schema) for part in parts])
        return renderers

    async def close(self) -> None:
        """Nothing to release."""


def _message(renderers: _Renderers, row: Row, publisher: Publisher, now: int) -> Message:
    try:
        topic = renderers.topic(row).decode()
    except UnicodeDecodeError:
        raise PayloadError("the topic is not UTF-8", "utf-8") from None
    topics.validate_name(topic)
    qos, retain = renderers.qos(row), renderers.retain(row)
    if qos not in _QOS:
        raise PayloadError(f"qos is {qos.decode(errors='replace')!r}, not 0, 1 or 2", "mqtt")
    if retain not in _RETAIN:
        raise PayloadError(f"retain is {retain.decode(errors='replace')!r}, not true or false", "mqtt")
    return Message(topic, renderers.payload(row), _QOS[qos], _RETAIN[retain], publisher=publisher, received_ns=now)
