"""`headrace run` as a child process for the demo: its data folder, accounts, ports, readiness and end.

Owns everything between the example's files and a running service. The data folder keeps the accounts from run to
run; the database begins anew. Where a default port is taken the service gets a copy of the configuration with
another one (`headrace.toml` in the data folder), otherwise it runs the example's own.
"""

from __future__ import annotations

import fcntl
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Final

EXAMPLE: Final = Path(__file__).resolve().parent
ACCOUNTS: Final = ("stations", "operator")
START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 20.0


class DemoError(Exception):
    """Why the demo cannot go on, in words for the user."""


def port_is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


class Service:
    """One run. `folder` is the data folder; `config` the file that the service was started with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.database = self.folder / "headrace.db"
        self.log = self.folder / "service.log"
        self.config = EXAMPLE / "headrace.toml"
        self.passwords: dict[str, str] = {}
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        settings = tomllib.loads(self.config.read_text())
        self.host, self.mqtt_port = self._address(settings["listeners"]["mqtt"]["bind"])
        _, self.admin_port = self._address(settings["admin"]["bind"])

    @staticmethod
    def _address(bind: str) -> tuple[str, int]:
        host, _, port = bind.rpartition(":")
        return host, int(port)

    @property
    def admin_url(self) -> str:
        return f"http://{self.host}:{self.admin_port}"

    def password_path(self, account: str) -> Path:
        return self.folder / f"{account}.password"

    def prepare(self) -> None:
        """Make the folder ready: no other demo in it, accounts there, the old database gone, ports chosen."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = (self.folder / "demo.lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise DemoError(f"another demo is running in {self.folder}") from None
        for suffix in ("", "-wal", "-shm", "-journal"):
            self.database.with_name(self.database.name + suffix).unlink(missing_ok=True)
        self._add_accounts()
        self._choose_ports()

    def _add_accounts(self) -> None:
        users = self.folder / "users.passwd"
        for account in ACCOUNTS:
            path = self.password_path(account)
            if users.exists() and path.exists():
                self.passwords[account] = path.read_text().strip()
                continue
            password = secrets.token_urlsafe(9)
            command = ["users", "add", account, "--password-stdin", "--file", str(users)]
            added = subprocess.run(
                [sys.executable, "-m", "headrace", *command],
                input=password,
                capture_output=True,
                text=True,
                check=False,
            )
            if added.returncode:
                raise DemoError(f"headrace {' '.join(command)} failed: {added.stderr.strip()}")
            path.touch(mode=0o600)
            path.write_text(password + "\n")
            self.passwords[account] = password

    def _choose_ports(self) -> None:
        text = self.config.read_text()
        changes = {}
        for attribute in ("mqtt_port", "admin_port"):
            port = getattr(self, attribute)
            if not port_is_free(self.host, port):
                setattr(self, attribute, free_port(self.host))
                changes[f'"{self.host}:{port}"'] = f'"{self.host}:{getattr(self, attribute)}"'
        if self.folder != EXAMPLE / "data":
            changes |= {'"data/': f'"{self.folder}/', "sqlite:///data/": f"sqlite:///{self.folder}/"}
        if not changes:
            return
        # A copy elsewhere needs whole paths.
        changes.setdefault('"data/', f'"{EXAMPLE}/data/')
        changes.setdefault("sqlite:///data/", f"sqlite:///{EXAMPLE}/data/")
        changes['"rules/'] = f'"{EXAMPLE}/rules/'
        for old, new in changes.items():
            if old not in text:
                raise DemoError(f"{self.config} has no {old}: the demo cannot adapt it")
            text = text.replace(old, new)
        self.config = self.folder / "headrace.toml"
        self.config.write_text(text)
        # Rules name it by a path from the configuration's folder.
        shutil.copy(EXAMPLE / "stations.csv", self.folder)

    def start(self) -> None:
        """Start it and return when /readyz says yes; DemoError with its own words where it does not get there."""
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C is for the demo, which then stops the service in order.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "headrace", "run", "-c", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if self._process.poll() is not None:
                raise DemoError(f"headrace run ended with {self._process.returncode}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise DemoError(f"headrace run was not ready after {START_SECONDS:.0f} s: {self.last_words()}")
            time.sleep(0.03)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.admin_port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def metrics(self) -> str:
        """The text of /metrics; DemoError where the service does not answer any more."""
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.admin_port}/metrics", timeout=5) as answer:
                text: str = answer.read().decode()
                return text
        except (OSError, urllib.error.URLError) as error:
            raise DemoError(f"the service does not answer ({error}): {self.last_words()}") from None

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-20:]) or "it said nothing"

    def stop(self) -> int | None:
        """SIGTERM, wait for everything to be delivered, let go of the folder; the exit status, None if it never ran."""
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._lock is not None:
            self._lock.close()
        return None if process is None else process.returncode
