"""What a crash leaves of files, and what becomes of it: nothing that was delivered is lost, nothing is there twice."""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Unavailable
from core.message import Row, Schema, Type
from sinks.file.encode import Csv
from sinks.file.units import compressor, content, header_names, whole
from tests.sinks.file_sinks import batch, crash, make, names_in, opened

PARTS = ["meter.ndjson", "meter.ndjson.gz", "meter.csv", "meter.csv.gz", "meter.csv.zst", "meter.parquet"]


def need(path: str) -> None:
    """Skip where a library that a path needs is not installed."""
    if path.endswith("parquet"):
        pytest.importorskip("pyarrow")
    if path.endswith("zst"):
        pytest.importorskip("zstandard")


def identities(path: Path) -> list[int]:
    """The ids in a file, which has to be whole."""
    data, name = path.read_bytes(), path.name
    if name.endswith(".parquet"):
        from pyarrow import parquet

        found: list[int] = parquet.read_table(io.BytesIO(data)).column("id").to_pylist()
        return found
    if name.endswith(".gz"):
        data, name = gzip.decompress(data), name.removesuffix(".gz")
    elif name.endswith(".zst"):
        import zstandard

        data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()
        name = name.removesuffix(".zst")
    assert not data or data.endswith(b"\n"), f"{path} ends in the middle of a line"
    if name.endswith(".csv"):
        return [int(row["id"]) for row in csv.DictReader(io.StringIO(data.decode(), newline=""))]
    return [msgspec.json.decode(line)["id"] for line in data.splitlines()]


def all_identities(folder: Path) -> list[int]:
    return sorted(number for name in names_in(folder) for number in identities(folder / name))


async def leave(folder: Path, path: str, rows: Sequence[Row] = ((0, "x", 1.0), (1, "x", 1.0)), **table: Any) -> None:
    """Write rows, one after the other, and crash."""
    sink = make(folder, path=path, **table)
    await sink.open()
    for row in rows:
        await sink.write(batch([row]))
    crash(sink)


# -- growing files --------------------------------------------------------------------------------------------------


async def test_what_a_crash_has_torn_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "rows.ndjson").write_bytes(b'{"id":1}\n{"id":2,"sta')
    async with opened(make(tmp_path, path="rows.ndjson")) as sink:
        await sink.write(batch([(3, "x", 1.0)]))
    assert (tmp_path / "rows.ndjson").read_bytes() == b'{"id":1}\n{"id":3,"station":"x","kw":1.0}\n'


@pytest.mark.parametrize(
    ("path", "there", "reason"),
    [
        ("rows.ndjson", gzip.compress(b'{"id":1}\n', mtime=0), "holds gzip and not plain text"),
        ("rows.ndjson.gz", b'{"id":1}\n', "holds plain text and not gzip"),
        ("rows.csv.gz", b"\x28\xb5\x2f\xfd0000", "holds zstd and not gzip"),
        ("rows.ndjson", b"id,station,kw\n1,x,1.0\n", "holds no NDJSON"),
        ("rows.ndjson", b"\xff\xff\xff\xff\x00\x00", "holds an Arrow stream and not plain text"),
    ],
)
async def test_a_file_of_another_kind_is_left_alone(tmp_path: Path, path: str, there: bytes, reason: str) -> None:
    """As after a change of ``compression`` or ``format``: it must neither be mixed nor taken for torn."""
    (tmp_path / path).write_bytes(there)
    async with opened(make(tmp_path, path=path)) as sink:
        with pytest.raises(Unavailable, match=f"{path} {reason}: move it away, or give the sink another path"):
            await sink.write(batch([(1, "x", 1.0)]))
    assert (tmp_path / path).read_bytes() == there


@pytest.mark.parametrize("torn", [b"id,sta", b'id,"sta\n', b""])
async def test_a_torn_first_line_names_no_columns(tmp_path: Path, torn: bytes) -> None:
    (tmp_path / "rows.csv").write_bytes(torn)
    async with opened(make(tmp_path, path="rows.csv")) as sink:
        await sink.write(batch([(1, "x", 1.0)]))
    assert (tmp_path / "rows.csv").read_bytes() == b"id,station,kw\n1,x,1.0\n"


# -- rotated files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PARTS)
async def test_what_is_left_is_finished_at_the_next_start(tmp_path: Path, path: str) -> None:
    """With two whole writes and half of a third on the disk."""
    need(path)
    await leave(tmp_path, path, rotate={})
    [name] = names_in(tmp_path)
    part = tmp_path / name
    data = part.read_bytes()
    lines = path.endswith(("ndjson", "csv"))
    with part.open("ab") as file:
        file.write(data.rstrip().rpartition(b"\n")[2][:-2] if lines else data[-20:-3])
    async with opened(make(tmp_path, path=path, rotate={})):
        [name] = names_in(tmp_path)
        assert not name.startswith(".")
    assert identities(tmp_path / name) == [0, 1]


@pytest.mark.parametrize("before", PARTS)
@pytest.mark.parametrize(
    ("after", "table"),
    [("meter.ndjson", {}), ("meter.csv.gz", {"rotate": {}}), ("meter.parquet", {}), ("a/b.csv", {"rotate": {}})],
)
async def test_other_settings_than_before_the_crash_lose_nothing(
    tmp_path: Path, before: str, after: str, table: dict[str, Any]
) -> None:
    need(before)
    need(after)
    await leave(tmp_path, before, rotate={})
    if "/" in after:  # another folder: nobody looks here
        async with opened(make(tmp_path, path=after, **table)):
            assert [name.endswith(".part") for name in names_in(tmp_path)] == [True]
        return
    async with opened(make(tmp_path, path=after, **table)):
        assert all_identities(tmp_path) == [0, 1]


async def test_what_is_left_in_partitions_is_found(tmp_path: Path) -> None:
    await leave(tmp_path, "{station}/{id}/rows.csv", rotate={})
    async with opened(make(tmp_path, path="{station}/{id}/rows.csv", rotate={})):
        assert all_identities(tmp_path) == [0, 1]


async def test_files_of_others_are_no_leftovers(tmp_path: Path) -> None:
    others = [".download.part", ".a-20260101T000000Z-0001.ndjson", "b-20260101T000000Z-0001.ndjson.part", ".c.done"]
    for name in others:
        (tmp_path / name).write_bytes(b"no line")
    async with opened(make(tmp_path, path="meter.ndjson", rotate={})):
        pass
    assert names_in(tmp_path) == sorted(others)


async def test_what_cannot_be_finished_stays_and_new_rows_are_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("pyarrow")
    from sinks.file import parquet

    await leave(tmp_path, "meter.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "convert", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        async with opened(make(tmp_path, path="rows.ndjson")) as sink:
            await sink.write(batch([(2, "x", 1.0)]))
        assert "which an earlier run has left, cannot be finished: [Errno 28] No space left on device" in caplog.text
        assert names_in(tmp_path) == [".meter-20260101T000000Z-0001.parquet.part", "rows.ndjson"]
    async with opened(make(tmp_path, path="rows.ndjson")):
        assert all_identities(tmp_path) == [0, 1, 2]


async def test_what_somebody_writes_is_no_leftover(tmp_path: Path) -> None:
    async with opened(make(tmp_path, path="meter.ndjson", rotate={})) as first:
        await first.write(batch([(0, "x", 1.0)]))
        async with opened(make(tmp_path, path="meter.ndjson", rotate={})):
            assert names_in(tmp_path) == [".meter-20260101T000000Z-0001.ndjson.part"]
        await first.write(batch([(1, "x", 1.0)]))
    assert all_identities(tmp_path) == [0, 1]


@pytest.mark.parametrize("path", ["meter.ndjson.gz", "meter.parquet"])
@pytest.mark.parametrize("step", range(8))
async def test_a_crash_while_a_file_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, step: int
) -> None:
    """Whatever step of it is the last, the rows are in one file under a final name after the next start."""
    need(path)
    sink = make(tmp_path, path=path, rotate={})
    await sink.open()
    await sink.write(batch([(0, "x", 1.0), (1, "x", 1.0)]))
    left = step

    def until(name: str, call: Any) -> Any:
        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            if left == 0:
                raise OSError(f"killed before {name}")
            left -= 1
            return call(*arguments, **options)

        return counted

    with monkeypatch.context() as patch:
        for name in ("rename", "unlink"):
            patch.setattr(Path, name, until(name, getattr(Path, name)))
        patch.setattr(os, "fsync", until("fsync", os.fsync))
        if path.endswith("parquet"):
            from sinks.file import parquet

            patch.setattr(parquet, "convert", until("convert", parquet.convert))
        assert sink._worker is not None
        await sink._worker.run(sink._finish_all)
    crash(sink)
    for name in names_in(tmp_path):
        if not name.startswith("."):
            assert identities(tmp_path / name) == [0, 1]
    async with opened(make(tmp_path, path=path, rotate={})):
        [name] = names_in(tmp_path)
    assert not name.startswith(".")
    assert identities(tmp_path / name) == [0, 1]


# -- units ----------------------------------------------------------------------------------------------------------

TEXTS = st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=20), min_size=2, max_size=2)


@given(st.lists(TEXTS, max_size=6), st.integers(0, 400), st.sampled_from(["none", "gzip", "zstd"]))
def test_a_torn_file_is_cut_back_to_whole_units(rows: list[list[str]], cut: int, compression: Any) -> None:
    need("zst" if compression == "zstd" else "")
    schema = Schema(("a", "b"), (Type.TEXT, Type.TEXT))
    form = Csv(schema.names, ",", header=False)
    compress = compressor(compression)
    units = [compress(form.encode(schema, [tuple(row)])[0]) for row in rows]
    torn = b"".join(units)[:cut]
    if not torn:
        return
    ends = [0]
    for unit in units:
        ends.append(ends[-1] + len(unit))
    assert whole(io.BytesIO(torn), compression, quotes=True) == max(end for end in ends if end <= len(torn))


@given(TEXTS, st.integers(0, 40), st.sampled_from(["none", "gzip", "zstd"]))
def test_the_first_line_is_read_from_any_file(names: list[str], cut: int, compression: Any) -> None:
    need("zst" if compression == "zstd" else "")
    compress = compressor(compression)
    form = Csv(names, ";", header=True)
    line = compress(form.header)
    assert header_names(io.BytesIO(line + compress(b"x;y\n")), ";") == names
    assert header_names(io.BytesIO(line[:cut]), ";") in ([], names)
    if len(line) > 4:
        assert content(io.BytesIO(line)) == compression
