"""What structs say about themselves: texts under fields, types and defaults in TOML's words, tables within tables."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from core.settings import Duration, Secret
from headrace.described import fields, subtables, summary
from headrace.schema import _of


class Basic(msgspec.Struct, tag="basic", tag_field="type"):
    user: str


class Bearer(msgspec.Struct, tag="bearer", tag_field="type"):
    token: Secret


class Base(msgspec.Struct, kw_only=True):
    """What all have.

    And more,
    in ``two`` lines.
    """

    name: str
    """How it is
    called."""
    wait: Duration = Duration.parse("5s")


class Whole(Base, kw_only=True):
    auth: Basic | Bearer | None = None
    """Who we are."""
    kind: Literal["a", "b"] = "a"
    tags: tuple[str, ...] = ("x",)
    many: Annotated[int, msgspec.Meta(ge=1, le=9)] | None = None
    headers: dict[str, str] = {}


def test_fields_with_those_that_are_inherited() -> None:
    assert [(field.name, field.kind, field.default, field.doc) for field in fields(Whole)] == [
        ("name", "text", None, "How it is called."),
        ("wait", "duration", '"5s"', ""),
        ("auth", "table", "", "Who we are."),
        ("kind", '`"a"`, `"b"`', '"a"', ""),
        ("tags", "array of text", '["x"]', ""),
        ("many", "integer ≥ 1 ≤ 9", "", ""),
        ("headers", "table of text", "", ""),
    ]


def test_tables_within_it_in_the_order_of_their_choice() -> None:
    assert list(subtables(Whole)) == [("auth", Basic), ("auth", Bearer)]


def test_the_summary_is_unwrapped() -> None:
    assert summary(Base) == "What all have.\n\nAnd more, in `two` lines."


def test_the_schema_of_a_choice_says_which_is_which() -> None:
    basic, bearer = _of(Whole)["properties"]["auth"]["anyOf"]
    assert basic["properties"]["type"] == {"const": "basic"}
    assert basic["required"] == ["type", "user"]
    assert bearer["required"] == ["type", "token"]
    assert basic["additionalProperties"] is False
