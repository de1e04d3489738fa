"""Rule files -> a :class:`RuleSet`, or one RuleError with every diagnostic of every file.

Runs the passes in order and decides what belongs to rules rather than to queries: their names, options and targets.
A rule that CREATE RULE does not name is called ``<file stem>.<first target>``, and ``.2``, ``.3`` ... after it where a
file has several such rules for one target; adding lines, comments or further targets therefore renames nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Literal, NamedTuple

from sqlglot import exp

from core.errors import RuleError
from core.message import Schema
from rules.bind import Binder
from rules.catalog import KINDS, Catalog, Definition, view_relation
from rules.checks import check
from rules.columns import MESSAGE_COLUMNS
from rules.declared import declare_source
from rules.declared_table import declare_table
from rules.diagnostics import Diagnostic, Problems, Source, Span, suggestion
from rules.functions import FunctionTable, hostless_functions
from rules.joins.bound import CompiledJoin, CompiledTable
from rules.nodes import MORE_SINKS_ARG, CreateSource, CreateTable, CreateView, Foreach, SelectAll, span_of
from rules.options import VIEW_OPTIONS, RuleOptions, read_options
from rules.parts import Part, compile_part
from rules.plan import time_text
from rules.relations import EventColumn, Relation
from rules.sources import kinds_of
from rules.statements import Statement, parse
from rules.tree import Query


class RuleSource(NamedTuple):
    """A rule file: its path as it is to be shown, and its text."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """One rule, ready to be loaded into an engine; its rows go to every one of its ``targets``.

    A declared source or view is one without targets: ``kind``. Its parts read different kinds of messages
    and give rows of different columns: ``SELECT *`` from several kinds. Any other has one part.
    """

    name: str
    targets: tuple[str, ...]
    options: RuleOptions
    path: str
    line: int
    sql: str
    parts: tuple[Part, ...]
    kind: Literal["rule", "source", "view"] = "rule"
    time: EventColumn | None = None
    """The column of a relation that tells when a row happened."""

    @property
    def filters(self) -> tuple[str, ...]:
        return tuple(topic for part in self.parts for topic in part.filters)

    @property
    def reads(self) -> tuple[str, ...]:
        """The relations that its rows come from."""
        return tuple(part.relation for part in self.parts if part.relation)

    @property
    def schema(self) -> Schema:
        """That of its first part."""
        return self.parts[0].schema

    @property
    def schemas(self) -> tuple[Schema, ...]:
        """Those of all parts."""
        return tuple(part.schema for part in self.parts)

    @property
    def source_code(self) -> str:
        """The generated Python."""
        return "\n".join(program.source for part in self.parts for program in part.programs)

    def explain(self) -> str:
        """The plan as text, part by part, with the options that are not as they are by default."""
        plans = [part.plan.explain().partition("\n") for part in self.parts]
        options = self.options.changed()
        head = [plans[0][0] if self.kind == "rule" else f"{self.kind} {self.name}"]
        if options:
            head.append(f"with {options}")
        if self.time is not None:
            head.append(f"time {time_text(*self.time)}")
        return "\n".join([*head, *(steps for _, _, steps in plans)])


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules of a configuration, in the order of their files and lines; the sources, views and joins that they read,
    each after what it reads itself, and the lookup tables of these."""

    rules: tuple[CompiledRule, ...] = ()
    relations: tuple[CompiledRule | CompiledJoin, ...] = ()
    tables: tuple[CompiledTable, ...] = ()

    @property
    def queries(self) -> tuple[CompiledRule | CompiledJoin, ...]:
        """All that runs, each after what it reads."""
        return (*self.relations, *self.rules)

    def schemas_for(self, target: str) -> list[Schema]:
        """The schemas of the rules that write into ``target``, each once."""
        return list(dict.fromkeys(schema for rule in self.rules if target in rule.targets for schema in rule.schemas))


def compile_rules(
    sources: Sequence[RuleSource],
    targets: Collection[str] | None = None,
    functions: FunctionTable | None = None,
) -> RuleSet:
    """Compile rule files; ``targets`` are the configured sinks (None: any name will do).

    Raises RuleError with all diagnostics, file by file; nothing of a set with errors is usable.
    """
    compiler = _Compiler(targets, hostless_functions() if functions is None else functions)
    compiler.files(sources)
    if compiler.diagnostics:
        raise RuleError(compiler.diagnostics)
    return RuleSet(tuple(compiler.rules), tuple(compiler.relations()), tuple(compiler.tables()))


class _Compiler:
    def __init__(self, targets: Collection[str] | None, functions: FunctionTable) -> None:
        self._targets = targets
        self._functions = functions
        self._places: dict[str, str] = {}
        self._catalog = Catalog(self._relation)
        self.rules: list[CompiledRule] = []
        self.diagnostics: list[Diagnostic] = []

    def files(self, sources: Sequence[RuleSource]) -> None:
        """Compile all files: what they define first, so that it may be anywhere."""
        files: list[tuple[str, Problems, list[Statement]]] = []
        for source in sources:
            problems = Problems(Source(source.path, source.text))
            files.append((PurePath(source.path).stem, problems, parse(problems)))
        for _, problems, statements in files:
            for statement in statements:
                if type(statement.tree) in KINDS:
                    self._catalog.define(statement, problems)
        for stem, problems, statements in files:
            for statement in statements:
                if type(statement.tree) not in KINDS:
                    self._statement(statement, stem, problems)
        self._catalog.finish()
        for _, problems, _ in files:
            self.diagnostics += sorted(problems.found, key=lambda found: (found.line, found.column))

    def tables(self) -> Iterator[CompiledTable]:
        """The lookup tables that joins ask."""
        for definition in self._catalog.compiled:
            relation = definition.relation
            if definition.used and relation is not None and relation.lookup is not None:
                path, line = definition.problems.source.path, definition.statement.line
                yield CompiledTable(definition.name, relation.lookup, relation.schema, path, line)

    def relations(self) -> Iterator[CompiledRule | CompiledJoin]:
        """What runs for the relations that rules read."""
        for definition in self._catalog.compiled:
            if definition.join is not None:
                yield definition.join
            elif definition.used and definition.part is not None and definition.kind in ("source", "view"):
                yield CompiledRule(
                    name=definition.name,
                    targets=(),
                    options=definition.options,
                    path=definition.problems.source.path,
                    line=definition.statement.line,
                    sql=definition.statement.text,
                    parts=(definition.part,),
                    kind=definition.kind,
                    time=definition.relation.time if definition.relation is not None else None,
                )

    def _relation(self, definition: Definition) -> Relation | None:
        """Compile a source, view or table: see ``Catalog``."""
        tree, problems = definition.statement.tree, definition.problems
        before = len(problems.found)
        try:
            if isinstance(tree, CreateView):
                relation = self._view(definition, tree)
            elif isinstance(tree, CreateSource):
                relation = self._source(definition, tree)
            else:
                relation = self._table(tree, problems)
        except (RecursionError, MemoryError, SyntaxError):
            problems.add("too-complex", "this statement is too complex", definition.statement.span)
            relation = None
        return None if len(problems.found) > before else relation

    def _view(self, definition: Definition, tree: CreateView) -> Relation | None:
        problems = definition.problems
        definition.options = read_options(tree.args.get("options") or (), problems, VIEW_OPTIONS)
        binder = Binder(MESSAGE_COLUMNS, self._functions, problems, self._catalog)
        found = len(problems.found)
        query = binder.query(tree.args["expression"])
        if not binder.knows_columns:
            return None
        if len(problems.found) == found:
            check(query, problems)
        if len(problems.found) == found:
            definition.part = compile_part(definition.name, (), query, problems, options=definition.options)
        return view_relation(definition.name, query, binder.times, definition.options, corrected=binder.corrected)

    def _source(self, definition: Definition, tree: CreateSource) -> Relation | None:
        declared = declare_source(tree, self._functions, definition.problems)
        if declared is None:
            return None
        definition.part = compile_part(declared.name, (), declared.query, definition.problems)
        specs = declared.columns.specs
        schema = Schema(tuple(specs), tuple(spec.type for spec in specs.values()))
        return Relation(declared.name, "source", declared.columns, schema, declared.time)

    @staticmethod
    def _table(tree: exp.Expr, problems: Problems) -> Relation | None:
        assert isinstance(tree, CreateTable)  # noqa: S101  KINDS has nothing else
        declared = declare_table(tree, problems)
        if declared is None:
            return None
        specs = declared.columns.specs
        schema = Schema(tuple(specs), tuple(spec.type for spec in specs.values()))
        return Relation(declared.name, "table", declared.columns, schema, lookup=declared.options)

    def _statement(self, statement: Statement, stem: str, problems: Problems) -> None:
        tree = statement.tree
        if isinstance(tree, exp.Select | Foreach):
            problems.add(
                "no-target",
                "the rows of this query go nowhere",
                Span(statement.span.start, statement.span.start + 6),
                hint="write INSERT INTO <sink> before it; headrace eval runs a query on its own",
            )
        start = len(problems.found)
        named: exp.Expr | None = None
        options = RuleOptions()
        insert: exp.Expr | None = None
        if isinstance(tree, exp.Create):
            named, insert = tree.this, tree.expression
            properties = tree.args.get("properties")
            options = read_options(properties.expressions if properties is not None else (), problems)
        elif isinstance(tree, exp.Insert):
            insert = tree
        query_tree = tree if insert is None else insert.expression
        targets = () if insert is None else self._targets_of(insert, problems)
        name = named.name if named is not None else self._generated_name(f"{stem}.{targets[0] if targets else ''}")
        place = named if named is not None else tree if insert is None else insert.this
        self._claim(name, span_of(place), statement, problems)
        before = len(problems.found)
        try:
            binder = Binder(MESSAGE_COLUMNS, self._functions, problems, self._catalog)
            query = binder.query(query_tree)
            if len(problems.found) > before or insert is None or not binder.knows_columns:
                return
            check(query, problems)
            if len(problems.found) > before:
                return
            parts = [
                compile_part(name, targets, part, problems, number, options)
                for number, part in enumerate(self._by_kind(query_tree, query, problems), 1)
            ]
            if len(problems.found) > start:
                return
            rule = CompiledRule(
                name=name,
                targets=targets,
                options=options,
                path=problems.source.path,
                line=statement.line,
                sql=statement.text,
                parts=tuple(part for part in parts if part is not None),
            )
        except (RecursionError, MemoryError, SyntaxError):
            problems.add("too-complex", "this statement is too complex", statement.span)
        else:
            self.rules.append(rule)

    def _by_kind(self, tree: exp.Expr, query: Query, problems: Problems) -> list[Query]:
        """The query, or where it selects all columns of several kinds of messages, one for each with its columns."""
        kinds = kinds_of(query.filters)
        if len(kinds) < 2 or query.grouping is not None or not _selects_all(tree):
            return [query]
        # It is right as a whole: what one kind lacks is missing there, and no problem.
        scratch = Problems(problems.source)
        bound = [
            (kind.filters, Binder(replace(kind.columns, strict=False), self._functions, scratch).query(tree))
            for kind in kinds
        ]
        return [replace(part, filters=filters) for filters, part in bound]

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
        elif place := self._catalog.place_of(name):
            hint = f"it is {place}; states and counters go by the name, so give the rule another"
            problems.add("duplicate-rule", f"{name!r} is taken already", span, hint=hint)
        self._places.setdefault(name, f"{problems.source.path}:{statement.line}")


def _selects_all(tree: exp.Expr) -> bool:
    """Are there rows with all columns: ``SELECT *``, or FOREACH without DO?"""
    fields = tree.args.get("do") if isinstance(tree, Foreach) else tree.expressions
    return not fields or any(isinstance(field, exp.Star | SelectAll) for field in fields)
