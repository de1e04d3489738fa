"""Configuration files: what the good ones mean, and the exact text for each way in which one can be bad."""

import json
import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from connections.sql.config import SqlConfig
from connections.sql.connection import SqlConnection
from core.clock import MILLISECOND, SECOND
from core.errors import ConfigError
from headrace.config import inspect, load, parse
from headrace.endpoints import connection_types
from sinks.console import ConsoleSink
from sinks.null import NullSink
from sinks.sql.sink import SqlSink

LISTENER = '[listeners.mqtt]\nbind = "127.0.0.1:1883"\n'
GOOD = """\
data_dir = "data"
shutdown_timeout = "5s"
rules = ["rules/*.sql"]

[listeners.mqtt]
bind = "0.0.0.0:1883"
[listeners.mqtts]
type = "tls"
bind = "[::]:8883"
tls = { cert = "server.pem", key = "server.key", client_ca = "ca.pem", verify = "required" }

[broker]
max_queued_messages = 5

[auth]
providers = ["password_file"]
allow_anonymous = true
[auth.password_file]
path = "users.passwd"

[[acl]]
allow = ["publish", "subscribe"]
who = { username = "*" }
topics = ["cp/${username}/#"]

[connections.warehouse]
type = "sql"
url = { env = "HEADRACE_TEST_URL" }

[sinks.meter]
connection = "warehouse"
table = "meter"
write = "upsert"
key = ["station"]
batch = { max_rows = 10, max_age = "50ms" }
optional = true

[sinks.inline]
type = "sql"
url = "sqlite:///x.db"
table = "t"

[sinks.out]
type = "console"

[admin]
bind = "127.0.0.1:0"
"""


def errors(text: str, base_dir: Path) -> list[str]:
    survey = parse(text, file="headrace.toml", base_dir=base_dir)
    assert bool(survey.errors) == (survey.config is None)
    return [str(error) for error in survey.errors]


def test_a_good_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules").mkdir()
    for name in ("b.sql", "a.sql"):
        (tmp_path / "rules" / name).write_text(f"-- {name}\n")
    (tmp_path / "headrace.toml").write_text(GOOD)
    config = load("headrace.toml")
    assert config.base_dir == tmp_path
    assert config.data_dir == tmp_path / "data"
    assert config.process.shutdown_timeout == 5 * SECOND
    assert [(rule.path, rule.text) for rule in config.rules] == [
        ("rules/a.sql", "-- a.sql\n"),
        ("rules/b.sql", "-- b.sql\n"),
    ]
    assert str(config.listeners["mqtts"].bind) == "[::]:8883"
    assert config.broker.max_queued_messages == 5
    assert [spec.name for spec in config.providers] == ["password_file"]
    assert config.allow_anonymous
    assert len(config.acl) == 1
    meter, inline, out = config.sinks["meter"], config.sinks["inline"], config.sinks["out"]
    assert (meter.sink, inline.sink, out.sink) == (SqlSink, SqlSink, ConsoleSink)
    assert meter.delivery.batch.max_age == 50 * MILLISECOND
    assert meter.optional
    assert not inline.optional
    assert inline.connection is not None
    assert (inline.connection.name, inline.connection.connection) == ("sinks.inline", SqlConnection)
    assert meter.connection is config.connections["warehouse"]
    assert isinstance(meter.connection.config, SqlConfig)  # its secret is read when the connection is made, not here
    assert out.connection is None
    assert config.admin is not None


def test_the_smallest_file(tmp_path: Path) -> None:
    survey = parse(LISTENER + '[sinks.s]\ntype = "null"\n', file="x", base_dir=tmp_path)
    assert survey.config is not None
    assert survey.config.admin is None
    assert survey.config.data_dir is None
    assert survey.config.sinks["s"].sink is NullSink


def test_a_secret_file_is_relative_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("sqlite:///h.db\n")
    text = LISTENER + '[sinks.s]\ntype = "sql"\ntable = "t"\nurl = { file = "url" }\n'
    survey = parse(text, file="x", base_dir=tmp_path)
    assert survey.config is not None
    connection: Any = survey.config.sinks["s"].connection
    assert connection.config.url.reveal() == "sqlite:///h.db"
    assert "sqlite" not in repr(survey.config.sinks["s"].connection)


SINK = LISTENER + '[sinks.s]\ntype = "null"\n'  # line 5 comes next
SQL = LISTENER + '[connections.db]\ntype = "sql"\nurl = "sqlite:///h.db"\n[sinks.s]\n'  # line 7 comes next


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rulez = []\n" + LISTENER, "headrace.toml:1: rulez: unknown key (did you mean 'rules'?)"),
        ("[sink.x]\n" + LISTENER, "headrace.toml:1: sink: unknown key (did you mean 'sinks'?)"),
        ("", "headrace.toml: there is no [listeners.<name>]: nothing could connect"),
        ("listeners = 3", "headrace.toml:1: listeners: expected a table, got a whole number"),
        ("[listeners]\nmqtt = 3", "headrace.toml:2: listeners.mqtt: expected a table, got a whole number"),
        ("[listeners.m]\n", "headrace.toml:1: listeners.m: `bind` is missing"),
        (
            '[listeners.m]\nbind = "1883"\n',
            "headrace.toml:2: listeners.m.bind: expected 'host:port' like '0.0.0.0:1883', got '1883'",
        ),
        (
            '[listeners.m]\nbind = "0.0.0.0:1"\ntype = "tsl"\n',
            "headrace.toml:3: listeners.m.type: expected one of 'tcp', 'tls', got 'tsl' (did you mean 'tls'?)",
        ),
        (
            '[listeners.m]\nbind = "0.0.0.0:1"\ntype = "tls"\n',
            'headrace.toml:1: listeners.m: type = "tls" needs tls = { cert = "...", key = "..." }',
        ),
        (
            '[listeners.m]\nbind = "0.0.0.0:1"\ntype = "tls"\ntls = { crt = "a", key = "b" }\n',
            (
                "headrace.toml:4: listeners.m.tls.crt: unknown key (did you mean 'cert'?)\n"
                "headrace.toml:4: listeners.m.tls: `cert` is missing"
            ),
        ),
        (
            "shutdown_timeout = 5\n" + LISTENER,
            "headrace.toml:1: shutdown_timeout: expected a text like '200ms' (units: ns, us, ms, s, m, h, d), got 5",
        ),
        (
            'log_level = "warn"\n' + LISTENER,
            (
                "headrace.toml:1: log_level: expected one of 'debug', 'info', 'warning', 'error', got 'warn' "
                "(did you mean 'warning'?)"
            ),
        ),
        (
            'rules = "rules/*.sql"\n' + LISTENER,
            "headrace.toml:1: rules: expected an array, got a text",
        ),
        (
            'rules = ["nothing/*.sql"]\n' + LISTENER,
            "headrace.toml:1: rules[0]: no file matches 'nothing/*.sql' in .",
        ),
        (
            'rules = ["", "a**b"]\n' + LISTENER,
            (
                "headrace.toml:1: rules[0]: '' is no path or pattern\n"
                "headrace.toml:1: rules[1]: 'a**b' is no path or pattern"
            ),
        ),
        (
            "connections = 3\n" + LISTENER + '[sinks.s]\nconnection = "db"\n',
            (
                "headrace.toml:1: connections: expected a table, got a whole number\n"
                "headrace.toml:5: sinks.s.connection: there is no [connections.db] (known are none)"
            ),
        ),
        (
            LISTENER + "[broker]\nmax_sesions = 1\n",
            "headrace.toml:4: broker.max_sesions: unknown key (did you mean 'max_sessions'?)",
        ),
        (
            LISTENER + "[inbox]\nmax_messages = 0\n",
            "headrace.toml:4: inbox.max_messages: expected a whole number >= 1, got 0",
        ),
        (
            LISTENER + '[auth]\nproviders = ["passwd_file"]\n',
            (
                "headrace.toml:4: auth.providers[0]: there is no headrace.auth extension named 'passwd_file'; "
                "did you mean 'password_file'?"
            ),
        ),
        (
            LISTENER + '[auth]\nproviders = ["password_file"]\n',
            "headrace.toml:3: auth.password_file: `path` is missing",
        ),
        (
            LISTENER + '[auth]\n[auth.password_file]\npath = "x"\n',
            (
                "headrace.toml:4: auth.password_file: settings of a provider that is not used "
                "(`auth.providers` names none)"
            ),
        ),
        (
            LISTENER + "[auth]\nallow_anonymus = true\n",
            "headrace.toml:4: auth.allow_anonymus: unknown key (did you mean 'allow_anonymous'?)",
        ),
        (
            LISTENER + '[auth]\nallow_anonymous = "yes"\n',
            "headrace.toml:4: auth.allow_anonymous: expected true or false, got a text",
        ),
        (
            LISTENER + '[[acl]]\nallow = ["publish"]\ntopics = ["#"]\n[[acl]]\ndeny = ["read"]\ntopics = ["#"]\n',
            "headrace.toml:7: acl[1].deny[0]: expected one of 'publish', 'subscribe', got 'read'",
        ),
        (
            LISTENER + '[[acl]]\ntopics = ["#"]\n',
            "headrace.toml:3: acl[0]: needs exactly one of `allow` and `deny`",
        ),
        (
            LISTENER + '[[acl]]\nallow = ["publish"]\ntopics = ["#"]\nwho = { user = "*" }\n',
            "headrace.toml:6: acl[0].who.user: unknown key (did you mean 'username'?)",
        ),
        (
            LISTENER + '[connections.db]\ntype = "null"\n',
            "headrace.toml:4: connections.db.type: there is no headrace.connections extension named 'null'; known are "
            + ", ".join(connection_types().names()),
        ),
        (
            LISTENER + '[connections.db]\nurl = "x"\n',
            "headrace.toml:3: connections.db: `type` is missing",
        ),
        (
            LISTENER + '[connections.db]\ntype = "sql"\nurl = { environ = "X" }\n',
            'headrace.toml:5: connections.db.url: expected { env = "NAME" }, { file = "path" } or a text',
        ),
        (
            LISTENER + '[sinks.s]\ntype = "nul"\n',
            "headrace.toml:4: sinks.s.type: there is no headrace.sinks extension named 'nul'; did you mean 'null'?",
        ),
        (LISTENER + "[sinks.s]\n", "headrace.toml:3: sinks.s: needs a `type` or a `connection`"),
        (SINK + "tpye = 1\n", "headrace.toml:5: sinks.s.tpye: unknown key (did you mean 'type'?)"),
        (
            SINK + "batch = { max_row = 5 }\n",
            "headrace.toml:5: sinks.s.batch.max_row: unknown key (did you mean 'max_rows'?)",
        ),
        (
            SINK + '[sinks.s.buffer]\nmax_bytes = "1 GB of"\n',
            (
                "headrace.toml:6: sinks.s.buffer.max_bytes: expected a text like '1GiB' "
                "(units: B, kB, MB, GB, KiB, MiB, GiB, TiB), got '1 GB of'"
            ),
        ),
        (
            SINK + 'buffer = { when_full = "wait" }\n',
            "headrace.toml:5: sinks.s.buffer.when_full: expected one of 'block', 'drop_new', 'drop_oldest', got 'wait'",
        ),
        (
            SQL + 'connection = "bd"\n',
            "headrace.toml:7: sinks.s.connection: there is no [connections.bd] (known are db)",
        ),
        (LISTENER + '[sinks.s]\ntype = "file"\n', "headrace.toml:3: sinks.s: `path` is missing"),
        (
            SQL + 'connection = "db"\ntable = "t"\nurl = "sqlite:///h.db"\n',
            "headrace.toml:9: sinks.s.url: belongs to [connections.db], which this sink uses",
        ),
        (
            SQL + 'connection = "db"\ntype = "null"\n',
            "headrace.toml:7: sinks.s.connection: a sink of type 'null' needs no connection, 'db' is of type 'sql'",
        ),
        (
            LISTENER + '[admin]\nbind = "localhost"\n',
            "headrace.toml:4: admin.bind: expected 'host:port' like '0.0.0.0:1883', got 'localhost'",
        ),
        ("[listeners\n", "headrace.toml:1:11: not TOML: Expected ']' at the end of a table declaration"),
        ('a = "', "headrace.toml:1: not TOML: Unterminated string"),
        ("a = 1\na = 2\n", "headrace.toml:2:6: not TOML: Cannot overwrite a value"),
    ],
)
def test_a_bad_file(text: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "\n".join(errors(text, tmp_path)) == expected


def test_all_errors_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = 'log_level = "x"\nrulez = []\n' + SINK + 'batch = { max_rows = 0, max_age = "x" }\n[admin]\nbind = 3\n'
    found = parse(text, file="f", base_dir=tmp_path).errors
    assert [(error.line, error.path) for error in found] == [
        (1, "log_level"),
        (2, "rulez"),
        (7, "sinks.s.batch.max_rows"),
        (7, "sinks.s.batch.max_age"),
        (9, "admin.bind"),
    ]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert [str(error) for error in inspect(missing).errors] == [
        f"{missing}: there is no such file (-c FILE names another)"
    ]
    assert [error.message for error in inspect(tmp_path).errors] == ["cannot be read: Is a directory"]
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# caf\xe9\n")
    assert [error.message for error in inspect(latin).errors] == ["is not UTF-8 at byte 5"]
    with pytest.raises(ConfigError, match="there is no such file"):
        load(missing)


def test_a_rule_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "r.sql").write_bytes(b"-- \xff")
    found = parse('rules = ["r.sql"]\n' + LISTENER, file="f", base_dir=tmp_path).errors
    assert [error.message for error in found] == ["is not UTF-8 at byte 3"]


def _inline(value: Any) -> str:
    """A value as TOML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_inline(str(key))} = {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value) if isinstance(value, str | bool | int | float) else str(value)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from _places(item, (*path, key))


@pytest.mark.parametrize("junk", [3, -1, 1.5, "x", "", True, [], {}, [1], [{}], {"a": 1}, date(2026, 1, 1)])
def test_anything_anywhere_is_an_error_or_fine_but_never_an_exception(junk: Any, tmp_path: Path) -> None:
    for path in list(_places(tomllib.loads(GOOD))):
        tables = tomllib.loads(GOOD)
        inner: Any = tables
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = junk
        text = "\n".join(f"{key} = {_inline(value)}" for key, value in tables.items())
        survey = parse(text, file="f", base_dir=tmp_path)
        assert all(str(error).startswith("f:") or str(error).startswith("f: ") for error in survey.errors), path
