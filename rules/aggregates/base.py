"""What an aggregate is: parameters, the slots of its state, and four pieces of code over them.

An aggregate's state is a number of *slots* in the flat list that holds all aggregates of one group. How the slots
begin, take in a value, join those of another state and give the result is said by templates of Python: ours, never an
author's. They are put inline into the loop over rows (``accumulator``), so ``count``, ``sum`` and ``max`` cost no
call. What is complicated names a function instead: the template is then one call of it.

Invariants: ``add`` and ``merge`` are given values that passed the parameter's check, so they do not fail; ``merge``
is associative, the rows of its right side came after those of its left side (for first, last and lists: values of
equal time stay in the order in which they came); a slot is plain data (numbers, texts, lists, dicts) or knows how to
``dump`` itself, so that any state can be written to a snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from core.message import MISSING, Type
from rules.functions.base import Refusal, shown

NUMERIC: Final = frozenset({Type.BIGINT, Type.DOUBLE, Type.DECIMAL})


class Tally:
    """What the states of one operator share: the limit on values that one state keeps, and what was left out by it.

    ``out_of_range`` counts results that are no finite number; they are null.
    """

    __slots__ = ("left_out", "max_values", "out_of_range")

    def __init__(self, max_values: int = 10_000) -> None:
        self.max_values = max_values
        self.left_out = 0
        self.out_of_range = 0


class Kind(NamedTuple):
    """What a parameter takes. ``types`` are the column types that need no check; empty means any value is taken.

    ``convert`` gives the value for the state, or raises Refusal; int and float go past it where ``plain``.
    """

    label: str
    types: frozenset[Type] = frozenset()
    convert: Callable[[Any], Any] | None = None
    plain: bool = False


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise Refusal(f"an aggregate of numbers got {shown(value)}")
    return value


def _float(value: Any) -> float:
    return float(_number(value))


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise Refusal(f"an aggregate of booleans got {shown(value)}")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise Refusal(f"an aggregate of texts got {shown(value)}")


def _object(value: Any) -> dict[Any, Any]:
    if isinstance(value, dict):
        return value
    raise Refusal(f"an aggregate of objects got {shown(value)}")


ANY: Final = Kind("any")
NUMBER: Final = Kind("number", NUMERIC, _number, plain=True)
FLOAT: Final = Kind("number", frozenset({Type.BIGINT, Type.DOUBLE}), _float, plain=True)
BOOLEAN: Final = Kind("boolean", frozenset({Type.BOOLEAN}), _boolean)
TEXT: Final = Kind("string", frozenset({Type.TEXT}), _text)
OBJECT: Final = Kind("map", frozenset({Type.OBJECT}), _object)


class Parameter(NamedTuple):
    """``nulls``: null and missing are values like others. Otherwise a row where they stand is left out, as SQL says."""

    name: str
    kind: Kind = ANY
    nulls: bool = False


class Constant(NamedTuple):
    """A parameter that is the same for all rows and known when the query is compiled. ``check`` raises Refusal."""

    name: str
    check: Callable[[Any], Any]


class Code(NamedTuple):
    """Templates over slots.

    ``init`` is an expression per slot. ``add``: lines over ``{s0}``, ``{s1}`` ... (the slots), ``{x}``, ``{y}`` (the
    arguments), ``{order}`` (a tuple of what ORDER BY names) and ``{t}`` (the row's time); ``merge``: lines over
    ``{a0}`` ... and ``{b0}`` ..., changing a only; ``output``: an expression over slots. Constants are ``{p0}``,
    ``{p1}``; names of :attr:`Aggregate.names` stand in braces too, and ``{tally}``. ``mutable``: a slot holds an
    object that ``add`` changes in place.

    ``last`` is for aggregates that go on from one window to the next: an expression over slots that gives the latest
    sample, (time, value), or None. ``output`` then finds the sample before the window in ``{carried}`` and the
    bounds of the time that the result is to cover in ``{since}`` and ``{until}``; each of them may be None.
    """

    init: tuple[str, ...]
    add: str
    merge: str
    output: str
    mutable: bool = False
    last: str = ""


class OrderBy(NamedTuple):
    """A term of ORDER BY within a call: a place of the input row. Nulls are greater than all values, as in PostgreSQL:
    last, or first where ``desc``, unless ``nulls_first`` says otherwise."""

    place: int
    desc: bool = False
    nulls_first: bool | None = None


Ordering = Callable[[Any, Any], int]
"""-1, 0 or 1 for two tuples of what ORDER BY names."""


class Example(NamedTuple):
    """The documentation's and the tests' example: rows of arguments, a second apart from 1970-01-01 on."""

    call: str
    rows: tuple[tuple[Any, ...], ...]
    result: Any


ResultType = Type | Callable[[Sequence[Type]], Type]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate function.

    ``code`` gives the templates for arguments of given column types (ANY where nothing is known). ``ordered`` gives
    those of a call with ORDER BY, which find how rows compare as ``{ordering}``; without it such a call is refused.
    ``star``: may be called with ``*``: for count no argument, for the others the row as a map.
    ``check_library`` raises with the way out where an optional library is missing.
    """

    name: str
    doc: str
    code: Callable[[Sequence[Type]], Code]
    result: ResultType
    parameters: tuple[Parameter, ...] = ()
    constants: tuple[Constant, ...] = ()
    examples: tuple[Example, ...] = ()
    names: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    check_library: Callable[[], None] | None = None
    ordered: Code | None = None
    star: bool = False

    def result_type(self, types: Sequence[Type]) -> Type:
        return self.result if isinstance(self.result, Type) else self.result(types)


def fixed(code: Code) -> Callable[[Sequence[Type]], Code]:
    """The same templates whatever the types."""
    return lambda _types: code


def same_type(types: Sequence[Type]) -> Type:
    """The result has the type of the first argument."""
    return types[0] if types else Type.ANY


def from_functions(
    name: str,
    doc: str,
    *,
    init: Callable[[], Any],
    add: Callable[..., None],
    merge: Callable[[Any, Any], None],
    result: Callable[[Any], Any],
    result_type: ResultType = Type.ANY,
    parameters: tuple[Parameter, ...] = (Parameter("x"),),
    examples: tuple[Example, ...] = (),
) -> Aggregate:
    """An aggregate of four functions, as extensions write them: ``add(state, *arguments)`` and ``merge(one, other)``
    change their first argument in place."""
    arguments = "".join(f", {{{letter}}}" for letter, _ in zip("xyz", parameters, strict=False))
    code = Code(("{init}()",), f"{{add}}({{s0}}{arguments})", "{merge}({a0}, {b0})", "{result}({s0})", mutable=True)
    names = {"init": init, "add": add, "merge": merge, "result": result}
    return Aggregate(name, doc, fixed(code), result_type, parameters, (), examples, MappingProxyType(names))


class AggregateTable(Mapping[str, Aggregate]):
    """Aggregates by lower-case name. An alias is the aggregate itself under another name."""

    def __init__(self, *groups: Sequence[Aggregate], aliases: Mapping[str, str] = MappingProxyType({})) -> None:
        self._known: dict[str, Aggregate] = {}
        for aggregate in (aggregate for group in groups for aggregate in group):
            if aggregate.name in self._known:
                raise ValueError(f"aggregate {aggregate.name!r} is declared twice")
            self._known[aggregate.name] = aggregate
        self.aliases = aliases
        self._known.update({alias: self._known[name] for alias, name in aliases.items()})

    def names(self) -> list[str]:
        return sorted(self._known)

    def __getitem__(self, name: str) -> Aggregate:
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def is_null(value: Any) -> bool:
    return value is None or value is MISSING
