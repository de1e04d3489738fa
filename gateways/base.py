"""What a source is; extensions register theirs under the entry-point group ``headrace.gateways``.

A source brings messages of other devices and brokers in; rules read them like those of the own clients. Life of an
instance, all on one event loop::

    open (failed: a pause, open again) -> run (lost: a pause, open again) -> close

Invariants: a source acknowledges a message to its far side only when the intake has called back that it is safe; while
the intake is full it holds back what must not be lost. When to try again is the business of ``headrace.inlets``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import msgspec

from connections.base import Connection
from core.clock import Clock, SystemClock
from core.errors import ConfigError
from core.message import Message

Kind = TypeVar("Kind", bound=Connection)


class Intake(Protocol):
    """Where a source delivers to."""

    @property
    def full(self) -> bool:
        """True while messages of QoS 1 and 2 must be held back; those of QoS 0 are dropped and counted by it."""

    def accept(self, messages: Sequence[Message], when_safe: Callable[[], None]) -> None:
        """Take messages with valid topics, in order, and call back once they are safe; never refuses."""

    def drop(self, reason: str) -> None:
        """Count a message that the source could not or must not hand on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceContext:
    """What the process gives a source beside its own settings; ``connection`` is its far side, shared or its own."""

    name: str
    base_dir: Path
    intake: Intake
    clock: Clock = field(default_factory=SystemClock)
    connection: Connection | None = None

    def connected(self, kind: type[Kind]) -> Kind:
        """The connection, which must be a ``kind``; ConfigError otherwise."""
        if not isinstance(self.connection, kind):
            raise ConfigError(f"needs a connection of type {kind.type!r}", hint='connection = "name"')
        return self.connection


class Source(ABC):
    """One far side that sends.

    ``Config`` has the source's own settings, ``connection_type`` names the kind of connection it works over. Both must
    have no key in common. ``__init__`` does no I/O: it raises ConfigError or ExtensionError.
    """

    Config: ClassVar[type[msgspec.Struct]]
    name: ClassVar[str]
    connection_type: ClassVar[str | None] = None
    connection_required: ClassVar[bool] = True

    def __init__(self, config: Any, context: SourceContext) -> None:
        self.config = config
        self.context = context

    @abstractmethod
    async def open(self) -> None:
        """Reach the far side; messages may come from here on. Any exception means "not yet"."""

    @abstractmethod
    async def run(self) -> None:
        """Wait until the far side is lost, and raise :class:`core.errors.Unavailable` with the reason."""

    @abstractmethod
    async def check(self) -> None:
        """For ``headrace check --connect``: could ``open`` work? Takes no message and changes nothing."""

    def resume(self) -> None:  # noqa: B027 - not every source holds anything back
        """The intake may have room again: hand on what was held back."""

    @abstractmethod
    async def close(self) -> None:
        """End it for good, also after a failed ``open``: nothing is delivered or acknowledged afterwards."""
