"""The admin server over a real socket, and the exposition format."""

import asyncio
import json
import socket

import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.errors import ConfigError
from core.metrics import Metrics
from core.settings import Bind
from headrace.admin import AdminServer, build
from headrace.exposition import Exposition
from headrace.status import Component


async def get(port: int, path: str) -> tuple[int, dict[str, str], str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    first, *lines = head.split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


async def test_the_paths() -> None:
    listeners = Component(state="listening", ready=True)
    meter = Component(state="connecting", ready=False, last_error="nobody there", connection="connections.db")
    components = {"listeners": listeners, "sinks.meter": meter, "connections.db": Component(state="down")}
    metrics = Metrics()
    metrics.counter("headrace_test_total", "A test", kind="x").value += 3
    pages = {"config": lambda: {"inbox": {"linger": "5ms"}}, "errors": lambda: [{"rule": "r"}]}
    server = AdminServer(
        build(metrics, lambda: components, pages, "1.2.3"),
        Bind("127.0.0.1", 0),
    )
    server.start()
    try:
        status, _, body = await get(server.port, "/healthz")
        assert (status, body) == (200, "ok\n")
        status, _, body = await get(server.port, "/readyz")
        assert (status, body) == (503, "not ready\n")
        status, _, body = await get(server.port, "/readyz?verbose")
        assert status == 503
        assert json.loads(body) == {
            "ready": False,
            "components": {
                "listeners": {"state": "listening", "ready": True},
                "sinks.meter": {
                    "state": "connecting",
                    "ready": False,
                    "last_error": "nobody there",
                    "connection": "connections.db",
                },
                "connections.db": {"state": "down"},
            },
        }
        components["sinks.meter"] = Component(state="unavailable", ready=True)
        status, _, body = await get(server.port, "/readyz")
        assert (status, body) == (200, "ready\n")
        status, headers, body = await get(server.port, "/metrics")
        assert status == 200
        assert headers["content-type"].startswith("text/plain")
        assert 'headrace_test_total{kind="x"} 3.0' in body
        assert "process_resident_memory_bytes" in body
        assert "process_cpu_seconds_total" in body
        status, headers, body = await get(server.port, "/config")
        assert (status, headers["content-type"]) == (200, "application/json")
        assert json.loads(body) == {"inbox": {"linger": "5ms"}}
        status, headers, body = await get(server.port, "/errors")
        assert (status, json.loads(body)) == (200, [{"rule": "r"}])
        status, _, body = await get(server.port, "/")
        assert json.loads(body)["version"] == "1.2.3"
        status, _, _ = await get(server.port, "/nothing")
        assert status == 404
    finally:
        await server.close()


async def test_a_port_in_use_is_one_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            AdminServer(build(Metrics(), dict, {}, "0"), Bind("127.0.0.1", port))
    assert str(caught.value) == f"admin.bind: cannot listen on 127.0.0.1:{port}: Address already in use"


async def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1:0"):
        AdminServer(build(Metrics(), dict, {}, "0"), Bind("192.0.2.1", 0))


def test_the_exposition_is_what_prometheus_parses() -> None:
    metrics = Metrics()
    metrics.counter("headrace_x_total", "With labels", rule='a"b\\c\nd').value = 2
    histogram = metrics.histogram("headrace_y_seconds", "A histogram", (0.5, 1.0), sink="s")
    for value in (0.1, 0.7, 9):
        histogram.observe(value)
    metrics.read("headrace_z", "A gauge", "gauge", lambda: [(("s",), 3)], ("sink",))
    body, content_type = Exposition(metrics).render()
    assert content_type.startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    [counter] = families["headrace_x"].samples
    assert (counter.labels, counter.value) == ({"rule": 'a"b\\c\nd'}, 2)
    samples = {(s.name, s.labels.get("le")): s.value for s in families["headrace_y_seconds"].samples}
    assert samples["headrace_y_seconds_bucket", "0.5"] == 1
    assert samples["headrace_y_seconds_bucket", "1.0"] == 2
    assert samples["headrace_y_seconds_bucket", "+Inf"] == 3
    assert samples["headrace_y_seconds_count", None] == 3
    assert samples["headrace_y_seconds_sum", None] == pytest.approx(9.8)
    [gauge] = families["headrace_z"].samples
    assert gauge.value == 3
