"""The process that runs jq programs for ``headrace.jq_runner``: a script, started by its path, without our packages.

Before it takes a program it gives up what one could reach: the environment, a folder with files, memory beyond a limit.
A request is ``(seconds, size of program, size of document)`` and both texts; a program without a document is only
compiled. The answer is a status (0: lines of JSON, 1: an error) and a text. The process ends with its standard input,
and by a signal when a program overruns its time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import sys
from functools import lru_cache
from typing import Any, BinaryIO

REQUEST = struct.Struct(">dII")
ANSWER = struct.Struct(">BI")
NO_DOCUMENT = 0xFFFF_FFFF
MEMORY = 1 << 30


def confine() -> None:
    """Leave nothing for a program to reach."""
    os.environ.clear()
    os.chdir("/")
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def serve(requests: BinaryIO, answers: BinaryIO, most: int) -> None:
    """Answer until there are no more requests; no answer is longer than ``most``."""
    import jq

    answers.write(b"\0")  # ready
    answers.flush()
    compiled = lru_cache(maxsize=64)(jq.compile)
    while head := requests.read(REQUEST.size):
        seconds, program_size, document_size = REQUEST.unpack(head)
        program = requests.read(program_size).decode()
        document = None if document_size == NO_DOCUMENT else requests.read(document_size).decode()
        if hasattr(signal, "setitimer"):
            # Whoever waits gives up first; this is for a program that outlives the service.
            signal.setitimer(signal.ITIMER_REAL, seconds + 1)
        try:
            status, text = 0, outputs(compiled(program), document, most)
        except ValueError as error:
            status, text = 1, str(error)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        data = text.encode(errors="replace")
        answers.write(ANSWER.pack(status, len(data)) + data)
        answers.flush()


def outputs(program: Any, document: str | None, most: int) -> str:
    """Lines of JSON. ``text()`` alone would gather any number of outputs before their size is known."""
    import json

    if document is None:
        return ""

    lines: list[str] = []
    size = 0
    for value in program.input_text(document):
        line = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        size += len(line) + 1
        if size > most:
            raise ValueError(f"the outputs have more than {most} characters")
        lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    confine()
    serve(sys.stdin.buffer, sys.stdout.buffer, int(sys.argv[2]))
