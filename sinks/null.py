"""The sink that takes everything and keeps nothing: rows are counted by delivery and forgotten."""

from __future__ import annotations

from typing import ClassVar

from core.message import Batch
from sinks.base import Sink


class NullSink(Sink):
    """Delivered means: seen. For benchmarks and for rules of which only the counters matter."""

    name: ClassVar[str] = "null"

    async def open(self) -> None:
        """Nothing to reach."""

    async def write(self, batch: Batch) -> None:
        """Nothing to keep."""

    async def close(self) -> None:
        """Nothing to release."""
