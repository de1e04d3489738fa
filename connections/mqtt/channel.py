"""A connection of the event loop in the shape of the socket that paho wants.

The loop connects, speaks TLS and moves bytes in large pieces; paho reads and writes them packet by packet without a
system call each. Nothing blocks: an empty channel raises BlockingIOError as a socket would.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any, Final

MAX_UNSENT: Final = 256 << 10
"""Bytes that may wait for the loop before :attr:`Channel.writable` says to wait."""
_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)  # Linux


class Channel(asyncio.Protocol):
    """``on_data`` is called when there is something to read or the far side has gone, ``on_flushed`` when all that was
    sent has left the process.
    """

    def __init__(self, on_data: Callable[[], None], on_flushed: Callable[[], None]) -> None:
        self._on_data = on_data
        self._on_flushed = on_flushed
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._socket: Any = None
        self._received = b""
        self._position = 0
        self._unsent: list[bytes | bytearray] = []
        self._unsent_bytes = 0
        self._congested = False
        self.error: Exception | None = None
        self.ended = False
        self._leaving = False
        self.closed: asyncio.Future[None] = self._loop.create_future()

    # -- the loop's side ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.set_write_buffer_limits(0)
        self._socket = transport.get_extra_info("socket")
        self._acknowledge()

    def _acknowledge(self) -> None:
        """Have the system acknowledge at once what comes.

        It waits 40 ms for data of ours to go with it otherwise, and a broker that does without TCP_NODELAY (mosquitto,
        unless told) sends the next small packet after that only: a batch of QoS 1 would take that long. Does not last:
        to be asked for again with every read.
        """
        if _QUICKACK is not None and self._socket is not None:
            with contextlib.suppress(OSError):  # closed meanwhile
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def data_received(self, data: bytes) -> None:
        if self._leaving:
            return
        self._acknowledge()
        self._received = self._received[self._position :] + data
        self._position = 0
        self._on_data()

    def pause_writing(self) -> None:
        self._congested = True

    def resume_writing(self) -> None:
        self._congested = False
        if not self._unsent:
            self._on_flushed()

    def connection_lost(self, error: Exception | None) -> None:
        self.error = error
        self.ended = True
        if not self.closed.done():
            self.closed.set_result(None)
        self._on_data()

    # -- paho's side ----------------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether a read would bring something, if only the end."""
        return self.ended or self._position < len(self._received)

    @property
    def writable(self) -> bool:
        return not self._congested and self._unsent_bytes < MAX_UNSENT

    @property
    def flushed(self) -> bool:
        return not (self._congested or self._unsent)

    def recv(self, size: int) -> bytes:
        start = self._position
        if start < len(self._received):
            self._position = start + size
            return self._received[start : start + size]
        if self.ended:
            return b""
        raise BlockingIOError

    def send(self, data: bytes | bytearray) -> int:
        if self.ended:
            raise ConnectionError("the connection is lost")
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        return len(data)

    def _flush(self) -> None:
        data = b"".join(self._unsent)
        self._unsent.clear()
        self._unsent_bytes = 0
        if data and not self.ended and self._transport is not None:
            self._transport.write(data)
            if not self._congested:
                self._on_flushed()

    def close(self) -> None:
        """Send what is left, and no more. The far side ends it, once it has read that: ended by us with something on
        its way, it would be reset, and what was sent last be lost. Whoever cannot wait aborts it."""
        self._flush()
        self._leaving = True
        if self._transport is None:
            self.ended = True

    def abort(self) -> None:
        """End it now."""
        if self._transport is not None:
            self._transport.abort()

    def fileno(self) -> int:
        return -1

    def setblocking(self, _flag: bool) -> None:
        """It never blocks."""
