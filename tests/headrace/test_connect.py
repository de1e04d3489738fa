"""``headrace check --connect``: every far side is tried, and nothing is made or shown that should not be."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.cli import main
from headrace.connect import Finding
from tests.headrace.far_sides import HEAD, World

DB = '[connections.db]\ntype = "fake"\naddress = "here"\npassword = "hunter2"\n'
A = '[sinks.a]\nconnection = "db"\n'

Capture = pytest.CaptureFixture[str]


def check(folder: Path, text: str, *arguments: str) -> int:
    (folder / "headrace.toml").write_text(HEAD + text)
    return main(["check", "-c", str(folder / "headrace.toml"), "--connect", *arguments])


def test_all_that_answers(world: World, tmp_path: Path, capsys: Capture) -> None:
    own = '[sinks.own]\ntype = "fake"\naddress = "there"\n[sinks.out]\ntype = "null"\n'
    assert check(tmp_path, DB + DB.replace("db", "spare") + A + own) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [
        "no rule writes to: a, own, out",
        "nothing uses the connections: spare",
        "connections.db: ok: Fake 1.0 at here",
        "connections.spare: ok: Fake 1.0 at here",
        "sinks.a: ok",
        "sinks.own: ok: Fake 1.0 at there",
        "sinks.out: ok",
    ]
    assert [sink.rows for sink in world.sinks] == [[], []]
    assert not any(connection.in_use for connection in world.made)


def test_each_that_fails_is_named(world: World, tmp_path: Path, capsys: Capture) -> None:
    world.down.add("here")
    text = DB + A + '[sinks.own]\ntype = "fake"\naddress = "broken"\n[sinks.fine]\ntype = "fake"\naddress = "there"\n'
    assert check(tmp_path, text) == 1
    output = capsys.readouterr()
    assert output.out.splitlines()[2:] == [
        "connections.db: FAILED: https://me:***@here/ does not answer",
        "sinks.a: FAILED: nobody at here",
        "sinks.own: FAILED: ValueError: what is this",
        "sinks.fine: ok: Fake 1.0 at there",
    ]
    assert output.err == "3 of 4 failed\n"
    assert "hunter2" not in output.out + output.err


def test_nothing_is_waited_for_longer_than_told(world: World, tmp_path: Path, capsys: Capture) -> None:
    asleep = DB.replace("here", "asleep")
    assert check(tmp_path, asleep + asleep.replace("db", "other"), "--timeout", "20ms") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [f"connections.{name}: FAILED: no answer within 0.02s" for name in ("db", "other")]


def test_what_is_wrong_with_the_file_comes_first(world: World, tmp_path: Path, capsys: Capture) -> None:
    assert check(tmp_path, DB.replace("here", "nowhere") + A + "boxx = 1\n") == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert "boxx: unknown key" in output.err
    assert world.asked == {}


def test_a_bad_timeout_is_wrong_usage(tmp_path: Path, capsys: Capture) -> None:
    assert check(tmp_path, DB, "--timeout", "5") == 2
    assert "expected a text like '200ms'" in capsys.readouterr().err


def test_a_finding_is_one_line() -> None:
    assert str(Finding("sinks.a", True, "")) == "sinks.a: ok"
    assert str(Finding("sinks.a", False, "why")) == "sinks.a: FAILED: why"
