"""The page of all analytic functions, made from their declarations: ``docs/reference/analytic-functions.md``.

``python -m headrace.reference --write`` writes it; a test holds it fresh. The examples are those of the declarations,
which the tests run.
"""

from __future__ import annotations

from typing import Final

from rules.aggregates.reference import result_label, rows_of
from rules.analytics.base import MAX_ROWS_BACK, AnalyticFunction, Example
from rules.analytics.builtin import GROUPS
from rules.functions.values import json_text

_INTRO: Final = """\
What a query can tell of a row by the rows that came before it, and with `lead` after it. Each row gives one row, unlike
with an [aggregate](aggregate-functions.md). [An alarm that waits](../howto/alarms.md) shows them at work.

```sql
SELECT station, power, power - lag(power) OVER (PARTITION BY station) AS more
FROM meter
WHERE power IS NOT NULL
QUALIFY had_changed(true, power) OVER (PARTITION BY station)
```
"""
_FACTS: Final = f"""\
- `OVER (PARTITION BY a, b)`: rows with other values of `a` and `b` are another stream. Without it all rows are one.
- `OVER (WHEN condition)`: the function sees only rows where the condition is true. Another row has the result as it
  stands: what `lag` remembers, the sum so far, no change.
- They stand in the list of a SELECT, in WHERE and in QUALIFY, and may stand in one another. **WHERE** is asked first,
  so that the functions see only rows that pass; where it asks for an analytic function itself, they see all rows.
  **QUALIFY** is asked last and may use the names of fields. In a query with a window they go over its results.
- Rows count in the order in which they come in, whatever their event time is.
- `1` and `1.0` are the same value, null and missing are one. `x` is of any type unless another one is named.
- `offset`, `rows`, `needed` and `among` are literals from 1 to {MAX_ROWS_BACK:,}, `ignore_null` is `true` or `false`.
- Each partition has a small state of its own. One without a row for a day (`state_ttl`) is forgotten, at a million
  partitions (`max_keys`) rows of new ones are rejected, or the oldest partitions given up (`when_full`). A state
  outlives a restart, and a reload that leaves the query as it is up to the functions.
- A value that a function does not take is an error of its row: the row counts nowhere, and is told with the reason."""


def analytics_page(made: str) -> str:
    """The page; ``made`` is the comment that says where it comes from."""
    parts = ["# Analytic functions", made, _INTRO + "\n" + _FACTS]
    for title, group in GROUPS.items():
        parts.append(f"## {title}")
        parts += map(_entry, group)
    return "\n\n".join(parts) + "\n"


def _entry(function: AnalyticFunction) -> str:
    lines = [f"### `{function.name}`", "", f"`{function.form} -> {_result(function)}`", "", function.doc]
    return "\n".join([*lines, "", "```sql", *map(_example, function.examples), "```"])


def _result(function: AnalyticFunction) -> str:
    return result_label(function.result, function.result_type, "x")


def _example(example: Example) -> str:
    return f"{example.call}  -- of {rows_of(example.rows)}: {', '.join(map(json_text, example.results))}"
