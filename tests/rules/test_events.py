"""Rules on events: the columns of each kind, several kinds in one FROM, and eval."""

from __future__ import annotations

import linecache
from typing import Any

import pytest

from core.errors import RuleError
from core.events import BY_NAME, COLUMNS, COMMON, EVENTS, RAISED, events_of
from core.message import MISSING, Batch, Message, Publisher, Type
from core.metrics import Metrics
from rules.columns import MESSAGE_COLUMNS
from rules.compiler import RuleSource, compile_rules
from rules.evaluate import EvalError, evaluate
from rules.runtime import Engine
from rules.sources import columns_of

NOW = 1_700_000_000_123_456_789


def event(path: str, payload: bytes | None = None, publisher: Publisher | None = None, **columns: Any) -> Message:
    """An event as the broker makes it."""
    [found] = [one for one in EVENTS if one.path == path]
    if payload is not None:
        columns["payload"] = payload
    return Message(
        found.source,
        payload or b"",
        publisher=publisher or Publisher(columns.get("clientid", "")),
        received_ns=NOW,
        columns={**columns, "event": found.name},
        document={} if payload is None else MISSING,
    )


def run(sql: str, *messages: Message) -> list[Batch]:
    failures: list[str] = []
    engine = Engine(Metrics(), node="n1", on_error=lambda _rule, _message, error: failures.append(str(error)))
    engine.load(compile_rules([RuleSource("r.sql", sql)]))
    batches = engine.process(messages, 0)
    assert failures == []
    return batches


def rows(sql: str, *messages: Message) -> list[tuple[Any, ...]]:
    return [row for batch in run(sql, *messages) for row in batch.rows]


# The table.


def test_every_name_means_one_event() -> None:
    assert len(BY_NAME) == len(EVENTS) + sum(one.legacy is not None for one in EVENTS)
    for one in EVENTS:
        assert events_of(one.topic) == (one,)
        if one.legacy:
            assert events_of(f"$events/{one.legacy}") == (one,)
        assert one.certain <= set(one.columns) <= COLUMNS.keys()
        assert not set(one.columns) & set(COMMON)


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("$events/#", [one.path for one in RAISED]),
        ("$events/client/+", ["client/connected", "client/disconnected", "client/connack", "client/ping"]),
        ("$events/+/connected", ["client/connected"]),
        ("$events/sys/#", []),
        ("$events/+", []),
        ("$events/client_+", []),
        ("$events/client/connecte", []),
    ],
)
def test_names_with_wildcards(name: str, paths: list[str]) -> None:
    assert [one.path for one in events_of(name)] == paths


def test_columns_mean_the_same_in_events_and_messages() -> None:
    for name in MESSAGE_COLUMNS.specs.keys() & COLUMNS.keys():
        assert MESSAGE_COLUMNS.specs[name].type is COLUMNS[name].type, name
    for one in EVENTS:
        assert list(columns_of([one], messages=False).specs) == [*one.columns, *COMMON]
        mixed = columns_of([one], messages=True).specs
        assert mixed.keys() == {*MESSAGE_COLUMNS.specs, *one.columns}


# One kind.


def test_all_columns_of_an_event() -> None:
    properties = {"session_expiry_interval": 60, "user_properties": [("a", "1"), ("a", "2")]}
    message = event(
        "client/connected",
        clientid="cp1",
        username="u",
        peername="10.0.0.7:1234",
        proto_name="MQTT",
        proto_ver=5,
        keepalive=60,
        clean_start=True,
        receive_maximum=20,
        expiry_interval=60,
        is_bridge=False,
        conn_props=properties,
        connected_at=1_700_000_000_100,
        client_attrs={},
    )
    [batch] = run('CREATE RULE every AS INSERT INTO out SELECT * FROM "$events/client/connected"', message)
    assert dict(zip(batch.schema.names, batch.rows[0], strict=True)) == {
        "clientid": "cp1",
        "username": "u",
        "mountpoint": MISSING,
        "peername": "10.0.0.7:1234",
        "sockname": MISSING,
        "proto_name": "MQTT",
        "proto_ver": 5,
        "keepalive": 60,
        "clean_start": True,
        "receive_maximum": 20,
        "expiry_interval": 60,
        "is_bridge": False,
        "conn_props": {
            "Session-Expiry-Interval": 60,
            "User-Property": {"a": "2"},
            "User-Property-Pairs": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}],
        },
        "connected_at": 1_700_000_000_100,
        "client_attrs": {},
        "event": "client.connected",
        "timestamp": 1_700_000_000_123,
        "node": "n1",
        "metadata": {"rule_id": "every"},
    }
    assert batch.schema.types[batch.schema.names.index("connected_at")] is Type.BIGINT


def test_properties_that_a_packet_did_not_have_are_an_empty_map() -> None:
    sql = 'INSERT INTO out SELECT disconn_props, disconn_props.x AS x FROM "$events/client/disconnected"'
    assert rows(sql, event("client/disconnected", disconn_props=None)) == [({}, MISSING)]


def test_one_subscription_identifier_is_a_number() -> None:
    sql = "INSERT INTO out SELECT sub_props.'Subscription-Identifier' AS i FROM '$events/session/subscribed'"
    events = [event("session/subscribed", sub_props={"subscription_identifier": given}) for given in ([4], [4, 5])]
    assert rows(sql, *events) == [(4,), ([4, 5],)]


def test_the_payload_of_a_message_that_an_event_is_about() -> None:
    sql = 'INSERT INTO out SELECT payload, payload.power AS power, flags.retain AS r FROM "$events/message/delivered"'
    message = event("message/delivered", b'{"power": 7}', flags={"retain": True})
    assert rows(sql, message, event("message/delivered", b"{}")) == [
        ('{"power": 7}', 7, True),
        ("{}", MISSING, MISSING),
    ]


def test_functions_of_the_message_read_its_columns() -> None:
    sql = (
        "INSERT INTO out SELECT topic(2) AS part, qos() AS q, clientid() AS c, payload('power') AS p, "
        "flag('retain') AS r "
        'FROM "$events/message/acked"'
    )
    message = event("message/acked", b'{"power": 7}', topic="cp/1", qos=1, clientid="a", flags={"retain": True})
    assert rows(sql, message) == [("1", 1, "a", 7, True)]
    with pytest.raises(RuleError, match=r"qos\(\) reads the column 'qos', which this source does not have"):
        rows('INSERT INTO out SELECT qos() AS q FROM "$events/client/connected"')


def test_old_names_are_the_same_events() -> None:
    sql = 'INSERT INTO out SELECT clientid, event FROM "$events/client_connected"'
    assert rows(sql, event("client/connected", clientid="a")) == [("a", "client.connected")]


def test_foreach_over_a_column_of_an_event() -> None:
    sql = (
        "INSERT INTO out FOREACH conn_props.'User-Property-Pairs' AS p DO clientid, p.value AS v "
        'FROM "$events/client/connected"'
    )
    message = event("client/connected", clientid="a", conn_props={"user_properties": [("k", "1"), ("k", "2")]})
    assert rows(sql, message) == [("a", "1"), ("a", "2")]


def test_a_wildcard_of_topics_matches_no_event() -> None:
    assert run('INSERT INTO out SELECT clientid FROM "#"', event("client/connected", clientid="a")) == []


# Several kinds.


def test_topics_and_events_in_one_from() -> None:
    sql = (
        "INSERT INTO out SELECT event, clientid, topic, qos, peerhost, sockname, payload.x AS x, payload "
        'FROM "t/#", "$events/client/connected", "$events/session/subscribed"'
    )
    device = Publisher("dev", peer_host="10.0.0.7", peer_port=1)
    assert rows(
        sql,
        Message("t/1", b'{"x": 1}', 1, publisher=device, received_ns=NOW),
        event("client/connected", clientid="a", sockname="10.0.0.1:1883"),
        event("session/subscribed", clientid="b", topic="t/#", qos=2, peerhost="10.0.0.8"),
    ) == [
        ("message.publish", "dev", "t/1", 1, "10.0.0.7", MISSING, 1, '{"x": 1}'),
        ("client.connected", "a", MISSING, MISSING, MISSING, "10.0.0.1:1883", MISSING, MISSING),
        ("session.subscribed", "b", "t/#", 2, "10.0.0.8", MISSING, MISSING, MISSING),
    ]


def test_all_columns_of_several_kinds_are_those_of_each() -> None:
    sql = 'CREATE RULE every AS INSERT INTO out SELECT *, 1 AS one FROM "t", "$events/client/+", "$events/auth/#"'
    first, second, third = run(
        sql,
        Message("t", b"hi", publisher=Publisher("dev"), received_ns=NOW),
        event("client/disconnected", clientid="a", reason="normal"),
        event("client/disconnected", clientid="b", reason="kicked"),
        event("client/connack", reason_code="success"),
    )
    assert first.schema.names == (*MESSAGE_COLUMNS.specs, "one")
    assert second.schema.names == (*BY_NAME["$events/client/disconnected"].columns, *COMMON, "one")
    assert [row[:2] for row in second.rows] == [("normal", "a"), ("kicked", "b")]
    assert dict(zip(third.schema.names, third.rows[0], strict=True))["metadata"] == {"rule_id": "every"}


def test_all_columns_of_several_kinds_keep_the_order_of_the_messages() -> None:
    coming, going = event("client/connected", clientid="a"), event("client/disconnected", clientid="a")
    sql = 'INSERT INTO out SELECT * FROM "$events/client/disconnected", "$events/client/connected"'
    batches = run(sql, coming, going, coming, coming)
    assert [(batch.schema.names[0], len(batch.rows)) for batch in batches] == [
        ("clientid", 1),
        ("reason", 1),
        ("clientid", 2),
    ]


def test_columns_that_one_kind_lacks_may_be_left_out_and_replaced() -> None:
    sql = (
        "INSERT INTO out SELECT * EXCEPT (client_attrs, conn_props, puback_props) REPLACE (upper(reason) AS reason) "
        'FROM "$events/client/disconnected", "$events/client/ping", "$events/message/acked"'
    )
    gone, ping = run(
        sql, event("client/disconnected", clientid="a", reason="normal"), event("client/ping", clientid="a")
    )
    assert gone.rows[0][gone.schema.names.index("reason")] == "NORMAL"
    assert {"reason", "conn_props", "client_attrs"}.isdisjoint(ping.schema.names)


def test_foreach_without_do_has_all_columns_of_each_kind() -> None:
    sql = "INSERT INTO out FOREACH conn_props.'User-Property-Pairs' AS p FROM \"$events/client/+\""
    [batch] = run(
        sql,
        event("client/ping", clientid="a", conn_props={"user_properties": [("k", "1"), ("k", "2")]}),
        event("client/disconnected", clientid="a"),
    )
    assert batch.schema.names == (*BY_NAME["$events/client/ping"].columns, *COMMON, "p")
    assert [row[-1] for row in batch.rows] == [{"key": "k", "value": "1"}, {"key": "k", "value": "2"}]


def test_a_rule_of_several_parts_counts_and_fails_as_one() -> None:
    metrics, failures = Metrics(), []
    engine = Engine(metrics, on_error=lambda _rule, message, error: failures.append((message.topic, error.stage)))
    sql = (
        "CREATE RULE r AS INSERT INTO out SELECT *, keepalive + 1 AS k FROM \"$events/client/+\" WHERE clientid != 'x'"
    )
    engine.load(compile_rules([RuleSource("r.sql", sql)]))
    messages = [
        event("client/ping", clientid="a", keepalive=1),
        event("client/disconnected", clientid="a"),
        event("client/ping", clientid="x", keepalive=1),
        event("client/ping", clientid="b", keepalive=2),
    ]
    assert [batch.rows[0][-1] for batch in engine.process(messages, 0)] == [2, 3]
    assert failures == [("$events/client/disconnected\0", "select_and_transform_error")]
    counts = {(family.name, *sample.labels): sample.value for family in metrics.collect() for sample in family.samples}
    assert (counts["headrace_rule_matched_total", "r"], counts["headrace_rule_passed_total", "r"]) == (4, 2)
    assert counts["headrace_rule_failed_total", "r", "no_result"] == 1
    assert counts["headrace_rule_failed_total", "r", "exception"] == 1


def test_types_of_several_kinds() -> None:
    specs = columns_of([BY_NAME["$events/client/connected"]], messages=True).specs
    assert specs["clientid"].always
    assert specs["timestamp"].always
    assert not specs["topic"].always
    assert not specs["keepalive"].always


def test_the_code_of_each_part_shows_in_tracebacks() -> None:
    sql = (
        'CREATE RULE "two parts" AS INSERT INTO out SELECT *, timestamp div qos AS x FROM "t", "$events/message/acked"'
    )
    [rule] = compile_rules([RuleSource("r.sql", sql)]).rules
    names = [part.program.code.co_filename for part in rule.parts]
    assert names == ["<rule two parts>", "<rule two parts, part 2>"]
    assert [linecache.getlines(name) for name in names] == [
        part.program.source.splitlines(keepends=True) for part in rule.parts
    ]


# The loop guard.


def test_a_rule_is_not_fed_with_what_it_causes() -> None:
    sql = (
        'CREATE RULE a AS INSERT INTO x SELECT clientid FROM "$events/message/delivered";'
        'CREATE RULE b AS INSERT INTO y SELECT clientid FROM "$events/message/delivered"'
    )
    caused = Publisher("cp2", rule="a", hops=1)
    [batch] = run(sql, event("message/delivered", b"", caused, clientid="cp2"))
    assert (batch.rule, batch.rows, batch.hops) == ("b", [("cp2",)], 1)


# Eval.


def test_eval_takes_the_columns_that_it_is_given() -> None:
    sql = 'SELECT clientid, reason, conn_props.x AS x FROM "$events/client_disconnected", "$events/client/+"'
    assert evaluate(sql, {"clientid": "a", "reason": "normal"}) == [{"clientid": "a", "reason": "normal", "x": MISSING}]
    assert evaluate('SELECT name FROM "$events/sys/alarm_activated"', {"name": "hot"}) == [{"name": "hot"}]


def test_eval_knows_no_other_events_either() -> None:
    with pytest.raises(EvalError, match=r"there is no event '\$events/client/conected'") as caught:
        evaluate('SELECT clientid FROM "$events/client/conected"', {"clientid": "a"})
    assert (caught.value.stage, caught.value.code) == ("bind", "unknown-source")
    assert "did you mean '$events/client/connected'?" in str(caught.value)
