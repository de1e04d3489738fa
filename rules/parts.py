"""A bound query -> what runs: programs, and the operators between them.

A query without state is one program. One with a window is two and the operator between them (``rules.split``).
"""

from __future__ import annotations

from dataclasses import dataclass

from core.message import Schema
from rules.codegen import Program, generate
from rules.diagnostics import Problems
from rules.options import DEFAULT, RuleOptions
from rules.plan import Filter, Plan, plan
from rules.split import Result, split
from rules.tree import Query
from rules.windows.plan import PlanError, WindowPlan


@dataclass(frozen=True, slots=True)
class Step:
    """Rows of ``program`` go into the operator of ``plan``; its rows are what the next program reads."""

    program: Program
    plan: WindowPlan


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
        """Does a WHERE drop rows before the first operator?"""
        return any(isinstance(step, Filter) for step in self.plan.steps[-2:])

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
    if query.grouping is None:
        return Part(query.filters, described, generate(name, query, number), query.relation)
    before = len(problems.found)
    try:
        windowed = split(query, options.window, problems)
    except PlanError as error:
        problems.add("bad-window", str(error), query.grouping.span)
        return None
    if len(problems.found) > before:
        return None
    step = Step(generate(f"{name}, rows", windowed.before, number), windowed.plan)
    behind = generate(name, windowed.behind, number)
    return Part(query.filters, described, behind, query.relation, (step,), windowed.result)
