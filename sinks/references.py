"""Which columns the texts of a sink's settings name, and whether any rule yields them: one check for all sinks.

A placeholder that is not closed is literal text to a template, and a mistake too.

A template that names a column which no rule of the sink selects would give ``undefined`` with every row; that is a
mistake, and found before the first one. Where some rules yield it and others do not, ``undefined`` is what is wanted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from core.message import Schema
from core.registry import did_you_mean
from sinks.base import Sink
from sinks.template import Template


class Unknown(NamedTuple):
    """``path`` leads to the setting, below the sink's table."""

    path: tuple[str, ...]
    message: str
    hint: str


def unknown(column: str, schemas: Collection[Schema]) -> tuple[str, str] | None:
    """What is wrong with naming ``column`` and the way out; None where a rule yields it, or none is there."""
    names = dict.fromkeys(name for schema in schemas for name in schema.names)
    if not names or column in names:
        return None
    bare = column[2:-1] if column.startswith("${") and column.endswith("}") else ""
    if bare in names:
        return f"{column!r} is no name of a column", f"it stands here alone: {bare!r}"
    other_case = next((f"did you mean {name!r}?" for name in names if name.casefold() == column.casefold()), None)
    return f"no rule yields {column!r}", other_case or did_you_mean(column, names) or f"they yield {', '.join(names)}"


def unknown_columns(sink: type[Sink], config: msgspec.Struct, schemas: Sequence[Schema]) -> list[Unknown]:
    """The columns in templates (``Sink.templates``) that no rule yields. Defaults may name what need not be there."""
    found: list[Unknown] = []
    names = {name for schema in schemas for name in schema.names}
    defaults = {field.name: field.default for field in msgspec.structs.fields(config)}
    for setting in sink.templates:
        value = getattr(config, setting)
        if value == defaults[setting]:
            continue
        for path, text in _texts(value, (setting,)):
            template = Template(text)
            if template.unclosed:
                hint = "add the }, or write ${$}{ for these two characters"
                found.append(Unknown(path, "has a ${ that is not closed", hint))
            for placeholder in template.names:
                column = placeholder if placeholder in names else placeholder.partition(".")[0]
                if problem := unknown(column, schemas):
                    found.append(Unknown(path, *problem))
    return list(dict.fromkeys(found))


def _texts(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _texts(getattr(value, name), (*path, name))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item, (*path, str(name)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, str(index)))
