"""confluent-kafka (librdkafka) behind :mod:`connections.kafka.driver`.

librdkafka reports back failures only (``delivery.report.only.error``): what a callback per record costs is saved, and
an empty queue means that all others were acknowledged.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from connections.kafka.config import KafkaConfig, OauthBearer, ProducerSettings, revealed, security_protocol
from connections.kafka.driver import (
    UNKNOWN_TOPIC,
    Admin,
    Failure,
    OutcomeUnknown,
    Producer,
    Record,
    TopicSettings,
    problem,
)
from connections.oauth import TokenSource
from connections.tls import TlsSettings
from core.clock import MILLISECOND
from core.errors import SinkError, Unavailable

_TOPIC_EXISTS: Final = 36
_ALL_QUEUED: Final = 0.5
_UNKNOWN: Final = frozenset({UNKNOWN_TOPIC, ck.KafkaError._UNKNOWN_TOPIC})

# librdkafka logs what it does about connections on its own; what matters comes as errors.
_quiet = logging.getLogger("headrace.kafka.librdkafka")
_quiet.propagate = False
_quiet.addHandler(logging.NullHandler())


def client_settings(
    config: KafkaConfig, tls: TlsSettings | None, base_dir: Path, tokens: TokenSource | None
) -> dict[str, Any]:
    """The settings that every client of the cluster has; ConfigError for secrets that cannot be read."""
    settings: dict[str, Any] = {
        "bootstrap.servers": ",".join(config.bootstrap_servers),
        "client.id": config.client_id,
        "socket.timeout.ms": max(config.request_timeout // MILLISECOND, 10),
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": 2_000,
        "log_level": 0,
        "topic.metadata.propagation.max.ms": 5_000,
        "security.protocol": security_protocol(config),
    }
    if tls is not None:
        settings |= _tls(tls, base_dir)
    if isinstance(config.sasl, OauthBearer):
        assert tokens is not None  # noqa: S101 - made with these credentials
        settings["sasl.mechanism"] = "OAUTHBEARER"
        settings["oauth_cb"] = partial(_token, tokens)
    elif config.sasl is not None:
        settings["sasl.mechanism"] = config.sasl.__struct_config__.tag
        settings["sasl.username"] = config.sasl.username
        settings["sasl.password"] = revealed(config.sasl.password, "sasl.password")
    return settings


def _token(tokens: TokenSource, _config: str) -> tuple[str, float]:
    token = tokens.token()
    return token.value, token.expires_at


def _tls(tls: TlsSettings, base_dir: Path) -> dict[str, Any]:
    ca, cert, key = tls.paths(base_dir)
    found = {"ssl.ca.location": ca, "ssl.certificate.location": cert, "ssl.key.location": key or cert}
    settings: dict[str, Any] = {name: str(path) for name, path in found.items() if path is not None}
    if tls.key_password is not None:
        settings["ssl.key.password"] = revealed(tls.key_password, "tls.key_password")
    settings["enable.ssl.certificate.verification"] = tls.verify
    if not (tls.verify and tls.check_hostname):
        settings["ssl.endpoint.identification.algorithm"] = "none"
    return settings


def _failure(error: ck.KafkaError) -> Failure:
    code = UNKNOWN_TOPIC if error.code() in _UNKNOWN else error.code()
    return Failure(code, f"{error.str()} ({error.name()})")


def _told(error: ck.KafkaError, before: str | None) -> str:
    """What is wrong with the cluster: that all brokers are down only follows from what was said of each."""
    return before if before and error.code() == ck.KafkaError._ALL_BROKERS_DOWN else error.str()


def _sink_error(error: ck.KafkaException) -> SinkError:
    return problem(_failure(error.args[0]))


class ConfluentProducer(Producer):
    """``transactional_id`` makes one for transactions."""

    def __init__(self, client: Mapping[str, Any], settings: ProducerSettings, transactional_id: str | None) -> None:
        self._failed: dict[int, Failure] = {}
        self._sent = 0
        self._reason: str | None = None
        options: dict[str, Any] = {
            **client,
            "acks": {"all": -1, "leader": 1, "none": 0}[settings.acks],
            "enable.idempotence": settings.idempotence,
            # Without sequence numbers a repetition could overtake what was sent after it.
            "max.in.flight.requests.per.connection": 5 if settings.idempotence else 1,
            "compression.type": settings.compression,
            "message.max.bytes": settings.max_message,
            "delivery.timeout.ms": settings.delivery_timeout // MILLISECOND,
            "delivery.report.only.error": True,
            "partitioner": "murmur2_random",
            # A batch is complete when it comes: nothing is gained by waiting for more.
            "linger.ms": 1,
            "queue.buffering.max.messages": 1_000_000,
            "error_cb": self._note,
            "logger": _quiet,
        }
        if transactional_id is not None:
            options["transactional.id"] = transactional_id
            options["transaction.timeout.ms"] = options["delivery.timeout.ms"]
        try:
            self._producer = ck.Producer(options)
        except ck.KafkaException as error:
            raise Unavailable(f"the producer cannot be made: {error.args[0].str()}") from None
        if transactional_id is not None:
            self._call(self._producer.init_transactions, 30.0)

    def _note(self, error: ck.KafkaError) -> None:
        self._reason = _told(error, self._reason)

    def send(self, records: Sequence[Record]) -> None:
        produce, failed = self._producer.produce, self._failure_of
        for index, (topic, key, value, headers, timestamp, partition) in enumerate(records, self._sent):
            while True:
                try:
                    produce(topic, value, key, partition, partial(failed, index), None, timestamp, headers)  # type: ignore[arg-type]
                except BufferError:
                    self._producer.poll(_ALL_QUEUED)
                except ck.KafkaException as error:
                    self._failed[index] = _failure(error.args[0])
                    break
                else:
                    break
        self._sent += len(records)

    def _failure_of(self, index: int, error: ck.KafkaError | None, _message: Any) -> None:
        if error is not None:
            failure = _failure(error)
            if error.code() == ck.KafkaError._MSG_TIMED_OUT and self._reason:
                failure = Failure(failure.code, f"not delivered in time: {self._reason}")
            self._failed[index] = failure

    def wait(self, seconds: float) -> bool:
        return self._producer.flush(seconds) == 0

    def failures(self) -> dict[int, Failure]:
        found, self._failed, self._sent = self._failed, {}, 0
        return found

    def _call(self, function: Any, *arguments: Any) -> None:
        try:
            function(*arguments)
        except ck.KafkaException as error:
            raise _sink_error(error) from None

    def begin(self) -> None:
        self._call(self._producer.begin_transaction)

    def commit(self) -> None:
        try:
            self._producer.commit_transaction(5.0)
        except ck.KafkaException as error:
            failure = _failure(error.args[0])
            if error.args[0].retriable():
                raise OutcomeUnknown(failure.reason) from None
            raise problem(failure) from None

    def abort(self) -> None:
        self._call(self._producer.abort_transaction, 30.0)

    def close(self) -> None:
        self._producer.purge()
        self._producer.flush(1.0)


class ConfluentAdmin(Admin):
    def __init__(self, client: Mapping[str, Any]) -> None:
        self._reason: str | None = None
        self._seconds = client["socket.timeout.ms"] / 1_000
        try:
            self._client = AdminClient({**client, "error_cb": self._note, "logger": _quiet})  # type: ignore[dict-item]
        except ck.KafkaException as error:
            raise Unavailable(f"the client cannot be made: {error.args[0].str()}") from None

    def _note(self, error: ck.KafkaError) -> None:
        self._reason = _told(error, self._reason)

    def _metadata(self) -> Any:
        self._client.poll(0)
        try:
            return self._client.list_topics(timeout=self._seconds)
        except ck.KafkaException as error:
            self._client.poll(0)
            reason = self._reason or error.args[0].str()
            raise Unavailable(f"the cluster does not answer: {reason}") from None

    def describe(self) -> str:
        metadata = self._metadata()
        return f"Kafka cluster {metadata.cluster_id}, brokers {len(metadata.brokers)}"

    def topics(self) -> set[str]:
        return set(self._metadata().topics)

    def create(self, name: str, settings: TopicSettings) -> None:
        topic = NewTopic(name, settings.partitions, settings.replication, config=dict(settings.config))
        [future] = self._client.create_topics([topic], operation_timeout=self._seconds).values()
        try:
            future.result(self._seconds + 5)
        except ck.KafkaException as error:
            if error.args[0].code() != _TOPIC_EXISTS:
                raise Unavailable(f"topic {name} cannot be made: {error.args[0].str()}") from None

    def close(self) -> None:
        self._client.poll(0)
