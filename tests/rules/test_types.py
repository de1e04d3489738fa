"""Types that JSON does not have: casts, instants, intervals, decimals. Tables of expression and value."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from core.message import MISSING, Type
from rules.compiler import RuleSource, compile_rules
from rules.evaluate import EvalError, evaluate

# ruff: noqa: S608, E501 - SQL from strings is what is tested here, in tables with a case a line

PAYLOAD = (
    '{"n": 7, "f": 2.5, "s": "abc", "nul": null, "t": true, "ms": 1767225600123, "at": "2026-01-01T00:00:00.5Z",'
    ' "price": "12.345", "big": 123456789012345678901234567890, "l": [1, 2], "o": {"a": 1}, "json": "[1, 2]", "len": "90 seconds",'
    ' "naive": "2026-01-01T00:00:00", "feb30": "2026-02-30", "month": "1 month"}'
)
AT = "TIMESTAMP '2026-01-31T22:30:15.250Z'"


class Fails(str):
    """The expected reason of a failure at run time."""

    __slots__ = ()


def value_of(expression: str, **columns: Any) -> Any:
    given = {"payload": PAYLOAD, "topic": "t", "qos": 1, "timestamp": 1767225600000, **columns}
    try:
        [row] = evaluate(f'SELECT {expression} AS x FROM "t"', given)
    except EvalError as error:
        if error.stage != "run":
            raise
        return Fails(error.reason)
    return row["x"]


CASTS: list[tuple[str, Any]] = [
    # DECIMAL
    ("CAST(payload.price AS DECIMAL)", Decimal("12.345")),
    ("CAST(payload.price AS DECIMAL(10, 2))", Decimal("12.35")),
    ("CAST(0.125 AS NUMERIC(5, 2))", Decimal("0.13")),
    ("CAST(-0.125 AS NUMERIC(5, 2))", Decimal("-0.13")),
    ("CAST(0.1 AS DECIMAL)", Decimal("0.1")),
    ("CAST(payload.big AS DECIMAL)", Decimal(123456789012345678901234567890)),
    ("CAST('999.995' AS DECIMAL(5, 2))", Fails("bad_cast")),
    ("CAST(1000 AS DECIMAL(5, 2))", Fails("bad_cast")),
    ("CAST('1e999999' AS DECIMAL)", Fails("bad_cast")),
    ("CAST('abc' AS DECIMAL)", Fails("bad_cast")),
    ("CAST(payload.t AS DECIMAL)", Fails("bad_cast")),
    ("CAST('1.5' AS DECIMAL) + 1", Decimal("2.5")),
    ("CAST('1.5' AS DECIMAL) * CAST('1.5' AS DECIMAL)", Decimal("2.25")),
    ("CAST('1' AS DECIMAL) / 4", Decimal("0.25")),
    ("CAST('1.5' AS DECIMAL) + 1.5", 3.0),
    ("CAST('1.5' AS DECIMAL) / payload.f", 0.6),
    ("CAST('1' AS DECIMAL) / 0", Fails("division_by_zero")),
    ("-CAST('1.5' AS DECIMAL)", Decimal("-1.5")),
    ("CAST('0.1' AS DECIMAL) = 0.1", True),
    ("CAST('2' AS DECIMAL) > payload.n", False),
    ("CAST(CAST('2.5' AS DECIMAL) AS BIGINT)", 3),
    ("CAST(CAST('2.5' AS DECIMAL) AS DOUBLE)", 2.5),
    ("CAST(CAST('2.50' AS DECIMAL) AS TEXT)", "2.50"),
    (
        "CAST('12345678901234567890123456789012345678' AS DECIMAL) + 1",
        Decimal(12345678901234567890123456789012345679),
    ),
    ("CAST(payload.nul AS DECIMAL)", None),
    ("CAST(payload.nul AS DECIMAL) + 1", Fails("bad_operand")),
    # BYTES
    ("CAST('é' AS BYTES)", b"\xc3\xa9"),
    ("CAST(CAST('é' AS BYTES) AS TEXT)", "é"),
    ("CAST(hexstr2bin('FF') AS TEXT)", Fails("bad_cast")),
    ("CAST(payload.n AS BYTES)", Fails("bad_cast")),
    ("payload::bytes = payload", True),
    # ARRAY and OBJECT
    ("CAST(payload.json AS ARRAY)", [1, 2]),
    ("CAST(payload.l AS ARRAY)", [1, 2]),
    ("CAST('{\"a\": 1}' AS OBJECT)", {"a": 1}),
    ("CAST('[1' AS ARRAY)", Fails("bad_cast")),
    ("CAST('[1]' AS OBJECT)", Fails("bad_cast")),
    ("CAST(payload.o AS TEXT)", '{"a":1}'),
    ("CAST(payload.l AS TEXT)", "[1,2]"),
    # TIMESTAMP
    ("CAST(payload.ms AS TIMESTAMP)", "2026-01-01T00:00:00.123Z"),
    ("CAST(payload.at AS TIMESTAMP)", "2026-01-01T00:00:00.500Z"),
    ("CAST('2026-01-01T08:00:00+08:00' AS TIMESTAMP)", "2026-01-01T00:00:00Z"),
    ("CAST('2026-01-01 08:00:00.123456789+0800' AS TIMESTAMPTZ)", "2026-01-01T00:00:00.123456Z"),
    ("CAST('2026-01-01' AS TIMESTAMP WITH TIME ZONE)", "2026-01-01T00:00:00Z"),
    ("CAST('2016-12-31T23:59:60Z' AS TIMESTAMP)", "2017-01-01T00:00:00Z"),
    ("CAST(1.5 AS TIMESTAMP)", "1970-01-01T00:00:00.001500Z"),
    ("CAST(payload.naive AS TIMESTAMP)", Fails("bad_cast")),
    ("CAST(payload.feb30 AS TIMESTAMP)", Fails("bad_cast")),
    ("CAST(payload.big AS TIMESTAMP)", Fails("bad_cast")),
    ("CAST(payload.t AS TIMESTAMP)", Fails("bad_cast")),
    ("CAST(payload.nul AS TIMESTAMP)", None),
    ("CAST(payload.gone AS TIMESTAMP)", MISSING),
    ("CAST(CAST(payload.at AS TIMESTAMP) AS TEXT)", "2026-01-01T00:00:00.500Z"),
    ("CAST(CAST(payload.at AS TIMESTAMP) AS BIGINT)", 1767225600500),
    ("CAST(CAST(payload.at AS TIMESTAMP) AS DOUBLE)", 1767225600500.0),
    ("CAST(CAST(timestamp AS TIMESTAMP) AS BIGINT) = timestamp", True),
    ("CAST(CAST(payload.nul AS TIMESTAMP) AS BIGINT)", None),
    # INTERVAL
    ("CAST(payload.len AS INTERVAL)", 90_000_000),
    ("CAST('1 day 02:00:00' AS INTERVAL)", 93_600_000_000),
    ("CAST('PT1H' AS INTERVAL)", 3_600_000_000),
    ("CAST(payload.month AS INTERVAL)", Fails("bad_cast")),
    ("CAST(payload.n AS INTERVAL)", Fails("bad_cast")),
    ("CAST(INTERVAL '26 hours' AS TEXT)", "1 day 02:00:00"),
    ("CAST(INTERVAL '-1.5 seconds' AS TEXT)", "-00:00:01.5"),
    # TRY_CAST
    ("TRY_CAST(payload.s AS BIGINT)", None),
    ("TRY_CAST('12' AS BIGINT)", 12),
    ("TRY_CAST(payload.s AS TIMESTAMP)", None),
    ("TRY_CAST('soon' AS TIMESTAMP)", None),
    ("TRY_CAST(payload.t AS DOUBLE)", None),
    ("TRY_CAST(payload.s AS ARRAY)", None),
    ("TRY_CAST(1000 AS DECIMAL(3, 1))", None),
    ("TRY_CAST(payload.gone AS TEXT)", MISSING),
    ("TRY_CAST(payload.at AS TIMESTAMP) + INTERVAL '1 second'", "2026-01-01T00:00:01.500Z"),
]
TIMES: list[tuple[str, Any]] = [
    # literals
    ("INTERVAL '10 seconds'", 10_000_000),
    ("INTERVAL '1' HOUR", 3_600_000_000),
    ("INTERVAL 5 MINUTE", 300_000_000),
    ("INTERVAL 2 days", 172_800_000_000),
    ("INTERVAL '-1.5' hours", -5_400_000_000),
    ("INTERVAL '1 week'", 604_800_000_000),
    ("INTERVAL '500 ms'", 500_000),
    ("interval '02:30:00.5'", 9_000_500_000),
    ("INTERVAL '1 day ago'", -86_400_000_000),
    (AT, "2026-01-31T22:30:15.250Z"),
    ("CURRENT_TIMESTAMP", "2026-01-01T00:00:00Z"),
    ("now() - INTERVAL '1 day'", "2025-12-31T00:00:00Z"),
    # arithmetic
    (f"{AT} + INTERVAL '1.75 seconds'", "2026-01-31T22:30:17Z"),
    (f"INTERVAL '15 seconds' + {AT}", "2026-01-31T22:30:30.250Z"),
    (f"{AT} - INTERVAL '2 hours'", "2026-01-31T20:30:15.250Z"),
    (f"{AT} - TIMESTAMP '2026-01-31T22:30:00Z'", 15_250_000),
    (f"{AT} - '2026-01-31T22:30:15Z'", 250_000),
    (f"{AT} + '1 hour'", "2026-01-31T23:30:15.250Z"),
    ("INTERVAL '1 hour' * 2", 7_200_000_000),
    ("payload.f * INTERVAL '1 second'", 2_500_000),
    ("INTERVAL '1 second' * payload.nul", None),
    ("INTERVAL '1 second' * payload.s", Fails("bad_operand")),
    ("INTERVAL '1 hour' / 4", 900_000_000),
    ("INTERVAL '1 hour' / 0", Fails("division_by_zero")),
    ("INTERVAL '1 hour' + INTERVAL '1 minute' - INTERVAL '30 minutes'", 1_860_000_000),
    ("-INTERVAL '1 second'", -1_000_000),
    ("-CAST(payload.len AS INTERVAL)", -90_000_000),
    ("CAST(payload.nul AS TIMESTAMP) + INTERVAL '1 second'", None),
    ("CAST(payload.gone AS TIMESTAMP) - CAST(payload.at AS TIMESTAMP)", MISSING),
    ("CAST(payload.at AS TIMESTAMP) - CAST(payload.nul AS TIMESTAMP)", None),
    # the calendar
    (f"{AT} + INTERVAL '1 month'", "2026-02-28T22:30:15.250Z"),
    (f"{AT} - INTERVAL '1' MONTH", "2025-12-31T22:30:15.250Z"),
    (f"{AT} + INTERVAL '2 years 1 month 1 hour'", "2028-02-29T23:30:15.250Z"),
    (f"(INTERVAL '1 month') + {AT}", "2026-02-28T22:30:15.250Z"),
    ("CAST(payload.nul AS TIMESTAMP) + INTERVAL '1 month'", None),
    (f"{AT} + INTERVAL '9000 years'", Fails("bad_sql_function_argument")),
    # comparison
    (f"{AT} > '2026-01-31T22:30:15Z'", True),
    (f"'2026-01-31' < {AT}", True),
    (f"{AT} BETWEEN '2026-01-01' AND '2026-02-01'", True),
    (f"{AT} NOT BETWEEN '2026-01-01' AND '2026-02-01'", False),
    (f"{AT} IN ('2026-01-31T22:30:15.25Z', '2026-01-01')", True),
    ("INTERVAL '90 seconds' = INTERVAL '1.5 minutes'", True),
    ("INTERVAL '90 seconds' > '1 minute'", True),
    ("CAST(payload.nul AS TIMESTAMP) > '2026-01-01'", False),
    ("CAST(payload.gone AS TIMESTAMP) = CAST(payload.gone AS TIMESTAMP)", False),
    ("CAST(payload.gone AS TIMESTAMP) IS NULL", True),
    ("CASE WHEN payload.n = 7 THEN CAST(payload.at AS TIMESTAMP) ELSE '2026-05-05' END", "2026-01-01T00:00:00.500Z"),
    (f"CASE {AT} WHEN '2026-01-31T22:30:15.25Z' THEN 'now' END", "now"),
    # parts
    (f"EXTRACT(EPOCH FROM {AT})", 1769898615.25),
    (f"EXTRACT(year FROM {AT})", 2026),
    (f"extract(MONTH FROM {AT})", 1),
    (f"EXTRACT('day' FROM {AT})", 31),
    (f"EXTRACT(HOUR FROM {AT})", 22),
    (f"EXTRACT(HOUR FROM {AT} AT TIME ZONE 'Asia/Shanghai')", 6),
    (f"EXTRACT(DAY FROM ({AT} AT TIME ZONE 'Asia/Shanghai'))", 1),
    (f"EXTRACT(SECOND FROM {AT})", 15.25),
    (f"EXTRACT(MILLISECONDS FROM {AT})", 15250.0),
    (f"EXTRACT(MICROSECONDS FROM {AT})", 15_250_000),
    (f"EXTRACT(ISODOW FROM {AT})", 6),
    ("EXTRACT(DOW FROM TIMESTAMP '2026-02-01')", 0),
    (f"EXTRACT(DOY FROM {AT})", 31),
    (f"EXTRACT(WEEK FROM {AT})", 5),
    ("EXTRACT(ISOYEAR FROM TIMESTAMP '2027-01-01')", 2026),
    (f"EXTRACT(QUARTER FROM {AT})", 1),
    (f"EXTRACT(CENTURY FROM {AT})", 21),
    (f"EXTRACT(TIMEZONE FROM {AT} AT TIME ZONE '+05:30')", 19800),
    ("EXTRACT(EPOCH FROM INTERVAL '1.5 hours')", 5400.0),
    ("EXTRACT(DAY FROM INTERVAL '50 hours')", 2),
    ("EXTRACT(HOUR FROM INTERVAL '-50 hours')", -2),
    ("EXTRACT(SECOND FROM INTERVAL '61.5 seconds')", 1.5),
    ("EXTRACT(EPOCH FROM CAST(payload.nul AS TIMESTAMP))", None),
    # zones and the beginnings of units
    (f"CAST({AT} AT TIME ZONE 'Asia/Shanghai' AS TEXT)", "2026-02-01T06:30:15.250+08:00"),
    ("(TIMESTAMP '2026-07-01T00:00:00Z' AT TIME ZONE 'Europe/Berlin')::text", "2026-07-01T02:00:00+02:00"),
    (f"date_trunc('month', {AT})", "2026-01-01T00:00:00Z"),
    (f"DATE_TRUNC('month', {AT} AT TIME ZONE 'Asia/Shanghai')", "2026-01-31T16:00:00Z"),
    (f"date_trunc('week', {AT})", "2026-01-26T00:00:00Z"),
    (f"date_trunc('quarter', {AT} + INTERVAL '2 months')", "2026-01-01T00:00:00Z"),
    (f"date_trunc('hour', {AT}, '+05:45')", "2026-01-31T22:15:00Z"),
    ("date_trunc('day', TIMESTAMP '2026-03-29T12:00:00Z', 'Europe/Berlin')", "2026-03-28T23:00:00Z"),
    ("date_trunc('day', CAST(payload.nul AS TIMESTAMP))", None),
    (f"date_bin(INTERVAL '15 minutes', {AT})", "2026-01-31T22:30:00Z"),
    (f"date_bin('1 hour', {AT}, '2026-01-01T00:10:00Z')", "2026-01-31T22:10:00Z"),
    ("to_timestamp(payload.n)", "1970-01-01T00:00:07Z"),
    ("to_timestamp(payload.nul)", None),
    # where no type is declared an instant is its text
    (f"[{AT}]", ["2026-01-31T22:30:15.250Z"]),
    (f"'at ' || {AT} || ' for ' || INTERVAL '1 minute'", "at 2026-01-31T22:30:15.250Z for 00:01:00"),
    ("is_null(CAST(payload.gone AS TIMESTAMP))", True),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "expected"), CASTS + TIMES)
def test_expression(expression: str, expected: Any) -> None:
    actual = value_of(expression)
    assert type(actual) is type(expected), f"{expression} gave {actual!r}"
    assert actual == expected


def test_an_instant_hides_the_column_of_its_name() -> None:
    sql = "SELECT CAST(payload.at AS TIMESTAMP) AS timestamp, timestamp + INTERVAL '1 second' AS later FROM t"
    given = {"payload": '{"at": "2026-01-01"}', "timestamp": 5}
    assert evaluate(sql, given) == [{"timestamp": "2026-01-01T00:00:00Z", "later": "2026-01-01T00:00:01Z"}]
    assert evaluate(sql, {"payload": "{}", "timestamp": 5}) == [{"timestamp": MISSING, "later": MISSING}]


def test_a_path_alias_writes_an_instant_as_text() -> None:
    rows = evaluate("SELECT TIMESTAMP '2026-01-01' AS a.b FROM t", {})
    assert rows == [{"a": {"b": "2026-01-01T00:00:00Z"}}]


def test_words_of_time_stay_names() -> None:
    columns = {"interval": 2, "extract": 3, "timestamp": 4, "at": 5, "month": 6, "year": 7, "time": 8, "zone": 9}
    for name, value in columns.items():
        assert evaluate(f"SELECT {name} AS x FROM t", columns) == [{"x": value}]
    assert evaluate("SELECT interval * 2 AS x, at at FROM t", columns) == [{"x": 4, "at": 5}]
    assert evaluate("SELECT INTERVAL '1 day' d FROM t", columns) == [{"d": 86_400_000_000}]
    assert evaluate("SELECT 1 AS current_timestamp, current_timestamp AS x FROM t", {})[0]["x"] == 1


def test_a_schema_knows_the_types() -> None:
    sql = (
        "INSERT INTO o SELECT CAST(payload.a AS TIMESTAMP) AS at, now() - CAST(payload.a AS TIMESTAMP) AS age,"
        " CAST(payload.b AS DECIMAL(10, 2)) AS price, CAST(payload.b AS BYTES) AS raw,"
        ' int(payload.n) + 1 AS n, EXTRACT(HOUR FROM now()) AS hour FROM "t"'
    )
    [rule] = compile_rules([RuleSource("x.sql", sql)]).rules
    kinds = (Type.TIMESTAMP, Type.INTERVAL, Type.DECIMAL, Type.BYTES, Type.BIGINT, Type.BIGINT)
    assert rule.schema.types == kinds


@pytest.mark.parametrize(
    "text",
    [
        *("", "T", "2026-01-01T08:00:00", "2026-01-01T08:00Z", "2026-01-01T08:00:00,5Z", "2026-01-01T08:00:00.Z"),
        *("20260101T080000Z", "2026-W01-4T08:00:00Z", "2026-001", "2026-13-01", "2026-01-01T24:00:00Z", "0000-01-01"),
        *("2026-01-01T08:00:00+08:00:30", "2026-01-01T08:00:00+24:00", "2026-01-01X08:00:00Z", "2026-01-01T08:00:61Z"),
        *("0001-01-01T00:00:00+08:00", "9999-12-31T23:59:59-00:01", "2026-01-01T08:00:00.5z ago", "1767225600"),
    ],
)
def test_no_time(text: str) -> None:
    assert value_of("CAST(at AS TIMESTAMP)", at=text) == "bad_cast"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T08:00:00Z", "2026-01-01T08:00:00Z"),
        ("2026-01-01t08:00:00z", "2026-01-01T08:00:00Z"),
        ("2026-01-01 08:00:00.1234567+00:00", "2026-01-01T08:00:00.123456Z"),
        ("2026-01-01T08:00:00.5-0830", "2026-01-01T16:30:00.500Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        (" 2026-01-01 ", "2026-01-01T00:00:00Z"),
    ],
)
def test_time(text: str, expected: str) -> None:
    assert value_of("CAST(at AS TIMESTAMP)", at=text) == expected
