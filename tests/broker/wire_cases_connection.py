"""Wire cases of CONNECT, CONNACK, AUTH, DISCONNECT and the pings, and of what begins no packet at all."""

# ruff: noqa: E501 - a case is a row of a table

from __future__ import annotations

from broker.packets import Auth, ConnAck, Connect, Disconnect, PingReq, PingResp, Will
from tests.broker.wire_case import (
    ALL,
    HELLO,
    MQISDP,
    MQTT4,
    MQTT5,
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


def _connect() -> list[Case]:
    cases = [
        good(
            "CONNECT minimal",
            version,
            Connect("c", version),
            body(0x10, HELLO[version], b"\x02\x00\x00", NO_PROPERTIES[version], text("c")),
        )
        for version in ALL
    ]
    cases += [
        good(
            "CONNECT with everything",
            version,
            Connect("c", version, False, 300, "u", b"\x00\xff", Will("w/t", b"\x00gone", 2, True)),
            body(
                0x10,
                HELLO[version],
                b"\xf4\x01\x2c",
                text("c"),
                text("w/t"),
                text(b"\x00gone"),
                text("u"),
                text(b"\x00\xff"),
            ),
        )
        for version in OLD
    ]
    cases += [
        good(
            "CONNECT user name without password",
            V4,
            Connect("c", 4, username="u"),
            body(0x10, MQTT4, b"\x82\x00\x00", text("c"), text("u")),
        ),
        good(
            "CONNECT empty password",
            V4,
            Connect("c", 4, username="", password=b""),
            body(0x10, MQTT4, b"\xc2\x00\x00", text("c"), text(""), text("")),
        ),
        good("CONNECT empty client identifier", V4, Connect("", 4), body(0x10, MQTT4, b"\x02\x00\x00", text(""))),
        good(
            "CONNECT byte order mark stays (MQTT-1.5.3-3)",
            V4,
            Connect("\ufeffc", 4),
            body(0x10, MQTT4, b"\x02\x00\x00", text(b"\xef\xbb\xbfc")),
        ),
        good(
            "CONNECT will of QoS 1, empty",
            V4,
            Connect("c", 4, will=Will("w", b"", 1)),
            body(0x10, MQTT4, b"\x0e\x00\x00", text("c"), text("w"), text("")),
        ),
        good(
            "CONNECT longest keep-alive",
            V4,
            Connect("c", 4, True, 65535),
            body(0x10, MQTT4, b"\x02\xff\xff", text("c")),
        ),
        good(
            "CONNECT user name flag without the name",
            V3,
            Connect("c", 3),
            body(0x10, MQISDP, b"\x82\x00\x00", text("c")),
            canonical=False,
        ),
        good(
            "CONNECT password flag without the password",
            V3,
            Connect("c", 3, username="u"),
            body(0x10, MQISDP, b"\xc2\x00\x00", text("c"), text("u")),
            canonical=False,
        ),
        good(
            "CONNECT unused flag set",
            V3,
            Connect("c", 3),
            body(0x10, MQISDP, b"\x03\x00\x00", text("c")),
            canonical=False,
        ),
        good(
            "CONNECT with every property",
            V5,
            Connect(
                "c",
                5,
                keep_alive=60,
                properties={
                    "session_expiry_interval": 0xFFFFFFFF,
                    "receive_maximum": 1,
                    "maximum_packet_size": 1024,
                    "topic_alias_maximum": 10,
                    "request_response_information": 1,
                    "request_problem_information": 0,
                    "user_properties": [("k", "v"), ("k", "")],
                    "authentication_method": "m",
                    "authentication_data": b"\x00",
                },
            ),
            body(
                0x10,
                MQTT5,
                b"\x02\x00\x3c\x29",
                b"\x11\xff\xff\xff\xff",
                b"\x21\x00\x01",
                b"\x27\x00\x00\x04\x00",
                b"\x22\x00\x0a",
                b"\x19\x01",
                b"\x17\x00",
                USER,
                b"\x26\x00\x01k\x00\x00",
                b"\x15\x00\x01m",
                b"\x16\x00\x01\x00",
                text("c"),
            ),
        ),
        good(
            "CONNECT with every will property",
            V5,
            Connect(
                "c",
                5,
                will=Will(
                    "w",
                    b"x",
                    1,
                    True,
                    {
                        "will_delay_interval": 5,
                        "payload_format_indicator": 1,
                        "message_expiry_interval": 9,
                        "content_type": "t",
                        "response_topic": "r",
                        "correlation_data": b"c",
                        "user_properties": [("k", "v")],
                    },
                ),
            ),
            body(
                0x10,
                MQTT5,
                b"\x2e\x00\x00\x00",
                text("c"),
                b"\x1f",
                b"\x18\x00\x00\x00\x05",
                b"\x01\x01",
                b"\x02\x00\x00\x00\x09",
                b"\x03\x00\x01t",
                b"\x08\x00\x01r",
                b"\x09\x00\x01c",
                USER,
                text("w"),
                text("x"),
            ),
        ),
        good(
            "CONNECT password without user name",
            V5,
            Connect("c", 5, password=b"p"),
            body(0x10, MQTT5, b"\x42\x00\x00\x00", text("c"), text("p")),
        ),
    ]
    no_id = b"\x00\x00"
    cases += [
        bad("CONNECT unknown name", V4, 0x84, "MQTT-3.1.2-1", body(0x10, b"\x00\x04HTTP\x04\x02\x00\x00", no_id)),
        bad("CONNECT name in lower case", V4, 0x84, "MQTT-3.1.2-1", body(0x10, b"\x00\x04mqtt\x04\x02\x00\x00", no_id)),
        bad("CONNECT level 3 as MQTT", V4, 0x84, "MQTT-3.1.2-2", body(0x10, b"\x00\x04MQTT\x03\x02\x00\x00", no_id)),
        bad("CONNECT level 4 as MQIsdp", V3, 0x84, "MQTT-3.1.2-2", body(0x10, b"\x00\x06MQIsdp\x04\x02\x00\x00", no_id)),
        bad("CONNECT level 6", V5, 0x84, "MQTT-3.1.2-2", body(0x10, b"\x00\x04MQTT\x06\x02\x00\x00\x00", no_id)),
        bad("CONNECT of a bridge", V4, 0x84, "MQTT-3.1.2-2", body(0x10, b"\x00\x04MQTT\x84\x02\x00\x00", no_id)),
        bad("CONNECT level missing", V4, 0x81, "MQTT5 2.1.4", body(0x10, b"\x00\x04MQTT")),
        bad("CONNECT empty", V4, 0x81, "MQTT5 2.1.4", b"\x10\x00"),
        bad("CONNECT header flags", V4, 0x81, "MQTT-2.1.3-1", body(0x11, MQTT4, b"\x02\x00\x00", no_id)),
        bad("CONNECT reserved flag", V4, 0x81, "MQTT-3.1.2-3", body(0x10, MQTT4, b"\x03\x00\x00", no_id)),
        bad("CONNECT reserved flag", V5, 0x81, "MQTT-3.1.2-3", body(0x10, MQTT5, b"\x03\x00\x00\x00", no_id)),
        bad("CONNECT will QoS without will", V4, 0x81, "MQTT-3.1.2-13", body(0x10, MQTT4, b"\x0a\x00\x00", no_id)),
        bad("CONNECT will QoS without will", V5, 0x81, "MQTT-3.1.2-11", body(0x10, MQTT5, b"\x0a\x00\x00\x00", no_id)),
        bad("CONNECT will retain without will", V4, 0x81, "MQTT-3.1.2-15", body(0x10, MQTT4, b"\x22\x00\x00", no_id)),
        bad("CONNECT will retain without will", V5, 0x81, "MQTT-3.1.2-13", body(0x10, MQTT5, b"\x22\x00\x00\x00", no_id)),
        bad("CONNECT will of QoS 3", V4, 0x81, "MQTT-3.1.2-14", body(0x10, MQTT4, b"\x1e\x00\x00", no_id, text("w"), text(""))),
        bad("CONNECT will of QoS 3", V5, 0x81, "MQTT-3.1.2-12", body(0x10, MQTT5, b"\x1e\x00\x00\x00", no_id, b"\x00", text("w"), text(""))),
        bad("CONNECT password without user name", V3, 0x81, "MQTT-3.1.2-22", body(0x10, MQISDP, b"\x42\x00\x00", text("c"), text("p"))),
        bad("CONNECT password without user name", V4, 0x81, "MQTT-3.1.2-22", body(0x10, MQTT4, b"\x42\x00\x00", text("c"), text("p"))),
        bad("CONNECT user name missing", V4, 0x81, "MQTT5 2.1.4", body(0x10, MQTT4, b"\x82\x00\x00", text("c"))),
        bad("CONNECT password missing", V4, 0x81, "MQTT5 2.1.4", body(0x10, MQTT4, b"\xc2\x00\x00", text("c"), text("u"))),
        bad("CONNECT will missing", V4, 0x81, "MQTT5 2.1.4", body(0x10, MQTT4, b"\x06\x00\x00", text("c"))),
        bad("CONNECT client identifier missing", V4, 0x81, "MQTT5 2.1.4", body(0x10, MQTT4, b"\x02\x00\x00")),
        bad("CONNECT properties missing", V5, 0x81, "MQTT5 2.1.4", body(0x10, MQTT5, b"\x02\x00\x00")),
        bad("CONNECT something behind the end", V4, 0x81, "MQTT5 2.1.4", body(0x10, MQTT4, b"\x02\x00\x00", text("c"), b"!")),
        bad("CONNECT client identifier longer than the packet", V4, 0x81, "MQTT5 2.1.4", body(0x10, MQTT4, b"\x02\x00\x00\x00\x05c")),
        bad("CONNECT client identifier not UTF-8", V4, 0x81, "MQTT-1.5.3-1", body(0x10, MQTT4, b"\x02\x00\x00", text(b"\xff"))),
        bad("CONNECT client identifier not UTF-8", V5, 0x81, "MQTT-1.5.4-1", body(0x10, MQTT5, b"\x02\x00\x00\x00", text(b"\xc3"))),
        bad("CONNECT client identifier a surrogate", V5, 0x81, "MQTT-1.5.4-1", body(0x10, MQTT5, b"\x02\x00\x00\x00", text(b"\xed\xa0\x80"))),
        bad("CONNECT client identifier overlong", V4, 0x81, "MQTT-1.5.3-1", body(0x10, MQTT4, b"\x02\x00\x00", text(b"\xc0\x80"))),
        bad("CONNECT client identifier with U+0000", V4, 0x81, "MQTT-1.5.3-2", body(0x10, MQTT4, b"\x02\x00\x00", text("a\0"))),
        bad("CONNECT user name with U+0000", V5, 0x81, "MQTT-1.5.4-2", body(0x10, MQTT5, b"\x82\x00\x00\x00", text("c"), text("\0"))),
        bad("CONNECT will topic with a wildcard", V4, 0x90, "MQTT-4.7.1-1", body(0x10, MQTT4, b"\x06\x00\x00", text("c"), text("w/#"), text(""))),
        bad("CONNECT will topic with a wildcard", V5, 0x90, "MQTT-3.3.2-2", body(0x10, MQTT5, b"\x06\x00\x00\x00", text("c"), b"\x00", text("+"), text(""))),
        bad("CONNECT will topic empty", V4, 0x90, "MQTT-4.7.3-1", body(0x10, MQTT4, b"\x06\x00\x00", text("c"), text(""), text(""))),
        bad("CONNECT receive maximum 0", V5, 0x82, "MQTT5 3.1.2.11.3", body(0x10, MQTT5, b"\x02\x00\x00\x03\x21\x00\x00", no_id)),
        bad("CONNECT maximum packet size 0", V5, 0x82, "MQTT5 3.1.2.11.4", body(0x10, MQTT5, b"\x02\x00\x00\x05\x27\x00\x00\x00\x00", no_id)),
        bad("CONNECT session expiry twice", V5, 0x82, "MQTT5 3.1.2.11.2", body(0x10, MQTT5, b"\x02\x00\x00\x0a", b"\x11\x00\x00\x00\x01" * 2, no_id)),
        bad("CONNECT request problem information 2", V5, 0x82, "MQTT5 3.1.2.11.7", body(0x10, MQTT5, b"\x02\x00\x00\x02\x17\x02", no_id)),
        bad("CONNECT request response information 2", V5, 0x82, "MQTT5 3.1.2.11.6", body(0x10, MQTT5, b"\x02\x00\x00\x02\x19\x02", no_id)),
        bad("CONNECT authentication data without method", V5, 0x82, "MQTT5 3.1.2.11.10", body(0x10, MQTT5, b"\x02\x00\x00\x04\x16\x00\x01x", no_id)),
        bad("CONNECT topic alias", V5, 0x81, "MQTT5 2.2.2.2", body(0x10, MQTT5, b"\x02\x00\x00\x03\x23\x00\x01", no_id)),
        bad("CONNECT will delay among its own properties", V5, 0x81, "MQTT5 2.2.2.2", body(0x10, MQTT5, b"\x02\x00\x00\x05\x18\x00\x00\x00\x01", no_id)),
        bad("CONNECT session expiry in the will", V5, 0x81, "MQTT5 2.2.2.2", body(0x10, MQTT5, b"\x06\x00\x00\x00", no_id, b"\x05\x11\x00\x00\x00\x01", text("w"), text(""))),
        bad("CONNECT unknown property", V5, 0x81, "MQTT5 2.2.2.2", body(0x10, MQTT5, b"\x02\x00\x00\x02\x7e\x00", no_id)),
        bad("CONNECT property cut by the section's end", V5, 0x81, "MQTT5 2.1.4", body(0x10, MQTT5, b"\x02\x00\x00\x02\x21\x00", no_id)),
        bad("CONNECT properties longer than the packet", V5, 0x81, "MQTT5 2.1.4", body(0x10, MQTT5, b"\x02\x00\x00\x7f", no_id)),
        bad("CONNECT property length of five bytes", V5, 0x81, "MQTT5 1.5.5", body(0x10, MQTT5, b"\x02\x00\x00\x80\x80\x80\x80\x00", no_id)),
        bad("CONNECT property length longer than needed", V5, 0x81, "MQTT-1.5.5-1", body(0x10, MQTT5, b"\x02\x00\x00\x80\x00", no_id)),
    ]  # fmt: skip
    return cases


def _connack() -> list[Case]:
    cases = [
        good("CONNACK accepted", version, ConnAck(), body(0x20, b"\x00\x00", NO_PROPERTIES[version])) for version in ALL
    ]
    cases += [
        good("CONNACK session present", version, ConnAck(True), body(0x20, b"\x01\x00", NO_PROPERTIES[version]))
        for version in (V4, V5)
    ]
    cases += [
        good(f"CONNACK return code {code}", V4, ConnAck(False, code), bytes([0x20, 2, 0, code])) for code in range(1, 6)
    ]
    return [
        *cases,
        good(
            "CONNACK with every property",
            V5,
            ConnAck(
                False,
                0x9D,
                {
                    "session_expiry_interval": 1,
                    "receive_maximum": 2,
                    "maximum_qos": 1,
                    "retain_available": 0,
                    "maximum_packet_size": 3,
                    "assigned_client_identifier": "a",
                    "topic_alias_maximum": 4,
                    "reason_string": "why",
                    "user_properties": [("k", "v")],
                    "wildcard_subscription_available": 1,
                    "subscription_identifier_available": 1,
                    "shared_subscription_available": 0,
                    "server_keep_alive": 5,
                    "response_information": "i",
                    "server_reference": "s",
                    "authentication_method": "m",
                    "authentication_data": b"d",
                },
            ),
            body(
                0x20, b"\x00\x9d\x3e", b"\x11\x00\x00\x00\x01", b"\x21\x00\x02", b"\x24\x01", b"\x25\x00", b"\x27\x00\x00\x00\x03",
                b"\x12\x00\x01a", b"\x22\x00\x04", REASON, USER, b"\x28\x01", b"\x29\x01", b"\x2a\x00", b"\x13\x00\x05",
                b"\x1a\x00\x01i", b"\x1c\x00\x01s", b"\x15\x00\x01m", b"\x16\x00\x01d",
            ),
        ),
        bad("CONNACK reserved flags", V4, 0x81, "MQTT-3.2.2-1", b"\x20\x02\x02\x00"),
        bad("CONNACK reserved return code", V4, 0x82, "MQTT 3.1.1 3.2.2.3", b"\x20\x02\x00\x06"),
        bad("CONNACK refused with a session", V4, 0x82, "MQTT-3.2.2-4", b"\x20\x02\x01\x05"),
        bad("CONNACK refused with a session", V5, 0x82, "MQTT-3.2.2-6", b"\x20\x03\x01\x87\x00"),
        bad("CONNACK unknown reason code", V5, 0x82, "MQTT-3.2.2-8", b"\x20\x03\x00\x8d\x00"),
        bad("CONNACK return code missing", V4, 0x81, "MQTT5 2.1.4", b"\x20\x01\x00"),
        bad("CONNACK something behind the end", V4, 0x81, "MQTT5 2.1.4", b"\x20\x03\x00\x00\x00"),
        bad("CONNACK header flags", V4, 0x81, "MQTT-2.2.2-2", b"\x22\x02\x00\x00"),
        bad("CONNACK maximum QoS 2", V5, 0x82, "MQTT5 3.2.2.3.4", b"\x20\x05\x00\x00\x02\x24\x02"),
        bad("CONNACK retain available 2", V5, 0x82, "MQTT5 3.2.2.3.5", b"\x20\x05\x00\x00\x02\x25\x02"),
    ]  # fmt: skip


def _others() -> list[Case]:
    cases: list[Case] = []
    for version in ALL:
        reserved = "MQTT-2.1.3-1" if version == V5 else "MQTT-2.2.2-2"
        cases += [
            good("PINGREQ", version, PingReq(), b"\xc0\x00"),
            good("PINGRESP", version, PingResp(), b"\xd0\x00"),
            good("DISCONNECT", version, Disconnect(), b"\xe0\x00"),
            bad("PINGREQ with a body", version, 0x81, "MQTT5 2.1.4", b"\xc0\x01\x00"),
            bad("PINGRESP with a body", version, 0x81, "MQTT5 2.1.4", b"\xd0\x02\x00\x00"),
            bad("PINGREQ header flags", version, 0x81, reserved, b"\xc1\x00"),
            bad("DISCONNECT header flags", version, 0x81, "MQTT-3.14.1-1", b"\xe2\x00"),
            bad("packet of type 0", version, 0x81, "MQTT5 2.1.2", b"\x00\x00"),
            bad("remaining length of five bytes", version, 0x81, "MQTT5 1.5.5", b"\x30\x80\x80\x80\x80\x01"),
        ]
    for version in OLD:
        cases += [
            good("PINGREQ in a long header", version, PingReq(), b"\xc0\x80\x80\x00", canonical=False),
            bad("DISCONNECT with a body", version, 0x81, "MQTT5 2.1.4", b"\xe0\x01\x00"),
            bad("AUTH", version, 0x81, "MQTT5 2.1.2", b"\xf0\x00"),
        ]
    method = b"\x08\x15\x00\x01m\x16\x00\x01d"
    return [
        *cases,
        bad("PINGREQ in a long header", V5, 0x81, "MQTT-1.5.5-1", b"\xc0\x80\x00"),
        good("DISCONNECT with will", V5, Disconnect(0x04), b"\xe0\x01\x04"),
        good("DISCONNECT bad authentication method (table 2-6 alone)", V5, Disconnect(0x8C), b"\xe0\x01\x8c"),
        good("DISCONNECT spelt out", V5, Disconnect(), b"\xe0\x02\x00\x00", canonical=False),
        good(
            "DISCONNECT with every property",
            V5,
            Disconnect(
                0x9C,
                {
                    "session_expiry_interval": 0,
                    "reason_string": "why",
                    "user_properties": [("k", "v")],
                    "server_reference": "s",
                },
            ),
            body(0xE0, b"\x9c\x16\x11\x00\x00\x00\x00", REASON, USER, b"\x1c\x00\x01s"),
        ),
        bad("DISCONNECT unknown reason code", V5, 0x82, "MQTT-3.14.2-1", b"\xe0\x01\x01"),
        bad("DISCONNECT receive maximum", V5, 0x81, "MQTT5 2.2.2.2", b"\xe0\x05\x00\x03\x21\x00\x01"),
        bad("DISCONNECT something behind the end", V5, 0x81, "MQTT5 2.1.4", b"\xe0\x03\x00\x00\x00"),
        good("AUTH success", V5, Auth(), b"\xf0\x00"),
        good("AUTH spelt out", V5, Auth(), b"\xf0\x02\x00\x00", canonical=False),
        good(
            "AUTH continued",
            V5,
            Auth(0x18, {"authentication_method": "m", "authentication_data": b"d"}),
            body(0xF0, b"\x18", method),
        ),
        good(
            "AUTH with every property",
            V5,
            Auth(0x19, {"authentication_method": "m", "authentication_data": b"d", **WHY}),
            body(0xF0, b"\x19\x1c", method[1:], WHY_WIRE[1:]),
        ),
        bad("AUTH unknown reason code", V5, 0x82, "MQTT-3.15.2-1", b"\xf0\x02\x80\x00"),
        bad("AUTH header flags", V5, 0x81, "MQTT-3.15.1-1", b"\xf1\x00"),
        bad("AUTH data without method", V5, 0x82, "MQTT5 3.1.2.11.10", b"\xf0\x06\x18\x04\x16\x00\x01d"),
        bad("AUTH method twice", V5, 0x82, "MQTT5 3.1.2.11.9", b"\xf0\x0a\x18\x08\x15\x00\x01m\x15\x00\x01m"),
    ]


CASES = [*_connect(), *_connack(), *_others()]
