"""The functions, and how the calls of their examples are run: as a rule runs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rules.evaluate import evaluate as rows_of
from rules.functions import FunctionTable, builtin_functions


@pytest.fixture(scope="session")
def functions() -> FunctionTable:
    return builtin_functions()


@pytest.fixture(scope="session")
def evaluate() -> Callable[[str], Any]:
    """The value of a call in SQL notation; an instant is its text."""

    def value_of(call: str) -> Any:
        [row] = rows_of(f'SELECT {call} AS x FROM "t"', {})  # noqa: S608 - the calls are our own
        return row["x"]

    return value_of
