"""DISTINCT around any aggregate: the different values are kept (bounded), and the aggregate runs over them at the end.

Values are the same where SQL's ``=`` says so of equal types: 1 and 1.0 are, 1 and true are not. The first row that
brought a value counts, with its time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from core.message import MISSING
from rules.aggregates.base import Code, Tally
from rules.aggregates.keys import boxed

if TYPE_CHECKING:
    from rules.aggregates.accumulator import AggregateCall

Seen = dict[Any, tuple[Any, ...]]
_ARGUMENTS: Final = "xyz"


def see(seen: Seen, time: int, values: Sequence[Any], tally: Tally) -> None:
    """Remember ``values``, unless an equal one is there."""
    key = boxed(values[0]) if len(values) == 1 else tuple([boxed(value) for value in values])
    if key not in seen:
        if len(seen) < tally.max_values:
            seen[key] = (time, *values)
        else:
            tally.left_out += 1


def see_all(one: Seen, other: Seen, tally: Tally) -> None:
    for key, entry in other.items():
        if key not in one:
            if len(one) < tally.max_values:
                one[key] = entry
            else:
                tally.left_out += 1


def distinct_code(inner: Code, names: Mapping[str, Any], call: AggregateCall) -> tuple[Code, Mapping[str, Any]]:
    """The templates and names of an aggregate over the different values."""
    letters = _ARGUMENTS[: len(call.arguments)]
    order = "".join(f"{letters[call.arguments.index(term.place)]}, " for term in call.order)
    values = "".join(f"{{{letter}}}, " for letter in letters)
    code = Code(
        ("{{}}",),
        f"{{see}}({{s0}}, {{t}}, ({values}), {{tally}})",
        "{see_all}({a0}, {b0}, {tally})",
        "{fold}({s0}, {tally})",
        mutable=True,
    )
    fold = _folder(inner, names, letters, f"({order})", call.constants)
    return code, MappingProxyType({"see": see, "see_all": see_all, "fold": fold})


def _folder(
    inner: Code, names: Mapping[str, Any], letters: str, order: str, constants: tuple[Any, ...]
) -> Callable[[Seen, Tally], Any]:
    """A function over what was seen that gives the inner aggregate's result."""
    filling = {name: name for name in names} | {"tally": "tally", "t": "t"} | {letter: letter for letter in letters}
    filling |= {"order": order, "carried": "None", "since": "None", "until": "None"}  # the set knows no neighbours
    filling |= {f"s{number}": f"s[{number}]" for number in range(len(inner.init))}
    filling |= {f"p{number}": f"p[{number}]" for number in range(len(constants))}
    lines = [
        "def fold(seen, tally):",
        f"    s = [{', '.join(expression.format_map(filling) for expression in inner.init)}]",
        f"    for {', '.join(['t', *letters])} in seen.values():",
        *("        " + line for line in inner.add.format_map(filling).splitlines()),
        f"    return {inner.output.format_map(filling)}",
    ]
    namespace: dict[str, Any] = {
        "__builtins__": {"type": type, "float": float, "int": int, "len": len},
        "MISSING": MISSING,
        "Decimal": Decimal,
        "p": constants,
        **names,
    }
    exec(compile("\n".join(lines), "<distinct>", "exec", dont_inherit=True), namespace)  # noqa: S102  ours, as above
    fold: Callable[[Seen, Tally], Any] = namespace["fold"]
    return fold
