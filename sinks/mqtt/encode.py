"""Rows -> publications: topic, payload and what goes with them, compiled once per schema. Pure.

A row that cannot be a message raises TopicError or PayloadError with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from core import topics
from core.errors import ConfigError, PayloadError, TopicError
from core.message import MISSING, Row, Schema
from sinks.mqtt.config import Config
from sinks.template import Template, render_value

_QOS: Final = {b"0": 0, b"1": 1, b"2": 2, b"undefined": 0, b"null": 0}
_RETAIN: Final = {b"true": True, b"1": True, b"false": False, b"0": False, b"undefined": False, b"null": False}
_FORMAT: Final = {b"0": 0, b"1": 1}
FORWARDED: Final = "${pub_props.'User-Property'}"
"""EMQX's way of saying: the user properties of the message that the rule has read."""
_MAX_EXPIRY: Final = 0xFFFF_FFFF

Pairs = tuple[tuple[str, str], ...]
Properties = tuple[tuple[str, Any], ...]


class Publication(NamedTuple):
    """A message to be. ``properties`` are pairs by their names in ``core.message``, ``user`` the user properties."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: Properties
    user: Pairs


Encode = Callable[[Row], Publication]


@lru_cache(16_384)
def _topic(rendered: bytes) -> str:
    try:
        topic = rendered.decode()
    except UnicodeDecodeError:
        raise PayloadError("the topic is not UTF-8", "utf-8") from None
    topics.validate_name(topic)
    return topic


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise PayloadError(f"{name} is not UTF-8", "utf-8") from None


def _format(value: bytes) -> int:
    if value not in _FORMAT:
        raise PayloadError(f"payload_format_indicator is {value.decode(errors='replace')!r}, not 0 or 1", "mqtt")
    return _FORMAT[value]


def _expiry(value: bytes) -> int:
    if not value.isdigit() or int(value) > _MAX_EXPIRY:
        text = value.decode(errors="replace")
        raise PayloadError(f"message_expiry_interval is {text!r}, not a number of seconds", "mqtt")
    return int(value)


_PROPERTIES: Final[dict[str, Callable[[bytes], Any]]] = {
    "payload_format_indicator": _format,
    "message_expiry_interval": _expiry,
    "content_type": lambda value: _text("content_type", value),
    "response_topic": _topic,
    "correlation_data": lambda value: value,
}


def _pair(item: Any) -> tuple[str, str]:
    if isinstance(item, dict) and item.keys() == {"key", "value"}:
        item = (item["key"], item["value"])
    if not isinstance(item, list | tuple) or len(item) != 2:
        raise PayloadError("user_properties has an entry that is no pair", "mqtt")
    name, value = (_text("a user property", render_value(part)) for part in item)
    return name, value


def _pairs(value: Any) -> Pairs:
    """The user properties in an object or a list of pairs."""
    if value is None or value is MISSING:
        return ()
    if isinstance(value, dict):
        value = list(value.items())
    if not isinstance(value, list):
        raise PayloadError("user_properties is neither an object nor a list of pairs", "mqtt")
    return tuple(_pair(item) for item in value)


def _forwarded(properties: Any) -> Any:
    """The user properties of a message among its properties, by EMQX's names: all pairs, else one of each name."""
    if not isinstance(properties, dict):
        return MISSING
    pairs = properties.get("User-Property-Pairs", MISSING)
    return properties.get("User-Property", MISSING) if pairs is MISSING else pairs


def choice(setting: str, value: Any, choices: dict[bytes, Any]) -> Template:
    """The template of a setting whose text must be one of ``choices``; ConfigError where it can never be."""
    text = value if isinstance(value, str) else render_value(value).decode()
    template = Template(text)
    if template.constant is not None and template.constant.encode() not in choices:
        known = ", ".join(choice.decode() for choice in choices)
        raise ConfigError(f"{text!r} is none of {known} and no template", path=setting)
    return template


class Encoder:
    """The templates of one sink; ConfigError where one can never give what it should.

    ``republishes``: the payload is by default a column, see ``Config.payload``.
    """

    def __init__(self, config: Config, *, republishes: bool) -> None:
        self._topic = Template(config.topic)
        if self._topic.constant is not None:
            try:
                topics.validate_name(self._topic.constant)
            except TopicError as error:
                raise ConfigError(str(error), path="topic") from error
        self._qos = choice("qos", config.qos, _QOS)
        self._retain = choice("retain", config.retain, _RETAIN)
        self._payload = Template(config.payload or "${.}")
        self._own_payload = Template("${payload}") if republishes and config.payload is None else None
        self._properties: list[tuple[str, Template]] = []
        for name, convert in _PROPERTIES.items():
            value = getattr(config.mqtt_properties, name)
            if value is None:
                continue
            template = Template(str(value))
            if template.constant is not None:
                try:
                    convert(template.constant.encode())
                except (PayloadError, TopicError) as error:
                    raise ConfigError(str(error), path=f"mqtt_properties.{name}") from None
            self._properties.append((name, template))
        self._user: Template | dict[str, Template]
        if isinstance(config.user_properties, str):
            self._forwards = config.user_properties == FORWARDED
            self._user = Template("${pub_props}" if self._forwards else config.user_properties)
            if config.user_properties and self._user.bind_value(Schema((), ())) is None:
                hint = 'a table has texts: { name = "text" }'
                raise ConfigError("is not a single placeholder, such as ${column}", path="user_properties", hint=hint)
        else:
            self._forwards = False
            self._user = {name: Template(text) for name, text in config.user_properties.items()}

    @property
    def has_properties(self) -> bool:
        """Whether the settings ask for anything that MQTT 3.1.1 cannot carry."""
        return bool(self._properties) or isinstance(self._user, dict)

    def bind(self, schema: Schema) -> Encode:
        """A function that makes a publication of a row of ``schema``."""
        own = self._own_payload if "payload" in schema.names else None
        topic_of, payload_of = self._topic.bind(schema), (own or self._payload).bind(schema)
        qos_of, retain_of = self._qos.bind(schema), self._retain.bind(schema)
        properties_of, user_of = self._bind_properties(schema), self._bind_user(schema)

        def encode(row: Row) -> Publication:
            qos, retain = qos_of(row), retain_of(row)
            if qos not in _QOS:
                raise PayloadError(f"qos is {qos.decode(errors='replace')!r}, not 0, 1 or 2", "mqtt")
            if retain not in _RETAIN:
                raise PayloadError(f"retain is {retain.decode(errors='replace')!r}, not true or false", "mqtt")
            return Publication(
                _topic(topic_of(row)),
                payload_of(row),
                _QOS[qos],
                _RETAIN[retain],
                properties_of(row) if properties_of is not None else (),
                user_of(row) if user_of is not None else (),
            )

        return encode

    def _bind_properties(self, schema: Schema) -> Callable[[Row], Properties] | None:
        bound = [(name, _PROPERTIES[name], template.bind_nullable(schema)) for name, template in self._properties]
        if not bound:
            return None

        def properties(row: Row) -> Properties:
            rendered = [(name, convert, render(row)) for name, convert, render in bound]
            return tuple((name, convert(value)) for name, convert, value in rendered if value is not None)

        return properties

    def _bind_user(self, schema: Schema) -> Callable[[Row], Pairs] | None:
        if isinstance(self._user, dict):
            bound = [(name, template.bind_nullable(schema)) for name, template in self._user.items()]

            def texts(row: Row) -> Pairs:
                rendered = [(name, render(row)) for name, render in bound]
                return tuple((name, _text(name, value)) for name, value in rendered if value is not None)

            return texts if bound else None
        value_of = self._user.bind_value(schema)
        if value_of is None:
            return None
        if self._forwards:
            return lambda row: _pairs(_forwarded(value_of(row)))
        return lambda row: _pairs(value_of(row))


def encoded(encode: Encode, rows: list[Row]) -> tuple[list[Publication], list[int], list[tuple[int, str]]]:
    """The publications of rows with the positions of these, and the rows that cannot be one with the reason."""
    publications: list[Publication] = []
    places: list[int] = []
    dead: list[tuple[int, str]] = []
    for index, row in enumerate(rows):
        try:
            publications.append(encode(row))
        except (TopicError, PayloadError) as error:
            dead.append((index, str(error)))
        else:
            places.append(index)
    return publications, places, dead
