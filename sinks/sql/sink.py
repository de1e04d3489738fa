"""Rows into a table of any SQL database that SQLAlchemy 2 reaches through a blocking driver, or into a statement.

Delivered means: committed. A batch is one transaction. Effectively once with ``write = "upsert"`` or ``"ignore"``
and a key; with ``"insert"`` a write whose answer was lost is repeated.

How rows of one schema are sent (a :class:`sinks.sql.writer.Writer`) is worked out once, against the live table; the
rows then go to the driver directly, because SQLAlchemy's handling per row would cost more than SQLite's. A row that
is refused and known by its position is left out and the others are written; where only the refusal is known, nothing
is, and the delivery finds the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Final

from connections.sql.connection import SqlConnection
from connections.sql.session import Session
from core.errors import Rejected, SinkError, Throttled, Unavailable
from core.message import Batch, Row, Schema
from sinks.base import Sink, SinkContext
from sinks.sql import table
from sinks.sql.config import Config as SqlSinkConfig
from sinks.sql.config import TableSettings, check_table
from sinks.sql.encode import UNBINDABLE
from sinks.sql.errors import classify
from sinks.sql.statement import by_hand, check_live, check_statement
from sinks.sql.writer import Writer

_MAX_WRITERS: Final = 256
_MAX_LOCATED: Final = 64
"""Rows of one batch that the server refuses and that are left out one after the other; then the batch is halved."""

Dead = list[tuple[int, str]]


class SqlSink(Sink):
    """Writes rows into a table, or runs a statement for every row; a batch is one transaction."""

    name: ClassVar[str] = "sql"
    connection_type: ClassVar[str | None] = "sql"
    Config = SqlSinkConfig

    def __init__(self, config: SqlSinkConfig, context: SinkContext) -> None:
        super().__init__(config, context)
        self._connection = context.connected(SqlConnection)
        self._dialect = self._connection.engine.dialect
        self._statement: str | None = None
        self._table: TableSettings | None = None
        if config.statement is not None:
            self._statement = check_statement(config, context.schemas)
        else:
            self._table = check_table(config, context.schemas, self._dialect.name)
        # SQLite has one writer; concurrent changes of a row would let an older one win over a newer one.
        ordered = config.write == "upsert" or self._statement is not None or self._dialect.name == "sqlite"
        self.max_in_flight = 1 if ordered else 4
        self._writers: dict[Schema, Writer] = {}

    async def open(self) -> None:
        await self._connection.join(self)
        await self._run(partial(self._prepare, schemas=self.context.schemas))

    async def check(self) -> None:
        """What ``open`` looks at; makes neither table nor file."""
        missing = self._connection.missing_file
        if missing is not None:
            if self._table is not None and self._table.create:
                await self._connection.check()
                return
            raise Unavailable(f"{missing} does not exist, and so no table in it")
        try:
            await self._connection.join(self)
            await self._run(partial(self._prepare, schemas=self.context.schemas, make=False))
        finally:
            await self.close()

    async def write(self, batch: Batch) -> None:
        if batch.rows:
            await self._run(partial(self._write, batch=batch))

    async def close(self) -> None:
        self._writers.clear()
        await self._connection.leave(self)

    async def _run(self, function: Any) -> None:
        """Run ``function`` with a session, in its thread; its errors come as SinkErrors."""
        try:
            await self._connection.run(function)
        except Exception as error:
            raise self._problem(error) from error

    def _problem(self, error: Exception, column: str | None = None) -> SinkError:
        subject = f"table {self._table.title}" if self._table is not None else "statement"
        if column is not None:
            subject += f": column {column!r}"
        return classify(error, self._dialect, f"{self._connection.title} {subject}")

    # -- in the thread --------------------------------------------------------------------------------------------

    def _prepare(self, session: Session, schemas: Sequence[Schema], *, make: bool = True) -> None:
        """Work out the writers of ``schemas``; whatever is wrong is Unavailable, it is no row's fault."""
        connection = session.connect()
        try:
            if make:
                session.write_ahead()
            if self._table is None:
                for schema in schemas:
                    self._keep(schema, by_hand(str(self._statement), schema, self._dialect))
                check_live(connection, str(self._statement))
            else:
                found = table.find(connection, self._table, [*self.context.schemas, *schemas], make=make)
                if found is not None:
                    table.check(found, schemas, self._dialect)
                    for schema in schemas:
                        writer = table.writer(found, schema, self._dialect)
                        writer.ask(connection)
                        self._keep(schema, writer)
            connection.rollback()
        except Exception as error:
            session.discard()
            problem = self._problem(error)
            raise problem if isinstance(problem, Unavailable) else Unavailable(str(problem)) from error

    def _keep(self, schema: Schema, writer: Writer) -> None:
        if len(self._writers) >= _MAX_WRITERS:
            self._writers.clear()
        self._writers[schema] = writer

    def _write(self, session: Session, batch: Batch) -> None:
        if batch.schema not in self._writers:
            self._prepare(session, [batch.schema])
        writer = self._writers[batch.schema]
        places: Sequence[int] = range(len(batch.rows))
        dead: Dead = []
        while places:
            encoded, places = self._encode(writer, batch.rows, places, dead)
            if not places:
                break
            try:
                session.transaction(partial(writer.send, encoded=encoded))
                break
            except Exception as error:
                problem = self._problem(error, writer.column(error))
                if isinstance(problem, Unavailable):
                    if not isinstance(problem, Throttled):
                        # The connection may be lost, the table changed or dropped: look at both again next time.
                        session.discard()
                        self._writers.clear()
                    raise problem from error
                position = writer.refused(error, encoded) if len(dead) < _MAX_LOCATED else None
                if position is None or not -len(places) <= position < len(places):
                    raise Rejected(str(problem)) from error
                at = places[position]
                dead.append((at, str(problem)))
                places = [place for place in places if place != at]
        if dead:
            raise Rejected(f"{len(dead)} of {len(batch.rows)} rows are refused: {dead[0][1]}", sorted(dead))

    def _encode(
        self, writer: Writer, rows: Sequence[Row], places: Sequence[int], dead: Dead
    ) -> tuple[Any, Sequence[int]]:
        """What to send of the rows at ``places``, and the places of those that can be sent; the others are dead."""
        wanted = rows if len(places) == len(rows) else [rows[place] for place in places]
        try:
            return writer.encode(wanted), places
        except UNBINDABLE:
            good = []
            for place in places:
                try:
                    writer.encode([rows[place]])
                except UNBINDABLE as error:
                    dead.append((place, str(self._problem(error))))
                else:
                    good.append(place)
            return (writer.encode([rows[place] for place in good]) if good else None), good
