"""CREATE SOURCE -> a bound query over messages that gives the source's rows, and what is known of them.

Each column is one value of the query: a field of the payload, a level of the topic or a column of the message, brought
to the declared type (``tree.Declared``). A value that does not fit makes the row fail, with the column's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlglot import exp

from core.errors import TopicError
from core.message import Type
from core.topics import validate_filter
from rules.bind import Binder
from rules.casts import Shape
from rules.columns import MESSAGE_COLUMNS, Columns, row_columns
from rules.declared_options import SourceOptions, read_source_options
from rules.diagnostics import Problems, suggestion
from rules.functions import FunctionTable
from rules.nodes import ColumnDef, CreateSource, span_of
from rules.relations import EventColumn
from rules.tree import Arithmetic, Column, Const, Declared, Document, Expr, Key, Query, TopicLevel
from rules.windows.plan import EventTime

_UNITS: Final = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0}


@dataclass(frozen=True, slots=True)
class DeclaredSource:
    """``query`` gives rows of ``columns``; ``time`` is the column of the watermark."""

    name: str
    query: Query
    columns: Columns
    time: EventColumn | None


def declare_source(tree: CreateSource, functions: FunctionTable, problems: Problems) -> DeclaredSource | None:
    """The source that a statement declares; None where ``problems`` has found something in it."""
    return _Source(tree, functions, problems).declared()


class _Source:
    def __init__(self, tree: CreateSource, functions: FunctionTable, problems: Problems) -> None:
        self._tree = tree
        self._functions = functions
        self._problems = problems
        self._columns: dict[str, exp.Expr] = {}

    def declared(self) -> DeclaredSource | None:
        tree, problems = self._tree, self._problems
        before = len(problems.found)
        for column in tree.args["columns"]:
            self._take(column)
        options = read_source_options(tree, problems)
        levels = self._levels(options)
        metadata = self._metadata(options, levels)
        time = self._time(options)
        if len(problems.found) > before:
            return None
        lets = tuple(self._value(name, options, levels, metadata) for name in self._columns)
        outputs = tuple((name, index) for index, name in enumerate(self._columns))
        filters = tuple(filter_of(topic.name) for topic in options.topics)
        query = Query(MESSAGE_COLUMNS, filters, lets, None, None, outputs)
        kinds = [_type_of(column) for column in self._columns.values()]
        sure = [bool(column.args.get("not_null")) for column in self._columns.values()]
        return DeclaredSource(tree.this.name, query, row_columns(self._columns, kinds, sure), time)

    def _take(self, column: exp.Expr) -> None:
        name = column.this.name
        if name in self._columns:
            self._problems.add("duplicate-column", f"there is already a column {name!r}", span_of(column.this))
        self._columns[name] = column

    def _value(self, name: str, options: SourceOptions, levels: Mapping[str, int], metadata: Sequence[str]) -> Expr:
        column = self._columns[name]
        place: Expr
        if name in levels:
            place = TopicLevel(levels[name])
        elif name in metadata:
            place = Column(name)
        else:
            place = Key(Document(), name)
        kind = column.args["kind"]
        shape = Shape(kind.args.get("precision") or 0, kind.args.get("scale") or 0)
        not_null = bool(column.args.get("not_null"))
        unit = _UNITS[options.timestamp_unit]
        return Declared(place, name, _type_of(column), shape, not_null, unit, span=span_of(column))

    # The topic

    def _levels(self, options: SourceOptions) -> dict[str, int]:
        """The levels of the topic that columns are bound to; the same in every template."""
        found: dict[str, int] | None = None
        for topic in options.topics:
            levels = self._bound(topic)
            if found is None:
                found = levels
            elif found != levels:
                message = "the templates bind columns to different levels of the topic"
                hint = "write one source for each, and a view over both"
                self._problems.add("bad-topic-filter", message, span_of(topic), hint=hint)
        return found or {}

    def _bound(self, topic: exp.Expr) -> dict[str, int]:
        bound: dict[str, int] = {}
        for number, level in enumerate(topic.name.split("/")):
            if not ("{" in level or "}" in level):
                continue
            name = level[1:-1]
            hint = "{name} stands for one whole level: 'cp/{station}/meter'"
            if not (level.startswith("{") and level.endswith("}")) or "{" in name or "}" in name:
                message = f"{level!r} is no level of a topic"
                self._problems.add("bad-topic-filter", message, span_of(topic), hint=hint)
            elif name not in self._columns:
                hint = suggestion(name, self._columns) or f"add it to the columns: {name} TEXT"
                self._problems.add("unknown-column", f"there is no column {name!r}", span_of(topic), hint=hint)
            elif name in bound:
                message = f"{name!r} is bound to two levels"
                self._problems.add("bad-topic-filter", message, span_of(topic), hint="'+' is a level without a name")
            else:
                bound[name] = number
        try:
            validate_filter(filter_of(topic.name))
        except TopicError as error:
            self._problems.add("bad-topic-filter", str(error), span_of(topic))
        return bound

    def _metadata(self, options: SourceOptions, levels: Mapping[str, int]) -> tuple[str, ...]:
        """The columns that are the message's own."""
        known = MESSAGE_COLUMNS.specs
        for item in options.metadata:
            name = item.name
            if name not in known:
                hint = suggestion(name, known) or f"there are {', '.join(known)}"
                self._problems.add("unknown-column", f"messages have no column {name!r}", span_of(item), hint=hint)
            elif name not in self._columns or name in levels:
                where = "is bound to the topic" if name in levels else "is not among the columns of the source"
                hint = f"add it to the columns: {name} {known[name].type.value}"
                self._problems.add("unknown-column", f"{name!r} {where}", span_of(item), hint=hint)
        return tuple(item.name for item in options.metadata)

    # The watermark

    def _time(self, options: SourceOptions) -> EventColumn | None:
        watermark = self._tree.args.get("watermark")
        if watermark is None:
            if options.idle_timeout is not None:
                message = "idle_timeout is about the watermark, and the source has none"
                hint = "add WATERMARK FOR ts AS ts - INTERVAL '10 seconds' to its columns"
                self._problems.add("missing-watermark", message, span_of(self._tree.this), hint=hint)
            return None
        name = watermark.this.name
        column = self._columns.get(name)
        place = span_of(watermark.this)
        if column is None:
            hint = suggestion(name, self._columns) or f"add it to the columns: {name} TIMESTAMP NOT NULL"
            self._problems.add("unknown-column", f"there is no column {name!r}", place, hint=hint)
            return None
        if _type_of(column) is not Type.TIMESTAMP or not column.args.get("not_null"):
            message = f"the watermark is for a TIMESTAMP NOT NULL, and {name!r} is none"
            self._problems.add("bad-watermark", message, place, hint=f"declare it: {name} TIMESTAMP NOT NULL")
            return None
        delay = self._delay(watermark, name)
        if delay is None:
            return None
        return EventColumn(name, EventTime(delay, options.idle_timeout, max_ahead=options.max_ahead))

    def _delay(self, watermark: exp.Expr, name: str) -> int | None:
        columns = row_columns([name], [Type.TIMESTAMP], [True])
        before = len(self._problems.found)
        value = Binder(columns, self._functions, self._problems).expression(watermark.expression)
        if len(self._problems.found) > before:
            return None
        if value == Column(name):
            return 0
        if isinstance(value, Arithmetic) and value.operator == "-" and value.left == Column(name):
            delay = value.right
            if isinstance(delay, Const) and delay.type is Type.INTERVAL and delay.value >= 0:
                return int(delay.value)
        message = "a watermark is the column, less a constant interval"
        hint = f"WATERMARK FOR {name} AS {name} - INTERVAL '10 seconds'"
        self._problems.add("bad-watermark", message, span_of(watermark.expression), hint=hint)
        return None


def filter_of(template: str) -> str:
    """The topic filter of a template."""
    return "/".join("+" if level[:1] == "{" and level[-1:] == "}" else level for level in template.split("/"))


def _type_of(column: exp.Expr) -> Type:
    assert isinstance(column, ColumnDef)  # noqa: S101  the grammar makes nothing else
    return Type[column.args["kind"].name]
