"""CREATE SOURCE -> a bound query over messages that gives the source's rows, and what is known of them.

Each column is one value of the query: a field of the payload, a level of the topic or a column of the message, brought
to the declared type (``tree.Declared``). A value that does not fit makes the message fail, with the column's name.
What the options take is in ``declared_options``, where the topic's levels are in ``declared_topic``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlglot import exp

from core.message import Type
from rules.bind import Binder
from rules.casts import ANY_SHAPE, Shape
from rules.columns import MESSAGE_COLUMNS, Columns, row_columns
from rules.declared_options import SOURCE, UNITS, SourceOptions, read_written
from rules.declared_topic import bound_levels, filter_of
from rules.diagnostics import Problems, suggestion
from rules.functions import FunctionTable
from rules.nodes import ColumnDef, CreateSource, span_of
from rules.relations import EventColumn
from rules.tree import (
    UNDEFINED,
    Arithmetic,
    Column,
    Const,
    Declared,
    Document,
    Expr,
    First,
    Item,
    Key,
    Query,
    Ref,
    TopicLevel,
    Unnest,
)
from rules.windows.plan import EventTime

SOURCE_MESSAGES: Final = replace(MESSAGE_COLUMNS, objects=True)
"""The messages of a source: a payload that is no object is none of its payloads."""
_ABOUT_TIME: Final = ("idle_timeout", "max_ahead")


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


def take_columns(columns: Sequence[exp.Expr], problems: Problems) -> dict[str, exp.Expr]:
    """The columns of a CREATE by name, in their order."""
    found: dict[str, exp.Expr] = {}
    for column in columns:
        name = column.this.name
        if name in found:
            problems.add("duplicate-column", f"there is already a column {name!r}", span_of(column.this))
        found[name] = column
    return found


def type_of(column: exp.Expr) -> Type:
    assert isinstance(column, ColumnDef)  # noqa: S101  the grammar makes nothing else
    return Type[column.args["kind"].name]


def rows_of(columns: Mapping[str, exp.Expr]) -> Columns:
    """The columns of rows that hold values of the declared types."""
    kinds = [type_of(column) for column in columns.values()]
    return row_columns(columns, kinds, [bool(column.args.get("not_null")) for column in columns.values()])


class _Source:
    def __init__(self, tree: CreateSource, functions: FunctionTable, problems: Problems) -> None:
        self._tree = tree
        self._functions = functions
        self._problems = problems
        self._before = len(problems.found)
        self._columns = take_columns(tree.args["columns"], problems)
        self._written = read_written(tree, SOURCE, problems)
        self._options = SourceOptions(**self._written.values)

    def declared(self) -> DeclaredSource | None:
        name = self._tree.this.name
        levels = self._levels()
        metadata = self._metadata(levels)
        time = self._time()
        if len(self._problems.found) > self._before:
            return None
        query = self._query(levels, metadata)
        return DeclaredSource(name, query, rows_of(self._columns), time)

    # The query

    def _query(self, levels: Mapping[str, int], metadata: Collection[str]) -> Query:
        lets: list[Expr] = []
        unnest = None
        document: Expr = Document()
        source = SOURCE_MESSAGES
        array = self._options.unnest
        if array:
            payload = array is True
            name = "payload" if payload else str(array)
            whole = document if payload else Key(document, name)
            unnest = Unnest(Ref(0), 1, None)
            lets = [self._brought(whole, name, Type.ARRAY), self._brought(Item(), f"{name}[]", Type.OBJECT)]
            document = UNDEFINED if payload else document
            source = MESSAGE_COLUMNS if payload else source
        outputs = []
        for name, column in self._columns.items():
            outputs.append((name, len(lets)))
            lets.append(self._value(name, column, levels, metadata, document, Ref(1) if array else None))
        filters = tuple(filter_of(topic.name) for topic in self._options.topic)
        return Query(source, filters, tuple(lets), None, unnest, tuple(outputs))

    @staticmethod
    def _brought(value: Expr, name: str, kind: Type) -> Declared:
        return Declared(value, name, kind, ANY_SHAPE, not_null=True, unit=0)

    def _value(
        self,
        name: str,
        column: exp.Expr,
        levels: Mapping[str, int],
        metadata: Collection[str],
        document: Expr,
        element: Expr | None,
    ) -> Expr:
        unit = UNITS[self._options.timestamp_unit]
        place: Expr
        if name in levels:
            place = TopicLevel(levels[name])
        elif name in metadata:
            place, unit = Column(name), UNITS["ms"]
        elif element is None:
            place = Key(document, name)
        elif document == UNDEFINED:
            place = Key(element, name)
        else:
            place = First(Key(element, name), Key(document, name))
        kind = column.args["kind"]
        shape = Shape(kind.args.get("precision") or 0, kind.args.get("scale") or 0)
        not_null = bool(column.args.get("not_null"))
        return Declared(place, name, type_of(column), shape, not_null, unit, span=span_of(column))

    # The message

    def _levels(self) -> dict[str, int]:
        if "topic" not in self._written.places:
            hint = "WITH (topic = 'cp/{station}/meter'): {station} binds a column to that level"
            message = "a source reads a topic, and this one names none"
            self._problems.add("missing-option", message, span_of(self._tree.this), hint=hint)
        return bound_levels(self._options.topic, self._columns, self._problems)

    def _metadata(self, levels: Collection[str]) -> tuple[str, ...]:
        """The columns that are the message's own."""
        known = MESSAGE_COLUMNS.specs
        for item in self._options.metadata:
            name, place = item.name, span_of(item)
            if name not in known:
                hint = suggestion(name, known) or f"there are {', '.join(known)}"
                self._problems.add("unknown-column", f"messages have no column {name!r}", place, hint=hint)
            elif name not in self._columns:
                hint = f"add it to the columns: {name} {known[name].type.value}"
                message = f"{name!r} is not among the columns of the source"
                self._problems.add("unknown-column", message, place, hint=hint)
            elif name in levels:
                message = f"{name!r} is bound to the topic"
                hint = "take it out here, or give the level of the topic another name"
                self._problems.add("unknown-column", message, place, hint=hint)
        return tuple(item.name for item in self._options.metadata)

    # The watermark

    def _time(self) -> EventColumn | None:
        watermark = self._tree.args.get("watermark")
        if watermark is None:
            for option in _ABOUT_TIME:
                if option in self._written.places:
                    message = f"{option} is about the watermark, and the source has none"
                    hint = "add WATERMARK FOR ts AS ts - INTERVAL '10 seconds' to its columns"
                    place = span_of(self._written.places[option])
                    self._problems.add("missing-watermark", message, place, hint=hint)
            return None
        name = watermark.this.name
        column = self._columns.get(name)
        place = span_of(watermark.this)
        if column is None:
            hint = suggestion(name, self._columns) or f"add it to the columns: {name} TIMESTAMP NOT NULL"
            self._problems.add("unknown-column", f"there is no column {name!r}", place, hint=hint)
            return None
        if type_of(column) is not Type.TIMESTAMP or not column.args.get("not_null"):
            message = f"the watermark is for a TIMESTAMP NOT NULL, and {name!r} is none"
            self._problems.add("bad-watermark", message, place, hint=f"declare it: {name} TIMESTAMP NOT NULL")
            return None
        delay = self._delay(watermark, name)
        if delay is None:
            return None
        return EventColumn(name, EventTime(delay, self._options.idle_timeout, max_ahead=self._options.max_ahead))

    def _delay(self, watermark: exp.Expr, name: str) -> int | None:
        columns = rows_of(self._columns)
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
