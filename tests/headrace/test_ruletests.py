"""``headrace test``: the format, the running, the report, and what is said about files that are wrong."""

from __future__ import annotations

# ruff: noqa: S608 - SQL from strings is what is tested here
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree as ET

import pytest

from headrace.cli import main
from headrace.ruletests import command, values
from headrace.ruletests.report import FileOutcome, Report
from headrace.ruletests.steady import Steady
from rules.compiler import RuleSource, compile_rules
from rules.functions import builtin_functions, hostless_functions
from tests.headrace.live import TIMEOUT

Capture = pytest.CaptureFixture[str]

RULES = """\
CREATE RULE power AS
INSERT INTO meter SELECT clientid AS station, payload.power / 1000 AS kw FROM "cp/+/meter" WHERE payload.power > 0;
"""


class Bench:
    """A folder with rules, and ``headrace test`` in it."""

    def __init__(self, path: Path, capsys: Capture) -> None:
        self.path = path
        self._capsys = capsys
        self.output = self.errors = ""
        self.rules(RULES)

    def rules(self, text: str, name: str = "a.sql") -> None:
        (self.path / name).write_text(text)

    def file(self, text: str, name: str = "a.test.toml") -> None:
        (self.path / name).write_text(text)

    def run(self, *arguments: str) -> int:
        status = main(["test", *arguments])
        captured = self._capsys.readouterr()
        self.output, self.errors = captured.out, captured.err
        return status

    def one(self, given: str, then: str = "", head: str = "") -> int:
        """Run one test with these steps and this expectation."""
        steps = " ".join(given.split())
        self.file(f'[[test]]\nname = "it"\n{head}\ngiven = [{steps}]\n{then}')
        return self.run()


@pytest.fixture
def bench(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.chdir(tmp_path)
    return Bench(tmp_path, capsys)


def expect(sink: str, rows: str, more: str = "") -> str:
    return f'[[test.expect]]\nsink = "{sink}"\nrows = {" ".join(rows.split())}\n{more}\n'


MESSAGE = '{ topic = "cp/1/meter", clientid = "CP-1", payload = { power = 7400 } }'


def test_a_test_that_passes(bench: Bench) -> None:
    assert bench.one(MESSAGE, expect("meter", '[{ station = "CP-1", kw = 7.4 }]')) == 0
    assert bench.output == "ok    a.test.toml:2: it\n1 passed\n"


def test_a_test_that_fails_says_where_and_in_what(bench: Bench) -> None:
    assert bench.one(MESSAGE, expect("meter", '[{ station = "CP-1", kw = 7 }]')) == 1
    assert bench.output == (
        "FAIL  a.test.toml:2: it\n"
        "      a.test.toml:7: sink meter: row 1 differs (from rule power)\n"
        '          station  "CP-1"\n'
        "        - kw       7  (integer)\n"
        "        + kw       7.4  (float)\n"
        "0 passed, 1 failed  (- expected, + got)\n"
    )


def test_a_sink_that_is_not_named_must_get_nothing(bench: Bench) -> None:
    assert bench.one(MESSAGE) == 1
    assert "sink meter: expected no rows, got 1" in bench.output
    assert bench.one(MESSAGE, head='others = "ignore"') == 0
    assert bench.one('{ topic = "other" }') == 0


def test_rules_fail_only_where_that_is_expected(bench: Bench) -> None:
    bad = '{ topic = "cp/1/meter", payload = \'{"power": 7\' }'
    assert bench.one(bad) == 1
    assert (
        "      a.test.toml:4: rule power fails, which is not expected\n"
        "        + select_and_transform_error, decode_json_failed\n"
        "        + the payload is not JSON: Input data was truncated\n"
        "          rule power (a.sql:1), topic cp/1/meter\n"
    ) in bench.output
    assert bench.one(bad, "[[test.error]]") == 0
    assert bench.one(bad, '[[test.error]]\nrule = "power"\ncode = "decode_json_failed"\ntext = "truncated"') == 0
    assert bench.one(bad, '[[test.error]]\nstage = "match_conditions_error"') == 1
    assert "an expected error did not happen\n        - stage 'match_conditions_error'\n" in bench.output
    assert "rule power fails, which is not expected" in bench.output
    assert bench.one(f"{bad}, {bad}", "[[test.error]]\ncount = 2") == 0
    assert bench.one(bad, "[[test.error]]\ncount = 2") == 1
    assert "an error that is expected 2 times happened once" in bench.output


def test_a_message_that_no_rule_reads_is_told_where_the_test_fails(bench: Bench) -> None:
    assert bench.one('{ topic = "cp/1/metre" }', expect("meter", "[{ kw = 1 }]")) == 1
    assert "a.test.toml:4: no rule reads 'cp/1/metre'" in bench.output


def test_a_rule_that_writes_into_several_sinks(bench: Bench) -> None:
    bench.rules('INSERT INTO a, b SELECT payload.x AS x FROM "t"')
    rows = "[{ x = 1 }]"
    assert bench.one("{ topic = 't', payload = { x = 1 } }", expect("a", rows) + expect("b", rows)) == 0
    assert bench.one("{ topic = 't', payload = { x = 1 } }", expect("a", rows)) == 1
    assert "sink b: expected no rows, got 1" in bench.output


def test_the_options_of_rules_count(bench: Bench) -> None:
    bench.rules("CREATE RULE r WITH (on_error = 'ignore') AS INSERT INTO a SELECT payload.x AS x FROM \"t\"")
    assert bench.one("{ topic = 't', payload = 'x' }") == 0
    bench.rules(
        "CREATE RULE r WITH (on_error = 'disable', disable_after = 1) AS INSERT INTO a SELECT payload.x AS x FROM \"t\""
    )
    assert bench.one("{ topic = 't', payload = 'x' }, { topic = 't', payload = { x = 1 } }", "[[test.error]]") == 0
    assert bench.one("{ topic = 't', payload = 'x' }", expect("a", "[{ x = 1 }]")) == 1
    assert "a.test.toml:4: rule r is switched off: 1 messages in a row failed" in bench.output


def test_every_part_of_a_message(bench: Bench) -> None:
    bench.rules(
        "INSERT INTO meter SELECT topic, clientid, username, peerhost, peername, qos, flags.retain AS retain, payload, "
        "pub_props.'Content-Type' AS kind, pub_props.'User-Property'.a AS a, pub_props.'Correlation-Data' AS corr, "
        'timestamp FROM "#"'
    )
    assert (
        bench.one(
            """{ topic = "t", clientid = "c", username = "u", peer = "10.0.0.1:5000", qos = 1, retain = true,
                 payload = { hex = "00 ff" }, at = "1.5s",
                 properties = { content_type = "x/y", user_properties = { a = "b" }, correlation_data = "id" } }""",
            expect(
                "meter",
                """[{ topic = "t", clientid = "c", username = "u", peerhost = "10.0.0.1", peername = "10.0.0.1:5000",
                qos = 1, retain = true, payload = { base64 = "AP8=" }, kind = "x/y", a = "b", corr = "id",
                timestamp = 1735689601500 }]""",
            ),
        )
        == 0
    ), bench.output


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ("{ a = [1, 2.5, true, 'x'], b = { c = 2025-01-01T00:00:00Z } }", None),
        ("[1, 2]", "[1,2]"),
        ("42", "42"),
        ("true", "true"),
        ("'plain'", "plain"),
        ("'{\"a\": null}'", '{"a": null}'),
        ('{ hex = "616263" }', "abc"),
        ('{ base64 = "YWJj" }', "abc"),
    ],
)
def test_payloads(bench: Bench, payload: str, text: str | None) -> None:
    bench.rules('INSERT INTO meter SELECT payload FROM "t"')
    wanted = text if text is not None else '{"a":[1,2.5,true,"x"],"b":{"c":"2025-01-01T00:00:00Z"}}'
    assert (
        bench.one(f"{{ topic = 't', payload = {payload} }}", expect("meter", f"[{{ payload = '{wanted}' }}]")) == 0
    ), bench.output


NOW = "INSERT INTO meter SELECT now_timestamp('millisecond') AS t FROM \"t\""
START = 1_735_689_600_000


def test_time_passes_by_the_steps_alone(bench: Bench) -> None:
    bench.rules(NOW)
    steps = (
        '{ topic = "t" }, { advance = "60s" }, { topic = "t" }, { topic = "t", at = "90s" }, '
        '{ topic = "t", at = "2025-01-01T00:02:00Z" }, { topic = "t", at = 2025-01-01T00:03:00Z }'
    )
    rows = ", ".join(f"{{ t = {START + seconds * 1000} }}" for seconds in (0, 60, 90, 120, 180))
    assert bench.one(steps, expect("meter", f"[{rows}]")) == 0, bench.output
    assert bench.one('{ advance = "60s" }, { topic = "t", at = "59s" }') == 1
    assert "a.test.toml:4: `at` is before the step above it, and time does not go backwards" in bench.output


def test_what_the_engine_wants_to_do_is_done_at_its_own_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As windows will want it: a deadline 10 s after each message, told at that very time."""
    from core.message import Batch, Schema, Type
    from headrace.ruletests import bench as benches

    class Windows(benches.Engine):  # type: ignore[name-defined, misc]
        due: ClassVar[list[int]] = []

        def process(self, messages: Any, now: int) -> list[Any]:
            self.due.append(now + 10_000_000_000)
            return super().process(messages, now)

        @property
        def next_deadline(self) -> int | None:
            return min(self.due, default=None)

        def advance(self, now: int) -> list[Any]:
            passed = [due for due in self.due if due <= now]
            self.due[:] = [due for due in self.due if due > now]
            schema = Schema(("closed",), (Type.BIGINT,))
            return [Batch("meter", "power", schema, [(due // 1_000_000 - START, ) for due in passed])]  # fmt: skip

    monkeypatch.setattr(benches, "Engine", Windows)
    bench.rules(NOW)
    rows = f"[{{ t = {START} }}, {{ t = {START + 5000} }}, {{ closed = 10000 }}, {{ t = {START + 15000} }}]"
    steps = '{ topic = "t" }, { topic = "t", at = "5s" }, { topic = "t", at = "15s" }'
    assert bench.one(steps, expect("meter", rows)) == 1
    # The second window closes at 15 s too, before the message of that instant.
    assert '+ {"closed": 15000}' in bench.output
    assert bench.output.count("sink meter:") == 1


def test_functions_of_time_and_chance_are_the_same_every_time(bench: Bench) -> None:
    bench.rules(
        "INSERT INTO meter SELECT now_timestamp() AS s, now_rfc3339('millisecond') AS r, mongo_date() AS m, "
        "format_date('second', '+02:00', '%Y-%m-%d %H:%M:%S%:z') AS f, uuid_v4() AS u, uuid_v4_no_hyphen() AS n, "
        "unix_ts_to_rfc3339(0) AS z, timezone_to_offset_seconds('local') AS local FROM \"t\""
    )
    rows = """[{ s = 1735689601, r = "2025-01-01T00:00:01.000+00:00", m = "ISODate(2025-01-01T00:00:01.000Z)",
        f = "2025-01-01 02:00:01+02:00", u = "00000000-0000-4000-8000-000000000001",
        n = "00000000000040008000000000000002", z = "1970-01-01T00:00:00+00:00", local = 0 }]"""
    assert bench.one('{ topic = "t", at = "1s" }', expect("meter", rows)) == 0, bench.output
    assert bench.one('{ topic = "t", at = "1s" }', expect("meter", rows)) == 0, "numbers begin anew with each test"


def test_what_rules_keep_is_kept_within_a_test_only(bench: Bench) -> None:
    bench.rules(
        "INSERT INTO meter SELECT kv_store_get('k') AS a, proc_dict_get('k') AS b, kv_store_put('k', clientid) AS p, "
        "proc_dict_put('k', qos) AS q FROM \"t\""
    )
    steps = (
        "given = [{ topic = 't', clientid = 'c' }, { topic = 't', clientid = 'd' }, { topic = 't', clientid = 'c' }]"
    )
    nothing = '{ is = "missing" }'
    rows = [f"{{ a = {nothing}, b = {nothing} }}", f'{{ a = "c", b = {nothing} }}', '{ a = "d", b = 0 }']
    then = expect("meter", f"[{', '.join(rows)}]", 'match = "subset"')
    bench.file(f'[[test]]\nname = "a"\n{steps}\n{then}\n[[test]]\nname = "b"\n{steps}\n{then}')
    assert bench.run() == 0, bench.output


def test_the_settings_of_functions_are_those_of_the_configuration(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITE", "north")
    config = CONFIG.replace("rules/*", "*") + '[functions]\nenv = ["SITE"]\n[listeners.m]\nbind = "127.0.0.1:0"\n'
    (bench.path / "headrace.toml").write_text(config)
    bench.rules("INSERT INTO meter SELECT getenv('SITE') AS site FROM \"t\"")
    assert bench.one('{ topic = "t" }', expect("meter", '[{ site = "north" }]')) == 0, bench.output
    (bench.path / "headrace.toml").write_text(config.replace('"SITE"', ""))
    assert bench.one('{ topic = "t" }', expect("meter", '[{ site = "north" }]')) == 1


def test_every_function_that_is_not_pure_is_decided_upon() -> None:
    """A new one must be made steady, or be named here with the reason why it need not be."""
    of_the_zone = {"timezone_to_offset_seconds", "timezone_to_second", "unix_ts_to_rfc3339"}  # which is UTC
    of_the_environment = {"getenv"}
    of_tables = {name for name in builtin_functions() if name.startswith(("kv_store_", "proc_dict_"))}  # emptied
    table = builtin_functions()
    replaced = Steady().functions(table)
    changed = {name for name in table if replaced[name].call is not table[name].call}
    assert {name for name in table if not table[name].pure} == changed | of_the_zone | of_the_environment | of_tables
    assert replaced.names() == table.names()
    assert len(replaced) == len(table)


@pytest.mark.parametrize(
    "call",
    ["now_timestamp('week')", "now_rfc3339('week')", "format_date('week', '%Y', '%Y')", "now_timestamp(payload.n)"],
)
def test_steady_functions_refuse_what_the_real_ones_refuse(call: str) -> None:
    from core.message import Message
    from core.metrics import Metrics
    from rules.runtime import Engine

    found = []
    for table in (None, Steady().functions(hostless_functions())):
        failures: list[str] = []
        engine = Engine(Metrics(), on_error=lambda rule, message, error, to=failures: to.append(str(error)))
        engine.load(compile_rules([RuleSource("x.sql", f'INSERT INTO o SELECT {call} AS x FROM "t"')], None, table))
        assert engine.process([Message("t", b"{}")], 0) == []
        found.append(failures)
    assert found[0] == found[1]
    assert len(found[0]) == 1


def test_rules_that_read_system_errors_are_told_of_failures(bench: Bench) -> None:
    bench.rules(RULES + "CREATE RULE e AS INSERT INTO trouble SELECT rule, kind FROM system.errors;")
    bad = "{ topic = 'cp/1/meter', payload = '{' }"
    then = '[[test.error]]\nrule = "power"\n' + expect("trouble", '[{ rule = "power", kind = "rule_failed" }]')
    assert bench.one(bad, then) == 0, bench.output


def test_the_local_zone_is_restored(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert bench.one(MESSAGE, head='others = "ignore"') == 0
        assert os.environ["TZ"] == "Asia/Tokyo"
        assert time.localtime(0).tm_gmtoff == 9 * 3600
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[test]]\nnam = "x"', "a.test.toml:2: test[0].nam: unknown key (did you mean 'name'?)"),
        (
            '[[test]]\nname = "x"\n[[test.given]]\ntopik = "t"',
            "a.test.toml:4: test[0].given[0].topik: unknown key (did",
        ),
        (
            '[[test]]\nname = "x"\n[[test.given]]',
            "a step has either a `topic` (a message), an `event`, or an `advance`",
        ),
        ('[[test]]\nname = "x"\ngiven = [{ topic = "t", advance = "1s" }]', "a.test.toml:3: test[0].given[0]: a step"),
        ('[[test]]\nname = "x"\ngiven = [{ advance = "1s", qos = 1 }]', "`qos` belongs to a message"),
        ('[[test]]\nname = "x"\ngiven = [{ advance = "1 week" }]', "test[0].given[0].advance: expected a text like"),
        ('[[test]]\nname = "x"\ngiven = [{ topic = "a/+" }]', "contains '+'"),
        ('[[test]]\nname = "x"\ngiven = [{ topic = "t", at = "noon" }]', "given[0].at: expected a time like"),
        ('[[test]]\nname = "x"\ngiven = [{ topic = "t", at = 2025-01-01 }]', "got 2025-01-01"),
        ('[[test]]\nname = "x"\ngiven = [{ topic = "t", qos = 3 }]', "given[0].qos: expected one of 0, 1, 2, got 3"),
        ('[[test]]\nname = "x"\ngiven = [{ topic = "t", payload = nan }]', "JSON has no nan"),
        ('[[test]]\nname = "x"\ngiven = [{ topic = "t", payload = { hex = "0" } }]', "'0' is not hex"),
        ('[[test]]\nname = "x"\nstart = "1s"', "`start` is a time like"),
        ('[[test]]\nname = "x"\n[[test.expect]]\nsink = "meter"', "either `rows` or `count` says what is expected"),
        (
            '[[test]]\nname = "x"\n[[test.expect]]\nsink = "metre"\nrows = []',
            "a.test.toml:4: test[0].expect[0].sink: none",
        ),
        ('[[test]]\nname = "x"\n[[test.expect]]\nsink = "metre"\nrows = []', "(did you mean 'meter'?)"),
        ('[[test]]\nname = "x"\n[[test.expect]]\nsink = "meter"\nrows = [1]', "rows[0]: expected a table of columns"),
        ('[[test]]\nname = "x"\n[[test.expect]]\nsink = "meter"\nrows = ["{"]', "a row as text is a JSON object"),
        (
            '[[test]]\nname = "x"\n[[test.expect]]\nsink = "meter"\nrows = [{ a = { is = "nul" } }]',
            "`is` takes 'missing'",
        ),
        ('[[test]]\nname = "x"\n[[test.expect]]\nsink = "meter"\nrows = [{ a = 2025-01-01 }]', "needs an offset"),
        (
            '[[test]]\nname = "x"\nexpect = [{ sink = "meter", count = 1 }, { sink = "meter", count = 1 }]',
            "expected above",
        ),
        ('[[test]]\nname = "x"\n[[test.error]]\nrule = "powr"', "there is no rule 'powr' (did you mean 'power'?)"),
        ('[[test]]\nname = "x"\n[[test]]\nname = "x"', "a.test.toml:4: test[1].name: another test is called 'x'"),
        ("", "a.test.toml: there is no [[test]]"),
        ('[[test]]\ngiven = [{ topic = "t",\n qos = 1 }]', "(a table in braces must end on its line; write it as"),
        ("[[test]", "a.test.toml:1:7: not TOML:"),
        ('rules = ["no.sql"]\n[[test]]\nname = "x"', "a.test.toml:1: rules[0]: no file matches 'no.sql'"),
    ],
)
def test_files_that_are_wrong(bench: Bench, text: str, said: str) -> None:
    bench.file(text)
    assert bench.run() == 1
    assert bench.output.startswith("FAIL  a.test.toml: cannot be run\n")
    assert said in bench.output
    assert bench.output.endswith("0 passed, 1 file could not be run\n")
    assert bench.errors == ""


def test_a_file_that_is_no_text_or_cannot_be_read(bench: Bench) -> None:
    (bench.path / "a.test.toml").write_bytes(b"\xff")
    (bench.path / "b.test.toml").symlink_to(bench.path / "nowhere")
    assert bench.run("a.test.toml") == 1
    assert "a.test.toml: is not UTF-8 at byte 0" in bench.output
    assert bench.run("b.test.toml") == 1
    assert "b.test.toml: there is no such file or folder" in bench.errors


def test_rules_with_errors_are_told_once_and_the_other_files_run(bench: Bench) -> None:
    (bench.path / "good").mkdir()
    bench.rules("INSERT INTO meter SELECT nofunction(1) AS x FROM 't'")
    bench.rules(RULES, "good/a.sql")
    bench.file('[[test]]\nname = "x"\n[[test]]\nname = "y"')
    bench.file('[[test]]\nname = "z"', "good/a.test.toml")
    assert bench.run() == 1
    assert bench.output.count("error[unknown-function]") == 1
    assert "      1 | INSERT INTO meter SELECT nofunction(1)" in bench.output
    assert "ok    good/a.test.toml:2: z\n1 passed, 1 file could not be run\n" in bench.output


CONFIG = 'rules = ["rules/*.sql"]\n[sinks.meter]\ntype = "null"\n'


def test_the_rules_are_those_of_the_nearest_configuration(bench: Bench) -> None:
    (bench.path / "rules").mkdir()
    (bench.path / "headrace.toml").write_text(CONFIG)
    bench.rules(RULES, "rules/x.sql")
    bench.rules("SELECT broken", "a.sql")
    text = f'[[test]]\nname = "it"\ngiven = [{MESSAGE}]\n[[test.expect]]\nsink = "meter"\ncount = 1\n'
    bench.file(text, "rules/x.test.toml")
    assert bench.run() == 0, bench.output
    # The sinks are those of the configuration, ...
    bench.rules(RULES.replace("INTO meter", "INTO metre"), "rules/x.sql")
    assert bench.run() == 1
    assert "error[unknown-target]" in bench.output
    # ... which another can be named for, ...
    (bench.path / "other.toml").write_text(CONFIG.replace("sinks.meter", "sinks.metre"))
    bench.file(text.replace('"meter"', '"metre"'), "rules/x.test.toml")
    assert bench.run("-c", "other.toml") == 0, bench.output
    assert bench.run("-c", "none.toml") == 1
    assert "none.toml: there is no such file (-c FILE names another)" in bench.output
    # ... and a file may name its rules itself.
    bench.rules(RULES, "rules/y.sql")
    bench.file(f'rules = ["y.sql"]\n{text}', "rules/x.test.toml")
    assert bench.run() == 0, bench.output


def test_which_tests(bench: Bench) -> None:
    bench.file('[[test]]\nname = "power up"\n[[test]]\nname = "power down"')
    bench.file('[[test]]\nname = "other"', "b.test.toml")
    (bench.path / ".hidden").mkdir()
    bench.file("[[", ".hidden/c.test.toml")
    assert bench.run() == 0
    assert bench.output.endswith("3 passed\n")
    assert bench.run("-k", "DOWN") == 0
    assert bench.output == "ok    a.test.toml:4: power down\n1 passed\n"
    assert bench.run("b.test.toml", str(bench.path)) == 0
    assert bench.run("-k", "nothing") == 2
    assert "no test has 'nothing' in its name" in bench.errors
    assert bench.run("missing") == 1
    assert "missing: there is no such file or folder" in bench.errors
    (bench.path / "empty").mkdir()
    assert bench.run("empty") == 2
    assert "there is no *.test.toml in empty" in bench.errors


def test_junit(bench: Bench) -> None:
    bench.file(
        f'[[test]]\nname = "fails \\u0001 <&>"\ngiven = [{MESSAGE}]\n[[test]]\nname = "passes"\n',
    )
    bench.file("[[", "b.test.toml")
    assert bench.run("--junit", "out.xml") == 1
    root = ET.parse(bench.path / "out.xml").getroot()  # noqa: S314 - our own
    counts = {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "3", "failures": "1", "errors": "1", "skipped": "0"}
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert names == [("a.test.toml", "fails \\x01 <&>"), ("a.test.toml", "passes"), ("b.test.toml", "can be run")]
    [failure] = root.iter("failure")
    assert failure.get("message") == "sink meter: expected no rows, got 1"
    assert '+ {"station": "CP-1", "kw": 7.4}' in (failure.text or "")
    assert bench.run("--junit", "no/such/folder.xml") == 1
    assert "no/such/folder.xml: cannot be written" in bench.errors


def test_colours_are_for_terminals() -> None:
    file = FileOutcome("a", ("wrong",), ())
    assert "\x1b[" in "".join(Report(colours=True).file(file))
    assert "\x1b[" not in "".join(Report(colours=False).file(file))


def test_watching_runs_again_and_ends_with_ctrl_c(bench: Bench, tmp_path: Path) -> None:
    bench.file('[[test]]\nname = "one"')
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace", "test", "--watch"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    stopper = threading.Timer(TIMEOUT, process.kill)
    stopper.start()
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        read = iter(process.stdout.readline, "")
        assert [next(read), next(read)] == ["ok    a.test.toml:2: one\n", "1 passed\n"]
        bench.file('[[test]]\nname = "another"')
        assert [next(read), next(read), next(read)] == ["\n", "ok    a.test.toml:2: another\n", "1 passed\n"]
        bench.rules("SELECT", "new.sql")
        assert [next(read), next(read)] == ["\n", "FAIL  a.test.toml: cannot be run\n"]
        while "could not be run" not in next(read):
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 1, "the status of the last run"
        assert process.stderr.read() == ""
    finally:
        stopper.cancel()
        process.kill()
        process.communicate()


def test_a_folder_that_goes_while_it_is_watched_does_not_end_it(bench: Bench) -> None:
    runner = command.Runner(["gone"], None, None, sys.stdout)
    command._run_for_watching(runner, None)
    assert runner.status == 1
    assert runner.stamps() == {}
    (bench.path / "gone").mkdir()
    bench.file("", "gone/a.test.toml")
    assert runner.stamps() != {}


def test_moments_and_payloads_say_themselves() -> None:
    assert str(values.Moment.parse("1.5s")) == "1500ms"
    assert str(values.Moment.parse("2025-01-31T13:00:00+01:00")) == "2025-01-31T12:00:00Z"
    assert str(values.Payload(b"a\xff")) == "a\\xff"


def test_what_is_written_during_a_run_is_run_again() -> None:
    old, changed, young, new = (Path(name) for name in ("old", "changed", "young", "new"))
    second = 1_000_000_000
    before = {old: (1, 1), changed: (1, 1)}
    after = {old: (1, 1), changed: (9 * second, 1), young: (5 * second, 1), new: (9 * second, 1)}
    seen = command._as_read(before, after, 8 * second)
    assert {path for path in after if seen[path] != after[path]} == {changed, new}
