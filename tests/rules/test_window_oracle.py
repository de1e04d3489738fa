"""TUMBLE, HOP and SESSION by their SQL text against DuckDB over the sorted data, whatever the order of arrival.

Rows come in any order within the watermark's delay, in pieces of any size, over restarts. What an engine gives in all
must be what a batch query gives, and nothing may be late.
"""

# ruff: noqa: S608  the SQL is ours

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rules.streams import START, Bench, meter

DELAY: Final = 20
SOURCE: Final = f"""
CREATE SOURCE meter (station TEXT, connector INT, power DOUBLE, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '{DELAY} seconds') WITH (topic = 'cp/{{station}}/{{connector}}/meter');
"""
AGGREGATES: Final = (
    "count(*) AS n, sum(power) AS total, max(power) AS high, "
    "count(power) FILTER (WHERE power > 2) AS above, count(DISTINCT power) AS several"
)


class Reading(NamedTuple):
    time: int
    station: str
    power: float | None


@st.composite
def streams(draw: st.DrawFn) -> list[Reading]:
    """Rows that are never more than the delay behind the latest before them."""
    rows, top = [], 0
    for _ in range(draw(st.integers(0, 40))):
        time = max(0, top + draw(st.integers(-DELAY, 25)))
        top = max(top, time)
        power = draw(st.none() | st.integers(0, 4).map(float))
        rows.append(Reading(time, draw(st.sampled_from("abc")), power))
    return rows


@pytest.fixture(scope="module")
def oracle() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE m (ts INT, station TEXT, power DOUBLE)")
        yield connection


def theirs(oracle: duckdb.DuckDBPyConnection, sql: str, rows: list[Reading]) -> list[tuple[Any, ...]]:
    oracle.execute("DELETE FROM m")
    if rows:
        oracle.executemany("INSERT INTO m VALUES (?, ?, ?)", [list(row) for row in rows])
    return sorted(oracle.execute(sql).fetchall())


def ours(sql: str, rows: list[Reading], pieces: list[int], *, restarts: bool) -> list[tuple[Any, ...]]:
    bench = Bench(sql, SOURCE)
    found = []
    place = number = 0
    while place < len(rows):
        size = pieces[number % len(pieces)]
        found += bench.send(*(meter(row.time, row.power, row.station) for row in rows[place : place + size]))
        if restarts:
            bench.restart(sql)
        place += size
        number += 1
    found += bench.finish()
    assert bench.late == bench.failed == []
    return sorted(
        (
            row["station"],
            round(row["window_start"] / 1e6) - START,
            round(row["window_end"] / 1e6) - START,
            *list(row.values())[3:],
        )
        for row in found
    )


PIECES: Final = st.lists(st.integers(1, 9), min_size=1, max_size=4)
FIELDS: Final = "station, window_start, window_end"


@given(streams(), st.sampled_from([1, 5, 10, 25]), PIECES, st.booleans())
@settings(deadline=None, max_examples=40)
def test_tumbling(
    oracle: duckdb.DuckDBPyConnection, rows: list[Reading], size: int, pieces: list[int], restarts: bool
) -> None:
    expected = theirs(
        oracle,
        f"SELECT station, ts - ts % {size} AS s, ts - ts % {size} + {size}, {AGGREGATES} FROM m "
        "GROUP BY station, s HAVING count(*) > 1",
        rows,
    )
    window = f"TUMBLE(meter, ts, INTERVAL '{size} seconds')"
    sql = f"INSERT INTO s SELECT {FIELDS}, {AGGREGATES} FROM {window} GROUP BY station, window_start HAVING n > 1"
    assert ours(sql, rows, pieces, restarts=restarts) == expected
    call = f"INSERT INTO s SELECT {FIELDS}, {AGGREGATES} FROM meter GROUP BY station, TUMBLINGWINDOW(ss, {size})"
    assert ours(f"{call} HAVING count(*) > 1", rows, pieces, restarts=False) == expected


@given(streams(), st.sampled_from([(5, 10), (5, 25), (10, 10), (4, 10)]), PIECES, st.booleans())
@settings(deadline=None, max_examples=40)
def test_hopping(
    oracle: duckdb.DuckDBPyConnection,
    rows: list[Reading],
    lengths: tuple[int, int],
    pieces: list[int],
    restarts: bool,
) -> None:
    hop, size = lengths
    # START is a multiple of all hops, so windows lie as they would if time began there.
    expected = theirs(
        oracle,
        f"SELECT station, s, s + {size}, {AGGREGATES} FROM m, (SELECT unnest(range(-100, 2000)) * {hop} AS s) "
        f"WHERE ts >= s AND ts < s + {size} GROUP BY station, s",
        rows,
    )
    window = f"HOP(meter, ts, INTERVAL '{hop} seconds', INTERVAL '{size} seconds')"
    sql = f"INSERT INTO s SELECT {FIELDS}, {AGGREGATES} FROM {window} GROUP BY station"
    assert ours(sql, rows, pieces, restarts=restarts) == expected


@given(streams(), st.integers(1, 12), PIECES, st.booleans())
@settings(deadline=None, max_examples=40)
def test_sessions(
    oracle: duckdb.DuckDBPyConnection, rows: list[Reading], gap: int, pieces: list[int], restarts: bool
) -> None:
    expected = theirs(
        oracle,
        f"""
        WITH begun AS (
          SELECT *, coalesce(ts - lag(ts) OVER (PARTITION BY station ORDER BY ts) >= {gap}, TRUE) AS begins FROM m
        ), numbered AS (
          SELECT *, sum(begins::INT) OVER (PARTITION BY station ORDER BY ts ROWS UNBOUNDED PRECEDING) AS number
          FROM begun
        )
        SELECT station, min(ts), max(ts) + {gap}, {AGGREGATES} FROM numbered GROUP BY station, number
        """,
        rows,
    )
    window = f"SESSION(meter, ts, INTERVAL '{gap} seconds')"
    sql = f"INSERT INTO s SELECT {FIELDS}, {AGGREGATES} FROM {window} GROUP BY station"
    assert ours(sql, rows, pieces, restarts=restarts) == expected


@given(streams(), st.sampled_from([5, 10]), PIECES, st.booleans())
@settings(deadline=None, max_examples=40)
def test_windows_over_windows(
    oracle: duckdb.DuckDBPyConnection, rows: list[Reading], size: int, pieces: list[int], restarts: bool
) -> None:
    """Nothing that a window gives is late for a window over it, whatever the pieces."""
    expected = theirs(
        oracle,
        f"SELECT 'all', ts - ts % {3 * size} AS s, ts - ts % {3 * size} + {3 * size}, count(*), sum(power) FROM m "
        "GROUP BY s",
        rows,
    )
    # The grid of the long windows begins at the epoch, which START is no multiple of.
    offset = START % (3 * size)
    sql = (
        f"CREATE VIEW short AS SELECT {FIELDS}, count(*) AS n, sum(power) AS total "
        f"FROM HOP(meter, ts, INTERVAL '{size} seconds', INTERVAL '{size} seconds') GROUP BY station;"
        f"INSERT INTO s SELECT 'all' AS station, window_start, window_end, sum(n) AS n, sum(total) AS total "
        f"FROM TUMBLE(short, window_start, INTERVAL '{3 * size} seconds', INTERVAL '{offset} seconds')"
    )
    assert ours(sql, rows, pieces, restarts=restarts) == expected


@given(
    streams(),
    st.sampled_from(["HOP(meter, ts, INTERVAL '5 s', INTERVAL '15 s')", "SESSION(meter, ts, INTERVAL '7 s')"]),
    PIECES,
)
@settings(deadline=None, max_examples=40)
def test_windows_over_windows_do_not_depend_on_pieces(rows: list[Reading], window: str, pieces: list[int]) -> None:
    sql = (
        f"CREATE VIEW short AS SELECT {FIELDS}, count(*) AS n FROM {window} GROUP BY station;"
        "INSERT INTO s SELECT station, window_start, window_end, sum(n) AS n, count(*) AS windows "
        "FROM TUMBLE(short, window_end, INTERVAL '10 s') GROUP BY station"
    )
    one = ours(sql, rows, [1], restarts=False)
    assert ours(sql, rows, pieces, restarts=True) == one
    assert ours(sql, rows, [len(rows) + 1], restarts=False) == one
