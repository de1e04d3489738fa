"""The settings of the file sink, and what they mean together: format, compression, suffix.

Pure: what a path says is read from its text, no file is looked at.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from core.clock import SECOND
from core.errors import ConfigError
from core.settings import Duration, Size

FormatName = Literal["ndjson", "csv", "parquet"]
Compression = Literal["none", "gzip", "zstd", "snappy", "lz4"]
Positive = Annotated[int, msgspec.Meta(ge=1)]

_SUFFIXES: Final[dict[str, FormatName]] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".csv": "csv",
    ".parquet": "parquet",
}
_COMPRESSIONS: Final[dict[str, Compression]] = {".gz": "gzip", ".zst": "zstd"}
_NO_DELIMITERS: Final = frozenset('0123456789+-.:eEnaifTZtrulsx"\\\r\n')
_LINES_CAN: Final = ("none", "gzip", "zstd")


class RotateSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """When a file is finished and the next one begun; whichever limit is reached first."""

    max_bytes: Size | None = Size(128 << 20)
    """So many bytes were written to it (of Parquet: before it is encoded and compressed)."""
    max_rows: Positive | None = None
    """It has so many rows."""
    max_age: Duration | None = Duration(3_600 * SECOND)
    """It was begun so long ago, also where no more rows come."""


class Config(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One file, or one per partition."""

    path: str
    """The file; folders are made. ``{column}`` is a column's text, ``{column:%Y-%m}`` a TIMESTAMP column formatted,
    ``{date:%Y/%m/%d}`` the row's time in UTC (see ``time``). ``${...}`` means the same."""
    format: FormatName | None = None
    """Without it the path's suffix says: ``.ndjson``, ``.jsonl``, ``.json``, ``.csv``, ``.parquet``."""
    compression: Compression | None = None
    """``none``, ``gzip`` or ``zstd``; Parquet also ``snappy`` (its default) and ``lz4``. A suffix ``.gz`` or ``.zst``
    says it too."""
    rotate: RotateSettings | None = None
    """Without it rows are appended to the file of that very name. With it a file is written under a hidden name and
    appears whole, as ``<name>-<UTC time of its beginning>-<number>``. Parquet files are always rotated."""
    time: str | None = None
    """The column that ``{date:...}`` formats: a TIMESTAMP, or a number of milliseconds since the epoch. Without it
    (or where it is null) the time of writing."""
    fsync: Literal["write", "close", "never"] = "write"
    """What survives a loss of power: every row that was delivered, only finished files, what the system has flushed."""
    delimiter: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] = ","
    """CSV only: what stands between the fields, one character."""
    header: bool = True
    """CSV only: the first line has the names of the columns."""
    max_open_files: Positive = 256
    """Open at a time; the files of further partitions are closed and opened again as they are needed."""


class Layout(NamedTuple):
    """What a configuration comes to: ``stem`` and ``suffix`` make up ``path``."""

    format: FormatName
    compression: Compression
    rotate: RotateSettings | None
    stem: str
    suffix: str


def layout(config: Config) -> Layout:
    """ConfigError (path relative to the sink) where the settings contradict one another."""
    stem, suffix = config.path, ""
    by_suffix: Compression | None = None
    for ending, meaning in _COMPRESSIONS.items():
        if stem.endswith(ending):
            stem, suffix, by_suffix = stem.removesuffix(ending), ending, meaning
    chosen = config.format
    for ending, name in _SUFFIXES.items():
        if stem.endswith(ending):
            stem, suffix, chosen = stem.removesuffix(ending), ending + suffix, chosen or name
            break
    if not stem or stem.endswith("/"):
        raise ConfigError(f"{config.path!r} names no file", path="path")
    if chosen is None:
        raise ConfigError(
            "the path's suffix says nothing about the format", path="format", hint=f"one of {', '.join(_SUFFIXES)}"
        )
    if chosen == "parquet" and by_suffix is not None:
        hint = f'leave {suffix[suffix.rfind(".") :]} away; `compression = "{by_suffix}"` does it within'
        raise ConfigError("Parquet compresses by itself, within the file", path="path", hint=hint)
    compression = config.compression or by_suffix or ("snappy" if chosen == "parquet" else "none")
    if chosen != "parquet" and compression not in _LINES_CAN:
        message = f"{chosen} takes {', '.join(_LINES_CAN)}, not {compression}"
        raise ConfigError(message, path="compression")
    if by_suffix is not None and compression != by_suffix:
        raise ConfigError(f"the path says {by_suffix}", path="compression", hint="leave one of them away")
    _check_csv(config, chosen)
    _check_rotation(config.rotate)
    rotate = config.rotate or (RotateSettings() if chosen == "parquet" else None)
    return Layout(chosen, compression, rotate, stem, suffix)


def _check_csv(config: Config, chosen: FormatName) -> None:
    for setting, given in (("delimiter", config.delimiter != ","), ("header", not config.header)):
        if given and chosen != "csv":
            raise ConfigError(f"is for CSV, and this is {chosen}", path=setting, hint="leave it away")
    if config.delimiter in _NO_DELIMITERS:
        message = f"{config.delimiter!r} occurs in numbers, times or quotes"
        raise ConfigError(message, path="delimiter", hint="take one of , ; | or a tab")


def _check_rotation(rotate: RotateSettings | None) -> None:
    """Whoever writes 0 may mean "no limit", and would get a file for every write."""
    for limit in ("max_bytes", "max_age"):
        value = getattr(rotate, limit, None)
        if value is not None and not value:
            hint = "to do without this limit write a very large one"
            raise ConfigError("must be more than 0", path=f"rotate.{limit}", hint=hint)
