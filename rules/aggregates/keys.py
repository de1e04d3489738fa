"""Keys of groups whose columns have no declared type: what Python takes for equal and SQL does not is told apart.

``True == 1`` in Python, and lists and maps cannot be keys. Such values go into a box that compares by a canonical form;
everything else is its own key, so ``1`` and ``1.0`` are one group, as they are equal in SQL.
"""

from __future__ import annotations

from typing import Any, Final

_OWN_KEY: Final = frozenset({str, int, float, bytes, type(None)})


class Box:
    """A value that cannot be a key by itself. Equal boxes hold equal values."""

    __slots__ = ("form", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.form = _form(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Box) and self.form == other.form

    def __hash__(self) -> int:
        return hash(self.form)

    def __repr__(self) -> str:
        return f"Box({self.value!r})"


def _form(value: Any) -> Any:
    """Something hashable that is equal for equal values, and for those alone."""
    kind = type(value)
    if kind is bool:
        return ("boolean", value)
    if kind is list or kind is tuple:
        return ("list", tuple([_form(item) for item in value]))
    if kind is dict:
        return ("map", frozenset((key, _form(item)) for key, item in value.items()))
    return value


def boxed(value: Any) -> Any:
    """``value`` as (part of) a key."""
    return value if type(value) in _OWN_KEY else Box(value)


def unboxed(key: Any) -> Any:
    """The value that :func:`boxed` was given."""
    return key.value if type(key) is Box else key
