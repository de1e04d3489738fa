"""jq programs that may take long, in one process of their own (``headrace.jq_child``), which is killed when they do.

The process starts with the first such program and again after each that overran its time or its memory. Waiting for it
stands everything else still, as rules run between two turns of the event loop: the time limit is what that may cost.
"""

from __future__ import annotations

import importlib.util
import os
import select
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from rules.functions.base import MAX_RESULT, Refusal

_CHILD: Final = Path(__file__).with_name("jq_child.py")
_REQUEST: Final = struct.Struct(">dII")
_ANSWER: Final = struct.Struct(">BI")
_STARTING: Final = 10.0
"""Seconds that a fresh process may take until it is ready."""
_NO_DOCUMENT: Final = 0xFFFF_FFFF
"""In place of a document's size: the program is to be compiled and not run."""
_PIECE: Final = 1 << 16


class JqProcess:
    """The runner of one service. Not to be used by two threads."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.restarts = 0
        """Times that the process had to be killed."""

    def run(self, program: str, document: str, seconds: float) -> str:
        """The outputs as lines of JSON; TimeoutError, or Refusal with jq's message."""
        return self._ask(program.encode(errors="replace"), document.encode(errors="replace"), seconds)

    def check(self, program: str, seconds: float) -> None:
        """TimeoutError or Refusal where the program cannot be compiled."""
        self._ask(program.encode(errors="replace"), None, seconds)

    def _ask(self, program: bytes, document: bytes | None, seconds: float) -> str:
        process = self._process or self._start()
        deadline = time.monotonic() + seconds
        size = _NO_DOCUMENT if document is None else len(document)
        try:
            _send(process, _REQUEST.pack(seconds, len(program), size) + program + (document or b""), deadline)
            status, size = _ANSWER.unpack(_receive(process, _ANSWER.size, deadline))
            answer = _receive(process, size, deadline).decode()
        except TimeoutError:
            self._kill()
            raise
        except (OSError, EOFError, UnicodeDecodeError):
            self._kill()
            raise Refusal("jq ended: the program needs too much memory, or is a defect of jq's") from None
        if status:
            raise Refusal(answer)
        return answer

    def close(self) -> None:
        """End the process; the next program would start another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _start(self) -> subprocess.Popen[bytes]:
        found = importlib.util.find_spec("jq")
        folder = str(Path(found.origin).parent) if found is not None and found.origin else ""
        process = subprocess.Popen(  # noqa: S603 - our own script, by our own interpreter
            [sys.executable, "-I", "-S", str(_CHILD), folder, str(MAX_RESULT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # an interrupt in the terminal is the service's
        )
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        os.set_blocking(process.stdin.fileno(), False)
        os.set_blocking(process.stdout.fileno(), False)
        self._process = process
        try:
            _receive(process, 1, time.monotonic() + _STARTING)
        except (TimeoutError, OSError, EOFError):
            self._kill()
            raise Refusal("the process for jq programs does not start; is the package jq installed?") from None
        return process

    def _kill(self) -> None:
        self.restarts += 1
        self.close()


def _wait(process: subprocess.Popen[bytes], deadline: float, event: int) -> int:
    """Until the process reads or writes; the descriptor. TimeoutError at the deadline."""
    pipe = process.stdin if event == select.POLLOUT else process.stdout
    assert pipe is not None  # noqa: S101 - both are pipes
    poll = select.poll()
    poll.register(pipe, event)
    left = deadline - time.monotonic()
    if not poll.poll(max(left, 0) * 1_000):
        raise TimeoutError
    return pipe.fileno()


def _send(process: subprocess.Popen[bytes], data: bytes, deadline: float) -> None:
    rest = memoryview(data)
    while rest:
        written = os.write(_wait(process, deadline, select.POLLOUT), rest[:_PIECE])
        rest = rest[written:]


def _receive(process: subprocess.Popen[bytes], size: int, deadline: float) -> bytes:
    pieces: list[bytes] = []
    while size:
        piece = os.read(_wait(process, deadline, select.POLLIN), min(size, _PIECE))
        if not piece:
            raise EOFError
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
