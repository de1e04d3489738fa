"""What CREATE TABLE ... WITH (type = 'lookup', ...) says: a value object, checked when it is made.

Reading the options from a tree is the business of ``rules.declared``; what they mean at run time that of ``lookup``
(cache, failures) and ``headrace.lookups`` (databases, files). All durations are microseconds.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from rules.windows.plan import PlanError

SECOND: Final = 1_000_000
MAX_ENTRIES: Final = 10_000_000
KEYS_PARAMETER: Final = "keys"
"""The parameter of a ``query`` that stands for the keys that are asked for: ``WHERE id IN (:keys)``."""


class OnFailure(enum.Enum):
    """What a row gets whose key got no answer in time: the old answer however old (without one as ``NULL``), no match,
    or it is dropped. It is counted in any case; a dropped row goes to system.errors."""

    STALE = "stale"
    NULL = "null"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class LookupOptions:
    """Where the rows of a lookup table come from, and how they are kept. Exactly one of ``file``, ``table`` and
    ``query``; ``connection`` with the latter two."""

    key: tuple[str, ...]
    """The columns that a join compares: an answer has all rows of one value of these."""
    connection: str | None = None
    """``[connections.<name>]`` of type sql."""
    table: str | None = None
    """The table at the connection, ``name`` or ``schema.name``."""
    query: str | None = None
    """A SELECT of one's own with ``IN (:keys)``; it gives the key columns too. For a key of one column."""
    file: str | None = None
    """A CSV file with a header or a JSON file (array of objects), read whole and again when it has changed."""
    ttl: int = 300 * SECOND
    """How long an answer is used before it is asked for again."""
    negative_ttl: int = 60 * SECOND
    """The same for the answer that there is no such row."""
    max_entries: int = 100_000
    """Answers that are kept; the one that was not used for the longest time makes way. Of a file: its rows."""
    timeout: int = 5 * SECOND
    """How long a row waits for its answer."""
    on_error: OnFailure = OnFailure.STALE
    """What it gets if none has come by then."""
    max_parked: int = 10_000
    """Rows that one join keeps waiting; at this number headrace takes no more messages until there is room."""

    def __post_init__(self) -> None:
        given = [name for name in ("file", "table", "query") if getattr(self, name) is not None]
        if len(given) != 1:
            there = f"not {' and '.join(given)} together" if given else "there is none"
            raise PlanError(f"a lookup table has one of file, table and query: {there}")
        if (self.connection is None) != (self.file is not None):
            wrong = "a file needs no connection" if self.connection is not None else f"{given[0]} needs a connection"
            raise PlanError(wrong)
        if not self.key:
            raise PlanError("a lookup table needs a key: key = 'id' or key = ['a', 'b']")
        if len(set(self.key)) < len(self.key):
            raise PlanError("a column stands twice in the key")
        if self.query is not None:
            if f":{KEYS_PARAMETER}" not in self.query:
                raise PlanError(f"the query asks for no keys: write WHERE {self.key[0]} IN (:{KEYS_PARAMETER})")
            if len(self.key) > 1:
                raise PlanError("a query has a key of one column; for more name the table instead")
        for name in ("ttl", "negative_ttl"):
            if getattr(self, name) < 0:
                raise PlanError(f"{name} must not be negative")
        if self.timeout < 1:
            raise PlanError("timeout must be greater than zero")
        for name in ("max_entries", "max_parked"):
            if not 1 <= getattr(self, name) <= MAX_ENTRIES:
                raise PlanError(f"{name} is a number from 1 to {MAX_ENTRIES}")

    @property
    def is_static(self) -> bool:
        """All rows are known from the start; nothing is asked for and nothing waits."""
        return self.file is not None
