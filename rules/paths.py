"""Going into values and building them: keys, indexes, ranges, path aliases (emqx.md 1.4, 1.5).

Pure functions for generated code. Reading never raises but for ranges; writing copies what it changes, because
values are shared by every rule that reads the message.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from core.message import MISSING, Message
from formats.json import decode_document
from rules.functions.base import shown
from rules.operators import MAX_RANGE, EvaluationError

_TEXTS: Final = (str, bytes)
_DECODE_ERRORS: Final = (msgspec.DecodeError, UnicodeError, RecursionError)


class Tail(enum.Enum):
    """The index ``[-0]`` of a path alias: behind the last element."""

    TAIL = "-0"


TAIL: Final = Tail.TAIL


class Undecodable:
    """What ``Message.document`` holds when the payload is not JSON, so that nobody decodes it again."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


def document(m: Message) -> Any:
    """The decoded payload, at most one decoding per message; EvaluationError where it is not JSON."""
    found = m.document
    if found is MISSING:
        try:
            found = m.document = decode_document(m.payload)
        except _DECODE_ERRORS as error:
            found = m.document = Undecodable(str(error))
    if isinstance(found, Undecodable):
        raise EvaluationError("decode_json_failed", f"the payload is not JSON: {found.reason}")
    return found


def document_fields(m: Message) -> dict[str, Any]:
    """The decoded payload as the map that its keys are read from; empty where it is none."""
    return as_map(document(m))


def object_fields(m: Message) -> dict[str, Any]:
    """The same for a source whose payloads are objects: EvaluationError where this one is none."""
    found = opened(document(m))
    if type(found) is not dict:
        raise EvaluationError("bad_payload", f"the payload is no JSON object but {shown(found)}")
    return found


def document_of(value: Any) -> Any:
    """A selected payload as a document: a text is decoded, EvaluationError where it is not JSON."""
    if not isinstance(value, _TEXTS):
        return value
    try:
        return decode_document(value)
    except _DECODE_ERRORS as error:
        raise EvaluationError("decode_json_failed", f"the payload is not JSON: {error}") from None


def opened(value: Any) -> Any:
    """A text as the JSON that it is; MISSING where it is none."""
    if not isinstance(value, _TEXTS):
        return value
    try:
        return decode_document(value)
    except _DECODE_ERRORS:
        return MISSING


def as_map(value: Any) -> dict[str, Any]:
    found = opened(value)
    return found if isinstance(found, dict) else {}


def key(value: Any, name: str) -> Any:
    return as_map(value).get(name, MISSING)


def index(value: Any, position: Any) -> Any:
    """``value[position]``: 1 is the first element, -1 the last; anything else that is asked for is missing."""
    items = opened(value)
    if type(items) is not list or type(position) is not int:
        return MISSING
    if 1 <= position <= len(items):
        return items[position - 1]
    return items[position] if -len(items) <= position < 0 else MISSING


def _place(position: Any, length: int) -> int:
    if type(position) is not int or position == 0:
        raise EvaluationError(
            "range_get", f"{{range_get, bad_index}}: a range cannot begin or end at {shown(position)}"
        )
    return position - 1 if position > 0 else length + position


def cut(value: Any, first: Any, last: Any) -> list[Any]:
    """``value[first..last]``, both inclusive, negative from the end; what lies outside the list is left out."""
    if type(value) is not list:
        raise EvaluationError("range_get", f"{{range_get, non_list_data}}: {shown(value)} is no array")
    begin, end = _place(first, len(value)), _place(last, len(value))
    return value[max(begin, 0) : max(end + 1, 0)]


def integer_range(first: Any, last: Any) -> list[int]:
    if type(first) is not int or type(last) is not int:
        raise EvaluationError("bad_operand", f"no range from {shown(first)} to {shown(last)}")
    if last - first >= MAX_RANGE:
        raise EvaluationError("out_of_range", f"a range takes at most {MAX_RANGE} elements")
    return list(range(first, last + 1))


def put(value: Any, steps: Sequence[Any], item: Any) -> Any:
    """A copy of ``value`` with ``item`` at the path of ``steps``: keys (str), indexes (int) or TAIL.

    What is no map where a key goes, or no list where an index goes, is replaced. Index 0 puts in front, TAIL behind, an
    index outside the list changes nothing.
    """
    if not steps:
        return item
    step, *rest = steps
    if isinstance(step, str):
        entries = dict(value) if isinstance(value, dict) else {}
        entries[step] = put(entries.get(step, MISSING), rest, item)
        return entries
    if not isinstance(value, list):
        return [put(MISSING, rest, item)]
    if step is TAIL:
        return [*value, put(MISSING, rest, item)]
    if type(step) is not int:
        raise EvaluationError("bad_operand", f"{shown(step)} is no index")
    if step == 0:
        return [put(MISSING, rest, item), *value]
    place = step - 1 if step > 0 else len(value) + step
    if not 0 <= place < len(value):
        return value
    return [*value[:place], put(value[place], rest, item), *value[place + 1 :]]


def object_of(entries: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    """An object of pairs; EvaluationError where a key is no text."""
    for name, _ in entries:
        if not isinstance(name, str):
            raise EvaluationError("bad_operand", f"the key of an object is a text, not {shown(name)}")
    return dict(entries)


def as_list(value: Any) -> list[Any]:
    """The elements that FOREACH visits: none where the value is no list."""
    return value if type(value) is list else []
