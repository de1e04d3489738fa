"""Lookup tables in the whole service: a database that comes late, a file that changes, a stop while rows wait."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.headrace.live import Client, Folder, Headrace, wait_until

Start = Callable[..., Headrace]
Connect = Callable[..., Client]

pytestmark = pytest.mark.integration

RULES = """
CREATE SOURCE readings (station TEXT, power DOUBLE NOT NULL) WITH (topic = 'cp/{station}/meter');
CREATE TABLE stations (id TEXT, site TEXT)
WITH (type = 'lookup', connection = 'warehouse', table = 'stations', key = 'id', timeout = '60 seconds');
CREATE TABLE sites (site TEXT, cents BIGINT) WITH (type = 'lookup', file = 'sites.csv', key = 'site');
INSERT INTO meter
SELECT r.station AS station, r.power AS power, s.site AS site, t.cents AS cents
FROM readings AS r JOIN stations AS s ON s.id = r.station LEFT JOIN sites AS t ON t.site = s.site
"""
CONNECTION = '\n[connections.warehouse]\ntype = "sql"\nurl = "sqlite:///warehouse.db"\n'
COLUMNS = "station, power, site, cents"


@pytest.fixture
def lookups(folder: Folder) -> Folder:
    folder.rule(RULES)
    folder.config.write_text(folder.config.read_text() + CONNECTION)
    (folder.path / "sites.csv").write_text("site,cents\nnorth,35\n")
    return folder


def fill(folder: Folder, *rows: tuple[str, str]) -> None:
    with closing(sqlite3.connect(folder.path / "warehouse.db", isolation_level=None)) as database:
        database.execute("CREATE TABLE stations (id TEXT, site TEXT)")
        database.executemany("INSERT INTO stations VALUES (?, ?)", rows)


def publish(client: Client, station: str, power: float = 1.0) -> None:
    client.publish(f"cp/{station}/meter", json.dumps({"power": power}))


def connected(service: Headrace, client: Connect) -> Client:
    one = client(service.ports["mqtt"])
    one.connect()
    return one


def test_rows_wait_for_a_database_that_comes_late(lookups: Folder, headrace: Start, client: Connect) -> None:
    service = headrace().ready()
    one = connected(service, client)
    publish(one, "a")
    service.wait_for("lookup table stations does not answer: .* table stations does not exist")
    publish(one, "b", 2)
    publish(one, "unknown")
    fill(lookups, ("a", "north"), ("b", "south"))
    service.wait_for("lookup table stations answers again")
    wait_until(lambda: lookups.rows(COLUMNS) == [("a", 1.0, "north", 35), ("b", 2.0, "south", None)])
    assert service.stop() == 0


def test_a_file_that_changes(lookups: Folder, headrace: Start, client: Connect) -> None:
    fill(lookups, ("a", "north"))
    service = headrace().ready()
    one = connected(service, client)
    (lookups.path / "sites.csv").write_text("site,cents\nnorth,x\n")
    service.wait_for("lookup table sites keeps its rows: .*sites.csv:2: column 'cents'")
    publish(one, "a")
    (lookups.path / "sites.csv").write_text("site,cents\nnorth,50\n")
    service.wait_for("lookup table sites: read again, 1 rows")
    publish(one, "a")
    wait_until(lambda: [row[3] for row in lookups.rows(COLUMNS)] == [35, 50])
    assert service.stop() == 0


def test_rows_that_wait_go_on_after_a_restart(lookups: Folder, headrace: Start, client: Connect) -> None:
    service = headrace().ready()
    publish(connected(service, client), "a")
    service.wait_for("lookup table stations does not answer")
    assert service.stop() == 0
    fill(lookups, ("a", "north"))
    service = headrace().ready()
    wait_until(lambda: lookups.rows(COLUMNS) == [("a", 1.0, "north", 35)])
    assert service.stop() == 0


def test_a_file_that_is_wrong_at_the_start_is_an_error(lookups: Folder, headrace: Start) -> None:
    (lookups.path / "sites.csv").write_text("site\nnorth\n")
    service = headrace()
    assert service.process.wait(60) == 1
    service.wait_for("lookup table sites: there is no column 'cents'")
