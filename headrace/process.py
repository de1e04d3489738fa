"""``headrace run``: one operating system process around one service: event loop, signals, log, exit status.

SIGTERM and SIGINT stop in order, a second one stops at once; SIGHUP reloads. Exit status 0: stopped and everything
delivered; 1: could not start, or rows or messages were lost (one line says how many).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any, Final

from core.errors import HeadraceError
from headrace import logs
from headrace.config import Config, load
from headrace.service import Service
from headrace.settings import ProcessSettings

_log = logging.getLogger("headrace.process")

LOOP_VARIABLE: Final = "HEADRACE_EVENT_LOOP"
"""Overrides ``event_loop`` of the configuration, for tests."""


def run(config_file: str, *, debug: bool = False) -> int:
    """Run the service until a signal stops it; HeadraceError where it cannot start."""
    config = load(config_file)
    restore = logs.configure(config.process.log_level, debug=debug)
    try:
        with asyncio.Runner(loop_factory=_loop_factory(config.process)) as runner:
            return runner.run(_main(config))
    finally:
        restore()


def _loop_factory(settings: ProcessSettings) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """None is asyncio's own loop."""
    wanted = os.environ.get(LOOP_VARIABLE, settings.event_loop)
    if wanted == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        if wanted == "uvloop":
            raise HeadraceError("event_loop is uvloop, which is not installed") from None
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


class _Signals:
    """What the operating system asked for. A second request to stop calls ``on_hurry``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_hurry: Callable[[], None]) -> None:
        self.stop = asyncio.Event()
        self.reload = asyncio.Event()
        self._on_hurry = on_hurry
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self.reload.set)

    def _stop(self) -> None:
        if self.stop.is_set():
            _log.warning("a second signal: sinks are not waited for any longer")
            self._on_hurry()
        self.stop.set()


async def _main(config: Config) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_on_loop_error)
    service = Service(config)
    signals = _Signals(loop, service.hurry)
    await service.start()
    async with asyncio.TaskGroup() as group:
        reloader = group.create_task(_reload_on_request(service, signals.reload), name="reload")
        await signals.stop.wait()
        reloader.cancel()
    _log.info("stopping: clients are disconnected and sinks drained, at most %s", config.process.shutdown_timeout)
    return _report(await service.stop(), service.unprocessed)


def _report(lost: Mapping[str, int], unprocessed: int) -> int:
    if not lost and not unprocessed:
        _log.info("stopped; everything was delivered")
        return 0
    parts = [f"{rows} rows for {name}" for name, rows in lost.items()]
    if unprocessed:
        parts.append(f"{unprocessed} messages that no rule has seen")
    _log.error("stopped with losses: %s", ", ".join(parts))
    return 1


async def _reload_on_request(service: Service, requested: asyncio.Event) -> None:
    while True:
        await requested.wait()
        requested.clear()
        try:
            await service.reload()
        except HeadraceError as error:
            _log.error("the reload failed and nothing has changed:\n%s", error)
        except Exception:  # noqa: BLE001 - the service goes on with what it has
            _log.exception("the reload failed in an unexpected way")


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:  # noqa: ARG001
    """Something raised where nobody catches: a defect. It is logged in one line, and the service goes on."""
    _log.error("internal error: %s", context.get("message", ""), exc_info=context.get("exception"))
