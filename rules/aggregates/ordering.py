"""ORDER BY within a call of an aggregate: how two rows compare. Values have the order of comparisons, nulls are greater
than all of them unless the query says otherwise (as in PostgreSQL)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rules.aggregates.base import OrderBy, Ordering, is_null
from rules.functions.ordering import term_order


def ordering(terms: Sequence[OrderBy]) -> Ordering:
    """The comparison of two tuples with a value for each term."""
    flags = [(term.desc, term.desc if term.nulls_first is None else term.nulls_first) for term in terms]

    def compare(one: Any, two: Any) -> int:
        for left, right, (desc, nulls_first) in zip(one, two, flags, strict=True):
            absent, other = is_null(left), is_null(right)
            if absent or other:
                if absent and other:
                    continue
                return -1 if absent is nulls_first else 1
            order = term_order(left, right)
            if order:
                return -order if desc else order
        return 0

    return compare
