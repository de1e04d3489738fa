"""``driver_options``: settings in a driver's own words, for what has no key of ours.

Pure data and one check. What a key of ours says cannot be said a second time, and what has to be kept secret cannot be
said here at all: these settings are shown. Whether a driver knows an option is for its adapter to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from core.errors import ConfigError

Options = Mapping[str, str | int | float | bool]
PATH: Final = "driver_options"

OURS: Final[Mapping[str, str]] = {
    "bootstrap.servers": "bootstrap_servers",
    "metadata.broker.list": "bootstrap_servers",
    "client.id": "client_id",
    "security.protocol": "tls and sasl",
    "sasl.mechanism": "sasl",
    "sasl.mechanisms": "sasl",
    "sasl.username": "sasl",
    "sasl.plain.username": "sasl",
    "ssl.ca.location": "tls",
    "ssl.cafile": "tls",
    "ssl.certificate.location": "tls",
    "ssl.certfile": "tls",
    "ssl.key.location": "tls",
    "ssl.keyfile": "tls",
    "ssl.check.hostname": "tls",
    "enable.ssl.certificate.verification": "tls",
    "ssl.endpoint.identification.algorithm": "tls",
    "socket.timeout.ms": "request_timeout",
    "request.timeout.ms": "request_timeout",
    "bootstrap.timeout.ms": "request_timeout",
    "max.block.ms": "request_timeout",
    "acks": "acks of the sink",
    "request.required.acks": "acks of the sink",
    "enable.idempotence": "idempotence of the sink",
    "compression.type": "compression of the sink",
    "compression.codec": "compression of the sink",
    "message.max.bytes": "max_message of the sink",
    "max.request.size": "max_message of the sink",
    "delivery.timeout.ms": "delivery_timeout of the sink",
    "message.timeout.ms": "delivery_timeout of the sink",
    "transaction.timeout.ms": "delivery_timeout of the sink",
    "transactional.id": "transactional_id of the sink",
}
"""Option, in the words of librdkafka (kafka-python has the same with underscores) -> the key of ours that sets it."""
_FIXED: Final = frozenset(
    {
        "delivery.report.only.error",
        "key.serializer",
        "kafka.client",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "metrics.enabled",
        "partitioner",
        "retries",
        "message.send.max.retries",
        "value.serializer",
    }
)
"""What promises of the sink rest on: order, the partition of a key, what a delivery report says."""
_SECRET: Final = re.compile(r"passw|secret|token|credential|\.pem$|jaas|oauthbearer", re.IGNORECASE).search


def check_options(options: Options, driver: str) -> None:
    """ConfigError for an option that may not stand there."""
    if options and driver == "auto":
        raise ConfigError("are those of one driver", path=PATH, hint='name it: driver = "confluent" or "kafka-python"')
    for name in options:
        common = name.replace("_", ".")
        if common in OURS:
            raise ConfigError(f"{name!r} has a key of its own", path=PATH, hint=f"set {OURS[common]}")
        if common in _FIXED:
            raise ConfigError(f"{name!r} cannot be changed: what the sink promises rests on it", path=PATH)
        if _SECRET(name):
            raise ConfigError(f"{name!r} would be shown", path=PATH, hint="secrets belong into sasl or tls")
