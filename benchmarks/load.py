"""An MQTT 3.1.1 load generator that spends little of its own: every byte it sends was encoded before it starts.

Owns what a publisher does on the wire in the benchmarks: connect, then publish in one of three shapes, then prove
with a PINGREQ on every connection that the server has read everything. Knows nothing of the server behind the
port, so each server under test gets the same bytes. Raw non-blocking sockets and one poller: no client library
whose own cost would be the limit. Measuring the server is the business of ``bench_ingest``.

As a program it connects, prints ``ready``, waits for a line on its standard input, publishes, and prints one JSON
object: ``{"messages": ..., "seconds": ..., "cpu_seconds": ...}``, the latter two of the generator itself.

    python benchmarks/load.py --port 1883 --shape pipelined --messages 300000
    python benchmarks/load.py --port 1883 --shape paced --rate 5000 --messages 25000
    python benchmarks/load.py --port 1883 --shape window --window 20 --messages 200000
    python benchmarks/load.py --port 1883 --shape idle --connections 5000
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

PAYLOAD_BYTES: Final = 200
WRITE_BYTES: Final = 65_536
DISTINCT_MESSAGES: Final = 250  # payloads per connection before they repeat
CONNACK_ACCEPTED: Final = b"\x20\x02\x00\x00"
PINGREQ: Final = b"\xc0\x00"
PINGRESP: Final = b"\xd0\x00"
DISCONNECT: Final = b"\xe0\x00"
PUBACK_BYTES: Final = 4
STALLED_SECONDS: Final = 60.0


class LoadError(Exception):
    """The server did not answer as MQTT 3.1.1 says it must."""


def encode_remaining_length(length: int) -> bytes:
    """The variable-byte integer of MQTT 3.1.1, 2.2.3."""
    encoded = bytearray()
    while True:
        length, digit = divmod(length, 128)
        encoded.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(encoded)


def encode_connect(client_id: str, keep_alive: int) -> bytes:
    """CONNECT with a clean session and no credentials."""
    name = client_id.encode()
    body = b"\x00\x04MQTT\x04\x02" + keep_alive.to_bytes(2, "big") + len(name).to_bytes(2, "big") + name
    return b"\x10" + encode_remaining_length(len(body)) + body


def encode_publish(topic: str, payload: bytes, qos: int = 0, packet_id: int = 0) -> bytes:
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name
    if qos:
        body += packet_id.to_bytes(2, "big")
    return bytes([0x30 | qos << 1]) + encode_remaining_length(len(body) + len(payload)) + body + payload


def meter_payload(station: int, connector: int, index: int) -> bytes:
    """A meter value as JSON of exactly 200 bytes; its power is always above 1000, so that each makes a row."""
    text = (
        f'{{"station":"CP-{station:04d}","connector":{connector},"power":{1000.5 + (index * 37 + station) % 21_000},'
        f'"energy":{183_000 + index * 12.25},"soc":{20 + index % 70},"ts":{1_764_000_000_000 + index * 1000},'
        f'"session":"'
    )
    filler = PAYLOAD_BYTES - len(text) - len('"}')
    return f"{text}{'7f3a9c0e51d2b846' * (filler // 16 + 1)}"[: PAYLOAD_BYTES - 2].encode() + b'"}'


def frames_of(station: int, qos: int = 0, packet_ids: Sequence[int] = (0,)) -> list[bytes]:
    """The PUBLISH packets of one station, two connectors in turn; packet identifiers repeat as given."""
    return [
        encode_publish(
            f"cp/CP-{station:04d}/{1 + index % 2}/meter",
            meter_payload(station, 1 + index % 2, index),
            qos,
            packet_ids[index % len(packet_ids)],
        )
        for index in range(DISTINCT_MESSAGES)
    ]


def receive_exactly(connection: socket.socket, wanted: bytes) -> None:
    received = b""
    while len(received) < len(wanted):
        data = connection.recv(len(wanted) - len(received))
        if not data:
            raise LoadError(f"the server closed the connection instead of sending {wanted.hex(' ')}")
        received += data
    if received != wanted:
        raise LoadError(f"the server sent {received.hex(' ')} instead of {wanted.hex(' ')}")


def connect(port: int, connections: int, *, keep_alive: int = 600, prefix: str = "load") -> list[socket.socket]:
    """That many accepted MQTT connections to the loopback address, blocking, with TCP_NODELAY."""
    sockets = []
    for number in range(connections):
        connection = socket.create_connection(("127.0.0.1", port), timeout=STALLED_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(encode_connect(f"{prefix}-{number}", keep_alive))
        receive_exactly(connection, CONNACK_ACCEPTED)
        sockets.append(connection)
    return sockets


def await_ping(sockets: Sequence[socket.socket]) -> None:
    """Return once the server has handled all that was sent before, which it does in order per connection."""
    for connection in sockets:
        connection.settimeout(STALLED_SECONDS)
        connection.sendall(PINGREQ)
    for connection in sockets:
        receive_exactly(connection, PINGRESP)


def poll(poller: select.epoll) -> list[tuple[int, int]]:
    events = poller.poll(STALLED_SECONDS)
    if not events:
        raise LoadError(f"the server took or sent nothing for {STALLED_SECONDS:.0f} s")
    return events


def publish_pipelined(sockets: Sequence[socket.socket], messages: int) -> int:
    """QoS 0 as fast as the server reads, in writes of at most 64 KiB. Returns the number sent (rounded up to
    whole chunks on every connection).
    """
    frames = frames_of(0)
    per_chunk = min(WRITE_BYTES // max(map(len, frames)), DISTINCT_MESSAGES)
    chunks = max(1, -(-messages // (per_chunk * len(sockets))))
    poller = select.epoll()
    pending: dict[int, tuple[Callable[[memoryview], int], memoryview]] = {}
    for station, connection in enumerate(sockets):
        connection.setblocking(False)
        data = memoryview(b"".join(frames_of(station)[:per_chunk]))
        pending[connection.fileno()] = (connection.send, data)
        poller.register(connection, select.EPOLLOUT)
    offsets = dict.fromkeys(pending, 0)
    left = dict.fromkeys(pending, chunks)
    while left:
        for descriptor, _ in poll(poller):
            send, data = pending[descriptor]
            try:
                offset = offsets[descriptor] + send(data[offsets[descriptor] :])
            except BlockingIOError:
                continue
            if offset < len(data):
                offsets[descriptor] = offset
                continue
            offsets[descriptor] = 0
            left[descriptor] -= 1
            if not left[descriptor]:
                del left[descriptor]
                poller.unregister(descriptor)
    poller.close()
    return chunks * per_chunk * len(sockets)


def publish_paced(sockets: Sequence[socket.socket], messages: int, rate: float) -> int:
    """QoS 0, one packet per write, the connections in turn, at ``rate`` messages a second on an open schedule."""
    stations = [frames_of(station) for station in range(len(sockets))]
    senders = [connection.send for connection in sockets]
    for connection in sockets:
        connection.setblocking(True)
    count = len(sockets)
    start = time.perf_counter()
    for index in range(messages):
        ahead = start + index / rate - time.perf_counter()
        if ahead > 0:
            time.sleep(ahead)
        station = index % count
        frame = stations[station][index // count % DISTINCT_MESSAGES]
        if senders[station](frame) != len(frame):
            raise LoadError("the socket buffer was full: the server does not keep up with this rate")
    return messages


def publish_window(sockets: Sequence[socket.socket], messages: int, window: int) -> int:
    """QoS 1 with at most ``window`` messages unacknowledged per connection; what one read of PUBACKs freed is sent
    in one write. Returns the number of messages acknowledged.
    """
    ids = range(1, window + 1)
    per_connection = max(1, -(-messages // len(sockets)))
    rings: dict[int, tuple[bytes, list[int]]] = {}
    poller = select.epoll()
    by_descriptor = {connection.fileno(): connection for connection in sockets}
    # A ring of frames that is a whole number of windows long, so that identifiers go on counting where it wraps.
    length = DISTINCT_MESSAGES // window * window or window
    for station, connection in enumerate(sockets):
        frames = frames_of(station, 1, ids)
        frames = (frames * (length // len(frames) + 1))[:length]
        ends = [0]
        for frame in frames + frames[:window]:
            ends.append(ends[-1] + len(frame))
        rings[connection.fileno()] = (b"".join(frames + frames[:window]), ends)
        connection.settimeout(STALLED_SECONDS)
        poller.register(connection, select.EPOLLIN)
    sent = dict.fromkeys(rings, 0)
    acknowledged = dict.fromkeys(rings, 0)
    remainder = dict.fromkeys(rings, 0)

    def send_more(descriptor: int) -> None:
        begin = sent[descriptor]
        number = min(window - (begin - acknowledged[descriptor]), per_connection - begin)
        if number:
            data, ends = rings[descriptor]
            at = begin % length
            by_descriptor[descriptor].sendall(data[ends[at] : ends[at + number]])
            sent[descriptor] = begin + number

    for descriptor in rings:
        send_more(descriptor)
    open_connections = set(rings)
    while open_connections:
        for descriptor, _ in poll(poller):
            data = by_descriptor[descriptor].recv(65_536)
            if not data:
                raise LoadError("the server closed a connection")
            acks, remainder[descriptor] = divmod(len(data) + remainder[descriptor], PUBACK_BYTES)
            acknowledged[descriptor] += acks
            if acknowledged[descriptor] >= per_connection:
                open_connections.discard(descriptor)
                poller.unregister(descriptor)
            else:
                send_more(descriptor)
    poller.close()
    return sum(acknowledged.values())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--shape", choices=("pipelined", "paced", "window", "idle"), required=True)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=5_000.0, help="messages a second (paced)")
    parser.add_argument("--window", type=int, default=20, help="unacknowledged messages per connection (window)")
    parser.add_argument("--prefix", default="load", help="client identifiers are PREFIX-0, PREFIX-1, ...")
    options = parser.parse_args(arguments)
    try:
        sockets = connect(options.port, options.connections, prefix=options.prefix)
        print("ready", flush=True)
        if not sys.stdin.readline():
            return 0
        started, cpu = time.perf_counter(), time.process_time()
        messages = 0
        if options.shape == "pipelined":
            messages = publish_pipelined(sockets, options.messages)
        elif options.shape == "paced":
            messages = publish_paced(sockets, options.messages, options.rate)
        elif options.shape == "window":
            messages = publish_window(sockets, options.messages, options.window)
        if options.shape != "idle":
            await_ping(sockets)
        result = {
            "messages": messages,
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - cpu,
        }
        print(json.dumps(result), flush=True)
        # The server must not see the connections end inside the caller's measurement.
        sys.stdin.readline()
        for connection in sockets:
            connection.settimeout(STALLED_SECONDS)
            connection.sendall(DISCONNECT)
            connection.close()
    except (LoadError, OSError) as error:
        print(f"load: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
