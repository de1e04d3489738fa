"""The configuration as it is in effect, defaults filled in, as a value that may be shown: no secret is in it.

A :class:`core.settings.Secret` shows where it comes from, never what it is; passwords in URLs and the values of
entries whose name says "secret" (a header ``Authorization``) are masked wherever they stand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from core.settings import MASK, Bind, Duration, Secret, Size, mask_urls
from headrace.config import Config
from headrace.endpoints import ConnectionSpec, SinkSpec, SourceSpec

_TELLING: Final = re.compile(r"auth|cookie|credential|passw|secret|token|api[-_.]?key|private[-_.]?key", re.IGNORECASE)


def effective(config: Config) -> dict[str, Any]:
    """A JSON value with the keys of ``headrace.toml``."""
    auth = {"providers": [spec.name for spec in config.providers], "allow_anonymous": config.allow_anonymous}
    return {
        **_table(config.process),
        "listeners": {name: _table(settings) for name, settings in config.listeners.items()},
        "broker": _table(config.broker),
        "inbox": _table(config.inbox),
        "functions": _table(config.functions),
        "engine": _table(config.engine),
        "auth": {**auth, **{spec.name: _table(spec.config) for spec in config.providers}},
        "acl": [_shown(rule) for rule in config.acl],
        "connections": {name: _connection(spec) for name, spec in config.connections.items()},
        "sources": {name: _source(spec) for name, spec in config.sources.items()},
        "sinks": {name: _sink(spec) for name, spec in config.sinks.items()},
        "admin": _shown(config.admin),
    }


def _connection(spec: ConnectionSpec) -> dict[str, Any]:
    return {"type": spec.connection.type, "health_check": str(spec.health_check), **_table(spec.config)}


def _source(spec: SourceSpec) -> dict[str, Any]:
    chosen = {"type": spec.kind, "publish": spec.publish, "optional": spec.optional}
    return {**chosen, **_far_side(spec.connection), **_table(spec.config)}


def _sink(spec: SinkSpec) -> dict[str, Any]:
    chosen = {"type": spec.kind, "optional": spec.optional}
    return {**chosen, **_far_side(spec.connection), **_table(spec.config), **_table(spec.delivery)}


def _far_side(connection: ConnectionSpec | None) -> dict[str, Any]:
    if connection is None:
        return {}
    return {"connection": connection.name} if connection.shared else _table(connection.config)


def _table(struct: msgspec.Struct) -> dict[str, Any]:
    tag = struct.__struct_config__.tag
    head = {} if tag is None else {str(struct.__struct_config__.tag_field): tag}
    fields = msgspec.structs.fields(struct)
    return {**head, **{field.encode_name: _shown(getattr(struct, field.name)) for field in fields}}


def _shown(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return _table(value)
    if isinstance(value, Mapping):
        return {str(key): _entry(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_shown(item) for item in value]
    if isinstance(value, Secret):
        return value.shown
    if isinstance(value, Duration | Size | Bind):
        return str(value)
    if isinstance(value, str):
        return mask_urls(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _entry(key: str, value: Any) -> Any:
    """An entry whose key the user has chosen, such as a header or an option of a driver."""
    return MASK if isinstance(value, str) and _TELLING.search(key) else _shown(value)
