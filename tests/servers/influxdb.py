"""InfluxDB 1.8 (it has the v2 write API; a bucket is ``database/retention policy``) and VictoriaMetrics."""

from __future__ import annotations

import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.servers.base import Server, answers, cache, find, free_port

_CONFIG = """\
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
index-version = "tsi1"
query-log-enabled = false
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:{port}"
flux-enabled = true
auth-enabled = {auth}
log-enabled = false
"""


class Influxdb(Server):
    """With ``auth`` the first user is the administrator ``ci``, password ``ci-secret``."""

    name = "InfluxDB"

    def __init__(self, folder: Path, *, auth: bool = False) -> None:
        super().__init__(folder)
        self._auth = auth
        self._rpc = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        settings = _CONFIG.format(folder=self.folder, port=self.port, rpc=self._rpc, auth=str(self._auth).lower())
        (self.folder / "influxdb.conf").write_text(settings)

    def command(self) -> Sequence[str]:
        program = find(self.name, "influxd", str(cache() / "bin"))
        return [program, "run", "-config", str(self.folder / "influxdb.conf")]

    def ready(self) -> bool:
        return answers(f"{self.url}/ping")

    def start(self) -> None:
        first = not self.prepared
        super().start()
        if first and self._auth:
            self.query("CREATE USER ci WITH PASSWORD 'ci-secret' WITH ALL PRIVILEGES", user=False)
        if first:
            self.query("CREATE DATABASE ci")

    def query(self, statement: str, *, user: bool = True) -> list[dict[str, object]]:
        """The rows of an InfluxQL statement."""
        login = "?u=ci&p=ci-secret" if self._auth and user else ""
        body = urllib.parse.urlencode({"q": statement, "db": "ci", "epoch": "ns"}).encode()
        with urllib.request.urlopen(f"{self.url}/query{login}", data=body, timeout=30) as response:
            answer = msgspec.json.decode(response.read())
        rows = []
        for result in answer["results"]:
            assert "error" not in result, result
            for series in result.get("series", ()):
                tags = series.get("tags", {})
                rows += [{**tags, **dict(zip(series["columns"], values, strict=True))} for values in series["values"]]
        return rows


class VictoriaMetrics(Server):
    name = "VictoriaMetrics"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        program = find(self.name, "victoria-metrics", str(cache() / "bin"))
        options = ["-memory.allowedBytes=256MB", "-retentionPeriod=100y", "-search.latencyOffset=0"]
        return [program, f"-storageDataPath={self.folder}", f"-httpListenAddr=127.0.0.1:{self.port}", *options]

    def ready(self) -> bool:
        return answers(f"{self.url}/health")

    def export(self, match: str) -> list[dict[str, object]]:
        """Every series that matches, as ``/api/v1/export`` has it; what was just written included."""
        urllib.request.urlopen(f"{self.url}/internal/force_flush", timeout=30).close()
        query = urllib.parse.urlencode({"match[]": match})
        with urllib.request.urlopen(f"{self.url}/api/v1/export?{query}", timeout=30) as response:
            return [msgspec.json.decode(line) for line in response.read().splitlines()]
