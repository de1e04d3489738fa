"""The last samples of keys, which their next windows go on from: a meter's register, a value that stands.

Kept only where an aggregate asks for it (``Accumulators.carries``), once per key, at most ``max_keys`` of them: beyond
that the ones that were renewed longest ago are given up and counted. A sample counts for windows that begin at most
``carry`` after it; this is looked at when it is used, so results do not depend on when it is forgotten.

A key's samples are a list with one (time, value), or None, for each of the calls that carry.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rules.aggregates import Accumulators
from rules.windows.operator import Counters
from rules.windows.plan import Limits

Samples = list[Any]


class Carried:
    def __init__(self, accumulators: Accumulators, limits: Limits, counters: Counters) -> None:
        self.used = accumulators.carries > 0
        self._counters = counters
        self._count = accumulators.carries
        self._samples = accumulators.samples
        self._ttl = limits.carry
        self._max_keys = limits.max_keys
        self._known: OrderedDict[Any, Samples] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    @property
    def bytes(self) -> int:
        return len(self._known) * (250 + 130 * self._count)

    def before(self, key: Any, start: int, states: Iterable[list[Any]] = ()) -> Samples:
        """The samples of a key before ``start``. ``states`` are those of its windows or panes that are still kept, the
        latest first; what none of them has was carried from earlier ones."""
        found: Samples = [None] * self._count
        missing = self._count
        for state in states:
            missing = _fill(found, self._samples(state))
            if not missing:
                break
        if missing and (kept := self._known.get(key)) is not None:
            _fill(found, kept)
        oldest = start - self._ttl
        return [None if sample is None or sample[0] < oldest else sample for sample in found]

    def reach(self, state: list[Any], later: Sequence[list[Any]]) -> int:
        """How many of the key's ``later`` windows or panes, in order, go on from samples of ``state``."""
        carried = {number for number, sample in enumerate(self._samples(state)) if sample is not None}
        for count, following in enumerate(later):
            if not carried:
                return count
            own = self._samples(following)
            carried = {number for number in carried if own[number] is None}
        return len(later)

    def carry(self, key: Any, state: list[Any]) -> None:
        """The key's window or pane goes; the next one goes on from its samples."""
        samples = self._samples(state)
        kept = self._known.get(key)
        if kept is not None:
            _fill(samples, kept)
        elif len(self._known) >= self._max_keys:
            self._known.popitem(last=False)
            self._counters.samples_dropped += 1
        self._known[key] = samples
        self._known.move_to_end(key)

    def forget(self, horizon: int, most: int) -> None:
        """Forget keys, at most ``most``, whose samples no window that begins at ``horizon`` or later can want."""
        oldest = horizon - self._ttl
        for _ in range(min(most, len(self._known))):
            key = next(iter(self._known))
            if any(sample is not None and sample[0] >= oldest for sample in self._known[key]):
                break
            del self._known[key]

    def snapshot(self) -> Any:
        return [list(self._known), list(self._known.values())]

    def restore(self, own: Any) -> None:
        keys, samples = own
        self._known = OrderedDict(zip(keys, samples, strict=True))


def _fill(found: Samples, older: Samples) -> int:
    """Take from ``older`` what ``found`` lacks; how many are still missing."""
    missing = 0
    for number, sample in enumerate(found):
        if sample is None:
            found[number] = older[number]
            missing += older[number] is None
    return missing


def states_of(key: Any, groups: Iterable[Mapping[Any, list[Any]]]) -> Iterable[list[Any]]:
    """The key's states in those of ``groups`` that have it."""
    for states in groups:
        state = states.get(key)
        if state is not None:
            yield state
