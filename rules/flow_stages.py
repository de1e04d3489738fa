"""What the rows of a flow pass through: operators, each with the program behind it, and the sorting of a window's rows.

Invariants: behind an operator whose rows are sorted or cut a window is seen whole, however many calls it took to tell;
a stage's state is its operator's, and the rows of a window that was told in part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cmp_to_key
from typing import Final

from core.message import MISSING, Row
from rules.analytics import AnalyticOperator
from rules.analytics import build as build_analytics
from rules.functions.ordering import term_order
from rules.parts import Step
from rules.split import Result
from rules.windows import EventTime, WindowOperator, WindowPlan, build, state
from rules.windows.plan import Count
from rules.windows.plan import State as StateWindow

State = tuple[str, bytes]
"""The fingerprint of a stage's plan and its operator's snapshot. Rows that are held follow, under their own name."""
HELD_ROWS: Final = "held "


class Stage:
    """An operator, and the program ``run`` behind it. ``hops`` are the most of the rows since the last result.
    ``whole``: its windows are told whole."""

    def __init__(self, step: Step, run: Callable[..., int | None], *, whole: bool) -> None:
        plan = step.plan
        self.plan = plan
        self.run = run
        self.hops = 0
        self.operator: WindowOperator | AnalyticOperator
        self.timed: WindowOperator | None = None
        """The operator, where it counts in event time."""
        self.keeps_time = False
        """Do rows come out as they come in, so that what is known of the time of others holds behind it?"""
        self._whole: WindowOperator | None = None
        self._held: list[Row] = []
        if isinstance(plan, WindowPlan):
            self.operator = window = build(plan)
            self.timed = window if isinstance(plan.timing, EventTime) else None
            self._whole = window if whole else None
        else:
            self.operator = build_analytics(plan)
            self.keeps_time = not plan.looks_ahead

    @property
    def waits(self) -> bool:
        """Is there something that only the time of rows to come makes due?"""
        timed = self.timed
        return timed is not None and not isinstance(timed.plan.window, Count | StateWindow) and timed.windows > 0

    def gathered(self, found: list[Row]) -> list[Row]:
        """``found`` and what was held, without the rows of a window of which there are more to come."""
        window = self._whole
        if window is None or not (found or self._held):
            return found
        rows = [*self._held, *found]
        partial, start = window.partial, window.plan.keys
        self._held = [row for row in rows if row[start : start + 2] == partial]
        return [row for row in rows if row[start : start + 2] != partial]

    def snapshot(self) -> list[State]:
        fingerprint = self.plan.fingerprint
        states = [(fingerprint, self.operator.snapshot())]
        if self._held:
            states.append((f"{HELD_ROWS}{fingerprint}", state.dump(self._held, fingerprint)))
        return states

    def restore(self, own: bytes, held: bytes | None) -> None:
        self.operator.restore(own)
        self._held = [] if held is None else [tuple(row) for row in state.load(held, self.plan.fingerprint)]


class Sorter:
    """Sorts and cuts the rows of each window, which it gets whole; the two hidden values at the end of a row are the
    boundaries of its window."""

    def __init__(self, result: Result) -> None:
        self._result = result
        width = result.width
        self._keys = [
            (cmp_to_key(_order(width + place, descending, nulls_first)))
            for place, (descending, nulls_first) in enumerate(result.order)
        ]

    def sort(self, rows: Sequence[Row]) -> list[Row]:
        windows: dict[Row, list[Row]] = {}
        for row in rows:
            windows.setdefault(row[-2:], []).append(row)
        width, limit = self._result.width, self._result.limit
        done: list[Row] = []
        for own in windows.values():
            for key in reversed(self._keys):
                own.sort(key=key)
            done += [row[:width] for row in own[:limit]]
        return done


def _order(place: int, descending: bool, nulls_first: bool) -> Callable[[Row, Row], int]:
    sign = -1 if descending else 1
    before = -1 if nulls_first else 1

    def order(one: Row, two: Row) -> int:
        left, right = one[place], two[place]
        no_left, no_right = left is None or left is MISSING, right is None or right is MISSING
        if no_left or no_right:
            return before * (no_left - no_right)
        return sign * term_order(left, right)

    return order
