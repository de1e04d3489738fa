"""What the http connection asks, hides and refuses; what goes over it is tested with the http sink."""

from __future__ import annotations

import asyncio
import itertools
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from aiohttp import web
from yarl import URL

from connections.base import ConnectionContext
from connections.http import HttpConfig, HttpConnection, join
from connections.http_client import AddressRefused, Answer
from core.errors import ConfigError, Unavailable
from core.settings import decode_hook
from tests.connections.test_http_client import serving


def make(base_dir: Path = Path(), **table: Any) -> HttpConnection:
    config = msgspec.convert(table, HttpConfig, dec_hook=decode_hook)
    return HttpConnection(config, ConnectionContext(name="service", base_dir=base_dir))


@asynccontextmanager
async def opened(connection: HttpConnection) -> AsyncIterator[HttpConnection]:
    await connection.join(connection)
    try:
        yield connection
    finally:
        await connection.leave(connection)


async def answer_all(request: web.Request) -> web.Response:
    """204 for anything but three paths."""
    statuses = {"/sick": 500, "/closed": 403, "/gone": 503}
    return web.Response(status=statuses.get(request.path, 204))


@pytest.mark.parametrize(
    ("base", "text", "whole"),
    [
        ("http://h", "", "http://h/"),
        ("http://h", "a", "http://h/a"),
        ("http://h/x/", "/a?b=c", "http://h/x/a?b=c"),
        ("http://h/x", "?b=c", "http://h/x?b=c"),
    ],
)
def test_addresses_below_another(base: str, text: str, whole: str) -> None:
    assert URL(join(URL(base), text), encoded=True) == URL(whole)


async def test_a_check_with_a_path_needs_success() -> None:
    async with serving(answer_all) as url:
        assert "(204)" in await make(base_url=str(url), check_path="/health").check()
        with pytest.raises(Unavailable, match=r"/sick: .*\(500\)"):
            await make(base_url=str(url), check_path="/sick").check()
        with pytest.raises(Unavailable, match=r"not authorized: .*\(403\)"):
            await make(base_url=str(url), check_path="/closed").check()


async def test_a_check_without_a_path_needs_an_answer() -> None:
    async with serving(answer_all) as url:
        for path, status in (("sick", 500), ("closed", 403)):
            assert f"({status})" in await make(base_url=f"{url}{path}").check()
        with pytest.raises(Unavailable, match=r"\(503\)"):
            await make(base_url=f"{url}gone").check()
    with pytest.raises(Unavailable, match="connection refused"):
        await make(base_url="http://127.0.0.1:1").check()
    assert await make().check() == "HTTP; no base_url, so there is nobody to ask"


async def test_a_path_that_is_a_credential_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request.raw_path)
        return web.Response(status=302, text=f"{request.raw_path} has moved", headers={"Location": request.raw_path})

    async with serving(handle) as url:
        connection = make(base_url=f"{url}services", secret_path="T01/B02/hunter2")
        async with opened(connection):
            assert connection.base is not None
            answer = await connection.send("POST", connection.base, {})
            texts = [connection.told(answer), connection.moved_to(answer), connection.shown(connection.base)]
            texts.append(await connection.check())
    with pytest.raises(Unavailable) as caught:
        await connection.check()
    texts.append(str(caught.value))
    assert seen[0] == "/services/T01/B02/hunter2"
    assert texts[2].endswith("/services/***")
    assert not any("hunter2" in text for text in [*texts, caplog.text])


async def test_parameters_that_are_credentials_are_sent_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request.raw_path)
        if request.path == "/x":
            return web.Response(status=500 if not request.query else 200)
        return web.Response(
            status=400, text=f"{request.query['sig']} {request.raw_path}", headers={"Location": request.raw_path}
        )

    async with serving(handle) as url, serving(handle) as elsewhere:
        connection = make(base_url=str(url), secret_query={"sig": "hunter2&+ x", "key": "hunter2"})
        async with opened(connection):
            answers = [await connection.send("POST", URL(f"{url}{path}"), {}) for path in ("", "a?b=%20c")]
            assert (await connection.send("POST", elsewhere / "x", {})).status == 500
            texts = [text for answer in answers for text in (connection.told(answer), connection.moved_to(answer))]
            texts.append(await connection.check())
    with pytest.raises(Unavailable) as caught:
        await connection.check()
    assert seen[:2] == ["/?sig=hunter2%26%2B+x&key=hunter2", "/a?b=%20c&sig=hunter2%26%2B+x&key=hunter2"]
    assert not any("hunter2" in text for text in [*texts, str(caught.value), caplog.text])


@pytest.mark.parametrize(
    "auth",
    [
        {"type": "basic", "user": "me", "password": "hunter2"},
        {"type": "bearer", "token": "hunter2"},
    ],
)
async def test_what_a_service_repeats_is_not_shown(auth: dict[str, str]) -> None:
    async def repeat(request: web.Request) -> web.Response:
        return web.Response(status=401, text=f"bad: {request.headers['Authorization']} {request.headers['X-Key']}")

    async with serving(repeat) as url:
        connection = make(base_url=str(url), auth=auth, secret_headers={"X-Key": "hunter2hunter2"})
        async with opened(connection):
            told = connection.told(await connection.send("GET", url, {}))
    assert told.startswith("bad: ")
    assert "hunter2" not in told
    assert "bWU6aHVudGVyMg==" not in told


async def test_tokens_that_end_are_fetched_anew() -> None:
    numbers = itertools.count(1)
    seen: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        if request.path == "/token":
            return web.json_response({"access_token": f"t{next(numbers)}", "expires_in": 0.02})
        seen.append(request.headers["Authorization"])
        return web.Response()

    async with serving(handle) as url:
        auth = {"type": "oauth2", "token_url": f"{url}token", "client_id": "me", "client_secret": "hunter2"}
        async with opened(make(base_url=str(url), auth=auth)) as connection:
            while len(set(seen)) < 3:
                assert (await connection.send("GET", url, {})).status == 200
                await asyncio.sleep(0.01)
    assert seen == sorted(seen, key=lambda text: int(text.removeprefix("Bearer t")))


async def test_checks_take_the_token_that_is_there() -> None:
    fetched, seen = [], []

    async def handle(request: web.Request) -> web.Response:
        if request.path == "/token":
            fetched.append(f"t{len(fetched)}")
            return web.json_response({"access_token": fetched[-1], "expires_in": 600})
        seen.append(request.headers["Authorization"])
        return web.Response()

    async with serving(handle) as url:
        auth = {"type": "oauth2", "token_url": f"{url}token", "client_id": "me", "client_secret": "hunter2"}
        connection = make(base_url=str(url), auth=auth)
        await connection.check()
        async with opened(connection):
            await connection.send("GET", url, {})
            await connection.check()
    assert (fetched, seen) == (["t0"], ["Bearer t0"] * 3)


async def test_tokens_that_are_refused() -> None:
    fetched: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        if request.path == "/token":
            fetched.append("t")
            if len(fetched) > 2:
                return web.json_response({"error": "invalid_client"}, status=401)
            return web.json_response({"access_token": f"hunter{len(fetched)}", "expires_in": 600})
        return web.Response(status=401, text=f"{request.headers['Authorization']} is no good")

    async with serving(handle) as url:
        auth = {"type": "oauth2", "token_url": f"{url}token", "client_id": "me", "client_secret": "secret"}
        async with opened(make(base_url=str(url), auth=auth)) as connection:
            answer = await connection.send("GET", url, {})
            assert (answer.status, len(fetched)) == (401, 2)
            assert connection.told(answer) == "Bearer *** is no good"
            with pytest.raises(Unavailable, match="gives no token: 401 invalid_client"):
                await connection.send("GET", url, {})
        with pytest.raises(Unavailable, match="is not open"):
            await connection.send("GET", url, {})


async def test_its_authority_is_also_that_of_the_tokens(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def handle(request: web.Request) -> web.Response:
        if request.path == "/token":
            return web.json_response({"access_token": "t", "expires_in": 600})
        return web.Response(text=request.headers["Authorization"])

    async with serving(handle, context) as url:
        auth = {"type": "oauth2", "token_url": f"{url}token", "client_id": "me", "client_secret": "s"}
        async with opened(make(tmp_path, base_url=str(url), auth=auth, tls={"ca": "ca.pem"})) as connection:
            assert (await connection.send("GET", url, {})).body == b"Bearer t"
        async with opened(make(base_url=str(url), auth=auth)) as connection:
            with pytest.raises(Unavailable, match="certificate"):
                await connection.send("GET", url, {})


@pytest.mark.parametrize("location", ["http://other:80/path?token=hunter2", "/path?token=hunter2", "http://[", ""])
def test_where_a_redirect_leads(location: str) -> None:
    told = make(base_url="http://h").moved_to(Answer(302, {"Location": location}, b""))
    assert told in ("http://other/path", "/path", "?")
    assert "hunter2" not in told


async def test_foreign_hosts_are_checked_by_what_they_resolve_to() -> None:
    async with serving(answer_all) as url:
        local = url.with_host("localhost")
        async with opened(make()) as connection:
            assert (await connection.send("GET", local, {})).status == 204
            with pytest.raises(AddressRefused, match=r"private address \(see private_addresses"):
                await connection.send("GET", local, {}, foreign=True)
        async with opened(make(allowed_networks=["127.0.0.0/8"])) as connection:
            assert (await connection.send("GET", local, {}, foreign=True)).status == 204


@pytest.mark.parametrize(
    ("table", "path"),
    [
        ({"base_url": "http://${host}/"}, "base_url"),
        ({"base_url": "http://exa mple/"}, "base_url"),
        ({"base_url": "http://h", "auth": {"type": "bearer", "token": {"env": "HEADRACE_ABSENT"}}}, "auth.token"),
        ({"base_url": "http://h", "secret_headers": {"a b": "x"}}, "secret_headers"),
        (
            {
                "base_url": "http://h",
                "auth": {"type": "bearer", "token": "t"},
                "secret_headers": {"authorization": "x"},
            },
            "auth",
        ),
        (
            {
                "base_url": "http://h",
                "auth": {"type": "oauth2", "token_url": "file:///etc/x", "client_id": "a", "client_secret": "b"},
            },
            "auth.token_url",
        ),
    ],
)
def test_settings_that_cannot_be(table: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(**table)
    assert caught.value.path == path
