r"""EMQX's ``write_syntax``: line protocol with placeholders, parsed once and bound to a schema.

A line is ``measurement[,tag=value...] field=value[,field=value...] [timestamp]``; spaces, commas and equal signs that
are no separators are escaped (``\ ``). The type of a field is how it is written: ``${x}`` is a float, a boolean or a
string by its value, ``${x}i`` an integer, ``${x}u`` an unsigned one, ``"${x}"`` a string; ``23i``, ``1.5`` and ``true``
stand for themselves. A tag or field whose placeholder is null or missing is left out; a point without a field is
refused. A timestamp is a number in the sink's precision; without one a point has the time of writing, in nanoseconds
where no line has a timestamp.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

from core.errors import ConfigError, PayloadError
from core.message import MISSING, Row, Schema
from sinks.influxdb import lines
from sinks.influxdb.config import Precision
from sinks.template import Template

_PIECE: Final = re.compile(r'\$\{[^{}]*\}|\\.|"(?:[^"\\]|\\.)*"|.', re.DOTALL)
_ESCAPED: Final = re.compile(r'\\([,= "\\])')
_CONSTANT: Final = re.compile(r"-?\d+[iu]|-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|t|T|true|True|TRUE|f|F|false|False|FALSE")
_INTEGER: Final = re.compile(r"[+-]?\d+(\.0*)?")
_EXAMPLE: Final = 'as in meter,station=${station} power=${power},state="${state}" ${timestamp}'


class Clock:
    """Times for points that have none of their own: two points of a series at one time would be one."""

    def __init__(self, unit: int) -> None:
        self._unit = unit
        self._last = 0

    def next(self) -> int:
        """Now, in units of so many nanoseconds, and later than ever before."""
        self._last = max(self._last + 1, time.time_ns() // self._unit)
        return self._last


class _Field(NamedTuple):
    key: Template
    value: Template
    kind: str
    """``any``, ``i``, ``u``, ``string`` or ``constant``."""


class _Line(NamedTuple):
    measurement: Template
    tags: list[tuple[Template, Template]]
    fields: list[_Field]
    timestamp: Template | None


class Syntax:
    """A parsed ``write_syntax``, and the ``precision`` of the times it makes; ConfigError where it is none."""

    def __init__(self, text: str, precision: Precision | None) -> None:
        self._lines = [_parse(line.strip()) for line in text.splitlines() if line.strip()]
        if not self._lines:
            raise ConfigError("is empty", path="write_syntax", hint=_EXAMPLE)
        timed = any(line.timestamp is not None for line in self._lines)
        self.precision: Precision = (precision or "ms") if timed else "ns"
        self._unit = lines.PER_UNIT[self.precision]

    def bind(self, schema: Schema) -> Callable[[Row], str]:
        """A function that gives the lines of a row; PayloadError for a row that has none."""
        clock = Clock(self._unit)
        points = [self._bound(line, schema, clock) for line in self._lines]
        if len(points) == 1:
            return points[0]
        return lambda row: "\n".join([point(row) for point in points])

    def _bound(self, line: _Line, schema: Schema, clock: Clock) -> Callable[[Row], str]:
        measurement = line.measurement.bind(schema)
        tags = [(key.bind(schema), value.bind_nullable(schema)) for key, value in line.tags]
        fields = [(field.key.bind(schema), _bound_field(field, schema)) for field in line.fields]
        moment = None if line.timestamp is None else line.timestamp.bind(schema)

        def point(row: Row) -> str:
            parts = [lines.measurement(_text(measurement(row)))]
            found = {}
            for key, value in tags:
                tag = value(row)
                if tag:
                    name = lines.key(_text(key(row)), "tag key")
                    found[name] = _about(name, lines.tag, _text(tag))
            parts += [f"{key}={found[key]}" for key in sorted(found)]
            values = []
            for key, field in fields:
                name = lines.key(_text(key(row)))
                if text := _about(name, field, row):
                    values.append(f"{name}={text}")
            if not values:
                lines.refuse("no field has a value")
            when = clock.next() if moment is None else self._moment(_text(moment(row)))
            return f"{','.join(parts)} {','.join(values)} {when}"

        return point

    def _moment(self, text: str) -> int:
        if _INTEGER.fullmatch(text):
            return int(text.partition(".")[0])
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            lines.refuse(f"{text!r:.80} is no timestamp")
        if moment.tzinfo is None:
            lines.refuse(f"{text!r:.80} has no time zone")
        seconds = int(moment.replace(microsecond=0).timestamp())
        return (seconds * 1_000_000_000 + moment.microsecond * 1_000) // self._unit


def _bound_field(field: _Field, schema: Schema) -> Callable[[Row], str | None]:
    if field.kind == "string":
        render = field.value.bind_nullable(schema)

        def quoted(row: Row) -> str | None:
            text = render(row)
            return None if text is None else lines.string(_text(text))

        return quoted
    if field.kind == "constant":
        constant = field.value.text
        return lambda _: constant
    value_of = field.value.bind_value(schema)
    assert value_of is not None  # noqa: S101 - the parser has made sure of it
    convert = _any if field.kind == "any" else (lambda value: _whole(value, unsigned=field.kind == "u"))
    return lambda row: convert(value_of(row))


def _about(name: str, function: Callable[[Any], Any], value: Any) -> Any:
    try:
        return function(value)
    except PayloadError as error:
        raise lines.about(name, error) from None


def _any(value: Any) -> str | None:
    return lines.field(value, floats=True)


def _whole(value: Any, *, unsigned: bool) -> str | None:
    if value is None or value is MISSING:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    elif isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value.partition(".")[0])
    if isinstance(value, bool) or not isinstance(value, int):
        lines.refuse(f"{value!r:.40} is no integer")
    return lines.field(value, unsigned=unsigned)


def _text(rendered: bytes) -> str:
    try:
        return rendered.decode()
    except UnicodeDecodeError:
        lines.refuse("bytes that are no UTF-8 text")


# -- parsing ----------------------------------------------------------------------------------------------------------


def _parse(line: str) -> _Line:
    parts = [part for part in _split(line, " ") if part]
    if not 2 <= len(parts) <= 3:
        raise _wrong(f"{len(parts)} parts instead of measurement, fields and timestamp: {line!r}")
    measurement, *tags = _split(parts[0], ",")
    if not measurement:
        raise _wrong(f"no measurement: {line!r}")
    return _Line(
        Template(_plain(measurement)),
        [(Template(_plain(key)), Template(_plain(value))) for key, value in map(_pair, tags)],
        [_field(*_pair(text)) for text in _split(parts[1], ",")],
        Template(parts[2]) if len(parts) == 3 else None,
    )


def _split(text: str, separator: str) -> Iterator[str]:
    """The parts between separators that are neither escaped, nor in quotes, nor in a placeholder."""
    part = ""
    for found in _PIECE.finditer(text):
        if found[0] == separator:
            yield part
            part = ""
        else:
            part += found[0]
    yield part


def _pair(text: str) -> tuple[str, str]:
    key, *values = _split(text, "=")
    if not key or len(values) != 1 or not values[0]:
        raise _wrong(f"{text!r} is not key=value")
    return key, values[0]


def _field(key: str, value: str) -> _Field:
    name = Template(_plain(key))
    if len(value) > 1 and value[0] == value[-1] == '"':
        return _Field(name, Template(_plain(value[1:-1])), "string")
    if _CONSTANT.fullmatch(value):
        return _Field(name, Template(value), "constant")
    placeholder = re.fullmatch(r"(\$\{[^{}]+\})([iu]?)", value)
    if placeholder is None:
        raise _wrong(f"{value!r} is neither a placeholder, nor a number, nor true or false; quote a text")
    template = Template(placeholder[1])
    if template.constant is not None or placeholder[1] in ("${.}", "${}"):
        raise _wrong(f"{value!r} names no column")
    return _Field(name, template, placeholder[2] or "any")


def _plain(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


def _wrong(message: str) -> ConfigError:
    return ConfigError(message, path="write_syntax", hint=_EXAMPLE)
