"""Bound expressions as SQL for people: in plans and messages. One form for one expression, parentheses where needed."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from core.message import MISSING, Type
from rules.analytics import ANALYTICS
from rules.functions.instants import zoned_text
from rules.functions.intervals import interval_text
from rules.tree import (
    Aggregated,
    Analytic,
    And,
    Append,
    Arithmetic,
    Call,
    Case,
    Cast,
    Coalesce,
    Column,
    Compare,
    Concat,
    Const,
    Declared,
    Distinct,
    Document,
    DocumentOf,
    Expr,
    Extract,
    Extreme,
    First,
    In,
    InArray,
    Index,
    IntegerRange,
    IsBoolean,
    IsNull,
    Item,
    Key,
    KeyOf,
    Like,
    ListOf,
    Negate,
    Not,
    NullIf,
    ObjectOf,
    Opened,
    Or,
    Put,
    Query,
    Received,
    Ref,
    Sender,
    Shift,
    Slice,
    TopicLevel,
    TopicMatches,
    Whole,
    WindowEdge,
)

_BARE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$@~]*", re.ASCII).fullmatch
_MAX_HIDDEN: Final = 1_000
_COMPOUND: Final = (
    *(And, Or, Not, Compare, Arithmetic, Shift, Concat, First),
    *(In, InArray, Like, IsNull, IsBoolean, Distinct, TopicMatches),
)


class Unparser:
    """``query`` gives the meaning of references to earlier values."""

    def __init__(self, query: Query) -> None:
        self._names: dict[int, str] = {}
        for name, index in query.outputs:
            self._names.setdefault(index, name)
        self._lets = query.lets
        self._hidden: dict[int, str] = {}

    def of(self, expr: Expr) -> str:
        return _TEXT[type(expr)](self, expr)

    def _part(self, expr: Expr) -> str:
        text = self.of(expr)
        return f"({text})" if isinstance(expr, _COMPOUND) else text

    def _list(self, items: tuple[Expr, ...]) -> str:
        return ", ".join(map(self.of, items))

    def _const(self, expr: Const) -> str:
        value = expr.value
        if value is MISSING:
            return "undefined"
        if value is None:
            return "NULL"
        if expr.type is Type.TIMESTAMP:
            return f"TIMESTAMP '{zoned_text(value, 'UTC')}'"
        if expr.type is Type.INTERVAL:
            return f"INTERVAL '{interval_text(value)}'"
        if isinstance(value, bool):
            return "true" if value else "false"
        return f"'{value}'" if isinstance(value, str) else repr(value)

    def _object_of(self, expr: ObjectOf) -> str:
        return f"{{{', '.join(f'{self.of(key)}: {self.of(value)}' for key, value in expr.entries)}}}"

    def _ref(self, expr: Ref) -> str:
        name = self._names.get(expr.index)
        return self._hidden_value(expr.index) if name is None else _name(name)

    def _hidden_value(self, index: int) -> str:
        """A value without a name of its own. Each may hold those before it twice, so long ones are cut."""
        text = self._hidden.get(index)
        if text is None:
            text = self._part(self._lets[index])
            text = self._hidden[index] = text if len(text) <= _MAX_HIDDEN else f"{text[:_MAX_HIDDEN]}..."
        return text

    def _put(self, expr: Put) -> str:
        steps = "".join(
            f".{_name(step.value)}" if isinstance(step, Const) and isinstance(step.value, str) else f"[{self.of(step)}]"
            for step in expr.steps
        )
        return f"put({self.of(expr.base)}, {steps}, {self.of(expr.value)})"

    def _case(self, expr: Case) -> str:
        operand = "" if expr.operand is None else f" {self.of(expr.operand)}"
        branches = "".join(f" WHEN {self.of(test)} THEN {self.of(value)}" for test, value in expr.branches)
        return f"CASE{operand}{branches} ELSE {self.of(expr.default)} END"

    def _binary(self, operator: str, left: Expr, right: Expr) -> str:
        return f"{self._part(left)} {operator} {self._part(right)}"

    def _aggregated(self, expr: Aggregated) -> str:
        items = [*map(self.of, expr.arguments), *(self.of(Const(value, Type.ANY)) for value in expr.constants)]
        order = ", ".join(map(self._sorted, expr.order, expr.directions))
        inside = f"{'DISTINCT ' if expr.distinct else ''}{', '.join(items) or '*'}"
        called = f"{expr.name}({inside}{' ORDER BY ' if order else ''}{order})"
        return called if expr.filter is None else f"{called} FILTER (WHERE {self.of(expr.filter)})"

    def _sorted(self, value: Expr, direction: tuple[bool, bool]) -> str:
        descending, nulls_first = direction
        nulls = "" if nulls_first is descending else f" NULLS {'FIRST' if nulls_first else 'LAST'}"
        return f"{self.of(value)}{' DESC' if descending else ''}{nulls}"

    def _analytic(self, expr: Analytic) -> str:
        arguments, constants = map(self.of, expr.arguments), iter(expr.constants)
        items: list[str] = []
        written = 0  # what stands behind it is as it is without being written
        for parameter in ANALYTICS[expr.name].parameters:
            if parameter.constant is not None:
                value = next(constants)
                items.append(self.of(Const(value, Type.ANY)))
                if value == parameter.default:
                    continue
            elif parameter.repeated:
                items += arguments
            else:
                taken = list(islice(arguments, 1))
                if not taken:
                    continue
                items += taken
            written = len(items)
        over = [f"PARTITION BY {self._list(expr.partition)}"] if expr.partition else []
        over += [] if expr.when is None else [f"WHEN {self.of(expr.when)}"]
        return f"{expr.name}({', '.join(items[:written])})" + (f" OVER ({' '.join(over)})" if over else "")

    def _like(self, expr: Like) -> str:
        text = self._binary("ILIKE" if expr.ignore_case else "LIKE", expr.operand, expr.pattern)
        return text if expr.escape == "\\" else f"{text} ESCAPE '{expr.escape}'"

    def _cast(self, expr: Cast) -> str:
        digits = f"({expr.shape.precision}, {expr.shape.scale})" if expr.shape.precision else ""
        zone = f" AT TIME ZONE '{expr.zone}'" if expr.zone else ""
        word = "TRY_CAST" if expr.safe else "CAST"
        return f"{word}({self.of(expr.operand)}{zone} AS {expr.type.value}{digits})"

    def _extract(self, expr: Extract) -> str:
        zone = "" if expr.zone == "UTC" else f" AT TIME ZONE '{expr.zone}'"
        return f"EXTRACT({expr.field.upper()} FROM {self._part(expr.operand)}{zone})"

    def _shift(self, expr: Shift) -> str:
        parts = [f"{expr.months} months"] if expr.months else []
        parts += [interval_text(expr.microseconds)] if expr.microseconds else []
        return f"{self._part(expr.operand)} + INTERVAL '{' '.join(parts)}'"

    def _slice(self, expr: Slice) -> str:
        return f"{self._part(expr.base)}[{self.of(expr.first)}..{self.of(expr.last)}]"


def _name(name: str) -> str:
    return name if _BARE(name) else f'"{name}"'


_TEXT: Final[dict[type[Expr], Callable[[Unparser, Any], str]]] = {
    Const: Unparser._const,
    Column: lambda _, expr: _name(expr.name),
    Document: lambda _, _expr: "payload",
    DocumentOf: lambda text, expr: text._part(expr.base),
    Opened: lambda text, expr: text._part(expr.base),
    Ref: Unparser._ref,
    Item: lambda _, _expr: "item",
    Sender: lambda _, _expr: "publisher",
    First: lambda text, expr: f"{text._part(expr.first)} else {text._part(expr.second)}",
    Key: lambda text, expr: f"{text._part(expr.base)}.{_name(expr.name)}",
    Index: lambda text, expr: f"{text._part(expr.base)}[{text.of(expr.index)}]",
    Slice: Unparser._slice,
    IntegerRange: lambda text, expr: f"[{text.of(expr.first)}..{text.of(expr.last)}]",
    ListOf: lambda text, expr: f"[{text._list(expr.items)}]",
    ObjectOf: Unparser._object_of,
    Append: lambda _, _expr: "-0",
    Put: Unparser._put,
    Arithmetic: lambda text, expr: text._binary(expr.operator, expr.left, expr.right),
    Negate: lambda text, expr: f"-{text._part(expr.operand)}",
    Concat: lambda text, expr: text._binary("||", expr.left, expr.right),
    Compare: lambda text, expr: text._binary(expr.operator, expr.left, expr.right),
    TopicMatches: lambda text, expr: text._binary("=~", expr.topic, expr.topic_filter),
    In: lambda text, expr: f"{text._part(expr.operand)} IN ({text._list(expr.items)})",
    Like: Unparser._like,
    IsNull: lambda text, expr: f"{text._part(expr.operand)} IS NULL",
    InArray: lambda text, expr: text._binary("IN", expr.operand, expr.array),
    IsBoolean: lambda text, expr: f"{text._part(expr.operand)} IS {str(expr.value).upper()}",
    Distinct: lambda text, expr: text._binary("IS DISTINCT FROM", expr.left, expr.right),
    Coalesce: lambda text, expr: f"COALESCE({text._list(expr.operands)})",
    NullIf: lambda text, expr: f"NULLIF({text.of(expr.left)}, {text.of(expr.right)})",
    Extreme: lambda text, expr: f"{'GREATEST' if expr.greatest else 'LEAST'}({text._list(expr.operands)})",
    And: lambda text, expr: " AND ".join(map(text._part, expr.operands)),
    Or: lambda text, expr: " OR ".join(map(text._part, expr.operands)),
    Not: lambda text, expr: f"NOT {text._part(expr.operand)}",
    Case: Unparser._case,
    Cast: Unparser._cast,
    Received: lambda _, _expr: "CURRENT_TIMESTAMP",
    TopicLevel: lambda _, expr: f"level {expr.index + 1} of topic",
    Declared: lambda text, expr: text.of(expr.operand),
    Whole: lambda _, _expr: "the row",
    KeyOf: lambda text, expr: f"({text._list(expr.items)})",
    WindowEdge: lambda _, expr: "window_end" if expr.end else "window_start",
    Aggregated: Unparser._aggregated,
    Analytic: Unparser._analytic,
    Extract: Unparser._extract,
    Shift: Unparser._shift,
    Call: lambda text, expr: f"{expr.name}({text._list(expr.arguments)})",
}
