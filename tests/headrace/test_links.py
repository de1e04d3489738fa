"""Connections of a service: who shares them, what a reload does to them, and how it is known whether they stand."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError
from core.metrics import Histogram
from headrace import links
from headrace.service import Service
from headrace.status import Component
from tests.headrace.far_sides import World, reload, running, until

DB = '[connections.db]\ntype = "fake"\naddress = "here"\nhealth_check = "5ms"\n'
TWO = '[sinks.a]\nconnection = "db"\n[sinks.b]\nconnection = "db"\nbox = "b"\n'


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first pause of an outage is a millisecond."""
    monkeypatch.setattr(links, "_FIRST_PAUSE", 0.001)


def metric(service: Service, name: str, *labels: str) -> float | None:
    for family in service.metrics.collect():
        if family.name == name:
            for sample in family.samples:
                assert not isinstance(sample.value, Histogram)
                if sample.labels == labels:
                    return sample.value
    return None


def component(service: Service, name: str) -> Component:
    return service.status()[name]


def connected(service: Service, *sinks: str) -> bool:
    return all(component(service, f"sinks.{name}").state == "connected" for name in sinks)


# -- who shares what ----------------------------------------------------------------------------------------------


async def test_sinks_share_the_object_of_a_connection(world: World, tmp_path: Path) -> None:
    async with running(DB + TWO + '[sinks.own]\ntype = "fake"\naddress = "there"\n', tmp_path) as service:
        await until(lambda: connected(service, "a", "b", "own"))
        [shared], [private] = world.of("db"), world.of("sinks.own")
        a, b, own = world.sinks
        assert a.connection is b.connection is shared
        assert own.connection is private
        assert (shared.open_count, private.open_count) == (1, 1)
    assert (shared.close_count, private.close_count) == (1, 1)


async def test_a_sink_that_needs_none_gets_one_where_it_is_configured(world: World, tmp_path: Path) -> None:
    text = DB + '[sinks.bare]\ntype = "either"\n[sinks.own]\ntype = "either"\naddress = "x"\n'
    async with running(text + '[sinks.shared]\ntype = "either"\nconnection = "db"\n', tmp_path) as service:
        specs = service.config.sinks
        assert specs["bare"].connection is None
        assert specs["own"].connection is not None
        assert [connection.context.name for connection in world.made] == ["db", "sinks.own"]


async def test_a_reload_keeps_what_has_not_changed(world: World, tmp_path: Path) -> None:
    async with running(DB + TWO, tmp_path) as service:
        await until(lambda: connected(service, "a", "b"))
        await reload(service, DB + TWO + '[sinks.c]\nconnection = "db"\n')
        await until(lambda: connected(service, "a", "b", "c"))
        [shared] = world.of("db")
        assert len(world.sinks) == 3
        assert world.sinks[2].connection is shared
        assert (shared.open_count, shared.close_count) == (1, 0)


async def test_a_connection_that_has_changed_is_a_new_one_for_all_its_sinks(world: World, tmp_path: Path) -> None:
    keep = '[sinks.keep]\ntype = "fake"\naddress = "there"\n'
    async with running(DB + TWO + keep, tmp_path) as service:
        await until(lambda: connected(service, "a", "b", "keep"))
        await reload(service, DB.replace("here", "elsewhere") + TWO + keep)
        await until(lambda: connected(service, "a", "b"))
        old, new = world.of("db")
        await until(lambda: not old.in_use)
        assert (old.open_count, old.close_count, new.open_count, new.close_count) == (1, 1, 1, 0)
        assert [sink.context.name for sink in world.sinks] == ["a", "b", "keep", "a", "b"]
        assert len(world.of("sinks.keep")) == 1


async def test_a_connection_that_is_gone_closes(world: World, tmp_path: Path) -> None:
    async with running(DB + TWO, tmp_path) as service:
        await until(lambda: connected(service, "a", "b"))
        await reload(service, '[sinks.a]\ntype = "null"\n')
        [shared] = world.of("db")
        await until(lambda: not shared.in_use)
        assert shared.close_count == 1
        assert metric(service, "headrace_connection_connected", "db", "fake") is None
        assert "connections.db" not in service.status()


async def test_a_failed_reload_leaves_connections_as_they_are(world: World, tmp_path: Path) -> None:
    async with running(DB + TWO, tmp_path) as service:
        await until(lambda: connected(service, "a", "b"))
        with pytest.raises(ConfigError):
            await reload(
                service, DB.replace("here", "elsewhere") + TWO + '[sinks.c]\nconnection = "db"\nbox = "none"\n'
            )
        old, new = world.of("db")
        assert old.in_use
        assert not new.open_count
        assert connected(service, "a", "b")


# -- what they object to ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DB.replace("here", "nowhere") + TWO, "7: connections.db.address: there is no such place (name another)"),
        (DB.replace("here", "defect"), "5: connections.db: fake cannot be set up: KeyError: 'boom'"),
        (
            '[sinks.s]\ntype = "fake"\naddress = "nowhere"\n',
            "7: sinks.s.address: there is no such place (name another)",
        ),
        (DB + '[sinks.s]\nconnection = "db"\nbox = "none"\n', "11: sinks.s.box: there is no such box"),
        (
            DB + '[sinks.s]\nconnection = "db"\nbox = "elsewhere"\n',
            "7: connections.db.address: its boxes are too small",
        ),
        (
            '[sinks.s]\ntype = "fake"\naddress = "here"\nbox = "elsewhere"\n',
            "7: sinks.s.address: its boxes are too small",
        ),
    ],
)
async def test_an_objection_is_told_where_its_setting_stands(
    world: World, tmp_path: Path, text: str, expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        async with running(text, tmp_path):
            pass
    assert str(caught.value) == f"{tmp_path}/headrace.toml:{expected}"


# -- whether they stand -------------------------------------------------------------------------------------------


async def test_a_connection_that_goes_and_comes_back(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "headrace.connections")
    async with running(DB + TWO, tmp_path) as service:
        await until(lambda: component(service, "connections.db").state == "connected")
        assert component(service, "connections.db").detail == "Fake 1.0 at here"
        assert metric(service, "headrace_connection_connected", "db", "fake") == 1
        world.down.add("here")
        await until(lambda: (metric(service, "headrace_connection_checks_failed_total", "db", "fake") or 0) > 3)
        down = component(service, "connections.db")
        assert (down.state, down.last_error) == ("down", "https://me:***@here/ does not answer")
        assert metric(service, "headrace_connection_connected", "db", "fake") == 0
        world.down.clear()
        await until(lambda: component(service, "connections.db").state == "connected")
        back = component(service, "connections.db")
        assert (back.last_error, back.reconnects) == (None, 1)
        assert metric(service, "headrace_connection_reconnects_total", "db", "fake") == 1
        assert back.since is not None
        assert down.since is not None
        assert back.since >= down.since
    lines = [record.getMessage() for record in caplog.records if record.name == "headrace.connections"]
    assert len(lines) == 2, lines
    assert "connection db does not answer: https://" in lines[0]
    assert lines[1].startswith("connection db answers again after ")
    assert lines[1].endswith("s: Fake 1.0 at here")


async def test_what_nothing_uses_is_not_asked(world: World, tmp_path: Path) -> None:
    async with running(DB + TWO + DB.replace("db", "spare"), tmp_path) as service:
        await until(lambda: world.asked.get("db", 0) > 2)
        assert "spare" not in world.asked
        assert component(service, "connections.spare").state == "unused"
        await reload(service, DB + DB.replace("db", "spare") + '[sinks.a]\nconnection = "spare"\n')
        await until(lambda: world.asked.get("spare", 0) > 2)
        assert component(service, "connections.db").state == "unused"
        assert metric(service, "headrace_connection_connected", "db", "fake") is None
        asked = world.asked["db"]
        await until(lambda: world.asked["spare"] > 5)
        assert world.asked["db"] == asked


async def test_checks_can_be_switched_off(world: World, tmp_path: Path) -> None:
    async with running(DB.replace("5ms", "0s") + TWO, tmp_path) as service:
        await until(lambda: connected(service, "a", "b"))
        assert component(service, "connections.db").state == "unchecked"
        assert world.asked == {}


@pytest.mark.parametrize(
    ("address", "reason"), [("asleep", "no answer within 0.02s"), ("broken", "ValueError: what is this")]
)
async def test_a_check_that_hangs_or_breaks_has_failed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, reason: str
) -> None:
    monkeypatch.setattr(links, "CHECK_TIMEOUT", 0.02)
    async with running(DB.replace("here", address) + TWO, tmp_path) as service:
        await until(lambda: component(service, "connections.db").state == "down")
        assert component(service, "connections.db").last_error == reason
        assert connected(service, "a", "b")  # their own writes say otherwise


async def test_only_sinks_that_count_keep_the_service_from_being_ready(world: World, tmp_path: Path) -> None:
    world.down.add("here")
    optional = '[sinks.a]\nconnection = "db"\noptional = true\nretry = { initial = "1ms", max_delay = "1ms" }\n'

    def ready(service: Service) -> dict[str, Any]:
        return {name: one.ready for name, one in service.status().items()}

    async with running(DB + optional, tmp_path) as service:
        await until(lambda: component(service, "connections.db").state == "down")
        await until(lambda: component(service, "sinks.a").last_error == "nobody at here")
        assert ready(service) == {"listeners": True, "sinks.a": True, "connections.db": None}
        await reload(service, DB + optional.replace("optional = true\n", ""))
        await until(lambda: component(service, "sinks.a").last_error == "nobody at here")
        assert ready(service) == {"listeners": True, "sinks.a": False, "connections.db": None}
        assert component(service, "sinks.a").connection == "connections.db"
        world.down.clear()
        await until(lambda: ready(service)["sinks.a"])
