"""The bridge's half of the mqtt sink: batches to a remote broker, many messages in flight.

Delivered means: QoS 0 handed to the system, QoS 1 acknowledged (PUBACK), QoS 2 taken for good (PUBCOMP). A lost
connection leaves what was under way with the client, which sees it through at the next one; when the same batch comes
again, only what is not yet acknowledged is waited for or sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from connections.mqtt.config import verdict, words
from connections.mqtt.connection import MqttConnection
from connections.mqtt.listener import Listener
from core.clock import SECOND, Clock
from core.errors import SinkError, Throttled, Unavailable
from core.marks import signed
from core.message import Batch
from sinks.mqtt.encode import Encode, Publication, encoded

if TYPE_CHECKING:
    from connections.mqtt.driver import Packed

_TAKEN_OVER: Final = 0x8E
_TOO_MANY: Final = 0x93
_STAY_AWAY: Final = 5 * SECOND
"""After another client has taken our client id: two that take it from each other in turns get nothing done."""
_FRAME: Final = 16
"""Bytes of a PUBLISH beside topic, payload and properties, at the most."""


class _Flight:
    """A batch on its way: ``todo`` are positions in ``publications`` that are still to be sent, in order."""

    def __init__(self, batch: Batch, encode: Encode) -> None:
        self.batch = batch
        self.publications, self.places, self.dead = encoded(encode, batch.rows)
        self.todo = deque(range(len(self.publications)))
        self.pending: dict[int, int] = {}
        self.unflushed: list[int] = []
        self.refused: list[int] = []
        self.error: SinkError | None = None
        self.alone = False

    def resume(self) -> None:
        """Begin another attempt: what was refused for now is sent again."""
        self.error = None
        self.again(self.refused)
        self.refused = []

    def bury(self, position: int, reason: str) -> None:
        self.dead.append((self.places[position], reason))

    def again(self, positions: list[int]) -> None:
        """Put positions back among those to be sent."""
        self.todo = deque(sorted([*positions, *self.todo]))


class Bridge(Listener):
    """One client and the batch that it is busy with."""

    def __init__(self, connection: MqttConnection, name: str, clock: Clock) -> None:
        self._mark = connection.mark
        self._echoes = connection.echoes
        self._clock = clock
        self._client = connection.client(f"sink-{name}", self, fresh=True)
        self._v5 = connection.config.version == "5"
        self._flight: _Flight | None = None
        self._news = asyncio.Event()
        self._loss = ""

    async def open(self) -> None:
        await self._client.connect()

    async def close(self) -> None:
        self._flight = None
        await self._client.disconnect()

    async def write(self, batch: Batch, encode: Encode) -> list[tuple[int, str]]:
        """Deliver a batch; the rows that never can be, with the reasons."""
        flight = self._flight
        if flight is None or flight.batch is not batch:
            flight = self._flight = _Flight(batch, encode)
        await self._client.connect()
        flight.resume()
        while True:
            self._news.clear()
            self._send(flight)
            if not flight.pending and (flight.error is not None or not (flight.todo or flight.unflushed)):
                break
            await self._news.wait()
            if not self._client.connected:
                self._explain(flight)
        if flight.error is not None:
            raise flight.error
        return flight.dead

    def _explain(self, flight: _Flight) -> None:
        """The connection was lost: raise Unavailable, after a message that is to blame for it is out of the way."""
        flight.again(flight.unflushed)
        flight.unflushed = []
        code = self._client.last_code
        if code == _TOO_MANY:  # to resume all of them at once would end in the same way, again and again
            self._client.slow_down()
            flight.again(list(flight.pending.values()))
            flight.pending.clear()
            self._client.forget()
        elif verdict(code) == "never" and flight.pending:
            if flight.alone and len(flight.pending) == 1:
                [position] = flight.pending.values()
                flight.bury(position, words(code))
                flight.alone = False
            else:  # one of these: from now on one at a time
                flight.again(list(flight.pending.values()))
                flight.alone = True
            flight.pending.clear()
            self._client.forget()
        # Some brokers refuse a message and hang up: the refusal says more.
        raise flight.error or Unavailable(self._loss, _STAY_AWAY if code == _TAKEN_OVER else None)

    def _send(self, flight: _Flight) -> None:
        """Publish what may be under way."""
        client, todo, publications = self._client, flight.todo, flight.publications
        limit = 1 if flight.alone else client.limit
        marks: dict[object, Packed] = {}
        while todo and client.outstanding < limit and client.writable and not isinstance(flight.error, Throttled):
            position = todo.popleft()
            publication = publications[position]
            packed, reason = None, None
            if self._v5:
                try:
                    packed = self._packed(publication, flight.batch.hops, marks)
                except ValueError as error:
                    reason = str(error)
            reason = reason or self._impossible(publication, packed)
            if reason is not None:
                flight.bury(position, reason)
                continue
            topic, payload, qos, retain, *_ = publication
            if self._echoes is not None:
                self._echoes.sent(topic, payload, self._clock.now())
            packet_id = client.publish(topic, payload, qos, retain, packed)
            if qos:
                flight.pending[packet_id] = position
            else:
                flight.unflushed.append(position)

    def _packed(self, publication: Publication, hops: int, marks: dict[object, Packed]) -> Packed:
        from connections.mqtt.driver import pack

        key = (publication.properties, publication.user)
        packed = marks.get(key)
        if packed is None:
            user = signed(publication.user, hops + 1, self._mark)
            packed = marks[key] = pack((*publication.properties, ("user_properties", user)))
        return packed

    def _impossible(self, publication: Publication, packed: Packed | None) -> str | None:
        """Why the broker has said that it takes no such message; None where it has not."""
        client = self._client
        if publication.qos > client.max_qos:
            return f"the broker takes QoS {client.max_qos} at most, this is {publication.qos}"
        if publication.retain and not client.retains:
            return "the broker keeps no retained messages"
        if client.max_packet is not None:
            properties = 0 if packed is None else len(packed)
            size = len(publication.payload) + 4 * len(publication.topic) + properties + _FRAME
            if size > client.max_packet:
                size += len(publication.topic.encode()) - 4 * len(publication.topic)
                if size > client.max_packet:
                    return f"{size} bytes are more than the broker takes ({client.max_packet})"
        return None

    # -- what the client tells ------------------------------------------------------------------------------------

    def acknowledged(self, packet_id: int, code: int, detail: str) -> None:
        flight = self._flight
        position = None if flight is None else flight.pending.pop(packet_id, None)
        if flight is None or position is None:  # of a batch that was given up
            return
        outcome = verdict(code)
        if outcome == "never":
            flight.bury(position, words(code, detail))
        elif outcome != "done":
            flight.refused.append(position)
            topic = flight.publications[position].topic
            kind = Throttled if outcome == "slower" else Unavailable
            flight.error = kind(f"the broker refuses a message to {topic!r}: {words(code, detail)}")

    def read(self) -> None:
        self._news.set()

    def room(self) -> None:
        if self._flight is not None:
            self._flight.unflushed.clear()
        self._news.set()

    def lost(self, reason: str) -> None:
        self._loss = reason
        self._news.set()
