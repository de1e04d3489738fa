"""TIMESTAMP: an instant as an integer of microseconds since the epoch. Texts, zones, parts, and the calendar.

Pure functions over such integers. The proleptic Gregorian calendar from year 1 to 9999, in UTC unless a zone of the
IANA database is given. EMQX's functions on dates are in ``temporal``; their integers have no type of their own.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from core.instants import EPOCH
from core.registry import did_you_mean
from rules.functions.base import Refusal, shown
from rules.functions.intervals import DAY, HOUR, MINUTE, SECOND, UNITS

FIRST: Final = -62_135_596_800_000_000
LAST: Final = 253_402_300_799_999_999
"""The first and the last microsecond of the years 1 to 9999."""

_TEXT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ]([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]{1,40}))?([Zz]|[+-][0-9]{2}:?[0-9]{2})?)?",
    re.ASCII,
).fullmatch
_OFFSET: Final = re.compile(r"([+-])([0-9]{2}):?([0-9]{2})", re.ASCII).fullmatch
_BEFORE_TIME: Final = frozenset("T ")
_BEHIND_SECONDS: Final = frozenset(".Z+-")
_SIGNS: Final = frozenset("+-")
_MICROSECOND: Final = timedelta(microseconds=1)


def checked_instant(microseconds: int) -> int:
    """``microseconds``; Refusal outside of the years 1 to 9999."""
    if not FIRST <= microseconds <= LAST:
        raise Refusal(f"{shown(microseconds)} microseconds lie outside of the years 1 to 9999")
    return microseconds


def microseconds_of(moment: datetime) -> int:
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds


def parse_timestamp(text: str) -> int:
    """The instant of an RFC 3339 text; a date alone is its midnight in UTC. Refusal for anything else.

    Second 60, a leap second, is the first of the next minute. What is finer than a microsecond is cut.
    """
    if _is_plain(text):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return _parsed(text)
        if moment.tzinfo is not None:
            return checked_instant(microseconds_of(moment))
    return _parsed(text)


def _is_plain(text: str) -> bool:
    """Has it the form that nearly all devices send? Python reads it fast, but reads other forms as well."""
    return (
        text[7:8] == "-"
        and text[10:11] in _BEFORE_TIME
        and text[13:14] == ":" == text[16:17]
        and text[19:20] in _BEHIND_SECONDS
        and (text[19] != "." or text[20:21].isdigit())
        and (text[-1:] == "Z" or text[-6:-5] in _SIGNS)
    )


def _parsed(text: str) -> int:
    found = _TEXT(text.strip())
    if found is None:
        raise Refusal(f"{shown(text)} is no RFC 3339 time like '2026-01-01T08:00:00+08:00', and no date")
    date, clock, second, fraction, zone = found.groups()
    if clock is not None and zone is None:
        raise Refusal(f"{shown(text)} has no time zone; write Z or an offset such as +08:00 behind it")
    leap = second == "60"
    try:
        moment = datetime.fromisoformat(f"{date}T{clock or '00:00'}:{'59' if leap else second or '00'}+00:00")
    except ValueError as error:
        raise Refusal(f"{shown(text)} is no time: {error}") from None
    microseconds = microseconds_of(moment) + leap * SECOND + int((fraction or "")[:6].ljust(6, "0"))
    return checked_instant(microseconds - (_offset(zone) if zone and zone not in "Zz" else 0))


def _offset(text: str) -> int:
    found = _OFFSET(text)
    if found is None or int(found[2]) > 23 or int(found[3]) > 59:
        raise Refusal(f"{shown(text)} is no offset from UTC like +08:00")
    size = int(found[2]) * HOUR + int(found[3]) * MINUTE
    return -size if found[1] == "-" else size


# Zones


@lru_cache(maxsize=256)
def zone(name: str) -> tzinfo:
    """The zone of an IANA name, ``UTC`` or an offset such as ``+08:00``; Refusal with the nearest name for others."""
    if name in ("UTC", "Z", "z"):
        return UTC
    if _OFFSET(name):
        return timezone(timedelta(microseconds=_offset(name)))
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        names = available_timezones()
        folded = [known for known in names if known.casefold() == name.casefold()]
        hint = f"did you mean {folded[0]!r}?" if folded else did_you_mean(name, sorted(names))
        raise Refusal(f"there is no time zone {name[:40]!r}" + (f"; {hint}" if hint else "")) from None


def check_zone(name: Any) -> None:
    if isinstance(name, str):
        zone(name)


def civil(microseconds: int, zone_name: str = "UTC") -> datetime:
    """The date and time of an instant in a zone."""
    try:
        return (EPOCH + timedelta(microseconds=microseconds)).astimezone(zone(zone_name))
    except (OverflowError, ValueError):
        raise Refusal(f"{shown(microseconds)} microseconds lie outside of the years 1 to 9999") from None


def zoned_text(microseconds: int, zone_name: str) -> str:
    """RFC 3339 with the offset of the zone, with as many of 0, 3 or 6 decimals as it needs."""
    fraction = microseconds % SECOND
    spec = "seconds" if not fraction else "microseconds" if fraction % 1_000 else "milliseconds"
    return civil(microseconds, zone_name).isoformat(timespec=spec)


# Parts

_WHOLE: Final[MappingProxyType[str, Callable[[datetime], int]]] = MappingProxyType(
    {
        "century": lambda at: (at.year + 99) // 100,
        "day": lambda at: at.day,
        "decade": lambda at: at.year // 10,
        "dow": lambda at: at.isoweekday() % 7,
        "doy": lambda at: at.timetuple().tm_yday,
        "hour": lambda at: at.hour,
        "isodow": datetime.isoweekday,
        "isoyear": lambda at: at.isocalendar().year,
        "millennium": lambda at: (at.year + 999) // 1_000,
        "minute": lambda at: at.minute,
        "month": lambda at: at.month,
        "quarter": lambda at: (at.month + 2) // 3,
        "timezone": lambda at: (at.utcoffset() or timedelta()) // timedelta(seconds=1),
        "week": lambda at: at.isocalendar().week,
        "year": lambda at: at.year,
        "microseconds": lambda at: at.second * SECOND + at.microsecond,
    }
)
_FRACTIONS: Final[MappingProxyType[str, Callable[[datetime], float]]] = MappingProxyType(
    {
        "second": lambda at: at.second + at.microsecond / SECOND,
        "milliseconds": lambda at: at.second * 1_000 + at.microsecond / 1_000,
    }
)
_CLOCK: Final = MappingProxyType({"hour": (HOUR, 24), "minute": (MINUTE, 60), "microseconds": (1, MINUTE)})
_INTERVAL_PARTS: Final[MappingProxyType[str, Callable[[int], int]]] = MappingProxyType(
    {
        "day": lambda size: size // DAY,
        "hour": lambda size: size % DAY // HOUR,
        "minute": lambda size: size % HOUR // MINUTE,
        "microseconds": lambda size: size % MINUTE,
    }
)
_INTERVAL_FRACTIONS: Final = MappingProxyType({"second": SECOND, "milliseconds": 1_000})
EPOCH_FIELD: Final = "epoch"
TIMESTAMP_FIELDS: Final = frozenset({EPOCH_FIELD, *_WHOLE, *_FRACTIONS})
INTERVAL_FIELDS: Final = frozenset({EPOCH_FIELD, *_INTERVAL_PARTS, *_INTERVAL_FRACTIONS})
WHOLE_FIELDS: Final = frozenset(_WHOLE)
"""Fields whose values are integers; those of the others are DOUBLE."""


def part_of_timestamp(field: str, zone_name: str) -> Callable[[int], int | float]:
    """What ``EXTRACT(field FROM x AT TIME ZONE zone_name)`` computes; the field is one of TIMESTAMP_FIELDS."""
    if field == EPOCH_FIELD:
        return lambda microseconds: microseconds / SECOND
    clock = _CLOCK.get(field)
    if clock is not None and zone_name == "UTC":
        size, count = clock
        return lambda microseconds: microseconds // size % count
    part: Callable[[datetime], Any] = _WHOLE.get(field) or _FRACTIONS[field]
    if zone_name == "UTC":
        return lambda microseconds: part(EPOCH + timedelta(microseconds=microseconds))
    clocks = zone(zone_name)
    return lambda microseconds: part((EPOCH + timedelta(microseconds=microseconds)).astimezone(clocks))


def part_of_interval(field: str) -> Callable[[int], int | float]:
    """As above, for an INTERVAL; parts of a negative one are negative."""
    if field == EPOCH_FIELD:
        return lambda size: size / SECOND
    whole = _INTERVAL_PARTS.get(field)
    if whole is not None:
        return lambda size: whole(size) if size >= 0 else -whole(-size)
    unit = _INTERVAL_FRACTIONS[field]
    return lambda size: size % MINUTE / unit if size >= 0 else -(-size % MINUTE / unit)


# The calendar

TRUNCATIONS: Final = (
    *("microsecond", "millisecond", "second", "minute", "hour", "day", "week"),
    *("month", "quarter", "year", "decade", "century", "millennium"),
)


def _start(at: datetime, unit: str) -> datetime:
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "day":
        return midnight
    if unit == "week":
        return midnight - timedelta(days=at.weekday())
    first = midnight.replace(day=1)
    if unit == "month":
        return first
    if unit == "quarter":
        return first.replace(month=(at.month - 1) // 3 * 3 + 1)
    size, offset = {"year": (1, 0), "decade": (10, 0), "century": (100, 1), "millennium": (1_000, 1)}[unit]
    return first.replace(month=1, year=max((at.year - offset) // size * size + offset, 1))


def truncated(unit: str, microseconds: int, zone_name: str = "UTC") -> int:
    """The beginning of the ``unit`` (of TRUNCATIONS) that an instant lies in, by the clocks of the zone."""
    size = UNITS.get(unit, 0)
    if 0 < size <= SECOND or (zone_name == "UTC" and 0 < size <= DAY):
        return microseconds - microseconds % size
    at = civil(microseconds, zone_name)
    if 0 < size <= HOUR:
        # Within an hour the clocks change by whole quarters of it at most, so the offset that holds now is right.
        shift = (at.utcoffset() or timedelta()) // _MICROSECOND
        return microseconds - (microseconds + shift) % size
    try:
        return microseconds_of(_start(at, unit))
    except OverflowError:
        raise Refusal(f"the {unit} of {shown(microseconds)} begins before the year 1") from None


def shifted(microseconds: int, months: int, rest: int, zone_name: str = "UTC") -> int:
    """``months`` later by the calendar, on the month's last day where it has no such day, then ``rest``
    microseconds later."""
    at = civil(microseconds, zone_name)
    year, month = divmod(at.year * 12 + at.month - 1 + months, 12)
    if not 1 <= year <= 9_999:
        raise Refusal(f"{months} months from {shown(microseconds)} lie outside of the years 1 to 9999")
    day = min(at.day, monthrange(year, month + 1)[1])
    return checked_instant(microseconds_of(at.replace(year=year, month=month + 1, day=day)) + rest)
