"""Dead letters: the ring, the log, and what rules that read system.errors get to see."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest

from core.clock import SECOND, ManualClock
from core.errors import TopicError
from core.message import MISSING, SYSTEM_ERRORS, Batch, Message, Publisher, Schema, Type
from core.metrics import Metrics
from core.topics import validate_filter, validate_name
from headrace.deadletters import KEPT, MAX_HOPS, DeadLetters
from rules.compiler import RuleSource, compile_rules
from rules.loaded import RuleFailure
from rules.runtime import Engine

SCHEMA = Schema(("station", "at", "note"), (Type.TEXT, Type.TIMESTAMP, Type.ANY))


class Rig:
    def __init__(self, *, wanted: bool = True) -> None:
        self.clock = ManualClock(1_767_225_600 * SECOND)
        self.metrics = Metrics()
        self.wanted = wanted
        self.full = False
        self.appended: list[Message] = []
        self.soon: list[Callable[[], None]] = []
        self.letters = DeadLetters(
            self.clock,
            self.metrics,
            append=self.appended.extend,
            wanted=lambda _topic: self.wanted,
            full=lambda: self.full,
            call_soon=lambda function: self.soon.append(function),  # noqa: PLW0108 - the list changes
        )

    def turn(self) -> None:
        soon, self.soon = self.soon, []
        for function in soon:
            function()

    def lost(self, reason: str) -> float:
        [family] = [each for each in self.metrics.collect() if each.name == "headrace_system_errors_dropped_total"]
        return next(sample.value for sample in family.samples if reason in sample.labels)


def batch(*rows: tuple[Any, ...], rule: str = "r", hops: int = 0) -> Batch:
    return Batch("db", rule, SCHEMA, list(rows), hops)


def test_no_client_can_name_the_topic() -> None:
    for check in (validate_name, validate_filter):
        with pytest.raises(TopicError, match="MQTT-"):
            check(SYSTEM_ERRORS)


def test_refused_rows_are_shown_newest_first() -> None:
    rig = Rig(wanted=False)
    rig.letters.refused(batch(("a", 0, MISSING), ("b", 1_500_000, {"k": 1})), [(0, "too old"), (1, "too new")])
    newest, oldest = rig.letters.page()
    assert (newest["sink"], newest["rule"], newest["reason"], newest["kind"]) == ("db", "r", "too new", "rejected")
    assert bytes(newest["row"]) == b'{"station":"b","at":"1970-01-01T00:00:01.500Z","note":{"k":1}}'
    assert bytes(oldest["row"]) == b'{"station":"a","at":"1970-01-01T00:00:00Z"}'
    assert newest["at"].isoformat() == "2026-01-01T00:00:00+00:00"
    [family] = [each for each in rig.metrics.collect() if each.name == "headrace_rule_rows_rejected_total"]
    assert [(sample.labels, sample.value) for sample in family.samples] == [(("r", "db"), 2)]
    assert rig.soon == []


def test_the_ring_is_bounded() -> None:
    rig = Rig(wanted=False)
    rows = [(str(number), 0, "x") for number in range(KEPT + 10)]
    rig.letters.refused(batch(*rows), [(index, "no") for index in range(len(rows))])
    rig.letters.refused(batch(("big", 0, "x" * 100_000)), [(0, "no")])
    page = rig.letters.page()
    assert len(page) == KEPT
    assert bytes(page[0]["row"]) == b"null"


def test_rules_that_fail_on_everything_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(wanted=False)
    message = Message("t", b"x", publisher=Publisher("dev"))
    with caplog.at_level(logging.WARNING, "headrace.service"):
        for _ in range(60):
            rig.clock.advance(SECOND)
            for _ in range(100):
                rig.letters.failed("bad", message, RuleFailure("select", "bad_operand", "no"))
        assert len(caplog.records) == 6
        assert (
            sum(int(re.findall(r"\((\d+) more", record.getMessage() + "(0 more")[0]) for record in caplog.records)
            == 4_995
        )
        caplog.clear()
        for number in range(3_000):
            rig.letters.failed(f"rule-{number % 1_500}", message, RuleFailure("select", "bad_operand", "no"))
        assert len(caplog.records) <= 50
    assert len(rig.letters.page()) == KEPT


def test_the_log_has_a_line_per_sink_and_rule(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    with caplog.at_level(logging.WARNING, "headrace.sinks"):
        for _ in range(50):
            rig.letters.refused(batch(("a", 0, 1)), [(0, "no")])
        rig.clock.advance(11 * SECOND)
        rig.letters.refused(batch(("a", 0, 1)), [(0, "no")])
    assert [record.getMessage() for record in caplog.records] == [
        "sink db refused 1 rows of rule r for good: no",
        "sink db refused 1 rows of rule r for good: no (49 more like this since the last line)",
    ]


def engine(rig: Rig, *rules: str) -> Engine:
    made = Engine(rig.metrics, on_error=rig.letters.failed)
    made.load(compile_rules([RuleSource("a.sql", ";\n".join(rules))]))
    return made


def test_rules_read_what_was_refused() -> None:
    rig = Rig()
    made = engine(rig, "INSERT INTO a SELECT kind, sink, rule, reason, row.station AS station FROM system.errors")
    rig.letters.refused(batch(("a", 0, 1), ("b", 0, 1)), [(1, "no")])
    assert rig.appended == []  # not while rules may be running
    rig.turn()
    [found] = made.process(rig.appended, 0)
    assert found.rows == [("rejected", "db", "r", "no", "b")]
    assert found.hops == 1


def test_rules_read_what_other_rules_fail_on() -> None:
    rig = Rig()
    made = engine(
        rig,
        "INSERT INTO a SELECT kind, sink, rule, reason, row.topic AS topic, row.payload AS text FROM system.errors",
        "INSERT INTO b SELECT payload.x + 1 AS y FROM 't'",
    )
    made.process([Message("t", b"no json", publisher=Publisher("me"), received_ns=rig.clock.now())], 0)
    rig.turn()
    [found] = made.process(rig.appended, 0)
    [(kind, sink, rule, reason, topic, text)] = found.rows
    assert (kind, sink, rule, topic, text) == ("rule_failed", None, "a.b", "t", "no json")
    assert reason
    assert rig.letters.page()[0]["rule"] == "a.b"


def test_all_columns() -> None:
    rig = Rig()
    made = engine(rig, "INSERT INTO a SELECT * FROM system.errors WHERE timestamp > 0")
    rig.letters.refused(batch(("a", 0, 1)), [(0, "no")])
    rig.turn()
    [found] = made.process(rig.appended, 0)
    assert found.schema.names == ("kind", "sink", "rule", "reason", "row", "timestamp", "node")
    assert found.rows[0][4:6] == ({"station": "a", "at": "1970-01-01T00:00:00Z", "note": 1}, 1_767_225_600_000)


def test_a_rule_is_not_fed_with_its_own_refused_rows() -> None:
    rig = Rig()
    made = engine(rig, "INSERT INTO db SELECT reason FROM system.errors")
    rig.letters.refused(batch(("a", 0, 1)), [(0, "no")])
    rig.turn()
    [found] = made.process(rig.appended, 0)
    rig.appended.clear()
    rig.letters.refused(found, [(0, "no, again")])
    rig.turn()
    assert made.process(rig.appended, 0) == []


def test_rules_that_feed_one_another_come_to_an_end() -> None:
    rig = Rig()
    made = engine(
        rig, "INSERT INTO a SELECT 1 AS x FROM system.errors", "INSERT INTO b SELECT 2 AS x FROM system.errors"
    )
    rig.letters.refused(batch(("a", 0, 1)), [(0, "no")])
    rounds = 0
    while True:
        rig.turn()
        if not rig.appended:
            break
        found = made.process(rig.appended, 0)
        rig.appended.clear()
        rounds += 1
        for each in found:
            rig.letters.refused(each, [(0, "no")])
    assert rounds == MAX_HOPS
    assert rig.lost("max_hops") == 2


def test_a_rule_that_fails_on_trouble_is_not_told_of_it() -> None:
    rig = Rig()
    made = engine(rig, "INSERT INTO a SELECT row.station - 1 AS x FROM system.errors")
    rig.letters.refused(batch(("a", 0, 1)), [(0, "no")])
    rig.turn()
    made.process(rig.appended, 0)
    assert rig.soon == []


def test_a_full_inbox_is_spared() -> None:
    rig = Rig()
    rig.full = True
    rig.letters.refused(batch(("a", 0, 1)), [(0, "no")])
    assert rig.soon == []
    assert rig.lost("inbox_full") == 1
    assert len(rig.letters.page()) == 1
