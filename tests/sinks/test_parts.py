"""The small parts under the sinks: back-off, size estimates, instants, worker threads, error classes."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from connections.worker import Worker
from core.clock import MILLISECOND, SECOND
from core.errors import PayloadError, Rejected, SinkError, Throttled, Unavailable
from core.message import MISSING, Schema, Type
from core.settings import Duration
from formats.json import encode_document
from sinks.backoff import Backoff
from sinks.buffer import row_bytes
from sinks.encoding import instant, rfc3339, row_encoder
from sinks.settings import RetrySettings
from sinks.sql.errors import classify


@given(failures=st.integers(0, 10_000), luck=st.floats(0, 1), wish=st.none() | st.integers(0, 10**12))
def test_a_pause_is_bounded(failures: int, luck: float, wish: int | None) -> None:
    backoff = Backoff(RetrySettings(initial=Duration(SECOND), max_delay=Duration(30 * SECOND)), lambda: luck)
    backoff.failures = failures
    assert max(MILLISECOND, wish or 0) <= backoff.delay(wish) <= max(30 * SECOND, wish or 0)


def test_pauses_double_up_to_the_limit() -> None:
    backoff = Backoff(RetrySettings(initial=Duration(SECOND), max_delay=Duration(5 * SECOND)), lambda: 1.0)
    pauses = []
    for _ in range(5):
        backoff.fail()
        pauses.append(backoff.delay() // SECOND)
    assert pauses == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.delay() == SECOND


def test_the_estimate_of_a_row() -> None:
    assert row_bytes((1, 2.5, None)) == 64 + 3 * 32
    assert row_bytes(("x" * 100, b"y" * 10)) == 64 + 2 * 32 + 110
    assert row_bytes(({"key": ["abc", 1]},)) == 64 + 4 * 32 + 3 + 3


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (1_767_225_600_123_000, "2026-01-01T00:00:00.123Z"),
        (1_767_225_600_000_010, "2026-01-01T00:00:00.000010Z"),
    ],
)
def test_rfc3339(microseconds: int, text: str) -> None:
    assert rfc3339(microseconds) == text


def test_an_instant_beyond_the_calendar() -> None:
    for far in (10**18, -(10**17), 10**40):
        with pytest.raises(PayloadError, match="years 1 to 9999"):
            instant(far)


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(max_size=4),
    st.decimals(),
    st.just(MISSING),
    st.lists(st.integers() | st.binary(max_size=4), max_size=2),
    st.dictionaries(st.text(max_size=2), st.none() | st.binary(max_size=4), max_size=2),
)


@given(
    cells=st.lists(st.tuples(_VALUES, st.sampled_from([Type.ANY, Type.TIMESTAMP])), max_size=5),
    name=st.text(st.characters(codec=None), max_size=3),  # lone surrogates, quotes and line breaks, too
)
@example(cells=[(1, Type.ANY)], name='"')
def test_a_row_is_written_as_the_document_that_it_is(cells: list[tuple[Any, Type]], name: str) -> None:
    names = tuple(f"{position}{name}" for position in range(len(cells)))
    schema, row = Schema(names, tuple(kind for _, kind in cells)), tuple(value for value, _ in cells)

    def written(make: Callable[[], bytes]) -> bytes | None:
        try:
            return make()
        except PayloadError:
            return None

    def document() -> bytes:
        instants = [rfc3339(value) if kind is Type.TIMESTAMP and type(value) is int else value for value, kind in cells]
        return encode_document(dict(zip(names, instants, strict=True)))

    assert written(lambda: row_encoder(schema)(row)) == written(document)


# -- worker threads -----------------------------------------------------------------------------------------------


async def test_a_worker_answers_in_order_from_one_thread() -> None:
    worker = Worker("worker")
    threads = await asyncio.gather(*[worker.run(threading.get_ident) for _ in range(5)])
    assert len({*threads, threading.get_ident()}) == 2
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0)
    last: list[int] = []
    worker.stop(lambda: last.append(1))
    worker._thread.join()
    assert last == [1]
    assert not worker.alive


async def test_a_cancelled_call_ends_all_the_same_and_nobody_is_told() -> None:
    worker = Worker("worker")
    go, ended = threading.Event(), threading.Event()
    task = asyncio.create_task(worker.run(lambda: (go.wait(), ended.set())))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    assert await worker.run(ended.is_set)
    worker.stop()


def test_an_answer_after_the_loop_has_closed_is_dropped() -> None:
    worker, go = Worker("worker"), threading.Event()

    async def ask() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await worker.run(go.wait)

    asyncio.run(ask())
    go.set()
    worker.stop()
    worker._thread.join()


# -- error classes ------------------------------------------------------------------------------------------------


def dialect(kind: Any, module: str) -> Any:
    dbapi = pytest.importorskip(module)
    return kind(dbapi=dbapi)


def sqlite_error(kind: type[Exception], code: int | None, text: str = "oops") -> Exception:
    error = kind(text)
    if code is not None:
        error.sqlite_errorcode = code  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (sqlite_error(sqlite3.IntegrityError, 19), Rejected),
        (sqlite_error(sqlite3.DataError, 18), Rejected),
        (
            sqlite_error(sqlite3.ProgrammingError, None, "Error binding parameter 1: type 'set' is not supported"),
            Rejected,
        ),
        (OverflowError("Python int too large"), Rejected),
        (sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_BUSY), Unavailable),
        (sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_FULL), Unavailable),
        (sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_ERROR, "no such table: x"), Unavailable),
        (sqlite_error(sqlite3.DatabaseError, sqlite3.SQLITE_CORRUPT), Unavailable),
        (OSError("disk gone"), Unavailable),
        (Throttled("already ours"), Throttled),
    ],
)
def test_sqlite_errors(error: Exception, expected: type[SinkError]) -> None:
    assert type(classify(error, dialect(SQLiteDialect_pysqlite, "sqlite3"), "meter")) is expected


@pytest.mark.parametrize(
    ("name", "state", "expected"),
    [
        ("OperationalError", "40P01", Throttled),  # deadlock
        ("OperationalError", "40001", Throttled),  # serialization
        ("OperationalError", "53300", Throttled),  # too many connections
        ("OperationalError", "55P03", Throttled),  # no lock in time
        ("OperationalError", "57014", Throttled),  # statement_timeout
        ("OperationalError", "25006", Unavailable),  # read-only after a failover
        ("ProgrammingError", "21000", Rejected),  # a key twice in one statement
        ("DatabaseError", "P0001", Rejected),  # a trigger refuses
        ("OperationalError", "57P01", Unavailable),  # shutdown
        ("OperationalError", None, Unavailable),  # connection lost
        ("ProgrammingError", "42P01", Unavailable),  # no such table
        ("ProgrammingError", "42501", Unavailable),  # not permitted
        ("ProgrammingError", "42804", Rejected),  # a value of the wrong type
        ("DataError", "22003", Rejected),
        ("IntegrityError", "23505", Rejected),
        ("OperationalError", "54000", Rejected),  # an index row too large
        ("DataError", None, Rejected),  # NUL in a text
    ],
)
def test_postgresql_errors(name: str, state: str | None, expected: type[SinkError]) -> None:
    psycopg = dialect(PGDialect_psycopg, "psycopg")
    kind = type("Error", (getattr(psycopg.dbapi, name),), {"sqlstate": state})
    assert type(classify(kind("first line\nDETAIL: the row"), psycopg, "meter")) is expected


@pytest.mark.parametrize(
    ("name", "code", "expected"),
    [
        ("OperationalError", 1213, Throttled),  # deadlock
        ("OperationalError", 1205, Throttled),  # lock wait
        ("OperationalError", 1040, Throttled),  # too many connections
        ("OperationalError", 1290, Unavailable),  # read-only after a failover
        ("OperationalError", 1644, Rejected),  # a trigger refuses
        ("OperationalError", 2013, Unavailable),  # connection lost
        ("ProgrammingError", 1146, Unavailable),  # no such table
        ("OperationalError", 4025, Rejected),  # CHECK
        ("OperationalError", 1292, Rejected),  # no instant
        ("DataError", 1406, Rejected),
        ("IntegrityError", 1062, Rejected),
    ],
)
def test_mysql_errors(name: str, code: int, expected: type[SinkError]) -> None:
    pymysql = dialect(MySQLDialect_pymysql, "pymysql")
    problem = classify(getattr(pymysql.dbapi, name)(code, "sentence"), pymysql, "meter")
    assert type(problem) is expected
    assert str(problem) == f"meter: sentence ({code})"


def test_an_error_shows_its_first_line_only() -> None:
    sqlite = dialect(SQLiteDialect_pysqlite, "sqlite3")
    assert str(classify(sqlite3.OperationalError("first\nthe row"), sqlite, "meter")) == "meter: first"
    assert str(classify(sqlite3.OperationalError(), sqlite, "meter")) == "meter: OperationalError"
