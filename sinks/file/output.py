"""One output file: appended to in whole units, taken back where a write fails, finished under its final name.

Invariants: what is on disk up to ``size`` are whole units and ``rows`` rows; a file that is open is locked, so that
two processes (or a sink and its successor) never write to one file; a file that appears under its final name is
complete and, unless ``fsync = "never"``, on the disk; nothing that is there already is ever replaced. Blocking: it runs
in the sink's thread.

Names: a growing file is written to directly. A rotated one with the final name ``X`` is ``.X.part`` until it is
finished: whoever has made that name, which only one can, owns ``X``. Where finishing means to convert, the result grows
as ``.X.whole``; renaming the part to ``.X.done`` says that it is complete, and then it takes its final name. What a
crash leaves of all this is the business of :mod:`sinks.file.leftovers`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from core.clock import SECOND
from core.errors import Unavailable
from sinks.file.encode import FileFormat

_log = logging.getLogger("headrace.sinks")

PART: Final = ".part"
WHOLE: Final = ".whole"
DONE: Final = ".done"
_OPEN: Final = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
_PATIENCE: Final = 0.5
"""Seconds: after a reload the sink that had the file before is about to close it."""
_NO_SUCH_NAME: Final = frozenset({errno.ENAMETOOLONG, errno.EILSEQ})

Whole = Callable[[BinaryIO], int]
"""How many bytes of a file are whole units; ValueError where it holds something else altogether."""
Convert = Callable[[Path, Path], None] | None
"""Make the second file, which is new, out of the first. None: that is as it should be."""


class NoSuchName(Exception):
    """The file system takes no file of that name: it is too long, or has characters that it does not know."""


class Output:
    """An output file; ``path`` is where its bytes are, ``final`` the name under which it will appear (None: it grows).

    ``opened_at`` is nanoseconds since the epoch. ``format`` belongs to the file, ``compress`` makes units.
    """

    def __init__(
        self, path: Path, final: Path | None, format_: FileFormat, compress: Callable[[bytes], bytes], opened_at: int
    ) -> None:
        self.path = path
        self.final = final
        self.format = format_
        self.opened_at = opened_at
        self.size = 0
        self.rows = 0
        self.retry_at = 0
        """It could not be finished when it should have been, and is not tried again before."""
        self._made = final is None
        self._compress = compress
        self._descriptor = -1
        self._unsynced: list[Path] = []
        """Folders that have got an entry on the way to this file."""

    def open(self, whole: Whole) -> None:
        """Open and lock the file, and cut off what a crash has torn. Unavailable where another process has it.

        NoSuchName where there can be no such file.
        """
        if self._descriptor >= 0:
            return
        try:
            self._unsynced += _make_folders(self.path.parent)
            descriptor = os.open(self.path, _OPEN | os.O_CREAT, 0o644) if self._made else self._make()
        except OSError as error:
            if error.errno in _NO_SUCH_NAME:
                raise NoSuchName(error.strerror or str(error)) from None
            raise
        try:
            _lock(descriptor, self.path, _PATIENCE if self.final is None else 0.0)
            size = os.fstat(descriptor).st_size
            if size != self.size:  # not as we left it, or not seen before
                size = self._mend(descriptor, size, whole)
            if not size:
                self.rows = 0
                self._unsynced.append(self.path.parent)
                if self.format.header:
                    _write(descriptor, self._compress(self.format.header))
                    size = os.fstat(descriptor).st_size
        except BaseException:
            os.close(descriptor)
            raise
        self.size = size
        self._descriptor = descriptor

    def _make(self) -> int:
        """Make the hidden file; where its name or the final one is taken, under the next number."""
        assert self.final is not None  # noqa: S101 - a growing file is not made so
        while True:
            with contextlib.suppress(FileExistsError):
                descriptor = os.open(self.path, _OPEN | os.O_CREAT | os.O_EXCL, 0o644)
                # Not before: who finishes a file holds its hidden name until the final one is there.
                if not self.final.exists():
                    self._made = True
                    return descriptor
                os.close(descriptor)
                self.path.unlink()
            self.final = _next_number(self.final)
            self.path = hidden(self.final, PART)

    def _mend(self, descriptor: int, size: int, whole: Whole) -> int:
        """The size without what a crash has torn, which is cut off. Unavailable where the file is none of ours."""
        try:
            good = measured(descriptor, size, whole)
        except ValueError as error:
            raise Unavailable(f"{self.path} {error}: move it away, or give the sink another path") from None
        if good < size:
            _log.warning("%s: cut off its last %d bytes, which a crash had torn", self.path, size - good)
            os.ftruncate(descriptor, good)
        return good

    @property
    def is_open(self) -> bool:
        return self._descriptor >= 0

    @property
    def as_left(self) -> bool:
        """Whether the file at ``path`` is this one as we left it: others may move, remove or shorten it."""
        if not (self.is_open or self.size):  # not yet made
            return True
        try:
            found = self.path.stat()
        except OSError:
            return False
        if self.is_open and not os.path.samestat(found, os.fstat(self._descriptor)):
            return False
        return found.st_size == self.size

    def append(self, data: bytes, rows: int) -> tuple[int, int]:
        """Append encoded rows; what :meth:`take_back` needs to undo it."""
        before = self.size, self.rows
        unit = self._compress(data)
        try:
            _write(self._descriptor, unit)
        except OSError:
            self.take_back(before)
            raise
        self.size += len(unit)
        self.rows += rows
        return before

    def take_back(self, before: tuple[int, int]) -> None:
        """Undo what was appended since."""
        self.size, self.rows = before
        with self._handle() as descriptor:
            os.ftruncate(descriptor, self.size)

    def sync(self) -> None:
        """To the disk with it, and with the entries of folders that lead to it."""
        with self._handle() as descriptor:
            os.fsync(descriptor)
        for folder in self._unsynced:
            sync_folder(folder)
        self._unsynced.clear()

    @contextlib.contextmanager
    def _handle(self) -> Iterator[int]:
        """The descriptor, or one for a moment where the file had to make room for others."""
        if self.is_open:
            yield self._descriptor
            return
        descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Give the descriptor and the lock back; the file can be opened again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def finish(self, convert: Convert, *, sync: bool) -> None:
        """Let the file appear under its final name; one without rows disappears."""
        if self.final is not None:
            if not self.rows:
                self.path.unlink(missing_ok=True)
            else:
                if sync:
                    self.sync()
                publish(self.path, self.final, convert, sync=sync)
        self.close()


def publish(part: Path, final: Path, convert: Convert, *, sync: bool) -> Path:
    """Let ``part``, which is whole and whose lock the caller has, appear as ``final``."""
    if convert is None:
        return _named(part, final, sync=sync)
    result = hidden(final, WHOLE)
    try:
        convert(part, result)
        if sync:
            with result.open("rb") as file:
                os.fsync(file.fileno())
    except BaseException:
        result.unlink(missing_ok=True)  # where the disk is full it needs all the room there is
        raise
    done = hidden(final, DONE)
    part.rename(done)
    named = _named(result, final, sync=sync)
    done.unlink()
    return named


def publish_done(done: Path, final: Path, *, sync: bool) -> Path | None:
    """Go on behind the renaming to ``.done``; None where the final name had already been taken."""
    result = hidden(final, WHOLE)
    named = _named(result, final, sync=sync) if result.exists() else None
    done.unlink()
    return named


def _named(path: Path, final: Path, *, sync: bool) -> Path:
    # Nobody else of us can be about to take that name; strangers should not have such names.
    while final.exists():
        final = _next_number(final)
    path.rename(final)
    if sync:
        sync_folder(final.parent)
    return final


def _next_number(path: Path) -> Path:
    head, _, tail = path.name.rpartition("-")
    number, dot, suffix = tail.partition(".")
    return path.with_name(f"{head}-{int(number) + 1:04d}{dot}{suffix}")


def first_names(stem: Path, suffix: str, opened_at: int) -> tuple[Path, Path]:
    """The hidden and the final path of a rotated file that is begun now, as far as they are free."""
    begun = datetime.fromtimestamp(opened_at / SECOND, UTC).strftime("%Y%m%dT%H%M%SZ")
    final = stem.with_name(f"{stem.name}-{begun}-0001{suffix}")
    return hidden(final, PART), final


def hidden(final: Path, ending: str) -> Path:
    return final.with_name(f".{final.name}{ending}")


def _lock(descriptor: int, path: Path, patience: float = 0.0) -> None:
    """Lock the open file at ``path``; Unavailable where another process has it, or has just finished it.

    ``patience`` is how many seconds to wait for whoever has it.
    """
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= end:
                reason = f"{path} is being written by another process or sink: give each a path of its own"
                raise Unavailable(reason) from None
            time.sleep(0.01)
    if not (path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor))):
        raise Unavailable(f"{path} has just been moved by another process or sink")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int | None]:
    """A descriptor of a file that is there, locked; None where it is not there, or another process has it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        try:
            _lock(descriptor, path)
        except Unavailable:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)


def measured(descriptor: int, size: int, whole: Whole) -> int:
    """How many of the ``size`` bytes of an open file are whole units."""
    if not size:
        return 0
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        return whole(file)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder with those above it; the folders that have got an entry by that."""
    if folder.is_dir():
        return []
    above = _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    return [*above, folder.parent]


def sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
