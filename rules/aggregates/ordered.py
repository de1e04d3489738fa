"""Aggregates that pick a row by time or by another value: first, last, min_by, max_by."""

from __future__ import annotations

from typing import Final

from rules.aggregates.base import ANY, Aggregate, Code, Example, Parameter, fixed, same_type
from rules.aggregates.numbers import lesser


def _by_time(sign: str) -> Code:
    """The value of the row whose time is less (the first of equals) or not less (the last of equals)."""
    return Code(
        ("None", "None"),
        f"if {{s0}} is None or {{t}} {sign} {{s0}}:\n    {{s0}} = {{t}}\n    {{s1}} = {{x}}",
        f"if {{b0}} is not None and ({{a0}} is None or {{b0}} {sign} {{a0}}):\n"
        "    {a0} = {b0}\n    {a1} = {b1}",
        "{s1}",
    )


def _by_order(sign: str) -> Code:
    """The same by what ORDER BY says, equals by their time. s0: time, s1: value, s2: order."""

    def lines(t: str, x: str, order: str, slot: str, guard: str) -> str:
        time, value, best = f"{{{slot}0}}", f"{{{slot}1}}", f"{{{slot}2}}"
        return (
            f"if {guard}({time} is None or ({{ordering}}({order}, {best}) or {t} - {time}) {sign} 0):\n"
            f"    {time} = {t}\n    {value} = {x}\n    {best} = {order}"
        )

    return Code(
        ("None", "None", "None"),
        lines("{t}", "{x}", "{order}", "s", ""),
        lines("{b0}", "{b1}", "{b2}", "a", "{b0} is not None and "),
        "{s1}",
    )


def _by_value(less: bool) -> Code:
    """s0: the best y, s1: its time, s2: its x. Of equals the earliest row counts."""

    def better(one: str, two: str) -> str:
        return f"{{lesser}}({one}, {two})" if less else f"{{lesser}}({two}, {one})"

    def lines(y: str, t: str, x: str, slot: str, guard: str) -> str:
        best, time = f"{{{slot}0}}", f"{{{slot}1}}"
        tie = f"{t} < {time} and not {better(best, y)}"
        return (
            f"if {guard}({time} is None or {better(y, best)} or {tie}):\n"
            f"    {best} = {y}\n    {time} = {t}\n    {{{slot}2}} = {x}"
        )

    return Code(
        ("None", "None", "None"),
        lines("{y}", "{t}", "{x}", "s", ""),
        lines("{b0}", "{b1}", "{b2}", "a", "{b1} is not None and "),
        "{s2}",
    )


def _pick(name: str, doc: str, less: bool, result: str) -> Aggregate:
    return Aggregate(
        name,
        doc,
        fixed(_by_value(less)),
        same_type,
        (Parameter("x", ANY, nulls=True), Parameter("y", ANY)),
        examples=(Example(f"{name}(x, y)", (("a", 3), ("b", 1), ("c", 5)), result),),
        names={"lesser": lesser},
    )


_X: Final = (Parameter("x", ANY),)
_ROWS: Final = ((None,), (1,), (2,), (None,))

ORDERED: Final = (
    Aggregate(
        "first",
        "The value of the row with the earliest time that has one; of equal times, of the row that came first. With"
        " `first(x ORDER BY y)` the one that is first in that order.",
        fixed(_by_time("<")),
        same_type,
        _X,
        examples=(Example("first(x)", _ROWS, 1),),
        ordered=_by_order("<"),
        star=True,
    ),
    Aggregate(
        "last",
        "The value of the row with the latest time that has one; of equal times, of the row that came last. With"
        " `last(x ORDER BY y)` the one that is last in that order.",
        fixed(_by_time(">=")),
        same_type,
        _X,
        examples=(Example("last(x)", _ROWS, 2),),
        ordered=_by_order(">="),
        star=True,
    ),
    _pick("min_by", "`x` of the row where `y` is least; of equals, of the earliest.", True, "b"),
    _pick("max_by", "`x` of the row where `y` is greatest; of equals, of the earliest.", False, "c"),
)
ALIASES: Final = {
    "first_value": "first",
    "last_value": "last",
    "arg_min": "min_by",
    "arg_max": "max_by",
}
