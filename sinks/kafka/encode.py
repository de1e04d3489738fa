"""Rows -> records, compiled once per schema. The place where another encoding of values would be chosen."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from connections.kafka.driver import Record
from core.errors import ConfigError, PayloadError
from core.message import MISSING, Row, Schema, Type
from sinks.encoding import row_encoder
from sinks.kafka.config import Config
from sinks.template import NullableRenderer, Template

Encode = Callable[[Row], Record]
_TOPIC: Final = re.compile(r"(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}").fullmatch
_MAX_TIME: Final = 2**63 - 1
_MAX_PARTITION: Final = 2**31 - 1
_NO_TOPIC: Final = "is no name of a topic (1 to 249 letters, digits, '.', '_' and '-')"


class Encoder:
    """The templates of one sink; ConfigError for settings that contradict one another."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.topic = Template(config.topic)
        if self.topic.constant is not None and not _TOPIC(self.topic.constant):
            raise ConfigError(f"{config.topic!r} {_NO_TOPIC}", path="topic")
        self._key = None if config.key is None else Template(config.key)
        self._value = None if config.value is None else Template(config.value)
        self._headers = [(name, Template(text)) for name, text in config.headers.items()]

    @property
    def columns(self) -> list[tuple[str, str]]:
        """The settings that name a column, with the name."""
        named = (("timestamp", self._config.timestamp), ("partition", self._config.partition))
        return [(setting, column) for setting, column in named if column is not None]

    def bind(self, schema: Schema) -> Encode:
        """A function that makes the record of a row; PayloadError for a row that can be none."""
        value: NullableRenderer = row_encoder(schema) if self._value is None else self._value.bind_nullable(schema)
        key = (lambda _: None) if self._key is None else self._key.bind_nullable(schema)
        constant = self.topic.constant
        topic_of = self.topic.bind(schema)
        if constant is not None and not self._headers and not self.columns:
            if self._value is None:  # never null
                return lambda row: (constant, key(row), value(row), None, 0, -1)
            return lambda row: _record(constant, key(row), value(row), None, 0, -1)
        headers = [(name, template.bind_nullable(schema)) for name, template in self._headers]
        timestamp, partition = _timestamp(self._config.timestamp, schema), _partition(self._config.partition, schema)

        def encode(row: Row) -> Record:
            topic = constant if constant is not None else _topic(topic_of(row))
            pairs = [(name, text) for name, render in headers if (text := render(row)) is not None]
            return _record(topic, key(row), value(row), pairs or None, timestamp(row), partition(row))

        return encode


def _record(
    topic: str,
    key: bytes | None,
    value: bytes | None,
    headers: list[tuple[str, bytes]] | None,
    timestamp: int,
    partition: int,
) -> Record:
    if value is None and key is None:
        raise PayloadError("a tombstone (null value) needs a key", "kafka")
    return (topic, key, value, headers, timestamp, partition)


def _topic(text: bytes) -> str:
    topic = text.decode(errors="replace")
    if not _TOPIC(topic):
        raise PayloadError(f"{topic!r:.300} {_NO_TOPIC}", "kafka")
    return topic


def _timestamp(column: str | None, schema: Schema) -> Callable[[Row], int]:
    if column is None or column not in schema.names:
        return lambda _: 0
    index = schema.names.index(column)
    per_milli = 1_000 if schema.types[index] is Type.TIMESTAMP else 1

    def timestamp(row: Row) -> int:
        number = _number(row[index], 0, _MAX_TIME)
        if number is None:
            raise PayloadError(f"column {column!r} is no time, in milliseconds since 1970: {row[index]!r:.40}", "kafka")
        return number // per_milli

    return timestamp


def _partition(column: str | None, schema: Schema) -> Callable[[Row], int]:
    if column is None or column not in schema.names:
        return lambda _: -1
    index = schema.names.index(column)

    def partition(row: Row) -> int:
        number = _number(row[index], -1, _MAX_PARTITION)
        if number is None:
            raise PayloadError(f"column {column!r} is no partition, a whole number from 0: {row[index]!r:.40}", "kafka")
        return number

    return partition


def _number(value: Any, absent: int, most: int) -> int | None:
    """The whole number from 0 to ``most`` that ``value`` is, ``absent`` where there is none; None for anything else."""
    if value is None or value is MISSING:
        return absent
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        return None
    return value


def encoded(encode: Encode, rows: Sequence[Row]) -> tuple[list[Record], list[int], list[tuple[int, str]]]:
    """The records, the positions of their rows, and those of rows that can be none with the reason."""
    try:
        return [encode(row) for row in rows], list(range(len(rows))), []
    except PayloadError:
        pass
    records: list[Record] = []
    places: list[int] = []
    dead: list[tuple[int, str]] = []
    for index, row in enumerate(rows):
        try:
            records.append(encode(row))
        except PayloadError as error:
            dead.append((index, str(error)))
        else:
            places.append(index)
    return records, places, dead
