"""Laws of the codec that hold for any bytes and any packets (Hypothesis)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from broker.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PacketType,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from broker.properties import PROPERTIES, WILL, Kind, Property
from broker.wire import Decoder, encode
from core.errors import PacketError
from tests.broker.packets import CASES

versions = st.sampled_from([3, 4, 5])
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
topics = st.text(st.characters(exclude_characters="\0+#", exclude_categories=["Cs"]), min_size=1, max_size=12)
binaries = st.binary(max_size=12)
identifiers = st.integers(1, 65535)
qualities = st.integers(0, 2)
filters = st.sampled_from(["#", "+", "a/+/b", "a/#", "/", "$share/g/a/#", "$SYS/#", "ä/\U0001f50c"]) | topics.filter(
    lambda topic: not topic.startswith("$share/")
)


def _values(row: Property) -> SearchStrategy[Any]:
    if row.name == "response_topic":
        return topics
    if row.kind is Kind.STRING:
        return texts
    if row.kind is Kind.BINARY:
        return binaries
    if row.kind is Kind.PAIR:
        return st.lists(st.tuples(texts, texts), min_size=1, max_size=3)
    largest = {Kind.BYTE: 0xFF, Kind.TWO_BYTES: 0xFFFF}.get(row.kind, 0xFFFFFFFF)
    return st.integers(row.minimum, min(row.maximum, largest))


@st.composite
def property_sets(draw: st.DrawFn, packet: int, version: int) -> dict[str, Any] | None:
    if version != 5:
        return None
    rows = draw(
        st.lists(st.sampled_from([row for row in PROPERTIES if packet in row.packets]), unique=True, max_size=5)
    )
    found: dict[str, Any] = {}
    for row in rows:
        value = draw(_values(row))
        found[row.name] = [value] if row.name == "subscription_identifier" else value
    if "authentication_data" in found:
        found.setdefault("authentication_method", "m")
    return found or None


@st.composite
def connects(draw: st.DrawFn, version: int) -> Connect:
    will = None
    if draw(st.booleans()):
        will = Will(
            draw(topics), draw(binaries), draw(qualities), draw(st.booleans()), draw(property_sets(WILL, version))
        )
    username = draw(st.none() | texts)
    password = draw(st.none() | binaries) if username is not None or version == 5 else None
    return Connect(
        draw(texts),
        version,
        draw(st.booleans()),
        draw(st.integers(0, 65535)),
        username,
        password,
        will,
        draw(property_sets(PacketType.CONNECT, version)),
    )


@st.composite
def publishes(draw: st.DrawFn, version: int) -> Publish:
    qos = draw(qualities)
    return Publish(
        draw(topics),
        draw(st.binary(max_size=300)),
        qos,
        draw(st.booleans()),
        qos > 0 and draw(st.booleans()),
        draw(identifiers) if qos else 0,
        draw(property_sets(PacketType.PUBLISH, version)),
    )


def _acknowledgements(kind: Any, codes: list[int], version: int) -> SearchStrategy[Packet]:
    allowed = st.sampled_from(codes if version == 5 else [0])
    return st.builds(kind, identifiers, allowed, property_sets(kind.packet_type, version))


def _subscriptions(version: int) -> SearchStrategy[Subscription]:
    if version != 5:
        return st.builds(Subscription, filters, qualities)
    private = st.builds(
        Subscription,
        filters.filter(lambda text: not text.startswith("$share/")),
        qualities,
        st.booleans(),
        st.booleans(),
        qualities,
    )
    shared = st.builds(Subscription, filters, qualities, st.just(False), st.booleans(), qualities)
    return private | shared


def packets(version: int) -> SearchStrategy[Packet]:
    answers = st.sampled_from([0, 1, 2, 0x80])
    five = version == 5
    choices: list[SearchStrategy[Packet]] = [
        connects(version),
        publishes(version),
        st.builds(ConnAck, st.booleans(), st.just(0), property_sets(PacketType.CONNACK, version)),
        st.builds(
            ConnAck,
            st.just(False),
            st.sampled_from([0x80, 0x87, 0x9F] if five else [1, 2, 3, 4, 5]),
            property_sets(PacketType.CONNACK, version),
        ),
        _acknowledgements(PubAck, [0, 0x10, 0x80, 0x99], version),
        _acknowledgements(PubRec, [0, 0x10, 0x91], version),
        _acknowledgements(PubRel, [0, 0x92], version),
        _acknowledgements(PubComp, [0, 0x92], version),
        st.builds(
            Subscribe,
            identifiers,
            st.lists(_subscriptions(version), min_size=1, max_size=4),
            property_sets(PacketType.SUBSCRIBE, version),
        ),
        st.builds(
            SubAck,
            identifiers,
            st.lists(answers, min_size=1, max_size=4),
            property_sets(PacketType.SUBACK, version),
        ),
        st.builds(
            Unsubscribe,
            identifiers,
            st.lists(filters, min_size=1, max_size=4),
            property_sets(PacketType.UNSUBSCRIBE, version),
        ),
        st.builds(
            UnsubAck,
            identifiers,
            st.lists(st.sampled_from([0, 0x11, 0x8F]), min_size=1, max_size=4) if five else st.just([]),
            property_sets(PacketType.UNSUBACK, version),
        ),
        st.builds(PingReq),
        st.builds(PingResp),
        st.builds(
            Disconnect,
            st.sampled_from([0, 4, 0x81, 0xA2] if five else [0]),
            property_sets(PacketType.DISCONNECT, version),
        ),
    ]
    if five:
        choices.append(st.builds(Auth, st.sampled_from([0, 0x18, 0x19]), property_sets(PacketType.AUTH, 5)))
    return st.one_of(choices)


versioned_packets = versions.flatmap(lambda version: st.tuples(st.just(version), packets(version)))
streams = versions.flatmap(lambda version: st.tuples(st.just(version), st.lists(packets(version), max_size=6)))


@given(versioned_packets)
def test_every_packet_comes_back(drawn: tuple[int, Packet]) -> None:
    version, packet = drawn
    decoder = Decoder(version=version)
    assert decoder.feed(encode(packet, version)) == [packet]
    assert decoder.error is None


# Bytes that look like packets reach deeper than any: whole cases, damaged at some places, or cut and joined.
_case_bytes = st.sampled_from([case.wire for case in CASES if len(case.wire) < 400])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(b"".join(draw(st.lists(_case_bytes, min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    start = draw(st.integers(0, min(3, len(data))))
    return bytes(data[start : draw(st.integers(start, len(data)))])


any_bytes = st.binary(max_size=200) | damaged()


@given(any_bytes, st.none() | versions, st.integers(4, 400))
def test_any_bytes_give_packets_or_a_packet_error(data: bytes, version: int | None, limit: int) -> None:
    decoder = Decoder(max_packet_size=limit, version=version)
    decoder.feed(data)
    if decoder.error is not None:
        assert isinstance(decoder.error, PacketError)
        assert 0x80 <= decoder.error.reason_code <= 0xA2
        assert decoder.error.clause
        assert decoder.waiting_bytes == 0
    assert decoder.waiting_bytes <= limit


@given(any_bytes, st.none() | versions, st.lists(st.integers(1, 30), min_size=1), st.integers(4, 400))
def test_chunks_change_neither_packets_nor_error(
    data: bytes, version: int | None, sizes: list[int], limit: int
) -> None:
    whole = Decoder(max_packet_size=limit, version=version)
    expected = whole.feed(data)
    chunked = Decoder(max_packet_size=limit, version=version)
    got: list[Packet] = []
    at = 0
    while at < len(data):
        size = sizes[at % len(sizes)]
        got += chunked.feed(data[at : at + size])
        at += size
    assert got == expected
    assert str(chunked.error) == str(whole.error)
    assert chunked.waiting_bytes == whole.waiting_bytes
    assert chunked.version == whole.version


@given(streams, st.lists(st.integers(1, 40), min_size=1))
def test_a_stream_of_packets_comes_back_in_order(drawn: tuple[int, list[Packet]], sizes: list[int]) -> None:
    version, sent = drawn
    data = b"".join(encode(packet, version) for packet in sent)
    decoder = Decoder(version=version)
    got: list[Packet] = []
    at = 0
    while at < len(data):
        size = sizes[at % len(sizes)]
        got += decoder.feed(data[at : at + size])
        at += size
    assert got == sent
    assert decoder.error is None
