"""The engine: columns, order, one decoding per message, isolated failures, the loop guard, swaps, counters."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from typing import Any

import pytest

from core.clock import MILLISECOND
from core.errors import RuleError
from core.matching import MatchCache
from core.message import MISSING, SYSTEM_ERRORS, Batch, Message, Publisher, Type
from core.metrics import Histogram, Metrics
from rules import paths
from rules.codegen import program
from rules.compiler import RuleSet, RuleSource, compile_rules
from rules.loaded import RuleFailure
from rules.runtime import Engine

# ruff: noqa: S608, SIM905 - SQL from strings is what is tested here

DEVICE = Publisher("dev-1", username="u", peer_host="10.0.0.7", peer_port=1234)


def compiled(sql: str) -> RuleSet:
    return compile_rules([RuleSource("rules/r.sql", sql)])


class Service:
    """An engine with its match cache and what it reported."""

    def __init__(self, sql: str) -> None:
        self.metrics = Metrics()
        self.failures: list[tuple[str, str, str, str]] = []
        self.disabled: list[tuple[str, str]] = []
        self.engine = Engine(
            self.metrics, node="n1", on_error=self._failed, on_disabled=lambda *rule: self.disabled.append(rule)
        )
        self.matches = MatchCache(lambda _topic: (), self.engine.rules_for)
        self.load(sql)

    def _failed(self, rule: str, message: Message, error: Exception) -> None:
        assert isinstance(error, RuleFailure)
        self.failures.append((rule, message.topic, error.stage, error.code))

    def load(self, sql: str) -> None:
        self.engine.load(compiled(sql))
        self.matches.clear()

    def message(self, topic: str, payload: str | bytes = b"{}", publisher: Publisher = DEVICE, **rest: Any) -> Message:
        data = payload.encode() if isinstance(payload, str) else payload
        return Message(topic, data, publisher=publisher, match=self.matches.look_up(topic), **rest)

    def process(self, *messages: Message) -> list[Batch]:
        return self.engine.process(messages, 0)

    def counts(self) -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {}
        for family in self.metrics.collect():
            for labels, value in family.samples:
                if value and family.kind == "counter" and family.name != "headrace_rule_rows_total":
                    name = family.name.removeprefix("headrace_rule_").removesuffix("_total")
                    found[name, *labels] = value  # type: ignore[assignment]
        return found


def rows(batches: Iterable[Batch]) -> list[tuple[str, list[tuple[Any, ...]]]]:
    return [(batch.rule, batch.rows) for batch in batches]


def test_all_columns_of_a_message() -> None:
    service = Service('CREATE RULE every AS INSERT INTO out SELECT * FROM "t/#"')
    properties = {
        "content_type": "text/plain",
        "correlation_data": b"id",
        "user_properties": [("a", "1"), ("a", "2")],
        "response_topic": None,
    }
    message = service.message(
        "t/1", "hello", qos=1, retain=True, received_ns=1_700_000_000_123_456_789, properties=properties
    )
    [batch] = service.process(message)
    row = dict(zip(batch.schema.names, batch.rows[0], strict=True))
    identity = row.pop("id")
    assert len(identity) == 32
    assert int(identity, 16) >= 0
    assert row == {
        "clientid": "dev-1",
        "username": "u",
        "payload": "hello",
        "peerhost": "10.0.0.7",
        "peername": "10.0.0.7:1234",
        "topic": "t/1",
        "qos": 1,
        "flags": {"retain": True, "dup": False, "sys": False},
        "pub_props": {
            "Content-Type": "text/plain",
            "Correlation-Data": "id",
            "User-Property": {"a": "2"},
            "User-Property-Pairs": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}],
        },
        "publish_received_at": 1_700_000_000_123,
        "timestamp": 1_700_000_000_123,
        "node": "n1",
        "event": "message.publish",
        "metadata": {"rule_id": "every"},
        "client_attrs": {},
    }
    assert batch.schema.types[batch.schema.names.index("qos")] is Type.BIGINT


def test_columns_that_a_publisher_lacks_are_missing() -> None:
    service = Service('INSERT INTO out SELECT username, peerhost, peername, payload FROM "t"')
    [batch] = service.process(service.message("t", b"\xff", publisher=Publisher("local")))
    assert batch.rows == [(MISSING, MISSING, MISSING, b"\xff")]


def test_identity_of_a_message_is_the_same_for_all_rules_and_differs_between_messages() -> None:
    service = Service('INSERT INTO a SELECT id FROM "t"; INSERT INTO b SELECT id FROM "t"')
    first, second = service.process(service.message("t"), service.message("t"))
    assert first.rows == second.rows
    assert first.rows[0] != first.rows[1]


def test_ipv6_peers_are_bracketed() -> None:
    service = Service('INSERT INTO out SELECT peername FROM "t"')
    [batch] = service.process(service.message("t", publisher=Publisher("x", peer_host="::1", peer_port=5)))
    assert batch.rows == [("[::1]:5",)]


TWO_RULES = """
CREATE RULE wide AS INSERT INTO out SELECT payload.n AS n FROM "a/#", "b";
CREATE RULE narrow AS INSERT INTO out SELECT payload.n AS n FROM "a/1", "+/2";
CREATE RULE sys AS INSERT INTO out SELECT payload.n AS n FROM "#";
"""


def test_each_rule_sees_its_messages_in_order() -> None:
    service = Service(TWO_RULES)
    topics = ["a/1", "b", "a/2", "x/2", "a/1", "a/3", "b", "$SYS/2"]
    batches = service.process(*(service.message(topic, f'{{"n": {n}}}') for n, topic in enumerate(topics)))
    assert rows(batches) == [
        ("wide", [(0,), (1,), (2,), (4,), (5,), (6,)]),
        ("narrow", [(0,), (2,), (3,), (4,)]),
        ("sys", [(n,) for n in range(7)]),
    ]


def test_messages_without_a_match_object_are_matched_by_topic() -> None:
    service = Service(TWO_RULES)
    messages = [Message("a/1", b'{"n": 1}'), service.message("b", '{"n": 2}'), Message("zzz/2", b'{"n": 3}')]
    assert rows(service.process(*messages))[0] == ("wide", [(1,), (2,)])


def test_same_rules_give_the_same_tuple() -> None:
    service = Service(TWO_RULES)
    assert service.engine.rules_for("a/7") is service.engine.rules_for("a/8")
    assert [rule.name for rule in service.engine.rules_for("a/2")] == ["wide", "narrow", "sys"]
    assert service.engine.rules_for("$SYS/x") == ()


def test_nothing_in_gives_nothing_out() -> None:
    service = Service(TWO_RULES)
    assert service.process() == []
    assert service.process(service.message("$SYS/x")) == []
    assert service.engine.advance(5) == []
    assert service.engine.next_deadline is None


def counting_decoder(monkeypatch: pytest.MonkeyPatch, service: Service, sql: str) -> list[bytes]:
    calls: list[bytes] = []

    def decode(payload: bytes) -> Any:
        calls.append(payload)
        return paths_decode(payload)

    paths_decode = paths.decode_document
    monkeypatch.setattr(paths, "decode_document", decode)
    monkeypatch.setattr(program, "_NAMESPACE", {**program._NAMESPACE, "decode": decode})
    service.load(sql)
    return calls


def test_a_payload_is_decoded_once_for_all_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service("")
    sql = ";".join(f'INSERT INTO out SELECT payload.n AS n FROM "t" WHERE payload.n > {n}' for n in range(10))
    calls = counting_decoder(monkeypatch, service, sql)
    assert len(service.process(service.message("t", '{"n": 99}'))) == 10
    assert len(calls) == 1


def test_a_bad_payload_is_given_up_after_the_first_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service("")
    sql = ";".join(f'CREATE RULE r{n} AS INSERT INTO out SELECT payload.n AS n FROM "t"' for n in range(10))
    calls = counting_decoder(monkeypatch, service, sql)
    assert service.process(service.message("t", '{"n": ')) == []
    assert len(calls) == 2  # once where it failed and once to know why
    assert service.failures == [(f"r{n}", "t", "select_and_transform_error", "decode_json_failed") for n in range(10)]


def test_no_payload_is_decoded_that_no_rule_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service("")
    calls = counting_decoder(monkeypatch, service, 'INSERT INTO out SELECT payload, topic FROM "t" WHERE qos = 0')
    assert len(service.process(service.message("t", "{"))) == 1
    assert calls == []


def test_a_failing_message_does_not_touch_the_others() -> None:
    service = Service('CREATE RULE r AS INSERT INTO out SELECT 10 / payload.n AS x FROM "t" WHERE payload.n < 9')
    payloads = ['{"n": 1}', '{"n": 0}', "no json", '{"n": "x"}', b"\xff\xfe", "[1]", '{"n": 10}', '{"n": 2}']
    [batch] = service.process(*(service.message("t", payload) for payload in payloads))
    assert batch.rows == [(10.0,), (5.0,)]
    assert [code for _, _, _, code in service.failures] == [
        "division_by_zero",
        "decode_json_failed",
        "bad_operand",
        "decode_json_failed",
        "bad_operand",
    ]
    assert {stage for _, _, stage, _ in service.failures} == {"select_and_transform_error"}
    assert service.counts() == {
        ("matched", "r"): 8,
        ("passed", "r"): 2,
        ("failed", "r", "exception"): 5,
        ("failed", "r", "no_result"): 1,
    }


def test_failures_without_a_listener_are_counted() -> None:
    engine = Engine(metrics := Metrics())
    engine.load(compiled('CREATE RULE r AS INSERT INTO out SELECT payload.x AS x FROM "t"'))
    message = Message("t", b"{")
    assert engine.process([message], 0) == []
    assert isinstance(message.document, paths.Undecodable)
    assert metrics.counter("headrace_rule_failed_total", "", rule="r", reason="exception").value == 1


def test_foreach_counts_messages_and_gives_all_rows_or_none() -> None:
    service = Service('CREATE RULE r AS INSERT INTO out FOREACH payload.l AS i DO 6 / i AS x INCASE i != 9 FROM "t"')
    payloads = ['{"l": [1, 2, 9]}', '{"l": []}', '{"l": [3, 0, 1]}', '{"l": 5}', '{"l": [6]}']
    [batch] = service.process(*(service.message("t", payload) for payload in payloads))
    assert batch.rows == [(6.0,), (3.0,), (1.0,)]
    assert service.counts() == {
        ("matched", "r"): 5,
        ("passed", "r"): 2,
        ("failed", "r", "exception"): 1,
        ("failed", "r", "no_result"): 2,
    }


def test_loop_guard() -> None:
    service = Service("""
        CREATE RULE r1 AS INSERT INTO out SELECT topic FROM "t";
        CREATE RULE r2 AS INSERT INTO out SELECT topic FROM "t";
    """)
    own = Publisher("rule:r1", rule="r1", hops=1)
    batches = service.process(service.message("t"), service.message("t", publisher=own), service.message("t"))
    assert [(batch.rule, batch.hops, len(batch.rows)) for batch in batches] == [
        ("r1", 0, 2),
        ("r2", 0, 2),
        ("r2", 1, 1),
    ]
    assert service.counts()[("recursive_republish", "r1")] == 1
    assert service.counts()[("matched", "r1")] == 3


def test_the_loop_guard_holds_back_only_what_would_be_republished_again() -> None:
    service = Service('CREATE RULE r AS INSERT INTO topic, database SELECT topic FROM "t"')
    service.engine.load(compiled('CREATE RULE r AS INSERT INTO topic, database SELECT topic FROM "t"'), {"topic"})
    service.matches.clear()
    own = Publisher("r", rule="r", hops=1)
    batches = service.process(service.message("t"), service.message("t", publisher=own))
    assert [(batch.target, batch.hops) for batch in batches] == [("topic", 0), ("database", 0), ("database", 1)]
    assert service.counts() == {("matched", "r"): 2, ("passed", "r"): 2, ("recursive_republish", "r"): 1}


def test_a_rule_never_sees_its_own_trouble_whatever_its_target() -> None:
    service = Service("")
    service.engine.load(compiled("CREATE RULE r AS INSERT INTO database SELECT reason FROM system.errors"), ())
    own = Publisher("", rule="r", hops=1)
    columns = {"kind": "rejected", "sink": "s", "rule": "r", "reason": "full", "row": {}}
    assert service.process(Message(SYSTEM_ERRORS, b"", publisher=own, columns=columns)) == []
    assert service.counts()[("recursive_republish", "r")] == 1


def test_rows_for_several_targets_are_computed_once() -> None:
    service = Service('CREATE RULE r AS INSERT INTO a, b SELECT payload.n AS n FROM "t"')
    first, second = service.process(*(service.message("t", f'{{"n": {n}}}') for n in range(3)))
    assert (first.target, second.target) == ("a", "b")
    assert first.rows == [(0,), (1,), (2,)]
    assert first.rows is second.rows
    assert service.counts() == {("matched", "r"): 3, ("passed", "r"): 3}


def test_rows_are_counted_by_sink() -> None:
    service = Service('CREATE RULE r AS INSERT INTO a, b FOREACH payload.l AS i DO i FROM "t"')
    service.process(service.message("t", '{"l": [1, 2]}'), service.message("t", '{"l": []}'))
    assert service.engine.rules[0].counts == (2, 1, 1, 0, {"a": 2, "b": 2})


def test_rules_are_timed_now_and_then() -> None:
    ticks = iter(range(0, 1_000_000_000, 20_000))
    engine = Engine(metrics := Metrics(), timer=lambda: next(ticks))
    engine.load(compiled('CREATE RULE r AS INSERT INTO a SELECT topic FROM "t"'))
    for now in (1, 2, 100 * MILLISECOND, 100 * MILLISECOND + 1, 150 * MILLISECOND, 900 * MILLISECOND):
        engine.process([Message("t", b""), Message("t", b"")], now)
    [family] = [family for family in metrics.collect() if family.name == "headrace_rule_seconds"]
    [(labels, histogram)] = family.samples
    assert labels == ("r",)
    assert isinstance(histogram, Histogram)
    assert sum(histogram.buckets) == 3
    assert histogram.sum == pytest.approx(3 * 10e-6)


def failing(*payloads: str, options: str) -> Service:
    """A service whose rule has seen these payloads, one call a list of bytes; ``0`` fails, ``x`` is no row."""
    service = Service(
        f"CREATE RULE r WITH ({options}) AS INSERT INTO o SELECT 1 / int(payload) AS x FROM \"t\" WHERE payload != '9'"
    )
    for payload in payloads:
        service.process(*(service.message("t", byte) for byte in payload))
    return service


def test_failures_may_be_ignored_and_are_counted_all_the_same() -> None:
    service = failing("0100", options="on_error = 'ignore'")
    assert service.failures == []
    assert service.counts()[("failed", "r", "exception")] == 3


@pytest.mark.parametrize(
    ("payloads", "runs"),
    [
        (["000"], False),
        (["0", "0", "0"], False),
        (["1100", "0"], False),
        (["001", "00"], True),
        (["00", "1", "00"], True),
        (["0090", "0"], True),  # no row is no failure
        (["0010", "00"], False),
    ],
)
def test_a_rule_that_fails_on_everything_may_switch_itself_off(payloads: list[str], *, runs: bool) -> None:
    service = failing(*payloads, options="on_error = 'disable', disable_after = 3")
    [rule] = service.engine.rules
    assert (rule.disabled is None) is runs
    assert len(service.failures) == sum(payload.count("0") for payload in payloads)
    before = rule.counts
    assert len(service.process(service.message("t", "1"))) == runs
    assert (rule.counts != before) is runs
    if not runs:
        [(name, reason)] = service.disabled
        assert name == "r"
        assert reason == "3 messages in a row failed, the last with: division by zero"
        service.load('CREATE RULE r AS INSERT INTO o SELECT 1 / int(payload) AS x FROM "t"')
        assert service.process(service.message("t", "1")) != []


def test_a_rule_is_switched_off_once_though_the_batch_goes_on() -> None:
    service = failing("0" * 10, options="on_error = 'disable', disable_after = 3")
    assert service.engine.rules[0].counts.exception == 10
    assert len(service.disabled) == 1
    [gauge] = [family for family in service.metrics.collect() if family.name == "headrace_rule_enabled"]
    assert [(sample.labels, sample.value) for sample in gauge.samples] == [(("r",), 0)]


def test_hops_are_kept_apart() -> None:
    service = Service('CREATE RULE r AS INSERT INTO out SELECT payload.n AS n FROM "t/#"')
    publishers = [Publisher("x", hops=hops, rule="other" if hops else None) for hops in (0, 1, 2)]
    messages = [
        service.message(f"t/{n % 2}", f'{{"n": {n}}}', publisher=publishers[hops])
        for n, hops in enumerate([0, 1, 0, 2, 1, 0])
    ]
    assert [(batch.hops, batch.rows) for batch in service.process(*messages)] == [
        (0, [(0,), (2,), (5,)]),
        (1, [(1,), (4,)]),
        (2, [(3,)]),
    ]


def test_swap_takes_effect_between_two_calls_even_for_messages_matched_before() -> None:
    service = Service('CREATE RULE old AS INSERT INTO gone SELECT 1 AS one FROM "t"')
    waiting = [service.message("t"), service.message("u")]
    service.load('CREATE RULE new AS INSERT INTO out SELECT 2 AS two FROM "t", "u"')
    assert rows(service.process(*waiting)) == [("new", [(2,), (2,)])]


def test_a_failed_compilation_changes_nothing() -> None:
    service = Service('CREATE RULE r AS INSERT INTO out SELECT 1 AS one FROM "t"')
    with pytest.raises(RuleError):
        service.load('CREATE RULE r AS INSERT INTO out SELECT FROM "t"')
    assert rows(service.process(service.message("t"))) == [("r", [(1,)])]


def test_disabled_rules_are_left_out() -> None:
    service = Service('CREATE RULE r WITH (enabled = false) AS INSERT INTO out SELECT 1 AS one FROM "t"')
    assert service.engine.rules == ()
    assert service.process(service.message("t")) == []


def test_rules_share_a_message_without_changing_it() -> None:
    service = Service("""
        CREATE RULE a AS INSERT INTO out SELECT payload, 'x' AS payload.o.n, [payload.l] AS l, 0 AS l[1] FROM "t";
        CREATE RULE b AS INSERT INTO out SELECT payload.o AS o, payload.l AS l FROM "t";
    """)
    first, second = service.process(service.message("t", '{"o": {"n": 1}, "l": [1]}'))
    assert first.rows == [({"o": {"n": "x"}, "l": [1]}, [0])]
    assert second.rows == [({"n": 1}, [1])]


def test_generated_code_shows_in_tracebacks() -> None:
    seen: list[str] = []
    engine = Engine(Metrics())
    engine.load(compiled('CREATE RULE "my rule" AS INSERT INTO out SELECT payload.a div payload.b AS x FROM "t"'))
    [rule] = engine.rules
    rule._part.run([Message("t", b"{}")], [].append, lambda _m, error: seen.extend(traceback.format_exception(error)))
    assert any("<rule my rule>" in line and "int_divide(" in line for line in seen)


def test_generated_code_has_no_builtins_but_the_listed() -> None:
    engine = Engine(Metrics())
    engine.load(compiled('INSERT INTO out SELECT 1 AS one FROM "t"'))
    namespace = engine.rules[0]._part.run.__globals__  # type: ignore[attr-defined]
    assert set(namespace["__builtins__"]) == {*"type len bool int float str bytes list dict Exception".split()}
