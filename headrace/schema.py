"""The JSON Schema of ``headrace.toml``, for editors: the same structs that decode the file, and the installed sinks."""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec

from broker.acl import AclRule
from broker.settings import BrokerLimits, ListenerSettings
from core.registry import Registry
from core.settings import Bind, Duration, Secret, Size
from headrace.config import provider_types
from headrace.described import fields
from headrace.endpoints import connection_types, sink_types, source_types
from headrace.settings import (
    AdminSettings,
    AuthSettings,
    ConnectionChoice,
    EngineSettings,
    FunctionSettings,
    InboxSettings,
    ProcessSettings,
    SinkChoice,
    SourceChoice,
)
from sinks.settings import DeliverySettings

_LEAVES: Final[dict[Any, dict[str, Any]]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    Duration: {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*(ns|us|ms|s|m|h|d)$"},
    Size: {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*(B|kB|MB|GB|KiB|MiB|GiB|TiB)$"},
    Bind: {"type": "string", "pattern": "^.+:[0-9]{1,5}$"},
    Secret: {
        "oneOf": [
            {"type": "string"},
            *(
                {
                    "type": "object",
                    "properties": {kind: {"type": "string"}},
                    "required": [kind],
                    "additionalProperties": False,
                }
                for kind in ("env", "file")
            ),
        ]
    },
}


def _of(*structs: type[msgspec.Struct]) -> dict[str, Any]:
    """One object schema with the keys of all ``structs``."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    for struct in structs:
        tag = struct.__struct_config__
        if tag.tag is not None:
            properties[tag.tag_field or "type"] = {"const": tag.tag}
            required.append(tag.tag_field or "type")
        for field in fields(struct):
            description = {"description": field.doc} if field.doc else {}
            properties[field.name] = {**_value(field.type), **description}
            if field.default is None:
                required.append(field.name)
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": required} if required else schema


def _value(kind: Any) -> dict[str, Any]:
    """The schema of a field's type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        bounds: dict[str, Any] = {}
        for meta in arguments[1:]:
            bounds |= {key: bound for key, bound in (("minimum", meta.ge), ("maximum", meta.le)) if bound is not None}
        return {**_value(arguments[0]), **bounds}
    if origin in (Union, types.UnionType):
        members = [_value(member) for member in arguments if member is not type(None)]
        return members[0] if len(members) == 1 else {"anyOf": members}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (list, tuple):
        return {"type": "array", "items": _value(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _value(arguments[1])}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _of(kind)
    return dict(_LEAVES.get(kind, {}))


def build() -> dict[str, Any]:
    """The schema as a JSON value."""
    providers = provider_types()
    connections = {name: connection_types().load(name).Config for name in connection_types().names()}
    schema = _of(ProcessSettings)
    auth = _of(AuthSettings)
    for name in providers.names():
        auth["properties"][name] = _of(providers.load(name).Config)
    schema["properties"] |= {
        "listeners": {"type": "object", "additionalProperties": _of(ListenerSettings)},
        "broker": _of(BrokerLimits),
        "inbox": _of(InboxSettings),
        "functions": _of(FunctionSettings),
        "engine": _of(EngineSettings),
        "auth": auth,
        "acl": {"type": "array", "items": _of(AclRule)},
        "connections": {
            "type": "object",
            "additionalProperties": {
                "anyOf": [_typed(name, ConnectionChoice, config) for name, config in connections.items()]
            },
        },
        "sources": {
            "type": "object",
            "additionalProperties": {"anyOf": _alternatives(source_types(), connections, SourceChoice)},
        },
        "sinks": {
            "type": "object",
            "additionalProperties": {"anyOf": _alternatives(sink_types(), connections, SinkChoice, DeliverySettings)},
        },
        "admin": _of(AdminSettings),
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "headrace.toml", **schema}


def _typed(name: str, *structs: type[msgspec.Struct]) -> dict[str, Any]:
    schema = _of(*structs)
    schema["properties"]["type"] = {"const": name}
    return schema


def _alternatives(
    registry: Registry[Any], connections: Mapping[str, type[msgspec.Struct]], *common: type[msgspec.Struct]
) -> list[dict[str, Any]]:
    """Every sink or source, with its connection's keys in its own section, and with the name of one."""
    found: list[dict[str, Any]] = []
    for name in registry.names():
        kind = registry.load(name)
        found.append(_inline(name, kind, connections.get(kind.connection_type or ""), *common))
        if kind.connection_type:
            connected = _typed(name, *common, kind.Config)
            connected["required"] = ["connection", *connected.get("required", [])]
            found.append(connected)
    return found


def _inline(
    name: str, kind: Any, connection: type[msgspec.Struct] | None, *common: type[msgspec.Struct]
) -> dict[str, Any]:
    """One without a connection, or with the keys of one in its own section."""
    schema = _typed(name, *common, kind.Config)
    schema["properties"].pop("connection")
    schema["required"] = ["type", *schema.get("required", [])]
    if connection is not None:
        own = _of(connection)
        schema["properties"] |= own["properties"]
        schema["required"] += own.get("required", []) if kind.connection_required else []
    return schema


def print_schema() -> int:
    """Write the schema to standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(build()), indent=2).decode() + "\n")
    return 0
