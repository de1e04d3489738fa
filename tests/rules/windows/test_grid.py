"""Boundaries: fixed ones, and those at local times where clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.windows.grid import Span, grid
from rules.windows.plan import DAY, Hop, Tumble

HOUR = 3_600_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at(text: str) -> int:
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


def text(span: Span) -> str:
    return " ".join((EPOCH + timedelta(microseconds=time)).strftime("%m-%dT%H:%M") for time in span)


@pytest.mark.parametrize(
    ("window", "time", "expected"),
    [
        (Tumble(DAY, zone="Asia/Shanghai"), "2026-03-01T15:59", "02-28T16:00 03-01T16:00"),
        (Tumble(DAY, zone="Asia/Shanghai"), "2026-03-01T16:00", "03-01T16:00 03-02T16:00"),
        # Clocks go forward on 2026-03-29 at 01:00 UTC, back on 2026-10-25 at 01:00 UTC.
        (Tumble(DAY, zone="Europe/Berlin"), "2026-03-29T12:00", "03-28T23:00 03-29T22:00"),
        (Tumble(DAY, zone="Europe/Berlin"), "2026-10-25T12:00", "10-24T22:00 10-25T23:00"),
        (Tumble(6 * HOUR, zone="Europe/Berlin"), "2026-03-29T02:00", "03-28T23:00 03-29T04:00"),
        (Tumble(6 * HOUR, zone="Europe/Berlin"), "2026-10-25T02:00", "10-24T22:00 10-25T05:00"),
        (Tumble(HOUR, zone="Europe/Berlin"), "2026-03-29T00:59", "03-29T00:00 03-29T01:00"),
        (Tumble(HOUR, zone="Europe/Berlin"), "2026-03-29T01:00", "03-29T01:00 03-29T02:00"),
        (Tumble(HOUR, zone="Europe/Berlin"), "2026-10-25T00:30", "10-25T00:00 10-25T01:00"),
        (Tumble(HOUR, zone="Europe/Berlin"), "2026-10-25T01:30", "10-25T01:00 10-25T02:00"),
        # Half an hour: Lord Howe's clocks go back from 02:00 to 01:30 (15:00 UTC the day before).
        (Tumble(HOUR, zone="Australia/Lord_Howe"), "2026-04-04T15:10", "04-04T14:00 04-04T15:30"),
        (Tumble(HOUR, zone="Asia/Kolkata"), "2026-01-01T00:10", "12-31T23:30 01-01T00:30"),
        # A week from Monday; the epoch was a Thursday.
        (Tumble(7 * DAY, offset=4 * DAY, zone="Asia/Shanghai"), "2026-11-25T00:00", "11-22T16:00 11-29T16:00"),
        # Samoa had no 2011-12-30.
        (Tumble(DAY, zone="Pacific/Apia"), "2011-12-30T09:00", "12-29T10:00 12-30T10:00"),
        (Tumble(DAY, zone="Pacific/Apia"), "2011-12-30T11:00", "12-30T10:00 12-31T10:00"),
    ],
)
def test_local_boundaries(window: Tumble, time: str, expected: str) -> None:
    cell = grid(window).cell(at(time))
    assert text(cell.windows[0]) == expected
    assert cell[:2] == cell.windows[0]
    assert len(cell.windows) == 1


def test_hopping_days_of_a_zone() -> None:
    cell = grid(Hop(2 * DAY, DAY, zone="Europe/Berlin")).cell(at("2026-03-29T12:00"))
    assert [text(span) for span in cell.windows] == ["03-27T23:00 03-29T22:00", "03-28T23:00 03-30T22:00"]


ZONES = st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Shanghai", "Australia/Lord_Howe", "America/Havana"])
SIZES = st.sampled_from([DAY, 7 * DAY, 12 * HOUR, 6 * HOUR, HOUR, 20 * 60_000_000, 60_000_000])


@given(ZONES, SIZES, st.integers(at("2020-01-01"), at("2030-01-01")))
def test_windows_of_a_zone_follow_each_other(zone: str, size: int, time: int) -> None:
    made = grid(Tumble(size, zone=zone))
    start, end, windows = made.cell(time)
    assert start <= time < end
    assert windows == ((start, end),)
    assert made.cell(start)[:2] == made.cell(end - 1)[:2] == (start, end)
    assert made.cell(end).start == end
    assert made.cell(start - 1).end == start


@given(
    st.integers(1, 50),
    st.integers(1, 50),
    st.integers(0, 50),
    st.integers(-1_000, 1_000),
)
def test_a_pane_lies_in_its_windows_and_in_no_other(size: int, hop: int, offset: int, time: int) -> None:
    start, end, windows = grid(Hop(size, hop, offset)).cell(time)
    assert start <= time < end
    assert list(windows) == [
        (begin, begin + size)
        for begin in range(time - size - hop, time + 1)
        if (begin - offset) % hop == 0 and begin <= time < begin + size
    ]
    assert all(first <= start and end <= last for first, last in windows)
