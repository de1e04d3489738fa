"""Tables that are a choice between several structs; everything else: the tests of whole configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.settings import Secret
from headrace.decoding import Decoder


class Basic(msgspec.Struct, tag="basic", tag_field="type", forbid_unknown_fields=True):
    user: str
    password: Secret


class Bearer(msgspec.Struct, tag="bearer", tag_field="type", forbid_unknown_fields=True):
    token: Secret


class Far(msgspec.Struct):
    auth: Basic | Bearer | None = None
    tls: bool | Basic = False


def decode(**table: Any) -> tuple[Far | None, list[str]]:
    decoder = Decoder("x", Path(), {})
    return decoder.struct(Far, table, ("far",)), [str(error) for error in decoder.errors]


def test_a_choice() -> None:
    found, errors = decode(auth={"type": "bearer", "token": "x"}, tls=True)
    assert errors == []
    assert found is not None
    assert isinstance(found.auth, Bearer)
    assert found.tls is True
    assert decode()[0] == Far()


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"auth": {"type": "bearer"}}, ["x: far.auth: `token` is missing"]),
        ({"auth": {"user": "x"}}, ["x: far.auth.type: expected one of 'basic', 'bearer', there is none"]),
        (
            {"auth": {"type": "basik"}},
            ["x: far.auth.type: expected one of 'basic', 'bearer', got 'basik' (did you mean 'basic'?)"],
        ),
        ({"auth": {"type": 3}}, ["x: far.auth.type: expected one of 'basic', 'bearer', got 3"]),
        (
            {"auth": {"type": "bearer", "token": "x", "user": "y"}},
            ["x: far.auth.user: unknown key (known are token)"],
        ),
        (
            {"auth": {"type": "bearer", "token": {"evn": "hunter2"}}},
            ['x: far.auth.token: expected { env = "NAME" }, { file = "path" } or a text'],
        ),
        ({"auth": 3}, ["x: far.auth: expected a table, got a whole number"]),
        ({"tls": "yes"}, ["x: far.tls: expected true or false or a table, got a text"]),
    ],
)
def test_what_is_no_choice(table: dict[str, Any], expected: list[str]) -> None:
    assert decode(**table) == (None, expected)
