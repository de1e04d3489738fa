"""The servers under test, each in a process of its own, and what the operating system says they used.

Owns how headrace, mosquitto and amqtt are started for a measurement (comparably: loopback, no authentication, no
persistence) and the reading of CPU time, memory and machine facts from ``/proc``. What is sent to them
is the business of ``load``, what is measured that of the ``bench_*`` programs.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
START_SECONDS: Final = 20.0

RULE: Final = """\
INSERT INTO bench
SELECT payload.station AS station, payload.connector AS connector, payload.power/1000 AS kw,
       payload.energy AS energy, payload.soc AS soc, payload.ts AS ts
FROM "cp/#" WHERE payload.power > 1000;
"""
CONFIG: Final = """\
rules = ["rule.sql"]
[listeners.mqtt]
bind = "127.0.0.1:{port}"
[auth]
allow_anonymous = true
[[acl]]
allow = ["publish", "subscribe"]
topics = ["#"]
[sinks.bench]
{sink}
[admin]
bind = "127.0.0.1:{admin_port}"
"""
# Nothing is subscribed, so that no queue of mosquitto's plays a part. TCP_NODELAY is left off, its default: its
# PUBACKs share segments then, which is the cheaper for it by about a third.
MOSQUITTO_CONFIG: Final = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
log_type error
{lines}
"""
AMQTT_PROGRAM: Final = """\
import asyncio, logging, sys
from amqtt.broker import Broker
logging.disable(logging.CRITICAL)
async def main():
    await Broker({
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{sys.argv[1]}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }).start()
    await asyncio.Event().wait()
asyncio.run(main())
"""


class BenchError(Exception):
    """The measurement is not valid; the text says why."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def process_tree(root: int) -> list[int]:
    """The process and its living descendants."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [root]
    for process in found:
        found.extend(children.get(process, ()))
    return found


def cpu_seconds(root: int) -> float:
    """User + system time of the process tree so far, ended and awaited children included."""
    ticks = 0
    for process in process_tree(root):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS_PER_SECOND


def resident_bytes(root: int) -> int:
    """Resident memory of the process tree."""
    total = 0
    for process in process_tree(root):
        found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
        total += int(found[1]) * 1024 if found else 0
    return total


def pin(process: int, role: str) -> None:
    """Servers on the first core, the generator on the last; nothing where there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(process, {cores[0] if role == "server" else cores[-1]})


class Server:
    """A broker in a process of its own, on a free port of the loopback address.

    ``rule`` and ``sink`` (its settings) are headrace's, ``lines`` are added to mosquitto's configuration.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        rule: str = RULE,
        sink: str = 'type = "null"',
        lines: str = "",
        pinned: bool = True,
    ) -> None:
        self.name = name
        self._rule = rule
        self._sink = sink
        self._lines = lines
        self.port = free_port()
        self.admin_port = free_port()
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(self._command(folder), cwd=folder, stdout=log, stderr=log)
        if pinned:
            pin(self.process.pid, "server")
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise BenchError(f"{name} did not start:\n{self._log.read_text()[-2000:]}") from None
                time.sleep(0.05)

    def _command(self, folder: Path) -> list[str]:
        if self.name == "headrace":
            (folder / "rule.sql").write_text(self._rule)
            ports = {"port": self.port, "admin_port": self.admin_port}
            (folder / "headrace.toml").write_text(CONFIG.format(sink=self._sink, **ports))
            return [sys.executable, "-m", "headrace", "run", "-c", str(folder / "headrace.toml")]
        if self.name == "mosquitto":
            (folder / "mosquitto.conf").write_text(MOSQUITTO_CONFIG.format(port=self.port, lines=self._lines))
            return [mosquitto_program() or "mosquitto", "-c", str(folder / "mosquitto.conf")]
        return [sys.executable, "-c", AMQTT_PROGRAM, str(self.port)]

    def rows_delivered(self) -> int:
        """What headrace's sink has taken over so far, from /metrics."""
        url = f"http://127.0.0.1:{self.admin_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        found = re.search(r'^headrace_sink_rows_delivered_total\{sink="bench"\} (\S+)$', text, re.MULTILINE)
        if found is None:
            raise BenchError("/metrics has no headrace_sink_rows_delivered_total for the sink")
        return int(float(found[1]))

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def running(names: Sequence[str]) -> Iterator[dict[str, Server]]:
    with tempfile.TemporaryDirectory() as folder:
        servers: dict[str, Server] = {}
        try:
            for name in names:
                servers[name] = Server(name, Path(folder))
            yield servers
        finally:
            for server in servers.values():
                server.stop()


def mosquitto_program() -> str | None:
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def telegraf_program() -> str | None:
    """In the folder of ``HEADRACE_PEERS``, in the cache beside what ``make servers`` installs, or on the PATH."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    peers = os.environ.get("HEADRACE_PEERS") or f"{base}/headrace/peers"
    return shutil.which("telegraf", path=os.pathsep.join([f"{peers}/bin", os.environ.get("PATH", "")]))


def environment(peers: Sequence[str]) -> dict[str, Any]:
    """The machine and the versions; nothing that tells whose machine it is."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = {"python": platform.python_version(), "kernel": platform.release().split("-")[0]}
    for package in ("uvloop", "msgspec", "amqtt"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "absent"
    if program := mosquitto_program():
        words = subprocess.run([program, "-h"], capture_output=True, text=True).stdout.split()
        versions["mosquitto"] = words[2] if len(words) > 2 else "?"
    if "telegraf" in peers and (program := telegraf_program()):
        words = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.split()
        versions["telegraf"] = words[1] if len(words) > 1 else "?"
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": model[1].strip() if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": versions,
        "peers": list(peers),
    }
