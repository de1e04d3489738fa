"""Joins: a stream with a lookup table, and two streams. The pure core; docs/concepts/joins.md has the rules.

For the compiler of queries
---------------------------

*Lookup*: one :class:`LookupTable` per CREATE TABLE, kept over reloads while its options and columns stay; a
:class:`LookupPlan` per join, ``LookupJoin(plan, table)`` runs it. Input rows are tuples of any width with the key at
``plan.key``; output is ``row + table row`` (nulls for a LEFT JOIN without a match). What ON asks for beyond the key is
the post program's WHERE for an inner join; for a LEFT JOIN it is ``plan.on``, a function of the joined row.

*Two streams*: a :class:`StreamPlan`; ``StreamJoin(plan)`` runs it, with ``process_left`` and ``process_right`` instead
of ``process``. Output is ``left row + right row``, ``plan.on`` as above.

For the runtime
---------------

Both are operators as those of ``rules.windows`` (``advance``, ``next_deadline``, ``finish``, ``take_rejected``,
``snapshot``, ``restore``, ``counters``), with ``now`` in nanoseconds. Beyond that:

* while a :class:`LookupJoin` is ``full``, the engine takes no messages: they stay in the inbox;
* answers come from outside, through :class:`LookupHost`, between two batches. They move ``next_deadline`` of every join
  of that table to 0, so the host must look at those again;
* :attr:`StreamJoin.watermark`: no row with an earlier time on its left side comes out any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from core.message import Batch, Row
from rules.joins.keys import Key, join_key, key_reader, key_values
from rules.joins.lookup import LookupCounters, LookupJoin, LookupPlan
from rules.joins.options import LookupOptions, OnFailure
from rules.joins.stream import Bounds, Side, StreamCounters, StreamJoin, StreamLimits, StreamPlan
from rules.joins.table import LookupTable, TableCounters, grouped


class LookupHost(Protocol):
    """The half of ``rules.runtime.Engine`` that ``headrace.lookups`` needs.

    ``headrace.lookups`` sets ``wake`` of every table, takes keys with ``take_requests`` and answers them here. Both
    calls hand on to the table (``LookupTable.resolve``, ``.failed``), then advance the joins of that table, and give
    what came of it. A table that a reload has replaced is nobody's: its answers are dropped.
    """

    @property
    def lookup_tables(self) -> Mapping[str, LookupTable]:
        """By name, those of the rules that are loaded."""
        ...

    def resolve(self, table: LookupTable, answers: Mapping[Key, Sequence[Row]], now: int) -> list[Batch]: ...

    def lookup_failed(self, table: LookupTable, keys: Sequence[Key], reason: str, now: int) -> list[Batch]: ...


__all__ = [
    "Bounds",
    "Key",
    "LookupCounters",
    "LookupHost",
    "LookupJoin",
    "LookupOptions",
    "LookupPlan",
    "LookupTable",
    "OnFailure",
    "Side",
    "StreamCounters",
    "StreamJoin",
    "StreamLimits",
    "StreamPlan",
    "TableCounters",
    "grouped",
    "join_key",
    "key_reader",
    "key_values",
]
