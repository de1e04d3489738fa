"""What a sink is; extensions register theirs under the entry-point group ``headrace.sinks``.

A sink knows one destination and nothing else: batching, retry, back-off, isolation of bad rows and limits are
the business of :mod:`sinks.delivery`, which calls it. Life of an instance::

    open (failed: close, a pause, open again) -> write, write, ... -> close [-> open -> ...]

Invariants that delivery keeps: ``write`` is only called between a successful ``open`` and ``close``, by at most
``max_in_flight`` callers at a time, with at least one row, all of one rule, schema and number of hops; a call may
be cancelled (shutdown, time-out) and the same rows may come again after any error that is not ``Rejected``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, TypeVar

import msgspec

from connections.base import Connection
from core.clock import Clock, SystemClock
from core.errors import ConfigError
from core.message import Batch, Message, Schema

Kind = TypeVar("Kind", bound=Connection)


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkContext:
    """What the process gives a sink beside its own settings.

    ``name`` is the sink's name in the configuration, ``base_dir`` what relative paths are relative to,
    ``schemas`` those of the rules that write to it (as far as they are known before the first row),
    ``connection`` the far side it shares with others or has for itself, ``publish`` the way into the own broker,
    ``dispatch`` the way to its clients alone, past rules and retained messages (None without a broker), and ``stdout``
    where text for the user goes (None: the process's standard output).
    """

    name: str
    base_dir: Path
    schemas: tuple[Schema, ...] = ()
    publish: Callable[[list[Message]], None] | None = None
    dispatch: Callable[[list[Message]], None] | None = None
    clock: Clock = field(default_factory=SystemClock)
    connection: Connection | None = None
    stdout: BinaryIO | None = None

    def connected(self, kind: type[Kind]) -> Kind:
        """The connection, which must be a ``kind``; ConfigError otherwise."""
        if not isinstance(self.connection, kind):
            settings = " or ".join(
                f"{field.encode_name} = ..." for field in msgspec.structs.fields(kind.Config) if field.required
            )
            hint = f'connection = "name"{f" or {settings}" if settings else ""}'
            raise ConfigError(f"needs a connection of type {kind.type!r}", hint=hint)
        return self.connection


class NoSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """No settings unless a sink declares its own."""


class Sink(ABC):
    """One destination.

    ``Config`` has the sink's own settings. ``connection_type`` names the kind of connection it works over
    (``[connections.x] type = ...``, or the same keys in its own section), ``connection_required`` says whether it also
    works without one. A sink joins its connection in ``open`` and leaves it in ``close``. ``__init__`` does no I/O: it
    checks what can be checked without the far side and raises :class:`core.errors.ConfigError` or
    :class:`core.errors.ExtensionError` (an absent driver).
    """

    Config: ClassVar[type[msgspec.Struct]] = NoSettings
    name: ClassVar[str]
    connection_type: ClassVar[str | None] = None
    connection_required: ClassVar[bool] = True
    templates: ClassVar[tuple[str, ...]] = ()
    """The settings that take ``${column}``, with all texts below them: naming a column that no rule of the sink yields
    is then an error before the first row."""
    max_in_flight: int = 1
    """How many ``write`` calls may run at a time; an instance may lower it. With 1, rows of a rule stay in order."""
    republishes: bool = False
    """Whether rows come back to the rules, through ``SinkContext.publish``; an instance may say so. A rule's rows from
    messages that it has itself republished do not come to such a sink."""
    exclusive: tuple[str, str] | None = None
    """What no other sink may use beside this one, a file for example: the setting that names it, and what it is. An
    instance says so."""

    def __init__(self, config: Any, context: SinkContext) -> None:
        self.config = config
        self.context = context

    @abstractmethod
    async def open(self) -> None:
        """Reach the far side and check what the rows will need there.

        Any exception means "not yet": it is shown as the sink's last error, ``close`` is called and, after a
        pause, ``open`` again.
        """

    async def check(self) -> None:
        """Is there what the rows will need? For ``headrace check --connect``; raises what ``open`` would.

        Makes nothing at the far side: a sink whose ``open`` does has a check of its own.
        """
        try:
            await self.open()
        finally:
            await self.close()

    @abstractmethod
    async def write(self, batch: Batch) -> None:
        """Deliver all rows of ``batch``; returning means that they are durable at the far side.

        Raises :class:`core.errors.Unavailable` or :class:`core.errors.Throttled` (nothing or an unknown part
        was delivered: the same rows come again; reconnecting is the sink's own affair) or
        :class:`core.errors.Rejected` (see there). Every other exception counts as Unavailable, a
        :class:`core.errors.PayloadError` as Rejected. Values: see :class:`core.message.Batch`.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release everything, also after a failed ``open``; no ``write`` runs any more. Closing twice is harmless."""
