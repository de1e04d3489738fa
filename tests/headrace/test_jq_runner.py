"""The process of jq programs: what it answers, what it cannot reach, and that it is stopped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace.jq_runner import JqProcess
from rules.functions import FunctionError, Host, functions_for
from rules.functions.base import MAX_RESULT, Refusal


@pytest.fixture
def jq() -> Iterator[JqProcess]:
    process = JqProcess()
    yield process
    process.close()


def test_outputs_are_lines_of_json(jq: JqProcess) -> None:
    assert jq.run('range(3), "a\\nb"', "null", 10) == '0\n1\n2\n"a\\nb"'
    assert jq.run("empty", "null", 10) == ""
    assert jq.run(".[0]", '["é"]', 10) == '"é"'


def test_errors_are_jqs(jq: JqProcess) -> None:
    with pytest.raises(Refusal, match=r"Cannot iterate over null \(null\)"):
        jq.run(".[]", "null", 10)
    with pytest.raises(Refusal, match="column 8"):
        jq.check("range(2 ", 10)
    with pytest.raises(Refusal, match="Unfinished JSON"):
        jq.run(".", "{", 10)
    jq.check("range(2)", 10)
    assert jq.restarts == 0


def test_neither_environment_nor_files(jq: JqProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_SECRET", "x")
    assert jq.run("env, $ENV", "null", 10) == "{}\n{}"
    assert jq.run("get_search_list", "null", 10) == "[]"
    with pytest.raises(Refusal, match="module not found"):
        jq.run('import "etc/passwd" as $x; .', "null", 10)


def test_a_program_that_does_not_end_is_killed_and_the_next_one_runs(jq: JqProcess) -> None:
    assert jq.run(".", "1", 10) == "1"
    with pytest.raises(TimeoutError):
        jq.run("def f: f; f", "1", 0.05)
    assert jq.restarts == 1
    assert jq.run("range(1)", "1", 10) == "0"


def test_output_and_memory_are_limited(jq: JqProcess) -> None:
    with pytest.raises(Refusal, match=f"more than {MAX_RESULT} characters"):
        jq.run('range(100) | "a" * 1000000', "1", 60)
    with pytest.raises(Refusal, match="needs too much memory"):
        jq.run('[range(100000) | "a" * 100000 | explode] | length', "1", 60)
    assert jq.run(".", "1", 10) == "1"


def test_a_process_that_died_is_replaced(jq: JqProcess) -> None:
    jq.run(".", "1", 10)
    assert jq._process is not None
    jq._process.kill()
    jq._process.wait()
    with pytest.raises(Refusal, match="jq ended"):
        jq.run(".", "1", 10)
    assert jq.run(".", "1", 10) == "1"


def test_large_texts_go_both_ways(jq: JqProcess) -> None:
    text = '"' + "x" * 3_000_000 + '"'
    assert jq.run(".", text, 60) == text


def test_the_function_uses_it(jq: JqProcess) -> None:
    call = functions_for(Host(jq=jq, jq_timeout=10))["jq"].call
    assert call("[range(.n)]", '{"n": 3}') == [[0, 1, 2]]
    with pytest.raises(FunctionError, match=r"timeout after 0.01 s"):
        call("def f: 1 | f; f", "1", 10)
