"""Bound expressions: names are resolved, functions are found, EMQX's evaluation order is explicit.

Immutable and comparable by structure (places in the text do not count), so that equal expressions are computed once.
A query numbers its values in order of evaluation (:attr:`Query.lets`); :class:`Ref` reads an earlier one. What a
node means at run time is defined by ``operators``; its static type by ``types``; its code by ``codegen``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from core.message import MISSING, Type
from rules.casts import ANY_SHAPE, Shape
from rules.columns import Columns
from rules.diagnostics import NOWHERE, Span
from rules.functions import ScalarFunction

if TYPE_CHECKING:
    from rules.windows.plan import Timing, Window

ArithmeticOperator = Literal["+", "-", "*", "/", "div", "mod"]
ComparisonOperator = Literal["=", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expr:
    """The root of all expressions."""

    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Const(Expr):
    """A text, number, boolean, instant, interval, null or MISSING; ``type`` keeps 1, 1.0 and true apart."""

    value: Any
    type: Type


UNDEFINED: Final = Const(MISSING, Type.ANY)
NULL: Final = Const(None, Type.ANY)


@dataclass(frozen=True, slots=True)
class Column(Expr):
    """A column of the source."""

    name: str


@dataclass(frozen=True, slots=True)
class Received(Expr):
    """CURRENT_TIMESTAMP: when the message came in."""


@dataclass(frozen=True, slots=True)
class Document(Expr):
    """The message's decoded payload; fails where that is not JSON."""


@dataclass(frozen=True, slots=True)
class DocumentOf(Expr):
    """An output named ``payload`` that a path goes into: a text is decoded and fails where it is not JSON."""

    base: Expr


@dataclass(frozen=True, slots=True)
class Opened(Expr):
    """``FOREACH payload``: the payload's JSON value, missing where it is not JSON (EMQX since 5.9)."""

    base: Expr


@dataclass(frozen=True, slots=True)
class Ref(Expr):
    """The value number ``index`` of the query."""

    index: int


@dataclass(frozen=True, slots=True)
class Sender(Expr):
    """The message's publisher: an argument that no call names."""


@dataclass(frozen=True, slots=True)
class TopicLevel(Expr):
    """The level number ``index``, from 0, of the message's topic; the filters of the query let in none with fewer."""

    index: int


@dataclass(frozen=True, slots=True)
class Declared(Expr):
    """A value brought to the type of the source's column ``name``; it fails where it does not fit, or is null and must
    not be. ``unit`` are the microseconds that a number means in a TIMESTAMP, 0 for nanoseconds."""

    operand: Expr
    name: str
    type: Type
    shape: Shape
    not_null: bool
    unit: int


@dataclass(frozen=True, slots=True)
class Whole(Expr):
    """The message or row itself, to be carried along."""


@dataclass(frozen=True, slots=True)
class KeyOf(Expr):
    """What groups and partitions are told apart by: ``()``, the item's value, or a tuple of several. Those at the
    positions ``boxed`` may be of any type and are wrapped (``rules.aggregates.keys``)."""

    items: tuple[Expr, ...]
    boxed: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class WindowEdge(Expr):
    """``window_start`` or ``window_end``."""

    end: bool


@dataclass(frozen=True, slots=True)
class Aggregated(Expr):
    """A call of an aggregate, over the rows of a group. ``rules.split`` takes it out before code is made."""

    name: str
    arguments: tuple[Expr, ...]
    constants: tuple[Any, ...]
    filter: Expr | None
    distinct: bool
    result: Type
    order: tuple[Expr, ...] = ()
    directions: tuple[tuple[bool, bool], ...] = ()
    """Of each key of ``order``: descending, nulls first."""


@dataclass(frozen=True, slots=True)
class Analytic(Expr):
    """A call of an analytic function ``OVER (PARTITION BY partition WHEN when)``. ``rules.split_analytics`` takes it
    out before code is made. ``certain``: the result is never null."""

    name: str
    arguments: tuple[Expr, ...]
    constants: tuple[Any, ...]
    partition: tuple[Expr, ...]
    when: Expr | None
    result: Type
    certain: bool


@dataclass(frozen=True, slots=True)
class Item(Expr):
    """The present element of FOREACH."""


@dataclass(frozen=True, slots=True)
class First(Expr):
    """``first``, or ``second`` where the first is missing (emqx.md 1.3, step 4)."""

    first: Expr
    second: Expr


@dataclass(frozen=True, slots=True)
class Key(Expr):
    """``base.name``; a text is taken for the JSON of a map."""

    base: Expr
    name: str


@dataclass(frozen=True, slots=True)
class Index(Expr):
    """``base[index]``, 1-based, negative from the end."""

    base: Expr
    index: Expr


@dataclass(frozen=True, slots=True)
class Slice(Expr):
    """``base[first..last]``, inclusive; fails on what is no list."""

    base: Expr
    first: Expr
    last: Expr


@dataclass(frozen=True, slots=True)
class IntegerRange(Expr):
    first: Expr
    last: Expr


@dataclass(frozen=True, slots=True)
class ListOf(Expr):
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class ObjectOf(Expr):
    """An object of pairs of a key and a value; the last of equal keys counts, and a key must be a text."""

    entries: tuple[tuple[Expr, Expr], ...]


@dataclass(frozen=True, slots=True)
class Append(Expr):
    """The step ``[-0]`` of a path alias."""


@dataclass(frozen=True, slots=True)
class Put(Expr):
    """``base`` with ``value`` at the path of ``steps``: a Const text for a key, Append, or an index."""

    base: Expr
    steps: tuple[Expr, ...]
    value: Expr


@dataclass(frozen=True, slots=True)
class Arithmetic(Expr):
    operator: ArithmeticOperator
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Shift(Expr):
    """A TIMESTAMP moved by whole months of the calendar, then by microseconds."""

    operand: Expr
    months: int
    microseconds: int


@dataclass(frozen=True, slots=True)
class Extract(Expr):
    """A part of a TIMESTAMP (by the clocks of ``zone``) or of an INTERVAL, as ``source`` says."""

    field: str
    operand: Expr
    source: Type
    zone: str


@dataclass(frozen=True, slots=True)
class Negate(Expr):
    operand: Expr


@dataclass(frozen=True, slots=True)
class Concat(Expr):
    """``left || right``: texts of both, null or missing where one of them is."""

    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Compare(Expr):
    operator: ComparisonOperator
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class TopicMatches(Expr):
    topic: Expr
    topic_filter: Expr


@dataclass(frozen=True, slots=True)
class In(Expr):
    operand: Expr
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class InArray(Expr):
    """``operand`` among the items of an array; null or missing where there is no array."""

    operand: Expr
    array: Expr


@dataclass(frozen=True, slots=True)
class Like(Expr):
    """``escape`` is the character that takes the next one literally, empty for none."""

    operand: Expr
    pattern: Expr
    ignore_case: bool
    escape: str = "\\"


@dataclass(frozen=True, slots=True)
class IsNull(Expr):
    operand: Expr


@dataclass(frozen=True, slots=True)
class IsBoolean(Expr):
    """``operand IS TRUE`` or ``IS FALSE``."""

    operand: Expr
    value: bool


@dataclass(frozen=True, slots=True)
class Distinct(Expr):
    """``left IS DISTINCT FROM right``: null and missing are one value, which equals itself."""

    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Coalesce(Expr):
    """The first operand that is neither null nor missing, or the last one."""

    operands: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class NullIf(Expr):
    """``left``, or null where both are equal."""

    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Extreme(Expr):
    """GREATEST or LEAST of the operands that are neither null nor missing."""

    operands: tuple[Expr, ...]
    greatest: bool


@dataclass(frozen=True, slots=True)
class And(Expr):
    operands: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Or(Expr):
    operands: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Not(Expr):
    operand: Expr


@dataclass(frozen=True, slots=True)
class Case(Expr):
    """``operand`` None: conditions; else values that must be the same term as the operand."""

    operand: Expr | None
    branches: tuple[tuple[Expr, Expr], ...]
    default: Expr


@dataclass(frozen=True, slots=True)
class Cast(Expr):
    """``source`` is what the operand's type is declared to be (ANY: whatever comes); ``safe`` gives null where the
    cast fails; ``zone`` is the time zone of a TIMESTAMP's text."""

    operand: Expr
    type: Type
    source: Type = Type.ANY
    shape: Shape = ANY_SHAPE
    safe: bool = False
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Call(Expr):
    function: ScalarFunction = field(hash=False)
    name: str
    arguments: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Unnest:
    """FOREACH: values from ``first_let`` on belong to each element of ``array`` that ``condition`` lets pass."""

    array: Expr
    first_let: int
    condition: Expr | None


@dataclass(frozen=True, slots=True)
class Sort:
    """One key of ORDER BY. ``nulls_first``: where null and missing come."""

    value: Expr
    descending: bool
    nulls_first: bool


@dataclass(frozen=True, slots=True)
class Grouping:
    """What makes rows of windows of a query's rows. ``time`` is the microseconds of a row, ``marks`` are the conditions
    that the window itself asks; without keys and aggregates the rows of a window are its result: ``rows``."""

    window: Window
    timing: Timing
    time: Expr
    keys: tuple[Expr, ...]
    marks: tuple[Expr, ...] = ()
    having: Expr | None = None
    order: tuple[Sort, ...] = ()
    limit: int | None = None
    rows: bool = False
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Query:
    """One SELECT or FOREACH over the columns of ``source``: messages of the topics ``filters``, or a relation's rows.

    The values ``lets`` are computed in order; ``where`` follows those of the message (all of them, without FOREACH).
    ``outputs`` are pairs of a column name and the number of its value. With a ``grouping`` they are those of a group,
    and ``where`` is asked of the rows. ``qualify`` is asked once analytic functions have their results.
    """

    source: Columns
    filters: tuple[str, ...]
    lets: tuple[Expr, ...]
    where: Expr | None
    unnest: Unnest | None
    outputs: tuple[tuple[str, int], ...]
    relation: str = ""
    grouping: Grouping | None = None
    qualify: Expr | None = None

    @property
    def conditions(self) -> tuple[Expr, ...]:
        """Whatever has to be true."""
        found = [self.where, self.unnest.condition if self.unnest else None]
        found += [self.grouping.having if self.grouping else None, self.qualify]
        return tuple(condition for condition in found if condition is not None)


def children(expr: Expr) -> Iterator[Expr]:
    """The operands of an expression, in order of evaluation."""
    for part in fields(expr):
        yield from _expressions(getattr(expr, part.name))


def _expressions(value: Any) -> Iterator[Expr]:
    if isinstance(value, Expr):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _expressions(item)


def rebuilt(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """``expr`` with ``change`` applied to each of its operands."""
    values = {part.name: getattr(expr, part.name) for part in fields(expr)}
    new = {name: changed for name, value in values.items() if (changed := _rebuilt(value, change)) is not value}
    return replace(expr, **new) if new else expr


def _rebuilt(value: Any, change: Callable[[Expr], Expr]) -> Any:
    if isinstance(value, Expr):
        return change(value)
    if isinstance(value, tuple):
        items = tuple(_rebuilt(item, change) for item in value)
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value


def walk(expr: Expr) -> Iterator[Expr]:
    """``expr`` and everything below it, depth first."""
    stack = [expr]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(list(children(node))))


def is_pure(expr: Expr) -> bool:
    """Does it give the same value whenever it is asked for the same message?"""
    return all(not isinstance(node, Call) or node.function.pure for node in walk(expr))


def is_path(expr: Expr) -> bool:
    """A constant, a column or keys and constant indexes below one: cheap, and never changed by what is computed."""
    while isinstance(expr, Key | Index):
        if isinstance(expr, Index) and not isinstance(expr.index, Const):
            return False
        expr = expr.base
    return isinstance(expr, Const | Column | Document | Item)


def is_null(expr: Expr) -> bool:
    """Is it the literal null, or what is certainly missing?"""
    return isinstance(expr, Const) and (expr.value is None or expr.value is MISSING)
