"""Aggregate calls -> Python over one flat list per group.

The generated source holds templates of ours, numbered slots and numbered constants; values of a query's author are
reached by name. A row is taken in two steps. *Checks* load what the row's aggregates need and refuse what does not
fit, before anything is changed, so a refused row counts nowhere. *Updates* then cannot fail; calls with the same
FILTER and the same nullable arguments share one test.
"""

from __future__ import annotations

import linecache
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from core.errors import HeadraceError
from core.message import MISSING, Type
from rules.aggregates.base import Aggregate, AggregateTable, Code, Kind, OrderBy, Tally
from rules.aggregates.distinct import distinct_code
from rules.aggregates.ordering import ordering
from rules.codegen.emitter import Emitter
from rules.functions.base import Refusal

_ARGUMENTS: Final = "xyz"
_NAMESPACE: Final = {
    "__builtins__": {"type": type, "float": float, "int": int, "None": None, "len": len, "Exception": Exception},
    "MISSING": MISSING,
    "Decimal": Decimal,
}


class CallError(HeadraceError):
    """A call of an aggregate that cannot be; the text is for the author of the query."""


@dataclass(frozen=True, slots=True)
class AggregateCall:
    """``name(arguments, constants ORDER BY order) FILTER (WHERE filter)``. Arguments, the filter and what the order
    names are places in the input row."""

    name: str
    arguments: tuple[int, ...] = ()
    constants: tuple[Any, ...] = ()
    filter: int | None = None
    distinct: bool = False
    order: tuple[OrderBy, ...] = ()

    def places(self) -> tuple[int, ...]:
        """All places that are read."""
        filters = () if self.filter is None else (self.filter,)
        return (*self.arguments, *(term.place for term in self.order), *filters)


def check_call(call: AggregateCall, table: AggregateTable) -> Aggregate:
    """The aggregate that is called; CallError where the call is wrong, ExtensionError where its library is missing."""
    aggregate = table.get(call.name)
    if aggregate is None:
        raise CallError(f"there is no aggregate function {call.name}()")
    wanted = [parameter.name for parameter in aggregate.parameters]
    least = 0 if aggregate.name == "count" else len(wanted)
    if not least <= len(call.arguments) <= len(wanted) or len(call.constants) != len(aggregate.constants):
        form = ", ".join([*wanted, *(constant.name for constant in aggregate.constants)])
        given = len(call.arguments) + len(call.constants)
        raise CallError(f"{call.name}({form}) was given {given} argument{'s' if given != 1 else ''}")
    for constant, value in zip(aggregate.constants, call.constants, strict=True):
        try:
            constant.check(value)
        except Refusal as refusal:
            raise CallError(f"{call.name}(): {constant.name} {refusal}") from None
    if call.distinct and not call.arguments:
        raise CallError(f"{call.name}(DISTINCT *) has no meaning: name the columns whose values are to be counted")
    if call.order and aggregate.ordered is None:
        able = sorted({known.name for known in table.values() if known.ordered is not None})
        raise CallError(f"{call.name}() takes no ORDER BY: it is for {', '.join(able)}")
    if call.order and call.distinct and not {term.place for term in call.order} <= set(call.arguments):
        raise CallError(f"{call.name}(DISTINCT ... ORDER BY ...) can be ordered by its arguments only")
    if aggregate.check_library is not None:
        aggregate.check_library()
    return aggregate


class _Call:
    """One call with its templates and its slots."""

    def __init__(self, call: AggregateCall, aggregate: Aggregate, types: Sequence[Type], first: int) -> None:
        self.call = call
        self.parameters = aggregate.parameters[: len(call.arguments)]
        self.types = types
        self.code: Code = aggregate.code(types)
        self.names = aggregate.names
        if call.order and aggregate.ordered is not None:
            self.code = aggregate.ordered
            self.names = {**self.names, "ordering": ordering(call.order)}
        if call.distinct:
            self.code, self.names = distinct_code(self.code, self.names, call)
        self.first = first
        self.after = first + len(self.code.init)

    def samples(self) -> tuple[Any, ...]:
        """Equal for calls that see the same samples."""
        kinds = tuple(parameter.kind for parameter in self.parameters)
        return self.call.arguments, self.call.filter, kinds, self.code.last


class Accumulators:
    """The states of some calls. ``types`` maps places of the row to column types; places not in it are ANY.

    * ``new() -> list``: the state of no row;
    * ``add(state, row)``: take a row in, or raise Refusal and change nothing;
    * ``merge(one, other)``: bring ``other``, which came later, into ``one``; ``other`` stays as it is and may live on;
    * ``joined(states) -> list``: a new state of several ones, in the order of their time;
    * ``output(state) -> tuple``: the results, as often as wanted.

    ``carries``: some calls go on from one window to the next. Then

    * ``samples(state) -> list``: the latest sample of each of them, or None;
    * ``write_output`` takes the names of such a list for the time before the window, and of the bounds.
    """

    def __init__(
        self, calls: Sequence[AggregateCall], table: AggregateTable, tally: Tally, types: dict[int, Type] | None = None
    ) -> None:
        self.tally = tally
        known = types or {}
        self._calls: list[_Call] = []
        first = 0
        for call in calls:
            aggregate = check_call(call, table)
            item = _Call(call, aggregate, [known.get(place, Type.ANY) for place in call.arguments], first)
            self._calls.append(item)
            first = item.after
        self.slots = first
        self.mutable = any(item.code.mutable for item in self._calls)
        # Calls that see the same samples carry one.
        self._carried: dict[tuple[Any, ...], _Call] = {}
        for item in self._calls:
            if item.code.last:
                self._carried.setdefault(item.samples(), item)
        self.carries = len(self._carried)
        functions = self._compile()
        self.new: Callable[[], list[Any]] = functions["new"]
        self.add: Callable[[list[Any], Sequence[Any]], None] = functions["add"]
        self.merge: Callable[[list[Any], list[Any]], None] = functions["merge"]
        self.output: Callable[[list[Any]], tuple[Any, ...]] = functions["output"]
        self.samples: Callable[[list[Any]], list[Any]] = functions["samples"]

    def joined(self, states: Iterable[list[Any]]) -> list[Any]:
        merge = self.merge
        states = iter(states)
        result = self.new()
        if not self.mutable:
            result = next(states, result)[:]
        for state in states:
            merge(result, state)
        return result

    # Source text. ``row`` is the input row's name, ``state`` that of the list of slots, ``time`` of the row's time.

    def write_checks(self, out: Emitter, row: str) -> None:
        """Load filters and arguments into locals and refuse what does not fit."""
        loaded: set[int] = set()
        filters: dict[int, str] = {}
        for item in self._calls:
            condition = item.call.filter
            if condition is not None and condition not in filters:
                filters[condition] = out.local(f"{row}[{condition}] is True", "w")
                out.remember(("filter", condition), filters[condition])
            for place in (*item.call.arguments, *(term.place for term in item.call.order)):
                if place not in loaded:
                    loaded.add(place)
                    out.remember(("value", place), out.local(f"{row}[{place}]", "c"))
        for item in self._calls:
            for place, parameter, kind in zip(item.call.arguments, item.parameters, item.types, strict=True):
                self._write_check(out, item, place, parameter.kind, kind)

    def _write_check(self, out: Emitter, item: _Call, place: int, kind: Kind, column: Type) -> None:
        if kind.convert is None or column in kind.types:
            return
        key = ("checked", place, kind.label, id(kind.convert), item.call.filter)
        if out.recall(key) is not None:
            return
        value = _recalled(out, ("value", place))
        tests = [f"type({value}) is not float", f"type({value}) is not int"] if kind.plain else []
        tests += [f"{value} is not None", f"{value} is not MISSING"]
        condition = out.recall(("filter", item.call.filter))
        convert = out.shared_constant(("kind", id(kind.convert)), kind.convert, f"what makes a {kind.label} of a value")
        checked = out.local(value, "c")
        with out.block(f"if {' and '.join(([condition] if condition else []) + tests)}:"):
            out.line(f"{checked} = {convert}({value})")
        out.remember(key, checked)

    def write_init(self, out: Emitter) -> str:
        """The text of a new state."""
        return f"[{', '.join(expression for item in self._calls for expression in self._init(out, item))}]"

    def _init(self, out: Emitter, item: _Call) -> list[str]:
        return [expression.format_map(self._filling(out, item)) for expression in item.code.init]

    def write_update(self, out: Emitter, state: str, time: str) -> None:
        """Take in the row whose checks were written before."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for item in self._calls:
            values = []
            tests = []
            condition = out.recall(("filter", item.call.filter))
            if condition:
                tests.append(condition)
            for place, parameter in zip(item.call.arguments, item.parameters, strict=True):
                kind = parameter.kind
                key = ("checked", place, kind.label, id(kind.convert), item.call.filter)
                raw = _recalled(out, ("value", place))
                values.append(out.recall(key) or raw)
                if not parameter.nulls:
                    tests.append(f"{raw} is not None and {raw} is not MISSING")
            terms = "".join(f"{_recalled(out, ('value', term.place))}, " for term in item.call.order)
            filling = self._filling(out, item, state=state)
            filling.update(zip(_ARGUMENTS, values, strict=False), t=time, order=f"({terms})")
            lines = item.code.add.format_map(filling).splitlines()
            groups.setdefault(tuple(dict.fromkeys(tests)), []).extend(lines)
        for tests_, lines in groups.items():
            if tests_:
                with out.block(f"if {' and '.join(tests_)}:"):
                    for line in lines:
                        out.line(line)
            else:
                for line in lines:
                    out.line(line)

    def _filling(self, out: Emitter, item: _Call, *, state: str = "s", other: str | None = None) -> dict[str, str]:
        """What stands for the placeholders of a call's templates."""
        filling = {
            name: out.shared_constant(("name", id(value)), value, f"of {item.call.name}: {name}")
            for name, value in item.names.items()
        }
        filling["tally"] = out.shared_constant("tally", self.tally, "limits and counts of this operator")
        for number, constant in enumerate(item.call.constants):
            filling[f"p{number}"] = out.constant(constant)
        for number in range(item.after - item.first):
            slot = f"[{item.first + number}]"
            filling[f"s{number}"] = state + slot
            filling[f"a{number}"] = state + slot
            if other is not None:
                filling[f"b{number}"] = other + slot
        return filling

    def write_merge(self, out: Emitter, one: str, other: str) -> None:
        for item in self._calls:
            for line in item.code.merge.format_map(self._filling(out, item, state=one, other=other)).splitlines():
                out.line(line)

    def write_output(
        self, out: Emitter, state: str, carried: str | None = None, since: str = "None", until: str = "None"
    ) -> list[str]:
        """The expressions of the results. ``carried`` names the list of samples from before, ``since`` and ``until``
        the bounds of the time that is covered; without them results tell of the rows alone."""
        results = []
        for item in self._calls:
            filling = self._filling(out, item, state=state)
            filling.update(carried="None", since=since, until=until)
            if carried is not None and item.code.last:
                filling["carried"] = f"{carried}[{list(self._carried).index(item.samples())}]"
            results.append(item.code.output.format_map(filling))
        return results

    def write_samples(self, out: Emitter, state: str) -> str:
        """The text of the list of the latest samples."""
        items = self._carried.values()
        return f"[{', '.join(item.code.last.format_map(self._filling(out, item, state=state)) for item in items)}]"

    def _compile(self) -> dict[str, Any]:
        out = Emitter()
        with out.block("def new():"):
            out.line(f"return {self.write_init(out)}")
        with out.block("def add(s, row):"):
            self.write_checks(out, "row")
            out.line("t = row[0]")
            self.write_update(out, "s", "t")
        with out.block("def merge(s, o):"):
            self.write_merge(out, "s", "o")
            out.line("return None")
        with out.block("def output(s):"):
            results = self.write_output(out, "s")
            out.line(f"return ({''.join(result + ', ' for result in results)})")
        with out.block("def samples(s):"):
            out.line(f"return {self.write_samples(out, 's')}")
        return run_source("<aggregates>", out)


def run_source(name: str, out: Emitter) -> dict[str, Any]:
    """Compile what was emitted; its source is shown in tracebacks and by debuggers."""
    header = [f"# {key} = {label}" for key, label in out.labels.items()]
    source = "\n".join([*header, *out.lines, ""])
    # By what it is, so that a reload of the same queries adds nothing to the cache.
    filename = f"{name[:-1]} {zlib.crc32(source.encode()):08x}>"
    namespace: dict[str, Any] = {**_NAMESPACE, **out.constants}
    # The source is ours: templates of aggregates, numbered slots and constants.
    exec(compile(source, filename, "exec", dont_inherit=True), namespace)  # noqa: S102
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    return namespace


def _recalled(out: Emitter, key: tuple[str, int]) -> str:
    text = out.recall(key)
    assert text is not None, key  # noqa: S101  checks are written before updates
    return text
