"""Snapshots: plain data of operators <-> versioned msgpack in which every value keeps its type.

msgpack tells 1, 1.0, true and null apart, and bytes from text. What it lacks is an extension: MISSING, tuples, integers
beyond 64 bits, DECIMAL, maps with other keys than texts, boxed keys, sketches, texts that are no UTF-8. The envelope
names version and plan, and a checksum covers the rest: what does not fit is refused before anything is changed.
"""

from __future__ import annotations

import zlib
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec.msgpack import Ext

from core.errors import HeadraceError
from core.message import MISSING, Missing
from rules.aggregates.keys import Box
from rules.aggregates.sketches import DUMPED

VERSION: Final = 2

_MISSING, _TUPLE, _BIG, _DECIMAL, _MAP, _BOX, _SKETCH, _SURROGATES = range(1, 9)
_PLAIN: Final = frozenset({float, bool, type(None), bytes})
_LOW, _HIGH = -(1 << 63), 1 << 64


class SnapshotError(HeadraceError):
    """A snapshot that cannot be used here; the text says why and what happens without it."""


class _Envelope(msgspec.Struct, array_like=True):
    version: int
    fingerprint: str
    check: int
    body: bytes


def dump(state: Any, fingerprint: str) -> bytes:
    """``state``: plain data, see above."""
    body = _encode(state)
    return msgspec.msgpack.encode(_Envelope(VERSION, fingerprint, zlib.crc32(body), body))


def load(data: bytes, fingerprint: str) -> Any:
    try:
        envelope = msgspec.msgpack.decode(data, type=_Envelope)
    except msgspec.DecodeError as error:
        raise SnapshotError(f"this is no snapshot of a window: {error}") from None
    if envelope.version != VERSION:
        raise SnapshotError(
            f"the snapshot has version {envelope.version}, this headrace reads version {VERSION}: windows begin empty"
        )
    if envelope.fingerprint != fingerprint:
        raise SnapshotError("the snapshot belongs to another query: its windows begin empty")
    if zlib.crc32(envelope.body) != envelope.check:
        raise SnapshotError("the snapshot is damaged (its checksum is wrong): windows begin empty")
    return _decode(envelope.body)


def _encode(value: Any) -> bytes:
    return msgspec.msgpack.encode(_frozen(value))


def _frozen(value: Any) -> Any:
    """The value in what msgpack tells apart."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is int:
        return value if _LOW <= value < _HIGH else Ext(_BIG, hex(value).encode())
    if kind is str:
        return value if value.isascii() else _text(value)
    if kind is list:
        return [_frozen(item) for item in value]
    if kind is tuple:
        return Ext(_TUPLE, _encode(list(value)))
    if kind is dict:
        if all(type(key) is str and key.isascii() for key in value):
            return {key: _frozen(item) for key, item in value.items()}
        return Ext(_MAP, _encode([part for pair in value.items() for part in pair]))
    if kind is Missing:
        return Ext(_MISSING, b"")
    if kind is Decimal:
        return Ext(_DECIMAL, str(value).encode())
    if kind is Box:
        return Ext(_BOX, _encode(value.value))
    if isinstance(value, bytes):
        return bytes(value)
    return Ext(_SKETCH, _encode([value.tag, value.dump()]))


def _text(value: str) -> Any:
    try:
        value.encode()
    except UnicodeEncodeError:
        return Ext(_SURROGATES, value.encode(errors="surrogatepass"))
    return value


def _decode(data: bytes | memoryview) -> Any:
    return msgspec.msgpack.decode(data, ext_hook=_thawed)


def _thawed(code: int, data: memoryview) -> Any:
    if code == _TUPLE:
        return tuple(_decode(data))
    if code == _MISSING:
        return MISSING
    if code == _BIG:
        return int(bytes(data), 16)
    if code == _DECIMAL:
        return Decimal(bytes(data).decode())
    if code == _MAP:
        parts = _decode(data)
        return dict(zip(parts[::2], parts[1::2], strict=True))
    if code == _BOX:
        return Box(_decode(data))
    if code == _SKETCH:
        tag, dumped = _decode(data)
        return DUMPED[tag].load(dumped)
    if code == _SURROGATES:
        return bytes(data).decode(errors="surrogatepass")
    raise SnapshotError(f"the snapshot has a value of an unknown kind ({code})")
