"""The entries of ``kv_store_put`` in a file, so that a restart finds them again.

Rules never wait for it: what changed since the last time is written once a second, in a thread, in one transaction. A
crash costs that second, a stop nothing. SQLite keeps the file whole whatever happens; keys and values are Erlang terms.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from pathlib import Path
from typing import Any, Final

from core.errors import ConfigError
from core.message import Missing
from core.metrics import Metrics
from rules.functions import FunctionError, Table, builtin_functions

_log = logging.getLogger("headrace.kv_store")

FILE_NAME: Final = "kv_store.sqlite3"
_SCHEMA: Final = "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
_PUT: Final = "INSERT INTO entries VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_DELETE: Final = "DELETE FROM entries WHERE key = ?"

_encode = builtin_functions()["term_encode"].call
_decode = builtin_functions()["term_decode"].call


class KvFile:
    """The file of one table; :meth:`open` fills the table from it."""

    def __init__(self, path: Path, table: Table, metrics: Metrics) -> None:
        self._path = path
        self._table = table
        self._connection: sqlite3.Connection | None = None
        self._writing: asyncio.Task[None] | None = None
        self._failing = False
        self._failures = metrics.counter(
            "headrace_kv_store_write_failures_total", "Times that the entries of kv_store_put could not be written"
        )

    def open(self) -> None:
        """Read everything; ConfigError where the file is none of ours or cannot be written."""
        try:
            # Threads take turns with it: there is one write at a time.
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_SCHEMA)
                rows = connection.execute("SELECT key, value FROM entries").fetchall()
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            raise ConfigError(
                f"{self._path} cannot be used: {error}",
                path="functions.kv_store.persist",
                hint="move the file away to begin with an empty table",
            ) from None
        self._connection = connection
        entries: list[tuple[Any, Any]] = []
        unread = 0
        for key, value in rows:
            try:
                entries.append((_decode(key), _decode(value)))
            except FunctionError:
                unread += 1
        left = self._table.load(entries)
        if unread or left:
            _log.warning(
                "kv_store: %d entries of %s are unreadable, %d do not fit into the table", unread, self._path, left
            )

    def flush_soon(self) -> None:
        """Write what changed, unless the last write still goes on."""
        if self._connection is not None and (self._writing is None or self._writing.done()):
            changes = self._table.take_changes()
            if changes:
                self._writing = asyncio.get_running_loop().create_task(self._flush(changes))

    async def close(self) -> None:
        """Write what is left and close the file."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
        connection = self._connection
        if connection is None:
            return
        changes = self._table.take_changes()
        if changes:
            await self._flush(changes)
        self._connection = None
        connection.close()

    async def _flush(self, changes: list[tuple[Any, Any]]) -> None:
        try:
            await asyncio.to_thread(self._write, changes)
        except sqlite3.Error as error:
            self._table.note(key for key, _ in changes)
            self._failures.value += 1
            if not self._failing:
                _log.error("kv_store: %s cannot be written, and is tried again: %s", self._path, error)
            self._failing = True
        else:
            self._failing = False

    def _write(self, changes: list[tuple[Any, Any]]) -> None:
        connection = self._connection
        if connection is None:
            return
        deleted, put = [], []
        for key, value in changes:
            if isinstance(value, Missing):
                deleted.append((_encode(key),))
                continue
            with contextlib.suppress(FunctionError):  # nested too deeply for any format
                put.append((_encode(key), _encode(value)))
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(_DELETE, deleted)
            connection.executemany(_PUT, put)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
