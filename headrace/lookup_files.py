"""Lookup tables from files: a CSV with a header or a JSON array of objects -> all rows by key.

Blocking; the caller sees to the thread. A file is right as a whole or an error that names the row: half a table would
be worse than the one from before.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from core.errors import ConfigError
from core.message import Row
from headrace.lookup_rows import RowError, RowMaker, TableSource
from rules.joins import Key

MAX_BYTES: Final = 256 << 20


class Stamp(NamedTuple):
    """What tells one state of a file from the next."""

    modified: int
    size: int
    inode: int


class Content(NamedTuple):
    """A file's rows by key and its stamp, taken before it was read."""

    rows: Mapping[Key, tuple[Row, ...]]
    total: int
    stamp: Stamp


def stamp_of(path: Path) -> Stamp | None:
    """None where it cannot be looked at."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_mtime_ns, found.st_size, found.st_ino)


def read(path: Path, source: TableSource) -> Content:
    """All rows of the table; ConfigError with the file and the row where anything is wrong with it."""
    stamp = stamp_of(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from None
    if stamp is None or len(data) > MAX_BYTES:
        raise ConfigError(f"is larger than {MAX_BYTES >> 20} MiB", file=str(path))
    maker = RowMaker(source)
    groups: dict[Key, list[Row]] = {}
    count = 0
    for line, found in _objects(path, data):
        try:
            key, row = maker.row(found)
        except RowError as error:
            if path.suffix.lower() == ".csv":
                raise ConfigError(str(error), file=str(path), line=line) from None
            raise ConfigError(str(error), file=str(path), hint=f"row {line}") from None
        count += 1
        if count > source.options.max_entries:
            raise ConfigError(f"has more rows than max_entries = {source.options.max_entries}", file=str(path))
        if key is not None:
            groups.setdefault(key, []).append(row)
    return Content({key: tuple(rows) for key, rows in groups.items()}, count, stamp)


def _objects(path: Path, data: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Rows by the names of their columns: with the line of a CSV, or the number in a JSON array from 1 on."""
    kind = path.suffix.lower()
    if kind == ".csv":
        return _csv(path, data)
    if kind == ".json":
        return _json(path, data)
    raise ConfigError("a lookup table is a file that ends in .csv or .json", file=str(path))


def _json(path: Path, data: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"not JSON: {error}", file=str(path)) from None
    if not isinstance(found, list):
        raise ConfigError("not a JSON array of objects", file=str(path))
    for number, item in enumerate(found, 1):
        if not isinstance(item, dict):
            raise ConfigError("not a JSON array of objects", file=str(path), hint=f"row {number}")
        yield number, item


def _csv(path: Path, data: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """An empty field is null; every other one is a text, until a declared column makes something else of it."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 at byte {error.start}", file=str(path)) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, None)
        if not header:
            raise ConfigError("has no header with the names of the columns", file=str(path))
        if twice := [name for name in header if header.count(name) > 1]:
            raise ConfigError(f"the column {twice[0]!r} is there twice", file=str(path), line=1)
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                message = f"has {len(fields)} fields, the header has {len(header)}"
                raise ConfigError(message, file=str(path), line=reader.line_num)
            yield reader.line_num, {name: field or None for name, field in zip(header, fields, strict=True)}
    except csv.Error as error:
        raise ConfigError(f"not CSV: {error}", file=str(path), line=reader.line_num) from None
