"""The codec against the shared table of wire cases, however a stream is cut."""

from __future__ import annotations

import pytest

from broker.packets import Packet, PingReq, PubAck, Publish, UnsupportedProtocol
from broker.wire import Decoder, encode
from core.errors import PacketError
from tests.broker.packets import BAD, CASES, GOOD, Case


def decoder_for(case: Case) -> Decoder:
    """A decoder as it stands when ``case`` arrives: only a CONNECT may come before the version is known."""
    return Decoder(version=None if case.wire[0] >> 4 == 1 else case.version)


def outcome(decoder: Decoder, packets: list[Packet]) -> tuple[list[Packet], int | None, str | None]:
    error = decoder.error
    return packets, error and error.reason_code, error and error.clause


def cuts(wire: bytes) -> list[int]:
    """Every length short of the whole; of long packets the two ends and samples between."""
    every = range(len(wire))
    return list(every) if len(every) <= 400 else [*every[:50], *every[50:-50:997], *every[-50:]]


def test_the_table_has_no_case_twice() -> None:
    names = [str(case) for case in CASES]
    assert len(set(names)) == len(names)
    assert len({(case.version, case.wire) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", GOOD, ids=str)
def test_a_good_packet_is_decoded(case: Case) -> None:
    decoder = decoder_for(case)
    assert outcome(decoder, decoder.feed(case.wire)) == ([case.packet], None, None)
    assert decoder.version == case.version
    assert decoder.waiting_bytes == 0


@pytest.mark.parametrize("case", BAD, ids=str)
def test_a_bad_packet_is_refused(case: Case) -> None:
    decoder = decoder_for(case)
    assert outcome(decoder, decoder.feed(case.wire)) == ([], case.reason_code, case.clause)
    assert decoder.feed(b"\xc0\x00") == []
    assert decoder.waiting_bytes == 0


@pytest.mark.parametrize("case", [case for case in GOOD if case.canonical], ids=str)
def test_a_packet_is_encoded_to_the_same_bytes(case: Case) -> None:
    assert case.packet is not None
    assert encode(case.packet, case.version) == case.wire


@pytest.mark.parametrize("case", [case for case in GOOD if not case.canonical], ids=str)
def test_what_is_said_otherwise_means_the_same(case: Case) -> None:
    assert case.packet is not None
    decoder = decoder_for(case)
    assert decoder.feed(encode(case.packet, case.version)) == [case.packet]


@pytest.mark.parametrize("case", GOOD, ids=str)
def test_a_packet_cut_anywhere_waits_for_its_rest(case: Case) -> None:
    for cut in cuts(case.wire):
        decoder = decoder_for(case)
        assert outcome(decoder, decoder.feed(case.wire[:cut])) == ([], None, None), cut
        assert decoder.waiting_bytes == cut
        assert outcome(decoder, decoder.feed(case.wire[cut:])) == ([case.packet], None, None), cut


@pytest.mark.parametrize("case", CASES, ids=str)
def test_byte_by_byte_gives_the_same_as_whole(case: Case) -> None:
    decoder = decoder_for(case)
    packets = [packet for byte in case.wire for packet in decoder.feed(bytes([byte]))]
    expected = [] if case.packet is None else [case.packet]
    assert outcome(decoder, packets) == (expected, case.reason_code, case.clause)


@pytest.mark.parametrize("case", BAD, ids=str)
def test_a_bad_packet_cut_anywhere_never_yields_a_packet(case: Case) -> None:
    for cut in cuts(case.wire):
        decoder = decoder_for(case)
        packets = decoder.feed(case.wire[:cut]) + decoder.feed(case.wire[cut:])
        assert outcome(decoder, packets) == ([], case.reason_code, case.clause), cut


@pytest.mark.parametrize("case", GOOD, ids=str)
def test_two_packets_in_one_read(case: Case) -> None:
    decoder = decoder_for(case)
    assert decoder.feed(case.wire + case.wire) == [case.packet, case.packet]
    decoder = decoder_for(case)
    assert decoder.feed(case.wire + b"\xc0") == [case.packet]
    assert decoder.feed(b"\x00") == [PingReq()]


@pytest.mark.parametrize("case", BAD, ids=str)
def test_the_packets_before_a_bad_one_are_kept(case: Case) -> None:
    decoder = Decoder(version=case.version)
    assert decoder.feed(b"\xc0\x00" + case.wire + b"\xc0\x00") == [PingReq()]
    assert isinstance(decoder.error, PacketError)


def test_connect_sets_the_version_for_what_follows_in_the_same_read() -> None:
    [connect] = [case for case in CASES if str(case) == "v5 CONNECT minimal"]
    decoder = Decoder()
    packets = decoder.feed(connect.wire + b"\x30\x04\x00\x01a\x00" + b"\x40\x03\x00\x01\x10")
    assert packets == [connect.packet, Publish("a", b""), PubAck(1, 0x10)]


@pytest.mark.parametrize("head", [0x20, 0x30, 0x40, 0x82, 0xC0, 0xE0, 0xF0])
def test_nothing_comes_before_connect(head: int) -> None:
    decoder = Decoder()
    assert decoder.feed(bytes([head, 2, 0, 1])) == []
    assert decoder.error is not None
    assert (decoder.error.reason_code, decoder.error.clause) == (0x82, "MQTT-3.1.0-1")


@pytest.mark.parametrize(("level", "answer"), [(0, 4), (2, 4), (6, 5), (0x84, 4), (0x85, 5), (255, 5)])
def test_an_unknown_level_is_told_apart(level: int, answer: int) -> None:
    decoder = Decoder()
    decoder.feed(b"\x10\x0c\x00\x04MQTT" + bytes([level]) + b"\x02\x00\x00\x00\x00")
    assert isinstance(decoder.error, UnsupportedProtocol)
    assert (decoder.error.level, decoder.error.answer_version) == (level, answer)


def test_a_packet_that_is_too_large_is_refused_by_its_header() -> None:
    decoder = Decoder(max_packet_size=1000, version=4)
    assert decoder.feed(b"\x30\xe6\x07") == []
    assert decoder.error is not None
    assert (decoder.error.reason_code, decoder.error.clause) == (0x95, "MQTT-3.2.2-15")
    assert decoder.waiting_bytes == 0


@pytest.mark.parametrize("chunk", [1, 7, 999, 5000])
def test_the_limit_counts_the_whole_packet(chunk: int) -> None:
    largest = Publish("a", b"x" * 994)
    wire = encode(largest, 4) + encode(Publish("a", b"x" * 995), 4)
    decoder = Decoder(max_packet_size=1000, version=4)
    packets = [packet for at in range(0, len(wire), chunk) for packet in decoder.feed(wire[at : at + chunk])]
    assert packets == [largest]
    assert decoder.error is not None
    assert decoder.error.reason_code == 0x95


def test_the_limit_may_change_between_reads() -> None:
    wire = encode(Publish("a", b"x" * 500), 4)
    decoder = Decoder(max_packet_size=100, version=4)
    decoder.max_packet_size = 1000
    assert len(decoder.feed(wire)) == 1
    decoder.max_packet_size = 100
    assert decoder.feed(wire) == []
    assert decoder.error is not None


def test_a_wrong_first_byte_is_refused_before_its_packet_is_gathered() -> None:
    decoder = Decoder(version=4)
    decoder.feed(b"\x36\xff\xff\x03")
    assert decoder.error is not None
    assert decoder.error.clause == "MQTT-3.3.1-4"


def test_a_large_packet_is_gathered_from_small_chunks() -> None:
    packet = Publish("a", bytes(range(256)) * 2000, 1, packet_id=5)
    wire = encode(packet, 4) + b"\xc0\x00"
    decoder = Decoder(version=4)
    packets = [packet for at in range(0, len(wire), 100) for packet in decoder.feed(wire[at : at + 100])]
    assert packets == [packet, PingReq()]
    assert isinstance(packets[0].payload, bytes)
    assert decoder.waiting_bytes == 0


def test_no_data_changes_nothing() -> None:
    decoder = Decoder(version=4)
    assert decoder.feed(b"") == []
    decoder.feed(b"\xc0")
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\x00") == [PingReq()]


def test_topics_beyond_the_cache_are_still_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.wire._MAX_CACHED_TOPICS", 8)
    cache: dict[bytes, str] = {}
    monkeypatch.setattr("broker.wire._topics", cache)
    decoder = Decoder(version=4)
    sent = [Publish(f"t/{number % 30}", b"") for number in range(200)]
    sent.append(Publish("long/" + "x" * 300, b""))
    assert decoder.feed(b"".join(encode(packet, 4) for packet in sent)) == sent
    assert 0 < len(cache) <= 8
    assert all(raw.decode() == topic for raw, topic in cache.items())


def test_a_repeated_topic_is_one_object() -> None:
    wire = encode(Publish("same/object", b""), 4)
    [first, second] = Decoder(version=4).feed(wire + wire)
    assert isinstance(first, Publish)
    assert isinstance(second, Publish)
    assert first.topic is second.topic
