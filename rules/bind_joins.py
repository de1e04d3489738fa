"""JOIN ... ON: two relations become a third one, whose columns are those of both.

A lookup table is asked for by its key, so ON compares each column of that with one of the stream. Two streams meet
where values are equal and times are near: bounds of one's event time around the other's, or one tumbling window. What
else ON asks for is asked of the joined rows. Columns that both sides have need the name of their side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from sqlglot import exp

from core.message import Schema, Type
from rules.bind_windows import WindowBinder
from rules.checks import check
from rules.columns import Columns, row_columns
from rules.diagnostics import Problems, suggestion
from rules.joins.bound import BoundJoin, JoinSide
from rules.joins.stream import Bounds
from rules.nodes import Modified, WindowTable, span_of
from rules.relations import EventColumn, Relation
from rules.scope import Scope
from rules.tree import And, Arithmetic, Column, Compare, Const, Expr, Query, Shift
from rules.unparse import Unparser
from rules.windows.clock import END
from rules.windows.plan import HELD, Tumble

_FLIPPED: Final = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_NEAR: Final = "AND {right}.{their} BETWEEN {left}.{own} - INTERVAL '1 minute' AND {left}.{own} + INTERVAL '1 minute'"


class _Moment(NamedTuple):
    """A time of one of the two sides, so many microseconds later."""

    side: int
    offset: int


@dataclass(slots=True)
class _On:
    """The conjuncts of ON by what they are for: pairs of places, bounds of right time - left time, the rest."""

    equal: list[tuple[str, str, Expr]]
    low: int
    high: int
    rest: list[Expr]


class JoinBinder(WindowBinder):
    """Binds the joins of a query, from left to right; each makes what the next one has on its left."""

    def _join_all(self, tree: exp.Expr) -> None:
        joins = [join for join in tree.args.get("joins") or () if join.args.get("on") is not None]
        for join in joins:
            if not self._columns.strict:
                return  # what is joined has errors of its own
            if not self._relation:
                message = "a topic cannot be joined: nothing says which columns its messages have"
                hint = "declare it with CREATE SOURCE, or name its columns in a view, and join that"
                self._problems.add("bad-join", message, span_of(join), hint=hint)
                self._columns = replace(self._columns, strict=False)
            elif not self._join(join, tree):
                self._columns = replace(self._columns, strict=False)  # its columns are not to blame

    def _join(self, join: exp.Expr, tree: exp.Expr) -> bool:
        item = join.this
        self._check(item)
        if isinstance(item, WindowTable):
            hint = "join first: FROM TUMBLE(a, ts, ...) JOIN b ON ...; or join views"
            self._problems.add("bad-join", "a window cannot be joined", span_of(item), hint=hint)
            return False
        right = self._joined_relation(item)
        if right is None or not right.columns.strict:
            return False
        alias = item.args["alias"].name if item.args.get("alias") is not None else right.name
        if alias in self._aliases:
            hint = f"give it another name: JOIN {right.name} AS other"
            self._problems.add("bad-join", f"{alias!r} is joined already", span_of(item), hint=hint)
            return False
        left, time = self._relation, self._time
        outer = join.args.get("side") == "LEFT"
        own = self._columns
        columns, renamed = _side_by_side(own, right, alias, outer=outer)
        for name, new in renamed.items():
            if name != new:
                self._ambiguous[name] = (*self._ambiguous.get(name, (self._side_of(name),)), alias)
        self._columns = columns
        self._scope = Scope(self._scope.lets, columns.specs, rows=True)
        self._aliases = {**self._aliases, alias: renamed}
        before = len(self._problems.found)
        self._no_analytics, inside = "ON", self._no_analytics
        condition = self._as_condition(join.args["on"])
        self._no_analytics = inside
        query = Query(columns, (), (), condition, None, (), left)
        if len(self._problems.found) == before:
            check(query, self._problems)
        if len(self._problems.found) > before:
            return False
        places = {name: place for place, name in enumerate(columns.specs)}
        width = len(own.specs)
        times = (None if time is None else time.name, None if right.time is None else renamed[right.time.name])
        on = self._parts(condition, places, width, times)
        text = Unparser(query).of(condition)
        title = f"{left} {'LEFT ' if outer else ''}JOIN {right.name} ON {text}"
        bound = _Half(left, time, right, alias, renamed, width, outer, columns, title, text)
        found = self._lookup(bound, on, join) if right.kind == "table" else self._streams(bound, on, join, tree)
        if found is None:
            return False
        rest = And(tuple(on.rest)) if len(on.rest) > 1 else on.rest[0] if on.rest else None
        if rest is not None:
            found = replace(found, on=replace(query, where=rest))
        self._relation = self._relations.join(found, self._problems, span_of(join))
        self._time, self._other_times = found.relation.time, ()
        self._corrected = self._corrected or right.corrected
        return True

    def _side_of(self, name: str) -> str:
        """An alias by which a column of what is on the left can be read."""
        return next((alias for alias, names in reversed([*self._aliases.items()]) if name in names), self._relation)

    def _joined_relation(self, item: exp.Expr) -> Relation | None:
        found = self._relation_of(item)
        if found is None and self._columns.strict:
            names = list(self._relations.names())
            hint = suggestion(item.name, names) or "it is the name of a CREATE TABLE, CREATE SOURCE or CREATE VIEW"
            message = f"there is no table, source or view {item.name!r}"
            self._problems.add("unknown-source", message, span_of(item), hint=hint)
        return found

    def _lookup(self, half: _Half, on: _On, join: exp.Expr) -> BoundJoin | None:
        """ON compares every column of the table's key with one of the stream."""
        options = half.right.lookup
        if options is None:
            return None
        keys: list[str] = []
        for column in options.key:
            wanted = half.renamed.get(column)
            pair = next((pair for pair in on.equal if pair[1] == wanted), None)
            if pair is None:
                message = (
                    f"{half.alias!r} is looked up by {', '.join(options.key)}: ON compares nothing with {column!r}"
                )
                hint = f"add {half.alias}.{column} = <a column of {half.left}>; an expression goes into a view before"
                self._problems.add("bad-join", message, span_of(join), hint=hint)
                return None
            on.equal.remove(pair)
            keys.append(pair[0])
        on.rest += [expr for _, _, expr in on.equal]
        names = list(half.columns.specs)
        key = tuple(names.index(name) for name in keys)
        return BoundJoin(
            left=JoinSide(half.left, key, half.width),
            right=JoinSide(half.right.name, (), len(names) - half.width),
            relation=half.relation(half.time),
            text=half.text,
            outer=half.outer,
            lookup=options,
        )

    def _streams(self, half: _Half, on: _On, join: exp.Expr, tree: exp.Expr) -> BoundJoin | None:
        """ON says which values are equal and how near the times are."""
        time, right = half.time, half.right
        for name, event in ((half.left, time), (right.name, right.time)):
            if event is None:
                message = f"{name!r} has no watermark, so nothing tells how long its rows are to be kept"
                hint = "add WATERMARK FOR ts AS ts - INTERVAL '10 seconds' to its CREATE SOURCE"
                self._problems.add("missing-watermark", message, span_of(join), hint=hint)
        if time is None or right.time is None:
            return None
        if not on.equal:
            hint = f"ON <a column of {half.left}> = {half.alias}.<a column>"
            self._problems.add("bad-join", "ON compares no columns of the two sides", span_of(join), hint=hint)
            return None
        near: Bounds | Tumble | None = None
        if on.low > -END and on.high < END:
            near = Bounds(on.low, on.high)
            if on.low > on.high:
                message = "the bounds of time exclude all rows: the lower one is above the upper one"
                self._problems.add("bad-join", message, span_of(join), hint="change them")
                return None
        elif on.low == -END and on.high == END:
            near = self._common_window(tree)
        if near is None:
            message = f"nothing says how near in time rows of {half.left!r} and {half.alias!r} must be"
            own = self._side_of(time.name)
            hint = _NEAR.format(left=own, own=time.name, right=half.alias, their=right.time.name)
            hint += ", or GROUP BY a TUMBLINGWINDOW"
            self._problems.add("bad-join", message, span_of(join), hint=f"add {hint}")
            return None
        names = list(half.columns.specs)
        places = {name: place for place, name in enumerate(names)}
        own_key = tuple(places[pair[0]] for pair in on.equal)
        their_key = tuple(places[pair[1]] - half.width for pair in on.equal)
        their_time = places[half.renamed[right.time.name]] - half.width
        held = EventColumn(time.name, replace(time.timing, delay=HELD, idle_timeout=None, max_ahead=None))
        return BoundJoin(
            left=JoinSide(half.left, own_key, half.width, places[time.name], time.timing),
            right=JoinSide(right.name, their_key, len(names) - half.width, their_time, right.time.timing),
            relation=half.relation(held),
            text=half.text,
            outer=half.outer,
            near=near,
        )

    def _common_window(self, tree: exp.Expr) -> Tumble | None:
        """The tumbling window of the query, in which both rows must lie."""
        source = tree.args.get("from_") or tree.args.get("from")
        table = source.this if source is not None else None
        group = tree.args.get("group")
        calls = [item.this if isinstance(item, Modified) else item for item in group.expressions] if group else []
        call = next(
            (one for one in calls if isinstance(one, exp.Anonymous) and one.name.upper() == "TUMBLINGWINDOW"), None
        )
        # What is wrong with the window is told when it is bound.
        problems, self._problems = self._problems, Problems(self._problems.source)
        grouped = self._grouped
        try:
            found = None
            if isinstance(table, WindowTable):
                found = self._from_table(table)
            elif call is not None:
                found = self._from_call(call)
        finally:
            self._problems, self._grouped = problems, grouped
        return found.window if found is not None and isinstance(found.window, Tumble) else None

    # The conjuncts of ON

    def _parts(
        self, condition: Expr, places: Mapping[str, int], width: int, times: tuple[str | None, str | None]
    ) -> _On:
        on = _On([], -END, END, [])
        for part in _conjuncts(condition):
            if not (isinstance(part, Compare) and (_bound(part, times, on) or _equal(part, places, width, on))):
                on.rest.append(part)
        return on


@dataclass(frozen=True, slots=True)
class _Half:
    """What is known of a join before ON has been understood."""

    left: str
    time: EventColumn | None
    right: Relation
    alias: str
    renamed: Mapping[str, str]
    width: int
    outer: bool
    columns: Columns
    title: str
    text: str

    def relation(self, time: EventColumn | None) -> Relation:
        specs = self.columns.specs
        schema = Schema(tuple(specs), tuple(spec.type for spec in specs.values()))
        return Relation(self.title, "join", self.columns, schema, time)


def _side_by_side(left: Columns, right: Relation, alias: str, *, outer: bool) -> tuple[Columns, dict[str, str]]:
    """The columns of both; those of the right side by their new names."""
    taken = set(left.specs)
    renamed: dict[str, str] = {}
    for name in right.columns.specs:
        new = name if name not in left.specs else f"{alias}_{name}"
        while new in taken:
            new += "_"
        taken.add(new)
        renamed[name] = new
    specs = [*left.specs.values(), *right.columns.specs.values()]
    width = len(left.specs)
    always = [spec.always and not (outer and place >= width) for place, spec in enumerate(specs)]
    return row_columns([*left.specs, *renamed.values()], [spec.type for spec in specs], always), renamed


def _conjuncts(expr: Expr) -> Iterator[Expr]:
    if isinstance(expr, And):
        for operand in expr.operands:
            yield from _conjuncts(operand)
    else:
        yield expr


def _equal(part: Compare, places: Mapping[str, int], width: int, on: _On) -> bool:
    """Is it a column of the left side = one of the right side?"""
    if part.operator != "=" or not (isinstance(part.left, Column) and isinstance(part.right, Column)):
        return False
    one, two = part.left.name, part.right.name
    if places[one] >= width:
        one, two = two, one
    if places[one] >= width or places[two] < width:
        return False
    on.equal.append((one, two, part))
    return True


def _bound(part: Compare, times: tuple[str | None, str | None], on: _On) -> bool:
    """Is it a bound of one side's event time by the other's? ``right - left`` then lies in [low, high]."""
    operator: str = part.operator
    one, two = _moment(part.left, times), _moment(part.right, times)
    length = _difference(part.left, part.right, times)
    if length is not None:
        sign, offset = length
        if sign < 0:
            operator = _FLIPPED.get(operator, operator)
    elif one is not None and two is not None and one.side != two.side:
        offset = one.offset - two.offset
        # left + a OP right + b: right - left FLIPPED-OP a - b
        if one.side == 0:
            operator = _FLIPPED.get(operator, operator)
        else:
            offset = -offset
    else:
        return False
    if operator not in _FLIPPED:
        return False
    if operator in (">", ">=", "="):
        on.low = max(on.low, offset + (operator == ">"))
    if operator in ("<", "<=", "="):
        on.high = min(on.high, offset - (operator == "<"))
    return True


def _moment(expr: Expr, times: tuple[str | None, str | None]) -> _Moment | None:
    if isinstance(expr, Column) and expr.name in times:
        return _Moment(times.index(expr.name), 0)
    if isinstance(expr, Shift) and not expr.months:
        base = _moment(expr.operand, times)
        return None if base is None else _Moment(base.side, base.offset + expr.microseconds)
    if isinstance(expr, Arithmetic) and expr.operator in ("+", "-"):
        left, right = expr.left, expr.right
        if expr.operator == "+" and isinstance(left, Const):
            left, right = right, left
        base = _moment(left, times)
        if base is not None and isinstance(right, Const) and right.type is Type.INTERVAL:
            return _Moment(base.side, base.offset + (right.value if expr.operator == "+" else -right.value))
    return None


def _difference(one: Expr, two: Expr, times: tuple[str | None, str | None]) -> tuple[int, int] | None:
    """``right - left OP length`` as (1, length), ``left - right OP length`` as (-1, -length)."""
    if not (isinstance(one, Arithmetic) and one.operator == "-" and isinstance(two, Const)):
        return None
    if two.type is not Type.INTERVAL:
        return None
    first, second = _moment(one.left, times), _moment(one.right, times)
    if first is None or second is None or first.side == second.side:
        return None
    length = two.value - first.offset + second.offset
    return (1, length) if first.side == 1 else (-1, -length)
