"""Rows that no sink takes and sinks that are out of reach, in the whole service."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.config import parse
from tests.headrace.live import Client, Folder, Headrace, wait_until

Start = Callable[..., Headrace]
Connect = Callable[..., Client]

ERRORS = """
[sinks.trouble]
type = "file"
path = "trouble.ndjson"
"""
RULES = """\
INSERT INTO meter SELECT payload.id AS id, payload.station AS station FROM "cp/+/meter";
INSERT INTO trouble SELECT sink, rule, reason, row.id AS id FROM system.errors;
"""


@pytest.mark.integration
def test_refused_rows_reach_the_sink_of_a_rule_and_the_admin_server(
    folder: Folder, headrace: Start, client: Connect
) -> None:
    folder.replace("create_table = true", 'create_table = true\nkey = ["id"]')
    folder.config.write_text(folder.config.read_text() + ERRORS)
    folder.rule(RULES)
    service = headrace().ready()
    one = client(service.ports["mqtt"])
    one.connect()
    for number in (1, 2, 1, 3):
        one.publish("cp/1/meter", json.dumps({"id": number, "station": "a"}))
    wait_until(lambda: len(folder.lines("trouble.ndjson")) == 1)
    [found] = folder.lines("trouble.ndjson")
    assert (found["sink"], found["rule"], found["id"]) == ("meter", "meter.meter", 1)
    assert "UNIQUE" in str(found["reason"])
    [page] = json.loads(service.get("/errors"))
    assert (page["kind"], page["row"]) == ("rejected", {"id": 1, "station": "a"})
    assert service.stop() == 0
    assert folder.rows("id") == [(1,), (2,), (3,)]


@pytest.mark.integration
def test_rows_go_to_another_sink_while_theirs_is_out_of_reach(folder: Folder, headrace: Start, client: Connect) -> None:
    (folder.path / "data").mkdir()
    (folder.path / "data" / "meter.db").mkdir()  # nothing that SQLite could open
    folder.replace("retry = {", 'on_unavailable = { sink = "trouble", after = "100ms" }\nretry = {')
    folder.config.write_text(folder.config.read_text() + ERRORS)
    folder.rule(RULES.splitlines()[0])
    service = headrace().ready()
    one = client(service.ports["mqtt"])
    one.connect()
    for number in range(3):
        one.publish("cp/1/meter", json.dumps({"id": number, "station": "a"}))
    wait_until(lambda: len(folder.lines("trouble.ndjson")) == 3)
    assert service.metric('headrace_sink_rows_diverted_total{sink="meter"}') == 3
    (folder.path / "data" / "meter.db").rmdir()
    wait_until(lambda: service.metric('headrace_sink_connected{sink="meter"}') == 1)
    one.publish("cp/1/meter", json.dumps({"id": 3, "station": "a"}))
    assert service.stop() == 0
    assert folder.rows("id") == [(3,)]
    assert [line["id"] for line in folder.lines("trouble.ndjson")] == [0, 1, 2]


HEAD = '[listeners.mqtt]\nbind = "127.0.0.1:1883"\n'


@pytest.mark.parametrize(
    ("fallbacks", "message"),
    [
        ({"a": "c", "b": ""}, "5: sinks.a.on_unavailable.sink: there is no sink 'c'"),
        ({"a": "a"}, "5: sinks.a.on_unavailable.sink: leads back here: a -> a"),
        ({"a": "b", "b": "a"}, "5: sinks.a.on_unavailable.sink: leads back here: a -> b -> a"),
    ],
)
def test_fallbacks_that_cannot_be(fallbacks: dict[str, str], message: str) -> None:
    sinks = "".join(
        f'[sinks.{name}]\ntype = "null"\n' + (f'on_unavailable = {{ sink = "{other}" }}\n' if other else "")
        for name, other in fallbacks.items()
    )
    survey = parse(HEAD + sinks, file="x", base_dir=Path())
    assert survey.config is None
    assert message in str(survey.errors[0])


def test_the_columns_of_a_fallback_are_known() -> None:
    text = '[sinks.a]\ntype = "null"\non_unavailable = { sink = "b" }\n[sinks.b]\ntype = "null"\n'
    survey = parse(HEAD + text, file="x", base_dir=Path())
    assert survey.config is not None
    assert survey.config.sinks["a"].fallback == "b"
    assert survey.config.sinks["b"].fallback is None
