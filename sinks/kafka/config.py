"""The settings of the kafka sink."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from connections.kafka.config import ProducerSettings

Positive = Annotated[int, msgspec.Meta(ge=1)]


class CreateTopic(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """How a topic that is not there is made."""

    partitions: Positive = 1
    """More of them let more consumers work side by side; one keeps the order of all rows."""
    replication: Positive = 1
    """How many brokers keep a copy."""
    config: dict[str, str] = {}
    """Settings of the topic in Kafka's words, such as ``{ "cleanup.policy" = "compact" }``."""


class Config(ProducerSettings, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Texts take ``${column}`` and ``${column.key}``; one that is a single placeholder gives null for a null value."""

    topic: str
    """``meter`` or ``meter-${region}``. Rows whose text is no name of a topic are rejected."""
    key: str | None = None
    """Records of equal keys keep their order; without one they are spread over the partitions."""
    value: str | None = None
    """Without it the whole row as a JSON object. A null value is a tombstone."""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    """Name = text; a header whose value is null is left out."""
    timestamp: str | None = None
    """The column with the record's time, a TIMESTAMP or milliseconds since the epoch; else the time of sending."""
    partition: str | None = None
    """The column with the number of the partition; else the key decides."""
    exactly_once: bool = False
    """Each batch is a transaction: consumers that read committed records see all of it or nothing, and once."""
    transactional_id: str | None = None
    """With ``exactly_once``: must be this sink's alone in the whole cluster; by default client id and sink's name."""
    create_topic: CreateTopic | None = None
    """Make topics that are not there."""
    unknown_topic: Literal["retry", "reject"] = "retry"
    """About a topic that is not there and not made: wait for it, and every row with it; or ``reject`` its rows, for
    where rows name the topic."""
