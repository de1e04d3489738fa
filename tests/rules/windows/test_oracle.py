"""Random streams against a batch oracle: what every window must hold once everything is closed, however rows come."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from core.message import Type
from rules.aggregates import AggregateCall
from rules.windows import (
    Count,
    Emit,
    EventTime,
    Hop,
    ProcessingTime,
    Session,
    Sliding,
    State,
    Tumble,
    WindowOperator,
    WindowPlan,
    build,
)

CALLS: Final = (
    AggregateCall("count"),
    AggregateCall("sum", (2,)),
    AggregateCall("max", (2,)),
    AggregateCall("array_agg", (4,)),
    AggregateCall("count", (2,), filter=3),
    AggregateCall("sum", (2,), distinct=True),
)
COLUMNS: Final = (Type.BIGINT, Type.BOOLEAN, Type.BIGINT, Type.BOOLEAN)
Row = tuple[Any, ...]
DELAY: Final = 20


@st.composite
def streams(draw: st.DrawFn, ordered: bool = True) -> list[Row]:
    """Rows (time, key, value, flag, number, flag); ``ordered``: none comes more than DELAY after a later one."""
    count = draw(st.integers(1, 40))
    rows = []
    for number in range(count):
        time = draw(st.integers(-100, 200))
        key = draw(st.sampled_from("abc"))
        value = draw(st.none() | st.integers(-5, 5))
        rows.append((time, key, value, draw(st.booleans()), number, draw(st.booleans())))
    if ordered:
        jitter = [draw(st.integers(0, DELAY)) for _ in rows]
        rows = [row for _, row in sorted(zip(jitter, rows, strict=True), key=lambda pair: pair[1][0] + pair[0])]
    return [(row[0], row[1], row[2], row[3], number, row[5]) for number, row in enumerate(rows)]


grids = st.builds(Tumble, st.integers(1, 60), st.integers(0, 60)) | st.builds(
    Hop, st.integers(1, 60), st.integers(1, 60), st.integers(0, 60)
)
sessions = st.builds(Session, st.integers(1, 40), st.none() | st.integers(5, 80))


def result(rows: Sequence[Row]) -> tuple[Any, ...]:
    """The aggregates of CALLS, computed from the definition."""
    values = [row[2] for row in rows if row[2] is not None]
    numbers = [row[4] for row in sorted(rows, key=lambda row: (row[0], row[4]))]
    return (
        len(rows),
        sum(values) if values else None,
        max(values, default=None),
        numbers,
        sum(row[2] is not None and row[3] is True for row in rows),
        sum(set(values)) if values else None,
    )


def spans_of(window: Tumble | Hop, time: int) -> list[tuple[int, int]]:
    hop = window.hop if isinstance(window, Hop) else window.size
    starts = range(time - window.size + 1, time + 1)
    return [(start, start + window.size) for start in starts if (start - window.offset) % hop == 0]


def grid_oracle(window: Tumble | Hop, rows: Iterable[Row]) -> list[Row]:
    groups = defaultdict(list)
    for row in rows:
        for span in spans_of(window, row[0]):
            groups[row[1], span].append(row)
    return [(key, *span, *result(members)) for (key, span), members in groups.items()]


def session_oracle(window: Session, rows: Iterable[Row]) -> list[Row]:
    cells = defaultdict(list)
    for row in rows:
        cells[row[1], row[0] // window.max_duration if window.max_duration else 0].append(row)
    found = []
    for (key, cell), members in cells.items():
        members.sort(key=lambda row: row[0])
        parts = [[members[0]]]
        for row in members[1:]:
            if row[0] - parts[-1][-1][0] < window.gap:
                parts[-1].append(row)
            else:
                parts.append([row])
        for part in parts:
            end = part[-1][0] + window.gap
            if window.max_duration:
                end = min(end, (cell + 1) * window.max_duration)
            found.append((key, part[0][0], end, *result(part)))
    return found


def cut(rows: Sequence[Row], sizes: Sequence[int]) -> Iterable[Sequence[Row]]:
    """``rows`` in pieces of these sizes, again and again."""
    place = number = 0
    while place < len(rows):
        size = sizes[number % len(sizes)]
        yield rows[place : place + size]
        place += size
        number += 1


def run(operator: WindowOperator, rows: Sequence[Row], sizes: Sequence[int], restarts: bool = False) -> list[Row]:
    """What comes of it all. The first size also bounds what one call emits, so windows close in pieces."""
    emitted: list[Row] = []
    operator.max_groups = sizes[0]
    for piece in cut(rows, sizes):
        emitted += operator.process(piece, 0)
        if restarts:
            image = operator.snapshot()
            operator = build(operator.plan)
            operator.max_groups = sizes[0]
            operator.restore(image)
            assert operator.snapshot() == image
        emitted += operator.advance(0)
    return emitted + finished(operator)


def finished(operator: WindowOperator) -> list[Row]:
    emitted = operator.finish(0)
    while operator.next_deadline is not None:
        emitted += operator.finish(0)
    assert operator.groups == 0 or isinstance(operator.plan.window, Count | State)
    return emitted


def plan(window: Any, **options: Any) -> WindowPlan:
    timing = EventTime(delay=DELAY, max_ahead=None)
    return WindowPlan(window, CALLS, COLUMNS, **{"keys": 1, "timing": timing, **options})


def hashable(rows: Iterable[Row]) -> Counter[str]:
    return Counter(map(repr, rows))


sizes = st.lists(st.integers(1, 9), min_size=1, max_size=5)


@given(streams(), grids, sizes, st.booleans())
def test_tumbling_and_hopping_windows(rows: list[Row], window: Any, sizes: list[int], restarts: bool) -> None:
    operator = build(plan(window))
    assert hashable(run(operator, rows, sizes, restarts)) == hashable(grid_oracle(window, rows))
    assert operator.counters.late == 0 or restarts


@given(streams(), sessions, sizes, st.booleans())
def test_sessions(rows: list[Row], window: Session, sizes: list[int], restarts: bool) -> None:
    operator = build(plan(window))
    assert hashable(run(operator, rows, sizes, restarts)) == hashable(session_oracle(window, rows))


@given(streams(ordered=False), grids, sizes, st.integers(0, 40), st.booleans())
def test_late_rows_and_corrections(
    rows: list[Row], window: Any, sizes: list[int], lateness: int, on_change: bool
) -> None:
    """Rows in any order: the last result of each window has exactly the rows that were not late for it."""
    timing = EventTime(delay=5, allowed_lateness=lateness, max_ahead=None)
    operator = build(plan(window, timing=timing, emit=Emit.ON_CHANGE if on_change else Emit.ON_CLOSE))
    groups = defaultdict(list)
    late = []
    top = -(10**9)
    for row in rows:
        spans = spans_of(window, row[0])
        open_spans = [span for span in spans if span[1] + lateness > top - 5]
        if spans and not open_spans:
            late.append(row)
        for span in open_spans:
            groups[row[1], span].append(row)
        top = max(top, row[0])
    found = {row[:3]: row for row in run(operator, rows, sizes)}
    assert hashable(found.values()) == hashable((key, *span, *result(rows)) for (key, span), rows in groups.items())
    assert [entry.row for entry in operator.take_rejected() if entry.reason == "late"] == late


@given(streams(ordered=False), grids | sessions, sizes, st.booleans())
def test_results_do_not_depend_on_batches(rows: list[Row], window: Any, sizes: list[int], restarts: bool) -> None:
    one = run(build(plan(window)), rows, (1,))
    assert hashable(run(build(plan(window)), rows, sizes, restarts)) == hashable(one)
    if isinstance(window, Session):
        return
    assert len({row[:3] for row in one}) == len(one)  # each window of a key is told once


@given(streams(), grids | sessions, sizes)
def test_processing_time_is_event_time_with_the_clock(rows: list[Row], window: Any, sizes: list[int]) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    expected = session_oracle(window, rows) if isinstance(window, Session) else grid_oracle(window, rows)
    operator = build(plan(window, timing=ProcessingTime()))
    emitted = []
    for piece in cut(rows, sizes):
        emitted += operator.process(piece, piece[-1][0] * 1000)
    emitted += finished(operator)
    assert hashable(emitted) == hashable(expected)


@given(streams(), st.integers(1, 60), st.integers(0, 30), st.booleans(), sizes, st.booleans())
def test_sliding_windows(
    rows: list[Row], size: int, delay: int, conditional: bool, sizes: list[int], restarts: bool
) -> None:
    window = Sliding(size, delay, when=3 if conditional else None)
    expected = [
        (row[1], row[0] - size, row[0] + delay, *result(members))
        for row in rows
        if row[3] or not conditional
        for members in [[r for r in rows if r[1] == row[1] and row[0] - size < r[0] <= row[0] + delay]]
    ]
    assert hashable(run(build(plan(window)), rows, sizes, restarts)) == hashable(expected)


@given(streams(), st.integers(1, 6), st.data(), sizes, st.booleans())
def test_count_windows(rows: list[Row], size: int, data: st.DataObject, sizes: list[int], restarts: bool) -> None:
    every = data.draw(st.integers(1, size))
    expected = []
    for key in "abc":
        own = [row for row in rows if row[1] == key]
        for end in range(every, len(own) + 1, every):
            if end >= size:
                members = own[end - size : end]
                times = [row[0] for row in members]
                expected.append((key, min(times), max(times), *result(members)))
    assert hashable(run(build(plan(Count(size, every))), rows, sizes, restarts)) == hashable(expected)


@given(streams(), st.booleans(), sizes, st.booleans())
@settings(max_examples=50)
def test_state_windows(rows: list[Row], two: bool, sizes: list[int], restarts: bool) -> None:
    expected = []
    for key in "abc":
        members: list[Row] = []
        for row in (row for row in rows if row[1] == key):
            begins, ends = row[3], row[5]
            if not members:
                members = [row] if begins else []
                continue
            if two or not begins:
                members.append(row)
            if ends if two else begins:
                times = [row[0] for row in members]
                expected.append((key, min(times), max([*times, row[0]]), *result(members)))
                members = [] if two else [row]
    window = State(3, 5 if two else None)
    assert hashable(run(build(plan(window)), rows, sizes, restarts)) == hashable(expected)
