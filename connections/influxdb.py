"""The influxdb connection: one bucket or database, over the write API of InfluxDB 1, 2 or 3, or of what speaks like it.

Knows addresses, credentials and what the answers mean; what stands in a line is the sink's business. The three APIs
are rows of a table (``_APIS``): they differ in paths, names of parameters, precisions and the way to log in.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple

import msgspec
from yarl import URL

from connections.base import Connection, ConnectionContext
from connections.http_client import Answer, HttpClient, gzipped, is_http
from connections.tls import TlsSettings, chosen
from core.clock import SECOND
from core.errors import ConfigError, Rejected, SinkError, Throttled, Unavailable
from core.settings import Duration, Secret


class InfluxdbConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One bucket (``api = "v2"``) or database (``"v1"``, ``"v3"``)."""

    url: str
    """``http://host:8086``; a path is kept in front of the API's."""
    api: Literal["v2", "v1", "v3"] = "v2"
    """``v2``: InfluxDB 2, Cloud, 1.8. ``v1``: InfluxDB 1, VictoriaMetrics. ``v3``: InfluxDB 3 in its own words."""
    bucket: str | None = None
    """With v2. InfluxDB 1.8: ``database/retention policy``."""
    org: str | None = None
    """With v2."""
    database: str | None = None
    """With v1 and v3."""
    retention_policy: str | None = None
    """With v1; else the database's default one."""
    token: Secret | None = None
    """With v2 and v3."""
    user: str | None = None
    """With v1, and with v2 for InfluxDB 1.8."""
    password: Secret | None = None
    """``{ env = "NAME" }`` or ``{ file = "path" }``."""
    tls: bool | TlsSettings = False
    """Only what differs from the system's authorities: an ``https`` URL is enough."""
    gzip: bool = False
    """Compress what is sent: where the network costs more than the CPU."""
    timeout: Duration = Duration(30 * SECOND)
    """How long a whole request may take."""
    max_connections: Annotated[int, msgspec.Meta(ge=1)] = 4
    """Connections open at a time; further requests wait."""


class _Api(NamedTuple):
    path: str
    where: Callable[[InfluxdbConfig], dict[str, str | None]]
    precisions: dict[str, str]
    scheme: str
    needs: tuple[str, ...]
    knows: frozenset[str]
    """The settings that other APIs do not have."""


_SHORT: Final = {"ns": "ns", "us": "us", "ms": "ms", "s": "s"}
_APIS: Final = {
    "v2": _Api(
        "api/v2/write",
        lambda config: {"bucket": config.bucket, "org": config.org},
        _SHORT,
        "Token",
        ("bucket",),
        frozenset({"bucket", "org", "token", "user", "password"}),
    ),
    "v1": _Api(
        "write",
        lambda config: {"db": config.database, "rp": config.retention_policy},
        _SHORT | {"ns": "n", "us": "u"},
        "Basic",
        ("database",),
        frozenset({"database", "retention_policy", "user", "password"}),
    ),
    "v3": _Api(
        "api/v3/write_lp",
        lambda config: {"db": config.database, "accept_partial": "true"},
        {"ns": "nanosecond", "us": "microsecond", "ms": "millisecond", "s": "second"},
        "Bearer",
        ("database",),
        frozenset({"database", "token"}),
    ),
}
_SPECIFIC: Final = frozenset().union(*(api.knows for api in _APIS.values()))
_AUTHORIZATION: Final = frozenset({401, 403, 407})
_REFUSED: Final = frozenset({400, 413, 422})
_PAUSE: Final = frozenset({429, 503})
_WRITTEN: Final = 204
"""Success, with all of them. A 200 comes from something else: a page to log in, or the API's list of its paths."""
_EMPTY_IS_FINE: Final = frozenset({_WRITTEN, 400})
"""What the write APIs answer to a request without lines, once address and credentials are right."""
_PATH_OF_API: Final = re.compile(r"/(write|api/v[23](/write|/write_lp)?)/?$")
_DROPPED: Final = re.compile(r"\s+dropped=\d+$")


class InfluxdbConnection(Connection):
    """A client and the address of one bucket or database."""

    type: ClassVar[str] = "influxdb"
    Config = InfluxdbConfig

    def __init__(self, config: InfluxdbConfig, context: ConnectionContext) -> None:
        super().__init__(config, context)
        self._api = _APIS[config.api]
        self._check_config(config)
        self._base = _address(config.url)
        self._secrets: list[str] = []
        self._headers = {"Content-Type": "text/plain; charset=utf-8", **self._login(config)}
        if config.gzip:
            self._headers["Content-Encoding"] = "gzip"
        self._client = self._make_client()
        self._addresses = {precision: self._write_url(precision) for precision in _SHORT}

    def _make_client(self) -> HttpClient:
        config = self.config
        return HttpClient(
            self.context.base_dir, tls=chosen(config.tls), timeout=config.timeout, connections=config.max_connections
        )

    def _check_config(self, config: InfluxdbConfig) -> None:
        for name in self._api.needs:
            if not getattr(config, name):
                raise ConfigError(f'is needed with api = "{config.api}"', path=name)
        for name in sorted(_SPECIFIC - self._api.knows):
            if getattr(config, name) is not None:
                raise ConfigError(f'is of no use with api = "{config.api}"', path=name)
        if config.password is not None and config.user is None:
            raise ConfigError("a password without its user", path="password", hint="set user, too")
        if config.token is not None and config.user is not None:
            raise ConfigError("a token and a user: one of them is enough", path="token")

    def _login(self, config: InfluxdbConfig) -> dict[str, str]:
        try:
            token = None if config.token is None else config.token.reveal()
            password = "" if config.password is None else config.password.reveal()
        except ValueError as error:
            path = "password" if config.token is None else "token"
            raise ConfigError(str(error), path=path) from None
        if token is None and config.user is not None:
            pair = f"{config.user}:{password}"
            token = base64.b64encode(pair.encode()).decode() if self._api.scheme == "Basic" else pair
        self._secrets = [password, token or ""]
        if token is None:
            return {}
        if not (token and _fits_header(token)):
            path = "token" if config.token is not None else "password" if _fits_header(config.user or "") else "user"
            raise ConfigError("is empty or holds what no HTTP header can: a line break?", path=path)
        return {"Authorization": f"{self._api.scheme} {token}"}

    def _write_url(self, precision: str) -> URL:
        query = {**self._api.where(self.config), "precision": self._api.precisions[precision]}
        return (self._base / self._api.path).with_query({name: text for name, text in query.items() if text})

    @property
    def title(self) -> str:
        """Address and bucket, as messages show them."""
        where = self.config.bucket or self.config.database
        return f"{self._base} {'bucket' if self.config.bucket else 'database'} {where}"

    async def open(self) -> None:
        await self._client.open()

    async def close(self) -> None:
        await self._client.close()

    async def check(self) -> str:
        client = self._make_client()  # one of its own: the shared one comes and goes with its users
        await client.open()
        try:
            return await self._ask(client)
        finally:
            await client.close()

    async def ask(self) -> None:
        """Unavailable where nobody answers, the credentials are wrong or the bucket is missing."""
        await self._ask(self._client)

    async def _ask(self, client: HttpClient) -> str:
        """What answers there. A request to write nothing goes out: it is what the credentials have to be good for."""
        ping = await client.send("GET", self._base / "ping", self._headers)
        answer = await self._post(client, self._addresses["ns"], b"")
        if answer.status not in _EMPTY_IS_FINE:
            raise self._problem(answer)
        version = ping.headers.get("X-Influxdb-Version")
        return f"{f'InfluxDB {version}' if version else 'an InfluxDB write API'} at {self.title}"

    async def write(self, lines: bytes, precision: str) -> None:
        """Send lines. Unavailable or Throttled: none or some may have been taken, and may come again.

        Rejected: some lines are refused for good; ``rows`` holds positions of lines where the server says which, and
        is empty where it does not. All other lines have been taken, or may come again.
        """
        answer = await self._post(self._client, self._addresses[precision], lines)
        if answer.status != _WRITTEN:
            raise self._problem(answer)

    async def _post(self, client: HttpClient, url: URL, body: bytes) -> Answer:
        if self.config.gzip:
            body = gzipped(body)
        return await client.send("POST", url, self._headers, body)

    def _problem(self, answer: Answer) -> SinkError:
        """What an answer other than success means (InfluxDB's write APIs 1, 2 and 3)."""
        status, told = answer.status, _told(answer.without(self._secrets))
        if status in _REFUSED:
            return Rejected(f"{told.message} ({status})", told.lines)
        if status in _PAUSE:
            wait = answer.retry_after(self.context.clock.now())
            return Throttled(f"{self.title}: {told.message} ({status})", wait)
        if status in _AUTHORIZATION:
            return Unavailable(f"{self.title}: not authorized: {told.message} ({status})")
        if status == 404:
            # A server without this API says so in words of its web framework.
            api = f'no /{self._api.path}: is api = "{self.config.api}" right?'
            return Unavailable(f"{self.title}: {'it is not there:' if told.structured else api} {told.message} (404)")
        if 200 <= status < 300:
            wrong = f"whoever answers is no write API, which has {_WRITTEN} for this"
            return Unavailable(f"{self.title}: {wrong}: {told.message} ({status})")
        if 300 <= status < 400:
            return Unavailable(f"{self.title}: the address has moved to {answer.location} ({status})")
        return Unavailable(f"{self.title}: {told.message} ({status})")


class _Told(NamedTuple):
    message: str
    lines: list[tuple[int, str]]
    structured: bool = True
    """Whether a write API can have said it: all of them speak JSON."""


def _told(answer: Answer) -> _Told:
    """What the body says: version 1 has ``error``, 2 ``message``, 3 ``error`` and a list of lines in ``data``."""
    try:
        body: Any = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        body = None
    if not isinstance(body, dict):
        return _Told(answer.text, [], structured=False)
    data = body.get("data")
    lines = [
        (entry["line_number"] - 1, str(entry.get("error_message", "refused")))
        for entry in (data if isinstance(data, list) else [])
        if isinstance(entry, dict) and isinstance(entry.get("line_number"), int)
    ]
    text = next((body[name] for name in ("message", "error") if isinstance(body.get(name), str)), answer.text)
    return _Told(_DROPPED.sub("", " ".join(text.split()))[:500], lines)


def _address(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if not is_http(url):
        raise ConfigError("not a URL like 'http://127.0.0.1:8086'", path="url")
    if url.user or url.password:
        raise ConfigError("holds credentials, which would be shown", path="url", hint="use token, or user and password")
    if url.query_string or url.fragment:
        raise ConfigError("holds a query, which is ours to make", path="url")
    if found := _PATH_OF_API.search(url.path):
        shorter = url.with_path(url.path[: found.start()] or "/")
        raise ConfigError("ends in the API's path, which is ours to add", path="url", hint=f"it is {shorter}")
    return url


def _fits_header(text: str) -> bool:
    return text.isascii() and text.isprintable()
