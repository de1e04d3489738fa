"""What headrace needs of a Kafka driver, and what Kafka's error codes mean for a row.

The interface is blocking: each producer belongs to one sink and is used from one thread. Both adapters behave alike:
records of equal keys go to the same partition as with Kafka's Java client (murmur2), in order; an error is told by
Kafka's own error code, whichever driver met it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from core.clock import SECOND
from core.errors import Rejected, SinkError, Throttled, Unavailable

Record = tuple[str, bytes | None, bytes | None, list[tuple[str, bytes]] | None, int, int]
"""Topic, key, value, headers, milliseconds since the epoch (0: now), partition (-1: by the key)."""


class Failure(NamedTuple):
    """Why a record was not delivered: Kafka's error code (negative: the driver's own) and a sentence."""

    code: int
    reason: str


class OutcomeUnknown(Unavailable):
    """A transaction may or may not have been committed: the same producer has to be asked again."""


class ProducerLost(Unavailable):
    """The producer cannot go on; what it had is to be given to a new one."""


class Producer(ABC):
    """One producer; not shared between threads."""

    @abstractmethod
    def send(self, records: Sequence[Record]) -> None:
        """Hand records over; those before stay as they are. Raises SinkError where none can be."""

    @abstractmethod
    def wait(self, seconds: float) -> bool:
        """Wait until every record is delivered or has failed; False where that takes longer. May raise ProducerLost."""

    @abstractmethod
    def failures(self) -> dict[int, Failure]:
        """What has failed since the last call, by position in all that was sent since then."""

    @abstractmethod
    def pending(self) -> int:
        """How many records are neither delivered nor have failed."""

    @abstractmethod
    def trouble(self, since: float) -> str | None:
        """Why brokers could not be reached, as far as the driver has said so since ``since`` (``time.monotonic``)."""

    @abstractmethod
    def begin(self) -> None:
        """Begin a transaction (producers that were made for them)."""

    @abstractmethod
    def commit(self) -> None:
        """Commit it. OutcomeUnknown: call it again; another SinkError: it is not committed, :meth:`abort` follows."""

    @abstractmethod
    def abort(self) -> None:
        """Abort it, as far as that can be done."""

    @abstractmethod
    def close(self) -> None:
        """Give everything up; what was not delivered is forgotten."""


class TopicSettings(NamedTuple):
    """A topic to be made."""

    partitions: int
    replication: int
    config: Mapping[str, str]


class Admin(ABC):
    """What is asked of a cluster beside producing; made for one call after the other, from one thread."""

    @abstractmethod
    def describe(self) -> str:
        """One line about the cluster; SinkError where it does not answer."""

    @abstractmethod
    def absent(self, names: Collection[str]) -> set[str]:
        """Those of some topics that do not exist; Unavailable for one that this user may not see. Makes none."""

    @abstractmethod
    def create(self, name: str, settings: TopicSettings) -> None:
        """Make a topic; no error where it is there meanwhile."""

    @abstractmethod
    def close(self) -> None: ...


ADMIN_SECONDS: Final = 8.0
"""The most seconds that a question to the cluster takes: less than who asks it waits (``headrace.links``)."""
TRANSACTION_TIMEOUT: Final = 120 * SECOND
"""What a transaction may take where ``delivery_timeout`` is not set: brokers want a limit."""
UNKNOWN_TOPIC: Final = 3
TOO_LARGE: Final = 10
INVALID_TOPIC: Final = 17
NO_PARTITION: Final = -190
OWN_LIMIT: Final = -10_000
"""No code of Kafka or of a driver: larger than our own ``max_message``."""
_REJECTED: Final = {
    TOO_LARGE: "larger than the broker takes (max.message.bytes of the topic)",
    INVALID_TOPIC: "no valid name of a topic",
    18: "larger than a segment of the broker's log",
    32: "a timestamp that the broker does not take",
    87: "refused by the broker's check of records",
    # the drivers' own
    NO_PARTITION: "there is no such partition",
    OWN_LIMIT: "larger than max_message",
}
_ALONE: Final = frozenset({UNKNOWN_TOPIC, INVALID_TOPIC, NO_PARTITION, OWN_LIMIT})
_AUTHORIZATION: Final = {
    29: ("topic", "WRITE and DESCRIBE on it"),
    31: ("cluster", "IDEMPOTENT_WRITE on it, or idempotence = false, and CREATE with create_topic"),
    53: ("transactional id", "WRITE and DESCRIBE on it"),
}
_FENCED: Final = frozenset({90, 47, -144})
_TRANSACTION_TOO_LONG: Final = 50  # INVALID_TRANSACTION_TIMEOUT
_THROTTLED: Final = frozenset({89})  # THROTTLING_QUOTA_EXCEEDED


def rejection(failure: Failure) -> str | None:
    """Why no broker will ever take the record; None where it may be tried again."""
    meaning = _REJECTED.get(failure.code)
    return None if meaning is None else f"{meaning}: {failure.reason}"


def refused_together(failure: Failure) -> bool:
    """Whether the record may have been refused for one that went with it in a request."""
    return failure.code not in _ALONE


def problem(failure: Failure, topic: str = "") -> SinkError:
    """The error for something that may be tried again."""
    where = f"topic {topic}: " if topic else ""
    if failure.code == UNKNOWN_TOPIC:
        return Unavailable(f"{where}it does not exist; make it, or set create_topic")
    if failure.code in _AUTHORIZATION:
        what, needs = _AUTHORIZATION[failure.code]
        return Unavailable(f"{where}not authorized for the {what}: {failure.reason}; the user needs {needs}")
    if failure.code in _FENCED:
        return Unavailable(
            f"another producer has taken over its transactional_id; each sink needs one: {failure.reason}"
        )
    if failure.code == _TRANSACTION_TOO_LONG:
        return Unavailable("delivery_timeout is longer than the brokers allow (transaction.max.timeout.ms): shorten it")
    if failure.code in _THROTTLED:
        return Throttled(f"{where}{failure.reason}")
    if failure.code in _REJECTED:
        return Rejected(f"{where}{failure.reason}")
    return Unavailable(f"{where}{failure.reason}")


_NOISE: Final = re.compile(
    r"/bootstrap(?=:)|\s*\(after \d+ms in state .*\)$|^\w+://(?=\S+: )"
    r"|^(?:Unable to produce message: )?(?:Broker|Local): "
)
CLOSED_AT_ONCE: Final = "the far side closes the connection at once; does it want tls or sasl, or other credentials?"


NO_TLS: Final = "the far side ends the TLS handshake; perhaps it does not speak tls on this port"
NO_SASL: Final = "the far side wants no sasl here"
NAME_AUTHORITY: Final = "name its authority in tls.ca"
_IN_OUR_WORDS: Final = (
    (re.compile(r"verify that ssl\.ca\.location is correctly configured.*"), NAME_AUTHORITY),
    (re.compile(r"SSL handshake failed: Disconnected.*|Disconnected\b.* in state SSL_HANDSHAKE\)"), NO_TLS),
    (re.compile(r"SASL \S+ mechanism handshake failed: .*not valid in current SASL state.*"), NO_SASL),
)


def plain(text: str) -> str:
    """What librdkafka says, without what only its authors need and with our names of settings."""
    for pattern, words in _IN_OUR_WORDS:
        text = pattern.sub(words, text)
    return _NOISE.sub("", text)
