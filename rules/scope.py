"""Which value a name means at a place of a query: earlier outputs first, then the source (emqx.md 1.3).

Fields: an output's value, and the source's where that is missing. Conditions: an output hides the column of its name
altogether, but a path into the payload still falls back to the message's. Inside FOREACH the outer names and the
element are the "source" of the inner ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rules.tree import (
    UNDEFINED,
    Column,
    Document,
    DocumentOf,
    Expr,
    First,
    Put,
    Ref,
    is_path,
)

PAYLOAD = "payload"

Step = Callable[[Expr], Expr]
"""Puts one step of a path around what the path has led to so far."""


@dataclass(slots=True)
class Scope:
    """The names of one level. ``base`` are names from outside that hide columns: the level above and the element.

    ``rows``: the source has rows, whose column ``payload`` is a column like others.
    """

    lets: list[Expr]
    columns: Mapping[str, object]
    base: Mapping[str, Expr] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    rows: bool = False

    def knows(self, name: str) -> bool:
        return name in self.names or name in self.base or name in self.columns

    def read(self, name: str, steps: list[Step], *, condition: bool, typed: Callable[[Expr], bool]) -> Expr:
        """The value of a path; a name that nothing has is missing.

        ``typed`` tells values that must not be mixed with others: they hide what lies behind them.
        """
        outer = self._outer(name, steps)
        index = self.names.get(name)
        if index is None:
            return outer
        inner = self._inside(name, self.value(index), steps)
        hides = outer is UNDEFINED or typed(inner) or typed(outer) or (condition and not (name == PAYLOAD and steps))
        if inner == outer or hides:
            return inner
        return First(inner, outer)

    def value(self, index: int) -> Expr:
        """An earlier value: itself where it costs nothing, else a reference."""
        expr = self.lets[index]
        return expr if is_path(expr) else Ref(index)

    def _outer(self, name: str, steps: list[Step]) -> Expr:
        if name in self.base:
            return self._inside(name, self.base[name], steps)
        return self.column(name, steps)

    def column(self, name: str, steps: list[Step]) -> Expr:
        """The value of a path into a column of the source, also where an output or a name from outside hides it."""
        return self._inside(name, Column(name), steps) if name in self.columns else UNDEFINED

    def _inside(self, name: str, value: Expr, steps: list[Step]) -> Expr:
        if steps and name == PAYLOAD:
            value = Document() if value == Column(PAYLOAD) and not self.rows else DocumentOf(value)
        for step in steps:
            value = step(value)
        return value

    def write(self, name: str, steps: tuple[Expr, ...], value: Expr) -> None:
        """Make ``value`` the output ``name``, or put it inside that output at the path of ``steps``."""
        if steps:
            known = self.names.get(name)
            base = UNDEFINED if known is None else self.value(known)
            if name == PAYLOAD and known is not None:
                base = Document() if base == Column(PAYLOAD) and not self.rows else DocumentOf(base)
            value = Put(base, steps, value)
        self.names[name] = self.add(value)

    def add(self, value: Expr) -> int:
        self.lets.append(value)
        return len(self.lets) - 1


@dataclass(slots=True)
class Outputs:
    """The output columns in order. A generated name is chosen last, so that it never meets a chosen one."""

    entries: list[tuple[str | None, str, int]] = field(default_factory=list)

    def named(self, name: str, index: int) -> None:
        for position, (known, hint, _) in enumerate(self.entries):
            if known == name:
                self.entries[position] = (name, hint, index)
                return
        self.entries.append((name, "", index))

    def generated(self, hint: str, index: int) -> None:
        self.entries.append((None, hint, index))

    def resolve(self) -> tuple[tuple[str, int], ...]:
        taken = {name for name, _, _ in self.entries if name is not None}
        resolved: list[tuple[str, int]] = []
        for position, (name, hint, index) in enumerate(self.entries, 1):
            final = name
            if final is None:
                final = hint if hint and hint not in taken else f"column_{position}"
                while final in taken:
                    final += "_"
                taken.add(final)
            resolved.append((final, index))
        return tuple(resolved)
