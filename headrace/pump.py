"""Inbox -> rules -> deliveries: at the end of a loop turn in which something came in, at most once in ``linger``
(waking up for every message is what a message costs most), and as soon as a slice has come in.

Invariants: what the sockets bring is worked off as fast as it is read, so that the inbox fills only where a delivery
is full, never because the loop read faster than the rules ran (TCP holds the publishers back); batches reach a
delivery in the order in which the rules produced them; a batch that a full delivery refused, and every later one for
it, waits here, and while any waits nothing more is taken from the inbox: that fills up, and the broker stops reading
its QoS 1 and 2 publishers. The same where too many rows
wait for a lookup table. Nothing here awaits or runs per message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from core.clock import SECOND, Clock
from core.inbox import MemoryInbox
from core.message import Batch, Message, Row
from core.metrics import Metrics
from rules.joins import Key, LookupTable

_log = logging.getLogger("headrace.pump")

SLICE: Final = 2_000
"""Messages per call of the rules: enough to spread its cost, few enough to be still in the processor's cache."""


class Processor(Protocol):
    """What the pump needs of ``rules.runtime.Engine``."""

    def process(self, messages: Sequence[Message], now: int) -> list[Batch]: ...

    def advance(self, now: int) -> list[Batch]: ...

    @property
    def next_deadline(self) -> int | None: ...

    @property
    def full(self) -> bool: ...

    def resolve(self, table: LookupTable, answers: Mapping[Key, Sequence[Row]], now: int) -> list[Batch]: ...

    def lookup_failed(self, table: LookupTable, keys: Sequence[Key], reason: str, now: int) -> list[Batch]: ...


class Outlet(Protocol):
    """The half of ``sinks.delivery.Delivery`` that the pump needs."""

    def offer(self, batch: Batch) -> bool: ...


class Pump:
    """``outlets`` is asked by target at every batch; the owner may replace it between two turns.

    ``on_taken`` is called at the end of a turn in which messages may have left the inbox, so that paused publishers
    can be read again. ``linger`` is in nanoseconds.
    """

    def __init__(
        self,
        engine: Processor,
        clock: Clock,
        metrics: Metrics,
        on_taken: Callable[[], None],
        linger: int = 0,
    ) -> None:
        self.outlets: Mapping[str, Outlet] = {}
        self._engine = engine
        self._clock = clock
        self._on_taken = on_taken
        self._linger = linger
        self._next_turn = 0
        self._loop = asyncio.get_running_loop()
        self._inbox: MemoryInbox | None = None
        self._waiting: Sequence[Message] = ()
        self._held: list[tuple[Outlet, Batch]] = []
        self._scheduled = False
        self._waits = False  # for a lookup table
        self._halted = False
        self._advancing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._failures = metrics.counter(
            "headrace_pump_failures_total", "Times that the rules failed in a way that is a defect of headrace"
        )
        metrics.read(
            "headrace_pump_held_rows",
            "Rows that wait for a full sink and keep the rules from running",
            "gauge",
            lambda: [((), self.held_rows)],
        )

    def attach(self, inbox: MemoryInbox) -> None:
        """Name the inbox to take from; it needs :meth:`wake` to be made, so it comes second."""
        self._inbox = inbox

    @property
    def held_rows(self) -> int:
        return sum(len(batch.rows) for _, batch in self._held)

    @property
    def unprocessed(self) -> int:
        """Messages that were taken from the inbox and wait for their turn."""
        return len(self._waiting)

    def wake(self) -> None:
        """The inbox has messages: run at the end of this loop turn, or ``linger`` after the last time."""
        if not self._scheduled:
            self._scheduled = True
            self._idle.clear()
            wait = self._next_turn - self._clock.now() if self._linger else 0
            if wait <= 0:
                self._loop.call_soon(self._turn)
            else:
                self._loop.call_later(wait / SECOND, self._turn)

    def on_room(self) -> None:
        """A delivery has room again: hand on what waits for it, then go on."""
        held, self._held = self._held, []
        for outlet, batch in held:
            self._offer(outlet, batch)
        if not self._held:
            self.wake()

    def advance(self) -> None:
        """Let the rules act on the time that has passed."""
        self._advancing = False
        deadline = self._engine.next_deadline
        now = self._clock.now()
        if self._held or self._halted or deadline is None or deadline > now:
            return
        try:
            batches = self._engine.advance(now)
        except Exception:  # noqa: BLE001 - as in _run
            self._failures.value += 1
            _log.exception("a defect in the rule engine kept windows from closing")
            return
        self.hand_on(batches)
        if not self._advancing:
            # More may be ready: one call closes so many groups, and the sockets come first.
            self._advancing = True
            self._loop.call_soon(self.advance)

    def resolve(self, table: LookupTable, answers: Mapping[Key, Sequence[Row]]) -> None:
        """A lookup table's rows, which joins wait for."""
        self._answer(lambda now: self._engine.resolve(table, answers, now))

    def lookup_failed(self, table: LookupTable, keys: Sequence[Key], reason: str) -> None:
        """A lookup table does not answer."""
        self._answer(lambda now: self._engine.lookup_failed(table, keys, reason, now))

    def _answer(self, tell: Callable[[int], list[Batch]]) -> None:
        try:
            batches = tell(self._clock.now())
        except Exception:  # noqa: BLE001 - as in _run
            self._failures.value += 1
            _log.exception("a defect in the rule engine lost the answer of a lookup table")
        else:
            self.hand_on(batches)
        if not self._advancing:
            self._advancing = True
            self._loop.call_soon(self.advance)

    def reclaim(self, outlet: Outlet) -> list[Batch]:
        """Take back the batches that wait for a delivery which makes way or is closed."""
        waiting = [batch for owner, batch in self._held if owner is outlet]
        self._held = [(owner, batch) for owner, batch in self._held if owner is not outlet]
        if waiting and not self._held:
            self.wake()
        return waiting

    def halt(self) -> None:
        """Take nothing more: what is in the inbox now stays there, to be counted."""
        self._halted = True

    async def idle(self) -> None:
        """Return when the inbox is empty, all its messages are processed and no batch is held."""
        await self._idle.wait()

    def drain(self) -> None:
        """A slice or more waits in the inbox: work it off now, before the loop reads on."""
        while not (self._held or self._halted or self._waits) and self._run():
            self._waits = self._engine.full

    def _turn(self) -> None:
        self._scheduled = False
        self.drain()
        if self._linger:
            self._next_turn = self._clock.now() + self._linger
        if not (self._held or self._halted or self._waits):
            self._on_taken()
            # Resumed publishers may have brought something already.
            if not self._scheduled:
                self._idle.set()

    def _run(self) -> bool:
        """Work off the next slice; False where there is none."""
        if self._inbox is None:
            return False
        messages = self._waiting or self._inbox.take()
        if not messages:
            return False
        self._waiting = messages[SLICE:]
        if self._waiting:
            messages = messages[:SLICE]
        try:
            batches = self._engine.process(messages, self._clock.now())
        except Exception:  # noqa: BLE001 - see below
            # Rules report what is wrong with data themselves; this is a defect, and must not end the service.
            self._failures.value += len(messages)
            _log.exception("a defect in the rule engine lost %d messages", len(messages))
        else:
            self.hand_on(batches)
        return True

    def hand_on(self, batches: list[Batch]) -> None:
        """Give batches to their deliveries."""
        outlets = self.outlets
        for batch in batches:
            self._offer(outlets[batch.target], batch)
        if self._waits and not self._engine.full:  # rows that waited for a lookup table have made room
            self._waits = False
            self.wake()

    def _offer(self, outlet: Outlet, batch: Batch) -> None:
        # Behind a held batch others of the same delivery queue up, for their order's sake.
        if self._held and any(owner is outlet for owner, _ in self._held):
            self._held.append((outlet, batch))
        elif not outlet.offer(batch):
            self._held.append((outlet, batch))
            self._idle.clear()
