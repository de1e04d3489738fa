"""What settings structs say about themselves: fields with their documentation, types and defaults in TOML's words.

The documentation of a field is the text under it in the source. A class of ours that is a field's type names itself in
an attribute ``TOML``, and its ``str()`` is a value's text. The reference pages and the JSON Schema are made from this,
so that a setting is described in exactly one place.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

from core.settings import Bind, Duration, Secret, Size

_LEAVES: dict[Any, str] = {
    Duration: "duration",
    Size: "size",
    Bind: "host:port",
    Secret: "secret",
    bool: "true or false",
    int: "integer",
    float: "number",
    str: "text",
    Any: "anything",
}


class Field(NamedTuple):
    """One key. ``default`` is TOML text, None where the key is required, empty where absence is the default."""

    name: str
    type: Any
    kind: str
    default: str | None
    doc: str


@cache
def field_docs(struct: type[msgspec.Struct]) -> dict[str, str]:
    """The texts under the fields of a struct, as one line each."""
    docs: dict[str, str] = {}
    for base in struct.__bases__:
        if base is not msgspec.Struct and issubclass(base, msgspec.Struct):
            docs |= field_docs(base)
    body = ast.parse(textwrap.dedent(inspect.getsource(struct))).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - the source of a class
    for statement, following in zip(body.body, body.body[1:], strict=False):
        text = following.value if isinstance(following, ast.Expr) else None
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            docs[statement.target.id] = _plain(text.value)
    return docs


def fields(struct: type[msgspec.Struct]) -> Iterator[Field]:
    """The keys of a struct in the order of their definition."""
    docs = field_docs(struct)
    for field in msgspec.structs.fields(struct):
        default = None if field.required else toml(_default(field))
        yield Field(field.encode_name, field.type, describe(field.type), default, docs.get(field.name, ""))


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def summary(struct: type[msgspec.Struct]) -> str:
    """The docstring of a struct, its paragraphs unwrapped."""
    paragraphs = inspect.cleandoc(struct.__doc__ or "").split("\n\n")
    return "\n\n".join(_plain(paragraph) for paragraph in paragraphs)


def _plain(text: str) -> str:
    """One line of Markdown from the text of a docstring."""
    return " ".join(text.split()).replace("``", "`")


def describe(kind: Any) -> str:
    """A type in the words of the reference page."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        limits = [meta for meta in arguments[1:] if isinstance(meta, msgspec.Meta)]
        bounds = [
            f"{sign} {value}"
            for meta in limits
            for sign, value in (("≥", meta.ge), ("≤", meta.le))
            if value is not None
        ]
        return " ".join([describe(arguments[0]), *bounds])
    if origin in (Union, types.UnionType):
        members = dict.fromkeys(describe(member) for member in arguments if member is not type(None))
        return " or ".join(members)
    if origin is Literal:
        return ", ".join(f"`{toml(choice)}`" for choice in arguments)
    if origin in (list, tuple):
        return f"array of {describe(arguments[0])}"
    if origin is dict:
        return f"table of {describe(arguments[1])}"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return "table"
    return _LEAVES[kind] if kind in _LEAVES else str(kind.TOML)


def toml(value: Any) -> str:
    """A default as TOML text; empty for None and for tables, which have their own defaults."""
    if value is None or isinstance(value, msgspec.Struct | dict):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Duration | Size | Bind) or hasattr(value, "TOML"):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml(item) for item in value)}]"
    return msgspec.json.encode(value).decode()


def subtables(struct: type[msgspec.Struct]) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """Key and struct of each field that is a table itself, or an array of tables."""
    for field in msgspec.structs.fields(struct):
        stack = [field.type]
        while stack:
            kind = stack.pop()
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                yield field.encode_name, kind
            stack.extend(argument for argument in reversed(get_args(kind)) if argument is not type(None))
