"""The JSON-lines contract of ``headrace eval``: one answer a line, whatever comes."""

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cli import main
from headrace.evaluation import answer, evaluate_lines


def ask(request: Any, *, drop_missing: bool = False) -> Any:
    line = request if isinstance(request, bytes) else json.dumps(request).encode()
    text = answer(line, drop_missing=drop_missing)
    assert b"\n" not in text
    return json.loads(text)


def query(sql: str, payload: Any = "", **columns: Any) -> dict[str, Any]:
    return {"id": 1, "sql": sql, "input": {"topic": "t/a", "payload": payload, **columns}}


@pytest.mark.parametrize(
    ("request_", "rows"),
    [
        (query('SELECT payload.x AS x FROM "t/#"', '{"x": 1}'), [{"x": 1}]),
        (query('SELECT payload.x AS x FROM "t/#"', {"x": [1, None]}), [{"x": [1, None]}]),
        (query('SELECT payload AS p FROM "t/#"', '{"x":1}'), [{"p": '{"x":1}'}]),
        (query('SELECT clientid, anything FROM "t/#"', clientid="c", anything=5), [{"clientid": "c", "anything": 5}]),
        (query('SELECT 1 AS a FROM "t/#" WHERE 1 = 2'), []),
        (query('SELECT payload.nothing AS n FROM "t/#"', "{}"), [{"n": "undefined"}]),
        (query("SELECT bin2hexstr('a') AS h FROM \"t/#\""), [{"h": "61"}]),
        (query("SELECT hexstr2bin('FF') AS raw FROM \"t/#\""), [{"raw": {"$hex": "FF"}}]),
    ],
)
def test_rows(request_: dict[str, Any], rows: list[Any]) -> None:
    assert ask(request_) == {"id": 1, "rows": rows}


def test_missing_values_are_left_out_on_request() -> None:
    request = query('SELECT payload.nothing AS n, 1 AS a FROM "t/#"', "{}")
    assert ask(request, drop_missing=True) == {"id": 1, "rows": [{"a": 1}]}


@pytest.mark.parametrize(
    ("request_", "identity", "stage"),
    [
        (b"not json\n", None, "parse"),
        (b"\n", None, "parse"),
        (b"\xff\xfe\n", None, "parse"),
        (b"[1]\n", None, "parse"),
        (b"[" * 100_000 + b"\n", None, "parse"),
        ({"id": "x"}, "x", "parse"),
        ({"id": {"a": 1}, "sql": 3}, {"a": 1}, "parse"),
        ({"id": 1, "sql": "SELECT 1", "input": []}, 1, "parse"),
        (query("SELEC 1"), 1, "parse"),
        (query('SELECT nofunction(1) FROM "t"'), 1, "bind"),
        (query('SELECT payload.x AS x FROM "t"', "not json"), 1, "run"),
    ],
)
def test_errors(request_: Any, identity: Any, stage: str) -> None:
    found = ask(request_)
    assert found["id"] == identity
    assert set(found) == {"id", "error"}
    assert found["error"]["stage"] == stage
    assert found["error"]["code"]
    assert found["error"]["message"]


def test_a_line_for_a_line_in_their_order() -> None:
    lines = [b'{"id": 1}\n', b"\n", b"x\n", json.dumps(query('SELECT 1 AS a FROM "t"')).encode()]
    output = io.BytesIO()
    assert evaluate_lines(io.BytesIO(b"".join(lines)), output, drop_missing=False) == 0
    answers = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [found["id"] for found in answers] == [1, None, None, 1]
    assert answers[3] == {"id": 1, "rows": [{"a": 1}]}


@given(st.binary())
def test_any_bytes_get_an_answer(line: bytes) -> None:
    found = ask(line)
    assert "error" in found


@given(st.text())
def test_any_statement_gets_an_answer(sql: str) -> None:
    found = ask(query(sql))
    assert ("rows" in found) != ("error" in found)
    assert found.get("error", {}).get("code") != "internal-error"


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    sql = 'SELECT topic, clientid, payload.x AS x FROM "t/#"'
    assert main(["eval", sql, "--topic", "t/1", "--payload", '{"x": 2}', "--clientid", "c"]) == 0
    assert json.loads(capsys.readouterr().out) == {"topic": "t/1", "clientid": "c", "x": 2}


def test_the_command_with_a_statement_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "SELECT 1 +"]) == 1
    assert "error[syntax]" in capsys.readouterr().err
    assert main(["eval", 'SELECT payload.x AS x FROM "t"', "--payload", "{"]) == 1
    assert "JSON" in capsys.readouterr().err
