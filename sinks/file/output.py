"""One output file: appended to in whole units, taken back where a write fails, finished under its final name.

Invariants: what is on disk up to ``size`` are whole units and ``rows`` rows; a file that is open is locked, so that
two processes (or a sink and its successor) never write to one file; a file that appears under its final name is
complete and, unless ``fsync = "never"``, on the disk. Blocking: it runs in the sink's thread.

Names: a growing file is written to directly. A rotated one is ``.<final name>.<sink>.part`` until it is finished; what
a crash has left behind is finished by :func:`recover` at the next start.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from core.clock import SECOND
from core.errors import Unavailable
from sinks.file.encode import FileFormat

_PART: Final = ".part"

Whole = Callable[[BinaryIO], int]
"""How many bytes of a file are whole units."""
Finish = Callable[[Path, Path], None]
"""Make the second file, which does not exist, out of the first."""


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
        self.stuck = False
        """It could not be finished when it should have been."""
        self._compress = compress
        self._descriptor = -1

    def open(self, whole: Whole) -> None:
        """Open and lock the file, and cut off what a crash has torn. Unavailable where another process has it."""
        if self._descriptor >= 0:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _lock(descriptor, self.path)
            size = os.fstat(descriptor).st_size
            if size != self.size:  # not as we left it, or not seen before
                size = _cut(descriptor, _whole(descriptor, size, whole))
            if not size and self.format.header:
                _write(descriptor, self._compress(self.format.header))
                size = os.fstat(descriptor).st_size
        except BaseException:
            os.close(descriptor)
            raise
        self.size = size
        self._descriptor = descriptor

    @property
    def is_open(self) -> bool:
        return self._descriptor >= 0

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
        with self._handle() as descriptor:
            os.fsync(descriptor)

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

    def finish(self, finish: Finish, *, sync: bool) -> None:
        """Let the file appear under its final name; one without rows disappears."""
        if self.final is None:
            self.close()
            return
        if not self.rows:
            self.path.unlink(missing_ok=True)
        else:
            if sync:
                self.sync()
            publish(self.path, self.final, finish, sync=sync)
        self.close()


def publish(part: Path, final: Path, finish: Finish, *, sync: bool) -> Path:
    """Finish ``part`` as ``final``, or under the next free number where that name is taken."""
    while final.exists():
        final = _next_number(final)
    finish(part, final)
    part.unlink(missing_ok=True)
    if sync:
        _sync_folder(final.parent)
    return final


def _next_number(path: Path) -> Path:
    head, _, tail = path.name.rpartition("-")
    number, dot, suffix = tail.partition(".")
    return path.with_name(f"{head}-{int(number) + 1:04d}{dot}{suffix}")


def renamed(part: Path, final: Path) -> None:
    """A Finish for files that are complete as they are."""
    part.rename(final)


def final_name(stem: Path, suffix: str, opened_at: int, sink: str) -> tuple[Path, Path]:
    """The hidden and the final path of a rotated file that is begun now; neither exists."""
    begun = datetime.fromtimestamp(opened_at / SECOND, UTC).strftime("%Y%m%dT%H%M%SZ")
    final = stem.with_name(f"{stem.name}-{begun}-0001{suffix}")
    part = part_of(final, sink)
    while final.exists() or part.exists():
        final = _next_number(final)
        part = part_of(final, sink)
    return part, final


def part_of(final: Path, sink: str) -> Path:
    return final.with_name(f".{final.name}.{sink}{_PART}")


def parts_below(folder: Path, sink: str) -> Iterator[tuple[Path, Path]]:
    """The unfinished files of a sink below a folder, with their final names."""
    ending = f".{sink}{_PART}"
    for path in sorted(folder.rglob(f".*{ending}")):
        yield path, path.with_name(path.name[1:].removesuffix(ending))


def recover(part: Path, final: Path, whole: Whole, finish: Finish, *, sync: bool) -> Path | None:
    """Finish a file that a crash has left behind; None where it holds nothing or another process has it."""
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        try:
            _lock(descriptor, part)
        except Unavailable:
            return None
        size = _cut(descriptor, _whole(descriptor, os.fstat(descriptor).st_size, whole))
        if not size:
            part.unlink()
            return None
        if sync:
            os.fsync(descriptor)
        return publish(part, final, finish, sync=sync)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Unavailable(f"{path} is being written by another process or sink") from None


def _whole(descriptor: int, size: int, whole: Whole) -> int:
    if not size:
        return 0
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        return whole(file)


def _cut(descriptor: int, size: int) -> int:
    os.ftruncate(descriptor, size)
    return size


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
