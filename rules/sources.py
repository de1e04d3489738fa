"""What FROM names -> the columns that a rule has there: those of messages, of events of the broker, or of both.

Invariants: one name has one way to be taken from an event, whichever it is, because what an event lacks is absent from
``Message.columns``; where a FROM has several kinds of messages, a column that the one at hand lacks is missing, and
``SELECT *`` has the columns of all. The events themselves are data: ``core.events``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from core.events import BY_NAME, COLUMNS, COMMON, EVENTS, PREFIX, Event
from core.message import Type
from rules.columns import MESSAGE_COLUMNS, Columns, ColumnSpec
from rules.diagnostics import suggestion

BRIDGES: Final = ("$bridges/", "$sources/")
"""How EMQX's rules name what other brokers send."""

_BY_SOURCE: Final = MappingProxyType({event.source: event for event in EVENTS})
_SPECS: Final = MESSAGE_COLUMNS.specs
_COMMON: Final[Mapping[str, ColumnSpec]] = MappingProxyType(
    {
        **{name: _SPECS[name] for name in COMMON},
        "event": ColumnSpec(Type.TEXT, 'm.columns.get("event", MISSING)', always=True),
    }
)


class Kind(NamedTuple):
    """Messages of the same columns."""

    filters: tuple[str, ...]
    columns: Columns


def is_event(name: str) -> bool:
    """Does a name in FROM mean events, existing or not?"""
    return f"{name}/".startswith(PREFIX)


def source_name(topic_filter: str) -> str:
    """What FROM calls a filter of a bound query."""
    event = _BY_SOURCE.get(topic_filter)
    return topic_filter if event is None else event.topic


def event_hint(name: str) -> str:
    """What to do about a name that no event has."""
    return suggestion(name, BY_NAME) or f"events are {', '.join(sorted(event.path for event in EVENTS))}"


def columns_of(events: Sequence[Event], *, messages: bool) -> Columns:
    """The columns of events, and of messages beside them; of at least one kind."""
    kinds = [{**{name: _spec(event, name) for name in event.columns}, **_COMMON} for event in events]
    own = {name: None for event in events for name in event.columns}
    names = [*_SPECS, *own] if messages else [*own, *_COMMON]
    specs = {name: _joined(name, kinds, messages=messages) for name in dict.fromkeys(names)}
    return Columns(MappingProxyType(specs), strict=True)


def kinds_of(filters: Sequence[str]) -> list[Kind]:
    """The filters of a bound query by the kind of what they let in; messages of topics come first."""
    topics = tuple(name for name in filters if name not in _BY_SOURCE)
    kinds = [Kind(topics, MESSAGE_COLUMNS)] if topics else []
    events = [_BY_SOURCE[name] for name in filters if name in _BY_SOURCE]
    return [*kinds, *(Kind((event.source,), columns_of([event], messages=False)) for event in events)]


def _spec(event: Event, name: str) -> ColumnSpec:
    kind = COLUMNS[name].type
    if name == "payload":
        code = "event_payload(m)"
    elif name.endswith("_props"):
        code = f'event_properties(m, "{name}")'
    else:
        code = f'm.columns.get("{name}", MISSING)'
    return ColumnSpec(kind, code, name in event.certain)


def _joined(name: str, kinds: Sequence[Mapping[str, ColumnSpec]], *, messages: bool) -> ColumnSpec:
    """One spec for the kinds that have the column and those that do not."""
    having = [kind[name] for kind in kinds if name in kind]
    always = len(having) == len(kinds) and all(spec.always for spec in having)
    code = having[0].code if having else "MISSING"
    if not messages:
        return having[0]._replace(always=always)
    own = _SPECS.get(name)
    here = "MISSING" if own is None else own.code
    kind = having[0].type if own is None else own.type
    always = always and own is not None and own.always
    return ColumnSpec(kind, here if here == code else f"({here} if m.columns is None else {code})", always)
