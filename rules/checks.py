"""What is certain to fail on every message, found before one has come: operators, conditions, arguments, casts.

Only declared types make errors (``types.Static``): whatever a device may legally send is decided at run time by
``operators``. Instants and intervals are checked earlier, by ``bind_typed``, as nothing could tell them apart later.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from core.message import Type
from rules.analytics import ANALYTICS
from rules.casts import IMPOSSIBLE
from rules.diagnostics import Problems
from rules.functions import Parameter
from rules.operators import parse_number
from rules.tree import (
    Aggregated,
    Analytic,
    And,
    Arithmetic,
    Call,
    Cast,
    Compare,
    Const,
    Expr,
    Negate,
    Or,
    Query,
    children,
)
from rules.types import LABELS, NUMBERS, TEMPORAL, Types

_COMPARE: Final = "compare it with something: = > < IN LIKE IS NULL"
_INSTEAD_OF_NUMBERS: Final = MappingProxyType(
    {
        Type.TEXT: "texts are joined with + or ||; CAST(x AS DOUBLE) makes a number of one",
        Type.BOOLEAN: "CASE WHEN x THEN 1 ELSE 0 END makes a number of it",
        Type.ARRAY: "x[1] is its first element",
        Type.OBJECT: "a field of it is written x.name",
        Type.DOUBLE: "floor(x), ceil(x), round(x) and CAST(x AS BIGINT) make an integer of it",
    }
)


def check(query: Query, problems: Problems) -> None:
    """Report the errors of a bound query."""
    types = Types.of_query(query)
    seen: set[Expr] = set()
    for condition in query.conditions:
        _check_condition(condition, types, problems)
    stack = [*query.lets, *query.conditions]
    while stack:
        expr = stack.pop(0)
        if expr in seen:
            continue
        seen.add(expr)
        _check_operands(expr, types, problems)
        stack.extend(children(expr))


def _check_condition(expr: Expr, types: Types, problems: Problems) -> None:
    if isinstance(expr, And | Or):
        for operand in expr.operands:
            _check_condition(operand, types, problems)
        return
    kind = types.declared(expr)
    if kind not in (Type.BOOLEAN, Type.ANY):
        label = LABELS[kind]
        message = f"a condition is true or false, this is {label}"
        problems.add("not-boolean", message, expr.span, label=label, hint=_COMPARE)
    elif isinstance(expr, Arithmetic):
        problems.add(
            "not-boolean",
            "a condition is true or false, this is arithmetic",
            expr.span,
            hint=_COMPARE,
        )


def _check_operands(expr: Expr, types: Types, problems: Problems) -> None:
    if isinstance(expr, Arithmetic):
        if types.temporal(expr.left) or types.temporal(expr.right):
            return
        operands: tuple[Expr, ...] = (expr.left, expr.right)
        texts = expr.operator == "+" and any(types.declared(operand) is Type.TEXT for operand in operands)
        wanted = frozenset({Type.BIGINT}) if expr.operator in ("div", "mod") else NUMBERS
        for operand in operands if not texts else ():
            _check_number(operand, expr.operator, wanted, types, problems)
    elif isinstance(expr, Negate):
        _check_number(expr.operand, "-", NUMBERS | {Type.INTERVAL}, types, problems)
    elif isinstance(expr, Compare):
        for one, other in ((expr.left, expr.right), (expr.right, expr.left)):
            text = other.value if isinstance(other, Const) and other.type is Type.TEXT else None
            if text is not None and types.declared(one) in NUMBERS and parse_number(text) is None:
                message = f"a number cannot be compared with the text {text!r}"
                problems.add("wrong-type", message, expr.span, hint="compare it with a number, or CAST(x AS TEXT)")
    elif isinstance(expr, Aggregated) and expr.filter is not None:
        _check_condition(expr.filter, types, problems)
    elif isinstance(expr, Analytic):
        _check_analytic(expr, types, problems)
    elif isinstance(expr, Call):
        _check_call(expr, types, problems)
    elif isinstance(expr, Cast) and not expr.safe:
        source = types.declared(expr.operand)
        hint = IMPOSSIBLE.get((source, expr.type))
        if hint is not None and source not in TEMPORAL and expr.type is not Type.INTERVAL:
            problems.add("wrong-type", f"{LABELS[source]} cannot be cast to {expr.type.value}", expr.span, hint=hint)


def _check_analytic(expr: Analytic, types: Types, problems: Problems) -> None:
    if expr.when is not None:
        _check_condition(expr.when, types, problems)
    for parameter, argument in zip(ANALYTICS[expr.name].columns, expr.arguments, strict=False):
        if parameter.condition:
            _check_condition(argument, types, problems)
            continue
        kind = types.declared(argument)
        if parameter.kind.types and kind not in parameter.kind.types and kind is not Type.ANY:
            message = f"{parameter.name} of {expr.name}() must be a {parameter.kind.label}, not {LABELS[kind]}"
            hint = _INSTEAD_OF_NUMBERS.get(kind, "")
            problems.add("wrong-type", message, argument.span, label=LABELS[kind], hint=hint)


def _check_number(expr: Expr, operator: str, wanted: frozenset[Type], types: Types, problems: Problems) -> None:
    kind = types.declared(expr)
    if kind not in wanted and kind is not Type.ANY:
        label = LABELS[kind]
        needs = "integers" if wanted == {Type.BIGINT} else "numbers"
        hint = _INSTEAD_OF_NUMBERS.get(kind, "")
        problems.add("wrong-type", f"{operator!r} takes {needs}, this is {label}", expr.span, label=label, hint=hint)


def _check_call(call: Call, types: Types, problems: Problems) -> None:
    form = signature(call)
    for number, argument in enumerate(call.arguments, 1):
        parameter = form[min(number, len(form)) - 1] if form else Parameter("")
        kind = types.declared(argument)
        if kind in TEMPORAL or kind is Type.ANY or not parameter.types or Type.ANY in parameter.types:
            continue
        # Texts and binaries are one type to functions: what fits is decided by the bytes.
        fits = parameter.types | ({Type.TEXT, Type.BYTES} if parameter.types & {Type.TEXT, Type.BYTES} else set())
        if kind not in fits:
            place = f"argument {number} ({parameter.name}) of {call.name}()"
            problems.add(
                "wrong-type",
                f"{place} must be {wanted(parameter)}, not {LABELS[kind]}",
                argument.span,
                label=LABELS[kind],
                hint=call.function.summary,
            )


def signature(call: Call) -> tuple[Parameter, ...]:
    """The form of the function that takes as many arguments; empty where it does not say."""
    form = call.function.form(len(call.arguments))
    return call.function.signatures[form] if form >= 0 else ()


def wanted(parameter: Parameter) -> str:
    """What a parameter takes, in words."""
    if frozenset({Type.BIGINT, Type.DOUBLE}) <= parameter.types:
        return "a number"
    return " or ".join(LABELS[kind] for kind in sorted(parameter.types, key=lambda kind: kind.value))
