"""The value types that settings are made of: durations, sizes, secrets, bind addresses.

Each is written in TOML as its users would say it (``"200ms"``, ``"1GiB"``, ``{ env = "NAME" }``, ``"0.0.0.0:1883"``)
and decoded by msgspec through :func:`decode_hook`. Errors are ValueErrors with the accepted forms; the path to
the setting is added by whoever decodes. Sections themselves are msgspec structs beside the code they configure.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final

from core.clock import MICROSECOND, MILLISECOND, SECOND

_DURATION_UNITS: Final = {
    "ns": 1,
    "us": MICROSECOND,
    "ms": MILLISECOND,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3_600 * SECOND,
    "d": 86_400 * SECOND,
}
_SIZE_UNITS: Final = {
    "B": 1,
    "kB": 1_000,
    "MB": 1_000_000,
    "GB": 1_000_000_000,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}
MASK: Final = "***"
"""What stands where a secret would."""
_URL_PASSWORD: Final = re.compile(r"(://[^/?#@:\s]*:)[^/?#\s]*(?=@)")
_URL_SECRET: Final = re.compile(r"([?&][\w.-]*(?:api_?key|passw|secret|sig|token)[\w.-]*=)[^&#\s]+", re.IGNORECASE)
_QUANTITY: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]+)").fullmatch


def _parse(text: Any, units: dict[str, int], example: str) -> int:
    found = _QUANTITY(text) if isinstance(text, str) else None
    if found is None or found[2] not in units:
        raise ValueError(f"expected a text like {example!r} (units: {', '.join(units)}), got {text!r}")
    return round(float(found[1]) * units[found[2]]) if "." in found[1] else int(found[1]) * units[found[2]]


class Duration(int):
    """Nanoseconds, written ``"200ms"``, ``"5s"``, ``"1.5h"``."""

    @classmethod
    def parse(cls, text: Any) -> Duration:
        return cls(_parse(text, _DURATION_UNITS, "200ms"))

    @property
    def seconds(self) -> float:
        return self / SECOND

    def __str__(self) -> str:
        for unit in ("d", "h", "m", "s", "ms", "us"):
            if self and self % _DURATION_UNITS[unit] == 0:
                return f"{self // _DURATION_UNITS[unit]}{unit}"
        return f"{int(self)}ns"


class Size(int):
    """Bytes, written ``"64KiB"``, ``"1GiB"``, ``"10MB"``."""

    @classmethod
    def parse(cls, text: Any) -> Size:
        return cls(_parse(text, _SIZE_UNITS, "1GiB"))

    def __str__(self) -> str:
        for unit in ("TiB", "GiB", "MiB", "KiB", "GB", "MB", "kB"):
            if self and self % _SIZE_UNITS[unit] == 0:
                return f"{self // _SIZE_UNITS[unit]}{unit}"
        return f"{int(self)}B"


class Bind:
    """A host and port to listen on, written ``"0.0.0.0:1883"`` or ``"[::1]:1883"``; port 0 lets the system choose."""

    __slots__ = ("host", "port")

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    @classmethod
    def parse(cls, text: Any) -> Bind:
        host, colon, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
        if host[:1] == "[" and host[-1:] == "]" and ":" in host:
            host = host[1:-1]
        elif not set(host).isdisjoint("[]:"):
            host = ""  # an IPv6 address without brackets could end anywhere
        if not (host and colon and port.isascii() and port.isdigit() and int(port) <= 65_535):
            raise ValueError(f"expected 'host:port' like '0.0.0.0:1883', got {text!r}")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Secret:
    """A value that is never printed: ``{ env = "NAME" }``, ``{ file = "path" }`` (last newline cut) or a plain text.

    It is read when it is used, not when the configuration is: :meth:`reveal` raises ValueError that names the
    absent variable or file, never the value.
    """

    __slots__ = ("_kind", "_value")

    def __init__(self, kind: str, value: str) -> None:
        self._kind = kind
        self._value = value

    @classmethod
    def parse(cls, source: Any) -> Secret:
        if isinstance(source, str):
            return cls("text", source)
        if isinstance(source, dict) and len(source) == 1:
            [(kind, value)] = source.items()
            if kind in ("env", "file") and isinstance(value, str):
                return cls(kind, value)
        raise ValueError('expected { env = "NAME" }, { file = "path" } or a text')

    def reveal(self) -> str:
        if self._kind == "text":
            return self._value
        if self._kind == "env":
            try:
                return os.environ[self._value]
            except KeyError:
                raise ValueError(f"the environment variable {self._value} is not set") from None
        try:
            return Path(self._value).read_text(encoding="utf-8").removesuffix("\n")
        except OSError as error:
            raise ValueError(f"the secret's file {self._value} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ValueError(f"the secret's file {self._value} is not UTF-8") from None

    @property
    def shown(self) -> str | dict[str, str]:
        """Where it comes from, as a configuration that is shown says it; a text is masked."""
        return MASK if self._kind == "text" else {self._kind: self._value}

    def __repr__(self) -> str:
        return f"Secret({MASK})" if self._kind == "text" else f"Secret({self._kind}={self._value})"

    __str__ = __repr__


def mask_urls(text: str) -> str:
    """``text`` with the passwords and tokens of the URLs in it masked; relative ones too."""
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\1{MASK}", text)
    return _URL_SECRET.sub(rf"\1{MASK}", text) if "=" in text else text


def decode_hook(kind: type[Any], value: Any) -> Any:
    """The ``dec_hook`` for ``msgspec.convert`` of settings."""
    if kind in (Duration, Size, Bind, Secret):
        return kind.parse(value)
    raise TypeError(f"no setting is of type {kind.__name__}")
