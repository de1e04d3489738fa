"""The connections of a configuration as objects, and whether each still stands.

Invariants: one object per ``[connections.<name>]``, shared by all that name it; at a reload an unchanged one stays, and
one that is gone or changed closes by itself when its last user leaves. Each that is in use is asked every
``health_check``, and with growing pauses while it does not answer; what it answers shows in the metrics, in
``/readyz`` and, when that changes, in one log line. Sinks find out about their far side on their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from connections.base import Connection, ConnectionContext
from core.clock import SECOND, Clock
from core.errors import ConfigError, HeadraceError, SinkError
from core.metrics import Metrics
from headrace.config import Config, ConnectionSpec
from headrace.decoding import Decoder

_log = logging.getLogger("headrace.connections")

CHECK_TIMEOUT: Final = 10.0
_FIRST_PAUSE: Final = 1.0


@dataclass(slots=True)
class Link:
    """A connection with what is known about it; ``connected`` is None until it was asked. ``since`` is nanoseconds."""

    spec: ConnectionSpec
    connection: Connection
    connected: bool | None = None
    detail: str = ""
    last_error: str | None = None
    since: int = 0
    reconnects: int = 0
    failures: int = 0
    watch: asyncio.Task[None] | None = field(default=None, repr=False)


async def probe(connection: Connection, seconds: float = CHECK_TIMEOUT) -> str:
    """What ``check`` answers; SinkError with the reason where it fails, and where it takes too long."""
    try:
        async with asyncio.timeout(seconds):
            return await connection.check()
    except TimeoutError:
        raise SinkError(f"no answer within {seconds:g}s") from None
    except HeadraceError:
        raise
    except Exception as error:
        raise SinkError(f"{type(error).__name__}: {error}") from error


def build(spec: ConnectionSpec, decoder: Decoder, clock: Clock) -> Connection | None:
    """The object of a connection; None, and an error at its place in the file, where it objects to its settings."""
    context = ConnectionContext(name=spec.name, base_dir=decoder.base_dir, clock=clock)
    try:
        return spec.connection(spec.config, context)
    except ConfigError as error:
        keys = error.path.split(".") if error.path else []
        decoder.fail((*spec.path, *keys), error.message, error.hint)
    except HeadraceError as error:
        decoder.fail(spec.path, str(error))
    except Exception as error:  # noqa: BLE001 - an extension's constructor may raise anything
        kind = spec.connection.type
        decoder.fail(spec.path, f"{kind} cannot be set up: {type(error).__name__}: {error}")
    return None


class Links:
    """The connections of the service; ``current`` by name."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self.current: Mapping[str, Link] = {}
        self._clock = clock
        metrics.read(
            "headrace_connection_connected",
            "1 while the far side answers, 0 while it does not; connections that nothing uses are not asked.",
            "gauge",
            lambda: [(labels, int(link.connected)) for labels, link in self._labelled() if link.connected is not None],
            ("connection", "type"),
        )
        metrics.read(
            "headrace_connection_reconnects_total",
            "Times that the far side answered again after it had not.",
            "counter",
            lambda: [(labels, link.reconnects) for labels, link in self._labelled()],
            ("connection", "type"),
        )
        metrics.read(
            "headrace_connection_checks_failed_total",
            "Health checks that failed.",
            "counter",
            lambda: [(labels, link.failures) for labels, link in self._labelled()],
            ("connection", "type"),
        )

    def _labelled(self) -> Iterable[tuple[tuple[str, str], Link]]:
        return [((name, link.spec.connection.type), link) for name, link in self.current.items()]

    def plan(self, config: Config, decoder: Decoder) -> dict[str, Link]:
        """The connections of ``config``: those that are unchanged, and new ones for the others. Touches nothing."""
        plan: dict[str, Link] = {}
        for name, spec in config.connections.items():
            link = self.current.get(name)
            if link is not None and link.spec.table == spec.table:
                plan[name] = link
            elif (connection := build(spec, decoder, self._clock)) is not None:
                plan[name] = Link(spec, connection, since=self._clock.now())
        return plan

    def swap(self, plan: Mapping[str, Link], used: Collection[str]) -> None:
        """Make a plan the current one and watch the connections that are ``used``."""
        for name, link in self.current.items():
            if plan.get(name) is not link or name not in used:
                self._forget(link)
        self.current = plan
        for name in used:
            link = plan[name]
            if link.watch is None and link.spec.choice.health_check:
                task = self._watch(link)
                link.watch = asyncio.get_running_loop().create_task(task, name=f"watch connection {name}")

    def _forget(self, link: Link) -> None:
        if link.watch is not None:
            link.watch.cancel()
            link.watch = None
        link.connected = None

    async def close(self) -> None:
        """Stop watching; the connections close when their users leave."""
        tasks = [link.watch for link in self.current.values() if link.watch is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, link: Link) -> None:
        interval = link.spec.choice.health_check.seconds
        failures = 0
        while True:
            try:
                detail = await probe(link.connection)
            except HeadraceError as error:
                self._lost(link, str(error))
                await asyncio.sleep(min(_FIRST_PAUSE * 2**failures, interval))
                failures = min(failures + 1, 16)
            else:
                self._found(link, detail)
                failures = 0
                await asyncio.sleep(interval)

    def _lost(self, link: Link, reason: str) -> None:
        link.failures += 1
        if link.connected is not False:
            link.connected = False
            link.since = self._clock.now()
            _log.warning("connection %s does not answer: %s", link.spec.name, reason)
        link.last_error = reason

    def _found(self, link: Link, detail: str) -> None:
        if link.connected is False:
            link.reconnects += 1
            seconds = (self._clock.now() - link.since) / SECOND
            _log.info("connection %s answers again after %.0f s: %s", link.spec.name, seconds, detail)
        if link.connected is not True:
            link.connected = True
            link.since = self._clock.now()
        link.detail = detail
        link.last_error = None
