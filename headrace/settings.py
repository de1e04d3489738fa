"""The sections of ``headrace.toml`` that belong to the process itself; the others sit beside the code they configure.

Each is a msgspec struct that knows its keys, types and defaults; the reference page and the JSON Schema are made
from them. Reading the file is the business of ``headrace.config``.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from core.clock import MILLISECOND, SECOND
from core.settings import Bind, Duration, Size

Positive = Annotated[int, msgspec.Meta(ge=1)]
LogLevel = Literal["debug", "info", "warning", "error"]


class ProcessSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """The keys at the top of the file."""

    data_dir: str | None = None
    """Folder for the files of the service; it is made where it is missing."""
    rules: list[str] = []
    """Rule files: paths or patterns such as ``rules/*.sql``; each must match at least one file."""
    shutdown_timeout: Duration = Duration(10 * SECOND)
    """How long a stop waits for rows to reach their destinations; what is left then is reported as lost."""
    log_level: LogLevel = "info"
    """The least severe lines that are written to standard error."""
    event_loop: Literal["auto", "uvloop", "asyncio"] = "auto"
    """``auto`` takes uvloop where it is installed."""


class InboxSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Accepted messages that wait for the rules, in memory."""

    max_messages: Positive = 100_000
    """When so many wait, QoS 1 and 2 publishers are no longer read; QoS 0 messages are dropped and counted."""
    linger: Duration = Duration(5 * MILLISECOND)
    """The least time from one run of the rules to the next, unless many messages wait. After a pause none waits."""


class KvStoreSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What ``kv_store_put`` keeps for all rules. Changes of it take effect at the next start."""

    max_entries: Positive = 100_000
    """What is put beyond that is refused: the message fails for its rule, and is counted."""
    max_bytes: Size = Size(16 << 20)
    """The same for the bytes of keys and values, about."""
    persist: bool = False
    """Store the entries in ``data_dir``, once a second and at a stop, and have them again after a restart."""


class ProcDictSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What ``proc_dict_put`` keeps for each connection; for connections that have none yet, a reload applies it."""

    max_entries: Positive = 100
    """What is put beyond that is refused."""
    max_bytes: Size = Size(64 << 10)
    """The same for the bytes of keys and values, about."""


class FunctionSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What the functions of rules may do and how long. A reload applies it."""

    regex_timeout: Duration = Duration(100 * MILLISECOND)
    """How long one regular expression may take on one text, where no engine promises that it is quick. For that long
    the whole service stands still; then the message fails for its rule, and the pattern rests for ten times as long."""
    jq_timeout: Duration = Duration(SECOND)
    """How long a jq program may take, whatever time-out it is called with, where it is not certain to be quick. For
    that long the whole service stands still; then the message fails for its rule, and the program rests for ten times
    as long."""
    env: list[str] = []
    """Environment variables that ``getenv`` may read, beside all that begin with ``EMQXVAR_``."""
    kv_store: KvStoreSettings = KvStoreSettings()
    """A table of the whole service, for values that rules keep."""
    proc_dict: ProcDictSettings = ProcDictSettings()
    """Tables of connections."""


class EngineSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What one message may become in one rule; what would be more fails as any other error of a rule does."""

    max_rows_per_message: Positive = 10_000
    """The most rows that FOREACH makes of a message."""
    max_result_bytes: Size = Size(16 << 20)
    """The most that the rows of a message take together, estimated: 32 bytes a value, and the length of texts."""


class AuthSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Who may connect. ``[auth.<provider>]`` holds a provider's own settings."""

    providers: list[str] = []
    """Names of providers, asked in this order; the first that knows the client decides."""
    allow_anonymous: bool = False
    """Let clients in that give no username. Nobody else gets in without a provider."""


class AdminSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """The HTTP server of health, readiness and metrics; without this section there is none."""

    bind: Bind = Bind("127.0.0.1", 18083)
    """Address and port; anybody who reaches it may read the metrics, so keep it on a private network."""


class ConnectionChoice(msgspec.Struct, kw_only=True, frozen=True):
    """What several sinks share. Its other keys depend on ``type``."""

    type: str
    """The kind of far side; its other keys depend on it."""
    health_check: Duration = Duration(30 * SECOND)
    """How often it is asked whether it is there, while anything uses it; sooner while it is not. ``0s``: never."""


class SourceChoice(msgspec.Struct, kw_only=True, frozen=True):
    """Where messages come from beside our own listeners. Other keys: those of its type."""

    type: str | None = None
    """The source's type; may be left out where ``connection`` says it."""
    connection: str | None = None
    """The name of a ``[connections.<name>]``; without it the connection's keys stand here."""
    publish: bool = False
    """Give its messages to our own clients too, as if one of them had published them; else only rules see them."""
    optional: bool = False
    """The service counts as ready (``/readyz``) even while it cannot be reached."""


class SinkChoice(msgspec.Struct, kw_only=True, frozen=True):
    """One destination. Other keys: those of its type, and the tables below."""

    type: str | None = None
    """The sink's type; may be left out where ``connection`` says it."""
    connection: str | None = None
    """The name of a ``[connections.<name>]``; without it the connection's keys stand here."""
    optional: bool = False
    """The service counts as ready (``/readyz``) even while this destination cannot be reached."""
