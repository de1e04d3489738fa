"""An HTTP far side that costs little: it reads requests with a body, answers 204 and keeps when each was complete.

Speaks as much HTTP as a client with keep-alive needs (requests with a Content-Length), on any path, so that it stands
in for a webhook as well as for the write API of an InfluxDB. What a real server would do with the body it does not do.

As a program it listens on a free port of loopback, prints its number, and forgets what comes:

    python benchmarks/far_side.py
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

ANSWER: Final = b"HTTP/1.1 204 No Content\r\nServer: bench\r\n\r\n"


class FarSide(asyncio.Protocol):
    """One connection; ``keep(moment, body)`` gets when a request was complete (nanoseconds) and its body."""

    def __init__(self, keep: Callable[[int, bytes], None]) -> None:
        self._keep = keep
        self._data = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        received = self._data
        received += data
        while (head := received.find(b"\r\n\r\n")) >= 0:
            at = received.lower().find(b"content-length:", 0, head)
            length = int(received[at + 15 : received.find(b"\r\n", at)]) if at >= 0 else 0
            if len(received) < head + 4 + length:
                return
            now = time.time_ns()
            body = bytes(received[head + 4 : head + 4 + length])
            del received[: head + 4 + length]
            self._transport.write(ANSWER)
            self._keep(now, body)


async def listen(keep: Callable[[int, bytes], None]) -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(lambda: FarSide(keep), "127.0.0.1", 0)


def port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


class HttpFarSide:
    """The program, in a process of its own; used as the servers of ``tests.servers`` are."""

    name = "HTTP far side"

    def __init__(self, _folder: Path) -> None:
        self.url = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


async def serve() -> None:
    server = await listen(lambda _moment, _body: None)
    print(port_of(server), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
