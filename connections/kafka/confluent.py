"""confluent-kafka (librdkafka) behind :mod:`connections.kafka.driver`.

librdkafka reports back failures only (``delivery.report.only.error``): what a callback per record costs is saved, and
an empty queue means that all others were acknowledged.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import math
import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import confluent_kafka as ck
from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from connections.kafka.config import KafkaConfig, OauthBearer, ProducerSettings, revealed, security_protocol
from connections.kafka.driver import (
    ADMIN_SECONDS,
    CLOSED_AT_ONCE,
    OWN_LIMIT,
    TOO_LARGE,
    TRANSACTION_TIMEOUT,
    UNKNOWN_TOPIC,
    Admin,
    Failure,
    OutcomeUnknown,
    Producer,
    ProducerLost,
    Record,
    TopicSettings,
    plain,
    problem,
)
from connections.kafka.options import PATH, Options
from connections.oauth import TokenSource
from connections.tls import TlsSettings
from core.clock import MILLISECOND
from core.errors import ConfigError, SinkError, Unavailable

_TOPIC_EXISTS: Final = 36
_ALL_QUEUED: Final = 0.5
_LOOK: Final = 0.1
_COMMIT: Final = 5.0
_INIT: Final = 20.0
_ALL_TRIED: Final = 1.0
_UNKNOWN: Final = frozenset({UNKNOWN_TOPIC, ck.KafkaError._UNKNOWN_TOPIC})

# librdkafka logs what it does about connections on its own; what matters comes as errors.
_quiet = logging.getLogger("headrace.kafka.librdkafka")
_quiet.propagate = False
_quiet.addHandler(logging.NullHandler())


def client_settings(
    config: KafkaConfig, tls: TlsSettings | None, base_dir: Path, tokens: TokenSource | None
) -> dict[str, Any]:
    """The settings that every client of the cluster has; ConfigError for secrets that cannot be read."""
    answer = config.request_timeout // MILLISECOND
    settings: dict[str, Any] = {
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": 2_000,
        "topic.metadata.propagation.max.ms": min(5_000, answer // 2),
        **_known(config.driver_options),
        "log_level": 0,
        "bootstrap.servers": ",".join(config.bootstrap_servers),
        "client.id": config.client_id,
        "socket.timeout.ms": answer,
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


def _known(options: Options) -> Options:
    """The options, after the driver has looked at them; it connects to nothing."""
    if options:
        try:
            ck.Producer({**options, "bootstrap.servers": "", "log_level": 0, "logger": _quiet})
        except (ck.KafkaException, TypeError) as error:
            reason = error.args[0].str() if isinstance(error, ck.KafkaException) else str(error)
            raise ConfigError(reason.strip(), path=PATH) from None
    return options


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
    return Failure(code, f"{plain(error.str())} ({error.name()})")


class _Said:
    """What the driver has said about brokers (its ``error_cb``): ``reason``, and when it last said something.

    ``patience`` is the seconds after which it gives up who does not answer, which it does without a word.
    """

    def __init__(self, patience: float = math.inf) -> None:
        self._silence = time.monotonic() + patience
        self.reason: str | None = None
        self.at = 0.0
        self.all_down: float | None = None

    def __call__(self, error: ck.KafkaError) -> None:
        self.at = time.monotonic()
        if error.code() != ck.KafkaError._ALL_BROKERS_DOWN:
            self.reason = plain(error.str())
            return
        # It follows from what was said of each; of a connection that is closed before any answer nothing is.
        if self.reason is None and self.at < self._silence:
            self.reason = CLOSED_AT_ONCE
        self.all_down = self.all_down or self.at


def _sink_error(error: ck.KafkaException) -> SinkError:
    return problem(_failure(error.args[0]))


class ConfluentProducer(Producer):
    """``transactional_id`` makes one for transactions."""

    def __init__(self, client: Mapping[str, Any], settings: ProducerSettings, transactional_id: str | None) -> None:
        self._failed: dict[int, Failure] = {}
        self._sent = 0
        self._reports: list[partial[None]] = []  # of each position, made once
        self._said = _Said()
        self._seconds = client["socket.timeout.ms"] / 1_000
        self._too_large = Failure(OWN_LIMIT, str(settings.max_message))
        options: dict[str, Any] = {
            # A batch is complete when it comes: nothing is gained by waiting for more.
            "linger.ms": 1,
            "queue.buffering.max.messages": 1_000_000,
            **client,
            "acks": {"all": -1, "leader": 1, "none": 0}[settings.acks],
            "enable.idempotence": settings.idempotence,
            # Without sequence numbers a repetition could overtake what was sent after it.
            "max.in.flight.requests.per.connection": 5 if settings.idempotence else 1,
            "compression.type": settings.compression,
            "message.max.bytes": int(settings.max_message),
            "delivery.report.only.error": True,
            "partitioner": "murmur2_random",
            "error_cb": self._said,
            "logger": _quiet,
        }
        timeout = settings.delivery_timeout
        if transactional_id is None:
            options["delivery.timeout.ms"] = 0 if timeout is None else timeout // MILLISECOND
        else:
            options["transactional.id"] = transactional_id
            options["transaction.timeout.ms"] = (timeout or TRANSACTION_TIMEOUT) // MILLISECOND
            options["delivery.timeout.ms"] = options["transaction.timeout.ms"]
        try:
            self._producer: Any = ck.Producer(options)
        except ck.KafkaException as error:
            raise Unavailable(f"the producer cannot be made: {error.args[0].str().strip()}") from None
        if transactional_id is not None:
            try:
                # It also waits for what a predecessor has left open.
                self._call(self._producer.init_transactions, max(self._seconds, _INIT))
            except SinkError:
                self.close()
                raise

    def send(self, records: Sequence[Record]) -> None:
        produce, reports = self._producer.produce, self._reports
        reports += [partial(self._failure_of, index) for index in range(len(reports), self._sent + len(records))]
        for index, (topic, key, value, headers, timestamp, partition) in enumerate(records, self._sent):
            while True:
                try:
                    produce(topic, value, key, partition, reports[index], None, timestamp, headers)
                except BufferError:
                    self._poll(_ALL_QUEUED)
                except ck.KafkaException as error:
                    failure = _failure(error.args[0])
                    self._failed[index] = self._too_large if failure.code == TOO_LARGE else failure
                    break
                else:
                    break
        self._sent += len(records)

    def _failure_of(self, index: int, error: ck.KafkaError | None, _message: Any) -> None:
        if error is not None:
            failure = _failure(error)
            if error.code() == ck.KafkaError._MSG_TIMED_OUT and self._said.reason:
                failure = Failure(failure.code, f"not delivered in time: {self._said.reason}")
            self._failed[index] = failure

    def wait(self, seconds: float) -> bool:
        try:
            left: int = self._producer.flush(seconds)
        except ck.KafkaException as error:
            raise ProducerLost(str(_sink_error(error))) from None
        return left == 0

    def failures(self) -> dict[int, Failure]:
        found, self._failed, self._sent = self._failed, {}, 0
        return found

    def pending(self) -> int:
        return len(self._producer)

    def trouble(self, since: float) -> str | None:
        return self._said.reason if self._said.at >= since else None

    def _poll(self, seconds: float) -> None:
        """Hear what the driver has to say; a fatal error, raised here as well, is for whoever asks for more."""
        with contextlib.suppress(ck.KafkaException):
            self._producer.poll(seconds)

    def _call(self, function: Any, *arguments: Any) -> None:
        begun = time.monotonic()
        try:
            function(*arguments)
        except ck.KafkaException as error:
            self._poll(0)
            if error.args[0].retriable():
                raise Unavailable(self.trouble(begun) or "no answer in time") from None
            raise _sink_error(error) from None

    def begin(self) -> None:
        self._call(self._producer.begin_transaction)

    def commit(self) -> None:
        begun = time.monotonic()
        try:
            self._producer.commit_transaction(_COMMIT)
        except ck.KafkaException as error:
            failure = _failure(error.args[0])
            if error.args[0].retriable():
                self._poll(0)
                raise OutcomeUnknown(self.trouble(begun) or f"a commit was not answered within {_COMMIT:g}s") from None
            raise problem(failure) from None

    def abort(self) -> None:
        self._call(self._producer.abort_transaction, self._seconds)

    def close(self) -> None:
        """The driver's own would wait for brokers. What holds on to us must not hold on to it: it would go on trying,
        and one of a transaction would shut its successor out."""
        producer, self._producer = self._producer, None
        self._reports.clear()
        with contextlib.suppress(ck.KafkaException):  # it says again what it has met
            producer.purge()
            producer.flush(1.0)


class ConfluentAdmin(Admin):
    def __init__(self, client: Mapping[str, Any]) -> None:
        self._servers = client["bootstrap.servers"]
        self._seconds = min(client["socket.timeout.ms"] / 1_000, ADMIN_SECONDS)
        self._said = _Said(self._seconds)
        try:
            self._client: Any = AdminClient({**client, "error_cb": self._said, "logger": _quiet})  # type: ignore[dict-item]
        except ck.KafkaException as error:
            raise Unavailable(f"the client cannot be made: {error.args[0].str().strip()}") from None

    def _answer(self, future: concurrent.futures.Future[Any]) -> Any:
        """What ``future`` brings; Unavailable, with the reason, as soon as it is known that no broker is there."""
        deadline = time.monotonic() + self._seconds
        while True:
            try:
                return future.result(_LOOK)
            except TimeoutError:
                now = time.monotonic()
                self._client.poll(0)
                down = self._said.all_down
                # Not at once: of a name with two addresses the second one may be the right one.
                if (down is None or now - down < _ALL_TRIED) and now < deadline:
                    continue
            except ck.KafkaException as error:
                if error.args[0].code() != ck.KafkaError._TIMED_OUT:
                    raise
            reason = self._said.reason or f"no answer from {self._servers} within {self._seconds:g}s"
            raise Unavailable(reason) from None

    def describe(self) -> str:
        try:
            cluster = self._answer(self._client.describe_cluster(request_timeout=self._seconds))
        except ck.KafkaException as error:
            raise _sink_error(error) from None
        return f"Kafka cluster {cluster.cluster_id}, brokers {len(cluster.nodes)}"

    def absent(self, names: Collection[str]) -> set[str]:
        if not names:
            return set()
        found = set()
        topics = self._client.describe_topics(TopicCollection(list(names)), request_timeout=self._seconds)
        for name, future in topics.items():
            try:
                self._answer(future)
            except ck.KafkaException as error:
                failure = _failure(error.args[0])
                if failure.code != UNKNOWN_TOPIC:
                    raise problem(failure, name) from None
                found.add(name)
        return found

    def create(self, name: str, settings: TopicSettings) -> None:
        topic = NewTopic(name, settings.partitions, settings.replication, config=dict(settings.config))
        [future] = self._client.create_topics(
            [topic], operation_timeout=self._seconds, request_timeout=self._seconds
        ).values()
        try:
            self._answer(future)
        except ck.KafkaException as error:
            if error.args[0].code() != _TOPIC_EXISTS:
                raise Unavailable(f"topic {name} cannot be made: {_failure(error.args[0]).reason}") from None

    def close(self) -> None:
        self._client = None  # an error that is kept somewhere keeps us, and must not keep its threads and sockets
