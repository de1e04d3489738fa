"""The kafka sink without a broker: what rows become, settings that contradict one another, what errors mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from connections.base import ConnectionContext
from connections.kafka.config import KafkaConfig
from connections.kafka.connection import KafkaConnection
from connections.kafka.driver import NO_TLS, UNKNOWN_TOPIC, Failure, plain, problem, rejection
from core.errors import ConfigError, PayloadError, Rejected, Throttled, Unavailable
from core.message import MISSING, Row, Schema, Type
from core.settings import decode_hook
from sinks.base import SinkContext
from sinks.kafka.encode import Encoder, encoded
from sinks.kafka.sink import KafkaSink

METER = Schema(("station", "kw", "at", "part"), (Type.TEXT, Type.ANY, Type.TIMESTAMP, Type.ANY))


def make(*schemas: Schema, driver: str = "auto", connection: dict[str, Any] | None = None, **table: Any) -> KafkaSink:
    cluster = {"bootstrap_servers": ["127.0.0.1:1"], "driver": driver, **(connection or {})}
    config = msgspec.convert(cluster, KafkaConfig, dec_hook=decode_hook)
    shared = KafkaConnection(config, ConnectionContext(name="bus", base_dir=Path()))
    settings = msgspec.convert({"topic": "t", **table}, KafkaSink.Config, dec_hook=decode_hook)
    return KafkaSink(settings, SinkContext(name="out", base_dir=Path(), schemas=schemas, connection=shared))


def record(row: Row, **table: Any) -> Any:
    config = msgspec.convert({"topic": "t", **table}, KafkaSink.Config, dec_hook=decode_hook)
    return Encoder(config).bind(METER)(row)


ROW = ("cp1", 7.5, 1_500_000, 2)
OAUTH = {"mechanism": "OAUTHBEARER", "token_url": "https://idp/token", "client_id": "c", "client_secret": "s"}


@pytest.mark.parametrize(
    ("table", "row", "expected"),
    [
        ({}, ROW, ("t", None, b'{"station":"cp1","kw":7.5,"at":"1970-01-01T00:00:01.500Z","part":2}', None, 0, -1)),
        ({"key": "${station}", "value": "${kw}"}, ROW, ("t", b"cp1", b"7.5", None, 0, -1)),
        ({"key": "${station}", "value": "${kw}"}, ("cp1", None, 0, 0), ("t", b"cp1", None, None, 0, -1)),
        ({"key": "${station}", "value": "${kw}"}, (None, 1, 0, 0), ("t", None, b"1", None, 0, -1)),
        ({"key": "k-${station}", "value": "x"}, (MISSING, 1, 0, 0), ("t", b"k-undefined", b"x", None, 0, -1)),
        ({"topic": "m-${station}", "value": "x"}, ROW, ("m-cp1", None, b"x", None, 0, -1)),
        ({"value": "x", "timestamp": "at"}, ROW, ("t", None, b"x", None, 1_500, -1)),
        ({"value": "x", "timestamp": "kw"}, ("a", 1_700.0, 0, 0), ("t", None, b"x", None, 1_700, -1)),
        ({"value": "x", "timestamp": "kw"}, ("a", None, 0, 0), ("t", None, b"x", None, 0, -1)),
        ({"value": "x", "partition": "part"}, ROW, ("t", None, b"x", None, 0, 2)),
        ({"value": "x", "partition": "part"}, ("a", 1, 0, MISSING), ("t", None, b"x", None, 0, -1)),
        (
            {"value": "x", "headers": {"s": "${station}", "v": "1", "kw": "${kw}"}},
            ("cp1", None, 0, 0),
            ("t", None, b"x", [("s", b"cp1"), ("v", b"1")], 0, -1),
        ),
        ({"value": "${station}"}, (b"\x00\xff", 1, 0, 0), ("t", None, b"\x00\xff", None, 0, -1)),
    ],
)
def test_a_row_as_a_record(table: dict[str, Any], row: Row, expected: Any) -> None:
    assert record(row, **table) == expected


@pytest.mark.parametrize(
    ("table", "row", "reason"),
    [
        ({"value": "${kw}"}, ("a", None, 0, 0), "a tombstone"),
        ({"topic": "${station}"}, (b"\xff", 1, 0, 0), "is no name of a topic"),
        ({"topic": "${station}"}, ("", 1, 0, 0), "'' is no name of a topic"),
        ({"topic": "${station}"}, ("..", 1, 0, 0), "is no name of a topic"),
        ({"topic": "m ${station}"}, ("cp/1", 1, 0, 0), "'m cp/1' is no name of a topic"),
        ({"topic": "${station}"}, ("a" * 250, 1, 0, 0), "is no name of a topic"),
        ({"partition": "part"}, ("a", 1, 0, "two"), "column 'part' is no partition, a whole number from 0: 'two'"),
        ({"partition": "part"}, ("a", 1, 0, -1), "column 'part' is no partition"),
        ({"partition": "part"}, ("a", 1, 0, 2**31), "column 'part' is no partition"),
        ({"timestamp": "kw"}, ("a", True, 0, 0), "column 'kw' is no time, in milliseconds since 1970: True"),
        ({"timestamp": "kw"}, ("a", 2**63, 0, 0), "column 'kw' is no time"),
        ({"timestamp": "kw"}, ("a", "2026-01-01", 0, 0), "column 'kw' is no time"),
        ({"timestamp": "at"}, ("a", 1, -5_000, 0), "column 'at' is no time"),
    ],
)
def test_a_row_that_can_be_no_record(table: dict[str, Any], row: Row, reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        record(row, **table)


def test_bad_rows_leave_the_others() -> None:
    config = msgspec.convert({"topic": "${station}", "value": "x"}, KafkaSink.Config, dec_hook=decode_hook)
    rows = [("a", 1, 0, 0), ("", 1, 0, 0), ("b", 1, 0, 0)]
    records, places, dead = encoded(Encoder(config).bind(METER), rows)
    assert [each[0] for each in records] == ["a", "b"]
    assert places == [0, 2]
    [(place, reason)] = dead
    assert place == 1
    assert "'' is no name of a topic" in reason


@pytest.mark.parametrize(
    ("table", "path", "message"),
    [
        ({"acks": "leader"}, "acks", 'idempotence needs acks = "all"'),
        ({"exactly_once": True, "idempotence": False}, "idempotence", "exactly_once needs idempotence"),
        ({"transactional_id": "x"}, "transactional_id", "exactly_once = true only"),
        ({"timestamp": "ts"}, "timestamp", "no rule yields 'ts'"),
        ({"timestamp": "${at}"}, "timestamp", r"'\${at}' is no name of a column .it stands here alone: 'at'"),
        ({"partition": "statoin"}, "partition", "no rule yields 'statoin'"),
        ({"topic": ""}, "topic", "is no name of a topic"),
        ({"topic": "no topic!"}, "topic", "is no name of a topic"),
        ({"delivery_timeout": "10s"}, "delivery_timeout", "must be longer than request_timeout"),
        ({"max_message": "999B"}, "max_message", "must be 1kB to 1GB"),
        ({"max_message": "2GB"}, "max_message", "must be 1kB to 1GB"),
    ],
)
def test_settings_that_contradict_one_another(table: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make(METER, **table)
    assert caught.value.path == path


def test_a_transactional_id_is_for_one_sink() -> None:
    assert make().exclusive is None
    own, given = make(exactly_once=True), make(exactly_once=True, transactional_id="x")
    assert own.exclusive == ("transactional_id", "headrace-out at 127.0.0.1:1")
    assert given.exclusive == ("transactional_id", "x at 127.0.0.1:1")


@pytest.mark.parametrize(
    ("connection", "path"),
    [
        ({"bootstrap_servers": []}, "bootstrap_servers"),
        ({"bootstrap_servers": ["kafka:9092", "kafka:port"]}, "bootstrap_servers"),
        ({"bootstrap_servers": ["kafka:0"]}, "bootstrap_servers"),
        ({"bootstrap_servers": ["kafka:65536"]}, "bootstrap_servers"),
        ({"bootstrap_servers": ["http://kafka:9092"]}, "bootstrap_servers"),
        ({"bootstrap_servers": ["kafka-1:9092,kafka-2:9092"]}, "bootstrap_servers"),
        ({"bootstrap_servers": ["::1:9092"]}, "bootstrap_servers"),
        ({"request_timeout": "0s"}, "request_timeout"),
        ({"tls": {"ca": "absent.pem"}}, "tls.ca"),
        ({"tls": {"ca": "no.pem"}}, "tls.ca"),
        ({"tls": {"cert": "no.pem"}}, "tls.cert"),
        ({"tls": {"key": "no.pem"}}, "tls.key"),
        ({"sasl": {"mechanism": "PLAIN", "username": "u", "password": {"env": "HEADRACE_ABSENT"}}}, "sasl.password"),
        ({"sasl": {**OAUTH, "client_secret": {"env": "HEADRACE_ABSENT"}}}, "sasl.client_secret"),
        ({"sasl": {**OAUTH, "token_url": "idp/token"}}, "sasl.token_url"),
        ({"sasl": {**OAUTH, "token_url": "https:///token"}}, "sasl.token_url"),
        ({"sasl": {**OAUTH, "token_url": "https://i dp/token"}}, "sasl.token_url"),
        ({"sasl": {**OAUTH, "token_url": "https://user:secret@idp/token"}}, "sasl.token_url"),
    ],
)
@pytest.mark.parametrize("driver", ["confluent", "kafka-python"])
def test_connections_that_cannot_be(
    connection: dict[str, Any], path: str, driver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("no.pem").write_text("of no use")
    with pytest.raises(ConfigError) as caught:
        make(METER, driver=driver, connection=connection)
    assert caught.value.path == path
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize("driver", ["confluent", "kafka-python"])
def test_addresses_of_brokers(driver: str) -> None:
    servers = ["kafka", "kafka-1.example:9092", "10.0.0.1:9092", "[::1]:9092", "[fe80::1]"]
    make(METER, driver=driver, connection={"bootstrap_servers": servers})


def test_what_errors_mean() -> None:
    assert rejection(Failure(10, "x")) is not None
    assert rejection(Failure(-190, "x")) is not None
    assert rejection(Failure(6, "x")) is None
    assert isinstance(problem(Failure(17, "x")), Rejected)
    assert isinstance(problem(Failure(89, "x")), Throttled)
    assert str(problem(Failure(UNKNOWN_TOPIC, "x"), "t")) == "topic t: it does not exist; make it, or set create_topic"
    denied = problem(Failure(29, "Topic authorization failed"), "t")
    assert isinstance(denied, Unavailable)
    assert str(denied) == (
        "topic t: not authorized for the topic: Topic authorization failed; the user needs WRITE and DESCRIBE on it"
    )


@pytest.mark.parametrize(
    ("driver", "options", "message"),
    [
        ("confluent", {"linger.mss": 5}, "linger.mss"),
        ("confluent", {"linger.ms": "soon"}, "Invalid value"),
        ("kafka-python", {"lingr_ms": 5}, "no option 'lingr_ms'.*did you mean 'linger_ms'"),
        ("kafka-python", {"linger_ms": "soon"}, "'linger_ms' is 'soon', and by default 0"),
        ("confluent", {"acks": 1}, "'acks' has a key of its own.*acks of the sink"),
        ("kafka-python", {"max_block_ms": 1}, "'max_block_ms' has a key of its own.*request_timeout"),
        ("confluent", {"ssl.key.password": "x"}, "'ssl.key.password' would be shown"),
        ("kafka-python", {"sasl_plain_password": "x"}, "would be shown"),
        ("confluent", {"partitioner": "random"}, "cannot be changed"),
        ("auto", {"linger.ms": 5}, "are those of one driver"),
    ],
)
def test_driver_options_that_cannot_be(driver: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make(driver=driver, connection={"driver_options": options})
    assert caught.value.path == "driver_options"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "kafka:1/bootstrap: Connect to ipv4#1.2.3.4:1 failed: Connection refused (after 0ms in state CONNECT)",
            "kafka:1: Connect to ipv4#1.2.3.4:1 failed: Connection refused",
        ),
        ("sasl_ssl://kafka:9093/bootstrap: SASL authentication error: no", "kafka:9093: SASL authentication error: no"),
        ("Broker: Message size too large", "Message size too large"),
        ("Unable to produce message: Local: Unknown partition", "Unknown partition"),
        ("ssl://k:1/bootstrap: Disconnected: closed by peer (after 1ms in state SSL_HANDSHAKE)", f"k:1: {NO_TLS}"),
        (
            "ssl://k:1/bootstrap: SSL handshake failed: Disconnected (after 1ms in state SSL_HANDSHAKE)",
            f"k:1: {NO_TLS}",
        ),
        ("ssl://k:1/1: Disconnected: closed by peer (after 9ms in state UP)", "k:1/1: Disconnected: closed by peer"),
    ],
)
def test_what_drivers_say_is_told_without_noise(text: str, expected: str) -> None:
    assert plain(text) == expected
