"""The connections of a configuration as objects, and whether each still stands.

Invariants: one object per ``[connections.<name>]``, shared by all that name it; at a reload an unchanged one stays, and
one that is gone or changed closes by itself when its last user leaves. Each that is in use is asked every
``health_check``, and with growing pauses while it does not answer; what it answers shows in the metrics, in
``/readyz`` and, when that changes, in one log line. Sinks find out about their far side on their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from connections.base import Connection, ConnectionContext
from core.clock import SECOND, Clock
from core.errors import ConfigError, HeadraceError, SinkError, Unavailable
from core.metrics import Metrics
from core.settings import mask_urls
from headrace.decoding import Decoder
from headrace.endpoints import ConnectionSpec

_log = logging.getLogger("headrace.connections")

CHECK_TIMEOUT: Final = 10.0
"""Seconds that a health check may take."""
_FIRST_PAUSE: Final = 1.0
_LABELS: Final = ("connection", "type")

Answer = TypeVar("Answer")
LinkState = Literal["unused", "unchecked", "connected", "down"]


async def attempt(call: Coroutine[Any, Any, Answer], seconds: float) -> Answer:
    """What a call of an extension returns; SinkError, in one line, where it fails or takes too long."""
    try:
        async with asyncio.timeout(seconds):
            return await call
    except TimeoutError as error:
        raise Unavailable(_line(error) or f"no answer within {seconds:g}s") from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Nobody cancelled us: something inside was, and that must not pass for a shutdown.
        raise Unavailable("a call inside of it was cancelled") from None
    except HeadraceError as error:
        raise SinkError(_line(error)) from error
    except Exception as error:
        raise SinkError(f"{type(error).__name__}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return mask_urls(" ".join(str(error).split()))


@dataclass(slots=True)
class Link:
    """A connection with what is known about it: ``since`` (nanoseconds) it has been in its state."""

    spec: ConnectionSpec
    connection: Connection
    since: int
    state: LinkState = "unused"
    detail: str = ""
    last_error: str | None = None
    reconnects: int = 0
    failures: int = 0
    failed_at: int = 0
    watch: asyncio.Task[None] | None = field(default=None, repr=False)

    def enter(self, state: LinkState, now: int) -> None:
        if state != self.state:
            self.state = state
            self.since = now


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """The connections that a configuration will have; what is wrong with one goes to the decoder's errors."""

    shared: Mapping[str, Link]
    decoder: Decoder
    clock: Clock

    def connection(self, spec: ConnectionSpec) -> Connection | None:
        """The object for a user of ``spec``; None where it could not be made. A private one is made here, anew."""
        if not spec.shared:
            return build(spec, self.decoder, self.clock)
        link = self.shared.get(spec.name)
        return None if link is None else link.connection


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
    """The shared connections of the service; ``current`` by name."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self.current: Mapping[str, Link] = {}
        self._clock = clock
        metrics.read(
            "headrace_connection_connected",
            "1 while the far side answers, 0 while it does not; connections that nothing uses are not asked.",
            "gauge",
            lambda: [
                (labels, int(link.state == "connected"))
                for labels, link in self._labelled()
                if link.state in ("connected", "down")
            ],
            _LABELS,
        )
        metrics.read(
            "headrace_connection_reconnects_total",
            "Times that the far side answered again after it had not.",
            "counter",
            lambda: [(labels, link.reconnects) for labels, link in self._labelled()],
            _LABELS,
        )
        metrics.read(
            "headrace_connection_checks_failed_total",
            "Health checks that failed.",
            "counter",
            lambda: [(labels, link.failures) for labels, link in self._labelled()],
            _LABELS,
        )
        metrics.read(
            "headrace_connection_last_error_timestamp_seconds",
            "When a health check last failed, 0 where none has.",
            "gauge",
            lambda: [(labels, link.failed_at / SECOND) for labels, link in self._labelled()],
            _LABELS,
        )

    def _labelled(self) -> Iterable[tuple[tuple[str, str], Link]]:
        return [((name, link.spec.connection.type), link) for name, link in self.current.items()]

    def plan(self, specs: Mapping[str, ConnectionSpec], decoder: Decoder) -> LinkPlan:
        """Connections for ``specs``: those that are unchanged, and new ones for the others. Touches nothing."""
        shared: dict[str, Link] = {}
        for name, spec in specs.items():
            link = self.current.get(name)
            if link is not None and link.spec.table == spec.table:
                shared[name] = link
            elif (connection := build(spec, decoder, self._clock)) is not None:
                if link is not None:
                    connection.succeed(link.connection)
                shared[name] = Link(spec, connection, self._clock.now())
        return LinkPlan(shared, decoder, self._clock)

    def swap(self, plan: LinkPlan, used: Collection[str]) -> None:
        """Make a plan the current one and watch those of its connections that are ``used``."""
        now = self._clock.now()
        for name, link in self.current.items():
            if link.watch is not None and (plan.shared.get(name) is not link or name not in used):
                link.watch.cancel()
                link.watch = None
        self.current = plan.shared
        for name, link in self.current.items():
            if name not in used:
                link.enter("unused", now)
            elif link.watch is None:
                link.enter("unchecked", now)
                if link.spec.health_check:
                    task = self._watch(link, link.spec.health_check.seconds)
                    link.watch = asyncio.get_running_loop().create_task(task, name=f"watch connection {name}")

    async def close(self) -> None:
        """Stop watching; the connections close when their users leave."""
        tasks = [link.watch for link in self.current.values() if link.watch is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, link: Link, interval: float) -> None:
        failures = 0
        while True:
            try:
                detail = await attempt(link.connection.check(), CHECK_TIMEOUT)
            except SinkError as error:
                self._lost(link, str(error))
                await asyncio.sleep(min(_FIRST_PAUSE * 2**failures, interval))
                failures = min(failures + 1, 16)
            else:
                self._found(link, detail)
                failures = 0
                await asyncio.sleep(interval)

    def _lost(self, link: Link, reason: str) -> None:
        link.failures += 1
        link.failed_at = self._clock.now()
        link.last_error = reason
        if link.state != "down":
            link.enter("down", self._clock.now())
            _log.warning("connection %s does not answer: %s", link.spec.name, reason)

    def _found(self, link: Link, detail: str) -> None:
        now = self._clock.now()
        if link.state == "down":
            link.reconnects += 1
            _log.info(
                "connection %s answers again after %.0f s: %s", link.spec.name, (now - link.since) / SECOND, detail
            )
        link.enter("connected", now)
        link.detail = detail
        link.last_error = None
