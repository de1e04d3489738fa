"""Counters, gauges and histograms in memory; exporters live elsewhere and read them when they are asked.

The hot path keeps a :class:`Counter` and adds to its ``value``: no lock, no label lookup, no call. What already
counts itself (a delivery, a cache) registers a function that is called at collection time instead. Names follow
Prometheus: ``headrace_<what>_<unit>[_total]``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[str, ...]


class Counter:
    """A number that only grows: ``counter.value += n``."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: int | float = 0


class Histogram:
    """Observations in buckets with inclusive upper ``bounds`` (ascending); the last bucket is open."""

    __slots__ = ("bounds", "buckets", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Sample(NamedTuple):
    """One time series of a family at collection time; ``value`` is a number, or the histogram itself."""

    labels: Labels
    value: int | float | Histogram


class Family(NamedTuple):
    """A metric's description and its present samples."""

    name: str
    help: str
    kind: Kind
    label_names: Labels
    samples: list[Sample]


class _Definition(NamedTuple):
    help: str
    kind: Kind
    label_names: Labels
    children: dict[Labels, Counter | Histogram]
    readers: list[Callable[[], Iterable[tuple[Labels, int | float]]]]


class Metrics:
    """All metrics of a process. A name has one kind and one set of labels: anything else is a ValueError."""

    def __init__(self) -> None:
        self._definitions: dict[str, _Definition] = {}

    def _define(self, name: str, help_text: str, kind: Kind, label_names: Labels) -> _Definition:
        known = self._definitions.get(name)
        if known is None:
            known = self._definitions[name] = _Definition(help_text, kind, label_names, {}, [])
        elif known.kind != kind or sorted(known.label_names) != sorted(label_names):
            raise ValueError(f"metric {name} is already a {known.kind} with labels {known.label_names}")
        return known

    def counter(self, name: str, help_text: str, /, **labels: str) -> Counter:
        """The counter with these labels, made on first use and the same one ever after."""
        definition = self._define(name, help_text, "counter", tuple(labels))
        child = definition.children.setdefault(tuple(labels[key] for key in definition.label_names), Counter())
        assert isinstance(child, Counter)  # noqa: S101 - _define has just checked the kind
        return child

    def histogram(self, name: str, help_text: str, bounds: tuple[float, ...], /, **labels: str) -> Histogram:
        """The histogram with these labels; all of one name have the same bounds: anything else is a ValueError."""
        if list(bounds) != sorted(set(bounds)):
            raise ValueError(f"the bounds of metric {name} must ascend, got {bounds}")
        definition = self._define(name, help_text, "histogram", tuple(labels))
        for other in definition.children.values():
            if isinstance(other, Histogram) and other.bounds != bounds:
                raise ValueError(f"metric {name} already has the bounds {other.bounds}")
        child = definition.children.setdefault(tuple(labels[key] for key in definition.label_names), Histogram(bounds))
        assert isinstance(child, Histogram)  # noqa: S101 - _define has just checked the kind
        return child

    def read(
        self,
        name: str,
        help_text: str,
        kind: Literal["counter", "gauge"],
        reader: Callable[[], Iterable[tuple[Labels, int | float]]],
        label_names: Labels = (),
    ) -> Callable[[], None]:
        """Ask ``reader`` for (label values, value) pairs at every collection, until the returned function is called.

        Label values come in the order of ``label_names``.
        """
        definition = self._define(name, help_text, kind, label_names)
        if definition.label_names != label_names:
            raise ValueError(f"metric {name} already has its labels in the order {definition.label_names}")
        readers = definition.readers
        readers.append(reader)
        return lambda: readers.remove(reader)

    def collect(self) -> Iterator[Family]:
        """Every family with its samples, by name.

        Of two readers with the same labels the later one counts: what is being replaced may still be there.
        """
        for name in sorted(self._definitions):
            definition = self._definitions[name]
            values: dict[Labels, int | float | Histogram] = {
                labels: child.value if isinstance(child, Counter) else child
                for labels, child in definition.children.items()
            }
            for reader in definition.readers:
                values.update(reader())
            samples = [Sample(labels, value) for labels, value in values.items()]
            yield Family(name, definition.help, definition.kind, definition.label_names, samples)
