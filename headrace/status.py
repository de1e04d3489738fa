"""Where every part of the service stands, for ``/readyz?verbose``: one :class:`Component` each.

Pure: it reads states that others keep. A sink or source has a say in readiness until it has been reached for the
first time, unless it is optional; later a sink buffers, and the far side of a source does. A connection has none of
its own: those who use it speak for themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from core.clock import MICROSECOND
from headrace.inlets import Inlet
from headrace.links import Link
from headrace.lookups import Supply
from headrace.outlets import Outlet
from sinks.encoding import rfc3339
from sinks.health import State


class Component(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One part. ``ready`` is false where the service is not ready because of it, and absent where it has no say."""

    state: str
    ready: bool | None = None
    since: str | None = None
    """When ``state`` began: RFC 3339, UTC."""
    last_error: str | None = None
    """Why it is not where it should be."""
    detail: str | None = None
    """What the far side said about itself."""
    optional: bool = False
    connection: str | None = None
    """The component that this one depends on."""
    reconnects: int = 0


def is_ready(components: Iterable[Component]) -> bool:
    """Whether nothing keeps the service from being ready."""
    return all(component.ready is not False for component in components)


def of_sink(outlet: Outlet) -> Component:
    """A sink, from its delivery."""
    spec, delivery = outlet.spec, outlet.delivery
    shared = spec.connection is not None and spec.connection.shared
    return Component(
        state=delivery.state.value,
        ready=spec.optional or delivery.state is not State.CONNECTING,
        since=_instant(delivery.since),
        last_error=delivery.last_error,
        optional=spec.optional,
        connection=f"connections.{spec.connection.name}" if shared and spec.connection else None,
    )


def of_source(inlet: Inlet) -> Component:
    """A source."""
    spec = inlet.spec
    shared = spec.connection is not None and spec.connection.shared
    return Component(
        state=inlet.state,
        ready=spec.optional or inlet.state != "connecting",
        since=_instant(inlet.since),
        last_error=inlet.last_error,
        optional=spec.optional,
        connection=f"connections.{spec.connection.name}" if shared and spec.connection else None,
        reconnects=inlet.reconnects,
    )


def of_connection(link: Link) -> Component:
    """A shared connection, from its health checks."""
    return Component(
        state=link.state,
        since=_instant(link.since),
        last_error=link.last_error,
        detail=link.detail or None,
        reconnects=link.reconnects,
    )


def of_lookup(supply: Supply) -> Component:
    """A lookup table; without it the service is still ready, as its rules say what becomes of their rows."""
    connection = supply.source.options.connection
    return Component(
        state=supply.state,
        since=_instant(supply.since),
        last_error=supply.last_error,
        detail=supply.detail or None,
        connection=None if connection is None else f"connections.{connection}",
    )


def disabled_rule(reason: str, now: int) -> Component:
    """A rule that was switched off because it failed on everything; without it the service is still ready."""
    return Component(state="disabled", since=_instant(now), last_error=reason)


def components(
    inlets: Mapping[str, Inlet],
    outlets: Mapping[str, Outlet],
    links: Mapping[str, Link],
    lookups: Mapping[str, Supply],
) -> dict[str, Component]:
    """All sources, sinks, connections and lookup tables, by ``sources.<name>``, ``sinks.<name>``,
    ``connections.<name>`` and ``lookups.<name>``."""
    sources = {f"sources.{name}": of_source(inlet) for name, inlet in inlets.items()}
    sinks = sources | {f"sinks.{name}": of_sink(outlet) for name, outlet in outlets.items()}
    sinks |= {f"connections.{name}": of_connection(link) for name, link in links.items()}
    return sinks | {f"lookups.{name}": of_lookup(supply) for name, supply in lookups.items()}


def _instant(nanoseconds: int) -> str:
    return rfc3339(nanoseconds // MICROSECOND)
