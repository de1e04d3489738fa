"""The http sink: requests, and what their answers say about the rows.

Delivered means: answered with a status from 200 to 299. At least once: a request whose answer was lost is sent again,
with the same ``Idempotency-Key`` where that is wanted. A batch that comes again goes on where it was: what was answered
is not sent twice. Order: with ``parallel = 1`` the requests of a rule's rows go out one after the other, also after
failures.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from enum import Enum, auto
from typing import ClassVar, Final

from connections.http import DENIED, HttpConnection
from connections.http_client import AddressRefused, Answer
from core.errors import ConfigError, Rejected, Throttled, Unavailable
from core.message import Batch, Schema
from sinks.base import Sink, SinkContext
from sinks.http.config import Config as HttpSinkConfig
from sinks.http.encode import Encode, Encoder, Request

_MAX_SCHEMAS: Final = 256


class _Meaning(Enum):
    """What a status says about the rows of a request."""

    DELIVERED = auto()
    REJECTED = auto()
    AGAIN = auto()
    THROTTLED = auto()
    DENIED = auto()
    """The operator's credentials are wrong; where a row named the host there are none, and the row is."""
    MISPLACED = auto()
    """The address is wrong: the operator's, or that row's where it has a say in it."""


_MEANINGS: Final = {
    **dict.fromkeys(range(200, 300), _Meaning.DELIVERED),
    **dict.fromkeys(range(300, 400), _Meaning.MISPLACED),
    **dict.fromkeys(range(400, 500), _Meaning.REJECTED),
    **dict.fromkeys(range(500, 600), _Meaning.AGAIN),
    **dict.fromkeys(DENIED, _Meaning.DENIED),
    **dict.fromkeys((404, 405, 410), _Meaning.MISPLACED),
    **dict.fromkeys((408, 425), _Meaning.AGAIN),
    **dict.fromkeys((429, 503), _Meaning.THROTTLED),
}


class _Flight:
    """What is left of a batch: requests without an answer that counts, and rows that are dead.

    ``width`` is how many requests are sent at a time: a service that asks for less gets less.
    """

    def __init__(self, batch: Batch, requests: list[Request], dead: list[tuple[int, str]], width: int) -> None:
        self.batch = batch
        self.requests = deque(requests)
        self.dead = dead
        self.width = width
        self.key = secrets.token_hex(12)
        self.busy = False
        self.problem: Exception | None = None


class HttpSink(Sink):
    """Sends rows to an HTTP service."""

    name: ClassVar[str] = "http"
    connection_type: ClassVar[str | None] = "http"
    templates: ClassVar[tuple[str, ...]] = ("url", "body", "headers", "idempotency_key")
    Config = HttpSinkConfig

    def __init__(self, config: HttpSinkConfig, context: SinkContext) -> None:
        super().__init__(config, context)
        self._connection = context.connected(HttpConnection)
        self._encoder = Encoder(config, self._connection.base, self._connection.header_names)
        self._meanings = self._all_meanings(config)
        limit = self._connection.config.max_connections
        if config.parallel > limit:
            raise ConfigError(f"more than the max_connections of the connection, {limit}", path="parallel")
        if config.unreachable == "reject" and not self._encoder.url.foreign:
            raise ConfigError("is for addresses whose host comes out of rows", path="unreachable")
        # A batch of many requests is sent several requests at a time; where a batch is one, several batches are.
        alone = config.send == "row"
        self._width = config.parallel if alone else 1
        self.max_in_flight = 1 if alone else config.parallel
        self._bound: dict[Schema, Encode] = {}
        self._flights: list[_Flight] = []

    def _all_meanings(self, config: HttpSinkConfig) -> dict[int, _Meaning]:
        meanings = dict(_MEANINGS)
        for status, meaning in meanings.items():
            ours = (meaning is _Meaning.DENIED and self._encoder.url.foreign) or (
                meaning is _Meaning.MISPLACED and self._encoder.url.constant is None
            )
            if ours:
                meanings[status] = _Meaning.REJECTED
        seen: set[int] = set()
        for setting, meaning in (
            ("accept_status", _Meaning.DELIVERED),
            ("retry_status", _Meaning.AGAIN),
            ("reject_status", _Meaning.REJECTED),
        ):
            chosen = set(getattr(config, setting))
            if both := seen & chosen:
                raise ConfigError(f"{min(both)} cannot mean two things", path=setting)
            seen |= chosen
            meanings |= dict.fromkeys(chosen, meaning)
        return meanings

    async def open(self) -> None:
        await self._connection.join(self)
        if self._connection.config.check_path is not None:
            await self._connection.ask()

    async def check(self) -> None:
        """Unavailable where nobody answers at ``check_path``, or else at an address that is the same for all rows."""
        try:
            await self._connection.join(self)
            await self._connection.ask(self._encoder.url.constant)
        finally:
            await self.close()

    async def write(self, batch: Batch) -> None:
        if not batch.rows:
            return
        flight = self._flight(batch)
        flight.busy = True
        try:
            await self._send_all(flight)
        finally:
            flight.busy = False
        self._flights.remove(flight)
        if flight.dead:
            dead = sorted(flight.dead)
            raise Rejected(f"{len(dead)} rows were refused, the first: {dead[0][1]}", dead)

    def _flight(self, batch: Batch) -> _Flight:
        """That of a batch that comes again, or a new one."""
        flights = self._flights
        for flight in flights:
            if flight.batch is batch:
                return flight
        given_up = [flight for flight in flights if not flight.busy]
        if len(flights) >= self.max_in_flight and given_up:
            flights.remove(given_up[0])
        requests, dead = self._bind(batch.schema)(batch.rows)
        flight = _Flight(batch, requests, dead, self._width)
        flights.append(flight)
        return flight

    async def _send_all(self, flight: _Flight) -> None:
        count = min(flight.width, len(flight.requests))
        if count <= 1:
            await self._work(flight)
        else:
            async with asyncio.TaskGroup() as group:
                for _ in range(count):
                    group.create_task(self._work(flight))
        problem, flight.problem = flight.problem, None
        if problem is not None:
            if isinstance(problem, Throttled):
                flight.width = max(flight.width // 2, 1)
            raise problem

    async def _work(self, flight: _Flight) -> None:
        """Send one request after the other, until there is a problem; the others then finish what they are at."""
        while flight.requests and flight.problem is None:
            request = flight.requests.popleft()
            try:
                flight.requests.extendleft(await self._send(flight, request))
            except Exception as problem:  # noqa: BLE001 - raised as it is when all have finished
                flight.requests.appendleft(request)
                flight.problem = problem
            except BaseException:
                flight.requests.appendleft(request)
                raise

    async def _send(self, flight: _Flight, request: Request) -> tuple[Request, ...]:
        """Send a request; where one of its rows was refused, what to send instead, last first."""
        headers, body = self._encoder.finish(request, flight.key)
        foreign, method = self._encoder.url.foreign, self.config.method
        try:
            answer = await self._connection.send(method, request.url, headers, body, foreign=foreign)
        except Unavailable as error:
            if not foreign or not (isinstance(error, AddressRefused) or self.config.unreachable == "reject"):
                raise
            flight.dead += [(place, str(error)) for place in request.places]
            return ()
        meaning = self._meanings.get(answer.status, _Meaning.AGAIN)
        if meaning is _Meaning.DELIVERED:
            return ()
        if meaning is not _Meaning.REJECTED:
            raise self._problem(request, answer, meaning)
        if len(request.places) > 1:
            first, second = request.halves()
            return second, first
        flight.dead.append((request.places[0], self._told(request, answer)))
        return ()

    def _problem(self, request: Request, answer: Answer, meaning: _Meaning) -> Unavailable:
        reason = self._told(request, answer)
        if meaning is _Meaning.DENIED:
            return Unavailable(f"not authorized: {reason}")
        wait = answer.retry_after(self.context.clock.now())
        return (Throttled if meaning is _Meaning.THROTTLED else Unavailable)(reason, wait)

    def _told(self, request: Request, answer: Answer) -> str:
        connection = self._connection
        moved = 300 <= answer.status < 400 and "Location" in answer.headers
        text = f"moved to {connection.moved_to(answer)}" if moved else connection.told(answer)
        return f"{connection.shown(request.url)}: {text} ({answer.status})"

    def _bind(self, schema: Schema) -> Encode:
        encode = self._bound.get(schema)
        if encode is None:
            if len(self._bound) >= _MAX_SCHEMAS:
                self._bound.clear()
            encode = self._bound[schema] = self._encoder.bind(schema)
        return encode

    async def close(self) -> None:
        await self._connection.leave(self)
