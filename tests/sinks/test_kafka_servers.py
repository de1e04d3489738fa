"""The kafka sink against a real broker, with both drivers alike."""

from __future__ import annotations

import base64
import http.server
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest

from core.errors import Rejected, Unavailable
from core.message import MISSING, Row, Type
from headrace.testing import SinkContract
from sinks.base import Sink, SinkContext
from sinks.encoding import rfc3339
from tests.servers import Kafka

pytestmark = pytest.mark.integration
pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed (pip install 'headrace[kafka]')")
pytest.importorskip("kafka", reason="kafka-python is not installed (pip install 'headrace[kafka-python]')")

from confluent_kafka.admin import (  # noqa: E402
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from kafka import KafkaProducer  # noqa: E402

from tests.sinks.kafka_parts import (  # noqa: E402
    DRIVERS,
    SCRAM,
    batch,
    consume,
    deliver,
    ids,
    make,
    new_topic,
    numbers,
    write,
)

ALLOW = AclPermissionType.ALLOW


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def topic(kafka: Kafka) -> str:
    return new_topic(kafka.bootstrap)


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


class TestKafkaPythonTransactions(KafkaContract):
    driver = "kafka-python"
    options = {"exactly_once": True}  # noqa: RUF012
    big_batch = 500


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
    name = f"made-{next(numbers)}"
    wanted = {"partitions": 3, "config": {"cleanup.policy": "compact"}}
    table = {"key": "${id}", "create_topic": wanted}
    await write(make(kafka.bootstrap, driver, topic=name, **table), batch((1, "a")))
    quick = {"request_timeout": "2s"}
    await write(make(kafka.bootstrap, driver, quick, topic=name + "-${id}", **table), batch((7, "a")))
    assert ids(consume(kafka.bootstrap, name)) == [1]
    assert ids(consume(kafka.bootstrap, name + "-7")) == [7]


async def test_a_topic_that_is_not_there_is_unavailable(
    kafka: Kafka, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"absent-{next(numbers)}"
    sink = make(kafka.bootstrap, driver, {"request_timeout": "2s"}, topic=name)
    with pytest.raises(Unavailable, match="it does not exist; make it, or set create_topic"):
        await sink.check()
    with pytest.raises(Unavailable, match="it does not exist; make it, or set create_topic"):
        await write(sink, batch((1, "a")))
    assert f"topic {name} does not exist: its rows wait" in caplog.text


async def test_what_the_broker_never_takes_is_rejected_alone(kafka: Kafka, driver: str) -> None:
    name = new_topic(kafka.bootstrap, **{"max.message.bytes": "2000"})
    sink = make(kafka.bootstrap, driver, topic=name, key="${id}")
    with pytest.raises(Rejected) as caught:
        await write(sink, batch((1, "a"), (2, "b" * 5_000), (3, "c")))
    assert [index for index, _ in caught.value.rows] == [1]
    assert "bytes: larger than the broker takes" in caught.value.rows[0][1]
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


# -- transactions and checks -------------------------------------------------------------------------------------------


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


async def test_many_bad_records_do_not_keep_a_transaction_from_the_others(kafka: Kafka, driver: str) -> None:
    name = new_topic(kafka.bootstrap, **{"max.message.bytes": "20000"})
    sink = make(kafka.bootstrap, driver, topic=name, key="${id}", exactly_once=True)
    rows = [(number, "a" * (50_000 if number in (3, 4, 11) else 1)) for number in range(16)]
    dead: list[Row] = []
    await deliver(sink, rows, lambda _: None, dead)
    assert sorted(row[0] for row in dead) == [3, 4, 11]
    assert sorted(ids(consume(kafka.bootstrap, name))) == [number for number in range(16) if number not in (3, 4, 11)]


async def test_a_transaction_may_not_take_longer_than_brokers_allow(kafka: Kafka, topic: str, driver: str) -> None:
    sink = make(kafka.bootstrap, driver, topic=topic, exactly_once=True, delivery_timeout="1h")
    with pytest.raises(Unavailable, match=r"delivery_timeout is longer than .* \(transaction\.max\.timeout\.ms\)"):
        await sink.open()
    await sink.close()


async def test_check_tells_of_the_cluster_and_of_the_topic(kafka: Kafka, topic: str, driver: str) -> None:
    sink: Any = make(kafka.bootstrap, driver, topic=topic)
    await sink.check()
    assert (await sink.context.connection.check()).endswith(f"brokers 1 (driver {driver})")
    absent = f"absent-{next(numbers)}"
    await make(kafka.bootstrap, driver, topic=absent, create_topic={}).check()
    with pytest.raises(Unavailable, match="it does not exist"):  # a check makes nothing
        await make(kafka.bootstrap, driver, topic=absent).check()


async def test_what_a_user_may_not_write_to_is_unavailable_and_told(kafka: Kafka, topic: str, driver: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    others_alone = AclBinding(
        ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:other", "*", AclOperation.ALL, ALLOW
    )
    for made in admin.create_acls([others_alone]).values():
        made.result(30)
    for options in ({}, {"create_topic": {}}, {"exactly_once": True}):
        sink = make(kafka.sasl_bootstrap, driver, {"sasl": SCRAM}, topic=topic, **options)
        with pytest.raises(Unavailable, match=f"topic {topic}: not authorized for the topic: .* needs WRITE"):
            await sink.check()
        with pytest.raises(Unavailable, match=f"topic {topic}: not authorized for the topic: .* needs WRITE"):
            await write(sink, batch((1, "a")))


async def test_rows_that_name_absent_topics_may_be_rejected(kafka: Kafka, topic: str, driver: str) -> None:
    table = {"topic": "${value}", "unknown_topic": "reject"}
    sink = make(kafka.bootstrap, driver, {"request_timeout": "2s"}, **table)
    await sink.open()
    for attempt in range(3):  # the first time it is found out, then it is known
        with pytest.raises(Rejected) as caught:
            await sink.write(batch((attempt, topic), (9, "absent"), (9, "no topic!")))
        assert [(index, reason[:30]) for index, reason in caught.value.rows] == [
            (1, "topic absent does not exist"),
            (2, "'no topic!' is no name of a to"),
        ]
    await sink.close()
    assert ids(consume(kafka.bootstrap, topic)) == [0, 1, 2]


async def test_absent_topics_are_found_out_together(
    kafka: Kafka, topic: str, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each on its own takes ``request_timeout``, and a batch may name many."""
    waited: list[str] = []
    wait = KafkaProducer._wait_on_metadata

    def counted(self: Any, name: str, most: float) -> Any:
        waited.append(name)
        return wait(self, name, most)

    monkeypatch.setattr(KafkaProducer, "_wait_on_metadata", counted)
    table = {"topic": "${value}", "unknown_topic": "reject"}
    sink = make(kafka.bootstrap, driver, {"request_timeout": "1s"}, **table)
    rows = [(number, topic if number == 5 else f"absent-{number}") for number in range(6)]
    with pytest.raises(Rejected) as caught:
        await write(sink, batch(*rows))
    assert [reason for _, reason in caught.value.rows] == [f"topic absent-{n} does not exist" for n in range(5)]
    assert ids(consume(kafka.bootstrap, topic)) == [5]
    assert len(set(waited) - {topic}) <= 1


async def test_our_own_limit_of_a_record(kafka: Kafka, topic: str, driver: str) -> None:
    sink = make(kafka.bootstrap, driver, topic=topic, max_message="5kB")
    with pytest.raises(Rejected) as caught:
        await write(sink, batch((1, "a"), (2, "a" * 6_000)))
    [(index, reason)] = caught.value.rows
    assert index == 1
    assert "larger than max_message: 5kB" in reason
    assert ids(consume(kafka.bootstrap, topic)) == [1]


@pytest.mark.parametrize(
    ("driver", "options"), [("confluent", {"linger.ms": 3}), ("kafka-python", {"linger_ms": 3, "batch_size": 1000})]
)
async def test_options_in_the_words_of_a_driver(kafka: Kafka, topic: str, driver: str, options: dict[str, Any]) -> None:
    await write(make(kafka.bootstrap, driver, {"driver_options": options}, topic=topic), batch((1, "a")))
    assert ids(consume(kafka.bootstrap, topic)) == [1]
