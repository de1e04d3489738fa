"""Dates and times. A point in time is an integer since the epoch in one of four units, or a text.

Texts are RFC 3339 or follow a format of ``%Y %m %d %H %M %S %3N %6N %N %z %:z %::z``. "Local" is the zone of the
machine. The proleptic Gregorian calendar from year 1 to 9999; a leap second counts as the
first of the next minute. Time as the engine sees it (event time, windows) is not here.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from core.message import Missing, Type
from rules.functions.base import Anything, Category, Int, Refusal, Text, shown
from rules.functions.values import text_of

CATEGORY = Category("date and time")
scalar = CATEGORY.scalar

_PER_SECOND: Final = {"second": 1, "millisecond": 1_000, "microsecond": 1_000_000, "nanosecond": 1_000_000_000}
_NANOSECONDS: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _factor(unit: str) -> int:
    factor = _PER_SECOND.get(unit)
    if factor is None:
        raise Refusal(f"{unit[:40]!r} is none of {', '.join(_PER_SECOND)}", "invalid_time_unit")
    return factor


def _local_offset(seconds: int) -> int:
    """Seconds east of UTC of the machine's zone at that time."""
    try:
        return time.localtime(seconds).tm_gmtoff
    except OSError as error:
        raise Refusal(f"the local zone has no time at {shown(seconds)}: {error}") from None


_OFFSET: Final = re.compile(r"([+-])([0-9]+):([0-9]+)(?::([0-9]+))?|([+-])([0-9]{2})([0-9]{2})").fullmatch


def _offset_seconds(offset: Any) -> int:
    if isinstance(offset, Missing):
        return 0
    if isinstance(offset, int) and not isinstance(offset, bool):
        return offset
    if isinstance(offset, str | bytes):
        text = text_of(offset)
        if text in ("Z", "z"):
            return 0
        if text == "local":
            return _local_offset(int(time.time()))
        if found := _OFFSET(text):
            sign, hours, minutes, seconds, short_sign, short_hours, short_minutes = found.groups()
            hour, minute, second = int(hours or short_hours), int(minutes or short_minutes), int(seconds or 0)
            if hour < 24 and minute < 60 and second < 60:
                total = hour * 3_600 + minute * 60 + second
                return -total if (sign or short_sign) == "-" else total
    raise Refusal(f"{shown(offset)} is no time zone offset like '+08:00'", "bad_time_offset")


@scalar(
    Type.BIGINT,
    ("timezone_to_offset_seconds('+02:00:00')", 7200),
    ("timezone_to_offset_seconds('-0130')", -5400),
    ("timezone_to_offset_seconds('Z')", 0),
    ("timezone_to_offset_seconds(42)", 42),
    aliases=("timezone_to_second",),
    pure=False,
)
def timezone_to_offset_seconds(offset: Anything) -> int:
    """Seconds east of UTC of `Z`, `+hh:mm`, `+hh:mm:ss`, `+hhmm` or `local`; an integer stays, undefined is 0."""
    return _offset_seconds(offset)


def _civil(seconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        raise Refusal(f"{shown(seconds)} seconds lie outside of the years 1 to 9999") from None


def _zone(offset: int, form: str) -> str:
    sign = "-" if offset < 0 else "+"
    minutes, second = divmod(abs(offset), 60)
    hour, minute = divmod(minutes, 60)
    if hour > 23:
        raise Refusal(f"a time zone offset of {shown(offset)} seconds is more than a day")
    return {
        "%z": f"{sign}{hour:02}{minute:02}",
        "%:z": f"{sign}{hour:02}:{minute:02}",
        "%::z": f"{sign}{hour:02}:{minute:02}:{second:02}",
    }[form]


def _rfc3339(instant: int, factor: int) -> str:
    seconds, fraction = divmod(instant, factor)
    offset = _local_offset(seconds)
    stamp = _civil(seconds + offset).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    digits = f".{fraction:0{len(str(factor)) - 1}}" if factor > 1 else ""
    return f"{stamp}{digits}{_zone(offset, '%:z')}"


@scalar(Type.BIGINT, ("is_int(now_timestamp('millisecond'))", True), pure=False)
def now_timestamp(unit: Text = "second") -> int:
    """The present time in `second`, `millisecond`, `microsecond` or `nanosecond` since the epoch."""
    return time.time_ns() * _factor(unit) // _NANOSECONDS


@scalar(Type.TEXT, ("strlen(now_rfc3339('millisecond'))", 29), pure=False)
def now_rfc3339(unit: Text = "second") -> str:
    """The present local time with its offset, to the given unit."""
    factor = _factor(unit)
    return _rfc3339(time.time_ns() * factor // _NANOSECONDS, factor)


@scalar(
    Type.TEXT,
    ("rfc3339_to_unix_ts(unix_ts_to_rfc3339(1708671600))", 1708671600),
    ("strlen(unix_ts_to_rfc3339(1708671600, 'microsecond'))", 32),
    pure=False,
)
def unix_ts_to_rfc3339(timestamp: Int, unit: Text = "second") -> str:
    """The local time of a timestamp, with its offset and a fraction as fine as the unit."""
    return _rfc3339(timestamp, _factor(unit))


_RFC3339: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2}).([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:\.([0-9]{1,40}))?(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))",
    re.DOTALL,
).fullmatch


def _seconds(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    """Second 60, a leap second, is the first of the next minute, as in POSIX time."""
    leap = second == 60
    delta = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=UTC) - _EPOCH
    return delta.days * 86_400 + delta.seconds + leap


@scalar(
    Type.BIGINT,
    ("rfc3339_to_unix_ts('2024-02-23T15:56:30Z')", 1708703790),
    ("rfc3339_to_unix_ts('2024-02-23T15:56:30.87+08:00', 'millisecond')", 1708674990870),
)
def rfc3339_to_unix_ts(text: Text, unit: Text = "second") -> int:
    """The timestamp of an RFC 3339 text; any character may stand between date and time. What is finer than the unit
    is rounded, except that seconds are cut."""
    factor = _factor(unit)
    found = _RFC3339(text)
    if found is None:
        raise Refusal(f"{text[:40]!r} is no RFC 3339 time like '2024-02-23T15:56:30Z'")
    seconds = _seconds(*map(int, found.groups()[:6]))
    fraction, _, sign, hours, minutes = found.groups()[6:]
    if sign:
        if int(hours) > 23 or int(minutes) > 59:
            raise Refusal(f"{text[:40]!r} has no valid offset", "bad_time_offset")
        seconds -= (int(hours) * 3_600 + int(minutes) * 60) * (-1 if sign == "-" else 1)
    part = 0
    if fraction and factor > 1:
        scale = 10 ** len(fraction)
        part = (int(fraction) * factor * 2 + scale) // (2 * scale)
    return seconds * factor + part


_TOKEN: Final = re.compile("%(?:[YmdHMSNz]|[36]N|::?z)")
_WIDTHS: Final = {
    "%Y": 4,
    **dict.fromkeys(("%m", "%d", "%H", "%M", "%S"), 2),
    "%3N": 3,
    "%6N": 6,
    "%N": 9,
    "%z": 5,
    "%:z": 6,
    "%::z": 9,
}
_PARTS: Final = {
    "%Y": "year",
    "%m": "month",
    "%d": "day",
    "%H": "hour",
    "%M": "minute",
    "%S": "second",
}


def _formatted(unit: str, offset: Any, template: str, instant: int) -> str:
    factor = _factor(unit)
    shift = _offset_seconds(offset)
    seconds, fraction = divmod(instant, factor)
    civil = _civil(seconds + shift)
    nanoseconds = fraction * (_NANOSECONDS // factor)

    def part(found: re.Match[str]) -> str:
        token = found.group()
        if token in _PARTS:
            return f"{getattr(civil, _PARTS[token]):0{_WIDTHS[token]}}"
        if token.endswith("N"):
            digits = _WIDTHS[token]
            return f"{nanoseconds // 10 ** (9 - digits):0{digits}}"
        return _zone(shift, token)

    return _TOKEN.sub(part, template)


def _instant(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refusal(f"the timestamp must be an integer, not {shown(value)}")
    return value


@scalar(
    Type.TEXT,
    ("format_date('second', '%Y-%m-%d', 1708933353)", "2024-02-26"),
    ("strlen(format_date('second', '+08:00', '%H:%M:%S'))", 8),
    pure=False,
)
def format_date(unit: Text, second: Anything, third: Anything) -> str:
    """A timestamp as text: `(unit, offset, format, timestamp)`; `(unit, format, timestamp)` in UTC; `(unit, offset,
    format)` for now. The offset is as for `timezone_to_offset_seconds`. In the format `%Y %m %d %H %M %S` are two
    (four) digits, `%3N %6N %N` the fraction in 3, 6 or 9 digits, `%z` is +0800, `%:z` +08:00, `%::z` +08:00:00."""
    if isinstance(third, str | bytes):
        return _formatted(unit, second, text_of(third), now_timestamp(unit))
    if not isinstance(second, str | bytes):
        raise Refusal(f"the format must be a string, not {shown(second)}")
    return _formatted(unit, 0, text_of(second), _instant(third))


@scalar(
    Type.TEXT,
    (
        "format_date('millisecond', '+08:00', '%Y-%m-%d %H:%M:%S.%6N%z', 1708933353472)",
        "2024-02-26 15:42:33.472000+0800",
    ),
    name="format_date",
    pure=False,
)
def _format_date(unit: Text, offset: Anything, format: Text, timestamp: Anything) -> str:  # noqa: A002
    return _formatted(unit, offset, format, _instant(timestamp))


_INTEGER: Final = re.compile(rb"[+-]?[0-9]+").fullmatch


class _Parsed:
    """What a text says about a time, read with a format."""

    def __init__(self, template: str, text: str) -> None:
        self.parts: dict[str, int] = {}
        self.offset: int | None = None
        self.nanoseconds = 0
        self._rest = text.encode()
        end = 0
        for found in _TOKEN.finditer(template):
            self._skip(len(template[end : found.start()].encode()))
            if not self._rest:
                return
            self._read(found.group())
            end = found.end()

    def _take(self, width: int) -> bytes:
        taken, self._rest = self._rest[:width], self._rest[width:]
        if len(taken) < width:
            raise Refusal(f"the text ends where the format wants {width} more characters", "bad_formatter_or_date")
        return taken

    def _skip(self, width: int) -> None:
        # EMQX does not compare what stands between the tokens, and rules rely on it.
        if self._rest:
            self._take(width)

    def _read(self, token: str) -> None:
        taken = self._take(_WIDTHS[token])
        if token.endswith("z"):
            self.offset = _offset_seconds(taken)
        elif not _INTEGER(taken):
            raise Refusal(f"{shown(taken)} is no number for {token}", "bad_formatter_or_date")
        elif token.endswith("N"):
            self.nanoseconds += int(taken) * 10 ** (9 - _WIDTHS[token])
        else:
            self.parts[_PARTS[token]] = int(taken)

    def instant(self, offset: int, factor: int) -> int:
        for name in _PARTS.values():
            if name not in self.parts:
                raise Refusal(f"the format or the text has no {name}", f"{{missing_date_part, {name}}}")
        seconds = _seconds(**self.parts) - (offset if self.offset is None else self.offset)
        return seconds * factor + self.nanoseconds * factor // _NANOSECONDS


@scalar(
    Type.BIGINT,
    ("date_to_unix_ts('second', '%Y-%m-%d %H:%M:%S', '2024-02-29 14:31:40')", 1709217100),
    ("date_to_unix_ts('second', '%Y-%m-%d %H:%M:%S%:z', '2024-02-23 15:00:00+08:00')", 1708671600),
)
def date_to_unix_ts(unit: Text, format: Text, text: Text) -> int:  # noqa: A002 - EMQX's word
    """The timestamp of a text: `(unit, format, text)` or `(unit, offset, format, text)`, with formats as for
    `format_date`. Year to second must be there. What stands between the tokens is skipped, not compared. An offset
    in the text counts before the one given; without either it is UTC."""
    factor = _factor(unit)
    return _Parsed(format, text).instant(0, factor)


@scalar(
    Type.BIGINT,
    ("date_to_unix_ts('second', '+08:00', '%Y-%m-%d %H-%M-%S', '2024-03-01 10:30:38')", 1709260238),
    name="date_to_unix_ts",
)
def _date_to_unix_ts(unit: Text, offset: Anything, format: Text, text: Text) -> int:  # noqa: A002
    factor = _factor(unit)
    return _Parsed(format, text).instant(_offset_seconds(offset), factor)


@scalar(
    Type.TEXT,
    ("mongo_date(1708703461232)", "ISODate(2024-02-23T15:51:01.232Z)"),
    ("mongo_date(1708703461, 'second')", "ISODate(2024-02-23T15:51:01.000Z)"),
)
def mongo_date(timestamp: Int, unit: Text = "millisecond") -> str:
    """The time as the text of a MongoDB date, `ISODate(...)`; without arguments it is now."""
    milliseconds = timestamp * 1_000 // _factor(unit)
    return "ISODate(" + _formatted("millisecond", 0, "%Y-%m-%dT%H:%M:%S.%3NZ", milliseconds) + ")"


@scalar(Type.TEXT, ("strlen(mongo_date())", 33), name="mongo_date", pure=False)
def _mongo_date() -> str:
    return mongo_date(now_timestamp("millisecond"))
