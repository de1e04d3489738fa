"""``headrace run`` as its users meet it: a process of its own, real MQTT clients, a SQLite file, signals."""

import json
import re
import signal
import socket
import sqlite3
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from headrace.cli import main
from tests.headrace.live import RULE, TIMEOUT, Client, Folder, Headrace, wait_until

Start = Callable[..., Headrace]
Connect = Callable[..., Client]

pytestmark = pytest.mark.integration


def meter(number: int, power: int = 7_400) -> str:
    return json.dumps({"station": f"s{number}", "power": power})


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_message_becomes_a_row(folder: Folder, headrace: Start, client: Connect, loop: str) -> None:
    service = headrace(env={"HEADRACE_EVENT_LOOP": loop}).ready()
    one = client(service.ports["mqtt"])
    assert one.connect() == 0
    one.publish("cp/1/meter", meter(1))
    one.publish("cp/1/meter", meter(2, power=-1))
    one.publish("elsewhere", meter(3))
    assert service.stop() == 0
    assert folder.rows("clientid, station, kw") == [("cp-1", "s1", 7.4)]
    assert "everything was delivered" in service.text


def test_health_readiness_and_metrics(headrace: Start, client: Connect) -> None:
    service = headrace().ready()
    assert service.get("/healthz") == "ok\n"
    wait_until(lambda: service.get("/readyz") == "ready\n")
    components = json.loads(service.get("/readyz?verbose"))["components"]
    assert set(components) == {"listeners", "sinks.meter"}
    one = client(service.ports["mqtt"])
    one.connect()
    one.publish("cp/1/meter", meter(1))
    one.publish("cp/1/meter", meter(1, power=0))
    assert service.metric("headrace_broker_messages_received_total") == 2
    wait_until(lambda: service.metric('headrace_rule_matched_total{rule="meter.meter"}') == 2)
    assert service.metric('headrace_rule_passed_total{rule="meter.meter"}') == 1
    assert service.metric('headrace_sink_rows_in_total{sink="meter"}') == 1
    assert service.stop() == 0


def test_sigterm_delivers_everything_that_was_acknowledged(folder: Folder, headrace: Start, client: Connect) -> None:
    service = headrace().ready()
    one = client(service.ports["mqtt"])
    one.connect()
    infos = [one.paho.publish("cp/1/meter", meter(number), 1) for number in range(3_000)]
    infos[500].wait_for_publish(TIMEOUT)
    assert service.stop() == 0
    one.close()
    rows = folder.rows("station")
    assert 500 < one.acknowledged <= len(rows) <= 3_000
    assert [station for (station,) in rows] == [f"s{number}" for number in range(len(rows))]


def test_a_locked_database_delays_rows_and_loses_none(folder: Folder, headrace: Start, client: Connect) -> None:
    service = headrace().ready()
    one = client(service.ports["mqtt"])
    one.connect()
    one.publish("cp/1/meter", meter(1))
    wait_until(lambda: service.metric('headrace_sink_rows_delivered_total{sink="meter"}') == 1)
    lock = sqlite3.connect(folder.database, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    for number in range(2, 12):
        one.publish("cp/1/meter", meter(number))
    service.wait_for("sink meter is unavailable and is tried again: .*database is locked")
    assert service.metric('headrace_sink_connected{sink="meter"}') == 0
    lock.execute("COMMIT")
    lock.close()
    service.wait_for("sink meter is available again")
    assert service.stop() == 0
    assert folder.rows("station") == [(f"s{number}",) for number in range(1, 12)]


def test_rows_that_cannot_be_delivered_in_time_are_reported(folder: Folder, headrace: Start, client: Connect) -> None:
    folder.replace('shutdown_timeout = "20s"', 'shutdown_timeout = "100ms"')
    service = headrace().ready()
    wait_until(lambda: service.get("/readyz") == "ready\n")
    lock = sqlite3.connect(folder.database, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    one = client(service.ports["mqtt"])
    one.connect()
    one.publish("cp/1/meter", meter(1))
    assert service.stop() == 1
    lock.close()
    assert "stopped with losses: 1 rows for meter" in service.text


def test_a_second_signal_waits_for_nothing(folder: Folder, headrace: Start, client: Connect) -> None:
    service = headrace().ready()
    wait_until(lambda: service.get("/readyz") == "ready\n")
    lock = sqlite3.connect(folder.database, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    one = client(service.ports["mqtt"])
    one.connect()
    one.publish("cp/1/meter", meter(1))
    service.send(signal.SIGTERM)
    service.wait_for("stopping: ")
    assert service.stop() == 1
    lock.close()
    assert "a second signal" in service.text
    assert "1 rows for meter" in service.text


def test_a_full_buffer_pauses_publishers_and_loses_nothing(folder: Folder, headrace: Start, client: Connect) -> None:
    folder.replace("create_table = true", "create_table = true\nbuffer = { max_rows = 10 }\nbatch = { max_rows = 5 }")
    folder.replace("[auth]", "[inbox]\nmax_messages = 10\n\n[auth]")
    service = headrace().ready()
    wait_until(lambda: service.get("/readyz") == "ready\n")
    lock = sqlite3.connect(folder.database, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    one = client(service.ports["mqtt"])
    one.connect()
    infos = [one.paho.publish("cp/1/meter", meter(number), 1) for number in range(2_000)]
    wait_until(lambda: service.metric("headrace_broker_paused_publishers") == 1)
    lock.execute("COMMIT")
    lock.close()
    infos[-1].wait_for_publish(TIMEOUT)
    assert service.stop() == 0
    assert folder.rows("station") == [(f"s{number}",) for number in range(2_000)]


def test_bad_payloads_are_counted_and_the_log_is_not_flooded(headrace: Start, client: Connect) -> None:
    service = headrace().ready()
    one = client(service.ports["mqtt"])
    one.connect()
    for _ in range(50):
        one.publish("cp/1/meter", b"\xff{not json")
    one.publish("cp/1/meter", '{"station": "s", "power": {"not": "a number"}}')
    one.publish("cp/1/meter", meter(1))
    wait_until(lambda: service.metric('headrace_rule_passed_total{rule="meter.meter"}') == 1)
    assert service.metric('headrace_rule_failed_total{reason="exception",rule="meter.meter"}') >= 50
    assert service.stop() == 0
    lines = [line for line in service.log if "rule meter.meter failed on a message of 'cp/1/meter' from 'cp-1'" in line]
    assert 1 <= len(lines) <= 4


def test_a_rule_republishes_into_the_broker(folder: Folder, headrace: Start, client: Connect) -> None:
    folder.config.write_text(
        folder.config.read_text() + '\n[sinks.again]\ntype = "mqtt"\ntopic = "alarm/${station}"\nqos = 1\n'
    )
    folder.rule('INSERT INTO again SELECT payload.station AS station FROM "cp/+/meter"', "again.sql")
    service = headrace().ready()
    one = client(service.ports["mqtt"])
    one.connect()
    one.paho.subscribe("alarm/#", 1)
    assert one.subscribed.get(timeout=TIMEOUT) == 1
    one.publish("cp/1/meter", meter(9))
    message = one.messages.get(timeout=TIMEOUT)
    assert (message.topic, message.payload) == ("alarm/s9", b'{"station":"s9"}')
    assert service.stop() == 0


def test_tls_with_client_certificates(folder: Folder, headrace: Start, client: Connect) -> None:
    authority = trustme.CA()
    server, device = authority.issue_cert("127.0.0.1"), authority.issue_cert("cp-1@example.org")
    authority.cert_pem.write_to_path(folder.path / "ca.pem")
    server.private_key_pem.write_to_path(folder.path / "server.key")
    for index, blob in enumerate(server.cert_chain_pems):
        blob.write_to_path(folder.path / "server.pem", append=index > 0)
    folder.replace(
        "[auth]",
        '[listeners.mqtts]\ntype = "tls"\nbind = "127.0.0.1:0"\n'
        'tls = { cert = "server.pem", key = "server.key", client_ca = "ca.pem", verify = "required" }\n[auth]',
    )
    device.private_key_and_cert_chain_pem.write_to_path(folder.path / "device.pem")
    service = headrace().ready()
    context = ssl.create_default_context(cafile=str(folder.path / "ca.pem"))
    context.load_cert_chain(folder.path / "device.pem")
    one = client(service.ports["mqtts"])
    one.paho.tls_set_context(context)
    assert one.connect() == 0
    one.publish("cp/1/meter", meter(1))
    assert service.stop() == 0
    assert folder.rows("station") == [("s1",)]


def test_passwords_and_the_access_list(folder: Folder, headrace: Start, client: Connect) -> None:
    from broker.password_file import add_user

    add_user(folder.path / "users.passwd", "cp-1", "secret")
    folder.replace(
        "allow_anonymous = true", 'providers = ["password_file"]\n[auth.password_file]\npath = "users.passwd"'
    )
    folder.replace('topics = ["#"]', 'topics = ["cp/${username}/#"]')
    service = headrace().ready()
    for name, password, expected in (("cp-1", "wrong", 134), ("nobody", "secret", 134), (None, None, 134)):
        other = client(service.ports["mqtt"], protocol=5)
        other.paho.username_pw_set(name, password)
        assert other.connect() in (expected, 135)
    one = client(service.ports["mqtt"])
    one.paho.username_pw_set("cp-1", "secret")
    assert one.connect() == 0
    one.paho.publish("cp/cp-2/meter", meter(2), 1)
    one.publish("cp/cp-1/meter", meter(1))
    assert service.stop() == 0
    assert folder.rows("station") == [("s1",)]
    assert "secret" not in service.text


def test_a_good_reload(folder: Folder, headrace: Start, client: Connect) -> None:
    service = headrace().ready()
    one = client(service.ports["mqtt"])
    one.connect()
    one.publish("cp/1/meter", meter(1))
    folder.rule('INSERT INTO second SELECT payload.station AS station FROM "cp/#"', "second.sql")
    second = '[sinks.second]\ntype = "sql"\nurl = "sqlite:///data/meter.db"\ntable = "second"\ncreate_table = true\n'
    folder.config.write_text(folder.config.read_text() + second)
    service.send(signal.SIGHUP)
    service.wait_for(r"reloaded: 2 rules, 2 sinks \(1 new\)")
    one.publish("cp/1/meter", meter(2))
    folder.replace(second, "")
    folder.rule("", "second.sql")
    service.send(signal.SIGHUP)
    service.wait_for(r"reloaded: 1 rules, 1 sinks \(0 new\)")
    service.wait_for("sink second was removed$")
    one.publish("cp/1/meter", meter(3))
    assert service.metric('headrace_reloads_total{result="ok"}') == 2
    assert service.stop() == 0
    assert folder.rows("station") == [("s1",), ("s2",), ("s3",)]
    assert folder.rows("station", "second") == [("s2",)]


def test_two_sinks_cannot_have_one_file(folder: Folder, headrace: Start) -> None:
    rows = '[sinks.{}]\ntype = "file"\npath = "{}.ndjson"\n'
    folder.config.write_text(folder.config.read_text() + rows.format("first", "rows"))
    service = headrace().ready()
    folder.config.write_text(folder.config.read_text() + rows.format("second", "other/../rows"))
    service.send(signal.SIGHUP)
    service.wait_for(r"sinks\.second\.path: sinks\.first has .*rows\.ndjson already")
    assert main(["check", "-c", str(folder.config)]) == 1
    folder.replace("other/../rows", "others")
    assert main(["check", "-c", str(folder.config)]) == 0
    service.send(signal.SIGHUP)
    service.wait_for(r"reloaded: 1 rules, 3 sinks \(1 new\)")
    assert service.stop() == 0


def test_a_bad_reload_changes_nothing_and_says_everything(folder: Folder, headrace: Start, client: Connect) -> None:
    service = headrace().ready()
    one = client(service.ports["mqtt"])
    one.connect()
    folder.rule('INSERT INTO nowhere SELECT * FROM "a"; SELECT nofunc(1) FROM "b"', "bad.sql")
    service.send(signal.SIGHUP)
    service.wait_for("the reload failed and nothing has changed")
    service.wait_for("unknown-target")
    service.wait_for("unknown-function")
    one.publish("cp/1/meter", meter(1))
    folder.config.write_text("rules = [")
    service.send(signal.SIGHUP)
    service.wait_for("not TOML")
    one.publish("cp/1/meter", meter(2))
    assert service.metric('headrace_reloads_total{result="failed"}') == 2
    assert service.stop() == 0
    assert folder.rows("station") == [("s1",), ("s2",)]


def test_what_a_reload_does_not_apply_is_said(folder: Folder, headrace: Start) -> None:
    service = headrace().ready()
    folder.replace("allow_anonymous = true", "allow_anonymous = false")
    service.send(signal.SIGHUP)
    service.wait_for("changes of auth take effect at the next start")
    assert service.stop() == 0


def test_sigint_stops_it_too(headrace: Start) -> None:
    assert headrace().ready().stop(signal.SIGINT) == 0


START_ERRORS: list[tuple[str, str, str]] = [
    ("shutdown_timeout", "shutdown_timout", "shutdown_timout: unknown key (did you mean 'shutdown_timeout'?)"),
    ('type = "sql"', 'type = "sqll"', "there is no headrace.sinks extension named 'sqll'; did you mean 'sql'?"),
    ('"data"\n', '"headrace.toml/data"\n', "headrace.toml:1: data_dir: "),
    ("allow_anonymous = true", 'providers = ["ldap"]', "there is no headrace.auth extension named 'ldap'"),
    ("sqlite:///data/meter.db", "sqlitee:///x", "headrace.toml:17: sinks.meter.url: "),
    (
        "allow_anonymous = true",
        'providers = ["password_file"]\npassword_file = { path = "none" }',
        "none: cannot be read: No such file or directory (create it with `headrace users add NAME`)",
    ),
]


@pytest.mark.parametrize(("old", "new", "expected"), START_ERRORS)
def test_a_start_that_fails_is_one_clear_message(
    folder: Folder, headrace: Start, old: str, new: str, expected: str
) -> None:
    folder.replace(old, new)
    service = headrace()
    assert service.end() == 1
    assert expected in service.text
    assert service.text.count("\n") == 1


def test_bad_rules_at_the_start(folder: Folder, headrace: Start) -> None:
    folder.rule(RULE.replace("INSERT INTO meter", "INSERT INTO metre"))
    service = headrace()
    assert service.end() == 1
    assert "there is no sink 'metre'" in service.text
    assert "did you mean 'meter'?" in service.text


@pytest.mark.parametrize(("section", "place"), [("listeners.mqtt", 6), ("admin", 23)])
def test_a_port_in_use(folder: Folder, headrace: Start, section: str, place: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        old = f'[{section}]\nbind = "127.0.0.1:0"'
        folder.replace(old, old.replace(":0", f":{port}"))
        service = headrace()
        assert service.end() == 1
    assert re.search(
        rf"headrace\.toml:\d+: {re.escape(section)}\.bind: cannot listen on 127\.0\.0\.1:{port}: .*in use", service.text
    )
    assert service.text.count("\n") == 1


def test_a_missing_certificate(folder: Folder, headrace: Start) -> None:
    folder.replace(
        '[listeners.mqtt]\nbind = "127.0.0.1:0"',
        '[listeners.mqtt]\ntype = "tls"\nbind = "127.0.0.1:0"\ntls = { cert = "no.pem", key = "no.key" }',
    )
    service = headrace()
    assert service.end() == 1
    assert "headrace.toml:8: listeners.mqtt.tls.cert: cannot use no.pem and no.key: No such file" in service.text


def test_an_unreachable_database_does_not_stop_the_start(folder: Folder, headrace: Start) -> None:
    (folder.path / "data").mkdir()
    folder.database.mkdir()  # a folder where the file should be
    service = headrace().ready()
    if "sink meter is unavailable" not in service.text:  # it may be told before
        service.wait_for("sink meter is unavailable and is tried again")
    assert service.get("/healthz") == "ok\n"
    with pytest.raises(OSError, match="503"):
        service.get("/readyz")
    assert service.stop() == 0


def test_a_foreign_package_of_our_name(folder: Folder, headrace: Start, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign" / "rules"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text("")
    service = headrace(env={"PYTHONPATH": str(foreign.parent)}, cwd=folder.path)
    assert service.end() == 1
    assert str(foreign) in service.text
    assert service.text.count("\n") == 1
