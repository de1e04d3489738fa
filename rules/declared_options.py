"""What ``CREATE SOURCE name (...) WITH (...)`` may say: every option with what it takes, in one table.

A statement with options that are wrong declares nothing, so :class:`SourceOptions` holds only what was said well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Final

from sqlglot import exp

from rules.diagnostics import Problems, suggestion
from rules.nodes import CreateSource, span_of
from rules.options import WrongOption, read_length, read_one_of, read_text

CODECS: Final = ("json",)
HOUR: Final = 3_600_000_000


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """The options of a source; lengths are microseconds."""

    topics: tuple[exp.Expr, ...] = ()
    """``topic``: topic filters; ``{name}`` stands for one level and binds a column to it."""
    codec: str = "json"
    """How the payload is decoded."""
    timestamp_unit: str = "ms"
    """What a number means in a TIMESTAMP column: s, ms, us or ns since the epoch. A text is RFC 3339."""
    idle_timeout: int | None = None
    """Without rows for so long the watermark goes on with the clock, so that the last windows close; else it waits."""
    max_ahead: int = HOUR
    """Rows whose time is further in the future are refused, so that one wrong clock closes no window."""
    metadata: tuple[exp.Expr, ...] = ()
    """Columns that are the message's own (clientid, topic, qos ...) and not fields of the payload."""
    description: str = ""
    """For people."""


def _texts(value: exp.Expr) -> tuple[exp.Expr, ...]:
    items = value.expressions if isinstance(value, exp.Array) else [value]
    for item in items:
        if not (isinstance(item, exp.Literal) and item.is_string):
            raise WrongOption("is a text or a list of texts", place=item)
    return tuple(items)


_READERS: Final[MappingProxyType[str, tuple[str, Callable[[exp.Expr], Any]]]] = MappingProxyType(
    {
        "topic": ("topics", _texts),
        "codec": ("codec", read_one_of(CODECS)),
        "timestamp_unit": ("timestamp_unit", read_one_of(("s", "ms", "us", "ns"))),
        "idle_timeout": ("idle_timeout", read_length),
        "max_ahead": ("max_ahead", read_length),
        "metadata": ("metadata", _texts),
        "description": ("description", read_text),
    }
)
OPTIONS: Final = tuple(_READERS)
assert {name for name, _ in _READERS.values()} == {field.name for field in fields(SourceOptions)}  # noqa: S101


def read_source_options(tree: CreateSource, problems: Problems) -> SourceOptions:
    """The options of a CREATE SOURCE; what is wrong with them goes to ``problems``."""
    found: dict[str, Any] = {}
    for option in tree.args.get("options") or ():
        name, value = option.this.name, option.args["value"]
        if name not in _READERS:
            hint = suggestion(name, OPTIONS) or f"options are {', '.join(OPTIONS[:-1])} and {OPTIONS[-1]}"
            problems.add("unknown-option", f"there is no option {name!r}", span_of(option.this), hint=hint)
            continue
        target, reader = _READERS[name]
        if target in found:
            problems.add("unknown-option", f"the option {name!r} is there twice", span_of(option.this))
            continue
        try:
            found[target] = reader(value)
        except WrongOption as wrong:
            found[target] = getattr(SourceOptions(), target)
            place = span_of(wrong.place or value)
            problems.add("unknown-option", f"the option {name!r} {wrong}", place, hint=wrong.hint)
    if "topics" not in found:
        hint = "WITH (topic = 'cp/{station}/meter'): {station} binds a column to that level"
        message = "a source reads a topic, and this one names none"
        problems.add("unknown-option", message, span_of(tree.this), hint=hint)
    return SourceOptions(**found)
