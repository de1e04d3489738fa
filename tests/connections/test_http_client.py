"""What the HTTP client makes of answers, of trouble on the way, and of addresses that are not to be asked."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from yarl import URL

from connections.http_client import AddressGuard, AddressRefused, Answer, HttpClient, gzipped, shown
from connections.tls import TlsSettings
from core.clock import SECOND
from core.errors import Unavailable

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
NOW = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z


@asynccontextmanager
async def serving(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[URL]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield URL(f"{'https' if context else 'http'}://127.0.0.1:{port}/")
    finally:
        await runner.cleanup()


@asynccontextmanager
async def opened(client: HttpClient) -> AsyncIterator[HttpClient]:
    await client.open()
    try:
        yield client
    finally:
        await client.close()


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=request.method.encode() + b" " + await request.read(), headers={"X-A": "1"})


async def test_a_request_and_its_answer(tmp_path: Path) -> None:
    async with serving(echo) as url, opened(HttpClient(tmp_path)) as client:
        answer = await client.send("PUT", url / "a", {}, b"body")
    assert (answer.status, answer.body, answer.headers["x-a"]) == (200, b"PUT body", "1")


async def test_redirects_are_answers(tmp_path: Path) -> None:
    async def elsewhere(_: web.Request) -> web.Response:
        raise web.HTTPFound("/other")

    async with serving(elsewhere) as url, opened(HttpClient(tmp_path)) as client:
        answer = await client.send("GET", url, {})
    assert (answer.status, answer.headers["Location"]) == (302, "/other")


async def test_a_long_answer_is_cut(tmp_path: Path) -> None:
    async def long(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 1_000_000)

    async with serving(long) as url, opened(HttpClient(tmp_path)) as client:
        assert len((await client.send("GET", url, {})).body) == 1 << 16
        assert (await client.send("GET", url, {})).status == 200


async def test_slow_answers_are_unavailable(tmp_path: Path) -> None:
    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        raise AssertionError

    async with serving(slow) as url, opened(HttpClient(tmp_path, timeout=SECOND // 10)) as client:
        with pytest.raises(Unavailable, match=r"no answer within 0\.1 s"):
            await client.send("GET", url, {})


async def test_what_breaks_on_the_way_is_unavailable(tmp_path: Path) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, opened(HttpClient(tmp_path)) as client:
        with pytest.raises(Unavailable, match=r"closed before the answer|reset"):
            await client.send("GET", URL(f"http://127.0.0.1:{port}/"), {})
    async with opened(HttpClient(tmp_path)) as client:
        with pytest.raises(Unavailable, match="connection refused"):
            await client.send("GET", URL(f"http://127.0.0.1:{port}/"), {})
    with pytest.raises(Unavailable, match="not open"):
        await HttpClient(tmp_path).send("GET", URL("http://127.0.0.1/"), {})


async def test_a_reset_is_told_in_words(tmp_path: Path) -> None:
    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()

    server = await asyncio.start_server(reset, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, opened(HttpClient(tmp_path)) as client:
        with pytest.raises(Unavailable) as caught:
            await client.send("GET", URL(f"http://127.0.0.1:{port}/"), {})
    assert str(caught.value) == f"http://127.0.0.1:{port}/: connection reset by peer"


async def test_tls_where_there_is_none(tmp_path: Path) -> None:
    async with serving(echo) as url, opened(HttpClient(tmp_path)) as client:
        with pytest.raises(Unavailable, match=r"/: TLS fails: wrong version number \(does the port speak TLS\?\)$"):
            await client.send("GET", url.with_scheme("https").with_port(url.port), {})


@pytest.mark.parametrize(
    "text",
    [
        "Client sent an HTTP request to an HTTPS server.\n",
        "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n<body>",
        "Bad Request\r\nThis combination of host and port requires TLS.\r\n",
    ],
)
async def test_no_tls_where_it_is_wanted(tmp_path: Path, text: str) -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=400, text=f"no: {text}" if request.path == "/repeats" else text)

    async with serving(handle) as url, opened(HttpClient(tmp_path)) as client:
        with pytest.raises(Unavailable, match="the port speaks TLS, the address has to begin with https"):
            await client.send("POST", url, {}, b"x")
        assert (await client.send("POST", url / "repeats", {}, b"x")).status == 400


async def test_tls_is_verified(tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with serving(echo, context) as url:
        async with opened(HttpClient(tmp_path, tls=TlsSettings(ca="ca.pem"))) as client:
            assert (await client.send("GET", url, {})).status == 200
        for settings in (TlsSettings(ca="other.pem"), None):
            async with opened(HttpClient(tmp_path, tls=settings)) as client:
                unknown = r"/: its certificate is not accepted: unable to get local issuer certificate \(see tls.ca\)$"
                with pytest.raises(Unavailable, match=unknown):
                    await client.send("GET", url, {})
        async with opened(HttpClient(tmp_path, tls=TlsSettings(ca="ca.pem"))) as client:
            with pytest.raises(Unavailable, match=r"not valid for 'localhost' \(see tls.check_hostname\)$"):
                await client.send("GET", url.with_host("localhost"), {})


async def test_no_credentials_in_messages(tmp_path: Path) -> None:
    async with opened(HttpClient(tmp_path)) as client:
        with pytest.raises(Unavailable) as caught:
            await client.send("GET", URL("http://me:hunter2@127.0.0.1:1/a?token=hunter2"), {"X-Token": "hunter2"})
    assert str(caught.value) == "http://127.0.0.1:1/a: connection refused"
    assert shown(URL("http://me:pw@h/a?b#c")) == "http://h/a"


async def test_an_address_can_go_by_another_name(tmp_path: Path) -> None:
    async with opened(HttpClient(tmp_path)) as client:
        with pytest.raises(Unavailable, match=r"^the hook: connection refused$"):
            await client.send("GET", URL("http://127.0.0.1:1/hunter2"), {}, name="the hook")


def test_gzip() -> None:
    assert gzip.decompress(gzipped(b"text " * 1_000)) == b"text " * 1_000


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("3", 3),
        ("-3", 0),
        ("999999", 3_600),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0),
        ("soon", None),
        (None, None),
    ],
)
def test_retry_after(header: str | None, wait: int | None) -> None:
    answer = Answer(503, {} if header is None else {"Retry-After": header}, b"")
    assert answer.retry_after(NOW) == (None if wait is None else wait * SECOND)


def test_the_text_of_an_answer_is_one_short_line() -> None:
    assert Answer(400, {}, b" bad \n line\xff ").text == "bad line�"
    assert len(Answer(400, {}, b"x" * 5_000).text) == 303


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "100.64.0.1"),  # noqa: S104
        *("::1", "fe80::1%eth0", "::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "fc00::1"),
    ],
)
def test_private_addresses_are_refused(address: str) -> None:
    assert AddressGuard().refuses(address)


def test_public_and_allowed_addresses_are_not() -> None:
    assert not AddressGuard().refuses("8.8.8.8")
    assert not AddressGuard().refuses("2606:4700::1111")
    guard = AddressGuard(("10.0.0.0/8", "::1/128"))
    assert not guard.refuses("10.9.9.9")
    assert not guard.refuses("::ffff:10.9.9.9")
    assert not guard.refuses("::1")
    assert guard.refuses("127.0.0.1")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "0", "127.1", "2130706433", "0x7f000001", "[::ffff:7f00:1]"]
)
async def test_guarded_requests_go_nowhere_private(tmp_path: Path, host: str) -> None:
    asked = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request)
        return web.Response()

    async with serving(handler) as url, opened(HttpClient(tmp_path, guard=AddressGuard())) as client:
        with pytest.raises(Unavailable) as caught:
            await client.send("GET", URL(f"http://{host}:{url.port}/"), {})
    assert isinstance(caught.value, AddressRefused)
    assert asked == []


async def test_a_guard_lets_through_what_is_allowed(tmp_path: Path) -> None:
    guard = AddressGuard(("127.0.0.0/8",))
    async with serving(echo) as url, opened(HttpClient(tmp_path, guard=guard)) as client:
        assert (await client.send("GET", url, {})).status == 200
        assert (await client.send("GET", url.with_host("localhost"), {})).status == 200
