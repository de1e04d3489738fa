"""The documentation is true: links lead somewhere, commands exist, files in it are right.

A code block with a title (```` ```toml title="headrace.toml" ````) is a whole file. The titled files of a page are
laid out in a folder in their order, later ones replacing earlier ones, and checked as `headrace check` would, with the
environment that the `$ export NAME=value` lines of its console blocks make. Tests of rules among them are run.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from headrace.cli import build_parser, main
from rules.compiler import RuleSource, compile_rules
from rules.format import format_rules

ROOT = Path(__file__).resolve().parent.parent
GUIDES = [
    ROOT / "README.md",
    ROOT / "docs/README.md",
    ROOT / "benchmarks/README.md",
    *sorted(ROOT.glob("examples/*/README.md")),
    *sorted(ROOT.glob("docs/tutorial/*.md")),
    *sorted(ROOT.glob("docs/howto/*.md")),
    *sorted(ROOT.glob("docs/concepts/*.md")),
]
PAGES = sorted({*GUIDES, *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md"), *ROOT.glob("*.md")})

_BLOCK = re.compile(
    r"^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"(?<!!)\[[^\]\[]*(?:\[[^\]]*\][^\]\[]*)?\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_EXPORT = re.compile(r"^\$ export (\w+)=(\S+)", re.MULTILINE)
_INLINE_COMMAND = re.compile(r"`headrace ([a-z]+)\b")


class Block(NamedTuple):
    language: str
    title: str | None
    text: str


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    return [Block(found["language"], found["title"], found["text"]) for found in _BLOCK.finditer(page.read_text())]


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def console_commands(page: Path) -> Iterator[list[str]]:
    """The arguments of every `$ headrace ...` line, up to a pipe, a redirection or an `&`."""
    for block in blocks(page):
        if block.language != "console":
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                lexer = shlex.shlex(line[2:], posix=True, punctuation_chars="|<>&;")
                lexer.whitespace_split = True
                words: list[str] = []
                for word in [*lexer, ";"]:
                    if not set(word) <= set("|<>&;"):
                        words.append(word)
                        continue
                    if words[:1] == ["headrace"]:
                        yield words[1:]
                    words = []


def test_there_is_something_to_test():
    assert len(GUIDES) >= 12
    assert sum(len(list(console_commands(page))) for page in GUIDES) >= 15


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path):
    text = _BLOCK.sub("", page.read_text())
    for target in _LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target} does not exist"
        if fragment and there.suffix == ".md":
            assert fragment in [anchor(heading) for heading in _HEADING.findall(there.read_text())], target


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_commands_exist(page: Path):
    parser = build_parser()
    for arguments in console_commands(page):
        try:
            parser.parse_args(arguments)
        except SystemExit:
            pytest.fail(f"headrace {shlex.join(arguments)} is no command")
    known = next(action for action in parser._subparsers._group_actions).choices
    for command in _INLINE_COMMAND.findall(page.read_text()):
        assert command in known, f"headrace {command} is no command"


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_settings_and_rules_are_right(
    page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    files = 0
    for block in blocks(page):
        if block.language == "console":
            for name, value in _EXPORT.findall(block.text):
                monkeypatch.setenv(name, value)
        if block.language == "toml":
            tomllib.loads(block.text)
        if block.title is None or block.language not in ("toml", "sql", "csv"):
            continue
        files += 1
        path = tmp_path / block.title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        if block.language == "sql":
            compile_rules([RuleSource(block.title, block.text)])
    config = tmp_path / "headrace.toml"
    if config.exists():
        assert main(["check", "-c", str(config)]) == 0, capsys.readouterr().err
    elif files:
        pytest.fail("rules without a configuration to check them with")
    tests = [str(path) for path in tmp_path.rglob("*.test.toml")]
    if tests:
        assert main(["test", *tests]) == 0, capsys.readouterr().out


def test_the_output_of_tests_in_the_guides_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    page = ROOT / "docs/howto/test-rules.md"
    for block in blocks(page):
        if block.title is not None:
            path = tmp_path / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
    monkeypatch.chdir(tmp_path)
    assert main(["test"]) == 0
    assert capsys.readouterr().out in page.read_text()
    file = tmp_path / "rules/meter.test.toml"
    file.write_text(file.read_text().replace("kw = 7.4", "kw = 7"))
    assert main(["test", "-k", "kilowatts"]) == 1
    assert capsys.readouterr().out.rpartition("\n0 passed")[0] in page.read_text()


def test_the_rule_of_the_guide_to_rule_files_is_formatted_and_explained():
    page = ROOT / "docs/howto/rule-files.md"
    sql = [block.text.partition("\n") for block in blocks(page) if block.language == "sql"]
    texts = {heading: text for heading, _, text in sql}
    assert format_rules("alarms.sql", texts["-- before"]).text == texts["-- after"]
    [rule] = compile_rules([RuleSource("rules/alarms.sql", texts["-- after"])]).rules
    assert rule.explain() in page.read_text()


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_python_in_the_guides_runs(page: Path):
    namespace: dict[str, Any] = {"__name__": "guide"}
    for block in blocks(page):
        if block.language == "python" and block.title is not None:
            exec(compile(block.text, f"{name_of(page)}:{block.title}", "exec"), namespace)  # noqa: S102
    for suite in [value for name, value in namespace.items() if name.startswith("Test")]:
        for name in [name for name in dir(suite) if name.startswith("test_")]:
            tests = suite()
            tests.setup_method()
            getattr(tests, name)()
