"""The file sink: contract, rotation, partitions, full disks, and what its files hold."""

from __future__ import annotations

import asyncio
import csv
import errno
import gzip
import io
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import SECOND, ManualClock
from core.errors import ConfigError, Rejected, Unavailable
from core.message import MISSING, Row, Schema, Type
from headrace.testing import PLAIN, SinkContract
from sinks.base import SinkContext
from sinks.encoding import rfc3339
from sinks.file.encode import Csv
from sinks.file.sink import FileSink
from tests.sinks.file_sinks import START, batch, finished, make, names_in, opened, settings

# -- the contract, in every format --------------------------------------------------------------------------------


class FileContract(SinkContract):
    path: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def folder(self) -> Iterator[None]:
        with tempfile.TemporaryDirectory() as folder:
            self.base = Path(folder)
            yield

    def make_sink(self, context: SinkContext) -> FileSink:
        own = SinkContext(name=context.name, base_dir=self.base, schemas=context.schemas)
        return FileSink(settings(path=self.path, **self.options), own)

    def contents(self) -> Iterator[bytes]:
        for path in sorted(self.base.rglob("*")):
            if path.is_file():
                assert not path.name.startswith("."), "no unfinished file is left"
                yield path.read_bytes()


class TestNdjson(FileContract):
    path = "rows.ndjson"

    async def read_back(self) -> Sequence[dict[str, Any]]:
        return [msgspec.json.decode(line) for data in self.contents() for line in data.splitlines()]

    def arrives_as(self, kind: Type, value: Any) -> Any:
        return as_json(kind, value)

    def bad_row(self, identity: int) -> Row:
        return (identity, object(), 1.0)


def as_json(kind: Type, value: Any) -> Any:
    if value is MISSING:
        return "undefined"
    if kind is Type.TIMESTAMP and value is not None:
        return rfc3339(value)
    if isinstance(value, Decimal):
        return float(value) if value % 1 else int(value)
    if isinstance(value, bytes):
        return {"$hex": value.hex().upper()} if b"\xff" in value else value.decode()
    return value


class TestNdjsonRotated(TestNdjson):
    path = "{station}/rows.ndjson.gz"
    options: ClassVar = {"rotate": {"max_rows": 100}}

    async def read_back(self) -> Sequence[dict[str, Any]]:
        return [msgspec.json.decode(line) for data in self.contents() for line in gzip.decompress(data).splitlines()]

    def test_values_of_every_type_arrive(self) -> None:
        self.path = "rows.ndjson.gz"
        super().test_values_of_every_type_arrive()


class TestZstd(TestNdjson):
    path = "rows.jsonl.zst"

    async def read_back(self) -> Sequence[dict[str, Any]]:
        zstandard = pytest.importorskip("zstandard")
        rows = []
        for data in self.contents():
            reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True)
            rows += [msgspec.json.decode(line) for line in reader.read().splitlines()]
        return rows


class TestCsv(FileContract):
    path = "rows.csv"

    async def read_back(self) -> Sequence[dict[str, Any]]:
        found = []
        for data in self.contents():
            found += list(csv.DictReader(io.StringIO(data.decode(), newline="")))
        return found

    def compare(self, schema: Schema, rows: Sequence[Row], found: Any, may_have: Sequence[Row] = ()) -> None:
        texts = Schema(schema.names, (Type.TEXT, *schema.types[1:]))  # every field of CSV is a text, `id` too
        written, optional = ([(str(row[0]), *row[1:]) for row in each] for each in (rows, may_have))
        super().compare(texts, written, found, optional)

    def arrives_as(self, kind: Type, value: Any) -> Any:
        if value is None or value is MISSING:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, bytes):
            return "\\x" + value.hex() if b"\xff" in value else value.decode()
        if kind is Type.TIMESTAMP:
            return rfc3339(value)
        if isinstance(value, list | dict):
            return msgspec.json.encode(value).decode()
        return str(value)

    def bad_row(self, identity: int) -> Row:
        return (identity, object(), 1.0)


class TestParquet(FileContract):
    path = "{station}/rows.parquet"

    async def read_back(self) -> Sequence[dict[str, Any]]:
        parquet = pytest.importorskip("pyarrow.parquet")
        return [row for data in self.contents() for row in parquet.read_table(io.BytesIO(data)).to_pylist()]

    def arrives_as(self, kind: Type, value: Any) -> Any:
        if value is None or value is MISSING:
            return None
        if kind is Type.TIMESTAMP:
            from sinks.encoding import instant

            return instant(value)
        if kind in (Type.ARRAY, Type.OBJECT):
            return msgspec.json.encode(value).decode()
        if kind is Type.ANY:  # values of several kinds in one column: each as JSON
            return msgspec.json.encode(value).decode()
        return value

    def bad_row(self, identity: int) -> Row:
        return (identity, "cp1", object())

    def test_values_of_every_type_arrive(self) -> None:
        self.path = "rows.parquet"
        super().test_values_of_every_type_arrive()


# -- one growing file -----------------------------------------------------------------------------------------------


async def test_a_growing_file_is_continued_after_a_restart(tmp_path: Path) -> None:
    for number in range(2):
        async with opened(make(tmp_path, path="log/rows.csv")) as sink:
            await sink.write(batch([(number, "a,b", None)]))
    assert (tmp_path / "log/rows.csv").read_text() == 'id,station,kw\n0,"a,b",\n1,"a,b",\n'


async def test_a_file_keeps_the_columns_that_its_first_line_names(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("kw,id,station,note\n")
    async with opened(make(tmp_path, path="rows.csv")) as sink:
        await sink.write(batch([(1, "x", 2.5)]))
        other = Schema(("id", "colour"), (Type.BIGINT, Type.TEXT))
        with pytest.raises(Rejected) as caught:
            await sink.write(batch([(2, "red")], other))
    assert caught.value.rows == ((0, "the file has no column 'colour'; it has kw, id, station, note"),)
    assert (tmp_path / "rows.csv").read_text() == "kw,id,station,note\n2.5,1,x,\n"


async def test_two_sinks_never_write_to_one_file(tmp_path: Path) -> None:
    first, second = make(tmp_path, path="rows.ndjson"), make(tmp_path, path="rows.ndjson")
    async with opened(first), opened(second):
        await first.write(batch([(1, "x", 1.0)]))
        with pytest.raises(Unavailable, match=r"is being written by another .* give each a path of its own"):
            await second.write(batch([(2, "x", 1.0)]))


async def test_a_successor_waits_a_moment_for_the_file(tmp_path: Path) -> None:
    """A reload hands rows over before it closes the old sink: no outage, and no line in the log."""
    first, second = make(tmp_path, path="rows.ndjson"), make(tmp_path, path="rows.ndjson")
    await first.open()
    async with opened(second):
        await first.write(batch([(1, "x", 1.0)]))
        writing = asyncio.ensure_future(second.write(batch([(2, "x", 1.0)])))
        await asyncio.sleep(0.01)
        await first.close()
        await writing
    assert [msgspec.json.decode(line)["id"] for line in (tmp_path / "rows.ndjson").read_bytes().splitlines()] == [1, 2]


async def test_more_partitions_than_files_may_be_open(tmp_path: Path) -> None:
    async with opened(make(tmp_path, path="{id}.ndjson", max_open_files=3)) as sink:
        for _ in range(2):
            await sink.write(batch([(number, "x", 1.0) for number in range(20)]))
    assert names_in(tmp_path) == sorted(f"{number}.ndjson" for number in range(20))
    assert all(len((tmp_path / name).read_bytes().splitlines()) == 2 for name in names_in(tmp_path))


# -- failures -------------------------------------------------------------------------------------------------------


async def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = os.write
    full = False

    def write(descriptor: int, data: Any) -> int:
        if full and b"cp2" in bytes(data):
            written(descriptor, bytes(data)[:5])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    rows = [(number, f"cp{number % 3}", 1.0) for number in range(30)]
    async with opened(make(tmp_path, path="{station}.ndjson")) as sink:
        full = True
        with pytest.raises(Unavailable, match="No space left on device"):
            await sink.write(batch(rows))
        assert all((tmp_path / name).read_bytes() == b"" for name in names_in(tmp_path))
        full = False
        await sink.write(batch(rows))
    assert [len((tmp_path / f"cp{n}.ndjson").read_bytes().splitlines()) for n in range(3)] == [10, 10, 10]


async def test_a_write_whose_caller_gives_up_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(make(tmp_path, path="rows.ndjson")) as sink:
        await sink.write(batch([(0, "x", 1.0)]))
        loop, begun, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
        fsync = os.fsync

        def slow(descriptor: int) -> None:
            loop.call_soon_threadsafe(begun.set)
            go_on.wait(30)
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", slow)
        task = asyncio.ensure_future(sink.write(batch([(1, "x", 1.0)])))
        await begun.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        go_on.set()
        await sink.write(batch([(1, "x", 1.0)]))
    assert [msgspec.json.decode(line)["id"] for line in (tmp_path / "rows.ndjson").read_bytes().splitlines()] == [0, 1]


async def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(Unavailable, match=r"/out is no folder$"):
        await make(tmp_path, path="out/rows.ndjson").open()


async def test_what_this_user_may_not_write_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.ndjson").touch()
    refused: list[str] = []
    monkeypatch.setattr(os, "access", lambda path, _mode: str(path) not in refused)
    await make(tmp_path, path="rows.ndjson").check()
    for path in (tmp_path, tmp_path / "rows.ndjson"):
        refused[:] = [str(path)]
        with pytest.raises(Unavailable, match=rf"^{path} cannot be written by the user that this process runs as$"):
            await make(tmp_path, path="rows.ndjson").check()


async def test_a_folder_in_the_place_of_the_file_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "rows.ndjson").mkdir()
    with pytest.raises(Unavailable, match=r"rows\.ndjson is a folder: move it away, or give the sink another path"):
        await make(tmp_path, path="rows.ndjson").open()


async def test_a_check_makes_nothing(tmp_path: Path) -> None:
    await make(tmp_path, path="deep/down/rows.ndjson").check()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fsync", ["write", "close", "never"])
async def test_fsync_is_called_when_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: str) -> None:
    calls: list[int] = []
    monkeypatch.setattr(os, "fsync", calls.append)
    async with opened(make(tmp_path, path="rows.ndjson", fsync=fsync, rotate={})) as sink:
        await sink.write(batch([(1, "x", 1.0)]))
        during = len(calls)
    assert (during > 0, len(calls) > during) == (fsync == "write", fsync != "never")


# -- rotation -------------------------------------------------------------------------------------------------------


async def test_a_rotated_file_appears_whole_under_its_final_name(tmp_path: Path) -> None:
    async with opened(make(tmp_path, path="meter.ndjson", rotate={"max_rows": 2})) as sink:
        await sink.write(batch([(1, "x", 1.0)]))
        assert names_in(tmp_path) == [".meter-20260101T000000Z-0001.ndjson.part"]
        await sink.write(batch([(2, "x", 1.0)]))
        await finished(sink)
        assert names_in(tmp_path) == ["meter-20260101T000000Z-0001.ndjson"]
        await sink.write(batch([(3, "x", 1.0)]))
    assert names_in(tmp_path) == ["meter-20260101T000000Z-0001.ndjson", "meter-20260101T000000Z-0002.ndjson"]


async def test_a_file_that_is_old_is_finished_also_where_no_more_rows_come(tmp_path: Path) -> None:
    clock = ManualClock(START)
    async with opened(make(tmp_path, clock=clock, path="meter.ndjson", rotate={"max_age": "10s"})) as sink:
        await sink.write(batch([(1, "x", 1.0)]))
        clock.advance(10 * SECOND)
        for _ in range(600):
            if names_in(tmp_path) == ["meter-20260101T000000Z-0001.ndjson"]:
                return
            await asyncio.sleep(0.05)
        pytest.fail(f"there are {names_in(tmp_path)}")


async def test_columns_that_a_csv_file_lacks_begin_a_new_one(tmp_path: Path) -> None:
    wide = Schema(("id", "note"), (Type.BIGINT, Type.TEXT))
    async with opened(make(tmp_path, path="rows.csv", rotate={})) as sink:
        await sink.write(batch([(1, "x", 1.0)]))
        await sink.write(batch([(2, "n")], wide))
    assert [(tmp_path / name).read_text() for name in names_in(tmp_path)] == [
        "id,station,kw\n1,x,1.0\n",
        "id,note\n2,n\n",
    ]


async def test_an_untyped_column_takes_the_type_of_what_it_holds(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    schema = Schema(("id", "value"), (Type.BIGINT, Type.ANY))
    async with opened(make(tmp_path, path="rows.parquet")) as sink:
        for number, value in enumerate([None, 7, 8, 2.5, 9, "text", True]):
            await sink.write(batch([(number, value)], schema))
    tables = [parquet.read_table(tmp_path / name) for name in names_in(tmp_path)]
    assert [(str(table.schema.field("value").type), table.to_pydict()["value"]) for table in tables] == [
        ("string", [None]),
        ("int64", [7, 8]),
        ("double", [2.5, 9.0]),
        ("string", ['"text"', "true"]),
    ]


# -- paths ----------------------------------------------------------------------------------------------------------

TIMED = Schema(("station", "at", "ms"), (Type.TEXT, Type.TIMESTAMP, Type.ANY))


@pytest.mark.parametrize(
    ("path", "row", "expected"),
    [
        ("{station}/a.ndjson", ("cp 1", None, None), "cp 1/a.ndjson"),
        ("${station}/a.ndjson", ("Grüße", None, None), "Grüße/a.ndjson"),
        ("{station}/a.ndjson", ("../../etc/passwd", None, None), "%2E.%2F..%2Fetc%2Fpasswd/a.ndjson"),
        ("{station}/a.ndjson", ("", None, None), "null/a.ndjson"),
        ("{station}/a.ndjson", (MISSING, None, None), "null/a.ndjson"),
        ("{station}/a.ndjson", ("a%2Fb\0", None, None), "a%252Fb%00/a.ndjson"),
        ("{date:%Y/%m/%d}/a.ndjson", ("x", None, None), "2026/01/01/a.ndjson"),
        ("{at:%Y-%m}/{at}.ndjson", ("x", 1_500_000_000_000_000, None), "2017-07/2017-07-14T02:40:00Z.ndjson"),
    ],
)
async def test_paths(tmp_path: Path, path: str, row: Row, expected: str) -> None:
    async with opened(make(tmp_path, path=path)) as sink:
        await sink.write(batch([row], TIMED))
    assert names_in(tmp_path) == [expected]


@pytest.mark.parametrize(("time", "expected"), [("at", "2017"), ("ms", "2001")])
async def test_the_date_of_a_path_is_that_of_the_time_column(tmp_path: Path, time: str, expected: str) -> None:
    async with opened(make(tmp_path, path="{date:%Y}.ndjson", time=time)) as sink:
        await sink.write(batch([("x", 1_500_000_000_000_000, 1_000_000_000_000)], TIMED))
    assert names_in(tmp_path) == [f"{expected}.ndjson"]


async def test_a_row_without_a_possible_path_is_rejected_alone(tmp_path: Path) -> None:
    rows = [("x", None, 0), ("y" * 300, None, 0), ("z", None, "noon")]
    async with opened(make(tmp_path, path="{station}-{date:%Y}.ndjson", time="ms")) as sink:
        with pytest.raises(Rejected) as caught:
            await sink.write(batch(rows, TIMED))
    assert [index for index, _ in caught.value.rows] == [1, 2]
    assert caught.value.rows[1][1] == "column ms is no time: 'noon'"
    assert names_in(tmp_path) == ["x-1970.ndjson"]


@given(st.lists(st.text(max_size=60), min_size=2, max_size=2))
def test_no_value_leaves_its_segment_and_different_values_stay_apart(values: list[str]) -> None:
    from sinks.file.paths import PathTemplate

    path_of = PathTemplate("root/{station}/rows", None).bind(Schema(("station",), (Type.TEXT,)))
    paths = []
    for value in values:
        if len(value.encode()) * 3 > 200:
            return
        paths.append(path_of((value,), 0))
    assert all(path.count("/") == 2 and os.path.normpath(path) == path for path in paths)
    if "null" not in values and "" not in values:
        assert (paths[0] == paths[1]) == (values[0] == values[1])


# -- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "setting", "message"),
    [
        ({"path": "rows.txt"}, "format", "says nothing about the format"),
        ({"path": "rows/"}, "path", "names no file"),
        ({"path": "rows.ndjson.gz", "compression": "zstd"}, "compression", "the path says gzip"),
        ({"path": "rows.csv", "compression": "snappy"}, "compression", "csv takes none, gzip, zstd"),
        ({"path": "rows.csv", "delimiter": "."}, "delimiter", "'.' occurs in numbers"),
        ({"path": "{date}.csv"}, "path", "needs a format"),
        ({"path": "{date:%Q%f}.csv"}, "path", "is no format of a time"),
        ({"path": "{}.csv"}, "path", "without a column's name"),
        ({"path": "{station.csv"}, "path", "a brace that belongs to no placeholder"),
        ({"path": "{station}/${id}}.csv"}, "path", "a brace that belongs to no placeholder"),
        ({"path": "rows.parquet.gz"}, "path", "Parquet compresses by itself"),
        ({"path": "rows.gz", "format": "parquet"}, "path", "Parquet compresses by itself"),
        ({"path": "rows.ndjson", "delimiter": ";"}, "delimiter", "is for CSV"),
        ({"path": "rows.parquet", "header": False}, "header", "is for CSV"),
        ({"path": "rows.csv", "rotate": {"max_age": "0s"}}, "rotate.max_age", "more than 0"),
        ({"path": "rows.csv", "rotate": {"max_bytes": "0B"}}, "rotate.max_bytes", "more than 0"),
        ({"path": "{stattion}.csv"}, "path", "no rule yields 'stattion'"),
        ({"path": "{date:%Y}.csv", "time": "ts"}, "time", "no rule yields 'ts'"),
    ],
)
def test_settings_that_contradict_one_another(
    tmp_path: Path, table: dict[str, Any], setting: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make(tmp_path, PLAIN, **table)
    assert caught.value.path == setting


# -- units ----------------------------------------------------------------------------------------------------------

TEXTS = st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=20), min_size=2, max_size=2)


@given(st.lists(TEXTS, max_size=8), st.sampled_from([",", ";", "\t"]))
def test_csv_gives_every_text_back(rows: list[list[str]], delimiter: str) -> None:
    schema = Schema(("a", "b"), (Type.TEXT, Type.TEXT))
    form = Csv(schema.names, delimiter, header=True)
    data, bad = form.encode(schema, [tuple(row) for row in rows])
    assert not bad
    text = (form.header + data).decode()
    assert list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))[1:] == rows
