"""What the servers have in common: a folder, ports, a process, and waiting until it answers."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest

START_SECONDS = 120
_FIRST_PORT: Final = 15_000
_ABSENT: Final = re.compile(r"Skipped: (.+?) is not installed \(make servers\)")


def cache() -> Path:
    """Where ``make servers`` puts what is no package of the system."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("HEADRACE_SERVERS") or f"{base}/headrace/servers")


def free_port() -> int:
    """A port that the system gives to no client: one of those would be taken while its server is away."""
    while True:
        port = random.randrange(_FIRST_PORT, _first_of_clients())  # noqa: S311 - no secret
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _first_of_clients() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        return 32_768


@contextlib.contextmanager
def own_folder(name: str) -> Iterator[Path]:
    """A folder that servers which do not run as root can reach: pytest closes its own to all others at every start."""
    with tempfile.TemporaryDirectory(prefix="headrace-", ignore_cleanup_errors=True) as text:
        folder = Path(text)
        folder.chmod(0o711)
        (folder / name).mkdir()
        yield folder / name


def absent(name: str) -> None:
    """Skip the test: the server ``name`` is not installed."""
    pytest.skip(f"{name} is not installed (make servers)")


def all_absent(reasons: Iterable[str]) -> set[str]:
    """What :func:`absent` named, from the reasons of skipped tests; those of other processes are among them."""
    return {found[1] for found in map(_ABSENT.search, reasons) if found}


def find(name: str, program: str, *folders: str) -> str:
    """The path of a program, sought in ``folders`` first; skips where there is none."""
    path = os.pathsep.join([*folders, os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(program, path=path)
    if found is None:
        absent(name)
    return str(found)


class Server:
    """One private server; ``folder`` is its own. Use it as a context manager, or call start and stop."""

    name: ClassVar[str]
    user: ClassVar[str | None] = None
    """Whom it runs as where the tests run as root; None where it does not mind root."""
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = "127.0.0.1"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.prepared = False

    def prepare(self) -> None:
        """Make what has to be there before the first start."""

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def ready(self) -> bool:
        """Does it answer?"""
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 1):
            return True
        return False

    def as_user(self) -> list[str]:
        """What to put before a command so that it runs as an ordinary user, who owns the folder."""
        if self.user is None or os.getuid() != 0:
            return []
        shutil.chown(self.folder, self.user)
        return ["setpriv", f"--reuid={self.user}", "--clear-groups"]

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def run(self, *command: str) -> None:
        """Run a helper of the server to its end; what it says is shown where it fails."""
        done = subprocess.run([*self.as_user(), *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            pytest.fail(f"{self.name}: {command[0]} failed:\n{done.stdout.decode(errors='replace')[-2_000:]}")

    def start(self) -> None:
        """Start it, with what is in its folder, and wait until it answers."""
        if not self.prepared:
            self.prepare()
            self.prepared = True
        with self.log.open("ab") as output:
            self.process = subprocess.Popen([*self.as_user(), *self.command()], stdout=output, stderr=output)
        deadline = time.monotonic() + START_SECONDS
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                pytest.fail(f"{self.name} did not start:\n{self.log.read_text(errors='replace')[-2_000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it in order. Harmless where it does not run."""
        if self.process is not None and self.process.poll() is None:
            self.resume()
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def kill(self) -> None:
        """``kill -9``."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        self.stop()
        self.start()

    def __enter__(self) -> Any:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def answers(url: str) -> bool:
    """Does an HTTP server answer with success?"""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status < 300)
    except (OSError, urllib.error.URLError):
        return False
