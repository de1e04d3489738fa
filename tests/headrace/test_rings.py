"""Services that send to one another: what goes round comes to an end, and how it need not go round at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from tests.headrace.live import TIMEOUT, Folder, Headrace, wait_until
from tests.servers import free_port

CONFIG = """\
rules = ["rules/*.sql"]

[listeners.mqtt]
bind = "127.0.0.1:{port}"

[auth]
allow_anonymous = true

[[acl]]
allow = ["publish", "subscribe"]
topics = ["#"]

[connections.peer]
type = "mqtt"
host = "127.0.0.1"
port = {peer}
client_id = "{name}"
{part}
[admin]
bind = "127.0.0.1:0"
"""
SINK = """
[sinks.peer]
connection = "peer"
topic = "${topic}"
payload = "${payload}"
qos = 1
"""
SOURCE = """
[sources.peer]
connection = "peer"
topics = [{ filter = "ring/#" }]
publish = true
"""
ALL = 'INSERT INTO peer SELECT topic, payload FROM "ring/#"'
OWN = f"{ALL} WHERE pub_props.'User-Property'.'headrace-hops' IS NULL"


@contextmanager
def pair(path: Path, part: str, rule: str) -> Iterator[list[Headrace]]:
    """Two services with ``part`` in their configurations, each of which has the other for its far side."""
    ports = [free_port(), free_port()]
    with ExitStack() as cleanup:
        services = []
        for name, port, peer in (("a", ports[0], ports[1]), ("b", ports[1], ports[0])):
            (path / name).mkdir()
            folder = Folder(path / name)
            folder.config.write_text(CONFIG.format(port=port, peer=peer, name=name, part=part))
            folder.rule(rule)
            services.append(Headrace(folder))
            cleanup.callback(services[-1].kill)
        for service in services:
            service.ready()
        for service in services:
            wait_until(lambda service=service: '"ready": true' in service.get("/readyz?verbose"))
        yield services


@contextmanager
def reader(service: Headrace) -> Iterator[list[bytes]]:
    """What a client of a service gets of the ring."""
    found: list[bytes] = []
    subscribed = threading.Event()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "reader", protocol=paho.MQTTv5)
    client.on_message = lambda _client, _data, message: found.append(message.payload)
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect("127.0.0.1", service.ports["mqtt"])
    client.subscribe("ring/#", 1)
    client.loop_start()
    try:
        assert subscribed.wait(TIMEOUT)
        yield found
    finally:
        client.disconnect()
        client.loop_stop()


def publish(service: Headrace, payload: bytes) -> None:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "device")
    client.connect("127.0.0.1", service.ports["mqtt"])
    client.loop_start()
    client.publish("ring/1", payload, 1).wait_for_publish(TIMEOUT)
    client.disconnect()
    client.loop_stop()


def total(services: list[Headrace], metric: str) -> float:
    return sum(service.metric(metric) for service in services)


@pytest.mark.integration
def test_a_ring_of_bridges_ends(tmp_path: Path) -> None:
    with pair(tmp_path, SINK, f"{ALL};") as services, reader(services[0]) as found:
        publish(services[0], b"1")
        wait_until(lambda: total(services, 'headrace_sink_rows_rejected_total{sink="peer"}') == 1)
        assert total(services, 'headrace_sink_rows_delivered_total{sink="peer"}') == 8
        wait_until(lambda: len(found) == 5)
        assert "rules feed one another" in services[0].get("/errors")


@pytest.mark.integration
def test_bridges_in_both_directions_send_only_what_own_clients_sent(tmp_path: Path) -> None:
    with pair(tmp_path, SINK, f"{OWN};") as services, reader(services[0]) as here, reader(services[1]) as there:
        publish(services[0], b"from a")
        publish(services[1], b"from b")
        wait_until(lambda: len(here) == len(there) == 2)
        assert set(here) == set(there) == {b"from a", b"from b"}
        assert total(services, 'headrace_sink_rows_delivered_total{sink="peer"}') == 2
        assert total(services, 'headrace_sink_rows_rejected_total{sink="peer"}') == 0


@pytest.mark.integration
def test_two_sources_that_publish_what_the_other_published_end(tmp_path: Path) -> None:
    with pair(tmp_path, SOURCE + '[sinks.peer]\ntype = "null"\n', f"{ALL};") as services:
        publish(services[0], b"1")
        wait_until(lambda: total(services, 'headrace_source_dropped_total{reason="loop",source="peer"}') == 1)
        assert total(services, 'headrace_source_messages_total{source="peer",type="mqtt"}') == 9
