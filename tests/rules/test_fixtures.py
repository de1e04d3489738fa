"""Golden files, one folder a pass: ``NAME.sql`` is the input, ``NAME.txt`` what the pass makes of it.

The folder ``codes`` has one file for each code of a diagnostic, named after it. ``ACCEPT=1 pytest
tests/rules/test_fixtures.py`` writes the expected files anew; the diff is the review.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlglot import exp

from core.errors import RuleError
from rules.bind import Binder
from rules.codes import CODES, PAGE
from rules.columns import MESSAGE_COLUMNS
from rules.compiler import CompiledRule, RuleSource, compile_rules
from rules.diagnostics import Problems, Source
from rules.evaluate import EvalError, evaluate
from rules.format import format_rules
from rules.functions import builtin_functions
from rules.joins.bound import CompiledJoin
from rules.statements import parse
from rules.tree import Ref
from rules.types import Types

FIXTURES = Path(__file__).parent / "fixtures"
TARGETS = ("meter_out", "s")


def lisp(node: object, indent: str = "") -> str:
    """A tree as nested parentheses, independent of how sqlglot prints."""
    if isinstance(node, list):
        return "".join(lisp(item, indent) for item in node)
    if not isinstance(node, exp.Expression):
        return f" {node!r}"
    if isinstance(node, exp.Identifier | exp.Literal | exp.Boolean):
        return f"\n{indent}{type(node).__name__} {node.this!r}"
    given = {name: value for name, value in node.args.items() if value not in (None, [])}
    inner = "".join(f"\n{indent}  {name}:" + lisp(value, indent + "    ") for name, value in given.items())
    return f"\n{indent}{type(node).__name__}{inner}"


def parsed(sql: str) -> str:
    problems = Problems(Source("rules/test.sql", sql))
    trees = [f"line {statement.line}{lisp(statement.tree)}" for statement in parse(problems)]
    assert not problems.found, problems.found[0].render()
    return "\n\n".join(trees)


def typed(sql: str) -> str:
    problems = Problems(Source("rules/test.sql", sql))
    lines = []
    for statement in parse(problems):
        query = Binder(MESSAGE_COLUMNS, builtin_functions(), problems).query(statement.tree.expression)
        assert not problems.found, problems.found[0].render()
        types = Types.of_query(query)
        for name, index in query.outputs:
            static = types.of(Ref(index))
            lines.append(f"{name}: {static.type.value}{'' if static.certain else '?'}")
    return "\n".join(lines)


def each_query(show: Callable[[CompiledRule | CompiledJoin], str]) -> Callable[[str], str]:
    return lambda sql: "\n\n".join(filter(None, map(show, compile_rules([RuleSource("rules/test.sql", sql)]).queries)))


def errors(sql: str) -> str:
    with pytest.raises(RuleError) as caught:
        compile_rules([RuleSource("rules/test.sql", sql)], TARGETS)
    return str(caught.value)


PASSES: dict[str, Callable[[str], str]] = {
    "parse": parsed,
    "types": typed,
    "plans": each_query(lambda query: query.explain()),
    "codegen": each_query(lambda query: query.source_code.rstrip("\n")),
    "errors": errors,
    "format": lambda sql: format_rules("rules/test.sql", sql).text.rstrip("\n"),
    "codes": errors,
}


def inputs() -> Iterator[object]:
    for folder in PASSES:
        for path in sorted((FIXTURES / folder).glob("*.sql")):
            yield pytest.param(folder, path, id=f"{folder}/{path.stem}")


@pytest.mark.parametrize(("folder", "path"), list(inputs()))
def test_fixture(folder: str, path: Path) -> None:
    actual = PASSES[folder](path.read_text("utf-8")) + "\n"
    expected = path.with_suffix(".txt")
    if os.environ.get("ACCEPT") == "1":
        expected.write_text(actual, "utf-8")
    assert actual == expected.read_text("utf-8")
    assert actual == PASSES[folder](path.read_text("utf-8")) + "\n"


def test_every_expected_file_has_its_input() -> None:
    texts = {path.with_suffix("") for path in FIXTURES.rglob("*.txt")}
    assert texts == {path.with_suffix("") for path in FIXTURES.rglob("*.sql")}


CODE = re.compile(r"^error\[(.+?)\]: ", re.MULTILINE)


def test_every_code_has_its_golden_file_and_none_is_unused() -> None:
    golden = {path.stem: path.read_text("utf-8") for path in (FIXTURES / "codes").glob("*.txt")}
    assert golden.keys() == CODES.keys()
    for code, text in golden.items():
        assert code in CODE.findall(text)
    seen = {code for path in FIXTURES.rglob("*.txt") for code in CODE.findall(path.read_text("utf-8"))}
    assert seen == CODES.keys()


def test_every_diagnostic_ends_with_its_place_in_the_documentation() -> None:
    for path in [*(FIXTURES / "codes").glob("*.txt"), *(FIXTURES / "errors").glob("*.txt")]:
        for said in path.read_text("utf-8").rstrip("\n").split("\n\n"):
            assert said.splitlines()[-1].endswith(f" = docs: {PAGE}#{CODE.findall(said)[0]}")


def test_what_eval_says_has_no_links() -> None:
    with pytest.raises(EvalError) as caught:
        evaluate("SELECT uper(1)", {})
    assert "= docs:" not in str(caught.value)
    assert str(caught.value.diagnostics[0]).startswith(f"{caught.value}\n")
