"""What FROM may name beside topics: declared sources, views, lookup tables; each with its columns and its time.

A relation's rows are tuples, its columns their positions (``Columns.rows``). How a relation comes to its rows is not
known here: ``rules.catalog`` makes them, ``rules.flow`` runs them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

from core.message import Schema
from rules.columns import Columns
from rules.diagnostics import Problems, Span
from rules.joins.options import LookupOptions
from rules.windows.plan import EventTime

if TYPE_CHECKING:
    from rules.joins.bound import BoundJoin

Kind = Literal["source", "view", "table", "join"]


class EventColumn(NamedTuple):
    """The column that tells when a row happened, and how its watermark is made."""

    name: str
    timing: EventTime


@dataclass(frozen=True, slots=True)
class Relation:
    """``time`` is None where the rows have no time but that of their arrival; ``other_times`` are columns that tell
    time as well. ``corrected``: a row may be another's correction. ``lookup``: it is a table that is asked for rows by
    key, and gives none by itself."""

    name: str
    kind: Kind
    columns: Columns
    schema: Schema
    time: EventColumn | None = None
    other_times: tuple[EventColumn, ...] = ()
    corrected: bool = False
    lookup: LookupOptions | None = None


class Relations(Protocol):
    """Where a query looks for the names in its FROM."""

    def find(self, name: str) -> Relation | None:
        """The relation of this name. One with errors of its own has no columns, and its ``Columns`` are not strict."""

    def names(self) -> Iterable[str]: ...

    def join(self, join: BoundJoin, problems: Problems, span: Span) -> str:
        """Take in a join that a query reads; the name under which it is found."""
        ...


class _Nothing:
    def find(self, name: str) -> Relation | None:
        del name
        return None

    def names(self) -> Iterable[str]:
        return ()

    def join(self, join: BoundJoin, problems: Problems, span: Span) -> str:
        del problems, span
        return join.name


NO_RELATIONS: Final[Relations] = _Nothing()


def broken(name: str, kind: Kind) -> Relation:
    """Stands for a relation whose definition is wrong, so that its readers are not blamed for it."""
    return Relation(name, kind, Columns(MappingProxyType({}), strict=False, rows=True), Schema((), ()))
