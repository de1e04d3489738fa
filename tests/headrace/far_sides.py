"""A far side in memory: connections and sinks of type ``fake``, and services that use them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from connections.base import Connection, ConnectionContext
from core.errors import ConfigError, Unavailable
from core.message import Batch
from core.registry import Registry
from core.settings import Secret
from headrace import endpoints
from headrace.config import Config, parse
from headrace.service import Service
from sinks.base import Sink, SinkContext

TIMEOUT = 30
"""Seconds that a test waits for something that must come before it fails."""


class World:
    """What stands at the addresses, and what has been asked of it."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.asked: dict[str, int] = {}
        self.made: list[FakeConnection] = []
        self.sinks: list[FakeSink] = []

    def of(self, name: str) -> list[FakeConnection]:
        return [connection for connection in self.made if connection.context.name == name]


class FakeConnection(Connection):
    """A service in memory."""

    type = "fake"
    world: ClassVar[World]

    class Config(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
        """One service."""

        address: str
        password: Secret | None = None

    def __init__(self, config: Config, context: ConnectionContext) -> None:
        super().__init__(config, context)
        if config.address == "nowhere":
            raise ConfigError("there is no such place", path="address", hint="name another")
        if config.address == "defect":
            raise KeyError("boom")
        self.address = config.address
        self.open_count = self.close_count = 0
        self.world.made.append(self)

    async def open(self) -> None:
        self.open_count += 1

    async def close(self) -> None:
        self.close_count += 1

    async def check(self) -> str:
        self.world.asked[self.context.name] = self.world.asked.get(self.context.name, 0) + 1
        if self.address == "asleep":
            await asyncio.sleep(3_600)
        if self.address == "broken":
            raise ValueError("what\nis this")
        if self.address in self.world.down:
            raise Unavailable(f"https://me:hidden@{self.address}/ does not answer")
        return f"Fake 1.0 at {self.address}"


class FakeSink(Sink):
    """Rows in memory."""

    name = "fake"
    connection_type = "fake"

    class Config(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
        """One box."""

        box: str = "box"

    def __init__(self, config: Config, context: SinkContext) -> None:
        super().__init__(config, context)
        self.connection = context.connected(FakeConnection)
        if config.box == "none":
            raise ConfigError("there is no such box", path="box")
        if config.box == "elsewhere":
            raise ConfigError("its boxes are too small", path="address")
        self.rows: list[Any] = []
        self.connection.world.sinks.append(self)

    async def open(self) -> None:
        await self.connection.join(self)
        if self.connection.address in self.connection.world.down:
            raise Unavailable(f"nobody at {self.connection.address}")

    async def write(self, batch: Batch) -> None:
        self.rows += batch.rows

    async def close(self) -> None:
        await self.connection.leave(self)


class EitherSink(FakeSink):
    """Works with and without a connection."""

    name = "either"
    connection_required = False

    def __init__(self, config: FakeSink.Config, context: SinkContext) -> None:
        Sink.__init__(self, config, context)

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass


def installed(group: str, **values: str) -> list[EntryPoint]:
    return [*entry_points(group=group), *(EntryPoint(name, value, group) for name, value in values.items())]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The types ``fake`` and ``either`` are installed."""
    here = __name__
    connections: Any = Registry(
        "headrace.connections",
        Connection,  # type: ignore[type-abstract]
        installed("headrace.connections", fake=f"{here}:FakeConnection"),
    )
    sinks: Any = Registry(
        "headrace.sinks",
        Sink,  # type: ignore[type-abstract]
        installed("headrace.sinks", fake=f"{here}:FakeSink", either=f"{here}:EitherSink"),
    )
    monkeypatch.setattr(endpoints, "connection_types", lambda: connections)
    monkeypatch.setattr(endpoints, "sink_types", lambda: sinks)
    FakeConnection.world = World()
    yield FakeConnection.world
    del FakeConnection.world


HEAD = """\
[listeners.mqtt]
bind = "127.0.0.1:0"
[auth]
allow_anonymous = true
"""


def config(text: str, folder: Path) -> Config:
    """A configuration that is right; ``text`` follows a listener on a port of the system's choice."""
    survey = parse(HEAD + text, file=str(folder / "headrace.toml"), base_dir=folder)
    assert survey.config is not None, survey.errors
    return survey.config


@asynccontextmanager
async def running(text: str, folder: Path) -> AsyncIterator[Service]:
    """A service that has started; its file can be changed for a reload."""
    (folder / "headrace.toml").write_text(HEAD + text)
    service = Service(config(text, folder))
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


async def reload(service: Service, text: str) -> None:
    Path(service.config.file).write_text(HEAD + text)
    await service.reload()


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until it is so."""
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110 - a state, not an event
            await asyncio.sleep(0.001)
