"""One query -> one function ``rule(messages, emit, fail)``.

Of a query over rows of a relation it is ``rule(rows, emit, fail, now)``: what a message tells of itself, the time in
microseconds above all, is told once for all rows.

For every message the function computes the fields that may fail, then WHERE, then the rest (emqx.md 1.3: fields come
first, but what cannot fail need not be computed for messages that WHERE drops), and calls ``emit`` with a row, a
tuple in the order of the query's outputs. An exception goes to ``fail(message, error)`` and the next message follows.
The function of a FOREACH returns how many messages gave rows; that of a SELECT gives at most one row per message.

The source is registered in ``linecache``, so tracebacks and debuggers show it.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CodeType, MappingProxyType
from typing import Any, Final

from core.message import MISSING, Type
from formats.json import decode_document
from rules import operators, paths
from rules.aggregates.keys import boxed
from rules.codegen.analysis import Analysis
from rules.codegen.emitter import Emitter
from rules.codegen.expressions import Expressions
from rules.codegen.values import tuple_text
from rules.columns import EVENT, HELPERS
from rules.functions.instants import shifted
from rules.functions.values import same
from rules.limits import DEFAULT, Limits, helpers
from rules.tree import Key, Query, Ref, is_path

Rule = Callable[..., int | None]
"""``rule(messages, emit, fail)`` or ``rule(rows, emit, fail, now)``."""

SELECT: Final = "select_and_transform_error"
COLLECT: Final = "select_and_collect_error"
WHERE: Final = "match_conditions_error"
INCASE: Final = "match_incase_error"
DO: Final = "doeach_error"

_MANY_ROWS: Final = 100
"""Rows that FOREACH makes of a relation's row without a look at their size."""
_BUILTINS: Final = MappingProxyType(
    {
        **{kind.__name__: kind for kind in (bool, int, float, str, bytes, list, dict, Exception)},
        "len": len,
        "type": type,
    }
)
_OPERATORS: Final = (
    *("add", "subtract", "multiply", "divide", "divide_decimal", "int_divide", "modulo", "negate", "concat"),
    *("equal", "unequal", "less", "less_or_equal", "greater", "greater_or_equal"),
    *("multiply_interval", "divide_interval"),
    *("distinct", "extreme", "in_array", "null_if"),
    *("is_in", "like", "topic_matches", "truth", "negation"),
)
_PATHS: Final = (
    *("as_list", "cut", "document", "document_fields", "document_of"),
    *("index", "integer_range", "key", "object_fields", "object_of", "opened", "put"),
)
_NAMESPACE: Final[Mapping[str, Any]] = MappingProxyType(
    {
        **HELPERS,
        **{name: getattr(operators, name) for name in _OPERATORS},
        **{name: getattr(paths, name) for name in _PATHS},
        "MISSING": MISSING,
        "EVENT": EVENT,
        "RULE_ID": "rule_id",
        "boxed": boxed,
        "decode": decode_document,
        "same": same,
        "shifted": shifted,
    }
)


@dataclass(frozen=True, slots=True)
class Program:
    """A rule's generated code. ``stages`` are pairs of a first line and the EMQX error class of what follows."""

    name: str
    source: str
    constants: Mapping[str, Any]
    code: CodeType
    stages: tuple[tuple[int, str], ...]
    growing: int
    """How many of a row's values may be larger than the message."""
    unnests: bool
    columns: tuple[tuple[str, Type], ...] = ()
    """The names and types of a row's values, where it reads rows."""

    def instantiate(self, node: str, limits: Limits = DEFAULT) -> Rule:
        """The function, for a process that calls itself ``node``."""
        namespace = {"__builtins__": dict(_BUILTINS), **_NAMESPACE, **self.constants, "NAME": self.name, "NODE": node}
        namespace |= helpers(limits, self.growing, unnests=self.unnests)
        # The source is ours: see Emitter for what a rule's author can get into it (nothing).
        exec(self.code, namespace)  # noqa: S102
        rule: Rule = namespace["rule"]
        return rule

    def stage(self, line: int) -> str:
        """The EMQX error class of what the generated code does in ``line``."""
        found = self.stages[0][1]
        for first, stage in self.stages:
            if line >= first:
                found = stage
        return found


def generate(name: str, query: Query, part: int = 1, stage: str = "") -> Program:
    """The program of a bound query without errors, or of one of several parts of it; ``stage`` names one of several
    programs of a part.

    RecursionError, MemoryError or SyntaxError where Python cannot take it: the query is too complex.
    """
    out = Emitter()
    marks: list[tuple[int, str]] = []
    body = _Body(query, out, marks)
    rows = query.source.rows
    with out.block("def rule(messages, emit, fail, now):" if rows else "def rule(messages, emit, fail):"):
        if query.unnest is not None:
            out.line("passed = 0")
        with out.block("for m in messages:"):
            with out.block("try:"):
                body.write()
            with out.block("except Exception as error:"):
                out.line("fail(m, error)")
        if query.unnest is not None:
            out.line("return passed")
    place = (f", {stage}" if stage else "") + (f", part {part}" if part != 1 else "")
    header = [f"# {name!a}{place}"]
    header += [f"# {key} = {label}" for key, label in out.labels.items()]
    source = "\n".join([*header, *out.lines, ""])
    filename = f"<rule {ascii(name)[1:-1]}{place}>"  # Python takes no NUL and no half of a character here
    code = compile(source, filename, "exec", dont_inherit=True)
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    stages = tuple((len(header) + line + 1, stage) for line, stage in marks)
    constants = MappingProxyType(dict(out.constants))
    columns = tuple((name, spec.type) for name, spec in query.source.specs.items()) if rows else ()
    return Program(name, source, constants, code, stages, len(body.growing), query.unnest is not None, columns)


class _Body:
    """What happens to one message."""

    def __init__(self, query: Query, out: Emitter, marks: list[tuple[int, str]]) -> None:
        self._query = query
        self._out = out
        self._marks = marks
        self._facts = Analysis(query)
        self._expressions = Expressions(self._facts, out)
        self.growing = [index for _, index in query.outputs if self._facts.grows(Ref(index))]

    def write(self) -> None:
        query, out, expressions = self._query, self._out, self._expressions
        unnest = query.unnest
        self._mark(SELECT if unnest is None else COLLECT)
        outer = len(query.lets) if unnest is None else unnest.first_let
        self._fields(0, outer)
        if unnest is not None:
            array = expressions.atom(unnest.array)
        if query.where is not None:
            self._mark(WHERE)
            expressions.leave_unless(query.where, "continue")
        if unnest is None:
            self._mark(SELECT)
            self._charge("charge(0, ({}))")
            out.line(f"emit({self._row()})")
            return
        out.line("rows = []")
        if self.growing:
            out.line("spent = 0")
        out.line(f"items = as_list({array})")
        with out.block("if len(items) > MAX_ROWS:"):
            out.line("items = watched(items, rows)")
        with out.block("for item in items:"):
            if unnest.condition is not None:
                self._mark(INCASE)
                expressions.leave_unless(unnest.condition, "continue")
            self._mark(DO)
            self._fields(outer, len(query.lets))
            self._charge("spent = charge(spent, ({}))")
            out.line(f"rows.append({self._row()})")
        with out.block("if rows:"):
            # What does not grow is a part of the message, but FOREACH repeats it.
            large = f"len(rows) > {_MANY_ROWS}" if query.source.rows else "len(rows) * len(m.payload) > MAX_BYTES"
            with out.block(f"if {large}:"):
                out.line("charge_rows(rows)")
            out.line("passed += 1")
            with out.block("for row in rows:"):
                out.line("emit(row)")

    def _mark(self, stage: str) -> None:
        self._marks.append((len(self._out.lines), stage))

    def _fields(self, first: int, last: int) -> None:
        """Compute the values that may fail, in order; for a path into the payload decoding is all that may."""
        for index in range(first, last):
            value = self._query.lets[index]
            if not self._facts.may_fail(value):
                continue
            if is_path(value) and isinstance(value, Key):
                self._expressions.fields()
            else:
                self._expressions.atom(Ref(index))

    def _charge(self, statement: str) -> None:
        """Let ``statement`` count the values that may grow, where one of them is no small one."""
        names = [self._expressions.variable(Ref(index)) for index in dict.fromkeys(self.growing)]
        if not names:
            return
        tests = [f"(len({name}) > BIG if type({name}) is str else type({name}) not in FLAT)" for name in names]
        with self._out.block(f"if {' or '.join(tests)}:"):
            self._out.line(statement.format("".join(f"{name}, " for name in names).rstrip()))

    def _row(self) -> str:
        lets = self._query.lets
        values = [
            # A path is safe to be put in place: what it may fail by, the decoding, has been done.
            self._expressions.value(lets[index] if is_path(lets[index]) else Ref(index))
            for _, index in self._query.outputs
        ]
        return tuple_text(values)
