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
    Extract,
    Foreach,
    InArray,
    IntervalLiteral,
    IsDistinct,
    ObjectLiteral,
    Range,
    SelectAll,
    TimestampLiteral,
    TopicMatch,
    TypeName,
)

ALLOWED: Final = MappingProxyType(
    {
        exp.Select: {"expressions", FROM_ARG, "joins", "where"},
        Foreach: {"expressions", "do", "incase", "tables", "where"},
        exp.From: {"this"},
        exp.Join: {"this"},
        exp.Table: {"this", "db"},
        exp.Where: {"this"},
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
