"""The rules as the admin server lists them: what each is, where it reads and writes, what it has counted.

Pure: it reads what the compiler and the engine know. Sinks have their own counters in the metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from rules.columns import SYSTEM_NAMES
from rules.compiler import CompiledRule, RuleSet
from rules.joins.bound import CompiledJoin
from rules.loaded import LoadedRule
from rules.sources import source_name

RuleState = Literal["running", "disabled", "failed"]


class ListedRule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule. ``state``: ``disabled`` by ``enabled = false``, ``failed`` by ``on_error = 'disable'`` and why."""

    name: str
    state: RuleState
    reason: str | None
    description: str
    tags: tuple[str, ...]
    on_error: str
    filters: tuple[str, ...]
    """Topics and events whose messages it reads, by way of what it ``reads`` too."""
    reads: tuple[str, ...]
    """Sources, views and joins that it reads itself."""
    targets: tuple[str, ...]
    columns: dict[str, str]
    file: str
    line: int
    sql: str
    matched: int = 0
    passed: int = 0
    failed: dict[str, int] = {}
    rows: dict[str, int] = {}
    """Made for each sink."""


def rule_list(rules: RuleSet, loaded: Iterable[LoadedRule]) -> list[ListedRule]:
    """All rules in the order of their files and lines."""
    running = {rule.name: rule for rule in loaded}
    filters: dict[str, dict[str, None]] = {}
    for relation in rules.relations:  # each after what it reads
        filters[relation.name] = _filters(relation, filters)
    return [_listed(rule, _filters(rule, filters), running.get(rule.name)) for rule in rules.rules]


def _filters(query: CompiledRule | CompiledJoin, known: Mapping[str, Mapping[str, None]]) -> dict[str, None]:
    """What a query reads of messages, also by way of others, each once."""
    found = dict.fromkeys(query.filters)
    for name in query.reads:
        found |= known[name]
    return found


def _listed(rule: CompiledRule, filters: Iterable[str], loaded: LoadedRule | None) -> ListedRule:
    counted: dict[str, Any] = {}
    if loaded is not None:
        counts = loaded.counts
        failed = {"no_result": counts.no_result, "exception": counts.exception}
        counted = {"matched": counts.matched, "passed": counts.passed, "failed": failed, "rows": counts.rows}
    reason = None if loaded is None else loaded.disabled
    return ListedRule(
        name=rule.name,
        state="disabled" if loaded is None else "running" if reason is None else "failed",
        reason=reason,
        description=rule.options.description,
        tags=rule.options.tags,
        on_error=rule.options.on_error,
        filters=tuple(SYSTEM_NAMES.get(name) or source_name(name) for name in filters),
        reads=rule.reads,
        targets=rule.targets,
        columns={
            name: kind.value for schema in rule.schemas for name, kind in zip(schema.names, schema.types, strict=True)
        },
        file=rule.path,
        line=rule.line,
        sql=rule.sql,
        **counted,
    )
