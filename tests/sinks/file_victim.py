"""A process that writes through the file sink until it is killed, and tells on standard output how far it is.

Lines of JSON, each written after the fact: ``["delivered", ids]`` once ``write`` has returned, ``["file", inode,
size]`` once a file of that size is on the disk, and ``["folder", inode, inodes]`` once a folder with these entries is.
What was not told before the end counts as not done.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

from tests.sinks.file_sinks import batch, make

PARTITIONS = 3


def tell(*event: Any) -> None:
    os.write(1, json.dumps(event).encode() + b"\n")


def telling_fsync(descriptor: int) -> None:
    fsync(descriptor)
    found = os.fstat(descriptor)
    if stat.S_ISDIR(found.st_mode):
        tell("folder", found.st_ino, [entry.inode() for entry in os.scandir(descriptor)])
    else:
        tell("file", found.st_ino, found.st_size)


fsync = os.fsync


async def main(folder: Path, first: int, table: dict[str, Any]) -> None:
    os.fsync = telling_fsync
    sink = make(folder, **table)
    await sink.open()
    for number in itertools.count(first, 10):
        numbers = range(number, number + 10)
        await sink.write(batch([(each, f"cp{each % PARTITIONS}", each / 8) for each in numbers]))
        tell("delivered", list(numbers))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])))
