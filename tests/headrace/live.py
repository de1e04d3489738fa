"""A configuration folder, and the real command ``headrace`` in a process of its own."""

import contextlib
import json
import os
import queue
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt

RULE = """\
INSERT INTO meter
SELECT clientid, payload.station AS station, payload.power / 1000 AS kw
FROM "cp/+/meter"
WHERE payload.power > 0;
"""
CONFIG = """\
data_dir = "data"
rules = ["rules/*.sql"]
shutdown_timeout = "20s"

[listeners.mqtt]
bind = "127.0.0.1:0"

[auth]
allow_anonymous = true

[[acl]]
allow = ["publish", "subscribe"]
topics = ["#"]

[sinks.meter]
type = "sql"
url = "sqlite:///data/meter.db"
table = "meter"
create_table = true
busy_timeout = "50ms"
retry = { initial = "10ms", max_delay = "50ms" }

[admin]
bind = "127.0.0.1:0"
"""
TIMEOUT = 30
"""Seconds that a test waits for something that must come before it fails."""


class Folder:
    """A folder with ``headrace.toml`` and ``rules/meter.sql``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "headrace.toml"
        self.rules = path / "rules"
        self.rules.mkdir()
        self.database = path / "data" / "meter.db"
        self.config.write_text(CONFIG)
        self.rule(RULE)

    def rule(self, text: str, name: str = "meter.sql") -> None:
        (self.rules / name).write_text(text)

    def replace(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))

    def rows(self, columns: str = "*", table: str = "meter") -> list[tuple[object, ...]]:
        """The rows of a table; none before the sink has made it."""
        connection = sqlite3.connect(self.database, timeout=TIMEOUT)
        try:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [table]).fetchall():
                return []
            return connection.execute(f"SELECT {columns} FROM {table} ORDER BY rowid").fetchall()  # noqa: S608
        finally:
            connection.close()

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The objects of an NDJSON file that is written to meanwhile: its whole lines, none before it is there."""
        file = self.path / name
        written = file.read_bytes() if file.exists() else b""
        return [json.loads(line) for line in written[: written.rfind(b"\n") + 1].splitlines()]


class Headrace:
    """``headrace run`` as a child process; its log is read line by line as it comes."""

    def __init__(
        self, folder: Folder, *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headrace", *arguments, "run", "-c", str(folder.config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env={**os.environ, **(env or {})},
        )
        self.log: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.ports: dict[str, int] = {}

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The next line of the log that has the pattern."""
        while True:
            line = self._lines.get(timeout=TIMEOUT)
            assert line is not None, f"it ended without {pattern!r}:\n{''.join(self.log)}"
            self.log.append(line)
            if found := re.search(pattern, line):
                return found

    def ready(self) -> "Headrace":
        line = self.wait_for(r"running: .*").group()
        self.ports = {name: int(port) for name, port in re.findall(r"(\w+) on port (\d+)", line)}
        return self

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it and return the exit status."""
        self.send(number)
        return self.end()

    def end(self) -> int:
        """Wait until it has ended by itself, read the rest of its log and return the exit status."""
        status = self.process.wait(TIMEOUT)
        self._reader.join(TIMEOUT)
        while (line := self._lines.get(timeout=TIMEOUT)) is not None:
            self.log.append(line)
        assert "Traceback" not in self.text, self.text
        return status

    @property
    def text(self) -> str:
        return "".join(self.log)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['admin']}{path}", timeout=TIMEOUT) as answer:
            body: bytes = answer.read()
        return body.decode()

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics"), re.MULTILINE)
        return float(found.group(1)) if found else 0.0

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(TIMEOUT)
        self._reader.join(TIMEOUT)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


class Client:
    """A paho client that waits for what it does."""

    def __init__(self, port: int, client_id: str = "cp-1", **options: object) -> None:
        self.paho = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id, **options)  # type: ignore[arg-type]
        self.port = port
        self.connected: queue.Queue[int] = queue.Queue()
        self.messages: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        self.subscribed: queue.Queue[int] = queue.Queue()
        self.acknowledged = 0
        self.paho.on_connect = lambda _client, _data, _flags, reason, _properties: self.connected.put(reason.value)
        self.paho.on_message = lambda _client, _data, message: self.messages.put(message)
        self.paho.on_subscribe = lambda _client, _data, _mid, reasons, _properties: self.subscribed.put(
            reasons[0].value
        )
        self.paho.on_publish = self._count

    def _count(self, *_: object) -> None:
        self.acknowledged += 1

    def connect(self) -> int:
        """The reason code of CONNACK; 0 is success."""
        self.paho.connect("127.0.0.1", self.port)
        self.paho.loop_start()
        return self.connected.get(timeout=TIMEOUT)

    def publish(self, topic: str, payload: str | bytes, qos: int = 1) -> None:
        self.paho.publish(topic, payload, qos).wait_for_publish(TIMEOUT)

    def close(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()
        # Without the callbacks nothing refers back to it, and it closes its pair of sockets when it is let go.
        self.paho.on_connect = self.paho.on_message = self.paho.on_subscribe = self.paho.on_publish = None


def wait_until(condition: Callable[[], bool]) -> None:
    """Return when ``condition`` holds, which it has to before long; an answer like 503 means that it does not."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if condition():
                return
        time.sleep(0.02)
    raise AssertionError("it has not come about")
