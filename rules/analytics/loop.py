"""The generated loop over rows: find the state of each partition, step every call, add the results to the row.

A row is taken in two steps. *Checks* load what the calls need and refuse what does not fit, before anything is
changed, so a refused row counts nowhere. *Steps* then move the states. Calls with the same PARTITION BY share one
lookup and one flat list, those with the same WHEN one test. ``lead`` is not done here: its result stays null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from core.message import Type
from rules.aggregates import Tally
from rules.aggregates.accumulator import run_source
from rules.analytics.base import Code
from rules.analytics.plan import LEAD, AnalyticCall, AnalyticPlan
from rules.codegen.emitter import Emitter

Loop = Callable[..., None]
"""``loop(rows, now, emit, refuse, full, young, missing, ...)``, the last two for each PARTITION BY."""


class _Call:
    """One call with its templates and where its slots begin."""

    def __init__(self, number: int, call: AnalyticCall, plan: AnalyticPlan, first: int) -> None:
        self.result = f"r{number}"
        self.call = call
        self.function = plan.functions[call.name]
        self.types: Sequence[Type] = [plan.columns[place] for place in call.arguments]
        assert self.function.code is not None  # noqa: S101  lead is not among them
        self.code: Code = self.function.code(self.types, call.constants)
        self.first = first


class Loops:
    """The loop of a plan. ``partitions`` are the places of the keys, in the order in which the loop takes their states;
    ``new`` makes an empty state for each of them. None is the partition of all rows: one state that is always there."""

    def __init__(self, plan: AnalyticPlan, tally: Tally) -> None:
        self._plan = plan
        self._tally = tally
        self.partitions = tuple(dict.fromkeys(call.partition for call in plan.calls if call.name != LEAD))
        self.slots = dict.fromkeys(self.partitions, 1)
        self._calls: list[_Call] = []
        for number, call in enumerate(plan.calls):
            if call.name != LEAD:
                item = _Call(number, call, plan, self.slots[call.partition])
                self.slots[call.partition] += len(item.code.init)
                self._calls.append(item)
        functions = self._compile()
        self.run: Loop = functions["loop"]
        self.new: tuple[Callable[[], list[Any]], ...] = tuple(
            functions[f"new{number}"] for number in range(len(self.partitions))
        )

    def _compile(self) -> dict[str, Any]:
        out = Emitter()
        for number, place in enumerate(self.partitions):
            inits = [
                init.format_map(self._filling(out, item))
                for item in self._calls
                if item.call.partition == place
                for init in item.code.init
            ]
            with out.block(f"def new{number}():"):
                out.line(f"return [0, {', '.join(inits)}]")
        given = "".join(f", young{number}, missing{number}" for number in range(len(self.partitions)))
        with out.block(f"def loop(rows, now, emit, refuse, full{given}):"):
            for number, place in enumerate(self.partitions):
                if place is None:
                    out.line(f"s{number} = young{number}")
            with out.block("for row in rows:"):
                with out.block("try:"):
                    self._write_row(out)
                with out.block("except Exception as error:"):
                    out.line("refuse(row, error)")
            out.line("return None")
        return run_source("<analytics>", out)

    def _write_row(self, out: Emitter) -> None:
        loaded: set[int] = set()
        for item in self._calls:
            call = item.call
            if call.when is not None and call.when not in loaded:
                loaded.add(call.when)
                out.line(f"w{call.when} = row[{call.when}] is True")
        arguments = dict.fromkeys(place for item in self._calls for place in item.call.arguments)
        for argument in arguments:
            out.line(f"a{argument} = row[{argument}]")
        for item in self._calls:
            self._write_checks(out, item)
        for number, place in enumerate(self.partitions):
            if place is None:
                continue
            out.line(f"k = row[{place}]")
            out.line(f"s{number} = young{number}.get(k)")
            with out.block(f"if s{number} is None:"):
                out.line(f"s{number} = missing{number}(k, now)")
                with out.block(f"if s{number} is None:"):
                    out.line("full(row)")
                    out.line("continue")
            out.line(f"s{number}[0] = now")
        self._write_steps(out)
        # A row that waits needs all columns until it leaves; what stands behind them never does.
        columns = len(self._plan.columns)
        kept = columns if self._plan.looks_ahead or self._plan.kept is None else self._plan.kept
        results = (f"r{number}" if call.name != LEAD else "None" for number, call in enumerate(self._plan.calls))
        out.line(f"emit(row[:{kept}] + ({', '.join(results)},))")

    def _write_checks(self, out: Emitter, item: _Call) -> None:
        given = zip(item.call.arguments, item.function.columns, item.types, strict=False)
        for place, parameter, column in given:
            kind = parameter.kind
            if kind.convert is None or column in kind.types:
                continue
            key = ("checked", place, kind.label, item.call.when)
            if out.recall(key) is not None:
                continue
            value = f"a{place}"
            tests = [f"type({value}) is not float", f"type({value}) is not int"] if kind.plain else []
            tests += [f"{value} is not None", f"{value} is not MISSING"]
            if item.call.when is not None:
                tests.insert(0, f"w{item.call.when}")
            convert = out.shared_constant(("kind", id(kind.convert)), kind.convert, f"what makes a {kind.label}")
            with out.block(f"if {' and '.join(tests)}:"):
                out.line(f"{convert}({value})")
            out.remember(key, value)

    def _write_steps(self, out: Emitter) -> None:
        groups: dict[int | None, list[_Call]] = {}
        for item in self._calls:
            groups.setdefault(item.call.when, []).append(item)
        for when, items in groups.items():
            if when is None:
                self._write(out, items)
                continue
            with out.block(f"if w{when}:"):
                self._write(out, items)
            with out.block("else:"):
                for item in items:
                    out.line(f"{item.result} = {item.code.still.format_map(self._filling(out, item))}")

    def _write(self, out: Emitter, items: Sequence[_Call]) -> None:
        for item in items:
            for line in item.code.step.format_map(self._filling(out, item)).splitlines():
                out.line(line)

    def _filling(self, out: Emitter, item: _Call) -> dict[str, str]:
        """What stands for the placeholders of a call's templates."""
        filling = {
            name: out.shared_constant(("name", id(value)), value, f"of {item.call.name}: {name}")
            for name, value in item.function.names.items()
        }
        state = self.partitions.index(item.call.partition)
        filling["tally"] = out.shared_constant("tally", self._tally, "limits and counts of this operator")
        filling["r"] = item.result
        for number in range(len(item.code.init)):
            filling[f"s{number}"] = f"s{state}[{item.first + number}]"
        for number, place in enumerate(item.call.arguments):
            filling[f"x{number}"] = f"a{place}"
        return filling
