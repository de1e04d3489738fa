"""The settings of a database connection."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from connections.tls import TlsSettings
from core.clock import SECOND
from core.settings import Duration, Secret

Synchronous = Literal["full", "normal", "off"]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class SqlConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One database."""

    url: Secret
    """A SQLAlchemy URL: ``sqlite:///data/headrace.db``, ``postgresql://host/name``, ``mysql://host/name``. It may hold
    user and password: ``postgresql://user:password@host/name``."""
    user: str | None = None
    """Instead of the one in ``url``."""
    password: Secret | None = None
    """Apart from ``url``, as it is: nothing in it needs to be percent-encoded."""
    tls: bool | TlsSettings = False
    """PostgreSQL, MySQL and MariaDB: ``true`` or a table; the server must then speak TLS and prove its name."""
    statement_timeout: Duration | None = None
    """How long the server may work on one statement before the write counts as failed (MySQL: before it answers)."""
    max_connections: Positive = 8
    """The most connections at a time, all sinks on this connection together; a write that finds none free waits."""
    synchronous: Synchronous = "full"
    """SQLite only: ``full`` survives a loss of power, ``normal`` may lose the last commits to one."""
    busy_timeout: Duration = Duration(5 * SECOND)
    """SQLite only: how long to wait for another process's lock before the write counts as failed."""
