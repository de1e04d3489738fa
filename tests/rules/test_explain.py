"""Plans and generated code are the same to the byte whenever and wherever they are made: goldens, hash seeds, files.

``ACCEPT=1 pytest tests/rules/test_explain.py`` writes the expected files anew; the diff is the review. Small cases of
every kind are in ``fixtures/plans`` and ``fixtures/codegen``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rules.compiler import CompiledRule, RuleSource, compile_rules
from rules.joins.bound import CompiledJoin

ROOT = Path(__file__).resolve().parents[2]
GOLDENS = Path(__file__).parent / "explained"
EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/*/rules"))
FILES = [*sorted(ROOT.glob("examples/*/rules/*.sql")), *sorted((GOLDENS.parent / "fixtures").glob("*/*.sql"))]


def queries_of(folder: Path) -> tuple[CompiledRule | CompiledJoin, ...]:
    files = sorted(folder.glob("rules/*.sql"))
    return compile_rules([RuleSource(str(path), path.read_text()) for path in files]).queries


def test_there_is_something_to_explain() -> None:
    assert EXAMPLES
    assert all(queries_of(folder) for folder in EXAMPLES)


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_every_rule_of_the_examples(folder: Path) -> None:
    actual = "\n\n".join(query.explain() for query in queries_of(folder)) + "\n"
    golden = GOLDENS / f"{folder.name}.txt"
    if os.environ.get("ACCEPT") == "1":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(actual, encoding="utf-8")
    assert actual == golden.read_text(encoding="utf-8")


def test_every_golden_has_its_example() -> None:
    assert {path.stem for path in GOLDENS.iterdir()} == {folder.name for folder in EXAMPLES}


def explained(seed: str, *arguments: str) -> bytes:
    """What ``headrace explain`` prints in a process whose sets and dictionaries are in the order of this seed."""
    right = [str(path) for path in FILES if path.parent.name in ("plans", "types", "codegen")]
    # The rules of an example know one another.
    groups = [*right, *(" ".join(map(str, sorted(folder.glob("rules/*.sql")))) for folder in EXAMPLES)]
    code = (
        "import sys; from headrace.cli import main\n"
        "sys.exit(max(main(['explain', *sys.argv[2:], *files.split()]) for files in sys.argv[1].split(chr(10))))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, "\n".join(groups), *arguments],
        env={**os.environ, "PYTHONHASHSEED": seed},
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, b"")
    return run.stdout


@pytest.mark.parametrize("arguments", [(), ("--code",)])
def test_the_order_of_sets_does_not_show(arguments: tuple[str, ...]) -> None:
    first, *others = (explained(seed, *arguments) for seed in ("0", "1", "4294967295"))
    assert len(first) > 5_000
    assert others == [first, first]


def test_blanks_comments_and_other_rules_do_not_show() -> None:
    sql = "INSERT INTO o SELECT payload.b AS b, payload.a AS a, qos FROM \"t\" WHERE payload.c > 0 AND topic != 'x'"
    [rule] = compile_rules([RuleSource("x.sql", sql)]).rules
    above, behind = "-- above\n\nINSERT INTO other SELECT 1 AS one FROM t;\n\n", " -- behind"
    moved = above + sql.replace(" ", "  ") + behind
    _, again = compile_rules([RuleSource("elsewhere/x.sql", moved)]).rules
    assert again.explain() == rule.explain()
    assert again.source_code == rule.source_code


def test_options_are_told_where_they_are_not_the_usual_ones() -> None:
    sql = "CREATE RULE r WITH ({}) AS INSERT INTO a, b SELECT topic FROM t"
    [plain] = compile_rules([RuleSource("x.sql", sql.format("enabled = true"))]).rules
    [odd] = compile_rules(
        [RuleSource("x.sql", sql.format("enabled = false, tags = 'x, y', description = 'it is'"))]
    ).rules
    assert plain.explain().startswith("rule r\ninsert into a, b\n  project\n")
    assert odd.explain().startswith(
        "rule r\nwith enabled = false, description = 'it is', tags = ['x', 'y']\ninsert into a, b\n  project\n"
    )
