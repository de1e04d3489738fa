"""What arrives of every type at every far side is what ``table.py`` says, and the page says the same."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from core.message import Type
from tests.types import databases, page, texts
from tests.types.sending import REJECTED
from tests.types.table import CASES, GROUPS, NOTES

_REFERENCE = re.compile(r"\[\^([\w-]+)\]")


class FarSide(NamedTuple):
    """``column`` is that of the table, ``server`` the fixture of the server that it needs."""

    column: str
    observe: Callable[[Any, Path], Awaitable[dict[str, str]]]
    server: str | None = None


FAR_SIDES = {
    "sqlite": FarSide("sqlite", databases.sqlite),
    "postgresql": FarSide("postgresql", databases.postgresql, "postgresql"),
    "mariadb": FarSide("mariadb", databases.mariadb, "mariadb"),
    "influxdb-field": FarSide("influxdb_field", databases.influxdb_field, "influxdb"),
    "influxdb-tag": FarSide("influxdb_tag", databases.influxdb_tag, "influxdb"),
    "parquet": FarSide("parquet", databases.parquet),
    "kafka": FarSide("json", texts.kafka, "kafka"),
    "mqtt": FarSide("json", texts.mqtt, "mosquitto"),
    "http": FarSide("json", texts.http),
    "ndjson": FarSide("json", texts.ndjson),
    "console": FarSide("json", texts.console),
    "template": FarSide("template", texts.template, "mosquitto"),
    "csv": FarSide("csv", texts.csv_file),
}


def same(expected: str, found: str) -> bool:
    """A rejection is expected by a part of its reason."""
    if expected.startswith(REJECTED):
        return found.startswith(REJECTED) and expected.removeprefix(REJECTED) in found
    return found == expected


@pytest.mark.integration
@pytest.mark.parametrize("name", FAR_SIDES)
async def test_what_arrives(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    column, observe, server = FAR_SIDES[name]
    found = await observe(request.getfixturevalue(server) if server else None, tmp_path)
    expected = {case: _REFERENCE.sub("", CASES[case].cells[column]) for case in CASES}
    surprises = {case: (expected[case], found[case]) for case in CASES if not same(expected[case], found[case])}
    assert not surprises, "expected, found"


def test_the_table_is_whole() -> None:
    assert {case.kind for case in CASES.values()} == set(Type)
    columns = {column for group in GROUPS for column in group.columns}
    assert columns == {far_side.column for far_side in FAR_SIDES.values()}
    assert all(set(case.cells) == columns for case in CASES.values())
    referred = {note for case in CASES.values() for cell in case.cells.values() for note in _REFERENCE.findall(cell)}
    assert referred == set(NOTES)


def test_the_page_is_fresh() -> None:
    assert page.PATH.read_text(encoding="utf-8") == page.types_page(), f"stale: {page.COMMAND}"
