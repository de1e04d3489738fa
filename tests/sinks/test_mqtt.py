"""Republishing: what becomes of rows, which rows are refused, and how loops end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker.packets import PacketType
from broker.properties import encode_properties
from core.clock import ManualClock
from core.errors import ConfigError, Rejected
from core.message import MISSING, Batch, Message, Row, Schema, Type
from sinks.base import SinkContext
from sinks.mqtt.sink import MqttSink

SCHEMA = Schema(("station", "qos", "retain", "payload"), (Type.ANY,) * 4)


def make(config: dict[str, Any], **ways: Any) -> tuple[MqttSink, list[Message]]:
    published: list[Message] = []
    ways = {"publish": published.extend, **ways}
    context = SinkContext(name="out", base_dir=Path(), clock=ManualClock(42), **ways)
    return MqttSink(msgspec.convert({"topic": "out/${station}", **config}, MqttSink.Config), context), published


def batch(*rows: Row, hops: int = 0, schema: Schema = SCHEMA) -> Batch:
    return Batch("out", "file.out", schema, list(rows), hops)


async def test_a_row_becomes_a_message_of_the_rule() -> None:
    sink, published = make({"payload": ""})
    await sink.write(batch(("cp1", 1, True, b"\xff"), hops=2))
    [message] = published
    assert (message.topic, message.qos, message.retain, message.received_ns) == ("out/cp1", 1, True, 42)
    assert message.payload == b'{"station":"cp1","qos":1,"retain":true,"payload":{"$hex":"FF"}}'
    publisher = message.publisher
    assert (publisher.client_id, publisher.rule, publisher.hops) == ("file.out", "file.out", 3)


@pytest.mark.parametrize(
    ("config", "row", "expected"),
    [
        ({}, ("s", MISSING, MISSING, ""), (0, False)),
        ({}, ("s", None, None, ""), (0, False)),
        ({}, ("s", "2", "true", ""), (2, True)),
        ({"qos": 1, "retain": True}, ("s", 0, False, ""), (1, True)),
        ({"qos": "2", "retain": "false"}, ("s", 0, True, ""), (2, False)),
    ],
)
async def test_qos_and_retain(config: dict[str, Any], row: Row, expected: tuple[int, bool]) -> None:
    sink, published = make(config)
    await sink.write(batch(row))
    assert (published[0].qos, published[0].retain) == expected


async def test_the_payload_template_keeps_bytes() -> None:
    sink, published = make({"payload": "${payload}"})
    await sink.write(batch(("s", 0, False, b"\xff\x00"), ("s", 0, False, {"a": 1}), ("s", 0, False, MISSING)))
    assert [message.payload for message in published] == [b"\xff\x00", b'{"a":1}', b"undefined"]


async def test_without_a_payload_the_column_of_that_name_is_sent_as_emqx_does() -> None:
    sink, published = make({})
    await sink.write(batch(("s", 0, False, b"\xff\x00"), ("s", 0, False, {"a": 1})))
    await sink.write(batch(("s", 1), schema=Schema(("station", "kw"), (Type.ANY,) * 2)))
    assert [message.payload for message in published] == [b"\xff\x00", b'{"a":1}', b'{"station":"s","kw":1}']


@pytest.mark.parametrize(
    ("pub_props", "pairs"),
    [
        ({"User-Property": {"a": "2"}, "User-Property-Pairs": [{"key": "a", "value": "1"}]}, [("a", "1")]),
        ({"User-Property": {"a": "2"}}, [("a", "2")]),
        ({"Content-Type": "x"}, None),
        (MISSING, None),
    ],
)
async def test_emqx_words_for_the_user_properties_of_the_message(pub_props: Any, pairs: Any) -> None:
    sink, published = make({"user_properties": "${pub_props.'User-Property'}"})
    await sink.write(batch(("s", pub_props), schema=Schema(("station", "pub_props"), (Type.ANY,) * 2)))
    properties = published[0].properties
    assert (properties and properties["user_properties"]) == pairs


async def test_direct_dispatch_goes_past_rules_and_retained_messages() -> None:
    direct: list[Message] = []
    sink, published = make({"direct_dispatch": True}, dispatch=direct.extend)
    await sink.write(batch(("s", 1, True, "x")))
    assert (len(direct), published) == (1, [])
    assert not sink.republishes
    assert make({})[0].republishes


async def test_a_message_that_the_broker_refuses_costs_no_other() -> None:
    refused = "x" * 70_000  # a property has 65,535 bytes at the most
    published: list[Message] = []

    def publish(messages: list[Message]) -> None:
        for message in messages:
            if message.properties:
                encode_properties(dict(message.properties), PacketType.PUBLISH)
        published.extend(messages)

    sink, _ = make({"user_properties": {"a": "${payload}"}}, publish=publish)
    with pytest.raises(Rejected) as caught:
        await sink.write(
            batch(("s", 0, False, "good"), ("s", 0, False, refused), ("#", 0, False, ""), ("t", 0, False, ""))
        )
    assert [message.topic for message in published] == ["out/s", "out/t"]
    assert [index for index, _ in caught.value.rows] == [1, 2]


async def test_properties_are_rendered() -> None:
    sink, published = make(
        {
            "mqtt_properties": {
                "payload_format_indicator": "${qos}",
                "message_expiry_interval": 60,
                "content_type": "text/${station}",
                "response_topic": "${retain}",
                "correlation_data": "${payload}",
            },
            "user_properties": {"site": "${station}", "absent": "${retain}"},
            "retain": False,
        }
    )
    await sink.write(batch(("s", 1, MISSING, b"\xff")))
    assert published[0].properties == {
        "payload_format_indicator": 1,
        "message_expiry_interval": 60,
        "content_type": "text/s",
        "correlation_data": b"\xff",
        "user_properties": [("site", "s")],
    }


@pytest.mark.parametrize(
    ("value", "pairs"),
    [
        ({"a": 1, "b": "x"}, [("a", "1"), ("b", "x")]),
        ([["a", "1"], ["a", "2"]], [("a", "1"), ("a", "2")]),
        ([{"key": "a", "value": True}], [("a", "true")]),
        ({}, None),
        (None, None),
        (MISSING, None),
    ],
)
async def test_user_properties_of_a_column(value: Any, pairs: Any) -> None:
    sink, published = make({"retain": False})
    schema = Schema(("station", "user_properties"), (Type.ANY,) * 2)
    await sink.write(batch(("s", value), schema=schema))
    properties = published[0].properties
    assert (properties and properties["user_properties"]) == pairs


@pytest.mark.parametrize(
    ("properties", "row", "reason"),
    [
        ({"payload_format_indicator": "${qos}"}, ("s", 2, "", ""), "payload_format_indicator is '2'"),
        ({"message_expiry_interval": "${payload}"}, ("s", 0, "", "-1"), "message_expiry_interval is '-1'"),
        ({"response_topic": "${payload}"}, ("s", 0, "", "a/#"), "contains '#'"),
        ({"content_type": "${payload}"}, ("s", 0, "", b"\xff"), "content_type is not UTF-8"),
    ],
)
async def test_properties_that_cannot_be(properties: dict[str, str], row: Row, reason: str) -> None:
    sink, published = make({"mqtt_properties": properties, "retain": False})
    with pytest.raises(Rejected, match=reason):
        await sink.write(batch(row))
    assert not published


@pytest.mark.parametrize("value", [7, "text", [1], [["a"]]])
async def test_a_column_that_is_no_user_properties(value: Any) -> None:
    sink, _ = make({"user_properties": "${payload}", "retain": False})
    with pytest.raises(Rejected, match="user_properties"):
        await sink.write(batch(("s", 0, "", value)))


async def test_rows_that_cannot_be_published_are_refused_and_the_others_are_not() -> None:
    sink, published = make({"topic": "${station}"})
    bad: list[Row] = [
        ("", 0, False, ""),
        ("a/#", 0, False, ""),
        ("a\0", 0, False, ""),
        (b"\xff", 0, False, ""),
        ("x" * 70_000, 0, False, ""),
        ("a", 3, False, ""),
        ("a", 0, "perhaps", ""),
        ("a", 0, False, object()),
    ]
    with pytest.raises(Rejected) as caught:
        await sink.write(batch(("good", 0, False, ""), *bad, ("good too", 0, False, "")))
    assert [message.topic for message in published] == ["good", "good too"]
    assert [index for index, _ in caught.value.rows] == list(range(1, len(bad) + 1))
    assert all(reason for _, reason in caught.value.rows)


async def test_rows_that_went_round_too_often_are_refused() -> None:
    sink, published = make({"max_hops": 2})
    await sink.write(batch(("s", 0, False, ""), hops=1))
    with pytest.raises(Rejected, match="passed 2 rules already") as caught:
        await sink.write(batch(("s", 0, False, ""), ("s", 0, False, ""), hops=2))
    assert len(published) == 1
    assert [index for index, _ in caught.value.rows] == [0, 1]


async def test_what_has_passed_other_rules_says_so() -> None:
    """Another service may read it from our broker and send it back."""
    for config, before in (({"user_properties": {"a": "b", "headrace-hops": "9"}}, [("a", "b")]), ({}, [])):
        sink, published = make(config)
        for hops in (0, 1, 4):
            await sink.write(batch(("s", 0, False, ""), hops=hops))
        own, *others = [(message.properties or {}).get("user_properties", []) for message in published]
        assert own == [*before, *([("headrace-hops", "9")] if before else [])]
        assert others == [[*before, ("headrace-hops", "2")], [*before, ("headrace-hops", "5")]]


async def test_many_schemas_do_not_pile_up() -> None:
    sink, published = make({})
    for number in range(600):
        await sink.write(batch(("s", number), schema=Schema(("station", f"c{number}"), (Type.ANY, Type.ANY))))
    assert len(published) == 600
    assert len(sink._bound) <= 256


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"topic": "a/#"}, "topic: topic name 'a/#' contains '#'"),
        ({"topic": ""}, "topic: a topic name must have at least one character"),
        ({"qos": "3"}, "qos: '3' is none of 0, 1, 2"),
        ({"retain": "maybe"}, "retain: 'maybe' is none of true"),
        ({"direct_dispatch": True}, "direct_dispatch: is for messages into the own broker"),
        ({"user_properties": "a=${b}"}, "user_properties: is not a single placeholder"),
        ({"mqtt_properties": {"response_topic": "a/+"}}, "mqtt_properties.response_topic: topic name"),
    ],
)
def test_wrong_settings(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(config)


def test_without_a_broker() -> None:
    with pytest.raises(ConfigError, match="there is none here"):
        MqttSink(MqttSink.Config(topic="x"), SinkContext(name="out", base_dir=Path()))
