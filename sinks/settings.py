"""The settings that every sink has beside its own: how rows are batched, buffered and tried again.

They are tables in the sink's own section (``batch``, ``buffer``, ``retry``, ``rate``, ``on_unavailable``). The structs
say what each value means and are the source of the reference page; :mod:`sinks.delivery` does what they say.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from core.clock import MILLISECOND, SECOND
from core.settings import Duration, Size

WhenFull = Literal["block", "drop_new", "drop_oldest"]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class BatchSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """When rows leave together. After a pause the first row leaves at once: the limits are for load."""

    max_rows: Positive = 1_000
    """The most rows of one write."""
    max_bytes: Size = Size(1 << 20)
    """A batch of about this size is full; the size of rows is estimated from samples."""
    max_age: Duration = Duration(200 * MILLISECOND)
    """The longest that rows wait for company while a write could be started."""
    linger: Duration = Duration(5 * MILLISECOND)
    """The least time from the start of one write to the next, for a batch that is not full: writes have a price."""
    in_flight: Positive | None = None
    """Writes at a time, at most what the sink allows (the default); 1 keeps the rows of a rule in order."""


class BufferSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What waits in memory for this sink, rows in flight included."""

    max_rows: Positive = 1_000_000
    """Full when so many rows wait, or so many bytes."""
    max_bytes: Size = Size(256 << 20)
    """Estimated from samples, as the rows are in memory."""
    when_full: WhenFull = "block"
    """``block`` pauses the sources, ``drop_new`` and ``drop_oldest`` lose rows and count them."""


class RetrySettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """How an unavailable destination is tried again: after a random pause of 0 to ``initial`` * 2^n."""

    initial: Duration = Duration(100 * MILLISECOND)
    """Where that range begins."""
    max_delay: Duration = Duration(30 * SECOND)
    """The upper bound of that range; a longer pause asked for by the far side is honoured."""
    max_elapsed: Duration | None = None
    """Rows older than this are dropped when an attempt fails (reason ``expired``); without it, never."""
    attempt_timeout: Duration = Duration(30 * SECOND)
    """How long one attempt to open or write may take before it counts as failed."""


class RateSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A limit for the sake of the destination. What it holds back waits in the buffer."""

    rows_per_second: Annotated[float, msgspec.Meta(gt=0)]
    """How many rows may begin their way in a second, on average; attempts after a failure do not count again."""
    burst: Positive | None = None
    """How many may go at once after a pause, and the most rows of one write; else one second's worth."""

    @property
    def most(self) -> int:
        """The rows of a burst."""
        return self.burst or max(int(self.rows_per_second), 1)


class FallbackSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Where rows go while this sink is out of reach."""

    sink: str
    """The sink that takes them. What it has taken stays there."""
    after: Duration = Duration(300 * SECOND)
    """How long this sink has to be out of reach before."""


class DeliverySettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """The tables as one value; the application decodes them out of the sink's section."""

    batch: BatchSettings = BatchSettings()
    buffer: BufferSettings = BufferSettings()
    retry: RetrySettings = RetrySettings()
    rate: RateSettings | None = None
    on_unavailable: FallbackSettings | None = None
