"""The file of kv_store_put: what comes back, and what happens when it cannot be used."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError
from core.metrics import Metrics
from headrace.kv_file import KvFile
from rules.functions import Table

VALUES: dict[Any, Any] = {
    "text": "é",
    "binary": b"\xff\x00",
    "number": 2**70,
    "float": 1.5,
    "nothing": None,
    "deep": {"a": [1, {"b": [True, None]}]},
    5: "by number",
    1.0: "by float",
}


def table(entries: int = 100) -> Table:
    return Table("kv_store", entries, 1 << 20, noting=True)


def opened(path: Path, entries: int = 100) -> tuple[KvFile, Table]:
    own = table(entries)
    file = KvFile(path, own, Metrics())
    file.open()
    return file, own


async def test_everything_comes_back(tmp_path: Path) -> None:
    file, own = opened(tmp_path / "kv")
    for key, value in VALUES.items():
        own.put(key, value)
    own.put("gone", 1)
    file.flush_soon()
    own.delete("gone")
    await file.close()
    file, own = opened(tmp_path / "kv")
    assert {key: own.get(key) for key in VALUES} == VALUES
    assert len(own) == len(VALUES)
    assert own.take_changes() == []
    await file.close()


async def test_only_one_write_at_a_time_and_none_without_changes(tmp_path: Path) -> None:
    file, own = opened(tmp_path / "kv")
    file.flush_soon()
    assert file._writing is None
    own.put("a", 1)
    file.flush_soon()
    writing = file._writing
    assert writing is not None
    own.put("b", 1)
    file.flush_soon()
    assert file._writing is writing
    await file.close()
    file, own = opened(tmp_path / "kv")
    assert (own.get("a"), own.get("b")) == (1, 1)
    await file.close()


async def test_what_cannot_be_written_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    own = table()
    file = KvFile(tmp_path / "kv", own, metrics)
    file.open()
    other = sqlite3.connect(tmp_path / "kv", isolation_level=None)
    assert file._connection is not None
    file._connection.execute("PRAGMA busy_timeout = 0")
    try:
        other.execute("BEGIN EXCLUSIVE")
        for value in (1, 2):
            own.put("a", value)
            file.flush_soon()
            assert file._writing is not None
            await file._writing
        assert file._failures.value == 2
        assert caplog.text.count("cannot be written") == 1
        other.execute("ROLLBACK")
    finally:
        other.close()
    await file.close()
    file, own = opened(tmp_path / "kv")
    assert own.get("a") == 2
    await file.close()


async def test_a_file_of_something_else_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kv").write_text("no database" * 1_000)
    with pytest.raises(ConfigError, match="cannot be used: file is not a database") as caught:
        opened(tmp_path / "kv")
    assert caught.value.path == "functions.kv_store.persist"


async def test_unreadable_entries_and_a_smaller_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, own = opened(tmp_path / "kv")
    for number in range(5):
        own.put(str(number), number)
    await file.close()
    with sqlite3.connect(tmp_path / "kv") as other:
        other.execute("INSERT INTO entries VALUES (x'00', x'00')")
    other.close()
    file, own = opened(tmp_path / "kv", entries=3)
    assert len(own) == 3
    assert "1 entries of" in caplog.text
    assert "2 do not fit" in caplog.text
    await file.close()
