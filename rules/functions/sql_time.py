"""PostgreSQL's functions on instants and intervals; the types are TIMESTAMP and INTERVAL, see ``instants``."""

from __future__ import annotations

from typing import Annotated, Any, Final

from core.message import Type
from rules.functions.base import Category, Float, Interval, Kind, Refusal, Timestamp, shown
from rules.functions.instants import TRUNCATIONS, check_zone, checked_instant, truncated
from rules.functions.intervals import SECOND, unit_of

CATEGORY = Category("instants and intervals")
scalar = CATEGORY.scalar

_BEYOND: Final = frozenset({"quarter", "decade", "century", "millennium"})


def _truncation(unit: Any) -> str:
    name = str(unit).lower()
    known = name if name in _BEYOND else unit_of(name)
    if known not in TRUNCATIONS:
        raise Refusal(f"{shown(unit)} is none of {', '.join(TRUNCATIONS)}")
    return known


Unit = Annotated[str, Kind("a unit", frozenset({Type.TEXT}), {str: None}, _truncation)]
Zone = Annotated[str, Kind("a time zone", frozenset({Type.TEXT}), {str: None}, check_zone)]


@scalar(
    Type.TIMESTAMP,
    ("date_trunc('hour', TIMESTAMP '2026-01-02T03:04:05Z')", "2026-01-02T03:00:00Z"),
    ("date_trunc('day', TIMESTAMP '2026-01-01T20:00:00Z', 'Asia/Shanghai')", "2026-01-01T16:00:00Z"),
    propagate=True,
)
def date_trunc(unit: Unit, at: Timestamp, zone: Zone = "UTC") -> int:
    """The beginning of the unit (microsecond to millennium; week: Monday) that an instant lies in, by the clocks of the
    zone. `date_trunc(unit, x AT TIME ZONE 'zone')` is the same."""
    return truncated(_truncation(unit), at, zone)


@scalar(
    Type.TIMESTAMP,
    (
        "date_bin(INTERVAL '15 minutes', TIMESTAMP '2026-01-02T03:44:05Z', TIMESTAMP '2026-01-01T00:05:00Z')",
        "2026-01-02T03:35:00Z",
    ),
    propagate=True,
)
def date_bin(size: Interval, at: Timestamp, origin: Timestamp = 0) -> int:
    """The beginning of the interval that an instant lies in, where intervals of that size are counted from `origin`
    (1970-01-01 in UTC)."""
    if size <= 0:
        raise Refusal("the size must be more than nothing")
    return at - (at - origin) % size


@scalar(Type.TIMESTAMP, ("to_timestamp(1767225600.5)", "2026-01-01T00:00:00.500Z"), propagate=True)
def to_timestamp(seconds: Float) -> int:
    """The instant so many seconds after 1970-01-01 in UTC; CAST(x AS TIMESTAMP) takes milliseconds."""
    return checked_instant(round(seconds * SECOND))
