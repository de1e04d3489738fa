"""Bodies of the http sink: what a value looks like where its placeholder stands, in JSON and in anything else."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError, PayloadError
from core.message import MISSING, Row, Schema, Type
from sinks.http.body import Body
from sinks.http.config import Config

NASTY = 'say "hi"\n\\ \t\x00 ünï \u2028 🚗'
PLAIN = {"content_type": "text/plain"}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(MISSING),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def render(text: str, *row: Any, kinds: tuple[Type, ...] | None = None, **settings: Any) -> bytes:
    """The body of a row with the columns a, b, c ..."""
    schema = Schema(tuple("abcdefgh"[: len(row)]), kinds or (Type.ANY,) * len(row))
    return Body(msgspec.convert({"body": text, **settings}, Config)).bind(schema)(row)


def document(text: str, *row: Any, **settings: Any) -> Any:
    return msgspec.json.decode(render(text, *row, **settings))


# -- inside of quotes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (NASTY, NASTY),
        ("plain", "plain"),
        ("", ""),
        (b'bytes "x"', 'bytes "x"'),
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
        (MISSING, "undefined"),
        ({"k": ["v"]}, '{"k":["v"]}'),
    ],
)
def test_a_value_within_a_text_is_text(value: Any, text: str) -> None:
    assert document('{"text": "<${a}>", "${a}": 1}', value) == {"text": f"<{text}>", text: 1}


def test_quotes_that_are_escaped_end_no_text() -> None:
    assert document(r'{"a": "\"${a}\" \\", "b": "${a}"}', '"') == {"a": '""" \\', "b": '"'}


def test_the_whole_row_within_a_text() -> None:
    assert document('{"row": "${.}", "name": "${$}{a}"}', 'x"') == {"row": r'{"a":"x\""}', "name": "${a}"}


def test_bytes_that_are_no_text_are_refused_within_one() -> None:
    with pytest.raises(PayloadError, match=r"\$\{a\} in its body is no UTF-8 text"):
        render('{"a": "${a}"}', b"\xff")


# -- outside of quotes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, 7),
        (1.5, 1.5),
        (Decimal("2.5"), 2.5),
        (True, True),
        (None, None),
        (MISSING, None),
        (math.nan, None),
        (-math.inf, None),
        ([1, {"k": None}], [1, {"k": None}]),
        ("text", "text"),
        (NASTY, NASTY),
        ("", ""),
        ('1, "admin": true', '1, "admin": true'),
        ('{"k": [1]}', {"k": [1]}),
        (b'{"k": [1]}', {"k": [1]}),
        (b"text", "text"),
        (b"\xff", {"$hex": "FF"}),
    ],
)
def test_a_value_by_itself_is_a_value(value: Any, expected: Any) -> None:
    assert document('{"a": ${a}, "b": [${a}]}', value) == {"a": expected, "b": [expected]}


def test_instants_are_texts_in_both_places() -> None:
    text = '{"a": ${a}, "b": "${a}"}'
    at = "2026-01-01T00:00:00.123Z"
    assert document(text, 1_767_225_600_123_000, kinds=(Type.TIMESTAMP,)) == {"a": at, "b": at}
    assert document(text, None, kinds=(Type.TIMESTAMP,)) == {"a": None, "b": "null"}


def test_the_whole_row_and_steps_into_it() -> None:
    row = ({"x": {"y": 2}}, b'{"x": {"y": "z"}}')
    found = document('{"row": ${.}, "a": ${a.x}, "b": ${b.x.y}, "c": ${a.q}}', *row)
    assert found == {
        "row": {"a": {"x": {"y": 2}}, "b": '{"x": {"y": "z"}}'},
        "a": {"y": 2},
        "b": "z",
        "c": None,
    }


def test_a_payload_that_is_json_passes() -> None:
    assert render("${a}", b'{"k": 1}') == b'{"k": 1}'
    assert render("${a}", "no json") == b'"no json"'


def test_numbers_look_as_everywhere_in_templates() -> None:
    assert render('{"a": ${a}, "b": "${a}"}', 0.1 + 0.2) == b'{"a": 0.3, "b": "0.3"}'


# -- the whole -------------------------------------------------------------------------------------------------------


def test_what_is_no_json_after_all_is_refused() -> None:
    assert document('{"n": -${a}}', 5) == {"n": -5}
    assert document("{${a}: 1}", "key") == {"key": 1}
    for text, value in (('{"n": -${a}}', "x"), ("{${a}: 1}", 7)):
        with pytest.raises(PayloadError, match="its body would be no JSON: ") as caught:
            render(text, value)
        assert "byte" not in str(caught.value)


@given(values, values)
def test_a_body_is_json_whatever_is_in_the_row(first: Any, second: Any) -> None:
    try:
        body = render('{"a": ${a}, "b": "x${b}", "c": [${b}, {"d": ${a}}]}', first, second)
    except PayloadError:
        return
    found = msgspec.json.decode(body)
    assert list(found) == ["a", "b", "c"]
    assert list(found["c"][1]) == ["d"]
    assert isinstance(found["b"], str)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters='"\\')), st.integers(), st.floats())
def test_what_was_right_without_escaping_stays_as_it_is(text: str, number: int, real: float) -> None:
    template = '{"text": "${a}", "number": ${b}, "real": "${c}", "both": "${a}${b}"}'
    row = (text, number, real)
    assert render(template, *row) == render(template, *row, **PLAIN)


@pytest.mark.parametrize(
    "text",
    ['{"text": "${a}"', '{"text": ${a}"}', '{"text": "${a}}', "hello ${a}", "{'a': ${a}}", '{"a": "\\${a}"}', "plain"],
)
@pytest.mark.parametrize("settings", [{}, {"send": "json_array"}, {"send": "ndjson"}])
def test_bodies_that_can_never_be_json(text: str, settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"^body: is no JSON, even with values in it: .*texts need quotes") as caught:
        render(text, "x", **settings)
    assert "byte" not in str(caught.value)


def test_an_empty_body_is_one() -> None:
    assert render("", 1) == b""


# -- other content types -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("media", "is_json"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/vnd.api+json", True),
        ("text/plain", False),
        ("text/plain; note=json", False),
        ("application/xml", False),
    ],
)
def test_what_is_json(media: str, is_json: bool) -> None:
    rendered = render('{"a": "${a}"}', '"', content_type=media)
    assert rendered == (b'{"a": "\\""}' if is_json else b'{"a": """}')


def test_other_bodies_are_plain() -> None:
    assert render("<${a}> ${b} ${c}", NASTY, MISSING, b"\xff", **PLAIN) == f"<{NASTY}> undefined ".encode() + b"\xff"


def test_an_array_is_json_whatever_it_is_called() -> None:
    assert render('{"a": "${a}"}', '"', send="json_array", **PLAIN) == b'{"a": "\\""}'


def test_a_line_is_one_line() -> None:
    assert render('{\n  "a": "${a}",\n  "b": ${b}\n}\n', "x\ny", '{\n"k": 1}', send="ndjson") == (
        b'{"a":"x\\ny","b":{"k":1}}'
    )
    with pytest.raises(PayloadError, match="line break"):
        render("m ${a}", "x\ny", send="ndjson", **PLAIN)


def test_rows_are_json_objects_where_there_is_no_template() -> None:
    body = Body(msgspec.convert({}, Config))
    row: Row = (NASTY, 1)
    assert msgspec.json.decode(body.bind(Schema(("a", "b"), (Type.TEXT, Type.BIGINT)))(row)) == {"a": NASTY, "b": 1}
