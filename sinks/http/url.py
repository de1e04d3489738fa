"""Addresses with ``${column}`` in them: what a row puts into one stays where its placeholder stands.

* In the path and the query a value is percent-encoded, slashes too; it can neither end its segment nor be ``..``.
* In the host it is letters, digits, dots, hyphens and a port; anything else is refused.
* A placeholder that an absolute address begins with is an address itself: ``${callback}`` or ``${callback}/${id}``.

In the query null is empty; elsewhere a row without the value has no address. ``foreign`` says that the host comes out
of data: whoever sends there must not trust it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import quote, quote_from_bytes

from yarl import URL

from connections.http import join
from connections.http_client import is_http
from core.errors import ConfigError, PayloadError
from core.message import Row, Schema
from sinks.template import Template

_PLACEHOLDER: Final = re.compile(r"(\$\{[^{}]*\})")
_ABSOLUTE: Final = re.compile(r"https?://", re.IGNORECASE)
_IN_HOST: Final = re.compile(r"[^/?#]*://[^/?#]*")
_AFTER_ADDRESS: Final = re.compile(r"://|[/?]|$")
_HOST: Final = re.compile(rb"[A-Za-z0-9._\-:\[\]]+")
_DOTS: Final = re.compile(r"/\.{1,2}(?=/|$)")
_RESERVED: Final = "%:/?[]@!$&'()*+,;=-._~"


class UrlTemplate:
    """A parsed address, below ``base`` unless it is absolute; ``constant`` is the URL where no row has a say in it."""

    def __init__(self, text: str, base: URL | None) -> None:
        """ConfigError (path ``url``) for what is no address."""
        if base is not None and not _ABSOLUTE.match(text):
            text = join(base, text)
        elif not (_ABSOLUTE.match(text) or text.startswith("${")):
            raise ConfigError("is no whole address", path="url", hint="or set base_url")
        self._parts: list[tuple[str, str]] = []  # what it is ("literal", "address", "host", "path", "query"), its text
        self._parse(text)
        kinds = {kind for kind, _ in self._parts}
        self.foreign = not kinds.isdisjoint({"address", "host"})
        self._whole = "address" in kinds
        samples = {"address": "http://1", "host": "1", "path": "1", "query": "1"}
        sample = self._parsed("".join(samples.get(kind, part) for kind, part in self._parts))
        if isinstance(sample, str):
            raise ConfigError(sample, path="url", hint="as in https://example.com/hook")
        self.constant: URL | None = None if kinds - {"literal"} else sample

    def _parse(self, text: str) -> None:
        seen = ""
        for index, piece in enumerate(_PLACEHOLDER.split(text)):
            constant = Template(piece).constant if index % 2 else piece
            if constant is None:
                if not seen:
                    kind = "address"
                elif _IN_HOST.fullmatch(seen):
                    kind = "host"
                else:
                    kind = "query" if "?" in seen else "path"
                self._parts.append((kind, piece))
                seen += "x"
            elif constant:
                if "#" in constant:
                    raise ConfigError("has a fragment, which is never sent", path="url")
                self._parts.append(("literal", quote(constant, safe=_RESERVED)))
                seen += constant
        if text.startswith("${") and not _AFTER_ADDRESS.match(text, text.index("}") + 1):
            raise ConfigError("what follows the placeholder has to begin with / or ?", path="url")

    def bind(self, schema: Schema) -> Callable[[Row], URL]:
        """A function that gives the address of a row; PayloadError for a row that has none."""
        constant = self.constant
        if constant is not None:
            return lambda _: constant
        parts = [_renderer(kind, text, schema) for kind, text in self._parts]
        return lambda row: self._url("".join([part(row) for part in parts]))

    def _url(self, text: str) -> URL:
        found = self._parsed(text)
        if isinstance(found, str):
            raise PayloadError(f"its address {found}", "http")
        return found

    def _parsed(self, text: str) -> URL | str:
        """The address, or what is wrong with it."""
        try:
            url = URL(text, encoded=not self._whole)
            good = is_http(url)
        except ValueError:
            good = False
        if not good:
            return "is no http URL"
        if url.user is not None or url.password is not None:
            return "has a user or password in it"
        if _DOTS.search(text.partition("?")[0]):
            return "has a segment '.' or '..'"
        return url


def _renderer(kind: str, text: str, schema: Schema) -> Callable[[Row], str]:
    if kind == "literal":
        return lambda _: text
    render = Template(text).bind_nullable(schema)
    if kind == "query":
        return lambda row: quote_from_bytes(render(row) or b"", safe="")

    def part(row: Row) -> str:
        value = render(row)
        if not value:
            raise PayloadError(f"{text} in its address is null or empty", "http")
        if kind == "path":
            return quote_from_bytes(value, safe="")
        if kind == "host" and not _HOST.fullmatch(value):
            raise PayloadError(f"{text} in its address is no name of a host", "http")
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise PayloadError(f"{text} in its address is no text", "http") from None

    return part
