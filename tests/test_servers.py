"""The servers that the integration tests use: do they start, stop, freeze and come back?"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import Influxdb, Kafka, Mariadb, Mosquitto, Postgresql, Proxy, Server, VictoriaMetrics
from tests.servers.base import all_absent

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("kind", [Postgresql, Mariadb, Influxdb, VictoriaMetrics, Mosquitto, Kafka])
def test_a_server_comes_back_on_its_port(own_server: Callable[..., Server], kind: type[Server]) -> None:
    server = own_server(kind)
    port = server.port
    server.kill()
    assert not server.ready() or kind is Kafka
    server.start()
    server.pause()
    server.resume()
    server.stop()
    assert server.process is not None
    assert server.process.poll() is not None
    assert server.port == port


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            for line in self.rfile:
                self.wfile.write(line)


def is_cut(client: socket.socket) -> bool:
    try:
        return client.recv(100) == b""
    except ConnectionError:
        return True


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_the_proxy_forwards_stalls_cuts_and_refuses(echo: int) -> None:
    with Proxy(echo) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), 10) as client:
            client.sendall(b"one\n")
            assert client.recv(100) == b"one\n"
            proxy.stall()
            client.sendall(b"two\n")
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.recv(100)
            client.settimeout(10)
            proxy.go_on()
            assert client.recv(100) == b"two\n"
            proxy.cut()
            assert is_cut(client)
        proxy.refuse()
        with socket.create_connection(("127.0.0.1", proxy.port), 10) as client:
            assert client.recv(100) == b""
        proxy.refuse(refuse=False)
        with socket.create_connection(("127.0.0.1", proxy.port), 10) as client:
            client.sendall(b"three\n")
            assert client.recv(100) == b"three\n"


def test_a_server_that_is_not_installed_skips_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_SERVERS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match=r"InfluxDB is not installed \(make servers\)") as skipped:
        Influxdb(tmp_path).start()
    assert {"InfluxDB"} == all_absent([f"Skipped: {skipped.value}", "Skipped: of another kind"])
