"""Third-party functions: declared types and null policy are enforced, failures stay with the row."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import pytest

from core.errors import ExtensionError
from core.message import MISSING, Type
from core.registry import Registry
from rules.functions import Function, FunctionError, Nulls, Parameter, builtin_functions, hostless_functions
from rules.functions.extension import ExtensibleTable, adapt

TEXT = frozenset({Type.TEXT})
NUMBER = frozenset({Type.BIGINT, Type.DOUBLE})


class Repeat(Function):
    """The text as many times as wanted."""

    parameters = (Parameter("text", TEXT), Parameter("times", NUMBER, optional=True))
    result = Type.TEXT
    pure = True

    def call(self, *args: Any) -> Any:
        text, times = args if len(args) == 2 else (*args, 2)
        return text * times


class Refusing(Repeat):
    nulls: ClassVar[Nulls] = Nulls.REFUSE


class Accepting(Function):
    parameters = (Parameter("value", TEXT), Parameter("more", repeated=True))
    nulls = Nulls.ACCEPT

    def call(self, *args: Any) -> Any:
        return [value is None or value is MISSING for value in args]


class Failing(Function):
    parameters = (Parameter("value"),)

    def call(self, *args: Any) -> Any:
        return {}[args[0]]


def _table(**classes: str) -> ExtensibleTable:
    points = [EntryPoint(name, f"{module}", "headrace.functions") for name, module in classes.items()]
    return ExtensibleTable(
        builtin_functions(),
        Registry("headrace.functions", Function, points),  # type: ignore[type-abstract]
    )


def test_a_class_becomes_a_function() -> None:
    function = adapt("repeat", Repeat)
    assert (function.name, function.min_args, function.max_args) == ("repeat", 1, 2)
    assert (function.result, function.pure, function.doc) == (Type.TEXT, True, "The text as many times as wanted.")
    assert function.call("ab") == "abab"
    assert function.call("ab", 3) == "ababab"


def test_declared_types_are_enforced() -> None:
    with pytest.raises(FunctionError, match=r"repeat\(\): argument 1 \(text\) must be TEXT, not an integer \(5\)"):
        adapt("repeat", Repeat).call(5)
    with pytest.raises(FunctionError, match="must be BIGINT or DOUBLE, not a boolean"):
        adapt("repeat", Repeat).call("a", True)


@pytest.mark.parametrize("nothing", [None, MISSING])
def test_null_policies(nothing: Any) -> None:
    assert adapt("f", Repeat).call("a", nothing) is nothing
    assert adapt("f", Accepting).call("a", nothing, 1) == [False, True, False]
    assert adapt("f", Accepting).call(nothing) == [True]
    with pytest.raises(FunctionError):
        adapt("f", Refusing).call("a", nothing)


def test_whatever_it_raises_is_a_function_error() -> None:
    with pytest.raises(FunctionError) as caught:
        adapt("failing", Failing).call("key")
    assert caught.value.code == "function_failed"
    assert str(caught.value) == "failing(): KeyError: 'key'"


def test_extensions_are_loaded_by_name_on_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    import string

    table = _table(twice="string:Repeat", absent="no_such_module:Absent", wrong="string:Template")
    monkeypatch.setattr(string, "Repeat", Repeat, raising=False)
    assert {"twice", "absent", "lower"} <= set(table.names())
    assert table["lower"].call("A") == "a"
    assert table["twice"].call("a") == "aa"
    assert table["twice"] is table["twice"]
    assert table.get("twise") is None
    for name in ("absent", "wrong"):
        with pytest.raises(ExtensionError, match=name if name == "absent" else "is not a Function"):
            table.get(name)


def test_nobody_takes_the_name_of_a_builtin() -> None:
    with pytest.raises(ExtensionError, match="'lower'"):
        _table(lower="string:Repeat")


def test_installed_functions_include_the_builtins() -> None:
    assert set(builtin_functions()) <= set(hostless_functions())
