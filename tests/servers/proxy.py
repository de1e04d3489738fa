"""A TCP proxy between a client under test and its server: connections can be cut, stalled and refused."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any, Self

from tests.servers.base import free_port


class Proxy:
    """Forwards ``port`` of loopback to ``target``. Threads of its own: it goes on while the test's loop is busy."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self._go = threading.Event()
        self._go.set()
        self._refuse = False
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", self.port))

    def cut(self) -> None:
        """Break every connection, as a reset."""
        with self._lock:
            sockets, self._open = self._open, []
        for each in sockets:
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def stall(self) -> None:
        """Forward nothing until :meth:`go_on`; connections stay open."""
        self._go.clear()

    def go_on(self) -> None:
        self._go.set()

    def refuse(self, *, refuse: bool = True) -> None:
        """Close new connections at once."""
        self._refuse = refuse

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._go.set()
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if self._refuse:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open += [client, server]
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := self._received(source):
                self._go.wait()
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    @staticmethod
    def _received(source: socket.socket) -> Any:
        return source.recv(1 << 16)
