"""What tests of the kafka sink against real brokers share: topics, sinks, reading back."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import confluent_kafka as ck
import msgspec
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from connections.base import ConnectionContext
from connections.kafka.config import KafkaConfig
from connections.kafka.connection import KafkaConnection
from core.clock import SystemClock
from core.message import Batch, Row, Schema, Type
from core.metrics import Metrics
from core.settings import decode_hook
from sinks.base import Sink, SinkContext
from sinks.delivery import Delivery
from sinks.kafka.sink import KafkaSink
from sinks.settings import DeliverySettings

PAIR = Schema(("id", "value"), (Type.BIGINT, Type.ANY))
DRIVERS = ("confluent", "kafka-python")
numbers = itertools.count()
SCRAM = {"mechanism": "SCRAM-SHA-256", "username": "scramuser", "password": "scram-secret"}


def connect(bootstrap: str, driver: str, context: ConnectionContext | None = None, **settings: Any) -> KafkaConnection:
    cluster = {"bootstrap_servers": [bootstrap], "driver": driver, **settings}
    config = msgspec.convert(cluster, KafkaConfig, dec_hook=decode_hook)
    return KafkaConnection(config, context or ConnectionContext(name="bus", base_dir=Path()))


def new_topic(bootstrap: str, partitions: int = 1, **config: str) -> str:
    name = f"topic-{next(numbers)}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    [made] = admin.create_topics([NewTopic(name, partitions, 1, config=config)]).values()
    made.result(30)
    return name


def consume(bootstrap: str, topic: str, *, isolation: str = "read_committed") -> list[Any]:
    """Every message of a topic, up to the ends of its partitions, by partition and offset."""
    consumer = ck.Consumer(
        {"bootstrap.servers": bootstrap, "group.id": f"g{next(numbers)}", "isolation.level": isolation}
        | {"enable.auto.commit": False, "enable.partition.eof": True}
    )
    try:
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        consumer.assign([ck.TopicPartition(topic, number, 0) for number in partitions])
        found, ended = [], 0
        while ended < len(partitions):
            message = consumer.poll(30)
            assert message is not None, "the broker does not answer"
            if message.error() is None:
                found.append(message)
            elif message.error().code() == ck.KafkaError._PARTITION_EOF:
                ended += 1
        return sorted(found, key=lambda message: (message.partition(), message.offset()))
    finally:
        consumer.close()


def make(bootstrap: str, driver: str, connection: dict[str, Any] | None = None, **table: Any) -> KafkaSink:
    shared = connect(bootstrap, driver, **(connection or {}))
    settings = msgspec.convert(table, KafkaSink.Config, dec_hook=decode_hook)
    return KafkaSink(settings, SinkContext(name="out", base_dir=Path(), connection=shared))


def batch(*rows: Row, schema: Schema = PAIR) -> Batch:
    return Batch("out", "rule", schema, list(rows))


async def write(sink: Sink, *batches: Batch) -> None:
    await sink.open()
    try:
        for each in batches:
            await sink.write(each)
    finally:
        await sink.close()


def ids(messages: Sequence[Any]) -> list[int]:
    return [msgspec.json.decode(message.value())["id"] for message in messages]


async def deliver(
    sink: Sink, rows: Sequence[Row], disturb: Callable[[int], None], dead: list[Row] | None = None
) -> Delivery:
    """Send rows through a delivery, in batches, and let ``disturb`` do what it wants before each."""

    def bury(batch: Batch, rejected: list[tuple[int, str]]) -> None:
        assert dead is not None, rejected
        dead.extend(batch.rows[index] for index, _ in rejected)

    table = {"batch": {"max_rows": 50}, "retry": {"attempt_timeout": "3s", "max_delay": "500ms"}}
    delivery = Delivery(
        "out",
        sink,
        msgspec.convert(table, DeliverySettings, dec_hook=decode_hook),
        clock=SystemClock(),
        metrics=Metrics(),
        on_room=lambda: None,
        on_dead=bury,
    )
    await delivery.start()
    try:
        for number, start in enumerate(range(0, len(rows), 50)):
            await asyncio.to_thread(disturb, number)
            assert delivery.offer(batch(*rows[start : start + 50]))
            await asyncio.sleep(0.02)
        async with asyncio.timeout(120):
            await delivery.drain()
    finally:
        await delivery.close()
    return delivery
