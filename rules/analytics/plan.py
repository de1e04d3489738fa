"""What an analytic operator is to do: a value object, checked when it is made. Nothing here runs.

All durations are microseconds. ``place`` is a position in the input row; the first one is 0.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

from core.message import Type
from rules.analytics.base import AnalyticTable, CallError, Parameter
from rules.analytics.builtin import ANALYTICS
from rules.functions.base import Refusal
from rules.windows.plan import DAY, PlanError, WhenFull

LEAD: Final = "lead"


@dataclass(frozen=True, slots=True)
class AnalyticCall:
    """``name(arguments, constants) OVER (PARTITION BY partition WHEN when)``. Arguments, ``when`` and ``partition`` are
    places in the input row; at the last there is a key, made as the windows' are. Where ``when`` is not True the state
    stays and the result is what it gives."""

    name: str
    arguments: tuple[int, ...] = ()
    constants: tuple[Any, ...] = ()
    partition: int | None = None
    when: int | None = None


@dataclass(frozen=True, slots=True)
class AnalyticLimits:
    """``max_keys``: partitions that are remembered, of each PARTITION BY. ``state_ttl``: a partition without a row for
    so long (by the clock) is forgotten. ``wait``: how long a row waits for the one that ``lead`` asks for.
    ``max_rows``: rows of a partition that may wait for it."""

    max_keys: int = 1_000_000
    when_full: WhenFull = WhenFull.DROP_NEW
    state_ttl: int = DAY
    wait: int = 60_000_000
    max_rows: int = 10_000


@dataclass(frozen=True, slots=True)
class AnalyticPlan:
    """``columns`` are the types of the input row's values: a type that is not ANY is that of every value that is
    neither null nor missing. The first ``kept`` of them (None: all) are in the output row. ``identity`` stands for the
    text of the query before: a snapshot of another is refused."""

    calls: tuple[AnalyticCall, ...]
    columns: tuple[Type, ...]
    limits: AnalyticLimits = AnalyticLimits()
    identity: str = ""
    kept: int | None = None
    functions: AnalyticTable = field(default_factory=lambda: ANALYTICS, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("max_keys", "state_ttl", "wait", "max_rows"):
            if getattr(self.limits, name) < 1:
                raise PlanError(f"{name} must be greater than zero")
        if self.kept is not None and not 0 <= self.kept <= len(self.columns):
            raise PlanError(f"there are {len(self.columns)} columns, {self.kept} of them cannot be kept")
        for call in self.calls:
            check_call(call, self.functions)
            for place in (*call.arguments, call.partition, call.when):
                if place is not None and not 0 <= place < len(self.columns):
                    raise PlanError(f"place {place} is outside of the row (0 to {len(self.columns) - 1})")
        leads = [call for call in self.calls if call.name == LEAD]
        if len({call.partition for call in leads}) > 1:
            raise PlanError("all lead() of one query have the same PARTITION BY: a row waits once")
        if any(call.when is not None for call in leads):
            raise PlanError("lead() takes no WHEN: filter the rows by WHERE, or in a view")
        if any(call.constants[0] > self.limits.max_rows for call in leads):
            raise PlanError(f"lead() looks ahead by more rows than max_rows ({self.limits.max_rows}) lets wait")

    @property
    def looks_ahead(self) -> bool:
        """Do rows wait for those behind them?"""
        return any(call.name == LEAD for call in self.calls)

    def result_types(self) -> tuple[Type, ...]:
        """The types of the results, in the order of the calls."""
        return tuple(
            self.functions[call.name].result_type([self.columns[place] for place in call.arguments])
            for call in self.calls
        )

    @property
    def fingerprint(self) -> str:
        """The same for plans whose states have the same meaning; limits may differ."""
        parts = ("analytics", self.calls, self.columns, self.kept, self.identity)
        return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def check_call(call: AnalyticCall, table: AnalyticTable) -> None:
    """CallError where the call is wrong."""
    function = table.get(call.name)
    if function is None:
        raise CallError(f"there is no analytic function {call.name}()")
    if len(call.constants) != len(function.constants):
        raise CallError(f"{function.form} has {len(function.constants)} constants, not {len(call.constants)}")
    if not function.takes(len(call.arguments)):
        raise CallError(f"{function.form} cannot have {len(call.arguments)} columns")
    for parameter, value in zip(function.constants, call.constants, strict=True):
        check_constant(call.name, parameter, value)
    if call.name == "hysteresis" and call.constants[0] > call.constants[1]:
        needed, among = call.constants
        raise CallError(f"hysteresis(): {needed} of {among} rows can never be")


def check_constant(name: str, parameter: Parameter, value: Any) -> None:
    """CallError where a constant cannot be so."""
    assert parameter.constant is not None  # noqa: S101  the caller chose by it
    try:
        parameter.constant(value)
    except Refusal as refusal:
        raise CallError(f"{name}(): {parameter.name} {refusal}") from None
