"""INTERVAL: a length of time as an integer of microseconds, its texts in PostgreSQL's and ISO 8601's forms.

A day has 24 hours. Months and years have no fixed length: :func:`parse_interval` gives them apart, and only calendar
arithmetic (``instants.shifted``) knows what to do with them.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final, NamedTuple

from rules.functions.base import Refusal, shown

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
MAX_INTERVAL: Final = 10_000 * 366 * DAY
"""Longer than any two instants of the years 1 to 9999 are apart."""

_MONTHS: Final = {"month": 1, "year": 12}
UNITS: Final = {
    "microsecond": 1,
    "millisecond": 1_000,
    "second": SECOND,
    "minute": MINUTE,
    "hour": HOUR,
    "day": DAY,
    "week": 7 * DAY,
}
"""Microseconds of each unit that has a fixed length."""

_ABBREVIATIONS: Final = {
    "us": "microsecond",
    "usec": "microsecond",
    "ms": "millisecond",
    "msec": "millisecond",
    "s": "second",
    "sec": "second",
    "m": "minute",
    "min": "minute",
    "h": "hour",
    "hr": "hour",
    "d": "day",
    "w": "week",
    "mon": "month",
    "y": "year",
    "yr": "year",
}
UNIT_NAMES: Final = (*UNITS, *_MONTHS)

_PART: Final = re.compile(
    r"(?P<clock>[+-]?[0-9]+:[0-9]{1,2}(?::[0-9]{1,2}(?:\.[0-9]{1,9})?)?)"
    r"|(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))\s*(?P<unit>[a-z]+)?",
    re.ASCII | re.IGNORECASE,
).match
_ISO: Final = re.compile(
    r"(?P<sign>[+-]?)P(?:(?P<year>-?[0-9.]+)Y)?(?:(?P<month>-?[0-9.]+)M)?(?:(?P<week>-?[0-9.]+)W)?"
    r"(?:(?P<day>-?[0-9.]+)D)?"
    r"(?:T(?:(?P<hour>-?[0-9.]+)H)?(?:(?P<minute>-?[0-9.]+)M)?(?:(?P<second>-?[0-9.]+)S)?)?",
    re.ASCII | re.IGNORECASE,
).fullmatch
_DIGITS: Final = 24


class Span(NamedTuple):
    """A length of time: ``months`` by the calendar, then ``microseconds``."""

    months: int
    microseconds: int


def unit_of(word: str) -> str | None:
    """The unit that a word names, in singular; None for any other word."""
    name = word.lower()
    for candidate in (name, name.removesuffix("s")):
        unit = _ABBREVIATIONS.get(candidate, candidate)
        if unit in UNITS or unit in _MONTHS:
            return unit
    return None


def _refused(text: str) -> Refusal:
    return Refusal(f"{shown(text)} is no INTERVAL like '1 day 02:00:00', '90 seconds' or 'PT1H'")


class _Sum:
    """Adds up the parts of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._months = Fraction(0)
        self._microseconds = Fraction(0)

    def add(self, number: str, unit: str) -> None:
        try:
            amount = Fraction(number)
        except ValueError:
            raise _refused(self._text) from None
        if len(number) > _DIGITS:
            raise _refused(self._text)
        if unit in _MONTHS:
            self._months += amount * _MONTHS[unit]
        else:
            self._microseconds += amount * UNITS[unit]

    def clock(self, text: str) -> None:
        sign = "-" if text.startswith("-") else ""
        for number, unit in zip(text.lstrip("+-").split(":"), ("hour", "minute", "second"), strict=False):
            self.add(sign + number, unit)

    def total(self) -> Span:
        if self._months.denominator != 1:
            raise Refusal(f"{shown(self._text)} has a part of a month; months and years are whole")
        span = Span(int(self._months), round(self._microseconds))
        if abs(span.months) > 120_000 or abs(span.microseconds) > MAX_INTERVAL:
            raise Refusal(f"{shown(self._text)} is longer than 10000 years")
        return span


def parse_interval(text: str, unit: str = "second") -> Span:
    """The INTERVAL that a text is; a number without a unit counts ``unit``. Refusal where it is none.

    ``1 day 02:00:00``, ``-90 seconds``, ``1.5 hours``, ``1h 30m``, ``2 hours ago``, ``P1DT2H30M``.
    """
    stripped = text.strip()
    total = _Sum(text)
    iso = _ISO(stripped)
    if iso is not None and stripped[-1:].isalpha() and stripped[-1] not in "PpTt":
        sign = "-" if iso["sign"] == "-" else ""
        for name, number in iso.groupdict().items():
            if name != "sign" and number is not None:
                total.add(f"{sign}{number}".removeprefix("--"), name)
        return total.total()
    ago = stripped[-4:].lower() == " ago"
    rest = stripped[:-4].rstrip() if ago else stripped
    if not rest:
        raise _refused(text)
    while rest:
        part = _PART(rest)
        if part is None:
            raise _refused(text)
        rest = rest[part.end() :].lstrip(" \t")
        if part["clock"]:
            total.clock(part["clock"])
            continue
        named = unit_of(part["unit"]) if part["unit"] else unit if not rest else None
        if named is None:
            raise _refused(text)
        total.add(part["number"], named)
    span = total.total()
    return Span(-span.months, -span.microseconds) if ago else span


def parse_fixed(text: str) -> int:
    """The microseconds of a text; Refusal where it is no INTERVAL or has months or years."""
    span = parse_interval(text)
    if span.months:
        raise Refusal(f"{shown(text)} has months or years, which have no fixed length; take days")
    return span.microseconds


def interval_text(microseconds: int) -> str:
    """PostgreSQL's text: ``1 day 02:00:00``, ``00:00:01.5``, ``-00:00:10``."""
    days, rest = divmod(abs(microseconds), DAY)
    seconds, fraction = divmod(rest, SECOND)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    if fraction:
        clock += f".{fraction:06}".rstrip("0")
    sign = "-" if microseconds < 0 else ""
    if not days:
        return sign + clock
    text = f"{sign}{days} day{'' if days == 1 else 's'}"
    return f"{text} {sign}{clock}" if rest else text
