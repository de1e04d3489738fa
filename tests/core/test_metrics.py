"""Counters, gauges and histograms: one name has one kind and one set of labels, and collection shows them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.metrics import Histogram, Metrics


def collected(metrics: Metrics) -> dict[str, dict[tuple[str, ...], Any]]:
    return {family.name: {sample.labels: sample.value for sample in family.samples} for family in metrics.collect()}


def test_a_counter_is_made_once_per_set_of_labels() -> None:
    metrics = Metrics()
    counter = metrics.counter("x_total", "help", rule="r1", reason="late")
    counter.value += 2
    assert metrics.counter("x_total", "help", reason="late", rule="r1") is counter
    metrics.counter("x_total", "help", rule="r2", reason="late").value += 1
    assert collected(metrics) == {"x_total": {("r1", "late"): 2, ("r2", "late"): 1}}


def test_labels_may_be_called_anything() -> None:
    metrics = Metrics()
    metrics.counter("x_total", "help", name="a", help_text="b", bounds="c").value += 1
    assert collected(metrics)["x_total"] == {("a", "b", "c"): 1}


@pytest.mark.parametrize(
    "again",
    [
        lambda metrics: metrics.counter("x", "help"),
        lambda metrics: metrics.counter("x", "help", rule="r", reason="z"),
        lambda metrics: metrics.histogram("x", "help", (1.0,), rule="r"),
        lambda metrics: metrics.read("x", "help", "gauge", list, ("rule",)),
        lambda metrics: metrics.read("x", "help", "counter", list),
    ],
)
def test_another_kind_or_other_labels_are_an_error(again: Callable[[Metrics], object]) -> None:
    metrics = Metrics()
    metrics.counter("x", "help", rule="r")
    with pytest.raises(ValueError, match="metric x is already a counter with labels"):
        again(metrics)


def test_a_reader_is_asked_at_every_collection_until_it_is_taken_back() -> None:
    metrics = Metrics()
    depth = 1
    forget = metrics.read("depth", "help", "gauge", lambda: [(("a",), depth)], ("queue",))
    metrics.read("depth", "help", "gauge", lambda: [(("b",), 7)], ("queue",))
    assert collected(metrics)["depth"] == {("a",): 1, ("b",): 7}
    depth = 2
    assert collected(metrics)["depth"] == {("a",): 2, ("b",): 7}
    forget()
    assert collected(metrics)["depth"] == {("b",): 7}


def test_a_reader_with_its_labels_in_another_order_is_an_error() -> None:
    metrics = Metrics()
    metrics.counter("x", "help", a="1", b="2")
    with pytest.raises(ValueError, match="in the order"):
        metrics.read("x", "help", "counter", list, ("b", "a"))


def test_a_family_may_be_counted_and_read() -> None:
    metrics = Metrics()
    metrics.counter("x", "help", sink="a").value += 1
    metrics.read("x", "other words", "counter", lambda: [(("b",), 2)], ("sink",))
    [family] = metrics.collect()
    assert (family.help, family.kind, family.label_names) == ("help", "counter", ("sink",))
    assert [(sample.labels, sample.value) for sample in family.samples] == [(("a",), 1), (("b",), 2)]


def test_families_come_by_name() -> None:
    metrics = Metrics()
    for name in ("b", "a", "c"):
        metrics.counter(name, "help")
    assert [family.name for family in metrics.collect()] == ["a", "b", "c"]


def test_bounds_include_their_own_value() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 3.0):
        histogram.observe(value)
    assert histogram.buckets == [2, 2, 1]
    assert histogram.sum == 8.0


@given(st.lists(st.integers(-100, 100), max_size=30), st.sets(st.integers(-100, 100), max_size=6))
def test_every_observation_is_in_one_bucket(values: list[int], bounds: set[int]) -> None:
    limits = tuple(float(bound) for bound in sorted(bounds))
    histogram = Metrics().histogram("h", "help", limits)
    for value in values:
        histogram.observe(value)
    assert sum(histogram.buckets) == len(values)
    for index, bound in enumerate(limits):
        assert sum(histogram.buckets[: index + 1]) == sum(value <= bound for value in values)


def test_the_bounds_of_a_histogram_are_fixed() -> None:
    metrics = Metrics()
    first = metrics.histogram("h", "help", (1.0, 2.0), sink="a")
    assert metrics.histogram("h", "help", (1.0, 2.0), sink="a") is first
    with pytest.raises(ValueError, match="already has the bounds"):
        metrics.histogram("h", "help", (1.0,), sink="b")
    for bounds in ((2.0, 1.0), (1.0, 1.0)):
        with pytest.raises(ValueError, match="must ascend"):
            metrics.histogram("g", "help", bounds)
