"""``headrace check --connect``: every connection, source and sink tried once, all at the same time; one line each.

Makes nothing at any far side and writes no row: a connection answers :meth:`connections.base.Connection.check`, a sink
or source its own ``check``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, NamedTuple

from connections.base import Connection
from core.errors import SinkError
from gateways.base import Source
from headrace.links import LinkPlan, attempt
from sinks.base import Sink


class Finding(NamedTuple):
    """What became of one try; ``text`` says what answered, or what went wrong."""

    name: str
    ok: bool
    text: str

    def __str__(self) -> str:
        return ": ".join(filter(None, [self.name, "ok" if self.ok else "FAILED", self.text]))


def connect(links: LinkPlan, sources: Mapping[str, Source], sinks: Mapping[str, Sink], seconds: float) -> list[Finding]:
    """Try all of them, none for longer than ``seconds``; connections first, in the order of the file."""

    async def main() -> list[Finding]:
        shared = {name: link.connection for name, link in links.shared.items()}
        tries = [_try(f"connections.{name}", connection.check(), seconds) for name, connection in shared.items()]
        users: dict[str, Source | Sink] = {f"sources.{name}": source for name, source in sources.items()}
        users |= {f"sinks.{name}": sink for name, sink in sinks.items()}
        tries += [
            _try(name, _check(user, private=user.context.connection not in shared.values()), seconds)
            for name, user in users.items()
        ]
        return await asyncio.gather(*tries)

    return asyncio.run(main())


async def _check(user: Source | Sink, *, private: bool) -> str:
    connection: Connection | None = user.context.connection
    detail = await connection.check() if connection is not None and private else ""
    await user.check()
    return detail


async def _try(name: str, call: Coroutine[Any, Any, str], seconds: float) -> Finding:
    try:
        return Finding(name, True, await attempt(call, seconds))
    except SinkError as error:
        return Finding(name, False, str(error))
