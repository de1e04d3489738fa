"""kafka-python behind :mod:`connections.kafka.driver`: pure Python, about ten times the cost of confluent."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from kafka import KafkaProducer
from kafka import errors as ke
from kafka.admin import KafkaAdminClient
from kafka.net.sasl.oauth import AbstractTokenProvider

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
from connections.tls import TlsSettings, make_context
from core.clock import MILLISECOND
from core.errors import Unavailable

_TOO_LARGE: Final = 10
_INVALID_TOPIC: Final = 17
_NO_PARTITION: Final = -190


_REASONS: Final = ("uthenticat", "ertificate", "SSL", "REFUSED", "not known")
"""What is in log lines that say a reason; the others are consequences, such as connections that were closed."""


class _LastError(logging.Handler):
    """The driver tells why it cannot connect to its log alone, in full sentences."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._said: tuple[float, str] = (0.0, "")

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if any(reason in text for reason in _REASONS):
            self._said = (time.monotonic(), text)

    def since(self, moment: float) -> str:
        return f": {self._said[1]}" if self._said[0] >= moment else ""


_last_error = _LastError()
_logger = logging.getLogger("kafka")
_logger.addHandler(_last_error)
_logger.propagate = False
_logger.setLevel(logging.ERROR)  # below it the settings are told, passwords among them


class _Tokens(AbstractTokenProvider):  # type: ignore[misc]
    def __init__(self, source: TokenSource) -> None:
        super().__init__()
        self._source = source

    def token(self) -> str:
        return self._source.token().value


def client_settings(
    config: KafkaConfig, tls: TlsSettings | None, base_dir: Path, tokens: TokenSource | None
) -> dict[str, Any]:
    """The settings that every client of the cluster has; ConfigError for secrets and files that cannot be read."""
    settings: dict[str, Any] = {
        "bootstrap_servers": list(config.bootstrap_servers),
        "client_id": config.client_id,
        "request_timeout_ms": max(config.request_timeout // MILLISECOND, 10),
        "reconnect_backoff_max_ms": 2_000,
        "security_protocol": security_protocol(config),
        "bootstrap_timeout_ms": max(config.request_timeout // MILLISECOND, 10),
    }
    if tls is not None:
        settings["ssl_context"] = make_context(tls, base_dir)
        settings["ssl_check_hostname"] = tls.verify and tls.check_hostname
    if isinstance(config.sasl, OauthBearer):
        assert tokens is not None  # noqa: S101 - made with these credentials
        settings["sasl_mechanism"] = "OAUTHBEARER"
        settings["sasl_oauth_token_provider"] = _Tokens(tokens)
    elif config.sasl is not None:
        settings["sasl_mechanism"] = config.sasl.__struct_config__.tag
        settings["sasl_plain_username"] = config.sasl.username
        settings["sasl_plain_password"] = revealed(config.sasl.password, "sasl.password")
    return settings


def _failure(error: BaseException) -> Failure:
    code = getattr(error, "errno", None)
    if isinstance(error, ke.MessageSizeTooLargeError):
        code = _TOO_LARGE
    elif isinstance(error, ke.UnknownTopicOrPartitionError):
        code = UNKNOWN_TOPIC
    text = str(error).split("\n", 1)[0] or type(error).__name__
    return Failure(code if isinstance(code, int) else -1, text)


class KafkaPythonProducer(Producer):
    """``transactional_id`` makes one for transactions."""

    def __init__(self, client: dict[str, Any], settings: ProducerSettings, transactional_id: str | None) -> None:
        self._pending: list[tuple[int, Any]] = []
        self._failed: dict[int, Failure] = {}
        self._sent = 0
        self._client = client
        self._broken = False
        self._options: dict[str, Any] = {
            **client,
            "acks": {"all": "all", "leader": 1, "none": 0}[settings.acks],
            "enable_idempotence": settings.idempotence,
            # Without sequence numbers a repetition could overtake what was sent after it.
            "max_in_flight_requests_per_connection": 5 if settings.idempotence else 1,
            "compression_type": None if settings.compression == "none" else settings.compression,
            "max_request_size": settings.max_message,
            "delivery_timeout_ms": settings.delivery_timeout // MILLISECOND,
            "linger_ms": 1,
            "batch_size": 1 << 18,
            "max_block_ms": client["request_timeout_ms"],
            "metrics_enabled": False,
        }
        if transactional_id is not None:
            self._options["transactional_id"] = transactional_id
            self._options["transaction_timeout_ms"] = self._options["delivery_timeout_ms"]
        self._producer = self._made()

    def _made(self) -> Any:
        try:
            producer = KafkaProducer(**self._options)
            if "transactional_id" in self._options:
                try:
                    producer.init_transactions()
                except BaseException:
                    producer.close(timeout=0)
                    raise
        except ke.KafkaError as error:
            raise problem(_failure(error)) from None
        except RuntimeError as error:  # a codec that is not installed
            raise Unavailable(f"the producer cannot be made: {error}") from None
        return producer

    def send(self, records: Sequence[Record]) -> None:
        if self._broken:  # one that has met an error says it again of every record after it
            self._renew()
        send, pending = self._producer.send, self._pending
        blocked: dict[str, Failure] = {}  # topics without metadata: each record would wait anew
        for index, record in enumerate(records, self._sent):
            topic, key, value, headers, timestamp, partition = record
            if topic in blocked:
                self._failed[index] = blocked[topic]
                continue
            try:
                if partition >= 0:
                    self._check_partition(topic, partition)
                future = send(
                    topic, value, key, headers or None, partition if partition >= 0 else None, timestamp or None
                )
            except ke.KafkaTimeoutError as error:
                self._failed[index] = blocked[topic] = self._without_metadata(topic, error)
            except ke.KafkaError as error:
                self._failed[index] = _failure(error)
            except (ValueError, AssertionError) as error:
                code = _NO_PARTITION if "artition" in str(error) else _INVALID_TOPIC
                self._failed[index] = Failure(code, str(error))
            else:
                pending.append((index, future))
        self._sent += len(records)

    def _renew(self) -> None:
        self._producer.close(timeout=0)
        self._pending.clear()
        self._producer = self._made()
        self._broken = False

    def _without_metadata(self, topic: str, error: ke.KafkaError) -> Failure:
        """Whether the topic is not there or nobody answers: the driver says the same of both."""
        try:
            admin = KafkaPythonAdmin(self._client)
        except Unavailable as reason:
            return Failure(-1, str(reason))
        try:
            return _failure(error) if topic in admin.topics() else Failure(UNKNOWN_TOPIC, "it has no metadata")
        except Unavailable as reason:
            return Failure(-1, str(reason))
        finally:
            admin.close()

    def _check_partition(self, topic: str, partition: int) -> None:
        known = self._producer.partitions_for(topic)
        if known is not None and partition not in known:
            raise ValueError(f"Partition {partition} is none of {len(known)}")

    def wait(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self._pending:
            index, future = self._pending[-1]
            if not future.is_done:
                try:
                    self._producer.flush(timeout=max(deadline - time.monotonic(), 0.001))
                except ke.KafkaTimeoutError:
                    return False
                except ke.KafkaError:
                    pass  # the futures say it
            if not future.is_done:
                return False
            self._pending.pop()
            if future.failed():
                self._failed[index] = _failure(future.exception)
        return True

    def failures(self) -> dict[int, Failure]:
        found, self._failed, self._sent = self._failed, {}, 0
        self._broken = bool(found) and "transactional_id" not in self._options
        return found

    def begin(self) -> None:
        try:
            self._producer.begin_transaction()
        except ke.KafkaError as error:
            raise problem(_failure(error)) from None

    def commit(self) -> None:
        try:
            self._producer.commit_transaction()
        except ke.KafkaTimeoutError as error:
            raise OutcomeUnknown(_failure(error).reason) from None
        except ke.KafkaError as error:
            raise problem(_failure(error)) from None

    def abort(self) -> None:
        """The driver's own may wait without bound; a new producer of the same id ends what its predecessor began."""
        self._renew()

    def close(self) -> None:
        self._producer.close(timeout=1.0)


class KafkaPythonAdmin(Admin):
    def __init__(self, client: dict[str, Any]) -> None:
        begun = time.monotonic()
        try:
            self._client = KafkaAdminClient(**client)
        except ke.KafkaError as error:
            reason = f"{_failure(error).reason}{_last_error.since(begun)}"
            raise Unavailable(f"the cluster does not answer: {reason}") from None

    def describe(self) -> str:
        try:
            answer = self._client.describe_cluster()
        except ke.KafkaError as error:
            raise Unavailable(f"the cluster does not answer: {_failure(error).reason}") from None
        return f"Kafka cluster {answer['cluster_id']}, brokers {len(answer['brokers'])}"

    def topics(self) -> set[str]:
        try:
            return set(self._client.list_topics())
        except ke.KafkaError as error:
            raise Unavailable(f"the cluster does not answer: {_failure(error).reason}") from None

    def create(self, name: str, settings: TopicSettings) -> None:
        topic = {
            "num_partitions": settings.partitions,
            "replication_factor": settings.replication,
            "configs": dict(settings.config),
        }
        try:
            self._client.create_topics({name: topic})
        except ke.TopicAlreadyExistsError:
            pass
        except ke.KafkaError as error:
            raise Unavailable(f"topic {name} cannot be made: {_failure(error).reason}") from None

    def close(self) -> None:
        self._client.close()
