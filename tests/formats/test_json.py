"""JSON in and out: numbers stay what they are, bytes and MISSING have a form, and anything else is a PayloadError."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import PayloadError
from core.message import MISSING
from formats.json import JsonCodec, decode_document, encode_document

codec = JsonCodec()


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b'{"a": [1, 2.5, null, true, "x"]}', {"a": [1, 2.5, None, True, "x"]}),
        (b"1" * 40, int("1" * 40)),
        (b"-9223372036854775809", -(2**63) - 1),
        (b"1.0", 1.0),
        (b"1e2", 100.0),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b' "text" ', "text"),
        ('"ä€😀"'.encode(), "ä€😀"),
        (b'"\\ud83d\\ude00"', "😀"),
        (b"null", None),
    ],
)
def test_decoding(payload: bytes, value: Any) -> None:
    [found] = codec.decode(payload)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("payload", "offset"),
    [
        (b"", None),
        (b"{", None),
        (b"[1,]", 3),
        (b"1 2", 3),
        (b"{'a': 1}", 1),
        (b"NaN", 0),
        (b"\xff\xfe", 0),
        (b"\xef\xbb\xbf1", 0),
        (b'"\xff"', None),
        (b"1e999", None),
        (b"1" * 5_000, None),
        (b"[" * 100_000, None),
    ],
)
def test_what_is_not_json_says_so_and_where(payload: bytes, offset: int | None) -> None:
    with pytest.raises(PayloadError, match="payload is not JSON: ") as caught:
        codec.decode(payload)
    assert (caught.value.codec, caught.value.offset) == ("json", offset)


@given(st.binary(max_size=40))
def test_arbitrary_bytes_are_a_value_or_a_payload_error(payload: bytes) -> None:
    try:
        codec.decode(payload)
    except PayloadError:
        with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
            decode_document(payload)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": MISSING, "b": [MISSING]}, '{"a":"undefined","b":["undefined"]}'),
        ({"a": b"text", "b": bytearray(b"\xff\x0a")}, '{"a":"text","b":{"$hex":"FF0A"}}'),
        (memoryview(b"ab"), '"ab"'),
        ({b"key": 1, 2: 3}, '{"key":1,"2":3}'),
        ((1, 2), "[1,2]"),
        ([float("nan"), float("inf"), Decimal("NaN"), Decimal("-Infinity")], "[null,null,null,null]"),
        (Decimal("1.50"), "1.50"),
        (10**30, "1" + "0" * 30),
        ("ä€", '"ä€"'),
    ],
)
def test_encoding(value: Any, text: str) -> None:
    assert codec.encode(value).decode() == text


def recursive() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize("value", [object(), {(1, 2): 3}, {b"\xff": 1}, "\ud800", 1 + 2j, recursive()])
def test_what_json_cannot_express(value: Any) -> None:
    with pytest.raises(PayloadError, match="cannot be written as JSON: "):
        encode_document(value)


documents = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=10,
)


@given(documents)
def test_documents_survive_the_way_out_and_in(document: Any) -> None:
    payload = codec.encode(document)
    assert codec.decode(payload) == [document]
    assert json.loads(payload) == document


def test_its_name_and_options() -> None:
    assert JsonCodec.name == "json"
    assert isinstance(codec.config, JsonCodec.Config)
