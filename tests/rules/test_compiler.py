"""Rule files: names, options, several files, all errors at once."""

from __future__ import annotations

import pytest

from core.errors import RuleError
from core.message import Schema, Type
from rules.codes import CODES
from rules.compiler import RuleSource, compile_rules
from rules.options import RuleOptions


def test_names_come_from_file_and_target_and_survive_edits() -> None:
    rule = 'INSERT INTO {} SELECT topic FROM "t";\n'
    text = rule.format("a") + rule.format("b") + rule.format("a")
    before = compile_rules([RuleSource("rules/meter.sql", text)])
    after = compile_rules([RuleSource("rules/meter.sql", "-- a comment\n\n" + text)])
    assert [found.name for found in before.rules] == ["meter.a", "meter.b", "meter.a.2"]
    assert [found.name for found in after.rules] == [found.name for found in before.rules]
    assert [found.line for found in after.rules] == [3, 4, 5]


def test_a_rule_knows_its_source() -> None:
    sql = 'CREATE RULE r WITH (description = \'why\', enabled = false) AS INSERT INTO a SELECT topic FROM "t/#", "u"'
    [rule] = compile_rules([RuleSource("x.sql", f"\n{sql};")]).rules
    assert (rule.name, rule.targets, rule.filters, rule.line) == ("r", ("a",), ("t/#", "u"), 2)
    assert rule.sql == sql
    assert rule.options == RuleOptions(enabled=False, description="why")
    assert rule.schema == Schema(("topic",), (Type.TEXT,))
    assert "def rule(messages, emit, fail):" in rule.source_code
    assert rule.explain().startswith("rule r\n")


def test_schemas_of_a_target() -> None:
    text = 'INSERT INTO a SELECT topic FROM "t"; INSERT INTO a SELECT topic FROM "u"; INSERT INTO a SELECT qos FROM "u"'
    rules = compile_rules([RuleSource("x.sql", text)])
    assert [schema.names for schema in rules.schemas_for("a")] == [("topic",), ("qos",)]
    assert rules.schemas_for("b") == []


def test_a_rule_with_several_targets() -> None:
    sources = [RuleSource("x.sql", 'INSERT INTO a, b SELECT topic FROM "t"; INSERT INTO a SELECT qos FROM "t";')]
    rules = compile_rules(sources, ["a", "b"])
    assert [(rule.name, rule.targets) for rule in rules.rules] == [("x.a", ("a", "b")), ("x.a.2", ("a",))]
    assert [schema.names for schema in rules.schemas_for("a")] == [("topic",), ("qos",)]
    assert [schema.names for schema in rules.schemas_for("b")] == [("topic",)]


@pytest.mark.parametrize("tags", ["'a, b,,a'", "['a', ' b']", "['b', 'a', 'b']"])
def test_tags_are_a_text_or_a_list(tags: str) -> None:
    sql = f"CREATE RULE r WITH (tags = {tags}, on_error = 'disable', disable_after = 7) AS INSERT INTO a SELECT 1 AS n"
    [rule] = compile_rules([RuleSource("x.sql", f'{sql} FROM "t"')]).rules
    assert sorted(rule.options.tags) == ["a", "b"]
    assert (rule.options.on_error, rule.options.disable_after) == ("disable", 7)


def test_all_errors_of_all_files_at_once() -> None:
    sources = [
        RuleSource("one.sql", 'INSERT INTO nowhere SELECT uper(topic) AS u FROM "t" WHERE tpic = 1; SELECT'),
        RuleSource("two.sql", 'CREATE RULE good AS INSERT INTO out SELECT topic FROM "t"'),
        RuleSource("three.sql", '\nCREATE RULE good AS INSERT INTO out SELECT topic FROM "t" WHERE topic'),
    ]
    with pytest.raises(RuleError) as caught:
        compile_rules(sources, ["out"])
    assert [(found.file, found.line, found.code) for found in caught.value.diagnostics] == [
        ("one.sql", 1, "unknown-target"),
        ("one.sql", 1, "unknown-function"),
        ("one.sql", 1, "unknown-column"),
        ("one.sql", 1, "syntax"),
        ("three.sql", 2, "duplicate-rule"),
        ("three.sql", 2, "not-boolean"),
    ]
    assert "two.sql:1" in str(caught.value)


def test_nothing_is_a_set_of_rules() -> None:
    assert compile_rules([]).rules == ()
    assert compile_rules([RuleSource("x.sql", "-- nothing yet\n;;")]).rules == ()


def test_a_very_long_file_is_refused() -> None:
    with pytest.raises(RuleError) as caught:
        compile_rules([RuleSource("x.sql", " " * 1_000_001)])
    assert caught.value.diagnostics[0].code == "too-complex"


def test_garbage_gives_a_bounded_number_of_errors() -> None:
    with pytest.raises(RuleError) as caught:
        compile_rules([RuleSource("x.sql", "? " * 10_000)])
    assert len(caught.value.diagnostics) == 20


def test_codes_are_described() -> None:
    assert all(meaning for meaning in CODES.values())
