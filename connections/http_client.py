"""The one way in which headrace speaks HTTP to a far side: a pooled aiohttp session, time-outs, TLS, bounded answers.

What goes wrong on the way to an answer becomes :class:`core.errors.Unavailable` with a sentence that holds neither
credentials nor query; what an answer means is its caller's business. Redirects are not followed: who configures an
address means that one. Nothing is tried again here.
"""

from __future__ import annotations

import asyncio
import email.utils
import http
import ipaddress
import re
import socket
import ssl
import zlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from connections.tls import TlsSettings, make_context, reason_of
from core.clock import SECOND
from core.errors import Unavailable
from core.settings import MASK

_MAX_ANSWER: Final = 1 << 16
_MAX_WAIT: Final = 3_600 * SECOND
_SHOWN: Final = 300
_TLS_WANTED: Final = re.compile(
    rb"Client sent an HTTP request to an HTTPS server\.\s*$"
    rb"|Bad Request\s+This combination of host and port requires TLS"
    rb"|<html>\s*<head><title>400 The plain HTTP request was sent to HTTPS port</title>"
)
"""What Go, Tomcat and nginx answer to HTTP on a port for TLS. No row can be the reason, so none must pay for it."""
_HOST: Final = re.compile(r"[^\s%\\]+")
_CONNECT: Final = 10.0
"""Seconds that the making of one connection may take."""
_PHRASES: Final = {status.value: status.phrase for status in http.HTTPStatus}
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class Answer(NamedTuple):
    """What came back: status, headers (names in any case), and up to 64 KiB of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The beginning of the body on one line, for messages; where there is none, what the status means."""
        line = " ".join(self.body[: 4 * _SHOWN].decode(errors="replace").split())
        if not line:
            return _PHRASES.get(self.status, "no reason given")
        return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."

    @property
    def location(self) -> str:
        """Where a redirect leads, as messages may show it."""
        try:
            target = URL(self.headers.get("Location", ""))
        except ValueError:
            return "?"
        return shown(target) if target.host else target.path or "?"

    def without(self, secrets: Iterable[str]) -> Answer:
        """The same with these masked wherever the body repeats them."""
        body = self.body
        for secret in sorted({*secrets} - {""}, key=len, reverse=True):
            body = body.replace(secret.encode(), MASK.encode())
        return self._replace(body=body)

    def retry_after(self, now: int) -> int | None:
        """Nanoseconds that the far side asks us to wait (RFC 9110, 10.2.3), at most an hour; ``now`` likewise."""
        text = self.headers.get("Retry-After")
        if text is None:
            return None
        try:
            wait = int(text) * SECOND
        except ValueError:
            try:
                moment = email.utils.parsedate_to_datetime(text)
            except ValueError:
                return None
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            wait = int((moment - datetime.fromtimestamp(now / SECOND, UTC)).total_seconds() * SECOND)
        return min(max(wait, 0), _MAX_WAIT)


class AddressGuard:
    """Which addresses requests may go to, whoever named them: public ones, and those of ``allowed`` networks."""

    def __init__(self, allowed: tuple[str, ...] = ()) -> None:
        """ValueError for what is no network like ``10.0.0.0/8``."""
        self._allowed = [ipaddress.ip_network(text) for text in allowed]

    def refuses(self, address: str) -> bool:
        """Whether requests must not go to this IP address. IPv4 addresses within IPv6 ones count as themselves."""
        found: Any = ipaddress.ip_address(address.partition("%")[0])
        if found.version == 6:
            found = _inner(found) or found
        if any(found in network for network in self._allowed if network.version == found.version):
            return False
        return not found.is_global or found.is_multicast


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to this one end up at: mapped, 6to4 or NAT64."""
    if address in _NAT64:
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour


class _GuardedResolver(AbstractResolver):
    """The system's resolver without the addresses that the guard refuses: what is connected to is what was checked."""

    def __init__(self, guard: AddressGuard) -> None:
        self._resolver = aiohttp.ThreadedResolver()
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        good = [address for address in found if not self._guard.refuses(address["host"])]
        if not good:
            raise _Refused(f"{host} has a private address")
        return good

    async def close(self) -> None:
        await self._resolver.close()


class _Refused(OSError):
    """The guard refuses every address of a host."""


class AddressRefused(Unavailable):
    """No request can go there, ever: the guard refuses the host, or it is no host."""


class HttpClient:
    """Requests to any number of hosts; use it between ``open`` and ``close``, on one event loop.

    ``timeout`` is nanoseconds for a whole exchange, ``connections`` how many may be open. ConfigError (path
    ``tls...``) for TLS files that cannot be used.
    """

    def __init__(
        self,
        base_dir: Path,
        *,
        tls: TlsSettings | None = None,
        timeout: int = 30 * SECOND,
        connections: int = 8,
        guard: AddressGuard | None = None,
    ) -> None:
        self._ssl: ssl.SSLContext | bool = make_context(tls, base_dir) if tls is not None else True
        self._seconds = timeout / SECOND
        self._connections = connections
        self._guard = guard
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the session; connects to nobody."""
        if self._session is None:
            resolver = _GuardedResolver(self._guard) if self._guard else None
            connector = aiohttp.TCPConnector(
                limit=self._connections, ssl=self._ssl, resolver=resolver, use_dns_cache=self._guard is None
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._seconds, sock_connect=min(self._seconds, _CONNECT)),
                skip_auto_headers=("Accept-Encoding", "User-Agent"),
                headers={"User-Agent": "headrace"},
            )

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        name: str | None = None,
    ) -> Answer:
        """One request; Unavailable where no whole answer comes, AddressRefused where none ever can.

        ``name`` stands for the address in messages, where its path is not to be shown.
        """
        session = self._session
        if session is None:
            raise Unavailable("the HTTP client is not open")
        self._check(url, name)
        try:
            async with session.request(method, url, data=body, headers=headers, allow_redirects=False) as response:
                answer = Answer(response.status, response.headers, await _body(response))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            reason = _reason(error, self._seconds)
            never = isinstance(_cause(error), _Refused | aiohttp.InvalidURL)
            raise (AddressRefused if never else Unavailable)(f"{name or shown(url)}: {reason}") from None
        if answer.status == 400 and url.scheme == "http" and _TLS_WANTED.match(answer.body):
            raise Unavailable(f"{name or shown(url)}: the port speaks TLS, the address has to begin with https")
        return answer

    def _check(self, url: URL, name: str | None) -> None:
        """Host names are checked when they are resolved; what looks like an address is not resolved."""
        host = url.host or ""
        if self._guard is not None and (":" in host or host.replace(".", "").isdigit()):
            try:
                refused = self._guard.refuses(host)
            except ValueError:
                raise AddressRefused(f"{name or shown(url)}: {host} is no address") from None
            if refused:
                raise AddressRefused(f"{name or shown(url)}: {host} is a private address")


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """The body up to the limit; the connection is given up where there is more."""
    if response.status == 204:
        return b""
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > _MAX_ANSWER:
            response.close()
            break
    return b"".join(parts)[:_MAX_ANSWER]


def is_http(url: URL) -> bool:
    """Whether requests can go there, as far as the address says; URL takes blanks in a host for what they are."""
    host = url.host or ""
    return url.scheme in ("http", "https") and bool(url.port) and (":" in host or _HOST.fullmatch(host) is not None)


def gzipped(body: bytes) -> bytes:
    """``body`` as ``Content-Encoding: gzip`` has it, at the level that costs least."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


def shown(url: URL) -> str:
    """The address as messages may show it: without user, password, query and fragment."""
    return str(url.with_user(None).with_query(None).with_fragment(None)) if url.host else "the URL"


def _cause(error: BaseException) -> BaseException:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return error.certificate_error
    return error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error


def _reason(error: BaseException, seconds: float) -> str:
    cause = _cause(error)
    if isinstance(cause, _Refused):
        return str(cause)
    if isinstance(cause, aiohttp.ConnectionTimeoutError):
        return "the connection takes too long"
    if isinstance(cause, asyncio.TimeoutError):
        return f"no answer within {seconds:g} s"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name of the host is not known"
    if isinstance(cause, ssl.SSLError):
        return reason_of(cause)
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed before the answer"
    if isinstance(error, aiohttp.InvalidURL | ValueError) and not isinstance(error, aiohttp.ClientPayloadError):
        return "not an http URL"
    if isinstance(cause, OSError) and cause.strerror:
        return " ".join(cause.strerror.split()).lower()
    text = " ".join(str(cause).split())
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__
