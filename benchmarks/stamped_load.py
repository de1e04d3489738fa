"""A load of messages that say when they were sent and which one they are, for ``bench_latency``.

Owns the stamped payload (the meter value of ``load.py``, of 200 bytes too, with ``seq`` and ``sent``, microseconds
since the epoch) and its two shapes: on an open schedule with one packet per write, or QoS 1 with a window of
unacknowledged messages per connection, as fast as the server goes. Everything but the stamps is encoded before the
clock starts. The stamp is taken just before the packet is handed to the system. When a row has come is the business of
``observe.py``.

The protocol of ``helper.py``: ``ready``; a line ``FIRST MESSAGES`` publishes that many, numbered from FIRST, and is
answered by one JSON object.

    python benchmarks/stamped_load.py --port 1883 --qos 1 --rate 5000
    python benchmarks/stamped_load.py --port 1883 --qos 1 --window 20
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from load import (
    DISCONNECT,
    DISTINCT_MESSAGES,
    PAYLOAD_BYTES,
    PUBACK_BYTES,
    STALLED_SECONDS,
    LoadError,
    await_ping,
    connect,
    encode_remaining_length,
    poll,
)

FIRST: Final = 1_000_000_000
"""Numbers have ten digits, times sixteen: every payload has the same length."""


class Frame(NamedTuple):
    """A PUBLISH packet but for packet identifier, number and time, which go between the parts."""

    start: bytes
    before: bytes
    after: bytes

    def fill(self, packet_id: bytes, number: int) -> bytes:
        now = time.time_ns() // 1_000
        return b'%b%b%b%d,"sent":%d%b' % (self.start, packet_id, self.before, number, now, self.after)


def frame(station: int, index: int, qos: int) -> Frame:
    """As ``load.meter_payload``: always above 1000 W, so that each makes a row."""
    connector = 1 + index % 2
    topic = f"cp/CP-{station:04d}/{connector}/meter".encode()
    before = (
        f'{{"station":"CP-{station:04d}","connector":{connector},"power":{1000.5 + (index * 37 + station) % 21_000},'
        f'"energy":{183_000 + index * 12.25},"soc":{20 + index % 70},"ts":{1_764_000_000_000 + index * 1000},"seq":'
    ).encode()
    stamps = len(f'{FIRST},"sent":') + 16
    filler = PAYLOAD_BYTES - len(before) - stamps - len(',"session":""}')
    after = f',"session":"{"7f3a9c0e51d2b846" * 8:.{filler}}"}}'.encode()
    assert len(before) + stamps + len(after) == PAYLOAD_BYTES
    remaining = 2 + len(topic) + (2 if qos else 0) + PAYLOAD_BYTES
    start = bytes([0x30 | qos << 1]) + encode_remaining_length(remaining) + len(topic).to_bytes(2, "big") + topic
    return Frame(start, before, after)


class Publisher:
    """One connection: its frames, and how many packets were sent and acknowledged."""

    def __init__(self, connection: socket.socket, station: int, qos: int) -> None:
        self.connection = connection
        self.sent = 0
        self.acknowledged_bytes = 0
        self._qos = qos
        self._frames = [frame(station, index, qos) for index in range(DISTINCT_MESSAGES)]

    def next(self, number: int) -> bytes:
        packet_id = (self.sent % 65_535 + 1).to_bytes(2, "big") if self._qos else b""
        packet = self._frames[self.sent % DISTINCT_MESSAGES].fill(packet_id, number)
        self.sent += 1
        return packet

    def take_acks(self, flags: int = 0) -> None:
        try:
            data = self.connection.recv(65_536, flags)
        except BlockingIOError:
            return
        if not data:
            raise LoadError("the server closed a connection")
        self.acknowledged_bytes += len(data)

    @property
    def acknowledged(self) -> int:
        return self.acknowledged_bytes // PUBACK_BYTES

    def await_acks(self) -> None:
        while self._qos and self.acknowledged < self.sent:
            self.take_acks()


def publish_paced(publishers: Sequence[Publisher], first: int, messages: int, rate: float, qos: int) -> None:
    """One packet per write, the connections in turn, at ``rate`` messages a second on an open schedule."""
    count = len(publishers)
    start = time.perf_counter()
    for index in range(messages):
        ahead = start + index / rate - time.perf_counter()
        if ahead > 0:
            time.sleep(ahead)
        publisher = publishers[index % count]
        packet = publisher.next(first + index)
        if publisher.connection.send(packet) != len(packet):
            raise LoadError("the socket buffer was full: the server does not keep up with this rate")
        if qos:
            publisher.take_acks(socket.MSG_DONTWAIT)


def publish_window(publishers: Sequence[Publisher], first: int, messages: int, window: int) -> None:
    """At most ``window`` unacknowledged per connection; what one read of PUBACKs freed is sent in one write."""
    poller = select.epoll()
    by_descriptor = {publisher.connection.fileno(): publisher for publisher in publishers}
    end, number = first + messages, first

    def send_more(publisher: Publisher) -> None:
        nonlocal number
        free = min(window - (publisher.sent - publisher.acknowledged), end - number)
        if free > 0:
            publisher.connection.sendall(b"".join([publisher.next(number + more) for more in range(free)]))
            number += free

    for descriptor, publisher in by_descriptor.items():
        poller.register(descriptor, select.EPOLLIN)
        send_more(publisher)
    while number < end:
        for descriptor, _ in poll(poller):
            by_descriptor[descriptor].take_acks()
            send_more(by_descriptor[descriptor])
    poller.close()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--qos", type=int, choices=(0, 1), default=0)
    parser.add_argument("--rate", type=float, default=5_000.0, help="messages a second")
    parser.add_argument("--window", type=int, help="instead of a rate: unacknowledged messages per connection (QoS 1)")
    options = parser.parse_args(arguments)
    if options.window and not options.qos:
        parser.error("--window needs --qos 1")
    try:
        sockets = connect(options.port, options.connections, prefix="stamped")
        for connection in sockets:
            connection.settimeout(STALLED_SECONDS)
        publishers = [Publisher(connection, station, options.qos) for station, connection in enumerate(sockets)]
        print("ready", flush=True)
        for line in sys.stdin:
            first, messages = map(int, line.split())
            began, started, cpu = time.time_ns() // 1_000, time.perf_counter(), time.process_time()
            if options.window:
                publish_window(publishers, first, messages, options.window)
            else:
                publish_paced(publishers, first, messages, options.rate, options.qos)
            for publisher in publishers:
                publisher.await_acks()
            seconds = time.perf_counter() - started
            await_ping(sockets)
            result: dict[str, Any] = {
                "messages": messages,
                "began": began,
                "seconds": seconds,
                "cpu_seconds": time.process_time() - cpu,
            }
            print(json.dumps(result), flush=True)
        for connection in sockets:
            connection.sendall(DISCONNECT)
            connection.close()
    except (LoadError, OSError) as error:
        print(f"stamped_load: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
