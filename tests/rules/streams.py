"""A bench for tests of queries with state: an engine, its clock, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from core.clock import SECOND
from core.message import Batch, Message
from core.metrics import Metrics
from rules.compiler import RuleSet, RuleSource, compile_rules
from rules.loaded import RuleFailure
from rules.runtime import Engine

METER = """
CREATE SOURCE meter (
  station TEXT, connector INT, power DOUBLE NOT NULL, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) WITH (topic = 'cp/{station}/{connector}/meter', idle_timeout = '30 seconds');
"""
START = 1_700_000_000
"""Seconds since the epoch at which a bench begins; divisible by 100."""

Rows = list[dict[str, Any]]


def compiled(sql: str, source: str = METER) -> RuleSet:
    return compile_rules([RuleSource("r.sql", source + sql)])


def meter(ts: float | None, power: Any = 1.0, station: str = "a", connector: object = 1, **more: Any) -> Message:
    """A message whose device says that it is ``ts`` seconds after START."""
    payload = {"power": power, "ts": None if ts is None else round((START + ts) * 1_000), **more}
    return Message(f"cp/{station}/{connector}/meter", json.dumps(payload).encode())


class Bench:
    """Times are seconds after START. ``refused`` are pairs of rule and reason, ``failed`` of rule and text."""

    def __init__(self, sql: str, source: str = METER) -> None:
        self.metrics = Metrics()
        self.late: list[tuple[str, str, dict[str, Any]]] = []
        self.failed: list[tuple[str, str, str]] = []
        self.disabled: list[str] = []
        self.engine = self._engine()
        self.now = 0.0
        self.source = source
        self.load(sql)

    def _engine(self) -> Engine:
        return Engine(
            self.metrics,
            on_error=self._failed,
            on_late=lambda rule, message, reason: self.late.append((rule, reason, dict(message.columns or {}))),
            on_disabled=lambda rule, reason: self.disabled.append(rule),
        )

    def _failed(self, rule: str, message: Message, error: Exception) -> None:
        del message
        assert isinstance(error, RuleFailure)
        self.failed.append((rule, error.code, str(error)))

    @property
    def time(self) -> int:
        return round((START + self.now) * SECOND)

    def load(self, sql: str) -> Rows:
        return rows_of(self.engine.load(compiled(sql, self.source), now=self.time))

    def restart(self, sql: str) -> None:
        """As a stop and a start: another engine goes on from what this one has written down."""
        states = self.engine.snapshot()
        self.metrics = Metrics()
        self.engine = self._engine()
        self.load(sql)
        assert self.engine.restore(states) == []

    def send(self, *messages: Message) -> Rows:
        """Messages that come at once."""
        for message in messages:
            message.received_ns = self.time
        return rows_of(self.engine.process(messages, self.time))

    def at(self, now: float, *messages: Message) -> Rows:
        """Let time pass until ``now``, and then come messages."""
        return self.wait(now) + (self.send(*messages) if messages else [])

    def wait(self, until: float) -> Rows:
        rows: Rows = []
        end = START * SECOND + round(until * SECOND)
        for _ in range(100_000):
            due = self.engine.next_deadline
            if due is None or due > end:
                break
            self.now = max(self.now, due / SECOND - START)
            rows += rows_of(self.engine.advance(self.time))
        else:
            raise AssertionError("the engine is never done")
        self.now = max(self.now, until)
        return rows

    def finish(self) -> Rows:
        return rows_of(self.engine.finish(self.time))

    def metric(self, name: str) -> dict[tuple[str, ...], float]:
        [family] = [family for family in self.metrics.collect() if family.name == f"headrace_{name}"]
        return {sample.labels: sample.value for sample in family.samples if sample.value}  # type: ignore[misc]


def rows_of(batches: Iterable[Batch]) -> Rows:
    return [dict(zip(batch.schema.names, row, strict=True)) for batch in batches for row in batch.rows]


def seconds(value: int) -> float:
    """An instant as seconds after START."""
    return value / 1_000_000 - START


def values(rows: Iterable[dict[str, Any]], *names: str) -> list[Sequence[Any]]:
    """Some columns of rows; times as seconds after START."""
    return [
        tuple(seconds(row[name]) if name in ("window_start", "window_end", "ts") else row[name] for name in names)
        for row in rows
    ]
