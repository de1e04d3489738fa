"""Binding where static types decide: instants, intervals, casts, arguments that must not be mixed up.

Inside, a TIMESTAMP and an INTERVAL are integers, so nothing at run time could tell them from a BIGINT, or from each
other. Here is the one place that keeps them apart: every operator, form and call gets its operands through
these methods, which add a diagnostic with the way out wherever types would mix. A text literal beside one of them is
read as one, as in PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlglot import exp

from core.message import Type
from rules.casts import ANY_SHAPE, IMPOSSIBLE, Shape
from rules.checks import signature
from rules.columns import Columns
from rules.diagnostics import Problems, Span, suggestion
from rules.functions import Parameter
from rules.functions.base import Refusal
from rules.functions.instants import INTERVAL_FIELDS, TIMESTAMP_FIELDS, check_zone, parse_timestamp
from rules.functions.intervals import Span as Length
from rules.functions.intervals import parse_fixed, parse_interval
from rules.nodes import AtTimeZone, IntervalLiteral, span_of
from rules.scope import Scope
from rules.tree import (
    UNDEFINED,
    Arithmetic,
    ArithmeticOperator,
    Call,
    Cast,
    Compare,
    ComparisonOperator,
    Const,
    Expr,
    Extract,
    Negate,
    Shift,
    is_null,
)
from rules.types import LABELS, NUMBERS, TEMPORAL, TEMPORAL_ARITHMETIC, Types

_MAKE: Final = {
    Type.TIMESTAMP: "CAST(x AS TIMESTAMP) makes one of epoch milliseconds or RFC 3339 text, to_timestamp(x) of seconds",
    Type.INTERVAL: "x * INTERVAL '1 second' makes one of a number, CAST(x AS INTERVAL) of a text",
}
_PARSERS: Final[dict[Type, Callable[[str], int]]] = {Type.TIMESTAMP: parse_timestamp, Type.INTERVAL: parse_fixed}
_NAME_ONLY: Final = frozenset({"is_null", "is_not_null", "is_null_var", "is_not_null_var"})
"""Functions that ask whether a value is there, not what it is."""


class TypedBinder:
    """The methods; ``expression`` and the state are those of ``bind_expressions``."""

    _columns: Columns
    _problems: Problems
    _scope: Scope
    _condition: bool
    _typing: Types | None = None

    def expression(self, tree: exp.Expr) -> Expr:
        raise NotImplementedError

    def _check(self, tree: exp.Expr) -> bool:
        raise NotImplementedError

    @property
    def _types(self) -> Types:
        """The static types of what has been bound so far."""
        if self._typing is None or self._typing.specs is not self._columns.specs:
            self._typing = Types(self._columns.specs, self._scope.lets)
        return self._typing

    def _wrong(self, message: str, span: Span, *, label: str = "", hint: str = "") -> Expr:
        self._problems.add("wrong-type", message, span, label=label, hint=hint)
        return UNDEFINED

    def _label(self, expr: Expr) -> str:
        return LABELS.get(self._types.declared(expr), "a value of no declared type")

    # Literals

    def _parsed(self, text: str, span: Span, parse: Callable[[str], Any], hint: str = "") -> Any:
        """What ``parse`` makes of a literal; None and a diagnostic where it refuses it."""
        try:
            return parse(text)
        except Refusal as refusal:
            self._problems.add("bad-literal", str(refusal), span, hint=hint or refusal.hint)
            return None

    def _timestamp_literal(self, tree: exp.Expr) -> Expr:
        value = self._parsed(tree.this.name, span_of(tree), parse_timestamp)
        return UNDEFINED if value is None else Const(value, Type.TIMESTAMP)

    def _length(self, tree: IntervalLiteral) -> Length:
        self._check(tree)
        unit = tree.args.get("unit") or "second"
        found = self._parsed(tree.this.name, span_of(tree), lambda text: parse_interval(text, unit))
        return found if isinstance(found, Length) else Length(0, 0)

    def _interval_literal(self, tree: IntervalLiteral) -> Expr:
        length = self._length(tree)
        if length.months:
            return self._wrong(
                "months and years have no fixed length",
                span_of(tree),
                hint="add them to a TIMESTAMP or subtract them from one; elsewhere take days",
            )
        return Const(length.microseconds, Type.INTERVAL)

    def _at_time_zone(self, tree: exp.Expr) -> Expr:
        return self._wrong(
            "AT TIME ZONE has no value of its own: an instant is the same everywhere",
            span_of(tree),
            hint="it goes inside of EXTRACT(... FROM x AT TIME ZONE 'zone'), date_trunc and CAST(... AS TEXT)",
        )

    def _zoned(self, tree: exp.Expr) -> tuple[Expr, str]:
        """A value and the zone that AT TIME ZONE gives it, empty where there is none."""
        inner = tree
        while isinstance(inner, exp.Paren) and self._check(inner):
            inner = inner.this
        if not isinstance(inner, AtTimeZone):
            return self.expression(tree), ""
        self._check(inner)
        value, name = self.expression(inner.this), inner.args["zone"].name
        self._parsed(name, span_of(inner.args["zone"]), check_zone)
        if value is not UNDEFINED and self._types.of(value).type is not Type.TIMESTAMP:
            self._wrong(
                f"only a TIMESTAMP has a time zone, this is {self._label(value)}",
                value.span,
                label=self._label(value),
                hint=_MAKE[Type.TIMESTAMP],
            )
        return value, name

    # Operands

    def _as(self, expr: Expr, kind: Type, hint: str = "") -> Expr:
        """``expr``, and where it is a text literal the instant or interval that it describes."""
        if isinstance(expr, Const) and expr.type is Type.TEXT:
            value = self._parsed(expr.value, expr.span, _PARSERS[kind], hint)
            return UNDEFINED if value is None else Const(value, kind, span=expr.span)
        return expr

    def _unified(self, operands: Sequence[Expr], doing: str) -> tuple[Expr, ...]:
        """The operands of a form that takes values of one type; where one is temporal, all must be of its type."""
        kinds = [kind for kind in map(self._kind, operands) if kind in TEMPORAL]
        if not kinds:
            return tuple(operands)
        wanted = kinds[0]
        found: list[Expr] = []
        for given in operands:
            operand = self._as(given, wanted)
            if not is_null(operand) and self._kind(operand) is not wanted:
                self._wrong(
                    f"{LABELS[wanted]} cannot be {doing} {self._label(operand)}",
                    operand.span,
                    label=self._label(operand),
                    hint=_MAKE[wanted],
                )
                operand = UNDEFINED
            found.append(operand)
        return tuple(found)

    def _kind(self, expr: Expr) -> Type:
        return self._types.of(expr).type

    def _plain(self, expr: Expr) -> Expr:
        """A value inside of an array or an object, where no type is declared: an instant is its text."""
        return Cast(expr, Type.TEXT, Type.TIMESTAMP, span=expr.span) if self._kind(expr) is Type.TIMESTAMP else expr

    def _as_text(self, expr: Expr) -> Expr:
        """What ``||`` joins: instants and intervals are their texts."""
        kind = self._kind(expr)
        return Cast(expr, Type.TEXT, kind, span=expr.span) if kind in TEMPORAL else expr

    def _number_or_text(self, expr: Expr, what: str) -> Expr:
        """An operand of what has no meaning for instants and intervals."""
        kind = self._kind(expr)
        if kind not in TEMPORAL:
            return expr
        return self._wrong(
            f"{what} does not take {LABELS[kind]}",
            expr.span,
            label=LABELS[kind],
            hint="CAST(x AS TEXT) writes it as text, EXTRACT(EPOCH FROM x) gives seconds",
        )

    # Operators

    def _compared(self, operator: ComparisonOperator, left: Expr, right: Expr) -> Expr:
        return Compare(operator, *self._unified((left, right), "compared with"))

    def _calculated(self, operator: ArithmeticOperator, left_tree: exp.Expr, right_tree: exp.Expr) -> Expr:
        months = _months(right_tree)
        if months is not None and operator in ("+", "-"):
            return self._shifted(self.expression(left_tree), months, -1 if operator == "-" else 1)
        months = _months(left_tree)
        if months is not None and operator == "+":
            return self._shifted(self.expression(right_tree), months, 1)
        return self._combined(operator, self.expression(left_tree), self.expression(right_tree))

    def _shifted(self, operand: Expr, tree: IntervalLiteral, sign: int) -> Expr:
        """An operand and a literal length, which may have months where the operand is a TIMESTAMP."""
        length = self._length(tree)
        kind = self._kind(operand)
        if length.months and kind is Type.TIMESTAMP:
            return Shift(operand, sign * length.months, sign * length.microseconds)
        literal = self._interval_literal(tree)
        literal = literal if literal is UNDEFINED else replace(literal, span=span_of(tree))
        return UNDEFINED if literal is UNDEFINED else self._combined("+" if sign > 0 else "-", operand, literal)

    def _combined(self, operator: ArithmeticOperator, left: Expr, right: Expr) -> Expr:
        kinds = self._kind(left), self._kind(right)
        if not (TEMPORAL & set(kinds)):
            return Arithmetic(operator, left, right)
        if kinds[0] in TEMPORAL and operator in ("+", "-"):
            right = self._as(
                right, Type.TIMESTAMP if kinds == (Type.TIMESTAMP, Type.TEXT) and operator == "-" else Type.INTERVAL
            )
        elif operator == "+":
            left = self._as(left, Type.INTERVAL, "texts are joined with ||")
        if is_null(left) or is_null(right):
            return UNDEFINED
        if (operator, self._kind(left), self._kind(right)) in TEMPORAL_ARITHMETIC:
            return Arithmetic(operator, left, right)
        return self._no_arithmetic(operator, left, right)

    def _no_arithmetic(self, operator: str, left: Expr, right: Expr) -> Expr:
        kinds = {self._kind(left), self._kind(right)}
        wrong = right if self._kind(left) in TEMPORAL else left
        if kinds <= TEMPORAL:
            hint = "EXTRACT(EPOCH FROM x) gives seconds to calculate with"
        elif self._types.declared(wrong) is Type.ANY and operator in ("+", "-"):
            hint = "CAST(x AS TIMESTAMP) or CAST(x AS INTERVAL) says what it is"
        elif Type.TIMESTAMP in kinds:
            hint = "a TIMESTAMP takes an INTERVAL, x + INTERVAL '10 seconds'; EXTRACT(EPOCH FROM x) gives seconds"
        else:
            hint = _MAKE[Type.TIMESTAMP if operator in ("+", "-") else Type.INTERVAL]
        return self._wrong(
            f"{operator!r} does not take {self._label(left)} and {self._label(right)}",
            wrong.span,
            label=self._label(wrong),
            hint=hint,
        )

    def _negated(self, operand: Expr) -> Expr:
        if isinstance(operand, Const) and operand.type in (*NUMBERS, Type.INTERVAL):
            return Const(-operand.value, operand.type)
        if self._kind(operand) is Type.TIMESTAMP:
            return self._wrong("a TIMESTAMP has no negative", operand.span, label="a TIMESTAMP")
        return Negate(operand)

    # Casts and parts

    def _cast(self, tree: exp.Expr) -> Expr:
        to = tree.args["to"]
        self._check(to)
        wanted = Type(to.this)
        operand, zone = self._zoned(tree.this)
        safe = isinstance(tree, exp.TryCast)
        operand = self._as(operand, wanted) if wanted in TEMPORAL and not safe else operand
        kind = self._kind(operand)
        if isinstance(operand, Const) and operand.type is wanted and wanted in TEMPORAL:
            return operand
        if zone and wanted is not Type.TEXT:
            return self._at_time_zone(tree.this)
        source = kind if kind in TEMPORAL else Type.ANY
        hint = IMPOSSIBLE.get((self._types.declared(operand), wanted))
        if hint is not None and (source in TEMPORAL or wanted in TEMPORAL):
            return self._wrong(
                f"{self._label(operand)} cannot be cast to {wanted.value}",
                operand.span,
                label=self._label(operand),
                hint=hint,
            )
        precision = to.args.get("precision")
        shape = Shape(precision, to.args.get("scale") or 0) if precision else ANY_SHAPE
        return Cast(operand, wanted, source, shape, safe, zone)

    def _extract(self, tree: exp.Expr) -> Expr:
        operand, zone = self._zoned(tree.this)
        field = tree.args["field"].name.lower()
        if operand is UNDEFINED:
            return UNDEFINED
        kind = self._kind(operand)
        if kind not in TEMPORAL:
            return self._wrong(
                f"EXTRACT takes a TIMESTAMP or an INTERVAL, this is {self._label(operand)}",
                operand.span,
                label=self._label(operand),
                hint=_MAKE[Type.TIMESTAMP],
            )
        known = TIMESTAMP_FIELDS if kind is Type.TIMESTAMP else INTERVAL_FIELDS
        if field not in known:
            field = field.removesuffix("s")
        if field not in known:
            self._problems.add(
                "bad-literal",
                f"{LABELS[kind]} has no field {tree.args['field'].name!r}",
                span_of(tree.args["field"]),
                hint=suggestion(field, known) or f"fields are {', '.join(sorted(known))}",
            )
            return UNDEFINED
        return Extract(field, operand, kind, zone or "UTC")

    # Calls

    def _checked_call(self, call: Call) -> Call | None:
        """The call with its literals read; None where its arguments are temporal and must not be, or the reverse."""
        form = signature(call)
        arguments: list[Expr] = []
        good = True
        for number, given in enumerate(call.arguments, 1):
            parameter = form[min(number, len(form)) - 1] if form else Parameter("")
            wanted = parameter.types & TEMPORAL
            argument = self._as(given, next(iter(wanted))) if len(wanted) == 1 and len(parameter.types) == 1 else given
            arguments.append(argument)
            kind = self._kind(argument)
            # For eval a literal that is refused fails when it runs, as in EMQX.
            literal = isinstance(argument, Const) and not is_null(argument) and self._columns.strict
            # One of another type is for checks.py to refuse.
            if literal and isinstance(argument, Const) and parameter.check and argument.type in parameter.types:
                size = len(self._problems.found)
                self._parsed(argument.value, argument.span, parameter.check)
                good = good and len(self._problems.found) == size
            if kind in TEMPORAL:
                fits = kind in parameter.types or call.name in _NAME_ONLY
            else:
                fits = not wanted or wanted != parameter.types or is_null(argument)
            if not fits:
                good = False
                self._wrong_argument(call, number, parameter, argument)
        return replace(call, arguments=tuple(arguments)) if good else None

    def _wrong_argument(self, call: Call, number: int, parameter: Parameter, argument: Expr) -> None:
        wanted = [kind for kind in (Type.TIMESTAMP, Type.INTERVAL) if kind in parameter.types]
        name = f" ({parameter.name})" if parameter.name else ""
        if wanted:
            hint = _MAKE[wanted[0]]
            message = (
                f"argument {number}{name} of {call.name}() must be {LABELS[wanted[0]]}, not {self._label(argument)}"
            )
        else:
            hint = "CAST(x AS TEXT) writes it as text, EXTRACT(EPOCH FROM x) gives seconds"
            message = f"{call.name}() does not take {self._label(argument)}"
        self._wrong(message, argument.span, label=self._label(argument), hint=hint)


def _months(tree: exp.Expr) -> IntervalLiteral | None:
    while isinstance(tree, exp.Paren):
        tree = tree.this
    return tree if isinstance(tree, IntervalLiteral) else None
