"""One session with a database: a thread and the connection that only this thread uses.

All that blocks happens in the thread. A session whose caller has given up is abandoned: it takes back what it did as
soon as the driver returns, and ends.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import PoolProxiedConnection

from connections.worker import Worker
from core.errors import Unavailable


class Session:
    """``worker`` is its thread; except for :meth:`abandon` everything here runs in that thread."""

    def __init__(self, engine: Engine, name: str, file: Path | None = None) -> None:
        """``file`` is the SQLite file, where it is one."""
        self.worker = Worker(f"sql {name}")
        self._engine = engine
        self._file = file
        self._opened: tuple[int, int] | None = None
        self._connection: Connection | None = None
        self._driver: Any = None
        self._given_up = False

    def connect(self) -> Connection:
        """The connection, made where there is none."""
        if self._file is not None and self._connection is not None and self._identity() != self._opened:
            self.discard()  # deleted or replaced: SQLite would go on in the file that nobody can find any more
        if self._connection is None:
            self._connection = self._engine.connect()
            self._driver = self._connection.connection.driver_connection
            self._opened = self._identity()
        return self._connection

    def write_ahead(self) -> None:
        """SQLite: writers and readers no longer wait for one another. The file stays so: only who writes does it."""
        connection = self.connect()
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            connection.rollback()

    def _identity(self) -> tuple[int, int] | None:
        """What tells the SQLite file from another of its name."""
        if self._file is None:
            return None
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def transaction(self, function: Callable[[Any], object]) -> None:
        """Call ``function`` with a cursor of the driver and commit; what fails is rolled back."""
        connection = self.connect().connection
        try:
            cursor = connection.cursor()
            try:
                function(cursor)
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
