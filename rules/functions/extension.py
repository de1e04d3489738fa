"""Third-party functions: the class they subclass, and how such a class becomes a function of the table.

They come through the entry-point group ``headrace.functions``, named as in SQL, and are loaded when a rule first
names them. Their declared types and null policy are enforced here, so that their code meets only what it declared.
"""

from __future__ import annotations

import enum
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, ClassVar, Final

from core.errors import ExtensionError
from core.message import Missing, Type
from core.registry import Registry
from rules.functions.base import (
    FunctionTable,
    Kind,
    Parameter,
    Refusal,
    ScalarFunction,
    Slot,
    checked,
    shown,
)

RESERVED: Final = frozenset(
    ("msgid", "qos", "flags", "flag", "topic", "clientid", "clientip", "peerhost", "username", "payload")
)
"""Names of functions that are no functions of the table: rules read the message with them."""


class Nulls(enum.Enum):
    """What a third-party function does about arguments that are MISSING or None."""

    PROPAGATE = "propagate"
    """The result is the first such argument; ``call`` is not called."""
    REFUSE = "refuse"
    """FunctionError, as EMQX's own functions do."""
    ACCEPT = "accept"
    """``call`` gets them."""


class Function(ABC):
    """A third-party scalar function, found under the entry-point group ``headrace.functions`` by its SQL name.

    One instance serves all rules; ``call`` gets SQL values (MISSING, None, bool, int, float, str, bytes, list,
    dict) and returns one, fast and without I/O. Whatever it raises fails that row with a FunctionError.
    """

    parameters: ClassVar[tuple[Parameter, ...]]
    result: ClassVar[Type] = Type.ANY
    nulls: ClassVar[Nulls] = Nulls.PROPAGATE
    pure: ClassVar[bool] = False

    @abstractmethod
    def call(self, *args: Any) -> Any: ...


_PYTHON_TYPES: Final[Mapping[Type, tuple[type, ...]]] = {
    Type.BOOLEAN: (bool,),
    Type.BIGINT: (int,),
    Type.DOUBLE: (float,),
    Type.DECIMAL: (Decimal,),
    Type.TEXT: (str,),
    Type.BYTES: (bytes,),
    Type.TIMESTAMP: (int,),
    Type.INTERVAL: (int,),
    Type.ARRAY: (list,),
    Type.OBJECT: (dict,),
}


def adapt(name: str, extension: type[Function]) -> ScalarFunction:
    """A third-party class as the compiler sees it, with its declared types and null policy enforced."""
    instance = extension()
    nothing: dict[type, Callable[[Any], Any] | None] = (
        {} if extension.nulls is Nulls.REFUSE else {type(None): None, Missing: None}
    )
    slots = tuple(
        Slot(
            parameter,
            Kind(
                " or ".join(sorted(kind.value for kind in parameter.types)),
                parameter.types,
                {python: None for kind in parameter.types for python in _PYTHON_TYPES[kind]} | nothing
                if parameter.types and Type.ANY not in parameter.types
                else None,
            ),
        )
        for parameter in extension.parameters
    )

    def guarded(*args: Any) -> Any:
        for value in args:
            if value is None or isinstance(value, Missing):
                if extension.nulls is Nulls.PROPAGATE:
                    return value
                if extension.nulls is Nulls.REFUSE:
                    raise Refusal(f"no argument may be {shown(value)}")
        # Foreign code: whatever it raises is that row's failure, not the engine's.
        try:
            return instance.call(*args)
        except Exception as error:
            raise Refusal(f"{type(error).__name__}: {error}", "function_failed") from error

    variadic = any(parameter.repeated for parameter in extension.parameters)
    return ScalarFunction(
        name=name,
        category="extensions",
        call=checked(name, guarded, slots),
        min_args=sum(not (parameter.optional or parameter.repeated) for parameter in extension.parameters),
        max_args=None if variadic else len(extension.parameters),
        result=extension.result,
        pure=extension.pure,
        doc=inspect.getdoc(extension) or "",
        examples=(),
        signatures=(extension.parameters,),
    )


class ExtensibleTable(FunctionTable):
    """The built-ins, and by name on first use the installed extensions."""

    def __init__(self, builtins: FunctionTable, extensions: Registry[Function]) -> None:
        super().__init__(builtins.values())
        self._extensions = extensions
        self._installed = frozenset(extensions.names())
        if taken := sorted(self._installed & (set(builtins) | RESERVED)):
            raise ExtensionError(
                f"an installed package claims the built-in function {taken[0]!r}; uninstall or rename it",
                "headrace.functions",
                taken[0],
            )

    def names(self) -> list[str]:
        return sorted({*self._functions, *self._installed})

    def __getitem__(self, name: str) -> ScalarFunction:
        if name not in self._functions and name in self._installed:
            self.add(adapt(name, self._extensions.load(name)))
        return super().__getitem__(name)
