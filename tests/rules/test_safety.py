"""What a rule's author writes never becomes code: names, texts and functions are reached through constants.

Generated source is read as Python's own parser reads it, for hostile names in every place that takes one. It may
hold names that the code generator chose, numbers, and the attributes that the columns and helpers use; no texts at all.
"""

from __future__ import annotations

import ast
import builtins
import io
import tokenize
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import RuleError
from core.message import Message, Publisher
from core.metrics import Metrics
from rules.codegen import program
from rules.compiler import CompiledRule, RuleSource, compile_rules
from rules.limits import DEFAULT, helpers
from rules.runtime import Engine

# ruff: noqa: S608 - SQL from strings is what is tested here

HOSTILE = (
    "__import__('os').system('true')",
    "a'); import os #",
    "'''\"\"\"'",
    "line\nbreak\r\n    import os",
    "\u2028\u2029\x0c\x1c import os",
    "__builtins__",
    "__class__.__base__.__subclasses__()",
    "{m.__class__}",
    "\\N{DIGIT ONE}\\x41\\",
    "MISSING",
    "messages",
    "k0",
    "d1",
    "NAME",
    "\ud800",
    "\U0001f600 \u202e",
    "\0",
    "# -*- coding: utf-7 -*-",
)
ATTRIBUTES = frozenset(
    {
        *("append", "get", "fields"),
        *("columns", "document", "match", "payload", "properties", "publisher", "qos", "received_ns", "topic"),
        *("client_id", "hops", "peer", "rule", "username", "retain", "dup"),
    }
)


def name(text: str) -> str:
    """A quoted name; a double quote inside cannot be written."""
    return '"' + text.replace('"', "") + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "") + "'"


STATEMENTS = (
    """CREATE RULE {name} WITH (description = {text}) AS INSERT INTO {name}
    SELECT payload.{name} AS {name}, payload.a.{name}[1].{name} AS x.{name}, {text} AS lit,
    {{{text}: 1, {name}: qos}} AS o
    FROM {topic} WHERE payload.{name} = {text} OR payload.b LIKE {text} OR topic =~ 't'""",
    """INSERT INTO o FOREACH payload.{name} AS {name} DO {name}.{name} AS {name}, upper({name}.x) AS u
    INCASE {name}.y != {text} FROM {topic}""",
    """INSERT INTO o SELECT * REPLACE ({text} AS topic), CASE payload.{name} WHEN {text} THEN 1 END AS {name},
    COALESCE(payload.{name}, {text}) AS c, payload.{name} IN ({text}, 1) AS i FROM {topic}""",
)


def rules(text: str) -> list[CompiledRule]:
    """Rules with the text as a name, a key, an alias, a literal, a pattern, a topic and an option."""
    topic = text.replace("\0", "").replace("#", "").replace("+", "").replace('"', "") or "t"
    found: list[CompiledRule] = []
    for statement in STATEMENTS:
        sql = statement.format(name=name(text), text=literal(text), topic=name(topic))
        try:
            found += compile_rules([RuleSource("hostile.sql", sql)]).rules
        except RuleError as error:
            # Some texts are no topic: that is said of them, in their place.
            refused = {diagnostic.code for diagnostic in error.diagnostics}
            if not refused <= {"bad-topic-filter", "unsupported"}:
                raise
    return found


def check_source(rule: CompiledRule) -> None:
    """Nothing in the source comes from the author of the rule but its comments, of one line each and ASCII."""
    source = rule.source_code
    assert source.isascii()
    tree = ast.parse(source)
    [function] = tree.body
    assert isinstance(function, ast.FunctionDef)
    known = {
        "messages",
        "emit",
        "fail",
        "NAME",
        "NODE",
        *rule.parts[0].program.constants,
        *program._NAMESPACE,
        *helpers(DEFAULT, 1, unnests=True),
        *program._BUILTINS,
    }
    for node in ast.walk(function):
        if isinstance(node, ast.Constant):
            assert node.value is None or type(node.value) in (bool, int, float)
        elif isinstance(node, ast.Attribute):
            assert node.attr in ATTRIBUTES
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            assert node.id in ("m", "rows", "row", "item", "error", "passed") or node.id.rstrip("0123456789").isalpha()
            known.add(node.id)
        assert not isinstance(node, ast.Import | ast.ImportFrom | ast.Global | ast.Nonlocal | ast.Lambda | ast.While)
    read = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert read <= known | {"error"}
    lines = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    assert lines == set(range(1, len(lines) + 1))
    assert function.lineno == len(lines) + 1


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_stay_data(text: str) -> None:
    found = rules(text)
    assert found
    for rule in found:
        check_source(rule)


@settings(deadline=None)
@given(st.text(max_size=20) | st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=3).map("".join))
def test_any_name_stays_data(text: str) -> None:
    for rule in rules(text):
        check_source(rule)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_found_in_payloads(text: str) -> None:
    key = text.replace('"', "")
    statement = f'INSERT INTO o SELECT payload.{name(text)} AS {name(text)}, {literal(text)} AS lit FROM "t"'
    engine = Engine(Metrics())
    engine.load(compile_rules([RuleSource("hostile.sql", statement)]))
    message = Message("t", b"", publisher=Publisher("c"))
    message.document = {key: "found"}
    [batch] = engine.process([message], 0)
    assert batch.rows == [("found", text.replace("'", ""))]
    assert batch.schema.names == (key, "lit")


def test_generated_code_has_these_builtins_and_no_others() -> None:
    [rule] = compile_rules([RuleSource("x.sql", 'INSERT INTO o SELECT payload.a AS a FROM "t"')]).rules
    namespace: dict[str, Any] = rule.parts[0].program.instantiate("node").__globals__  # type: ignore[attr-defined]
    assert set(namespace["__builtins__"]) == {
        *("bool", "int", "float", "str", "bytes", "list", "dict", "Exception", "len", "type"),
    }
    for dangerous in (
        "__import__",
        "eval",
        "exec",
        "compile",
        "open",
        "getattr",
        "setattr",
        "globals",
        "vars",
        "input",
    ):
        assert hasattr(builtins, dangerous)
        with pytest.raises(NameError):
            exec(compile(dangerous, "<test>", "eval"), namespace)  # noqa: S102 - it is to fail


def test_rules_cannot_change_one_another() -> None:
    sources = [RuleSource("x.sql", f'INSERT INTO o SELECT payload.a AS "{key}" FROM "t"') for key in ("one", "two")]
    one, two = (rule.parts[0].program.instantiate("node").__globals__ for rule in compile_rules(sources).rules)  # type: ignore[attr-defined]
    assert one is not two
    assert one["__builtins__"] is not two["__builtins__"]
