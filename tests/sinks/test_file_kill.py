"""``kill -9`` and a loss of power in the middle of writing: what ``write`` has returned for is there.

A loss of power is played on what the kill leaves: every file is cut back to what was synced of it, and what no synced
folder knows is gone.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.sinks.file_sinks import batch, make, names_in, opened
from tests.sinks.file_victim import PARTITIONS
from tests.sinks.test_file_crashes import all_identities, identities, need

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
ROTATE = {"rotate": {"max_rows": 60}}
CASES: list[dict[str, Any]] = [
    {"path": "{station}/rows.ndjson"},
    {"path": "rows.csv.gz"},
    {"path": "{station}/deep/rows.ndjson", **ROTATE},
    {"path": "rows.csv", **ROTATE},
    {"path": "rows.ndjson.zst", **ROTATE},
    {"path": "{station}/rows.parquet", **ROTATE},
]


class Told(NamedTuple):
    """What the victim said before it died."""

    delivered: list[int]
    sizes: dict[int, int]
    entries: dict[int, set[int]]


def killed(folder: Path, first: int, table: dict[str, Any], writes: int) -> Told:
    """Let a process write into a folder, and kill it some time after so many writes."""
    told = Told([], {}, {})
    command = [sys.executable, "-m", "tests.sinks.file_victim", str(folder), str(first), json.dumps(table)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        for line in victim.stdout:
            if not line.endswith(b"\n"):  # it died in the middle of it
                break
            what, *found = json.loads(line)
            if what == "file":
                told.sizes[found[0]] = found[1]
            elif what == "folder":
                told.entries.setdefault(found[0], set()).update(found[1])
            else:
                told.delivered.extend(found[0])
                if len(told.delivered) == 10 * writes:
                    victim.kill()
    assert len(told.delivered) >= 10 * writes, "it ended by itself"
    return told


def lose_power(folder: Path, told: Told) -> None:
    known = told.entries.get(folder.stat().st_ino, set())
    for path in list(folder.iterdir()):
        inode = path.stat().st_ino
        if path.is_dir():
            lose_power(path, told) if inode in known else shutil.rmtree(path)
        elif inode not in known:
            path.unlink()
        else:
            with path.open("r+b") as file:
                file.truncate(min(told.sizes.get(inode, 0), path.stat().st_size))


def final_files(folder: Path) -> list[Path]:
    return [folder / name for name in names_in(folder) if not Path(name).name.startswith(".")]


async def started_again(folder: Path, table: dict[str, Any]) -> list[int]:
    """The rows that are there after the next start; a growing file is mended when it is written to."""
    async with opened(make(folder, **table)) as sink:
        await sink.write(batch([(-1 - number, f"cp{number}", 0.0) for number in range(PARTITIONS)]))
    assert not any(Path(name).name.startswith(".") for name in names_in(folder)), "nothing unfinished is left"
    found = all_identities(folder)
    assert found[:PARTITIONS] == list(range(-PARTITIONS, 0))
    return found[PARTITIONS:]


def check(found: list[int], delivered: list[int], kills: int = 1) -> None:
    assert len(set(found)) == len(found), "a row is there twice"
    assert set(delivered) <= set(found), f"{len(set(delivered) - set(found))} delivered rows are lost"
    assert len(found) - len(delivered) <= 10 * kills, "more than one write was under way"


@pytest.mark.parametrize("table", CASES, ids=lambda table: f"{table['path']}-{len(table)}")
async def test_what_was_delivered_survives_a_kill(tmp_path: Path, table: dict[str, Any]) -> None:
    need(table["path"])
    delivered: list[int] = []
    for first, writes in ((0, 25), (1_000_000, 26)):
        told = await asyncio.to_thread(killed, tmp_path, first, {**table, "fsync": "never"}, writes)
        delivered += told.delivered
        if "rotate" in table:
            for path in final_files(tmp_path):
                assert identities(path), f"{path.name} is no whole file"
    check(await started_again(tmp_path, table), delivered, kills=2)


@pytest.mark.parametrize("table", CASES, ids=lambda table: f"{table['path']}-{len(table)}")
async def test_what_was_delivered_survives_a_loss_of_power(tmp_path: Path, table: dict[str, Any]) -> None:
    need(table["path"])
    told = await asyncio.to_thread(killed, tmp_path, 0, {**table, "fsync": "write"}, 25)
    lose_power(tmp_path, told)
    if "rotate" in table:
        for path in final_files(tmp_path):
            assert identities(path), f"{path.name} is no whole file"
    check(await started_again(tmp_path, table), told.delivered)


@pytest.mark.parametrize("table", CASES[2:], ids=lambda table: f"{table['path']}-{len(table)}")
async def test_finished_files_survive_a_loss_of_power(tmp_path: Path, table: dict[str, Any]) -> None:
    need(table["path"])
    told = await asyncio.to_thread(killed, tmp_path, 0, {**table, "fsync": "close"}, 25)
    finished = {path.relative_to(tmp_path): identities(path) for path in final_files(tmp_path)}
    assert finished, "no file was finished"
    lose_power(tmp_path, told)
    for path, rows in finished.items():
        # The last one may have been renamed and not yet told.
        if (tmp_path / path).exists():
            assert identities(tmp_path / path) == rows
    await started_again(tmp_path, table)
