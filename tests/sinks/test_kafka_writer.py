"""The kafka sink's writer over a producer of our own: how refused records are found, also through an outage."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import pytest

from connections.kafka.config import KafkaConfig
from connections.kafka.driver import OWN_LIMIT, TOO_LARGE, Failure, Producer, Record
from core.errors import Unavailable
from core.message import Batch, Row, Schema, Type
from core.settings import decode_hook
from sinks.kafka.config import Config
from sinks.kafka.encode import Encoder
from sinks.kafka.writer import Call, Writer

OWN = 5_000
PAIR = Schema(("id", "value"), (Type.BIGINT, Type.TEXT))


class Cluster:
    """A broker with its connection: it takes what comes in one ``send``, or refuses all of it as larger than ``limit``.

    ``stalls`` are the requests, counted from 1, of which the answer comes too late. ``taken`` are the values of the
    records that have arrived.
    """

    def __init__(self, limit: int, *, stalls: Collection[int] = ()) -> None:
        table = {"bootstrap_servers": ["kafka:9092"], "request_timeout": "100ms"}
        self.config = msgspec.convert(table, KafkaConfig, dec_hook=decode_hook)
        self.limit = limit
        self.stalls = stalls
        self.requests = 0
        self.producers = 0
        self.taken: list[bytes] = []

    def producer(self, _settings: object, _transactional_id: str | None) -> FakeProducer:
        self.producers += 1
        return FakeProducer(self)


class FakeProducer(Producer):
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.found: dict[int, Failure] = {}
        self.silent = False

    def send(self, records: Sequence[Record]) -> None:
        cluster = self.cluster
        cluster.requests += 1
        self.silent = cluster.requests in cluster.stalls
        values = [record[2] or b"" for record in records]
        self.found = {index: Failure(OWN_LIMIT, "5kB") for index, value in enumerate(values) if len(value) > OWN}
        sent = [index for index in range(len(values)) if index not in self.found]
        if sum(len(values[index]) for index in sent) > cluster.limit:
            self.found |= dict.fromkeys(sent, Failure(TOO_LARGE, "too large"))
        else:
            cluster.taken += [values[index] for index in sent]

    def wait(self, _seconds: float) -> bool:
        silent, self.silent = self.silent, False
        if silent:
            time.sleep(0.11)
        return not silent

    def failures(self) -> dict[int, Failure]:
        found, self.found = self.found, {}
        return found

    def pending(self) -> int:
        return 1

    def trouble(self, _since: float) -> str | None:
        return None

    def begin(self) -> None: ...

    def commit(self) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


def writer(cluster: Any) -> Writer:
    settings = msgspec.convert({"topic": "t", "value": "${id} ${value}"}, Config, dec_hook=decode_hook)
    return Writer(cluster, settings, Encoder(settings), None)


def rows(count: int, large: dict[int, int] | None = None) -> Batch:
    found: list[Row] = [(number, "x" * (large or {}).get(number, 10)) for number in range(count)]
    return Batch("out", "rule", PAIR, found)


def ids(cluster: Cluster) -> list[int]:
    return [int(value.split()[0]) for value in cluster.taken]


def test_what_is_too_large_together_goes_in_parts_and_in_order() -> None:
    cluster = Cluster(1_000)  # some 70 records
    assert writer(cluster).write(rows(1_000), Call()) == []
    assert ids(cluster) == list(range(1_000))
    assert cluster.requests < 60


def test_those_that_are_too_large_are_found_by_halving() -> None:
    cluster = Cluster(3_000)
    dead = writer(cluster).write(rows(200, {3: 4_000, 4: 4_000, 150: 4_000}), Call())
    assert [(place, reason[:46]) for place, reason in dead] == [
        (place, f"topic t, {size} bytes: larger than the broker ta")
        for place, size in ((3, 4_002), (4, 4_002), (150, 4_004))
    ]
    assert ids(cluster) == [number for number in range(200) if number not in (3, 4, 150)]
    assert cluster.requests < 60


def test_those_that_nobody_has_to_be_asked_about_are_sent_once() -> None:
    cluster = Cluster(100_000)
    dead = writer(cluster).write(rows(100, dict.fromkeys(range(50), 6_000)), Call())
    assert [place for place, _ in dead] == list(range(50))
    assert dead[0][1] == "topic t, 6002 bytes: larger than max_message: 5kB"
    assert ids(cluster) == list(range(50, 100))
    assert cluster.requests == 1


@pytest.mark.parametrize("stall", range(1, 12))
def test_silence_at_any_time_doubles_nothing(stall: int) -> None:
    cluster = Cluster(3_000, stalls=(stall,))
    batch, by = rows(100, {40: 4_000}), writer(cluster)
    with pytest.raises(Unavailable, match="no broker has acknowledged anything"):
        by.write(batch, Call())
    assert [place for place, _ in by.write(batch, Call())] == [40]
    assert ids(cluster) == [number for number in range(100) if number != 40]
    assert cluster.producers == 1
