"""A database and its sessions, which all sinks of the connection share.

:meth:`SqlConnection.run` lets a function work with a session; ``engine`` is for what only asks about the dialect.
Invariants: at most ``max_connections`` sessions work at a time, whoever asks; a session whose caller has given up
counts no more, but where four of those hang no new ones begin; sessions are made when they are needed and closed with
the connection.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from connections.base import Connection, ConnectionContext
from connections.lookup import Finder, LookupSource
from connections.sql.config import SqlConfig
from connections.sql.engine import is_sqlite_file, make_engine, masked, parse_url, with_credentials
from connections.sql.errors import sentence
from connections.sql.session import Session
from connections.worker import Worker
from core.errors import ConfigError, Unavailable

Result = TypeVar("Result")

_MAX_ABANDONED: Final = 4
_PRODUCTS: Final = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB"}


class SqlConnection(Connection):
    """SQLite, PostgreSQL, TimescaleDB, MySQL, MariaDB; others that SQLAlchemy reaches take plain inserts."""

    type: ClassVar[str] = "sql"
    Config = SqlConfig

    def __init__(self, config: SqlConfig, context: ConnectionContext) -> None:
        super().__init__(config, context)
        try:
            self.url = parse_url(config.url.reveal(), context.base_dir)
        except ValueError as error:
            raise ConfigError(str(error), path="url") from None
        self.url = with_credentials(self.url, config)
        self.engine: Engine = make_engine(self.url, config, context.base_dir)
        self._file = Path(self.url.database) if is_sqlite_file(self.url) and self.url.database else None
        self._free = asyncio.Semaphore(config.max_connections)
        self._idle: list[Session] = []
        self._abandoned: list[Session] = []

    @property
    def title(self) -> str:
        """The URL as messages may show it."""
        return masked(self.url)

    @property
    def missing_file(self) -> Path | None:
        """The SQLite file that the first session will make; None where there is none to make."""
        return self._file if self._file is not None and not self._file.exists() else None

    async def open(self) -> None:
        """A SQLite file's folder is made; sessions begin when they are needed."""
        self._free = asyncio.Semaphore(self.config.max_connections)
        path = self.missing_file
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                reason = f"folder {path.parent} of the SQLite file cannot be created: {error.strerror}"
                raise Unavailable(reason) from error

    async def close(self) -> None:
        sessions, self._idle = self._idle, []
        for session in sessions:
            await session.worker.run(session.discard)
            session.worker.stop()
        self.engine.dispose()

    async def run(self, function: Callable[[Session], Result]) -> Result:
        """What ``function`` returns or raises, in the thread of a free session; waits for one.

        Unavailable where too many calls hang. A cancelled caller abandons its session.
        """
        async with self._free:
            session = self._idle.pop() if self._idle else self._begin()
            try:
                result = await session.worker.run(partial(function, session))
            except asyncio.CancelledError:
                session.abandon()
                self._abandoned.append(session)
                raise
            except BaseException:
                self._idle.append(session)
                raise
            self._idle.append(session)
            return result

    def _begin(self) -> Session:
        self._abandoned = [session for session in self._abandoned if session.worker.alive]
        if len(self._abandoned) >= _MAX_ABANDONED:
            raise Unavailable(f"{self.title} does not answer: {len(self._abandoned)} calls hang")
        return Session(self.engine, self.context.name, self._file)

    async def check(self) -> str:
        worker = Worker(f"check of {self.context.name}")
        try:
            return await worker.run(self._check)
        finally:
            worker.stop()

    def _check(self) -> str:
        path = self.missing_file
        if path is not None:  # connecting would make it
            parent = next(parent for parent in path.parents if parent.exists())
            if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
                raise Unavailable(f"{path} does not exist and cannot be made: {parent} is no folder to write in")
            return f"{self._product()}, {path} will be made"
        try:
            with self.engine.connect() as connection:
                connection.exec_driver_sql("SELECT 1")
                return f"{self._product(connection.dialect.server_version_info)} at {self.title}"
        except sa.exc.SQLAlchemyError as error:
            raise Unavailable(f"{self.title}: {sentence(getattr(error, 'orig', None) or error)}") from None

    def finder(self, source: LookupSource) -> Finder:
        from connections.sql.lookup import SqlFinder  # it is made of connections

        return SqlFinder(self, source)

    def _product(self, version: tuple[Any, ...] | None = None) -> str:
        dialect = self.engine.dialect
        name = "mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name  # by mysql:// too
        return " ".join([_PRODUCTS.get(name, name), ".".join(map(str, version or ()))]).strip()
