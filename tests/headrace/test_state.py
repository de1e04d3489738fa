"""State and environment of rules in a running service: kv_store_* over restarts, proc_dict_*, getenv."""

import json
import signal
from collections.abc import Callable

import pytest

from tests.headrace.live import Client, Folder, Headrace, wait_until

Start = Callable[..., Headrace]
Connect = Callable[..., Client]

pytestmark = pytest.mark.integration

RULE = """
INSERT INTO meter SELECT clientid, getenv('SITE') AS site, coalesce(proc_dict_get('n'), 0) + 1 AS own,
  proc_dict_put('n', coalesce(proc_dict_get('n'), 0) + 1) AS before,
  kv_store_put('all', coalesce(kv_store_get('all'), 0) + 1) AS put, kv_store_get('all') AS total
FROM "cp/+/meter"
"""


def test_what_rules_keep(folder: Folder, headrace: Start, client: Connect) -> None:
    folder.replace("[sinks.meter]", '[functions]\nenv = ["SITE"]\nkv_store = { persist = true }\n[sinks.meter]')
    folder.rule(RULE)
    service = headrace(env={"SITE": "north"}).ready()
    one = client(service.ports["mqtt"])
    one.connect()
    one.publish("cp/1/meter", "{}")
    one.publish("cp/1/meter", "{}")
    wait_until(lambda: service.metric("headrace_kv_store_entries") == 1)
    folder.rule(RULE.replace("cp/+/meter", "cp/#"))
    folder.replace("persist = true", "persist = true, max_entries = 5")
    service.process.send_signal(signal.SIGHUP)
    wait_until(lambda: service.metric('headrace_reloads_total{result="ok"}') == 1)
    one.publish("cp/1/meter", "{}")
    two = client(service.ports["mqtt"], "cp-2")
    two.connect()
    two.publish("cp/2/meter", "{}")
    assert service.stop() == 0
    assert "changes of functions.kv_store take effect at the next start" in service.text
    service = headrace(env={"SITE": "north"}).ready()
    again = client(service.ports["mqtt"])
    again.connect()
    again.publish("cp/1/meter", "{}")
    assert service.stop() == 0
    assert folder.rows("clientid, site, own, total") == [
        ("cp-1", "north", 1, 1),
        ("cp-1", "north", 2, 2),
        ("cp-1", "north", 3, 3),
        ("cp-2", "north", 1, 4),
        ("cp-1", "north", 1, 5),
    ]


def test_a_forbidden_variable_is_an_error_of_the_rule(folder: Folder, headrace: Start) -> None:
    folder.rule("INSERT INTO meter SELECT getenv('HOME') AS home FROM \"t\"")
    service = headrace()
    assert service.end() == 1
    assert "rules may not read the environment variable 'HOME'" in service.text
    assert "name it in `[functions] env`, or set EMQXVAR_HOME" in service.text


def test_persisting_needs_a_folder(folder: Folder, headrace: Start) -> None:
    folder.replace('data_dir = "data"\n', "")
    folder.replace("[sinks.meter]", "[functions.kv_store]\npersist = true\n[sinks.meter]")
    service = headrace()
    assert service.end() == 1
    assert "functions.kv_store.persist: there is no data_dir" in service.text


@pytest.mark.parametrize("pattern", ["(a+)+$", "^(?=(a|aa|a?)+$)(?:(?:a{30}){30}){30}b"])
def test_an_evil_text_does_not_stop_the_service(folder: Folder, headrace: Start, client: Connect, pattern: str) -> None:
    matches = f"regex_match(payload.x, '{pattern}') OR payload.n = 2"
    folder.rule(f'INSERT INTO meter SELECT clientid, payload.n AS kw FROM "cp/+/meter" WHERE {matches}')  # noqa: S608
    service = headrace().ready()
    one = client(service.ports["mqtt"])
    one.connect()
    one.publish("cp/1/meter", json.dumps({"x": "a" * 50_000 + "!", "n": 1}))
    one.publish("cp/1/meter", json.dumps({"x": "aaa", "n": 2}))
    assert service.stop() == 0
    assert folder.rows("clientid, kw") == [("cp-1", 2)]


def test_jq_in_the_service(folder: Folder, headrace: Start, client: Connect) -> None:
    folder.rule("INSERT INTO meter SELECT clientid, jq('[range(.n)] | add', payload)[1] AS kw FROM \"cp/+/meter\"")
    service = headrace().ready()
    one = client(service.ports["mqtt"])
    one.connect()
    one.publish("cp/1/meter", json.dumps({"n": 4}))
    assert service.stop() == 0
    assert folder.rows("clientid, kw") == [("cp-1", 6)]
