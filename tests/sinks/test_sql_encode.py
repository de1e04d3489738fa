"""What PostgreSQL is sent as text: COPY lines, arrays and values, without a server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import PayloadError
from core.message import MISSING, Row, Type
from sinks.sql.config import TableSettings
from sinks.sql.encode import Kind, converters, fits
from sinks.sql.postgresql import Column, Copy, Unnest, texts

TEXTS = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
TABLE = TableSettings(name="meter")


def columns(*kinds: tuple[Kind, Type]) -> list[Column]:
    return [
        Column(f"c{index}", "text", kind is Kind.ARRAY, texts(*pair))
        for index, pair in enumerate(kinds)
        for kind in [pair[0]]
    ]


def text_columns(count: int) -> list[Column]:
    return columns(*[(Kind.TEXT, Type.TEXT)] * count)


def copied(data: bytes) -> list[tuple[str | None, ...]]:
    """As the server reads the text format: lines, then cells, then escapes."""
    escapes = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}

    def cell(text: str) -> str | None:
        return None if text == "\\N" else re.sub(r"\\(.)", lambda found: escapes[found[1]], text)

    assert data.endswith(b"\n")
    return [tuple(map(cell, line.split("\t"))) for line in data.decode()[:-1].split("\n")]


def array(literal: str) -> list[str | None]:
    """As the server reads an array of one dimension whose elements are quoted or NULL."""
    assert re.fullmatch(r'\{((NULL|"([^"\\]|\\.)*")(,(?!\})|(?=\})))*\}', literal, re.DOTALL)
    found = re.finditer(r'(NULL)|"((?:[^"\\]|\\.)*)"', literal, re.DOTALL)
    return [None if one[1] else re.sub(r"\\(.)", r"\1", one[2], flags=re.DOTALL) for one in found]


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1))
def test_copy_keeps_every_text(rows: list[tuple[str | None, str | None]]) -> None:
    assert copied(Copy(TABLE, text_columns(2)).encode(rows)) == rows


@given(st.lists(st.tuples(TEXTS), min_size=1))
def test_arrays_keep_every_text(rows: list[tuple[str | None]]) -> None:
    [literal] = Unnest(TABLE, text_columns(1)).encode(rows)
    assert array(literal) == [text for (text,) in rows]


@pytest.mark.parametrize(
    ("kind", "declared", "value", "expected"),
    [
        (Kind.TEXT, Type.ANY, 7, "7"),
        (Kind.TEXT, Type.ANY, 2.5, "2.5"),
        (Kind.TEXT, Type.ANY, float("nan"), "nan"),  # and not JSON's null, as a text
        (Kind.TEXT, Type.DOUBLE, float("-inf"), "-inf"),
        (Kind.TEXT, Type.ANY, True, "true"),
        (Kind.TEXT, Type.BYTES, b"a", "a"),
        (Kind.TEXT, Type.BYTES, b"\xff", '{"$hex":"FF"}'),
        (Kind.TEXT, Type.ANY, {"a": [1, None]}, '{"a":[1,null]}'),
        (Kind.TEXT, Type.TIMESTAMP, 1_767_225_600_000_001, "2026-01-01T00:00:00.000001Z"),
        (Kind.INTEGER, Type.DOUBLE, 2.0, "2"),
        (Kind.INTEGER, Type.ANY, True, "1"),
        (Kind.INTEGER, Type.BIGINT, 2**80, str(2**80)),
        (Kind.NUMBER, Type.DECIMAL, Decimal("1.10"), "1.10"),
        (Kind.NUMBER, Type.BOOLEAN, True, "1"),
        (Kind.DOUBLE, Type.ANY, True, "1"),
        (Kind.DOUBLE, Type.DOUBLE, 1e300, "1e+300"),
        (Kind.DOUBLE, Type.DOUBLE, float("nan"), "nan"),
        (Kind.BOOLEAN, Type.BOOLEAN, False, "false"),
        (Kind.BYTES, Type.BYTES, b"\x00\\", "\\x005c"),
        (Kind.BYTES, Type.TEXT, "\\x00", "\\x5c783030"),
        (Kind.INSTANT, Type.TIMESTAMP, 1, "1970-01-01 00:00:00.000001+00"),
        (Kind.INSTANT, Type.BIGINT, 1_764_000_000_001, "2025-11-24 16:00:00.001000+00"),
        (Kind.INSTANT, Type.ANY, 1_764_000_000_000.5, "2025-11-24 16:00:00.000500+00"),
        (Kind.LOCAL_INSTANT, Type.DECIMAL, Decimal("-0.001"), "1969-12-31 23:59:59.999999+00"),
        (Kind.LOCAL_INSTANT, Type.TEXT, "2026-01-01T02:00:00+02:00", "2026-01-01 00:00:00"),
        (Kind.LOCAL_INSTANT, Type.TEXT, "yesterday", "yesterday"),
        (Kind.INTERVAL, Type.INTERVAL, 1_500_000, "1500000 microseconds"),
        (Kind.JSON, Type.TEXT, "a", '"a"'),
        (Kind.JSON, Type.TIMESTAMP, 0, '"1970-01-01T00:00:00Z"'),
        (Kind.JSON, Type.OBJECT, {"a": Decimal("1.5")}, '{"a":1.5}'),
        (Kind.ARRAY, Type.ARRAY, [1, None, 'a"\\', True, [2.5]], '{"1",NULL,"a\\"\\\\","true",{"2.5"}}'),
        (Kind.OTHER, Type.TEXT, "10.0.0.1", "10.0.0.1"),
        (Kind.TEXT, Type.TEXT, MISSING, None),
        (Kind.JSON, Type.OBJECT, None, None),
    ],
)
def test_values_as_text(kind: Kind, declared: Type, value: Any, expected: str | None) -> None:
    writer = Copy(TABLE, columns((kind, declared)))
    assert copied(writer.encode([(value,), (value,)])) == [(expected,)] * 2
    mixed = copied(writer.encode([(value,), (None,)]))
    assert mixed == [(expected,), (None,)]


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (Kind.TEXT, "a\0b", "NUL character"),
        (Kind.TEXT, "\ud800", "surrogates not allowed"),
        (Kind.TEXT, 1j, "a complex cannot be sent"),
        (Kind.INTEGER, 1.5, "1.5 is no whole number"),
        (Kind.INTEGER, float("nan"), "nan is no whole number"),
        (Kind.JSON, {"a": {1, 2}.pop}, "cannot be written as JSON"),
        (Kind.INSTANT, 10**17, "timestamp 1.* lies outside of the years 1 to 9999"),
        (Kind.INSTANT, float("nan"), "nan is no number of milliseconds since the epoch"),
        (Kind.LOCAL_INSTANT, float("-inf"), "-inf is no number of milliseconds"),
        (Kind.LOCAL_INSTANT, Decimal("1E+1000000"), r"1E\+1000000 is no number of milliseconds"),
    ],
)
@pytest.mark.parametrize("way", [Copy, Unnest])
def test_what_cannot_be_sent_is_said_before_it_is(
    way: type[Copy | Unnest], kind: Kind, value: Any, message: str
) -> None:
    with pytest.raises((PayloadError, UnicodeError), match=message):
        way(TABLE, columns((kind, Type.ANY))).encode([("x" if kind is Kind.TEXT else None,), (value,)])


def test_of_rows_with_the_same_key_the_last_one_goes() -> None:
    settings = TableSettings(name="meter", write="upsert", key=("c0",))
    rows: Sequence[Row] = [("a", 1), ("b", 1), (None, 1), ("a", 2), (None, 2), ("b", 3)]
    described = columns((Kind.TEXT, Type.TEXT), (Kind.INTEGER, Type.BIGINT))
    keys, values = Unnest(settings, described).encode(rows)
    assert array(keys) == [None, "a", None, "b"]  # NULL equals nothing
    assert array(values) == ["1", "2", "2", "3"]
    ignoring = TableSettings(name="meter", write="ignore", key=("c0",))
    assert array(Unnest(ignoring, described).encode(rows)[0]) == ["a", "b", None, "a", None, "b"]


def test_statements_quote_what_comes_from_outside() -> None:
    settings = TableSettings(name='me"ter', schema="%s", write="upsert", key=("a%s",))
    described = [Column("a%s", "bigint", False, {}), Column('b"', "integer[]", True, {})]
    assert Unnest(settings, described).statement == (
        'INSERT INTO "%%s"."me""ter" ("a%%s", "b""") SELECT "a%%s", "b"""::integer[] '
        'FROM UNNEST(%s::bigint[], %s::text[]) AS new_rows ("a%%s", "b""") '
        'ON CONFLICT ("a%%s") DO UPDATE SET "b""" = EXCLUDED."b"""'
    )
    assert Copy(settings, described).statement == 'COPY "%s"."me""ter" ("a%s", "b""") FROM STDIN'


@pytest.mark.parametrize(
    ("context", "position"),
    [
        ('COPY meter, line 2, column kw: "x"', 1),
        ("COPY meter, Zeile 3", 2),
        ("COPY meter, line 4", None),  # there were three
        ("COPY other7, line 2", None),
        ('SQL statement "SELECT 1"', None),
        (None, None),
    ],
)
def test_the_row_that_copy_refuses_is_known_by_its_line(context: str | None, position: int | None) -> None:
    class Refusal(Exception):
        class diag:  # noqa: N801 - psycopg's name
            pass

    Refusal.diag.context = context  # type: ignore[attr-defined]
    writer = Copy(TABLE, text_columns(1))
    assert writer.refused(Refusal(), writer.encode([("a\nb",), ("b",), ("c",)])) == position


def test_what_a_column_takes_at_all() -> None:
    assert not fits(Type.TEXT, Kind.INTEGER)
    assert fits(Type.BIGINT, Kind.INSTANT)
    assert not fits(Type.BOOLEAN, Kind.INSTANT)
    assert not fits(Type.DOUBLE, Kind.BOOLEAN)
    assert not fits(Type.OBJECT, Kind.ARRAY)
    assert all(fits(Type.ANY, kind) for kind in Kind)
    assert all(fits(declared, kind) for declared in Type for kind in (Kind.TEXT, Kind.JSON, Kind.OTHER, Kind.ANYTHING))


def test_sqlite_keeps_a_fraction_in_an_integer_column_and_mysql_would_round_it() -> None:
    assert float not in converters(Kind.INTEGER, Type.DOUBLE, "sqlite")
    with pytest.raises(PayloadError, match="round it in the rule"):
        converters(Kind.INTEGER, Type.DOUBLE, "mysql")[float](1.5)


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql"])
def test_a_text_column_gets_no_null_for_a_number_that_json_has_not(dialect: str) -> None:
    convert = converters(Kind.TEXT, Type.ANY, dialect)[float]
    assert [convert(value) for value in (1e300, float("nan"), float("inf"))] == ["1e300", "nan", "inf"]


@pytest.mark.parametrize("kind", [Kind.NUMBER, Kind.INTEGER])
@pytest.mark.parametrize(
    ("digits", "expected"),
    [
        ("12.50", 12.5),
        ("0.1", 0.1),
        ("-3", -3),
        ("1E+3", 1000),
        ("9007199254740993", 2**53 + 1),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775807", 2**63 - 1),
        ("123456789012.345", 123456789012.345),
        ("1.123456789012345678", None),
        ("9223372036854775808", None),
        ("1E+400", None),
        ("1E+1000000000", None),
        ("NaN", None),
        ("-Infinity", None),
        ("sNaN", None),
    ],
)
def test_sqlite_has_decimals_as_numbers_that_keep_their_digits(kind: Kind, digits: str, expected: Any) -> None:
    convert = converters(kind, Type.DECIMAL, "sqlite")[Decimal]
    if expected is None:
        with pytest.raises(PayloadError, match="not among SQLite's numbers"):
            convert(Decimal(digits))
    else:
        found = convert(Decimal(digits))
        assert (found, type(found)) == (expected, type(expected))
    for other in (Kind.TEXT, Kind.ANYTHING, Kind.DOUBLE):  # the last one is there to round
        assert converters(other, Type.DECIMAL, "sqlite")[Decimal](Decimal(digits)) == digits
