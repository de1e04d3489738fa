"""SQL forms that look like calls: COALESCE, NULLIF, GREATEST and LEAST, now(), OBJECT, date_trunc with a zone.

A function of the table always comes first where its name is written exactly so. ``coalesce`` is EMQX's function, which
keeps JSON's null: in lower case and with one or two arguments it stays that; otherwise it is SQL's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from sqlglot import exp

from core.message import Type
from rules.bind_typed import TypedBinder
from rules.functions import FunctionTable
from rules.nodes import span_of
from rules.tree import UNDEFINED, Coalesce, Const, Distinct, Expr, Extreme, ListOf, NullIf, ObjectOf, Received

_EMQX_COALESCE: Final = "coalesce"


class FormBinder(TypedBinder):
    """The methods; see :data:`FORMS`."""

    _functions: FunctionTable

    def _form(self, tree: exp.Expr) -> Expr | None:
        """What a call means where it is a form; None where it is a call of a function."""
        name = tree.name
        folded = name.lower()
        form = FORMS.get(folded)
        if form is None:
            return None
        if folded == _EMQX_COALESCE:
            emqx = name == folded and len(tree.expressions) < 3
        else:
            emqx = name in self._functions
        return None if emqx else form(self, tree)

    def _operands(self, tree: exp.Expr) -> tuple[Expr, ...]:
        return tuple(self.expression(argument) for argument in tree.expressions)

    def _takes(self, tree: exp.Expr, wanted: str) -> Expr:
        count = len(tree.expressions)
        self._problems.add("wrong-arity", f"{tree.name}() takes {wanted}, not {count}", span_of(tree))
        return UNDEFINED

    def _coalesce(self, tree: exp.Expr) -> Expr:
        operands = self._unified(self._operands(tree), "mixed with")
        return Coalesce(operands) if operands else self._takes(tree, "at least 1 argument")

    def _null_if(self, tree: exp.Expr) -> Expr:
        operands = self._unified(self._operands(tree), "compared with")
        return NullIf(*operands) if len(operands) == 2 else self._takes(tree, "2 arguments")

    def _extreme(self, tree: exp.Expr) -> Expr:
        operands = self._unified(self._operands(tree), "compared with")
        return (
            Extreme(operands, tree.name.lower() == "greatest") if operands else self._takes(tree, "at least 1 argument")
        )

    def _distinct(self, tree: exp.Expr) -> Expr:
        return Distinct(*self._unified((self.expression(tree.this), self.expression(tree.expression)), "compared with"))

    def _object_literal(self, tree: exp.Expr) -> Expr:
        keys = [self.expression(key) for key in tree.args.get("keys") or ()]
        return ObjectOf(tuple(zip(keys, map(self._plain, self._operands(tree)), strict=True)))

    def _object_call(self, tree: exp.Expr) -> Expr:
        """``OBJECT('a', x, 'b', y)``."""
        operands = self._operands(tree)
        if len(operands) % 2:
            return self._takes(tree, "pairs of a key and a value")
        entries = tuple(zip(operands[::2], map(self._plain, operands[1::2]), strict=True))
        for key, _ in entries:
            kind = self._types.declared(key)
            if kind not in (Type.TEXT, Type.ANY):
                self._wrong(f"the key of an object is a text, not {self._label(key)}", key.span, label=self._label(key))
        return ObjectOf(entries)

    def _array_call(self, tree: exp.Expr) -> Expr:
        return ListOf(tuple(map(self._plain, self._operands(tree))))

    def _now(self, tree: exp.Expr) -> Expr:
        return self._takes(tree, "no arguments") if tree.expressions else Received()

    def _zoned_arguments(self, tree: exp.Expr) -> tuple[Expr, ...]:
        """The arguments of a call; of date_trunc with the zone of AT TIME ZONE as the third."""
        if tree.name.lower() != "date_trunc" or len(tree.expressions) != 2:
            return self._operands(tree)
        unit, (value, zone) = self.expression(tree.expressions[0]), self._zoned(tree.expressions[1])
        return (unit, value, Const(zone, Type.TEXT)) if zone else (unit, value)


Form = Callable[[FormBinder, Any], Expr]
FORMS: Final[Mapping[str, Form]] = MappingProxyType(
    {
        "coalesce": FormBinder._coalesce,
        "nullif": FormBinder._null_if,
        "greatest": FormBinder._extreme,
        "least": FormBinder._extreme,
        "now": FormBinder._now,
        "object": FormBinder._object_call,
        "json_build_object": FormBinder._object_call,
        "json_build_array": FormBinder._array_call,
    }
)
"""By their names in lower case."""
