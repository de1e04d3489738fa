"""Queries with windows in an engine: time, what is refused, results that are sorted, views, reloads, snapshots."""

# ruff: noqa: S608  the SQL is ours

from __future__ import annotations

import random
from typing import Any

import pytest

from core.message import Message
from rules.windows.operator import MAX_GROUPS_PER_CALL
from tests.rules.streams import Bench, meter, values

TEN = """
CREATE VIEW tens AS
SELECT station, window_start, window_end, sum(power) AS total, count(*) AS n
FROM TUMBLE(meter, ts, INTERVAL '10 seconds') GROUP BY station;
"""
OUT = "INSERT INTO out SELECT * FROM tens;"


def test_a_window_in_event_time_waits_for_its_watermark() -> None:
    bench = Bench(TEN + OUT)
    assert bench.at(1, meter(1, 5), meter(9, 1), meter(3, 2, "b"), meter(11, 7)) == []
    assert bench.at(2, meter(4, 1)) == []  # late, but not too late: the watermark is at 9
    rows = bench.at(13, meter(12, 1))
    assert values(rows, "station", "window_start", "window_end", "total", "n") == [
        ("a", 0.0, 10.0, 7.0, 3),
        ("b", 0.0, 10.0, 2.0, 1),
    ]
    assert bench.late == bench.failed == []


def test_silence_closes_windows_with_the_clock() -> None:
    bench = Bench(TEN + OUT)
    bench.at(1, meter(1, 5))
    assert bench.wait(30) == []
    assert values(bench.wait(31), "station", "total") == [("a", 5.0)]  # 30 s of silence count as 30 s
    assert bench.engine.next_deadline is None


def test_rows_at_the_wrong_time_are_told_with_all_their_columns() -> None:
    bench = Bench(TEN + OUT)
    bench.at(1, meter(25, 1))
    bench.at(2, meter(3, 9, "late"), meter(3_700, 1, "ahead"))
    assert [(rule, reason, columns["station"]) for rule, reason, columns in bench.late] == [
        ("tens", "late", "late"),
        ("tens", "ahead", "ahead"),
    ]
    assert bench.late[0][2] == {
        "station": "late",
        "connector": 1,
        "power": 9.0,
        "ts": "2023-11-14T22:13:23Z",
    }
    assert bench.metric("window_rows_refused_total") == {("tens", "late"): 1, ("tens", "ahead"): 1}


def test_rows_without_what_the_source_promises_fail_and_stop_nothing() -> None:
    bench = Bench(TEN + OUT)
    bench.at(1, meter(None), meter(1, "x"), meter(1, None), meter(1, "2.5"), meter(1, 1, connector="q"))
    assert [(rule, code) for rule, code, _ in bench.failed] == [("meter", "bad_column")] * 4
    assert [text.split(":")[0].split(" is")[0] for *_, text in bench.failed] == [
        "column 'ts'",
        "column 'power'",
        "column 'power'",
        "column 'connector'",
    ]
    assert values(bench.finish(), "total", "n") == [(2.5, 1)]


def test_a_group_too_many_is_refused_and_told() -> None:
    sql = TEN.replace("tens AS", "tens WITH (max_keys = 2) AS") + OUT
    bench = Bench(sql)
    bench.at(1, *(meter(1, 1, name) for name in "abca"))
    assert bench.failed == [("tens", "keys_full", "the window has max_keys groups")]
    assert bench.metric("window_rows_refused_total") == {("tens", "keys_full"): 1}
    assert values(bench.finish(), "station", "n") == [("a", 2), ("b", 1)]


def test_what_is_lost_at_a_limit_is_counted() -> None:
    limited = TEN.replace("tens AS", "tens WITH (max_keys = 2, when_full = 'drop_oldest') AS")
    bench = Bench(limited + OUT)
    bench.at(1, meter(1, 5, "a"), meter(2, 5, "b"), meter(3, 5, "c"))
    assert bench.metric("window_given_up_total") == {("tens", "keys_dropped"): 1}
    assert values(bench.at(20, meter(20, 1)), "station") == [("b",), ("c",)]


def test_a_value_that_an_aggregate_cannot_take_is_refused_and_told() -> None:
    bench = Bench(
        "INSERT INTO out SELECT sum(payload.x) AS s, count(*) AS n FROM TUMBLE(\"t\", INTERVAL '10 seconds')", ""
    )
    bench.at(1, Message("t", b'{"x": 1}'), Message("t", b'{"x": "many"}'), Message("t", b'{"x": null}'))
    assert [code for _, code, _ in bench.failed] == ["bad_argument"]
    assert "many" in bench.failed[0][2]
    assert bench.wait(10) == [{"s": 1, "n": 2}]


def test_rows_that_where_drops_move_the_watermark() -> None:
    for where in (
        "FROM TUMBLE(meter, ts, INTERVAL '10 seconds') WHERE power > 2",
        "FROM TUMBLE(v, ts, INTERVAL '10 seconds')",
    ):
        view = "CREATE VIEW v AS SELECT * FROM meter WHERE power > 2;" if "(v," in where else ""
        bench = Bench(f"{view} INSERT INTO out SELECT sum(power) AS s {where}")
        bench.at(1, meter(1, 5))
        assert bench.at(2, meter(12, 0)) == [{"s": 5.0}]


def test_rows_that_a_foreach_drops_move_the_watermark() -> None:
    bench = Bench(
        "CREATE VIEW v AS FOREACH split(station, ',') AS s DO s, power, ts INCASE s <> 'x' FROM meter;"
        "INSERT INTO out SELECT s, sum(power) AS p FROM TUMBLE(v, ts, INTERVAL '10 seconds') GROUP BY s"
    )
    bench.at(1, meter(1, 5, "a,b"))
    assert bench.at(2, meter(12, 0, "x")) == [{"s": "a", "p": 5.0}, {"s": "b", "p": 5.0}]


def test_rows_that_fail_do_not_move_the_watermark() -> None:
    bench = Bench(TEN + OUT)
    bench.at(1, meter(1, 5))
    assert bench.at(2, meter(12, "x")) == []


def test_time_of_arrival_needs_no_source() -> None:
    bench = Bench('INSERT INTO out SELECT topic, count(*) AS n FROM "cp/#" GROUP BY topic, TUMBLINGWINDOW(ss, 10)', "")
    bench.at(1, meter(1), meter(1, station="b"), meter(1))
    assert bench.wait(9.9) == []
    assert bench.wait(10) == [{"topic": "cp/a/1/meter", "n": 2}, {"topic": "cp/b/1/meter", "n": 1}]


# Results


def test_having_filter_and_distinct() -> None:
    bench = Bench(
        "INSERT INTO out SELECT station, count(*) FILTER (WHERE power > 1) AS high, count(DISTINCT power) AS several, "
        "max(power) - min(power) AS width FROM TUMBLE(meter, ts, INTERVAL '10 seconds') GROUP BY station "
        "HAVING count(*) > 1 AND width > 0"
    )
    bench.at(1, meter(1, 1), meter(2, 5), meter(3, 5), meter(1, 1, "b"), meter(1, 3, "c"), meter(2, 3, "c"))
    assert bench.finish() == [{"station": "a", "high": 2, "several": 2, "width": 4.0}]


def test_in_a_result_a_field_hides_the_column_of_its_name() -> None:
    window = "FROM TUMBLE(meter, ts, INTERVAL '10 seconds') GROUP BY station"
    sql = f"INSERT INTO out SELECT station, avg(power) AS power, power * 2 AS double {window} ORDER BY power DESC"
    bench = Bench(sql)
    bench.at(1, meter(1, 1), meter(2, 3), meter(3, 5, "b"))
    assert values(bench.finish(), "station", "power", "double") == [("b", 5.0, 10.0), ("a", 2.0, 4.0)]


def test_a_window_of_rows_as_they_are() -> None:
    bench = Bench(
        "INSERT INTO out SELECT station, power, window_start FROM TUMBLE(meter, ts, INTERVAL '10 seconds') "
        "WHERE power < 9 ORDER BY power DESC, station"
    )
    bench.at(1, meter(1, 1), meter(2, 5, "c"), meter(1, 5, "b"), meter(3, 9))
    assert values(bench.finish(), "station", "power", "window_start") == [
        ("b", 5.0, 0.0),
        ("c", 5.0, 0.0),
        ("a", 1.0, 0.0),
    ]


MANY = 3 * MAX_GROUPS_PER_CALL + 17


def many(bench: Bench, start: float, seed: int) -> list[float]:
    """Rows of many stations at ``start``; their powers."""
    powers = [float(power) for power in range(MANY)]
    random.Random(seed).shuffle(powers)  # noqa: S311
    bench.send(*(meter(start, power, f"s{number}") for number, power in enumerate(powers)))
    return powers


SORTED = (
    "CREATE VIEW top WITH (on_end = 'drain') AS SELECT station, window_start, max(power) AS p "
    "FROM TUMBLE(meter, ts, INTERVAL '10 seconds') GROUP BY station ORDER BY p DESC {limit};"
    "INSERT INTO out SELECT * FROM top"
)


def test_results_are_sorted_over_all_their_pieces() -> None:
    bench = Bench(SORTED.format(limit=""))
    many(bench, 1, 1)
    many(bench, 11, 2)
    rows = bench.send(meter(22, 0)) + bench.wait(1)
    found = values(rows, "window_start", "p")
    assert [row for row in found if row[0] == 0] == [(0.0, float(power)) for power in reversed(range(MANY))]
    assert found == sorted(found, key=lambda row: (row[0], -row[1]))


def test_a_limit_counts_over_all_pieces_of_a_window_whatever_comes_between() -> None:
    sql = SORTED.format(limit="LIMIT 3")
    bench = Bench(sql)
    many(bench, 1, 1)
    rows = bench.send(meter(12.5, 1))
    for number in range(5):
        bench.restart(sql)
        rows += bench.send(meter(13 + number / 10, 1))
    assert values(rows, "window_start", "p") == [(0.0, MANY - 1.0), (0.0, MANY - 2.0), (0.0, MANY - 3.0)]
    assert values(bench.finish(), "window_start", "p") == [(10.0, 1.0)]


def test_nulls_are_last_when_sorted_upwards_and_first_downwards() -> None:
    sql = (
        "INSERT INTO out SELECT payload.s AS s, max(payload.x) AS x FROM TUMBLE(\"t\", INTERVAL '10 seconds') "
        "GROUP BY s ORDER BY x {}, s"
    )
    for order, expected in [("", "bcad"), ("DESC", "adcb"), ("NULLS FIRST", "adbc"), ("DESC NULLS LAST", "cbad")]:
        bench = Bench(sql.format(order), "")
        given = [("a", "null"), ("b", 1), ("c", 2), ("d", "null")]
        bench.send(*(Message("t", f'{{"s": "{s}", "x": {x}}}'.encode()) for s, x in given))
        assert "".join(row["s"] for row in bench.finish()) == expected, order


def test_corrections_come_with_allowed_lateness() -> None:
    bench = Bench(TEN.replace("tens AS", "tens WITH (allowed_lateness = '5 seconds') AS") + OUT)
    bench.at(1, meter(1, 5), meter(1, 1, "b"))
    assert values(bench.at(2, meter(12, 1)), "station", "total") == [("a", 5.0), ("b", 1.0)]
    assert values(bench.at(3, meter(2, 2)), "station", "total") == [("a", 7.0)]
    bench.at(4, meter(17, 1))
    assert bench.at(5, meter(2, 2)) == []
    assert [reason for _, reason, _ in bench.late] == ["late"]


def test_on_change_tells_after_every_call() -> None:
    bench = Bench(TEN.replace("tens AS", "tens WITH (emit = 'on_change') AS") + OUT)
    assert values(bench.at(1, meter(1, 5), meter(1, 1, "b")), "total") == [(5.0,), (1.0,)]
    assert values(bench.at(2, meter(2, 5)), "total") == [(10.0,)]
    assert bench.at(3, meter(12, 5)) != []
    assert len(bench.finish()) == 0


# Views


def test_a_view_is_computed_once_for_all_its_readers() -> None:
    bench = Bench(
        TEN + OUT + "INSERT INTO other SELECT station FROM tens WHERE total > 1; INSERT INTO out SELECT n FROM tens;"
    )
    bench.at(1, meter(1, 5), meter(1, 1, "b"))
    rows = bench.finish()
    assert [list(row.values())[-1] for row in rows] == [1, 1, "a", 1, 1]
    assert bench.metric("rule_matched_total")["meter",] == 2
    assert bench.metric("rule_matched_total")["tens",] == 2
    assert bench.metric("rule_rows_total") == {("r.out", "out"): 2, ("r.other", "other"): 1, ("r.out.2", "out"): 2}


def test_hops_over_windows_over_views() -> None:
    bench = Bench(
        TEN + "INSERT INTO out SELECT window_start, window_end, sum(total) AS t, count(*) AS n "
        "FROM HOP(tens, window_start, INTERVAL '10 seconds', INTERVAL '20 seconds')"
    )
    found = [row for second in range(45) for row in bench.at(second, meter(second, 1), meter(second, 10, "b"))]
    found += bench.finish()
    assert values(found, "window_start", "t", "n") == [
        (-10.0, 110.0, 2),
        (0.0, 220.0, 4),
        (10.0, 220.0, 4),
        (20.0, 220.0, 4),
        (30.0, 165.0, 4),
        (40.0, 55.0, 2),
    ]
    assert bench.late == []


def test_sessions_are_rows_of_a_stream_by_their_end() -> None:
    """A long session ends after a short one that began later: by their start the long one would be late."""
    bench = Bench(
        "CREATE VIEW stays AS SELECT station, window_start, window_end, count(*) AS n "
        "FROM SESSION(meter, ts, INTERVAL '5 seconds') GROUP BY station;"
        "INSERT INTO out SELECT window_start, count(*) AS stays, sum(n) AS rows "
        "FROM TUMBLE(stays, window_end, INTERVAL '20 seconds')"
    )
    rows = []
    for second in range(0, 25, 2):
        rows += bench.at(second, meter(second, station="long"))
        if second in (8, 10):
            rows += bench.at(second, meter(second, station="short"))
    rows += bench.at(60, meter(60)) + bench.finish()
    assert values(rows, "window_start", "stays", "rows") == [(0.0, 1, 2), (20.0, 1, 13), (60.0, 1, 1)]
    assert bench.late == []


# Rules that are off


def test_a_view_that_fails_on_everything_is_switched_off() -> None:
    bench = Bench(
        "CREATE RULE r WITH (on_error = 'disable', disable_after = 3) AS INSERT INTO out "
        "SELECT station, sum(power) AS total FROM TUMBLE(meter, ts, INTERVAL '10 seconds') WHERE 1 / connector > 0 "
        "GROUP BY station"
    )
    bench.at(1, meter(1, 5))
    for _ in range(3):
        bench.send(meter(2, connector=0))
    assert bench.disabled == ["r"]
    assert bench.at(3, meter(15)) == []
    assert bench.wait(100) == []  # and the engine wants nothing
    assert bench.engine.next_deadline is None


def test_a_view_that_is_switched_off_is_seen() -> None:
    view = "CREATE VIEW v WITH (on_error = 'disable') AS SELECT 1 / connector AS x FROM meter;"
    bench = Bench(view + "INSERT INTO out SELECT x FROM v")
    bench.send(*[meter(1, connector=0)] * 100)
    assert bench.disabled == ["v"]
    assert bench.metric("rule_enabled") == {("meter",): 1, ("r.out",): 1}


def test_what_only_disabled_rules_read_does_not_run() -> None:
    off = "CREATE RULE off WITH (enabled = false) AS INSERT INTO out SELECT * FROM tens;"
    bench = Bench(TEN + off)
    assert bench.engine.rules_for("cp/a/1/meter") == ()
    assert bench.at(1, meter(1)) == []
    bench.load(TEN + off + OUT)
    assert [rule.name for rule in bench.engine.rules_for("cp/a/1/meter")] == ["meter"]


# Reloads and restarts


def test_a_reload_keeps_what_has_not_changed() -> None:
    bench = Bench(TEN + OUT)
    bench.at(1, meter(1, 5))
    assert (
        bench.load("-- a comment\n" + TEN + OUT + "INSERT INTO other SELECT station FROM meter WHERE power > 100;")
        == []
    )
    bench.at(2, meter(2, 7))
    assert values(bench.finish(), "total", "n") == [(12.0, 2)]


@pytest.mark.parametrize(("option", "given"), [("drain", [(5.0,)]), ("drop", [])])
def test_a_reload_ends_what_has_changed(option: str, given: list[Any]) -> None:
    view = TEN.replace("tens AS", f"tens WITH (on_end = '{option}') AS")
    bench = Bench(view + OUT)
    bench.at(1, meter(1, 5))
    assert values(bench.load(view.replace("sum(power)", "sum(power * 2)") + OUT), "total") == given
    bench.at(2, meter(2, 7))
    assert values(bench.finish(), "total") == ([(14.0,)] if option == "drain" else [])


def test_a_reload_drains_through_the_views_that_read() -> None:
    days = (
        "CREATE VIEW days AS SELECT station, window_end, sum(power) AS total "
        "FROM TUMBLE(meter, ts, INTERVAL '1 day') GROUP BY station;"
    )
    weeks = "INSERT INTO out SELECT sum(total) AS total FROM TUMBLE(days, window_end, INTERVAL '7 days');"
    bench = Bench(days + weeks)
    bench.at(1, meter(1, 5), meter(1, 1, "b"))
    assert bench.load('INSERT INTO out SELECT topic FROM "t"') == [{"total": 6.0}]
    assert bench.late == []


def test_a_restart_at_any_point_changes_nothing() -> None:
    sql = (
        TEN + "INSERT INTO out SELECT * FROM tens ;"
        "CREATE VIEW stays AS SELECT station, window_start, window_end, count(*) AS n "
        "FROM SESSION(meter, ts, INTERVAL '3 seconds') GROUP BY station;"
        "INSERT INTO out SELECT * FROM stays;"
        "INSERT INTO out SELECT window_start, sum(total) AS t, array_agg(station) AS s "
        "FROM HOP(tens, window_start, INTERVAL '10 seconds', INTERVAL '30 seconds') ORDER BY t LIMIT 5;"
        "INSERT INTO out SELECT station, power FROM meter GROUP BY COUNTWINDOW(3, 1) ORDER BY power;"
        "INSERT INTO out SELECT station, avg(power) AS p FROM meter GROUP BY station, SLIDINGWINDOW(ss, 4, 1)"
    )
    chance = random.Random(7)  # noqa: S311
    given = [(now, meter(now - chance.randrange(6), chance.randrange(9), chance.choice("abc"))) for now in range(60)]

    def run(restarts: set[int]) -> tuple[list[Any], list[Any]]:
        bench = Bench(sql)
        rows: list[Any] = []
        for now, message in given:
            rows += bench.at(now, Message(message.topic, message.payload))
            if now in restarts:
                bench.restart(sql)
        return rows + bench.wait(200) + bench.finish(), bench.late

    expected = run(set())
    assert len(expected[0]) > 100
    assert expected[1]
    assert run(set(range(60))) == expected
    assert run({3, 17, 40}) == expected


def test_a_qualified_column_is_called_as_it_is() -> None:
    bench = Bench("INSERT INTO out SELECT m.station, m.power + 1 AS p, m.power FROM meter AS m")
    assert bench.send(meter(1, 2)) == [{"station": "a", "p": 3.0, "power": 2.0}]
