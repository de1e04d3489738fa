"""How large may a value become? A bound on copies, told before a rule runs.

A name stands for its whole value, so ``[a, a] AS b, [b, b] AS c, ...`` doubles with every field: forty fields would
make a row that no machine holds, out of a message of a few bytes. Every value gets a number here: of how many other
values (the message's, functions' results) it may hold copies. Products count as texts that are joined: they have the
digits of both sides. What is one plain value whatever it is made of, such as a comparison, counts as one.
"""

from __future__ import annotations

from typing import Final

from core.message import Type
from rules.diagnostics import Problems
from rules.tree import (
    Arithmetic,
    Call,
    Case,
    Cast,
    Coalesce,
    Concat,
    Const,
    DocumentOf,
    Expr,
    Extreme,
    First,
    Index,
    Key,
    ListOf,
    Negate,
    NullIf,
    ObjectOf,
    Opened,
    Put,
    Query,
    Ref,
    Slice,
)

LIMIT: Final = 1_000
_SCALARS: Final = frozenset({Type.BOOLEAN, Type.BIGINT, Type.DOUBLE, Type.DECIMAL, Type.TIMESTAMP, Type.INTERVAL})


def bound(query: Query, problems: Problems) -> None:
    """Report the first value of the query that may grow past the limit."""
    known: list[int] = []
    for value in query.lets:
        known.append(_copies(value, known))
        if known[-1] > LIMIT:
            problems.add(
                "too-complex",
                f"this value may hold more than {LIMIT} copies of others",
                value.span,
                hint="a name stands for its whole value: [a, a] AS b, [b, b] AS c doubles it with every field",
            )
            return


def _copies(expr: Expr, known: list[int]) -> int:
    if isinstance(expr, Ref):
        return known[expr.index]
    if isinstance(expr, Const):
        return 0
    if isinstance(expr, Key | Index | Slice | Opened | DocumentOf):
        return _copies(expr.base, known)
    if isinstance(expr, Negate | Cast):
        return 1 if isinstance(expr, Cast) and expr.type in _SCALARS else _copies(expr.operand, known)
    chosen = _choices(expr)
    if chosen:
        return max(_copies(value, known) for value in chosen)
    return max(1, sum(_copies(part, known) for part in _parts(expr)))


def _choices(expr: Expr) -> tuple[Expr, ...]:
    """The values one of which is the value."""
    if isinstance(expr, Case):
        return (*(value for _, value in expr.branches), expr.default)
    if isinstance(expr, Coalesce | Extreme):
        return expr.operands
    if isinstance(expr, First):
        return expr.first, expr.second
    return (expr.left,) if isinstance(expr, NullIf) else ()


def _parts(expr: Expr) -> tuple[Expr, ...]:
    """The values that the value holds; none for what is one plain value."""
    if isinstance(expr, ListOf):
        return expr.items
    if isinstance(expr, ObjectOf):
        return tuple(part for entry in expr.entries for part in entry)
    if isinstance(expr, Put):
        return expr.base, expr.value
    if isinstance(expr, Concat | Arithmetic):
        return expr.left, expr.right
    if isinstance(expr, Call) and expr.function.result_of(len(expr.arguments)) not in _SCALARS:
        return expr.arguments
    return ()
