"""Lookup tables in ``headrace test``: their rows stand in the file of the tests, and nobody else is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.cli import main

RULES = """
CREATE SOURCE meter (station TEXT, power DOUBLE) WITH (topic = 'cp/{station}/meter');
CREATE TABLE stations (id TEXT, rating BIGINT, since TIMESTAMP)
WITH (type = 'lookup', connection = 'nowhere', table = 'stations', key = 'id');
CREATE TABLE sites (id TEXT, name TEXT) WITH (type = 'lookup', file = 'nowhere.csv', key = 'id');
INSERT INTO s SELECT m.station AS station, rating, since, t.name AS name
FROM meter AS m JOIN stations AS s ON s.id = m.station LEFT JOIN sites AS t ON t.id = s.id;
"""
TEST = """
[[test]]
name = "it"
given = [{ topic = "cp/a/meter", payload = {} }, { topic = "cp/b/meter", payload = {} }]
[[test.expect]]
sink = "s"
rows = [
  { station = "a", rating = 1, since = "2026-01-02T00:00:00Z", name = "A" },
  { station = "a", rating = 2, since = { is = "null" }, name = "A" },
]
"""
STATIONS = (
    '[tables.stations]\nrows = [{ id = "a", rating = 1, since = 2026-01-02T00:00:00Z }, { id = "a", rating = "2" }]\n'
)
SITES = '[tables.sites]\nrows = [{ id = "a", name = "A" }, { id = "z" }]\n'


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> int:
    monkeypatch.chdir(folder)
    (folder / "a.sql").write_text(RULES)
    (folder / "a.test.toml").write_text(text)
    return main(["test"])


def test_rows_come_from_the_file_of_the_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, monkeypatch, STATIONS + SITES + TEST) == 0, capsys.readouterr().out


def test_a_table_from_a_file_has_the_rows_of_the_file_where_the_tests_give_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nowhere.csv").write_text("id,name\na,A\n")
    assert run(tmp_path, monkeypatch, STATIONS + TEST) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("tables", "complaint"),
    [
        (SITES, "the rules read the lookup table 'stations', and its rows are not given ([tables.stations] with rows"),
        (STATIONS, "lookup table sites: "),
        (
            STATIONS + SITES + "[tables.station]\nrows = []\n",
            "a.test.toml:5: tables.station: none of the rules reads a lookup table 'station' (did you mean 'stations'",
        ),
        (
            STATIONS.replace('"2"', '"x"') + SITES,
            "a.test.toml:2: tables.stations.rows[1]: column 'rating': a string ('x') is no BIGINT",
        ),
        (STATIONS + SITES + "more = 1\n", "tables: Object contains unknown field `more`"),
    ],
)
def test_tables_that_are_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tables: str, complaint: str
) -> None:
    assert run(tmp_path, monkeypatch, tables + TEST) == 1
    assert complaint in capsys.readouterr().out
