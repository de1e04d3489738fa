"""Every error that headrace raises, in one tree, split by whose fault it is and what to do next.

::

    HeadraceError
    ├── ConfigError            path, file, line, hint      the operator's; exit code 1 of `check` and `run`
    ├── RuleError              diagnostics                 the rule author's; one error carries them all
    ├── TopicError             topic                       a topic name, filter or template that is none
    ├── PacketError            reason_code, clause         the peer's; DISCONNECT and close
    ├── PayloadError           codec, offset               the device's; counted, row goes nowhere
    ├── ExtensionError         group, name                 a missing or doubly claimed extension or driver
    └── SinkError
        ├── Unavailable        retry_after                 back off, keep the batch
        ├── Throttled          retry_after                 back off, lower the number in flight
        └── Rejected           rows                        those rows are dead, the others are delivered

Invariant: the text of each is a whole sentence for the user; no traceback is needed to understand it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class HeadraceError(Exception):
    """The root; ``str()`` of any of them is fit to be shown to a user."""


class ConfigError(HeadraceError):
    """A setting is wrong. ``path`` is dotted (``sinks.meter.batch.max_rows``), ``line`` 1-based."""

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        file: str | None = None,
        line: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.file = file
        self.line = line
        self.hint = hint

    def __str__(self) -> str:
        place = self.file or ""
        if self.line is not None:
            place += f":{self.line}"
        parts = [part for part in (place, self.path) if part]
        text = ": ".join([*parts, self.message])
        return f"{text} ({self.hint})" if self.hint else text


class RuleError(HeadraceError):
    """One or more things are wrong with a rule file; ``diagnostics`` has them all (``rules.diagnostics``)."""

    def __init__(self, diagnostics: Sequence[Any]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n\n".join(str(diagnostic) for diagnostic in self.diagnostics))


class TopicError(HeadraceError):
    """``topic`` is not a valid topic name, topic filter or topic template; the message says why."""

    def __init__(self, message: str, topic: str) -> None:
        super().__init__(message)
        self.topic = topic


class PacketError(HeadraceError):
    """The peer sent what it must not. ``reason_code`` is that of MQTT 5, ``clause`` e.g. ``MQTT-3.1.2-3``."""

    def __init__(self, message: str, reason_code: int = 0x81, clause: str | None = None) -> None:
        super().__init__(message)
        self.reason_code = reason_code
        self.clause = clause


class PayloadError(HeadraceError):
    """A payload is not what its codec expects; ``offset`` is the byte where that showed, if known."""

    def __init__(self, message: str, codec: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.codec = codec
        self.offset = offset


class ExtensionError(HeadraceError):
    """An extension or its driver is missing, or two packages claim its name."""

    def __init__(self, message: str, group: str, name: str) -> None:
        super().__init__(message)
        self.group = group
        self.name = name


class SinkError(HeadraceError):
    """The root of what ``Sink.write`` and ``Sink.open`` may raise."""


class Unavailable(SinkError):
    """The far side cannot be reached or used now; ``retry_after`` is nanoseconds, None leaves it to us."""

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Throttled(Unavailable):
    """The far side asks for less; as :class:`Unavailable`, and fewer requests in flight afterwards."""


class Rejected(SinkError):
    """The far side refuses rows for good.

    ``rows`` are pairs of the row's index in the batch and the reason: those are dead, the others were
    delivered. Empty means "some of these, unknown which, and none was delivered": delivery then bisects.
    """

    def __init__(self, message: str, rows: Sequence[tuple[int, str]] = ()) -> None:
        super().__init__(message)
        self.rows = tuple(rows)
