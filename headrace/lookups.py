"""The lookup tables of the rules, kept supplied: databases asked for the keys that joins wait for, files read again.

Invariants: rules never wait here, answers come to them on the loop between two batches; every key that was taken from
a table comes back, as an answer or as a failure; one statement per table is on its way at a time, so keys that come up
meanwhile make the next one; a file that has gone bad leaves the rows that there were. A reload keeps what is unchanged.

What a join does with answers and failures is decided in ``rules.joins``; how a database is asked in ``connections``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from connections.base import Connection
from connections.lookup import Finder, LookupSource
from connections.worker import Worker
from core.clock import MICROSECOND, SECOND, Clock
from core.errors import ConfigError, HeadraceError, SinkError
from core.message import Row
from core.metrics import Metrics
from core.registry import did_you_mean
from headrace import lookup_files
from headrace.decoding import Decoder
from headrace.links import LinkPlan, attempt
from headrace.lookup_rows import RowMaker, TableSource
from rules.joins import Key, LookupTable, key_values
from rules.windows import PlanError

_log = logging.getLogger("headrace.lookups")

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at a file."""

LookupState = Literal["idle", "answering", "failing", "loaded"]


class Answers(Protocol):
    """Where answers go: ``headrace.pump``, which calls ``rules.joins.LookupHost``."""

    def resolve(self, table: LookupTable, answers: Mapping[Key, Sequence[Row]]) -> None: ...

    def lookup_failed(self, table: LookupTable, keys: Sequence[Key], reason: str) -> None: ...


@dataclass(slots=True, eq=False)
class Supply:
    """One table with what supplies it: a finder over a connection, or a file. ``since`` (nanoseconds) it has been in
    its state."""

    source: TableSource
    since: int
    connection: Connection | None = None
    finder: Finder | None = None
    path: Path | None = None
    content: lookup_files.Content | None = None
    state: LookupState = "idle"
    last_error: str | None = None
    table: LookupTable | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def same(self, other: Supply) -> bool:
        """Whether both are supplied alike, by the same connection."""
        return self.source == other.source and self.connection is other.connection and self.path == other.path

    def enter(self, state: LookupState, now: int, error: str | None = None) -> None:
        if state != self.state:
            self.state = state
            self.since = now
        self.last_error = error

    @property
    def detail(self) -> str:
        if self.content is None:
            return ""
        return f"{self.content.total} rows of {self.path}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The supplies that a configuration will have; files have been read, databases not asked."""

    supplies: Mapping[str, Supply]

    @property
    def connections(self) -> set[str]:
        """The names of the connections that they will use."""
        options = [supply.source.options for supply in self.supplies.values()]
        return {one.connection for one in options if one.connection is not None}


def plan(sources: Iterable[TableSource], links: LinkPlan, clock: Clock) -> Plan:
    """A supply for every table, nothing opened; what is wrong goes to the errors of the plan's decoder."""
    supplies: dict[str, Supply] = {}
    for source in sources:
        supply = Supply(source, clock.now())
        try:
            _prepare(supply, links)
        except ConfigError as error:
            links.decoder.errors.append(_placed(error, source))
        else:
            supplies[source.name] = supply
    return Plan(supplies)


def _prepare(supply: Supply, links: LinkPlan) -> None:
    source, options = supply.source, supply.source.options
    if options.file is not None:
        supply.path = links.decoder.base_dir / options.file
        supply.content = lookup_files.read(supply.path, source)
        supply.state = "loaded"
        return
    link = links.shared.get(str(options.connection))
    if link is None:
        if _is_broken(links.decoder, str(options.connection)):
            return
        hint = did_you_mean(str(options.connection), links.shared) or "its rows come from [connections.<name>]"
        raise ConfigError(f"there is no connection {options.connection!r}", hint=hint)
    columns = None if source.schema is None else source.schema.names
    supply.connection = link.connection
    supply.finder = link.connection.finder(LookupSource(options.key, columns, options.table, options.query))


def _is_broken(decoder: Decoder, connection: str) -> bool:
    """Whether an error about this connection has been told already."""
    return any((error.path or "").startswith(f"connections.{connection}") for error in decoder.errors)


def _placed(error: ConfigError, source: TableSource) -> ConfigError:
    where = f"lookup table {source.name}"
    if error.file is None:
        return ConfigError(f"{where}: {error.message}", file=source.file, line=source.line, hint=error.hint)
    return ConfigError(f"{where}: {error.message}", file=error.file, line=error.line, hint=error.hint)


class Lookups:
    """The supplies of the service; ``current`` by the name of the table."""

    def __init__(self, clock: Clock, metrics: Metrics, answers: Answers) -> None:
        self.current: Mapping[str, Supply] = {}
        self._clock = clock
        self._answers = answers
        self._leaving: set[asyncio.Task[None]] = set()
        for name, text, kind, read in _METRICS:
            self._register(metrics, name, text, kind, read)

    def _register(
        self,
        metrics: Metrics,
        name: str,
        text: str,
        kind: Literal["counter", "gauge"],
        read: Callable[[LookupTable], int],
    ) -> None:
        metrics.read(
            name,
            text,
            kind,
            lambda: [((label,), read(one.table)) for label, one in self.current.items() if one.table is not None],
            ("table",),
        )

    def swap(self, new: Plan, tables: Mapping[str, LookupTable]) -> None:
        """Supply ``tables``, those of the rules that have just been loaded; between two batches."""
        kept: dict[str, Supply] = {}
        for name, table in tables.items():
            supply = new.supplies[name]
            old = self.current.get(name)
            if old is not None and old.table is table and old.same(supply):
                if supply.content is not None and old.content != supply.content:
                    self._load(old, table, supply.content)
                kept[name] = old
                continue
            supply.table = table
            if supply.content is not None:
                self._load(supply, table, supply.content)
            kept[name] = supply
        for name, old in self.current.items():
            if kept.get(name) is not old and old.task is not None:
                old.task.cancel()
                self._leaving.add(old.task)
                old.task.add_done_callback(self._leaving.discard)
        self.current = kept
        loop = asyncio.get_running_loop()
        for name, supply in kept.items():
            if supply.task is None and supply.table is not None:
                work = self._watch(supply, supply.table) if supply.path else self._supply(supply, supply.table)
                supply.task = loop.create_task(work, name=f"lookup table {name}")

    async def close(self) -> None:
        """Ask for nothing any more, and leave the connections."""
        tasks = [supply.task for supply in self.current.values() if supply.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._leaving, return_exceptions=True)

    # -- databases ------------------------------------------------------------------------------------------------

    async def _supply(self, supply: Supply, table: LookupTable) -> None:
        """Ask for what the table wants, one statement after the other, for as long as the table is there."""
        wanted = asyncio.Event()
        table.wake = wanted.set
        maker = RowMaker(supply.source)
        try:
            while True:
                due = table.next_request
                if due is None:
                    wanted.clear()
                    await wanted.wait()
                    continue
                await asyncio.sleep(max(due - self._clock.now(), 0) / SECOND)
                if keys := table.take_requests(self._clock.now()):
                    await self._ask(supply, table, maker, keys)
        finally:
            if supply.connection is not None:
                await supply.connection.leave(supply)

    async def _ask(self, supply: Supply, table: LookupTable, maker: RowMaker, keys: list[Key]) -> None:
        try:
            answers = await attempt(
                self._found(supply, maker, keys), supply.source.options.timeout * MICROSECOND / SECOND
            )
        except SinkError as error:
            reason = str(error)
            if supply.state != "failing":
                _log.warning("lookup table %s does not answer: %s", supply.source.name, reason)
            supply.enter("failing", self._clock.now(), reason)
            self._answers.lookup_failed(table, keys, reason)
        except asyncio.CancelledError:
            table.give_back(keys)  # another supply of the same table asks for them
            raise
        else:
            if supply.state == "failing":
                _log.info("lookup table %s answers again", supply.source.name)
            supply.enter("answering", self._clock.now())
            self._answers.resolve(table, answers)

    @staticmethod
    async def _found(supply: Supply, maker: RowMaker, keys: list[Key]) -> dict[Key, Sequence[Row]]:
        """The rows of every key, none for those that there are none of."""
        if supply.connection is None or supply.finder is None:
            raise SinkError("there is no connection")
        await supply.connection.join(supply)
        found = maker.rows(await supply.finder.find([key_values(key) for key in keys]))
        # A database may have found more than SQL's = would: without regard to case, say.
        return {key: found.get(key, ()) for key in keys}

    # -- files ----------------------------------------------------------------------------------------------------

    async def _watch(self, supply: Supply, table: LookupTable) -> None:
        """Read the file again whenever it has changed."""
        assert supply.path is not None  # noqa: S101  the caller has looked
        worker = Worker(f"lookup table {supply.source.name}")
        tried = supply.content.stamp if supply.content is not None else None
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY)
                path = supply.path
                stamp = await worker.run(lambda path=path: lookup_files.stamp_of(path))  # type: ignore[misc]
                if stamp == tried:
                    continue
                tried = stamp
                await self._reread(supply, table, worker, path)
        finally:
            worker.stop()

    async def _reread(self, supply: Supply, table: LookupTable, worker: Worker, path: Path) -> None:
        try:
            content = await worker.run(lambda: lookup_files.read(path, supply.source))
        except HeadraceError as error:
            supply.enter("failing", self._clock.now(), str(error))
            _log.warning("lookup table %s keeps its rows: %s", supply.source.name, error)
            return
        self._load(supply, table, content)
        _log.info("lookup table %s: read again, %s", supply.source.name, supply.detail)

    def _load(self, supply: Supply, table: LookupTable, content: lookup_files.Content) -> None:
        with contextlib.suppress(PlanError):  # the reader has kept to max_entries
            table.replace(content.rows)
        supply.content = content
        supply.enter("loaded", self._clock.now())


_METRICS: Final[tuple[tuple[str, str, Any, Callable[[LookupTable], int]], ...]] = (
    (
        "headrace_lookup_hits_total",
        "Rows whose key the cache of a lookup table knew.",
        "counter",
        lambda table: table.counters.hits,
    ),
    (
        "headrace_lookup_misses_total",
        "Rows whose key it did not know, or not any more.",
        "counter",
        lambda table: table.counters.misses,
    ),
    (
        "headrace_lookup_requested_total",
        "Keys that were asked for.",
        "counter",
        lambda table: table.counters.requested,
    ),
    (
        "headrace_lookup_failures_total",
        "Keys whose request failed; it is repeated while rows wait.",
        "counter",
        lambda table: table.counters.failed,
    ),
    (
        "headrace_lookup_evicted_total",
        "Answers that made way for others at max_entries.",
        "counter",
        lambda table: table.counters.evicted,
    ),
    (
        "headrace_lookup_rows_left_out_total",
        "Rows of one key beyond 1,000.",
        "counter",
        lambda table: table.counters.rows_left_out,
    ),
    (
        "headrace_lookup_entries",
        "Rows that are kept, and answers that there is none.",
        "gauge",
        lambda table: table.entries,
    ),
    ("headrace_lookup_in_flight", "Keys that are being asked for.", "gauge", lambda table: table.in_flight),
)
