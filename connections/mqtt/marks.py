"""What bridges write on messages for one another: user properties that end loops. MQTT 3.1.1 cannot carry them."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

HOPS: Final = "headrace-hops"
"""How many rules a message has passed through."""
FROM: Final = "headrace-from"
"""Over which connection it was sent: what comes back over the same one is an echo."""

Pairs = tuple[tuple[str, str], ...]


class Marks(NamedTuple):
    """``rest`` are the user properties that are not ours."""

    hops: int
    sender: str
    rest: Pairs


def signed(user: Pairs, hops: int, sender: str) -> Pairs:
    """User properties with our marks, instead of those that may be there."""
    return (*read(user).rest, (HOPS, str(hops)), (FROM, sender)) if user else ((HOPS, str(hops)), (FROM, sender))


@lru_cache(4_096)
def read(user: Pairs) -> Marks:
    """The marks in user properties; what is not a number counts as no hop."""
    hops, sender = 0, ""
    rest: list[tuple[str, str]] = []
    for name, value in user:
        if name == HOPS:
            hops = max(hops, int(value) if value.isascii() and value.isdigit() and len(value) < 5 else 0)
        elif name == FROM:
            sender = value
        else:
            rest.append((name, value))
    return Marks(hops, sender, tuple(rest))
