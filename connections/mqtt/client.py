"""One MQTT client on the event loop: paho's protocol over a :class:`Channel`.

paho knows packets and the state of every message; the loop does the network. No thread: paho's own one costs a wake-up
and a handover of the interpreter for every message, and four system calls for every acknowledgement. The client keeps
its state over lost connections, so that QoS 2 messages are neither lost nor doubled by one: where the broker still has
the session they are resumed, where it has not they are published anew.

It does not reconnect by itself: its user calls :meth:`MqttClient.connect` when there is something to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import ssl
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakValueDictionary

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.subscribeoptions import SubscribeOptions

from connections.mqtt.channel import Channel
from connections.mqtt.config import MqttConfig, words
from connections.mqtt.driver import OK, Driver, Packed, Properties
from connections.mqtt.listener import Listener
from connections.tls import reason_of
from core.errors import Unavailable

_log = logging.getLogger("headrace.connections.mqtt")

_DISCONNECT_SECONDS: Final = 1.0
_WHO_WE_ARE: Final = (0x86, 0x87)
"""Refusals for the sake of user and password: bad ones, or not authorized."""
_users: Final[WeakValueDictionary[tuple[str, int, str], MqttClient]] = WeakValueDictionary()
"""Who of this process has a client id at a broker, from the first connect to the last disconnect."""
_KEEPALIVE: Final = 0x8D
_NUMBER: Final = re.compile(r"\[Errno (\d+)\]")


def _cause(error: Exception) -> str:
    """An error of the network in words."""
    if isinstance(error, ssl.SSLError):
        return reason_of(error)
    if isinstance(error, OSError):
        # Event loops word the same error each in their own way, and asyncio names all addresses that a host has.
        numbers = [error.errno] if error.errno else [int(number) for number in _NUMBER.findall(str(error))]
        if reasons := dict.fromkeys(os.strerror(number) for number in numbers if number > 0):
            return ", ".join(reasons)
        return error.strerror or str(error)
    return str(error)


class MqttClient:
    """A client of one broker, on one event loop; ``listener`` hears what becomes of it."""

    def __init__(
        self,
        config: MqttConfig,
        tls: ssl.SSLContext | None,
        client_id: str,
        listener: Listener,
        *,
        clean: bool,
        fresh: bool,
    ) -> None:
        """``clean`` never resumes a session; ``fresh`` not one that another process has left behind."""
        self.config = config
        self.client_id = client_id
        self.port = config.port or (8883 if tls is not None else 1883)
        self.connected = False
        self.session_present = False
        self.epoch = 0
        """Which connection this is: an acknowledgement must not reach a later one."""
        self.limit = config.max_in_flight
        """Messages that may be under way to the broker at a time."""
        self.max_packet: int | None = None
        self.max_qos = 2
        self.retains = True
        self.last_code = 0
        """The reason code with which the broker ended the last connection; 0 where it gave none."""
        self._most = config.max_in_flight
        self._tls = tls
        self._listener = listener
        self._clean = clean
        self._fresh = fresh and not clean
        self._paho = Driver(config, client_id, clean=clean)
        self._paho.on_ack = listener.acknowledged
        self._paho.on_received = listener.received
        self._paho.on_connect = self._answered
        self._paho.on_disconnect = self._disconnected
        self._paho.on_subscribe = self._subscribed
        self._channel: Channel | None = None
        self._answer: asyncio.Future[None] | None = None
        self._subscribing: dict[int, asyncio.Future[list[int]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._connecting = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left = asyncio.Event()

    # -- connecting -----------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Be connected; Unavailable with the reason where that cannot be."""
        async with self._connecting:
            if self.connected:
                return
            await self._wait_for_turn()
            place = f"{self.config.host}:{self.port}"
            try:
                async with asyncio.timeout(self.config.connect_timeout.seconds):
                    await self._connect()
            except TimeoutError:
                raise Unavailable(f"{place} does not answer within {self.config.connect_timeout}") from None
            except ssl.SSLError as error:
                raise Unavailable(f"{place}: {_cause(error)}") from None
            except OSError as error:
                reset = self._tls is not None and isinstance(error, ConnectionResetError)
                doubt = " (does the port speak TLS?)" if reset else ""
                raise Unavailable(f"{place} cannot be reached: {_cause(error)}{doubt}") from None
            finally:
                self._answer = None
                if not self.connected:
                    self._drop()

    async def _wait_for_turn(self) -> None:
        """Have the client id for ourselves.

        A reload opens a sink while its predecessor, of the same client id, delivers what is under way. They would push
        each other out in turns, and the broker would confirm messages of QoS 2 that it had forgotten with the session.
        """
        loop, key = asyncio.get_running_loop(), (self.config.host, self.port, self.client_id)
        try:
            async with asyncio.timeout(self.config.connect_timeout.seconds):
                while (user := _users.get(key)) is not None and user is not self and user._loop is loop:
                    await user._left.wait()
        except TimeoutError:
            raise Unavailable(f"{self.client_id} is still in use by the sink that this one replaces") from None
        self._loop = loop
        self._left.clear()
        _users[key] = self

    def _leave(self) -> None:
        key = (self.config.host, self.port, self.client_id)
        if _users.get(key) is self:
            del _users[key]
        self._left.set()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        config = self.config
        if self._fresh and config.version != "5":  # there, only a clean session ends one
            last = MqttClient(config, self._tls, self.client_id, Listener(), clean=True, fresh=False)
            try:
                await last._connect()
            finally:
                await last.disconnect()
        channel = Channel(self._read, self._listener.room)
        await loop.create_connection(lambda: channel, config.host, self.port, ssl=self._tls)
        self._channel = self._paho.channel = channel
        self._paho.username_pw_set(config.user, self._password())
        keepalive = max(round(config.keepalive.seconds), 1) if config.keepalive else 0
        if config.version == "5":
            properties = Properties(PacketTypes.CONNECT)
            properties.ReceiveMaximum = config.max_in_flight
            if not self._clean:
                properties.SessionExpiryInterval = min(round(config.session_expiry.seconds), 0xFFFF_FFFF)
            self._paho.connect_async(
                config.host, self.port, keepalive, clean_start=self._clean or self._fresh, properties=properties
            )
        else:
            self._paho.connect_async(config.host, self.port, keepalive)
        self._answer = loop.create_future()
        self._paho.reconnect()
        await self._answer
        self._fresh = False

    def _password(self) -> str | None:
        try:
            return None if self.config.password is None else self.config.password.reveal()
        except ValueError as error:
            raise Unavailable(f"password: {error}") from None

    def _answered(self, _client: Any, _data: Any, flags: Any, reason: Any, properties: Any) -> None:
        answer = self._answer
        if answer is None or answer.done():
            return
        if reason.is_failure:
            code, said = reason.value, str(getattr(properties, "ReasonString", ""))
            place, user = f"{self.config.host}:{self.port}", self.config.user
            text = f"{place} refuses the connection: {words(code, said)}"
            if code in _WHO_WE_ARE:
                text += " (it was asked without a `user`)" if user is None else f" (as user {user!r})"
            answer.set_exception(Unavailable(text))
            return
        self.connected = True
        self.epoch += 1
        self.session_present = flags.session_present
        self.limit = min(self._most, getattr(properties, "ReceiveMaximum", 0xFFFF))
        self.max_packet = getattr(properties, "MaximumPacketSize", None)
        self.max_qos = getattr(properties, "MaximumQoS", 2)
        self.retains = bool(getattr(properties, "RetainAvailable", 1))
        if not flags.session_present:
            self._paho.forget_session()
        self._tick()
        answer.set_result(None)

    def _tick(self) -> None:
        """Keep-alive, once a second."""
        if self.connected:
            self._timer = asyncio.get_running_loop().call_later(1.0, self._tick)
            self._paho.loop_misc()

    # -- what comes -----------------------------------------------------------------------------------------------

    def _read(self) -> None:
        channel = self._channel
        while channel is not None and channel is self._channel and channel.pending:
            try:
                result = self._paho.loop_read()
            except Exception:  # noqa: BLE001 - what a broker sends must not end the service
                _log.exception("%s: %s sent what cannot be read", self.client_id, self.config.host)
                self._gone("the broker sent what is not MQTT")
                break
            if result != OK:
                break
        if self._paho.want_write():
            self._paho.loop_write()
        self._listener.read()

    def _disconnected(self, _client: Any, _data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            said = words(reason.value, str(getattr(properties, "ReasonString", "")))
            self._gone(f"the broker ended the connection: {said}", reason.value)
            return
        error = None if self._channel is None else self._channel.error
        cause = f": {_cause(error)}" if error else ""
        if reason.value == _KEEPALIVE:
            cause = f": nothing came for twice the keepalive ({self.config.keepalive})"
        if self.connected:
            self._gone(f"the connection to {self.config.host}:{self.port} was lost{cause}")
            return
        doubt = ""
        if self._tls is None:
            doubt = "; does it want TLS (tls = true)?"
        elif getattr(self.config.tls, "cert", None) is None and "tls.cert" not in cause:
            doubt = "; does it want to see a certificate of ours (see tls.cert and tls.key)?"
        self._gone(f"{self.config.host}:{self.port} ended the connection instead of an answer{cause}{doubt}")

    def _gone(self, reason: str, code: int = 0) -> None:
        was_connected, answer = self.connected, self._answer
        if self._channel is None:  # we have left
            return
        self.last_code = code
        self._drop()
        if answer is not None and not answer.done():
            answer.set_exception(Unavailable(reason))
        for future in self._subscribing.values():
            if not future.done():
                future.set_exception(Unavailable(reason))
        if was_connected:
            self._listener.lost(reason)

    def _drop(self) -> None:
        """Be disconnected, without ceremony."""
        self.connected = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.abort()

    # -- what goes ------------------------------------------------------------------------------------------------

    @property
    def outstanding(self) -> int:
        """Messages under way that the broker has not acknowledged, those of earlier writes included."""
        return self._paho.outstanding

    @property
    def writable(self) -> bool:
        """Whether the network keeps up."""
        return self._channel is not None and self._channel.writable

    @property
    def flushed(self) -> bool:
        """Whether all that was published has left the process."""
        return self._channel is not None and self._channel.flushed

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool, properties: Packed | None) -> int:
        """Send a message and return its packet id."""
        packed: Any = properties
        return self._paho.publish(topic, payload, qos, retain, packed).mid

    def slow_down(self) -> None:
        """From now on have half as many messages under way: the broker does not take what it has said it would."""
        self._most = max(self.limit // 2, 1)

    def forget(self) -> None:
        """Give up what is under way and start the next connection with a new session."""
        self._paho.drop_pending()
        self._fresh = not self._clean

    def confirm(self, packet_id: int, qos: int, epoch: int) -> None:
        """Acknowledge a received message, if the connection is still that of ``epoch``."""
        if self.connected and epoch == self.epoch:
            self._paho.confirm(packet_id, qos)

    def discard(self, packet_id: int) -> None:
        """Forget a message of QoS 2 that was received over a lost connection and never confirmed."""
        self._paho.discard(packet_id)

    async def subscribe(self, filters: Sequence[tuple[str, int]]) -> None:
        """Subscribe; Unavailable with the filter that the broker refuses. Retained messages come once."""
        wanted: Any = list(filters)
        if self.config.version == "5":
            wanted = [(name, SubscribeOptions(qos, retainHandling=1)) for name, qos in filters]
        _, packet_id = self._paho.subscribe(wanted)
        if packet_id is None:
            raise Unavailable("the connection to the broker was lost")
        future = self._subscribing[packet_id] = asyncio.get_running_loop().create_future()
        try:
            codes = await future
        finally:
            del self._subscribing[packet_id]
        for (name, _), code in zip(filters, codes, strict=False):
            if code >= 0x80:
                raise Unavailable(f"the broker refuses the subscription {name!r}: {words(code)}")

    def _subscribed(self, _client: Any, _data: Any, packet_id: int, reasons: Any, _properties: Any) -> None:
        future = self._subscribing.get(packet_id)
        if future is not None and not future.done():
            future.set_result([reason.value for reason in reasons])

    async def disconnect(self) -> None:
        """Say goodbye and close; the broker keeps the session. Harmless where there is no connection."""
        try:
            await self._disconnect()
        finally:
            self._leave()

    async def _disconnect(self) -> None:
        channel, self._channel = self._channel, None
        if channel is None:
            return
        was_connected = self.connected
        self._drop()
        if was_connected:
            self._paho.disconnect()  # which closes the channel behind it
            channel.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(channel.closed), _DISCONNECT_SECONDS)
        channel.abort()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(channel.closed), _DISCONNECT_SECONDS)
