"""A remote MQTT broker as a connection: its address and credentials, and the clients that sinks and sources get."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, ClassVar

from connections.base import Connection, ConnectionContext
from connections.mqtt.config import MqttConfig, host_problem
from connections.mqtt.echoes import Echoes
from connections.mqtt.listener import Listener
from connections.tls import chosen, make_context
from core.errors import ConfigError
from core.registry import require_driver

if TYPE_CHECKING:
    from connections.mqtt.client import MqttClient


class MqttConnection(Connection):
    """A broker of MQTT 5 or 3.1.1.

    It holds no client itself: a session belongs to one client id, so everybody who uses the connection has a client.
    ``mark`` is what its sinks sign their messages with, so that its sources can tell what is an echo; ``echoes`` does
    the same for MQTT 3.1.1, which has no room for signatures.
    """

    type: ClassVar[str] = "mqtt"
    Config = MqttConfig

    def __init__(self, config: MqttConfig, context: ConnectionContext) -> None:
        super().__init__(config, context)
        require_driver("paho.mqtt.client", "mqtt", "headrace.connections", "mqtt")
        if problem := host_problem(config.host):
            raise ConfigError(problem[0], path="host", hint=problem[1])
        if config.password is not None and config.user is None:
            raise ConfigError("a password without its user", path="password", hint="name the user in `user`")
        if not config.client_id and not config.clean_start:
            hint = "name one, or set `clean_start = true`"
            raise ConfigError("a session that is kept needs a client id", path="client_id", hint=hint)
        tls = chosen(config.tls)
        self._tls = None if tls is None else make_context(tls, context.base_dir)
        self.mark = secrets.token_hex(4)
        self.echoes = Echoes() if config.version != "5" else None

    def succeed(self, before: Connection) -> None:
        """Keep what echoes are known by: sinks get this connection, and sources stay with the one before."""
        if isinstance(before, MqttConnection):
            self.mark = before.mark
            if self.echoes is not None and before.echoes is not None:
                self.echoes = before.echoes

    def client(self, user: str, listener: Listener, *, fresh: bool) -> MqttClient:
        """A client for one sink or source; ``user`` tells its client id from those of others.

        Who publishes starts ``fresh``: in a session that an earlier process has left, its packet ids would mean that
        process's messages. Who receives resumes that session, for what was kept in it.
        """
        from connections.mqtt.client import MqttClient

        client_id = f"{self.config.client_id}-{user}"
        return MqttClient(self.config, self._tls, client_id, listener, clean=self.config.clean_start, fresh=fresh)

    async def open(self) -> None:
        """Nothing is shared but the settings."""

    async def close(self) -> None:
        """Each client is closed by its user."""

    async def check(self) -> str:
        """Connect as a client of its own that leaves nothing behind."""
        from connections.mqtt.client import MqttClient

        client_id = f"{self.config.client_id}-check-{secrets.token_hex(4)}"
        client = MqttClient(self.config, self._tls, client_id, Listener(), clean=True, fresh=False)
        try:
            await client.connect()
            return (
                f"MQTT {self.config.version} broker at {client.config.host}:{client.port}, QoS up to {client.max_qos}, "
                f"{client.limit} messages in flight"
            )
        finally:
            await client.disconnect()
