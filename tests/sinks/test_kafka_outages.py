"""The kafka sink while brokers come and go, with both drivers alike: nothing lost, nothing doubled, and told so."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable

import msgspec
import pytest

from core.errors import Unavailable
from core.message import Batch
from sinks.base import Sink
from tests.servers import Kafka, Proxy

pytestmark = pytest.mark.integration
pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed (pip install 'headrace[kafka]')")
pytest.importorskip("kafka", reason="kafka-python is not installed (pip install 'headrace[kafka-python]')")

from confluent_kafka.admin import AdminClient  # noqa: E402
from confluent_kafka.cimpl import NewTopic  # noqa: E402

from tests.sinks.kafka_parts import DRIVERS, batch, consume, deliver, ids, make, new_topic  # noqa: E402


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("exactly_once", [False, True])
async def test_nothing_is_lost_doubled_or_out_of_order_while_the_broker_comes_and_goes(
    own_server: Callable[..., Kafka], driver: str, exactly_once: bool
) -> None:
    server = own_server(Kafka)
    name = new_topic(server.bootstrap, 3)
    rows = [(number, f"cp{number % 7}") for number in range(3_000)]

    def disturb(number: int) -> None:
        if number == 10:
            server.kill()
        elif number == 15:
            server.start()
        elif number == 30:
            server.pause()
        elif number == 34:
            server.resume()
        elif number == 45:
            server.stop()
        elif number == 50:
            server.start()

    sink = make(server.bootstrap, driver, topic=name, key="${value}", exactly_once=exactly_once)
    await deliver(sink, rows, disturb)
    by_key: dict[bytes, list[int]] = {}
    for message in consume(server.bootstrap, name):
        by_key.setdefault(message.key(), []).append(msgspec.json.decode(message.value())["id"])
    assert sorted(itertools.chain(*by_key.values())) == list(range(3_000))
    assert all(found == sorted(found) for found in by_key.values())


async def test_leaders_that_change(own_server: Callable[..., Kafka], driver: str) -> None:
    first = own_server(Kafka)
    second = own_server(Kafka, joins=first)
    replicas = [[2, 1], [1, 2], [2, 1]]  # the first of each leads
    admin = AdminClient({"bootstrap.servers": first.bootstrap})
    [made] = admin.create_topics([NewTopic("moving", 3, replica_assignment=replicas)]).values()
    made.result(30)
    rows = [(number, f"cp{number % 7}") for number in range(2_000)]

    def disturb(number: int) -> None:
        steps: dict[int, Callable[[], None]] = {8: second.kill, 20: second.start, 28: second.stop, 36: second.start}
        steps.get(number, lambda: None)()

    await deliver(make(first.bootstrap, driver, topic="moving", key="${value}"), rows, disturb)
    by_key: dict[bytes, list[int]] = {}
    for message in consume(first.bootstrap, "moving"):
        by_key.setdefault(message.key(), []).append(msgspec.json.decode(message.value())["id"])
    assert sorted(itertools.chain(*by_key.values())) == list(range(2_000))
    assert all(found == sorted(found) for found in by_key.values())


async def test_connections_that_are_cut_lose_and_double_nothing(kafka: Kafka, driver: str) -> None:
    name = new_topic(kafka.bootstrap)
    with Proxy(kafka.port) as proxy:
        # What the broker advertises leads past the proxy, but the first connection goes through it.
        sink = make(f"127.0.0.1:{proxy.port}", driver, topic=name, key="${id}")
        await deliver(sink, [(number, "x") for number in range(1_000)], lambda number: proxy.cut())
    assert ids(consume(kafka.bootstrap, name)) == list(range(1_000))


@pytest.mark.parametrize("exactly_once", [False, True])
async def test_an_outage_is_told_while_the_driver_goes_on_until_the_sink_is_closed(
    own_server: Callable[..., Kafka], driver: str, exactly_once: bool
) -> None:
    server = own_server(Kafka)
    name = new_topic(server.bootstrap)
    before = set(threading.enumerate())
    sink = make(server.bootstrap, driver, {"request_timeout": "3s"}, topic=name, exactly_once=exactly_once)
    await sink.open()
    await sink.write(batch((1, "a")))
    server.kill()
    rows = batch((2, "b"))
    with pytest.raises(Unavailable, match=f"{server.bootstrap}: .*[Cc]onnection refused"):
        await sink.write(rows)
    server.start()
    await until_written(sink, rows)
    server.pause()
    rows = batch((3, "c"))
    with pytest.raises(Unavailable, match=r"acknowledged anything|not answered|no answer"):
        await sink.write(rows)
    server.resume()
    await until_written(sink, rows)
    assert ids(consume(server.bootstrap, name)) == [1, 2, 3]
    server.kill()
    with pytest.raises(Unavailable):
        await sink.write(batch((4, "d")))
    await sink.close()
    for thread in set(threading.enumerate()) - before:
        if "asyncio" not in thread.name:
            await asyncio.to_thread(thread.join, 30)
            assert not thread.is_alive(), thread


async def until_written(sink: Sink, rows: Batch) -> None:
    """Write the same rows again, as a delivery does, until they are taken."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await sink.write(rows)
            except Unavailable:
                await asyncio.sleep(0.1)


async def test_a_close_does_not_wait_for_a_driver_that_does(kafka: Kafka, driver: str) -> None:
    name = new_topic(kafka.bootstrap)
    with Proxy(kafka.port) as proxy:
        proxy.stall()
        sink = make(f"127.0.0.1:{proxy.port}", driver, {"request_timeout": "60s"}, topic=name)
        opening = asyncio.ensure_future(sink.open())
        await asyncio.sleep(0)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        async with asyncio.timeout(5):
            await sink.close()
        proxy.go_on()
        await sink.open()
        await sink.write(batch((1, "a")))
        await sink.close()
    assert ids(consume(kafka.bootstrap, name)) == [1]
