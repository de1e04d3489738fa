"""How a Kafka cluster is reached, in the words of Kafka's own clients."""

from __future__ import annotations

from typing import Literal

import msgspec

from connections.oauth import ClientCredentials
from connections.tls import TlsSettings
from core.clock import SECOND
from core.errors import ConfigError
from core.settings import Duration, Secret, Size

DriverName = Literal["auto", "confluent", "kafka-python"]
Compression = Literal["none", "gzip", "snappy", "lz4", "zstd"]
Acks = Literal["all", "leader", "none"]


class _Password(
    msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True, tag_field="mechanism", tag="PLAIN"
):
    username: str
    """As the brokers know it."""
    password: Secret
    """``{ env = "NAME" }`` or ``{ file = "path" }``."""


class Plain(_Password, frozen=True, tag="PLAIN"):
    """The password goes over the wire: use it with TLS."""


class Scram256(_Password, frozen=True, tag="SCRAM-SHA-256"):
    """The password does not go over the wire."""


class Scram512(_Password, frozen=True, tag="SCRAM-SHA-512"):
    """The password does not go over the wire."""


class OauthBearer(ClientCredentials, frozen=True, tag_field="mechanism", tag="OAUTHBEARER"):
    """Tokens by OAuth 2 client credentials."""


class KafkaConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One cluster."""

    bootstrap_servers: list[str]
    """Some of its brokers, ``host:port``; the others are found through them."""
    driver: DriverName = "auto"
    """``auto`` takes confluent where it is installed (``pip install 'headrace[kafka]'``), else kafka-python."""
    client_id: str = "headrace"
    """What brokers call us in their logs, metrics and quotas; also the beginning of a transactional id."""
    tls: bool | TlsSettings = False
    """``true`` trusts the authorities of the system; a table says more."""
    sasl: Plain | Scram256 | Scram512 | OauthBearer | None = None
    """``{ mechanism = "SCRAM-SHA-512", username = "...", password = { env = "..." } }``."""
    request_timeout: Duration = Duration(10 * SECOND)
    """How long an answer of a broker may take; a sink without any for so long is unavailable."""
    driver_options: dict[str, str | int | float | bool] = {}
    """Settings in the words of the driver, which then has to be named, for what has no key here:
    ``{ "socket.send.buffer.bytes" = 1048576 }``. No secrets: they are shown.
    """


def security_protocol(config: KafkaConfig) -> str:
    """Kafka's name for what ``tls`` and ``sasl`` say together."""
    transport = "SSL" if config.tls else "PLAINTEXT"
    return transport if config.sasl is None else f"SASL_{transport}"


def revealed(secret: Secret, path: str) -> str:
    """The text of a secret; ConfigError at ``path`` where it cannot be read."""
    try:
        return secret.reveal()
    except ValueError as error:
        raise ConfigError(str(error), path=path) from None


class ProducerSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """How records are produced."""

    acks: Acks = "all"
    """When a record counts as delivered: all in-sync replicas have it, the leader has it, it was sent."""
    idempotence: bool = True
    """A repetition after a lost answer does not double a record, and order is kept; needs ``acks = "all"``."""
    compression: Compression = "none"
    """Of the batches on the wire and on the brokers' disks. kafka-python needs the package of that name."""
    max_message: Size = Size(1_000_000)
    """Larger records (before compression) are rejected without asking. Where the topic has a lower limit
    (``max.message.bytes``), set it to that: a broker refuses all records that come with one that is too large, too."""
    delivery_timeout: Duration | None = None
    """How long the driver tries on its own before rows are produced anew, which may double them: without it as long as
    it takes. With ``exactly_once`` the limit of a transaction (2 minutes), which doubles nothing.
    """
