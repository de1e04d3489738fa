"""What asking a far side for rows by key looks like, for connections that can do it (``Connection.finder``).

What is asked for, when and how often, and how long an answer is good, is the business of ``rules.joins`` and
``headrace.lookups``; a finder only asks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Found = Sequence[Mapping[str, Any]]
"""Rows by the names of their columns, values as the driver gives them."""


class LookupSource(NamedTuple):
    """Where rows are: in ``table`` (``name`` or ``schema.name``), or they are what ``query`` gives for the parameter
    ``:keys``. ``columns`` are those that are wanted beside the ``key``; None: all there are."""

    key: tuple[str, ...]
    columns: tuple[str, ...] | None = None
    table: str | None = None
    query: str | None = None


class Finder(ABC):
    """Asks for the rows of many keys at once."""

    @abstractmethod
    async def find(self, keys: Sequence[tuple[Any, ...]]) -> Found:
        """All rows whose key columns have these values, in any order; more than were asked for do no harm.

        A key is texts, numbers, booleans, bytes, lists and objects; one that the far side cannot hold has no rows.
        May be cancelled. Raises :class:`core.errors.Unavailable` with the reason where nothing was found out.
        """
