"""One thread that runs blocking calls of a driver, one after the other, and answers on the event loop.

A daemon thread, so that a driver that never returns cannot keep the process alive. What such a call holds is the
affair of whoever made it: a worker that is not needed any more is stopped and forgotten, never waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


def _answer(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():  # the caller was cancelled
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


class Worker:
    """A thread named ``name``; :meth:`run` may only be called from an event loop."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._last: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, future = job
            result, error = None, None
            try:
                result = function()
            except BaseException as raised:  # noqa: BLE001 - handed to the caller as it is
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits
                future.get_loop().call_soon_threadsafe(_answer, future, result, error)
            del job, function, future, result, error
        if self._last is not None:
            with contextlib.suppress(Exception):
                self._last()

    def post(self, function: Callable[[], Result]) -> asyncio.Future[Result]:
        """Have ``function`` called after all calls before it; what it raises is lost on who does not wait for it."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._jobs.put((function, future))
        return future

    async def run(self, function: Callable[[], Result]) -> Result:
        """What ``function`` returns or raises, after all calls before it. A cancelled caller does not stop it."""
        return await self.post(function)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, last: Callable[[], None] | None = None) -> None:
        """End the thread after the calls that were made, and after ``last``, whose errors nobody sees."""
        self._last = last
        self._jobs.put(None)
