"""Values in generated code: what has a name already, where columns and the decoded payload come from, paths.

:meth:`Values.value` gives the text of a Python expression that the caller uses at once, or of a local name. What may
raise is assigned in order of evaluation. Operators: ``expressions``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rules.codegen.analysis import Analysis
from rules.codegen.emitter import Emitter
from rules.paths import TAIL
from rules.tree import (
    Append,
    Column,
    Const,
    Document,
    DocumentOf,
    Expr,
    First,
    Index,
    IntegerRange,
    Item,
    Key,
    KeyOf,
    ListOf,
    ObjectOf,
    Opened,
    Put,
    Ref,
    Sender,
    Slice,
    TopicLevel,
    Whole,
)

_FIELDS: Final = "fields of the document"
_GET: Final = "getter of the document"
_LEVELS: Final = "levels of the topic"
_MANY_FIELDS: Final = 3


class Values:
    """Emits values of one query into ``out``."""

    def __init__(self, facts: Analysis, out: Emitter) -> None:
        self._facts = facts
        self._types = facts.types
        self._out = out
        self._document_keys = sum(isinstance(expr, Key) and expr.base == Document() for expr in facts.uses)

    def _emit(self, expr: Expr) -> str:
        """Python for one expression, by its kind."""
        raise NotImplementedError

    def value(self, expr: Expr) -> str:
        """Python for the value: a name, a literal, or an expression that cannot raise and is needed once."""
        known = self._out.recall(expr)
        if known is not None:
            return known
        text = self._emit(expr)
        if _is_atom(text) or isinstance(expr, Const | Item):
            name = text
        elif self._facts.fails_itself(expr) or self._facts.shared(expr):
            name = self._out.local(text)
        else:
            return text
        if self._facts.pure(expr) or isinstance(expr, Ref):
            self._out.remember(expr, name)
        return name

    def atom(self, expr: Expr) -> str:
        """Python for the value that may be repeated: a name or a literal."""
        text = self.value(expr)
        if _is_atom(text) or isinstance(expr, Const):
            return text
        name = self._out.local(text)
        if self._facts.pure(expr):
            self._out.remember(expr, name)
        return name

    def variable(self, expr: Expr) -> str:
        """As :meth:`atom`, but never a literal: Python warns of what a literal is asked that cannot apply."""
        text = self.atom(expr)
        return self._out.local(text) if isinstance(expr, Const) else text

    # Sources and paths

    def fields(self) -> str:
        """The name of the decoded payload as a dict."""
        out = self._out
        known = out.recall(_FIELDS)
        if known is None:
            known = out.local("m.document", "d")
            with out.block(f"if {known} is MISSING:"):
                out.line(f"{known} = m.document = decode(m.payload)")
            with out.block(f"if type({known}) is not dict:"):
                opener = "object_fields" if self._facts.query.source.objects else "document_fields"
                out.line(f"{known} = {opener}(m)")
            out.remember(_FIELDS, known)
            if self._document_keys >= _MANY_FIELDS:
                out.remember(_GET, out.local(f"{known}.get", "get"))
        return known

    def _const(self, expr: Const) -> str:
        return self._out.constant(expr.value)

    def _column(self, expr: Column) -> str:
        code = self._facts.query.source.specs[expr.name].code
        return code or f"m.columns.get({self._out.constant(expr.name)}, MISSING)"

    def _document(self, _expr: Document) -> str:
        return "document(m)"

    def _document_of(self, expr: DocumentOf) -> str:
        return f"document_of({self.value(expr.base)})"

    def _opened(self, expr: Opened) -> str:
        return f"opened({self.value(expr.base)})"

    def _ref(self, expr: Ref) -> str:
        text = self.value(self._facts.query.lets[expr.index])
        return text if _is_atom(text) or not self._facts.shared(expr) else self._out.local(text)

    def _topic_level(self, expr: TopicLevel) -> str:
        levels = self._out.recall(_LEVELS)
        if levels is None:
            levels = self._out.local('m.topic.split("/")', "levels")
            self._out.remember(_LEVELS, levels)
        return f"{levels}[{expr.index}]"

    def _whole(self, _expr: Whole) -> str:
        return "m"

    def _key_of(self, expr: KeyOf) -> str:
        items = [self.value(item) for item in expr.items]
        for place in expr.boxed:
            items[place] = f"boxed({items[place]})"
        return items[0] if len(items) == 1 else tuple_text(items)

    def _sender(self, _expr: Sender) -> str:
        return "m.publisher"

    def _item(self, _expr: Item) -> str:
        return "item"

    def _key(self, expr: Key) -> str:
        name = self._out.constant(expr.name)
        if expr.base == Document():
            fields = self.fields()
            getter = self._out.recall(_GET) or f"{fields}.get"
            return f"{getter}({name}, MISSING)"
        base = self.variable(expr.base)
        return f"({base}.get({name}, MISSING) if type({base}) is dict else key({base}, {name}))"

    def _index(self, expr: Index) -> str:
        place = expr.index.value if isinstance(expr.index, Const) else None
        if type(place) is not int or place == 0:
            return f"index({self.value(expr.base)}, {self.value(expr.index)})"
        base = self.variable(expr.base)
        offset = place - 1 if place > 0 else place
        inside = f"type({base}) is list and len({base}) >= {abs(place)}"
        return f"({base}[{offset}] if {inside} else index({base}, {self._out.constant(place)}))"

    def _slice(self, expr: Slice) -> str:
        return f"cut({self.value(expr.base)}, {self.value(expr.first)}, {self.value(expr.last)})"

    def _integer_range(self, expr: IntegerRange) -> str:
        return f"integer_range({self.value(expr.first)}, {self.value(expr.last)})"

    def _list_of(self, expr: ListOf) -> str:
        return f"[{', '.join(self.value(item) for item in expr.items)}]"

    def _object_of(self, expr: ObjectOf) -> str:
        pairs = [(self.value(key), self.value(value)) for key, value in expr.entries]
        if all(isinstance(key, Const) and isinstance(key.value, str) for key, _ in expr.entries):
            return f"{{{', '.join(f'{key}: {value}' for key, value in pairs)}}}"
        return f"object_of({tuple_text([tuple_text(pair) for pair in pairs])})"

    def _append(self, _expr: Append) -> str:
        return self._out.constant(TAIL)

    def _put(self, expr: Put) -> str:
        steps = tuple_text([self.value(step) for step in expr.steps])
        return f"put({self.value(expr.base)}, {steps}, {self.value(expr.value)})"

    def _first(self, expr: First) -> str:
        first = self.atom(expr.first)
        out = self._out
        with out.trial() as lines:
            second = self.value(expr.second)
        if not lines:
            return f"({second} if {first} is MISSING else {first})"
        result = out.local(first)
        with out.block(f"if {result} is MISSING:"):
            out.lines.extend(lines)
            out.line(f"{result} = {second}")
        return result


def tuple_text(items: Sequence[str]) -> str:
    """The source of a tuple."""
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"


def _is_atom(text: str) -> bool:
    return text.isidentifier() or text.isdigit() or (text.startswith("(-") and text[2:-1].replace(".", "").isdigit())
