"""The inbox: where accepted messages wait for the rules, and the only thing that knows when they are safe.

``append`` and ``when_safe`` are the source's half, ``take`` the consumer's. In memory a message is as safe as
it will ever be when it is appended, so ``when_safe`` calls back at once; a durable inbox calls back after its
group commit. Nothing in ``broker`` knows which one it has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from core.message import Message


class Inbox(ABC):
    """Accepts messages in order and hands them on in order."""

    @abstractmethod
    def append(self, messages: Sequence[Message]) -> int:
        """Accept ``messages`` and return the offset behind the last of them.

        Never refuses: a source asks :attr:`full` first and stops reading, so that what one read brought is the
        most an inbox can exceed its limit by, per connection.
        """

    @abstractmethod
    def when_safe(self, offset: int, callback: Callable[[], None]) -> None:
        """Call ``callback`` once everything before ``offset`` is safe; at once where it already is."""

    @property
    @abstractmethod
    def full(self) -> bool:
        """True while sources of QoS 1 and 2 must not be read, and QoS 0 is dropped and counted."""

    @abstractmethod
    def take(self) -> list[Message]:
        """All messages that wait for the rules, oldest first; they are no longer waiting afterwards."""


class MemoryInbox(Inbox):
    """An inbox of at most ``max_messages`` (see :meth:`Inbox.append`).

    ``wake`` is called when it stops being empty; ``drain`` at every append that leaves ``slice_size`` messages or more,
    so that a consumer that can keep up does so before more is read.
    """

    def __init__(
        self,
        wake: Callable[[], None],
        drain: Callable[[], None] | None = None,
        *,
        max_messages: int = 100_000,
        slice_size: int = 2_000,
    ) -> None:
        if max_messages < 1:
            raise ValueError("max_messages must be at least 1")
        self._wake = wake
        self._drain = drain
        self._slice_size = slice_size
        self._max_messages = max_messages
        self._messages: list[Message] = []
        self._offset = 0

    def append(self, messages: Sequence[Message]) -> int:
        waiting = self._messages
        first = not waiting
        waiting.extend(messages)
        self._offset += len(messages)
        if first and messages:
            self._wake()
        if self._drain is not None and len(waiting) >= self._slice_size:
            self._drain()
        return self._offset

    @property
    def offset(self) -> int:
        """Behind the last message that was accepted."""
        return self._offset

    def when_safe(self, offset: int, callback: Callable[[], None]) -> None:
        if offset > self._offset:
            raise ValueError(f"offset {offset} lies behind the inbox's end, {self._offset}")
        callback()

    @property
    def full(self) -> bool:
        return len(self._messages) >= self._max_messages

    def take(self) -> list[Message]:
        messages, self._messages = self._messages, []
        return messages

    def __len__(self) -> int:
        return len(self._messages)
