"""Sending every case of ``table.py`` through a real sink; what it should become is not known here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from connections.base import Connection, ConnectionContext
from core.errors import PayloadError, Rejected
from core.message import Batch, Schema, Type
from core.settings import decode_hook
from sinks.base import Sink, SinkContext
from tests.types.table import CASES

REJECTED = "rejected: "
SECONDS = 30
"""How long a far side may take to answer before the test fails."""


def connect(kind: type[Connection], **settings: Any) -> Any:
    config = msgspec.convert(settings, kind.Config, dec_hook=decode_hook)
    return kind(config, ConnectionContext(name="far", base_dir=Path()))


def make(kind: type[Sink], folder: Path, connection: Connection | None = None, **settings: Any) -> Any:
    """A sink of rules that yield every case, each in a column of its name."""
    schemas = tuple(schema(name, name) for name in CASES)
    context = SinkContext(name="types", base_dir=folder, schemas=schemas, connection=connection)
    return kind(msgspec.convert(settings, kind.Config, dec_hook=decode_hook), context)


def schema(name: str, column: str) -> Schema:
    return Schema(("id", column), (Type.BIGINT, CASES[name].kind))


async def send(sink: Sink, column: str | None = None) -> dict[str, str]:
    """Write a row per case (``id`` is its position), its value in ``column`` or in one of its name.

    The cases that are refused, with the reason. Whatever else the sink raises is none of its contract.
    """
    refused: dict[str, str] = {}
    await sink.open()
    try:
        for position, (name, case) in enumerate(CASES.items()):
            batch = Batch("types", "types.rule", schema(name, column or name), [(position, case.value)])
            try:
                await sink.write(batch)
            except Rejected as error:
                refused[name] = REJECTED + (error.rows[0][1] if error.rows else str(error))
            except PayloadError as error:
                refused[name] = REJECTED + str(error)
    finally:
        await sink.close()
    return refused


def arrived(found: Mapping[int, str], refused: Mapping[str, str]) -> dict[str, str]:
    """What has become of every case: each one has either arrived or been refused."""
    names = list(CASES)
    cells = {names[position]: cell for position, cell in found.items()}
    assert not cells.keys() & refused.keys(), "a row was refused and is there"
    assert cells.keys() | refused.keys() == set(names), "a row was not refused and is not there"
    return {**cells, **refused}


def typed(value: object, kind: object) -> str:
    """A cell with the value and the far side's own type of it."""
    return f"{code(value)} {kind}"


def code(value: object) -> str:
    """A value as Markdown shows it."""
    text = str(value).replace("\0", "\\0")
    return f"`{text}`" if text else "empty"
