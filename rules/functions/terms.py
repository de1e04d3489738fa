"""Values as Erlang's external term format, version 131: what ``term_to_binary`` writes.

Maps, lists, integers, floats, binaries and the atoms true, false, null and undefined have their counterparts here. A
tuple is read as an array and any other atom as a string; processes, references and functions are refused.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from core.message import MISSING, Missing, Type
from rules.functions.base import Anything, Binary, Category, Refusal, check_size, shown
from rules.functions.values import canonical, sorted_items, text_of

CATEGORY = Category("Erlang terms")
scalar = CATEGORY.scalar

_VERSION: Final = 131
_MAX_STRING_LIST: Final = 65_535
_ATOMS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None, "undefined": MISSING}


def _integer(value: int) -> bytes:
    if 0 <= value < 256:
        return struct.pack(">BB", 97, value)
    if -(1 << 31) <= value < 1 << 31:
        return struct.pack(">Bi", 98, value)
    digits = abs(value).to_bytes((value.bit_length() + 7) // 8, "little")
    form = (">BBB", 110) if len(digits) < 256 else (">BIB", 111)
    return struct.pack(*form, len(digits), value < 0) + digits


def _encode(value: Any, parts: list[bytes]) -> None:
    if value is None or isinstance(value, bool | Missing):
        name = text_of(value).encode()
        parts.append(struct.pack(">BB", 119, len(name)) + name)
    elif isinstance(value, int):
        parts.append(_integer(value))
    elif isinstance(value, float | Decimal):
        parts.append(struct.pack(">Bd", 70, float(value)))
    elif isinstance(value, str | bytes):
        data = value.encode() if isinstance(value, str) else value
        parts += (struct.pack(">BI", 109, len(data)), data)
    elif isinstance(value, list):
        _encode_list(value, parts)
    elif isinstance(value, dict):
        parts.append(struct.pack(">BI", 116, len(value)))
        for key, item in sorted_items(value):
            _encode(key, parts)
            _encode(item, parts)
    else:
        raise Refusal(f"Erlang has no {shown(value)}")


def _encode_list(items: list[Any], parts: list[bytes]) -> None:
    if items and len(items) <= _MAX_STRING_LIST and all(type(item) is int and 0 <= item < 256 for item in items):
        parts += (struct.pack(">BH", 107, len(items)), bytes(items))
        return
    if items:
        parts.append(struct.pack(">BI", 108, len(items)))
        for item in items:
            _encode(item, parts)
    parts.append(b"\x6a")


class _Reader:
    """Reads one term from the front of ``data``; Refusal where the data is not one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise Refusal("the term ends too early")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def items(self, count: int) -> list[Any]:
        if count > len(self._data) - self._at:
            raise Refusal("the term ends too early")
        return [self.term() for _ in range(count)]

    def finish(self) -> None:
        if self._at < len(self._data):
            raise Refusal("there is something behind the term")

    def term(self) -> Any:
        tag = self.number(1)
        read = _TERMS.get(tag)
        if read is None:
            raise Refusal(f"a term with the tag {tag} has no counterpart")
        return read(self)


def _big(reader: _Reader, size: int) -> int:
    count = reader.number(size)
    negative = reader.number(1)
    value = int.from_bytes(reader.take(count), "little")
    return -value if negative else value


def _float(reader: _Reader) -> float:
    number: float = struct.unpack(">d", reader.take(8))[0]
    return number


def _list(reader: _Reader) -> list[Any]:
    items = reader.items(reader.number(4))
    if reader.term() != []:
        raise Refusal("an improper list has no counterpart")
    return items


def _map(reader: _Reader) -> dict[Any, Any]:
    entries = reader.items(2 * reader.number(4))
    keys = [key if isinstance(key, str) else text_of(key) for key in entries[::2]]
    return dict(zip(keys, entries[1::2], strict=True))


def _atom(reader: _Reader, size: int, encoding: str) -> Any:
    name = reader.take(reader.number(size)).decode(encoding)
    return _ATOMS.get(name, name)


_TERMS: Final[dict[int, Callable[[_Reader], Any]]] = {
    70: _float,
    97: lambda reader: reader.number(1),
    98: lambda reader: int.from_bytes(reader.take(4), "big", signed=True),
    100: lambda reader: _atom(reader, 2, "latin-1"),
    104: lambda reader: reader.items(reader.number(1)),
    105: lambda reader: reader.items(reader.number(4)),
    106: lambda _: [],
    107: lambda reader: list(reader.take(reader.number(2))),
    108: _list,
    109: lambda reader: canonical(reader.take(reader.number(4))),
    110: lambda reader: _big(reader, 1),
    111: lambda reader: _big(reader, 4),
    115: lambda reader: _atom(reader, 1, "latin-1"),
    116: _map,
    118: lambda reader: _atom(reader, 2, "utf-8"),
    119: lambda reader: _atom(reader, 1, "utf-8"),
}


@scalar(Type.BYTES, ("bin2hexstr(term_encode('abc'))", "836D00000003616263"))
def term_encode(value: Anything) -> bytes:
    """The value as an Erlang term in the external term format."""
    parts: list[bytes] = [bytes([_VERSION])]
    _encode(value, parts)
    check_size(sum(map(len, parts)))
    return b"".join(parts)


@scalar(Type.ANY, ("term_decode(term_encode([1, 'a', 2.5]))", [1, "a", 2.5]))
def term_decode(data: Binary) -> Any:
    """The value of an Erlang term in the external term format, also a compressed one. Tuples become arrays, atoms
    other than true, false, null and undefined become strings."""
    if data[:1] != bytes([_VERSION]):
        raise Refusal("the data is no Erlang term of version 131")
    body = data[1:]
    if body[:1] == b"\x50":
        size = int.from_bytes(body[1:5], "big")
        check_size(size)
        try:
            body = zlib.decompressobj().decompress(body[5:], size or 1)
        except zlib.error as error:
            raise Refusal(f"the term cannot be decompressed: {error}") from None
    reader = _Reader(body)
    value = reader.term()
    reader.finish()
    return value
