"""The kafka sink: batches into a producer, and what it says about each record.

Delivered means: acknowledged as ``acks`` asks for. Order: the rows of a rule reach their partitions in order, through
retries and restarts of brokers, because one batch is in flight and the producer numbers its records (idempotence).

A write that its caller gives up does not take back what is in the producer: when the same batch comes again the sink
goes on waiting for it, and what was delivered is not sent twice. With ``exactly_once`` a batch is a transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Final

from connections.kafka.connection import KafkaConnection
from connections.kafka.driver import (
    UNKNOWN_TOPIC,
    Failure,
    OutcomeUnknown,
    Producer,
    Record,
    TopicSettings,
    problem,
    rejection,
)
from connections.worker import Worker
from core.errors import ConfigError, Rejected, SinkError, Unavailable
from core.message import Batch, Schema
from core.registry import did_you_mean
from sinks.base import Sink, SinkContext
from sinks.kafka.config import Config as KafkaSinkConfig
from sinks.kafka.encode import Encode, Encoder, encoded

_MAX_SCHEMAS: Final = 256
_LOOK: Final = 0.2
"""Seconds between two looks at whether the caller still waits."""


class _Call:
    """One call of ``write``, whose caller may give up."""

    given_up = False


class _Flight:
    """What is left of a batch: its records with the positions of their rows, and the rows that are dead."""

    def __init__(self, batch: Batch, records: list[Record], places: list[int], dead: list[tuple[int, str]]) -> None:
        self.batch = batch
        self.records = records
        self.places = places
        self.dead = dead
        self.sent = False
        self.committing = False
        self.done = False

    def keep(self, failures: dict[int, Failure]) -> Failure | None:
        """Leave only what has failed; the first failure that may be tried again."""
        left = sorted(failures)
        again = [failures[index] for index in left if rejection(failures[index]) is None]
        self.records = [self.records[index] for index in left]
        self.places = [self.places[index] for index in left]
        self.sent = False
        return again[0] if again else None


class KafkaSink(Sink):
    """Produces every row as a record."""

    name: ClassVar[str] = "kafka"
    connection_type: ClassVar[str | None] = "kafka"
    Config = KafkaSinkConfig

    def __init__(self, config: KafkaSinkConfig, context: SinkContext) -> None:
        super().__init__(config, context)
        self._connection = context.connected(KafkaConnection)
        self._encoder = Encoder(config)
        self._check_config(config)
        self._transactional_id: str | None = None
        if config.exactly_once:
            client = self._connection.config.client_id
            self._transactional_id = config.transactional_id or f"{client}-{context.name}"
        self._bound: dict[Schema, Encode] = {}
        self._worker: Worker | None = None
        self._producer: Producer | None = None
        self._flight: _Flight | None = None

    def _check_config(self, config: KafkaSinkConfig) -> None:
        if config.idempotence and config.acks != "all":
            raise ConfigError('idempotence needs acks = "all"', path="acks", hint="or set idempotence = false")
        if config.exactly_once and not config.idempotence:
            raise ConfigError("exactly_once needs idempotence", path="idempotence")
        if config.transactional_id is not None and not config.exactly_once:
            raise ConfigError("is of use with exactly_once = true only", path="transactional_id")
        names = dict.fromkeys(name for schema in self.context.schemas for name in schema.names)
        for setting, column in self._encoder.columns if names else ():
            if column not in names:
                hint = did_you_mean(column, names) or f"they yield {', '.join(names)}"
                raise ConfigError(f"no rule yields {column!r}", path=setting, hint=hint)

    # -- on the loop ----------------------------------------------------------------------------------------------

    async def open(self) -> None:
        await self._connection.join(self)
        self._worker = Worker(f"kafka sink {self.context.name}")
        await self._worker.run(self._prepare)

    async def check(self) -> None:
        """Unavailable where the cluster does not answer, or a constant topic is not there and will not be made."""
        worker = Worker(f"check of {self.context.name}")
        try:
            await worker.run(lambda: self._topic_is_there(make=False))
        finally:
            worker.stop()

    async def write(self, batch: Batch) -> None:
        if self._worker is None:
            raise Unavailable("the kafka sink is not open")
        if not batch.rows:
            return
        call = _Call()
        send: Callable[[_Flight, _Call], None] = self._transact if self._transactional_id else self._send
        try:
            dead = await self._worker.run(lambda: self._write(batch, call, send))
        except asyncio.CancelledError:
            call.given_up = True
            raise
        if dead:
            raise Rejected(f"{len(dead)} records were refused, the first: {dead[0][1]}", sorted(dead))

    async def close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.run(self._drop)
            worker.stop()
        await self._connection.leave(self)

    # -- in the thread --------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        self._topic_is_there(make=True)
        self._producer = self._connection.producer(self.config, self._transactional_id)

    def _topic_is_there(self, *, make: bool) -> None:
        admin = self._connection.admin()
        try:
            admin.describe()
            topic, wanted = self._encoder.topic.constant, self.config.create_topic
            if topic is not None and (wanted or not make) and topic not in admin.topics():
                if wanted is None:
                    raise problem(Failure(UNKNOWN_TOPIC, ""), topic)
                if make:
                    admin.create(topic, TopicSettings(wanted.partitions, wanted.replication, wanted.config))
        finally:
            admin.close()

    def _write(self, batch: Batch, call: _Call, send: Callable[[_Flight, _Call], None]) -> list[tuple[int, str]]:
        flight = self._flight
        if flight is None or flight.batch is not batch:
            if flight is not None and not flight.done:  # given up for good, and its records may still be under way
                self._drop()
            flight = self._flight = _Flight(batch, *encoded(self._bind(batch.schema), batch.rows))
        try:
            if flight.records and not flight.done:
                send(flight, call)
        except Rejected:
            raise
        except SinkError:
            if not (flight.sent or flight.committing):  # nothing is under way: begin anew, whatever the driver's state
                self._close_producer()
            raise
        # It is kept: a caller that gave up meanwhile comes again with the same batch.
        flight.done = True
        return flight.dead

    def _bind(self, schema: Schema) -> Encode:
        encode = self._bound.get(schema)
        if encode is None:
            if len(self._bound) >= _MAX_SCHEMAS:
                self._bound.clear()
            encode = self._bound[schema] = self._encoder.bind(schema)
        return encode

    def _ready(self) -> Producer:
        if self._producer is None:
            self._producer = self._connection.producer(self.config, self._transactional_id)
        return self._producer

    def _wait(self, producer: Producer, call: _Call) -> None:
        while not producer.wait(_LOOK):
            if call.given_up:
                raise Unavailable("the brokers take long to answer")

    def _send(self, flight: _Flight, call: _Call) -> None:
        """Records that are refused together are tried one by one: a broker refuses what it got in one request."""
        producer = self._ready()
        made = False
        while flight.records:
            if not flight.sent:
                producer.send(flight.records)
                flight.sent = True
            self._wait(producer, call)
            failures = producer.failures()
            failure = flight.keep(failures)
            if failure is not None:
                if not made and self._make_topics(flight, failure):
                    made = True
                    self._close_producer()  # it would go on remembering that they are not there
                    producer = self._ready()
                else:
                    raise problem(failure, flight.records[0][0])
            elif failures:
                self._isolate(flight, producer, call, failures[min(failures)])

    def _isolate(self, flight: _Flight, producer: Producer, call: _Call, failure: Failure) -> None:
        """Send the refused records alone, bury those that are refused alone too, and keep the rest for another time."""
        alone = len(flight.records) == 1
        while flight.records:
            if not alone:
                producer.send(flight.records[:1])
                self._wait(producer, call)
                failure = producer.failures().get(0, Failure(0, ""))
            reason = rejection(failure)
            if failure.code and reason is None:
                raise problem(failure, flight.records[0][0])
            if reason is not None:
                flight.dead.append((flight.places[0], reason))
            del flight.records[0], flight.places[0]

    def _transact(self, flight: _Flight, call: _Call) -> None:
        producer = self._ready()
        if not flight.committing:
            producer.begin()
            try:
                producer.send(flight.records)
                self._wait(producer, call)
                failures = producer.failures()
                if failures:
                    self._refuse(flight, failures)
            except SinkError:
                self._abort(producer)
                raise
            flight.committing = True
        try:
            producer.commit()
        except OutcomeUnknown:
            raise
        except SinkError:
            flight.committing = False
            self._abort(producer)
            raise

    def _refuse(self, flight: _Flight, failures: dict[int, Failure]) -> None:
        """Nothing of the transaction counts: say what is to be done with its rows."""
        again = [index for index in sorted(failures) if rejection(failures[index]) is None]
        if again:
            failure = failures[again[0]]
            made = self._make_topics(flight, failure)
            raise Unavailable("its topic was just made") if made else problem(failure, flight.records[again[0]][0])
        raise Rejected(f"{rejection(failures[min(failures)])}")

    def _abort(self, producer: Producer) -> None:
        try:
            producer.abort()
        except SinkError:
            self._close_producer()  # the next one ends what this one has left open

    def _make_topics(self, flight: _Flight, failure: Failure) -> bool:
        """Make the topics that are not there, if that is wanted; True where it is worth trying again."""
        wanted = self.config.create_topic
        if failure.code != UNKNOWN_TOPIC or wanted is None:
            return False
        admin = self._connection.admin()
        try:
            absent = {record[0] for record in flight.records} - admin.topics()
            for topic in sorted(absent):
                admin.create(topic, TopicSettings(wanted.partitions, wanted.replication, wanted.config))
        finally:
            admin.close()
        return bool(absent)

    def _drop(self) -> None:
        self._flight = None
        self._close_producer()

    def _close_producer(self) -> None:
        producer: Any = self._producer
        self._producer = None
        if producer is not None:
            producer.close()
