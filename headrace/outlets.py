"""The sinks of a configuration as running deliveries, and their exchange at a reload.

Invariants: :meth:`Outlets.plan` touches nothing that runs, so a plan that fails has changed nothing; a sink whose
tables in the file and whose rules' columns are the same keeps running; one that is replaced hands its rows to its
heir; one that is gone drains in the background for at most ``drain_timeout``. What is lost there is logged with its
count.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import BinaryIO

from core.clock import Clock
from core.errors import ConfigError, HeadraceError
from core.message import Batch, Message, Schema
from core.metrics import Metrics
from headrace.config import Config
from headrace.decoding import Decoder
from headrace.endpoints import SinkSpec
from headrace.links import LinkPlan
from sinks.base import Sink, SinkContext
from sinks.delivery import Delivery, OnDead
from sinks.references import unknown_columns

_log = logging.getLogger("headrace.sinks")

SchemasFor = Callable[[str], list[Schema]]
Publish = Callable[[list[Message]], None]


@dataclass(frozen=True, slots=True)
class Outlet:
    """One sink that runs, or that is about to."""

    spec: SinkSpec
    schemas: frozenset[Schema]
    delivery: Delivery
    sink: Sink


@dataclass(frozen=True, slots=True)
class Plan:
    """What a swap will do: have ``outlets`` afterwards, of which ``new`` have to be started before."""

    outlets: Mapping[str, Outlet]
    new: tuple[Outlet, ...]

    @property
    def connections(self) -> set[str]:
        """The names of the shared connections that the sinks will use."""
        specs = [outlet.spec.connection for outlet in self.outlets.values()]
        return {spec.name for spec in specs if spec is not None and spec.shared}


def with_fallbacks(specs: Mapping[str, SinkSpec], schemas_for: SchemasFor) -> SchemasFor:
    """The schemas that may come to a sink: those of its rules, and those of the sinks that fall back on it."""
    sources: dict[str, list[str]] = {name: [name] for name in specs}
    for name, spec in specs.items():
        fallback = spec.fallback
        while fallback in sources and name not in sources[fallback]:
            sources[fallback].append(name)
            fallback = specs[fallback].fallback

    def schemas(name: str) -> list[Schema]:
        return list(dict.fromkeys(schema for source in sources[name] for schema in schemas_for(source)))

    return schemas


def build_sinks(
    specs: list[SinkSpec],
    links: LinkPlan,
    schemas_for: SchemasFor,
    clock: Clock,
    publish: Publish,
    dispatch: Publish,
    stdout: BinaryIO | None = None,
    kept: Mapping[str, Sink] = MappingProxyType({}),
) -> dict[str, Sink]:
    """An instance per sink, nothing opened; what they object to goes to the errors of the plan's decoder. ``kept`` are
    those that go on beside them."""
    decoder = links.decoder
    built: dict[str, Sink] = {}
    for spec in specs:
        connection = None if spec.connection is None else links.connection(spec.connection)
        if connection is None and spec.connection is not None:  # it has been reported
            continue
        for found in unknown_columns(spec.sink, spec.config, schemas_for(spec.name)):
            decoder.fail(("sinks", spec.name, *found.path), found.message, found.hint)
        context = SinkContext(
            name=spec.name,
            base_dir=decoder.base_dir,
            schemas=tuple(schemas_for(spec.name)),
            publish=publish,
            dispatch=dispatch,
            clock=clock,
            connection=connection,
            stdout=stdout,
        )
        try:
            built[spec.name] = spec.sink(spec.config, context)
        except ConfigError as error:
            _place(decoder, spec, error)
        except HeadraceError as error:
            decoder.fail(("sinks", spec.name), str(error))
        except Exception as error:  # noqa: BLE001 - an extension's constructor may raise anything
            decoder.fail(("sinks", spec.name), f"{spec.kind} cannot be set up: {type(error).__name__}: {error}")
    owners = {sink.exclusive: name for name, sink in kept.items() if sink.exclusive is not None}
    for name, sink in built.items():
        if sink.exclusive is not None and (owner := owners.setdefault(sink.exclusive, name)) != name:
            setting, what = sink.exclusive
            decoder.fail(
                ("sinks", name, setting), f"sinks.{owner} has {what} already", "each sink needs one of its own"
            )
    return built


def _place(decoder: Decoder, spec: SinkSpec, error: ConfigError) -> None:
    """Say where in the file the setting stands that a sink objects to."""
    key = tuple((error.path or "").split(".")) if error.path else ()
    connection = spec.connection
    if key and connection is not None and key[0] in connection.table and key[0] not in spec.table:
        decoder.fail((*connection.path, *key), error.message, error.hint)
    else:
        decoder.fail(("sinks", spec.name, *key), error.message, error.hint)


class Outlets:
    """The deliveries of the service; ``current`` by the sink's name."""

    def __init__(
        self,
        *,
        clock: Clock,
        metrics: Metrics,
        publish: Publish,
        dispatch: Publish,
        on_room: Callable[[], None],
        reclaim: Callable[[Delivery], list[Batch]],
        on_dead: OnDead,
        stdout: BinaryIO | None = None,
    ) -> None:
        """``reclaim`` takes back what waits for room in a delivery outside of it."""
        self.current: Mapping[str, Outlet] = {}
        self._clock = clock
        self._metrics = metrics
        self._publish = publish
        self._dispatch = dispatch
        self._on_room = on_room
        self._reclaim = reclaim
        self._stdout = stdout
        self._on_dead = on_dead
        self._lost: dict[str, int] = {}
        self._retiring: set[asyncio.Task[None]] = set()

    def plan(self, config: Config, links: LinkPlan, schemas_for: SchemasFor) -> Plan:
        """Build the sinks that are new or changed; what they object to goes to the errors of the plan's decoder."""
        schemas_for = with_fallbacks(config.sinks, schemas_for)
        kept: dict[str, Outlet] = {}
        for name, outlet in self.current.items():
            spec = config.sinks.get(name)
            if spec is not None and outlet.spec.same(spec) and outlet.schemas == frozenset(schemas_for(name)):
                kept[name] = outlet
        specs = [spec for name, spec in config.sinks.items() if name not in kept]
        going_on = {name: outlet.sink for name, outlet in kept.items()}
        sinks = build_sinks(
            specs, links, schemas_for, self._clock, self._publish, self._dispatch, self._stdout, going_on
        )
        new = tuple(
            Outlet(
                spec,
                frozenset(schemas_for(spec.name)),
                self._deliver(spec, sinks[spec.name]),
                sinks[spec.name],
            )
            for spec in specs
            if spec.name in sinks
        )
        return Plan({**kept, **{outlet.spec.name: outlet for outlet in new}}, new)

    def _deliver(self, spec: SinkSpec, sink: Sink) -> Delivery:
        before = self.current.get(spec.name)
        return Delivery(
            spec.name,
            sink,
            spec.delivery,
            clock=self._clock,
            metrics=self._metrics,
            on_room=self._on_room,
            on_dead=self._on_dead,
            fallback=self._fall_back,
            predecessor=None if before is None else before.delivery,
        )

    def _fall_back(self, batch: Batch) -> bool:
        """Offer a batch to another sink than the one it was made for."""
        return self.current[batch.target].delivery.offer(batch)

    async def start(self, plan: Plan) -> None:
        """Begin to open the new sinks of a plan; they connect in the background."""
        for outlet in plan.new:
            await outlet.delivery.start()

    def swap(self, plan: Plan, drain_timeout: float) -> None:
        """Make a started plan the current one; sinks that are no longer in it make way, drain and close."""
        before, self.current = self.current, plan.outlets
        for name, outlet in before.items():
            heir = plan.outlets.get(name)
            if heir is not outlet:
                for batch in self._reclaim(outlet.delivery):
                    outlet.delivery.force(batch)
                task = asyncio.get_running_loop().create_task(
                    self._retire(outlet, heir, drain_timeout), name=f"retire sink {name}"
                )
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)

    async def _retire(self, outlet: Outlet, heir: Outlet | None, drain_timeout: float) -> None:
        delivery, handed_over = outlet.delivery, 0
        try:
            if heir is not None:
                handed_over = await delivery.make_way(heir.delivery, heir.schemas, drain_timeout)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(drain_timeout):
                        await delivery.drain()
        finally:
            lost = await delivery.close()
            what = "removed" if heir is None else "replaced"
            if lost:
                self._lost[delivery.name] = self._lost.get(delivery.name, 0) + lost
                _log.error("sink %s was %s before %d rows could be delivered", delivery.name, what, lost)
            elif handed_over:
                _log.info("sink %s was %s; %d waiting rows were handed over", delivery.name, what, handed_over)
            else:
                _log.info("sink %s was %s", delivery.name, what)

    async def drain(self) -> None:
        """Return when every sink has delivered what it has; cancel it to give up."""
        await asyncio.gather(*[outlet.delivery.drain() for outlet in self.current.values()], *self._retiring)

    async def close(self) -> dict[str, int]:
        """Close every sink, at once; the rows that each could not deliver since the start, where there were any."""
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        closing = [outlet.delivery.close() for outlet in self.current.values()]
        for name, lost in zip(self.current, await asyncio.gather(*closing), strict=True):
            if lost:
                self._lost[name] = self._lost.get(name, 0) + lost
        return self._lost
