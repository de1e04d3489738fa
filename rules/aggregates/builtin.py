"""The table of all built-in aggregates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rules.aggregates import collected, numbers, ordered
from rules.aggregates.base import Aggregate, AggregateTable
from rules.aggregates.collected import COLLECTED
from rules.aggregates.meters import METERS
from rules.aggregates.numbers import NUMBERS
from rules.aggregates.ordered import ORDERED
from rules.aggregates.sketches import SKETCHES

GROUPS: Final[Mapping[str, Sequence[Aggregate]]] = {
    "Counts, sums, extremes": NUMBERS,
    "One row of many": ORDERED,
    "Percentiles and lists": COLLECTED,
    "Meters": METERS,
    "Approximate": SKETCHES,
}
"""All built-in aggregates by what they are about."""

AGGREGATES: Final = AggregateTable(
    *GROUPS.values(),
    aliases={**numbers.ALIASES, **ordered.ALIASES, **collected.ALIASES},
)
