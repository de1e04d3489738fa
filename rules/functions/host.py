"""What functions may use of the process that runs them, handed in by who composes it.

Functions open nothing and know no configuration. The service, or ``headrace eval``, says in a :class:`Host` which
environment variables may be read and how long an expression may take, and brings along what rules keep and what needs
I/O; its default has nothing of the kind, and suits whoever only compiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from rules.functions.memory import Table

ENVIRONMENT_PREFIX: Final = "EMQXVAR_"
"""Variables with this prefix are for rules, whatever the configuration says."""


class JqRunner(Protocol):
    """Runs jq programs where they can be stopped and reach nothing."""

    def run(self, program: str, document: str, seconds: float) -> str:
        """The outputs, each a line of JSON.

        TimeoutError where they are not there in time, Refusal (``rules.functions.base``) with jq's message where there
        are none for another reason.
        """
        ...

    def check(self, program: str, seconds: float) -> None:
        """TimeoutError or Refusal for a program that cannot be compiled."""
        ...


def _store() -> Table:
    return Table("kv_store", 1_000, 1 << 20)


@dataclass(frozen=True, slots=True, eq=False)
class Host:
    """Time limits are in seconds, for one call. ``environment`` is what the process has, ``variables`` the names that
    rules may read of it; None, for who only looks, stands for any."""

    regex_timeout: float = 0.1
    jq_timeout: float = 1.0
    jq: JqRunner | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    variables: frozenset[str] | None = frozenset()
    store: Table = field(default_factory=_store)
    connection_entries: int = 100
    connection_bytes: int = 1 << 16

    def variable(self, name: str) -> str | None:
        """What getenv gives: ``EMQXVAR_<name>``, or a variable of the list ('' where that is not set); None: not."""
        own = self.environment.get(ENVIRONMENT_PREFIX + name)
        if own is not None:
            return own
        if self.variables is None or name in self.variables:
            return self.environment.get(name, "")
        return None
