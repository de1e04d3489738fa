"""The columns that a source offers and how each is taken from a message: nothing is derived that no rule reads.

A column is a piece of Python over the message ``m`` and the helpers of :data:`HELPERS`; the text comes from this file,
never from a rule. Names, forms and units are EMQX's (emqx.md 2): times are milliseconds since the epoch, what a
publisher lacks is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from core.message import MISSING, SYSTEM_ERRORS, SYSTEM_LATE_ROWS, Message, Type, message_id
from rules.functions.values import canonical


class ColumnSpec(NamedTuple):
    """``always`` promises a value of the type, never null or missing. ``code`` is an expression over ``m``."""

    type: Type
    code: str
    always: bool = False


@dataclass(frozen=True, slots=True)
class Columns:
    """What one kind of source offers. ``strict`` makes an unknown name an error instead of a missing value.

    ``rows``: ``m`` is a row of a relation, a tuple, and not a Message: it has no payload, publisher or time of receipt.
    ``objects``: a payload whose fields are read must be a JSON object; elsewhere any other has none, as in EMQX.
    """

    specs: Mapping[str, ColumnSpec]
    strict: bool
    rows: bool = False
    objects: bool = False

    def promising_nothing(self) -> Columns:
        """The same columns, any of which may be missing or of another type."""
        specs = {name: ColumnSpec(Type.ANY, spec.code) for name, spec in self.specs.items()}
        return Columns(MappingProxyType(specs), self.strict, self.rows)


def row_columns(names: Iterable[str], types: Iterable[Type], always: Iterable[bool]) -> Columns:
    """The columns of a relation's rows, in the order of their positions."""
    entries = enumerate(zip(names, types, always, strict=True))
    specs = {name: ColumnSpec(kind, f"m[{place}]", sure) for place, (name, kind, sure) in entries}
    return Columns(MappingProxyType(specs), strict=True, rows=True)


def peer_host(m: Message) -> Any:
    return m.publisher.peer_host or MISSING


def peer_name(m: Message) -> Any:
    return m.publisher.peer_name or MISSING


def username(m: Message) -> Any:
    name = m.publisher.username
    return MISSING if name is None else name


def flags(m: Message) -> dict[str, bool]:
    return {"retain": m.retain, "dup": m.dup, "sys": m.topic.startswith("$SYS/")}


def named_properties(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """MQTT 5 properties by EMQX's names; user properties as a map (the last wins) and as pairs."""
    found: dict[str, Any] = {}
    for name, value in (given or {}).items():
        if value is None:
            continue
        if name == "user_properties":
            found["User-Property"] = dict(value)
            found["User-Property-Pairs"] = [{"key": key, "value": item} for key, item in value]
        elif name == "subscription_identifier" and len(value) == 1:
            found["Subscription-Identifier"] = value[0]
        else:
            plain = canonical(value) if isinstance(value, bytes) else value
            found["-".join(word.capitalize() for word in name.split("_"))] = plain
    return found


def properties(m: Message) -> dict[str, Any]:
    return named_properties(m.properties)


def event_properties(m: Message, column: str) -> Any:
    """Properties that an event brings as its packet had them."""
    columns = m.columns or {}
    return named_properties(columns[column]) if column in columns else MISSING


def event_payload(m: Message) -> Any:
    """The payload that an event brings as bytes."""
    payload = (m.columns or {}).get("payload", MISSING)
    return canonical(payload) if isinstance(payload, bytes) else payload


HELPERS: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {
        "canonical": canonical,
        "event_payload": event_payload,
        "event_properties": event_properties,
        "flags": flags,
        "message_id": message_id,
        "peer_host": peer_host,
        "peer_name": peer_name,
        "properties": properties,
        "username": username,
    }
)

MESSAGE_COLUMNS: Final = Columns(
    MappingProxyType(
        {
            "id": ColumnSpec(Type.TEXT, "message_id(m)", always=True),
            "clientid": ColumnSpec(Type.TEXT, "m.publisher.client_id", always=True),
            "username": ColumnSpec(Type.TEXT, "username(m)"),
            "payload": ColumnSpec(Type.TEXT, "canonical(m.payload)"),
            "peerhost": ColumnSpec(Type.TEXT, "peer_host(m)"),
            "peername": ColumnSpec(Type.TEXT, "peer_name(m)"),
            "topic": ColumnSpec(Type.TEXT, "m.topic", always=True),
            "qos": ColumnSpec(Type.BIGINT, "m.qos", always=True),
            "flags": ColumnSpec(Type.OBJECT, "flags(m)", always=True),
            "pub_props": ColumnSpec(Type.OBJECT, "properties(m)", always=True),
            "publish_received_at": ColumnSpec(Type.BIGINT, "m.received_ns // 1000000", always=True),
            "timestamp": ColumnSpec(Type.BIGINT, "m.received_ns // 1000000", always=True),
            "node": ColumnSpec(Type.TEXT, "NODE", always=True),
            "event": ColumnSpec(Type.TEXT, "EVENT", always=True),
            "metadata": ColumnSpec(Type.OBJECT, "{RULE_ID: NAME}", always=True),
            "client_attrs": ColumnSpec(Type.OBJECT, "{}", always=True),
        }
    ),
    strict=True,
)
"""A published message, in the order in which ``SELECT *`` gives its columns."""

EVENT: Final = "message.publish"

ERROR_COLUMNS: Final = Columns(
    MappingProxyType(
        {
            "kind": ColumnSpec(Type.TEXT, 'm.columns.get("kind", MISSING)', always=True),
            "sink": ColumnSpec(Type.TEXT, 'm.columns.get("sink", MISSING)'),
            "rule": ColumnSpec(Type.TEXT, 'm.columns.get("rule", MISSING)', always=True),
            "reason": ColumnSpec(Type.TEXT, 'm.columns.get("reason", MISSING)', always=True),
            "row": ColumnSpec(Type.OBJECT, 'm.columns.get("row", MISSING)'),
            "timestamp": ColumnSpec(Type.BIGINT, "m.received_ns // 1000000", always=True),
            "node": ColumnSpec(Type.TEXT, "NODE", always=True),
        }
    ),
    strict=True,
)
"""``system.errors``: rows that sinks refuse (kind ``rejected``), messages that rules fail on (``rule_failed``)."""

LATE_COLUMNS: Final = Columns(
    MappingProxyType(
        {
            "rule": ColumnSpec(Type.TEXT, 'm.columns.get("rule", MISSING)', always=True),
            "reason": ColumnSpec(Type.TEXT, 'm.columns.get("reason", MISSING)', always=True),
            "row": ColumnSpec(Type.OBJECT, 'm.columns.get("row", MISSING)'),
            "timestamp": ColumnSpec(Type.BIGINT, "m.received_ns // 1000000", always=True),
            "node": ColumnSpec(Type.TEXT, "NODE", always=True),
        }
    ),
    strict=True,
)
"""``system.late_rows``: rows that the window of a rule or view did not take because of their time (reason ``late``: it
was closed, ``ahead``: too far in the future, ``no_time``: they have none)."""

SYSTEM_SOURCES: Final[Mapping[str, tuple[str, Columns]]] = MappingProxyType(
    {"errors": (SYSTEM_ERRORS, ERROR_COLUMNS), "late_rows": (SYSTEM_LATE_ROWS, LATE_COLUMNS)}
)
"""By the name behind ``system.``: the topic and the columns."""

SYSTEM_NAMES: Final = MappingProxyType({topic: f"system.{name}" for name, (topic, _) in SYSTEM_SOURCES.items()})
"""How rules call the topics of the system."""


def given_columns(names: Iterable[str]) -> Columns:
    """The columns of a message that brings them along in ``Message.columns``, as for ``eval``."""
    return Columns(MappingProxyType({name: ColumnSpec(Type.ANY, "") for name in names}), strict=False)
