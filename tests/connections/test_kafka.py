"""Kafka connections, with both drivers alike: the contract, and what a check says of a cluster that cannot be used."""

from __future__ import annotations

import gc
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from connections.base import Connection, ConnectionContext
from core.errors import Unavailable
from headrace.testing import ConnectionContract
from tests.servers import Kafka, Proxy, free_port

pytestmark = pytest.mark.integration
pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed (pip install 'headrace[kafka]')")
pytest.importorskip("kafka", reason="kafka-python is not installed (pip install 'headrace[kafka-python]')")

from tests.sinks.kafka_parts import DRIVERS, SCRAM, connect  # noqa: E402

NOBODY = "127.0.0.1:1"


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class KafkaContract(ConnectionContract):
    driver: str
    secrets = ("scram-secret",)

    @pytest.fixture(autouse=True)
    def cluster(self, kafka: Kafka) -> None:
        self.bootstrap = kafka.sasl_bootstrap

    def make_connection(self, context: ConnectionContext) -> Connection:
        return connect(self.bootstrap, self.driver, context, sasl=SCRAM)

    def make_unreachable(self, context: ConnectionContext) -> Connection:
        return connect(f"127.0.0.1:{free_port()}", self.driver, context, sasl=SCRAM)


class TestConfluent(KafkaContract):
    driver = "confluent"


class TestKafkaPython(KafkaContract):
    driver = "kafka-python"


@pytest.mark.parametrize(
    ("listener", "settings", "reason"),
    [
        (None, {}, "127.0.0.1:1: .*[Cc]onnection refused"),
        ("sasl_bootstrap", {"sasl": {**SCRAM, "password": "wrong"}}, "refuses authentication|[Aa]uthentication failed"),
        ("sasl_bootstrap", {}, "closes the connection at once; does it want tls or sasl"),
        ("tls_bootstrap", {}, "closes the connection at once; does it want tls or sasl"),
        (
            "tls_bootstrap",
            {"tls": True},
            "certificate.*(verify failed|could not be verified).*name its authority in tls.ca",
        ),
        (
            "bootstrap",
            {"tls": True},
            "127.0.0.1:.*: the far side ends the TLS handshake; perhaps it does not speak tls",
        ),
        ("bootstrap", {"sasl": SCRAM}, "the far side wants no sasl here"),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # kafka-python leaves what it could not connect
async def test_a_check_says_what_is_wrong(
    kafka: Kafka, driver: str, listener: str | None, settings: dict[str, Any], reason: str
) -> None:
    bootstrap = NOBODY if listener is None else getattr(kafka, listener)
    with pytest.raises(Unavailable, match=reason):
        await connect(bootstrap, driver, **settings).check()
    gc.collect()


async def test_one_of_several_brokers_is_enough(kafka: Kafka, driver: str) -> None:
    servers = [NOBODY, kafka.bootstrap]
    assert "brokers 1" in await connect(NOBODY, driver, bootstrap_servers=servers).check()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # kafka-python leaves what it could not connect
async def test_a_slow_broker_beside_one_that_is_down(kafka: Kafka, driver: str) -> None:
    with Proxy(kafka.port) as proxy:
        proxy.stall()
        timer = threading.Timer(1.3, proxy.go_on)
        timer.start()
        servers = [NOBODY, f"127.0.0.1:{proxy.port}"]
        assert "brokers 1" in await connect(NOBODY, driver, bootstrap_servers=servers).check()
        timer.join()


async def test_a_cluster_that_is_silent(kafka: Kafka, driver: str) -> None:
    with Proxy(kafka.port) as proxy:
        proxy.stall()
        bootstrap = f"127.0.0.1:{proxy.port}"
        with pytest.raises(Unavailable, match=f"no answer from {bootstrap} within 1s"):
            await connect(bootstrap, driver, request_timeout="1s").check()


def test_librdkafka_ends_silent_connections_without_a_word() -> None:
    confluent = pytest.importorskip("connections.kafka.confluent")
    all_down = confluent.ck.KafkaError(confluent.ck.KafkaError._ALL_BROKERS_DOWN)
    at_once, late = confluent._Said(60), confluent._Said(0)
    at_once(all_down)
    late(all_down)
    assert "closes the connection at once" in at_once.reason
    assert late.reason is None
    assert late.all_down


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # kafka-python closes some when they are collected
async def test_checks_in_vain_leave_nothing_behind(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = logging.getLogger("kafka")  # pytest keeps its records, and with them connections
    monkeypatch.setattr(log, "handlers", [each for each in log.handlers if "pytest" not in type(each).__module__])

    async def check() -> tuple[int, int]:
        with pytest.raises(Unavailable):
            await connect(NOBODY, driver, request_timeout="500ms").check()
        gc.collect()
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    threads, files = await check()  # what is made once for all
    for _ in range(3):
        found = await check()
    assert found[0] <= threads
    assert found[1] <= files
