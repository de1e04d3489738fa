"""qos(), topic(2), payload('a.b'): columns of the message by another name."""

from __future__ import annotations

from typing import Any

import pytest

from core.message import MISSING
from rules.bind_message import MESSAGE_FUNCTIONS
from rules.compiler import RuleSource, compile_rules
from rules.evaluate import EvalError, evaluate
from rules.functions.extension import RESERVED

COLUMNS = {
    "id": "0123",
    "clientid": "c1",
    "username": "u1",
    "peerhost": "10.0.0.1",
    "topic": "/a/b",
    "qos": 1,
    "flags": {"retain": True, "dup": False},
    "payload": '{"a": {"b": [5]}, "name": "a.b"}',
}


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("msgid()", "0123"),
        ("qos()", 1),
        ("flags()", {"retain": True, "dup": False}),
        ("flag('retain')", True),
        ("flag('none')", MISSING),
        ("flag(concat('re', 'tain'))", True),
        ("flag(lower(payload.name))", MISSING),
        ("topic()", "/a/b"),
        ("topic(1)", ""),
        ("topic(3)", "b"),
        ("clientid()", "c1"),
        ("clientip()", "10.0.0.1"),
        ("peerhost()", "10.0.0.1"),
        ("username()", "u1"),
        ("payload()", COLUMNS["payload"]),
        ("payload('a.b')", [5]),
        ("payload('a.x')", MISSING),
        ("payload(payload.name)", [5]),
    ],
)
def test_in_a_field(call: str, value: Any) -> None:
    assert evaluate(f'SELECT {call} AS x FROM "t"', COLUMNS) == [{"x": value}]  # noqa: S608


def test_in_conditions_and_foreach() -> None:
    assert evaluate("SELECT 1 AS x FROM \"t\" WHERE qos() = 1 AND topic(2) = 'a' AND flag('retain')", COLUMNS)
    sql = "FOREACH payload('a.b') AS n DO n, qos() AS q INCASE n > qos() FROM \"t\" WHERE clientid() = 'c1'"
    assert evaluate(sql, COLUMNS) == [{"n": 5, "q": 1}]


def test_an_alias_does_not_hide_the_message() -> None:
    assert evaluate('SELECT 7 AS qos, qos() AS q, qos + 1 AS r FROM "t"', COLUMNS) == [{"qos": 7, "q": 1, "r": 8}]


def test_what_the_message_lacks() -> None:
    calls = "qos() AS q, flags() AS f, flag('dup') AS d, topic(1) AS t, payload('a') AS p"
    row = {"q": MISSING, "f": {}, "d": MISSING, "t": MISSING, "p": MISSING}
    assert evaluate(f'SELECT {calls} FROM "t"', {"x": 1}) == [row]  # noqa: S608


def test_a_position_outside_is_refused() -> None:
    with pytest.raises(EvalError, match="position an integer \\(4\\) is not from 1 to 3"):
        evaluate('SELECT topic(4) AS x FROM "t"', COLUMNS)


def test_they_are_the_columns_themselves() -> None:
    sql = """INSERT INTO s SELECT qos() AS q, payload('a.b') AS p FROM "t" WHERE clientid() = 'c1'"""
    same = """INSERT INTO s SELECT qos AS q, payload.a.b AS p FROM "t" WHERE clientid = 'c1'"""
    [one], [two] = (compile_rules([RuleSource("r.sql", text)]).rules for text in (sql, same))
    assert one.source_code == two.source_code
    assert one.explain() == two.explain()


def test_no_package_may_take_their_names() -> None:
    assert set(MESSAGE_FUNCTIONS) == RESERVED
