"""What a client tells its user."""

from __future__ import annotations

from typing import Any


class Listener:
    """Override what is of interest. All methods run on the loop, must not block, and come in the order of events."""

    def acknowledged(self, packet_id: int, code: int, detail: str) -> None:
        """The broker has answered for a message of QoS 1 or 2 for good; ``detail`` is what it said about a refusal."""

    def received(self, message: Any) -> None:
        """A message came, a ``paho.mqtt.client.MQTTMessage``; one of QoS 1 or 2 has to be confirmed."""

    def read(self) -> None:
        """All that one read of the network brought has been handed on."""

    def room(self) -> None:
        """All that was published has left the process."""

    def lost(self, reason: str) -> None:
        """The connection is over, and nobody here wanted it so."""
