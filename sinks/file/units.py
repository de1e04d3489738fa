"""The units that a file of lines grows by, and what can be told about a file from its bytes.

Every append is a unit of its own (whole lines; one gzip member or zstd frame where they are compressed), so a file that
a crash has torn can be cut back to the last whole unit: ``whole`` finds it. Decoders read the units of such a file as
one stream.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Final, Literal, cast

from core.registry import require_driver
from sinks.file.config import Compression

_CHUNK: Final = 1 << 20

Content = Literal["none", "gzip", "zstd", "arrow"]
_MAGIC: Final[dict[bytes, Content]] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xff\xff\xff\xff": "arrow"}
"""How the files begin that are no text; none of these is UTF-8. The last is how a message of an Arrow stream begins."""


def content(file: BinaryIO) -> Content:
    """What a file holds, by its first bytes; it is read from there on afterwards."""
    file.seek(0)
    begin = file.read(4)
    file.seek(0)
    return next((kind for magic, kind in _MAGIC.items() if begin.startswith(magic)), "none")


def compressor(compression: Compression) -> Callable[[bytes], bytes]:
    """Bytes -> one unit of a compressed file. ExtensionError for an absent library."""
    if compression == "gzip":
        return lambda data: gzip.compress(data, 6, mtime=0)
    if compression == "zstd":
        compress: Callable[[bytes], bytes] = _zstandard().ZstdCompressor(write_checksum=True).compress
        return compress
    return lambda data: data


def _zstandard() -> Any:
    return require_driver("zstandard", "zstd", "headrace.sinks", "file")


def whole(file: BinaryIO, compression: Content, *, quotes: bool) -> int:
    """How many bytes of a file of lines are whole units; ``quotes``: line ends inside of quotes end no line (CSV)."""
    if compression == "gzip":
        return _whole_members(file, lambda: zlib.decompressobj(wbits=31))
    if compression == "zstd":
        return _whole_members(file, _zstandard().ZstdDecompressor().decompressobj)
    return _whole_lines(file, quotes=quotes)


def _whole_lines(file: BinaryIO, *, quotes: bool) -> int:
    size = file.seek(-1, io.SEEK_END) + 1
    # What we append ends with a line's end. In CSV that may also stand inside of quotes, of which some are open then.
    if file.read(1) == b"\n" and not (quotes and _open_quotes(file)):
        return size
    file.seek(0)
    end, position, odd = 0, 0, False
    for line in iter(lambda: file.readline(_CHUNK), b""):
        position += len(line)
        odd ^= quotes and line.count(b'"') % 2 == 1
        if not odd and line.endswith(b"\n"):
            end = position
    return end


def _open_quotes(file: BinaryIO) -> bool:
    file.seek(0)
    return sum(data.count(b'"') for data in iter(lambda: file.read(_CHUNK), b"")) % 2 == 1


def _whole_members(file: BinaryIO, decoder: Callable[[], Any]) -> int:
    end, position = 0, 0
    data = file.read(_CHUNK)
    current = decoder()
    begun = False
    while data:
        try:
            current.decompress(data)
        except Exception:  # noqa: BLE001 - each library has its own error for data that is none
            return end
        begun = True
        if current.eof:
            rest = current.unused_data
            position += len(data) - len(rest)
            end, data, current, begun = position, rest, decoder(), False
        else:
            position += len(data)
            data = b""
        data = data or file.read(_CHUNK)
    return position if not begun else end


def header_names(file: BinaryIO, delimiter: str) -> list[str]:
    """The columns that the first line of a CSV file names; none where it is empty or torn."""
    try:
        kind = content(file)
        if kind == "gzip":
            file = cast("BinaryIO", gzip.GzipFile(fileobj=file))
        elif kind == "zstd":
            file = io.BufferedReader(_zstandard().ZstdDecompressor().stream_reader(file, read_across_frames=True))
        line = b""
        while not line or line.count(b'"') % 2:
            more = file.readline(_CHUNK)
            if not more.endswith(b"\n"):
                return []
            line += more
        text = io.StringIO(line.decode("utf-8", "surrogateescape"), newline="")
        return next(csv.reader(text, delimiter=delimiter), [])
    except Exception:  # noqa: BLE001 - each library has its own error for data that is none
        return []
