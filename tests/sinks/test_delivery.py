"""Delivery with a sink that answers when the test says so, and time that moves when the test says so."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from core.errors import Unavailable
from core.message import Schema, Type
from sinks.delivery import State
from tests.sinks.sink_fakes import FakeSink, Rig, batch, settle

# -- batching ---------------------------------------------------------------------------------------------------


async def test_while_nothing_is_in_flight_a_batch_leaves_at_the_end_of_the_turn() -> None:
    async with Rig() as rig:
        for n in range(3):
            assert rig.delivery.offer(batch(n))
        assert rig.fake.batches == []
        await settle()
        assert rig.fake.values() == [[0, 1, 2]]


async def test_under_load_batches_grow_until_the_slot_is_free() -> None:
    async with Rig() as rig:
        rig.delivery.offer(batch(0))
        await settle()
        for n in range(1, 5):
            rig.delivery.offer(batch(n))
            await settle()
        assert rig.fake.values() == [[0]]
        await rig.fake.answer(None)
        assert rig.fake.values() == [[0], [1, 2, 3, 4]]


async def test_a_batch_has_at_most_max_rows_and_an_offer_may_be_split() -> None:
    async with Rig({"batch": {"max_rows": 3}}) as rig:
        rig.delivery.offer(batch(*range(7)))
        rig.delivery.offer(batch(7))
        await settle()
        await rig.fake.answer(None, None, None)
        assert rig.fake.values() == [[0, 1, 2], [3, 4, 5], [6, 7]]


async def test_a_batch_closes_at_max_bytes() -> None:
    schema = Schema(("text",), (Type.TEXT,))
    async with Rig({"batch": {"max_bytes": "4KiB"}}) as rig:
        for _ in range(8):
            rig.delivery.offer(batch("x" * 1_000, schema=schema))
        await settle()
        await rig.fake.answer(None, None)
        assert [len(written.rows) for written in rig.fake.batches] == [4, 4]


async def test_a_free_slot_waits_for_max_age_while_another_write_runs() -> None:
    async with Rig({"batch": {"max_age": "200ms"}}, max_in_flight=2) as rig:
        rig.delivery.offer(batch(0))
        await settle()
        rig.delivery.offer(batch(1))
        await settle()
        await rig.timers.advance(0.199)
        assert rig.fake.values() == [[0]]
        await rig.timers.advance(0.001)
        assert rig.fake.values() == [[0], [1]]


async def test_after_a_write_the_next_one_gathers_company_while_it_lingers() -> None:
    async with Rig({"batch": {"linger": "5ms"}}) as rig:
        rig.delivery.offer(batch(0))
        await settle()
        assert rig.fake.values() == [[0]]
        await rig.fake.answer(None)
        for n in (1, 2):
            rig.delivery.offer(batch(n))
            await settle()
        await rig.timers.advance(0.004)
        assert rig.fake.values() == [[0]]
        await rig.timers.advance(0.001)
        assert rig.fake.values() == [[0], [1, 2]]
        await rig.fake.answer(None)
        await rig.timers.advance(0.005)
        rig.delivery.offer(batch(3))
        await settle()
        assert rig.fake.values() == [[0], [1, 2], [3]]


@pytest.mark.parametrize("limit", [{"max_rows": 2}, {"max_bytes": "192B"}])
async def test_a_full_batch_does_not_linger(limit: dict[str, Any]) -> None:
    async with Rig({"batch": {"linger": "5ms", **limit}}) as rig:
        rig.delivery.offer(batch(0))
        await settle()
        await rig.fake.answer(None)
        rig.delivery.offer(batch(1))
        await settle()
        assert rig.fake.values() == [[0]]
        rig.delivery.offer(batch(2))
        await settle()
        assert rig.fake.values() == [[0], [1, 2]]


async def test_the_end_of_a_write_shortens_the_wait_from_max_age_to_linger() -> None:
    async with Rig({"batch": {"linger": "5ms", "max_age": "1s"}}, max_in_flight=2) as rig:
        for n in (0, 1):
            rig.delivery.offer(batch(n))
            await settle()
        await rig.fake.answer(None)
        await rig.timers.advance(0.005)
        assert rig.fake.values() == [[0], [1]]


async def test_drain_does_not_linger() -> None:
    async with Rig({"batch": {"linger": "1h"}}) as rig:
        for n in (0, 1):
            rig.delivery.offer(batch(n))
            await settle()
        drained = asyncio.create_task(rig.delivery.drain())
        await settle()
        await rig.fake.answer(None, None)
        await drained
        assert rig.fake.values() == [[0], [1]]


async def test_a_full_batch_takes_a_free_slot_at_once_also_behind_a_smaller_one() -> None:
    async with Rig({"batch": {"max_rows": 2}}, max_in_flight=3) as rig:
        rig.delivery.offer(batch(0))
        await settle()
        rig.delivery.offer(batch(1, rule="slow"))
        rig.delivery.offer(batch(2, 3))
        await settle()
        assert rig.fake.values() == [[0], [1], [2, 3]]


async def test_in_flight_lowers_what_the_sink_allows_and_never_raises_it() -> None:
    for setting, expected in ((1, 1), (9, 2)):
        async with Rig({"batch": {"max_rows": 1, "in_flight": setting}}, max_in_flight=2) as rig:
            rig.delivery.offer(batch(*range(5)))
            await settle()
            assert len(rig.fake.batches) == expected


async def test_rules_schemas_and_hops_are_never_mixed_but_rules_may_interleave() -> None:
    other = Schema(("n",), (Type.DOUBLE,))
    async with Rig() as rig:
        rig.delivery.offer(batch("busy"))
        await settle()
        for n in range(2):
            rig.delivery.offer(batch(f"a{n}", rule="a"))
            rig.delivery.offer(batch(f"b{n}", rule="b"))
            rig.delivery.offer(batch(f"hop{n}", rule="a", hops=1))
        rig.delivery.offer(batch("a2", rule="a", schema=other))
        rig.delivery.offer(batch("a3", rule="a"))
        rig.delivery.offer(batch("a4", rule="a", schema=Schema(("n",), (Type.BIGINT,))))
        await rig.fake.answer(*[None] * 6)
        assert rig.fake.values() == [["busy"], ["a0", "a1"], ["b0", "b1"], ["hop0", "hop1"], ["a2"], ["a3", "a4"]]
        assert [(b.rule, b.hops) for b in rig.fake.batches[1:4]] == [("a", 0), ("b", 0), ("a", 1)]


async def test_an_offered_batch_is_never_changed() -> None:
    async with Rig() as rig:
        first = batch(0)
        rig.delivery.offer(first)
        rig.delivery.offer(batch(1))
        await settle()
        assert first.rows == [(0,)]


async def test_an_empty_batch_is_taken_and_goes_nowhere() -> None:
    async with Rig() as rig:
        assert rig.delivery.offer(batch())
        await settle()
        assert rig.fake.batches == []


# -- limits -------------------------------------------------------------------------------------------------------


async def test_block_refuses_and_calls_when_half_of_the_room_is_free() -> None:
    async with Rig({"batch": {"max_rows": 2}, "buffer": {"max_rows": 8}}) as rig:
        assert rig.delivery.offer(batch(*range(8)))
        assert not rig.delivery.offer(batch(8))
        assert rig.delivery.counts.rows_in == 8
        await settle()
        await rig.fake.answer(None)
        assert rig.rooms == 0
        await rig.fake.answer(None)
        assert rig.rooms == 1
        assert rig.delivery.offer(batch(8))
        await rig.fake.answer(None)
        assert rig.rooms == 1


async def test_block_counts_estimated_bytes() -> None:
    schema = Schema(("text",), (Type.TEXT,))
    async with Rig({"buffer": {"max_bytes": "4KiB"}}) as rig:
        for _ in range(3):
            assert rig.delivery.offer(batch("x" * 1_000, schema=schema))
        assert rig.delivery.counts.buffered_bytes == 3 * 1_096
        assert not rig.delivery.offer(batch("x" * 1_000, schema=schema))


async def test_a_batch_larger_than_the_buffer_passes_when_it_is_empty() -> None:
    async with Rig({"buffer": {"max_rows": 2}}) as rig:
        assert rig.delivery.offer(batch(0, 1, 2))
        assert not rig.delivery.offer(batch(3))
        await settle()
        await rig.fake.answer(None)
        assert rig.rooms == 1
        assert rig.delivery.offer(batch(3))


async def test_drop_new_keeps_what_fits() -> None:
    async with Rig({"buffer": {"max_rows": 3, "when_full": "drop_new"}}) as rig:
        assert rig.delivery.offer(batch(0, 1))
        assert rig.delivery.offer(batch(2, 3, 4))
        assert rig.delivery.offer(batch(5))
        await settle()
        assert rig.fake.values() == [[0, 1, 2]]
        assert rig.delivery.counts.dropped_by_reason == {"buffer_full": 3}


async def test_drop_oldest_makes_room_but_never_from_what_is_in_flight() -> None:
    async with Rig({"buffer": {"max_rows": 4, "when_full": "drop_oldest"}}) as rig:
        rig.delivery.offer(batch(0, 1))
        await settle()
        for n in range(2, 7):
            assert rig.delivery.offer(batch(n))
        assert rig.delivery.offer(batch(7, 8, 9, rule="other"))
        await rig.fake.answer(None, None)
        assert rig.fake.values() == [[0, 1], [8, 9]]
        assert rig.delivery.counts.dropped_by_reason == {"buffer_full": 6}
        assert rig.balanced()


# -- opening, draining, closing -----------------------------------------------------------------------------------


async def test_opening_is_tried_again_in_the_background() -> None:
    rig = Rig({"retry": {"initial": "1s"}})
    rig.fake.open_errors = [Unavailable("no route"), OSError("odd")]
    async with rig:
        assert (rig.delivery.state, rig.delivery.last_error) == (State.CONNECTING, "no route")
        assert rig.fake.closed == 1
        assert rig.delivery.offer(batch(0))
        await rig.timers.advance(1)
        assert rig.delivery.last_error == "OSError: odd"
        assert rig.fake.batches == []
        await rig.timers.advance(2)
        assert rig.delivery.state is State.CONNECTED
        assert rig.fake.values() == [[0]]


async def test_rows_expire_while_the_sink_cannot_be_opened() -> None:
    rig = Rig({"retry": {"initial": "1s", "max_elapsed": "5s"}})
    rig.fake.open_errors = [Unavailable("no route")] * 9
    async with rig:
        rig.delivery.offer(batch(0))
        for _ in range(3):
            await rig.timers.advance(4)
        assert rig.delivery.counts.dropped_by_reason == {"expired": 1}


async def test_batches_offered_before_start_are_delivered() -> None:
    rig = Rig()
    rig.delivery.offer(batch(0))
    async with rig:
        assert rig.fake.values() == [[0]]


async def test_drain_sends_what_waits_at_once_and_returns_when_all_is_settled() -> None:
    async with Rig(max_in_flight=2) as rig:
        rig.delivery.offer(batch(0))
        await settle()
        rig.delivery.offer(batch(1))
        await settle()
        drained = asyncio.create_task(rig.delivery.drain())
        await settle()
        assert rig.fake.values() == [[0], [1]]
        await rig.fake.answer(None)
        assert not drained.done()
        await rig.fake.answer(None)
        assert drained.done()
        await rig.delivery.drain()


async def test_close_counts_what_is_left_and_takes_nothing_more() -> None:
    rig = Rig({"batch": {"max_rows": 2}})
    async with rig:
        rig.delivery.offer(batch(*range(5)))
        await settle()
        await rig.fake.answer(None)
        drained = asyncio.create_task(rig.delivery.drain())
        await settle()
        drained.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await drained
        assert await rig.delivery.close() == 3
        assert rig.delivery.counts.dropped_by_reason == {"shutdown": 3}
        assert rig.delivery.state is State.CLOSED
        assert not rig.delivery.offer(batch(9))
        assert await rig.delivery.close() == 0
        assert rig.fake.closed == 1
        assert all(not family.samples for family in rig.metrics.collect())


async def test_close_in_the_turn_in_which_a_write_was_started() -> None:
    async with Rig() as rig:
        rig.delivery.offer(batch(0))
        rig.delivery._pump()
        assert await rig.delivery.close() == 1


async def test_close_while_connecting_and_while_pausing() -> None:
    rig = Rig()
    rig.fake.open_errors = [Unavailable("no route")]
    async with rig:
        rig.delivery.offer(batch(0))
    async with Rig() as rig:
        rig.delivery.offer(batch(0))
        await settle()
        await rig.fake.answer(Unavailable("down"))
    assert rig.delivery.counts.dropped == 1


async def test_a_sink_that_cannot_be_closed_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(FakeSink):
        async def close(self) -> None:
            raise RuntimeError("no")

    async with Rig(sink=Stubborn()):
        pass
    assert "closing it failed: RuntimeError: no" in caplog.text


async def test_a_delivery_that_never_started_leaves_no_metrics() -> None:
    rig = Rig()
    assert list(rig.metrics.collect()) == []
    await rig.delivery.close()


async def test_the_metrics_say_what_the_counts_say() -> None:
    async with Rig({"buffer": {"max_rows": 3, "when_full": "drop_new"}}) as rig:
        rig.delivery.offer(batch(0, 1, 2, 3))
        await settle()
        families = {family.name: family.samples for family in rig.metrics.collect()}
        values = {(name, *sample.labels): sample.value for name, samples in families.items() for sample in samples}
        assert values["headrace_sink_rows_in_total", "sink"] == 4
        assert values["headrace_sink_rows_in_flight", "sink"] == 3
        assert values["headrace_sink_rows_dropped_total", "sink", "buffer_full"] == 1
        assert values["headrace_sink_connected", "sink"] == 1


# -- a limit for the destination's sake -------------------------------------------------------------------------


async def test_rows_leave_at_the_rate_that_is_set() -> None:
    async with Rig({"rate": {"rows_per_second": 2, "burst": 3}}, max_in_flight=9) as rig:
        rig.delivery.offer(batch(*range(9)))
        await settle()
        assert rig.fake.values() == [[0, 1, 2]]  # the burst is the most of one write
        await rig.timers.advance(1.4)
        assert len(rig.fake.values()) == 1
        await rig.timers.advance(0.1)
        assert rig.fake.values() == [[0, 1, 2], [3, 4, 5]]
        await rig.timers.advance(60)
        assert rig.fake.values() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
        await rig.fake.answer(None, None, None)


async def test_a_pause_gives_no_more_than_a_burst() -> None:
    async with Rig({"rate": {"rows_per_second": 10}}, max_in_flight=9) as rig:
        await rig.timers.advance(3_600)
        rig.delivery.offer(batch(*range(25)))
        await settle()
        assert [len(values) for values in rig.fake.values()] == [10]
        await rig.timers.advance(1)
        await rig.timers.advance(0.5)
        assert [len(values) for values in rig.fake.values()] == [10, 10, 5]
        await rig.fake.answer(None, None, None)


async def test_a_drain_keeps_to_the_rate() -> None:
    async with Rig({"rate": {"rows_per_second": 1}}) as rig:
        rig.delivery.offer(batch(0, 1))
        drained = asyncio.create_task(rig.delivery.drain())
        await settle()
        await rig.fake.answer(None)
        assert rig.fake.values() == [[0]]
        await rig.timers.advance(1)
        await rig.fake.answer(None)
        await drained
