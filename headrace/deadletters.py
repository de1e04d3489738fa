"""What no sink takes and what rules fail on: into the log, the ring that the admin server shows, and `system.errors`.

Invariants: the ring is bounded in entries and in the size of a row; the log gets a line per kind of trouble and
interval; a message for the rules that read ``system.errors`` is made only where there are such rules, and never piles
up: where the inbox is full it is counted and given up. A row that such a rule makes and that is refused again has
passed one rule more; after ``MAX_HOPS`` it is in the ring alone, so that rules cannot feed one another for ever.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from core.clock import SECOND, Clock
from core.errors import HeadraceError
from core.message import MISSING, SYSTEM_ERRORS, SYSTEM_LATE_ROWS, Batch, Message, Publisher, Type
from core.metrics import Metrics
from formats.json import encode_document
from headrace.ratelimit import RateLimit, suffix
from sinks.buffer import row_bytes
from sinks.encoding import rfc3339

_sinks_log = logging.getLogger("headrace.sinks")
_rules_log = logging.getLogger("headrace.service")

KEPT: Final = 200
MAX_HOPS: Final = 8
_MAX_ROW: Final = 1 << 16
_MAX_WAITING: Final = 10_000


class DeadLetter(msgspec.Struct, frozen=True):
    """One row that was refused for good (``kind`` ``rejected``), or a message that a rule failed on (``rule_failed``).

    ``row`` is the row by column, of a message its topic, client and payload; None where it is too large to be kept.
    ``sink`` is None for a message.
    """

    kind: str
    sink: str | None
    rule: str
    reason: str
    row: Any
    at: int


class DeadLetters:
    """``append`` takes messages for the rules, ``wanted`` says whether any rule reads a topic, ``full`` when to stop.

    ``call_soon`` runs a function after what runs now.
    """

    def __init__(
        self,
        clock: Clock,
        metrics: Metrics,
        *,
        append: Callable[[list[Message]], object],
        wanted: Callable[[str], bool],
        full: Callable[[], bool],
        call_soon: Callable[[Callable[[], None]], object],
    ) -> None:
        self._clock = clock
        self._append = append
        self._wanted = wanted
        self._full = full
        self._call_soon = call_soon
        self._waiting: list[Message] = []
        self._limit = RateLimit()
        self._refused: dict[tuple[str, str], int] = {}
        metrics.read(
            "headrace_rule_rows_rejected_total",
            "Rows of the rule that a sink has refused for good",
            "counter",
            self._refused.items,
            ("rule", "sink"),
        )
        self._kept: deque[DeadLetter] = deque(maxlen=KEPT)
        self._lost = {
            reason: metrics.counter(
                "headrace_system_errors_dropped_total",
                "Dead letters that rules wanted and did not get, by reason; they were counted and logged all the same",
                reason=reason,
            )
            for reason in ("inbox_full", "max_hops")
        }

    def refused(self, batch: Batch, rows: list[tuple[int, str]]) -> None:
        """A sink refuses rows of a batch, by position and reason, for good."""
        key = (batch.rule, batch.target)
        self._refused[key] = self._refused.get(key, 0) + len(rows)
        now = self._clock.now()
        suppressed = self._limit.allow((batch.target, batch.rule), now)
        if suppressed is not None:
            _sinks_log.warning(
                "sink %s refused %d rows of rule %s for good: %s%s",
                batch.target,
                len(rows),
                batch.rule,
                rows[0][1],
                suffix(suppressed),
            )
        letters = [
            DeadLetter("rejected", batch.target, batch.rule, reason, _as_object(batch, index), now)
            for index, reason in rows
        ]
        self._tell(letters, batch.rule, batch.hops + 1)

    def failed(self, rule: str, message: Message, error: Exception) -> None:
        """A rule fails on a message."""
        now = self._clock.now()
        text = str(error) if isinstance(error, HeadraceError) else f"{type(error).__name__}: {error}"
        suppressed = self._limit.allow((rule, getattr(error, "code", type(error).__name__)), now)
        client = message.publisher.client_id
        topic = message.topic.rstrip("\0")
        if suppressed is not None:
            what = f"message of {topic!r} from {client!r}" if topic else "row"
            _rules_log.warning("rule %s failed on a %s: %s%s", rule, what, text, suffix(suppressed))
        if message.topic == SYSTEM_ERRORS:
            return  # it would fail again on what is told of this
        letter = DeadLetter("rule_failed", None, rule, text, _as_row(message), now)
        self._tell([letter], rule, message.publisher.hops + 1)

    def late(self, rule: str, message: Message, reason: str) -> None:
        """A window of a rule did not take a row because of its time (``rules.loaded.Hooks``)."""
        now = self._clock.now()
        suppressed = self._limit.allow((rule, reason), now)
        if suppressed is not None:
            _rules_log.warning("rule %s: a row came at the wrong time (%s)%s", rule, reason, suffix(suppressed))
        columns = {"rule": rule, "reason": reason, "row": _as_row(message)}
        hops = message.publisher.hops + 1
        self._send([(SYSTEM_LATE_ROWS, columns, now)], rule, hops)

    def _tell(self, letters: Sequence[DeadLetter], rule: str, hops: int) -> None:
        self._kept.extend(letters)
        self._send([(SYSTEM_ERRORS, _columns(letter), letter.at) for letter in letters], rule, hops)

    def _send(self, letters: Sequence[tuple[str, Mapping[str, Any], int]], rule: str, hops: int) -> None:
        """Messages for rules: topic, columns, time."""
        if not letters or not self._wanted(letters[0][0]):
            return
        if hops > MAX_HOPS or self._full() or len(self._waiting) >= _MAX_WAITING:
            self._lost["max_hops" if hops > MAX_HOPS else "inbox_full"].value += len(letters)
            return
        publisher = Publisher("", rule=rule, hops=hops)
        if not self._waiting:  # rules may be running: what they are told comes after what they do now
            self._call_soon(self._hand_on)
        self._waiting += [
            Message(topic, b"", publisher=publisher, received_ns=at, columns=columns) for topic, columns, at in letters
        ]

    def _hand_on(self) -> None:
        messages, self._waiting = self._waiting, []
        self._append(messages)

    def page(self) -> list[Mapping[str, Any]]:
        """The last ones, newest first, as the admin server shows them."""
        return [
            {
                "at": datetime.fromtimestamp(letter.at / SECOND, UTC),
                "kind": letter.kind,
                "sink": letter.sink,
                "rule": letter.rule,
                "reason": letter.reason,
                "row": msgspec.Raw(encode_document(letter.row)),
            }
            for letter in reversed(self._kept)
        ]


def _as_row(message: Message) -> dict[str, Any] | None:
    """What there is to tell of a message, or of a row that is given as one; None for one that is too large."""
    if not message.topic:
        columns = dict(message.columns or {})
        return columns if row_bytes(tuple(columns.values())) <= _MAX_ROW else None
    if len(message.payload) > _MAX_ROW:
        return None
    topic = message.topic.rstrip("\0")
    return {
        "topic": topic,
        "clientid": message.publisher.client_id,
        "payload": message.payload.decode(errors="replace"),
    }


def _columns(letter: DeadLetter) -> dict[str, Any]:
    """The columns of ``system.errors`` (``rules.columns.ERROR_COLUMNS``)."""
    return {
        "kind": letter.kind,
        "sink": letter.sink,
        "rule": letter.rule,
        "reason": letter.reason,
        "row": letter.row,
    }


def _as_object(batch: Batch, index: int) -> dict[str, Any] | None:
    """A row by column, instants as text; None for one that is too large."""
    row = batch.rows[index]
    if row_bytes(row) > _MAX_ROW:
        return None
    return {
        name: rfc3339(value) if kind is Type.TIMESTAMP and type(value) is int else value
        for name, kind, value in zip(batch.schema.names, batch.schema.types, row, strict=True)
        if value is not MISSING
    }
