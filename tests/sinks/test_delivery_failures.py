"""Delivery with a sink that fails: what is tried again, what is rejected, and what goes to another sink meanwhile."""

from __future__ import annotations

import logging

import pytest

from core.clock import SECOND
from core.errors import PayloadError, Rejected, Throttled, Unavailable
from sinks.delivery import State
from tests.sinks.sink_fakes import Rig, batch, settle

# -- failures ---------------------------------------------------------------------------------------------------


async def test_unavailable_is_tried_again_with_growing_pauses_in_order() -> None:
    async with Rig({"retry": {"initial": "1s", "max_delay": "3s"}}) as rig:
        rig.delivery.offer(batch(0))
        await settle()
        rig.delivery.offer(batch(1))
        for pause in (1, 2, 3, 3):
            await rig.fake.answer(Unavailable("down"))
            assert rig.delivery.state is State.UNAVAILABLE
            assert rig.delivery.last_error == "down"
            calls = len(rig.fake.calls)
            await rig.timers.advance(pause - 0.001)
            assert len(rig.fake.calls) == calls
            await rig.timers.advance(0.001)
            assert len(rig.fake.calls) == calls + 1
        await rig.fake.answer(None, None)
        assert rig.fake.values() == [[0]] * 5 + [[1]]
        assert rig.delivery.state is State.CONNECTED
        assert rig.delivery.last_error is None
        assert rig.delivery.counts.retries == 4


async def test_the_far_sides_wish_is_the_least_pause() -> None:
    async with Rig({"retry": {"initial": "1s"}}) as rig:
        rig.delivery.offer(batch(0))
        await settle()
        await rig.fake.answer(Unavailable("busy", retry_after=20 * SECOND))
        await rig.timers.advance(19.9)
        assert len(rig.fake.calls) == 1
        await rig.timers.advance(0.1)
        assert len(rig.fake.calls) == 2


async def test_throttled_halves_the_writes_in_flight_and_success_brings_them_back() -> None:
    async with Rig({"batch": {"max_rows": 1}, "retry": {"initial": "1s"}}, max_in_flight=4) as rig:
        rig.delivery.offer(batch(*range(40)))
        await settle()
        assert len(rig.fake.calls) == 4
        await rig.fake.answer(Throttled("slow down"), None, None, None)
        in_flight = [call for call in rig.fake.calls if not call.done()]
        assert len(in_flight) == 3 - 1  # a window of 2, grown to 3 by successes, less the one that pauses
        await rig.timers.advance(1)
        for _ in range(20):
            await rig.fake.answer(None)
        assert len([call for call in rig.fake.calls if not call.done()]) == 4


async def test_unexpected_exceptions_and_time_outs_keep_the_rows() -> None:
    async with Rig({"retry": {"attempt_timeout": "1ms", "initial": "1s"}}) as rig:
        rig.delivery.offer(batch(0))
        await settle()
        await rig.fake.answer(KeyError("oops"))
        assert rig.delivery.last_error == "KeyError: 'oops'"
        await rig.timers.advance(1)
        rig.timers.armed.clear()
        await rig.timers.armed.wait()
        assert rig.delivery.last_error == "no answer within 1ms"
        assert rig.delivery.counts.in_flight == 1


async def test_a_cancellation_inside_of_the_sink_is_an_outage_not_a_shutdown() -> None:
    async with Rig({"retry": {"initial": "1s"}}) as rig:
        rig.delivery.offer(batch(0))
        await settle()
        rig.fake.calls[0].cancel()
        await settle()
        assert rig.delivery.last_error == "a call inside of the sink was cancelled"
        await rig.timers.advance(1)
        await rig.fake.answer(None)
        assert rig.delivery.counts.delivered == 1


async def test_an_outage_is_logged_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "headrace.sinks")
    async with Rig({"retry": {"initial": "1s"}}) as rig:
        rig.delivery.offer(batch(0))
        await settle()
        for _ in range(3):
            await rig.fake.answer(Unavailable("down"))
            await rig.timers.advance(60)
        await rig.fake.answer(None)
    assert [record.message for record in caplog.records] == [
        "sink sink is unavailable and is tried again: down",
        "sink sink is available again, failed attempts: 3",
    ]


async def test_while_unavailable_no_new_write_starts_and_afterwards_all_slots_work_again() -> None:
    async with Rig({"batch": {"max_rows": 1}, "retry": {"initial": "1s"}}, max_in_flight=3) as rig:
        rig.delivery.offer(batch(0))
        await settle()
        await rig.fake.answer(Unavailable("down"))
        rig.delivery.offer(batch(1, 2, 3))
        await settle()
        assert len(rig.fake.calls) == 1
        await rig.timers.advance(1)
        await rig.fake.answer(None)
        assert rig.fake.values() == [[0], [0], [1], [2], [3]]


async def test_rows_older_than_max_elapsed_expire_when_an_attempt_fails() -> None:
    async with Rig({"batch": {"max_rows": 2}, "retry": {"initial": "1s", "max_elapsed": "5s"}}) as rig:
        rig.delivery.offer(batch(0, 1, 2))
        await settle()
        await rig.fake.answer(Unavailable("down"))
        await rig.timers.advance(6)
        await rig.fake.answer(Unavailable("down"))
        assert rig.delivery.counts.dropped_by_reason == {"expired": 2}
        assert rig.delivery.state is State.UNAVAILABLE
        # What waited behind it gets its one attempt, after a pause.
        assert len(rig.fake.calls) == 2
        await rig.timers.advance(2)
        await rig.fake.answer(None)
        assert rig.fake.values()[-1] == [2]
        assert rig.delivery.state is State.CONNECTED


# -- rejections ---------------------------------------------------------------------------------------------------


async def test_named_rows_are_dead_and_the_others_delivered() -> None:
    async with Rig() as rig:
        rig.delivery.offer(batch(0, 1, 2, 3))
        await settle()
        await rig.fake.answer(Rejected("bad rows", [(1, "too long"), (3, "no such key"), (3, "again"), (99, "?")]))
        assert rig.dead == [(1, "too long"), (3, "again")]
        assert (rig.delivery.counts.delivered, rig.delivery.counts.rejected) == (2, 2)
        assert rig.delivery.state is State.CONNECTED


async def test_unnamed_rejections_are_bisected_in_order() -> None:
    bad = {3, 6}
    async with Rig() as rig:
        rig.delivery.offer(batch(*range(8)))
        await settle()
        accepted: list[int] = []
        while rig.delivery.counts.in_flight:
            values = rig.fake.values()[-1]
            if bad & set(values):
                await rig.fake.answer(Rejected(f"one of {values}"))
            else:
                accepted += values
                await rig.fake.answer(None)
            assert rig.balanced()
        assert accepted == [0, 1, 2, 4, 5, 7]
        assert rig.dead == [(3, "one of [3]"), (6, "one of [6]")]


async def test_an_outage_in_the_middle_of_a_bisection_loses_nothing() -> None:
    async with Rig({"retry": {"initial": "1s"}}) as rig:
        rig.delivery.offer(batch(0, 1))
        await settle()
        await rig.fake.answer(Rejected("one of two"), Unavailable("down"))
        await rig.timers.advance(1)
        await rig.fake.answer(None, Rejected("this one"))
        assert rig.fake.values() == [[0, 1], [0], [0], [1]]
        assert rig.dead == [(1, "this one")]


async def test_a_value_that_cannot_be_encoded_is_a_rejection() -> None:
    async with Rig() as rig:
        rig.delivery.offer(batch(0))
        await settle()
        await rig.fake.answer(PayloadError("cannot be written as JSON", "json"))
        assert rig.dead == [(0, "cannot be written as JSON")]


async def test_trouble_in_the_dead_letters_does_not_stop_delivery(caplog: pytest.LogCaptureFixture) -> None:
    async with Rig() as rig:
        rig.delivery._on_dead = lambda _batch, _rows: 1 / 0  # type: ignore[assignment, return-value]
        rig.delivery.offer(batch(0))
        await settle()
        await rig.fake.answer(Rejected("no"))
        rig.delivery.offer(batch(1))
        await settle()
        await rig.fake.answer(None)
        assert (rig.delivery.counts.rejected, rig.delivery.counts.delivered) == (1, 1)
    assert "handling of 1 rejected rows failed" in caplog.text


# -- another sink while this one is out of reach ----------------------------------------------------------------

FALLBACK = {"sink": "other", "after": "10s"}


async def test_rows_go_to_another_sink_after_a_while_and_come_back() -> None:
    async with Rig({"on_unavailable": FALLBACK, "retry": {"initial": "1s"}}) as rig:
        rig.delivery.offer(batch(0))
        await settle()
        rig.delivery.offer(batch(1))
        await rig.fake.answer(Unavailable("gone"))
        await rig.timers.advance(9.9)
        rig.delivery.offer(batch(2))
        assert rig.diverted == []
        await rig.timers.advance(0.1)
        assert rig.diverted == [1, 2]
        rig.delivery.offer(batch(3))
        assert rig.diverted == [1, 2, 3]
        assert rig.delivery.counts.in_flight == 1  # it probes
        assert rig.balanced()
        await rig.fake.answer(None)
        rig.delivery.offer(batch(4))
        await settle()
        await rig.fake.answer(None)
        assert rig.diverted == [1, 2, 3]
        assert (rig.delivery.counts.delivered, rig.delivery.counts.diverted) == (2, 3)


async def test_a_short_outage_diverts_nothing() -> None:
    async with Rig({"on_unavailable": FALLBACK, "retry": {"initial": "1s"}}) as rig:
        for n in range(3):
            rig.delivery.offer(batch(n))
            await settle()
            await rig.fake.answer(Unavailable("gone"))
            await rig.timers.advance(1)
            await rig.fake.answer(None)
            await rig.timers.advance(30)
        assert rig.diverted == []


async def test_a_sink_that_never_opens_has_its_rows_diverted() -> None:
    rig = Rig({"on_unavailable": FALLBACK, "retry": {"initial": "1s", "max_delay": "1s"}})
    rig.fake.open_errors = [Unavailable("not there")] * 12
    async with rig:
        rig.delivery.offer(batch(0))
        for _ in range(10):
            await rig.timers.advance(1)
        rig.delivery.offer(batch(1))
        assert rig.diverted == [0, 1]
        await rig.timers.advance(1)
        await rig.timers.advance(1)
        rig.delivery.offer(batch(2))
        await settle()
        await rig.fake.answer(None)
        assert rig.fake.values() == [[2]]


async def test_a_full_fallback_holds_rows_back_until_it_has_room() -> None:
    async with Rig({"on_unavailable": FALLBACK, "retry": {"initial": "1h"}}) as rig:
        rig.fallback_is_full = True
        rig.delivery.offer(batch(0))
        await settle()
        await rig.fake.answer(Unavailable("gone"))
        rig.delivery.offer(batch(1))
        await rig.timers.advance(10)
        assert not rig.delivery.offer(batch(2))
        assert rig.diverted == []
        rig.fallback_is_full = False
        await rig.timers.advance(1)
        assert rig.diverted == [1]
        assert rig.delivery.offer(batch(2))
        assert rig.diverted == [1, 2]


async def test_where_nothing_is_left_to_probe_with_the_next_rows_do() -> None:
    settings = {"on_unavailable": FALLBACK, "retry": {"initial": "1s", "max_elapsed": "5s"}}
    async with Rig(settings) as rig:
        rig.delivery.offer(batch(0))
        await settle()
        await rig.fake.answer(Unavailable("gone"))
        await rig.timers.advance(6)
        await rig.fake.answer(Unavailable("gone"))
        assert rig.delivery.counts.dropped_by_reason == {"expired": 1}
        await rig.timers.advance(10)
        rig.delivery.offer(batch(1))
        rig.delivery.offer(batch(2))
        assert rig.diverted == [2]
        await settle()
        await rig.timers.advance(10)
        await rig.fake.answer(None)
        assert rig.delivery.state is State.CONNECTED
        assert rig.fake.values()[-1] == [1]


async def test_outages_are_counted_and_defects_have_their_place(caplog: pytest.LogCaptureFixture) -> None:
    async with Rig({"retry": {"initial": "1s"}}) as rig:
        rig.delivery.offer(batch(0))
        await settle()
        await rig.fake.answer(ZeroDivisionError("a defect"))
        await rig.timers.advance(1)
        await rig.fake.answer(ZeroDivisionError("a defect"))
        assert sum(record.exc_info is not None for record in caplog.records) == 1
        values = {family.name: [s.value for s in family.samples] for family in rig.metrics.collect()}
        assert values["headrace_sink_outages_total"] == [1]
        assert values["headrace_sink_last_error_timestamp_seconds"] == [1_001]
        await rig.timers.advance(2)
        await rig.fake.answer(None)


async def test_a_destination_that_comes_and_goes_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "headrace.sinks"):
        async with Rig() as rig:
            for number in range(5):
                rig.delivery.offer(batch(number))
                await settle()
                await rig.fake.answer(Unavailable(f"away {number}"))
                await rig.timers.advance(1)
                await rig.fake.answer(None)
            rig.delivery.offer(batch(5))
            await settle()
            for _ in range(4):  # this one lasts
                await rig.fake.answer(Unavailable("gone"))
                await rig.timers.advance(30)
            await rig.fake.answer(None)
            assert rig.delivery.counts.delivered == 6
            assert rig.delivery._health.outages == 6
    assert [record.getMessage() for record in caplog.records] == [
        "sink sink is unavailable and is tried again: away 0",
        "sink sink is available again, failed attempts: 1",
        "sink sink is unavailable and is tried again: gone (outages since the last line: 5)",
        "sink sink is available again, failed attempts: 4",
    ]
