"""The path of a row: ``meter/{station}/{date:%Y/%m/%d}`` compiled once and bound to a schema.

Invariants: what a value contributes never leaves its own segment (separators, control characters, ``%`` and a leading
dot are percent-encoded), so no payload can reach a file outside of the folder that the template names; equal values
give equal paths.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Final

from core.errors import ConfigError, PayloadError
from core.message import MISSING, Row, Schema, Type
from sinks.encoding import instant, rfc3339
from sinks.template import render_value

_PLACEHOLDER: Final = re.compile(r"\$?\{([^{}:]*)(?::([^{}]*))?\}")
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f/\\%]|^\.")
_MAX_SEGMENT: Final = 200  # bytes; the system allows 255, and a file gets a time, a number and a suffix
_MAX_CACHED: Final = 4_096
_DATE: Final = "date"

PathOf = Callable[[Row, int], str]
"""The path for a row; the second argument is the time in microseconds since the epoch."""


def _escaped(value: Any) -> str:
    if value is None or value is MISSING:
        return "null"
    text = render_value(value).decode("utf-8", "backslashreplace")
    return _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", text) or "null"


def _checked(path: str) -> str:
    for segment in path.split("/"):
        if len(segment.encode()) > _MAX_SEGMENT:
            raise PayloadError(f"a name in its path has more than {_MAX_SEGMENT} bytes: {segment[:40]}...", "path")
    return path


class PathTemplate:
    """A parsed path; ``constant`` is the path where it has no placeholder, ``folder`` what stands before the first one.

    ``time`` names the column that ``{date:...}`` formats. ConfigError (path ``path``) for a format that is none.
    """

    def __init__(self, text: str, time: str | None) -> None:
        self._time = time
        self._parts: list[str | tuple[str, str | None]] = []  # a literal, or a column with its format
        end = 0
        for found in _PLACEHOLDER.finditer(text):
            self._parts.append(text[end : found.start()])
            self._parts.append((found[1], self._format(found[1], found[2])))
            end = found.end()
        self._parts.append(text[end:])
        if any("{" in part or "}" in part for part in self._parts if isinstance(part, str)):
            hint = "write {column} or {date:%Y/%m/%d}"
            raise ConfigError(f"{text!r} has a brace that belongs to no placeholder", path="path", hint=hint)
        self.constant = None if len(self._parts) > 1 else text
        first = str(self._parts[0])
        self.folder = first[: first.rfind("/") + 1]

    @staticmethod
    def _format(name: str, text: str | None) -> str | None:
        if not name:
            raise ConfigError("a placeholder without a column's name", path="path", hint="write {column}")
        if text is None:
            if name == _DATE:
                raise ConfigError("{date} needs a format", path="path", hint="write {date:%Y/%m/%d}")
            return None
        try:
            shown = datetime(2026, 1, 2, tzinfo=UTC).strftime(text)
        except ValueError:
            shown = ""
        if "%" not in text or "%f" in text or not shown or shown == text:
            raise ConfigError(
                f"{text!r} is no format of a time down to seconds", path="path", hint="for example %Y/%m/%d"
            )
        return text

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        names = [part[0] for part in self._parts if isinstance(part, tuple) and part[0] != _DATE]
        if self._time is not None:
            names.append(self._time)
        return tuple(dict.fromkeys(names))

    def bind(self, schema: Schema) -> PathOf:
        """A function that gives the path of a row of ``schema``; PayloadError for a row that can have none."""
        if self.constant is not None:
            constant = self.constant
            return lambda _row, _now: constant
        index = {name: position for position, name in enumerate(schema.names)}
        steps = [_step(part, schema, index, self._time) for part in self._parts if part]
        known: dict[tuple[Any, ...], str] = {}

        def path(row: Row, now: int) -> str:
            values = tuple([step(row, now) for step in steps])
            text = known.get(values)
            if text is None:
                if len(known) >= _MAX_CACHED:
                    known.clear()
                text = known[values] = _checked("".join(values))
            return text

        return path


def _step(
    part: str | tuple[str, str | None], schema: Schema, index: dict[str, int], time: str | None
) -> Callable[[Row, int], str]:
    if isinstance(part, str):
        return lambda _row, _now: part
    name, form = part
    column = time if name == _DATE else name
    position = None if column is None else index.get(column)
    instants = position is not None and schema.types[position] is Type.TIMESTAMP
    if form is None:

        def text(row: Row, _now: int) -> str:
            value = None if position is None else row[position]
            return rfc3339(value) if instants and type(value) is int else _escaped(value)

        return text
    text_of = _formatter(form)

    def date(row: Row, now: int) -> str:
        value = None if position is None else row[position]
        if value is None or value is MISSING:
            return text_of(now) if name == _DATE else "null"
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise PayloadError(f"column {column} is no time: {value!r:.40}", "path")
        return text_of(int(value) if instants else int(value * 1_000))

    return date


def _formatter(form: str) -> Callable[[int], str]:
    """Microseconds since the epoch -> text; a second is formatted once."""
    known: dict[int, str] = {}

    def text(microseconds: int) -> str:
        second = microseconds // 1_000_000
        found = known.get(second)
        if found is None:
            if len(known) >= _MAX_CACHED:
                known.clear()
            found = known[second] = instant(second * 1_000_000).strftime(form)
        return found

    return text
