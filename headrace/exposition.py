"""``core.metrics`` -> Prometheus text, at the moment of a scrape; nothing is counted here.

The process's CPU time, memory and open files come from the operating system.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from core.metrics import Family, Histogram, Metrics

_FAMILIES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}


class _MetricsCollector(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        for family in self._metrics.collect():
            yield _histograms(family) if family.kind == "histogram" else _numbers(family)


def _numbers(family: Family) -> Metric:
    metric: CounterMetricFamily | GaugeMetricFamily = _FAMILIES[family.kind](
        family.name, family.help, labels=family.label_names
    )
    for labels, value in family.samples:
        if not isinstance(value, Histogram):
            metric.add_metric(labels, value)
    return metric


def _histograms(family: Family) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.label_names)
    for labels, histogram in family.samples:
        if not isinstance(histogram, Histogram):
            continue
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip([*map(repr, histogram.bounds), "+Inf"], histogram.buckets, strict=True):
            total += count
            buckets.append((bound, total))
        metric.add_metric(labels, buckets, histogram.sum)
    return metric


class Exposition:
    """Renders the metrics of one process."""

    def __init__(self, metrics: Metrics) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_MetricsCollector(metrics))
        ProcessCollector(registry=self._registry)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The metrics and their content type, in the format that an ``Accept`` header asks for."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type
