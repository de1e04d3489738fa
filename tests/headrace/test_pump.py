"""The pump between inbox, rules and deliveries, with all three replaced by lists."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from core.clock import MILLISECOND, SECOND, ManualClock
from core.inbox import MemoryInbox
from core.message import Batch, Message, Schema, Type
from core.metrics import Metrics
from headrace.pump import SLICE, Pump
from rules.joins import LookupOptions, LookupTable

SCHEMA = Schema(("topic",), (Type.TEXT,))


class Rules:
    """One batch per target for all messages of a call; the topic's first level is the target."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.broken = False
        self.ready = 0
        self.full = False
        self.table = LookupTable("stations", LookupOptions(key=("id",), file="stations.csv"), 1)

    def resolve(self, table: LookupTable, answers: Mapping[Any, Sequence[Any]], now: int) -> list[Batch]:
        return self._answered(dict(answers))

    def lookup_failed(self, table: LookupTable, keys: Sequence[Any], reason: str, now: int) -> list[Batch]:
        return self._answered([list(keys), reason])

    def _answered(self, answer: Any) -> list[Batch]:
        if self.broken:
            raise RuntimeError("boom")
        self.full = False
        return [Batch("a", "rule", SCHEMA, [(answer,)])]

    @property
    def next_deadline(self) -> int | None:
        return 0 if self.ready else None

    def process(self, messages: Sequence[Message], now: int) -> list[Batch]:
        self.calls.append(len(messages))
        if self.broken:
            raise RuntimeError("boom")
        targets: dict[str, list[tuple[str, ...]]] = {}
        for message in messages:
            targets.setdefault(message.topic.split("/")[0], []).append((message.topic,))
        return [Batch(target, "rule", SCHEMA, rows) for target, rows in targets.items()]

    def advance(self, now: int) -> list[Batch]:
        if self.broken:
            raise RuntimeError("boom")
        self.ready -= 1
        return [Batch("a", "rule", SCHEMA, [("tick",)])]


class Outlet:
    def __init__(self) -> None:
        self.full = False
        self.rows: list[str] = []

    def offer(self, batch: Batch) -> bool:
        if not self.full:
            self.rows.extend(row[0] for row in batch.rows)
        return not self.full


class Bench:
    def __init__(self, *, max_messages: int = 100, linger: int = 0) -> None:
        self.clock = ManualClock(SECOND)
        self.rules = Rules()
        self.resumed = 0
        self.a, self.b = Outlet(), Outlet()
        self.pump = Pump(self.rules, self.clock, Metrics(), self.resume, linger)
        self.inbox = MemoryInbox(self.pump.wake, max_messages=max_messages)
        self.pump.attach(self.inbox)
        self.pump.outlets = {"a": self.a, "b": self.b}

    def resume(self) -> None:
        self.resumed += 1

    def publish(self, *topics: str) -> None:
        self.inbox.append([Message(topic, b"") for topic in topics])


async def test_all_messages_of_a_turn_are_one_call() -> None:
    bench = Bench()
    bench.publish("a/1")
    bench.publish("b/1", "a/2")
    await bench.pump.idle()
    assert bench.rules.calls == [3]
    assert (bench.a.rows, bench.b.rows) == (["a/1", "a/2"], ["b/1"])
    assert bench.resumed == 1


async def test_the_rules_run_at_once_after_a_pause_and_then_gather_company(monkeypatch: pytest.MonkeyPatch) -> None:
    timers: list[tuple[float, Callable[[], None]]] = []
    bench = Bench(linger=2 * MILLISECOND)
    loop = SimpleNamespace(
        call_soon=asyncio.get_running_loop().call_soon,
        call_later=lambda seconds, callback: timers.append((seconds, callback)),
    )
    monkeypatch.setattr(bench.pump, "_loop", loop)
    bench.publish("a/1")
    await bench.pump.idle()
    assert bench.a.rows == ["a/1"]
    bench.clock.advance(MILLISECOND)
    bench.publish("a/2")
    bench.publish("a/3")
    await asyncio.sleep(0)
    assert bench.a.rows == ["a/1"]
    [(seconds, callback)] = timers
    assert seconds == pytest.approx(0.001)
    callback()
    assert bench.rules.calls == [1, 2]
    bench.clock.advance(2 * MILLISECOND)
    bench.publish("a/4")
    await bench.pump.idle()
    assert bench.a.rows == ["a/1", "a/2", "a/3", "a/4"]


async def test_a_full_delivery_stops_the_pump_until_it_has_room() -> None:
    bench = Bench(max_messages=2)
    bench.a.full = True
    bench.publish("a/1", "b/1")
    await asyncio.sleep(0)
    bench.publish("a/2", "b/2")
    await asyncio.sleep(0)
    assert (bench.a.rows, bench.b.rows) == ([], ["b/1"])
    assert bench.inbox.full
    assert bench.pump.held_rows == 1
    bench.pump.advance()
    assert bench.a.rows == []
    bench.a.full = False
    bench.pump.on_room()
    await bench.pump.idle()
    assert (bench.a.rows, bench.b.rows) == (["a/1", "a/2"], ["b/1", "b/2"])
    assert not bench.inbox.full


async def test_room_that_is_not_enough_keeps_the_order() -> None:
    bench = Bench()
    bench.a.full = True
    bench.publish("a/1")
    await asyncio.sleep(0)
    bench.pump.on_room()
    await asyncio.sleep(0)
    assert bench.pump.held_rows == 1
    bench.a.full = False
    bench.publish("a/2")
    bench.pump.on_room()
    await bench.pump.idle()
    assert bench.a.rows == ["a/1", "a/2"]


async def test_a_delivery_that_is_gone_holds_nobody_up() -> None:
    bench = Bench()
    bench.a.full = True
    bench.publish("a/1", "a/2")
    await asyncio.sleep(0)
    bench.publish("b/1")
    assert [batch.rows for batch in bench.pump.reclaim(bench.a)] == [[("a/1",), ("a/2",)]]
    await bench.pump.idle()
    assert bench.b.rows == ["b/1"]


async def test_a_full_inbox_is_worked_off_in_slices() -> None:
    bench = Bench(max_messages=10_000)
    bench.publish(*["a/x"] * (2 * SLICE + 1))
    await bench.pump.idle()
    assert bench.rules.calls == [SLICE, SLICE, 1]
    assert bench.resumed == 1
    assert bench.pump.unprocessed == 0


async def test_a_full_inbox_is_worked_off_before_anything_more_is_read() -> None:
    bench = Bench(max_messages=10_000)
    bench.publish(*["a/x"] * (2 * SLICE + 1))
    await asyncio.sleep(0)
    assert bench.pump.unprocessed == 0


async def test_what_comes_in_behind_a_slice_that_waits_is_not_forgotten() -> None:
    bench = Bench(max_messages=10_000)
    bench.a.full = True
    bench.publish(*["a/x"] * (SLICE + 1))
    await asyncio.sleep(0)
    assert bench.pump.unprocessed == 1
    assert bench.resumed == 0
    bench.publish("a/late")
    bench.a.full = False
    bench.pump.on_room()
    await bench.pump.idle()
    assert len(bench.a.rows) == SLICE + 2
    assert bench.a.rows[-1] == "a/late"
    assert len(bench.inbox) == 0


async def test_a_backlog_behind_a_full_delivery_is_not_forgotten() -> None:
    bench = Bench(max_messages=10_000)
    bench.a.full = True
    bench.publish(*["a/x"] * (2 * SLICE))
    await asyncio.sleep(0)
    assert (bench.pump.held_rows, bench.pump.unprocessed) == (SLICE, SLICE)
    bench.publish(*["a/y"] * SLICE)
    bench.a.full = False
    bench.pump.on_room()
    bench.publish("a/z")
    await bench.pump.idle()
    assert bench.a.rows == [*["a/x"] * 2 * SLICE, *["a/y"] * SLICE, "a/z"]
    assert bench.resumed == 1


async def test_after_halt_messages_stay_where_they_are() -> None:
    bench = Bench()
    bench.publish("a/1")
    bench.pump.halt()
    await asyncio.sleep(0)
    assert len(bench.inbox) == 1
    assert bench.a.rows == []


async def test_what_is_due_is_done_piece_by_piece_with_the_loop_between() -> None:
    bench = Bench()
    bench.pump.advance()
    assert bench.a.rows == []
    bench.rules.ready = 3
    bench.pump.advance()
    assert bench.a.rows == ["tick"]
    for _ in range(5):
        await asyncio.sleep(0)
    assert bench.a.rows == ["tick", "tick", "tick"]


async def test_what_is_due_waits_while_a_delivery_is_full() -> None:
    bench = Bench()
    bench.rules.ready = 2
    bench.a.full = True
    bench.pump.advance()
    bench.pump.advance()
    assert bench.rules.ready == 1
    bench.a.full = False
    bench.pump.on_room()
    bench.pump.advance()
    assert bench.a.rows == ["tick", "tick"]


async def test_a_defect_in_the_rules_leaves_the_pump_running(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.rules.ready = 1
    bench.rules.broken = True
    with caplog.at_level(logging.ERROR):
        bench.pump.advance()
    assert "kept windows from closing" in caplog.text
    bench.rules.broken = False
    bench.pump.advance()
    assert bench.a.rows == ["tick"]


async def test_a_defect_in_the_rules_costs_its_messages_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.rules.broken = True
    with caplog.at_level(logging.ERROR):
        bench.publish("a/1")
        await bench.pump.idle()
    assert "a defect in the rule engine lost 1 messages" in caplog.text
    bench.rules.broken = False
    bench.publish("a/2")
    await bench.pump.idle()
    assert bench.a.rows == ["a/2"]


async def test_rows_that_wait_for_a_lookup_table_stop_the_pump_until_there_is_room() -> None:
    bench = Bench(max_messages=2)
    bench.rules.full = True
    bench.publish("a/1")
    await asyncio.sleep(0)
    bench.publish("a/2", "a/3")
    await asyncio.sleep(0)
    assert bench.rules.calls == [1]
    assert bench.inbox.full
    assert bench.resumed == 0
    bench.pump.resolve(bench.rules.table, {"k": [(1,)]})
    await bench.pump.idle()
    assert bench.rules.calls == [1, 2]
    assert bench.a.rows == ["a/1", {"k": [(1,)]}, "a/2", "a/3"]
    assert bench.resumed == 1


async def test_time_that_passes_makes_room_too() -> None:
    bench = Bench()
    bench.rules.full = True
    bench.publish("a/1")
    await asyncio.sleep(0)
    bench.publish("a/2")
    bench.rules.full = False
    bench.rules.ready = 1
    bench.pump.advance()
    await bench.pump.idle()
    assert bench.a.rows == ["a/1", "tick", "a/2"]


async def test_a_lookup_table_that_does_not_answer_is_told_and_a_defect_there_is_no_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    bench.pump.lookup_failed(bench.rules.table, ["k"], "refused")
    assert bench.a.rows == [[["k"], "refused"]]
    bench.rules.broken = True
    with caplog.at_level(logging.ERROR):
        bench.pump.resolve(bench.rules.table, {})
    assert "lost the answer of a lookup table" in caplog.text


async def test_a_reload_that_gives_up_waiting_rows_makes_room_too() -> None:
    bench = Bench()
    bench.rules.full = True
    bench.publish("a/1")
    await asyncio.sleep(0)
    bench.publish("a/2")
    bench.rules.full = False
    bench.pump.hand_on([])
    await bench.pump.idle()
    assert bench.a.rows == ["a/1", "a/2"]
