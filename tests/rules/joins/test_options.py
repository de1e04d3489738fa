"""The options of lookup tables: what cannot be is refused with a text for the author."""

from __future__ import annotations

from typing import Any

import pytest

from rules.joins.options import LookupOptions
from rules.windows import PlanError

TABLE: dict[str, Any] = {"key": ("id",), "connection": "db", "table": "stations"}
FILE: dict[str, Any] = {"key": ("id",), "file": "stations.csv"}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"key": ("id",)}, "one of file, table and query: there is none"),
        ({**TABLE, "query": "SELECT 1"}, "not table and query together"),
        ({**FILE, "connection": "db"}, "a file needs no connection"),
        ({**TABLE, "connection": None}, "table needs a connection"),
        ({**TABLE, "key": ()}, "needs a key"),
        ({**TABLE, "key": ("a", "a")}, "twice in the key"),
        ({**TABLE, "table": None, "query": "SELECT * FROM t"}, r"WHERE id IN \(:keys\)"),
        ({**TABLE, "table": None, "query": "SELECT :keys", "key": ("a", "b")}, "a key of one column"),
        ({**TABLE, "ttl": -1}, "ttl must not be negative"),
        ({**TABLE, "negative_ttl": -1}, "negative_ttl must not be negative"),
        ({**TABLE, "timeout": 0}, "timeout must be greater than zero"),
        ({**TABLE, "max_entries": 0}, "max_entries is a number from 1"),
        ({**FILE, "max_parked": 10**9}, "max_parked is a number from 1"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(PlanError, match=complaint):
        LookupOptions(**options)


def test_a_file_is_static_and_a_database_is_not() -> None:
    assert LookupOptions(**FILE).is_static
    assert not LookupOptions(**TABLE).is_static
    assert not LookupOptions(**{**TABLE, "table": None, "query": "SELECT id FROM s WHERE id IN (:keys)"}).is_static
