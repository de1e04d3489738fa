"""The contract suite of sinks: rows of every type, rejections, cancelled and concurrent writes, opening and closing.

A sink is tried alone and below a :class:`sinks.delivery.Delivery`. Nothing is simulated: what arrives is read back.
"""

# ruff: noqa: S101 - test code that lives in the package

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from core.clock import SystemClock
from core.errors import SinkError
from core.message import MISSING, Batch, Row, Schema, Type
from core.metrics import Metrics
from sinks.base import Sink, SinkContext
from sinks.delivery import Delivery
from sinks.settings import DeliverySettings

PLAIN = Schema(("id", "station", "kw"), (Type.BIGINT, Type.TEXT, Type.DOUBLE))
"""The schema of most tests; ``id`` is unique within a test."""

VALUES: dict[Type, tuple[Any, ...]] = {
    Type.BOOLEAN: (True, False),
    Type.BIGINT: (0, -1, 2**53 + 1, -(2**63)),
    Type.DOUBLE: (0.0, -1.5, 1e300),
    Type.DECIMAL: (Decimal("12.5"), Decimal(-3)),
    Type.TEXT: ("", "Grüße \U0001f50c", 'it\'s "quoted" \\ and\nbroken', "${kw}"),
    Type.BYTES: (b"", b"text", b"\x00\xff\xfe"),
    Type.TIMESTAMP: (0, 1_767_225_600_123_456),
    Type.INTERVAL: (1_500_000,),
    Type.ARRAY: ([], [1, "a", None, 2.5]),
    Type.OBJECT: ({}, {"a": {"b": [1, {"c": None}]}}),
    Type.ANY: (7, 2.5, "007", "text", True, {"a": [1]}, [1, 2]),
}
"""Values of every type that a sink must take; each comes in a row of its own, with NULL in all other columns."""


class SinkContract:
    """What :class:`sinks.base.Sink` promises. Implement :meth:`make_sink` and :meth:`read_back`."""

    big_batch: ClassVar[int] = 5_000
    """How many rows the test of a large batch writes."""

    def make_sink(self, context: SinkContext) -> Sink:
        """A sink on an empty destination (empty at the beginning of every test); called anew for every instance."""
        raise NotImplementedError

    async def read_back(self) -> Sequence[dict[str, Any]] | None:
        """All rows at the destination, in any order; None where the sink keeps nothing to read."""
        raise NotImplementedError

    def values(self, kind: Type) -> Sequence[Any]:
        """The values of a type that are written: fewer where the destination has one type per column for good."""
        return VALUES[kind]

    def arrives_as(self, kind: Type, value: Any) -> Any:
        """What ``value`` (it may be None or MISSING) of a column of type ``kind`` is when it is read back."""
        del kind
        return None if value is MISSING else value

    def bad_row(self, identity: int) -> Row | None:
        """A row of PLAIN that the far side refuses for good; None where it refuses none."""
        del identity
        return None

    # -- the tests ------------------------------------------------------------------------------------------------

    def test_its_name_is_the_one_it_is_registered_under(self) -> None:
        sink = self.make_sink(self.context())
        assert isinstance(sink, Sink), f"{sink!r} is not a Sink"
        assert sink.name, "a sink has a name"
        assert sink.max_in_flight >= 1, "max_in_flight is at least 1"

    def test_a_row_arrives(self) -> None:
        self.run(PLAIN, self.rows(1))

    def test_a_batch_arrives_whole(self) -> None:
        self.run(PLAIN, self.rows(self.big_batch))

    def test_an_empty_batch_is_no_error(self) -> None:
        self.run(PLAIN, [])

    def test_values_of_every_type_arrive(self) -> None:
        kinds = tuple(VALUES)
        schema = Schema(("id", *[f"c_{kind.value.lower()}" for kind in kinds]), (Type.BIGINT, *kinds))
        rows: list[Row] = []
        for position, kind in enumerate(kinds):
            for value in self.values(kind):
                rows.append((len(rows), *[value if index == position else None for index in range(len(kinds))]))
        self.run(schema, rows)

    def test_null_and_missing_arrive(self) -> None:
        self.run(PLAIN, [(0, None, None), (1, MISSING, MISSING), (2, "a", MISSING), (3, None, 1.5)])

    def test_what_was_written_before_a_close_stays_and_it_opens_again(self) -> None:
        async def twice(sink: Sink) -> None:
            await sink.open()
            await sink.write(batch(PLAIN, self.rows(1)))
            await sink.close()
            await sink.open()
            await sink.write(batch(PLAIN, self.rows(2)[1:]))

        self.check(PLAIN, self.rows(2), twice)

    def test_closing_twice_and_before_opening_is_harmless(self) -> None:
        async def close(sink: Sink) -> None:
            await sink.close()
            await sink.open()
            await sink.close()
            await sink.close()

        self.check(PLAIN, [], close)

    def test_a_check_writes_nothing(self) -> None:
        async def check(sink: Sink) -> None:
            await sink.check()
            await sink.check()

        self.check(PLAIN, [], check)

    def test_it_opens_after_a_check(self) -> None:
        rows = self.rows(1)

        async def check(sink: Sink) -> None:
            await sink.check()
            await sink.open()
            await sink.write(batch(PLAIN, rows))

        self.check(PLAIN, rows, check)

    def test_as_many_writes_at_a_time_as_it_says(self) -> None:
        rows = self.rows(40)

        async def together(sink: Sink) -> None:
            await sink.open()
            await sink.write(batch(PLAIN, rows[:1]))
            step = sink.max_in_flight
            for start in range(1, len(rows), step):
                await asyncio.gather(*[sink.write(batch(PLAIN, [row])) for row in rows[start : start + step]])

        self.check(PLAIN, rows, together)

    def test_a_cancelled_write_does_not_break_the_next(self) -> None:
        first, *rest = self.rows(3)

        async def cancel(sink: Sink) -> None:
            await sink.open()
            task = asyncio.ensure_future(sink.write(batch(PLAIN, [first])))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for attempt in range(50):
                try:
                    await sink.write(batch(PLAIN, rest))
                    break
                except SinkError:
                    assert attempt < 49, "the sink does not recover from a cancelled write"
                    await asyncio.sleep(0.01)

        self.check(PLAIN, rest, cancel, may_have=[first])

    def test_delivery_accounts_for_every_row(self) -> None:
        rows = self.rows(500)
        dead = self.deliver(rows)
        assert dead == []

    def test_a_bad_row_never_blocks_a_good_one(self) -> None:
        bad = self.bad_row(7)
        if bad is None:
            return
        rows = self.rows(20)
        rows[7] = bad
        dead = self.deliver(rows, expected=rows[:7] + rows[8:])
        assert [row for row, _ in dead] == [bad]
        assert dead[0][1], "a rejection has a reason"

    # -- how they run ---------------------------------------------------------------------------------------------

    def context(self, *schemas: Schema) -> SinkContext:
        return SinkContext(name="contract", base_dir=Path(tempfile.gettempdir()), schemas=schemas)

    def rows(self, count: int) -> list[Row]:
        """``count`` different rows of PLAIN."""
        return [(number, f"cp{number % 60}", number / 8) for number in range(count)]

    def run(self, schema: Schema, rows: Sequence[Row]) -> None:
        """Write ``rows`` as one batch and compare."""

        async def write(sink: Sink) -> None:
            await sink.open()
            await sink.write(batch(schema, rows))

        self.check(schema, rows, write)

    def check(
        self,
        schema: Schema,
        rows: Sequence[Row],
        use: Callable[[Sink], Coroutine[Any, Any, None]],
        may_have: Sequence[Row] = (),
    ) -> None:
        """Let ``use`` work with a sink, close it and compare what arrived with ``rows`` (and perhaps ``may_have``)."""

        async def main() -> Sequence[dict[str, Any]] | None:
            sink = self.make_sink(self.context(schema))
            try:
                await use(sink)
            finally:
                await sink.close()
            connection = sink.context.connection
            assert connection is None or not connection.in_use, "a closed sink has left its connection"
            return await self.read_back()

        self.compare(schema, rows, asyncio.run(main()), may_have)

    def deliver(self, rows: Sequence[Row], expected: Sequence[Row] | None = None) -> list[tuple[Row, str]]:
        """Send ``rows`` of PLAIN through a Delivery, check its account, and return the dead rows with their reasons."""
        dead: list[tuple[Row, str]] = []

        def bury(batch: Batch, rows: list[tuple[int, str]]) -> None:
            dead.extend((batch.rows[index], reason) for index, reason in rows)

        async def main() -> Sequence[dict[str, Any]] | None:
            delivery = Delivery(
                "contract",
                self.make_sink(self.context(PLAIN)),
                DeliverySettings(),
                clock=SystemClock(),
                metrics=Metrics(),
                on_room=lambda: None,
                on_dead=bury,
            )
            await delivery.start()
            try:
                assert delivery.offer(batch(PLAIN, rows)), "an empty buffer takes a batch"
                async with asyncio.timeout(60):
                    await delivery.drain()
                counts = delivery.counts
                assert (counts.delivered, counts.rejected, counts.dropped) == (len(rows) - len(dead), len(dead), 0)
            finally:
                await delivery.close()
            return await self.read_back()

        self.compare(PLAIN, rows if expected is None else expected, asyncio.run(main()))
        return dead

    def compare(
        self,
        schema: Schema,
        rows: Sequence[Row],
        found: Sequence[dict[str, Any]] | None,
        may_have: Sequence[Row] = (),
    ) -> None:
        """AssertionError unless ``found`` has exactly ``rows``, by the column ``id``."""
        if found is None:
            return
        arrived = {row["id"]: row for row in found}
        assert len(arrived) == len(found), "a row arrived twice"
        optional = {row[0] for row in may_have} - {row[0] for row in rows}
        wanted = {
            row[0]: {
                name: self.arrives_as(kind, value)
                for name, kind, value in zip(schema.names, schema.types, row, strict=True)
            }
            for row in rows
        }
        extra = arrived.keys() - wanted.keys() - optional
        assert not extra, f"rows that were never written: {sorted(extra)}"
        lost = wanted.keys() - arrived.keys()
        assert not lost, f"rows that did not arrive: {sorted(lost)}"
        for identity, row in wanted.items():
            for name, value in row.items():
                got = arrived[identity].get(name)
                same = got == value and (type(got) is type(value) or not isinstance(value, bool | int | float))
                assert same, f"row {identity}, column {name}: {got!r} arrived, not {value!r}"


def batch(schema: Schema, rows: Sequence[Row]) -> Batch:
    """``rows`` as a batch of the rule ``contract.rule``."""
    return Batch("contract", "contract.rule", schema, list(rows))
