"""What ``CREATE SOURCE ... WITH (...)`` and ``CREATE TABLE ... WITH (...)`` may say: every option with what it takes.

A statement with options that are wrong declares nothing, so what is read here holds only what was said well. Whether
options fit one another and the columns is the business of ``declared`` and ``declared_table``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sqlglot import exp

from rules.diagnostics import Problems
from rules.joins.options import MAX_ENTRIES, OnFailure
from rules.options import Written, WrongOption, read_count, read_length, read_one_of, read_text, read_with

CODECS: Final = ("json",)
UNITS: Final = MappingProxyType({"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0})
"""Microseconds of a number in a TIMESTAMP column, 0 for a thousandth of one."""
HOUR: Final = 3_600_000_000
_NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """The options of a source; lengths are microseconds."""

    topic: tuple[exp.Expr, ...] = ()
    codec: str = "json"
    timestamp_unit: str = "ms"
    unnest: str | bool = False
    metadata: tuple[exp.Expr, ...] = ()
    idle_timeout: int | None = None
    max_ahead: int | None = HOUR
    description: str = ""


class Option(NamedTuple):
    """``usual`` is what holds where it is not said, as the reference page has it; ``text`` says what it is for."""

    read: Callable[[exp.Expr], Any]
    takes: str
    usual: str
    text: str


def _texts(value: exp.Expr) -> tuple[exp.Expr, ...]:
    items = value.expressions if isinstance(value, exp.Array) else [value]
    for item in items:
        if not (isinstance(item, exp.Literal) and item.is_string):
            raise WrongOption("is a text or a list of texts", place=item)
    return tuple(items)


def _some_time(value: exp.Expr) -> int:
    length = read_length(value)
    if length < 1:
        raise WrongOption("is longer than nothing, such as '30 seconds'")
    return length


def _ahead(value: exp.Expr) -> int | None:
    if isinstance(value, exp.Literal) and value.is_string and value.name == _NONE:
        return None
    try:
        return read_length(value)
    except WrongOption:
        raise WrongOption(f"is a length of time, such as '1 hour', or '{_NONE}'") from None


def _unnest(value: exp.Expr) -> str | bool:
    if isinstance(value, exp.Boolean):
        return bool(value.this)
    if isinstance(value, exp.Literal) and value.is_string and value.name:
        return value.name
    raise WrongOption("is the name of a field, or true for a payload that is an array itself")


_TEXT: Final = "text"
_TEXTS: Final = "text or list of texts"
_LENGTH: Final = "length of time"

SOURCE: Final[Mapping[str, Option]] = MappingProxyType(
    {
        "topic": Option(
            _texts,
            _TEXTS,
            "",
            "Topic filters. `{name}` stands for one level, as `+` does, and binds the column of that name to it. "
            "Must be there.",
        ),
        "codec": Option(read_one_of(CODECS), "`'json'`", "`'json'`", "How payloads are decoded."),
        "timestamp_unit": Option(
            read_one_of(tuple(UNITS)),
            "`'s'`, `'ms'`, `'us'`, `'ns'`",
            "`'ms'`",
            "What a number means in a `TIMESTAMP` column, since 1970. A text is RFC 3339 whatever this says.",
        ),
        "unnest": Option(
            _unnest,
            "text or boolean",
            "`false`",
            "The field that holds an array of objects, each of which becomes a row; `true`: the payload is that array.",
        ),
        "metadata": Option(
            _texts,
            _TEXTS,
            "",
            "Columns that are the message's own (`clientid`, `username`, `topic`, `qos`, `timestamp`, ... as in a "
            "query over a topic), and no fields of the payload.",
        ),
        "idle_timeout": Option(
            _some_time,
            _LENGTH,
            "wait",
            "Where no row came for so long, the watermark goes on with the clock, so that the last windows close.",
        ),
        "max_ahead": Option(
            _ahead,
            f"{_LENGTH} or `'{_NONE}'`",
            "`'1 hour'`",
            "Rows whose time is further in the future are refused and counted, so that one wrong clock closes no "
            f"window too early. `'{_NONE}'`: any time is believed.",
        ),
        "description": Option(read_text, _TEXT, "", "For people."),
    }
)

TABLE: Final[Mapping[str, Option]] = MappingProxyType(
    {
        "type": Option(read_one_of(("lookup",)), "`'lookup'`", "`'lookup'`", "There is one kind of table."),
        "key": Option(
            _texts,
            _TEXTS,
            "",
            "The columns that a join compares: `key = 'id'` or `key = ['site', 'id']`. Must be there.",
        ),
        "connection": Option(
            read_text, _TEXT, "", "`[connections.<name>]` of type `sql` in `headrace.toml`; with `table` or `query`."
        ),
        "table": Option(read_text, _TEXT, "", "The table at the connection, `'name'` or `'schema.name'`."),
        "query": Option(
            read_text,
            _TEXT,
            "",
            "Instead of `table` a `SELECT` of your own with `IN (:keys)`; it gives the key column too. For a key of "
            "one column.",
        ),
        "file": Option(
            read_text,
            _TEXT,
            "",
            "Instead of a connection a file: `.csv` with a header, or `.json`, an array of objects. It is read whole, "
            "and again when it has changed. Relative to the configuration.",
        ),
        "ttl": Option(
            read_length, _LENGTH, "`'5 minutes'`", "How long an answer is used before it is asked for again."
        ),
        "negative_ttl": Option(
            read_length, _LENGTH, "`'1 minute'`", "The same for the answer that there is no such row."
        ),
        "max_entries": Option(
            read_count(MAX_ENTRIES),
            "number",
            "100000",
            "Answers that are kept; the one that was not used for the longest time makes way. Of a file: its rows.",
        ),
        "timeout": Option(_some_time, _LENGTH, "`'5 seconds'`", "How long a row waits for its answer."),
        "on_error": Option(
            read_one_of([choice.value for choice in OnFailure]),
            "`'stale'`, `'null'`, `'drop'`",
            "`'stale'`",
            "What it gets if none has come by then: the old answer however old, else no match; no match; or it is "
            "dropped and told of in `system.errors`. It is counted in any case.",
        ),
        "max_parked": Option(
            read_count(MAX_ENTRIES),
            "number",
            "10000",
            "Rows that one join keeps waiting; at this number headrace takes no more messages until there is room.",
        ),
        "description": Option(read_text, _TEXT, "", "For people."),
    }
)
OF_FILES: Final = frozenset({"type", "key", "file", "max_entries", "description"})
"""Those that a table of a file takes."""


def read_written(tree: exp.Expr, known: Mapping[str, Option], problems: Problems) -> Written:
    """The options of a statement; what is wrong with one goes to ``problems``, and it counts as not said."""
    readers = {name: option.read for name, option in known.items()}
    return read_with(tree.args.get("options") or (), readers, problems)
