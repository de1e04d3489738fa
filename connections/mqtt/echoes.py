"""What was sent over a connection whose protocol carries no marks (MQTT 3.1.1), to know it when it comes back.

A message that comes over the same connection with a topic and payload that were sent within the last minute, and not
yet seen again, is an echo. Two equal messages, one sent and one by somebody else, are told apart by their number alone,
which does no harm. Bounded: of more than ``MOST`` messages the oldest are forgotten, and then go round once more.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Final

from core import topics
from core.clock import SECOND

MOST: Final = 65_536
_KEPT: Final = 60 * SECOND
_MAX_TOPICS: Final = 65_536


class Echoes:
    """Nothing is kept while nobody listens."""

    def __init__(self) -> None:
        self._filters: tuple[str, ...] = ()
        self._heard: dict[str, bool] = {}
        self._sent: OrderedDict[tuple[str, int], deque[int]] = OrderedDict()
        self._count = 0

    def listen(self, filters: Iterable[str]) -> None:
        """Somebody reads these filters over the connection; saying so again changes nothing."""
        self._filters = tuple(dict.fromkeys((*self._filters, *filters)))
        self._heard.clear()

    def sent(self, topic: str, payload: bytes, now: int) -> None:
        """A message is about to be sent; ``now`` is nanoseconds."""
        heard = self._heard.get(topic)
        if heard is None:
            if len(self._heard) >= _MAX_TOPICS:
                self._heard.clear()
            heard = self._heard[topic] = any(topics.matches(each, topic) for each in self._filters)
        if not heard:
            return
        key = (topic, hash(payload))
        times = self._sent.get(key)
        if times is None:
            times = self._sent[key] = deque()
        else:
            self._sent.move_to_end(key)
        times.append(now)
        self._count += 1
        while self._count > MOST:
            _, oldest = self._sent.popitem(last=False)
            self._count -= len(oldest)

    def came(self, topic: str, payload: bytes, now: int) -> bool:
        """Whether a message that came is the echo of one that was sent, which it is only once."""
        key = (topic, hash(payload))
        times = self._sent.get(key)
        if times is None:
            return False
        found = False
        while times and not found:
            self._count -= 1
            found = now - times.popleft() <= _KEPT
        if not times:
            del self._sent[key]
        return found
