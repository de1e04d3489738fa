"""Every function has examples, and they are true."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from core.message import Type
from rules.functions import FunctionTable, builtin_functions

EXAMPLES = [
    pytest.param(text, expected, id=text)
    for function in builtin_functions().values()
    for text, expected in function.examples
]


@pytest.mark.parametrize(("text", "expected"), EXAMPLES)
def test_example(evaluate: Callable[[str], Any], text: str, expected: Any) -> None:
    found = evaluate(text)
    assert type(found) is type(expected)
    if isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-14)
    else:
        assert found == expected


def test_every_function_is_documented_and_has_an_example(functions: FunctionTable) -> None:
    for function in functions.values():
        assert function.doc.endswith("."), function.name
        needs_none = function.needs_publisher or function.name == "getenv"
        assert function.examples or needs_none or function.doc.startswith("The same as `"), function.name
        assert isinstance(function.result, Type)
        assert function.max_args is None or function.min_args <= function.max_args
