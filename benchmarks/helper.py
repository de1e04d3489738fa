"""A helper of a benchmark in a process of its own: started, ready, told to go, asked what came of it, ended.

The protocol, on the helper's standard input and output: it prints ``ready`` (and may add words), then answers every
line that it gets with one JSON object, until its input ends. ``load.py`` publishes once; other helpers go on for as
many rounds as they are asked for.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from servers import BenchError, pin

HERE: Final = Path(__file__).resolve().parent


class Helper:
    """``program`` is a file beside this one; ``words`` is what it said when it was ready."""

    def __init__(self, program: str, arguments: Sequence[str], *, pinned: bool = True) -> None:
        self._program = program
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / program), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if pinned:
            pin(self._process.pid, "generator")
        self.words = self._read("ready").split()[1:]

    def _read(self, wanted: str) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if wanted not in line:
            raise BenchError(f"{self._program} failed (its words are above)")
        return line

    def tell(self, line: str = "") -> None:
        """Let it go; the answer comes with :meth:`result`."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def result(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._read("{"))
        return answer

    def end(self) -> None:
        """Harmless where it has ended already."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
