"""The reference pages of the language are true: every line ``expression -- value`` of their SQL blocks is run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from formats.json import encode_document
from rules.compiler import RuleSource, compile_rules
from rules.evaluate import EvalError, evaluate
from rules.options import DEFAULT, OPTIONS

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
PAGES = ("expressions.md", "emqx-differences.md")
_BLOCK = re.compile(r"^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PAYLOAD = re.compile(r"^```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINE = re.compile(r"(?P<sql>.+?) +-- (?P<value>.+)")


def examples() -> Iterator[Any]:
    for page in PAGES:
        text = (REFERENCE / page).read_text()
        payload = _PAYLOAD.search(text)
        assert payload is not None
        for block in _BLOCK.findall(text):
            for line in block.splitlines():
                found = _LINE.fullmatch(line)
                assert found is not None, line
                yield pytest.param(
                    found["sql"].strip(), found["value"], payload[1], id=f"{page}: {found['sql'].strip()}"
                )


def outcome(sql: str, payload: str) -> str:
    """The value of an expression, or the rows of a statement, as JSON; of what fails the code."""
    whole = sql.upper().startswith(("SELECT ", "FOREACH "))
    columns = {
        "payload": payload,
        "topic": "cp/1/meter",
        "qos": 1,
        "clientid": "CP-1",
        "timestamp": 1767225600000,
    }
    try:
        rows = evaluate(sql if whole else f'SELECT {sql} AS x FROM "t"', columns)  # noqa: S608 - our own examples
    except EvalError as error:
        return f"error {error.reason or error.code}"
    return encode_document(rows if whole else rows[0]["x"]).decode()


@pytest.mark.parametrize(("sql", "value", "payload"), list(examples()))
def test_example(sql: str, value: str, payload: str) -> None:
    actual = outcome(sql, payload)
    if value.startswith("error "):
        assert actual == value
    else:
        assert not actual.startswith("error "), actual
        assert json.loads(actual) == json.loads(value)
        assert actual == value


def test_the_page_of_rules_has_every_option_with_its_default() -> None:
    page = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", (REFERENCE / "rules.md").read_text(), re.MULTILINE))
    assert set(OPTIONS) <= page.keys()
    for name in OPTIONS:
        usual = page[name].strip("`")
        if usual not in ("none", "''"):
            option = "" if name == "on_error" else ", on_error = 'disable'"
            rule_text = 'CREATE RULE r WITH ({}{}) AS INSERT INTO s SELECT 1 AS x FROM "t"'
            sql = rule_text.format(f"{name} = {usual}", option)
            [rule] = compile_rules([RuleSource("rules.md", sql)]).rules
            assert getattr(rule.options, name) == getattr(DEFAULT, name), name
