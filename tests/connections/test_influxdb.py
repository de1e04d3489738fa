"""InfluxDB connections: the contract, with InfluxDB 1.8 and VictoriaMetrics at the far side."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from connections.base import Connection, ConnectionContext
from connections.influxdb import InfluxdbConfig, InfluxdbConnection
from core.settings import decode_hook
from headrace.testing import ConnectionContract
from tests.servers import Influxdb, VictoriaMetrics, free_port

pytestmark = pytest.mark.integration


def connection(url: str, context: ConnectionContext | None = None) -> InfluxdbConnection:
    given = {"url": url, "bucket": "ci/autogen", "token": "s3cret-token"}
    config = msgspec.convert(given, InfluxdbConfig, dec_hook=decode_hook)
    return InfluxdbConnection(config, context or ConnectionContext(name="tsdb", base_dir=Path()))


class TestInfluxdb(ConnectionContract):
    secrets = ("s3cret-token",)

    @pytest.fixture(autouse=True)
    def server(self, influxdb: Influxdb) -> None:
        self.url = influxdb.url

    def make_connection(self, context: ConnectionContext) -> Connection:
        return connection(self.url, context)

    def make_unreachable(self, context: ConnectionContext) -> Connection:
        return connection(f"http://127.0.0.1:{free_port()}", context)


class TestVictoriaMetrics(TestInfluxdb):
    @pytest.fixture(autouse=True)
    def server(self, victoriametrics: VictoriaMetrics) -> None:
        self.url = victoriametrics.url
