"""The cases of ``bench_sinks``: which sink writes what where, and what a row may cost there. Data; measures nothing.

A case names a sink (its entry point, or a class) and makes the settings of the sink and of its connection from the
server that runs. Tables and topics have names of their own per case, so that cases can be run alone and in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from far_side import HttpFarSide

from core.message import Batch, Row, Schema, Type
from sinks.base import Sink, SinkContext
from sinks.influxdb.config import Config as InfluxdbSettings
from sinks.influxdb.encode import Encoder
from tests.servers import Influxdb, Kafka, Mariadb, Mosquitto, Postgresql, VictoriaMetrics

ROW: Final = Schema(
    ("station", "connector", "ts", "power", "energy", "status"),
    (Type.TEXT, Type.BIGINT, Type.TIMESTAMP, Type.DOUBLE, Type.DOUBLE, Type.TEXT),
)
POINT: Final = Schema((*ROW.names, "voltage", "soc", "on"), (*ROW.types, Type.DOUBLE, Type.BIGINT, Type.BOOLEAN))
"""Three tags and five fields."""
START: Final = 1_767_225_600_000_000
"""Microseconds since the epoch of the first row."""


class Case(NamedTuple):
    """``share`` of the usual number of rows; ``bar`` is the most that a row may cost, in microseconds."""

    title: str
    sink: str | type[Sink]
    server: Any = None
    settings: Callable[[Any], dict[str, Any]] = lambda _: {}
    connection: Callable[[Any], dict[str, Any]] | None = None
    bar: float | None = None
    share: float = 1.0
    schema: Schema = ROW
    ddl: str | None = None


class LineProtocol(Sink):
    """Only what the influxdb sink does before it sends: rows to the body of a request."""

    name = "line protocol"
    Config = InfluxdbSettings

    def __init__(self, config: InfluxdbSettings, context: SinkContext) -> None:
        super().__init__(config, context)
        self._encode = Encoder(config, context.schemas).bind(context.schemas[0])

    async def open(self) -> None:
        """Nothing to reach."""

    async def write(self, batch: Batch) -> None:
        "\n".join(self._encode(batch.rows)).encode()

    async def close(self) -> None:
        """Nothing to release."""


def rows(schema: Schema, start: int, count: int) -> list[Row]:
    """Fresh rows of 500 stations with four connectors each, one every millisecond."""
    every = []
    for number in range(start, start + count):
        connector = number // 500 % 4
        row = (f"CP-{number % 500:04d}", connector, START + number * 1_000, 7_000 + number % 997 / 8, number * 1.5)
        every.append((*row, "Charging") if schema is ROW else (*row, "Charging", 230.1, number % 100, True))
    return every


def _kafka(driver: str, bar: float | None = None, share: float = 1.0, **settings: Any) -> Case:
    title = ", ".join([driver, *(f"{name} = {value}" for name, value in settings.items())])
    topic = f"bench-{len(title)}-{driver}"
    return Case(
        f"kafka: {title}",
        "kafka",
        Kafka,
        lambda _: {"topic": topic, "key": "${station}", "create_topic": {"partitions": 3}, **settings},
        lambda kafka: {"bootstrap_servers": [kafka.bootstrap], "driver": driver},
        bar,
        share,
    )


_POINTS: Final = {"measurement": "meter", "tags": ["station", "connector", "status"], "time": "ts", "precision": "ms"}


def _influxdb(title: str, server: Any, bar: float | None, **connection: Any) -> Case:
    return Case(
        f"influxdb: {title}",
        "influxdb",
        server,
        lambda _: _POINTS,
        lambda running: {"url": running.url, "bucket": "ci", **connection},
        bar,
        schema=POINT,
    )


_KEY: Final = ["station", "connector"]
_STATEMENT: Final = (
    "INSERT INTO bench_statement (station, connector, ts, power, energy, status)"
    " VALUES (:station, :connector, :ts, :power, :energy, :status)"
)
_DDL: Final = (
    "CREATE TABLE bench_statement (station text, connector bigint, ts timestamptz, power double precision,"
    " energy double precision, status text)"
)


def _sql(title: str, server: Any, write: str, bar: float | None = None) -> Case:
    keyed = {"write": write, "key": _KEY} if write == "upsert" else {}
    return Case(
        f"sql: {title}",
        "sql",
        server,
        lambda _: {"table": f"bench_{write}", "create_table": True, **keyed},
        lambda running: {"url": "sqlite:///bench.db" if server is None else running.url},
        bar,
    )


def _http(title: str, share: float = 1.0, **settings: Any) -> Case:
    return Case(
        f"http: {title}",
        "http",
        HttpFarSide,
        lambda _: settings,
        lambda far_side: {"base_url": f"{far_side.url}/rows"},
        share=share,
    )


def _file(title: str, name: str) -> Case:
    return Case(f"file: {title}", "file", settings=lambda folder: {"path": f"{folder}/{name}"})


def _mqtt(qos: int) -> Case:
    return Case(
        f"mqtt: mosquitto, QoS {qos}",
        "mqtt",
        Mosquitto,
        lambda _: {"topic": "bench/${station}", "qos": qos, "retain": False},
        lambda mosquitto: {"host": mosquitto.host, "port": mosquitto.port},
        share=0.5,
    )


CASES: Final = (
    _kafka("confluent", 4.0),
    _kafka("confluent", compression="zstd"),
    _kafka("confluent", exactly_once=True),
    _kafka("kafka-python", share=0.5),
    Case("influxdb: encode alone", LineProtocol, settings=lambda _: _POINTS, bar=1.5, schema=POINT),
    _influxdb("InfluxDB 1.8", Influxdb, 4.0),
    _influxdb("InfluxDB 1.8, gzip", Influxdb, None, gzip=True),
    _influxdb("VictoriaMetrics", VictoriaMetrics, 4.0),
    _sql("PostgreSQL, insert (COPY)", Postgresql, "insert", 4.0),
    _sql("PostgreSQL, upsert (UNNEST)", Postgresql, "upsert", 10.0),
    Case(
        "sql: PostgreSQL, statement",
        "sql",
        Postgresql,
        lambda _: {"statement": _STATEMENT},
        lambda postgresql: {"url": postgresql.url},
        share=0.5,
        ddl=_DDL,
    ),
    _sql("SQLite, insert", None, "insert", 4.0),
    _sql("SQLite, upsert", None, "upsert"),
    _sql("MariaDB, insert", Mariadb, "insert"),
    _sql("MariaDB, upsert", Mariadb, "upsert"),
    _http("json_array", send="json_array"),
    _http("json_array, gzip", send="json_array", gzip=True),
    _http("ndjson", send="ndjson"),
    _http("json_array, an address per station", 0.1, send="json_array", url="${station}"),
    _http("row", 0.05),
    _http("row, 8 at a time", 0.05, parallel=8),
    _mqtt(0),
    _mqtt(1),
    _file("NDJSON", "rows.ndjson"),
    _file("CSV", "rows.csv"),
    _file("Parquet", "rows.parquet"),
    Case("console: to /dev/null", "console"),
    Case("null", "null"),
)
