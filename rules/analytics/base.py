"""What an analytic function is: parameters, the slots of its state, and code that steps from row to row.

A call's state is a number of *slots* in the flat list that all calls of one partition share. Templates of Python say
how the slots begin and what a row does to them; they are ours, never an author's, and are put inline into the loop
over rows (``loop``), so a ``lag`` costs no call.

Invariants: arguments have passed the parameter's check before a step begins, so a step does not fail; a slot is plain
data, so that any state can be written to a snapshot; it is bounded by the call's constants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from core.errors import HeadraceError
from core.message import Type
from rules.aggregates.base import ANY, Kind
from rules.functions.base import Refusal, shown

MAX_ROWS_BACK: Final = 1_000
"""Rows that one call looks back or ahead, or counts among."""
MAX_COMPARED: Final = 64
"""Values that one ``had_changed`` watches."""


class CallError(HeadraceError):
    """A call of an analytic function that cannot be; the text is for the author of the query."""


class Required:
    """Stands for the default of what must be given."""


REQUIRED: Final = Required()


class Parameter(NamedTuple):
    """``constant`` (raises Refusal) marks one that is the same for all rows; its ``default`` is what counts where it is
    left out. ``condition``: only TRUE counts. ``repeated``: one or more of them."""

    name: str
    kind: Kind = ANY
    constant: Callable[[Any], Any] | None = None
    default: Any = REQUIRED
    condition: bool = False
    repeated: bool = False


class Code(NamedTuple):
    """Templates over slots.

    ``init`` is an expression per slot. ``step``: lines over ``{s0}``, ``{s1}`` ... (the slots), ``{x0}``, ``{x1}`` ...
    (the arguments) and ``{r}``, which they set to the result. ``still``: an expression of the result for a row where
    WHEN does not hold. Names of :attr:`AnalyticFunction.names` stand in braces too, and ``{tally}``.
    """

    init: tuple[str, ...]
    step: str
    still: str


class Example(NamedTuple):
    """The documentation's and the tests' example: rows of values of ``x``, ``y``, and the result of each."""

    call: str
    rows: tuple[tuple[Any, ...], ...]
    results: tuple[Any, ...]


ResultType = Type | Callable[[Sequence[Type]], Type]


@dataclass(frozen=True, slots=True)
class AnalyticFunction:
    """One analytic function.

    ``code`` gives the templates for the types of the arguments and the constants; None: the rows themselves wait
    (``lead``). ``certain``: the result is never null. ``counts`` are the numbers of arguments that a call may have,
    where not every number between the least and the most makes sense.
    """

    name: str
    doc: str
    code: Callable[[Sequence[Type], Sequence[Any]], Code] | None
    result: ResultType
    parameters: tuple[Parameter, ...] = ()
    examples: tuple[Example, ...] = ()
    names: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    certain: bool = False
    counts: tuple[int, ...] = ()
    star: bool = False
    """May be called with ``*``: no arguments."""

    @property
    def form(self) -> str:
        """The call as it is written, with what may be left out in brackets."""
        least = sum(parameter.default is REQUIRED for parameter in self.parameters)
        breaks = self.counts or range(least, len(self.parameters))
        text = ""
        for number, parameter in enumerate(self.parameters):
            text += ("[" if number in breaks else "") + (", " if number else "")
            text += parameter.name + (", ..." if parameter.repeated else "")
        return f"{self.name}({text}{']' * text.count('[')})"

    def result_type(self, types: Sequence[Type]) -> Type:
        return self.result if isinstance(self.result, Type) else self.result(types)

    def given(self, count: int) -> Iterator[Parameter]:
        """The parameter of each of ``count`` arguments; CallError where there cannot be so many."""
        parameters = self.parameters
        repeated = bool(parameters) and parameters[-1].repeated
        least = sum(parameter.default is REQUIRED for parameter in parameters)
        most = len(parameters) - 1 + MAX_COMPARED if repeated else len(parameters)
        if not least <= count <= most or (self.counts and count not in self.counts):
            raise CallError(f"{self.form} was given {count} argument{'s' if count != 1 else ''}")
        for number in range(count):
            yield parameters[min(number, len(parameters) - 1)]

    def takes(self, columns: int) -> bool:
        """May a call have so many arguments that are values of the row?"""
        wanted = self.columns
        if wanted and wanted[-1].repeated:
            return len(wanted) <= columns < len(wanted) + MAX_COMPARED
        if self.counts and not self.constants:
            return columns in self.counts
        return sum(parameter.default is REQUIRED for parameter in wanted) <= columns <= len(wanted)

    @property
    def columns(self) -> tuple[Parameter, ...]:
        """The parameters that are values of the row."""
        return tuple(parameter for parameter in self.parameters if parameter.constant is None)

    @property
    def constants(self) -> tuple[Parameter, ...]:
        """Those that are the same for all rows."""
        return tuple(parameter for parameter in self.parameters if parameter.constant is not None)


def same_type(types: Sequence[Type]) -> Type:
    """The result has the type of the first argument, where a default has it, too."""
    return types[0] if len(set(types)) == 1 else Type.ANY


def first_type(types: Sequence[Type]) -> Type:
    return types[0]


def rows_back(value: Any) -> None:
    """Refuse what is no number of rows."""
    if type(value) is not int or not 1 <= value <= MAX_ROWS_BACK:
        raise Refusal(f"is a number of rows from 1 to {MAX_ROWS_BACK}, not {shown(value)}")


def boolean(value: Any) -> None:
    if type(value) is not bool:
        raise Refusal(f"is true or false, not {shown(value)}")


class AnalyticTable(Mapping[str, AnalyticFunction]):
    """Analytic functions by lower-case name."""

    def __init__(self, *groups: Sequence[AnalyticFunction]) -> None:
        self._known: dict[str, AnalyticFunction] = {}
        for function in (function for group in groups for function in group):
            if function.name in self._known:
                raise ValueError(f"analytic function {function.name!r} is declared twice")
            self._known[function.name] = function

    def __getitem__(self, name: str) -> AnalyticFunction:
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)
