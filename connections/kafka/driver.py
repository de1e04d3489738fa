"""What headrace needs of a Kafka driver, and what Kafka's error codes mean for a row.

The interface is blocking: each producer belongs to one sink and is used from one thread. Both adapters behave alike:
records of equal keys go to the same partition as with Kafka's Java client (murmur2), in order; an error is told by
Kafka's own error code, whichever driver met it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from core.errors import Rejected, SinkError, Throttled, Unavailable

Record = tuple[str, bytes | None, bytes | None, list[tuple[str, bytes]] | None, int, int]
"""Topic, key, value, headers, milliseconds since the epoch (0: now), partition (-1: by the key)."""


class Failure(NamedTuple):
    """Why a record was not delivered: Kafka's error code (negative: the driver's own) and a sentence."""

    code: int
    reason: str


class OutcomeUnknown(Unavailable):
    """A transaction may or may not have been committed: the same producer has to be asked again."""


class Producer(ABC):
    """One producer; not shared between threads."""

    @abstractmethod
    def send(self, records: Sequence[Record]) -> None:
        """Hand records over; those before stay as they are. Raises SinkError where none can be."""

    @abstractmethod
    def wait(self, seconds: float) -> bool:
        """Wait until every record is delivered or has failed; False where that takes longer."""

    @abstractmethod
    def failures(self) -> dict[int, Failure]:
        """What has failed since the last call, by position in all that was sent since then."""

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
    def topics(self) -> set[str]:
        """The names of all topics."""

    @abstractmethod
    def create(self, name: str, settings: TopicSettings) -> None:
        """Make a topic; no error where it is there meanwhile."""

    @abstractmethod
    def close(self) -> None: ...


UNKNOWN_TOPIC: Final = 3
_REJECTED: Final = {
    10: "larger than the broker takes (max.message.bytes)",
    17: "no valid name of a topic",
    18: "larger than a segment of the broker's log",
    32: "a timestamp that the broker does not take",
    87: "refused by the broker's check of records",
    # the drivers' own
    -190: "there is no such partition",
}
_AUTHORIZATION: Final = {29: "topic", 31: "cluster", 53: "transactional id"}
_THROTTLED: Final = frozenset({89})  # THROTTLING_QUOTA_EXCEEDED


def rejection(failure: Failure) -> str | None:
    """Why no broker will ever take the record; None where it may be tried again."""
    meaning = _REJECTED.get(failure.code)
    return None if meaning is None else f"{meaning}: {failure.reason}"


def problem(failure: Failure, topic: str = "") -> SinkError:
    """The error for something that may be tried again."""
    where = f"topic {topic}: " if topic else ""
    if failure.code == UNKNOWN_TOPIC:
        return Unavailable(f"{where}it does not exist; make it, or set create_topic")
    if failure.code in _AUTHORIZATION:
        return Unavailable(f"{where}not authorized for the {_AUTHORIZATION[failure.code]}: {failure.reason}")
    if failure.code in _THROTTLED:
        return Throttled(f"{where}{failure.reason}")
    if failure.code in _REJECTED:
        return Rejected(f"{where}{failure.reason}")
    return Unavailable(f"{where}{failure.reason}")
