"""``headrace test``: find, run, tell; again when a file changes, where that was asked for.

Watching asks the file system for times and sizes twice a second at most, and never spends more than a tenth of the
time on it. Ctrl-C ends it with the status of the last run.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, TextIO

from core.clock import MILLISECOND
from core.errors import ConfigError
from headrace.hosts import host, store
from headrace.jq_runner import JqProcess
from headrace.ruletests.files import SUFFIX, Reader, find, matching
from headrace.ruletests.junit import junit
from headrace.ruletests.outcome import judge
from headrace.ruletests.report import FileOutcome, Report
from headrace.ruletests.steady import Steady, utc
from headrace.settings import FunctionSettings
from rules.compiler import RuleSet, RuleSource, compile_rules
from rules.functions import available_functions

_INTERVAL: Final = 0.5
_SHARE: Final = 10
"""The pause is so many times as long as a look at the files took."""
_GRANULARITY: Final = 20 * MILLISECOND
"""By how much a file's time may lag behind the clock."""

USAGE: Final = 2


class Runner:
    """Runs the tests of ``paths``, those whose name has ``word`` in it."""

    def __init__(self, paths: Sequence[str], config_file: str | None, word: str | None, output: TextIO) -> None:
        self._paths = list(paths) or ["."]
        self._config_file = config_file
        self._word = word
        self._output = output
        colours = output.isatty() and "NO_COLOR" not in os.environ
        self._report = Report(colours=colours)
        self.watched: set[Path] = set()
        self.status = 0
        """Of the last run that came to its end."""

    def run(self, junit_file: str | None) -> int:
        """One run; 0 all passed, 1 something is wrong, 2 there is no such test."""
        paths = find(self._paths)
        self.watched = set(paths)
        if not paths:
            return self._usage(f"there is no *{SUFFIX} in {', '.join(self._paths)}")
        with utc(), closing(JqProcess()) as jq:
            files = self._run_files(paths, jq)
        if junit_file is not None:
            _write_file(junit_file, junit(files))
        if not any(file.outcomes or file.errors for file in files):
            return self._usage(f"no test has {self._word!r} in its name")
        self.status = int(any(file.errors or any(one.problems for one in file.outcomes) for file in files))
        self._write(self._report.summary(files))
        return self.status

    def _run_files(self, paths: Sequence[Path], jq: JqProcess) -> list[FileOutcome]:
        steady = Steady()

        def compiled(
            sources: Sequence[RuleSource], targets: Sequence[str] | None, settings: FunctionSettings | None
        ) -> RuleSet:
            chosen = FunctionSettings() if settings is None else settings
            kept = steady.empties(store(chosen.kv_store))
            functions = available_functions(host(chosen, jq=jq, kept=kept, any_variable=settings is None))
            return compile_rules(sources, targets, steady.functions(functions))

        reader = Reader(self._config_file, compiled)
        files: list[FileOutcome] = []
        for path in paths:
            file = reader.read(path)
            self.watched |= file.watched
            ran = () if file.errors else tuple(matching(file.tests, self._word))
            outcomes = tuple(judge(file, index, test, steady, time.perf_counter) for index, test in ran)
            files.append(FileOutcome(file.path, tuple(file.errors), outcomes))
            self._write(*self._report.file(files[-1]))
        return files

    def stamps(self) -> Stamps:
        """Every file that matters or may come to matter, and what differs when it has changed; None: not there."""
        return {path: _stamp(path) for path in {*self._candidates(), *self.watched}}

    def _candidates(self) -> set[Path]:
        """Test files, and the rule files and configurations that may stand beside those that are known."""
        found: set[Path] = set()
        with suppress(ConfigError):  # it may come back
            found.update(find(self._paths))
        for folder in {path.parent for path in self.watched}:
            found.update(folder.glob("*.sql"))
        return found

    def _usage(self, message: str) -> int:
        sys.stderr.write(f"headrace: {message}\n")
        return USAGE

    def _write(self, *lines: str) -> None:
        self._output.write("".join(f"{line}\n" for line in lines))
        self._output.flush()


Stamp = tuple[int, int]
Stamps = Mapping[Path, Stamp | None]


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _write_file(name: str, data: bytes) -> None:
    try:
        Path(name).write_bytes(data)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", file=name) from None


def test(
    paths: Sequence[str], config_file: str | None, *, word: str | None, junit_file: str | None, watch: bool
) -> int:
    """Run the tests, once or until Ctrl-C."""
    # What rules fail on is in the report; the service's log lines about it are not for here.
    logging.getLogger("headrace").addHandler(logging.NullHandler())
    runner = Runner(paths, config_file, word, sys.stdout)
    if not watch:
        return runner.run(junit_file)
    try:
        while True:
            before, started = runner.stamps(), time.time_ns()
            _run_for_watching(runner, junit_file)
            _wait(runner, _as_read(before, runner.stamps(), started))
            sys.stdout.write("\n")
    except KeyboardInterrupt:
        sys.stdout.write("\n")
        return runner.status


def _run_for_watching(runner: Runner, junit_file: str | None) -> None:
    """A run whose mistakes, such as a folder that has just gone, do not end the watching."""
    try:
        runner.run(junit_file)
    except ConfigError as error:
        runner.status = 1
        sys.stderr.write(f"{error}\n")


def _as_read(before: Stamps, after: Stamps, started: int) -> Stamps:
    """The stamps that files had when a run read them: what was written meanwhile must be run again.

    The run itself finds out which files matter; those that were not looked at before it count as changed where they
    are as young as the run.
    """
    seen: dict[Path, Stamp | None] = {}
    for path, stamp in after.items():
        young = stamp is not None and stamp[0] >= started - _GRANULARITY
        seen[path] = before.get(path, None if young else stamp)
    return seen


def _wait(runner: Runner, before: Stamps) -> None:
    """Until the files are no longer as they were ``before``."""
    while True:
        started = time.monotonic()
        if runner.stamps() != before:
            return
        time.sleep(max(_INTERVAL, _SHARE * (time.monotonic() - started)))
