"""Objects: their keys, parts of them, several made one. An object may also be the JSON text of one. Null for null."""

from __future__ import annotations

from typing import Any

from core.message import Type
from rules.functions.base import Array, Category, Refusal, Text, shown
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


@scalar(Type.OBJECT, ("object_from_arrays(['a', 'b'], [1, 2])", {"a": 1, "b": 2}), propagate=True)
def object_from_arrays(keys: Array, values: Array) -> dict[Any, Any]:
    """The object with these keys and values, which are as many."""
    if len(keys) != len(values):
        raise Refusal(f"there are {len(keys)} keys and {len(values)} values")
    return dict(zip(map(_key, keys), values, strict=True))


@scalar(
    Type.OBJECT,
    ("object_from_entries([{'key': 'a', 'value': 1}])", {"a": 1}),
    ("object_from_entries(map_to_entries({'a': 1}))", {"a": 1}),
    propagate=True,
)
def object_from_entries(entries: Array) -> dict[Any, Any]:
    """The object of which these are the entries, each with a `key` and a `value`; the last one with a key counts."""
    made = {}
    for entry in entries:
        if not (isinstance(entry, dict) and "key" in entry and "value" in entry):
            raise Refusal(f"an entry is an object with a key and a value, not {shown(entry)}")
        made[_key(entry["key"])] = entry["value"]
    return made


def _key(value: Any) -> str:
    if not isinstance(value, str):
        raise Refusal(f"a key is a string, not {shown(value)}")
    return value


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
