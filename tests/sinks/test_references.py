"""Columns that templates name and no rule yields, for every sink that has templates."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from core.message import Schema, Type
from sinks.base import Sink
from sinks.http.sink import HttpSink
from sinks.influxdb.sink import InfluxdbSink
from sinks.kafka.sink import KafkaSink
from sinks.mqtt.sink import MqttSink
from sinks.references import unknown_columns

ONE = Schema(("station", "kw", "a.b"), (Type.ANY,) * 3)
OTHER = Schema(("station", "rare"), (Type.ANY,) * 2)


def found(sink: type[Sink], config: dict[str, Any], *schemas: Schema) -> list[tuple[str, str, str]]:
    settings = msgspec.convert(config, sink.Config)
    return [(".".join(path), message, hint) for path, message, hint in unknown_columns(sink, settings, schemas)]


@pytest.mark.parametrize(
    ("sink", "config", "path"),
    [
        (MqttSink, {"topic": "x/${statoin}"}, "topic"),
        (MqttSink, {"topic": "x", "qos": "${statoin}"}, "qos"),
        (MqttSink, {"topic": "x", "retain": "${.statoin.x}"}, "retain"),
        (MqttSink, {"topic": "x", "payload": "${.} ${statoin}"}, "payload"),
        (MqttSink, {"topic": "x", "mqtt_properties": {"content_type": "${statoin}"}}, "mqtt_properties.content_type"),
        (MqttSink, {"topic": "x", "user_properties": {"a": "${statoin}"}}, "user_properties.a"),
        (MqttSink, {"topic": "x", "user_properties": "${statoin}"}, "user_properties"),
        (HttpSink, {"url": "http://h/${statoin}"}, "url"),
        (HttpSink, {"body": '{"a": "${statoin}"}'}, "body"),
        (HttpSink, {"headers": {"X-A": "${statoin}"}}, "headers.X-A"),
        (HttpSink, {"idempotency_key": "${statoin}"}, "idempotency_key"),
        (KafkaSink, {"topic": "${statoin}"}, "topic"),
        (KafkaSink, {"topic": "t", "key": "${statoin}"}, "key"),
        (KafkaSink, {"topic": "t", "value": "${statoin}"}, "value"),
        (KafkaSink, {"topic": "t", "headers": {"a": "${statoin}"}}, "headers.a"),
        (InfluxdbSink, {"measurement": "${statoin}"}, "measurement"),
        (InfluxdbSink, {"write_syntax": "m,s=${station} kw=${statoin}"}, "write_syntax"),
    ],
)
def test_every_template_is_looked_into(sink: type[Sink], config: dict[str, Any], path: str) -> None:
    assert found(sink, config, ONE) == [(path, "no rule yields 'statoin'", "did you mean 'station'?")]


def test_what_is_no_mistake() -> None:
    config = {"topic": "${station}/${kw.x}/${a.b}/${rare}/${$}{zzz}/${}", "payload": "${$}{kw $ { } $${kw}{"}
    assert found(MqttSink, config, ONE, OTHER) == []  # qos and retain default to columns that need not be there
    assert found(MqttSink, {"topic": "${station}/${rare}"}) == []  # no rule yet


@pytest.mark.parametrize("text", ["x/${station", "${station}/${kw", "${ station {}"])
def test_a_placeholder_that_is_not_closed(text: str) -> None:
    assert found(MqttSink, {"topic": text}) == [
        ("topic", "has a ${ that is not closed", "add the }, or write ${$}{ for these two characters")
    ]


def test_all_at_once_and_each_once() -> None:
    config = {"topic": "${zzz}/${zzz.a}/${a}", "payload": "${kw} ${zzz}"}
    hint = "they yield station, kw, a.b"
    assert found(MqttSink, config, ONE) == [
        ("topic", "no rule yields 'zzz'", hint),
        ("topic", "no rule yields 'a'", hint),
        ("payload", "no rule yields 'zzz'", hint),
    ]


def test_emqx_words_for_the_user_properties_of_a_message_need_its_properties() -> None:
    config = {"topic": "x", "user_properties": "${pub_props.'User-Property'}"}
    assert found(MqttSink, config, ONE) == [
        ("user_properties", "no rule yields 'pub_props'", "they yield station, kw, a.b")
    ]
    assert found(MqttSink, config, Schema(("pub_props",), (Type.ANY,))) == []
