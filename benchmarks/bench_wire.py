"""What the MQTT codec costs: microseconds of CPU per packet, decoding and encoding.

Streams are fed in chunks of 64 KiB, as a socket under load gives them; a PUBLISH is 230 bytes with 200 of payload,
over 100 topics in turn. Each figure is the median of five runs (and the least, which says what the machine can do
undisturbed). ``python benchmarks/bench_wire.py [--json FILE]``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from timing import measure

from broker.packets import Packet, Publish, SubAck, Subscribe, Subscription
from broker.wire import Decoder, encode, encode_puback, encode_publish

PACKETS = 50_000
CHUNK = 65_536
TOPICS = [f"cp/station-{number:04d}/meter/1/val".encode() for number in range(100)]
PAYLOAD = b"x" * 200
PROPERTIES = {"message_expiry_interval": 60, "user_properties": [("site", "north")]}


def publish_stream(qos: int, version: int, *, properties: bool = False, chunk: int = CHUNK) -> list[bytes]:
    section = PROPERTIES if properties else None
    return cut(
        [
            encode_publish(
                TOPICS[number % 100],
                PAYLOAD,
                qos,
                packet_id=number + 1 if qos else 0,
                properties=section,
                version=version,
            )
            for number in range(PACKETS)
        ],
        chunk,
    )


def stream(packet: Packet, version: int) -> list[bytes]:
    return cut([encode(packet, version)] * PACKETS, CHUNK)


def cut(packets: list[bytes], chunk: int) -> list[bytes]:
    data = b"".join(packets)
    return [data[at : at + chunk] for at in range(0, len(data), chunk)]


def decoding(chunks: list[bytes], version: int) -> Callable[[], None]:
    def run() -> None:
        decoder = Decoder(version=version)
        feed = decoder.feed
        count = 0
        for chunk in chunks:
            count += len(feed(chunk))
        assert count == PACKETS
        assert decoder.error is None

    return run


def publishing(qos: int, version: int) -> Callable[[], None]:
    def run() -> None:
        for number in range(PACKETS):
            encode_publish(TOPICS[number % 100], PAYLOAD, qos, False, False, number + 1, None, version)

    return run


def encoding(packet: Packet, version: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(PACKETS):
            encode(packet, version)

    return run


def acknowledging() -> None:
    for number in range(1, PACKETS + 1):
        encode_puback(number)


def benchmarks() -> dict[str, Callable[[], None]]:
    subscribe = Subscribe(7, [Subscription("cp/station-0001/#", 1), Subscription("cp/+/command", 1)])
    small = Publish("cp/station-0001/meter", PAYLOAD, 1, packet_id=1)
    return {
        "decode PUBLISH QoS 0, 3.1.1": decoding(publish_stream(0, 4), 4),
        "decode PUBLISH QoS 1, 3.1.1": decoding(publish_stream(1, 4), 4),
        "decode PUBLISH QoS 0, 5.0": decoding(publish_stream(0, 5), 5),
        "decode PUBLISH QoS 1, 5.0": decoding(publish_stream(1, 5), 5),
        "decode PUBLISH QoS 1, 5.0, 2 properties": decoding(publish_stream(1, 5, properties=True), 5),
        "decode PUBLISH QoS 0, 3.1.1, one packet a read": decoding(
            [chunk for packet in publish_stream(0, 4, chunk=10**9) for chunk in singles(packet)], 4
        ),
        "decode SUBSCRIBE of 2, 3.1.1": decoding(stream(subscribe, 4), 4),
        "decode SUBSCRIBE of 2, 5.0": decoding(stream(subscribe, 5), 5),
        "decode PUBACK": decoding(cut([encode_puback(number + 1) for number in range(PACKETS)], CHUNK), 4),
        "encode PUBLISH QoS 0, 3.1.1": publishing(0, 4),
        "encode PUBLISH QoS 1, 3.1.1": publishing(1, 4),
        "encode PUBLISH QoS 0, 5.0": publishing(0, 5),
        "encode PUBLISH QoS 1, 5.0": publishing(1, 5),
        "encode PUBLISH QoS 1, any packet": encoding(small, 4),
        "encode SUBACK of 2, 3.1.1": encoding(SubAck(7, [1, 1]), 4),
        "encode PUBACK": acknowledging,
    }


def singles(data: bytes) -> list[bytes]:
    """The packets of a stream of equal PUBLISH, each by itself."""
    size = len(data) // PACKETS
    return [data[at : at + size] for at in range(0, len(data), size)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    arguments = parser.parse_args()
    results = {}
    print(f"{'us per packet':<50} {'median':>8} {'min':>8}")
    for name, run in benchmarks().items():
        median, least = measure(run, PACKETS)
        results[name] = {"median": round(median, 4), "min": round(least, 4), "unit": "us/packet"}
        print(f"{name:<50} {median:>8.3f} {least:>8.3f}", flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
