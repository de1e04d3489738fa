"""The running service: every part made, joined, started in order, reloaded and stopped in order.

Start: files and rules are checked, sinks begin to connect, rules are loaded, then sources and listeners open and the
admin server answers. Stop: nobody new is let in, clients are disconnected, sources are closed, what was accepted runs
through the rules, sinks drain, all within ``shutdown_timeout``. A reload swaps rules and sinks between two batches, or
changes nothing.

It has no signals and no event loop of its own (``headrace.process``), and reads no files but through
``headrace.config``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from broker.acl import Acl
from broker.auth import AccessControl
from broker.listeners import Listeners
from broker.router import Router
from core.clock import SECOND, SystemClock
from core.errors import ConfigError, HeadraceError
from core.inbox import MemoryInbox
from core.message import Batch
from core.metrics import Metrics
from headrace import lookups
from headrace.admin import AdminServer, build
from headrace.config import Config, load
from headrace.deadletters import DeadLetters
from headrace.decoding import ConfigErrors, Decoder
from headrace.effective import effective
from headrace.hosts import host, store
from headrace.inlets import Inlet, Inlets, build_sources
from headrace.jq_runner import JqProcess
from headrace.kv_file import FILE_NAME, KvFile
from headrace.links import LinkPlan, Links
from headrace.lookup_rows import table_sources
from headrace.outlets import Outlet, Outlets
from headrace.outlets import Plan as OutletPlan
from headrace.pump import SLICE, Pump
from headrace.rulelist import rule_list
from headrace.states import FILE_NAME as STATES
from headrace.states import StateFile
from headrace.status import Component, components, disabled_rule
from headrace.version import installed_version
from rules.compiler import RuleSet, RuleSource, compile_rules
from rules.functions import FunctionTable, available_functions
from rules.limits import Limits
from rules.runtime import Engine

_log = logging.getLogger("headrace.service")

_TICK = 1.0
"""Seconds between two looks at the clocks."""
_BEAT = 0.1
"""Seconds between two looks at the rules' deadlines."""
_RELOADABLE = frozenset({"rules", "functions", "engine", "sinks", "connections"})
"""Keys of the file that a reload applies; the others wait for the next start."""


def compile_config(config: Config, functions: FunctionTable | None = None) -> RuleSet:
    """The rules of a configuration; RuleError with everything that is wrong with them."""
    if functions is None:
        functions = available_functions(host(config.functions))
    return compile_rules([RuleSource(*text) for text in config.rules], config.sinks.keys(), functions)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A configuration with all that has been made for it; nothing of it runs yet."""

    config: Config
    rules: RuleSet
    links: LinkPlan
    inlets: Mapping[str, Inlet]
    outlets: OutletPlan
    lookups: lookups.Plan


class Service:
    """One instance per process and configuration; make it inside a running event loop."""

    def __init__(self, config: Config, *, stdout: BinaryIO | None = None) -> None:
        self.config = config
        self.clock = SystemClock()
        self.metrics = Metrics()
        self.ports: dict[str, int] = {}
        """The port of each listener by its name, and of ``admin``, once the service has started."""
        self._dead = DeadLetters(
            self.clock,
            self.metrics,
            append=lambda messages: self._inbox.append(messages),  # noqa: PLW0108 - it is made later
            wanted=lambda topic: bool(self._engine.rules_for(topic)),
            full=lambda: self._inbox.full,
            call_soon=asyncio.get_running_loop().call_soon,
        )
        self._jq = JqProcess()
        self._store = store(config.functions.kv_store)
        self._kept: KvFile | None = None
        if config.functions.kv_store.persist and config.data_dir is not None:
            self._kept = KvFile(config.data_dir / FILE_NAME, self._store, self.metrics)
        self._count_store()
        self._states = None if config.data_dir is None else StateFile(config.data_dir / STATES)
        self._engine = Engine(
            self.metrics,
            on_error=self._dead.failed,
            on_disabled=self._switched_off,
            on_late=self._dead.late,
            timer=time.perf_counter_ns,
        )
        self._pump = Pump(self._engine, self.clock, self.metrics, self._resume, config.inbox.linger)
        self._inbox = MemoryInbox(
            self._pump.wake, self._pump.drain, max_messages=config.inbox.max_messages, slice_size=SLICE
        )
        self._pump.attach(self._inbox)
        providers = [spec.provider(spec.config, config.base_dir) for spec in config.providers]
        names = [spec.name for spec in config.providers]
        self._access = AccessControl(providers, Acl(config.acl), config.allow_anonymous, self.metrics, names)
        self._router = Router(
            self._inbox, self._engine.rules_for, self._access, limits=config.broker, metrics=self.metrics
        )
        self._links = Links(self.clock, self.metrics)
        self._outlets = Outlets(
            clock=self.clock,
            metrics=self.metrics,
            publish=self._router.publish,
            dispatch=self._router.dispatch,
            on_room=self._pump.on_room,
            reclaim=self._pump.reclaim,
            on_dead=self._dead.refused,
            stdout=stdout,
        )
        self._inlets = Inlets(self.clock, self.metrics)
        self._lookups = lookups.Lookups(self.clock, self.metrics, self._pump)
        self._listeners = Listeners(config.listeners, self._router, self._access, self.clock, base_dir=config.base_dir)
        self._rules = RuleSet()
        self._disabled: dict[str, Component] = {}
        self._admin: AdminServer | None = None
        self._access_is_open = False
        self._ticking: asyncio.TimerHandle | None = None
        self._beating: asyncio.TimerHandle | None = None
        self._reloading = asyncio.Lock()
        self._stopping = False
        self._draining: asyncio.Timeout | None = None
        self._hurried = False
        self._reloads = {
            result: self.metrics.counter(
                "headrace_reloads_total", "Reloads of rules and sinks by result", result=result
            )
            for result in ("ok", "failed")
        }
        self.metrics.read(
            "headrace_inbox_messages",
            "Accepted messages that wait for the rules",
            "gauge",
            lambda: [((), len(self._inbox) + self._pump.unprocessed)],
        )
        started = self.clock.now()
        self.metrics.read(
            "headrace_uptime_seconds",
            "Seconds since the service was set up",
            "gauge",
            lambda: [((), (self.clock.now() - started) / SECOND)],
        )

    def _count_store(self) -> None:
        kept = self._store
        self.metrics.read(
            "headrace_kv_store_entries", "Entries that kv_store_put keeps", "gauge", lambda: [((), len(kept))]
        )
        self.metrics.read(
            "headrace_kv_store_bytes", "Bytes of their keys and values, about", "gauge", lambda: [((), kept.bytes)]
        )
        self.metrics.read(
            "headrace_kv_store_refused_total",
            "Values that kv_store_put refused because the table is full",
            "counter",
            lambda: [((), kept.refused)],
        )

    # -- starting ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start everything; HeadraceError where something cannot be, and then nothing has been left behind."""
        try:
            await self._start()
        except ConfigError as error:
            await self._close()
            raise _located(error, self.config) from None
        except BaseException:
            await self._close()
            raise

    async def _start(self) -> None:
        config = self.config
        _make_data_dir(config)
        if self._kept is not None:
            self._kept.open()
        plan = self._plan(config)
        if config.admin is not None:
            pages = {
                "config": lambda: effective(self.config),
                "errors": self._dead.page,
                "rules": lambda: rule_list(self._rules, self._engine.rules),
            }
            application = build(self.metrics, self.status, pages, installed_version())
            self._admin = AdminServer(application, config.admin.bind)
            self.ports["admin"] = self._admin.port
        self._access_is_open = True
        await self._access.open()
        await self._outlets.start(plan.outlets)
        self._inlets.start(plan.inlets)
        self._use(plan, 0)
        self._restore()
        await self._listeners.start()
        self.ports.update({name: port for name, (_, port) in self._listeners.addresses.items()})
        if self._admin is not None:
            self._admin.start()
        self._tick()
        self._beat()
        _log.info(
            "running: %d rules, %d sinks, %s",
            len(plan.rules.rules),
            len(config.sinks),
            ", ".join(f"{name} on port {port}" for name, port in self.ports.items()),
        )
        if not config.providers and not config.allow_anonymous:
            _log.warning("nobody can connect: there are no auth.providers, and allow_anonymous is not set")

    def _plan(self, config: Config) -> _Plan:
        """Make what is new in ``config``; HeadraceError, and nothing has changed, where anything is wrong with it."""
        rules = compile_config(config, available_functions(host(config.functions, jq=self._jq, kept=self._store)))
        decoder = Decoder(config.file, config.base_dir, config.lines)
        links = self._links.plan(config.connections, decoder)
        inlets = build_sources(config.sources.values(), links, self.clock, self._router)
        outlets = self._outlets.plan(config, links, rules.schemas_for)
        tables = lookups.plan(table_sources(rules), links, self.clock)
        if decoder.errors:
            raise ConfigErrors(decoder.errors)
        return _Plan(config, rules, links, inlets, outlets, tables)

    def _use(self, plan: _Plan, drain_timeout: float) -> None:
        """Make a started plan the current one, between two batches: the loop runs nothing else in here."""
        before = self._outlets.current
        self._outlets.swap(plan.outlets, drain_timeout)
        used = plan.outlets.connections | self._inlets.connections | plan.lookups.connections
        self._links.swap(plan.links, used)
        self._pump.outlets = {name: outlet.delivery for name, outlet in self._outlets.current.items()}
        loops = {name for name, outlet in self._outlets.current.items() if outlet.sink.republishes}
        engine = plan.config.engine
        limits = Limits(max_rows=engine.max_rows_per_message, max_bytes=engine.max_result_bytes)
        self._hand_on(self._engine.load(plan.rules, loops, limits, self.clock.now()), before)
        self._lookups.swap(plan.lookups, self._engine.lookup_tables)
        self._rules = plan.rules
        self._disabled.clear()
        self._router.rules_changed()

    def _hand_on(self, batches: list[Batch], before: Mapping[str, Outlet]) -> None:
        """Rows of windows that a reload has closed; a sink that it takes away gets its own of them before it drains."""
        outlets = self._pump.outlets
        for batch in batches:
            if batch.target not in outlets:
                before[batch.target].delivery.force(batch)
        self._pump.hand_on([batch for batch in batches if batch.target in outlets])

    def _restore(self) -> None:
        states = {} if self._states is None else self._states.take()
        changed = self._engine.restore(states)
        if states:
            _log.info("the windows of %d queries go on", len(states) - len(changed))
        if changed:
            _log.warning("windows begin anew, as their queries have changed: %s", ", ".join(sorted(changed)))

    # -- running ----------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Once a second, what need not be in time."""
        self._ticking = asyncio.get_running_loop().call_later(_TICK, self._tick)
        self.clock.sync()
        if self._kept is not None:
            self._kept.flush_soon()

    def _beat(self) -> None:
        """Let windows close in time."""
        self._beating = asyncio.get_running_loop().call_later(_BEAT, self._beat)
        self._pump.advance()

    def _resume(self) -> None:
        self._router.resume(self.clock.now())
        self._inlets.resume()

    def status(self) -> Mapping[str, Component]:
        """Where every component stands."""
        listening = "stopping" if self._stopping else "listening" if self._listeners.addresses else "starting"
        listeners = Component(state=listening, ready=listening == "listening")
        parts = components(self._inlets.current, self._outlets.current, self._links.current, self._lookups.current)
        return {"listeners": listeners, **parts, **{f"rules.{name}": rule for name, rule in self._disabled.items()}}

    def _switched_off(self, rule: str, reason: str) -> None:
        """A rule asked for it (``on_error = 'disable'``)."""
        self._disabled[rule] = disabled_rule(reason, self.clock.now())
        _log.error("rule %s is switched off until the next reload: %s", rule, reason)

    async def reload(self) -> None:
        """Read the file again and apply its rules and sinks; HeadraceError, and nothing has changed, if it is bad."""
        async with self._reloading:
            try:
                config = load(self.config.file)
                plan = self._plan(config)
            except HeadraceError:
                self._reloads["failed"].value += 1
                raise
            await self._outlets.start(plan.outlets)
            # What was accepted under the old rules runs through them, as far as their sinks have room.
            self._pump.drain()
            self._use(plan, config.process.shutdown_timeout.seconds)
            self._reloads["ok"].value += 1
            later = sorted(
                key
                for key in {*config.tables, *self.config.tables} - _RELOADABLE
                if config.tables.get(key) != self.config.tables.get(key)
            )
            if config.functions.kv_store != self.config.functions.kv_store:
                later.append("functions.kv_store")
            later += self._inlets.left_behind(config.connections)
            self.config = config
            rules, sinks, new = plan.rules.rules, config.sinks, plan.outlets.new
            _log.info("reloaded: %d rules, %d sinks (%d new)", len(rules), len(sinks), len(new))
            if later:
                _log.warning("changes of %s take effect at the next start", ", ".join(later))

    # -- stopping ---------------------------------------------------------------------------------------------

    async def stop(self) -> Mapping[str, int]:
        """Stop in order and return the rows that did not reach each sink in time; empty is what it should be."""
        self._stopping = True
        await self._listeners.stop()
        await self._listeners.disconnect_all()
        await self._inlets.close()
        end = asyncio.get_running_loop().time() + self.config.process.shutdown_timeout.seconds
        await self._drain_until(end)
        if not self._save_windows():
            self._pump.hand_on(self._engine.finish(self.clock.now()))
            await self._drain_until(end)
        return await self._close()

    async def _drain_until(self, end: float) -> None:
        """Let sinks take what there is, until this time of the loop at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(end) as self._draining:
                if self._hurried:
                    self.hurry()
                await self._drain()
        self._draining = None

    def _save_windows(self) -> bool:
        """Save what the windows hold for the next start; False without a place for it. From here on none may close,
        or what it gave would be given again."""
        if self._beating is not None:
            self._beating.cancel()
        if self._states is None:
            return False
        states = self._engine.snapshot()
        try:
            if states:
                self._states.save(states, self._inbox.offset)
        except OSError as error:
            _log.error("the windows cannot be saved, and are closed: %s", error)
            return False
        self._pump.halt()
        return True

    def hurry(self) -> None:
        """Let :meth:`stop` wait for sinks no longer, or not at all."""
        self._hurried = True
        if self._draining is not None:
            self._draining.reschedule(asyncio.get_running_loop().time())

    async def _drain(self) -> None:
        """Until nothing is left anywhere: a sink may republish, and so wake the rules again."""
        while True:
            await self._pump.idle()
            await self._outlets.drain()
            if len(self._inbox):
                continue
            if self._states is not None or not self._engine.waiting:  # rows that wait are kept with the windows
                return
            await asyncio.sleep(_BEAT)

    async def _close(self) -> Mapping[str, int]:
        self._stopping = True
        if self._ticking is not None:
            self._ticking.cancel()
        if self._beating is not None:
            self._beating.cancel()
        await self._listeners.stop()
        await self._listeners.disconnect_all()
        await self._inlets.close()
        self._pump.halt()
        await self._lookups.close()
        await self._links.close()
        lost = dict(await self._outlets.close())
        for outlet in self._outlets.current.values():
            rows = sum(len(batch.rows) for batch in self._pump.reclaim(outlet.delivery))
            if rows:
                lost[outlet.spec.name] = lost.get(outlet.spec.name, 0) + rows
        if self._admin is not None:
            await self._admin.close()
        self._jq.close()
        if self._kept is not None:
            await self._kept.close()
        if self._access_is_open:
            self._access_is_open = False
            await self._access.close()
        return lost

    @property
    def unprocessed(self) -> int:
        """Messages that were accepted and have not run through the rules."""
        return len(self._inbox) + self._pump.unprocessed


def _make_data_dir(config: Config) -> None:
    folder = config.data_dir
    if folder is None:
        return
    place = {"path": "data_dir", "file": config.file, "line": config.lines.get(("data_dir",))}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".headrace-write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}", **place) from None  # type: ignore[arg-type]


def _located(error: ConfigError, config: Config) -> ConfigError:
    """The error with file and line, where it names a setting and does not say where that stands."""
    if error.file is not None or error.path is None:
        return error
    keys = tuple(error.path.split("."))
    lines = (config.lines[keys[:end]] for end in range(len(keys), 0, -1) if keys[:end] in config.lines)
    return ConfigError(error.message, path=error.path, file=config.file, line=next(lines, None), hint=error.hint)
