"""The kafka sink: what a user says about it, and its life on the event loop; the work is done by a writer in a thread.

Delivered means: acknowledged as ``acks`` asks for. Order: the rows of a rule reach their partitions in order, through
retries and restarts of brokers, because one batch is in flight and the producer numbers its records (idempotence).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import ClassVar, Final

from connections.kafka.connection import KafkaConnection
from connections.worker import Worker
from core.errors import ConfigError, Rejected, Unavailable
from core.message import Batch
from core.settings import Size
from sinks.base import Sink, SinkContext
from sinks.kafka.config import Config as KafkaSinkConfig
from sinks.kafka.encode import Encoder
from sinks.kafka.writer import Call, Writer
from sinks.references import unknown

_CLOSING: Final = 2.0
"""Seconds that a close waits for what a driver is busy with; after that it ends in its own time."""

_LEAST_MESSAGE: Final = Size(1_000)
_MOST_MESSAGE: Final = Size(1_000_000_000)


class KafkaSink(Sink):
    """Produces every row as a record."""

    name: ClassVar[str] = "kafka"
    connection_type: ClassVar[str | None] = "kafka"
    templates: ClassVar[tuple[str, ...]] = ("topic", "key", "value", "headers")
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
            servers = ", ".join(self._connection.config.bootstrap_servers)
            self.exclusive = ("transactional_id", f"{self._transactional_id} at {servers}")
        self._line: tuple[Worker, Writer] | None = None

    def _check_config(self, config: KafkaSinkConfig) -> None:
        if config.idempotence and config.acks != "all":
            raise ConfigError('idempotence needs acks = "all"', path="acks", hint="or set idempotence = false")
        if config.exactly_once and not config.idempotence:
            raise ConfigError("exactly_once needs idempotence", path="idempotence")
        if config.transactional_id is not None and not config.exactly_once:
            raise ConfigError("is of use with exactly_once = true only", path="transactional_id")
        if not _LEAST_MESSAGE <= config.max_message <= _MOST_MESSAGE:
            raise ConfigError(f"must be {_LEAST_MESSAGE} to {_MOST_MESSAGE}", path="max_message")
        limit, answer = config.delivery_timeout, self._connection.config.request_timeout
        if limit is not None and limit <= answer:
            raise ConfigError(f"must be longer than request_timeout ({answer})", path="delivery_timeout")
        for setting, column in self._encoder.columns:
            if problem := unknown(column, self.context.schemas):
                raise ConfigError(problem[0], path=setting, hint=problem[1])

    def _writer(self) -> Writer:
        return Writer(self._connection, self.config, self._encoder, self._transactional_id)

    async def open(self) -> None:
        await self._connection.join(self)
        worker, writer = self._line = (Worker(f"kafka sink {self.context.name}"), self._writer())
        await worker.run(writer.prepare)

    async def check(self) -> None:
        """Unavailable where the cluster does not answer, or a constant topic is not there and will not be made."""
        worker, writer = Worker(f"check of {self.context.name}"), self._writer()
        try:
            await worker.run(lambda: writer.look(make=False))
        finally:
            worker.stop()

    async def write(self, batch: Batch) -> None:
        if self._line is None:
            raise Unavailable("the kafka sink is not open")
        if not batch.rows:
            return
        worker, writer = self._line
        call = Call()
        try:
            dead = await worker.run(lambda: writer.write(batch, call))
        except asyncio.CancelledError:
            call.given_up = True
            raise
        if dead:
            raise Rejected(f"{len(dead)} records were refused, the first: {dead[0][1]}", sorted(dead))

    async def close(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            worker, writer = line
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_CLOSING):
                        await worker.run(writer.drop)
            finally:
                worker.stop()
        await self._connection.leave(self)
