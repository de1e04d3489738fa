"""The scalar functions of the rule language, one file per category, and the door for third-party ones.

Function names, argument order and edge cases are those of EMQX's rule SQL. What a function is: ``base``.
"""

from __future__ import annotations

from functools import cache

from core.registry import Registry
from rules.functions import (
    arrays,
    bits,
    conditional,
    conversion,
    encoding,
    formatting,
    maps,
    numbers,
    predicates,
    regular,
    sql_arrays,
    sql_numbers,
    sql_objects,
    sql_strings,
    sql_time,
    strings,
    system,
    temporal,
    terms,
    topics,
)
from rules.functions.base import FunctionError, FunctionTable, Parameter, ScalarFunction
from rules.functions.extension import ExtensibleTable, Function, Nulls

__all__ = [
    "Function",
    "FunctionError",
    "FunctionTable",
    "Nulls",
    "Parameter",
    "ScalarFunction",
    "available_functions",
    "builtin_functions",
]

_CATEGORIES = tuple(
    module.CATEGORY
    for module in (
        conversion,
        predicates,
        conditional,
        numbers,
        sql_numbers,
        strings,
        sql_strings,
        regular,
        formatting,
        maps,
        sql_objects,
        arrays,
        sql_arrays,
        temporal,
        sql_time,
        encoding,
        bits,
        terms,
        topics,
        system,
    )
)


@cache
def builtin_functions() -> FunctionTable:
    """Every function that headrace brings along."""
    return FunctionTable(function for category in _CATEGORIES for function in category.functions.values())


@cache
def available_functions() -> FunctionTable:
    """The built-ins and what installed packages add under ``headrace.functions``; ExtensionError on a clash."""
    return ExtensibleTable(builtin_functions(), Registry("headrace.functions", Function))  # type: ignore[type-abstract]
