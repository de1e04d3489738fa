"""The command line: output, exit status, and no traceback whatever happens."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from headrace import cli
from headrace.cli import main
from tests.headrace.live import RULE, Folder

Capture = pytest.CaptureFixture[str]


def test_help_usage_and_version(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    assert "eval" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("headrace ")
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("headrace ")
    assert main([]) == 2
    assert main(["nonsense"]) == 2
    assert main(["eval"]) == 2
    assert main(["eval", "SELECT 1", "--jsonl"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from headrace.cli import main; main(['--help']); "
        "heavy = {'sqlglot', 'msgspec', 'sqlalchemy', 'starlette', 'uvicorn', 'uvloop', 'asyncio'} & set(sys.modules); "
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_check(folder: Folder, capsys: Capture) -> None:
    assert main(["check", "-c", str(folder.config)]) == 0
    output = capsys.readouterr().out
    assert output == f"{folder.config}: OK: 1 rule in 1 file, 1 listener, 1 sink\n"


def test_check_counts_what_rules_read(folder: Folder, capsys: Capture) -> None:
    (folder.path / "stations.csv").write_text("station,site\n")
    folder.rule("""
        CREATE SOURCE power (station TEXT, kw DOUBLE) WITH (topic = 'cp/{station}/power');
        CREATE SOURCE unread (station TEXT) WITH (topic = 'x/{station}');
        CREATE TABLE stations (station TEXT, site TEXT) WITH (file = 'stations.csv', key = 'station');
        CREATE VIEW strong AS SELECT station, kw FROM power WHERE kw > 10;
        CREATE VIEW placed AS SELECT site FROM strong JOIN stations ON stations.station = strong.station;
        INSERT INTO meter SELECT site AS station FROM placed;
        INSERT INTO meter SELECT station FROM strong;
    """)
    remote = '[sources.remote]\ntype = "mqtt"\nhost = "127.0.0.1"\ntopics = [{ filter = "x/#" }]\n'
    folder.config.write_text(folder.config.read_text() + remote)
    assert main(["check", "-c", str(folder.config)]) == 0
    assert (
        "OK: 2 rules, 2 views, 1 source, 1 table in 1 file, 1 listener, 1 remote source, 1 sink\n"
        in capsys.readouterr().out
    )


def test_check_lists_every_mistake_of_configuration_and_rules(folder: Folder, capsys: Capture) -> None:
    folder.replace("create_table", "create_tabel")
    folder.replace('bind = "127.0.0.1:0"\n\n[auth]', 'bind = "127.0.0.1"\n\n[auth]')
    folder.rule(
        'INSERT INTO metre SELECT clientid FROM "a";\n'
        'INSERT INTO meter SELECT nofunction(1) AS x FROM "b";\n'
        'INSERT INTO meter SELECT topic FROM "c/#/d";\n'
    )
    assert main(["check", "-c", str(folder.config)]) == 1
    errors = capsys.readouterr().err
    assert "sinks.meter.create_tabel: unknown key (did you mean 'create_table'?)" in errors
    assert "listeners.mqtt.bind: expected 'host:port'" in errors
    for code in ("unknown-target", "unknown-function", "bad-topic-filter"):
        assert f"error[{code}]" in errors
    assert errors.endswith("\n5 errors\n")
    assert "Traceback" not in errors


def test_check_asks_the_sinks_as_well(folder: Folder, capsys: Capture) -> None:
    folder.replace('table = "meter"', 'table = "meter"\nwrite = "upsert"')
    assert main(["check", "-c", str(folder.config)]) == 1
    assert "sinks.meter.key: write = 'upsert' needs the columns that identify a row" in capsys.readouterr().err
    assert not folder.database.exists()


def test_check_finds_templates_with_columns_that_no_rule_yields(folder: Folder, capsys: Capture) -> None:
    topic = '[sinks.topic]\ntype = "mqtt"\ntopic = "out/${statoin}"\nuser_properties = { kw = "${kW}" }\n'
    folder.config.write_text(folder.config.read_text() + topic)
    folder.rule(RULE.replace("INTO meter", "INTO meter, topic"))
    assert main(["check", "-c", str(folder.config)]) == 1
    error = capsys.readouterr().err
    assert "sinks.topic.topic: no rule yields 'statoin' (did you mean 'station'?)" in error
    assert "sinks.topic.user_properties.kw: no rule yields 'kW' (did you mean 'kw'?)" in error


def test_check_names_sinks_that_no_rule_feeds(folder: Folder, capsys: Capture) -> None:
    folder.config.write_text(folder.config.read_text() + '[sinks.spare]\ntype = "null"\n')
    assert main(["check", "-c", str(folder.config)]) == 0
    assert "no rule writes to: spare" in capsys.readouterr().out


def test_check_knows_that_a_sink_gets_the_rows_of_another(folder: Folder, capsys: Capture) -> None:
    folder.replace('table = "meter"', 'table = "meter"\non_unavailable = { sink = "spare" }')
    folder.config.write_text(folder.config.read_text() + '[sinks.spare]\ntype = "null"\n[sinks.own]\ntype = "null"\n')
    assert main(["check", "-c", str(folder.config)]) == 0
    assert "no rule writes to: own\n" in capsys.readouterr().out


def test_check_without_a_file(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check"]) == 1
    assert "headrace.toml: there is no such file (-c FILE names another)" in capsys.readouterr().err
    assert main(["run"]) == 1
    assert capsys.readouterr().err == "headrace.toml: there is no such file (-c FILE names another)\n"


def test_explain(folder: Folder, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    file = str(folder.rules / "meter.sql")
    assert main(["explain", file]) == 0
    plan = capsys.readouterr().out
    assert "insert into meter" in plan
    assert main(["explain", file]) == 0
    assert capsys.readouterr().out == plan
    assert main(["explain", file, "--code"]) == 0
    compile(capsys.readouterr().out, "generated", "exec")
    monkeypatch.setattr(sys, "stdin", io.StringIO(RULE))
    assert main(["explain", "-"]) == 0
    assert "insert into meter" in capsys.readouterr().out


def test_explain_what_is_wrong(folder: Folder, capsys: Capture) -> None:
    folder.rule("INSERT INTO x SELECT FROM")
    assert main(["explain", str(folder.rules / "meter.sql")]) == 1
    assert "error[syntax]" in capsys.readouterr().err
    assert main(["explain", str(folder.rules / "none.sql")]) == 1
    assert capsys.readouterr().err.endswith("none.sql: there is no such file\n")


def test_explain_several_files_or_those_of_the_configuration(folder: Folder, capsys: Capture) -> None:
    folder.rule(RULE.replace("meter", "other"), "other.sql")
    files = [str(folder.rules / name) for name in ("meter.sql", "other.sql")]
    assert main(["explain", *files]) == 0
    plans = capsys.readouterr().out
    assert plans.startswith("rule meter.meter\ninsert into meter\n")
    assert "\n\nrule other.other\ninsert into other\n" in plans
    assert main(["explain", "-c", str(folder.config)]) == 0
    assert capsys.readouterr().out == plans
    for file in files:
        Path(file).write_text("INSERT INTO x SELECT FROM")
    assert main(["explain", *files]) == 1
    errors = capsys.readouterr()
    assert errors.out == ""
    assert [file in errors.err for file in files] == [True, True]
    assert main(["explain", "-c", str(folder.path / "none.toml")]) == 1
    assert "there is no such file (-c FILE names another)" in capsys.readouterr().err


class _Input:
    def __init__(self, text: bytes) -> None:
        self.buffer = io.BytesIO(text)


def test_users(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "users"
    monkeypatch.setattr(sys, "stdin", _Input(b"secret\n"))
    assert main(["users", "add", "cp-1", "--password-stdin", "--file", str(file)]) == 0
    assert capsys.readouterr().out == f"cp-1: added to {file}\n"
    assert b"secret" not in file.read_bytes()
    monkeypatch.setattr("getpass.getpass", lambda prompt: "other")
    assert main(["users", "add", "cp-1", "--file", str(file)]) == 0
    assert capsys.readouterr().out == f"cp-1: new password in {file}\n"
    assert main(["users", "list", "--file", str(file)]) == 0
    assert capsys.readouterr().out == "cp-1\n"
    assert main(["users", "del", "cp-2", "--file", str(file)]) == 1
    assert "there is no user 'cp-2' (did you mean 'cp-1'?)" in capsys.readouterr().err
    assert main(["users", "del", "cp-1", "--file", str(file)]) == 0
    assert main(["users", "list", "--file", str(file)]) == 0
    assert capsys.readouterr().out == f"cp-1: removed from {file}\n"


def test_users_whose_passwords_differ(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["one", "two"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))
    assert main(["users", "add", "x", "--file", str(tmp_path / "users")]) == 1
    assert capsys.readouterr().err == "the two passwords differ, nothing was changed\n"
    assert not (tmp_path / "users").exists()


def test_users_of_the_configuration(folder: Folder, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["users", "list", "-c", str(folder.config)]
    assert main(arguments) == 1
    assert "`auth.providers` has no password_file (--file PATH names" in capsys.readouterr().err
    folder.replace("allow_anonymous = true", 'providers = ["password_file"]\npassword_file = { path = "u" }')
    monkeypatch.setattr(sys, "stdin", _Input(b"secret"))
    assert main(["users", "add", "x", "--password-stdin", "-c", str(folder.config)]) == 0
    assert (folder.path / "u").exists()
    assert main(["users", "list", "-c", str(folder.path / "none.toml")]) == 1


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (BrokenPipeError(), 1), (RuntimeError("boom"), 1)]
)
def test_whatever_a_command_raises(
    error: BaseException, status: int, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(arguments: object) -> int:
        raise error

    monkeypatch.setattr(cli, "_version", explode)
    monkeypatch.setattr("os.dup2", lambda one, two: two)
    assert main(["version"]) == status
    output = capsys.readouterr().err
    assert "Traceback" not in output
    assert ("unexpected RuntimeError: boom" in output) is isinstance(error, RuntimeError)


def test_debug_shows_where_an_unexpected_error_came_from(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(arguments: object) -> int:
        raise RuntimeError("boom")

    monkeypatch.setattr(cli, "_version", explode)
    assert main(["--debug", "version"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_goes_away(folder: Folder) -> None:
    """``headrace users list | head -0`` and the like."""
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace", "config", "--schema"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    process.wait()
    assert errors == ""
