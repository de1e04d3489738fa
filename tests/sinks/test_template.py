"""Templates, by EMQX's rules: a table of text, row and result."""

from __future__ import annotations

from typing import Any

import pytest

from core.message import MISSING, Schema, Type
from sinks.template import Template

ROW: dict[str, Any] = {
    "a": "1",
    "b": 1,
    "c": 1.0,
    "d": {"d1": "hi", "deep": {"er": [True]}},
    "l": [0, 1, 1000],
    "t": True,
    "n": None,
    "m": MISSING,
    "raw": b"\xff\x00",
    "json": b'{"x": {"y": 2}}',
    "text": "no json",
    "f": 0.1 + 0.2,
    "big": 1e21,
    "nan": float("nan"),
    "dotted.name": "whole name",
    "at": 1_767_225_600_123_000,
}
SCHEMA = Schema(tuple(ROW), tuple(Type.TIMESTAMP if name == "at" else Type.ANY for name in ROW))


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        (
            "a:${a},b:${b},c:${c},d:${d},d1:${d.d1},l:${l}",
            b'a:1,b:1,c:1.0,d:{"d1":"hi","deep":{"er":[true]}},d1:hi,l:[0,1,1000]',
        ),
        ("${.a}/${.d.d1}", b"1/hi"),
        (
            "${t} ${n} ${m} ${nothing} ${d.nothing} ${b.x} ${l.1}",
            b"true null undefined undefined undefined undefined undefined",
        ),
        ("${d.deep}", b'{"er":[true]}'),
        ("${raw}", b"\xff\x00"),
        ("${json.x.y} ${json.z} ${text.x} ${raw.x}", b"2 undefined undefined undefined"),
        ("${f} ${big} ${nan}", b"0.3 1000000000000000000000.0 nan"),
        ("${dotted.name}", b"whole name"),
        ("${at}", b"2026-01-01T00:00:00.123Z"),
        ("${$}{b} ${$}", b"${b} $"),
        ("$a {c} ${d } ${d", b"$a {c} undefined ${d"),
        ("", b""),
        ("plain ü", "plain ü".encode()),
    ],
)
def test_rendering(text: str, rendered: bytes) -> None:
    assert Template(text).bind(SCHEMA)(tuple(ROW.values())) == rendered


def test_the_whole_row() -> None:
    schema = Schema(("a", "b", "c"), (Type.TEXT, Type.ANY, Type.TIMESTAMP))
    for text in ("${.}", "${}"):
        rendered = Template(text).bind(schema)(("x", MISSING, 0))
        assert rendered == b'{"a":"x","b":"undefined","c":"1970-01-01T00:00:00Z"}'


def test_a_text_without_placeholders_is_constant() -> None:
    assert Template("a/${$}b").constant == "a/$b"
    assert Template("${a}").constant is None
