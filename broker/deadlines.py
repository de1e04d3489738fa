"""When something must be looked at again: a wheel of one-second slots for very many, very lazy deadlines.

A keep-alive moves with every packet, so nothing is re-armed: an item stands in one slot, is asked for its
``next_deadline`` when the slot's second has come, and moves on if that lies later. Invariants: an item stands in at
most one slot; it is looked at within a second after its deadline; nothing is held for longer than ``HORIZON``
seconds without being asked whether it still has a deadline.
"""

from __future__ import annotations

from typing import Final, Protocol

from core.clock import SECOND

HORIZON: Final = 60


class Timed(Protocol):
    """``next_deadline`` is nanoseconds or None for never; ``scheduled`` belongs to the wheel and starts at 0."""

    scheduled: int

    @property
    def next_deadline(self) -> int | None: ...

    def on_deadline(self, now: int) -> None: ...


class DeadlineWheel:
    """Slots by the second (since the epoch) in which their items are looked at."""

    def __init__(self) -> None:
        self._slots: dict[int, list[Timed]] = {}

    def add(self, item: Timed, now: int) -> None:
        """Look at ``item`` when its deadline has come; call it again after a deadline moved to an earlier time."""
        deadline = item.next_deadline
        if deadline is None:
            return
        second = min(-(-deadline // SECOND), now // SECOND + HORIZON)
        if item.scheduled and item.scheduled <= second:
            return
        item.scheduled = second
        self._slots.setdefault(second, []).append(item)

    def advance(self, now: int) -> None:
        """Call ``on_deadline`` of every item whose deadline has come."""
        for second in sorted(second for second in self._slots if second * SECOND <= now):
            items = self._slots[second]
            # One by one, so that an item that raises takes no other along.
            while items:
                item = items.pop()
                # An item that was moved to an earlier slot leaves its old entry behind.
                if item.scheduled != second:
                    continue
                item.scheduled = 0
                deadline = item.next_deadline
                if deadline is not None and deadline <= now:
                    item.on_deadline(now)
                if not item.scheduled:
                    self.add(item, now)
            del self._slots[second]
