"""``headrace fmt``: which files, what is written, what is only told."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from headrace.cli import main

Capture = pytest.CaptureFixture[str]

UGLY = 'insert into a select clientid -- who\n from "t"'
NICE = 'INSERT INTO a\nSELECT clientid -- who\nFROM "t"\n'
WRONG = "insert into a select from"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules" / "more").mkdir(parents=True)
    (tmp_path / "headrace.toml").write_text('rules = ["rules/*.sql"]\n')
    (tmp_path / "rules" / "a.sql").write_text(UGLY)
    (tmp_path / "rules" / "b.sql").write_text(NICE)
    (tmp_path / "rules" / "more" / "c.sql").write_text(UGLY)
    return tmp_path


def test_the_files_of_the_configuration(folder: Path, capsys: Capture) -> None:
    assert main(["fmt"]) == 0
    assert (folder / "rules" / "a.sql").read_text() == NICE
    assert (folder / "rules" / "more" / "c.sql").read_text() == UGLY
    assert capsys.readouterr() == ("", "formatted: rules/a.sql\n1 of 2 files formatted\n")
    assert main(["fmt"]) == 0
    assert capsys.readouterr() == ("", "0 of 2 files formatted\n")


def test_files_and_folders(folder: Path, capsys: Capture) -> None:
    assert main(["fmt", "rules", "rules/a.sql"]) == 0
    assert (folder / "rules" / "more" / "c.sql").read_text() == NICE
    assert "2 of 3 files formatted" in capsys.readouterr().err


def test_check_and_diff_change_nothing(folder: Path, capsys: Capture) -> None:
    assert main(["fmt", "--check"]) == 1
    assert capsys.readouterr() == ("", "would be formatted: rules/a.sql\n1 of 2 files would be formatted\n")
    assert main(["fmt", "--diff"]) == 1
    assert capsys.readouterr().out == (
        "--- rules/a.sql\n+++ rules/a.sql (formatted)\n@@ -1,2 +1,3 @@\n"
        '-insert into a select clientid -- who\n- from "t"\n'
        '+INSERT INTO a\n+SELECT clientid -- who\n+FROM "t"\n'
    )
    assert (folder / "rules" / "a.sql").read_text() == UGLY
    assert main(["fmt", "--check", "rules/b.sql"]) == 0


def test_a_file_with_errors_is_left_alone_and_the_others_are_not(folder: Path, capsys: Capture) -> None:
    (folder / "rules" / "0.sql").write_text(WRONG)
    assert main(["fmt"]) == 1
    assert (folder / "rules" / "0.sql").read_text() == WRONG
    assert (folder / "rules" / "a.sql").read_text() == NICE
    errors = capsys.readouterr().err
    assert "error[syntax]" in errors
    assert "--> rules/0.sql:1:22" in errors
    assert errors.endswith("1 of 3 files formatted, 1 left alone because of errors\n")


def test_standard_input(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, arguments, status, output in (
        (UGLY, [], 0, NICE),
        (UGLY, ["--check"], 1, ""),
        (NICE, ["--check"], 0, ""),
        (WRONG, [], 1, WRONG),
    ):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        assert main(["fmt", "-", *arguments]) == status
        assert capsys.readouterr().out == output
    assert main(["fmt", "-", "a.sql"]) == 2


def test_what_cannot_be_read_or_written(folder: Path, capsys: Capture) -> None:
    assert main(["fmt", "none.sql"]) == 1
    assert capsys.readouterr().err == "none.sql: there is no such file\n"
    (folder / "binary.sql").write_bytes(b"\xff")
    assert main(["fmt", "binary.sql"]) == 1
    assert capsys.readouterr().err == "binary.sql: is not UTF-8 at byte 0\n"
    assert main(["fmt", "-c", "other.toml"]) == 1
    assert "other.toml: there is no such file (-c FILE names another)" in capsys.readouterr().err
    (folder / "headrace.toml").write_text("rules = []\n")
    assert main(["fmt"]) == 1
    assert "headrace.toml" in capsys.readouterr().err


def test_a_statement_that_is_kept_is_told(folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rules.format.statement", lambda pieces: [])
    assert main(["fmt", "rules/a.sql"]) == 0
    assert "rules/a.sql:1: left as it is" in capsys.readouterr().err
