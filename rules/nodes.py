"""The syntax tree's nodes that sqlglot lacks, and the place of every node in its text.

Everything else is sqlglot's own: ``exp.Column`` is a bare name, ``exp.Dot``, ``exp.Bracket`` the steps of a path.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar

from sqlglot import Token, exp

from rules.diagnostics import NOWHERE, Span

Node = TypeVar("Node", bound=exp.Expr)


class TopicMatch(exp.Expression, exp.Binary, exp.Predicate):
    """``topic =~ 'filter'``."""


class Range(exp.Expression):
    """``[this..expression]``, inclusive; on its own a list of integers, in a bracket a part of a list."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "expression": True}


class TypeName(exp.Expression):
    """The name of a type of ours; a DECIMAL's digits are integers in ``precision`` and ``scale``."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "precision": False, "scale": False}


class TimestampLiteral(exp.Expression):
    """``TIMESTAMP '2026-01-01T00:00:00Z'``."""


class IntervalLiteral(exp.Expression):
    """``INTERVAL '10 seconds'``, ``INTERVAL '1' HOUR``: a literal, and the unit's name or nothing."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "unit": False}


class Extract(exp.Expression):
    """``EXTRACT(field FROM this)``; the field is an identifier."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "field": True}


class AtTimeZone(exp.Expression):
    """``this AT TIME ZONE 'zone'``."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "zone": True}


class ObjectLiteral(exp.Expression):
    """``{'key': value, ...}``: as many keys as values."""

    arg_types: ClassVar[dict[str, bool]] = {"keys": False, "expressions": False}


class IsDistinct(exp.Expression, exp.Binary, exp.Predicate):
    """``this IS DISTINCT FROM expression``."""


class InArray(exp.Expression, exp.Binary, exp.Predicate):
    """``this IN expression``: the items of an array, without parentheses."""


class SelectAll(exp.Expression):
    """``* EXCEPT (excluded) REPLACE (replaced)``; a plain ``*`` is exp.Star."""

    arg_types: ClassVar[dict[str, bool]] = {"excluded": False, "replaced": False}


class Foreach(exp.Expression):
    """``FOREACH expressions [DO do] [INCASE incase] FROM tables [WHERE where]``."""

    arg_types: ClassVar[dict[str, bool]] = {
        "expressions": True,
        "do": False,
        "incase": False,
        "tables": True,
        "where": False,
    }


class ColumnDef(exp.Expression):
    """A column of CREATE SOURCE or CREATE TABLE: an identifier and a TypeName."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "kind": True, "not_null": False}


class Watermark(exp.Expression):
    """``WATERMARK FOR this AS expression``: the identifier of a column and how far time has come with its value."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "expression": True}


class CreateSource(exp.Expression):
    """``CREATE SOURCE this (columns, watermark) WITH (options)``: ColumnDefs, a Watermark, exp.Propertys."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "columns": True, "watermark": False, "options": False}


class CreateTable(exp.Expression):
    """``CREATE TABLE this (columns) WITH (options)``; the list of columns may be left out."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "columns": False, "options": False}


class CreateView(exp.Expression):
    """``CREATE VIEW this WITH (options) AS expression``."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "options": False, "expression": True}


class WindowTable(exp.Expression):
    """``TUMBLE(this, expressions) AS alias`` in FROM. ``name`` is the function's identifier, ``this`` the exp.Table
    that it reads, ``expressions`` what follows; an alias is an identifier."""

    arg_types: ClassVar[dict[str, bool]] = {"name": True, "this": True, "expressions": False, "alias": False}


class Over(exp.Expression):
    """``OVER (PARTITION BY partition WHEN when)``; either may be left out."""

    arg_types: ClassVar[dict[str, bool]] = {"partition": False, "when": False}


class Modified(exp.Expression):
    """A call (exp.Anonymous, ``*`` is an exp.Star argument) with what may stand in and behind its parentheses:
    ``this(DISTINCT ... ORDER BY order) FILTER (WHERE filter) OVER over``. ``order`` are exp.Ordereds."""

    arg_types: ClassVar[dict[str, bool]] = {
        "this": True,
        "distinct": False,
        "order": False,
        "filter": False,
        "over": False,
    }


FROM_ARG = "from_" if "from_" in exp.Select.arg_types else "from"
"""The name of a select's FROM among its arguments, which sqlglot has changed once."""

MORE_SINKS_ARG = "more"
"""The argument of an exp.Insert with the tables that ``INSERT INTO a, b`` names beside the first."""


def mark(node: Node, first: Token, last: Token) -> Node:
    """Note that ``node`` was written from ``first`` to ``last``."""
    node.meta["start"], node.meta["end"] = first.start, last.end + 1
    return node


def span_of(node: exp.Expr) -> Span:
    """The text range of a node that the grammar made; NOWHERE for one made elsewhere."""
    start, end = node.meta.get("start"), node.meta.get("end")
    return Span(start, end) if isinstance(start, int) and isinstance(end, int) else NOWHERE
