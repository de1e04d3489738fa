"""Aggregates that need the values themselves: percentiles, mode, lists, joined texts, merged maps.

One group keeps at most ``max_values`` values (``Tally``); what comes after is left out and counted. Lists, texts and
maps are in the order of the rows' times, those of equal time in the order in which they came.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import cmp_to_key
from operator import itemgetter
from typing import Any, Final

from core.message import MISSING, Type
from rules.aggregates.base import (
    ANY,
    FLOAT,
    OBJECT,
    TEXT,
    Aggregate,
    Code,
    Constant,
    Example,
    Ordering,
    Parameter,
    Tally,
    fixed,
    same_type,
)
from rules.aggregates.keys import boxed
from rules.functions.base import Refusal, shown
from rules.functions.ordering import term_order

Timed = list[tuple[Any, ...]]
"""Times and what came with them."""
_TERM_ORDER: Final = cmp_to_key(term_order)
_BY_TIME: Final = itemgetter(0)


def keep(values: list[Any], value: Any, tally: Tally) -> None:
    if len(values) < tally.max_values:
        values.append(value)
    else:
        tally.left_out += 1


def keep_all(one: list[Any], other: list[Any], tally: Tally) -> None:
    room = tally.max_values - len(one)
    if len(other) > room:
        tally.left_out += len(other) - room
        other = other[:room]
    one += other


_COLLECT: Final = Code(("[]",), "{keep}({s0}, {x}, {tally})", "{keep_all}({a0}, {b0}, {tally})", "", mutable=True)
_KEEP: Final = {"keep": keep, "keep_all": keep_all}


# Percentiles


def fraction(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not 0 <= value <= 1:
        raise Refusal(f"must be between 0 and 1, not {shown(value)}")


def continuous(values: list[Any], part: float) -> float | None:
    """PostgreSQL's: between the two nearest values in proportion."""
    if not values:
        return None
    ordered = sorted(values)
    place = float(part) * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    below, above = float(ordered[low]), float(ordered[high])
    return below + (above - below) * (place - low)


def discrete(values: list[Any], part: float) -> Any:
    """The first value whose rank is at least the fraction."""
    if not values:
        return None
    ordered = sorted(values, key=_TERM_ORDER)
    return ordered[max(math.ceil(float(part) * len(ordered)) - 1, 0)]


# Mode


def tell(counts: dict[Any, list[Any]], value: Any, tally: Tally) -> None:
    key = boxed(value)
    entry = counts.get(key)
    if entry is not None:
        entry[1] += 1
    elif len(counts) < tally.max_values:
        counts[key] = [value, 1]
    else:
        tally.left_out += 1


def tell_all(one: dict[Any, list[Any]], other: dict[Any, list[Any]], tally: Tally) -> None:
    for key, (value, count) in other.items():
        entry = one.get(key)
        if entry is not None:
            entry[1] += count
        elif len(one) < tally.max_values:
            one[key] = [value, count]
        else:
            tally.left_out += count


def most_frequent(counts: dict[Any, list[Any]]) -> Any:
    most = max((count for _, count in counts.values()), default=0)
    return min((value for value, count in counts.values() if count == most), key=_TERM_ORDER, default=None)


# In the order of time


def ranked(values: Timed, ordering: Ordering) -> Timed:
    """``(time, ..., order)`` by what ORDER BY says, equals by their time."""
    by_order = cmp_to_key(ordering)
    return [entry[:-1] for entry in sorted(sorted(values, key=_BY_TIME), key=lambda entry: by_order(entry[-1]))]


def listed(values: Timed) -> list[Any]:
    return array_of(sorted(values, key=_BY_TIME))


def array_of(values: Timed) -> list[Any]:
    return [None if value is MISSING else value for _, value in values]


def texts(values: Timed, separator: str) -> str | None:
    return text_of(sorted(values, key=_BY_TIME), separator)


def text_of(values: Timed, separator: str) -> str | None:
    return separator.join([value for _, value in values]) if values else None


def mapped(values: Timed) -> dict[str, Any] | None:
    if not values:
        return None
    return {key: None if value is MISSING else value for _, key, value in sorted(values, key=_BY_TIME)}


def merged(values: Timed) -> dict[Any, Any] | None:
    result: dict[Any, Any] = {}
    for _, value in sorted(values, key=_BY_TIME):
        result.update(value)
    return result if values else None


def separator_text(value: Any) -> None:
    if not isinstance(value, str):
        raise Refusal(f"must be a text, not {shown(value)}")


def _percentile(name: str, doc: str, output: str, parameter: Parameter, example: Example) -> Aggregate:
    numbers = name == "percentile_cont"
    return Aggregate(
        name,
        doc,
        fixed(_COLLECT._replace(output=output)),
        Type.DOUBLE if numbers else same_type,
        (parameter,),
        (Constant("fraction", fraction),),
        (example,),
        {**_KEEP, "continuous": continuous, "discrete": discrete},
    )


def _timed(
    name: str,
    doc: str,
    output: str,
    result: Type,
    parameters: tuple[Parameter, ...],
    example: Example,
    constants: tuple[Constant, ...] = (),
    ordered: str = "",
    star: bool = False,
) -> Aggregate:
    values = "".join(f", {{{letter}}}" for letter, _ in zip("xyz", parameters, strict=False))
    code = Code(
        ("[]",),
        f"{{keep}}({{s0}}, ({{t}}{values}), {{tally}})",
        "{keep_all}({a0}, {b0}, {tally})",
        output,
        mutable=True,
    )
    functions: tuple[Callable[..., Any], ...] = (listed, texts, mapped, merged, ranked, array_of, text_of)
    names = {**_KEEP, **{function.__name__: function for function in functions}}
    by_order = None
    if ordered:
        add = f"{{keep}}({{s0}}, ({{t}}{values}, {{order}}), {{tally}})"
        by_order = code._replace(add=add, output=ordered)
    return Aggregate(
        name, doc, fixed(code), result, parameters, constants, (example,), names, ordered=by_order, star=star
    )


def _median_type(types: Sequence[Type]) -> Type:
    del types
    return Type.DOUBLE


_THREE: Final = ((100,), (150,), (200,), (None,))

COLLECTED: Final = (
    Aggregate(
        "median",
        "The middle value, of an even number of values the mean of the middle two: `percentile_cont(x, 0.5)`.",
        fixed(_COLLECT._replace(output="{continuous}({s0}, 0.5)")),
        _median_type,
        (Parameter("x", FLOAT),),
        examples=(Example("median(x)", ((1,), (4,), (2,), (3,)), 2.5),),
        names={**_KEEP, "continuous": continuous},
    ),
    _percentile(
        "percentile_cont",
        "The value below which a fraction of the values lies, between two values in proportion (as in PostgreSQL).",
        "{continuous}({s0}, {p0})",
        Parameter("x", FLOAT),
        Example("percentile_cont(x, 0.25)", _THREE, 125.0),
    ),
    _percentile(
        "percentile_disc",
        "The first value in order whose rank is at least the fraction: always one of the values.",
        "{discrete}({s0}, {p0})",
        Parameter("x", ANY),
        Example("percentile_disc(x, 0.5)", _THREE, 150),
    ),
    Aggregate(
        "mode",
        "The most frequent value; of equally frequent ones the least.",
        fixed(
            Code(
                ("{{}}",),
                "{tell}({s0}, {x}, {tally})",
                "{tell_all}({a0}, {b0}, {tally})",
                "{most_frequent}({s0})",
                mutable=True,
            )
        ),
        same_type,
        (Parameter("x", ANY),),
        examples=(Example("mode(x)", (("b",), ("a",), ("b",), ("a",), ("c",)), "a"),),
        names={"tell": tell, "tell_all": tell_all, "most_frequent": most_frequent},
    ),
    _timed(
        "array_agg",
        "All values, nulls too, in the order of their time or that of an ORDER BY: `array_agg(x ORDER BY y DESC)`.",
        "{listed}({s0})",
        Type.ARRAY,
        (Parameter("x", ANY, nulls=True),),
        Example("array_agg(x)", ((1,), (None,), (2,)), [1, None, 2]),
        ordered="{array_of}({ranked}({s0}, {ordering}))",
        star=True,
    ),
    _timed(
        "string_agg",
        "The texts in the order of their time or that of an ORDER BY, joined by a separator.",
        "{texts}({s0}, {p0})",
        Type.TEXT,
        (Parameter("x", TEXT),),
        Example("string_agg(x, ', ')", (("a",), (None,), ("b",)), "a, b"),
        (Constant("separator", separator_text),),
        "{text_of}({ranked}({s0}, {ordering}), {p0})",
    ),
    _timed(
        "object_agg",
        "A map from `key` to `value`; of equal keys the latest row counts.",
        "{mapped}({s0})",
        Type.OBJECT,
        (Parameter("key", TEXT), Parameter("value", ANY, nulls=True)),
        Example("object_agg(key, value)", (("a", 1), ("b", 2), ("a", 3)), {"a": 3, "b": 2}),
    ),
    _timed(
        "merge_agg",
        "All maps in one; of equal keys the latest row counts.",
        "{merged}({s0})",
        Type.OBJECT,
        (Parameter("x", OBJECT),),
        Example("merge_agg(x)", (({"a": 1, "b": 1},), ({"b": 2},)), {"a": 1, "b": 2}),
        star=True,
    ),
)
ALIASES: Final = {"collect": "array_agg", "percentile": "percentile_cont"}
