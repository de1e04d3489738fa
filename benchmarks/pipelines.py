"""What stands between a device and a far side in ``bench_latency``: headrace, or mosquitto with Telegraf behind it.

Owns the far sides as data (how each is prepared, and what headrace and Telegraf must be told to write there) and the
processes of a pipeline. Both run the same rule: a condition, a division, eight columns. headrace runs with the defaults
of its sinks and of its delivery; Telegraf batches 1,000 rows or 100 ms instead of its ten seconds, mosquitto has no
limits on what it queues. Measuring is the business of ``bench_latency``, watching the far side that of ``observe.py``.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from observe import TABLE
from servers import START_SECONDS, BenchError, Server, cpu_seconds, telegraf_program

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.servers import Influxdb, Kafka, Mosquitto, Postgresql

RULE: Final = """\
INSERT INTO bench
SELECT payload.station AS station, payload.connector AS connector, payload.power/1000 AS kw,
       payload.energy AS energy, payload.soc AS soc, payload.ts AS ts, payload.seq AS seq, payload.sent AS sent
FROM "cp/#" WHERE payload.power > 1000;
"""
TELEGRAF: Final = """\
[agent]
  metric_batch_size = 1000
  metric_buffer_limit = 1000000
  flush_interval = "100ms"
  flush_jitter = "0s"
  omit_hostname = true
[[inputs.mqtt_consumer]]
  servers = ["tcp://127.0.0.1:{port}"]
  topics = ["cp/#"]
  topic_tag = ""
  qos = {qos}
  client_id = "telegraf"
  max_undelivered_messages = 100000
  data_format = "json"
  tag_keys = ["station"]
  name_override = "bench"
  metricpass = "fields.power > 1000.0"
[[processors.scale]]
  [[processors.scale.scaling]]
    factor = 0.001
    offset = 0.0
    fields = ["power"]
{output}
"""
NO_LIMITS: Final = "max_queued_messages 0\nmax_inflight_messages 0"
_COLUMNS: Final = "station text, connector {whole}, {power} {number}, energy {number}, soc {whole}, ts {whole}"
_HEADRACE_TABLE: Final = (
    f"CREATE TABLE {TABLE} ({_COLUMNS.format(whole='bigint', power='kw', number='double precision')},"
    " seq bigint PRIMARY KEY, sent bigint)"
)
# Its JSON parser makes every number a float.
_TELEGRAF_TABLE: Final = (
    f"CREATE TABLE {TABLE} (time timestamptz,"
    f" {_COLUMNS.format(whole='double precision', power='power', number='double precision')},"
    " seq double precision PRIMARY KEY, sent double precision)"
)


class Place(NamedTuple):
    """Where a far side is: its server, a folder, and the port of ``observe.py`` where that is itself the far side."""

    server: Any
    folder: Path
    port: str

    @property
    def file(self) -> Path:
        return self.folder / "bench.db"


class Target(NamedTuple):
    """A far side; ``prepare(place, peer)`` leaves it empty and ready."""

    title: str
    kind: str
    server: Any
    address: Callable[[Place], str]
    prepare: Callable[[Place, bool], None]
    headrace: str
    telegraf: str | None = None


def _nothing(_place: Place, _peer: bool) -> None:
    """No preparation."""


def _topic(place: Place, _peer: bool) -> None:
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    admin = AdminClient({"bootstrap.servers": place.server.bootstrap})
    if TABLE in admin.list_topics(timeout=30).topics:
        admin.delete_topics([TABLE], operation_timeout=30)[TABLE].result(30)
    deadline = time.monotonic() + START_SECONDS
    while TABLE in admin.list_topics(timeout=30).topics and time.monotonic() < deadline:
        time.sleep(0.1)
    admin.create_topics([NewTopic(TABLE, 3, 1)], operation_timeout=30)[TABLE].result(30)
    while TABLE not in admin.list_topics(timeout=30).topics and time.monotonic() < deadline:
        time.sleep(0.1)


def _postgresql_table(place: Place, peer: bool) -> None:
    import psycopg

    with psycopg.connect(place.server.url, autocommit=True) as connection:
        connection.execute(f"DROP TABLE IF EXISTS {TABLE}")
        connection.execute(_TELEGRAF_TABLE if peer else _HEADRACE_TABLE)


def _sqlite_table(place: Place, _peer: bool) -> None:
    for path in place.folder.glob(f"{place.file.name}*"):
        path.unlink()
    connection = sqlite3.connect(place.file)
    connection.execute(_HEADRACE_TABLE)
    connection.close()


def _measurement(place: Place, _peer: bool) -> None:
    place.server.query(f"DROP MEASUREMENT {TABLE}")


_INFLUXDB: Final = """\
type = "influxdb"
url = "{url}"
bucket = "ci"
measurement = "bench"
tags = ["station"]"""
_TELEGRAF_INFLUXDB: Final = """\
[[outputs.influxdb]]
  urls = ["{url}"]
  database = "ci"
  skip_database_creation = true
  content_encoding = "identity"
"""

TARGETS: Final = {
    "kafka": Target(
        "Kafka",
        "kafka",
        Kafka,
        lambda place: str(place.server.bootstrap),
        _topic,
        'type = "kafka"\nbootstrap_servers = ["{server.bootstrap}"]\ntopic = "bench"\nkey = "${{station}}"',
        '[[outputs.kafka]]\n  brokers = ["{server.bootstrap}"]\n  topic = "bench"\n  required_acks = -1\n'
        '  data_format = "json"\n',
    ),
    "postgresql": Target(
        "PostgreSQL",
        "postgresql",
        Postgresql,
        lambda place: str(place.server.url),
        _postgresql_table,
        'type = "sql"\nurl = "{server.url}"\ntable = "bench"',
        '[[outputs.postgresql]]\n  connection = "{server.url}"\n',
    ),
    "sqlite": Target(
        "SQLite",
        "sqlite",
        None,
        lambda place: str(place.file),
        _sqlite_table,
        'type = "sql"\nurl = "sqlite:///{file}"\ntable = "bench"',
    ),
    "influxdb": Target(
        "InfluxDB 1.8, polled",
        "influxdb",
        Influxdb,
        lambda place: f"127.0.0.1:{place.server.port}",
        _measurement,
        _INFLUXDB.format(url="{server.url}"),
        _TELEGRAF_INFLUXDB.format(url="{server.url}"),
    ),
    "line-protocol": Target(
        "line protocol over HTTP",
        "http",
        None,
        lambda _: "",
        _nothing,
        _INFLUXDB.format(url="http://127.0.0.1:{port}"),
        '[[outputs.http]]\n  url = "http://127.0.0.1:{port}"\n  data_format = "influx"\n',
    ),
    "http": Target(
        "HTTP, json_array",
        "http",
        None,
        lambda _: "",
        _nothing,
        'type = "http"\nbase_url = "http://127.0.0.1:{port}/rows"\nsend = "json_array"',
    ),
    "mqtt": Target(
        "MQTT, mosquitto",
        "mqtt",
        Mosquitto,
        lambda place: str(place.server.port),
        _nothing,
        'type = "mqtt"\nhost = "127.0.0.1"\nport = {server.port}\ntopic = "out/${{station}}"\nqos = 1',
    ),
}


class Pipeline:
    """Takes MQTT at ``port`` and writes to a far side."""

    name: str
    port: int

    def cpu_seconds(self) -> float:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError


class Headrace(Pipeline):
    name = "headrace"

    def __init__(self, target: Target, place: Place, _qos: int) -> None:
        sink = target.headrace.format(server=place.server, file=place.file, port=place.port)
        self._server = Server("headrace", place.folder, rule=RULE, sink=sink, pinned=False)
        self.port = self._server.port

    def cpu_seconds(self) -> float:
        return cpu_seconds(self._server.process.pid)

    def stop(self) -> None:
        self._server.stop()


class Telegraf(Pipeline):
    """Its process and mosquitto's together."""

    name = "mosquitto + Telegraf"

    def __init__(self, target: Target, place: Place, qos: int) -> None:
        program = telegraf_program()
        if program is None or target.telegraf is None:
            raise BenchError("telegraf is not installed, or this far side is not for it")
        self._broker = Server("mosquitto", place.folder, lines=NO_LIMITS, pinned=False)
        self.port = self._broker.port
        output = target.telegraf.format(server=place.server, port=place.port)
        config = place.folder / "telegraf.conf"
        config.write_text(TELEGRAF.format(port=self.port, qos=qos, output=output))
        log = place.folder / "telegraf.log"
        with log.open("wb") as file:
            self._process = subprocess.Popen([program, "--config", str(config)], stdout=file, stderr=file)
        deadline = time.monotonic() + START_SECONDS
        while b"Connected" not in log.read_bytes():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise BenchError(f"telegraf did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)

    def cpu_seconds(self) -> float:
        return cpu_seconds(self._process.pid) + cpu_seconds(self._broker.process.pid)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._broker.stop()
