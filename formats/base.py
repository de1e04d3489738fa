"""What a codec is; extensions register theirs under the entry-point group ``headrace.codecs``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import msgspec


class Codec(ABC):
    """Turns a payload into values and a value back into a payload. Pure: no I/O, no clock, no state.

    ``Config`` describes its options; an instance is made once per source or sink that names the codec.
    """

    class Config(msgspec.Struct, forbid_unknown_fields=True):
        """No options unless a codec declares its own."""

    name: ClassVar[str]

    def __init__(self, config: Any = None) -> None:
        self.config = config or self.Config()

    @abstractmethod
    def decode(self, payload: bytes) -> list[Any]:
        """The 0..n values of a payload; :class:`core.errors.PayloadError` where it is not of this format."""

    @abstractmethod
    def encode(self, value: Any) -> bytes:
        """The payload of a value; PayloadError where the format cannot express it."""
