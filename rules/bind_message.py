"""Functions of the message: ``qos()``, ``topic(2)``, ``payload('a.b')`` are other ways to write its columns.

They become those columns when a rule is bound, so they cost what the columns cost, and they exist for every source
that has the column. Unlike a name, they mean the message's column even where an alias hides it (emqx.md 3.10).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from sqlglot import exp

from core.message import Type
from rules.bind_typed import TypedBinder
from rules.functions import FunctionTable
from rules.nodes import span_of
from rules.scope import PAYLOAD
from rules.tree import UNDEFINED, Call, Column, Const, Document, Expr, Key


class MessageFunction(NamedTuple):
    """``column`` is what it reads, ``forms`` the calls as the reference shows them, ``doc`` what they give."""

    column: str
    forms: tuple[str, ...]
    doc: str
    expand: Callable[[FunctionTable, tuple[Expr, ...]], Expr] | None = None

    @property
    def arity(self) -> tuple[int, int]:
        """The least and the most arguments."""
        counts = [0 if form.endswith("()") else 1 for form in self.forms]
        return min(counts), max(counts)


def _call(functions: FunctionTable, name: str, *arguments: Expr) -> Expr:
    return Call(functions[name], name, arguments)


def _part_of_topic(functions: FunctionTable, arguments: tuple[Expr, ...]) -> Expr:
    parts = _call(functions, "split", Column("topic"), Const("/", Type.TEXT), Const("notrim", Type.TEXT))
    return _call(functions, "nth", *arguments, parts)


def _flag(functions: FunctionTable, arguments: tuple[Expr, ...]) -> Expr:
    [name] = arguments
    flags = Column("flags")
    if isinstance(name, Const) and isinstance(name.value, str):
        return Key(flags, name.value)
    return _call(functions, "mget", name, flags)


def _field_of_payload(functions: FunctionTable, arguments: tuple[Expr, ...]) -> Expr:
    [path] = arguments
    if not (isinstance(path, Const) and isinstance(path.value, str)):
        return _call(functions, "map_get", path, Document())
    found: Expr = Document()
    for key in path.value.split("."):
        found = Key(found, key)
    return found


_PEER_HOST: Final = "The IP address of the publisher."

MESSAGE_FUNCTIONS: Final[Mapping[str, MessageFunction]] = MappingProxyType(
    {
        "msgid": MessageFunction("id", ("msgid()",), "The message's id."),
        "qos": MessageFunction("qos", ("qos()",), "The QoS, 0 to 2."),
        "flags": MessageFunction("flags", ("flags()",), "A map of the flags `retain`, `dup` and `sys`."),
        "flag": MessageFunction("flags", ("flag(name: string)",), "One flag, a boolean.", _flag),
        "topic": MessageFunction(
            "topic",
            ("topic()", "topic(position: integer)"),
            "The topic, or the part of it at `position`, counted from 1; a position outside is refused.",
            _part_of_topic,
        ),
        "clientid": MessageFunction("clientid", ("clientid()",), "The publisher's client id."),
        "clientip": MessageFunction("peerhost", ("clientip()",), _PEER_HOST),
        "peerhost": MessageFunction("peerhost", ("peerhost()",), _PEER_HOST),
        "username": MessageFunction("username", ("username()",), "The publisher's user name."),
        "payload": MessageFunction(
            PAYLOAD,
            ("payload()", "payload(path: string)"),
            "The payload as it came, or what its JSON has at a path of keys.",
            _field_of_payload,
        ),
    }
)


class MessageBinder(TypedBinder):
    """Replaces calls of :data:`MESSAGE_FUNCTIONS`."""

    _functions: FunctionTable

    def _of_message(self, tree: exp.Expr) -> Expr | None:
        """What such a call reads; None where it is a call of something else."""
        name = tree.name
        found = MESSAGE_FUNCTIONS.get(name)
        if found is None:
            return None
        arguments = tuple(self.expression(argument) for argument in tree.expressions)
        least, most = found.arity
        if not least <= len(arguments) <= most:
            wanted = f"{least}" if least == most else f"{least} or {most}"
            plural = "" if wanted == "1" else "s"
            message = f"{name}() takes {wanted} argument{plural}, not {len(arguments)}"
            self._problems.add("wrong-arity", message, span_of(tree), hint=found.doc)
            return UNDEFINED
        if found.column not in self._columns.specs or (self._columns.rows and arguments):
            if self._columns.strict:
                message = f"{name}() reads the column {found.column!r}, which this source does not have"
                hint = f"there are {', '.join(self._columns.specs)}"
                self._problems.add("unknown-column", message, span_of(tree), hint=hint)
            return _call(self._functions, "map_new") if found.forms == ("flags()",) else UNDEFINED
        if arguments and found.expand is not None:
            return found.expand(self._functions, arguments)
        return Column(found.column)
