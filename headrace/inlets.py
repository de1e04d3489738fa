"""The sources of a configuration as running parts: opened, kept open, and their messages brought to the rules.

Invariants: a message that a source hands over is in the inbox, or counted as dropped, when :meth:`Gate.accept` returns,
and the source hears when it is safe; a source that is lost is opened again after growing pauses, for as long as the
service runs. A reload does not touch sources.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from broker.router import Router
from core.clock import SECOND, Clock
from core.errors import ConfigError, HeadraceError, SinkError
from core.marks import MAX_HOPS
from core.message import Message
from core.metrics import Metrics
from gateways.base import Source, SourceContext
from headrace.endpoints import ConnectionSpec, SourceSpec
from headrace.links import LinkPlan, attempt
from sinks.backoff import Backoff
from sinks.settings import RetrySettings

_log = logging.getLogger("headrace.sources")

_OPEN_SECONDS: Final = 30.0
_STABLE: Final = 10 * SECOND
"""After so long a loss is a new one, and the first pause short again."""

InletState = Literal["connecting", "connected", "unavailable", "closed"]


class Gate:
    """The intake of one source: what it brings goes to the rules, with ``publish`` also to the own clients."""

    def __init__(self, router: Router | None, *, publish: bool) -> None:
        self._router = router
        self._publish = publish
        self.received = 0
        self.dropped: dict[str, int] = {}

    @property
    def full(self) -> bool:
        return self._router is not None and self._router.inbox.full

    def drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def accept(self, messages: Sequence[Message], when_safe: Callable[[], None]) -> None:
        router = self._router
        if router is None:  # a trial: see headrace.commands
            return
        self.received += len(messages)
        inbox = router.inbox
        if self._publish:
            self._to_all(router, messages)
            inbox.when_safe(inbox.append(()), when_safe)
            return
        full, look_up = inbox.full, router.matches.look_up
        gathered: list[Message] = []
        for message in messages:
            match = message.match = look_up(message.topic)
            if not match.rules:
                continue
            if full and not message.qos:
                self.drop("inbox_full")
            else:
                gathered.append(message)
        inbox.when_safe(inbox.append(gathered), when_safe)

    def _to_all(self, router: Router, messages: Sequence[Message]) -> None:
        # Two services that read one another's brokers would pass a message round for ever.
        going = [message for message in messages if message.publisher.hops < MAX_HOPS]
        for _ in range(len(messages) - len(going)):
            self.drop("loop")
        messages = going
        try:
            router.publish(messages)
        except HeadraceError:  # nothing was published, because one of them cannot be
            for message in messages:
                try:
                    router.publish((message,))
                except HeadraceError as error:
                    self.drop("invalid")
                    _log.debug("a message of %r cannot be published: %s", message.topic, error)


@dataclass(slots=True)
class Inlet:
    """A source with what is known about it: ``since`` (nanoseconds) it has been in its state."""

    spec: SourceSpec
    source: Source
    gate: Gate
    since: int
    state: InletState = "connecting"
    last_error: str | None = None
    reconnects: int = 0
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def enter(self, state: InletState, now: int) -> None:
        if state != self.state:
            self.state = state
            self.since = now


def build_sources(
    specs: Iterable[SourceSpec], links: LinkPlan, clock: Clock, router: Router | None = None
) -> dict[str, Inlet]:
    """A source per spec, nothing opened; what they object to goes to the errors of the plan's decoder."""
    decoder = links.decoder
    built: dict[str, Inlet] = {}
    for spec in specs:
        connection = None if spec.connection is None else links.connection(spec.connection)
        if connection is None and spec.connection is not None:  # it has been reported
            continue
        gate = Gate(router, publish=spec.publish)
        context = SourceContext(
            name=spec.name, base_dir=decoder.base_dir, intake=gate, clock=clock, connection=connection
        )
        try:
            built[spec.name] = Inlet(spec, spec.source(spec.config, context), gate, clock.now())
        except ConfigError as error:
            keys = [int(key) if key.isdigit() else key for key in error.path.split(".")] if error.path else []
            decoder.fail(("sources", spec.name, *keys), error.message, error.hint)
        except HeadraceError as error:
            decoder.fail(("sources", spec.name), str(error))
        except Exception as error:  # noqa: BLE001 - an extension's constructor may raise anything
            decoder.fail(("sources", spec.name), f"{spec.kind} cannot be set up: {type(error).__name__}: {error}")
    return built


class Inlets:
    """The sources of the service; ``current`` by name."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self.current: Mapping[str, Inlet] = {}
        self._clock = clock
        labels = ("source", "type")
        metrics.read(
            "headrace_source_connected",
            "1 while the source is connected to its far side",
            "gauge",
            lambda: [(key, int(inlet.state == "connected")) for key, inlet in self._labelled()],
            labels,
        )
        metrics.read(
            "headrace_source_messages_total",
            "Messages that the source has brought in",
            "counter",
            lambda: [(key, inlet.gate.received) for key, inlet in self._labelled()],
            labels,
        )
        metrics.read(
            "headrace_source_reconnects_total",
            "Times that the source was connected again after it had been lost",
            "counter",
            lambda: [(key, inlet.reconnects) for key, inlet in self._labelled()],
            labels,
        )
        metrics.read(
            "headrace_source_dropped_total",
            "Messages of the source that went nowhere, by reason",
            "counter",
            lambda: [
                ((name, reason), count)
                for name, inlet in self.current.items()
                for reason, count in inlet.gate.dropped.items()
            ],
            ("source", "reason"),
        )

    def _labelled(self) -> list[tuple[tuple[str, str], Inlet]]:
        return [((name, inlet.spec.kind), inlet) for name, inlet in self.current.items()]

    @property
    def connections(self) -> set[str]:
        """The names of the shared connections that the sources use."""
        specs = [inlet.spec.connection for inlet in self.current.values()]
        return {spec.name for spec in specs if spec is not None and spec.shared}

    def left_behind(self, specs: Mapping[str, ConnectionSpec]) -> list[str]:
        """The shared connections that a reload with ``specs`` changes, and the sources that go on with the old ones."""
        behind: list[str] = []
        for name, inlet in self.current.items():
            old = inlet.spec.connection
            if old is not None and old.shared:
                new = specs.get(old.name)
                if new is None or new.table != old.table:
                    behind.append(f"connections.{old.name} for sources.{name}")
        return behind

    def start(self, inlets: Mapping[str, Inlet]) -> None:
        """Begin to open sources, in the background; the rules must be there."""
        self.current = inlets
        for name, inlet in inlets.items():
            inlet.task = asyncio.get_running_loop().create_task(self._serve(inlet), name=f"source {name}")

    def resume(self) -> None:
        """The inbox may have room again."""
        for inlet in self.current.values():
            inlet.source.resume()

    async def close(self) -> None:
        """Close every source; what it has not acknowledged stays with its far side. Closing twice is harmless."""
        for inlet in self.current.values():
            task, inlet.task = inlet.task, None
            if task is None:
                continue
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            try:
                await attempt(inlet.source.close(), _OPEN_SECONDS)
            except SinkError as error:
                _log.warning("source %s: closing it failed: %s", inlet.spec.name, error)
            inlet.enter("closed", self._clock.now())

    async def _serve(self, inlet: Inlet) -> None:
        backoff = Backoff(RetrySettings())
        while True:
            try:
                await attempt(inlet.source.open(), _OPEN_SECONDS)
                self._found(inlet)
                await inlet.source.run()
                reason = "it ended without a reason"
            except Exception as error:  # noqa: BLE001 - any failure of an extension means "not now"
                reason = str(error) if isinstance(error, SinkError) else f"{type(error).__name__}: {error}"
            now = self._clock.now()
            if inlet.state == "connected" and now - inlet.since >= _STABLE:
                backoff.reset()
            self._lost(inlet, reason)
            backoff.fail()
            await asyncio.sleep(backoff.delay() / SECOND)

    def _found(self, inlet: Inlet) -> None:
        if inlet.state == "unavailable":
            inlet.reconnects += 1
        if inlet.last_error is not None:
            _log.info("source %s is connected again", inlet.spec.name)
        inlet.enter("connected", self._clock.now())
        inlet.last_error = None

    def _lost(self, inlet: Inlet, reason: str) -> None:
        if inlet.last_error is None:
            _log.warning("source %s is unavailable and is tried again: %s", inlet.spec.name, reason)
        inlet.last_error = reason
        if inlet.state != "connecting":
            inlet.enter("unavailable", self._clock.now())
