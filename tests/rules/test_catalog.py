"""Sources, views and tables of all files: found in any order, compiled once, and blamed only for their own mistakes."""

from __future__ import annotations

import itertools

import pytest

from core.errors import RuleError
from core.events import events_of
from core.message import Message, Type
from rules.compiler import CompiledRule, RuleSet, RuleSource, compile_rules
from rules.windows.plan import HELD
from tests.rules.streams import Bench

SOURCE = (
    "CREATE SOURCE meter (station TEXT, power DOUBLE NOT NULL, ts TIMESTAMP NOT NULL, "
    "WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (topic = 'cp/{station}/meter');"
)
HIGH = "CREATE VIEW high AS SELECT station, power, ts AS at FROM meter WHERE power > 100;"
MINUTES = (
    "CREATE VIEW minutes AS SELECT station, window_start, window_end, count(*) AS n "
    "FROM TUMBLE(high, at, INTERVAL '1 minute') GROUP BY station;"
)
RULE = "INSERT INTO s SELECT * FROM minutes;"


def compiled(*texts: str) -> RuleSet:
    return compile_rules([RuleSource(f"{number}.sql", text) for number, text in enumerate(texts)])


def errors(*texts: str) -> list[tuple[str, str, str]]:
    with pytest.raises(RuleError) as caught:
        compiled(*texts)
    return [(found.file, found.code, found.message) for found in caught.value.diagnostics]


def test_the_order_of_files_and_statements_does_not_matter() -> None:
    for texts in itertools.permutations([SOURCE, HIGH, MINUTES, RULE]):
        for found in (compiled(*texts), compiled(" ".join(texts))):
            assert [relation.name for relation in found.relations] == ["meter", "high", "minutes"]
            assert [(rule.reads, rule.schema.names) for rule in found.rules] == [
                (("minutes",), ("station", "window_start", "window_end", "n"))
            ]


def test_a_view_has_the_types_and_the_time_of_what_it_reads() -> None:
    found = compiled(SOURCE, HIGH, MINUTES, RULE)
    assert found.rules[0].schema.types == (Type.TEXT, Type.TIMESTAMP, Type.TIMESTAMP, Type.BIGINT)
    times = [
        (relation.time.name, relation.time.timing.delay)
        for relation in found.relations
        if isinstance(relation, CompiledRule) and relation.time is not None
    ]
    # The rows of a window come when it says so.
    assert times == [("ts", 5_000_000), ("at", 5_000_000), ("window_start", HELD + 60_000_000)]


def test_types_of_views_are_checked_where_they_are_read() -> None:
    [found] = errors(SOURCE, HIGH, "INSERT INTO s SELECT upper(power) AS x FROM high")
    assert found == ("2.sql", "wrong-type", "argument 1 (text) of upper() must be a text, not a number")


def test_a_view_over_topics_names_their_columns() -> None:
    found = compiled(
        'CREATE VIEW v AS SELECT payload.a AS a, topic FROM "t/#"; INSERT INTO s SELECT * FROM v;'
        "INSERT INTO s SELECT a.b AS b FROM v"
    )
    assert [rule.schema.names for rule in found.rules] == [("a", "topic"), ("b",)]
    [(_, code, message)] = errors(
        'CREATE VIEW v AS SELECT payload.a AS a FROM "t/#"; INSERT INTO s SELECT payload.a AS a FROM v'
    )
    assert (code, message) == ("unknown-column", "there is no column 'payload'")


def test_a_view_may_be_a_foreach() -> None:
    found = compiled(
        'CREATE VIEW v AS FOREACH payload.sensors AS s DO s.name AS name, s.t AS t FROM "t";'
        "INSERT INTO s SELECT name FROM v WHERE t > 1"
    )
    assert [relation.schema.names for relation in found.relations] == [("name", "t")]


def test_cycles_are_told_once() -> None:
    found = errors(
        "CREATE VIEW a AS SELECT x FROM b; CREATE VIEW b AS SELECT x FROM c; CREATE VIEW c AS SELECT x FROM a;"
        "INSERT INTO s SELECT x FROM a; INSERT INTO s SELECT x FROM b"
    )
    assert [(code, message) for _, code, message in found] == [("circular-view", "the view 'a' reads itself")]
    assert [code for _, code, _ in errors("CREATE VIEW a AS SELECT x FROM a; INSERT INTO s SELECT x FROM a")] == [
        "circular-view"
    ]


def test_what_nobody_reads_is_told_but_sources_may_wait_for_readers() -> None:
    assert errors(SOURCE, HIGH, MINUTES) == [
        ("1.sql", "unused-view", "no rule reads the view 'high'"),
        ("2.sql", "unused-view", "no rule reads the view 'minutes'"),
    ]
    assert compiled(SOURCE).relations == ()


def test_views_of_rules_that_are_off_are_read() -> None:
    rule = "CREATE RULE r WITH (enabled = false) AS INSERT INTO s SELECT * FROM minutes"
    assert len(compiled(SOURCE, HIGH, MINUTES, rule).relations) == 3


def test_names_are_taken_once() -> None:
    [(file, code, message)] = errors(SOURCE, HIGH.replace("high", "meter"), "INSERT INTO s SELECT power FROM meter")
    assert (file, code, message) == ("1.sql", "duplicate-relation", "there is already a source 'meter'")
    rule = "CREATE RULE high AS INSERT INTO s SELECT power FROM high"
    assert errors(SOURCE, HIGH, rule) == [("2.sql", "duplicate-rule", "'high' is taken already")]


@pytest.mark.parametrize(
    "broken",
    [
        HIGH.replace("power > 100", "pwer > 100"),
        HIGH.replace("power > 100", "power"),
        HIGH.replace("SELECT", "SELECT nothing(1) AS x,"),
        HIGH.replace("high AS", "high WITH (max_kys = 3) AS"),
        HIGH.replace("FROM meter", "FROM metr"),
    ],
)
def test_readers_of_a_broken_view_are_not_blamed(broken: str) -> None:
    found = errors(SOURCE, broken, MINUTES, RULE, "INSERT INTO s SELECT anything FROM high WHERE x.y > 1")
    assert [file for file, _, _ in found] == ["1.sql"]


def test_readers_of_a_broken_source_are_not_blamed() -> None:
    found = errors(SOURCE.replace("FOR ts", "FOR t"), HIGH, MINUTES, RULE)
    assert [(file, code) for file, code, _ in found] == [("0.sql", "unknown-column")]


def test_a_misspelt_relation_is_told_with_the_one_that_is_meant() -> None:
    with pytest.raises(RuleError) as caught:
        compiled(SOURCE, "INSERT INTO s SELECT power FROM metre")
    assert "did you mean 'meter'" in str(caught.value)
    assert 'FROM "metre"' in str(caught.value)


def test_a_relation_goes_before_a_topic_of_its_name() -> None:
    [rule] = compiled(SOURCE, 'INSERT INTO s SELECT power FROM "meter"').rules
    assert (rule.reads, rule.filters) == (("meter",), ())


def test_relations_are_not_mixed_with_topics() -> None:
    assert [code for _, code, _ in errors(SOURCE, 'INSERT INTO s SELECT power FROM meter, "t"')] == ["mixed-sources"]
    assert [code for _, code, _ in errors(SOURCE, HIGH, "INSERT INTO s SELECT power FROM meter, high")] == [
        "mixed-sources"
    ]


def test_a_view_over_several_kinds_of_messages() -> None:
    bench = Bench(
        'CREATE VIEW v AS SELECT * FROM "t", "$events/session/subscribed"; INSERT INTO s SELECT topic, qos FROM v', ""
    )
    [event] = events_of("$events/session/subscribed")
    told = Message(event.source, b"", columns={"topic": "u", "qos": 2})
    assert bench.send(Message("t", b"{}", qos=1), told) == [{"topic": "t", "qos": 1}, {"topic": "u", "qos": 2}]
