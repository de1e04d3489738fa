"""Objects: their keys, parts of them, several made one. An object may also be the JSON text of one. Null for null."""

from __future__ import annotations

from typing import Any

from core.message import Type
from rules.functions.base import Category, Text
from rules.functions.values import Document, text_of

CATEGORY = Category("objects as in SQL")
scalar = CATEGORY.scalar


@scalar(Type.ARRAY, ("object_keys(OBJECT('b', 1, 'a', 2))", ["b", "a"]), propagate=True)
def object_keys(object: Document) -> list[Any]:  # noqa: A002 - what it is
    """The keys, in their order."""
    return list(map(text_of, object))


@scalar(Type.ARRAY, ("object_values(OBJECT('b', 1, 'a', 2))", [1, 2]), propagate=True)
def object_values(object: Document) -> list[Any]:  # noqa: A002
    """The values, in the order of their keys."""
    return list(object.values())


@scalar(Type.OBJECT, ("object_pick(OBJECT('a', 1, 'b', 2), 'a', 'x')", {"a": 1}), propagate=True)
def object_pick(object: Document, key: Text, *more: Text) -> dict[Any, Any]:  # noqa: A002
    """The object with these keys only; one that is not there is left out."""
    return {name: object[name] for name in (key, *more) if name in object}


@scalar(Type.OBJECT, ("object_omit(OBJECT('a', 1, 'b', 2), 'a')", {"b": 2}), propagate=True)
def object_omit(object: Document, key: Text, *more: Text) -> dict[Any, Any]:  # noqa: A002
    """The object without these keys."""
    left_out = {key, *more}
    return {name: value for name, value in object.items() if name not in left_out}


@scalar(
    Type.OBJECT,
    ("object_merge(OBJECT('a', 1, 'b', 1), OBJECT('b', 2))", {"a": 1, "b": 2}),
    propagate=True,
)
def object_merge(object: Document, *more: Document) -> dict[Any, Any]:  # noqa: A002
    """The entries of all objects; the value of the last one that has a key counts."""
    merged = dict(object)
    for other in more:
        merged.update(other)
    return merged
