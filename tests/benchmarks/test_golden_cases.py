"""The program behind `make golden`: what counts as agreement, and when its exit status is not 0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.golden_cases import main, read_cases, read_known, same

GOOD: dict[str, Any] = {"id": "a", "kind": "rule", "sql": 'SELECT 1 AS x FROM "t"', "input": {}, "expected": {"x": 1}}
BAD: dict[str, Any] = {**GOOD, "id": "b", "expected": {"x": 2}}


def status(folder: Path, cases: list[dict[str, Any]], known: list[str], *options: str) -> int:
    (folder / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    (folder / "known.toml").write_text(f'[[known]]\nids = {json.dumps(known)}\nreason = "it is so"\n')
    return main([str(folder / "cases.jsonl"), "--in-process", "--known", str(folder / "known.toml"), *options])


def test_what_passes_and_what_is_known_is_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(tmp_path, [GOOD, BAD], ["b"]) == 0
    assert "b  it is so" in capsys.readouterr().out


def test_a_new_failure_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(tmp_path, [GOOD, BAD], []) == 1
    assert 'answer   {"rows": [{"x": 1}]}' in capsys.readouterr().out


def test_a_list_that_is_not_true_is_not(tmp_path: Path) -> None:
    assert status(tmp_path, [GOOD], ["a"]) == 1
    assert status(tmp_path, [GOOD], ["of another file"]) == 0


def test_a_rate_below_the_minimum_is_not(tmp_path: Path) -> None:
    assert status(tmp_path, [GOOD, BAD], ["b"], "--minimum", "50") == 0
    assert status(tmp_path, [GOOD, BAD], ["b"], "--minimum", "51") == 1


@pytest.mark.parametrize(
    ("line", "sentence"),
    [("{", "cases.jsonl:1: this line is not JSON"), ("[]", "lacks an object"), ('{"id": 1}', "lacks kind, sql, input")],
)
def test_a_file_that_is_none(tmp_path: Path, line: str, sentence: str) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text(line)
    with pytest.raises(SystemExit, match=sentence):
        read_cases(path)
    with pytest.raises(SystemExit, match="Name a file of cases: make golden CASES="):
        read_cases(tmp_path / "nowhere")


def test_every_known_failure_has_a_reason() -> None:
    known = read_known(Path(__file__).parents[2] / "benchmarks" / "golden_known.toml")
    assert known
    assert all(known.values())


@pytest.mark.parametrize(
    ("expected", "actual", "subset", "agrees"),
    [
        ({"a": 1}, {"a": 1.0}, False, True),
        ({"a": 1}, {"a": True}, False, False),
        ({"a": 1}, {"a": 1, "b": 2}, False, False),
        ({"a": 1}, {"a": 1, "b": 2}, True, True),
        ({"$any_key": 1}, {"x": 1}, False, True),
        ({"$undefined": True}, "undefined", False, True),
        ([{"$any": True}], [None], False, True),
    ],
)
def test_agreement(expected: Any, actual: Any, subset: bool, agrees: bool) -> None:
    assert same(expected, actual, subset=subset, tolerance=0) is agrees
