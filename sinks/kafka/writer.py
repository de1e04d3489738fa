"""Batches into a producer, and what it says about each record; everything here runs in one thread and may block.

A write that its caller gives up does not take back what is in the producer: when the same batch comes again the writer
goes on waiting for it, and what was delivered is not sent twice. So it may say early that brokers are out of reach,
while the driver goes on trying. With a transactional id a batch is a transaction.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from typing import Final

from connections.kafka.connection import KafkaConnection
from connections.kafka.driver import (
    UNKNOWN_TOPIC,
    Admin,
    Failure,
    OutcomeUnknown,
    Producer,
    ProducerLost,
    Record,
    TopicSettings,
    problem,
    refused_together,
    rejection,
)
from core.errors import Rejected, SinkError, Unavailable
from core.message import Batch, Schema
from sinks.kafka.config import Config
from sinks.kafka.encode import Encode, Encoder, encoded

_log = logging.getLogger("headrace.sinks")

_MAX_SCHEMAS: Final = 256
_LOOK: Final = 0.2
"""Seconds between two looks at whether the caller still waits."""
_PATIENCE: Final = 2.0
"""Seconds without any progress after which an outage is told, where the driver says a reason for it."""
_STILL_ABSENT: Final = 30.0
"""Seconds for which a topic that was not there is taken as absent without asking again."""
_MAX_ABSENT: Final = 10_000


class Call:
    """One call of ``write``, whose caller may give up."""

    given_up = False


class _Flight:
    """What is left of a batch: its records with the positions of their rows, and the rows that are dead."""

    def __init__(self, batch: Batch, records: list[Record], places: list[int], dead: list[tuple[int, str]]) -> None:
        self.batch = batch
        self.records = records
        self.places = places
        self.dead = dead
        self.step = len(records)  # so many of them are sent at a time
        self.sent = False
        self.committing = False
        self.done = False

    def go_on(self, left: Collection[int], *, refused: bool) -> None:
        """Of those that were sent these are left; where they were refused send half as many, else twice."""
        was = self.step
        self.step = max(len(left) // 2, 1) if refused else was * 2
        self.keep([*left, *range(was, len(self.records))])

    def keep(self, left: Collection[int]) -> None:
        """Leave only the records at these positions."""
        self.records = [self.records[index] for index in left]
        self.places = [self.places[index] for index in left]
        self.sent = False


class Writer:
    """From an ``open`` of the sink to its ``close``."""

    def __init__(
        self, connection: KafkaConnection, config: Config, encoder: Encoder, transactional_id: str | None
    ) -> None:
        self._connection = connection
        self._config = config
        self._encoder = encoder
        self._transactional_id = transactional_id
        self._answer_within = connection.config.request_timeout.seconds
        self._bound: dict[Schema, Encode] = {}
        self._absent: dict[str, float] = {}  # topic -> until when it is taken as absent
        self._producer: Producer | None = None
        self._flight: _Flight | None = None
        self._out_of_reach = False

    def prepare(self) -> None:
        """Reach the cluster and have a producer; makes the topic where that is wanted."""
        self.look(make=True)
        self._producer = self._connection.producer(self._config, self._transactional_id)

    def look(self, *, make: bool) -> None:
        """Unavailable where the cluster does not answer or, unless it may be made, a constant topic is not there."""
        topic, wanted = self._encoder.topic.constant, self._config.create_topic
        admin = self._connection.admin()
        try:
            admin.describe()
            if topic is None or not admin.absent([topic]):
                return
            if wanted is not None:
                if make:
                    self._make(admin, [topic])
            elif make:  # the cluster may make topics by itself
                _log.warning("topic %s does not exist: its rows wait until somebody makes it", topic)
            else:
                raise problem(Failure(UNKNOWN_TOPIC, ""), topic)
        finally:
            admin.close()

    def write(self, batch: Batch, call: Call) -> list[tuple[int, str]]:
        """The rows that are refused for good, once all others are delivered."""
        flight = self._flight
        if flight is None or flight.batch is not batch:
            if flight is not None and not flight.done:  # given up for good, and its records may still be under way
                self.drop()
            flight = self._flight = _Flight(batch, *encoded(self._bind(batch.schema), batch.rows))
        try:
            if not (flight.sent or flight.committing):
                self._bury_absent(flight)
            if flight.records and not flight.done:
                if self._transactional_id is None:
                    self._send(flight, call)
                else:
                    self._transact(flight, call)
        except Rejected:
            raise
        except ProducerLost:
            flight.sent = False
            self._close_producer()
            raise
        except SinkError:
            if not (flight.sent or flight.committing):  # nothing is under way: begin anew, whatever the driver's state
                self._close_producer()
            raise
        # It is kept: a caller that gave up meanwhile comes again with the same batch.
        flight.done = True
        return flight.dead

    def drop(self) -> None:
        """Forget what was not delivered."""
        self._flight = None
        self._close_producer()

    def _bind(self, schema: Schema) -> Encode:
        encode = self._bound.get(schema)
        if encode is None:
            if len(self._bound) >= _MAX_SCHEMAS:
                self._bound.clear()
            encode = self._bound[schema] = self._encoder.bind(schema)
        return encode

    # -- the producer ---------------------------------------------------------------------------------------------

    def _ready(self) -> Producer:
        if self._producer is None:
            if self._transactional_id is not None:  # which asks the cluster, and would wait long in vain
                admin = self._connection.admin()
                try:
                    admin.describe()
                finally:
                    admin.close()
            self._producer = self._connection.producer(self._config, self._transactional_id)
        return self._producer

    def _close_producer(self) -> None:
        producer = self._producer
        self._producer = None
        if producer is not None:
            producer.close()

    def _wait(self, producer: Producer, call: Call) -> None:
        """Until every record is delivered or has failed; Unavailable where nothing moves."""
        begun = moved = time.monotonic()
        pending = producer.pending()
        while not producer.wait(_LOOK):
            now, left = time.monotonic(), producer.pending()
            if left != pending:
                pending, moved = left, now
            reason = producer.trouble(begun)
            # Once it has been told, the driver gets the full time: it tries more often than we would.
            patience = _PATIENCE if reason and not self._out_of_reach else self._answer_within
            if call.given_up or now - moved >= patience:
                self._out_of_reach = True
                raise Unavailable(reason or f"no broker has acknowledged anything for {now - moved:.0f}s")
        self._out_of_reach = False

    # -- without transactions -------------------------------------------------------------------------------------

    def _send(self, flight: _Flight, call: Call) -> None:
        """Records that are refused together are tried in halves: a broker refuses what it got in one request."""
        producer = self._ready()
        made = False
        while flight.records:
            if not flight.sent:
                producer.send(flight.records[: flight.step])
                flight.sent = True
            self._wait(producer, call)
            failures = producer.failures()
            left = self._bury(flight, failures)
            again = next((index for index in left if rejection(failures[index]) is None), None)
            topic = "" if again is None else flight.records[again][0]
            flight.go_on(left, refused=bool(left) and again is None)
            if again is not None:
                if made and failures[again].code == UNKNOWN_TOPIC:
                    raise Unavailable(f"topic {topic} was just made, and the broker does not know it yet")
                if made or not self._make_topics(flight, failures[again]):
                    raise problem(failures[again], topic)
                made = True
                self._close_producer()  # it would go on remembering that they are not there
                producer = self._ready()

    def _bury(self, flight: _Flight, failures: dict[int, Failure]) -> list[int]:
        """Bury those that are refused by themselves; the positions of the others that have failed."""
        left = []
        for index, failure in sorted(failures.items()):
            reason = self._rejection(flight, index, failure)
            if reason is not None and (len(failures) == 1 or not refused_together(failure)):
                flight.dead.append((flight.places[index], reason))
            else:
                left.append(index)
        return left

    # -- with transactions ----------------------------------------------------------------------------------------

    def _transact(self, flight: _Flight, call: Call) -> None:
        producer = self._ready()
        if not flight.committing:
            producer.begin()
            try:
                producer.send(flight.records)
                self._wait(producer, call)
                failures = producer.failures()
                if failures:
                    self._refuse(flight, failures)
            except Rejected:
                # At once: readers of committed records do not get past what is open. Of other errors the producer is
                # closed, and the next one of its id ends what it has left open.
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
        # With one refusal the driver gives up the others, too: they would come again for ever.
        for index in sorted(failures):
            reason = self._rejection(flight, index, failures[index])
            if reason is not None:
                raise Rejected(reason)
        first = min(failures)
        failure = failures[first]
        if self._make_topics(flight, failure):
            raise Unavailable("its topic was just made")
        raise problem(failure, flight.records[first][0])

    def _abort(self, producer: Producer) -> None:
        try:
            producer.abort()
        except SinkError:
            self._close_producer()

    # -- topics ---------------------------------------------------------------------------------------------------

    def _rejection(self, flight: _Flight, index: int, failure: Failure) -> str | None:
        """Why the record at ``index`` is dead; None where it may be tried again."""
        topic = flight.records[index][0]
        if failure.code == UNKNOWN_TOPIC and self._config.unknown_topic == "reject" and not self._config.create_topic:
            if len(self._absent) >= _MAX_ABSENT:
                self._absent.clear()
            self._absent[topic] = time.monotonic() + _STILL_ABSENT
            return _no_topic(topic)
        reason = rejection(failure)
        if reason is None:
            return None
        _, key, value, *_ = flight.records[index]
        return f"topic {topic}, {len(key or b'') + len(value or b'')} bytes: {reason}"

    def _bury_absent(self, flight: _Flight) -> None:
        """Reject rows of topics that were not there a moment ago: finding out takes the driver seconds each time."""
        if not self._absent:
            return
        now = time.monotonic()
        self._absent = {topic: until for topic, until in self._absent.items() if until > now}
        left = []
        for index, record in enumerate(flight.records):
            if record[0] in self._absent:
                flight.dead.append((flight.places[index], _no_topic(record[0])))
            else:
                left.append(index)
        flight.keep(left)

    def _make_topics(self, flight: _Flight, failure: Failure) -> bool:
        """Make the topics that are not there, if that is wanted; True where it is worth trying again."""
        if failure.code != UNKNOWN_TOPIC or self._config.create_topic is None:
            return False
        admin = self._connection.admin()
        try:
            absent = admin.absent({record[0] for record in flight.records})
            self._make(admin, absent)
        finally:
            admin.close()
        return bool(absent)

    def _make(self, admin: Admin, topics: Collection[str]) -> None:
        wanted = self._config.create_topic
        assert wanted is not None  # noqa: S101 - asked for by whoever calls
        for topic in sorted(topics):
            admin.create(topic, TopicSettings(wanted.partitions, wanted.replication, wanted.config))


def _no_topic(topic: str) -> str:
    return f"topic {topic} does not exist"
