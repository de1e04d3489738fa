"""Rule files -> a :class:`RuleSet`, or one RuleError with every diagnostic of every file.

Runs the passes in order and decides what belongs to rules rather than to queries: their names, options and targets.
A rule that CREATE RULE does not name is called ``<file stem>.<first target>``, and ``.2``, ``.3`` ... after it where a
file has several such rules for one target; adding lines, comments or further targets therefore renames nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import NamedTuple

from sqlglot import exp

from core.errors import RuleError
from core.message import Schema
from rules.bind import Binder
from rules.checks import check
from rules.codegen import Program, generate
from rules.columns import MESSAGE_COLUMNS
from rules.diagnostics import Diagnostic, Problems, Source, Span, suggestion
from rules.functions import FunctionTable, hostless_functions
from rules.nodes import MORE_SINKS_ARG, Foreach, span_of
from rules.options import RuleOptions, read_options
from rules.plan import Plan, plan
from rules.statements import Statement, parse


class RuleSource(NamedTuple):
    """A rule file: its path as it is to be shown, and its text."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """One rule, ready to be loaded into an engine; its rows go to every one of its ``targets``."""

    name: str
    targets: tuple[str, ...]
    filters: tuple[str, ...]
    options: RuleOptions
    path: str
    line: int
    sql: str
    plan: Plan
    program: Program

    @property
    def schema(self) -> Schema:
        """The names and types of the rows; ANY where a value may be anything."""
        return self.plan.schema

    @property
    def source_code(self) -> str:
        """The generated Python."""
        return self.program.source

    def explain(self) -> str:
        """The plan as text, with the options that are not as they are by default."""
        name, _, steps = self.plan.explain().partition("\n")
        options = self.options.changed()
        return f"{name}\nwith {options}\n{steps}" if options else f"{name}\n{steps}"


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules of a configuration, in the order of their files and lines."""

    rules: tuple[CompiledRule, ...] = ()

    def schemas_for(self, target: str) -> list[Schema]:
        """The schemas of the rules that write into ``target``, each once."""
        return list(dict.fromkeys(rule.schema for rule in self.rules if target in rule.targets))


def compile_rules(
    sources: Sequence[RuleSource],
    targets: Collection[str] | None = None,
    functions: FunctionTable | None = None,
) -> RuleSet:
    """Compile rule files; ``targets`` are the configured sinks (None: any name will do).

    Raises RuleError with all diagnostics, file by file; nothing of a set with errors is usable.
    """
    compiler = _Compiler(targets, hostless_functions() if functions is None else functions)
    for source in sources:
        compiler.file(source)
    if compiler.diagnostics:
        raise RuleError(compiler.diagnostics)
    return RuleSet(tuple(compiler.rules))


class _Compiler:
    def __init__(self, targets: Collection[str] | None, functions: FunctionTable) -> None:
        self._targets = targets
        self._functions = functions
        self._places: dict[str, str] = {}
        self.rules: list[CompiledRule] = []
        self.diagnostics: list[Diagnostic] = []

    def file(self, source: RuleSource) -> None:
        problems = Problems(Source(source.path, source.text))
        for statement in parse(problems):
            self._statement(statement, PurePath(source.path).stem, problems)
        self.diagnostics += sorted(problems.found, key=lambda found: (found.line, found.column))

    def _statement(self, statement: Statement, stem: str, problems: Problems) -> None:
        tree = statement.tree
        if isinstance(tree, exp.Select | Foreach):
            problems.add(
                "no-target",
                "the rows of this query go nowhere",
                Span(statement.span.start, statement.span.start + 6),
                hint="write INSERT INTO <sink> before it; headrace eval runs a query on its own",
            )
        before = len(problems.found)
        named: exp.Expr | None = None
        options = RuleOptions()
        insert: exp.Expr | None = None
        if isinstance(tree, exp.Create):
            named, insert = tree.this, tree.expression
            options = read_options(tree, problems)
        elif isinstance(tree, exp.Insert):
            insert = tree
        query_tree = tree if insert is None else insert.expression
        targets = () if insert is None else self._targets_of(insert, problems)
        name = named.name if named is not None else self._generated_name(f"{stem}.{targets[0] if targets else ''}")
        place = named if named is not None else tree if insert is None else insert.this
        self._claim(name, span_of(place), statement, problems)
        try:
            binder = Binder(MESSAGE_COLUMNS, self._functions, problems)
            query = binder.query(query_tree)
            if len(problems.found) > before or insert is None:
                return
            check(query, problems)
            if len(problems.found) > before:
                return
            rule = CompiledRule(
                name=name,
                targets=targets,
                filters=query.filters,
                options=options,
                path=problems.source.path,
                line=statement.line,
                sql=statement.text,
                plan=plan(name, targets, query),
                program=generate(name, query),
            )
        except (RecursionError, MemoryError, SyntaxError):
            problems.add("too-complex", "this statement is too complex", statement.span)
        else:
            self.rules.append(rule)

    def _targets_of(self, insert: exp.Expr, problems: Problems) -> tuple[str, ...]:
        names: dict[str, None] = {}
        for table in [insert.this, *(insert.args.get(MORE_SINKS_ARG) or ())]:
            name = table.name
            if name in names:
                hint = "every sink gets each row once"
                problems.add("duplicate-target", f"{name!r} is there twice", span_of(table), hint=hint)
            elif self._targets is not None and name not in self._targets:
                known = ", ".join(sorted(self._targets)) or "none"
                hint = suggestion(name, self._targets) or f"configured are {known}"
                problems.add("unknown-target", f"there is no sink {name!r}", span_of(table), hint=hint)
            names[name] = None
        return tuple(names)

    def _generated_name(self, stem: str) -> str:
        number = 1
        name = stem
        while name in self._places:
            number += 1
            name = f"{stem}.{number}"
        return name

    def _claim(self, name: str, span: Span, statement: Statement, problems: Problems) -> None:
        taken = self._places.get(name)
        if taken is not None:
            problems.add("duplicate-rule", f"there is already a rule {name!r}", span, hint=f"it is in {taken}")
        self._places.setdefault(name, f"{problems.source.path}:{statement.line}")
