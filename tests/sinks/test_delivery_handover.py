"""A delivery that replaces another one: who gets which rows, in which order, and that the account holds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from core.errors import Rejected, Unavailable
from core.message import Schema, Type
from sinks.health import State
from tests.sinks.sink_fakes import SCHEMA, Rig, batch, settle

OTHER = Schema(("m",), (Type.TEXT,))


async def heir_of(old: Rig, settings: dict[str, Any] | None = None) -> Rig:
    heir = Rig(settings, predecessor=old.delivery)
    await heir.delivery.start()
    await settle()
    return heir


async def hand_over(old: Rig, heir: Rig, *schemas: Schema, seconds: float = 30) -> asyncio.Task[int]:
    task = asyncio.create_task(old.delivery.make_way(heir.delivery, schemas or (SCHEMA,), seconds))
    await settle()
    return task


async def test_the_heir_waits_for_what_is_under_way_and_gets_the_rest_first() -> None:
    async with Rig({"batch": {"max_rows": 2}}) as old:
        old.delivery.offer(batch(1))
        await settle()
        old.delivery.offer(batch(2, 3))
        heir = await heir_of(old)
        task = await hand_over(old, heir)
        heir.delivery.offer(batch(4, 5))
        await settle()
        assert (old.fake.values(), heir.fake.values()) == ([[1]], [])
        await old.fake.answer(None)
        assert await task == 2
        await heir.fake.answer(None, None)
        assert heir.fake.values() == [[2, 3], [4, 5]]
        assert old.fake.values() == [[1]]
        counts = heir.delivery.counts
        assert counts is old.delivery.counts
        assert (counts.rows_in, counts.delivered, counts.queued, counts.in_flight) == (5, 5, 0, 0)
        await heir.delivery.close()


async def test_during_an_outage_it_gets_everything_at_once() -> None:
    async with Rig({"batch": {"max_rows": 2}}) as old:
        old.delivery.offer(batch(1, 2))
        await settle()
        await old.fake.answer(Unavailable("away"))
        old.delivery.offer(batch(3))
        heir = await heir_of(old)
        assert await (await hand_over(old, heir)) == 3
        await heir.fake.answer(None, None)
        assert heir.fake.values() == [[1, 2], [3]]
        assert heir.delivery.counts.delivered == 3
        assert heir.delivery._health.outages == 1
        await heir.delivery.close()


async def test_of_a_batch_that_is_halved_only_what_is_left_is_handed_over() -> None:
    async with Rig({"batch": {"max_rows": 4}}) as old:
        old.delivery.offer(batch(1, 2, 3, 4))
        await settle()
        await old.fake.answer(Rejected("one of them"), None, Rejected("one of them"))
        await old.fake.answer(Rejected("bad"), Unavailable("away"))
        assert old.fake.values() == [[1, 2, 3, 4], [1, 2], [3, 4], [3], [4]]
        heir = await heir_of(old)
        assert await (await hand_over(old, heir)) == 1
        await heir.fake.answer(None)
        assert heir.fake.values() == [[4]]
        assert (heir.delivery.counts.delivered, heir.delivery.counts.rejected) == (3, 1)
        await heir.delivery.close()


async def test_before_it_was_ever_connected() -> None:
    old = Rig()
    old.fake.open_errors = [Unavailable("away")] * 3
    async with old:
        assert old.delivery.state is State.CONNECTING
        old.delivery.offer(batch(*range(5)))
        heir = await heir_of(old, {"batch": {"max_rows": 2}})
        assert await (await hand_over(old, heir)) == 5
        await heir.fake.answer(None, None, None)
        assert heir.fake.values() == [[0, 1], [2, 3], [4]]  # in its own batches
        await heir.delivery.close()


async def test_rows_of_a_rule_that_is_no_longer_so_come_last() -> None:
    async with Rig({"batch": {"max_rows": 1}}) as old:
        old.delivery.offer(batch(1))
        await settle()
        old.delivery.offer(batch("old", schema=OTHER))
        old.delivery.offer(batch(2))
        heir = await heir_of(old)
        task = await hand_over(old, heir)
        await old.fake.answer(None)
        assert await task == 2
        await heir.fake.answer(None, None)
        assert heir.fake.values() == [[2], ["old"]]
        assert heir.delivery.counts.delivered == 3
        await heir.delivery.close()


async def test_they_keep_no_others_waiting_and_are_rejected_once_others_go_through() -> None:
    async with Rig({"batch": {"max_rows": 1}}) as old:
        old.delivery.offer(batch(1))
        await settle()
        await old.fake.answer(Unavailable("away"))
        old.delivery.offer(batch("old", schema=OTHER))
        heir = await heir_of(old)
        await (await hand_over(old, heir))
        await heir.fake.answer(None, Unavailable("no such column"))
        for number in range(2, 5):
            heir.delivery.offer(batch(number))
            for _ in range(2):  # the one that waits longer, then the other
                await heir.timers.advance(60)
                old_ones = heir.fake.values()[-1] == ["old"]
                await heir.fake.answer(Unavailable("no such column") if old_ones else None)
        assert heir.dead == [("old", "made by rule r as it was before a reload: no such column")]
        assert heir.delivery.state is State.CONNECTED
        assert heir.delivery.counts.delivered == 4
        assert heir.balanced()
        await heir.delivery.close()


async def test_in_an_outage_they_wait_like_all_others() -> None:
    async with Rig() as old:
        await settle()
        old.fake.open_errors = []
        old.delivery.offer(batch("old", schema=OTHER))
        heir = await heir_of(old)
        await (await hand_over(old, heir, seconds=0))
        for _ in range(10):
            await heir.fake.answer(Unavailable("away"))
            await heir.timers.advance(60)
        await heir.fake.answer(None)
        assert (heir.delivery.counts.delivered, heir.dead) == (1, [])
        await heir.delivery.close()


async def test_a_write_that_takes_too_long_is_given_up() -> None:
    async with Rig() as old:
        old.delivery.offer(batch(1))
        await settle()
        heir = await heir_of(old)
        assert await (await hand_over(old, heir, seconds=0)) == 1
        await heir.fake.answer(None)
        assert (old.fake.values(), heir.fake.values()) == ([[1]], [[1]])
        await heir.delivery.close()


async def test_a_heir_that_has_an_heir_itself() -> None:
    async with Rig() as first:
        first.delivery.offer(batch(1))
        await settle()
        first.delivery.offer(batch(2))
        second = await heir_of(first)
        earlier = await hand_over(first, second)
        second.delivery.offer(batch(3))
        third = await heir_of(second)
        later = await hand_over(second, third)
        third.delivery.offer(batch(4))
        await settle()
        assert third.fake.values() == []
        await first.fake.answer(None)
        assert (await earlier, await later) == (1, 2)
        await settle()
        assert (second.fake.values(), third.fake.values()) == ([], [[2]])
        await third.fake.answer(None, None, None)
        assert third.fake.values() == [[2], [3], [4]]
        assert third.delivery.counts.delivered == 4
        await second.delivery.close()
        await third.delivery.close()


async def test_a_drain_of_the_heir_waits_for_what_it_is_left() -> None:
    async with Rig() as old:
        old.delivery.offer(batch(1))
        await settle()
        heir = await heir_of(old)
        await hand_over(old, heir)
        draining = asyncio.create_task(heir.delivery.drain())
        await settle()
        assert not draining.done()
        await old.fake.answer(None)
        await asyncio.wait_for(draining, 10)
        await heir.delivery.close()


@pytest.mark.parametrize("turns", [0, 1, 5])
async def test_a_hand_over_that_is_cancelled_loses_nothing_silently(turns: int) -> None:
    async with Rig() as old:
        old.delivery.offer(batch(1))
        await settle()
        old.delivery.offer(batch(2))
        heir = await heir_of(old)
        task = asyncio.create_task(old.delivery.make_way(heir.delivery, (SCHEMA,), 30))
        await settle(turns)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        lost = await old.delivery.close() + await heir.delivery.close()
        counts = heir.delivery.counts
        assert counts.rows_in == 2 == counts.delivered + counts.dropped
        assert counts.dropped == lost == 2


async def test_a_full_source_is_told_that_there_is_room_again() -> None:
    async with Rig({"buffer": {"max_rows": 2}}) as old:
        old.delivery.offer(batch(1))
        await settle()
        assert old.delivery.offer(batch(2))
        assert not old.delivery.offer(batch(3))
        heir = await heir_of(old, {"buffer": {"max_rows": 4}})
        heir.delivery.force(batch(3))
        task = await hand_over(old, heir)
        await old.fake.answer(None)
        await task
        await settle()
        assert heir.rooms == 1
        await heir.fake.answer(None, None)
        assert heir.fake.values() == [[2], [3]]
        await heir.delivery.close()
