"""The analytic functions: eKuiper's (lag, latest, had_changed, changed_col, row_number, acc_*), SQL's lead, and three
for alarms (consecutive, count_last, hysteresis).

Null and missing are one thing here: what is stored is null. MISSING in a slot means that there was no row yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from core.message import Type
from rules.aggregates import AGGREGATES
from rules.analytics.base import (
    AnalyticFunction,
    AnalyticTable,
    Code,
    Example,
    Parameter,
    boolean,
    first_type,
    rows_back,
    same_type,
)
from rules.operators import distinct

_PLAIN: Final = frozenset({Type.BOOLEAN, Type.BIGINT, Type.DOUBLE, Type.TEXT, Type.TIMESTAMP, Type.INTERVAL})
"""Types whose values Python's ``!=`` tells apart."""

_X: Final = Parameter("x")
_DEFAULT: Final = Parameter("default", default=None)
_IGNORE_NULL: Final = Parameter("ignore_null", constant=boolean)


def _indented(lines: str, depth: int = 1) -> str:
    return "\n".join("    " * depth + line for line in lines.splitlines())


# Values of other rows


def _default(types: Sequence[Type]) -> str:
    """The text of what a call gives while there is no row to take it from."""
    return "{x1}" if len(types) > 1 else "None"


def _lag(types: Sequence[Type], constants: Sequence[Any]) -> Code:
    offset, ignore_null = constants
    default = _default(types)
    if offset == 1:
        step = f"{{r}} = {{s0}}\nif {{r}} is MISSING:\n    {{r}} = {default}\n"
        keep = "{s0} = {x0}"
        still = f"({default} if {{s0}} is MISSING else {{s0}})"
        init = "MISSING"
    else:
        still = f"({{s0}}[0] if len({{s0}}) == {offset} else {default})"
        step = f"{{r}} = {still}\n"
        keep = f"{{s0}}.append({{x0}})\nif len({{s0}}) > {offset}:\n    del {{s0}}[0]"
        init = "[]"
    if ignore_null:
        step += f"if {{x0}} is not None and {{x0}} is not MISSING:\n{_indented(keep)}"
    else:
        step += keep.replace("{x0}", "(None if {x0} is MISSING else {x0})")
    return Code((init,), step, still)


def _latest(types: Sequence[Type], constants: Sequence[Any]) -> Code:
    del constants
    still = f"({_default(types)} if {{s0}} is MISSING else {{s0}})"
    return Code(
        ("MISSING",), f"if {{x0}} is not None and {{x0}} is not MISSING:\n    {{s0}} = {{x0}}\n{{r}} = {still}", still
    )


# Changes


def _watch(number: int, kind: Type, ignore_null: bool, then: str) -> str:
    """Lines that note a change of one value and do ``then``."""
    slot, value = f"{{s{number}}}", f"{{x{number}}}"
    differs = f"{value} != {slot}" if kind in _PLAIN else f"{{distinct}}({value}, {slot})"
    if ignore_null:
        there = f"{value} is not None and {value} is not MISSING"
        return f"if {there} and {differs}:\n    {slot} = {value}\n{_indented(then)}"
    return (
        f"if {slot} is MISSING or {{distinct}}({value}, {slot}):\n"
        f"    {slot} = None if {value} is MISSING else {value}\n{_indented(then)}"
    )


def _had_changed(types: Sequence[Type], constants: Sequence[Any]) -> Code:
    tests = [_watch(number, kind, constants[0], "{r} = True") for number, kind in enumerate(types)]
    return Code(("MISSING",) * len(types), "\n".join(["{r} = False", *tests]), "False")


def _changed_col(types: Sequence[Type], constants: Sequence[Any]) -> Code:
    return Code(("MISSING",), "{r} = None\n" + _watch(0, types[0], constants[0], "{r} = {s0}"), "None")


# Numbers that run along


def _row_number(types: Sequence[Type], constants: Sequence[Any]) -> Code:
    del types, constants
    return Code(("0",), "{r} = {s0} = {s0} + 1", "{s0}")


def _consecutive(types: Sequence[Type], constants: Sequence[Any]) -> Code:
    del types, constants
    return Code(("0",), "{r} = {s0} = {s0} + 1 if {x0} is True else 0", "{s0}")


def _bits(slot: str, rows: int) -> str:
    """The last rows as bits of an integer, the present one lowest."""
    return f"{slot} = ({slot} << 1 | ({{x0}} is True)) & {hex((1 << rows) - 1)}"


def _count_last(types: Sequence[Type], constants: Sequence[Any]) -> Code:
    del types
    return Code(("0",), f"{_bits('{s0}', constants[0])}\n{{r}} = {{s0}}.bit_count()", "{s0}.bit_count()")


def _hysteresis(types: Sequence[Type], constants: Sequence[Any]) -> Code:
    del types
    needed, among = constants
    clear, raise_ = "{x1} is True", "{x0} is True and {x1} is not True"
    if needed == among == 1:
        step = f"if {{s0}}:\n    if {clear}:\n        {{s0}} = False\nelif {raise_}:\n    {{s0}} = True\n{{r}} = {{s0}}"
        return Code(("False",), step, "{s0}")
    step = f"""\
if {{s0}}:
    if {clear}:
        {{s0}} = False
        {{s1}} = 0
else:
    {_bits("{s1}", among)}
    if {raise_} and {{s1}}.bit_count() >= {needed}:
        {{s0}} = True
{{r}} = {{s0}}"""
    return Code(("False", "0"), step, "{s0}")


def _accumulated(name: str, doc: str, results: tuple[Any, ...], begun: tuple[Any, ...]) -> AnalyticFunction:
    """``acc_<name>``: an aggregate of all rows so far."""
    aggregate = AGGREGATES[name]
    [parameter] = aggregate.parameters

    def code(types: Sequence[Type], constants: Sequence[Any]) -> Code:
        del constants
        own = aggregate.code(types[:1])
        add, still = own.add.replace("{x}", "{x0}"), own.output
        if types:
            add = f"if {{x0}} is not None and {{x0}} is not MISSING:\n{_indented(add)}"
        if len(types) < 2:
            return Code(own.init, f"{add}\n{{r}} = {still}", still)
        running = f"{{s{len(own.init)}}}"
        again = "\n".join(f"{{s{number}}} = {init}" for number, init in enumerate((*own.init, "False")))
        step = f"if {{x1}} is True:\n    {running} = True\nif {running}:\n{_indented(add)}\n{{r}} = {still}\n"
        return Code((*own.init, "False"), f"{step}if {{x2}} is True:\n{_indented(again)}", still)

    conditions = [Parameter(word, default=None, condition=True) for word in ("begin", "reset")]
    kind = parameter.kind
    optional = Parameter("x", kind, default=None) if name == "count" else Parameter("x", kind)
    return AnalyticFunction(
        f"acc_{name}",
        f"{doc} so far. With conditions it runs from a row where `begin` holds to one where `reset` does, both "
        "included, and begins anew with the next `begin`.",
        code,
        (lambda types: aggregate.result_type(types[:1])),
        (optional, *conditions),
        (
            Example(f"acc_{name}(x)", ((1,), (None,), (3,)), results),
            Example(f"acc_{name}(x, x > 1, x < 0)", ((1,), (2,), (1,), (-1,), (1,)), begun),
        ),
        MappingProxyType(dict(aggregate.names)),
        certain=name == "count",
        counts=(0, 1, 3) if name == "count" else (1, 3),
        star=name == "count",
    )


_AMONG: Final = (Parameter("needed", constant=rows_back, default=1), Parameter("among", constant=rows_back, default=1))

_OTHER_ROWS: Final = (
    AnalyticFunction(
        "lag",
        "The value of `x` in the row before, or `offset` rows before; until there are so many `default`, or null. "
        "Rows where `x` is null do not count; with `ignore_null` false they do.",
        _lag,
        same_type,
        (
            _X,
            Parameter("offset", constant=rows_back, default=1),
            _DEFAULT,
            Parameter("ignore_null", constant=boolean, default=True),
        ),
        (
            Example("lag(x)", ((1,), (None,), (3,), (4,)), (None, 1, 1, 3)),
            Example("lag(x, 2, 0)", ((1,), (2,), (3,)), (0, 0, 1)),
            Example("lag(x, 1, 0, false)", ((1,), (None,), (3,)), (0, 1, None)),
        ),
    ),
    AnalyticFunction(
        "lead",
        "The value of `x` in the row after, or `offset` rows after. A row waits for it; where it does not come in "
        "time (`lead_wait` of the rule), the row has `default`, or null.",
        None,
        same_type,
        (_X, Parameter("offset", constant=rows_back, default=1), _DEFAULT),
        (Example("lead(x, 1, 0)", ((1,), (2,), (3,)), (2, 3, 0)),),
    ),
    AnalyticFunction(
        "latest",
        "The last value of `x` that was not null, this row's included; until there is one `default`, or null.",
        _latest,
        same_type,
        (_X, _DEFAULT),
        (Example("latest(x, 0)", ((None,), (1,), (None,), (3,)), (0, 1, 1, 3)),),
    ),
)
_CHANGES: Final = (
    AnalyticFunction(
        "had_changed",
        "Is one of the values another than in the row before? The first one is. With `ignore_null` true a null is "
        "no value: it changes nothing and is not remembered. `*` stands for all columns of a view or declared source.",
        _had_changed,
        Type.BOOLEAN,
        (_IGNORE_NULL, Parameter("x", repeated=True)),
        (
            Example("had_changed(true, x)", ((1,), (1,), (None,), (1,), (2,)), (True, False, False, False, True)),
            Example("had_changed(false, x, y)", ((1, 1), (1, None), (1, None)), (True, True, False)),
        ),
        MappingProxyType({"distinct": distinct}),
        certain=True,
    ),
    AnalyticFunction(
        "changed_col",
        "`x` where `had_changed(ignore_null, x)`, else null. `changed_cols(prefix, ignore_null, x, y, ...)` in the "
        "list of a SELECT gives one such column for each, named `prefix` and the value's name; `*` stands for all.",
        _changed_col,
        first_type,
        (_IGNORE_NULL, _X),
        (Example("changed_col(true, x)", ((1,), (1,), (None,), (2,)), (1, None, None, 2)),),
        MappingProxyType({"distinct": distinct}),
    ),
)
_SO_FAR: Final = (
    AnalyticFunction(
        "row_number",
        "How many rows there were so far, this one included.",
        _row_number,
        Type.BIGINT,
        (),
        (Example("row_number()", ((5,), (5,)), (1, 2)),),
        certain=True,
    ),
    _accumulated("count", "How many values there were (`acc_count(*)`: how many rows)", (1, 1, 2), (0, 1, 2, 3, 0)),
    _accumulated("sum", "The sum of the values", (1, 1, 4), (None, 2, 3, 2, None)),
    _accumulated("avg", "The mean of the values", (1.0, 1.0, 2.0), (None, 2.0, 1.5, 2 / 3, None)),
    _accumulated("min", "The least value", (1, 1, 1), (None, 2, 1, -1, None)),
    _accumulated("max", "The greatest value", (1, 1, 3), (None, 2, 2, 2, None)),
)
_ALARMS: Final = (
    AnalyticFunction(
        "consecutive",
        "For how many rows, this one included, the condition has held without a break; 0 where it does not hold.",
        _consecutive,
        Type.BIGINT,
        (Parameter("condition", condition=True),),
        (Example("consecutive(x > 1)", ((2,), (3,), (1,), (2,)), (1, 2, 0, 1)),),
        certain=True,
    ),
    AnalyticFunction(
        "count_last",
        "For how many of the last `rows` rows, this one included, the condition held.",
        _count_last,
        Type.BIGINT,
        (Parameter("condition", condition=True), Parameter("rows", constant=rows_back)),
        (Example("count_last(x > 1, 3)", ((2,), (1,), (3,), (1,), (1,)), (1, 1, 2, 1, 1)),),
        certain=True,
    ),
    AnalyticFunction(
        "hysteresis",
        "An alarm's state: it becomes true where `raise` holds, false where `clear` does, and stays as it is "
        "between them. `needed` of the last `among` rows must have held for it to be raised; they count anew after "
        "it was cleared. Where both conditions hold it is not raised.",
        _hysteresis,
        Type.BOOLEAN,
        (Parameter("raise", condition=True), Parameter("clear", condition=True), *_AMONG),
        (
            Example("hysteresis(x > 80, x < 75)", ((81,), (78,), (74,), (78,)), (True, True, False, False)),
            Example(
                "hysteresis(x > 80, x < 75, 2, 3)",
                ((81,), (70,), (82,), (76,), (74,), (81,)),
                (False, False, True, True, False, False),
            ),
        ),
        certain=True,
        counts=(2, 4),
    ),
)

GROUPS: Final[Mapping[str, tuple[AnalyticFunction, ...]]] = MappingProxyType(
    {"Values of other rows": _OTHER_ROWS, "Changes": _CHANGES, "All rows so far": _SO_FAR, "Alarms": _ALARMS}
)
"""By the titles of the reference."""

ANALYTICS: Final = AnalyticTable(*GROUPS.values())
