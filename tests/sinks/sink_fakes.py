"""A sink, timers and a delivery that tests drive by hand: nothing here waits for real time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import msgspec

from core.clock import SECOND, ManualClock
from core.message import Batch, Schema, Type
from core.metrics import Metrics
from core.settings import decode_hook
from sinks.base import Sink, SinkContext
from sinks.delivery import Delivery
from sinks.settings import DeliverySettings

SCHEMA = Schema(("n",), (Type.BIGINT,))


def batch(*values: Any, rule: str = "r", hops: int = 0, schema: Schema = SCHEMA) -> Batch:
    return Batch("sink", rule, schema, [(value,) for value in values], hops)


async def settle(turns: int = 10) -> None:
    """Let everything that is ready run."""
    for _ in range(turns):
        await asyncio.sleep(0)


class FakeSink(Sink):
    """Writes hang until the test answers them: ``calls[i].set_result(None)`` or ``set_exception(...)``."""

    name = "fake"

    def __init__(self, max_in_flight: int = 1) -> None:
        super().__init__(self.Config(), SinkContext(name="sink", base_dir=Path()))
        self.max_in_flight = max_in_flight
        self.open_errors: list[Exception] = []
        self.opened = self.closed = 0
        self.batches: list[Batch] = []
        self.calls: list[asyncio.Future[None]] = []

    async def open(self) -> None:
        self.opened += 1
        if self.open_errors:
            raise self.open_errors.pop(0)

    async def write(self, batch: Batch) -> None:
        call: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.batches.append(batch)
        self.calls.append(call)
        await call

    async def close(self) -> None:
        self.closed += 1

    def values(self) -> list[list[Any]]:
        """The values of each write so far."""
        return [[row[0] for row in batch.rows] for batch in self.batches]

    async def answer(self, *outcomes: Exception | None) -> None:
        """Answer the oldest unanswered writes, each once those before it have been dealt with."""
        for outcome in outcomes:
            call = next(call for call in self.calls if not call.done())
            if outcome is None:
                call.set_result(None)
            else:
                call.set_exception(outcome)
            await settle()


class FakeTimers:
    """``call_later`` for a ManualClock."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.pending: dict[FakeTimer, None] = {}
        self.armed = asyncio.Event()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(self, self.clock.now() + round(seconds * SECOND), callback)
        self.pending[timer] = None
        self.armed.set()
        return timer

    async def advance(self, seconds: float) -> None:
        self.clock.advance(round(seconds * SECOND))
        for timer in [timer for timer in self.pending if timer.due <= self.clock.now()]:
            if timer in self.pending:
                del self.pending[timer]
                timer.callback()
        await settle()


class FakeTimer:
    def __init__(self, timers: FakeTimers, due: int, callback: Callable[[], None]) -> None:
        self.timers = timers
        self.due = due
        self.callback = callback

    def cancel(self) -> None:
        self.timers.pending.pop(self, None)


class Rig:
    """A delivery over a FakeSink, with what it reported. Without jitter: a pause is the whole range; no linger."""

    def __init__(
        self,
        settings: dict[str, Any] | None = None,
        *,
        max_in_flight: int = 1,
        sink: Sink | None = None,
        predecessor: Delivery | None = None,
    ) -> None:
        self.clock = ManualClock(1_000 * SECOND)
        self.timers = FakeTimers(self.clock)
        self.metrics = Metrics()
        settings = settings or {}
        settings["batch"] = {"linger": "0ms"} | settings.get("batch", {})
        self.fake = FakeSink(max_in_flight)
        self.rooms = 0
        self.dead: list[tuple[Any, str]] = []
        self.diverted: list[Any] = []
        self.fallback_is_full = False
        self.retiring: list[asyncio.Task[None]] = []
        self.settings = msgspec.convert(settings, DeliverySettings, dec_hook=decode_hook)
        self.sink = sink or self.fake
        self.delivery = self._make(predecessor)

    def _make(self, predecessor: Delivery | None) -> Delivery:
        return Delivery(
            "sink",
            self.sink,
            self.settings,
            clock=self.clock,
            metrics=self.metrics,
            on_room=self._on_room,
            on_dead=self._on_dead,
            fallback=self._fall_back,
            predecessor=predecessor,
            call_later=self.timers.call_later,
            uniform=lambda: 1.0,
        )

    async def replace(self) -> None:
        """Have a new delivery over the same sink, as after a reload; the old one makes way and is closed."""
        old = self.delivery
        self.delivery = self._make(old)
        await self.delivery.start()
        self.retiring.append(asyncio.create_task(self._retire(old, self.delivery)))

    async def _retire(self, old: Delivery, heir: Delivery) -> None:
        await old.make_way(heir, (SCHEMA,), 30)
        assert await old.close() == 0

    def _on_room(self) -> None:
        self.rooms += 1

    def _fall_back(self, batch: Batch) -> bool:
        assert batch.target == "other"
        if not self.fallback_is_full:
            self.diverted += [row[0] for row in batch.rows]
        return not self.fallback_is_full

    def _on_dead(self, batch: Batch, rows: list[tuple[int, str]]) -> None:
        self.dead.extend((batch.rows[index][0], reason) for index, reason in rows)

    def balanced(self) -> bool:
        counts = self.delivery.counts
        return counts.rows_in == (
            counts.delivered + counts.rejected + counts.dropped + counts.diverted + counts.queued + counts.in_flight
        )

    async def __aenter__(self) -> Self:
        await self.delivery.start()
        await settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.delivery.close()
        assert self.balanced()
        assert self.delivery.counts.queued == self.delivery.counts.in_flight == 0
