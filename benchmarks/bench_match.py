"""What topic matching costs: microseconds of CPU per operation, cached, missed and while subscriptions change.

The filters are those of charging stations: half of them exact, a quarter with ``+`` and a quarter with ``#``, so that
each topic finds a handful among 1 000, 10 000 or 100 000. Both halves of a match, subscribers and rules, come from an
index; the rules are few. Each figure is the median of five runs (and the least).
``python benchmarks/bench_match.py [--json FILE]``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from timing import measure

from core.matching import MatchCache
from core.topic_index import TopicIndex

OPERATIONS = 20_000
CACHED_TOPICS = 1_000
SIZES = (1_000, 10_000, 100_000)
RULES = ("cp/#", "cp/+/meter", "cp/+/status", "site/+/+/alarm", "$SYS/#")


def subscription(number: int) -> str:
    """The filter of the subscriber with that number."""
    station = f"station-{number // 4:06d}"
    return (f"cp/{station}/command", f"cp/{station}/meter", f"cp/{station}/+/status", f"cp/{station}/#")[number % 4]


def subscriptions(count: int) -> TopicIndex[int]:
    index: TopicIndex[int] = TopicIndex()
    for number in range(count):
        index.add(subscription(number), number)
    return index


def cache(index: TopicIndex[int], *, max_entries: int = 65_536) -> MatchCache:
    rules: TopicIndex[str] = TopicIndex()
    for topic_filter in RULES:
        rules.add(topic_filter, topic_filter)
    return MatchCache(
        lambda topic: tuple(index.match(topic)), lambda topic: tuple(rules.match(topic)), max_entries=max_entries
    )


def topics(count: int, stations: int) -> list[str]:
    """``count`` topics, no two alike, spread over all stations."""
    return [f"cp/station-{number % stations:06d}/{number}/status" for number in range(count)]


def hit() -> Callable[[], None]:
    matches = cache(subscriptions(1_000))
    names = topics(CACHED_TOPICS, 250) * (OPERATIONS // CACHED_TOPICS)
    get, look_up = matches.entries.get, matches.look_up

    def run() -> None:
        for name in names:
            get(name) or look_up(name)
        assert matches.misses == CACHED_TOPICS

    return run


def miss(index: TopicIndex[int], size: int, *, max_entries: int = OPERATIONS) -> Callable[[], None]:
    """Every topic is new. With a ``max_entries`` below their number, the cache also has to make room."""
    matches = cache(index, max_entries=max_entries)
    names = topics(OPERATIONS, size // 4)
    get, look_up = matches.entries.get, matches.look_up

    def run() -> None:
        matches.clear()
        misses = matches.misses
        for name in names:
            get(name) or look_up(name)
        assert matches.misses - misses == OPERATIONS

    return run


def churn(index: TopicIndex[int], size: int, kind: int) -> Callable[[], None]:
    """Subscribe and unsubscribe, with what the cache forgets; ``kind`` is the filter's, as in :func:`subscription`."""
    matches = cache(index)
    wildcard = kind >= 2
    filters = [subscription(4 * number + kind) for number in range(size // 4, size // 4 + OPERATIONS)]

    def run() -> None:
        for topic_filter in filters:
            for change in (index.add, index.discard):
                change(topic_filter, -1)
                if wildcard:
                    matches.clear()
                else:
                    matches.forget(topic_filter)

    return run


def first_message_after_a_change(index: TopicIndex[int], size: int) -> Callable[[], None]:
    """A wildcard subscription comes or goes before every message: the cache never helps."""
    matches = cache(index)
    names = topics(CACHED_TOPICS, size // 4) * (OPERATIONS // CACHED_TOPICS)

    def run() -> None:
        for name in names:
            matches.clear()
            matches.entries.get(name) or matches.look_up(name)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    arguments = parser.parse_args()
    results: dict[str, dict[str, float | str]] = {}

    def report(name: str, run: Callable[[], None]) -> None:
        median, least = measure(run, OPERATIONS)
        results[name] = {"median": round(median, 4), "min": round(least, 4), "unit": "us/operation"}
        print(f"{name:<60} {median:>8.3f} {least:>8.3f}", flush=True)

    print(f"{'us per operation':<60} {'median':>8} {'min':>8}")
    report("hit", hit())
    for size in SIZES:
        index = subscriptions(size)
        report(f"miss, {size} filters", miss(index, size))
        report(f"miss, {size} filters, cache of 1000 always full", miss(index, size, max_entries=1_000))
        report(f"subscribe + unsubscribe an exact filter, {size} filters", churn(index, size, 0))
        report(f"subscribe + unsubscribe with '+', {size} filters", churn(index, size, 2))
        report(f"subscribe + unsubscribe with '#', {size} filters", churn(index, size, 3))
        report(f"message after each change, {size} filters", first_message_after_a_change(index, size))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
