"""The admin server: is the process alive, is it ready, what does it count. HTTP in the service's own event loop.

Paths: ``/`` (links), ``/healthz`` (the loop turns), ``/readyz`` (``?verbose``: every component), ``/config`` (what is
in effect, without secrets), ``/errors`` (the last dead letters), ``/rules`` (all rules with what they counted),
``/metrics``. It reads through the functions it is given and changes nothing. No authentication: bind it to a private
address.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from core.errors import ConfigError
from core.metrics import Metrics
from core.settings import Bind
from headrace.exposition import Exposition
from headrace.status import Component, is_ready


def build(
    metrics: Metrics,
    status: Callable[[], Mapping[str, Component]],
    pages: Mapping[str, Callable[[], Any]],
    version: str,
) -> Starlette:
    """The ASGI application; ``status`` and the ``pages``, by their paths, are asked at every request."""
    exposition = Exposition(metrics)

    async def index(_: Request) -> Response:
        links = {
            "health": "/healthz",
            "readiness": "/readyz?verbose",
            **{name: f"/{name}" for name in pages},
            "metrics": "/metrics",
        }
        return _json({"service": "headrace", "version": version, "links": links})

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        components = status()
        ready = is_ready(components.values())
        code = 200 if ready else 503
        if "verbose" in request.query_params:
            return _json({"ready": ready, "components": components}, code)
        return PlainTextResponse("ready\n" if ready else "not ready\n", code)

    async def page(request: Request) -> Response:
        return _json(pages[request.url.path.removeprefix("/")]())

    async def metrics_page(request: Request) -> Response:
        body, content_type = exposition.render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    return Starlette(
        routes=[
            Route("/", index),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            *(Route(f"/{name}", page) for name in pages),
            Route("/metrics", metrics_page),
        ]
    )


def _json(value: Any, status: int = 200) -> Response:
    """Indented: people read it with curl."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
    return Response(text, status, media_type="application/json")


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the service, which stops this server itself."""
        yield


class AdminServer:
    """``bind`` before anything else so that a taken port is a start-up error; ``port`` is the real one."""

    def __init__(self, application: Starlette, bind: Bind) -> None:
        self._socket = _listen(bind)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            application, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1, ws="none"
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(
            self._server.serve(sockets=[self._socket]), name="admin server"
        )

    async def close(self) -> None:
        """Stop; requests in progress get a second."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._socket.close()


def _listen(bind: Bind) -> socket.socket:
    try:
        family = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"cannot listen on {bind}: {error.strerror or error}", path="admin.bind") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setblocking(False)
        listening.bind((bind.host, bind.port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise ConfigError(f"cannot listen on {bind}: {error.strerror or error}", path="admin.bind") from None
    return listening
