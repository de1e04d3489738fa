"""OAuth 2 client credentials: a token, kept until shortly before it ends (RFC 6749, section 4.4).

Blocking, for threads: drivers ask for a token in threads of their own, and asyncio code asks through a
:class:`connections.worker.Worker`. Several threads that ask at once cause one request. The secret goes to ``token_url``
and to nobody else, no proxy of the environment and no redirect; neither it nor a token is part of any message, not even
where the far side repeats it.
"""

from __future__ import annotations

import base64
import http.client
import re
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Final

import msgspec

from connections.tls import reason_of
from core.errors import ConfigError, Unavailable
from core.settings import MASK, Secret

_TIMEOUT: Final = 10.0
_EARLY: Final = 30.0
"""Seconds before its end at which a token is no longer used, at most half of its life."""
_MAX_ANSWER: Final = 1 << 20
_SHOWN: Final = 300


class ClientCredentials(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Where tokens come from, and as whom."""

    token_url: str
    """The token endpoint, ``https://...``."""
    client_id: str
    """As the authorization server knows it."""
    client_secret: Secret
    """``{ env = "NAME" }`` or ``{ file = "path" }``."""
    scope: str | None = None
    """What the token shall be good for, where the authorization server wants to know."""
    audience: str | None = None
    """Sent along where the authorization server wants it."""


_BLANK: Final = re.compile(r"\s").search


def check_token_url(settings: ClientCredentials, path: str) -> None:
    """ConfigError below ``path`` for an address that no token can come from."""
    try:
        url = urllib.parse.urlsplit(settings.token_url)
        # urlsplit takes blanks in a host for what they are.
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and not _BLANK(url.netloc)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError("not a URL like 'https://example.com/token'", path=f"{path}.token_url")
    if "@" in url.netloc:
        raise ConfigError(
            "holds credentials, which would be shown", path=f"{path}.token_url", hint="use client_id and client_secret"
        )


class Token(msgspec.Struct, frozen=True):
    """``expires_at`` is seconds since the epoch."""

    value: str
    expires_at: float


class TokenSource:
    """Tokens for one set of credentials; ``context`` says whom to trust where that is not the system's matter."""

    def __init__(self, settings: ClientCredentials, context: ssl.SSLContext | None = None) -> None:
        self._settings = settings
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _NoRedirect()
        )
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._good_until = 0.0

    def held(self) -> Token | None:
        """The token that :meth:`token` would give without asking anybody, if there is one; never blocks."""
        token = self._token
        return token if token is not None and time.time() < self._good_until else None

    def token(self, *, refused: str | None = None) -> Token:
        """A token that is good for a while, other than ``refused``; Unavailable with the reason where none is given."""
        with self._lock:
            token = self._token
            if token is None or time.time() >= self._good_until or token.value == refused:
                token = self._token = self._fetch()
                life = token.expires_at - time.time()
                self._good_until = token.expires_at - min(_EARLY, life / 2)
            return token

    def _fetch(self) -> Token:
        settings = self._settings
        form = {"grant_type": "client_credentials", "scope": settings.scope, "audience": settings.audience}
        body = urllib.parse.urlencode({name: value for name, value in form.items() if value is not None}).encode()
        try:
            secret = settings.client_secret.reveal()
        except ValueError as error:
            raise Unavailable(f"the client secret: {error}") from None
        # RFC 6749, 2.3.1: both parts are form-encoded before they become user and password.
        quoted = urllib.parse.quote_plus(secret)
        pair = base64.b64encode(f"{urllib.parse.quote_plus(settings.client_id)}:{quoted}".encode()).decode()
        request = urllib.request.Request(  # noqa: S310 - the operator's own URL
            settings.token_url,
            body,
            {
                "Authorization": f"Basic {pair}",
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
            },
        )
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as response:
                return _parsed(msgspec.json.decode(response.read(_MAX_ANSWER)))
        except urllib.error.HTTPError as error:
            reason = f"{error.code} {_told(error)}"
        except (OSError, ValueError, msgspec.DecodeError, http.client.HTTPException) as error:
            reason = _reason(error)
        for hidden in {secret, quoted, pair} - {""}:
            reason = reason.replace(hidden, MASK)
        parts = urllib.parse.urlsplit(settings.token_url)
        where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise Unavailable(f"{where} gives no token: {' '.join(reason.split())[:_SHOWN]}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer: who configures an address means that one."""

    def redirect_request(self, *_: object) -> None:
        return None


def _reason(error: Exception) -> str:
    """Why there was no answer, or none that can be read."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLError):
        return reason_of(cause)
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return str(cause) or type(cause).__name__


def _told(error: urllib.error.HTTPError) -> str:
    """What the server says in its own words (RFC 6749, 5.2), if it says something."""
    try:
        answer = msgspec.json.decode(error.read(_MAX_ANSWER))
        words = [str(answer[key]) for key in ("error", "error_description") if key in answer]
    except (OSError, TypeError, msgspec.DecodeError):
        words = []
    return ": ".join(words) or error.reason


def _parsed(answer: Any) -> Token:
    """ValueError for what is no answer with a token."""
    token = answer.get("access_token") if isinstance(answer, dict) else None
    if not isinstance(token, str):
        raise ValueError("the answer has no access_token")  # noqa: TRY004 - the answer is wrong, not a type of ours
    life = answer.get("expires_in", 3_600)
    if isinstance(life, str) and life.isdigit():
        life = int(life)
    if isinstance(life, bool) or not isinstance(life, int | float) or life <= 0:
        raise ValueError(f"expires_in is {life!r}")
    return Token(token, time.time() + life)
