"""Private database servers for integration tests: started on a free port of loopback, gone after the session.

Each function yields the URL of an empty database, or skips with one line where the server is not installed. The
servers run without fsync and refuse to run as root, so that a test run as root lends them another user.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_START_SECONDS = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _as_user(name: str, folder: Path) -> list[str]:
    """What to put before a command so that it runs as an ordinary user, who then owns ``folder``."""
    if os.getuid() != 0:
        return []
    shutil.chown(folder, name)
    for parent in folder.parents[:3]:  # pytest's own folders are private
        parent.chmod(parent.stat().st_mode | 0o011)
    return ["setpriv", f"--reuid={name}", "--clear-groups"]


def _fail(what: str, log: Path) -> None:
    text = log.read_text(errors="replace")[-2_000:] if log.exists() else "no log"
    pytest.fail(f"{what} did not start:\n{text}")


def _wait(process: subprocess.Popen[Any], ready: list[str], what: str, log: Path) -> None:
    """Until the server answers ``ready``: there is no other way to be told."""
    deadline = time.monotonic() + _START_SECONDS
    while subprocess.run(ready, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=10).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            _fail(what, log)
        time.sleep(0.05)


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """PostgreSQL with the database and user ``ci``; ``folder`` must be empty."""
    debian = [str(binaries) for binaries in Path("/usr/lib/postgresql").glob("*/bin")]
    path = os.pathsep.join([*sorted(debian, reverse=True), os.environ.get("PATH", "")])
    found = (
        shutil.which("pg_isready", path=path),
        shutil.which("initdb", path=path),
        shutil.which("postgres", path=path),
    )
    if None in found:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    ready, initdb, server = map(str, found)
    port, log = free_port(), folder / "log"
    user = _as_user("postgres", folder)
    create = [*user, initdb, "-D", str(folder / "data"), "-U", "ci", "--auth=trust", "-E", "UTF8", "--locale=C"]
    subprocess.run([*create, "--no-sync"], check=True, stdout=subprocess.DEVNULL)
    options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*user, server, "-D", str(folder / "data"), "-p", str(port), *options], stdout=output, stderr=output
        )
    try:
        _wait(process, [ready, "-q", "-h", "127.0.0.1", "-p", str(port)], "PostgreSQL", log)
        yield f"postgresql://ci:ci@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # "fast": connections that are still open are ended
        process.wait()


@contextlib.contextmanager
def mariadb(folder: Path) -> Iterator[str]:
    """MariaDB with the database and user ``ci``; ``folder`` must be empty."""
    server, install = shutil.which("mariadbd", path="/usr/sbin:" + os.defpath), shutil.which("mariadb-install-db")
    if server is None or install is None:
        pytest.skip("MariaDB is not installed (Debian: apt-get install mariadb-server)")
    port, log = free_port(), folder / "log"
    init = folder / "init.sql"
    init.write_text(  # one statement a line: the server reads no more
        "CREATE DATABASE ci;\nCREATE USER ci@'127.0.0.1' IDENTIFIED BY 'ci';\nGRANT ALL ON ci.* TO ci@'127.0.0.1';\n"
    )
    user = _as_user("nobody", folder)
    common = ["--no-defaults", f"--datadir={folder / 'data'}"]
    subprocess.run(
        [*user, install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    places = [f"--socket={folder / 'sock'}", f"--pid-file={folder / 'pid'}", f"--init-file={init}"]
    options = ["--bind-address=127.0.0.1", f"--port={port}", "--skip-log-bin", "--innodb-flush-log-at-trx-commit=2"]
    with log.open("wb") as output:
        process = subprocess.Popen([*user, server, *common, *places, *options], stdout=output, stderr=output)
    try:
        ping = ["mariadb-admin", "--no-defaults", "-h127.0.0.1", f"-P{port}", "-uci", "-pci", "ping"]
        _wait(process, ping, "MariaDB", log)
        yield f"mysql://ci:ci@127.0.0.1:{port}/ci"
    finally:
        process.terminate()
        process.wait()
