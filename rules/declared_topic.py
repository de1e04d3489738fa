"""The templates of a source's topic: ``cp/{station}/meter`` is the filter ``cp/+/meter`` and binds a column to a level.

Invariant: a column is at the same level in every template of a source, so that its rows are made in one way.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlglot import exp

from core.errors import TopicError
from core.topics import validate_filter
from rules.diagnostics import Problems, suggestion
from rules.nodes import span_of
from rules.sources import BRIDGES, is_event


def bound_levels(templates: Sequence[exp.Expr], columns: Collection[str], problems: Problems) -> dict[str, int]:
    """The levels, from 0 on, that columns are bound to."""
    found: dict[str, int] | None = None
    for template in templates:
        before = len(problems.found)
        levels = _levels(template, columns, problems)
        if len(problems.found) > before:
            continue
        if found is None:
            found = levels
        elif found != levels:
            message = "the templates bind columns to different levels of the topic"
            hint = "declare a source for each, with the same columns"
            problems.add("bad-topic-filter", message, span_of(template), hint=hint)
    return found or {}


def filter_of(template: str) -> str:
    """The topic filter of a template."""
    return "/".join("+" if level[:1] == "{" and level[-1:] == "}" else level for level in template.split("/"))


def _levels(template: exp.Expr, columns: Collection[str], problems: Problems) -> dict[str, int]:
    place = span_of(template)
    bound: dict[str, int] = {}
    for number, level in enumerate(template.name.split("/")):
        name = level[1:-1]
        if not ("{" in level or "}" in level):
            continue
        if not (level.startswith("{") and level.endswith("}")) or not name or "{" in name or "}" in name:
            hint = "{name} stands for one whole level: 'cp/{station}/meter'"
            problems.add("bad-topic-filter", f"{level!r} is no level of a topic", place, hint=hint)
        elif name not in columns:
            hint = suggestion(name, columns) or f"add it to the columns: {name} TEXT"
            problems.add("unknown-column", f"there is no column {name!r}", place, hint=hint)
        elif name in bound:
            hint = "'+' is a level without a name"
            problems.add("bad-topic-filter", f"{name!r} is bound to two levels", place, hint=hint)
        else:
            bound[name] = number
    _check_filter(template, problems)
    return bound


def _check_filter(template: exp.Expr, problems: Problems) -> None:
    name = filter_of(template.name)
    if is_event(name) or name.startswith(BRIDGES):
        what = "an event" if is_event(name) else "EMQX's name of a source"
        hint = 'events have columns of their own: a view reads them, CREATE VIEW v AS SELECT ... FROM "$events/..."'
        message = f"a source reads topics, and {name!r} is {what}"
        problems.add("bad-topic-filter", message, span_of(template), hint=hint if is_event(name) else "")
        return
    try:
        validate_filter(name)
    except TopicError as error:
        problems.add("bad-topic-filter", str(error), span_of(template))
