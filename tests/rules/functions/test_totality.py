"""Whatever the arguments are, a call returns a value of the language or raises FunctionError."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.message import MISSING, Missing, Publisher
from rules.functions import FunctionError, FunctionTable, ScalarFunction, builtin_functions
from rules.functions.bitstring import BitString

WORDS = st.sampled_from(
    ["", "second", "nanosecond", "local", "+08:00", "%Y-%m-%d %H:%M:%S.%3N%z", "2024-02-29 10:00:00.000+0000",
     "leading", "trailing", "notrim", "both", "nocrlf", "integer", "float", "bits", "signed", "little",
     "no_padding", "urlsafe", "sha1", "{}", '{"a": [1]}', "[1,2", "a.b.c", "~s~p~5.2f~n", "~*c", "(a|b)*c",
     "[[:alpha:]]", "[", "\\1&", "0x1F", "1.5", "-3", "1.0e400", "\ud800", "e\u0301",
     "\U0001f468\u200d\U0001f469", "AAAA", "9" * 5_000]
)  # fmt: skip
SCALARS = (
    st.none()
    | st.just(MISSING)
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**400), max_value=10**400)
    | st.floats()
    | st.decimals()
    | st.text()
    | st.binary()
    | WORDS
)
KEYS = st.text(max_size=5) | WORDS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)
KINDS = (Missing, type(None), bool, int, float, Decimal, str, bytes, list, dict)


def _names() -> list[Any]:
    return [pytest.param(function, id=function.name) for function in builtin_functions().values()]


def _outcome(function: ScalarFunction, arguments: list[Any]) -> Any:
    try:
        return function.call(*([Publisher("")] if function.needs_publisher else []), *arguments)
    except FunctionError as error:
        return error


def _check(function: ScalarFunction, arguments: list[Any]) -> None:
    outcome = _outcome(function, arguments)
    if isinstance(outcome, FunctionError):
        assert outcome.name == function.name
        assert str(outcome)
    else:
        assert isinstance(outcome, KINDS)


def _arity(function: ScalarFunction) -> tuple[int, int]:
    return function.min_args, 5 if function.max_args is None else function.max_args


@pytest.mark.parametrize("function", _names())
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_arguments(function: ScalarFunction, data: st.DataObject) -> None:
    least, most = _arity(function)
    arguments = data.draw(st.lists(VALUES, min_size=least, max_size=most))
    _check(function, arguments)


@pytest.mark.parametrize("function", _names())
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_arguments_of_the_declared_types(function: ScalarFunction, data: st.DataObject) -> None:
    """As above, past the type checks."""
    by_type = {
        "TEXT": WORDS | st.text(),
        "BYTES": st.binary(),
        "BIGINT": st.integers(-70_000, 70_000) | st.integers(),
        "DOUBLE": st.floats(),
        "DECIMAL": st.decimals(),
        "BOOLEAN": st.booleans(),
        "TIMESTAMP": st.integers(-(10**18), 10**18) | st.integers(),
        "INTERVAL": st.integers(-(10**12), 10**12) | st.integers(),
        "ARRAY": st.lists(VALUES, max_size=5),
        "OBJECT": st.dictionaries(KEYS, VALUES, max_size=5),
    }
    signature = data.draw(st.sampled_from(function.signatures))
    arguments = []
    for parameter in signature:
        strategies = [by_type[kind.value] for kind in sorted(parameter.types, key=lambda kind: kind.value)]
        arguments.append(data.draw(st.one_of(strategies) if strategies else VALUES))
    _check(function, arguments)


def test_deep_values_are_refused_not_fatal(functions: FunctionTable) -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for name in ("str", "json_encode", "concat", "is_empty"):
        _check(functions[name], [[deep]])
    for name in ("eq", "contains"):
        with pytest.raises(FunctionError):
            functions[name].call(deep, [deep, [deep]] if name == "contains" else [deep])


def test_a_bit_string_is_a_binary_to_every_function(functions: FunctionTable) -> None:
    bits = BitString(0b101, 3)
    for function in functions.values():
        least, most = _arity(function)
        for count in range(least, most + 1):
            _check(function, [bits] * count)
