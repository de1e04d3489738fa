"""Windows and what is asked of their groups: GROUP BY, HAVING, ORDER BY, LIMIT.

Two ways of writing give one :class:`tree.Grouping`: table functions in FROM, as Flink's and RisingWave's, and eKuiper's
calls in GROUP BY. A window counts in event time where its source has a watermark and the query says so, by naming
the column (table functions) or by default (eKuiper's); otherwise rows count when they arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, NamedTuple

from sqlglot import exp

from core.message import Type
from rules.bind_aggregates import EDGES, has_aggregate
from rules.bind_from import SourceBinder
from rules.diagnostics import Span, suggestion
from rules.nodes import Modified, WindowTable, span_of
from rules.scope import Outputs
from rules.tree import (
    UNDEFINED,
    Column,
    Const,
    Document,
    Expr,
    Grouping,
    Received,
    Ref,
    Sender,
    Sort,
    WindowEdge,
    walk,
)
from rules.windows.plan import (
    Count,
    EventTime,
    Hop,
    PlanError,
    ProcessingTime,
    Session,
    Sliding,
    State,
    Timing,
    Tumble,
    Window,
    check_window,
)

_UNITS: Final = MappingProxyType(
    {"dd": 86_400_000_000, "hh": 3_600_000_000, "mi": 60_000_000, "ss": 1_000_000, "ms": 1_000}
)
_ALIGNED: Final = ("offset", "zone")


class _Form(NamedTuple):
    """A table function: its lengths by name (those in ``optional`` may be left out), and how it is written. ``counts``:
    they are numbers of rows."""

    make: Callable[..., Window]
    lengths: tuple[str, ...]
    text: str
    optional: tuple[str, ...] = ()
    counts: bool = False


TABLE_FUNCTIONS: Final = MappingProxyType(
    {
        "TUMBLE": _Form(
            Tumble, ("size",), "TUMBLE(source, ts, INTERVAL '1 minute' [, offset INTERVAL] [, 'zone'])", _ALIGNED
        ),
        "HOP": _Form(
            Hop,
            ("hop", "size"),
            "HOP(source, ts, every INTERVAL, size INTERVAL [, offset INTERVAL] [, 'zone'])",
            _ALIGNED,
        ),
        "SESSION": _Form(
            Session, ("gap",), "SESSION(source, ts, gap INTERVAL [, longest INTERVAL])", ("max_duration",)
        ),
        "SLIDE": _Form(Sliding, ("size",), "SLIDE(source, ts, size INTERVAL [, delay INTERVAL])", ("delay",)),
        "COUNT_WINDOW": _Form(Count, ("size",), "COUNT_WINDOW(source [, ts], rows [, every])", ("every",), counts=True),
    }
)
_FORMS: Final = MappingProxyType(
    {
        "TUMBLINGWINDOW": ("TUMBLINGWINDOW(unit, length)", True, (1, 1)),
        "HOPPINGWINDOW": ("HOPPINGWINDOW(unit, length, every)", True, (2, 2)),
        "SLIDINGWINDOW": ("SLIDINGWINDOW(unit, length [, delay])", True, (1, 2)),
        "SESSIONWINDOW": ("SESSIONWINDOW(unit, longest, gap)", True, (2, 2)),
        "COUNTWINDOW": ("COUNTWINDOW(rows [, every])", False, (1, 2)),
        "STATEWINDOW": ("STATEWINDOW(begin condition [, emit condition])", False, (1, 2)),
    }
)
"""eKuiper's windows: how they are written, whether with a unit, and how many arguments follow it."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A window as it was written."""

    window: Window
    timing: Timing
    time: Expr
    keys: tuple[exp.Expr, ...]
    span: Span
    marks: tuple[Expr, ...] = ()
    filter: exp.Expr | None = None


class WindowBinder(SourceBinder):
    """Binds windows; a query without one refuses the clauses that need it."""

    def _window_of(self, tree: exp.Expr, items: Sequence[exp.Expr]) -> _Found | None:
        """The query's window. From here on its names and calls are those of a query with one."""
        group = tree.args.get("group")
        keys: list[exp.Expr] = []
        called: list[exp.Expr] = []
        for item in group.expressions if group is not None else ():
            call = item.this if isinstance(item, Modified) else item
            named = isinstance(call, exp.Anonymous) and call.name.upper() in _FORMS
            (called if named else keys).append(item)
        tables = [item for item in items if isinstance(item, WindowTable)]
        if not (called or tables):
            return None
        for extra in (*tables, *called)[1:]:
            hint = "compute one of them in a view, and the other over that"
            self._problems.add("bad-window", "a query has one window", span_of(extra), hint=hint)
        self._grouped = True
        found = self._from_table(tables[0]) if tables else self._from_call(called[0])
        return None if found is None else replace(found, keys=tuple(keys))

    # FROM TUMBLE(...)

    def _from_table(self, tree: exp.Expr) -> _Found | None:
        name = tree.args["name"].name.upper()
        form = TABLE_FUNCTIONS.get(name)
        if form is None:
            hint = suggestion(name, TABLE_FUNCTIONS) or f"there are {', '.join(TABLE_FUNCTIONS)}"
            message = f"there is no window {tree.args['name'].name!r}"
            self._problems.add("bad-window", message, span_of(tree.args["name"]), hint=hint)
            return None
        arguments = list(tree.expressions)
        timing: Timing = ProcessingTime()
        time: Expr = Received()
        if arguments and isinstance(arguments[0], exp.Column | exp.Dot):
            event = self._event_time(arguments.pop(0), tree)
            if event is None:
                return None
            time, timing = event
        lengths = self._lengths(form, arguments, tree)
        if lengths is None:
            return None
        if form.make is Count:
            lengths.setdefault("every", lengths["size"])
        window = self._checked(form.make, lengths, tree, form.text)
        if isinstance(window, Hop) and window.hop > window.size:
            hint = f"the first length is how often a window begins, the second how long it is: {form.text}"
            self._problems.add("bad-window", "a window begins less often than it is long", span_of(tree), hint=hint)
        return None if window is None else _Found(window, timing, time, (), span_of(tree))

    def _event_time(self, tree: exp.Expr, window: exp.Expr) -> tuple[Expr, EventTime] | None:
        name = tree.expression.name if isinstance(tree, exp.Dot) else tree.name
        if not self._columns.strict:
            return None
        event = next((event for event in self.times if event.name == name), None)
        if event is not None:
            return Column(name), event.timing
        message, hint = self._no_time(name, window.this.name, window.args["name"].name)
        self._problems.add("missing-watermark", message, span_of(tree), hint=hint)
        return None

    def _no_time(self, name: str, source: str, window: str) -> tuple[str, str]:
        """Why column ``name`` of ``source`` is not the time of a window, and what is."""
        way = f"leave the column out for windows by time of arrival: {window}({source}, ...)"
        if not self._relation:
            return f"{source!r} has no watermark", f"declare it with CREATE SOURCE and a WATERMARK, or {way}"
        if self._corrected:
            message = f"rows of {source!r} may correct earlier ones, and a window over them would count both"
            return message, "read a view without allowed_lateness and emit = 'on_change'"
        if self.times:
            known = " or ".join(repr(event.name) for event in self.times)
            return (
                f"the time of {source!r} is {known}, not {name!r}",
                f"write {window}({source}, {self.times[0].name}, ...)",
            )
        found = self._relations.find(source)
        if found is not None and found.kind == "view":
            message = f"nothing tells when a window over {source!r} by {name!r} is complete"
            hint = "a view hands on the time of what it reads: the column of a WATERMARK, or a window's boundaries"
            return message, f"{hint}; or {way}"
        message = f"{source!r} has no watermark, so nothing tells when a window by {name!r} is complete"
        hint = f"add WATERMARK FOR {name} AS {name} - INTERVAL '10 seconds' to its CREATE SOURCE"
        return message, f"{hint}, or {way}"

    def _lengths(self, form: _Form, arguments: Sequence[exp.Expr], tree: exp.Expr) -> dict[str, object] | None:
        names = [*form.lengths, *form.optional]
        found: dict[str, object] = {}
        wanted = Type.BIGINT if form.counts else Type.INTERVAL
        for argument in arguments:
            value = self.expression(argument)
            zone = isinstance(value, Const) and value.type is Type.TEXT and "zone" in names
            name = "zone" if zone else next((name for name in names if name not in found and name != "zone"), None)
            if name is None or name in found or not isinstance(value, Const) or not (zone or value.type is wanted):
                self._bad_form(form.text, span_of(argument))
                return None
            found[name] = value.value
        if any(name not in found for name in form.lengths):
            self._bad_form(form.text, span_of(tree))
            return None
        return found

    def _bad_form(self, text: str, span: Span) -> None:
        self._problems.add("bad-window", "these are not the arguments of this window", span, hint=f"it is {text}")

    def _checked(
        self, make: Callable[..., Window], values: dict[str, object], tree: exp.Expr, text: str
    ) -> Window | None:
        window = make(**values)
        try:
            check_window(window)
        except PlanError as error:
            self._problems.add("bad-window", str(error), span_of(tree), hint=f"it is {text}")
            return None
        return window

    # GROUP BY TUMBLINGWINDOW(...)

    def _from_call(self, item: exp.Expr) -> _Found | None:
        modified = item if isinstance(item, Modified) else None
        call = item.this if modified is not None else item
        name = call.name.upper()
        text, by_unit, (least, most) = _FORMS[name]
        arguments = list(call.expressions)
        unit = 1
        if by_unit:
            word = arguments.pop(0).name.lower() if arguments else ""
            unit = _UNITS.get(word, 0)
        if not unit or not least <= len(arguments) <= most:
            self._bad_form(f"{text}; units are {', '.join(_UNITS)}" if by_unit else text, span_of(call))
            return None
        time: Expr = Received()
        timing: Timing = ProcessingTime()
        if self._time is not None:
            time, timing = Column(self._time.name), self._time.timing
        marks: tuple[Expr, ...] = ()
        window: Window | None
        if name == "STATEWINDOW":
            marks = tuple(self._mark(argument) for argument in arguments)
            window = State(0)
        else:
            numbers = [self._whole_number(argument, text) for argument in arguments]
            if None in numbers:
                return None
            lengths = dict(enumerate_names(name, numbers, unit))
            if name == "HOPPINGWINDOW" and lengths["hop"] > 0:
                # eKuiper looks back from every multiple of the hop; HOP's windows begin there.
                lengths["offset"] = -lengths["size"] % lengths["hop"]
            window = self._checked(_MAKERS[name], {**lengths}, call, text)
        when = self._trigger(modified, name)
        if when is not None:
            marks = (self._mark(when),)
        tested = None if modified is None else modified.args.get("filter")
        return None if window is None else _Found(window, timing, time, (), span_of(call), marks, tested)

    def _trigger(self, modified: exp.Expr | None, name: str) -> exp.Expr | None:
        over = None if modified is None else modified.args.get("over")
        if over is None:
            return None
        when: exp.Expr | None = over.args.get("when")
        if name != "SLIDINGWINDOW" or when is None or over.args.get("partition"):
            hint = "SLIDINGWINDOW(ss, 10) OVER (WHEN condition)"
            self._problems.add("bad-window", "OVER gives a sliding window its trigger", span_of(over), hint=hint)
            return None
        return when

    def _mark(self, tree: exp.Expr) -> Expr:
        with self._of_input():
            return self.expression(tree)

    def _whole_number(self, tree: exp.Expr, text: str) -> int | None:
        value = self.expression(tree)
        if isinstance(value, Const) and value.type is Type.BIGINT:
            return int(value.value)
        self._bad_form(text, span_of(tree))
        return None

    # What is asked of groups

    def _grouping(self, tree: exp.Expr, found: _Found | None, outputs: Outputs) -> Grouping | None:
        if found is None:
            self._refuse_clauses(tree)
            return None
        keys = [key for key in (self._key(item, outputs) for item in found.keys) if key is not None]
        having = tree.args.get("having")
        lets = self._scope.lets
        condition = None if having is None else self._as_condition(having.this)
        order = tuple(self._sort(item, outputs) for item in self._ordered(tree))
        rows = not (keys or condition is not None or any(map(has_aggregate, lets)))
        limit = self._limit(tree)
        dated = replace_marks(found.window, found.marks)
        return Grouping(
            dated, found.timing, found.time, tuple(keys), found.marks, condition, order, limit, rows, span=found.span
        )

    def _key(self, tree: exp.Expr, outputs: Outputs) -> Expr | None:
        """What a group is told apart by; None for the window's boundaries, which always do."""
        if isinstance(tree, exp.Literal) and not tree.is_string:
            key = self._field_number(tree, outputs)
        elif self._is_edge(tree):
            return None
        else:
            with self._of_input():
                key = self.expression(tree)
        value = self._meant(key)
        nodes = list(walk(value))
        if any(isinstance(node, WindowEdge) for node in nodes) and not any(
            isinstance(node, Column | Document | Sender | Ref) for node in nodes
        ):
            return None
        if has_aggregate(value):
            hint = "conditions on aggregates stand in HAVING"
            self._problems.add("not-grouped", "a group cannot be made by its own result", span_of(tree), hint=hint)
            return None
        return key

    def _field_number(self, tree: exp.Expr, outputs: Outputs) -> Expr:
        """What GROUP BY 1 and ORDER BY 1 mean: the first field."""
        place = int(tree.name) if tree.name.isdigit() else 0
        entries = outputs.entries
        if 1 <= place <= len(entries):
            return Ref(entries[place - 1][2], span=span_of(tree))
        message = f"there is no field number {tree.name}"
        self._problems.add("not-grouped", message, span_of(tree), hint=f"fields are 1 to {len(entries)}")
        return UNDEFINED

    def _is_edge(self, tree: exp.Expr) -> bool:
        """Is it a boundary of the window, by itself or behind the name of the source?"""
        if isinstance(tree, exp.Dot) and isinstance(tree.this, exp.Column):
            name, alias = tree.expression.name, tree.this.name
            columns = None if self._scope.knows(alias) else self._aliases.get(alias)
            return columns is not None and name in EDGES and name not in columns
        if not (isinstance(tree, exp.Column) and tree.name in EDGES):
            return False
        output = self._scope.names.get(tree.name)
        return output is None or isinstance(self._meant(Ref(output)), WindowEdge)

    def _meant(self, value: Expr) -> Expr:
        """What a field is that is named, perhaps by way of others."""
        while isinstance(value, Ref):
            value = self._scope.lets[value.index]
        return value

    def _ordered(self, tree: exp.Expr) -> list[exp.Expr]:
        order = tree.args.get("order")
        return [] if order is None else list(order.expressions)

    def _sort(self, tree: exp.Expr, outputs: Outputs) -> Sort:
        by = tree.this
        number = isinstance(by, exp.Literal) and not by.is_string
        value = self._field_number(by, outputs) if number else self.expression(by)
        descending = bool(tree.args.get("desc"))
        first = tree.args.get("nulls_first")
        return Sort(value, descending, descending if first is None else bool(first))

    def _limit(self, tree: exp.Expr) -> int | None:
        limit = tree.args.get("limit")
        if limit is None:
            return None
        value = limit.expression
        if isinstance(value, exp.Literal) and value.name.isdigit() and not value.is_string:
            return int(value.name)
        self._problems.add("syntax", "LIMIT is a whole number", span_of(limit))
        return None

    def _refuse_clauses(self, tree: exp.Expr) -> None:
        if self._grouped:
            return  # the window itself is wrong
        for name, (text, hint) in _NEED_A_WINDOW.items():
            clause = tree.args.get(name)
            if clause is not None:
                self._problems.add("no-window", f"{text} is for queries with a window", span_of(clause), hint=hint)


_A_WINDOW: Final = "FROM TUMBLE(source, ts, INTERVAL '1 minute'), or GROUP BY ..., TUMBLINGWINDOW(ss, 60)"
_NEED_A_WINDOW: Final = MappingProxyType(
    {
        "group": ("GROUP BY", _A_WINDOW),
        "having": ("HAVING", "WHERE filters rows"),
        "order": ("ORDER BY", f"a stream has no end to be sorted at: {_A_WINDOW}"),
        "limit": ("LIMIT", f"a stream has no first rows: {_A_WINDOW}"),
    }
)
_MAKERS: Final[MappingProxyType[str, Callable[..., Window]]] = MappingProxyType(
    {
        "TUMBLINGWINDOW": Tumble,
        "HOPPINGWINDOW": Hop,
        "SLIDINGWINDOW": Sliding,
        "SESSIONWINDOW": Session,
        "COUNTWINDOW": Count,
    }
)
_NAMES: Final = MappingProxyType(
    {
        "TUMBLINGWINDOW": ("size",),
        "HOPPINGWINDOW": ("size", "hop"),
        "SLIDINGWINDOW": ("size", "delay"),
        "SESSIONWINDOW": ("max_duration", "gap"),
        "COUNTWINDOW": ("size", "every"),
    }
)


def enumerate_names(name: str, numbers: Sequence[int | None], unit: int) -> list[tuple[str, int]]:
    """The lengths of eKuiper's window by the names that the plan has for them."""
    values = [number * unit for number in numbers if number is not None]
    if name == "COUNTWINDOW" and len(values) == 1:
        values *= 2
    return list(zip(_NAMES[name], values, strict=False))


def replace_marks(window: Window, marks: Sequence[Expr]) -> Window:
    """A window whose conditions are ``marks``, in their order: ``rules.split`` gives them places."""
    if isinstance(window, State):
        return State(0, 1 if len(marks) > 1 else None)
    return replace(window, when=0) if isinstance(window, Sliding) and marks else window
