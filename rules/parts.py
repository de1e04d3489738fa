"""A bound query -> what runs: programs, and the operators between them.

A query without state is one program. One with a window is two and the operator between them (``rules.split``); each
round of analytic functions adds an operator and a program (``rules.split_analytics``).
"""

from __future__ import annotations

from dataclasses import dataclass

from core.message import Schema
from rules.analytics import AnalyticPlan
from rules.codegen import Program, generate
from rules.diagnostics import Problems
from rules.options import DEFAULT, RuleOptions
from rules.plan import Filter, Group, Plan, Unnest, plan
from rules.split import Result, split
from rules.split_analytics import analytics_of, split_analytics
from rules.tree import Query
from rules.windows.plan import PlanError, WindowPlan


@dataclass(frozen=True, slots=True)
class Step:
    """Rows of ``program`` go into the operator of ``plan``; its rows are what the next program reads."""

    program: Program
    plan: WindowPlan | AnalyticPlan


@dataclass(frozen=True, slots=True)
class Part:
    """A query, for messages of ``filters`` or rows of ``relation``. The last program gives its rows, which ``result``
    sorts and cuts."""

    filters: tuple[str, ...]
    plan: Plan
    program: Program
    relation: str = ""
    steps: tuple[Step, ...] = ()
    result: Result | None = None

    @property
    def schema(self) -> Schema:
        """The names and types of the rows; ANY where a value may be anything."""
        return self.plan.schema

    @property
    def filters_rows(self) -> bool:
        """May rows be dropped before the window, or where there is none?"""
        steps = self.plan.steps
        first = next((place for place, step in enumerate(steps) if isinstance(step, Group)), 0)
        return any(isinstance(step, Filter | Unnest) for step in steps[first:])

    @property
    def programs(self) -> tuple[Program, ...]:
        return (*(step.program for step in self.steps), self.program)


def compile_part(
    name: str,
    targets: tuple[str, ...],
    query: Query,
    problems: Problems,
    number: int = 1,
    options: RuleOptions = DEFAULT,
) -> Part | None:
    """What runs for a bound query without errors, part ``number`` of its rule; None where its window cannot be."""
    described = plan(name, targets, query)
    steps: list[Step] = []
    result = None
    left = query
    if query.grouping is not None:
        before = len(problems.found)
        try:
            windowed = split(query, options.window, problems)
        except PlanError as error:
            problems.add("bad-window", str(error), query.grouping.span)
            return None
        if len(problems.found) > before:
            return None
        steps.append(Step(generate(name, windowed.before, number, "rows"), windowed.plan))
        left, result = windowed.behind, windowed.result
    rest = _analysed(name, left, problems, number, options, steps)
    if rest is None:
        return None
    return Part(query.filters, described, generate(name, rest, number), query.relation, tuple(steps), result)


def _analysed(
    name: str, query: Query, problems: Problems, number: int, options: RuleOptions, steps: list[Step]
) -> Query | None:
    """Add the steps of analytic functions; what is left of the query, None where they cannot be."""
    identity = steps[-1].plan.identity if steps else ""
    calls = analytics_of(query)
    while calls:
        try:
            parts = split_analytics(query, options.analytics, identity)
        except PlanError as error:
            problems.add("misplaced-analytic", str(error), calls[0].span)
            return None
        label = "rows" if not steps else f"rows {len(steps) + 1}"
        steps.append(Step(generate(name, parts.before, number, label), parts.plan))
        query, identity = parts.behind, parts.plan.identity
        calls = analytics_of(query)
    return query
