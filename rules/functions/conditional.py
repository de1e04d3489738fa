"""Choosing between values by whether they are there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from core.message import MISSING, Missing, Type
from rules.functions.base import Anything, Array, Category

CATEGORY = Category("conditional")
scalar = CATEGORY.scalar


@scalar(Type.ANY, ("is_null(null())", True))
def null() -> Any:
    """Undefined: the value of a field that is not there."""
    return MISSING


def _first(values: Iterable[Any], *, skip_empty: bool) -> Any:
    for value in values:
        if isinstance(value, Missing) or (skip_empty and value in ("", b"", [])):
            continue
        return value
    return MISSING


@scalar(Type.ANY, ("coalesce([null(), 42, null()])", 42), ("is_null(coalesce([]))", True))
def coalesce(values: Array) -> Any:
    """The first item that is not undefined; undefined if there is none. JSON null is a value."""
    return _first(values, skip_empty=False)


@scalar(Type.ANY, ("coalesce(null(), 'world')", "world"), ("coalesce(null(), null(), 1)", 1), name="coalesce")
def _coalesce(first: Anything, second: Anything, *more: Anything) -> Any:
    return _first((first, second, *more), skip_empty=False)


@scalar(Type.ANY, ("coalesce_ne(['', 42, null()])", 42))
def coalesce_ne(values: Array) -> Any:
    """As `coalesce`, and passes over empty strings and empty arrays too."""
    return _first(values, skip_empty=True)


@scalar(Type.ANY, ("coalesce_ne('', 'world')", "world"), name="coalesce_ne")
def _coalesce_ne(first: Anything, second: Anything, *more: Anything) -> Any:
    return _first((first, second, *more), skip_empty=True)
