"""The http sink below a delivery, while the service is stopped, slowed, overloaded, cut off and half right."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import msgspec
import pytest
from aiohttp import web

from core.clock import MILLISECOND, SystemClock
from core.message import Batch
from core.metrics import Metrics
from core.settings import Duration
from sinks.delivery import Delivery
from sinks.settings import BatchSettings, DeliverySettings, RetrySettings
from tests.servers import Proxy
from tests.sinks.test_http import batch, make


class Far:
    """A service in a thread of its own that keeps what it is sent, and can be stopped and started on its port."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.keys: dict[str, int] = {}
        self.before: Callable[[web.Request, int], web.Response | None] = lambda request, number: None
        self.requests = 0
        self.port = 0

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()

        async def serve() -> None:
            await self._site()
            ready.set()

        def run() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.create_task(serve())
            self._loop.run_forever()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _site(self) -> None:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(30)

    def start(self) -> None:
        asyncio.run_coroutine_threadsafe(self._site(), self._loop).result(30)

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests += 1
        answer = self.before(request, self.requests)
        if answer is not None:
            return answer
        found: Any = msgspec.json.decode(body)
        rows = found if isinstance(found, list) else [found]
        if any(row["value"] == "bad" for row in rows):
            return web.Response(status=400, text="a bad row")
        self.ids += [row["id"] for row in rows]
        key = request.headers.get("Idempotency-Key")
        if key is not None:
            self.keys.setdefault(key, len(rows))
        return web.Response(status=204)


class Account:
    """A delivery and what became of its rows."""

    def __init__(self, delivery: Delivery, dead: list[tuple[int, str]]) -> None:
        self.delivery = delivery
        self.dead = dead

    def offer(self, *numbers: int, value: str = "x") -> None:
        for start in range(0, len(numbers), 100):
            assert self.delivery.offer(batch(*[(number, value) for number in numbers[start : start + 100]]))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - the service lives in another thread
                await asyncio.sleep(0.005)

    async def drain(self) -> None:
        async with asyncio.timeout(60):
            await self.delivery.drain()


@asynccontextmanager
async def delivering(**table: Any) -> AsyncIterator[Account]:
    dead: list[tuple[int, str]] = []

    def bury(rows: Batch, reasons: list[tuple[int, str]]) -> None:
        dead.extend((rows.rows[index][0], reason) for index, reason in reasons)

    settings = DeliverySettings(
        batch=BatchSettings(max_rows=50),
        retry=RetrySettings(initial=Duration(5 * MILLISECOND), max_delay=Duration(20 * MILLISECOND)),
    )
    delivery = Delivery(
        "out",
        make(**table),
        settings,
        clock=SystemClock(),
        metrics=Metrics(),
        on_room=lambda: None,
        on_dead=bury,
    )
    await delivery.start()
    try:
        yield Account(delivery, dead)
    finally:
        await delivery.close()


@pytest.mark.parametrize("send", ["row", "json_array"])
async def test_stopped_and_started_again(send: str) -> None:
    with Far() as far:
        async with delivering(base_url=f"http://127.0.0.1:{far.port}", send=send) as out:
            out.offer(*range(100))
            await out.until(lambda: len(far.ids) == 100)
            far.stop()
            out.offer(*range(100, 400))
            await out.until(lambda: "refused" in (out.delivery.last_error or ""))
            far.start()
            await out.drain()
    assert sorted(set(far.ids)) == list(range(400))
    assert len(far.ids) == 400, "nothing was under way when it was stopped"


@pytest.mark.parametrize("status", [429, 503])
async def test_overloaded(status: int) -> None:
    def overloaded(_: web.Request, number: int) -> web.Response | None:
        return web.Response(status=status, headers={"Retry-After": "0"}) if number % 3 else None

    with Far() as far:
        far.before = overloaded
        async with delivering(base_url=f"http://127.0.0.1:{far.port}", parallel=4) as out:
            out.offer(*range(60))
            await out.drain()
            assert out.delivery.counts.delivered == 60
    assert sorted(far.ids) == list(range(60))


@pytest.mark.parametrize(("send", "parallel"), [("row", 1), ("row", 8), ("json_array", 1), ("json_array", 4)])
async def test_bad_rows_die_alone_through_outages(send: str, parallel: int) -> None:
    def sometimes(_: web.Request, number: int) -> web.Response | None:
        return web.Response(status=502) if number % 7 == 0 else None

    table = {"send": send, "parallel": parallel, "idempotency_key": "auto"}
    with Far() as far:
        far.before = sometimes
        async with delivering(base_url=f"http://127.0.0.1:{far.port}", **table) as out:
            out.offer(*range(70))
            out.offer(1_000, 1_001, value="bad")
            out.offer(*range(70, 140))
            await out.drain()
            counts = out.delivery.counts
    assert (counts.delivered, counts.rejected, counts.dropped) == (140, 2, 0)
    assert Counter(far.ids) == Counter(range(140))
    assert sum(far.keys.values()) == 140, "every request had a key of its own"
    assert sorted(number for number, _ in out.dead) == [1_000, 1_001]
    assert all(reason.endswith("a bad row (400)") for _, reason in out.dead)
    if (send, parallel) == ("row", 1):
        assert far.ids == list(range(140)), "in order"


async def test_cut_off_in_the_middle_of_an_answer() -> None:
    with Far() as far, Proxy(far.port) as proxy:

        def cut(_: web.Request, number: int) -> web.Response | None:
            if number in (3, 10):
                proxy.cut()
            return None

        far.before = cut
        table = {"base_url": f"http://127.0.0.1:{proxy.port}", "idempotency_key": "auto"}
        async with delivering(**table) as out:
            out.offer(*range(30))
            await out.drain()
            assert out.delivery.counts.delivered == 30
    assert set(far.ids) == set(range(30))
    assert sum(far.keys.values()) == 30, "what came twice came with the same key"


async def test_stalled_and_going_on() -> None:
    with Far() as far, Proxy(far.port) as proxy:
        table = {"base_url": f"http://127.0.0.1:{proxy.port}", "timeout": "100ms", "idempotency_key": "auto"}
        async with delivering(**table) as out:
            out.offer(0)
            await out.until(lambda: far.ids == [0])
            proxy.stall()
            out.offer(*range(1, 20))
            await out.until(lambda: "no answer within 0.1 s" in (out.delivery.last_error or ""))
            proxy.cut()
            proxy.go_on()
            await out.drain()
    assert set(far.ids) == set(range(20))
    assert sum(far.keys.values()) == 20


async def test_a_host_that_rows_name_and_that_is_not_there() -> None:
    with Far() as far:
        table = {"url": "http://127.0.0.1:${value}/", "private_addresses": "allow", "unreachable": "reject"}
        async with delivering(**table) as out:
            out.offer(1, value="1")
            out.offer(2, value=str(far.port))
            await out.drain()
    assert far.ids == [2]
    [(number, reason)] = out.dead
    assert (number, reason) == (1, "http://127.0.0.1:1/: connection refused")


@pytest.mark.parametrize("status", [401, 404, 302])
async def test_hosts_that_rows_name_hold_nobody_up(status: int) -> None:
    with Far() as far:
        far.before = lambda _, number: web.Response(status=status) if number == 1 else None
        async with delivering(url="${value}", allowed_networks=["127.0.0.1"]) as out:
            out.offer(1, 2, value=f"http://localhost:{far.port}/")
            await out.drain()
    assert far.ids == [2]
    assert [number for number, _ in out.dead] == [1]
