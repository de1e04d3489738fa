"""The rules of a running service: several sinks, options, the admin server's list, a rule that switches itself off."""

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.headrace.live import Client, Folder, Headrace, wait_until

pytestmark = pytest.mark.integration

RULES = """\
CREATE RULE power WITH (description = 'kW', tags = 'meter, billing') AS
INSERT INTO meter, counted SELECT clientid, payload.station AS station, payload.power / 1000 AS kw FROM "cp/+/meter";
CREATE RULE idle WITH (enabled = false) AS INSERT INTO counted SELECT topic FROM "never";
CREATE RULE broken WITH (on_error = 'disable', disable_after = 2) AS
INSERT INTO counted SELECT 1 / payload.station AS x FROM "broken";
CREATE RULE quiet WITH (on_error = 'ignore') AS INSERT INTO counted SELECT 1 / payload.station AS x FROM "quiet";
"""


@pytest.fixture
def service(folder: Folder, headrace: Callable[..., Headrace]) -> Headrace:
    folder.rule(RULES)
    folder.config.write_text(folder.config.read_text() + '\n[sinks.counted]\ntype = "null"\n')
    return headrace().ready()


def rules(service: Headrace) -> dict[str, dict[str, Any]]:
    return {rule["name"]: rule for rule in json.loads(service.get("/rules"))}


def test_rows_go_to_every_sink_and_rules_are_listed(
    folder: Folder, service: Headrace, client: Callable[..., Client]
) -> None:
    device = client(service.ports["mqtt"])
    device.connect()
    for power in (1000, 2000):
        device.publish("cp/1/meter", json.dumps({"station": "a", "power": power}))
    device.publish("cp/1/meter", '{"station"')
    wait_until(lambda: service.metric('headrace_sink_rows_delivered_total{sink="counted"}') == 2)
    wait_until(lambda: service.metric('headrace_sink_rows_delivered_total{sink="meter"}') == 2)
    assert folder.rows() == [("cp-1", "a", 1.0), ("cp-1", "a", 2.0)]
    listed = rules(service)
    assert list(listed) == ["power", "idle", "broken", "quiet"]
    sql = RULES.split(";", maxsplit=1)[0]
    assert {key: value for key, value in listed["power"].items() if key != "file"} == {
        "name": "power",
        "state": "running",
        "reason": None,
        "description": "kW",
        "tags": ["meter", "billing"],
        "on_error": "report",
        "filters": ["cp/+/meter"],
        "reads": [],
        "targets": ["meter", "counted"],
        "columns": {"clientid": "TEXT", "station": "ANY", "kw": "DOUBLE"},
        "line": 1,
        "sql": sql,
        "matched": 3,
        "passed": 2,
        "failed": {"no_result": 0, "exception": 1},
        "rows": {"meter": 2, "counted": 2},
    }
    assert listed["power"]["file"].endswith("meter.sql")
    assert (listed["idle"]["state"], listed["idle"]["matched"]) == ("disabled", 0)


def test_a_rule_that_fails_on_everything_is_switched_off_until_a_reload(
    service: Headrace, client: Callable[..., Client]
) -> None:
    device = client(service.ports["mqtt"])
    device.connect()
    for _ in range(3):
        device.publish("quiet", '{"station": 0}')
        device.publish("broken", '{"station": 0}')
    service.wait_for(r"rule broken is switched off until the next reload: 2 messages in a row failed")
    wait_until(lambda: service.get("/readyz") == "ready\n")
    part = json.loads(service.get("/readyz?verbose"))["components"]["rules.broken"]
    assert part["state"] == "disabled"
    assert part["last_error"].startswith("2 messages in a row failed, the last with: ")
    wait_until(lambda: rules(service)["quiet"]["failed"]["exception"] == 3)
    before = rules(service)["broken"]
    assert (before["state"], before["passed"]) == ("failed", 0)
    device.publish("broken", '{"station": 1}')
    device.publish("quiet", '{"station": 1}')
    wait_until(lambda: rules(service)["quiet"]["passed"] == 1)
    assert rules(service)["broken"] == before
    assert {letter["rule"] for letter in json.loads(service.get("/errors"))} == {"broken"}
    assert service.metric('headrace_rule_enabled{rule="broken"}') == 0
    service.send(signal.SIGHUP)
    service.wait_for("reloaded")
    assert rules(service)["broken"]["state"] == "running"
    assert "rules.broken" not in json.loads(service.get("/readyz?verbose"))["components"]
    assert "quiet" not in service.text
