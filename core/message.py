"""The values that travel through headrace: Publisher and Message on the way in, Schema and Batch on the way out.

Invariants: a message is never changed after it left the broker, but for what it remembers once it was asked for (the
decoded :attr:`Message.document`, :attr:`Message.number`); a row is a tuple whose positions are those of its batch's
schema. How columns are derived from a message is the business of ``rules``; how bytes become a message that of
``broker``.
"""

from __future__ import annotations

import enum
import itertools
import zlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from core.matching import Match


class Missing(enum.Enum):
    """The value of something that is not there (EMQX's ``undefined``), as opposed to JSON's null (None)."""

    MISSING = "undefined"

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing.MISSING

SYSTEM_ERRORS: Final = "$system/errors\0"
"""The topic of messages about trouble, which rules read as ``system.errors``. No client can name it: it has a NUL."""

SYSTEM_LATE_ROWS: Final = "$system/late_rows\0"
"""The same of rows that came at the wrong time for a window: ``system.late_rows``."""


def host_port(host: str, port: int) -> str:
    """One text of both, IPv6 addresses in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Publisher:
    """Who sent a message; one object per connection (or per rule, for messages that a rule republished).

    ``hops`` counts the rules a message has already passed through: 0 for a device. ``rule`` names the rule
    that republished it. ``peer_host``/``peer_port`` are empty and 0 for a publisher inside the process.
    ``memory`` is what rules keep for it (None: nothing), which ends with it.
    """

    __slots__ = ("client_id", "hops", "memory", "peer_host", "peer_port", "protocol", "rule", "username")

    def __init__(
        self,
        client_id: str,
        *,
        username: str | None = None,
        peer_host: str = "",
        peer_port: int = 0,
        protocol: str = "MQTT",
        rule: str | None = None,
        hops: int = 0,
    ) -> None:
        self.client_id = client_id
        self.username = username
        self.peer_host = peer_host
        self.peer_port = peer_port
        self.protocol = protocol
        self.rule = rule
        self.hops = hops
        self.memory: Any = None

    @property
    def peer_name(self) -> str:
        """``address:port``; empty inside the process."""
        return host_port(self.peer_host, self.peer_port) if self.peer_host else ""

    def __repr__(self) -> str:
        return f"Publisher({self.client_id!r}, username={self.username!r})"


ANONYMOUS: Final = Publisher("")


class Message(msgspec.Struct, gc=False):
    """One application message.

    ``properties`` are MQTT 5 properties by their snake-case name (``user_properties`` is a list of pairs) or
    None. ``received_ns`` is UTC nanoseconds. ``match`` is the shared per-topic match object, None outside the
    broker. ``columns`` holds the columns themselves for events and for ``eval``; None derives them from the
    other fields. ``document`` is the decoded payload, MISSING until a rule asked for it. ``number`` tells it from every
    other message of this process; 0 until :func:`message_id` was asked for it.
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    properties: Mapping[str, Any] | None = None
    publisher: Publisher = ANONYMOUS
    received_ns: int = 0
    match: Match | None = None
    columns: Mapping[str, Any] | None = None
    document: Any = MISSING
    number: int = 0


_numbers = itertools.count(1)


def number_of(message: Message) -> int:
    """:attr:`Message.number`, given to it with the first question."""
    number = message.number
    if not number:
        number = message.number = next(_numbers)
    return number


def message_id(message: Message) -> str:
    """32 hexadecimal digits: time of arrival, publisher, and what tells messages of one instant apart.

    The same whoever asks, different for any two messages of a process's life.
    """
    publisher = zlib.crc32(message.publisher.client_id.encode(errors="surrogatepass"))
    received = message.received_ns & (1 << 64) - 1
    return f"{received:016X}{publisher:08X}{number_of(message) & 0xFFFFFFFF:08X}"


class Type(enum.Enum):
    """The types of design.md 6. ``ANY`` is whatever is undeclared."""

    BOOLEAN = "BOOLEAN"
    BIGINT = "BIGINT"
    DOUBLE = "DOUBLE"
    DECIMAL = "DECIMAL"
    TEXT = "TEXT"
    BYTES = "BYTES"
    TIMESTAMP = "TIMESTAMP"
    INTERVAL = "INTERVAL"
    ARRAY = "ARRAY"
    OBJECT = "OBJECT"
    ANY = "ANY"


class Schema(msgspec.Struct, frozen=True):
    """Column names and types of a batch; ``names`` are unique and ``types`` is as long as ``names``."""

    names: tuple[str, ...]
    types: tuple[Type, ...]


Row = tuple[Any, ...]


class Batch(msgspec.Struct):
    """Rows of one rule for one target (a sink's name).

    A value in a row may be MISSING (the column was not there), None (null), or a value of the column's type.
    ``hops`` is the highest ``publisher.hops`` among the messages the rows came from.
    """

    target: str
    rule: str
    schema: Schema
    rows: list[Row]
    hops: int = 0
