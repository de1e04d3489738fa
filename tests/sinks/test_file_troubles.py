"""What others do to files under the sink's hands, names that cannot be, many partitions, two sinks in one folder."""

from __future__ import annotations

import asyncio
import errno
import gzip
import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.clock import SECOND, ManualClock
from core.errors import Rejected, Unavailable
from core.message import Schema, Type
from sinks.file import sink as sinks_file
from tests.sinks.file_sinks import START, batch, finished, make, names_in, opened

OTHER = Schema(("id", "colour"), (Type.BIGINT, Type.TEXT))


def ids(path: Path) -> list[int]:
    return [msgspec.json.decode(line)["id"] for line in path.read_bytes().splitlines()]


# -- others ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["move", "remove", "replace"])
async def test_a_file_that_was_taken_away_is_begun_anew(tmp_path: Path, how: str) -> None:
    """As logrotate does it: what comes afterwards must not go into a file that nobody sees."""
    path = tmp_path / "rows.ndjson"
    async with opened(make(tmp_path, path="rows.ndjson")) as sink:
        await sink.write(batch([(1, "x", 1.0)]))
        if how == "remove":
            path.unlink()
        else:
            path.rename(tmp_path / "rows.1")
        if how == "replace":
            path.write_text('{"id":7}\n')
        await sink.write(batch([(2, "x", 1.0)]))
    assert ids(path) == ([7, 2] if how == "replace" else [2])
    assert how == "remove" or ids(tmp_path / "rows.1") == [1]


async def test_a_file_that_was_emptied_is_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.csv"
    async with opened(make(tmp_path, path="rows.csv")) as sink:
        await sink.write(batch([(1, "x", 1.0)]))
        os.truncate(path, 0)
        await sink.write(batch([(2, "x", 1.0)]))
        os.truncate(path, 0)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
            with pytest.raises(Unavailable, match="Input/output error"):
                await sink.write(batch([(3, "x", 1.0)]))
        assert path.read_text() == "id,station,kw\n", "cut back to what it was, and not filled up to that"
    assert path.read_text() == "id,station,kw\n"


async def test_an_unfinished_file_that_was_removed_is_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(make(tmp_path, path="rows.ndjson", rotate={}, max_open_files=1)) as sink:
        for gone in (True, False):
            await sink.write(batch([(1, "x", 1.0)]))
            [part] = [path for path in tmp_path.iterdir() if path.name.startswith(".")]
            if gone:
                part.unlink()
        await sink.write(batch([(2, "x", 1.0)]))
    assert "others have moved, removed or changed" in caplog.text
    assert [ids(tmp_path / name) for name in names_in(tmp_path)] == [[1, 2]]


async def test_an_unfinished_file_that_was_removed_is_forgotten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock(START)
    async with opened(make(tmp_path, clock=clock, path="{station}/rows.ndjson", rotate={"max_age": "1h"})) as sink:
        await sink.write(batch([(1, "gone", 1.0), (2, "stays", 1.0)]))
        shutil.rmtree(tmp_path / "gone")
        clock.advance(3_600 * SECOND)
        await sink.write(batch([(3, "other", 1.0)]))
        await finished(sink)
        sink._rotate()
        await sink._rotating
        assert list(sink._files) == ["other/rows"]
    assert caplog.text.count("gone/.rows-20260101T000000Z-0001.ndjson.part") == 1
    assert "others have moved, removed or changed" in caplog.text
    assert sorted(tmp_path.iterdir()) == [tmp_path / "other", tmp_path / "stays"]


async def test_a_finished_file_replaces_none(tmp_path: Path) -> None:
    taken = tmp_path / "rows-20260101T000000Z-0001.ndjson"
    async with opened(make(tmp_path, path="rows.ndjson", rotate={})) as sink:
        await sink.write(batch([(1, "x", 1.0)]))
        taken.write_text("of somebody else")
    assert taken.read_text() == "of somebody else"
    assert ids(tmp_path / "rows-20260101T000000Z-0002.ndjson") == [1]


async def test_two_sinks_with_one_path_take_turns_with_names(tmp_path: Path) -> None:
    first, second = (make(tmp_path, path="rows.ndjson", rotate={"max_rows": 1}) for _ in range(2))
    async with opened(first), opened(second):
        await first.write(batch([(0, "x", 1.0)]))
        for number in range(1, 9, 2):
            await asyncio.gather(
                *[sink.write(batch([(number + index, "x", 1.0)])) for index, sink in enumerate((first, second))]
            )
    names = names_in(tmp_path)
    assert len(names) == 9
    assert sorted(number for name in names for number in ids(tmp_path / name)) == list(range(9))


# -- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [{}, {"rotate": {}}])
async def test_the_longest_name_that_is_taken_has_room_for_what_is_added(tmp_path: Path, table: dict[str, Any]) -> None:
    async with opened(make(tmp_path, path="{station}.ndjson.gz", **table)) as sink:
        await sink.write(batch([(1, "x" * 200, 1.0)]))
    [name] = names_in(tmp_path)
    assert msgspec.json.decode(gzip.decompress((tmp_path / name).read_bytes()))["id"] == 1


async def test_a_path_that_the_system_does_not_take_is_rejected_alone(tmp_path: Path) -> None:
    deep = "/".join(["{station}"] * 25)
    async with opened(make(tmp_path, path=f"{deep}/rows.ndjson")) as sink:
        for _ in range(2):
            with pytest.raises(Rejected) as caught:
                await sink.write(batch([(1, "x" * 190, 1.0), (2, "x", 1.0)]))
            assert caught.value.rows == ((0, "the file system takes no such path: File name too long"),)
    assert [ids(path) for path in tmp_path.rglob("*.ndjson")] == [[2, 2]]


@pytest.mark.parametrize("path", ["rows.csv", "rows.ndjson"])
async def test_half_a_surrogate_is_rejected_alone(tmp_path: Path, path: str) -> None:
    async with opened(make(tmp_path, path=path)) as sink:
        with pytest.raises(Rejected, match="1 rows cannot be written") as caught:
            await sink.write(batch([(1, "x", 1.0), (2, "\ud800", 1.0), (3, "x", 1.0)]))
    assert [index for index, _ in caught.value.rows] == [1]
    (tmp_path / path).read_bytes().decode()


# -- columns --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["rows.csv", "rows.csv.gz", "rows.csv.zst"])
async def test_a_growing_file_keeps_its_columns_after_a_restart(tmp_path: Path, path: str) -> None:
    if path.endswith("zst"):
        pytest.importorskip("zstandard")
    async with opened(make(tmp_path, path=path)) as sink:
        await sink.write(batch([(1, "x", 1.0)]))
    async with opened(make(tmp_path, path=path)) as sink:
        with pytest.raises(Rejected, match="1 rows cannot be written") as caught:
            await sink.write(batch([(2, "red")], OTHER))
    assert caught.value.rows == ((0, "the file has no column 'colour'; it has id, station, kw"),)


# -- many files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [{"rotate": {}}, {}])
async def test_more_partitions_in_one_write_than_may_be_unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: dict[str, Any]
) -> None:
    monkeypatch.setattr(sinks_file, "_MAX_FILES", 5)
    async with opened(make(tmp_path, path="{id}.ndjson", max_open_files=3, **table)) as sink:
        for _ in range(2):
            await sink.write(batch([(number, "x", 1.0) for number in range(20)]))
        await finished(sink)
        assert len(sink._files) == 5
        assert len(sink._open) <= 3
    names = names_in(tmp_path)
    assert not any(name.startswith(".") for name in names)
    found = sorted(number for name in names for number in ids(tmp_path / name))
    assert found == sorted([*range(20), *range(20)])


async def test_a_process_with_fewer_files_than_max_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = make(tmp_path, path="{id}.ndjson")
    open_ = os.open

    def few(path: Any, flags: int, mode: int = 0o777) -> int:
        if len(sink._open) >= 5:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)
        return open_(path, flags, mode)

    monkeypatch.setattr(os, "open", few)
    async with opened(sink):
        for _ in range(2):
            await sink.write(batch([(number, "x", 1.0) for number in range(20)]))
    assert [len(ids(tmp_path / f"{number}.ndjson")) for number in range(20)] == [2] * 20


async def test_what_is_finished_is_no_part_of_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that took too long because of it would be repeated, though its rows are in a finished file."""
    go_on = threading.Event()
    rename = Path.rename

    def slow(path: Path, target: Path) -> Path:
        go_on.wait(30)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", slow)
    async with opened(make(tmp_path, path="rows.ndjson", rotate={"max_rows": 1})) as sink:
        await sink.write(batch([(1, "x", 1.0)]))
        assert names_in(tmp_path) == [".rows-20260101T000000Z-0001.ndjson.part"]
        go_on.set()


async def test_a_file_that_cannot_be_finished_leaves_no_half_one_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("pyarrow")
    from sinks.file import parquet

    clock, tried = ManualClock(START), 0
    convert = parquet.convert

    def full(stream: Path, target: Path, compression: Any) -> None:
        nonlocal tried
        tried += 1
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parquet, "convert", full)
    async with opened(make(tmp_path, clock=clock, path="rows.parquet", rotate={"max_rows": 1})) as sink:
        await sink.write(batch([(1, "x", 1.0)]))
        await finished(sink)
        assert names_in(tmp_path) == [".rows-20260101T000000Z-0001.parquet.part"]
        await sink.write(batch([(2, "x", 1.0)]))
        await finished(sink)
        assert tried == 1
        clock.advance(30 * SECOND)
        monkeypatch.setattr(parquet, "convert", convert)
        await sink.write(batch([(3, "x", 1.0)]))
        await finished(sink)
        assert names_in(tmp_path) == ["rows-20260101T000000Z-0001.parquet"]
    assert caplog.text.count("cannot be finished yet: [Errno 28] No space left on device") == 1
    from pyarrow import parquet as reader

    assert reader.read_table(tmp_path / names_in(tmp_path)[0]).column("id").to_pylist() == [1, 2, 3]


@pytest.mark.skipif(sys.platform != "linux", reason="the names of open files are in /proc")
@pytest.mark.parametrize("fsync", ["write", "close", "never"])
async def test_folders_are_synced_with_what_is_made_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: str
) -> None:
    """A file is found after a loss of power only where its name, and those of its folders, are on the disk too."""
    synced: list[str] = []
    fsync_of = os.fsync

    def note(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync_of(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    async with opened(make(tmp_path, path="a/{station}/rows.ndjson", fsync=fsync)) as sink:
        await sink.write(batch([(1, "x", 1.0)]))
        folders = {str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a/x")}
        assert set(synced) == ({*folders, str(tmp_path / "a/x/rows.ndjson")} if fsync == "write" else set())
        synced.clear()
        await sink.write(batch([(2, "x", 1.0)]))
        assert synced == ([str(tmp_path / "a/x/rows.ndjson")] if fsync == "write" else [])
