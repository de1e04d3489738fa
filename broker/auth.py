"""Who may connect and who may do what: the authentication providers in their order, then the access list.

Invariants: closed. The first provider that does not abstain decides; where all abstain a client is refused unless
it gave no username and ``allow_anonymous`` was said, so that a username in a rule is always one that a provider
proved. A provider that fails is a refusal. What the broker does about a refusal, and the remembering of
answers per connection, are its own.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec

from broker.acl import DEFAULT, Acl, Action, Verdict, judged_topic
from core.errors import HeadraceError
from core.message import Publisher
from core.metrics import Metrics

__all__ = ["AccessControl", "Action", "Admission", "AuthProvider", "Decision"]

logger = logging.getLogger(__name__)


class Decision(Enum):
    """A provider's answer; ABSTAIN passes the question on."""

    ALLOW = "allow"
    DENY = "deny"
    ABSTAIN = "abstain"


class Admission(Enum):
    """May a client come in, and does a provider vouch for it?"""

    REFUSED = "refused"
    ANONYMOUS = "anonymous"
    PROVED = "proved"


class AuthProvider(ABC):
    """One source of truth about clients; extensions register theirs under the group ``headrace.auth``.

    ``Config`` describes the section ``[auth.<name>]``; relative paths in it start at ``base_dir``, the folder of the
    configuration file. ``authenticate`` may await; ``authorize`` is called in the middle of the protocol: it must
    be pure and cheap, and answer from what the provider already knows.
    """

    class Config(msgspec.Struct, forbid_unknown_fields=True):
        """No settings unless a provider declares its own."""

    def __init__(self, config: Any, base_dir: Path) -> None:
        self.config = config
        self.base_dir = base_dir

    async def open(self) -> None:  # noqa: B027 - not every provider holds something open
        """Get ready; ConfigError or another HeadraceError where that cannot be. Nothing is asked before."""

    async def close(self) -> None:  # noqa: B027
        """Let go of what :meth:`open` took; called once, also after an open that failed."""

    @abstractmethod
    async def authenticate(self, publisher: Publisher, password: bytes | None) -> Decision:
        """Is the client who it says it is? ABSTAIN about clients that the provider does not know."""

    def authorize(self, publisher: Publisher, action: Action, topic: str) -> Decision:  # noqa: ARG002
        """May the client do that? ``topic`` is a name to publish to, or a filter to subscribe to (never ``$share``)."""
        return Decision.ABSTAIN


class AccessControl:
    """The one that the broker asks. Counts ``headrace_auth_{connects,denied}_total`` where it is given metrics.

    ``names`` are what the configuration calls the providers, in their order.
    """

    def __init__(
        self,
        providers: Sequence[AuthProvider] = (),
        acl: Acl | None = None,
        allow_anonymous: bool = False,
        metrics: Metrics | None = None,
        names: Sequence[str] = (),
    ) -> None:
        self._providers = tuple(providers)
        self._names = tuple(names) or tuple(type(provider).__name__ for provider in providers)
        self._acl = acl or Acl()
        self._allow_anonymous = allow_anonymous
        metrics = metrics or Metrics()
        self._connects = {
            allowed: metrics.counter(
                "headrace_auth_connects_total",
                "Connection attempts by what authentication said",
                result="allowed" if allowed else "denied",
            )
            for allowed in (True, False)
        }
        self._denied: dict[Action, Any] = {
            action: metrics.counter(
                "headrace_auth_denied_total", "Publishes and subscriptions that were refused", action=action
            )
            for action in ("publish", "subscribe")
        }

    async def open(self) -> None:
        """Open every provider, in order; if one cannot, close it and those before it and let its error through."""
        for index, provider in enumerate(self._providers):
            try:
                await provider.open()
            except BaseException:
                for opened in reversed(self._providers[: index + 1]):
                    await opened.close()
                raise

    async def close(self) -> None:
        for provider in reversed(self._providers):
            await provider.close()

    async def authenticate(self, publisher: Publisher, password: bytes | None) -> Admission:
        """May this client connect?"""
        admission = await self._authenticate(publisher, password)
        self._connects[admission is not Admission.REFUSED].value += 1
        return admission

    async def _authenticate(self, publisher: Publisher, password: bytes | None) -> Admission:
        for provider in self._providers:
            try:
                decision = await provider.authenticate(publisher, password)
            except Exception as error:  # noqa: BLE001 - a provider is foreign code: whatever it raises is a no
                _report(provider, error)
                return Admission.REFUSED
            if decision is not Decision.ABSTAIN:
                return Admission.PROVED if decision is Decision.ALLOW else Admission.REFUSED
        nameless = publisher.username is None
        return Admission.ANONYMOUS if nameless and self._allow_anonymous else Admission.REFUSED

    def judge(self, publisher: Publisher, action: Action, topic: str) -> Verdict:
        """May this client publish to the valid name, or subscribe to the valid filter (``$share`` too), ``topic``?"""
        verdict = self._judge(publisher, action, topic)
        if not verdict.allowed:
            self._denied[action].value += 1
        return verdict

    def _judge(self, publisher: Publisher, action: Action, topic: str) -> Verdict:
        if self._providers:
            asked = judged_topic(action, topic)
            if asked is None:
                return Verdict(False, DEFAULT)
            for name, provider in zip(self._names, self._providers, strict=True):
                try:
                    decision = provider.authorize(publisher, action, asked)
                except Exception as error:  # noqa: BLE001 - as in _authenticate
                    _report(provider, error)
                    return Verdict(False, name)
                if decision is not Decision.ABSTAIN:
                    return Verdict(decision is Decision.ALLOW, name)
        return self._acl.judge(publisher, action, topic)


def _report(provider: AuthProvider, error: Exception) -> None:
    what = str(error) if isinstance(error, HeadraceError) else f"{type(error).__name__}: {error}"
    logger.error("auth provider %s failed, the client was refused: %s", type(provider).__name__, what)
