"""What encoding refuses, and what it leaves out for peers of an older version."""

from __future__ import annotations

import pytest

from broker import wire
from broker.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from broker.properties import decode_properties, encode_properties
from broker.wire import Decoder, encode, encode_publish
from core.errors import PacketError


@pytest.mark.parametrize(
    ("packet", "version"),
    [
        (Connect("\0"), 4),
        (Connect("\ud800"), 4),
        (Connect("x" * 65536), 4),
        (Connect("c", password=b"p"), 4),
        (Connect("c", keep_alive=65536), 4),
        (Connect("c", keep_alive=-1), 4),
        (Connect("c", will=Will("w", b"", 3)), 4),
        (Connect("c", will=Will("w", b"x" * 65536)), 4),
        (Publish("a", b"", 1), 4),
        (Publish("a", b"", 1, packet_id=65536), 4),
        (Publish("a", b"", 3, packet_id=1), 4),
        (Publish("a", b"", dup=True), 4),
        (Publish("a\0", b""), 4),
        (Publish("a", bytes(268_435_455)), 4),
        (PubAck(0), 4),
        (PubAck(65536), 4),
        (PubRec(1, 256), 5),
        (Subscribe(1, []), 5),
        (Subscribe(0, [Subscription("a")]), 5),
        (Subscribe(1, [Subscription("a", 3)]), 5),
        (Unsubscribe(1, []), 5),
        (SubAck(1, [256]), 5),
        (UnsubAck(1, [-1]), 5),
        (Auth(), 4),
        (Publish("a", b"", properties={"reason_string": "x"}), 5),
        (Publish("a", b"", properties={"no_such_property": 1}), 5),
        (Publish("a", b"", properties={"topic_alias": 0}), 5),
        (Publish("a", b"", properties={"topic_alias": 65536}), 5),
        (Publish("a", b"", properties={"message_expiry_interval": 2**32}), 5),
        (Publish("a", b"", properties={"subscription_identifier": [0]}), 5),
        (Publish("a", b"", properties={"subscription_identifier": [268_435_456]}), 5),
        (Publish("a", b"", properties={"payload_format_indicator": 2}), 5),
        (Publish("a", b"", properties={"user_properties": [("k", "\0")]}), 5),
        (Publish("a", b"", properties={"correlation_data": b"x" * 65536}), 5),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int) else f"v{value}",
)
def test_what_does_not_fit_is_refused(packet: Packet, version: int) -> None:
    with pytest.raises(PacketError) as raised:
        encode(packet, version)
    assert raised.value.reason_code >= 0x80
    assert raised.value.clause


_EXPLAINED: Properties = {"reason_string": "x"}


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(
    ("rich", "plain"),
    [
        (ConnAck(False, 0, {"server_keep_alive": 5}), ConnAck()),
        (Publish("a", b"x", properties={"message_expiry_interval": 1}), Publish("a", b"x")),
        (PubAck(1, 0x10, _EXPLAINED), PubAck(1)),
        (PubRec(1, 0x97, _EXPLAINED), PubRec(1)),
        (PubRel(1, 0x92, _EXPLAINED), PubRel(1)),
        (PubComp(1, 0x92, _EXPLAINED), PubComp(1)),
        (
            Subscribe(1, [Subscription("a", 1, True, True, 2)], {"subscription_identifier": [1]}),
            Subscribe(1, [Subscription("a", 1)]),
        ),
        (SubAck(1, [0, 0x87], _EXPLAINED), SubAck(1, [0, 0x80])),
        (Unsubscribe(1, ["a"], {"user_properties": [("k", "v")]}), Unsubscribe(1, ["a"])),
        (UnsubAck(1, [0x11], _EXPLAINED), UnsubAck(1)),
        (Disconnect(0x8E, _EXPLAINED), Disconnect()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_older_peers_get_what_their_version_can_say(rich: Packet, plain: Packet, version: int) -> None:
    assert Decoder(version=version).feed(encode(rich, version)) == [plain]


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (ReasonCode.SUCCESS, 0),
        (ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, 1),
        (ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, 2),
        (ReasonCode.SERVER_UNAVAILABLE, 3),
        (ReasonCode.SERVER_BUSY, 3),
        (ReasonCode.BAD_USER_NAME_OR_PASSWORD, 4),
        (ReasonCode.NOT_AUTHORIZED, 5),
        (5, 5),
    ],
)
def test_connack_reasons_have_a_return_code(reason: int, code: int) -> None:
    assert encode(ConnAck(False, reason), 4) == bytes([0x20, 2, 0, code])


def test_every_failure_has_a_return_code() -> None:
    for reason in ReasonCode:
        if reason >= 0x80:
            assert 1 <= wire.connack_return_code(reason) <= 5


@pytest.mark.parametrize("version", [3, 4, 5])
def test_short_acknowledgements_are_those_of_encode(version: int) -> None:
    for identifier in (1, 255, 256, 65535):
        assert wire.encode_puback(identifier) == encode(PubAck(identifier), version)
        assert wire.encode_pubrec(identifier) == encode(PubRec(identifier), version)
        assert wire.encode_pubrel(identifier) == encode(PubRel(identifier), version)
        assert wire.encode_pubcomp(identifier) == encode(PubComp(identifier), version)


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("size", [0, 1, 120, 121, 122, 123, 124, 125, 16378, 16379, 16380, 16381, 2_097_147, 2_097_150])
def test_publish_at_the_borders_of_its_header(version: int, size: int) -> None:
    packet = Publish("a", bytes(size))
    encoded = encode_publish(b"a", bytes(size), version=version)
    decoder = Decoder(max_packet_size=4_000_000, version=version)
    assert decoder.feed(encoded) == [packet]
    assert encode(packet, version) == encoded


def test_the_property_section_of_none_is_one_zero() -> None:
    assert encode_properties(None, 3) == encode_properties({}, 3) == b"\x00"
    assert decode_properties(b"", 3) is None
