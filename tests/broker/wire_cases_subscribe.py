"""Wire cases of SUBSCRIBE, UNSUBSCRIBE and their acknowledgements."""

# ruff: noqa: E501 - a case is a row of a table

from __future__ import annotations

from broker.packets import SubAck, Subscribe, Subscription, UnsubAck, Unsubscribe
from tests.broker.wire_case import (
    ALL,
    NO_PROPERTIES,
    OLD,
    REASON,
    USER,
    V3,
    V4,
    V5,
    WHY,
    WHY_WIRE,
    Case,
    bad,
    body,
    good,
    text,
)


def _subscribe() -> list[Case]:
    cases: list[Case] = []
    for version in OLD:
        cases += [
            good(
                "SUBSCRIBE",
                version,
                Subscribe(10, [Subscription("a/+", 1), Subscription("#", 2), Subscription("x")]),
                body(0x82, b"\x00\x0a", text("a/+"), b"\x01", text("#"), b"\x02", text("x"), b"\x00"),
            ),
            bad("SUBSCRIBE for nothing", version, 0x82, "MQTT-3.8.3-3", b"\x82\x02\x00\x01"),
            bad("SUBSCRIBE packet identifier 0", version, 0x82, "MQTT-2.3.1-1", body(0x82, b"\x00\x00", text("a"), b"\x00")),
            bad("SUBSCRIBE header flags", version, 0x81, "MQTT-3.8.1-1", body(0x80, b"\x00\x01", text("a"), b"\x00")),
            bad("SUBSCRIBE QoS 3", version, 0x81, "MQTT-3.8.3-4", body(0x82, b"\x00\x01", text("a"), b"\x03")),
            bad("SUBSCRIBE QoS missing", version, 0x81, "MQTT5 2.1.4", body(0x82, b"\x00\x01", text("a"))),
            bad("SUBSCRIBE empty filter", version, 0x8F, "MQTT-4.7.3-1", body(0x82, b"\x00\x01", text(""), b"\x00")),
            bad("SUBSCRIBE # not alone", version, 0x8F, "MQTT-4.7.1-2", body(0x82, b"\x00\x01", text("a#"), b"\x00")),
            bad("SUBSCRIBE # not last", version, 0x8F, "MQTT-4.7.1-2", body(0x82, b"\x00\x01", text("#/a"), b"\x00")),
            bad("SUBSCRIBE + not alone", version, 0x8F, "MQTT-4.7.1-3", body(0x82, b"\x00\x01", text("a+/b"), b"\x00")),
            bad("SUBSCRIBE filter with U+0000", version, 0x81, "MQTT-1.5.3-2", body(0x82, b"\x00\x01", text("\0"), b"\x00")),
        ]  # fmt: skip
    return [
        *cases,
        good("SUBSCRIBE repeated", V3, Subscribe(1, [Subscription("a")]), body(0x8A, b"\x00\x01", text("a"), b"\x00"), canonical=False),
        good("SUBSCRIBE unused bits set", V3, Subscribe(1, [Subscription("a", 1)]), body(0x82, b"\x00\x01", text("a"), b"\xfd"), canonical=False),
        bad("SUBSCRIBE repeated", V4, 0x81, "MQTT-3.8.1-1", body(0x8A, b"\x00\x01", text("a"), b"\x00")),
        bad("SUBSCRIBE reserved bits", V4, 0x81, "MQTT-3.8.3-4", body(0x82, b"\x00\x01", text("a"), b"\x04")),
        good("SUBSCRIBE", V5, Subscribe(1, [Subscription("a")]), body(0x82, b"\x00\x01\x00", text("a"), b"\x00")),
        good(
            "SUBSCRIBE with every option and property",
            V5,
            Subscribe(
                2,
                [
                    Subscription("a/#", 2, True, True, 2),
                    Subscription("$share/g/+", 1, False, True, 1),
                    Subscription("b", 0, True),
                ],
                {"subscription_identifier": [200], "user_properties": [("k", "v")]},
            ),
            body(0x82, b"\x00\x02\x0a\x0b\xc8\x01", USER, text("a/#"), b"\x2e", text("$share/g/+"), b"\x19", text("b"), b"\x04"),
        ),
        bad("SUBSCRIBE for nothing", V5, 0x82, "MQTT-3.8.3-2", b"\x82\x03\x00\x01\x00"),
        bad("SUBSCRIBE packet identifier 0", V5, 0x82, "MQTT-2.2.1-3", body(0x82, b"\x00\x00\x00", text("a"), b"\x00")),
        bad("SUBSCRIBE header flags", V5, 0x81, "MQTT-3.8.1-1", body(0x8A, b"\x00\x01\x00", text("a"), b"\x00")),
        bad("SUBSCRIBE QoS 3", V5, 0x82, "MQTT5 3.8.3.1", body(0x82, b"\x00\x01\x00", text("a"), b"\x03")),
        bad("SUBSCRIBE retain handling 3", V5, 0x82, "MQTT5 3.8.3.1", body(0x82, b"\x00\x01\x00", text("a"), b"\x30")),
        bad("SUBSCRIBE reserved bits", V5, 0x81, "MQTT-3.8.3-5", body(0x82, b"\x00\x01\x00", text("a"), b"\x40")),
        bad("SUBSCRIBE no-local and shared", V5, 0x82, "MQTT-3.8.3-4", body(0x82, b"\x00\x01\x00", text("$share/g/a"), b"\x04")),
        bad("SUBSCRIBE # not last", V5, 0x8F, "MQTT-4.7.1-1", body(0x82, b"\x00\x01\x00", text("a/#/b"), b"\x00")),
        bad("SUBSCRIBE + not alone", V5, 0x8F, "MQTT-4.7.1-2", body(0x82, b"\x00\x01\x00", text("+a"), b"\x00")),
        bad("SUBSCRIBE shared without a filter", V5, 0x8F, "MQTT-4.8.2-1", body(0x82, b"\x00\x01\x00", text("$share/g"), b"\x00")),
        bad("SUBSCRIBE shared with an empty filter", V5, 0x8F, "MQTT-4.8.2-1", body(0x82, b"\x00\x01\x00", text("$share/g/"), b"\x00")),
        bad("SUBSCRIBE shared with an empty group", V5, 0x8F, "MQTT-4.8.2-1", body(0x82, b"\x00\x01\x00", text("$share//a"), b"\x00")),
        bad("SUBSCRIBE shared with a wildcard group", V5, 0x8F, "MQTT-4.8.2-2", body(0x82, b"\x00\x01\x00", text("$share/+/a"), b"\x00")),
        bad("SUBSCRIBE subscription identifier 0", V5, 0x82, "MQTT5 3.8.2.1.2", body(0x82, b"\x00\x01\x02\x0b\x00", text("a"), b"\x00")),
        bad("SUBSCRIBE subscription identifier twice", V5, 0x82, "MQTT5 3.8.2.1.2", body(0x82, b"\x00\x01\x04\x0b\x01\x0b\x02", text("a"), b"\x00")),
        bad("SUBSCRIBE reason string", V5, 0x81, "MQTT5 2.2.2.2", body(0x82, b"\x00\x01\x06", REASON, text("a"), b"\x00")),
        good("SUBACK", V3, SubAck(1, [0, 2]), b"\x90\x04\x00\x01\x00\x02"),
        good("SUBACK", V4, SubAck(1, [0, 1, 2, 0x80]), b"\x90\x06\x00\x01\x00\x01\x02\x80"),
        good("SUBACK", V5, SubAck(1, [0, 1, 2, 0x80, 0x87, 0xA2]), b"\x90\x09\x00\x01\x00\x00\x01\x02\x80\x87\xa2"),
        good("SUBACK with properties", V5, SubAck(1, [0x97], WHY), body(0x90, b"\x00\x01", WHY_WIRE, b"\x97")),
        bad("SUBACK reserved return code", V4, 0x82, "MQTT-3.9.3-2", b"\x90\x03\x00\x01\x87"),
        bad("SUBACK unknown reason code", V5, 0x82, "MQTT-3.9.3-2", b"\x90\x04\x00\x01\x00\x03"),
        bad("SUBACK for nothing", V4, 0x82, "MQTT-3.9.3-1", b"\x90\x02\x00\x01"),
        bad("SUBACK for nothing", V5, 0x82, "MQTT-3.9.3-1", b"\x90\x03\x00\x01\x00"),
        bad("SUBACK packet identifier 0", V4, 0x82, "MQTT-2.3.1-1", b"\x90\x03\x00\x00\x00"),
        bad("SUBACK header flags", V4, 0x81, "MQTT-2.2.2-2", b"\x92\x03\x00\x01\x00"),
    ]  # fmt: skip


def _unsubscribe() -> list[Case]:
    cases: list[Case] = []
    for version in ALL:
        none = NO_PROPERTIES[version]
        no_zero = "MQTT-2.2.1-3" if version == V5 else "MQTT-2.3.1-1"
        cases += [
            good("UNSUBSCRIBE", version, Unsubscribe(3, ["a/+", "$share/g/#"]), body(0xA2, b"\x00\x03", none, text("a/+"), text("$share/g/#"))),
            bad("UNSUBSCRIBE for nothing", version, 0x82, "MQTT-3.10.3-2", body(0xA2, b"\x00\x03", none)),
            bad("UNSUBSCRIBE packet identifier 0", version, 0x82, no_zero, body(0xA2, b"\x00\x00", none, text("a"))),
            bad("UNSUBSCRIBE header flags", version, 0x81, "MQTT-3.10.1-1", body(0xA0, b"\x00\x01", none, text("a"))),
            bad("UNSUBSCRIBE half a filter", version, 0x81, "MQTT5 2.1.4", body(0xA2, b"\x00\x01", none, b"\x00\x02a")),
            bad("UNSUBSCRIBE empty filter", version, 0x8F, "MQTT-4.7.3-1", body(0xA2, b"\x00\x01", none, text(""))),
        ]  # fmt: skip
    return [
        *cases,
        good("UNSUBSCRIBE repeated", V3, Unsubscribe(1, ["a"]), body(0xAA, b"\x00\x01", text("a")), canonical=False),
        good(
            "UNSUBSCRIBE with properties",
            V5,
            Unsubscribe(3, ["a"], {"user_properties": [("k", "v")]}),
            body(0xA2, b"\x00\x03\x07", USER, text("a")),
        ),
        bad("UNSUBSCRIBE subscription identifier", V5, 0x81, "MQTT5 2.2.2.2", body(0xA2, b"\x00\x01\x02\x0b\x01", text("a"))),
        good("UNSUBACK", V3, UnsubAck(3), b"\xb0\x02\x00\x03"),
        good("UNSUBACK", V4, UnsubAck(3), b"\xb0\x02\x00\x03"),
        good("UNSUBACK", V5, UnsubAck(3, [0, 0x11, 0x87]), b"\xb0\x06\x00\x03\x00\x00\x11\x87"),
        good("UNSUBACK with properties", V5, UnsubAck(3, [0], WHY), body(0xB0, b"\x00\x03", WHY_WIRE, b"\x00")),
        bad("UNSUBACK something behind the end", V4, 0x81, "MQTT5 2.1.4", b"\xb0\x03\x00\x03\x00"),
        bad("UNSUBACK unknown reason code", V5, 0x82, "MQTT-3.11.3-2", b"\xb0\x04\x00\x03\x00\x01"),
        bad("UNSUBACK for nothing", V5, 0x82, "MQTT-3.11.3-1", b"\xb0\x03\x00\x03\x00"),
        bad("UNSUBACK packet identifier 0", V4, 0x82, "MQTT-2.3.1-1", b"\xb0\x02\x00\x00"),
    ]  # fmt: skip


CASES = [*_subscribe(), *_unsubscribe()]
