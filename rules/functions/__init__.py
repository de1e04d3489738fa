"""The scalar functions of the rule language, one file per category, and the door for third-party ones.

Function names, argument order and edge cases are those of EMQX's rule SQL. What a function is: ``base``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

from core.registry import Registry
from rules.functions import (
    arrays,
    bits,
    conditional,
    conversion,
    encoding,
    formatting,
    jq,
    maps,
    numbers,
    predicates,
    regular,
    sql_arrays,
    sql_numbers,
    sql_objects,
    sql_sets,
    sql_strings,
    sql_time,
    storage,
    strings,
    system,
    temporal,
    terms,
    topics,
)
from rules.functions.base import Category, FunctionError, FunctionTable, Parameter, ScalarFunction
from rules.functions.extension import ExtensibleTable, Function, Nulls
from rules.functions.host import Host
from rules.functions.memory import Table

__all__ = [
    "Function",
    "FunctionError",
    "FunctionTable",
    "Host",
    "Nulls",
    "Parameter",
    "ScalarFunction",
    "Table",
    "available_functions",
    "builtin_functions",
    "functions_for",
    "hostless_functions",
]

_CATEGORIES: Final[tuple[Callable[[Host], Category], ...]] = (
    lambda _: conversion.CATEGORY,
    lambda _: predicates.CATEGORY,
    lambda _: conditional.CATEGORY,
    lambda _: numbers.CATEGORY,
    lambda _: sql_numbers.CATEGORY,
    lambda _: strings.CATEGORY,
    lambda _: sql_strings.CATEGORY,
    regular.category,
    jq.category,
    lambda _: formatting.CATEGORY,
    lambda _: maps.CATEGORY,
    lambda _: sql_objects.CATEGORY,
    lambda _: arrays.CATEGORY,
    lambda _: sql_arrays.CATEGORY,
    lambda _: sql_sets.CATEGORY,
    lambda _: temporal.CATEGORY,
    lambda _: sql_time.CATEGORY,
    lambda _: encoding.CATEGORY,
    lambda _: bits.CATEGORY,
    lambda _: terms.CATEGORY,
    lambda _: topics.CATEGORY,
    storage.category,
    system.category,
)


def functions_for(host: Host) -> FunctionTable:
    """Every function that headrace brings along; those that need something of the process have it from ``host``."""
    return FunctionTable(function for category in _CATEGORIES for function in category(host).functions.values())


@cache
def builtin_functions() -> FunctionTable:
    """The same for a host that offers nothing."""
    return functions_for(Host())


def available_functions(host: Host) -> FunctionTable:
    """The built-ins and what installed packages add under ``headrace.functions``; ExtensionError on a clash."""
    extensions = Registry("headrace.functions", Function)  # type: ignore[type-abstract]
    return ExtensibleTable(functions_for(host), extensions)


@cache
def hostless_functions() -> FunctionTable:
    """The same for a host that offers nothing."""
    return available_functions(Host())
