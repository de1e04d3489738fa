"""The contract suite of codecs: what is encoded comes back, and nothing but values or PayloadErrors comes out."""

# ruff: noqa: PT017, S101, S311 - test code that lives in the package: it asserts, and its randomness is seeded

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from core.errors import PayloadError
from formats.base import Codec


class CodecContract:
    """What :class:`formats.base.Codec` promises. Implement :meth:`make_codec`; override :meth:`documents`."""

    def make_codec(self) -> Codec:
        raise NotImplementedError

    def documents(self) -> Sequence[Any]:
        """Values that the format can express and gives back equal."""
        return [{"station": "cp1", "kw": 11.5, "n": -3, "on": True, "none": None}, {"nested": {"list": [1, [2], {}]}}]

    def unencodable(self) -> Sequence[Any]:
        """Values that the format cannot express."""
        return [object()]

    def test_what_is_encoded_decodes_to_the_same(self) -> None:
        codec = self.make_codec()
        for document in self.documents():
            payload = codec.encode(document)
            assert isinstance(payload, bytes), "encode returns bytes"
            assert codec.decode(payload) == [document], f"{document!r} came back as {codec.decode(payload)!r}"

    def test_what_it_cannot_express_is_a_payload_error(self) -> None:
        codec = self.make_codec()
        for value in self.unencodable():
            try:
                codec.encode(value)
            except PayloadError:
                continue
            raise AssertionError(f"{value!r} was encoded")

    def test_any_payload_gives_values_or_a_payload_error(self) -> None:
        codec = self.make_codec()
        source = random.Random(7)
        payloads = [source.randbytes(source.randrange(64)) for _ in range(500)]
        for document in self.documents():
            whole = codec.encode(document)
            payloads += [whole[:end] for end in range(len(whole))]
            for _ in range(200):
                broken = bytearray(whole)
                broken[source.randrange(len(broken))] = source.randrange(256)
                payloads.append(bytes(broken))
        for payload in payloads:
            try:
                values = codec.decode(payload)
            except PayloadError as error:
                assert str(error), "an error has a sentence for the user"
            else:
                assert isinstance(values, list), "decode returns a list of values"

    def test_it_is_pure(self) -> None:
        codec, other = self.make_codec(), self.make_codec()
        for document in self.documents():
            payload = codec.encode(document)
            first = codec.decode(payload)
            assert codec.decode(payload) == first == other.decode(payload)
            assert codec.encode(document) == payload
