"""What rules keep: kv_store_* for the service, proc_dict_* for a connection, both bounded."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from core.message import MISSING, Message, Publisher
from core.metrics import Metrics
from rules.compiler import RuleSource, compile_rules
from rules.functions import FunctionError, Host, functions_for
from rules.functions.base import Refusal
from rules.functions.memory import Table, size_of
from rules.runtime import Engine


@pytest.mark.parametrize(
    ("one", "two"), [(1, 1.0), (1, True), (0, False), ("1", 1), (None, "null"), ([1], "[1]"), ({"a": 1}, '{"a":1}')]
)
def test_keys_are_terms(one: Any, two: Any) -> None:
    table = Table("t", 10, 10_000)
    table.put(one, "one")
    assert table.get(two) is MISSING
    table.put(two, "two")
    assert (table.get(one), table.get(two), len(table)) == ("one", "two", 2)


def test_put_gives_the_value_before_and_nothing_is_kept_of_what_is_missing() -> None:
    table = Table("t", 10, 10_000)
    assert table.put("k", 1) is MISSING
    assert table.put("k", None) == 1
    assert table.get("k", "default") is None
    assert table.put("k", MISSING) is None
    assert (len(table), table.bytes, table.get("k", "default")) == (0, 0, "default")
    assert table.delete("k") is MISSING


def test_what_does_not_fit_is_refused_and_counted() -> None:
    table = Table("kv_store", 2, 1_000)
    table.put("a", 1)
    table.put("b", 1)
    with pytest.raises(Refusal, match=r"the kv_store is full: 'c' would exceed 2 entries") as caught:
        table.put("c", 1)
    assert caught.value.code == "kv_store_full"
    table.put("b", "x" * 500)
    with pytest.raises(Refusal, match=r"'b' would exceed 1000 bytes"):
        table.put("b", "x" * 2_000)
    assert (len(table), table.refused, table.get("b")) == (2, 2, "x" * 500)
    table.delete("b")
    table.put("c", 1)
    before = table.bytes
    table.put("c", 2)
    assert table.bytes == before


def test_sizes_grow_with_values() -> None:
    sizes = [size_of(value) for value in (1, 2**200, "x" * 50, ["x" * 50], {"key": ["x" * 50]})]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == len(sizes)


def test_changes_are_noted_for_who_stores_the_table() -> None:
    table = Table("t", 3, 1_000, noting=True)
    assert table.load([("a", 1), (2, "b"), ({"k": 1}, [1]), ("too many", 1)]) == 1
    assert (table.take_changes(), table.refused) == ([], 0)
    table.put("a", 5)
    table.put("a", 6)
    table.delete(2)
    table.delete({"k": 1})
    table.delete("unknown")
    changes = table.take_changes()
    assert sorted(changes, key=repr) == sorted([("a", 6), (2, MISSING), ({"k": 1}, MISSING)], key=repr)
    assert table.take_changes() == []
    table.note(["a", 2])
    assert sorted(table.take_changes(), key=repr) == sorted([("a", 6), (2, MISSING)], key=repr)


def test_the_functions() -> None:
    functions = functions_for(Host(store=Table("kv_store", 2, 1_000)))
    put, get, delete = (functions[f"kv_store_{name}"].call for name in ("put", "get", "del"))
    assert put("k", {"a": 1}) is True
    assert (get("k"), get("x"), get("x", 5), delete("k"), get("k")) == ({"a": 1}, MISSING, 5, True, MISSING)
    for call in (lambda: put(MISSING, 1), lambda: get(MISSING), lambda: delete(MISSING)):
        with pytest.raises(FunctionError, match="the key must not be undefined"):
            call()
    assert functions["proc_dict_put"].needs_publisher
    assert not functions["kv_store_put"].needs_publisher


RULES = """
INSERT INTO s SELECT clientid, proc_dict_put('n', coalesce(proc_dict_get('n'), 0) + 1) AS before,
  kv_store_put(clientid, coalesce(kv_store_get(clientid), 0) + 1) AS put, kv_store_get(clientid) AS total FROM "t"
"""


class Rig:
    def __init__(self, host: Host) -> None:
        self.functions = functions_for(host)
        self.failures: list[Exception] = []
        self.engine = Engine(Metrics(), on_error=lambda _rule, _message, error: self.failures.append(error))
        self.load()

    def load(self) -> None:
        self.engine.load(compile_rules([RuleSource("r.sql", RULES)], functions=self.functions))

    def rows(self, *publishers: Publisher) -> list[tuple[Any, ...]]:
        messages = [Message("t", b"", publisher=publisher) for publisher in publishers]
        return [row for batch in self.engine.process(messages, 0) for row in batch.rows]


def test_state_is_per_connection_and_survives_a_reload() -> None:
    rig = Rig(Host())
    one, two, again = Publisher("c1"), Publisher("c2"), Publisher("c1")
    assert rig.rows(one, one, two) == [("c1", MISSING, True, 1), ("c1", 1, True, 2), ("c2", MISSING, True, 1)]
    rig.load()
    assert rig.rows(one, again) == [("c1", 2, True, 3), ("c1", MISSING, True, 4)]
    assert two.memory.get("n") == 1


def test_tables_of_connections_are_bounded() -> None:
    rig = Rig(Host(connection_entries=0))
    assert rig.rows(Publisher("c")) == []
    [failure] = rig.failures
    assert "the proc_dict is full" in str(failure)


def test_the_plan_shows_where_state_is_used() -> None:
    [rule] = compile_rules([RuleSource("r.sql", RULES)], functions=functions_for(Host())).rules
    assert "proc_dict_get(publisher, 'n')" in rule.explain()


@pytest.mark.parametrize("key", [float("nan"), Decimal("NaN"), Decimal("sNaN")])
def test_what_equals_nothing_is_no_key(key: float | Decimal) -> None:
    table = Table("t", 10, 10_000)
    with pytest.raises(Refusal, match="not a number"):
        table.put(key, 1)
    with pytest.raises(Refusal, match="not a number"):
        table.get(key)
    assert len(table) == 0
