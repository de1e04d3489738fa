"""The asyncio shell of the broker: sockets for TCP and TLS, the one flush per loop turn, the one tick per second.

Bytes go to ``broker.connection`` and come from it; nothing of MQTT is known here. Invariants: a connection is written
to at most once per loop turn, and not while its transport is full; no timer and no task belongs to a connection (but
for one while it authenticates); an error in the code of one connection closes that one, with one line in the log.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import ssl
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from broker.auth import Admission
from broker.connection import Connection
from broker.lifecycle import Login
from broker.packets import ReasonCode
from broker.router import Router
from broker.settings import ListenerSettings, TlsSettings
from core.clock import SECOND, Clock
from core.errors import ConfigError
from core.message import Publisher, host_port

__all__ = ["Authenticator", "Listeners"]

logger = logging.getLogger(__name__)

_BACKLOG: Final = 4_096
_TICK_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 2.0
_LINGER: Final = 2 * SECOND
_VERIFY: Final = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


class Authenticator(Protocol):
    """Who says whether a client may connect: ``broker.auth.AccessControl`` or anything like it."""

    async def authenticate(self, publisher: Publisher, password: bytes | None) -> Admission: ...


class Listeners:
    """All listeners of a process, by their names in the configuration; relative paths start at ``base_dir``."""

    def __init__(
        self,
        settings: Mapping[str, ListenerSettings],
        router: Router,
        access: Authenticator,
        clock: Clock,
        *,
        base_dir: Path | None = None,
    ) -> None:
        self._settings = dict(settings)
        self._base_dir = base_dir or Path()
        self.router = router
        self.access = access
        self.clock = clock
        self._servers: dict[str, asyncio.Server] = {}
        self._shells: set[Shell] = set()
        self._lingering: dict[Shell, int] = {}
        self._empty = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._tick_handle: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """Host and port that each listener really has, by its name."""
        found: dict[str, tuple[str, int]] = {}
        for name, server in self._servers.items():
            if server.sockets:
                host, port = server.sockets[0].getsockname()[:2]
                found[name] = (host, port)
        return found

    @property
    def connections(self) -> int:
        """How many sockets are open, clients or not yet."""
        return len(self._shells)

    async def start(self) -> None:
        """Listen everywhere, or nowhere: ConfigError names the listener that cannot and why."""
        loop = self._loop = asyncio.get_running_loop()
        self.router.on_output = self._ask_for_flush
        try:
            for name, settings in self._settings.items():
                self._servers[name] = await self._listen(loop, name, settings)
        except ConfigError:
            await self.stop()
            raise
        self._tick()

    async def _listen(self, loop: asyncio.AbstractEventLoop, name: str, settings: ListenerSettings) -> asyncio.Server:
        context = None if settings.tls is None else self._tls_context(name, settings.tls)
        bind = settings.bind
        room = _Room(settings)
        try:
            return await loop.create_server(
                lambda: Shell(self, room),
                bind.host,
                bind.port,
                ssl=context,
                ssl_handshake_timeout=None if context is None else self.router.limits.connect_timeout.seconds,
                backlog=_BACKLOG,
                reuse_address=True,
            )
        except OSError as error:
            # The number is looked up here because event loops word the same error each in their own way.
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
            taken = error.errno == errno.EADDRINUSE
            raise ConfigError(
                f"cannot listen on {bind}: {reason}",
                path=f"listeners.{name}.bind",
                hint="another process uses the port" if taken else None,
            ) from error

    def _tls_context(self, name: str, tls: TlsSettings) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = _VERIFY[tls.verify]
        part = "cert"
        try:
            context.load_cert_chain(self._base_dir / tls.cert, self._base_dir / tls.key)
            if tls.client_ca is not None:
                part = "client_ca"
                context.load_verify_locations(self._base_dir / tls.client_ca)
        except (OSError, ssl.SSLError) as error:
            files = f"{tls.cert} and {tls.key}" if part == "cert" else tls.client_ca
            raise ConfigError(
                f"cannot use {files}: {error.strerror or error}", path=f"listeners.{name}.tls.{part}"
            ) from error
        return context

    async def stop(self) -> None:
        """Stop listening; connections stay until :meth:`disconnect_all`."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        # One turn of the loop, in which the sockets really close.
        await asyncio.sleep(0)

    async def disconnect_all(self, reason: ReasonCode = ReasonCode.SERVER_SHUTTING_DOWN) -> None:
        """Close every connection, telling MQTT 5 clients why, and end the tick. Call :meth:`stop` before."""
        if self._tick_handle is not None:
            self._tick_handle.cancel()
            self._tick_handle = None
        self.router.disconnect_all(self.clock.now(), reason)
        self._flush()
        for shell in list(self._shells):
            shell.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._shells:
            self._empty.clear()
            try:
                await asyncio.wait_for(self._empty.wait(), _CLOSE_SECONDS)
            except TimeoutError:
                for shell in list(self._shells):
                    shell.close(at_once=True)

    def linger(self, shell: Shell) -> None:
        """Close ``shell`` for good when its client does, or soon."""
        self._lingering.setdefault(shell, self.clock.now() + _LINGER)

    def _tick(self) -> None:
        now = self.clock.now()
        for shell, deadline in list(self._lingering.items()):
            if deadline <= now:
                shell.close(at_once=True)
        try:
            self.router.advance(now)
        except Exception as error:  # noqa: BLE001 - one connection's bug must not stop the time of all
            _report("a deadline", error)
        loop = self._loop or asyncio.get_running_loop()
        self._tick_handle = loop.call_later(_TICK_SECONDS, self._tick)

    def _ask_for_flush(self) -> None:
        if self._loop is not None:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        now = self.clock.now()
        for connection in self.router.take_dirty():
            shell: Shell | None = connection.shell
            if shell is not None:
                shell.act(now)

    def add(self, shell: Shell) -> None:
        self._shells.add(shell)

    def discard(self, shell: Shell) -> None:
        self._shells.discard(shell)
        self._lingering.pop(shell, None)
        if not self._shells:
            self._empty.set()

    def authenticate(self, connection: Connection, login: Login) -> None:
        """Ask who the client is, off the path of the bytes; the connection holds back what comes meanwhile."""
        task = asyncio.get_running_loop().create_task(self._authenticate(connection, login))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _authenticate(self, connection: Connection, login: Login) -> None:
        try:
            admission = await self.access.authenticate(login.publisher, login.password)
            if admission is Admission.REFUSED:
                connection.refuse(self.clock.now())
            else:
                connection.accept(self.clock.now(), anonymous=admission is Admission.ANONYMOUS)
        except Exception as error:  # noqa: BLE001 - as in Shell.data_received
            _report(_name(connection), error)
            connection.close(ReasonCode.UNSPECIFIED_ERROR, self.clock.now())


class _Room:
    """What the shells of one listener share: its limits, how many there are, and the names of its own addresses."""

    __slots__ = ("_names", "count", "max_connections", "max_packet_size")

    def __init__(self, settings: ListenerSettings) -> None:
        self.count = 0
        self._names: dict[tuple[str, int], str] = {}
        self.max_connections = settings.max_connections
        self.max_packet_size = int(settings.max_packet_size)

    def name(self, transport: asyncio.BaseTransport) -> str:
        """The near end of a connection, ``address:port``: one text for all, as a machine has few addresses."""
        host, port, *_ = transport.get_extra_info("sockname") or ("", 0)
        name = self._names.get((host, port))
        if name is None:
            name = self._names[host, port] = host_port(host, port)
        return name


class Shell(asyncio.Protocol):
    """The transport of one connection."""

    __slots__ = ("_listeners", "_reading", "_room", "connection", "transport")

    def __init__(self, listeners: Listeners, room: _Room) -> None:
        self._listeners = listeners
        self._room = room
        self._reading = True
        self.connection: Connection | None = None
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        listeners = self._listeners
        router = listeners.router
        room = self._room
        self.transport = transport
        room.count += 1
        if room.count > room.max_connections:
            router.statistics.connection("connection_limit")
            self.close(at_once=True)
            return
        # Both asyncio and uvloop set TCP_NODELAY themselves; the acknowledgements of a read leave in one write anyway.
        self.transport.set_write_buffer_limits(high=int(router.limits.max_write_buffer))
        peer = transport.get_extra_info("peername") or ("", 0)
        self.connection = Connection(
            router,
            listeners.clock.now(),
            max_packet_size=room.max_packet_size,
            peer_host=peer[0],
            peer_port=peer[1],
            sockname=room.name(transport),
            shell=self,
        )
        listeners.add(self)

    def data_received(self, data: bytes) -> None:
        connection = self.connection
        if connection is None:
            return
        listeners = self._listeners
        try:
            connection.receive(data, listeners.clock.now())
            login = connection.login
            if login is not None:
                connection.login = None
                listeners.authenticate(connection, login)
            if not connection.reading and self._reading:
                # Not with the next flush: uvloop may bring several reads before that.
                self._reading = False
                self.transport.pause_reading()
        except Exception as error:  # noqa: BLE001 - a bug met by one client is that client's trouble alone
            self._fail(error)

    def act(self, now: int) -> None:
        """Do what the connection asks for: write, read or not, close."""
        connection = self.connection
        transport = self.transport
        if connection is None or transport is None:
            return
        try:
            if not transport.is_closing() and not connection.blocked:
                data = connection.data_to_send(now)
                if data:
                    transport.write(data)
            if connection.closed:
                self._finish(connection.blocked)
            elif connection.reading is not self._reading:
                self._reading = connection.reading
                if self._reading:
                    transport.resume_reading()
                else:
                    transport.pause_reading()
        except Exception as error:  # noqa: BLE001 - as in data_received
            self._fail(error)

    def _finish(self, blocked: bool) -> None:
        """End a connection that is over so that its last packet arrives.

        Closing a socket with unread bytes resets it, and the reset overtakes the DISCONNECT that says why. So what
        the client still sends is read and thrown away until it has seen our end.
        """
        transport = self.transport
        if blocked or not transport.can_write_eof():
            self.close(at_once=blocked)
        elif not transport.is_closing():
            if not self._reading:
                self._reading = True
                transport.resume_reading()
            transport.write_eof()
            self._listeners.linger(self)

    def _fail(self, error: Exception) -> None:
        connection = self.connection
        if connection is not None:
            _report(_name(connection), error)
            connection.close(ReasonCode.UNSPECIFIED_ERROR, self._listeners.clock.now())
        self.close(at_once=True)

    def close(self, at_once: bool = False) -> None:
        """Close the transport; ``at_once`` gives up what it has not sent, which a client that does not read blocks."""
        transport = self.transport
        if transport is None:
            return
        if at_once:
            transport.abort()
        else:
            transport.close()

    def pause_writing(self) -> None:
        if self.connection is not None:
            self.connection.pause_writing()

    def resume_writing(self) -> None:
        if self.connection is not None:
            now = self._listeners.clock.now()
            self.connection.resume_writing(now)
            self.act(now)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self._room.count -= 1
        self._listeners.discard(self)
        connection, self.connection = self.connection, None
        self.transport = None
        if connection is None:
            return
        connection.shell = None
        try:
            connection.lost(self._listeners.clock.now())
        except Exception as failure:  # noqa: BLE001 - as in data_received
            _report(_name(connection), failure)


def _name(connection: Connection) -> str:
    publisher = connection.publisher
    return f"client {publisher.client_id!r} at {publisher.peer_host}:{publisher.peer_port}"


def _report(what: str, error: Exception) -> None:
    """One line that says where; the whole trace is there for those who log at debug level."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    logger.error(
        "internal error with %s: %s: %s (%s); the connection was closed", what, type(error).__name__, error, place
    )
    logger.debug("trace", exc_info=error)
