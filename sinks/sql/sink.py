"""Rows into a table of any SQL database that SQLAlchemy 2 reaches through a blocking driver.

Delivered means: committed. A batch is one transaction. Effectively once with ``write = "upsert"`` or ``"ignore"``
and a key; with ``"insert"`` a write whose answer was lost is repeated.

Every write in flight has a slot: a thread with a connection of its own. SQLAlchemy compiles the statement once per
schema; the rows go to the driver's ``executemany`` directly, because SQLAlchemy's handling per row would cost more than
SQLite's. A slot whose caller has given up is abandoned: its thread rolls back when the driver returns, and a new slot
takes its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Final

import msgspec
from sqlalchemy.engine import Connection as DatabaseConnection
from sqlalchemy.engine import Engine
from sqlalchemy.pool import PoolProxiedConnection

from connections.sql.connection import SqlConnection
from connections.worker import Worker
from core.errors import ConfigError, SinkError, Unavailable
from core.message import Batch, Schema
from core.registry import did_you_mean
from sinks.base import Sink, SinkContext
from sinks.sql.errors import classify
from sinks.sql.table import Plan, TableSettings, Write, merged, prepare

_MAX_PLANS: Final = 256
_MAX_ABANDONED: Final = 4
_UPSERTS: Final = ("sqlite", "postgresql", "mysql", "mariadb")


class SqlSink(Sink):
    """Inserts, upserts or ignores rows in one table; see ``Config`` and :class:`connections.sql.SqlConnection`."""

    name: ClassVar[str] = "sql"
    connection_type: ClassVar[str | None] = "sql"

    class Config(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
        """One table."""

        table: str
        schema: str | None = None
        """The database's schema (namespace) of the table; its default one otherwise."""
        write: Write = "insert"
        """What happens to a row whose key is there already: an error, an update, nothing."""
        key: tuple[str, ...] = ()
        """The table's columns that identify a row; with ``create_table`` they become the primary key."""
        create_table: bool = False
        """Make a missing table from the columns and types of the rules that write to it."""
        columns: dict[str, str] = {}
        """Column of the rule = column of the table, where the names differ."""

    def __init__(self, config: Config, context: SinkContext) -> None:
        super().__init__(config, context)
        self._connection = context.connected(SqlConnection)
        self._engine = self._connection.engine
        self._check_config(config)
        self._table = TableSettings(
            config.table, config.schema, config.write, config.key, config.create_table, config.columns
        )
        # SQLite has one writer; concurrent upserts would let an older row win over a newer one.
        self.max_in_flight = 1 if config.write == "upsert" or self._engine.dialect.name == "sqlite" else 4
        self._plans: dict[Schema, Plan] = {}
        self._idle: list[_Slot] = []
        self._abandoned: list[_Slot] = []

    def _check_config(self, config: Config) -> None:
        dialect = self._engine.dialect.name
        if config.write != "insert" and dialect not in _UPSERTS:
            raise ConfigError(f"{dialect} is not known to {config.write}", path="write", hint="use write = 'insert'")
        if config.write == "upsert" and not config.key:
            raise ConfigError("write = 'upsert' needs the columns that identify a row", path="key")
        if len(set(config.columns.values())) < len(config.columns):
            raise ConfigError("two columns go to the same column of the table", path="columns")
        # Rules with a `*` have columns that only their rows show: then the first row tells.
        names = {name: None for schema in self.context.schemas for name in schema.names}
        if names and (strange := [name for name in config.columns if name not in names]):
            hint = did_you_mean(strange[0], names) or f"they yield {', '.join(names)}"
            raise ConfigError(f"no rule yields {strange[0]!r}", path="columns", hint=hint)
        columns = merged(self.context.schemas, config.columns)
        if columns and (unknown := [name for name in config.key if name not in columns]):
            raise ConfigError(f"no rule yields {unknown[0]!r}; they yield {', '.join(columns)}", path="key")

    async def open(self) -> None:
        await self._connection.join(self)
        await self._run(self._open)

    def _open(self, slot: _Slot) -> None:
        slot.connect()
        for schema in self.context.schemas:
            self._plan(slot, schema)

    async def write(self, batch: Batch) -> None:
        if batch.rows:
            await self._run(partial(self._write, batch=batch))

    async def _run(self, function: Callable[[_Slot], None]) -> None:
        """Run ``function`` in the thread of a free slot; its errors come as SinkErrors."""
        slot = self._idle.pop() if self._idle else self._new_slot()
        try:
            await slot.worker.run(partial(function, slot))
        except asyncio.CancelledError:
            slot.abandon()
            self._abandoned.append(slot)
            raise
        except Exception as error:
            self._idle.append(slot)
            raise self._problem(error) from error
        self._idle.append(slot)

    def _new_slot(self) -> _Slot:
        self._abandoned = [slot for slot in self._abandoned if slot.worker.alive]
        if len(self._abandoned) >= _MAX_ABANDONED:
            raise Unavailable(f"{self._connection.title} does not answer: {len(self._abandoned)} writes hang")
        return _Slot(self._engine, self.context.name)

    def _problem(self, error: Exception) -> SinkError:
        return classify(error, self._engine.dialect, f"{self._connection.title} table {self._table.title}")

    def _plan(self, slot: _Slot, schema: Schema) -> Plan:
        plan = self._plans.get(schema)
        if plan is None:
            connection = slot.connect()
            try:
                plan = prepare(connection, self._table, self.context.schemas, schema)
            except Exception:
                slot.discard()
                raise
            connection.rollback()
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            self._plans[schema] = plan
        return plan

    def _write(self, slot: _Slot, batch: Batch) -> None:
        plan = self._plan(slot, batch.schema)
        rows: Any = plan.conversion.apply(batch.rows)
        if plan.names is not None:
            names = plan.names
            rows = [dict(zip(names, row, strict=True)) for row in rows]
        try:
            slot.write(plan.statement, rows)
        except Exception as error:
            problem = self._problem(error)
            if isinstance(problem, Unavailable):
                # The connection may be lost, the table changed or dropped: look at both again next time.
                slot.discard()
                self._plans.clear()
            raise problem from error

    async def close(self) -> None:
        slots, self._idle = self._idle, []
        self._plans.clear()
        for slot in slots:
            await slot.worker.run(slot.discard)
            slot.worker.stop()
        await self._connection.leave(self)


class _Slot:
    """A thread and the connection that only this thread uses (``interrupt`` apart)."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.worker = Worker(f"sql sink {name}")
        self._engine = engine
        self._connection: DatabaseConnection | None = None
        self._driver: Any = None
        self._given_up = False

    def connect(self) -> DatabaseConnection:
        if self._connection is None:
            self._connection = self._engine.connect()
            self._driver = self._connection.connection.driver_connection
        return self._connection

    def write(self, statement: str, rows: Any) -> None:
        """One transaction; what fails is rolled back."""
        connection = self.connect().connection
        try:
            cursor = connection.cursor()
            try:
                cursor.executemany(statement, rows)
            finally:
                cursor.close()
            if not self._given_up:
                connection.commit()
                return
        except BaseException:
            self._roll_back(connection)
            raise
        self._roll_back(connection)
        raise Unavailable("the write took too long and was taken back")

    def _roll_back(self, connection: PoolProxiedConnection) -> None:
        try:
            connection.rollback()
        except Exception:  # noqa: BLE001 - the connection is of no use any more, whatever the reason
            self.discard()

    def discard(self) -> None:
        """Close the connection, whatever state it is in; what was not committed is rolled back."""
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def abandon(self) -> None:
        """From the event loop: end the thread as soon as the driver returns, without a commit."""
        self._given_up = True
        driver = self._driver
        if driver is not None and self._engine.dialect.name == "sqlite":
            with contextlib.suppress(sqlite3.Error):  # closed meanwhile
                driver.interrupt()
        self.worker.stop(self.discard)
