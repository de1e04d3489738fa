"""Events of the broker as steps of a test: checked when the file is read, made into messages when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from core.events import COLUMNS, PREFIX, RAISED, Event, event_message, events_of
from core.message import Message, Publisher, Type
from core.registry import did_you_mean
from core.topics import has_wildcard

_KINDS: Final[Mapping[Type, type[Any]]] = {Type.TEXT: str, Type.BIGINT: int, Type.BOOLEAN: bool, Type.OBJECT: dict}
_WORDS: Final = {
    Type.TEXT: "a text",
    Type.BIGINT: "a whole number",
    Type.BOOLEAN: "true or false",
    Type.OBJECT: "a table",
}
_ELSEWHERE: Final = frozenset({"clientid", "username", "peerhost", "peername", "payload", "qos"})
"""Columns that a step has keys of their own for."""


def check_event(name: str, columns: Mapping[str, Any]) -> None:
    """ValueError unless there is such an event, with such columns."""
    event = _event(name)
    for column, value in columns.items():
        if column in _ELSEWHERE:
            key = "peer" if column.startswith("peer") else column
            raise ValueError(f"`columns.{column}` is written `{key}`, beside `event`")
        if column not in event.columns:
            hint = did_you_mean(column, event.columns) or f"it has {', '.join(event.columns)}"
            raise ValueError(f"{event.topic} has no column `{column}`; {hint}")
        kind = COLUMNS[column].type
        if type(value) is not _KINDS[kind]:
            raise ValueError(f"`columns.{column}` must be {_WORDS[kind]}")
        if column.endswith("_props") and not isinstance(value.get("user_properties", {}), dict):
            raise ValueError(f"`columns.{column}.user_properties` must be a table")


def _event(name: str) -> Event:
    found = () if has_wildcard(name) else events_of(name)
    for event in found:
        if event.raised:
            return event
    names = [event.topic for event in RAISED]
    reason = "nothing raises" if found else "there is no event"
    raise ValueError(f"{reason} {name!r}; {did_you_mean(name, names) or f'events begin with {PREFIX}'}")


def message_of(
    name: str, columns: Mapping[str, Any], publisher: Publisher, payload: bytes, qos: int, now: int
) -> Message:
    """The message of an event that :func:`check_event` let pass."""
    event = _event(name)
    known: dict[str, Any] = {
        "clientid": publisher.client_id,
        "username": publisher.username,
        "peerhost": publisher.peer_host or None,
        "peername": publisher.peer_name or None,
        "payload": payload,
        "qos": qos,
        **{column: _KINDS[COLUMNS[column].type]() for column in event.certain - _ELSEWHERE},
        **{column: _properties(value) if column.endswith("_props") else value for column, value in columns.items()},
    }
    present = {column: value for column, value in known.items() if column in event.columns and value is not None}
    return event_message(event, publisher, now, present)


def _properties(given: Mapping[str, Any]) -> dict[str, Any]:
    """As packets have them (``broker.properties``)."""
    lists = {
        "user_properties": lambda value: list(value.items()),
        "subscription_identifier": lambda value: value if isinstance(value, list) else [value],
    }
    return {name: lists[name](value) if name in lists else value for name, value in given.items()}
