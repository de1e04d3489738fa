"""The file sink: rows to paths, paths to output files, and their rotation.

Delivered means: on the disk, in a growing file or in the hidden file that will appear under its final name (with
``fsync = "write"``; with less, handed to the system). A write is all or nothing: where it fails, all files are cut
back to what they were, so a repetition leaves nothing twice; rows that no file can take are rejected alone.

All work on files happens in one thread, in order. Files are finished when they are full, when they are old, at a stop
and, those that a crash has left behind, at the next start. Finishing may take long (Parquet, many files), so it is no
part of a write: one that took too long would be repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final

from connections.worker import Worker
from core.clock import MICROSECOND, SECOND
from core.errors import ConfigError, PayloadError, Rejected, Unavailable
from core.message import Batch, Row, Schema
from core.registry import require_driver
from sinks.base import Sink, SinkContext
from sinks.file import leftovers, output, units
from sinks.file.config import Config as FileConfig
from sinks.file.config import Layout, layout
from sinks.file.encode import Bad, Csv, FileFormat, Ndjson, OtherColumns
from sinks.file.output import NoSuchName, Output
from sinks.file.paths import PathOf, PathTemplate
from sinks.references import unknown

_log = logging.getLogger("headrace.sinks")

_MAX_SCHEMAS: Final = 256
_WORDS: Final = {"none": "plain text", "gzip": "gzip", "zstd": "zstd", "arrow": "an Arrow stream"}
_MAX_FILES: Final = 4_096
"""Unfinished files of one sink between two writes; beyond them those that were used least recently are finished."""
_TOO_MANY: Final = (errno.EMFILE, errno.ENFILE)
_STUCK: Final = 30 * SECOND
"""How long a file is left alone that could not be finished."""


class FileSink(Sink):
    """Appends to files below a path."""

    name: ClassVar[str] = "file"
    Config = FileConfig

    def __init__(self, config: FileConfig, context: SinkContext) -> None:
        super().__init__(config, context)
        self._layout: Layout = layout(config)
        self._paths = PathTemplate(self._layout.stem, config.time)
        self._check_columns()
        if self._layout.rotate is None:  # else every file has a name of its own
            self.exclusive = ("path", os.path.normpath(context.base_dir / config.path))
        self._convert: output.Convert = None
        if self._layout.format == "parquet":
            require_driver("pyarrow", "parquet", "headrace.sinks", "file")
            self._convert = self._to_parquet
            self._compress: Callable[[bytes], bytes] = lambda data: data
        else:
            self._compress = units.compressor(self._layout.compression)
        self._sync_writes = config.fsync == "write"
        self._sync_files = config.fsync != "never"
        self._files: OrderedDict[str, Output] = OrderedDict()  # by path template's result, least recently used first
        self._open: OrderedDict[Output, None] = OrderedDict()  # those that have a descriptor, in the same order
        self._most_open = config.max_open_files
        self._bound: dict[Schema, PathOf] = {}
        self._ndjson = Ndjson()
        self._kinds: dict[str, str] = {}
        self._worker: Worker | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rotating: asyncio.Task[None] | None = None
        self._finishing: asyncio.Future[None] | None = None

    def _check_columns(self) -> None:
        for column in self._paths.columns:
            if problem := unknown(column, self.context.schemas):
                setting = "time" if column == self.config.time else "path"
                raise ConfigError(problem[0], path=setting, hint=problem[1])

    async def check(self) -> None:
        """Unavailable where the folder of the path can be neither written nor made, or not the file; makes nothing."""
        folder = self._folder()
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not folder.is_dir():
            raise Unavailable(f"{folder} is no folder")
        needed = [(folder, os.W_OK | os.X_OK)]
        if self._paths.constant is not None and self._layout.rotate is None:
            file = self.context.base_dir / (self._paths.constant + self._layout.suffix)
            if file.is_dir():
                raise Unavailable(f"{file} is a folder: move it away, or give the sink another path")
            if file.exists():
                needed.append((file, os.R_OK | os.W_OK))
        for path, mode in needed:
            if not os.access(path, mode):
                raise Unavailable(f"{path} cannot be written by the user that this process runs as")

    def _folder(self) -> Path:
        return self.context.base_dir / (self._paths.folder or ".")

    # -- the life of the sink -----------------------------------------------------------------------------------

    async def open(self) -> None:
        await self.check()
        self._worker = Worker(f"file sink {self.context.name}")
        await self._run(lambda: leftovers.finish_all(self.context.name, self._folder(), self._layout))
        if self._layout.rotate is not None:
            self._wait_for_rotation()

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._rotating is not None:
            await asyncio.gather(self._rotating, return_exceptions=True)
        worker, self._worker = self._worker, None
        if worker is not None:
            try:
                await worker.run(self._finish_all)
            finally:
                worker.stop()

    async def write(self, batch: Batch) -> None:
        if not batch.rows:
            return
        write = _Write()
        now = self.context.clock.now()
        try:
            dead, due = await self._run(lambda: self._write(batch, now, write))
        except asyncio.CancelledError:
            write.given_up = True
            raise
        if due and self._worker is not None:
            self._finishing = self._worker.post(lambda: self._finish_due(now))
        if dead:
            raise Rejected(f"{len(dead)} rows cannot be written", dead)

    async def _run(self, function: Callable[[], Any]) -> Any:
        """Run ``function`` in the thread; what the system refuses comes as Unavailable."""
        if self._worker is None:
            raise Unavailable("the file sink is not open")
        try:
            return await self._worker.run(function)
        except OSError as error:
            raise Unavailable(f"{error.filename or self._folder()}: {error.strerror or error}") from error

    # -- rotation -------------------------------------------------------------------------------------------------

    def _wait_for_rotation(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(1.0, self._rotate)

    def _rotate(self) -> None:
        async def rotate() -> None:
            try:
                await self._run(lambda: self._finish_due(self.context.clock.now()))
            finally:
                if self._timer is not None:
                    self._wait_for_rotation()

        self._rotating = asyncio.get_running_loop().create_task(rotate(), name=f"rotate files of {self.context.name}")

    # -- in the thread --------------------------------------------------------------------------------------------

    def _write(self, batch: Batch, now: int, write: _Write) -> tuple[Bad, bool]:
        """The rows that no file takes, and whether files are due to be finished."""
        dead: list[tuple[int, str]] = []
        touched: list[tuple[Output, tuple[int, int]]] = []
        try:
            for path, indexes in self._partition(batch, now, dead).items():
                rows = [batch.rows[index] for index in indexes]
                try:
                    file, data, bad = self._encoded(path, batch.schema, rows, now)
                except NoSuchName as error:
                    self._files.pop(path, None)
                    dead += [(index, f"the file system takes no such path: {error}") for index in indexes]
                    continue
                dead += [(indexes[position], reason) for position, reason in bad]
                if len(rows) > len(bad):
                    touched.append((file, file.append(data, len(rows) - len(bad))))
            if self._sync_writes:
                for file, _ in touched:
                    file.sync()
            write.complete()
        except BaseException:
            for file, before in reversed(touched):
                with contextlib.suppress(OSError):  # the others all the same; what stays comes twice
                    file.take_back(before)
            raise
        due = len(self._files) > _MAX_FILES or any(self._due(file, now) for file, _ in touched)
        return sorted(dead), due

    def _partition(self, batch: Batch, now: int, dead: list[tuple[int, str]]) -> dict[str, list[int]]:
        """The positions of the rows by their path."""
        if self._paths.constant is not None:
            return {self._paths.constant: list(range(len(batch.rows)))}
        path_of = self._bound.get(batch.schema)
        if path_of is None:
            if len(self._bound) >= _MAX_SCHEMAS:
                self._bound.clear()
            path_of = self._bound[batch.schema] = self._paths.bind(batch.schema)
        groups: dict[str, list[int]] = {}
        microseconds = now // MICROSECOND
        for index, row in enumerate(batch.rows):
            try:
                groups.setdefault(path_of(row, microseconds), []).append(index)
            except PayloadError as error:
                dead.append((index, str(error)))
        return groups

    def _encoded(self, path: str, schema: Schema, rows: list[Row], now: int) -> tuple[Output, bytes, Bad]:
        """The open file for rows of ``path`` and what to append to it."""
        file = self._files.get(path)
        if file is not None and not file.as_left:
            if self._layout.rotate is None:
                _log.info(
                    "sink %s: %s was moved or changed by others, and is opened anew", self.context.name, file.path
                )
            else:
                self._say_it_is_gone(file)
            self._close(file)
            file = None
        if file is not None:
            try:
                data, bad = file.format.encode(schema, rows)
            except OtherColumns as reason:
                if self._layout.rotate is None:
                    return file, b"", [(index, str(reason)) for index in range(len(rows))]
                self._finish(path)
                file = None
        if file is None:
            file = self._begin(path, schema, rows, now)
            try:
                data, bad = file.format.encode(schema, rows)
            except OtherColumns as reason:  # a growing file from before has other columns
                return file, b"", [(index, str(reason)) for index in range(len(rows))]
        self._files.move_to_end(path)
        if file not in self._open:
            self._make_room(self._most_open - 1)
            try:
                file.open(self._whole)
            except OSError as error:
                if error.errno not in _TOO_MANY or not self._open:
                    raise
                self._most_open = max(len(self._open) // 2, 1)  # the process has no more left for us
                self._make_room(self._most_open - 1)
                file.open(self._whole)
            self._open[file] = None
        self._open.move_to_end(file)
        return file, data, bad

    def _begin(self, path: str, schema: Schema, rows: list[Row], now: int) -> Output:
        stem = self.context.base_dir / path
        if self._layout.rotate is None:
            growing = stem.with_name(stem.name + self._layout.suffix)
            file = Output(growing, None, self._format(growing, schema, rows), self._compress, now)
        else:
            part, final = output.first_names(stem, self._layout.suffix, now)
            file = Output(part, final, self._format(None, schema, rows), self._compress, now)
        self._files[path] = file
        return file

    def _format(self, existing: Path | None, schema: Schema, rows: list[Row]) -> FileFormat:
        """What a new file holds, or what one that is there already has in its first line."""
        if self._layout.format == "ndjson":
            return self._ndjson
        if self._layout.format == "parquet":
            from sinks.file.parquet import Parquet

            return Parquet(schema, rows, self._kinds)
        names = [name for each in (*self.context.schemas, schema) for name in each.names]
        if existing is not None and self.config.header:
            with contextlib.suppress(OSError), existing.open("rb") as file:
                names = units.header_names(file, self.config.delimiter) or names
        return Csv(list(dict.fromkeys(names)), self.config.delimiter, header=self.config.header)

    def _make_room(self, most: int) -> None:
        """Close files, those first that were not used for the longest time, until ``most`` are open."""
        while len(self._open) > most:
            self._close(next(iter(self._open)))

    def _close(self, file: Output) -> None:
        file.close()
        self._open.pop(file, None)

    def _whole(self, file: BinaryIO) -> int:
        """How much of a file that is there is whole; ValueError where it is of another kind than we would write."""
        kind = units.content(file)
        if self._layout.format == "parquet":
            from sinks.file import parquet

            return parquet.whole(file)
        if kind != self._layout.compression:
            raise ValueError(f"holds {_WORDS[kind]} and not {_WORDS[self._layout.compression]}")
        if kind == "none" and self._layout.format == "ndjson" and file.read(1) not in b"{\n":
            raise ValueError("holds no NDJSON")
        return units.whole(file, kind, quotes=self._layout.format == "csv")

    def _to_parquet(self, stream: Path, target: Path) -> None:
        from sinks.file import parquet

        parquet.convert(stream, target, self._layout.compression)

    def _due(self, file: Output, now: int) -> bool:
        """Is it full or old?"""
        limits = self._layout.rotate
        return limits is not None and (
            (limits.max_bytes is not None and file.size >= limits.max_bytes)
            or (limits.max_rows is not None and file.rows >= limits.max_rows)
            or (limits.max_age is not None and now - file.opened_at >= limits.max_age)
        )

    def _finish_due(self, now: int) -> None:
        """Finish what is due, or one too many. One that cannot be finished stays for a while: its rows are safe."""
        spare = len(self._files) - _MAX_FILES
        for index, (path, file) in enumerate(list(self._files.items())):
            if (index < spare or self._due(file, now)) and now >= file.retry_at:
                self._try_to_finish(path, file, now)

    def _say_it_is_gone(self, file: Output) -> None:
        where = file.path
        _log.warning("sink %s: others have moved, removed or changed %s: it is left to them", self.context.name, where)

    def _finish(self, path: str) -> None:
        file = self._files[path]
        file.finish(self._convert, sync=self._sync_files)
        self._open.pop(file, None)
        del self._files[path]

    def _try_to_finish(self, path: str, file: Output, now: int) -> None:
        if file.final is not None and not file.as_left:
            self._say_it_is_gone(file)
            self._close(file)
            del self._files[path]
            return
        try:
            self._finish(path)
        except Exception as error:  # noqa: BLE001 - of the system or of pyarrow: the rows are in the unfinished file
            if not file.retry_at:
                _log.warning("sink %s: %s cannot be finished yet: %s", self.context.name, file.path, error)
            file.retry_at = now + _STUCK

    def _finish_all(self) -> None:
        for path, file in list(self._files.items()):
            self._try_to_finish(path, file, 0)
            self._close(file)
        self._files.clear()


class _Write:
    """One call of ``write``, whose caller may give up while the thread works on it."""

    given_up = False

    def complete(self) -> None:
        if self.given_up:
            raise Unavailable("the write took too long and was taken back")
