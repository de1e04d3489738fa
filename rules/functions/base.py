"""What a scalar function is, how one is declared, and the checks that every call goes through.

A function is a plain Python function whose parameters are annotated with the aliases below (:data:`Text`,
:data:`Int`, ...). The annotation says which SQL values the parameter takes and what the body gets, so a body never
meets a value of another type, and the registry knows arity, types and documentation without a second list.

Invariants: a registered ``call`` given as many arguments as its arity allows either returns or raises
:class:`FunctionError`, whatever the values are. MISSING and None are refused unless the parameter is
:data:`Anything` (EMQX's policy: ``bad_sql_function_argument``); functions that are PostgreSQL's and not EMQX's
``propagate`` them: their result is the first such argument, except where a parameter is :data:`Anything`.
Parsing, binding and folding of calls belong to the compiler.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple, TypeVar, get_type_hints

from core.errors import HeadraceError
from core.message import Missing, Publisher, Type
from rules.functions.bitstring import BitString

BAD_ARGUMENT: Final = "bad_sql_function_argument"
MAX_RESULT: Final = 8 << 20
"""No function makes a text, a binary or an array longer than this; the limit is an error, never a cut."""

_SENTENCE: Final = re.compile(r"(.*?\.)(?: |$)")
_MAX_PLANS: Final = 1_024
_NAMES: Final = {
    Missing: "undefined",
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    Decimal: "a decimal",
    str: "a string",
    bytes: "a binary",
    list: "an array",
    dict: "a map",
}


class FunctionError(HeadraceError):
    """A call that has no result. ``name`` is the function, ``code`` a stable word for scripts."""

    def __init__(self, name: str, message: str, code: str = BAD_ARGUMENT) -> None:
        super().__init__(f"{name}(): {message}")
        self.name = name
        self.message = message
        self.code = code


class Refusal(ValueError):
    """What a function's body raises to give its error a ``code`` of its own; the name is added by the caller.

    ``hint`` is the way out, for errors that a rule's author sees before the rule runs.
    """

    def __init__(self, message: str, code: str = BAD_ARGUMENT, *, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


class Parameter(NamedTuple):
    """``types`` empty means any. ``optional`` may be left out, ``repeated`` stands for any number of them; ``check``
    raises Refusal for a literal that is certain to be refused."""

    name: str
    types: frozenset[Type] = frozenset()
    optional: bool = False
    repeated: bool = False
    check: Callable[[Any], Any] | None = None


@dataclass(frozen=True, slots=True)
class ScalarFunction:
    """One function as the compiler sees it.

    ``max_args`` None means any number. ``pure`` calls with constant arguments may be computed at compile time.
    ``signatures`` has one tuple of parameters per form of the call, ``results`` their types;
    ``examples`` are pairs of a call and its
    result, and the tests run them. ``propagates``: null arguments are given back.
    ``needs_publisher``: ``call`` gets the message's publisher before the arguments.
    """

    name: str
    category: str
    call: Callable[..., Any]
    min_args: int
    max_args: int | None
    result: Type
    pure: bool
    doc: str
    examples: tuple[tuple[str, Any], ...]
    signatures: tuple[tuple[Parameter, ...], ...] = ()
    results: tuple[Type, ...] = ()
    propagates: bool = False
    needs_publisher: bool = False

    @property
    def summary(self) -> str:
        """The first sentence of its documentation, for one line."""
        first = " ".join(self.doc.split("\n\n")[0].split())
        end = _SENTENCE.match(first)
        return first if end is None else end[1]

    def form(self, count: int) -> int:
        """The number of the form that takes ``count`` arguments, -1 where none is declared."""
        for number, parameters in enumerate(self.signatures):
            least = sum(not (parameter.optional or parameter.repeated) for parameter in parameters)
            most = None if any(parameter.repeated for parameter in parameters) else len(parameters)
            if least <= count and (most is None or count <= most):
                return number
        return -1

    def result_of(self, count: int) -> Type:
        """The type of a call with ``count`` arguments."""
        form = self.form(count)
        return self.results[form] if 0 <= form < len(self.results) else self.result


class FunctionTable(Mapping[str, ScalarFunction]):
    """Functions by name; names are case-sensitive, as in EMQX."""

    def __init__(self, functions: Iterable[ScalarFunction] = ()) -> None:
        self._functions: dict[str, ScalarFunction] = {}
        for function in functions:
            self.add(function)

    def add(self, function: ScalarFunction) -> None:
        """ValueError where the name is taken."""
        if function.name in self._functions:
            raise ValueError(f"function {function.name!r} is declared twice")
        self._functions[function.name] = function

    def names(self) -> list[str]:
        """All names, sorted: for "did you mean" and for the reference."""
        return sorted(self._functions)

    def __getitem__(self, name: str) -> ScalarFunction:
        return self._functions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)

    # What is compiled against one table does not serve another, whatever that holds.
    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


class Kind(NamedTuple):
    """What one annotation accepts: per Python type, None (as it is) or the conversion to what the body gets."""

    label: str
    types: frozenset[Type]
    accepts: Mapping[type, Callable[[Any], Any] | None] | None  # None accepts everything
    check: Callable[[Any], Any] | None = None


def decode_text(value: bytes) -> str:
    """The text that these bytes are; Refusal where they are not UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Refusal(f"{shown(value)} is not UTF-8 text") from None


def encode_text(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise Refusal(f"{shown(value)} cannot be written as UTF-8") from None


TEXT: Final = Kind("a string", frozenset({Type.TEXT}), {str: None, bytes: decode_text, BitString: decode_text})
Text = Annotated[str, TEXT]
Binary = Annotated[
    bytes,
    Kind("a string or binary", frozenset({Type.TEXT, Type.BYTES}), {bytes: None, BitString: None, str: encode_text}),
]
Boolean = Annotated[bool, Kind("a boolean", frozenset({Type.BOOLEAN}), {bool: None})]
Int = Annotated[int, Kind("an integer", frozenset({Type.BIGINT}), {int: None})]
Float = Annotated[
    float,
    Kind(
        "a number",
        frozenset({Type.BIGINT, Type.DOUBLE, Type.DECIMAL}),
        {float: None, int: float, Decimal: float},
    ),
]
Number = Annotated[
    int | float,
    Kind(
        "a number",
        frozenset({Type.BIGINT, Type.DOUBLE, Type.DECIMAL}),
        {float: None, int: None, Decimal: float},
    ),
]
Timestamp = Annotated[int, Kind("a timestamp", frozenset({Type.TIMESTAMP}), {int: None})]
Interval = Annotated[int, Kind("an interval", frozenset({Type.INTERVAL}), {int: None})]
Array = Annotated[list[Any], Kind("an array", frozenset({Type.ARRAY}), {list: None})]
Object = Annotated[dict[Any, Any], Kind("a map", frozenset({Type.OBJECT}), {dict: None})]
Anything = Annotated[Any, Kind("any value", frozenset(), None)]
SENDER: Final = Kind("the message's publisher", frozenset(), None)
Sender = Annotated[Publisher, SENDER]
"""For a first parameter that no call names: who published the message."""


def shown(value: Any) -> str:
    """``value`` for an error text: short, whatever it is."""
    kind = _NAMES.get(type(value), f"a {type(value).__name__}")
    if value is None or isinstance(value, Missing):
        return kind
    if isinstance(value, list | dict):
        return f"{kind} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 128:
        return f"{kind} of {value.bit_length()} bits"
    text = repr(value[:40]) + ("..." if len(value) > 40 else "") if isinstance(value, str | bytes) else str(value)
    return f"{kind} ({text})"


def check_size(size: int) -> None:
    """Refuse a result of more than :data:`MAX_RESULT` characters, bytes or elements before it is made."""
    if size > MAX_RESULT:
        raise Refusal(f"the result would have {size} elements, the limit is {MAX_RESULT}", "result_too_large")


class Slot(NamedTuple):
    """A parameter and what it accepts."""

    parameter: Parameter
    kind: Kind


def _slots(function: Callable[..., Any], checks: Mapping[str, Callable[[Any], Any]]) -> tuple[Slot, ...]:
    hints = get_type_hints(function, include_extras=True)
    slots = []
    for parameter in inspect.signature(function).parameters.values():
        [kind] = hints[parameter.name].__metadata__
        slots.append(
            Slot(
                Parameter(
                    parameter.name,
                    kind.types,
                    optional=parameter.default is not parameter.empty,
                    repeated=parameter.kind is parameter.VAR_POSITIONAL,
                    check=checks.get(parameter.name, kind.check),
                ),
                kind,
            )
        )
    return tuple(slots)


_Plan = tuple[Callable[[Any], Any] | None, ...] | int
"""The conversion of each argument, or the number (from 1) of the null argument that is the result."""


def _plan(slots: Sequence[Slot], args: Sequence[Any]) -> _Plan:
    """The conversions for arguments of these types; Refusal names the argument that fits nowhere."""
    conversions: list[Callable[[Any], Any] | None] = []
    for index, value in enumerate(args):
        parameter, kind = slots[min(index, len(slots) - 1)]
        if kind.accepts is None:
            conversions.append(None)
        elif type(value) in kind.accepts:
            conversions.append(kind.accepts[type(value)])
        else:
            raise Refusal(f"argument {index + 1} ({parameter.name}) must be {kind.label}, not {shown(value)}")
    return tuple(conversions) if any(conversions) else ()


def _null_argument(slots: Sequence[Slot], args: Sequence[Any]) -> int:
    """The number of the first argument that is null where its parameter wants a value, 0 where there is none."""
    for index, value in enumerate(args):
        if (value is None or isinstance(value, Missing)) and slots[min(index, len(slots) - 1)].kind.accepts is not None:
            return index + 1
    return 0


def checked(
    name: str, function: Callable[..., Any], slots: tuple[Slot, ...], *, propagate: bool = False
) -> Callable[..., Any]:
    """``function`` behind its type checks, with every failure as a FunctionError."""
    if all(slot.kind.accepts is None for slot in slots):

        def call_unchecked(*args: Any) -> Any:
            try:
                return function(*args)
            except (ValueError, ArithmeticError, RecursionError) as error:
                raise _failure(name, args, error) from error

        return call_unchecked

    # The types of a call's arguments decide what is to be done with them, so that is worked out once per
    # combination of types and looked up afterwards.
    plans: dict[tuple[type, ...], _Plan] = {}

    def call(*args: Any) -> Any:
        try:
            types = tuple(map(type, args))
            plan = plans.get(types)
            if plan is None:
                plan = (propagate and _null_argument(slots, args)) or _plan(slots, args)
                if len(plans) < _MAX_PLANS:
                    plans[types] = plan
            if plan:
                if isinstance(plan, int):
                    return args[plan - 1]
                args = tuple(
                    value if convert is None else convert(value) for convert, value in zip(plan, args, strict=True)
                )
            return function(*args)
        except (ValueError, ArithmeticError, RecursionError) as error:
            raise _failure(name, args, error) from error

    return call


def _failure(name: str, args: Sequence[Any], error: Exception) -> FunctionError:
    if isinstance(error, Refusal):
        return FunctionError(name, str(error), error.code)
    given = ", ".join(shown(value) for value in args[:4])
    return FunctionError(name, f"no result for {given}: {error}")


Body = TypeVar("Body", bound=Callable[..., Any])


class Category:
    """The functions of one file. :meth:`scalar` declares them; the same name again adds a form with other arity."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.functions: dict[str, ScalarFunction] = {}

    def scalar(
        self,
        result: Type,
        *examples: tuple[str, Any],
        name: str | None = None,
        aliases: tuple[str, ...] = (),
        pure: bool = True,
        propagate: bool = False,
        checks: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> Callable[[Body], Body]:
        """Declare the decorated function; ``name`` where Python has taken it. The body stays callable as it is.

        ``checks`` are those of parameters by name, where their annotation has none.
        """

        def declare(body: Body) -> Body:
            own = name or body.__name__
            for known in (own, *aliases):
                self._add(known, own, body, result, pure, propagate, examples if known == own else (), checks or {})
            return body

        return declare

    def _add(
        self,
        name: str,
        original: str,
        body: Callable[..., Any],
        result: Type,
        pure: bool,
        propagate: bool,
        examples: tuple[tuple[str, Any], ...],
        checks: Mapping[str, Callable[[Any], Any]],
    ) -> None:
        slots = _slots(body, checks)
        needs_publisher = bool(slots) and slots[0].kind is SENDER
        parameters = tuple(slot.parameter for slot in slots[needs_publisher:])
        variadic = any(parameter.repeated for parameter in parameters)
        function = ScalarFunction(
            name=name,
            category=self.name,
            call=checked(name, body, slots, propagate=propagate),
            min_args=sum(not (parameter.optional or parameter.repeated) for parameter in parameters),
            max_args=None if variadic else len(parameters),
            result=result,
            pure=pure,
            doc=inspect.getdoc(body) or "" if name == original else f"The same as `{original}`.",
            examples=examples,
            signatures=(parameters,),
            results=(result,),
            propagates=propagate,
            needs_publisher=needs_publisher,
        )
        other = self.functions.get(name)
        self.functions[name] = function if other is None else _overload(other, function)


def _overload(one: ScalarFunction, two: ScalarFunction) -> ScalarFunction:
    """Two forms of one function, told apart by the number of arguments; the shorter one decides its own numbers."""
    first, second = (one, two) if one.min_args < two.min_args else (two, one)
    split = first.max_args
    if split is None or second.min_args != split + 1:
        raise ValueError(f"the forms of {one.name!r} must take adjoining numbers of arguments")
    short, long = first.call, second.call

    def call(*args: Any) -> Any:
        return short(*args) if len(args) <= split else long(*args)

    return replace(
        one,
        call=call,
        min_args=first.min_args,
        max_args=second.max_args,
        result=one.result if one.result is two.result else Type.ANY,
        pure=one.pure and two.pure,
        doc="\n\n".join(doc for doc in (one.doc, two.doc) if doc),
        examples=one.examples + two.examples,
        signatures=one.signatures + two.signatures,
        results=one.results + two.results,
    )
