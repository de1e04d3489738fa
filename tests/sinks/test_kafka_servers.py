"""The kafka sink against a real broker, with both drivers alike."""

from __future__ import annotations

import asyncio
import base64
import http.server
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from connections.base import ConnectionContext
from connections.kafka.config import KafkaConfig
from connections.kafka.connection import KafkaConnection
from core.clock import SystemClock
from core.errors import Rejected, Unavailable
from core.message import MISSING, Batch, Row, Schema, Type
from core.metrics import Metrics
from core.settings import decode_hook
from headrace.testing import SinkContract
from sinks.base import Sink, SinkContext
from sinks.delivery import Delivery
from sinks.encoding import rfc3339
from sinks.kafka.sink import KafkaSink
from sinks.settings import DeliverySettings
from tests.servers import Kafka, Proxy

pytestmark = pytest.mark.integration
ck = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed (pip install 'headrace[kafka]')")
pytest.importorskip("kafka", reason="kafka-python is not installed (pip install 'headrace[kafka-python]')")

PAIR = Schema(("id", "value"), (Type.BIGINT, Type.ANY))
DRIVERS = ("confluent", "kafka-python")
_numbers = itertools.count()


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def topic(kafka: Kafka) -> str:
    return new_topic(kafka.bootstrap)


def new_topic(bootstrap: str, partitions: int = 1, **config: str) -> str:
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    name = f"topic-{next(_numbers)}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    [made] = admin.create_topics([NewTopic(name, partitions, 1, config=config)]).values()
    made.result(30)
    return name


def consume(bootstrap: str, topic: str, *, isolation: str = "read_committed") -> list[Any]:
    """Every message of a topic, up to the ends of its partitions, by partition and offset."""
    consumer = ck.Consumer(
        {"bootstrap.servers": bootstrap, "group.id": f"g{next(_numbers)}", "isolation.level": isolation}
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
    cluster = {"bootstrap_servers": [bootstrap], "driver": driver, **(connection or {})}
    config = msgspec.convert(cluster, KafkaConfig, dec_hook=decode_hook)
    shared = KafkaConnection(config, ConnectionContext(name="bus", base_dir=Path()))
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


# -- the contract ---------------------------------------------------------------------------------------------------


class KafkaContract(SinkContract):
    driver: str
    options: dict[str, Any] = {}  # noqa: RUF012

    @pytest.fixture(autouse=True)
    def destination(self, kafka: Kafka) -> None:
        self.bootstrap = kafka.bootstrap
        self.topic = new_topic(kafka.bootstrap)

    def make_sink(self, context: SinkContext) -> Sink:
        return make(self.bootstrap, self.driver, topic=self.topic, key="${id}", **self.options)

    async def read_back(self) -> Sequence[dict[str, Any]]:
        return [msgspec.json.decode(message.value()) for message in consume(self.bootstrap, self.topic)]

    def arrives_as(self, kind: Type, value: Any) -> Any:
        if value is MISSING:
            return "undefined"
        if kind is Type.TIMESTAMP and value is not None:
            return rfc3339(value)
        if kind is Type.BYTES and value is not None:
            return {"$hex": value.hex().upper()} if b"\xff" in value else value.decode()
        if kind is Type.DECIMAL and value is not None:
            return float(value) if value % 1 else int(value)
        return value

    def bad_row(self, identity: int) -> Row:
        return (identity, "x" * 2_000_000, 1.0)


class TestConfluent(KafkaContract):
    driver = "confluent"


class TestKafkaPython(KafkaContract):
    driver = "kafka-python"


class TestTransactions(KafkaContract):
    driver = "confluent"
    options = {"exactly_once": True}  # noqa: RUF012


# -- what a record is -----------------------------------------------------------------------------------------------


async def test_keys_headers_times_and_tombstones(kafka: Kafka, topic: str, driver: str) -> None:
    table = {"topic": topic, "key": "${id}", "value": "${value}", "headers": {"h": "v-${id}"}, "timestamp": "id"}
    await write(make(kafka.bootstrap, driver, **table), batch((1_700_000_000_000, "a"), (1_700_000_000_001, None)))
    first, second = consume(kafka.bootstrap, topic)
    assert (first.key(), first.value(), first.headers()) == (b"1700000000000", b"a", [("h", b"v-1700000000000")])
    assert first.timestamp()[1] == 1_700_000_000_000
    assert second.value() is None


async def test_both_drivers_spread_keys_like_kafkas_own_client(kafka: Kafka) -> None:
    rows = [(number, "x") for number in range(200)]
    places = []
    for driver in DRIVERS:
        name = new_topic(kafka.bootstrap, 8)
        await write(make(kafka.bootstrap, driver, topic=name, key="cp-${id}"), batch(*rows))
        places.append({message.key(): message.partition() for message in consume(kafka.bootstrap, name)})
    assert places[0] == places[1]
    assert len(set(places[0].values())) == 8


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
async def test_compression(kafka: Kafka, topic: str, driver: str, compression: str) -> None:
    await write(make(kafka.bootstrap, driver, topic=topic, compression=compression), batch((1, "a" * 5_000)))
    assert ids(consume(kafka.bootstrap, topic)) == [1]


async def test_a_topic_is_made_when_that_is_wanted(kafka: Kafka, driver: str) -> None:
    name = f"made-{next(_numbers)}"
    wanted = {"partitions": 3, "config": {"cleanup.policy": "compact"}}
    table = {"key": "${id}", "create_topic": wanted}
    await write(make(kafka.bootstrap, driver, topic=name, **table), batch((1, "a")))
    quick = {"request_timeout": "2s"}
    await write(make(kafka.bootstrap, driver, quick, topic=name + "-${id}", **table), batch((7, "a")))
    assert ids(consume(kafka.bootstrap, name)) == [1]
    assert ids(consume(kafka.bootstrap, name + "-7")) == [7]


async def test_a_topic_that_is_not_there_is_unavailable(kafka: Kafka, driver: str) -> None:
    sink = make(kafka.bootstrap, driver, {"request_timeout": "2s"}, topic=f"absent-{next(_numbers)}")
    with pytest.raises(Unavailable, match="it does not exist; make it, or set create_topic"):
        await sink.check()
    with pytest.raises(Unavailable, match="it does not exist; make it, or set create_topic"):
        await write(sink, batch((1, "a")))


async def test_what_the_broker_never_takes_is_rejected_alone(kafka: Kafka, driver: str) -> None:
    name = new_topic(kafka.bootstrap, **{"max.message.bytes": "2000"})
    sink = make(kafka.bootstrap, driver, topic=name, key="${id}")
    with pytest.raises(Rejected) as caught:
        await write(sink, batch((1, "a"), (2, "b" * 5_000), (3, "c")))
    assert [index for index, _ in caught.value.rows] == [1]
    assert "larger than the broker takes" in caught.value.rows[0][1]
    assert sorted(ids(consume(kafka.bootstrap, name))) == [1, 3]


async def test_a_partition_that_is_not_there_rejects_the_row(kafka: Kafka, topic: str, driver: str) -> None:
    with pytest.raises(Rejected) as caught:
        await write(make(kafka.bootstrap, driver, topic=topic, partition="id"), batch((0, "a"), (5, "b")))
    assert [index for index, _ in caught.value.rows] == [1]
    assert ids(consume(kafka.bootstrap, topic)) == [0]


# -- who may come in ------------------------------------------------------------------------------------------------

PLAIN = {"mechanism": "PLAIN", "username": "plainuser", "password": "plain-secret"}
LOGINS = {
    "plain": ("sasl_bootstrap", lambda k: {"sasl": PLAIN}),
    "scram-256": ("sasl_bootstrap", lambda k: {"sasl": scram("SCRAM-SHA-256")}),
    "scram-512": ("sasl_bootstrap", lambda k: {"sasl": scram("SCRAM-SHA-512")}),
    "tls": ("tls_bootstrap", lambda k: {"tls": {"ca": str(k.ca)}}),
    "mtls": (
        "tls_bootstrap",
        lambda k: {"tls": {"ca": str(k.ca), "cert": str(k.client_cert), "key": str(k.client_key)}},
    ),
    "sasl over tls": ("sasl_tls_bootstrap", lambda k: {"tls": {"ca": str(k.ca)}, "sasl": scram("SCRAM-SHA-512")}),
}


def scram(mechanism: str, password: str = "scram-secret") -> dict[str, str]:  # noqa: S107
    return {"mechanism": mechanism, "username": "scramuser", "password": password}


@pytest.mark.parametrize("login", LOGINS)
async def test_logins(kafka: Kafka, topic: str, driver: str, login: str) -> None:
    bootstrap, settings = LOGINS[login]
    sink = make(getattr(kafka, bootstrap), driver, settings(kafka), topic=topic)
    await write(sink, batch((1, "a")))
    assert ids(consume(kafka.bootstrap, topic)) == [1]


async def test_a_wrong_password_is_unavailable_and_never_shown(
    kafka: Kafka, topic: str, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = {"sasl": scram("SCRAM-SHA-256", "not-this-one"), "request_timeout": "3s"}
    sink = make(kafka.sasl_bootstrap, driver, wrong, topic=topic)
    with pytest.raises(Unavailable) as caught:
        await write(sink, batch((1, "a")))
    assert "not-this-one" not in str(caught.value) + repr(sink.context) + caplog.text
    assert "uthentication" in str(caught.value)


class TokenEndpoint(http.server.BaseHTTPRequestHandler):
    """Gives unsecured tokens to who knows the secret."""

    asked = 0

    def do_POST(self) -> None:
        type(self).asked += 1
        self.rfile.read(int(self.headers["content-length"]))
        good = self.headers["authorization"] == "Basic " + base64.b64encode(b"headrace:oauth-secret").decode()
        now = int(time.time())
        parts = [{"alg": "none"}, {"sub": "oauthuser", "iat": now, "exp": now + 600}]
        token = ".".join(base64.urlsafe_b64encode(msgspec.json.encode(part)).rstrip(b"=").decode() for part in parts)
        answer = {"access_token": token + ".", "expires_in": 600} if good else {"error": "invalid_client"}
        body = msgspec.json.encode(answer)
        self.send_response(200 if good else 401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def token_url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), TokenEndpoint) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/token"
        server.shutdown()


async def test_oauth(kafka: Kafka, topic: str, driver: str, token_url: str) -> None:
    sasl = {
        "mechanism": "OAUTHBEARER",
        "token_url": token_url,
        "client_id": "headrace",
        "client_secret": "oauth-secret",
    }
    await write(make(kafka.oauth_bootstrap, driver, {"sasl": sasl}, topic=topic), batch((1, "a")))
    assert ids(consume(kafka.bootstrap, topic)) == [1]


# -- a broker that comes and goes -------------------------------------------------------------------------------------


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


async def test_connections_that_are_cut_lose_and_double_nothing(kafka: Kafka, driver: str) -> None:
    name = new_topic(kafka.bootstrap)
    with Proxy(kafka.port) as proxy:
        # What the broker advertises leads past the proxy, but the first connection goes through it.
        sink = make(f"127.0.0.1:{proxy.port}", driver, topic=name, key="${id}")
        await deliver(sink, [(number, "x") for number in range(1_000)], lambda number: proxy.cut())
    assert ids(consume(kafka.bootstrap, name)) == list(range(1_000))


async def test_a_transaction_with_a_bad_record_is_seen_without_it(kafka: Kafka, driver: str) -> None:
    name = new_topic(kafka.bootstrap, **{"max.message.bytes": "20000"})
    sink = make(kafka.bootstrap, driver, topic=name, key="${id}", exactly_once=True)
    rows = [(number, "a" * (50_000 if number == 30 else 1)) for number in range(60)]
    dead: list[Row] = []
    await deliver(sink, rows, lambda _: None, dead)
    assert dead == [rows[30]]
    assert sorted(ids(consume(kafka.bootstrap, name))) == [number for number in range(60) if number != 30]


async def test_what_an_aborted_transaction_wrote_is_not_seen(kafka: Kafka, topic: str, driver: str) -> None:
    sink: Any = make(kafka.bootstrap, driver, topic=topic, exactly_once=True)
    producer = sink.context.connection.producer(sink.config, "aborting")
    producer.begin()
    producer.send([(topic, None, b'{"id":1}', None, 0, -1)])
    assert producer.wait(30)
    producer.abort()
    producer.close()
    assert consume(kafka.bootstrap, topic) == []
    assert ids(consume(kafka.bootstrap, topic, isolation="read_uncommitted")) == [1]


async def test_check_tells_of_the_cluster(kafka: Kafka, topic: str, driver: str) -> None:
    sink: Any = make(kafka.bootstrap, driver, topic=topic)
    await sink.check()
    assert (await sink.context.connection.check()).endswith(f"brokers 1 (driver {driver})")
    absent: Any = make("127.0.0.1:1", driver, {"request_timeout": "500ms"}, topic=topic)
    with pytest.raises(Unavailable, match="does not answer"):
        await absent.context.connection.check()
