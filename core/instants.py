"""A TIMESTAMP (microseconds since the epoch) as a datetime and as RFC 3339 text, the same wherever one is written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from core.errors import PayloadError

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def instant(microseconds: int) -> datetime:
    """The aware datetime of a TIMESTAMP; PayloadError outside of the years 1 to 9999."""
    try:
        return EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        raise PayloadError(f"timestamp {microseconds} lies outside of the years 1 to 9999", "timestamp") from None


# To look one up is faster than to format it.
_MILLISECONDS: Final = ("Z", *[f".{milliseconds:03d}Z" for milliseconds in range(1, 1_000)])


@lru_cache(4_096)
def _second(seconds: int) -> str:
    return instant(seconds * 1_000_000).replace(tzinfo=None).isoformat()


def rfc3339(microseconds: int) -> str:
    """A TIMESTAMP in UTC, with as many of 0, 3 or 6 decimals of a second as it needs."""
    if microseconds % 1_000:
        return f"{_second(microseconds // 1_000_000)}.{microseconds % 1_000_000:06d}Z"
    return _second(microseconds // 1_000_000) + _MILLISECONDS[microseconds // 1_000 % 1_000]
