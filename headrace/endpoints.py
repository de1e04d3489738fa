"""The far sides of a configuration: ``[connections.*]``, ``[sources.*]`` and ``[sinks.*]`` -> specs, their settings
checked.

Invariants: a spec names classes that exist, with settings they accept; a sink or source that works over a connection
has the spec of one, shared or its own. The keys of a section are dealt out to the structs they belong to, so no two of
these may have a key in common. Making the objects is the business of ``links``, ``inlets`` and ``outlets`` beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import msgspec

from connections.base import Connection
from core.errors import ExtensionError
from core.registry import Registry, did_you_mean
from core.settings import Duration
from gateways.base import Source
from headrace.decoding import Decoder
from headrace.settings import ConnectionChoice, SinkChoice, SourceChoice
from headrace.toml_lines import Path
from sinks.base import Sink
from sinks.settings import DeliverySettings


@cache
def connection_types() -> Registry[Connection]:
    """The installed kinds of connections."""
    return Registry("headrace.connections", Connection)  # type: ignore[type-abstract]


@cache
def sink_types() -> Registry[Sink]:
    """The installed sinks by their type's name."""
    return Registry("headrace.sinks", Sink)  # type: ignore[type-abstract]


@cache
def source_types() -> Registry[Source]:
    """The installed sources by their type's name."""
    return Registry("headrace.gateways", Source)  # type: ignore[type-abstract]


@dataclass(frozen=True, slots=True)
class ConnectionSpec:
    """One ``[connections.<name>]``; or, as ``sinks.<name>``, the keys of one in the section of its only user.

    ``path`` is where it stands in the file and ``table`` what stands there, for telling changes at a reload.
    """

    name: str
    path: Path
    connection: type[Connection]
    config: msgspec.Struct
    health_check: Duration
    table: Mapping[str, Any]

    @property
    def shared(self) -> bool:
        """Whether it has a section of its own, which any number of sinks may name."""
        return self.path[0] == "connections"


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """One ``[sinks.<name>]``; ``table`` is what stands there, for telling changes at a reload."""

    name: str
    kind: str
    sink: type[Sink]
    config: msgspec.Struct
    connection: ConnectionSpec | None
    delivery: DeliverySettings
    optional: bool
    table: Mapping[str, Any]

    @property
    def fallback(self) -> str | None:
        """The sink that takes its rows while this one is out of reach."""
        return None if self.delivery.on_unavailable is None else self.delivery.on_unavailable.sink

    def same(self, other: SinkSpec) -> bool:
        """Whether the file says the same about both, their connections included."""
        ours, theirs = self.connection, other.connection
        return self.table == other.table and (ours and ours.table) == (theirs and theirs.table)


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """One ``[sources.<name>]``."""

    name: str
    kind: str
    source: type[Source]
    config: msgspec.Struct
    connection: ConnectionSpec | None
    publish: bool
    optional: bool


class _Endpoint(NamedTuple):
    """What sinks and their like have in common: a type, and perhaps a far side."""

    table: dict[str, Any]
    choice: Any
    kind: str
    found: Any
    connection: ConnectionSpec | None


class EndpointReader:
    """Decodes the sections one by one; what is wrong goes to the decoder's errors, and the result is None.

    ``connection`` has to see every ``[connections.*]`` before ``sink`` sees the first sink.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._connections: dict[str, ConnectionSpec | None] = {}

    def connection(self, value: Any, path: Path) -> ConnectionSpec | None:
        """One ``[connections.<name>]``."""
        spec = self._connections[str(path[-1])] = self._connection(value, path)
        return spec

    def _connection(self, value: Any, path: Path) -> ConnectionSpec | None:
        table = self._decoder.table(value, path)
        choice = None if table is None else self._decoder.struct(ConnectionChoice, _part(table, ConnectionChoice), path)
        if table is None or choice is None:
            return None
        found = self._load(connection_types(), choice.type, (*path, "type"))
        if found is None:
            return None
        before = len(self._decoder.errors)
        known = _names(ConnectionChoice) | _names(found.Config)
        for key in [key for key in table if key not in known]:
            self._decoder.unknown(path, key, known)
        config = self._decoder.struct(found.Config, _part(table, found.Config), path)
        if len(self._decoder.errors) > before or config is None:
            return None
        return ConnectionSpec(str(path[-1]), path, found, config, choice.health_check, table)

    def sink(self, value: Any, path: Path) -> SinkSpec | None:
        """One ``[sinks.<name>]``."""
        before = len(self._decoder.errors)
        endpoint = self._endpoint(value, path, sink_types(), SinkChoice, DeliverySettings)
        if endpoint is None:
            return None
        table = endpoint.table
        config = self._decoder.struct(endpoint.found.Config, _part(table, endpoint.found.Config), path)
        delivery = self._decoder.struct(DeliverySettings, _part(table, DeliverySettings), path)
        if len(self._decoder.errors) > before or config is None or delivery is None:
            return None
        return SinkSpec(
            name=str(path[-1]),
            kind=endpoint.kind,
            sink=endpoint.found,
            config=config,
            connection=endpoint.connection,
            delivery=delivery,
            optional=endpoint.choice.optional,
            table=table,
        )

    def source(self, value: Any, path: Path) -> SourceSpec | None:
        """One ``[sources.<name>]``."""
        before = len(self._decoder.errors)
        endpoint = self._endpoint(value, path, source_types(), SourceChoice)
        if endpoint is None:
            return None
        config = self._decoder.struct(endpoint.found.Config, _part(endpoint.table, endpoint.found.Config), path)
        if len(self._decoder.errors) > before or config is None:
            return None
        choice = endpoint.choice
        return SourceSpec(
            name=str(path[-1]),
            kind=endpoint.kind,
            source=endpoint.found,
            config=config,
            connection=endpoint.connection,
            publish=choice.publish,
            optional=choice.optional,
        )

    def _endpoint(
        self,
        value: Any,
        path: Path,
        registry: Registry[Any],
        choice_type: type[msgspec.Struct],
        *common: type[msgspec.Struct],
    ) -> _Endpoint | None:
        """The class and the connection that a table chooses, after every key of it has been recognised."""
        table = self._decoder.table(value, path)
        choice: Any = None if table is None else self._decoder.struct(choice_type, _part(table, choice_type), path)
        if table is None or choice is None:
            return None
        kind, shared = choice.type, None
        if choice.connection is not None:
            if choice.connection not in self._connections:
                known = self._connections
                hint = did_you_mean(choice.connection, known) or f"known are {', '.join(known) or 'none'}"
                self._decoder.fail((*path, "connection"), f"there is no [connections.{choice.connection}]", hint)
                return None
            shared = self._connections[choice.connection]
            if shared is None:  # it is wrong itself and has been reported
                return None
            kind = kind or shared.connection.type
        if kind is None:
            self._decoder.fail(path, "needs a `type` or a `connection`")
            return None
        found = self._load(registry, kind, (*path, "type"))
        if found is None:
            return None
        if shared is not None and found.connection_type != shared.connection.type:
            needs = f"one of type {found.connection_type!r}" if found.connection_type else "no connection"
            self._decoder.fail(
                (*path, "connection"),
                f"a {_singular(path)} of type {kind!r} needs {needs}, "
                f"{shared.name!r} is of type {shared.connection.type!r}",
            )
            return None
        far_side: type[Connection] | None = None
        if found.connection_type is not None:
            far_side = self._load(connection_types(), found.connection_type, (*path, "type"))
            if far_side is None:
                return None
        self._recognise(table, path, shared, far_side, (choice_type, found.Config, *common))
        connection = shared
        if shared is None and far_side is not None:
            connection = self._private(table, path, far_side, required=found.connection_required)
        return _Endpoint(table, choice, kind, found, connection)

    def _recognise(
        self,
        table: Mapping[str, Any],
        path: Path,
        shared: ConnectionSpec | None,
        far_side: type[Connection] | None,
        owners: tuple[type[msgspec.Struct], ...],
    ) -> None:
        """Report every key that none of the ``owners`` knows, nor the connection where it may stand in the table."""
        own = {name for owner in owners for name in _names(owner)}
        of_connection = _names(far_side.Config) if far_side is not None else set()
        for key in [key for key in table if key not in own]:
            if shared is None and key not in of_connection:
                self._decoder.unknown(path, key, own | of_connection)
            elif shared is not None and key in of_connection:
                place = f"[connections.{shared.name}]"
                self._decoder.fail((*path, key), f"belongs to {place}, which this {_singular(path)} uses")
            elif shared is not None:
                self._decoder.unknown(path, key, own)

    def _private(
        self, table: Mapping[str, Any], path: Path, far_side: type[Connection], *, required: bool
    ) -> ConnectionSpec | None:
        """The connection whose keys stand in the table of its only user; None where they may be absent and are."""
        own = _part(table, far_side.Config)
        if not own:
            if not required:
                return None
            absent = [f"`{field.encode_name}`" for field in msgspec.structs.fields(far_side.Config) if field.required]
            if absent:
                verb = "is" if len(absent) == 1 else "are"
                hint = f'or `connection`, the name of a [connections.<name>] of type "{far_side.type}"'
                self._decoder.fail(path, f"{', '.join(absent)} {verb} missing", hint)
                return None
        config = self._decoder.struct(far_side.Config, own, path)
        if config is None:
            return None
        return ConnectionSpec(".".join(map(str, path)), path, far_side, config, Duration(0), own)

    def _load(self, registry: Registry[Any], name: str, path: Path) -> Any:
        """The class of an extension; None, and an error at ``path``, where there is none."""
        try:
            return registry.load(name)
        except ExtensionError as error:
            self._decoder.fail(path, str(error))
            return None


def _singular(path: Path) -> str:
    return str(path[0]).removesuffix("s")


def _names(kind: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)}


def _part(table: Mapping[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Those keys of a table that belong to a struct."""
    names = _names(kind)
    return {key: value for key, value in table.items() if key in names}
