"""Hashes, compression and base64. All take strings and binaries alike; what they return is a string where it is
UTF-8 and a binary otherwise.

Invariant: decompression stops at the result limit, so that a small payload cannot fill the memory.
"""

from __future__ import annotations

import base64
import binascii
import gzip as _gzip
import hashlib
import zlib
from typing import Final

from core.message import Type
from rules.functions.base import MAX_RESULT, Binary, Category, Refusal, Text, check_size
from rules.functions.values import canonical

CATEGORY = Category("hashing and encoding")
scalar = CATEGORY.scalar


@scalar(Type.TEXT, ("md5('hello')", "5d41402abc4b2a76b9719d911017c592"))
def md5(data: Binary) -> str:
    """The MD5 digest as 32 lower-case hexadecimal digits; not for security."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@scalar(Type.TEXT, ("sha('hello')", "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"))
def sha(data: Binary) -> str:
    """The SHA-1 digest as 40 lower-case hexadecimal digits; not for security."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


@scalar(Type.TEXT, ("sha256('hello')", "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"))
def sha256(data: Binary) -> str:
    """The SHA-256 digest as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


_ALGORITHMS: Final = {
    "md5": "md5",
    "sha": "sha1",
    "sha1": "sha1",
    **{name: name for name in ("sha224", "sha256", "sha384", "sha512", "blake2b", "blake2s")},
    **{name: name for name in ("sha3_224", "sha3_256", "sha3_384", "sha3_512")},
}


@scalar(Type.TEXT, ("hash('sha1', 'hello')", "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"))
def hash(algorithm: Text, data: Binary) -> str:  # noqa: A001 - EMQX's name
    """The digest in lower-case hexadecimal digits by md5, sha (sha1), sha224, sha256, sha384, sha512, sha3_224,
    sha3_256, sha3_384, sha3_512, blake2b or blake2s."""
    name = _ALGORITHMS.get(algorithm)
    if name is None:
        raise Refusal(f"{algorithm[:40]!r} is none of {', '.join(_ALGORITHMS)}", "unknown_hash_algorithm")
    return hashlib.new(name, data, usedforsecurity=False).hexdigest()


_RAW: Final = -zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_GZIP: Final = zlib.MAX_WBITS | 16


def _compress(data: bytes, window: int) -> bytes:
    compressor = zlib.compressobj(wbits=window)
    return compressor.compress(data) + compressor.flush()


def _stream(data: bytes, window: int, most: int) -> tuple[bytes, bytes]:
    """What the first compressed stream in ``data`` holds, and what stands behind it."""
    decompressor = zlib.decompressobj(wbits=window)
    try:
        found = decompressor.decompress(data, most + 1)
    except zlib.error as error:
        raise Refusal(f"the data cannot be decompressed: {error}") from None
    if len(found) > most:
        check_size(MAX_RESULT + 1)
    if not decompressor.eof:
        raise Refusal("the compressed data ends too early")
    return found, decompressor.unused_data


def _decompress(data: bytes, window: int) -> str | bytes:
    return canonical(_stream(data, window, MAX_RESULT)[0])


@scalar(Type.BYTES, ("gunzip(gzip('hello'))", "hello"))
def gzip(data: Binary) -> bytes:
    """The data compressed, with a gzip header without a time."""
    return _gzip.compress(data, 6, mtime=0)


@scalar(Type.ANY, ("gunzip(hexstr2bin('1F8B0800000000000003CB48CDC9C9070086A6103605000000'))", "hello"))
def gunzip(data: Binary) -> str | bytes:
    """The data that was compressed with a gzip header; what stands in several such pieces is joined."""
    pieces: list[bytes] = []
    rest = data
    left = MAX_RESULT
    while rest or not pieces:
        piece, rest = _stream(rest, _GZIP, left)
        pieces.append(piece)
        left -= len(piece)
    return canonical(b"".join(pieces))


@scalar(Type.ANY, ("bin2hexstr(zip('hello'))", "CB48CDC9C90700"))
def zip(data: Binary) -> str | bytes:  # noqa: A001 - EMQX's name
    """The data compressed, without a header (raw deflate)."""
    return canonical(_compress(data, _RAW))


@scalar(Type.ANY, ("unzip(hexstr2bin('CB48CDC9C90700'))", "hello"))
def unzip(data: Binary) -> str | bytes:
    """The data that was compressed without a header (raw deflate)."""
    return _decompress(data, _RAW)


@scalar(Type.BYTES, ("bin2hexstr(zip_compress('hello'))", "789CCB48CDC9C90700062C0215"))
def zip_compress(data: Binary) -> bytes:
    """The data compressed, with a zlib header."""
    return _compress(data, _ZLIB)


@scalar(Type.ANY, ("zip_uncompress(zip_compress('hello'))", "hello"))
def zip_uncompress(data: Binary) -> str | bytes:
    """The data that was compressed with a zlib header."""
    return _decompress(data, _ZLIB)


_URLSAFE: Final = bytes.maketrans(b"+/", b"-_")
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_WHITESPACE: Final = b" \t\r\n\v\f"


@scalar(
    Type.TEXT,
    ("base64_encode('hello')", "aGVsbG8="),
    ("base64_encode('hello', 'no_padding')", "aGVsbG8"),
    ("base64_encode(hexstr2bin('FBEF'), 'urlsafe')", "--8="),
)
def base64_encode(data: Binary, option: Text = "", second_option: Text = "") -> str:
    """Base64. Options: `no_padding` leaves out the `=` at the end, `urlsafe` writes `-` and `_` for `+` and `/`;
    others mean nothing."""
    encoded = base64.b64encode(data)
    options = (option, second_option)
    if "urlsafe" in options:
        encoded = encoded.translate(_URLSAFE)
    text = encoded.decode()
    return text.rstrip("=") if "no_padding" in options else text


@scalar(
    Type.ANY,
    ("base64_decode('aGVsbG8=')", "hello"),
    ("base64_decode('aGVsbG8', 'no_padding')", "hello"),
)
def base64_decode(text: Binary, option: Text = "", second_option: Text = "") -> str | bytes:
    """The data of a base64 text; white space in it is ignored, other foreign characters are refused. With
    `no_padding` the `=` may be missing, with `urlsafe` `-` and `_` stand for `+` and `/`."""
    options = (option, second_option)
    data = text.translate(None, _WHITESPACE)
    if "urlsafe" in options:
        if b"+" in data or b"/" in data:
            raise Refusal("the text has + or /, which urlsafe base64 has not")
        data = data.translate(_STANDARD)
    if "no_padding" in options:
        data = data.rstrip(b"=") + b"=" * (-len(data.rstrip(b"=")) % 4)
    try:
        return canonical(base64.b64decode(data, validate=True))
    except binascii.Error as error:
        raise Refusal(f"the text is not base64: {error}") from None
