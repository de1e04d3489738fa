"""Fixtures: a configuration folder, running services and clients that are ended whatever a test does."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.headrace.far_sides import world
from tests.headrace.live import Client, Folder, Headrace

__all__ = ["world"]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def headrace(folder: Folder) -> Iterator[Callable[..., Headrace]]:
    started: list[Headrace] = []

    def start(*arguments: str, **options: object) -> Headrace:
        process = Headrace(folder, *arguments, **options)  # type: ignore[arg-type]
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def client() -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(port: int, client_id: str = "cp-1", **options: object) -> Client:
        one = Client(port, client_id, **options)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()
