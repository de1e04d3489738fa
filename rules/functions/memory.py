"""Values that rules keep from one message to the next: bounded tables, one of the service and one per connection.

A table refuses what does not fit instead of forgetting something: a rule whose state silently went missing gives wrong
results, one that fails is counted and seen. Sizes are those of keys and values, about. Which keys changed is noted for
whoever stores a table; reading and writing files is not done here.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from math import isnan
from typing import Any, Final, NamedTuple

from core.message import MISSING, Missing
from rules.functions.base import Refusal
from rules.functions.values import json_text, parse_json, text_of

_ENTRY: Final = 64
"""What an entry takes beside its key and value."""


class _Entry(NamedTuple):
    key: Any
    value: Any
    size: int


def _identity(key: Any) -> Any:
    """Keys are the same where they are the same term: 1 is neither 1.0 nor true. Refusal for what equals nothing."""
    if isinstance(key, str):
        return key
    if (isinstance(key, float) and isnan(key)) or (isinstance(key, Decimal) and key.is_nan()):
        raise Refusal("a key that is not a number would never be found again")
    if isinstance(key, list | dict):
        return "json", json_text(key)
    return type(key).__name__, key


def size_of(value: Any) -> int:
    """About the bytes of a value."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, list):
        return 8 + sum(8 + size_of(item) for item in value)
    if isinstance(value, dict):
        return 8 + sum(16 + size_of(key) + size_of(item) for key, item in value.items())
    return 8 if not isinstance(value, int) else 8 + value.bit_length() // 8


class Table:
    """A bounded table. ``refused`` counts what did not fit."""

    __slots__ = ("_changes", "_entries", "bytes", "max_bytes", "max_entries", "name", "refused")

    def __init__(self, name: str, max_entries: int, max_bytes: int, *, noting: bool = False) -> None:
        self.name = name
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.bytes = 0
        self.refused = 0
        self._entries: dict[Any, _Entry] = {}
        self._changes: set[Any] | None = set() if noting else None

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Any, default: Any = MISSING) -> Any:
        entry = self._entries.get(_identity(key))
        return default if entry is None else entry.value

    def put(self, key: Any, value: Any) -> Any:
        """Keep a value and give back the one before; Refusal where it does not fit. What is missing is not kept."""
        if isinstance(value, Missing):
            return self.delete(key)
        identity = _identity(key)
        before = self._entries.get(identity)
        size = _ENTRY + size_of(key) + size_of(value)
        total = self.bytes + size - (0 if before is None else before.size)
        if total > self.max_bytes or (before is None and len(self._entries) >= self.max_entries):
            self.refused += 1
            limit = f"{self.max_bytes} bytes" if total > self.max_bytes else f"{self.max_entries} entries"
            raise Refusal(f"the {self.name} is full: {text_of(key)[:80]!r} would exceed {limit}", f"{self.name}_full")
        self._entries[identity] = _Entry(key, value, size)
        self.bytes = total
        if self._changes is not None:
            self._changes.add(identity)
        return MISSING if before is None else before.value

    def delete(self, key: Any) -> Any:
        """Forget a key and give back its value."""
        identity = _identity(key)
        before = self._entries.pop(identity, None)
        if before is None:
            return MISSING
        self.bytes -= before.size
        if self._changes is not None:
            self._changes.add(identity)
        return before.value

    def clear(self) -> None:
        """Forget everything, the counts and what was noted too."""
        self._entries.clear()
        self.bytes = self.refused = 0
        if self._changes is not None:
            self._changes.clear()

    # For who stores the table

    def load(self, entries: Iterable[tuple[Any, Any]]) -> int:
        """Take entries over as far as they fit, without noting them; how many did not."""
        changes, self._changes = self._changes, None
        left = 0
        for key, value in entries:
            try:
                self.put(key, value)
            except Refusal:
                left += 1
        self._changes = changes
        self.refused = 0
        return left

    def take_changes(self) -> list[tuple[Any, Any]]:
        """Keys that changed since the last call, with their present values; MISSING for what was deleted."""
        if not self._changes:
            return []
        changed, self._changes = self._changes, set()
        found = []
        for identity in changed:
            entry = self._entries.get(identity)
            found.append((_key(identity), MISSING) if entry is None else (entry.key, entry.value))
        return found

    def note(self, keys: Iterable[Any]) -> None:
        """Note keys as changed: they could not be stored."""
        if self._changes is not None:
            self._changes.update(map(_identity, keys))


def _key(identity: Any) -> Any:
    """A key with this identity, for one that is gone."""
    if isinstance(identity, str):
        return identity
    kind, value = identity
    if kind != "json":
        return value

    return parse_json(value)
