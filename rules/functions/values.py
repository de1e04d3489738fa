"""SQL values as the functions see them: their text form, their equality, JSON texts that stand for maps.

Strings and binaries are one type in EMQX. Here a binary that is UTF-8 is a ``str`` and any other is ``bytes``:
:func:`canonical` keeps it so, and so two equal strings are equal Python values, whichever function they came from.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Annotated, Any, Final

import msgspec

from core.errors import PayloadError
from core.message import MISSING, Missing, Type
from formats.json import decode_document, encode_document
from rules.functions.base import Kind, Refusal, check_size, decode_text, shown


def canonical(data: bytes) -> str | bytes:
    """The string or binary value that these bytes are."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


_SCALES: Final = tuple(10.0**digits for digits in range(19))
_EXACT: Final = float(1 << 53)


def fixed(value: float, decimals: int) -> str:
    """``value`` with exactly ``decimals`` digits after the point and no exponent, rounded as Erlang rounds.

    That is half away from zero after the fraction was scaled in floating point (0.125 and 0.995 to two digits are
    0.13 and 1.00); beyond 18 digits or 2^53 the exact value is rounded half to even.
    """
    size = abs(value)
    if decimals >= len(_SCALES) or not size <= _EXACT:
        return f"{value:.{decimals}f}"
    whole = int(size)
    scaled = (size - whole) * _SCALES[decimals]
    fraction = int(scaled)
    if scaled - fraction >= 0.5:
        fraction += 1
    if fraction >= _SCALES[decimals]:
        whole, fraction = whole + 1, 0
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    return f"{sign}{whole}.{fraction:0{decimals}}" if decimals else f"{sign}{whole}"


def float_text(value: float, decimals: int) -> str:
    """At most ``decimals`` digits after the point, rounded as by :func:`fixed`, needless zeros cut (``2.0``)."""
    text = fixed(value, decimals)
    if "." not in text:
        return text
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.rstrip('0') or '0'}"


def text_of(value: Any) -> str:
    """The text form of any value: ``undefined``, ``null``, ``true``, floats with at most 10 decimals, JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return decode_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float_text(value, 10)
    if value is None:
        return "null"
    if isinstance(value, Missing):
        return value.value
    if isinstance(value, list | dict):
        return json_text(value)
    return str(value)


def json_text(value: Any) -> str:
    """Compact JSON; Refusal for what JSON cannot express."""
    try:
        encoded = encode_document(value)
    except PayloadError as error:
        raise Refusal(str(error)) from error
    check_size(len(encoded))
    return encoded.decode()


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; Refusal where it is none."""
    try:
        return decode_document(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Refusal(f"{shown(text)} is not JSON: {error}", "decode_json_failed") from None


def _document(text: str | bytes) -> dict[Any, Any]:
    value = parse_json(text)
    if not isinstance(value, dict):
        raise Refusal(f"the JSON text {shown(text)} is not a map")
    return value


def _pairs(items: list[Any]) -> dict[Any, Any]:
    """A map of ``[key, value]`` pairs, the later one winning; keys are strings."""
    found = {}
    for item in items:
        if not (isinstance(item, list) and len(item) == 2 and isinstance(item[0], str)):
            raise Refusal(f"{shown(item)} is not a [key, value] pair with a string as key")
        found[item[0]] = item[1]
    return found


Document = Annotated[
    dict[Any, Any],
    Kind(
        "a map (or JSON text of one)",
        frozenset({Type.OBJECT, Type.TEXT, Type.BYTES, Type.ARRAY}),
        {dict: None, str: _document, bytes: _document, list: _pairs},
    ),
]
"""A map, the JSON text of one, or an array of pairs."""


def step(container: Any, key: str) -> Any:
    """``container.key``: MISSING where there is no such key. A JSON text counts as the map that it describes."""
    if isinstance(container, str | bytes):
        try:
            container = decode_document(container)
        except (msgspec.DecodeError, UnicodeError):
            return MISSING
    return container.get(key, MISSING) if isinstance(container, dict) else MISSING


_STRICT: Final = frozenset({bool, Missing, type(None)})


def equal(one: Any, two: Any) -> bool:
    """Equal as values (Erlang's ``==``): ``1 = 1.0``, but nothing else equals a value of another type."""
    return _equal(one, two, exact=False)


def same(one: Any, two: Any) -> bool:
    """The same term (Erlang's ``=:=``): as :func:`equal`, and an integer is no float."""
    return _equal(one, two, exact=True)


def _equal(one: Any, two: Any, *, exact: bool) -> bool:
    kind, other = type(one), type(two)
    if kind is not other:
        if isinstance(one, str) and isinstance(two, bytes):
            return one.encode(errors="surrogatepass") == two
        if isinstance(one, bytes) and isinstance(two, str):
            return one == two.encode(errors="surrogatepass")
        if isinstance(one, bytes) and isinstance(two, bytes):
            return one == two
        if exact or kind in _STRICT or other in _STRICT:
            return False
        return isinstance(one, int | float | Decimal) and isinstance(two, int | float | Decimal) and one == two
    if kind is list:
        return len(one) == len(two) and all(_equal(a, b, exact=exact) for a, b in zip(one, two, strict=True))
    if kind is dict:
        return one.keys() == two.keys() and all(_equal(one[key], two[key], exact=exact) for key in one)
    return bool(one == two)


def sorted_items(entries: dict[Any, Any]) -> list[tuple[Any, Any]]:
    """The entries by key, in the order that EMQX gives them: by the bytes of the key."""
    return sorted(entries.items(), key=lambda item: text_of(item[0]).encode(errors="surrogatepass"))
