"""What a client tells its user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Incoming(NamedTuple):
    """A message that came; ``properties`` by their names in ``core.message``, shared: not to be changed."""

    topic: str | None
    """None where it is not UTF-8."""
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    packet_id: int
    properties: Mapping[str, Any]


class Listener:
    """Override what is of interest. All methods run on the loop, must not block, and come in the order of events."""

    def acknowledged(self, packet_id: int, code: int, detail: str) -> None:
        """The broker has answered for a message of QoS 1 or 2 for good; ``detail`` is what it said about a refusal."""

    def received(self, message: Incoming) -> None:
        """A message came; one of QoS 1 or 2 has to be confirmed."""

    def read(self) -> None:
        """All that one read of the network brought has been handed on."""

    def room(self) -> None:
        """All that was published has left the process."""

    def lost(self, reason: str) -> None:
        """The connection is over, and nobody here wanted it so."""
