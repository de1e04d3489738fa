"""The example works: its configuration is right, its simulator's messages become rows, and the demo runs and ends."""

from __future__ import annotations

import importlib.util
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

from core.events import BY_NAME
from core.message import SYSTEM_LATE_ROWS, Message, Publisher
from core.metrics import Metrics
from headrace import config as configuration
from headrace import lookup_files
from headrace.cli import main
from headrace.lookup_rows import table_sources
from headrace.service import compile_config
from rules.runtime import Engine

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "ev-charging"
STARTED = 1_764_000_000.0
CONNECTED, DISCONNECTED = BY_NAME["$events/client/connected"], BY_NAME["$events/client/disconnected"]
TABLES = {
    *("meter_readings", "station_status", "station_presence", "transactions", "alarms"),
    *("connector_1m", "transaction_energy", "idle_stations", "late_rows"),
}


def load(name: str) -> ModuleType:
    """A program of the example as a module."""
    spec = importlib.util.spec_from_file_location(f"ev_charging_{name}", EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


simulator = load("simulator")
service = load("service")


def publications(seed: int, seconds: int) -> list:
    park = simulator.Park(60, seed, STARTED)
    return [one for step in range(seconds * 20) for one in park.advance(STARTED + step / 20)]


def demo(folder: Path, seconds: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(EXAMPLE / "demo.py"), "--data", str(folder), "--stations", "10"],
        env={**os.environ, "DEMO_SECONDS": seconds},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_configuration_is_right(capsys: pytest.CaptureFixture[str]):
    assert main(["check", "-c", str(EXAMPLE / "headrace.toml")]) == 0, capsys.readouterr()


def test_the_rules_pass_their_tests(capsys: pytest.CaptureFixture[str]):
    assert main(["test", str(EXAMPLE)]) == 0, capsys.readouterr().out
    assert "passed" in capsys.readouterr().out


def test_the_simulator_is_deterministic():
    assert publications(7, 3) == publications(7, 3)
    assert publications(7, 3) != publications(8, 3)


def test_stations_speak_below_their_own_name():
    for publication in publications(1, 5):
        assert publication.topic.startswith(f"cp/{publication.station}/")


def test_messages_become_rows():
    config = configuration.load(EXAMPLE / "headrace.toml")
    metrics = Metrics()
    failures: list[bytes] = []
    late: list[Message] = []

    def on_late(rule: str, message: Message, reason: str) -> None:
        columns = {"rule": rule, "reason": reason, "row": message.columns}
        late.append(Message(SYSTEM_LATE_ROWS, b"", columns=columns))

    engine = Engine(metrics, on_error=lambda _rule, message, _error: failures.append(message.payload), on_late=on_late)
    rules = compile_config(config)
    engine.load(rules)
    [stations] = table_sources(rules)
    engine.lookup_tables["stations"].replace(lookup_files.read(EXAMPLE / "stations.csv", stations).rows)
    messages = [
        Message(one.topic, one.payload, one.qos, one.retain, publisher=Publisher(one.station, username="stations"))
        for one in publications(1, 30)
    ]
    messages += [
        Message(event.source, b"", columns={"event": event.name, "clientid": "CP-0001", "username": name, **more})
        for event, more in ((CONNECTED, {}), (DISCONNECTED, {"reason": "tcp_closed"}))
        for name in ("stations", "operator")
    ]
    now = int((STARTED + 30) * 1e9)
    batches = engine.process(messages, now)
    while (due := engine.next_deadline) is not None:
        now = max(now, due)
        batches += engine.advance(now)
    rows: Counter[str] = Counter()
    for batch in [*batches, *engine.process(late, now)]:
        rows[batch.target] += len(batch.rows)
        assert not [row for row in batch.rows if None in row]
    assert set(rows) == set(config.sinks)
    malformed = [message.payload for message in messages if message.payload and not message.payload.endswith(b"}")]
    assert malformed
    assert set(failures) == set(malformed)
    assert rows["alarms"] == rows["alarm_topic"]
    assert rows["meter_readings"] > 1_000
    assert rows["station_presence"] == 2
    assert rows["idle_stations"] == simulator.CUT_OFF + 60


@pytest.mark.integration
def test_the_demo_runs_and_ends(tmp_path: Path):
    run = demo(tmp_path / "data", "3")
    output, errors = run.communicate(timeout=60)
    assert (run.returncode, errors) == (0, "")
    assert "10 stations are connected" in output
    assert "rows per target" in output
    with closing(sqlite3.connect(tmp_path / "data" / "headrace.db")) as database:
        for table in TABLES:
            [[rows]] = database.execute(f'SELECT count(*) FROM "{table}"')  # noqa: S608
            assert rows > 0, table
        states = dict(database.execute("SELECT state, count(DISTINCT station) FROM station_presence GROUP BY state"))
        assert states == {"online": 10, "offline": 10}
        [[odd]] = database.execute("SELECT count(*) FROM meter_readings WHERE kw IS NULL OR measured_at IS NULL")
        assert odd == 0


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_ends_well_when_it_is_interrupted(tmp_path: Path, number: signal.Signals):
    run = demo(tmp_path / "data", "0")
    assert run.stdout is not None
    for line in run.stdout:
        if "stations are connected" in line:
            break
    run.send_signal(number)
    output, errors = run.communicate(timeout=60)
    assert (run.returncode, errors) == (0, "")
    assert "rows per target" in output


@pytest.mark.integration
def test_a_service_that_does_not_start_says_why(tmp_path: Path):
    broken = service.Service(tmp_path)
    broken.admin_port = 0  # nobody answers there; on the default port a demo that runs beside the tests might
    broken.config = tmp_path / "headrace.toml"
    broken.config.write_text('[listeners.mqtt]\nbind = "127.0.0.1:0"\n[sinks.x]\ntype = "sqll"\n')
    with pytest.raises(service.DemoError, match="did you mean 'sql'"):
        broken.start()
    assert broken.stop() == 1


def test_two_demos_do_not_share_a_folder(tmp_path: Path):
    first, second = service.Service(tmp_path), service.Service(tmp_path)
    for account in service.ACCOUNTS:
        first.password_path(account).write_text("x\n")
    (tmp_path / "users.passwd").touch()
    first.prepare()
    with pytest.raises(service.DemoError, match="another demo is running"):
        second.prepare()
    first.stop()
    second.prepare()
    second.stop()
