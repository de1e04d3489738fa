"""``sprintf`` with the directives of Erlang's ``io_lib:format``.

``~F.P.PadMC`` with C one of ``s`` (text), ``p`` and ``w`` (a term as Erlang writes it), ``b``/``B`` (integer, P is
the base), ``x``/``X`` (with a prefix argument), ``f`` ``e`` ``g`` (float), ``c`` (code point), ``i`` (skip), ``n``
(newline) and ``~``. F is the field width, negative to the left; ``*`` takes a number from the arguments.
"""

from __future__ import annotations

import math
import re
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, Final

from core.message import Missing, Type
from rules.functions.base import Anything, Category, Refusal, Text, check_size, shown
from rules.functions.values import sorted_items, text_of

CATEGORY = Category("formatting")
scalar = CATEGORY.scalar

_DIRECTIVE: Final = re.compile(
    r"~(?P<width>-?[0-9]+|\*)?(?:\.(?P<precision>[0-9]+|\*)?)?(?:\.(?P<fill>.))?[tlkK]*(?P<control>.)?", re.DOTALL
)
_ROUNDING: Final = Context(prec=1_000, rounding=ROUND_HALF_UP)
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_PRINTABLE: Final = re.compile(r"[\x20-\x7e\xa0-\U0010ffff\b\t\n\v\f\r\x1b]*").fullmatch
_QUOTED: Final = str.maketrans(
    {
        "\\": "\\\\",
        '"': '\\"',
        "\n": "\\n",
        "\t": "\\t",
        "\r": "\\r",
        "\b": "\\b",
        "\f": "\\f",
        "\v": "\\v",
        "\x1b": "\\e",
    }
)


def _term(value: Any, *, strings: bool) -> str:
    """``value`` as Erlang writes the term; ``strings`` shows printable binaries as text (``~p``)."""
    if value is None or isinstance(value, bool | Missing):
        return text_of(value)
    if isinstance(value, float):
        return _shortest(value)
    if isinstance(value, str | bytes):
        if not value:
            return "<<>>"
        if strings and isinstance(value, str) and _PRINTABLE(value):
            return f'<<"{value.translate(_QUOTED)}"{"" if value.isascii() else "/utf8"}>>'
        data = value.encode() if isinstance(value, str) else value
        return f"<<{','.join(map(str, data))}>>"
    if isinstance(value, list):
        return f"[{','.join(_term(item, strings=strings) for item in value)}]"
    if isinstance(value, dict):
        entries = (
            f"{_term(key, strings=strings)} => {_term(item, strings=strings)}" for key, item in sorted_items(value)
        )
        return f"#{{{','.join(entries)}}}"
    return str(value)


def _shortest(value: float) -> str:
    """The shortest text that reads back as the same float, in Erlang's notation: ``1.0e22``."""
    mantissa, _, exponent = repr(value).partition("e")
    if not exponent:
        return mantissa
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{int(exponent)}"


def _in_base(number: int, base: int) -> str:
    if base == 10:
        return str(number)
    digits: list[str] = []
    rest = abs(number)
    check_size(rest.bit_length())
    while rest:
        rest, digit = divmod(rest, base)
        digits.append(_DIGITS[digit])
    return ("-" if number < 0 else "") + ("".join(reversed(digits)) or "0")


class _Arguments:
    def __init__(self, values: tuple[Any, ...]) -> None:
        self._values = list(reversed(values))

    def take(self) -> Any:
        if not self._values:
            raise Refusal("there are fewer arguments than the format asks for")
        return self._values.pop()

    def integer(self) -> int:
        value = self.take()
        if not isinstance(value, int) or isinstance(value, bool):
            raise Refusal(f"the format asks for an integer, not {shown(value)}")
        return value

    def number(self) -> float:
        value = self.take()
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise Refusal(f"the format asks for a number, not {shown(value)}")
        return float(value)

    def finish(self) -> None:
        if self._values:
            raise Refusal(f"{len(self._values)} arguments are not used by the format")


def _integer(control: str, precision: int | None, arguments: _Arguments) -> str:
    number = arguments.integer()
    base = 10 if precision is None else precision
    if not 2 <= base <= 36:
        raise Refusal(f"base {base} is not from 2 to 36")
    digits = _in_base(number, base)
    if control in "xX":
        prefix = text_of(arguments.take())
        digits = f"-{prefix}{digits[1:]}" if number < 0 else prefix + digits
    return digits.upper() if control in "BX" else digits


def _float(control: str, precision: int | None, arguments: _Arguments) -> str:
    number = arguments.number()
    digits = 6 if precision is None else precision
    if not 1 <= digits <= 253:
        raise Refusal(f"precision {digits} is not from 1 to 253")
    if control == "g":
        control = "f" if 0.1 <= abs(number) < 10_000.0 else "e"
    if not math.isfinite(number):
        raise Refusal(f"{shown(number)} has no digits")
    # Erlang rounds the decimal digits half up, Python would round the exact value half to even.
    if control == "f":
        return f"{_ROUNDING.quantize(Decimal(number), Decimal(1).scaleb(-digits)):f}"
    rounded = Context(prec=digits, rounding=ROUND_HALF_UP).create_decimal(number)
    mantissa, _, exponent = f"{rounded:.{digits - 1}e}".partition("e")
    return f"{mantissa}e{exponent[0]}{int(exponent[1:])}"


def _piece(control: str, precision: int | None, arguments: _Arguments) -> str:
    """One directive's text before it is fitted into its field."""
    if control == "s":
        text = text_of(arguments.take())
        return text if precision is None else text[:precision]
    if control in "pPwW":
        return _term(arguments.take(), strings=control in "pP")
    if control in "bBxX":
        return _integer(control, precision, arguments)
    if control in "feg":
        return _float(control, precision, arguments)
    if control == "c":
        return chr(arguments.integer()) * (1 if precision is None else precision)
    if control == "i":
        arguments.take()
        return ""
    raise Refusal(f"~{control} is no directive")


def _number(text: str | None, arguments: _Arguments) -> int | None:
    number = arguments.integer() if text == "*" else int(text) if text else None
    check_size(abs(number or 0))
    return number


@scalar(
    Type.TEXT,
    ("sprintf('Hello ~ts!', 'Shawn')", "Hello Shawn!"),
    ("sprintf('~p items at ~.2f', 3, 1.5)", "3 items at 1.50"),
    ("sprintf('~4..0b|~-4s|', 7, 'ab')", "0007|ab  |"),
)
def sprintf(template: Text, *values: Anything) -> str:
    """The text of an Erlang format: `~s` or `~ts` text, `~p` and `~w` any term, `~b` integer, `~.2f` float, `~c`
    code point, `~n` newline, `~~` a tilde. Too few and too many arguments are errors."""
    arguments = _Arguments(values)

    def expand(found: re.Match[str]) -> str:
        width = _number(found["width"], arguments)
        precision = _number(found["precision"], arguments)
        control = found["control"]
        if control in ("n", "~"):
            return ("\n" if control == "n" else "~") * (1 if width is None else max(width, 0))
        if control is None:
            raise Refusal("the format ends within a directive")
        piece = _piece(control, precision, arguments)
        check_size(len(piece))
        if width is None:
            return piece
        fill = found["fill"] or " "
        field = abs(width)
        if len(piece) > field:
            return piece[:field] if control in "spPwW" else "*" * field
        return piece.ljust(field, fill) if width < 0 else piece.rjust(field, fill)

    text = _DIRECTIVE.sub(expand, template)
    arguments.finish()
    check_size(len(text))
    return text
