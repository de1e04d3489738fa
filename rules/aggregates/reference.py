"""The page of all aggregate functions, made from their declarations: ``docs/reference/aggregate-functions.md``.

``python -m headrace.reference --write`` writes it; a test holds it fresh. The examples are those of the declarations,
which the tests run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from core.message import Type
from rules.aggregates.base import Aggregate, Example, ResultType
from rules.aggregates.builtin import AGGREGATES, GROUPS
from rules.functions.values import json_text

_INTRO: Final = """\
What a query with a window can make of the rows of a group. How windows lie in time, and which rows they have, is said
in [windows and time](../concepts/windows.md).

- Rows where the argument is null or missing are left out, unless "nulls too" is said; `count(*)` counts rows. Without
  any value the result is null, of a count 0.
- `FILTER (WHERE condition)` behind a call: only rows where the condition is true. `DISTINCT` before the argument: each
  value once. `ORDER BY` behind the arguments, for the functions marked so; nulls are greater than all values.
- A value of a type that a parameter does not take is an error of its row: the row counts nowhere, and is told with the
  reason.
- One group keeps up to 10,000 values (`max_values`) where a function needs the values themselves: lists,
  percentiles, `mode`, DISTINCT. What comes after is left out and counted.
- `*` is the whole row as a map, where columns are declared.
- A constant (`fraction`, `separator`) is the same for all rows: a literal.
- In the examples rows are a second apart, and their values are listed in that order."""

_RESULTS: Final = {
    Type.ANY: "any",
    Type.TEXT: "string",
    Type.BOOLEAN: "boolean",
    Type.BIGINT: "integer",
    Type.DOUBLE: "float",
    Type.DECIMAL: "decimal",
    Type.ARRAY: "array",
    Type.OBJECT: "map",
    Type.INTERVAL: "interval",
}
_ASKED: Final = (Type.BIGINT, Type.DOUBLE, Type.DECIMAL)


def aggregates_page(made: str) -> str:
    """The page; ``made`` is the comment that says where it comes from."""
    others: dict[str, list[str]] = {}
    for alias, name in AGGREGATES.aliases.items():
        others.setdefault(name, []).append(alias)
    parts = ["# Aggregate functions", made, _INTRO]
    for title, group in GROUPS.items():
        parts.append(f"## {title}")
        parts += [_entry(aggregate, others.get(aggregate.name, ())) for aggregate in group]
    return "\n\n".join(parts) + "\n"


def _entry(aggregate: Aggregate, others: Sequence[str]) -> str:
    parameters = [f"{parameter.name}: {parameter.kind.label}" for parameter in aggregate.parameters]
    parameters += [f"{constant.name}: constant" for constant in aggregate.constants]
    forms = [f"`{aggregate.name}({', '.join(parameters)}) -> {_result(aggregate)}`"]
    if aggregate.star:
        forms.append(f"`{aggregate.name}(*) -> {_result(aggregate)}`")
    marks = [
        *(["Nulls too."] if any(parameter.nulls for parameter in aggregate.parameters) else []),
        *(["Takes ORDER BY."] if aggregate.ordered is not None else []),
        *([f"Also {', '.join(f'`{other}`' for other in sorted(others))}."] if others else []),
        *(["Needs the extra `headrace[sketches]`."] if aggregate.check_library is not None else []),
    ]
    lines = [f"### `{aggregate.name}`", "", "<br>\n".join(forms), "", " ".join([aggregate.doc, *marks])]
    lines += ["", "```sql", *(_example(example) for example in aggregate.examples), "```"]
    return "\n".join(lines)


def result_label(result: ResultType, result_type: Callable[[Sequence[Type]], Type], argument: str) -> str:
    """What a function gives; for some it depends on the argument, whose name is ``argument``."""
    if isinstance(result, Type):
        return _RESULTS[result]
    found = {kind: result_type([kind]) for kind in _ASKED}
    if all(kind is given for kind, given in found.items()):
        return f"the type of {argument}"
    return ", ".join(dict.fromkeys(_RESULTS[given] for given in found.values()))


def _result(aggregate: Aggregate) -> str:
    argument = aggregate.parameters[0].name if aggregate.parameters else ""
    return result_label(aggregate.result, aggregate.result_type, argument)


def rows_of(rows: Sequence[tuple[Any, ...]]) -> str:
    """The rows of an example, as a comment has them."""
    return ", ".join(map(_shown, [row[0] if len(row) == 1 else row for row in rows]))


def _example(example: Example) -> str:
    return f"{example.call}  -- of {rows_of(example.rows)}: {json_text(example.result)}"


def _shown(value: Any) -> str:
    return f"({', '.join(map(json_text, value))})" if isinstance(value, tuple) else json_text(value)
