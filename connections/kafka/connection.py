"""A Kafka cluster as a connection: which driver, and how to reach it.

Sinks share the settings; each has a producer of its own, because what waits in a producer belongs to one batch.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any, ClassVar, Final

from connections.base import Connection, ConnectionContext
from connections.kafka.config import KafkaConfig, OauthBearer, ProducerSettings, revealed
from connections.kafka.driver import Admin, Producer
from connections.kafka.options import check_options
from connections.oauth import TokenSource, check_token_url
from connections.tls import chosen, make_context
from connections.worker import Worker
from core.clock import MILLISECOND
from core.errors import ConfigError
from core.registry import require_driver
from core.settings import Duration

_MODULES: Final = {"confluent": ("confluent_kafka", "kafka"), "kafka-python": ("kafka", "kafka-python")}


_SERVER: Final = re.compile(r"(?:[^\s:/,@\[\]]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?").fullmatch
_LEAST_TIMEOUT: Final = Duration(100 * MILLISECOND)


def _check_servers(servers: list[str]) -> None:
    if not servers:
        raise ConfigError("needs at least one broker", path="bootstrap_servers", hint='["kafka:9092"]')
    for server in servers:
        found = _SERVER(server)
        if found is None or not 0 < int(found[1] or 1) < 65_536:
            hint = '["kafka-1:9092", "kafka-2:9092"]'
            raise ConfigError(f"expected brokers as 'host:port', got {server!r}", path="bootstrap_servers", hint=hint)


class KafkaConnection(Connection):
    """An Apache Kafka cluster, or what speaks its protocol."""

    type: ClassVar[str] = "kafka"
    Config = KafkaConfig

    def __init__(self, config: KafkaConfig, context: ConnectionContext) -> None:
        super().__init__(config, context)
        _check_servers(config.bootstrap_servers)
        if config.request_timeout < _LEAST_TIMEOUT:
            raise ConfigError(f"must be at least {_LEAST_TIMEOUT}", path="request_timeout")
        check_options(config.driver_options, config.driver)
        self.driver = self._driver(config.driver)
        tls = chosen(config.tls)
        if tls is not None:  # whatever the driver makes of the files, what is wrong with them is told in the same words
            make_context(tls, context.base_dir)
        tokens = self._tokens = None
        if isinstance(config.sasl, OauthBearer):
            check_token_url(config.sasl, "sasl")
            revealed(config.sasl.client_secret, "sasl.client_secret")
            tokens = self._tokens = TokenSource(config.sasl)
        self._adapter: Any
        if self.driver == "confluent":
            from connections.kafka import confluent

            self._adapter = (confluent.ConfluentProducer, confluent.ConfluentAdmin)
            self._client = confluent.client_settings(config, tls, context.base_dir, tokens)
        else:
            from connections.kafka import kafkapython

            self._adapter = (kafkapython.KafkaPythonProducer, kafkapython.KafkaPythonAdmin)
            self._client = kafkapython.client_settings(config, tls, context.base_dir, tokens)

    @staticmethod
    def _driver(name: str) -> str:
        if name == "auto":
            name = next((each for each, (module, _) in _MODULES.items() if find_spec(module)), "confluent")
        module, extra = _MODULES[name]
        require_driver(module, extra, "headrace.connections", "kafka")
        return name

    def producer(self, settings: ProducerSettings, transactional_id: str | None = None) -> Producer:
        """A producer for one sink. Blocking; SinkError where it cannot be made."""
        self._log_in()
        producer: Producer = self._adapter[0](self._client, settings, transactional_id)
        return producer

    def admin(self) -> Admin:
        """A client for questions. Blocking; SinkError where the cluster does not answer."""
        self._log_in()
        admin: Admin = self._adapter[1](self._client)
        return admin

    def _log_in(self) -> None:
        """Have a token before the driver wants one: asking for it, drivers block and say little of what went wrong."""
        if self._tokens is not None:
            self._tokens.token()

    async def open(self) -> None:
        """Nothing is shared but settings."""

    async def close(self) -> None:
        """Nothing to release."""

    async def check(self) -> str:
        worker = Worker(f"check of {self.context.name}")
        try:
            return f"{await worker.run(self._check)} (driver {self.driver})"
        finally:
            worker.stop()

    def _check(self) -> str:
        admin = self.admin()
        try:
            return admin.describe()
        finally:
            admin.close()
