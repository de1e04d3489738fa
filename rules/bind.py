"""Syntax tree -> :class:`tree.Query`: sources, fields, outputs and EMQX's order of evaluation.

Every node type that may appear has its method here or in ``bind_expressions``; anything that the whitelist does not
name is a diagnostic. Binding goes on after an error, so that one run finds them all.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import Final

from sqlglot import exp

from core.message import Type
from rules.bind_analytics import CHANGED_COLS, FOREACH
from rules.bind_joins import JoinBinder
from rules.diagnostics import suggestion
from rules.growth import bound
from rules.nodes import Foreach, Modified, Range, SelectAll, span_of
from rules.scope import PAYLOAD, Outputs, Scope
from rules.split_analytics import MAX_ROUNDS, analytics_of, depth
from rules.tree import (
    UNDEFINED,
    And,
    Append,
    Column,
    Const,
    Expr,
    Item,
    Opened,
    Query,
    Ref,
    Unnest,
)

_NOTHING: Final[Mapping[str, Expr]] = MappingProxyType({})


class Binder(JoinBinder):
    """Binds one query."""

    def query(self, tree: exp.Expr) -> Query:
        """The bound query; of use only if ``problems`` found nothing."""
        self._check(tree)
        if isinstance(tree, exp.Select):
            query = self._select(tree)
        elif isinstance(tree, Foreach):
            query = self._foreach(tree)
        else:
            self._refuse(tree)
            return Query(self._columns, (), (), None, None, ())
        bound(query, self._problems)
        return query

    def _select(self, tree: exp.Select) -> Query:
        before = len(self._problems.found)
        items = self._items(tree)
        filters = self._read(items)
        self._join_all(tree)
        window = self._window_of(tree, items)
        outputs = Outputs()
        for field in tree.expressions:
            self._field(field, outputs)
        where = self._where(tree)
        if window is not None and window.filter is not None:
            with self._of_input():
                tested = self._as_condition(window.filter)
            where = tested if where is None else And((where, tested))
        grouping = self._grouping(tree, window, outputs)
        qualify = tree.args.get("qualify")
        asked = None if qualify is None else self._as_condition(qualify.this)
        query = Query(
            self._columns,
            filters,
            tuple(self._scope.lets),
            where,
            None,
            outputs.resolve(),
            self._relation,
            grouping,
            asked,
        )
        self._check_analytics(query, tree, before)
        return query

    def _check_analytics(self, query: Query, tree: exp.Select, before: int) -> None:
        """Do the analytic functions of a whole query go with the rest of it? ``before``: how many problems there were
        before it."""
        calls = analytics_of(query)
        qualify = tree.args.get("qualify")
        if qualify is not None and not calls:
            if len(self._problems.found) == before:
                hint = "WHERE filters rows, HAVING groups"
                message = "QUALIFY asks for analytic functions, and this query has none"
                self._problems.add("misplaced-analytic", message, span_of(qualify), hint=hint)
            return
        grouping = query.grouping
        if calls and grouping is not None and (grouping.order or grouping.limit is not None or grouping.rows):
            what = "the rows of a window" if grouping.rows else "ORDER BY or LIMIT"
            hint = "compute the window in a view, and read that"
            message = f"{calls[0].name}() does not go together with {what}"
            self._problems.add("misplaced-analytic", message, calls[0].span, hint=hint)
        elif calls and depth(query) > MAX_ROUNDS:
            hint = "compute a part of them in a view"
            self._problems.add("too-complex", "analytic functions are nested too deeply", calls[-1].span, hint=hint)

    def _foreach(self, tree: Foreach) -> Query:
        self._no_analytics = FOREACH
        filters = self._read(tree.args["tables"])
        *before, last = tree.expressions
        outputs = Outputs()
        for field in before:
            self._field(field, outputs)
        scope = self._scope
        array, item = self._array_of(last)
        where = self._where(tree)
        first_let = len(scope.lets)
        base = {name: scope.value(index) for name, index in scope.names.items()} | {item: Item()}
        self._scope = Scope(scope.lets, self._columns.specs, base, rows=self._columns.rows)
        incase = tree.args.get("incase")
        condition = None if incase is None else self._as_condition(incase)
        inner = Outputs()
        if tree.args.get("do"):
            for field in tree.args["do"]:
                self._field(field, inner)
        else:
            self._star(inner)
        lets = tuple(self._scope.lets)
        unnest = Unnest(array, first_let, condition)
        return Query(self._columns, filters, lets, where, unnest, inner.resolve(), self._relation)

    def _array_of(self, field: exp.Expr) -> tuple[Expr, str]:
        """What FOREACH visits and what it calls an element: the last field, which WHERE may read by its alias."""
        scope = self._scope
        name = "item"
        if isinstance(field, exp.Star | SelectAll):
            self._refuse(field)
            return UNDEFINED, name
        aliased = isinstance(field, exp.Alias)
        value = self.expression(field.this if aliased else field)
        index = scope.add(Opened(value) if value == Column(PAYLOAD) else value)
        if aliased:
            self._check(field)
            alias = field.args["alias"]
            name = _root(alias)
            if not isinstance(alias, exp.Column):
                self._problems.add("bad-path", "an element of FOREACH has a plain name", span_of(alias))
            scope.names[name] = index
        return Ref(index), name

    def _where(self, tree: exp.Expr) -> Expr | None:
        where = tree.args.get("where")
        if where is None:
            return None
        self._check(where)
        with self._of_input():
            return self._as_condition(where.this)

    # Fields

    def _field(self, tree: exp.Expr, outputs: Outputs) -> None:
        self._check(tree)
        if isinstance(tree, exp.Star):
            self._star(outputs)
            return
        call = tree.this if isinstance(tree, Modified) else tree
        if isinstance(call, exp.Anonymous) and call.name.lower() == CHANGED_COLS and not self._no_analytics:
            self._changed_cols(call, tree if isinstance(tree, Modified) else None, outputs)
            return
        if isinstance(tree, SelectAll):
            self._select_all(tree, outputs)
            return
        scope = self._scope
        if isinstance(tree, exp.Alias):
            value = self.expression(tree.this)
            alias = tree.args["alias"]
            name = _root(alias)
            steps = self._alias_steps(alias)
            scope.write(name, steps, self._plain(value) if steps else value)
            outputs.named(name, scope.names[name])
            return
        place = self._place_of(tree)
        value = self.expression(tree)
        if place is not None:
            name, steps = place
            scope.write(name, steps, value)
            outputs.named(name, scope.names[name])
        elif isinstance(tree, exp.Literal) and tree.is_string:
            scope.write(tree.name, (), value)
            outputs.named(tree.name, scope.names[tree.name])
        else:
            call = tree.this if isinstance(tree, Modified) else tree
            hint = call.name if isinstance(call, exp.Anonymous) else "case" if isinstance(call, exp.Case) else ""
            outputs.generated(hint, scope.add(value))

    def _place_of(self, tree: exp.Expr) -> tuple[str, tuple[Expr, ...]] | None:
        """Where a path without AS is written to: to itself, without the name of its source; None for no path."""
        name = _root(tree)
        if not (name and isinstance(tree, exp.Column | exp.Dot | exp.Bracket)):
            return None
        steps = self._alias_steps(tree)
        first = steps[0] if steps else None
        if name not in self._aliases or self._scope.knows(name) or not isinstance(first, Const):
            return name, steps
        column, steps = str(first.value), steps[1:]
        if column in self._scope.names and not steps:
            column = self._aliases[name].get(column, column)  # another side's has the name
        return column, steps

    def _star(self, outputs: Outputs, leave_out: Container[str] = (), replaced: Mapping[str, Expr] = _NOTHING) -> None:
        scope = self._scope
        for name in self._all_names():
            if name in leave_out:
                continue
            if name in replaced:
                scope.names[name] = scope.add(replaced[name])
                outputs.named(name, scope.names[name])
                continue
            hidden = scope.names.pop(name, None)
            value = scope.read(name, [], condition=True, typed=self._types.temporal)
            scope.names[name] = hidden if hidden is not None and scope.value(hidden) == value else scope.add(value)
            outputs.named(name, scope.names[name])

    def _changed_cols(self, tree: exp.Expr, modified: Modified | None, outputs: Outputs) -> None:
        """``changed_cols(prefix, ignore_null, x, y, ...)``: a ``changed_col`` for each, ``*`` for all columns."""
        self._check(tree)
        given = tree.expressions
        if len(given) < 3 or not (isinstance(given[0], exp.Literal) and given[0].is_string):
            hint = "changed_cols('new_', true, power, energy) gives new_power and new_energy"
            message = "changed_cols(prefix, ignore_null, x, ...) begins with a text, and has columns"
            self._problems.add("wrong-arity", message, span_of(tree), hint=hint)
            return
        prefix, ignoring, *columns = given
        values: dict[str, exp.Expr] = {}
        for column in columns:
            if isinstance(column, exp.Star):
                values.update({name: exp.column(name) for name in self._all_names()})
            elif name := _last_name(column):
                values[name] = column
            else:
                hint = "give it a name in a view, and read that"
                message = "changed_cols() names its columns by those that it gets, and this has no name"
                self._problems.add("misplaced-analytic", message, span_of(column), hint=hint)
        for name, column in values.items():
            call = exp.Anonymous(this="changed_col", expressions=[ignoring.copy(), column.copy()])
            call.meta.update(tree.meta)
            self._scope.write(f"{prefix.name}{name}", (), self._analytic(call, modified))
            outputs.named(f"{prefix.name}{name}", self._scope.names[f"{prefix.name}{name}"])

    def _all_names(self) -> list[str]:
        """The columns that ``*`` stands for."""
        specs = self._columns.specs
        return [*specs, *(name for name in self._scope.base if name not in specs)]

    def _select_all(self, tree: SelectAll, outputs: Outputs) -> None:
        """``* EXCEPT (...) REPLACE (...)``; what replaces sees the names as they are before the ``*``."""
        left_out: set[str] = set()
        replaced: dict[str, Expr] = {}
        for name in tree.args.get("excluded") or ():
            if self._is_column_of_all(name):
                left_out.add(name.name)
        for item in tree.args.get("replaced") or ():
            value, alias = self.expression(item.this), item.args["alias"]
            if alias.name in left_out or alias.name in replaced:
                self._problems.add("unknown-column", f"{alias.name!r} is left out or replaced already", span_of(alias))
            elif self._is_column_of_all(alias):
                replaced[alias.name] = value
        self._star(outputs, left_out, replaced)

    def _is_column_of_all(self, name: exp.Expr) -> bool:
        names = self._all_names()
        if name.name in names:
            return True
        hint = suggestion(name.name, names) or f"* has {', '.join(names)}"
        self._problems.add("unknown-column", f"* has no column {name.name!r}", span_of(name), hint=hint)
        return False

    def _alias_steps(self, tree: exp.Expr) -> tuple[Expr, ...]:
        """The steps below the root of a path that is written to; a range at its end counts for nothing."""
        steps: list[Expr] = []
        while isinstance(tree, exp.Dot | exp.Bracket):
            self._check(tree)
            if isinstance(tree, exp.Dot):
                steps.append(Const(tree.expression.name, Type.TEXT, span=span_of(tree.expression)))
            elif not isinstance(tree.expressions[0], Range):
                steps.append(self._written_index(tree.expressions[0]))
            tree = tree.this
        return tuple(reversed(steps))

    def _written_index(self, tree: exp.Expr) -> Expr:
        if isinstance(tree, exp.Neg) and isinstance(tree.this, exp.Literal) and tree.this.name == "0":
            return Append(span=span_of(tree))
        index = self.expression(tree)
        if isinstance(index, Const) and index.type is not Type.BIGINT:
            self._problems.add(
                "bad-path", "an index is a whole number", span_of(tree), hint="x[1] is the first element"
            )
        return index


def _last_name(tree: exp.Expr) -> str:
    """The name that a path ends with, empty where it ends with something else."""
    if isinstance(tree, exp.Dot):
        tree = tree.expression
    return tree.name if isinstance(tree, exp.Column | exp.Identifier) else ""


def _root(tree: exp.Expr) -> str:
    """The name that a path begins with, empty where it begins with something else."""
    while isinstance(tree, exp.Dot | exp.Bracket):
        tree = tree.this
    return tree.name if isinstance(tree, exp.Column) else ""
