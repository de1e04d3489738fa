"""Everything between a rule's batch and a sink's ``write``: batching, retry, isolation of bad rows, limits.

One :class:`Delivery` per sink. Invariants:

* ``rows_in = delivered + rejected + dropped + diverted + queued + in_flight`` at every moment (:class:`Counts`).
* While nothing is in flight a batch leaves at the end of the loop turn, or ``linger`` after the last one left;
  otherwise when it is full or ``max_age`` old and a write may be started. So a lone row does not wait, and batches
  grow with the load.
* With one write at a time the rows of a rule stay in order, through retries and bisection.
* While the sink is unavailable only what is in flight is tried, so an outage costs one batch per slot. Where it lasts
  longer than ``on_unavailable`` allows, what is queued and what comes goes to another sink; what is in flight probes.
* A delivery that replaces another one (a reload) has its account and gets its rows, before it writes any of its own.
  Rows of a rule that is no longer so keep no other row waiting.
* :meth:`Delivery.offer` does no await, task, timer or log call; at most one ``call_soon`` per loop turn wakes the
  sender, and none while it waits for company or for a write to end.

What a row becomes at the far side is the sink's business; which rows come, and where dead ones go, the caller's.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Final, Protocol

import msgspec

from core.clock import SECOND, Clock
from core.errors import PayloadError, Rejected, Unavailable
from core.message import Batch, Row, Schema
from core.metrics import Metrics
from sinks.base import Sink
from sinks.buffer import Buffer, Chunk
from sinks.counts import Counts, export
from sinks.health import Health, State
from sinks.rate import Bucket
from sinks.settings import BatchSettings, DeliverySettings

_log = logging.getLogger("headrace.sinks")

OnDead = Callable[[Batch, list[tuple[int, str]]], None]


class Timer(Protocol):
    def cancel(self) -> None: ...


class _Expired(Exception):
    """The batch is older than ``max_elapsed`` and the last attempt failed."""


class _Deferred(Exception):
    """Rows of an earlier rule did not go through: others first."""


_STRIKES: Final = 3
"""So often rows of an earlier rule may fail while others go through; then it is they that are wrong."""


def _within_burst(settings: DeliverySettings) -> BatchSettings:
    batch, rate = settings.batch, settings.rate
    if rate is None or rate.most >= batch.max_rows:
        return batch
    return msgspec.structs.replace(batch, max_rows=rate.most)


class Delivery:
    """Delivers batches to one sink.

    ``on_room`` is called when an ``offer`` that returned False may be repeated; ``on_dead(batch, rows)`` gets the
    rows that the far side refuses for good, as pairs of index in ``batch`` and reason. ``call_later`` (seconds,
    callback) and ``uniform`` replace the loop's timer and the random source in tests. ``fallback`` offers a batch to
    the sink of ``on_unavailable``; False means that it has no room. ``predecessor`` is the delivery that this one
    replaces: it writes nothing until that one has made way.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        settings: DeliverySettings,
        *,
        clock: Clock,
        metrics: Metrics,
        on_room: Callable[[], None],
        on_dead: OnDead,
        fallback: Callable[[Batch], bool] | None = None,
        predecessor: Delivery | None = None,
        call_later: Callable[[float, Callable[[], None]], Timer] | None = None,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._sink = sink
        self._settings = settings
        self._clock = clock
        self._on_room = on_room
        self._on_dead = on_dead
        self._call_later = call_later
        self._rate = Bucket(settings.rate, clock.now())
        self._buffer = Buffer(_within_burst(settings), settings.buffer)
        limit = min(settings.batch.in_flight or sink.max_in_flight, sink.max_in_flight)
        self._health = Health(name, settings.retry, limit, clock, uniform)
        self._writes: dict[asyncio.Task[None], Chunk] = {}
        self._opening: asyncio.Task[None] | None = None
        self._age_timer: Timer | None = None
        self._age_due = 0
        self._wake_at = sys.maxsize  # how many rows in the buffer make an offer wake the sender
        self._next_start = 0  # before this no write starts that is not full
        self._fallback = fallback if settings.on_unavailable is not None else None
        self._fallback_timer: Timer | None = None
        self._diverting = False
        self._blocked = False
        self._draining = False
        self._closed = False
        self._empty = asyncio.Event()
        self._predecessor = predecessor
        self._may_write = asyncio.Event()
        if predecessor is None:
            self._may_write.set()
        self._makes_way = False
        self._given_up: list[tuple[Chunk, list[Row]]] = []  # with the rows that are left of it
        self._gone_through = 0  # rows of rules that are so still
        self.counts = Counts(self._buffer)
        self._metrics = metrics
        self._withdraw: Callable[[], None] | None = None

    @property
    def state(self) -> State:
        return self._health.state

    @property
    def since(self) -> int:
        """When ``state`` began, in nanoseconds since the epoch."""
        return self._health.since

    @property
    def last_error(self) -> str | None:
        """Why the sink is not connected; None while it is, and before the first attempt."""
        return self._health.last_error

    async def start(self) -> None:
        """Begin to open the sink in the background; batches may be offered before and after."""
        self._loop = asyncio.get_running_loop()
        if self._call_later is None:
            self._call_later = self._loop.call_later
        # Not before: a delivery that is built for a configuration which then fails leaves no trace.
        if self._predecessor is not None:
            self.counts = self._predecessor.counts
            self.counts.buffers.append(self._buffer)
            self._health.continues(self._predecessor._health)
        self._withdraw = export(self._metrics, self.name, self.counts, self._health)
        self._opening = self._loop.create_task(self._open(), name=f"open sink {self.name}")
        self._await_fallback()

    def offer(self, batch: Batch) -> bool:
        """Take ``batch`` over, whole; False means full and nothing taken (only with ``when_full = "block"``).

        The list of rows is copied, the rows are not. Never awaits.
        """
        rows = batch.rows
        if not rows:
            return True
        if self._closed:
            return False
        if self._diverting and (self._buffer.rows or self.state is State.CONNECTING):
            return self._divert(batch)
        if self._buffer.add(batch, self._clock.now()):
            self.counts.rows_in += len(rows)
        elif not self._overflow(batch):
            return False
        if self._buffer.rows >= self._wake_at:
            self._wake_at = sys.maxsize
            self._loop.call_soon(self._pump)
        return True

    def force(self, batch: Batch) -> None:
        """Take ``batch`` over whatever the limits: one that an earlier delivery had no room for, at a reload."""
        self._buffer.add(batch, self._clock.now(), force=True)
        self.counts.rows_in += len(batch.rows)
        self._pump()

    def _overflow(self, batch: Batch) -> bool:
        """Do what ``when_full`` says with a batch that does not fit; False where it must wait."""
        when_full = self._settings.buffer.when_full
        if when_full == "block":
            self._blocked = True
            return False
        buffer, counts, rows = self._buffer, self.counts, batch.rows
        counts.rows_in += len(rows)
        if when_full == "drop_oldest":
            counts.drop("buffer_full", buffer.evict(len(rows), rows[0]))
            kept = rows[max(len(rows) - buffer.room(rows[0]), 0) :]
        else:
            kept = rows[: buffer.room(rows[0])]
        if kept:
            part = Batch(batch.target, batch.rule, batch.schema, kept, batch.hops)
            buffer.add(part, self._clock.now(), force=True)
        counts.drop("buffer_full", len(rows) - len(kept))
        return True

    # -- to another sink ---------------------------------------------------------------------------------------

    def _await_fallback(self) -> None:
        """The sink is out of reach: look again when that has lasted too long, and then every second."""
        limit = self._settings.on_unavailable
        if self._fallback is None or limit is None or self._fallback_timer is not None or self._closed:
            return
        left = max(self.since + limit.after - self._clock.now(), 0)
        self._fallback_timer = self._timer(SECOND if self._diverting else left, self._divert_queue)

    def _divert_queue(self) -> None:
        self._fallback_timer = None
        limit = self._settings.on_unavailable
        if limit is None or self.state in (State.CONNECTED, State.CLOSED):
            return
        if self._clock.now() - self.since >= limit.after:
            if not self._diverting:
                self._diverting = True
                _log.warning(
                    "sink %s has been out of reach for %s: its rows go to %s", self.name, limit.after, limit.sink
                )
            while self._buffer.queue and self._divert(self._buffer.queue[0].batch, queued=True):
                chunk = self._buffer.take()
                self._release(chunk, chunk.count)
        self._await_fallback()

    def _divert(self, batch: Batch, *, queued: bool = False) -> bool:
        limit, fallback = self._settings.on_unavailable, self._fallback
        assert limit is not None and fallback is not None  # noqa: S101, PT018 - else nothing is diverted
        if not fallback(Batch(limit.sink, batch.rule, batch.schema, batch.rows, batch.hops)):
            return False
        self.counts.diverted += len(batch.rows)
        if not queued:
            self.counts.rows_in += len(batch.rows)
        return True

    def _recovered(self) -> None:
        if self._diverting:
            self._diverting = False
            self._loop.call_soon(self._on_room)  # what the other sink had no room for can come here
            _log.warning("sink %s takes its rows itself again", self.name)
        self._health.succeeded()

    # -- opening ----------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        while True:
            try:
                await self._attempt(self._sink.open())
            except Exception as error:  # noqa: BLE001 - any failure of an extension means "not yet"
                delay = self._failed(error, State.CONNECTING)
                await self._close_sink()
                self._expire_queue()
                await self._pause(delay)
            else:
                break
        self._recovered()
        self._pump()

    async def _close_sink(self) -> None:
        try:
            await self._attempt(self._sink.close())
        except Exception as error:  # noqa: BLE001 - it is given up either way
            _log.warning("sink %s: closing it failed: %s: %s", self.name, type(error).__name__, error)

    async def _attempt(self, call: Coroutine[Any, Any, None]) -> None:
        """Await one call of the sink, not longer than ``attempt_timeout``."""
        try:
            async with asyncio.timeout(self._settings.retry.attempt_timeout.seconds):
                await call
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled us: something inside the sink was, and that must not pass for a shutdown.
            raise Unavailable("a call inside of the sink was cancelled") from None

    def _expire_queue(self) -> None:
        while self._buffer.queue and self._expired(self._buffer.queue[0]):
            chunk = self._buffer.take()
            self._settle(chunk, chunk.count, "expired")

    # -- sending ----------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Start every write that is due; afterwards ``_wake_at`` says which offer may start another."""
        if self._closed or self._makes_way or self.state is State.CONNECTING or not self._may_write.is_set():
            return
        # Unavailable and yet nothing in flight (the last batch expired): one batch probes.
        slots = self._health.window if self.state is State.CONNECTED else 1
        buffer, writes, now = self._buffer, self._writes, self._clock.now()
        queue = buffer.queue
        started = False
        while queue and len(writes) < slots and self._due(queue[0], now):
            chunk = buffer.take()
            self._rate.take(chunk.count)
            writes[self._loop.create_task(self._deliver(chunk), name=f"write to sink {self.name}")] = chunk
            started = True
        if started:
            self._next_start = now + self._settings.batch.linger
        if len(writes) >= slots:
            self._wake_at = sys.maxsize
        elif queue:
            self._wake_at = buffer.in_flight + buffer.batch_rows(queue[0].row_bytes)
        else:
            self._wake_at = 1

    def _due(self, chunk: Chunk, now: int) -> bool:
        # A queue of several rules' chunks may hold a full one behind this: let the oldest go ahead of it.
        enough = self.counts.queued >= self._settings.batch.max_rows
        wait = self._rate.wait(chunk.count, now)
        if not (self._draining or enough or self._buffer.full(chunk)):
            wait = max(wait, self._next_start - now)
            if self._writes:
                wait = max(wait, chunk.opened_at + self._settings.batch.max_age - now)
        if wait <= 0:
            return True
        # A write that has ended since may have brought the time forward.
        if self._age_timer is not None and now + wait < self._age_due:
            self._age_timer.cancel()
            self._age_timer = None
        if self._age_timer is None:
            self._age_timer = self._timer(wait, self._aged)
            self._age_due = now + wait
        return False

    def _aged(self) -> None:
        self._age_timer = None
        self._pump()

    def _timer(self, nanoseconds: int, callback: Callable[[], None]) -> Timer:
        assert self._call_later is not None  # noqa: S101 - set by start(), before anything can run
        return self._call_later(nanoseconds / SECOND, callback)

    async def _deliver(self, chunk: Chunk) -> None:
        """See ``chunk`` through: afterwards each of its rows is delivered, rejected or dropped."""
        reason = "shutdown"
        parts = [chunk.batch]
        try:
            if self.state is State.UNAVAILABLE:
                await self._pause(self._health.pause())
            while parts:
                batch = parts[-1]
                try:
                    await self._write(batch, chunk)
                except Rejected as error:
                    parts[-1:] = self._reject(chunk, batch, error)
                else:
                    del parts[-1]
                    self._settle(chunk, len(batch.rows))
                    if chunk.strikes is None:
                        self._gone_through += len(batch.rows)
        except _Expired:
            reason = "expired"
        except _Deferred:
            self._buffer.put_back(chunk, [row for part in reversed(parts) for row in part.rows], last=True)
            chunk.count = 0
        finally:
            if chunk.count and self._makes_way and reason == "shutdown":
                self._given_up.append((chunk, [row for part in reversed(parts) for row in part.rows]))
            elif chunk.count:
                self._settle(chunk, chunk.count, reason)
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - a coroutine of ours, only ever run as a task
            del self._writes[task]
            self._pump()

    async def _write(self, batch: Batch, chunk: Chunk) -> None:
        """Write until it succeeds; leaves with Rejected, or _Expired where ``max_elapsed`` is over."""
        while True:
            try:
                await self._attempt(self._sink.write(batch))
            except Rejected:
                self._recovered()  # the far side answers
                raise
            except PayloadError as error:
                raise Rejected(str(error)) from error
            except Exception as error:
                delay = self._failed(error, State.UNAVAILABLE)
                if self._expired(chunk):
                    raise _Expired from error
                if chunk.strikes is not None:
                    self._strike(chunk, batch, error)
                await self._pause(delay)
            else:
                self.counts.writes += 1
                self._recovered()
                return

    def _strike(self, chunk: Chunk, batch: Batch, error: Exception) -> None:
        """Rows of an earlier rule failed: leave with Rejected where it has turned out that only they do."""
        assert chunk.strikes is not None  # noqa: S101 - asked for such chunks alone
        if self._gone_through > chunk.others:
            chunk.others = self._gone_through
            chunk.strikes += 1
        if chunk.strikes < _STRIKES:
            raise _Deferred from error
        self._recovered()
        reason = f"made by rule {batch.rule} as it was before a reload: {error}"
        raise Rejected(reason, [(index, reason) for index in range(len(batch.rows))]) from error

    def _reject(self, chunk: Chunk, batch: Batch, error: Rejected) -> list[Batch]:
        """Bury the rows that ``error`` names; where it names none, the halves to try instead, last first."""
        count = len(batch.rows)
        # An extension may name a row twice or one that is not there: the account must hold all the same.
        named = {index: reason for index, reason in error.rows if 0 <= index < count}
        if not named and count == 1:
            named = {0: str(error)}
        if named:
            self.counts.rejected += len(named)
            self._settle(chunk, count - len(named))
            self._release(chunk, len(named))
            try:
                self._on_dead(batch, sorted(named.items()))
            except Exception:  # noqa: BLE001 - the rows are buried, whatever the caller made of it
                _log.exception("sink %s: handling of %d rejected rows failed", self.name, len(named))
            return []
        middle = count // 2
        return [
            Batch(batch.target, batch.rule, batch.schema, rows, batch.hops)
            for rows in (batch.rows[middle:], batch.rows[:middle])
        ]

    def _settle(self, chunk: Chunk, count: int, dropped: str | None = None) -> None:
        """``count`` rows of ``chunk`` that are in flight were delivered, or dropped for a reason."""
        if not count:
            return
        if dropped is None:
            self.counts.delivered += count
        else:
            self.counts.drop(dropped, count)
        self._release(chunk, count)

    def _release(self, chunk: Chunk, count: int) -> None:
        buffer = self._buffer
        buffer.in_flight -= count
        buffer.release(chunk.settle(count), count)
        if self._blocked and buffer.low:
            self._blocked = False
            self._loop.call_soon(self._on_room)
        if not buffer.rows:
            self._empty.set()

    def _failed(self, error: Exception, state: State) -> int:
        self.counts.retries += 1
        delay = self._health.failed(error, state)
        self._await_fallback()
        return delay

    def _expired(self, chunk: Chunk) -> bool:
        limit = self._settings.retry.max_elapsed
        return limit is not None and self._clock.now() - chunk.opened_at >= limit

    async def _pause(self, nanoseconds: int) -> None:
        over = asyncio.Event()
        timer = self._timer(nanoseconds, over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()

    # -- replacing one another ----------------------------------------------------------------------------------

    async def make_way(self, heir: Delivery, schemas: Collection[Schema], seconds: float) -> int:
        """Hand all rows over to ``heir``, and return how many; rules make rows of these ``schemas`` now.

        While the sink is connected, writes that are under way have so many ``seconds`` to end. Afterwards, and during
        an outage at once, they are given up, and their rows may come twice.
        """
        self._makes_way = True
        if self._fallback_timer is not None:
            self._fallback_timer.cancel()
        chunks: list[Chunk] = []
        try:
            await self._may_write.wait()
            if self.state is State.CONNECTED and self._writes:
                await asyncio.wait(list(self._writes), timeout=seconds)
            tasks = list(self._writes)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # Those that were cancelled before their first step have left nothing else behind.
            self._given_up += [(chunk, chunk.rows) for chunk in self._writes.values()]
            self._writes.clear()
        finally:
            for chunk, rows in sorted(self._given_up, key=lambda pair: pair[0].opened_at, reverse=True):
                self._buffer.put_back(chunk, rows)
            self._given_up.clear()
            self._makes_way = False  # what is under way even now, because this was cancelled, is for close() to settle
            chunks = self._buffer.surrender()
            heir.inherit(chunks, schemas)
        return sum(chunk.count for chunk in chunks)

    def inherit(self, chunks: list[Chunk], schemas: Collection[Schema]) -> None:
        """Take what the predecessor leaves, before everything that has come since, and begin to write."""
        for chunk in chunks:
            if chunk.schema not in schemas:
                chunk.strikes, chunk.others = chunk.strikes or 0, self._gone_through
            elif chunk.strikes is not None:
                chunk.strikes = None
        self._buffer.adopt(chunk for chunk in chunks if chunk.strikes is None)
        self._buffer.adopt((chunk for chunk in chunks if chunk.strikes is not None), last=True)
        self._may_write.set()
        if self._buffer.low:
            self._loop.call_soon(self._on_room)
        else:
            self._blocked = True
        self._pump()

    # -- the end ------------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Return when nothing is queued or in flight; a caller that cannot wait cancels it. Batches no longer wait."""
        self._draining = True
        try:
            await self._may_write.wait()  # rows are still to come
            self._pump()
            while self._buffer.rows:
                self._empty.clear()
                await self._empty.wait()
        finally:
            self._draining = False

    async def close(self) -> int:
        """Stop, close the sink and return how many rows were left; they are counted as dropped (``shutdown``).

        Rows in flight may have arrived all the same. Afterwards ``offer`` takes nothing.
        """
        if self._closed:
            return 0
        self._closed = True
        left = self._buffer.rows
        if self._age_timer is not None:
            self._age_timer.cancel()
        if self._fallback_timer is not None:
            self._fallback_timer.cancel()
        tasks = [*self._writes, *([self._opening] if self._opening else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for chunk in self._writes.values():  # tasks that were cancelled before their first step
            self._settle(chunk, chunk.count, "shutdown")
        self._writes.clear()
        while self._buffer.queue:
            chunk = self._buffer.take()
            self._settle(chunk, chunk.count, "shutdown")
        await self._close_sink()
        self._health.enter(State.CLOSED)
        if len(self.counts.buffers) > 1:
            self.counts.buffers.remove(self._buffer)
        if self._withdraw is not None:
            self._withdraw()
        return left
