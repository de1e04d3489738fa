"""A function as rules call it, for the tests of those who write one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rules.functions.extension import Function, adapt


def as_called(function: type[Function], name: str = "function") -> Callable[..., Any]:
    """``function`` behind the checks of its declared types and null policy.

    Like a rule it raises FunctionError where it gives no result; ``name`` is what that error calls it.
    """
    return adapt(name, function).call
