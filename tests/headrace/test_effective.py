"""The configuration that is shown: complete, in the file's own words, and without secrets."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from headrace.config import Config
from headrace.effective import _shown, effective
from tests.headrace.far_sides import World, config

TEXT = """
[auth.password_file]
path = "users.passwd"
[[acl]]
allow = ["publish"]
topics = ["#"]
[connections.db]
type = "fake"
address = "here"
password = "hunter2"
[connections.wherever]
type = "sql"
url = "postgresql://me:hunter2@db/x"
[sinks.a]
connection = "db"
batch = { max_age = "50ms" }
[sinks.b]
type = "fake"
address = "there"
password = { env = "FAKE_PASSWORD" }
buffer = { max_bytes = "1MiB" }
optional = true
[sinks.c]
type = "null"
[admin]
bind = "127.0.0.1:0"
"""


def made(folder: Path) -> Config:
    return config(TEXT.replace("[auth.password_file]", 'providers = ["password_file"]\n[auth.password_file]'), folder)


def test_it_has_every_setting_in_the_words_of_the_file(world: World, tmp_path: Path) -> None:
    shown = json.loads(json.dumps(effective(made(tmp_path))))
    assert shown["shutdown_timeout"] == "10s"
    assert shown["listeners"]["mqtt"]["bind"] == "127.0.0.1:0"
    assert shown["auth"]["providers"] == ["password_file"]
    assert shown["auth"]["password_file"]["path"] == "users.passwd"
    assert shown["acl"][0]["topics"] == ["#"]
    assert shown["inbox"]["linger"] == "5ms"
    assert shown["connections"]["db"] == {
        "type": "fake",
        "health_check": "30s",
        "address": "here",
        "password": "***",
    }
    a, b, c = (shown["sinks"][name] for name in "abc")
    assert (a["type"], a["connection"], a["box"], a["optional"]) == ("fake", "db", "box", False)
    assert "address" not in a
    assert (a["batch"]["max_age"], a["batch"]["max_rows"]) == ("50ms", 1_000)
    assert (b["address"], b["password"], b["optional"]) == ("there", {"env": "FAKE_PASSWORD"}, True)
    assert "connection" not in b
    assert b["buffer"]["max_bytes"] == "1MiB"
    assert (c["type"], c["retry"]["max_elapsed"]) == ("null", None)
    assert shown["admin"] == {"bind": "127.0.0.1:0"}
    assert "hunter2" not in json.dumps(shown)


def test_every_key_of_the_file_is_there(world: World, tmp_path: Path) -> None:
    """So a section that is added and forgotten here is noticed."""
    configuration = made(tmp_path)
    shown = effective(configuration)
    assert not configuration.tables.keys() - shown.keys()
    for section in ("connections", "sinks", "listeners"):
        for name, table in configuration.tables[section].items():
            assert not table.keys() - shown[section][name].keys(), (section, name)


class Choice(msgspec.Struct, tag="basic", tag_field="type"):
    user: str


class Other(msgspec.Struct):
    choice: Choice
    headers: dict[str, str]
    urls: list[str]
    levels: frozenset[int]
    ratio: float


def test_secrets_hide_where_they_have_no_type_of_their_own() -> None:
    other = Other(
        Choice("me"),
        {"Authorization": "Bearer x", "X-Api-Key": "y", "sasl.password": "z", "Accept": "text/plain"},
        ["https://me:x@host/a?token=y&b=1", "mqtt://me@host", "plain: text@home"],
        frozenset({3}),
        0.5,
    )
    assert _shown(other) == {
        "choice": {"type": "basic", "user": "me"},
        "headers": {"Authorization": "***", "X-Api-Key": "***", "sasl.password": "***", "Accept": "text/plain"},
        "urls": ["https://me:***@host/a?token=***&b=1", "mqtt://me@host", "plain: text@home"],
        "levels": [3],
        "ratio": 0.5,
    }
