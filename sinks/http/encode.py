"""Rows -> requests: addresses, headers and bodies, compiled once per schema.

With ``json_array`` and ``ndjson`` the rows of a batch that have the same address and headers make one request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from yarl import URL

from connections.http import HEADER_NAME, HEADER_VALUE
from connections.http_client import gzipped
from core.errors import ConfigError, PayloadError
from core.message import Row, Schema
from sinks.http.body import Body
from sinks.http.config import Config
from sinks.http.url import UrlTemplate
from sinks.template import Template

_OURS: Final = frozenset(
    {"content-length", "transfer-encoding", "host", "connection", "content-type", "content-encoding"}
)
_SETTINGS: Final = {"content-type": "see content_type", "content-encoding": "see gzip"}
_KEY: Final = "Idempotency-Key"

Headers = tuple[tuple[str, str], ...]


class Request(NamedTuple):
    """One request for the rows at ``places``, whose parts of the body are ``parts`` (none where it has no body)."""

    url: URL
    headers: Headers
    parts: list[bytes]
    places: list[int]

    def halves(self) -> tuple[Request, Request]:
        """Two requests for half of the rows each."""
        middle = len(self.places) // 2
        return (
            self._replace(parts=self.parts[:middle], places=self.places[:middle]),
            self._replace(parts=self.parts[middle:], places=self.places[middle:]),
        )


Requests = tuple[list[Request], list[tuple[int, str]]]
Encode = Callable[[Sequence[Row]], Requests]


class Encoder:
    """The templates of one sink; ConfigError for settings that contradict one another.

    ``base`` is where relative addresses are below, ``taken`` the names (small letters) of headers that others set.
    """

    def __init__(self, config: Config, base: URL | None, taken: frozenset[str] = frozenset()) -> None:
        self._config = config
        self._together = config.send != "row"
        self.url = UrlTemplate(config.url, base)
        self._check(config, taken)
        self._has_body = config.body is not None or config.method not in ("GET", "DELETE")
        self._body = Body(config)
        self._headers = [(name, Template(text)) for name, text in config.headers.items()]
        if config.idempotency_key not in (None, "auto"):
            self._headers.append((_KEY, Template(str(config.idempotency_key))))
        self._fixed = {"Content-Type": self._body.content_type} if self._has_body else {}
        if config.gzip and self._has_body:
            self._fixed["Content-Encoding"] = "gzip"

    def _check(self, config: Config, taken: frozenset[str]) -> None:
        if config.method == "GET" and config.body is not None:
            raise ConfigError("GET has no body", path="body")
        if self._together and config.method in ("GET", "DELETE"):
            raise ConfigError(f"{config.method} has no body to put rows into", path="send")
        for name, text in config.headers.items():
            path = f"headers.{name}"
            if not HEADER_NAME.fullmatch(name):
                raise ConfigError("is no name of a header", path=path)
            if name.lower() in _OURS:
                hint = _SETTINGS.get(name.lower(), "it follows from the address and the body")
                raise ConfigError("is set by the sink itself", path=path, hint=hint)
            if name.lower() in taken:
                raise ConfigError("the connection sets this header", path=path)
            if not HEADER_VALUE.fullmatch(text):
                raise ConfigError("holds what no HTTP header can: a line break?", path=path)
        if config.content_type is not None and not HEADER_VALUE.fullmatch(config.content_type):
            raise ConfigError("holds what no HTTP header can", path="content_type")
        key = config.idempotency_key
        if key is not None and (key == "" or not HEADER_VALUE.fullmatch(key)):
            raise ConfigError("is empty or holds what no HTTP header can", path="idempotency_key")
        if key not in (None, "auto") and self._together:
            raise ConfigError('a request for many rows has no key of a row: take "auto"', path="idempotency_key")
        if key is not None and _KEY.lower() in map(str.lower, config.headers):
            raise ConfigError("is among the headers already", path="idempotency_key")

    def bind(self, schema: Schema) -> Encode:
        """A function that makes the requests for rows, and names the rows that can have none with the reason."""
        url, constant = self.url.bind(schema), self.url.constant
        part = self._body.bind(schema) if self._has_body else lambda _: b""
        headers = [(name, template.bind_nullable(schema)) for name, template in self._headers]

        def of_row(row: Row) -> tuple[URL, Headers, bytes]:
            own = [(name, _header(name, text)) for name, value in headers if (text := value(row)) is not None]
            return url(row), tuple(own), part(row)

        def one_by_one(rows: Sequence[Row]) -> Requests:
            return _gathered(rows, of_row, together=self._together)

        if not self._together or constant is None or headers:
            return one_by_one
        everywhere: URL = constant

        def all_at_once(rows: Sequence[Row]) -> Requests:
            try:
                return [Request(everywhere, (), [part(row) for row in rows], list(range(len(rows))))], []
            except PayloadError:
                return one_by_one(rows)

        return all_at_once

    def finish(self, request: Request, key: str) -> tuple[dict[str, str], bytes | None]:
        """The headers and the body of a request of the batch ``key``."""
        headers = {**self._fixed, **dict(request.headers)}
        if self._config.idempotency_key == "auto":
            headers[_KEY] = f"{key}-{request.places[0]}-{len(request.places)}"
        if not self._has_body:
            return headers, None
        if self._config.send == "json_array":
            body = b"[%b]" % b",".join(request.parts)
        elif self._config.send == "ndjson":
            body = b"%b\n" % b"\n".join(request.parts)
        else:
            body = request.parts[0]
        return headers, gzipped(body) if self._config.gzip else body


def _gathered(rows: Sequence[Row], of_row: Callable[[Row], tuple[URL, Headers, bytes]], *, together: bool) -> Requests:
    dead: list[tuple[int, str]] = []
    found: dict[object, Request] = {}
    for index, row in enumerate(rows):
        try:
            url, headers, part = of_row(row)
        except PayloadError as error:
            dead.append((index, str(error)))
            continue
        key = (url, headers) if together else index
        request = found.get(key)
        if request is None:
            request = found[key] = Request(url, headers, [], [])
        request.parts.append(part)
        request.places.append(index)
    return list(found.values()), dead


def _header(name: str, value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise PayloadError(f"the header {name} is no text", "http") from None
    if not HEADER_VALUE.fullmatch(text):
        raise PayloadError(f"the header {name} would have a control character", "http")
    return text
