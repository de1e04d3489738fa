"""Which jq programs run within the service, what they give, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from rules.functions import FunctionError, Host, functions_for
from rules.functions.base import Refusal
from rules.functions.jq_cost import cost

LENGTH = 300
"""Of a usual payload."""


@pytest.mark.parametrize(
    "program",
    [
        ".",
        '.a.b[0]?."c d"',
        ".a | .[] | .b",
        "map(.value * 1.8 + 32)",
        '{station: .id, kw: (.power / 1000), ts, "x y": .z, (.k): 1, if: 2, import: 3}',
        "[.a, .b, .c, .d, .e] | add",
        'if .a > 1 and (.b | not) then "hot" elif .c == null then "no" else .d // "none" end',
        '"\\(.a)-\\(.b | tostring) \\"quoted\\" ("',
        ". as {a: $x, b: [$y]} | $x + $y",
        'try error("x") catch .',
        "to_entries | map(select(.value != null)) | from_entries",
        '@base64 "x\\(.a)"',
        "# a comment with def f: f;\n.",
        ".[2:4]",
        "..|numbers",
        "[.[] | .x] | sort | unique | length",
        "group_by(.a) | map({k: .[0].a, n: length})",
    ],
)
def test_what_is_finite(program: str) -> None:
    found = cost(program)
    assert found is not None
    assert found.fits(LENGTH + len(program))


@pytest.mark.parametrize(
    "program",
    [
        "def f: f; f",
        "range(1e9)",
        "repeat(.)",
        "[limit(3; repeat(1))]",
        "while(true; .)",
        "until(false; .)",
        "recurse(.)",
        'reduce .[] as $x ("a"; . + .)',
        "foreach .[] as $x (0; . + $x)",
        "label $out | break $out",
        "env.PATH",
        "$ENV",
        "$ ENV.X",
        "input",
        "halt",
        "debug",
        ".a = 1",
        ".[1000000000] |= 1",
        'test("(a+)+$")',
        "[.[] | implode]",
        '"a" * .n',
        '"a" * 1000000000',
        "@base64d",
        '"\\(range(10))"',
        "no_such_builtin",
        ". ?// .",
        "x::y",
        ".a)",
        "(.a",
        "\u00e9",
        ".a]",
    ],
)
def test_what_is_not_or_is_not_known(program: str) -> None:
    assert cost(program) is None


@pytest.mark.parametrize(
    "program",
    [
        ".+." + "|.+." * 30,
        ".,." + "|.,." * 30,
        '"a" * 1000 * 1000 * 1000',
        ".[]|.[]|.[]|.[]",
        "[.[] as $a | .[] as $b | .[] as $c | $a + $b + $c]",
        "tojson" + "|tojson" * 30,
        "@html" + "|@html" * 10,
        "(.,.)" + "|(.,.)" * 30,
        "[.,.,.,.]" + "|[.,.,.,.]" * 15,
        "[.[] as $a | .[] as $b | .[] as $c | 1] | map(map(.))",
        "map(map(map(map(.))))",
        "{a: .[], b: .[], c: .[], d: .[]}",
        "[.[] + .[] + .[] + .[]]",
        '"\\(.)\\(.)"' + '|"\\(.)\\(.)"' * 30,
    ],
)
def test_what_is_finite_and_too_much(program: str) -> None:
    found = cost(program)
    assert found is not None
    assert not found.fits(LENGTH + len(program))


def test_large_inputs_are_not_for_the_service() -> None:
    found = cost("map(.a)")
    assert found is not None
    assert found.fits(100_000)
    assert not found.fits(10_000_000)


@pytest.mark.parametrize(
    ("program", "word"),
    [
        ('import "a" as a; .', "import"),
        ('include "a"; .', "include"),
        ('"a" | modulemeta', "modulemeta"),
        ('"\\(input_filename)"', "input_filename"),
        ('# x \\\n"\nimport "x" as x; .', "a comment"),
        ('"abc', "does not end"),
    ],
)
def test_files_are_out_of_reach(program: str, word: str) -> None:
    with pytest.raises(Refusal, match=word):
        cost(program)


class Recording:
    """A runner that runs nothing."""

    def __init__(self, answer: str | Exception = "") -> None:
        self.answer = answer
        self.asked: list[Any] = []

    def run(self, program: str, document: str, seconds: float) -> str:
        self.asked.append((program, document, seconds))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def check(self, program: str, seconds: float) -> None:
        self.run(program, "", seconds)


def test_outputs_and_inputs() -> None:
    jq = functions_for(Host())["jq"].call
    assert jq(".[]", [1, "a\n", None, {"b": 1.5}]) == [1, "a\n", None, {"b": 1.5}]
    assert jq(".+1", b"5") == [6]
    assert jq(".a", '{"a": 12345678901234567890}') == [12345678901234567168]
    assert jq("empty", "1") == []


def test_errors_say_program_and_input() -> None:
    jq = functions_for(Host())["jq"].call
    with pytest.raises(FunctionError) as caught:
        jq(".a | .[]", '{"a": null}')
    assert caught.value.code == "jq_exception"
    assert str(caught.value) == 'jq(): Cannot iterate over null (null); program .a | .[], input {"a": null}'
    for program, document, message in [
        (".a 1", "1", "line 1, column 4"),
        (".", "{", "Unfinished JSON"),
        (".", " ", "there is no JSON"),
        ("." * 5_000, "1", "the limit is"),
        (".\0", "1", "NUL"),
    ]:
        with pytest.raises(FunctionError, match=message):
            jq(program, document)


def test_what_may_take_long_goes_to_the_runner() -> None:
    runner = Recording("1\n[2]")
    jq = functions_for(Host(jq=runner, jq_timeout=2.0))["jq"].call
    assert jq("range(2)", {"a": 1}) == [1, [2]]
    assert jq("range(2)", "1", 500) == [1, [2]]
    assert jq("range(2)", "1", 10_000) == [1, [2]]
    assert runner.asked == [("range(2)", '{"a":1}', 2.0), ("range(2)", "1", 0.5), ("range(2)", "1", 2.0)]
    assert jq("map(.)", [0] * 600_000) == [1, [2]]
    runner.answer = Refusal("broken")
    with pytest.raises(FunctionError, match="broken; program range"):
        jq("range(2)", "1")
    with pytest.raises(FunctionError, match="no process here"):
        functions_for(Host())["jq"].call("range(2)", "1")
    with pytest.raises(FunctionError, match="must not be negative"):
        jq("range(2)", "1", -1)


def test_a_program_that_overran_rests() -> None:
    runner = Recording(TimeoutError())
    jq = functions_for(Host(jq=runner))["jq"].call
    with pytest.raises(FunctionError, match=r"timeout after 0.9 s; program def f: f; f # rests, input 1"):
        jq("def f: f; f # rests", "1", 900)
    with pytest.raises(FunctionError, match="rests, as it took longer"):
        jq("def f: f; f # rests", "1", 900)
    assert len(runner.asked) == 1


def test_constant_programs_are_checked() -> None:
    runner = Recording()
    check = functions_for(Host(jq=runner))["jq"].signatures[0][0].check
    assert check is not None
    check(".a")
    check(5)
    check("range(2)")
    assert len(runner.asked) == 1
    with pytest.raises(Refusal, match="syntax error"):
        check(".a 1")
    runner.answer = TimeoutError()
    with pytest.raises(Refusal, match="to compile"):
        check('"a" * 1000000000')
