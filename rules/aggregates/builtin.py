"""The table of all built-in aggregates."""

from __future__ import annotations

from typing import Final

from rules.aggregates import collected, numbers, ordered
from rules.aggregates.base import AggregateTable
from rules.aggregates.collected import COLLECTED
from rules.aggregates.meters import METERS
from rules.aggregates.numbers import NUMBERS
from rules.aggregates.ordered import ORDERED
from rules.aggregates.sketches import SKETCHES

AGGREGATES: Final = AggregateTable(
    NUMBERS,
    ORDERED,
    COLLECTED,
    METERS,
    SKETCHES,
    aliases={**numbers.ALIASES, **ordered.ALIASES, **collected.ALIASES},
)
