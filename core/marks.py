"""What bridges write on messages for one another: user properties that end loops. MQTT 3.1.1 cannot carry them.

A message that a rule has sent on says how many rules it has passed through; whoever takes it in, as a source or from a
client of the own broker, believes that and goes on counting. Nobody gains by lying: a number only ever shortens the
way of the very message that it stands on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

HOPS: Final = "headrace-hops"
"""How many rules a message has passed through."""
FROM: Final = "headrace-from"
"""Over which connection it was sent: what comes back over the same one is an echo."""
MAX_HOPS: Final = 8
"""Where nothing else is said, a message that has passed so many goes no further."""
MOST_HOPS: Final = 255
"""What is counted at all: rules are run for each number apart, so that there must not be many."""

Pairs = tuple[tuple[str, str], ...]


class Marks(NamedTuple):
    """``rest`` are the user properties that are not ours."""

    hops: int
    sender: str
    rest: Pairs


def signed(user: Pairs, hops: int, sender: str = "") -> Pairs:
    """User properties with our marks, instead of those that may be there."""
    marks: Pairs = ((HOPS, str(hops)), (FROM, sender)) if sender else ((HOPS, str(hops)),)
    return (*read(user).rest, *marks) if user else marks


def read(user: Iterable[tuple[str, str]]) -> Marks:
    """The marks in user properties; what is not a number counts as no hop."""
    hops, sender = 0, ""
    rest: list[tuple[str, str]] = []
    for name, value in user:
        if name == HOPS:
            hops = max(hops, _number(value))
        elif name == FROM:
            sender = value
        else:
            rest.append((name, value))
    return Marks(hops, sender, tuple(rest))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        return 0
    return min(int(text), MOST_HOPS) if len(text) < 5 else MOST_HOPS
