"""OAuth 2 client credentials: a token, kept until shortly before it ends (RFC 6749, section 4.4).

Blocking, for threads: drivers ask for a token in threads of their own, and asyncio code asks through a
:class:`connections.worker.Worker`. Several threads that ask at once cause one request. Neither the secret nor a token
is part of any message.
"""

from __future__ import annotations

import base64
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Final

import msgspec

from core.errors import Unavailable
from core.settings import Secret

_TIMEOUT: Final = 10.0
_EARLY: Final = 30.0
"""Seconds before its end at which a token is no longer used, at most half of its life."""
_MAX_ANSWER: Final = 1 << 20


class ClientCredentials(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Where tokens come from, and as whom."""

    token_url: str
    """The token endpoint, ``https://...``."""
    client_id: str
    client_secret: Secret
    scope: str | None = None
    audience: str | None = None
    """Sent along where the authorization server wants it."""


class Token(msgspec.Struct, frozen=True):
    """``expires_at`` is seconds since the epoch."""

    value: str
    expires_at: float


class TokenSource:
    """Tokens for one set of credentials; ``context`` says whom to trust where that is not the system's matter."""

    def __init__(self, settings: ClientCredentials, context: ssl.SSLContext | None = None) -> None:
        self._settings = settings
        self._context = context
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
        pair = ":".join(urllib.parse.quote_plus(part) for part in (settings.client_id, secret))
        request = urllib.request.Request(  # noqa: S310 - the operator's own URL
            settings.token_url,
            body,
            {
                "Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}",
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
            },
        )
        parts = urllib.parse.urlsplit(settings.token_url)
        where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT, context=self._context) as response:  # noqa: S310
                answer = msgspec.json.decode(response.read(_MAX_ANSWER))
        except urllib.error.HTTPError as error:
            raise Unavailable(f"{where} gives no token: {error.code} {_reason(error)}") from None
        except (OSError, ValueError, msgspec.DecodeError) as error:
            cause = getattr(error, "reason", error)
            raise Unavailable(f"{where} gives no token: {cause}") from None
        return _parsed(answer, where)


def _reason(error: urllib.error.HTTPError) -> str:
    """What the server says in its own words (RFC 6749, 5.2), if it says something."""
    try:
        answer = msgspec.json.decode(error.read(_MAX_ANSWER))
        words = [str(answer[key]) for key in ("error", "error_description") if key in answer]
    except (OSError, TypeError, msgspec.DecodeError):
        words = []
    return ": ".join(words) or error.reason


def _parsed(answer: Any, where: str) -> Token:
    token = answer.get("access_token") if isinstance(answer, dict) else None
    if not isinstance(token, str):
        raise Unavailable(f"{where} gives no token: the answer has no access_token")
    life = answer.get("expires_in", 3_600)
    if isinstance(life, str) and life.isdigit():
        life = int(life)
    if isinstance(life, bool) or not isinstance(life, int | float) or life <= 0:
        raise Unavailable(f"{where} gives no token: expires_in is {life!r}")
    return Token(token, time.time() + life)
