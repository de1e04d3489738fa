"""Lookup tables from files, and what becomes of the values of files and drivers."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError
from core.message import Schema, Type
from headrace import lookup_files
from headrace.lookup_rows import RowError, RowMaker, TableSource
from rules.joins import LookupOptions

SCHEMA = Schema(("id", "name", "power"), (Type.BIGINT, Type.TEXT, Type.DOUBLE))


def source(file: str, schema: Schema | None = SCHEMA, **options: Any) -> TableSource:
    return TableSource("stations", LookupOptions(key=options.pop("key", ("id",)), file=file, **options), schema)


def read(folder: Path, name: str, content: str | bytes, schema: Schema | None = SCHEMA, **options: Any) -> Any:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return lookup_files.read(path, source(name, schema, **options)).rows


def test_csv(tmp_path: Path) -> None:
    text = '\ufeffid,name,power,more\r\n1,"a ""x""\nb",11,z\r\n\r\n2,,22.5,\r\n1,c,,\r\n'
    rows = read(tmp_path, "s.csv", text)
    assert rows == {1: ((1, 'a "x"\nb', 11.0), (1, "c", None)), 2: ((2, None, 22.5),)}
    assert type(rows[1][0][2]) is float


def test_json(tmp_path: Path) -> None:
    text = '[{"id": 1, "name": "a", "power": 11, "more": []}, {"id": null, "name": 2, "power": "2.5"}]'
    assert read(tmp_path, "s.json", text) == {1: ((1, "a", 11.0),)}


def test_without_declared_columns_a_row_is_one_object(tmp_path: Path) -> None:
    assert read(tmp_path, "s.csv", "id,name\n1,\n", None) == {"1": (({"id": "1", "name": None},),)}
    assert read(tmp_path, "s.json", '[{"id": 1, "x": {"y": [1]}}]', None) == {1: (({"id": 1, "x": {"y": [1]}},),)}


def test_a_key_of_several_columns(tmp_path: Path) -> None:
    rows = read(tmp_path, "s.csv", "id,name,power\n1,a,2\n1,,2\n", key=("name", "id"))
    assert rows == {("a", 1): ((1, "a", 2.0),)}


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("s.csv", "", "s.csv: has no header"),
        ("s.csv", "id,name,power\nx,a,1\n", "s.csv:2: column 'id': a string .'x'. is no BIGINT"),
        ("s.csv", 'id,name,power\n1,"a\nb",1\n2,c\n', "s.csv:4: has 2 fields, the header has 3"),
        ("s.csv", "id,name\n1,a\n", "s.csv:2: there is no column 'power'"),
        ("s.csv", "id,id\n", "s.csv:1: the column 'id' is there twice"),
        ("s.csv", 'id,name,power\n"1"x,a,1\n', "s.csv:2: not CSV"),
        ("s.csv", b"id\n\xff", "s.csv: is not UTF-8 at byte 3"),
        ("s.json", "{", "s.json: not JSON"),
        ("s.json", b'["\xff"]', "s.json: not JSON"),
        ("s.json", "{}", "not a JSON array of objects"),
        ("s.json", "[[]]", r"not a JSON array of objects \(row 1\)"),
        ("s.json", '[{"id": 1, "name": "a", "power": []}]', r"column 'power': .* \(row 1\)"),
        ("s.txt", "", "ends in .csv or .json"),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, name: str, content: str | bytes, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read(tmp_path, name, content)


def test_files_that_are_too_large_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        lookup_files.read(tmp_path / "none.csv", source("none.csv"))
    text = "id,name,power\n1,a,1\n2,b,2\n"
    with pytest.raises(ConfigError, match="more rows than max_entries = 1"):
        read(tmp_path, "s.csv", text, max_entries=1)
    monkeypatch.setattr(lookup_files, "MAX_BYTES", 10)
    with pytest.raises(ConfigError, match="is larger than"):
        read(tmp_path, "s.csv", text)


NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
MICROSECONDS = 1_767_355_200_000_000


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (Type.TIMESTAMP, NOON, MICROSECONDS),
        (Type.TIMESTAMP, NOON.replace(tzinfo=None), MICROSECONDS),
        (Type.TIMESTAMP, NOON.astimezone(timezone(timedelta(hours=8))), MICROSECONDS),
        (Type.TIMESTAMP, date(2026, 1, 2), MICROSECONDS - 12 * 3_600_000_000),
        (Type.TIMESTAMP, "2026-01-02T12:00:00Z", MICROSECONDS),
        (Type.TIMESTAMP, MICROSECONDS // 1_000, MICROSECONDS),
        (Type.TIMESTAMP, None, None),
        (Type.TEXT, NOON, "2026-01-02T12:00:00Z"),
        (Type.ANY, NOON, "2026-01-02T12:00:00Z"),
        (Type.ANY, date(2026, 1, 2), "2026-01-02"),
        (Type.ANY, time(1, 2), "01:02:00"),
        (Type.ANY, uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Type.ANY, memoryview(b"x"), b"x"),
        (Type.ANY, float("inf"), None),
        (Type.ANY, {"a": (1, NOON)}, {"a": [1, "2026-01-02T12:00:00Z"]}),
        (Type.ANY, Decimal("1.5"), Decimal("1.5")),
        (Type.DOUBLE, Decimal("1.5"), 1.5),
        (Type.DECIMAL, 2, Decimal(2)),
        (Type.BIGINT, "12", 12),
        (Type.BOOLEAN, "true", True),
        (Type.BOOLEAN, 1, True),
        (Type.OBJECT, '{"a": 1}', {"a": 1}),
    ],
)
def test_values(kind: Type, given: Any, expected: Any) -> None:
    maker = RowMaker(source("s.csv", Schema(("id", "x"), (Type.TEXT, kind))))
    key, row = maker.row({"id": "k", "x": given})
    assert (key, row) == ("k", ("k", expected))
    assert type(row[1]) is type(expected)


def test_rows_that_are_none() -> None:
    maker = RowMaker(source("s.csv"))
    with pytest.raises(RowError, match=r"column 'power': a string .'x'. is no DOUBLE"):
        maker.row({"id": 1, "name": "a", "power": "x"})
    with pytest.raises(RowError, match="there is no key column 'id'"):
        RowMaker(source("s.csv", None)).row({"name": 1})
    # The key need not be among the columns.
    assert RowMaker(source("s.csv", Schema(("x",), (Type.ANY,)))).row({"id": 1, "x": 2}) == (1, (2,))
