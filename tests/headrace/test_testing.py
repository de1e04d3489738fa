"""The contract suites themselves: the built-in sinks and codecs pass them, faulty ones do not."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from connections.base import Connection, ConnectionContext
from connections.sql.config import SqlConfig
from connections.sql.connection import SqlConnection
from core.errors import PayloadError, Rejected, SinkError, Unavailable
from core.message import MISSING, Batch, Message, Row, Type
from core.settings import Secret
from formats.base import Codec
from formats.json import JsonCodec, decode_document, encode_document
from headrace.testing import PLAIN, CodecContract, ConnectionContract, SinkContract, batch
from sinks.base import Sink, SinkContext
from sinks.console import ConsoleSink
from sinks.encoding import rfc3339
from sinks.mqtt.sink import MqttSink
from sinks.null import NullSink
from sinks.sql.sink import SqlSink


def as_json(kind: Type, value: Any) -> Any:
    """What a value is after it was written as JSON in a row's object."""
    if value is MISSING:
        return "undefined"
    if kind is Type.TIMESTAMP and value is not None:
        return rfc3339(value)
    return decode_document(encode_document(value))


class TestNull(SinkContract):
    def make_sink(self, context: SinkContext) -> Sink:
        return NullSink(NullSink.Config(), context)

    async def read_back(self) -> None:
        return None


class TestConsole(SinkContract):
    @pytest.fixture(autouse=True)
    def stream(self) -> None:
        self.out = io.BytesIO()

    def make_sink(self, context: SinkContext) -> Sink:
        return ConsoleSink(ConsoleSink.Config(), with_changes(context, stdout=self.out))

    async def read_back(self) -> Sequence[dict[str, Any]]:
        return [decode_document(line) for line in self.out.getvalue().splitlines()]

    def arrives_as(self, kind: Type, value: Any) -> Any:
        return as_json(kind, value)


class TestMqtt(SinkContract):
    @pytest.fixture(autouse=True)
    def broker(self) -> None:
        self.messages: list[Message] = []

    def make_sink(self, context: SinkContext) -> Sink:
        context = with_changes(context, publish=self.messages.extend)
        return MqttSink(MqttSink.Config(topic="out/${station}"), context)

    async def read_back(self) -> Sequence[dict[str, Any]]:
        return [decode_document(message.payload) for message in self.messages]

    def arrives_as(self, kind: Type, value: Any) -> Any:
        return as_json(kind, value)

    def bad_row(self, identity: int) -> Row:
        return (identity, "wild/#", 1.0)


class TestSqlite(SinkContract):
    @pytest.fixture(autouse=True)
    def database(self, tmp_path: Path) -> None:
        self.path = tmp_path / "new folder" / "rows.db"

    def make_sink(self, context: SinkContext) -> Sink:
        database = SqlConfig(url=Secret.parse(f"sqlite:///{self.path}"), synchronous="off")
        connection = SqlConnection(database, ConnectionContext(name="sql", base_dir=context.base_dir))
        config = SqlSink.Config(table="rows", create_table=True, key=("id",))
        return SqlSink(config, with_changes(context, connection=connection))

    async def read_back(self) -> Sequence[dict[str, Any]]:
        if not self.path.exists():
            return []
        connection = sqlite3.connect(self.path)
        connection.row_factory = sqlite3.Row
        try:
            found = connection.execute("SELECT name FROM sqlite_master WHERE name = 'rows'").fetchall()
            return [dict(row) for row in connection.execute("SELECT * FROM rows")] if found else []
        finally:
            connection.close()

    def arrives_as(self, kind: Type, value: Any) -> Any:
        if value is MISSING or value is None:
            return None
        if isinstance(value, list | dict):
            return encode_document(value).decode()
        if kind is Type.TIMESTAMP:
            return rfc3339(value).replace("T", " ").removesuffix("Z") + ("" if value % 10**6 else ".000000")
        if kind is Type.DECIMAL:
            return float(value) if value % 1 else int(value)
        return int(value) if isinstance(value, bool) else value

    def bad_row(self, identity: int) -> Row:
        return (None, f"no id {identity}", 1.0)


class TestSqliteConnection(ConnectionContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = tmp_path

    def make_connection(self, context: ConnectionContext) -> Connection:
        return self.at(self.path / "rows.db", context)

    def make_unreachable(self, context: ConnectionContext) -> Connection:
        return self.at(self.path, context)  # a folder

    def at(self, path: Path, context: ConnectionContext) -> Connection:
        return SqlConnection(SqlConfig(url=Secret.parse(f"sqlite:///{path}")), context)


class TestJson(CodecContract):
    def make_codec(self) -> Codec:
        return JsonCodec()


def with_changes(context: SinkContext, **changes: Any) -> SinkContext:
    return dataclasses.replace(context, **changes)


# -- faulty extensions ------------------------------------------------------------------------------------------------


class Faulty(SinkContract):
    """A contract over a sink in memory with one fault."""

    def __init__(self, fault: type[Sink]) -> None:
        self.fault = fault
        self.kept: list[dict[str, Any]] = []

    def make_sink(self, context: SinkContext) -> Sink:
        sink = self.fault(None, context)
        sink.kept = self.kept  # type: ignore[attr-defined]
        return sink

    async def read_back(self) -> Sequence[dict[str, Any]]:
        return self.kept

    def bad_row(self, identity: int) -> Row:
        return (identity, "bad", 0.0)


class Keeper(Sink):
    """No fault: rows of station ``bad`` are refused, the others kept."""

    name = "keeper"
    kept: list[dict[str, Any]]

    async def open(self) -> None: ...

    async def write(self, batch: Batch) -> None:
        if any("bad" in row for row in batch.rows):
            raise Rejected("a bad station")
        self.keep(batch, batch.rows)

    def keep(self, batch: Batch, rows: Sequence[Row]) -> None:
        for row in rows:
            values = [None if value is MISSING else value for value in row]
            self.kept.append(dict(zip(batch.schema.names, values, strict=True)))

    async def close(self) -> None: ...


class Loser(Keeper):
    async def write(self, batch: Batch) -> None:
        self.keep(batch, batch.rows[:-1])


class Doubler(Keeper):
    async def write(self, batch: Batch) -> None:
        self.keep(batch, [*batch.rows, *batch.rows])


class Stringer(Keeper):
    async def write(self, batch: Batch) -> None:
        self.keep(batch, [(row[0], *map(str, row[1:])) for row in batch.rows])


class OnceOnly(Keeper):
    async def close(self) -> None:
        del self.kept


class Swallower(Keeper):
    async def write(self, batch: Batch) -> None:
        self.keep(batch, [row for row in batch.rows if "bad" not in row])


class Joiner(Keeper):
    """Never leaves its connection."""

    async def open(self) -> None:
        connection: Connection = TestSqliteConnection().at(Path(), ConnectionContext(name="c", base_dir=Path()))
        self.context = with_changes(self.context, connection=connection)
        await connection.join(self)


class Prober(Keeper):
    """Checks by writing."""

    async def check(self) -> None:
        self.keep(batch(PLAIN, [(0, "test", 1.0)]), [(0, "test", 1.0)])


def failures(contract: object) -> set[str]:
    failed: set[str] = set()
    for name in dir(contract):
        if name.startswith("test_"):
            try:
                getattr(contract, name)()
            except (AssertionError, AttributeError, SinkError, OSError):
                failed.add(name)
    return failed


def test_a_faultless_sink_passes() -> None:
    assert failures(Fresh(Keeper)) == set()


class Fresh(Faulty):
    """Empties the destination before each test, as the fixture of a real subclass does."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("test_"):
            object.__getattribute__(self, "kept").clear()
        return object.__getattribute__(self, name)


@pytest.mark.parametrize(
    ("fault", "caught_by"),
    [
        (Loser, "test_a_row_arrives"),
        (Doubler, "test_a_batch_arrives_whole"),
        (Stringer, "test_null_and_missing_arrive"),
        (OnceOnly, "test_closing_twice_and_before_opening_is_harmless"),
        (Swallower, "test_a_bad_row_never_blocks_a_good_one"),
        (Joiner, "test_a_row_arrives"),
        (Prober, "test_a_check_writes_nothing"),
    ],
)
def test_faulty_sinks_are_caught(fault: type[Sink], caught_by: str) -> None:
    assert caught_by in failures(Fresh(fault))


class Line(Connection):
    """No fault: a line to ``address`` with a password."""

    type = "line"

    class Config(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
        address: str
        password: Secret = Secret.parse("hunter2")

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def check(self) -> str:
        if self.config.address == "nowhere":
            raise Unavailable("nobody answers")
        return "Line 1.0"


class Talkative(Line):
    async def check(self) -> str:
        return "Line 1.0\nready"


class Blabber(Line):
    async def check(self) -> str:
        await super().check()
        return f"Line 1.0, {self.config.password.reveal()}"


class Optimist(Line):
    async def check(self) -> str:
        return "it will be there"


class Careless(Line):
    async def check(self) -> str:
        if self.config.address == "nowhere":
            raise OSError("no route to host")
        return "Line 1.0"


class Hasty(Line):
    async def leave(self, user: object) -> None:
        self._users.clear()
        await self.close()


class Sensitive(Line):
    def __init__(self, config: Line.Config, context: ConnectionContext) -> None:
        super().__init__(config, context)
        self.broken = False

    async def check(self) -> str:
        if self.broken:
            raise Unavailable("it is broken")
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.broken = True
            raise
        return await super().check()


class LineContract(ConnectionContract):
    secrets = ("hunter2",)

    def __init__(self, fault: type[Line]) -> None:
        self.fault = fault

    def make_connection(self, context: ConnectionContext) -> Connection:
        return self.fault(self.fault.Config(address="here"), context)

    def make_unreachable(self, context: ConnectionContext) -> Connection:
        return self.fault(self.fault.Config(address="nowhere"), context)


def test_a_faultless_connection_passes() -> None:
    assert failures(LineContract(Line)) == set()


@pytest.mark.parametrize(
    ("fault", "caught_by"),
    [
        (Talkative, "test_a_check_answers_in_one_line_whether_it_is_open_or_not"),
        (Blabber, "test_a_check_answers_in_one_line_whether_it_is_open_or_not"),
        (Optimist, "test_a_check_in_vain_says_why"),
        (Careless, "test_a_check_in_vain_says_why"),
        (Hasty, "test_it_is_open_as_long_as_anybody_uses_it"),
        (Sensitive, "test_a_cancelled_check_leaves_it_usable"),
    ],
)
def test_faulty_connections_are_caught(fault: type[Line], caught_by: str) -> None:
    assert caught_by in failures(LineContract(fault))


def test_a_codec_that_raises_anything_else_is_caught() -> None:
    class Careless(JsonCodec):
        def decode(self, payload: bytes) -> list[Any]:
            return [msgspec.json.decode(payload)]

        def encode(self, value: Any) -> bytes:
            try:
                return super().encode(value)
            except PayloadError:
                return b"null"

    class Contract(CodecContract):
        def make_codec(self) -> Codec:
            return Careless()

    with pytest.raises(msgspec.DecodeError):
        Contract().test_any_payload_gives_values_or_a_payload_error()
    with pytest.raises(AssertionError):
        Contract().test_what_it_cannot_express_is_a_payload_error()


def test_importing_it_needs_no_pytest() -> None:
    code = "import sys, headrace.testing; sys.exit('pytest' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
