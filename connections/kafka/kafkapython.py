"""kafka-python behind :mod:`connections.kafka.driver`: pure Python, about ten times the cost of confluent."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from kafka import KafkaProducer
from kafka import errors as ke
from kafka.admin import KafkaAdminClient
from kafka.net.sasl.oauth import AbstractTokenProvider

from connections.kafka.config import KafkaConfig, OauthBearer, ProducerSettings, revealed, security_protocol
from connections.kafka.driver import (
    ADMIN_SECONDS,
    CLOSED_AT_ONCE,
    INVALID_TOPIC,
    NO_PARTITION,
    OWN_LIMIT,
    TRANSACTION_TIMEOUT,
    UNKNOWN_TOPIC,
    Admin,
    Failure,
    OutcomeUnknown,
    Producer,
    Record,
    TopicSettings,
    problem,
)
from connections.kafka.options import PATH, Options
from connections.kafka.pythonclient import Client, failure
from connections.oauth import TokenSource
from connections.tls import TlsSettings, make_context
from core.clock import MILLISECOND
from core.errors import ConfigError, SinkError, Unavailable
from core.registry import did_you_mean

_FIRST_TRY: Final = 1.0
_LAST_TRY: Final = 2.0
_LOGIN_REFUSED: Final = "the far side closes the connection, as it does where it refuses authentication by sasl"
_FOR_EVER: Final = 2**31 - 1


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
        "reconnect_backoff_max_ms": 2_000,
        **_known(config.driver_options),
        "bootstrap_servers": list(config.bootstrap_servers),
        "client_id": config.client_id,
        "request_timeout_ms": config.request_timeout // MILLISECOND,
        "security_protocol": security_protocol(config),
        "bootstrap_timeout_ms": config.request_timeout // MILLISECOND,
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


def _known(options: Options) -> Options:
    """The options, all of them such as the driver has."""
    for name, value in options.items():
        if name not in KafkaProducer.DEFAULT_CONFIG:
            hint = did_you_mean(name, KafkaProducer.DEFAULT_CONFIG)
            raise ConfigError(f"the driver has no option {name!r}", path=PATH, hint=hint)
        default = KafkaProducer.DEFAULT_CONFIG[name]
        kind = int | float if isinstance(default, int | float) and not isinstance(default, bool) else type(default)
        if default is not None and (
            not isinstance(value, kind) or isinstance(value, bool) != isinstance(default, bool)
        ):
            raise ConfigError(f"{name!r} is {value!r}, and by default {default!r}", path=PATH)
    return options


class KafkaPythonProducer(Producer):
    """``transactional_id`` makes one for transactions."""

    def __init__(self, client: dict[str, Any], settings: ProducerSettings, transactional_id: str | None) -> None:
        self._pending: list[tuple[int, Any]] = []
        self._failed: dict[int, Failure] = {}
        self._sent = 0
        self._client = client
        self._broken = False
        self._too_large = Failure(OWN_LIMIT, str(settings.max_message))
        self._options: dict[str, Any] = {
            "linger_ms": 1,
            "batch_size": min(1 << 18, int(settings.max_message)),
            **client,
            "acks": {"all": "all", "leader": 1, "none": 0}[settings.acks],
            "enable_idempotence": settings.idempotence,
            # Without sequence numbers a repetition could overtake what was sent after it.
            "max_in_flight_requests_per_connection": 5 if settings.idempotence else 1,
            "compression_type": None if settings.compression == "none" else settings.compression,
            "max_request_size": int(settings.max_message),
            "max_block_ms": client["request_timeout_ms"],
            "metrics_enabled": False,
        }
        timeout = settings.delivery_timeout
        if transactional_id is None:
            self._options["delivery_timeout_ms"] = _FOR_EVER if timeout is None else timeout // MILLISECOND
        else:
            self._options["transactional_id"] = transactional_id
            self._options["transaction_timeout_ms"] = (timeout or TRANSACTION_TIMEOUT) // MILLISECOND
            self._options["delivery_timeout_ms"] = self._options["transaction_timeout_ms"]
        self._net = Client()
        self._producer = self._made()

    def _made(self) -> Any:
        begun, net = time.monotonic(), Client()
        producer = None
        try:
            producer = KafkaProducer(**self._options, kafka_client=net)
            if "transactional_id" in self._options:
                producer.init_transactions()
        except BaseException as error:
            reason = net.trouble(begun)
            net.close() if producer is None else _end(producer)
            if isinstance(error, ke.KafkaTimeoutError) and reason:
                raise Unavailable(reason) from None
            if isinstance(error, ke.KafkaError):
                raise problem(failure(error)) from None
            if isinstance(error, RuntimeError):  # a codec that is not installed
                raise Unavailable(f"the producer cannot be made: {error}") from None
            raise
        self._net = net
        return producer

    def send(self, records: Sequence[Record]) -> None:
        if self._broken:  # one that has met an error says it again of every record after it
            self._renew()
        send, pending = self._producer.send, self._pending
        blocked: dict[str, Failure] = {}  # topics without metadata: each record would wait anew
        self._ask_for({record[0] for record in records})
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
                blocked |= self._without_metadata({record[0] for record in records}, error)
                self._failed[index] = blocked.setdefault(topic, failure(error))
            except ke.TopicAuthorizationFailedError as error:
                self._failed[index] = blocked[topic] = failure(error)
            except ke.MessageSizeTooLargeError:
                self._failed[index] = self._too_large
            except ke.KafkaError as error:
                self._failed[index] = failure(error)
            except (ValueError, AssertionError) as error:
                code = NO_PARTITION if "artition" in str(error) else INVALID_TOPIC
                self._failed[index] = Failure(code, str(error))
            else:
                pending.append((index, future))
        self._sent += len(records)

    def _renew(self) -> None:
        _end(self._producer)
        self._pending.clear()
        self._producer = self._made()
        self._broken = False

    def _ask_for(self, topics: Collection[str]) -> None:
        """Have the driver ask for all that it does not know at once, so that they are waited for together."""
        known = self._producer._metadata.topics()
        for topic in topics:
            if topic not in known:
                self._producer._sender.add_topic(topic)

    def _without_metadata(self, topics: Collection[str], error: ke.KafkaError) -> dict[str, Failure]:
        """Which of some topics are not there, or that nobody answers: the driver says the same of both."""
        unknown = [topic for topic in topics if self._producer._metadata.partitions_for_topic(topic) is None]
        try:
            admin = KafkaPythonAdmin(self._client)
            try:
                absent = admin.absent(unknown)
            finally:
                admin.close()
        except SinkError as reason:
            return dict.fromkeys(unknown, Failure(-1, str(reason)))
        no_metadata = Failure(UNKNOWN_TOPIC, "it has no metadata")
        return {topic: no_metadata if topic in absent else failure(error) for topic in unknown}

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
                self._failed[index] = failure(future.exception)
        return True

    def failures(self) -> dict[int, Failure]:
        found, self._failed, self._sent = self._failed, {}, 0
        self._broken = bool(found) and "transactional_id" not in self._options
        return found

    def pending(self) -> int:
        return sum(not future.is_done for _, future in self._pending)

    def trouble(self, since: float) -> str | None:
        return self._net.trouble(since)

    def begin(self) -> None:
        try:
            self._producer.begin_transaction()
        except ke.KafkaError as error:
            raise problem(failure(error)) from None

    def commit(self) -> None:
        try:
            self._producer.commit_transaction()
        except ke.KafkaTimeoutError as error:
            raise OutcomeUnknown(failure(error).reason) from None
        except ke.KafkaError as error:
            raise problem(failure(error)) from None

    def abort(self) -> None:
        """The driver's own may wait without bound; a new producer of the same id ends what its predecessor began."""
        self._renew()

    def close(self) -> None:
        _end(self._producer)


def _end(producer: Any) -> None:
    """Close a producer without its records; its own ``close`` gives up where some are under way, and they go on."""
    sender: threading.Thread | None = getattr(producer, "_sender", None)
    if sender is not None:
        sender.force_close()  # type: ignore[attr-defined]
        sender.join(_FIRST_TRY)
    with contextlib.suppress(ke.KafkaError):
        producer.close(timeout=0)


class KafkaPythonAdmin(Admin):
    def __init__(self, client: dict[str, Any]) -> None:
        self._client: Any = None
        servers = client["bootstrap_servers"]
        client = {name: value for name, value in client.items() if name in KafkaAdminClient.DEFAULT_CONFIG}
        seconds = min(client["request_timeout_ms"] / 1_000, ADMIN_SECONDS)
        deadline, tries, reason = time.monotonic() + seconds, _FIRST_TRY, None
        while self._client is None:
            begun, net = time.monotonic(), Client()
            limit = {"bootstrap_timeout_ms": max(int(min(tries, deadline - begun) * 1_000), 1)}
            try:
                self._client = KafkaAdminClient(**(client | limit), kafka_client=net)
            except ke.KafkaError as error:
                reason = net.trouble(begun) or reason
                net.close()
                if not isinstance(error, ke.KafkaTimeoutError):
                    raise Unavailable(reason or failure(error).reason) from None
                # Somebody may be slow, the others too where one is down; and of a refused password the driver often
                # sees the end of the connection alone.
                again = tries < _LAST_TRY and reason is not None and (CLOSED_AT_ONCE in reason or len(servers) > 1)
                unsure = reason is None or again
                if reason is not None and "sasl_mechanism" in client:
                    reason = reason.replace(CLOSED_AT_ONCE, _LOGIN_REFUSED)
                tries *= 2
                if not unsure or time.monotonic() >= deadline:
                    raise Unavailable(reason or f"no answer from {','.join(servers)} within {seconds:g}s") from None

    def describe(self) -> str:
        try:
            answer = self._client.describe_cluster()
        except ke.KafkaError as error:
            raise problem(failure(error)) from None
        return f"Kafka cluster {answer['cluster_id']}, brokers {len(answer['brokers'])}"

    def absent(self, names: Collection[str]) -> set[str]:
        if not names:
            return set()
        try:
            topics = self._client.describe_topics(list(names))
        except ke.KafkaError as error:
            raise problem(failure(error)) from None
        found = set()
        for topic in topics:
            kind = ke.for_code(topic["error_code"])
            if kind is ke.UnknownTopicOrPartitionError:
                found.add(topic["name"])
            elif kind is not ke.NoError and not kind.retriable:
                raise problem(failure(kind()), topic["name"])
        return found

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
            raise Unavailable(f"topic {name} cannot be made: {failure(error).reason}") from None

    def close(self) -> None:
        self._client.close()
