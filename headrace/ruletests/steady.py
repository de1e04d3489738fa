"""What would differ from run to run, decided by the test: the present time, chance, identifiers, the local zone, and
what rules keep in tables.

The rules are compiled with a table of functions in which those of :meth:`Steady.functions` are replaced; the way of
their arguments is the same. Left as they are: ``getenv``, which reads the environment of the command, and what
installed packages bring. The column ``id`` differs as well: it tells messages of one process apart.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from core.clock import SECOND, ManualClock
from rules.functions import FunctionTable, ScalarFunction, Table

_UNITS: Final = {"second": 1, "millisecond": 1_000, "microsecond": 1_000_000, "nanosecond": 1_000_000_000}
_UUID4: Final = 0x4 << 76 | 0x8 << 60
"""The bits that make a number a UUID of version 4."""


class Steady:
    """The world of one test at a time; :meth:`begin` starts another."""

    def __init__(self) -> None:
        self._tables: list[Table] = []
        self.begin(0)

    def begin(self, now: int) -> None:
        """A new test at ``now``: its clock, empty tables, the first identifier, the first random number."""
        self.clock = ManualClock(now)
        for table in self._tables:
            table.clear()
        self._identifiers = 0
        self._chance = random.Random(0)  # noqa: S311 - to be the same every time is the purpose

    def empties(self, table: Table) -> Table:
        """``table``, which will be emptied for each test."""
        self._tables.append(table)
        return table

    def functions(self, base: FunctionTable) -> FunctionTable:
        """``base`` with those functions replaced that ask for the time or for chance."""
        make: Mapping[str, Callable[[FunctionTable], Callable[..., Any]]] = {
            "now_timestamp": self._now_timestamp,
            "now_rfc3339": self._now_rfc3339,
            "format_date": self._format_date,
            "mongo_date": self._mongo_date,
            "random": lambda _: self._random,
            "uuid_v4": lambda _: lambda: str(self._uuid()),
            "uuid_v4_no_hyphen": lambda _: lambda: self._uuid().hex,
        }
        return _Replaced(base, {name: replace(base[name], call=made(base)) for name, made in make.items()})

    def _now(self, unit: str | bytes) -> int:
        name = unit.decode(errors="replace") if isinstance(unit, bytes) else unit
        return self.clock.now() * _UNITS.get(name, 0) // SECOND  # of a unit that there is not the function itself tells

    def _now_timestamp(self, base: FunctionTable) -> Callable[..., Any]:
        real = base["now_timestamp"].call

        def now_timestamp(*arguments: Any) -> Any:
            real(*arguments)  # refuses what it always refuses
            return self._now(*(arguments or ("second",)))

        return now_timestamp

    def _now_rfc3339(self, base: FunctionTable) -> Callable[..., Any]:
        real, text_of = base["now_rfc3339"].call, base["unix_ts_to_rfc3339"].call

        def now_rfc3339(*arguments: Any) -> Any:
            real(*arguments)
            return text_of(self._now(*(arguments or ("second",))), *arguments)

        return now_rfc3339

    def _format_date(self, base: FunctionTable) -> Callable[..., Any]:
        real = base["format_date"].call

        def format_date(*arguments: Any) -> Any:
            if len(arguments) == 3 and isinstance(arguments[0], str | bytes) and isinstance(arguments[2], str | bytes):
                return real(*arguments, self._now(arguments[0]))
            return real(*arguments)

        return format_date

    def _mongo_date(self, base: FunctionTable) -> Callable[..., Any]:
        real = base["mongo_date"].call
        return lambda *arguments: real(*(arguments or (self._now("millisecond"),)))

    def _random(self) -> float:
        return self._chance.random()

    def _uuid(self) -> UUID:
        """00000000-0000-4000-8000-000000000001, ...2 and so on."""
        self._identifiers += 1
        return UUID(int=_UUID4 | self._identifiers)


class _Replaced(FunctionTable):
    """A table with some of its functions replaced; the others are looked up, and loaded, when they are asked for."""

    def __init__(self, base: FunctionTable, replaced: Mapping[str, ScalarFunction]) -> None:
        super().__init__()
        self._base = base
        self._replaced = replaced

    def names(self) -> list[str]:
        return self._base.names()

    def __getitem__(self, name: str) -> ScalarFunction:
        return self._replaced[name] if name in self._replaced else self._base[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._base)

    def __len__(self) -> int:
        return len(self._base)


@contextmanager
def utc() -> Iterator[None]:
    """The machine's local zone is UTC meanwhile."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()
