"""One match object per topic, in one bounded cache: who subscribes to a topic and which rules read it.

Invariants: an entry is right for the present subscriptions and rules, because every change of either drops
the entries it may touch; the cache never holds more than ``max_entries``. It decides nothing itself: both
halves of a match come from the two functions it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any


class Match:
    """What is known about one topic. ``subscribers`` belong to the broker, ``rules`` to the rule engine."""

    __slots__ = ("rules", "subscribers", "topic")

    def __init__(self, topic: str, subscribers: tuple[Any, ...], rules: tuple[Any, ...]) -> None:
        self.topic = topic
        self.subscribers = subscribers
        self.rules = rules


class MatchCache:
    """Topic -> :class:`Match`, computed on a miss and kept until a change or the size limit drops it.

    The hot path reads ``entries`` directly (``cache.entries.get(topic)``) and calls :meth:`look_up` on a miss;
    ``entries`` is one dict for the life of the cache, so that its bound methods may be kept.
    """

    def __init__(
        self,
        subscribers: Callable[[str], tuple[Any, ...]],
        rules: Callable[[str], tuple[Any, ...]],
        *,
        max_entries: int = 65_536,
    ) -> None:
        if max_entries < 1:
            raise ValueError("max_entries must be at least 1")
        self._subscribers = subscribers
        self._rules = rules
        self._max_entries = max_entries
        self.entries: dict[str, Match] = {}
        self.generation = 0
        self.misses = 0

    def look_up(self, topic: str) -> Match:
        """The match of ``topic``, which must be a valid topic name."""
        entries = self.entries
        match = entries.get(topic)
        if match is None:
            self.misses += 1
            if len(entries) >= self._max_entries:
                for old in list(islice(entries, self._max_entries // 4 or 1)):
                    del entries[old]
            match = entries[topic] = Match(topic, self._subscribers(topic), self._rules(topic))
        return match

    def forget(self, topic: str) -> None:
        """Drop one topic, after a change that can concern no other (an exact filter)."""
        self.entries.pop(topic, None)

    def clear(self) -> None:
        """Drop the whole generation, after a change of wildcard filters or of the rules."""
        self.generation += 1
        self.entries.clear()
