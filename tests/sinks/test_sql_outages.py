"""The sql sink while real servers stop, die, freeze, lock and throw it out: no row is lost, with a key none doubled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from connections.base import ConnectionContext
from connections.sql.config import SqlConfig
from connections.sql.connection import SqlConnection
from core.clock import SystemClock
from core.errors import Throttled, Unavailable
from core.message import Batch, Row, Schema, Type
from core.metrics import Metrics
from core.settings import decode_hook
from sinks.base import SinkContext
from sinks.delivery import Delivery, State
from sinks.settings import DeliverySettings
from sinks.sql.sink import SqlSink
from tests.servers import Mariadb, Postgresql, Server

pytestmark = pytest.mark.integration
SCHEMA = Schema(("id", "station", "kw"), (Type.BIGINT, Type.TEXT, Type.DOUBLE))
KINDS = [
    pytest.param(Postgresql, id="postgresql"),
    pytest.param(Mariadb, id="mariadb"),
]
IMPATIENT = {"retry": {"initial": "10ms", "max_delay": "100ms", "attempt_timeout": "1s"}}


@pytest.fixture(autouse=True)
def drivers() -> None:
    pytest.importorskip("psycopg")
    pytest.importorskip("pymysql")


def connect(url: str, **settings: Any) -> SqlConnection:
    config = msgspec.convert({"url": url, **settings}, SqlConfig, dec_hook=decode_hook)
    return SqlConnection(config, ConnectionContext(name="db", base_dir=Path()))


def make(connection: SqlConnection, **config: Any) -> SqlSink:
    settings = msgspec.convert({"create_table": True, **config}, SqlSink.Config, dec_hook=decode_hook)
    return SqlSink(settings, SinkContext(name="s", base_dir=Path(), schemas=(SCHEMA,), connection=connection))


def batch(*rows: Row) -> Batch:
    return Batch("s", "rule", SCHEMA, list(rows))


def deliver(sink: SqlSink, dead: list[Any]) -> Delivery:
    return Delivery(
        "s",
        sink,
        msgspec.convert(IMPATIENT, DeliverySettings, dec_hook=decode_hook),
        clock=SystemClock(),
        metrics=Metrics(),
        on_room=lambda: None,
        on_dead=lambda _batch, rows: dead.extend(rows),
    )


async def until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(60):
        while not (found := condition()):  # noqa: ASYNC110 - what it waits for happens in a server
            await asyncio.sleep(0.01)
    return found


def fetch(engine: Engine, statement: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement))]


# -- the server goes away ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_freezes_dies_and_restarts(kind: type[Server], own_server: Callable[..., Any]) -> None:
    server = own_server(kind)
    connection = connect(server.url, max_connections=6)
    dead: list[Any] = []
    keyed = deliver(make(connection, table="keyed", write="upsert", key=["id"]), dead)
    plain = deliver(make(connection, table="plain"), dead)
    number = 0

    async def stream(count: int) -> None:
        nonlocal number
        for _ in range(count):
            rows = batch(*[(number + index, f"cp{index}", index / 2) for index in range(50)])
            assert keyed.offer(rows)
            assert plain.offer(rows)
            number += 50
            await asyncio.sleep(0.002)

    async def lost_and_back(take: Callable[[], None], give: Callable[[], None]) -> None:
        await stream(20)
        await until(lambda: keyed.counts.delivered and plain.counts.delivered)
        take()
        await stream(20)
        await until(lambda: State.UNAVAILABLE in (keyed.state, plain.state))
        give()
        await stream(20)
        await until(lambda: keyed.state is plain.state is State.CONNECTED)

    await keyed.start()
    await plain.start()
    try:
        loop = asyncio.get_running_loop()
        await lost_and_back(server.pause, server.resume)
        await lost_and_back(server.kill, server.start)
        await loop.run_in_executor(None, server.restart)
        await stream(20)
        async with asyncio.timeout(120):
            await keyed.drain()
            await plain.drain()
    finally:
        await keyed.close()
        await plain.close()
    assert dead == []
    assert keyed.counts.dropped == plain.counts.dropped == 0
    engine = connection.engine
    assert sorted(fetch(engine, "SELECT id FROM keyed")) == [(identity,) for identity in range(number)]
    assert {identity for (identity,) in fetch(engine, "SELECT id FROM plain")} == set(range(number))
    engine.dispose()


# -- others in the way ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["postgresql", "mariadb"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param).url)


def waiting(engine: Engine) -> list[tuple[Any, ...]]:
    """The sessions that wait for a lock."""
    if engine.dialect.name == "postgresql":
        return fetch(engine, "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    # Not innodb_trx: InnoDB brings that up to date only where nobody has read it for 100 ms.
    if fetch(engine, "SHOW GLOBAL STATUS LIKE 'innodb_row_lock_current_waits'")[0][1] == "0":
        return []
    return fetch(engine, "SELECT id FROM information_schema.processlist WHERE info LIKE 'INSERT INTO%'")


async def test_a_session_that_is_ended_in_the_middle_of_a_batch(url: str) -> None:
    connection = connect(url)
    engine = connection.engine
    sink = make(connection, table="ended", write="upsert", key=["id"])
    await sink.open()
    try:
        await sink.write(batch((1, "a", 1.0), (2, "b", 1.0)))
        with engine.connect() as other:
            other.execute(sa.text("UPDATE ended SET kw = 0 WHERE id = 2"))
            task = asyncio.ensure_future(sink.write(batch((1, "a", 2.0), (2, "b", 2.0), (3, "c", 2.0))))
            [(victim,)] = await until(lambda: waiting(engine))
            end = "SELECT pg_terminate_backend(:id)" if engine.dialect.name == "postgresql" else "KILL :id"
            other.execute(sa.text(end), {"id": victim})
            with pytest.raises(Unavailable) as caught:
                await task
            assert "ci:ci" not in str(caught.value)
            other.rollback()
        assert fetch(engine, "SELECT * FROM ended ORDER BY id") == [(1, "a", 1.0), (2, "b", 1.0)]
        await sink.write(batch((1, "a", 2.0), (2, "b", 2.0), (3, "c", 2.0)))
    finally:
        await sink.close()
    assert fetch(engine, "SELECT id, kw FROM ended ORDER BY id") == [(1, 2.0), (2, 2.0), (3, 2.0)]


async def test_a_deadlock_is_tried_again(url: str) -> None:
    patient = f"{url}?options=-c%20deadlock_timeout%3D500ms" if url.startswith("postgresql") else url
    connection = connect(patient)
    engine = connect(url).engine
    sink = make(connection, table="tangled", write="upsert", key=["id"])
    rows = batch(*[(identity, "a", 1.0) for identity in range(50)])
    await sink.open()
    try:
        await sink.write(rows)
        with ThreadPoolExecutor(1) as thread, engine.connect() as other:
            if engine.dialect.name == "postgresql":
                other.execute(sa.text("SET deadlock_timeout = '60s'"))  # so that the sink is the victim
            other.execute(sa.text("UPDATE tangled SET kw = 0 WHERE id > 10"))  # MariaDB's victim has changed less
            task = asyncio.ensure_future(sink.write(batch((1, "a", 2.0), (20, "a", 2.0))))
            await until(lambda: waiting(engine))
            cross = thread.submit(other.execute, sa.text("UPDATE tangled SET kw = 0 WHERE id = 1"))
            with pytest.raises(Throttled, match=r"[Dd]eadlock"):
                await task
            await asyncio.wrap_future(cross)
            other.rollback()
        await sink.write(batch((1, "a", 2.0), (20, "a", 2.0)))
    finally:
        await sink.close()
    assert fetch(engine, "SELECT id FROM tangled WHERE kw = 2 ORDER BY id") == [(1,), (20,)]


async def test_a_server_that_takes_no_more_sessions(postgresql: Postgresql) -> None:
    connection = connect(postgresql.url)
    with connection.engine.begin() as admin:
        admin.execute(sa.text("DROP ROLE IF EXISTS crowded"))
        admin.execute(sa.text("CREATE ROLE crowded LOGIN PASSWORD 'geheim' CONNECTION LIMIT 0"))
    address = postgresql.url.partition("@")[2]
    sink = make(connect(f"postgresql://{address}", user="crowded", password="geheim"), table="x")
    try:
        with pytest.raises(Unavailable, match="too many connections") as caught:
            await sink.open()
        assert "geheim" not in str(caught.value)
    finally:
        await sink.close()
