"""When does a row become visible at the far side? A process that watches one, for ``bench_latency``.

Owns how each kind of far side is watched, and the books of a round: which of the numbered rows have come, and how long
after their message was sent. What is sent is the business of ``stamped_load.py``; both read the clock of this machine.

* ``kafka``, ``mqtt``: a consumer; a row is visible when it has the record or the message in hand.
* ``postgresql``, ``sqlite``, ``influxdb``: a reader that asks for new rows, pauses for a millisecond and asks again. A
  row counts from when the answer that has it is complete, so the figure is late by up to a pause and two queries; how
  long a query took is among the figures (``answer``).
* ``http``: the far side itself, a server that keeps the moment at which each request was complete.

The protocol of ``helper.py``: ``ready`` (with the port for ``http``); a line ``FIRST EXPECT SKIP`` begins a round of
EXPECT rows that are numbered from FIRST, the first SKIP of which are counted and not timed. One answer comes at once:
only then may the first be sent. The other comes when all are there, or when none has come for a while.

    python benchmarks/observe.py kafka 127.0.0.1:9092
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import queue
import re
import socket
import sqlite3
import statistics
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from far_side import listen, port_of
from load import CONNACK_ACCEPTED, encode_connect, encode_remaining_length, receive_exactly

TABLE: Final = "bench"
PAUSE_SECONDS: Final = 0.001
PATIENCE_SECONDS: Final = 15.0
OVERLAP_NS: Final = 20_000_000
"""How far back InfluxDB is asked again: points of several connections do not come in the order of their times."""
_NUMBER: Final = re.compile(rb'\bseq"?[:=](\d+)')
_SENT: Final = re.compile(rb'\bsent"?[:=](\d+)')


class Round:
    """Which rows have come. ``see`` is called in the watching thread, all else in the main one."""

    def __init__(self, first: int, expect: int, skip: int) -> None:
        self._first = first
        self._skip = skip
        self._took = [-1] * expect
        self._contiguous = 0
        self._missing = expect
        self._repeated = 0
        self._last = 0
        self.answers: list[int] = []
        self.news_at = time.monotonic()
        self.complete = threading.Event()

    @property
    def mark(self) -> int:
        """All rows up to this number have been seen."""
        return self._first + self._contiguous - 1

    def has(self, number: int) -> bool:
        index = number - self._first
        return not 0 <= index < len(self._took) or self._took[index] >= 0

    def see(self, number: int, sent: int, now: int) -> None:
        """Row ``number``, sent at ``sent``, is visible at ``now``; microseconds."""
        took, index = self._took, number - self._first
        if not 0 <= index < len(took):
            return  # a late one of another round
        if took[index] >= 0:
            self._repeated += 1
            return
        if now < sent:
            raise SystemExit("observe: a row was seen before it was sent: the clock was set back")
        took[index] = now - sent
        self._missing -= 1
        self._last = now
        self.news_at = time.monotonic()
        while self._contiguous < len(took) and took[self._contiguous] >= 0:
            self._contiguous += 1
        if not self._missing:
            self.complete.set()

    def result(self) -> dict[str, Any]:
        timed = sorted(took for took in self._took[self._skip :] if took >= 0)
        found: dict[str, Any] = {"missing": self._missing, "repeated": self._repeated, "last": self._last}
        if timed:
            for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
                found[name] = timed[min(int(share * len(timed)), len(timed) - 1)]
        if self.answers:
            found["answer"] = statistics.median(self.answers)
        return found


class Watch:
    """What a watching thread tells, and the round that it is for; between rounds there is none."""

    def __init__(self) -> None:
        self.round: Round | None = None

    def see(self, number: int, sent: int, now: int) -> None:
        current = self.round
        if current is not None:
            current.see(number, sent, now)

    def see_all(self, text: bytes, now: int) -> None:
        """Every row in a text, JSON or line protocol, where each has both names once."""
        for number, sent in zip(_NUMBER.findall(text), _SENT.findall(text), strict=True):
            self.see(int(number), int(sent), now)


def now_us() -> int:
    return time.time_ns() // 1_000


def watch_kafka(watch: Watch, address: str) -> None:
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": address, "group.id": TABLE, "enable.auto.commit": False})
    partitions = consumer.list_topics(TABLE, timeout=30).topics[TABLE].partitions
    consumer.assign([TopicPartition(TABLE, number, OFFSET_BEGINNING) for number in partitions])
    while True:
        message = consumer.poll(1.0)
        if message is None:
            continue
        value = message.value()
        if message.error() or value is None:
            raise SystemExit(f"observe: {message.error()}")
        watch.see_all(value, now_us())


def watch_mqtt(watch: Watch, address: str) -> None:
    """Subscribed with QoS 1: a PUBLISH has a topic, a packet identifier and the row, and is acknowledged."""
    connection = socket.create_connection(("127.0.0.1", int(address)))
    connection.sendall(encode_connect("observe", 0))
    receive_exactly(connection, CONNACK_ACCEPTED)
    subscribe = b"\x00\x01" + len(b"out/#").to_bytes(2, "big") + b"out/#\x01"
    connection.sendall(b"\x82" + encode_remaining_length(len(subscribe)) + subscribe)
    receive_exactly(connection, b"\x90\x03\x00\x01\x01")
    rest = b""
    while True:
        # The broker holds small packets back until what it has sent is acknowledged (Nagle); we do that at once.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        data = connection.recv(65_536)
        now = now_us()
        if not data:
            raise SystemExit("observe: the broker closed the connection")
        rest += data
        at, acks = 0, []
        while at + 4 < len(rest):
            low, high = rest[at + 1], rest[at + 2]
            length, start = (low & 0x7F | high << 7, at + 3) if low & 0x80 else (low, at + 2)
            if start + length > len(rest):
                break
            if rest[at] & 0x06:  # it was published with QoS 0 otherwise
                topic_end = start + 2 + int.from_bytes(rest[start : start + 2], "big")
                acks.append(b"\x40\x02" + rest[topic_end : topic_end + 2])
            watch.see_all(rest[start : start + length], now)
            at = start + length
        rest = rest[at:]
        if acks:
            connection.sendall(b"".join(acks))


def watch_table(watch: Watch, query: Callable[[int], Iterable[tuple[Any, Any]]]) -> None:
    """``query(n)`` gives number and time of all rows above n, those between gaps again and again."""
    while True:
        current = watch.round
        if current is not None:
            asked = time.perf_counter()
            found = query(current.mark)
            now = now_us()
            current.answers.append(round((time.perf_counter() - asked) * 1e6))
            for number, sent in found:
                if not current.has(int(number)):
                    current.see(int(number), int(sent), now)
        time.sleep(PAUSE_SECONDS)


_NEW: Final = f"SELECT seq, sent FROM {TABLE} WHERE seq > "  # noqa: S608


def watch_postgresql(watch: Watch, address: str) -> None:
    import psycopg

    connection = psycopg.connect(address, autocommit=True)
    # A plan made while the table was small reads all of it for ever: the answers then take as long as the writes.
    connection.execute("SET enable_seqscan = off")
    watch_table(watch, lambda mark: connection.execute(f"{_NEW} %s", (mark,)).fetchall())


def watch_sqlite(watch: Watch, address: str) -> None:
    connection = sqlite3.connect(address, timeout=30, isolation_level=None)
    watch_table(watch, lambda mark: connection.execute(f"{_NEW} ?", (mark,)).fetchall())


def ask_influxdb(connection: http.client.HTTPConnection, method: str, statement: str) -> dict[str, Any]:
    """The result of an InfluxQL statement."""
    parameters = urllib.parse.urlencode({"db": "ci", "epoch": "ns", "q": statement})
    connection.request(method, f"/query?{parameters}")
    result: dict[str, Any]
    [result] = json.loads(connection.getresponse().read())["results"]
    if "error" in result:
        raise SystemExit(f"observe: {result['error']}")
    return result


def clear_influxdb(address: str) -> None:
    """A query copies all that a series has in memory: without this the answers would get slower with every round."""
    connection = http.client.HTTPConnection(address)
    ask_influxdb(connection, "POST", f"DROP MEASUREMENT {TABLE}")
    connection.close()


def watch_influxdb(watch: Watch, address: str) -> None:
    """Points have the time of writing. A batch becomes visible bit by bit, even the fields of a point: what is asked
    for begins a little before the newest point up to which none is missing, and where nothing new comes with the first.
    """
    connection = http.client.HTTPConnection(address)
    times: dict[int, int] = {}
    since = 0

    def query(mark: int) -> list[tuple[int, int]]:
        nonlocal since, times
        since = max(since, times.get(mark, OVERLAP_NS) - OVERLAP_NS)
        idle = watch.round is not None and time.monotonic() - watch.round.news_at > 1.0
        statement = f"SELECT seq, sent FROM {TABLE} WHERE time >= {0 if idle else since}"  # noqa: S608
        result = ask_influxdb(connection, "GET", statement)
        found = result["series"][0]["values"] if "series" in result else []
        whole = [values for values in found if None not in values]
        times = {int(number): moment for moment, number, _ in whole}
        return [(number, sent) for _, number, sent in whole]

    watch_table(watch, query)


def watch_http(watch: Watch, announce: Callable[[int], None]) -> None:
    async def serve() -> None:
        server = await listen(lambda moment, body: watch.see_all(body, moment // 1_000))
        announce(port_of(server))
        await server.serve_forever()

    asyncio.run(serve())


WATCHES: Final[dict[str, Callable[[Watch, str], None]]] = {
    "influxdb": watch_influxdb,
    "kafka": watch_kafka,
    "mqtt": watch_mqtt,
    "postgresql": watch_postgresql,
    "sqlite": watch_sqlite,
}
CLEARS: Final[dict[str, Callable[[str], None]]] = {"influxdb": clear_influxdb}
"""What removes the rows of earlier rounds, where a reader's answers take longer with every row that is there."""


def start(kind: str, address: str) -> tuple[Watch, str]:
    """Begin to watch in a thread, which ends the process where it fails."""
    watch, said = Watch(), queue.SimpleQueue[str]()

    def run() -> None:
        try:
            if kind == "http":
                watch_http(watch, lambda port: said.put(str(port)))
            else:
                WATCHES[kind](watch, address)
        except BaseException as error:  # noqa: BLE001 - all ends here
            print(f"observe {kind}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)

    threading.Thread(target=run, daemon=True).start()
    return watch, said.get(timeout=PATIENCE_SECONDS) if kind == "http" else ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("kind", choices=[*WATCHES, "http"])
    parser.add_argument("address", nargs="?", default="", help="what its driver takes; none with http")
    options = parser.parse_args(arguments)
    watch, words = start(options.kind, options.address)
    print("ready", words, flush=True)
    for line in sys.stdin:
        if clear := CLEARS.get(options.kind):
            clear(options.address)
        current = watch.round = Round(*map(int, line.split()))
        print(json.dumps({"began": True}), flush=True)
        while not current.complete.wait(0.1) and time.monotonic() - current.news_at < PATIENCE_SECONDS:
            pass
        watch.round = None
        print(json.dumps(current.result()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
