"""Any order of offers, answers, failures and time keeps the account, the limits and the order within a rule."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from core.errors import Rejected, Throttled, Unavailable
from tests.sinks.sink_fakes import Rig, batch, settle

_MAX_ROWS = 20


class DeliveryMachine(RuleBasedStateMachine):
    """The model is the fate of every value: where it was last seen, by rule, in the order of offering."""

    @initialize(
        in_flight=st.integers(1, 3),
        max_rows=st.integers(1, 6),
        when_full=st.sampled_from(["block", "drop_new", "drop_oldest"]),
        max_elapsed=st.sampled_from([None, "3s"]),
        open_failures=st.integers(0, 2),
        linger=st.sampled_from(["0ms", "5ms", "2s"]),
        after=st.sampled_from([None, "1s", "5s"]),
        rate=st.sampled_from([None, 2.5, 100.0]),
    )
    def build(
        self,
        *,
        in_flight: int,
        max_rows: int,
        when_full: str,
        max_elapsed: str | None,
        open_failures: int,
        linger: str,
        after: str | None,
        rate: float | None,
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self.in_flight = in_flight
        self.lossless = when_full == "block" and max_elapsed is None
        self.next = 0
        self.replaced = 0
        self.taken: list[int] = []
        self.arrived: list[int] = []
        self.blocked = False
        retry: dict[str, Any] = {"initial": "1s"}
        if max_elapsed:
            retry["max_elapsed"] = max_elapsed
        table = {
            "batch": {"max_rows": max_rows, "max_age": "1s", "linger": linger},
            "buffer": {"max_rows": _MAX_ROWS, "when_full": when_full},
            "retry": retry,
            "on_unavailable": after and {"sink": "other", "after": after},
            "rate": rate and {"rows_per_second": rate, "burst": 7},
        }
        self.falls_back = after is not None
        self.rig = Rig(table, max_in_flight=in_flight)
        self.rig.fake.open_errors = [Unavailable("closed")] * open_failures
        self.loop.run_until_complete(self.rig.delivery.start())

    @rule(count=st.integers(0, 8), source=st.sampled_from("ab"), hops=st.integers(0, 1))
    def offer(self, count: int, source: str, hops: int) -> None:
        values = list(range(self.next, self.next + count))
        self.next += count
        rooms = self.rig.rooms
        if self.rig.delivery.offer(batch(*values, rule=source, hops=hops)):
            self.taken += values
        else:
            self.blocked = True
            assert self.rig.rooms == rooms

    @precondition(lambda self: self.replaced < 2)
    @rule()
    def replace(self) -> None:
        self.replaced += 1
        self.loop.run_until_complete(self.rig.replace())

    @rule(full=st.booleans())
    def fallback(self, *, full: bool) -> None:
        self.rig.fallback_is_full = full

    @rule(turns=st.integers(1, 6))
    def run(self, turns: int) -> None:
        self.loop.run_until_complete(settle(turns))

    @rule(seconds=st.sampled_from([0.5, 2, 40]))
    def wait(self, seconds: float) -> None:
        self.loop.run_until_complete(self.rig.timers.advance(seconds))

    def unanswered(self) -> list[int]:
        return [index for index, call in enumerate(self.rig.fake.calls) if not call.done()]

    @precondition(lambda self: self.unanswered())
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(self.unanswered()))
        values = self.rig.fake.values()[index]
        call = self.rig.fake.calls[index]
        outcome = data.draw(st.sampled_from(["done", "done", "rows", "some", "unavailable", "throttled", "bug"]))
        if outcome == "done":
            self.arrived += values
            call.set_result(None)
        elif outcome == "rows":
            bad = data.draw(st.sets(st.integers(0, len(values) - 1), min_size=1))
            self.arrived += [value for position, value in enumerate(values) if position not in bad]
            call.set_exception(Rejected("bad", [(position, "bad") for position in bad]))
        else:
            errors = {"some": Rejected, "unavailable": Unavailable, "throttled": Throttled, "bug": ValueError}
            call.set_exception(errors[outcome](outcome))

    @invariant()
    def the_account_balances(self) -> None:
        rig = getattr(self, "rig", None)
        if rig is None:
            return
        counts = rig.delivery.counts
        assert rig.balanced(), counts
        assert min(counts.queued, counts.in_flight, counts.buffered_bytes) >= 0
        assert counts.rows_in == len(self.taken)
        assert counts.queued + counts.in_flight <= _MAX_ROWS * (1 + self.replaced)
        assert len(self.unanswered()) <= self.in_flight
        assert (counts.buffered_bytes == 0) == (counts.queued + counts.in_flight == 0)

    def teardown(self) -> None:
        if not hasattr(self, "rig"):
            return
        try:
            self.loop.run_until_complete(self.finish())
        finally:
            self.loop.run_until_complete(self.rig.delivery.close())
            self.loop.close()

    async def finish(self) -> None:
        """The far side answers everything from now on: all that was taken ends somewhere, in order."""
        counts = self.rig.delivery.counts
        self.rig.fallback_is_full = False
        for _ in range(200):
            await settle()
            for index in self.unanswered():
                self.arrived += self.rig.fake.values()[index]
                self.rig.fake.calls[index].set_result(None)
            await self.rig.timers.advance(40)
            if not counts.queued + counts.in_flight:
                break
        await settle()
        await asyncio.gather(*self.rig.retiring)
        assert self.rig.balanced()
        assert counts.queued == counts.in_flight == 0
        assert counts.delivered == len(self.arrived)
        assert counts.rejected == len(self.rig.dead)
        assert counts.diverted == len(self.rig.diverted)
        if self.lossless:
            dead = [value for value, _ in self.rig.dead]
            assert sorted([*self.arrived, *dead, *self.rig.diverted]) == self.taken
            assert self.rig.rooms or not self.blocked or self.falls_back
        if self.in_flight == 1:
            self.check_order()

    def check_order(self) -> None:
        """With one write at a time, first attempts per rule and hops never go back."""
        last: dict[tuple[str, int], int] = {}
        seen: set[int] = set()
        for written in self.rig.fake.batches:
            for (value,) in written.rows:
                if value not in seen:
                    assert last.get((written.rule, written.hops), -1) < value
                    last[written.rule, written.hops] = value
                    seen.add(value)


TestDelivery = DeliveryMachine.TestCase
TestDelivery.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
