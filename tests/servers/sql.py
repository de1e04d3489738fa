"""PostgreSQL and MariaDB, without fsync and with the user and password ``ci``."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.servers.base import Server, find

_QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class Postgresql(Server):
    name = "PostgreSQL"
    user = "postgres"
    stop_signal = signal.SIGINT  # "fast": connections that are still open are ended

    def _program(self, program: str) -> str:
        debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        return find(self.name, program, *map(str, debian))

    @property
    def url(self) -> str:
        return f"postgresql://ci:ci@127.0.0.1:{self.port}/postgres"

    def prepare(self) -> None:
        self.folder.mkdir(exist_ok=True)
        password = self.folder / "password"
        password.write_text("ci\n")
        password.chmod(0o644)
        options = ["--auth=scram-sha-256", f"--pwfile={password}", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        self.run(self._program("initdb"), "-D", str(self.folder / "data"), "-U", "ci", *options)

    def command(self) -> Sequence[str]:
        options = ["listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}", "fsync=off"]
        settings = [part for option in options for part in ("-c", option)]
        return [self._program("postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *settings]

    def kill(self) -> None:
        self._signal_sessions(signal.SIGKILL)
        super().kill()

    def pause(self) -> None:
        super().pause()  # first, or it makes new sessions
        self._signal_sessions(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_sessions(signal.SIGCONT)
        super().resume()

    def _signal_sessions(self, number: signal.Signals) -> None:
        """Every session is a process of its own, with a process group of its own."""
        if self.process is None:
            return
        children = subprocess.run(["pgrep", "-P", str(self.process.pid)], stdout=subprocess.PIPE, timeout=10)
        for child in children.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), number)

    def ready(self) -> bool:
        command = [self._program("pg_isready"), "-q", "-h", self.host, "-p", str(self.port)]
        return subprocess.run(command, timeout=10).returncode == 0


class Mariadb(Server):
    name = "MariaDB"
    user = "nobody"

    @property
    def url(self) -> str:
        return f"mysql://ci:ci@127.0.0.1:{self.port}/ci"

    def prepare(self) -> None:
        install = find(self.name, "mariadb-install-db")
        find(self.name, "mariadbd")
        self._init().write_text(  # one statement a line: the server reads no more
            "CREATE DATABASE IF NOT EXISTS ci;\n"
            "CREATE USER IF NOT EXISTS ci@'127.0.0.1' IDENTIFIED BY 'ci';\n"
            "GRANT ALL ON ci.* TO ci@'127.0.0.1';\nGRANT PROCESS, CONNECTION ADMIN ON *.* TO ci@'127.0.0.1';\n"
        )
        options = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        self.run(install, "--no-defaults", f"--datadir={self.folder / 'data'}", *options)

    def _init(self) -> Path:
        return self.folder / "init.sql"

    def command(self) -> Sequence[str]:
        places = [
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.folder / 'sock'}",
            f"--init-file={self._init()}",
        ]
        options = ["--bind-address=127.0.0.1", "--skip-log-bin", "--innodb-flush-log-at-trx-commit=2"]
        pid = f"--pid-file={self.folder / 'pid'}"
        return [find(self.name, "mariadbd"), "--no-defaults", f"--port={self.port}", pid, *places, *options]

    def ready(self) -> bool:
        ping = ["mariadb-admin", "--no-defaults", f"-h{self.host}", f"-P{self.port}", "-uci", "-pci", "ping"]
        return subprocess.run(ping, timeout=10, **_QUIET).returncode == 0  # type: ignore[call-overload,no-any-return]
