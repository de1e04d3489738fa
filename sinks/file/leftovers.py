"""Unfinished files that a crash has left behind, finished at the next start.

What such a file holds is told from its bytes and not from the settings, which may have changed since: another format
or compression, no rotation any more, another name of the sink. Its rows were delivered, so one that cannot be finished
stays. Files that somebody is writing are locked and left alone. Blocking, as all of this package.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from core.registry import require_driver
from sinks.file import units
from sinks.file.config import Layout
from sinks.file.output import DONE, PART, Convert, locked, measured, publish, publish_done

_log = logging.getLogger("headrace.sinks")

_NAME: Final = re.compile(
    rf"\.(?P<final>.+-\d{{8}}T\d{{6}}Z-\d{{4,}}(?P<suffix>\..+)?)(?P<state>{re.escape(PART)}|{re.escape(DONE)})"
)


def below(folder: Path) -> Iterator[Path]:
    """The unfinished files of any sink below a folder."""
    found = (path for ending in (PART, DONE) for path in folder.rglob(f".*{ending}"))
    yield from sorted(path for path in found if _NAME.fullmatch(path.name) and not path.is_symlink())


def finish(path: Path, layout: Layout) -> Path | None:
    """Finish an unfinished file; None where nothing is left of it, or somebody writes it. ``layout`` is of today."""
    parts = _NAME.fullmatch(path.name)
    if parts is None:
        raise ValueError(f"{path} is no unfinished file")
    final = path.with_name(parts["final"])
    with locked(path) as descriptor:
        if descriptor is None:
            return None
        if parts["state"] == DONE:
            return publish_done(path, final, sync=True)
        quotes = ".csv" in parts["suffix"] if parts["suffix"] else layout.format == "csv"
        compression = layout.compression if layout.format == "parquet" else "snappy"
        convert: Convert = None

        def whole(file: BinaryIO) -> int:
            nonlocal convert
            kind = units.content(file)
            if kind != "arrow":
                return units.whole(file, kind, quotes=quotes)
            require_driver("pyarrow", "parquet", "headrace.sinks", "file")
            from sinks.file import parquet

            convert = lambda part, result: parquet.convert(part, result, compression)  # noqa: E731
            return parquet.whole(file)

        size = os.fstat(descriptor).st_size
        good = measured(descriptor, size, whole)
        if good < size:
            _log.warning("%s: cut off its last %d bytes, which a crash had torn", path, size - good)
            os.ftruncate(descriptor, good)
        if not good:
            path.unlink()
            return None
        os.fsync(descriptor)
        return publish(path, final, convert, sync=True)


def finish_all(sink: str, folder: Path, layout: Layout) -> None:
    """Finish what earlier runs have left below a folder, and say so in the log of ``sink``."""
    for path in below(folder):
        try:
            finished = finish(path, layout)
        except Exception as error:  # noqa: BLE001 - of the system, of pyarrow or for its absence: the file stays
            _log.warning("sink %s: %s, which an earlier run has left, cannot be finished: %s", sink, path, error)
        else:
            if finished is not None:
                _log.info("sink %s: finished %s, which an earlier run has left", sink, finished)
