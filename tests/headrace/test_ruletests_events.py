"""Events of the broker as steps of ``headrace test``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.headrace.test_ruletests import Bench, Capture, expect

RULES = """\
CREATE RULE presence AS INSERT INTO presence
SELECT clientid, username, reason, conn_props.'Session-Expiry-Interval' AS expiry, keepalive, peername, timestamp
FROM "$events/client/connected", "$events/client/disconnected";
CREATE RULE lost AS INSERT INTO lost
SELECT topic, payload.x + 1 AS x, qos, from_clientid, pub_props.'User-Property' AS u
FROM "$events/message/delivery_dropped"
"""


@pytest.fixture
def bench(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.chdir(tmp_path)
    bench = Bench(tmp_path, capsys)
    bench.rules(RULES)
    return bench


def test_events_and_their_columns(bench: Bench) -> None:
    given = """
    { event = "$events/client/connected", clientid = "CP-1", peer = "10.0.0.7:1234",
      columns = { conn_props = { session_expiry_interval = 60 } } },
    { at = "5s", event = "$events/client_disconnected", clientid = "CP-1", username = "u",
      columns = { reason = "normal" } },
    """
    rows = """[
    { clientid = "CP-1", username = { is = "missing" }, reason = { is = "missing" }, expiry = 60, keepalive = 0,
      peername = "10.0.0.7:1234", timestamp = 1735689600000 },
    { clientid = "CP-1", username = "u", reason = "normal", expiry = { is = "missing" }, keepalive = { is = "missing" },
      peername = { is = "missing" }, timestamp = 1735689605000 },
    ]"""
    assert bench.one(given, expect("presence", rows)) == 0, bench.output


def test_events_about_messages(bench: Bench) -> None:
    given = """
    { event = "$events/message/delivery_dropped", clientid = "CP-2", payload = { x = 1 }, qos = 1,
      columns = { topic = "a/b", from_clientid = "CP-1", pub_props = { user_properties = { k = "v" } } } }
    """
    rows = '[{ topic = "a/b", x = 2, qos = 1, from_clientid = "CP-1", u = { k = "v" } }]'
    assert bench.one(given, expect("lost", rows)) == 0, bench.output


def test_a_rule_that_fails_on_an_event(bench: Bench) -> None:
    given = '{ event = "$events/message/delivery_dropped", payload = "no JSON" }'
    assert bench.one(given, '[[test.error]]\nrule = "lost"\ncode = "decode_json_failed"\n') == 0, bench.output
    assert bench.one(given) == 1
    assert "$events/message/delivery_dropped" in bench.output
    assert "\0" not in bench.output


def test_an_event_that_no_rule_reads_is_told(bench: Bench) -> None:
    assert bench.one('{ event = "$events/client/ping" }', expect("lost", '[{ topic = "a" }]')) == 1
    assert "no rule reads '$events/client/ping'" in bench.output


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ('event = "$events/client/conected"', "did you mean '$events/client/connected'?"),
        ('event = "$events/client/+"', "there is no event '$events/client/+'"),
        ('event = "$events/sys/alarm_activated"', "nothing raises '$events/sys/alarm_activated'"),
        ('event = "$events/client/ping", topic = "a"', "either a `topic` (a message), an `event`"),
        ('topic = "a", columns = { reason = "x" }', "`columns` belong to an `event`"),
        ('event = "$events/client/ping", columns = { clean = true }', "has no column `clean`"),
        ('event = "$events/client/ping", columns = { keepaliv = 1 }', "did you mean 'keepalive'?"),
        ('event = "$events/client/ping", columns = { keepalive = "1" }', "must be a whole number"),
        ('event = "$events/client/ping", columns = { clientid = "x" }', "is written `clientid`, beside `event`"),
        ('event = "$events/client/ping", columns = { peername = "x" }', "is written `peer`, beside `event`"),
        ('event = "$events/client/ping", columns = { conn_props = { user_properties = 1 } }', "must be a table"),
        ('event = "$events/client/ping", retain = true', "of an event it is `columns.flags`"),
    ],
)
def test_events_that_cannot_be(bench: Bench, step: str, message: str) -> None:
    assert bench.one("{ " + step + " }") == 1
    assert message in bench.errors + bench.output
