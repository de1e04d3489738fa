"""Aggregates that are a few numbers: counts, sums, averages, extremes, variances. They run inline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from core.message import Type
from rules.aggregates.base import (
    ANY,
    BOOLEAN,
    FLOAT,
    NUMBER,
    NUMERIC,
    Aggregate,
    Code,
    Example,
    Parameter,
    Tally,
    fixed,
    same_type,
)
from rules.functions.decimals import EXACT, QUOTIENT
from rules.functions.ordering import term_order

_ORDERED: Final = NUMERIC - {Type.DECIMAL} | {Type.TEXT, Type.BYTES, Type.TIMESTAMP, Type.INTERVAL}


def plus(one: Any, two: Any) -> Any:
    """Numbers added; a DECIMAL beside a float becomes one."""
    if isinstance(one, Decimal) or isinstance(two, Decimal):
        if isinstance(one, float) or isinstance(two, float):
            return float(one) + float(two)
        return EXACT.add(Decimal(one), Decimal(two))
    return one + two


def finite(value: Any, tally: Tally) -> Any:
    """A result, or null where it is no finite number."""
    if isinstance(value, float) and not math.isfinite(value):
        tally.out_of_range += 1
        return None
    return value


def quotient(total: Any, count: int, tally: Tally) -> Any:
    """The average; null where it is no finite number."""
    if isinstance(total, Decimal):
        return QUOTIENT.divide(total, Decimal(count))
    try:
        return finite(total / count, tally)
    except OverflowError:
        tally.out_of_range += 1
        return None


def lesser(one: Any, two: Any) -> bool:
    """The order of terms: numbers, then booleans, maps, lists and texts."""
    return term_order(one, two) < 0


def _plus(types: Sequence[Type], slot: str, value: str) -> str:
    """``slot += value`` for numbers of a type."""
    if types[0] in (Type.BIGINT, Type.DOUBLE, Type.INTERVAL):
        return f"{slot} += {value}"
    if types[0] is Type.DECIMAL:
        return f"{slot} = {{plus}}({slot}, {value})"
    decimal = f"type({value}) is Decimal or type({slot}) is Decimal"
    return f"{slot} = {{plus}}({slot}, {value}) if {decimal} else {slot} + {value}"


def _count(types: Sequence[Type]) -> Code:
    del types
    return Code(("0",), "{s0} += 1", "{a0} += {b0}", "{s0}")


def _sum(types: Sequence[Type]) -> Code:
    add = f"if {{s0}} is None:\n    {{s0}} = {{x}}\nelse:\n    {_plus(types, '{s0}', '{x}')}"
    merge = f"if {{a0}} is None:\n    {{a0}} = {{b0}}\nelif {{b0}} is not None:\n    {_plus(types, '{a0}', '{b0}')}"
    return Code(("None",), add, merge, "{finite}({s0}, {tally})")


def _avg(types: Sequence[Type]) -> Code:
    add = f"{_plus(types, '{s0}', '{x}')}\n{{s1}} += 1"
    merge = f"{_plus(types, '{a0}', '{b0}')}\n{{a1}} += {{b1}}"
    return Code(("0", "0"), add, merge, "({quotient}({s0}, {s1}, {tally}) if {s1} else None)")


def _extreme(sign: str, types: Sequence[Type]) -> Code:
    """``sign`` is ``<`` for the least, ``>`` for the greatest value."""

    def better(one: str, two: str) -> str:
        if types[0] in _ORDERED:
            return f"{one} {sign} {two}"
        slow = f"{{lesser}}({one}, {two})" if sign == "<" else f"{{lesser}}({two}, {one})"
        same = f"type({one}) is type({two}) and (type({one}) is float or type({one}) is int)"
        return f"({one} {sign} {two} if {same} else {slow})"

    add = f"if {{s0}} is None or {better('{x}', '{s0}')}:\n    {{s0}} = {{x}}"
    merge = f"if {{b0}} is not None and ({{a0}} is None or {better('{b0}', '{a0}')}):\n    {{a0}} = {{b0}}"
    return Code(("None",), add, merge, "{s0}")


def variance(count: int, squares: float, less: int, tally: Tally, root: bool) -> Any:
    """Of ``count`` values whose squared distances from their mean add up to ``squares``."""
    if count <= less:
        return None
    value = max(squares, 0.0) / (count - less)
    return finite(math.sqrt(value) if root and math.isfinite(value) else value, tally)


# Welford's: the mean and the squares around it. Merging is Chan's.
_MOMENTS_ADD: Final = """\
{s0} += 1
d = {x} - {s1}
{s1} += d / {s0}
{s2} += d * ({x} - {s1})"""
_MOMENTS_MERGE: Final = """\
if {b0}:
    n = {a0} + {b0}
    d = {b1} - {a1}
    {a2} += {b2} + d * d * {a0} * {b0} / n
    {a1} += d * {b0} / n
    {a0} = n"""


def _moments(less: int, root: bool) -> Code:
    output = f"{{variance}}({{s0}}, {{s2}}, {less}, {{tally}}, {root})"
    return Code(("0", "0.0", "0.0"), _MOMENTS_ADD, _MOMENTS_MERGE, output)


def _moment(name: str, doc: str, less: int, root: bool, result: float) -> Aggregate:
    rows = ((2.0,), (4.0,), (4.0,), (6.0,))
    return Aggregate(
        name,
        doc,
        fixed(_moments(less, root)),
        Type.DOUBLE,
        (Parameter("x", FLOAT),),
        examples=(Example(f"{name}(x)", rows, result),),
        names={"variance": variance},
    )


def _junction(name: str, doc: str, operator: str, result: bool) -> Aggregate:
    code = Code(
        ("None",),
        f"{{s0}} = {{x}} if {{s0}} is None else {{s0}} {operator} {{x}}",
        f"if {{b0}} is not None:\n    {{a0}} = {{b0}} if {{a0}} is None else {{a0}} {operator} {{b0}}",
        "{s0}",
    )
    example = Example(f"{name}(x)", ((True,), (False,), (None,)), result)
    return Aggregate(name, doc, fixed(code), Type.BOOLEAN, (Parameter("x", BOOLEAN),), examples=(example,))


def _sum_type(types: Sequence[Type]) -> Type:
    return types[0] if types and types[0] in (NUMERIC | {Type.INTERVAL}) else Type.ANY


def _avg_type(types: Sequence[Type]) -> Type:
    if not types or types[0] not in NUMERIC:
        return Type.ANY
    return Type.DECIMAL if types[0] is Type.DECIMAL else Type.DOUBLE


_X: Final = (Parameter("x", NUMBER),)
_FOUR: Final = ((1,), (None,), (2,), (4,))

NUMBERS: Final = (
    Aggregate(
        "count",
        "How many rows there are, or how many of them have a value of `x`.",
        _count,
        Type.BIGINT,
        (Parameter("x", ANY),),
        examples=(Example("count(x)", _FOUR, 3), Example("count(*)", _FOUR, 4)),
        star=True,
    ),
    Aggregate(
        "sum",
        "The sum. Of integers it is an integer, of DECIMALs a DECIMAL, of floats a float.",
        _sum,
        _sum_type,
        _X,
        examples=(Example("sum(x)", _FOUR, 7),),
        names={"plus": plus, "finite": finite},
    ),
    Aggregate(
        "avg",
        "The mean: a float, of DECIMALs a DECIMAL.",
        _avg,
        _avg_type,
        _X,
        examples=(Example("avg(x)", ((1,), (2,)), 1.5),),
        names={"plus": plus, "quotient": quotient},
    ),
    Aggregate(
        "min",
        "The least value: of numbers, texts or instants; of mixed values by the order of comparisons.",
        lambda types: _extreme("<", types),
        same_type,
        (Parameter("x", ANY),),
        examples=(Example("min(x)", _FOUR, 1),),
        names={"lesser": lesser},
    ),
    Aggregate(
        "max",
        "The greatest value.",
        lambda types: _extreme(">", types),
        same_type,
        (Parameter("x", ANY),),
        examples=(Example("max(x)", _FOUR, 4),),
        names={"lesser": lesser},
    ),
    _moment("stddev_pop", "The standard deviation of the values themselves.", 0, root=True, result=math.sqrt(2.0)),
    _moment(
        "stddev_samp", "The standard deviation estimated from a sample; null for one value.", 1, True, math.sqrt(8 / 3)
    ),
    _moment("var_pop", "The variance of the values themselves.", 0, root=False, result=2.0),
    _moment("var_samp", "The variance estimated from a sample; null for one value.", 1, root=False, result=8 / 3),
    _junction("bool_and", "Is it true of every row?", "and", result=False),
    _junction("bool_or", "Is it true of any row?", "or", result=True),
)
ALIASES: Final = {
    "stddev": "stddev_samp",
    "stddevs": "stddev_samp",
    "variance": "var_samp",
    "vars": "var_samp",
    "var": "var_pop",
    "every": "bool_and",
}
