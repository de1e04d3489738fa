"""The states of a connection, from its first byte to its end; what each allows is ``broker.connection.HANDLERS``."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from core.message import Publisher


class State(enum.Enum):
    NEW = "waiting for CONNECT"
    AUTHENTICATING = "waiting for the answer of authentication"
    OPEN = "connected"
    CLOSED = "over"


# A member looked up by the name of its class costs ten times a global in Python 3.11, and these are on the hot path.
NEW: Final = State.NEW
AUTHENTICATING: Final = State.AUTHENTICATING
OPEN: Final = State.OPEN
CLOSED: Final = State.CLOSED


class Login(NamedTuple):
    """What authentication is asked about."""

    publisher: Publisher
    password: bytes | None
