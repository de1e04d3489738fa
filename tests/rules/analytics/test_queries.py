"""Queries with analytic functions: where they stand, what is computed before and behind them, in the engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import pytest

from core.errors import RuleError
from core.matching import MatchCache
from core.message import Message, Publisher
from core.metrics import Metrics
from rules.compiler import RuleSet, RuleSource, compile_rules
from rules.evaluate import EvalError, evaluate
from rules.loaded import RuleFailure
from rules.runtime import Engine

# ruff: noqa: S608 - SQL from strings is what is tested here

SECOND: Final = 1_000_000_000
DEVICE: Final = Publisher("dev-1")


def compiled(sql: str) -> RuleSet:
    return compile_rules([RuleSource("rules/r.sql", sql)])


class Service:
    """An engine, the rows of its sinks, and what it could not use."""

    def __init__(self, sql: str) -> None:
        self.now = SECOND
        self.failures: list[tuple[Any, str]] = []
        self.engine = Engine(Metrics(), node="n1", on_error=self._failed)
        self.matches = MatchCache(lambda _topic: (), self.engine.rules_for)
        self.engine.load(compiled(sql))

    def _failed(self, rule: str, message: Message, error: Exception) -> None:
        assert isinstance(error, RuleFailure)
        told = message.topic or dict(message.columns or {})
        self.failures.append((told, f"{error.stage} {error.code}"))

    def send(self, *payloads: Any, topic: str = "cp/A") -> list[dict[str, Any]]:
        messages = [
            Message(
                topic,
                payload if isinstance(payload, bytes) else json.dumps(payload).encode(),
                publisher=DEVICE,
                match=self.matches.look_up(topic),
                received_ns=self.now,
            )
            for payload in payloads
        ]
        return self._rows(self.engine.process(messages, self.now))

    def wait(self, seconds: int) -> list[dict[str, Any]]:
        self.now += seconds * SECOND
        return self._rows(self.engine.advance(self.now))

    def finish(self) -> list[dict[str, Any]]:
        return self._rows(self.engine.finish(self.now))

    def _rows(self, batches: Sequence[Any]) -> list[dict[str, Any]]:
        return [dict(zip(batch.schema.names, row, strict=True)) for batch in batches for row in batch.rows]


def column(rows: Sequence[dict[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in rows]


def test_a_call_in_the_list_and_its_name_in_a_later_field() -> None:
    service = Service(
        'INSERT INTO o SELECT payload.e AS e, lag(e, 1, 0) AS before, e - before AS used, topic FROM "cp/#"'
    )
    assert service.send({"e": 5}, {"e": 7}, {"e": 12}) == [
        {"e": 5, "before": 0, "used": 5, "topic": "cp/A"},
        {"e": 7, "before": 5, "used": 2, "topic": "cp/A"},
        {"e": 12, "before": 7, "used": 5, "topic": "cp/A"},
    ]


def test_partitions_are_told_apart() -> None:
    service = Service('INSERT INTO o SELECT lag(payload.e) OVER (PARTITION BY topic) AS before FROM "cp/#"')
    assert column(service.send({"e": 1}), "before") == [None]
    assert column(service.send({"e": 2}, topic="cp/B"), "before") == [None]
    assert column(service.send({"e": 3}), "before") == [1]


def test_keys_of_any_type_and_of_several_columns() -> None:
    service = Service(
        'INSERT INTO o SELECT row_number() OVER (PARTITION BY payload.k, topic) AS n FROM "cp/#"',
    )
    keys = [1, True, [1], {"a": 1}, 1.0, {"a": 1}, None]
    assert column(service.send(*({"k": key} for key in keys)), "n") == [1, 1, 1, 1, 2, 2, 1]


def test_where_is_asked_before_the_functions() -> None:
    service = Service('INSERT INTO o SELECT lag(payload.e) AS before FROM "cp/#" WHERE payload.e > 10')
    assert column(service.send({"e": 11}, {"e": 1}, {"e": 12}), "before") == [None, 11]


def test_where_that_asks_a_function_lets_all_rows_through_it() -> None:
    sql = 'INSERT INTO o SELECT payload.e AS e FROM "cp/#" WHERE payload.e - lag(payload.e, 1, 0) > 5'
    assert column(Service(sql).send({"e": 6}, {"e": 7}, {"e": 14}), "e") == [6, 14]


def test_where_may_name_a_result() -> None:
    sql = 'INSERT INTO o SELECT payload.e AS e, lag(e, 1, 0) AS before FROM "cp/#" WHERE e - before > 5'
    assert column(Service(sql).send({"e": 6}, {"e": 7}, {"e": 14}), "e") == [6, 14]


def test_qualify_is_asked_of_results() -> None:
    service = Service(
        'INSERT INTO o SELECT payload.s AS s FROM "cp/#" WHERE payload.s IS NOT NULL '
        "QUALIFY had_changed(true, payload.s) OVER (PARTITION BY topic)"
    )
    sent = ["on", "on", None, "off", "off", "on"]
    assert column(service.send(*({"s": state} for state in sent)), "s") == ["on", "off", "on"]


def test_when_holds_the_state() -> None:
    service = Service(
        'INSERT INTO o SELECT lag(payload.e) OVER (WHEN payload.ok) AS before FROM "cp/#"',
    )
    rows = [(1, True), (2, False), (3, True), (4, True)]
    assert column(service.send(*({"e": e, "ok": ok} for e, ok in rows)), "before") == [None, 1, 1, 3]


def test_a_call_may_stand_in_another() -> None:
    service = Service(
        'INSERT INTO o SELECT lag(lag(payload.e)) AS two, lag(payload.e) AS one, lag(one + 1) AS more FROM "cp/#"'
    )
    assert (
        service.send({"e": 1}, {"e": 2}, {"e": 3}, {"e": 4})
        == [
            {"two": None, "one": None, "more": None},
            {"two": None, "one": 1, "more": None},
            {"two": 1, "one": 2, "more": 2},
            {"two": 2, "one": 3, "more": 3},
        ]
        or service.failures
    )


def test_where_is_no_filter_before_a_call_in_a_call() -> None:
    sql = 'INSERT INTO o SELECT lag(lag(payload.e)) AS two FROM "cp/#" WHERE lag(payload.e, 1, 0) != 2'
    assert column(Service(sql).send({"e": 1}, {"e": 2}, {"e": 3}, {"e": 4}), "two") == [None, None, 2]


def test_a_call_in_case_sees_every_row() -> None:
    sql = 'INSERT INTO o SELECT CASE WHEN payload.e > 2 THEN lag(payload.e) ELSE 0 END AS x FROM "cp/#"'
    assert column(Service(sql).send({"e": 1}, {"e": 2}, {"e": 3}), "x") == [0, 0, 2]


def test_what_cannot_be_computed_twice_is_computed_once() -> None:
    sql = 'INSERT INTO o SELECT random() AS r, r AS again, lag(r) AS before FROM "cp/#" WHERE r >= 0'
    first, second = Service(sql).send({}, {})
    assert first["r"] == first["again"] == second["before"]
    assert first["r"] != second["r"]


def test_message_columns_are_those_of_the_message() -> None:
    columns = "clientid, timestamp AS ms, now() AS at, metadata, lag(qos) AS q"
    [row] = Service(f'CREATE RULE mine AS INSERT INTO o SELECT {columns} FROM "cp/#"').send({})
    assert row == {"clientid": "dev-1", "ms": 1_000, "at": 1_000_000, "metadata": {"rule_id": "mine"}, "q": None}


def test_whole_payloads_and_paths_into_them() -> None:
    sql = 'INSERT INTO o SELECT payload, payload.a[1].b AS b, lag(payload.a) AS a FROM "cp/#"'
    first, second = Service(sql).send({"a": [{"b": 1}]}, {"a": [{"b": 2}]})
    assert (first["b"], second["b"], second["a"]) == (1, 2, [{"b": 1}])
    assert json.loads(second["payload"]) == {"a": [{"b": 2}]}


def test_all_columns_of_a_view_beside_a_call() -> None:
    service = Service(
        'CREATE VIEW v AS SELECT payload.e AS e, topic FROM "cp/#";'
        "INSERT INTO o SELECT *, lag(e) OVER (PARTITION BY v.topic) AS before FROM v"
    )
    assert service.send({"e": 1}, {"e": 2})[1] == {"e": 2, "topic": "cp/A", "before": 1}


def test_over_the_results_of_a_window() -> None:
    service = Service(
        "INSERT INTO o SELECT topic, sum(payload.e) AS total, "
        "total - lag(total, 1, 0) OVER (PARTITION BY topic) AS more "
        'FROM "cp/#" GROUP BY topic, COUNTWINDOW(2) HAVING sum(payload.e) > 2 QUALIFY row_number() < 3'
    )
    rows = service.send(*({"e": value} for value in (1, 1, 2, 3, 1, 1, 4, 4, 5, 5)))
    assert rows == [{"topic": "cp/A", "total": 5, "more": 5}, {"topic": "cp/A", "total": 8, "more": 3}]


def test_changed_cols_gives_a_column_for_each_and_star_for_all() -> None:
    service = Service("INSERT INTO o SELECT changed_cols('n_', true, payload.a, payload.b.c) FROM \"cp/#\"")
    assert service.send({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}) == [
        {"n_a": 1, "n_c": 2},
        {"n_a": None, "n_c": 3},
    ]
    service = Service(
        'CREATE VIEW v AS SELECT payload.a AS a, payload.b AS b FROM "cp/#";'
        "INSERT INTO o SELECT changed_cols('', true, *) FROM v QUALIFY had_changed(true, a, b)"
    )
    assert service.send({"a": 1, "b": 2}, {"a": 1, "b": 2}, {"a": 1, "b": 3}) == [
        {"a": 1, "b": 2},
        {"a": None, "b": 3},
    ]


def test_had_changed_of_all_columns() -> None:
    service = Service(
        'CREATE VIEW v AS SELECT payload.a AS a, payload.b AS b FROM "cp/#";'
        "INSERT INTO o SELECT * FROM v QUALIFY had_changed(true, *)"
    )
    sent = [{"a": 1, "b": 2}, {"a": 1, "b": 2}, {"a": 1, "b": 3}]
    assert service.send(*sent) == [sent[0], sent[2]]


def test_lead_waits_and_the_wait_ends() -> None:
    service = Service(
        "CREATE RULE r WITH (lead_wait = '10 seconds') AS "
        'INSERT INTO o SELECT payload.e AS e, lead(e, 1, -1) OVER (PARTITION BY topic) AS after FROM "cp/#"'
    )
    assert service.send({"e": 1}) == []
    assert service.wait(5) == []
    assert service.send({"e": 2}) == [{"e": 1, "after": 2}]
    assert service.wait(10) == [{"e": 2, "after": -1}]
    service.send({"e": 3})
    assert service.finish() == [{"e": 3, "after": -1}]


def test_a_partition_is_forgotten_after_state_ttl() -> None:
    service = Service(
        "CREATE RULE r WITH (state_ttl = '1 minute') AS "
        'INSERT INTO o SELECT lag(payload.e) OVER (PARTITION BY topic) AS before FROM "cp/#"'
    )
    service.send({"e": 1})
    service.wait(60)
    assert column(service.send({"e": 2}), "before") == [1]
    service.wait(61)
    assert column(service.send({"e": 3}), "before") == [None]


# What goes wrong at run time


def test_a_row_that_a_function_cannot_take_is_told_whole_and_the_others_go_on() -> None:
    service = Service('INSERT INTO o SELECT acc_sum(payload.e) AS total FROM "cp/#"')
    assert column(service.send({"e": 1}, {"e": "x"}, {"e": 2}), "total") == [1, 3]
    assert service.failures == [("cp/A", "analytic_error bad_argument")]


def test_a_row_of_a_view_is_told_by_its_columns_in_every_round() -> None:
    view = 'CREATE VIEW v AS SELECT payload.e AS e FROM "cp/#";'
    service = Service(f"{view} INSERT INTO o SELECT acc_sum(e) AS total FROM v")
    service.send({"e": "x"})
    assert service.failures == [({"e": "x"}, "analytic_error bad_argument")]
    service = Service(f"{view} INSERT INTO o SELECT acc_sum(lag(e)) AS total FROM v")
    service.send({"e": "x"}, {"e": "y"})
    assert service.failures == [({"lag(e)": "x"}, "analytic_error bad_argument")]


def test_a_payload_that_is_no_json_fails_alone() -> None:
    service = Service('INSERT INTO o SELECT lag(payload.e) AS e FROM "cp/#"')
    assert column(service.send({"e": 1}, b"{", {"e": 2}), "e") == [None, 1]
    assert [told for told, _ in service.failures] == ["cp/A"]


def test_what_fails_behind_the_functions_is_told_by_what_is_known_there() -> None:
    service = Service('INSERT INTO o SELECT payload.e AS e, e - lag(e, 1, 0) AS used, topic FROM "cp/#"')
    assert column(service.send({"e": 1}, {"e": "x"}, {"e": 3}), "used") == [1]
    told, kind = service.failures[0]
    assert kind.startswith("select_and_transform_error")
    assert told["payload.e"] == "x"


def test_at_max_keys_rows_are_told() -> None:
    service = Service(
        "CREATE RULE r WITH (max_keys = 1) AS "
        'INSERT INTO o SELECT row_number() OVER (PARTITION BY topic) AS n FROM "cp/#"'
    )
    service.send({})
    assert service.send({}, topic="cp/B") == []
    assert service.failures == [("cp/B", "analytic_error keys_full")]


# Reloads


def test_a_reload_goes_on_where_the_functions_are_the_same_and_begins_anew_where_not() -> None:
    sql = 'INSERT INTO o SELECT payload.e * 2 AS e, lag(e) AS before, 1 AS version FROM "cp/#"'
    service = Service(sql)
    service.send({"e": 1})
    for text, before in (
        (sql.replace("1 AS version", "2 AS version"), 2),
        (sql.replace("* 2", "* 3"), None),
        (sql.replace("lag(e)", "lag(e, 2)"), None),
    ):
        service.engine.load(compiled(text))
        service.matches.clear()
        assert column(service.send({"e": 1}), "before") == [before]
        service.engine.load(compiled(sql))
        service.matches.clear()
        service.send({"e": 1})


# Errors


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ('SELECT max(lag(payload.x)) FROM "t" GROUP BY COUNTWINDOW(2)', "misplaced-analytic", "what a window counts"),
        ('SELECT count(*) FROM "t" WHERE lag(qos) > 1 GROUP BY COUNTWINDOW(2)', "misplaced-analytic", "window counts"),
        ('SELECT count(*) FROM "t" GROUP BY lag(qos), COUNTWINDOW(2)', "misplaced-analytic", "window counts"),
        ('SELECT qos, lag(qos) FROM "t" GROUP BY COUNTWINDOW(2)', "misplaced-analytic", "rows of a window"),
        (
            'SELECT count(*) AS n, lag(n) FROM "t" GROUP BY qos, COUNTWINDOW(2) ORDER BY n',
            "misplaced-analytic",
            "ORDER BY",
        ),
        (
            "SELECT v.x FROM v JOIN w ON v.x = lag(w.x); CREATE VIEW v AS SELECT qos AS x FROM 't'; "
            "CREATE VIEW w AS SELECT qos AS x FROM 't'".replace("'t'", '"t"'),
            "misplaced-analytic",
            "in ON",
        ),
        ('FOREACH payload.a DO lag(item) FROM "t"', "misplaced-analytic", "FOREACH"),
        ('SELECT qos FROM "t" QUALIFY qos > 1', "misplaced-analytic", "WHERE filters rows"),
        ("SELECT 1 + changed_cols('', true, qos) FROM \"t\"", "misplaced-analytic", "stands alone"),
        ("SELECT changed_cols('', true, qos + 1) FROM \"t\"", "misplaced-analytic", "no name"),
        ('SELECT changed_cols(true, qos) FROM "t"', "wrong-arity", "begins with a text"),
        ('SELECT had_changed(true, *) FROM "t"', "wrong-arity", "without declared columns"),
        ('SELECT lag(qos, *) FROM "t"', "unsupported", "STAR"),
        ('SELECT lag() FROM "t"', "wrong-arity", "lag(x[, offset"),
        ('SELECT acc_sum(qos, true) FROM "t"', "wrong-arity", "begin, reset"),
        ('SELECT lag(qos, 0) FROM "t"', "wrong-type", "from 1 to 1000"),
        ('SELECT lag(qos, payload.n) FROM "t"', "wrong-type", "a constant"),
        ('SELECT hysteresis(qos > 1, qos < 1, 5, 3) FROM "t"', "wrong-type", "can never be"),
        ('SELECT hysteresis(qos, qos < 1) FROM "t"', "not-boolean", "an integer"),
        ('SELECT lag(qos) OVER (WHEN qos) FROM "t"', "not-boolean", "an integer"),
        ('SELECT acc_sum(clientid) FROM "t"', "wrong-type", "must be a number"),
        ('SELECT lag(now(), 1, qos) FROM "t"', "wrong-type", "mixed with"),
        ('SELECT lag(DISTINCT qos) FROM "t"', "unsupported", "DISTINCT is for aggregates"),
        ('SELECT lag(qos) FILTER (WHERE true) FROM "t"', "unsupported", "FILTER is for aggregates"),
        ('SELECT lower(clientid) OVER (PARTITION BY qos) FROM "t"', "unsupported", "OVER"),
        ('SELECT lead(qos) OVER (WHEN true) FROM "t"', "misplaced-analytic", "takes no WHEN"),
        (
            'SELECT lead(qos), lead(qos) OVER (PARTITION BY topic) FROM "t"',
            "misplaced-analytic",
            "the same PARTITION BY",
        ),
        ("SELECT " + "lag(" * 9 + "qos" + ")" * 9 + ' FROM "t"', "too-complex", "nested too deeply"),
        ('SELECT lagg(qos) FROM "t"', "unknown-function", "did you mean 'lag'?"),
        ('SELECT sum(qos) OVER (PARTITION BY topic) FROM "t"', "no-window", "acc_sum(x) OVER"),
    ],
)
def test_errors_say_the_way_out(query: str, code: str, words: str) -> None:
    with pytest.raises(RuleError) as caught:
        compiled(f"INSERT INTO o {query}")
    [found] = caught.value.diagnostics
    assert found.code == code
    assert words in found.render()


def test_eval_has_one_message_and_says_so() -> None:
    with pytest.raises(EvalError, match="an analytic function looks at many"):
        evaluate("SELECT lag(payload.x) FROM t", {"payload": "{}"})


def test_explain_tells_of_the_functions() -> None:
    [rule] = compiled(
        'INSERT INTO o SELECT lag(qos, 1, 0) OVER (PARTITION BY topic) AS b FROM "t" WHERE qos > 0 '
        "QUALIFY had_changed(true, b)"
    ).rules
    assert rule.explain().splitlines()[2:] == [
        "  project",
        "    b  BIGINT  lag(qos, 1, 0) OVER (PARTITION BY topic)",
        "    filter had_changed(true, b)",
        "      analytic functions",
        "        lag(qos, 1, 0) OVER (PARTITION BY topic)",
        "        had_changed(true, b)",
        "        filter qos > 0",
        '          scan "t"',
        "            columns: topic, qos",
        "            payload: not decoded",
    ]
