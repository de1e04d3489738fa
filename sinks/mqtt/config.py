"""The settings of the mqtt sink, in EMQX's words where it has them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from core.marks import MAX_HOPS, MOST_HOPS


class MqttProperties(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Properties of MQTT 5. A text that is a single placeholder leaves its property out where the value is null."""

    payload_format_indicator: Literal[0, 1] | str | None = None
    """1: the payload is UTF-8 text."""
    message_expiry_interval: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)] | str | None = None
    """Seconds after which a broker no longer delivers the message."""
    content_type: str | None = None
    """What the payload is, such as ``application/json``."""
    response_topic: str | None = None
    """Where an answer is expected."""
    correlation_data: str | None = None
    """By what the asker knows the answer; bytes stay bytes."""


class Config(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Texts take ``${column}`` and ``${column.key}``."""

    topic: str
    """The topic to publish to. A row whose topic is empty or has a wildcard is rejected."""
    qos: Literal[0, 1, 2] | str = "${qos}"
    """0, 1, 2 or a template; a missing value means 0."""
    retain: bool | str = "${retain}"
    """true, false or a template; a missing value means false."""
    payload: str | None = None
    """Empty: the whole row as a JSON object. Not there: without a connection the column ``payload`` of rules that yield
    one, as in EMQX, else the whole row."""
    mqtt_properties: MqttProperties = MqttProperties()
    """``{ content_type = "application/json", message_expiry_interval = 3600 }``"""
    user_properties: str | dict[str, str] = "${user_properties}"
    """A column with an object, or with a list of pairs; or a table, name = text."""
    direct_dispatch: bool = False
    """Without a connection: give messages to the clients that are subscribed and to nobody else. No rule sees them, and
    none is retained."""
    max_hops: Annotated[int, msgspec.Meta(ge=1, le=MOST_HOPS)] = MAX_HOPS
    """Rows that have passed this many rules before, here and in the services bridged to, are rejected: a loop."""
