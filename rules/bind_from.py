"""FROM: topics, events, system sources and relations, and the columns that a query has by them.

One query reads topics (and events) or one relation. An alias, and a relation's own name, may stand before a column:
``m.power``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlglot import exp

from core.errors import TopicError
from core.events import Event, events_of
from core.topics import validate_filter
from rules.bind_expressions import ExpressionBinder
from rules.columns import SYSTEM_SOURCES
from rules.diagnostics import suggestion
from rules.nodes import FROM_ARG, WindowTable, span_of
from rules.relations import EventColumn, Relation
from rules.scope import Scope
from rules.sources import BRIDGES, columns_of, event_hint, is_event


class SourceBinder(ExpressionBinder):
    """Reads the items of FROM; ``_relation``, ``_time`` and what follows tell of the relation that was found there."""

    _relation: str = ""
    _time: EventColumn | None = None
    _other_times: tuple[EventColumn, ...] = ()
    _corrected = False

    @property
    def times(self) -> tuple[EventColumn, ...]:
        """The columns with the event time of the relation that the query reads."""
        return () if self._time is None else (self._time, *self._other_times)

    @property
    def knows_columns(self) -> bool:
        """False: what the query reads has errors of its own, and nothing more can be said of the query."""
        return self._columns.strict

    @property
    def corrected(self) -> bool:
        """May a row of the relation be another's correction?"""
        return self._corrected

    def _items(self, tree: exp.Expr) -> list[exp.Expr]:
        """The items of a SELECT's FROM; joins by ON are not among them."""
        source = tree.args.get(FROM_ARG)
        items = [source.this] if source is not None else []
        for join in tree.args.get("joins") or ():
            self._check(join)
            if join.args.get("on") is None:
                items.append(join.this)
        return items

    def _read(self, items: Sequence[exp.Expr]) -> tuple[str, ...]:
        """Make the columns of ``items`` those of the query; the topics and events that it reads."""
        tables = [item.this if isinstance(item, WindowTable) else item for item in items]
        relations = [self._relation_of(table) for table in tables]
        if not any(relations):
            filters = self._filters(tables)
        elif len(tables) == 1 and relations[0] is not None:
            self._check(tables[0])
            self._use(relations[0])
            if relations[0].kind == "table":
                hint = f"join it: FROM a_source AS a JOIN {tables[0].name} AS t ON t.key = a.key"
                message = f"{tables[0].name!r} is a lookup table: it gives rows only for what is asked for"
                self._problems.add("bad-join", message, span_of(tables[0]), hint=hint)
            filters = ()
        else:
            self._columns = replace(self._columns, strict=False)  # its columns are not to blame
            message = f"{tables[0].name!r} and {tables[1].name!r} have other columns"
            hint = "write one rule for each, or join them: a JOIN b ON a.key = b.key"
            self._problems.add("mixed-sources", message, span_of(tables[1]), hint=hint)
            filters = ()
        for item, table in zip(items, tables, strict=True):
            alias = item.args.get("alias") or table.args.get("alias")
            if alias is not None:
                self._name_columns(alias.name)
        return filters

    def _relation_of(self, table: exp.Expr) -> Relation | None:
        if not isinstance(table, exp.Table) or table.args.get("db") is not None:
            return None
        found = self._relations.find(table.name)
        if found is None and not table.this.args.get("quoted") and self._columns.strict:
            hint = suggestion(table.name, self._relations.names())
            if hint is not None:
                message = f"there is no source or view {table.name!r}"
                hint = f'{hint}; a topic filter stands in quotes: FROM "{table.name}"'
                self._problems.add("unknown-source", message, span_of(table), hint=hint)
                self._columns = replace(self._columns, strict=False)
        return found

    def _use(self, relation: Relation) -> None:
        self._relation = relation.name
        self._time, self._other_times = relation.time, relation.other_times
        self._corrected = relation.corrected
        self._columns = relation.columns
        self._scope = Scope(self._scope.lets, self._columns.specs, rows=True)
        self._name_columns(relation.name)

    def _name_columns(self, alias: str) -> None:
        names: Mapping[str, str] = {name: name for name in self._columns.specs}
        self._aliases = {**self._aliases, alias: names}

    def _filters(self, tables: Sequence[exp.Expr]) -> tuple[str, ...]:
        messages = False
        filters: dict[str, None] = {}
        events: dict[Event, None] = {}
        for table in tables:
            self._check(table)
            if not isinstance(table, exp.Table):
                self._refuse(table)
            elif table.args.get("db") is not None:
                filters.update(dict.fromkeys(self._system_source(table, alone=len(tables) == 1)))
            elif is_event(table.name):
                events.update(dict.fromkeys(self._events(table)))
            elif not self._is_bridge(table):
                messages = True
                if self._is_filter(table):
                    filters[table.name] = None
        if events and self._columns.strict:
            self._columns = columns_of(list(events), messages=messages)
            self._scope = Scope(self._scope.lets, self._columns.specs)
        return (*filters, *(event.source for event in events))

    def _is_filter(self, table: exp.Table) -> bool:
        try:
            validate_filter(table.name)
        except TopicError as error:
            self._problems.add("bad-topic-filter", str(error), span_of(table))
            return False
        return True

    def _is_bridge(self, table: exp.Table) -> bool:
        if not (self._columns.strict and table.name.startswith(BRIDGES)):
            return False
        hint = "the messages of a source are read by their topics here: FROM 'the/topic/that/to/names'"
        self._problems.add("unsupported", f"{table.name!r} is EMQX's name of a source", span_of(table), hint=hint)
        self._columns = replace(self._columns, strict=False)
        return True

    def _events(self, table: exp.Table) -> tuple[Event, ...]:
        """The events that a name stands for. ``eval`` takes those that nobody raises too: their columns are given."""
        if self._is_filter(table):
            found = events_of(table.name)
            if any(event.raised or not self._columns.strict for event in found):
                return found
            if found:
                code, text = "unsupported", f"nothing raises {table.name!r} here"
                hint = "docs/reference/events.md lists what is raised"
            else:
                code, text, hint = "unknown-source", f"there is no event {table.name!r}", event_hint(table.name)
            self._problems.add(code, text, span_of(table), hint=hint)
        self._columns = replace(self._columns, strict=False)  # its columns are not to blame
        return ()

    def _system_source(self, table: exp.Table, *, alone: bool) -> list[str]:
        """The topic of ``system.<name>``, whose columns are those of the query from here on."""
        known = SYSTEM_SOURCES.get(table.name)
        if known is None or not alone:
            self._columns = replace(self._columns, strict=False)  # its columns are not to blame
        if known is None:
            there = ", ".join(f"system.{name}" for name in SYSTEM_SOURCES)
            hint = suggestion(table.name, SYSTEM_SOURCES) or f"there is {there}"
            self._problems.add("unknown-source", f"there is no system.{table.name}", span_of(table), hint=hint)
            return []
        if not alone:
            message = f"system.{table.name} has other columns than topics have"
            self._problems.add("mixed-sources", message, span_of(table), hint="write one rule for each")
            return []
        topic, columns = known
        # A message that is given, for eval, need not have what the service always tells.
        self._columns = columns if self._columns.strict else columns.promising_nothing()
        self._scope = Scope(self._scope.lets, self._columns.specs)
        return [topic]
