"""What does it cost to post lines to InfluxDB: the official client, or a plain HTTP library? (docs/adr/0004)

    pip install influxdb-client aiohttp httpx
    python benchmarks/influxdb_clients.py [URL] [--requests N]

Needs an InfluxDB with a bucket ``bench`` (1.8: a database of that name). Lines of three tags and five fields are made
beforehand; a figure is the CPU time of this process per request, the median of five runs.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aiohttp
import httpx
from influxdb_client import InfluxDBClient
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.client.write_api import SYNCHRONOUS

RUNS: Final = 5
SIZES: Final = (25, 200, 2_000)
WHERE: Final = {"bucket": "bench", "org": "-"}

Post = Callable[[list[str], bytes], Awaitable[None]]


def lines(count: int) -> list[str]:
    return [
        f"meter,connector={number % 2},site=north,station=CP-{number % 500:04} "
        f'power={number * 1.5},energy={number}i,temperature={number % 40}.5,online=true,state="Charging" '
        f"{1_767_225_600_000_000_000 + number}"
        for number in range(count)
    ]


async def measure(post: Post, size: int, requests: int) -> float:
    """Microseconds of CPU per request."""
    texts = lines(size)
    body = "\n".join(texts).encode()
    times = []
    for run in range(RUNS + 1):
        began = time.process_time()
        for _ in range(requests):
            await post(texts, body)
        if run:
            times.append((time.process_time() - began) / requests * 1e6)
    return statistics.median(times)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8086")
    parser.add_argument("--requests", type=int, default=200)
    options = parser.parse_args()
    url = f"{options.url}/api/v2/write"
    login: Any = {"url": options.url, "token": "", "org": "-"}
    async with (
        aiohttp.ClientSession() as session,
        httpx.AsyncClient() as client,
        InfluxDBClientAsync(**login) as official,
    ):
        blocking = InfluxDBClient(**login)
        write = blocking.write_api(write_options=SYNCHRONOUS)
        write_async = official.write_api()

        async def by_bytes(_: list[str], body: bytes) -> None:
            write.write(record=body, **WHERE)

        async def by_lines(texts: list[str], _: bytes) -> None:
            write.write(record=texts, **WHERE)

        async def by_asyncio(_: list[str], body: bytes) -> None:
            await write_async.write(record=body, **WHERE)

        async def by_httpx(_: list[str], body: bytes) -> None:
            (await client.post(url, params=WHERE, content=body)).raise_for_status()

        async def by_aiohttp(_: list[str], body: bytes) -> None:
            async with session.post(url, params=WHERE, data=body) as response:
                response.raise_for_status()
                await response.read()

        ways: dict[str, Post] = {
            "influxdb-client, bytes": by_bytes,
            "influxdb-client, list of lines": by_lines,
            "influxdb-client, asyncio": by_asyncio,
            "httpx": by_httpx,
            "aiohttp": by_aiohttp,
        }
        print("CPU us per request", *(f"{size} lines" for size in SIZES), sep=" | ")
        for name, post in ways.items():
            print(name, *[f"{await measure(post, size, options.requests):.0f}" for size in SIZES], sep=" | ")
        blocking.close()


if __name__ == "__main__":
    asyncio.run(main())
