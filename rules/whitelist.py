"""The syntax-tree nodes that a rule may consist of, each with the arguments it may carry.

What is not listed here is refused, also where a tree was not made by our grammar: an argument that is set but not
handled would otherwise be dropped in silence.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from sqlglot import exp

from rules.nodes import (
    FROM_ARG,
    AtTimeZone,
    ColumnDef,
    CreateSource,
    CreateTable,
    CreateView,
    Extract,
    Foreach,
    InArray,
    IntervalLiteral,
    IsDistinct,
    Modified,
    ObjectLiteral,
    Over,
    Range,
    SelectAll,
    TimestampLiteral,
    TopicMatch,
    TypeName,
    Watermark,
    WindowTable,
)

ALLOWED: Final = MappingProxyType(
    {
        exp.Select: {"expressions", FROM_ARG, "joins", "where", "group", "having", "qualify", "order", "limit"},
        Foreach: {"expressions", "do", "incase", "tables", "where"},
        exp.From: {"this"},
        exp.Join: {"this", "on", "side"},
        exp.Table: {"this", "db", "alias"},
        WindowTable: {"name", "this", "expressions", "alias"},
        exp.Where: {"this"},
        exp.Group: {"expressions"},
        exp.Having: {"this"},
        exp.Qualify: {"this"},
        exp.Order: {"expressions"},
        exp.Ordered: {"this", "desc", "nulls_first"},
        exp.Limit: {"expression"},
        exp.Alias: {"this", "alias"},
        exp.Star: set[str](),
        SelectAll: {"excluded", "replaced"},
        exp.Column: {"this"},
        exp.Identifier: {"this", "quoted"},
        exp.Dot: {"this", "expression"},
        exp.Bracket: {"this", "expressions"},
        Range: {"this", "expression"},
        exp.Literal: {"this", "is_string"},
        exp.Boolean: {"this"},
        exp.Array: {"expressions"},
        ObjectLiteral: {"keys", "expressions"},
        exp.Anonymous: {"this", "expressions"},
        Modified: {"this", "distinct", "order", "filter", "over"},
        Over: {"partition", "when"},
        exp.Paren: {"this"},
        exp.Case: {"this", "ifs", "default"},
        exp.If: {"this", "true"},
        exp.Cast: {"this", "to"},
        exp.TryCast: {"this", "to"},
        TypeName: {"this", "precision", "scale"},
        TimestampLiteral: {"this"},
        IntervalLiteral: {"this", "unit"},
        Extract: {"this", "field"},
        AtTimeZone: {"this", "zone"},
        exp.In: {"this", "expressions"},
        exp.Between: {"this", "low", "high"},
        exp.Like: {"this", "expression", "escape"},
        exp.ILike: {"this", "expression", "escape"},
        exp.Not: {"this"},
        exp.Neg: {"this"},
        exp.Null: set[str](),
        CreateSource: {"this", "columns", "watermark", "options"},
        CreateTable: {"this", "columns", "options"},
        CreateView: {"this", "options", "expression"},
        ColumnDef: {"this", "kind", "not_null"},
        Watermark: {"this", "expression"},
        exp.Property: {"this", "value"},
        **{
            kind: {"this", "expression"}
            for kind in (
                *(exp.And, exp.Or, exp.Is, TopicMatch, exp.DPipe, IsDistinct, InArray),
                *(exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE),
                *(exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod),
            )
        },
    }
)
