"""Maps and JSON. A map that a function is given is never changed: what differs is copied.

``map_get`` and ``map_put`` take dotted paths, ``mget`` and ``mput`` keys as they are. Entries come in the order of
their keys, as EMQX gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from core.message import MISSING, Type
from rules.functions.base import Anything, Binary, Category, Refusal, Text, check_size, shown
from rules.functions.values import (
    Document,
    float_text,
    json_text,
    parse_json,
    sorted_items,
    step,
    text_of,
)

CATEGORY = Category("maps and JSON")
scalar = CATEGORY.scalar

MAX_DEPTH: Final = 256


@scalar(Type.OBJECT, ("map_new()", {}))
def map_new() -> dict[Any, Any]:
    """An empty map."""
    return {}


def _get(keys: Sequence[str], value: Any, default: Any) -> Any:
    for key in keys:
        value = step(value, key)
        if value is MISSING:
            return default
    return value


def _put(keys: Sequence[str], value: Any, container: Any) -> dict[Any, Any]:
    """A copy of ``container`` with ``value`` at the path; what is no map on the way is replaced by one."""
    if len(keys) > MAX_DEPTH:
        raise Refusal(f"the path has {len(keys)} steps, the limit is {MAX_DEPTH}")
    copy = dict(container) if isinstance(container, dict) else {}
    key, *rest = keys
    copy[key] = _put(rest, value, copy.get(key)) if rest else value
    return copy


def _path(key: str | bytes) -> list[str]:
    return text_of(key).split(".")


def _keys(key: Any) -> list[str]:
    """The keys that the first argument of ``mget`` and ``mput`` names."""
    keys = key if isinstance(key, list) else [key]
    if not keys or not all(isinstance(item, str | bytes) for item in keys):
        raise Refusal(f"argument 1 (key) must be a string or an array of strings, not {shown(key)}")
    return [text_of(item) for item in keys]


@scalar(
    Type.ANY,
    ("map_get('a.b', json_decode('{\"a\": {\"b\": 1}}'))", 1),
    ("map_get('x', map_new(), -1)", -1),
)
def map_get(path: Text, map: Anything, default: Anything = MISSING) -> Any:  # noqa: A002 - EMQX's word
    """The value at the dotted path, or `default` (undefined). JSON texts on the way are decoded."""
    return _get(_path(path), map, default)


@scalar(Type.OBJECT, ("map_put('a.b', 1, map_new())", {"a": {"b": 1}}))
def map_put(path: Text, value: Anything, map: Anything) -> dict[Any, Any]:  # noqa: A002
    """The map with the value put at the dotted path; maps on the way are made."""
    return _put(_path(path), value, map)


@scalar(
    Type.ANY,
    ("mget('a.b', '{\"a.b\": 1}')", 1),
    ("mget(['a', 'b'], '{\"a\": {\"b\": 1}}')", 1),
    ("mget('x', map_new(), 0)", 0),
)
def mget(key: Anything, map: Document, default: Anything = MISSING) -> Any:  # noqa: A002
    """The value under `key`, whose dots mean nothing, or under an array of keys; else `default` (undefined)."""
    return _get(_keys(key), map, default)


@scalar(Type.OBJECT, ("mput('a.b', 2, map_new())", {"a.b": 2}), ("mput(['a', 'b'], 2, '{}')", {"a": {"b": 2}}))
def mput(key: Anything, value: Anything, map: Document) -> dict[Any, Any]:  # noqa: A002
    """The map with the value put under `key`, whose dots mean nothing, or under an array of keys."""
    return _put(_keys(key), value, map)


@scalar(Type.ARRAY, ('map_keys(\'{"b": 2, "a": 1}\')', ["a", "b"]))
def map_keys(map: Document) -> list[Any]:  # noqa: A002
    """The keys in order."""
    return [key for key, _ in sorted_items(map)]


@scalar(Type.ARRAY, ('map_values(\'{"b": 2, "a": 1}\')', [1, 2]))
def map_values(map: Document) -> list[Any]:  # noqa: A002
    """The values in the order of their keys."""
    return [value for _, value in sorted_items(map)]


@scalar(Type.ARRAY, ("map_to_entries('{\"a\": 1}')", [{"key": "a", "value": 1}]))
def map_to_entries(map: Document) -> list[Any]:  # noqa: A002
    """One map of `key` and `value` per entry, in the order of the keys."""
    return [{"key": key, "value": value} for key, value in sorted_items(map)]


@scalar(Type.BIGINT, ("map_size('{\"a\": 1}')", 1))
def map_size(map: Document) -> int:  # noqa: A002
    """The number of entries."""
    return len(map)


def _redis_value(value: Any) -> str | bytes | None:
    if isinstance(value, str | bytes):
        return value
    if isinstance(value, float):
        return float_text(value, 6)
    return text_of(value) if isinstance(value, int) else None


@scalar(
    Type.ARRAY,
    ('map_to_redis_hset_args(\'{"a": 1.5, "b": [1]}\')', ["map_to_redis_hset_args", "a", "1.5"]),
    ("map_to_redis_hset_args('no map')", ["map_to_redis_hset_args"]),
)
def map_to_redis_hset_args(map: Anything) -> list[Any]:  # noqa: A002
    """A tag and then keys and values in turn, for `HMSET name ${x}` of a Redis sink. Nested and null values are
    left out, floats get at most 6 decimals, and what is no map (nor JSON text of one) has no entries."""
    if isinstance(map, str | bytes):
        try:
            map = parse_json(map)  # noqa: A001
        except Refusal:
            map = None  # noqa: A001
    arguments: list[Any] = ["map_to_redis_hset_args"]
    for key, value in sorted_items(map) if isinstance(map, dict) else ():
        text = _redis_value(value)
        if text is not None and isinstance(key, str | bytes):
            arguments += [key, text]
    return arguments


@scalar(Type.TEXT, ("json_encode([1, 2, 3])", "[1,2,3]"), ("json_encode('a')", '"a"'))
def json_encode(value: Anything) -> str:
    """Compact JSON of any value; undefined is written as the text "undefined"."""
    return json_text(value)


@scalar(Type.ANY, ("json_decode('{\"a\": [1, null]}')", {"a": [1, None]}))
def json_decode(text: Binary) -> Any:
    """The value of a JSON text; integers keep any size. A text that is not JSON is refused."""
    check_size(len(text))
    return parse_json(text)
