"""The http connection: one HTTP service with its credentials, or, without ``base_url``, HTTP as such.

Owns addresses, credentials and the guard against addresses that rows must not reach; which requests are made and what
the answers mean is its users' business. Credentials go to the origin of ``base_url`` and to nobody else; none is part
of a message, not even where the far side repeats it.
"""

from __future__ import annotations

import base64
import re
import urllib.parse
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

import msgspec
from yarl import URL

from connections.base import Connection, ConnectionContext
from connections.http_client import AddressGuard, AddressRefused, Answer, HttpClient, is_http, shown
from connections.oauth import ClientCredentials, TokenSource, check_token_url
from connections.tls import TlsSettings, chosen, make_context
from connections.worker import Worker
from core.clock import SECOND
from core.errors import ConfigError, Unavailable
from core.settings import MASK, Duration, Secret

HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
HEADER_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
"""Nothing that could end the line: what follows would be another header, or a body."""
DENIED: Final = frozenset({401, 403, 407})
_PATH: Final = re.compile(r"[^\s?#{}\x00-\x1f\x7f-\U0010ffff]+")
_ABSENT: Final = frozenset({502, 503, 504})
"""Whoever answers says that the service itself does not."""


class Basic(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True, tag_field="type", tag="basic"):
    """User and password go with every request: use it with https."""

    user: str
    """As the service knows it."""
    password: Secret
    """``{ env = "NAME" }`` or ``{ file = "path" }``."""


class Bearer(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True, tag_field="type", tag="bearer"):
    """A token that does not change."""

    token: Secret
    """``{ env = "NAME" }`` or ``{ file = "path" }``."""


class Oauth2(ClientCredentials, frozen=True, tag_field="type", tag="oauth2"):
    """Tokens by OAuth 2 client credentials, fetched anew shortly before they end and where one is refused."""


class HttpConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One service (``base_url``), or none in particular: then its users name hosts themselves, without credentials."""

    base_url: str | None = None
    """``https://host/path``: where its users' addresses are below, and where credentials go."""
    secret_path: Secret | None = None
    """Comes after ``base_url`` and is never shown: for addresses that are credentials, as chat webhooks have."""
    auth: Basic | Bearer | Oauth2 | None = None
    """``{ type = "bearer", token = { env = "..." } }``."""
    secret_headers: dict[str, Secret] = {}
    """Headers that are credentials, such as ``{ X-Api-Key = { env = "..." } }``."""
    secret_query: dict[str, Secret] = {}
    """Parameters of the address that are credentials, such as ``{ sig = { env = "..." } }``."""
    tls: bool | TlsSettings = False
    """Only what differs from the system's authorities: an ``https`` URL is enough."""
    timeout: Duration = Duration(10 * SECOND)
    """How long a whole request may take."""
    max_connections: Annotated[int, msgspec.Meta(ge=1)] = 16
    """Connections open at a time; further requests wait."""
    check_path: str | None = None
    """After ``base_url``: a GET of it must succeed before rows are sent. Without it any answer is a good sign."""
    private_addresses: Literal["auto", "allow", "refuse"] = "auto"
    """Whether requests may go to loopback, link-local, private and multicast addresses. ``auto``: unless the host
    comes out of a row."""
    allowed_networks: list[str] = []
    """Networks like ``10.1.0.0/16`` that are always fine."""


class HttpConnection(Connection):
    """Pools of connections, and what goes with every request."""

    type: ClassVar[str] = "http"
    Config = HttpConfig

    def __init__(self, config: HttpConfig, context: ConnectionContext) -> None:
        super().__init__(config, context)
        self._secrets: list[str] = []
        self.base, self._hidden = self._address(config)
        self._check_path(config)
        self._origin = None if self.base is None else self.base.origin()
        self._headers = self._login(config)
        self._query = self._parameters(config)
        tls = chosen(config.tls)
        self._tokens: TokenSource | None = None
        if isinstance(config.auth, Oauth2):
            self._revealed(config.auth.client_secret, "auth.client_secret")
            check_token_url(config.auth, "auth")
            self._tokens = TokenSource(config.auth, None if tls is None else make_context(tls, context.base_dir))
        self._worker: Worker | None = None
        try:
            guard = AddressGuard(tuple(config.allowed_networks))
        except ValueError as error:
            raise ConfigError(str(error), path="allowed_networks", hint="a network is like 10.1.0.0/16") from None
        trusted, untrusted = {"auto": (None, guard), "allow": (None, None), "refuse": (guard, guard)}[
            config.private_addresses
        ]

        def client(guard: AddressGuard | None) -> HttpClient:
            limit = config.max_connections
            return HttpClient(context.base_dir, tls=tls, timeout=config.timeout, connections=limit, guard=guard)

        self._trusted = client(trusted)
        self._untrusted = self._trusted if untrusted is trusted else client(untrusted)

    # -- settings ---------------------------------------------------------------------------------------------------

    def _address(self, config: HttpConfig) -> tuple[URL | None, str | None]:
        """What URLs begin with, and the part of it that is not shown."""
        if config.base_url is None:
            for name in ("auth", "secret_headers", "secret_path", "secret_query", "check_path"):
                if getattr(config, name):
                    raise ConfigError(f"is needed with {name}", path="base_url")
            return None, None
        base = _absolute(config.base_url, "base_url")
        if base.query_string or base.fragment:
            raise ConfigError("holds a query or fragment", path="base_url", hint="those belong to the url of the sink")
        if config.secret_path is None:
            return base, None
        secret = self._revealed(config.secret_path, "secret_path").strip("/")
        if not _PATH.fullmatch(secret):
            raise ConfigError("is not the path of a URL", path="secret_path")
        self._secrets.append(secret)
        return URL(join(base, secret), encoded=True), f"/{secret}"

    @staticmethod
    def _check_path(config: HttpConfig) -> None:
        path = config.check_path
        if path is not None and not re.fullmatch(r"/[!-~]*", path):
            raise ConfigError(f"{path!r} is no path like '/health'", path="check_path")

    def _login(self, config: HttpConfig) -> dict[str, str]:
        headers: dict[str, str] = {}
        for name, secret in config.secret_headers.items():
            if not HEADER_NAME.fullmatch(name):
                raise ConfigError(f"{name!r} is no name of a header", path="secret_headers")
            headers[name] = self._header(secret, f"secret_headers.{name}")
        auth = config.auth
        if auth is None:
            return headers
        if "authorization" in map(str.lower, headers):
            raise ConfigError("there is an Authorization header already", path="auth")
        if isinstance(auth, Basic):
            if ":" in auth.user:
                raise ConfigError("no user may have a colon in its name (RFC 7617)", path="auth.user")
            pair = f"{auth.user}:{self._revealed(auth.password, 'auth.password')}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
            self._secrets.append(base64.b64encode(pair).decode())
        elif isinstance(auth, Bearer):
            headers["Authorization"] = f"Bearer {self._header(auth.token, 'auth.token')}"
        return headers

    def _parameters(self, config: HttpConfig) -> str:
        pairs = [(name, self._revealed(secret, f"secret_query.{name}")) for name, secret in config.secret_query.items()]
        self._secrets += [urllib.parse.quote_plus(text) for _, text in pairs]
        return urllib.parse.urlencode(pairs)

    def _header(self, secret: Secret, path: str) -> str:
        text = self._revealed(secret, path)
        if not text or not HEADER_VALUE.fullmatch(text):
            raise ConfigError("is empty or holds what no HTTP header can: a line break?", path=path)
        return text

    def _revealed(self, secret: Secret, path: str) -> str:
        try:
            text = secret.reveal()
        except ValueError as error:
            raise ConfigError(str(error), path=path) from None
        self._secrets.append(text)
        return text

    # -- for its users ----------------------------------------------------------------------------------------------

    @property
    def header_names(self) -> frozenset[str]:
        """The headers, in small letters, that requests to ``base_url`` have already."""
        names = {name.lower() for name in self._headers}
        return frozenset(names if self.config.auth is None else names | {"authorization"})

    async def send(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None = None, *, foreign: bool = False
    ) -> Answer:
        """One request; raises what :meth:`connections.http_client.HttpClient.send` does.

        ``foreign``: the host comes out of data.
        """
        client = self._untrusted if foreign else self._trusted
        name = None if self._hidden is None else self.shown(url)
        try:
            if self._origin is None or url.origin() != self._origin:
                return await client.send(method, url, headers, body, name=name)
            if self._query:
                url = URL(f"{url}{'&' if url.raw_query_string else '?'}{self._query}", encoded=True)
            if self._tokens is None:
                return await client.send(method, url, {**headers, **self._headers}, body, name=name)
            token = await self._token(self._tokens)
            answer = await client.send(method, url, self._bearing(token, headers), body, name=name)
            if answer.status == 401:
                token = await self._token(self._tokens, refused=token)
                answer = await client.send(method, url, self._bearing(token, headers), body, name=name)
        except AddressRefused as error:
            raise AddressRefused(f"{error} (see private_addresses and allowed_networks)") from None
        return answer

    def _bearing(self, token: str, headers: Mapping[str, str]) -> dict[str, str]:
        return {**headers, **self._headers, "Authorization": f"Bearer {token}"}

    async def _token(self, tokens: TokenSource, refused: str | None = None) -> str:
        held = tokens.held()
        if held is None or held.value == refused:
            if self._worker is None:
                raise Unavailable("the HTTP connection is not open")
            held = await self._worker.run(lambda: tokens.token(refused=refused))
        return held.value

    def shown(self, url: URL) -> str:
        """The address as messages may show it."""
        text = shown(url)
        return text if self._hidden is None else text.replace(self._hidden, f"/{MASK}", 1)

    def told(self, answer: Answer) -> str:
        """What the far side says, on one line, without credentials that it repeats."""
        held = None if self._tokens is None else self._tokens.held()
        return answer.without([*self._secrets, held.value if held else ""]).text

    def moved_to(self, answer: Answer) -> str:
        """Where a redirect leads, as messages may show it."""
        text = answer.location
        if self._hidden is None:
            return text
        return text.replace(self._hidden, f"/{MASK}", 1) if "://" in text else "?"

    # -- its life ---------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        await self._trusted.open()
        await self._untrusted.open()
        if self._tokens is not None and self._worker is None:
            self._worker = Worker(f"tokens of {self.context.name}")

    async def close(self) -> None:
        await self._trusted.close()
        await self._untrusted.close()
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()

    async def check(self) -> str:
        twin = HttpConnection(self.config, self.context)  # pools of its own: the shared ones come and go with the users
        twin._tokens = self._tokens  # or every check would have a new one made
        try:
            await twin.open()
            return await twin.ask()
        finally:
            await twin.close()

    async def ask(self, url: URL | None = None) -> str:
        """Whether somebody answers: at ``check_path``, else at ``url``, else at ``base_url``; to be called when open.

        Unavailable where nobody does, and where ``check_path`` is not answered with success.
        """
        if self.base is not None and self.config.check_path is not None:
            url = URL(join(self.base, self.config.check_path), encoded=True)
            answer = await self.send("GET", url, {})
            if not 200 <= answer.status < 300:
                denied = "not authorized: " if answer.status in DENIED else ""
                raise Unavailable(f"{self.shown(url)}: {denied}{self.told(answer)} ({answer.status})")
        else:
            url = url or self.base
            if url is None:
                return "HTTP; no base_url, so there is nobody to ask"
            answer = await self.send("HEAD", url, {})
            if answer.status in _ABSENT:
                raise Unavailable(f"{self.shown(url)}: {self.told(answer)} ({answer.status})")
        server = re.sub(r"[^ -~]", "", answer.headers.get("Server", ""))[:60]
        return f"{server or 'an HTTP server'} at {self.shown(url)} ({answer.status})"


def join(base: URL, text: str) -> str:
    """The address of ``text`` below ``base``: a path, a query, or both."""
    if text[:1] in ("", "?"):
        return f"{base}{text}"
    return f"{str(base).rstrip('/')}/{text.lstrip('/')}"


def _absolute(text: str, path: str) -> URL:
    """ConfigError unless ``text`` is an http URL with a host and without credentials."""
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if not is_http(url) or "${" in text:
        raise ConfigError("not a URL like 'https://example.com/path'", path=path)
    if url.user is not None or url.password is not None:
        raise ConfigError("holds credentials, which would be shown", path=path, hint="use auth")
    return url
