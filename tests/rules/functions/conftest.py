"""A tiny evaluator for the calls that the registry gives as examples: literals, arrays and nested calls."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from rules.functions import FunctionTable, builtin_functions

TOKEN = re.compile(r"\s*(?:(?P<number>-?\d+(?:\.\d+)?)|'(?P<text>[^']*)'|(?P<name>[a-z_0-9]+)|(?P<sign>[(),\[\]]))")


class _Evaluator:
    def __init__(self, table: FunctionTable, text: str) -> None:
        self._table = table
        self._text = text
        self._at = 0

    def _next(self) -> re.Match[str]:
        found = TOKEN.match(self._text, self._at)
        assert found, f"cannot read {self._text!r} at {self._at}"
        self._at = found.end()
        return found

    def _items(self, end: str) -> list[Any]:
        items: list[Any] = []
        while True:
            before = self._at
            sign = self._next()["sign"]
            if sign == end:
                return items
            if sign != ",":
                self._at = before
            items.append(self.value())

    def value(self) -> Any:
        token = self._next()
        if token["number"]:
            return float(token["number"]) if "." in token["number"] else int(token["number"])
        if token["text"] is not None:
            return token["text"]
        if token["sign"] == "[":
            return self._items("]")
        name = token["name"]
        if name in ("true", "false"):
            return name == "true"
        assert self._next()["sign"] == "("
        arguments = self._items(")")
        function = self._table[name]
        assert len(arguments) >= function.min_args
        assert function.max_args is None or len(arguments) <= function.max_args
        return function.call(*arguments)

    def whole(self) -> Any:
        value = self.value()
        assert not self._text[self._at :].strip()
        return value


@pytest.fixture(scope="session")
def functions() -> FunctionTable:
    return builtin_functions()


@pytest.fixture(scope="session")
def evaluate(functions: FunctionTable) -> Callable[[str], Any]:
    """The value of a call in SQL notation."""
    return lambda text: _Evaluator(functions, text).whole()
