"""Servers for all tests: one of each kind per process of the tests, started when a test first asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar

import hypothesis
import pytest

from tests.servers import Influxdb, Kafka, Mariadb, Mosquitto, Postgresql, Server, VictoriaMetrics
from tests.servers.base import all_absent, own_folder

pytest.register_assert_rewrite("headrace.testing")
hypothesis.settings.register_profile("headrace", deadline=None)  # no test asserts a time
hypothesis.settings.load_profile("headrace")

Kind = TypeVar("Kind", bound=Server)


def _session(kind: type[Kind]) -> Any:
    @pytest.fixture(scope="session", name=kind.__name__.lower())
    def server() -> Iterator[Kind]:
        with own_folder(kind.__name__.lower()) as folder, kind(folder) as running:
            yield running

    return server


postgresql = _session(Postgresql)
mariadb = _session(Mariadb)
kafka = _session(Kafka)
influxdb = _session(Influxdb)
victoriametrics = _session(VictoriaMetrics)
mosquitto = _session(Mosquitto)


@pytest.fixture
def own_server() -> Iterator[Callable[..., Any]]:
    """``own_server(Kind, ...)`` starts a server for this test alone, which may stop and kill it."""
    with ExitStack() as running:

        def start(kind: type[Kind], *arguments: Any, **options: Any) -> Kind:
            folder = running.enter_context(own_folder(kind.__name__.lower()))
            return running.enter_context(kind(folder, *arguments, **options))  # type: ignore[no-any-return]

        yield start


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    absent = all_absent(str(report.longrepr) for report in terminalreporter.getreports("skipped"))
    if absent:
        names = ", ".join(sorted(absent))
        terminalreporter.write_line(f"not installed, so that their tests were skipped: {names} (make servers)")
