"""What a connection is; extensions register theirs under the entry-point group ``headrace.connections``.

A connection is one far side (a Kafka cluster, a database, an HTTP service) with its address, credentials, TLS and
client or pool, written once as ``[connections.<name>]`` and used by any number of sinks and sources. Invariants kept
here: it is open exactly while somebody uses it; joining and leaving twice is harmless; a failed ``open`` is followed
by ``close``. What goes over it, and when a failed write is tried again, is its users' business; asking from time to
time whether it still stands is that of ``headrace.links``.
"""

from __future__ import annotations

import asyncio
import builtins
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from connections.lookup import Finder, LookupSource
from core.clock import Clock, SystemClock
from core.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionContext:
    """``name`` as the user knows it, ``base_dir`` what relative paths are relative to."""

    name: str
    base_dir: Path
    clock: Clock = field(default_factory=SystemClock)


class Connection(ABC):
    """One far side.

    ``__init__`` does no I/O: it checks what can be checked without the far side and raises
    :class:`core.errors.ConfigError` (``path`` relative to the connection's own section) or
    :class:`core.errors.ExtensionError` (an absent driver). All methods run on one event loop.
    """

    Config: ClassVar[builtins.type[msgspec.Struct]]
    """The settings: a struct that forbids unknown fields."""
    type: ClassVar[str]
    """The name it is registered under, and what ``[connections.x] type`` says."""

    def __init__(self, config: Any, context: ConnectionContext) -> None:
        self.config = config
        self.context = context
        self._users: set[object] = set()
        self._changing = asyncio.Lock()

    @property
    def in_use(self) -> bool:
        """Whether anybody has joined and not left."""
        return bool(self._users)

    async def join(self, user: object) -> None:
        """Count ``user`` (a sink or source, by identity) in and open for the first one; raises what ``open`` raises."""
        async with self._changing:
            if user in self._users:
                return
            if not self._users:
                try:
                    await self.open()
                except BaseException:
                    await self.close()
                    raise
            self._users.add(user)

    async def leave(self, user: object) -> None:
        """Count ``user`` out and close after the last one."""
        async with self._changing:
            if user in self._users:
                self._users.discard(user)
                if not self._users:
                    await self.close()

    @abstractmethod
    async def open(self) -> None:
        """Make the client or pool. Reaching the far side may be left to the first use."""

    @abstractmethod
    async def close(self) -> None:
        """Release everything, also after a failed ``open``. Closing twice is harmless."""

    @abstractmethod
    async def check(self) -> str:
        """Ask the far side, with the credentials, whether it is there; changes nothing at it.

        May be called whether anybody has joined or not, and be cancelled (time-out). Returns one line about what
        answered (``PostgreSQL 15.8``); raises :class:`core.errors.Unavailable` with the reason otherwise. No secret
        is ever part of either.
        """

    def succeed(self, before: Connection) -> None:  # noqa: B027 - most have nothing to pass on
        """A reload has made this one in place of ``before``, of the same name, which sources go on using.

        Comes before anybody has joined, and also where the reload is given up after all: it must not change ``before``.
        """

    def finder(self, source: LookupSource) -> Finder:
        """What asks this far side for rows by key; ConfigError where there are no rows to be asked for."""
        del source
        raise ConfigError(f"a connection of type {self.type} has no tables to look things up in", path="connection")
