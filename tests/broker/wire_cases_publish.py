"""Wire cases of PUBLISH and its four acknowledgements."""

# ruff: noqa: E501 - a case is a row of a table

from __future__ import annotations

from broker.packets import PubAck, PubComp, Publish, PubRec, PubRel
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


def _publish() -> list[Case]:
    cases: list[Case] = []
    for version in ALL:
        none = NO_PROPERTIES[version]
        cases += [
            good("PUBLISH of QoS 0", version, Publish("a/b", b"hi"), body(0x30, text("a/b"), none, b"hi")),
            good("PUBLISH of QoS 1", version, Publish("a/b", b"hi", 1, packet_id=1), body(0x32, text("a/b"), b"\x00\x01", none, b"hi")),
            good("PUBLISH of QoS 2", version, Publish("a", b"", 2, packet_id=65535), body(0x34, text("a"), b"\xff\xff", none)),
            good("PUBLISH retained", version, Publish("a", b"x", retain=True), body(0x31, text("a"), none, b"x")),
            good("PUBLISH repeated, retained", version, Publish("a", b"x", 2, True, True, 258), body(0x3D, text("a"), b"\x01\x02", none, b"x")),
            good("PUBLISH without payload", version, Publish("a", b""), body(0x30, text("a"), none)),
            good("PUBLISH odd topic", version, Publish("/ ä/$/\U0001f50c", b""), body(0x30, text("/ ä/$/\U0001f50c"), none)),
            good("PUBLISH of 128 bytes", version, Publish("a", b"x" * (125 - len(none))), b"\x30\x80\x01\x00\x01a" + none + b"x" * (125 - len(none))),
            good("PUBLISH of 230 bytes", version, Publish("cp/7/meter", b"y" * 200), bytes([0x30, 0xD4 + len(none), 0x01, 0, 10]) + b"cp/7/meter" + none + b"y" * 200),
            good("PUBLISH of 16384 bytes", version, Publish("a", b"x" * (16381 - len(none))), b"\x30\x80\x80\x01\x00\x01a" + none + b"x" * (16381 - len(none))),
            good("PUBLISH long topic", version, Publish("t" * 300, b"x"), bytes([0x30, 0xAF + len(none), 0x02, 1, 44]) + b"t" * 300 + none + b"x"),
            bad("PUBLISH of QoS 3", version, 0x81, "MQTT-3.3.1-4", body(0x36, text("a"), b"\x00\x01", none)),
            bad("PUBLISH of QoS 3 repeated", version, 0x81, "MQTT-3.3.1-4", body(0x3E, text("a"), b"\x00\x01", none)),
            bad("PUBLISH of QoS 0 repeated", version, 0x81, "MQTT-3.3.1-2", body(0x38, text("a"), none)),
            bad("PUBLISH empty", version, 0x81, "MQTT5 2.1.4", b"\x30\x00"),
            bad("PUBLISH half a topic length", version, 0x81, "MQTT5 2.1.4", b"\x30\x01\x00"),
            bad("PUBLISH topic longer than the packet", version, 0x81, "MQTT5 2.1.4", b"\x30\x03\x00\x02a"),
            bad("PUBLISH packet identifier missing", version, 0x81, "MQTT5 2.1.4", b"\x32\x04\x00\x01a\x00"),
        ]  # fmt: skip
    for version, no_nul, no_text, no_wildcard, no_zero in (
        (V3, "MQTT-1.5.3-2", "MQTT-1.5.3-1", "MQTT-4.7.1-1", "MQTT-2.3.1-1"),
        (V4, "MQTT-1.5.3-2", "MQTT-1.5.3-1", "MQTT-4.7.1-1", "MQTT-2.3.1-1"),
        (V5, "MQTT-1.5.4-2", "MQTT-1.5.4-1", "MQTT-3.3.2-2", "MQTT-2.2.1-3"),
    ):
        none = NO_PROPERTIES[version]
        cases += [
            bad("PUBLISH topic with U+0000", version, 0x81, no_nul, body(0x30, text("a\0"), none)),
            bad("PUBLISH topic not UTF-8", version, 0x81, no_text, body(0x30, text(b"a\xfe"), none)),
            bad("PUBLISH topic with +", version, 0x90, no_wildcard, body(0x30, text("a/+"), none)),
            bad("PUBLISH topic with #", version, 0x90, no_wildcard, body(0x30, text("#"), none)),
            bad("PUBLISH packet identifier 0", version, 0x82, no_zero, body(0x32, text("a"), b"\x00\x00", none)),
        ]
    for version in OLD:
        cases.append(bad("PUBLISH topic empty", version, 0x90, "MQTT-4.7.3-1", body(0x30, text(""), b"x")))
    many = {
        "payload_format_indicator": 1,
        "message_expiry_interval": 60,
        "topic_alias": 7,
        "response_topic": "r/t",
        "correlation_data": b"\x00\xff",
        "user_properties": [("k", "v"), ("k", "v")],
        "subscription_identifier": [1, 128, 268_435_455],
        "content_type": "text/plain",
    }
    many_wire = (
        b"\x3a\x01\x01" b"\x02\x00\x00\x00\x3c" b"\x23\x00\x07" b"\x08\x00\x03r/t" b"\x09\x00\x02\x00\xff"
        + USER + USER + b"\x0b\x01" b"\x0b\x80\x01" b"\x0b\xff\xff\xff\x7f" b"\x03\x00\x0atext/plain"
    )  # fmt: skip
    long_user = b"\x26\x00\x01k" + text("v" * 195)
    return [
        *cases,
        good("PUBLISH with every property", V5, Publish("a", b"x", properties=many), body(0x30, text("a"), many_wire, b"x")),
        good("PUBLISH of QoS 1 with every property", V5, Publish("a", b"x", 1, packet_id=9, properties=many), body(0x32, text("a"), b"\x00\x09", many_wire, b"x")),
        good("PUBLISH by topic alias", V5, Publish("", b"x", properties={"topic_alias": 1}), body(0x30, text(""), b"\x03\x23\x00\x01", b"x")),
        good("PUBLISH long properties", V5, Publish("a", b"x", properties={"user_properties": [("k", "v" * 195)]}), b"\x30\xcf\x01\x00\x01a\xc9\x01" + long_user + b"x"),
        bad("PUBLISH neither topic nor alias", V5, 0x82, "MQTT5 3.3.2.1", body(0x30, text(""), b"\x00", b"x")),
        bad("PUBLISH neither topic nor alias, other property", V5, 0x82, "MQTT5 3.3.2.1", body(0x30, text(""), b"\x02\x01\x01", b"x")),
        bad("PUBLISH properties missing", V5, 0x81, "MQTT5 2.1.4", body(0x30, text("a"))),
        bad("PUBLISH properties longer than the packet", V5, 0x81, "MQTT5 2.1.4", body(0x30, text("a"), b"\x09\x01\x01")),
        bad("PUBLISH property length of five bytes", V5, 0x81, "MQTT5 1.5.5", body(0x30, text("a"), b"\x80\x80\x80\x80\x01")),
        bad("PUBLISH property length longer than needed", V5, 0x81, "MQTT-1.5.5-1", body(0x30, text("a"), b"\x80\x00")),
        bad("PUBLISH topic alias 0", V5, 0x94, "MQTT-3.3.2-8", body(0x30, text("a"), b"\x03\x23\x00\x00")),
        bad("PUBLISH topic alias twice", V5, 0x82, "MQTT-3.3.2-8", body(0x30, text("a"), b"\x06\x23\x00\x01\x23\x00\x01")),
        bad("PUBLISH response topic with a wildcard", V5, 0x82, "MQTT-3.3.2-14", body(0x30, text("a"), b"\x04\x08\x00\x01#")),
        bad("PUBLISH subscription identifier 0", V5, 0x82, "MQTT5 3.8.2.1.2", body(0x30, text("a"), b"\x02\x0b\x00")),
        bad("PUBLISH subscription identifier of five bytes", V5, 0x81, "MQTT5 1.5.5", body(0x30, text("a"), b"\x06\x0b\x80\x80\x80\x80\x01")),
        bad("PUBLISH payload format 2", V5, 0x82, "MQTT5 3.3.2.3.2", body(0x30, text("a"), b"\x02\x01\x02")),
        bad("PUBLISH content type twice", V5, 0x82, "MQTT-3.3.2-19", body(0x30, text("a"), b"\x08\x03\x00\x01t\x03\x00\x01t")),
        bad("PUBLISH content type not UTF-8", V5, 0x81, "MQTT-1.5.4-1", body(0x30, text("a"), b"\x04\x03\x00\x01\xff")),
        bad("PUBLISH user property half", V5, 0x81, "MQTT5 2.1.4", body(0x30, text("a"), b"\x04\x26\x00\x01k", b"\x00\x01v")),
        bad("PUBLISH user property with U+0000", V5, 0x81, "MQTT-1.5.4-2", body(0x30, text("a"), b"\x07\x26\x00\x01k\x00\x01\x00")),
        bad("PUBLISH reason string", V5, 0x81, "MQTT5 2.2.2.2", body(0x30, text("a"), b"\x06" + REASON)),
        bad("PUBLISH will delay", V5, 0x81, "MQTT5 2.2.2.2", body(0x30, text("a"), b"\x05\x18\x00\x00\x00\x01")),
    ]  # fmt: skip


def _acknowledgements() -> list[Case]:
    cases: list[Case] = []
    for name, kind, head, code, clause in (
        ("PUBACK", PubAck, 0x40, 0x10, "MQTT-3.4.2-1"),
        ("PUBREC", PubRec, 0x50, 0x97, "MQTT-3.5.2-1"),
        ("PUBREL", PubRel, 0x62, 0x92, "MQTT-3.6.2-1"),
        ("PUBCOMP", PubComp, 0x70, 0x92, "MQTT-3.7.2-1"),
    ):
        for version in ALL:
            no_zero = "MQTT-2.2.1-3" if version == V5 else "MQTT-2.3.1-1"
            cases += [
                good(name, version, kind(0x0102), bytes([head, 2, 1, 2])),
                bad(f"{name} packet identifier 0", version, 0x82, no_zero, bytes([head, 2, 0, 0])),
                bad(f"{name} half a packet identifier", version, 0x81, "MQTT5 2.1.4", bytes([head, 1, 1])),
            ]
        cases += [
            bad(f"{name} something behind the end", V4, 0x81, "MQTT5 2.1.4", bytes([head, 3, 1, 2, 0])),
            good(f"{name} with a reason", V5, kind(1, code), bytes([head, 3, 0, 1, code])),
            good(f"{name} with everything", V5, kind(1, code, WHY), body(head, b"\x00\x01", bytes([code]), WHY_WIRE)),
            good(f"{name} success spelt out", V5, kind(1), bytes([head, 3, 0, 1, 0]), canonical=False),
            good(f"{name} no properties spelt out", V5, kind(1), bytes([head, 4, 0, 1, 0, 0]), canonical=False),
            good(f"{name} success explained", V5, kind(1, 0, {"reason_string": "why"}), body(head, b"\x00\x01\x00\x06", REASON)),
            bad(f"{name} unknown reason", V5, 0x82, clause, bytes([head, 3, 0, 1, 1])),
            bad(f"{name} something behind the end", V5, 0x81, "MQTT5 2.1.4", bytes([head, 5, 0, 1, 0, 0, 0])),
            bad(f"{name} reason string twice", V5, 0x82, "MQTT5 3.2.2.3.9", body(head, b"\x00\x01\x00\x0c", REASON, REASON)),
            bad(f"{name} topic alias", V5, 0x81, "MQTT5 2.2.2.2", body(head, b"\x00\x01\x00\x03\x23\x00\x01")),
        ]  # fmt: skip
    return [
        *cases,
        good("PUBREL repeated", V3, PubRel(1), b"\x6a\x02\x00\x01", canonical=False),
        bad("PUBREL repeated", V4, 0x81, "MQTT-3.6.1-1", b"\x6a\x02\x00\x01"),
        bad("PUBREL header flags", V5, 0x81, "MQTT-3.6.1-1", b"\x60\x02\x00\x01"),
        bad("PUBREL header flags", V3, 0x81, "MQTT-3.6.1-1", b"\x60\x02\x00\x01"),
        bad("PUBACK header flags", V4, 0x81, "MQTT-2.2.2-2", b"\x42\x02\x00\x01"),
        bad("PUBREC header flags", V5, 0x81, "MQTT-2.1.3-1", b"\x51\x02\x00\x01"),
    ]


CASES = [*_publish(), *_acknowledgements()]
