"""The http sink against a service that answers as a test wants it to."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from connections.base import ConnectionContext
from connections.http import HttpConfig, HttpConnection
from core.errors import ConfigError, Rejected, Throttled, Unavailable
from core.message import MISSING, Batch, Row, Schema, Type
from core.settings import decode_hook
from headrace.testing import ConnectionContract, SinkContract
from sinks.base import Sink, SinkContext
from sinks.encoding import rfc3339
from sinks.http.encode import Encoder
from sinks.http.sink import HttpSink
from tests.connections.test_http_client import serving

PAIR = Schema(("id", "value"), (Type.BIGINT, Type.ANY))
_OURS = ("method", "url", "send", "body", "content_type", "headers", "idempotency_key")
_OURS += ("parallel", "gzip", "accept_status", "retry_status", "reject_status", "unreachable")


def make(**table: Any) -> HttpSink:
    """A sink with a connection of its own, both out of one table."""
    own = {name: value for name, value in table.items() if name in _OURS}
    rest = {name: value for name, value in table.items() if name not in _OURS}
    config = msgspec.convert(rest, HttpConfig, dec_hook=decode_hook)
    shared = HttpConnection(config, ConnectionContext(name="hook", base_dir=Path()))
    settings = msgspec.convert(own, HttpSink.Config, dec_hook=decode_hook)
    return HttpSink(settings, SinkContext(name="out", base_dir=Path(), connection=shared))


def batch(*rows: Row, schema: Schema = PAIR) -> Batch:
    return Batch("out", "rule", schema, list(rows))


async def write(sink: Sink, *batches: Batch) -> None:
    try:
        await sink.open()
        for each in batches:
            await sink.write(each)
    finally:
        await sink.close()


def _nothing(_: Any) -> bool:
    return False


class Service:
    """Notes every request but HEAD and answers with what ``script`` says next, or with 200."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.script: list[web.Response | int] = []
        self.bad: Callable[[Any], bool] = _nothing
        self.hang = False
        self.at_once = self.most_at_once = 0

    async def handle(self, request: web.Request) -> web.Response:
        if request.method == "HEAD":
            return web.Response()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            body = await request.read()
            self.requests.append((request.method, request.raw_path, dict(request.headers), body))
            if self.hang:
                await asyncio.sleep(3_600)
            await asyncio.sleep(0.001)
            if self.script:
                answer = self.script.pop(0)
                return web.Response(status=answer) if isinstance(answer, int) else answer
            if self.bad is not _nothing and self.bad(msgspec.json.decode(body)):
                return web.Response(status=422, text="not this one")
            return web.Response()
        finally:
            self.at_once -= 1

    @property
    def bodies(self) -> list[Any]:
        return [msgspec.json.decode(body) for _, _, _, body in self.requests]


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Service, str]]:
    service = Service()
    async with serving(service.handle) as url:
        yield service, str(url)


# -- what a request is --------------------------------------------------------------------------------------------


async def test_a_row_is_a_request() -> None:
    async with running() as (service, url):
        await write(make(base_url=url, url="hook"), batch((1, "a"), (2, None)))
    assert [(method, path) for method, path, _, _ in service.requests] == [("POST", "/hook")] * 2
    assert service.bodies == [{"id": 1, "value": "a"}, {"id": 2, "value": None}]
    assert service.requests[0][2]["Content-Type"] == "application/json"


async def test_templates_in_address_headers_and_body() -> None:
    table = {"url": "v1/${value}/x?id=${id}", "method": "PUT", "headers": {"X-Id": "n-${id}", "X-Null": "${value}"}}
    async with running() as (service, url):
        sink = make(base_url=url + "api/", body="<${value}>", content_type="text/plain", **table)
        await write(sink, batch((1, "a b/ü?&")))
    [(method, path, headers, body)] = service.requests
    assert (method, path) == ("PUT", "/api/v1/a%20b%2F%C3%BC%3F%26/x?id=1")
    assert (headers["X-Id"], headers["Content-Type"]) == ("n-1", "text/plain")
    assert body == "<a b/ü?&>".encode()
    assert headers["X-Null"] == "a b/ü?&"


@pytest.mark.parametrize("value", [None, MISSING])
async def test_null_in_address_and_headers(value: Any) -> None:
    async with running() as (service, url):
        await write(make(base_url=url, url="a?v=${value}", headers={"X-V": "${value}"}), batch((1, value)))
        with pytest.raises(Rejected, match=r"\$\{value\} in its address is null or empty"):
            await write(make(base_url=url, url="a/${value}"), batch((1, value)))
    [(_, path, headers, _)] = service.requests
    assert path == "/a?v="
    assert "X-V" not in headers


@pytest.mark.parametrize(
    ("send", "body", "media"),
    [
        ("json_array", b'[{"id":1,"value":"a"},{"id":2,"value":"b"}]', "application/json"),
        ("ndjson", b'{"id":1,"value":"a"}\n{"id":2,"value":"b"}\n', "application/x-ndjson"),
    ],
)
async def test_batches(send: str, body: bytes, media: str) -> None:
    async with running() as (service, url):
        await write(make(base_url=url, send=send), batch((1, "a"), (2, "b")))
        await write(make(base_url=url, send=send, gzip=True), batch((1, "a"), (2, "b")))
    (_, _, headers, plain), (_, _, packed_headers, packed) = service.requests
    assert (plain, headers["Content-Type"]) == (body, media)
    assert packed_headers["Content-Encoding"] == "gzip"
    assert packed in (body, gzip.compress(body)) or gzip.decompress(packed) == body


async def test_rows_of_one_address_go_together() -> None:
    async with running() as (service, url):
        await write(make(base_url=url, url="${value}", send="json_array"), batch((1, "a"), (2, "b"), (3, "a")))
    assert [(path, len(msgspec.json.decode(body))) for _, path, _, body in service.requests] == [("/a", 2), ("/b", 1)]


async def test_a_get_has_no_body() -> None:
    async with running() as (service, url):
        await write(make(base_url=url, url="?id=${id}", method="GET"), batch((1, "a")))
    [(method, path, headers, body)] = service.requests
    assert (method, path, body) == ("GET", "/?id=1", b"")
    assert "Content-Type" not in headers


@pytest.mark.parametrize("value", ["..", ".", "a\r\nX-Evil: 1"])
async def test_what_data_cannot_do_to_a_request(value: str) -> None:
    async with running() as (service, url):
        sink = make(base_url=url + "api", url="${value}", headers={"X-V": "${value}"})
        with pytest.raises(Rejected) as caught:
            await write(sink, batch((1, value), (2, "good")))
    assert [index for index, _ in caught.value.rows] == [0]
    assert [path for _, path, _, _ in service.requests] == ["/api/good"]


async def test_idempotency_keys() -> None:
    async with running() as (service, url):
        service.script = [500]
        sink = make(base_url=url, idempotency_key="auto")
        again = batch((1, "a"), (2, "b"))
        with pytest.raises(Unavailable):
            await write(sink, again)
        await write(sink, again)
        await write(make(base_url=url, idempotency_key="k-${id}"), batch((7, "x")))
    keys = [headers["Idempotency-Key"] for _, _, headers, _ in service.requests]
    assert keys[0] == keys[1] != keys[2]
    assert keys[3] == "k-7"


# -- what answers mean --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 425, 500, 502, 504])
async def test_answers_after_which_rows_come_again(status: int) -> None:
    async with running() as (service, url):
        service.script = [web.Response(status=status, text="later")]
        with pytest.raises(Unavailable, match=rf"later \({status}\)"):
            await write(make(base_url=url), batch((1, "a")))


@pytest.mark.parametrize("status", [429, 503])
async def test_a_service_that_asks_for_patience(status: int) -> None:
    async with running() as (service, url):
        service.script = [web.Response(status=status, headers={"Retry-After": "9"})]
        with pytest.raises(Throttled) as caught:
            await write(make(base_url=url), batch((1, "a")))
    assert caught.value.retry_after == 9_000_000_000


@pytest.mark.parametrize("status", [401, 403])
async def test_wrong_credentials_are_unavailable(status: int) -> None:
    async with running() as (service, url):
        service.script = [status]
        with pytest.raises(Unavailable, match="not authorized"):
            await write(make(base_url=url), batch((1, "a")))


async def test_a_wrong_address_is_the_operators_fault_or_the_rows() -> None:
    async with running() as (service, url):
        service.script = [404, 302, 404]
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"\((404|302)\)"):
                await write(make(base_url=url), batch((1, "a")))
        with pytest.raises(Rejected) as caught:
            await write(make(base_url=url, url="${value}"), batch((1, "a"), (2, "b")))
    assert [index for index, _ in caught.value.rows] == [0]


async def test_answers_may_mean_something_else() -> None:
    async with running() as (service, url):
        service.script = [409, 500]
        with pytest.raises(Unavailable, match="409"):
            await write(make(base_url=url, retry_status=[409]), batch((1, "a")))
        with pytest.raises(Rejected, match="500"):
            await write(make(base_url=url, reject_status=[500]), batch((1, "a")))


async def test_a_refused_row_never_takes_others_with_it() -> None:
    rows = [(number, number in (3, 40)) for number in range(64)]
    for send in ("row", "json_array"):
        async with running() as (service, url):
            service.bad = lambda body: any(row["value"] for row in (body if isinstance(body, list) else [body]))
            with pytest.raises(Rejected, match="not this one") as caught:
                await write(make(base_url=url, send=send), batch(*rows))
            good = [body for body in service.bodies if not service.bad(body)]
            ids = [row["id"] for body in good for row in (body if isinstance(body, list) else [body])]
        assert [index for index, _ in caught.value.rows] == [3, 40]
        assert sorted(ids) == [number for number in range(64) if number not in (3, 40)]


async def test_what_was_answered_is_not_sent_again() -> None:
    async with running() as (service, url):
        sink = make(base_url=url)
        await sink.open()
        service.script = [200, 200, 500]
        again = batch(*[(number, "a") for number in range(5)])
        with pytest.raises(Unavailable):
            await sink.write(again)
        await sink.write(again)
        await sink.close()
    assert [body["id"] for body in service.bodies] == [0, 1, 2, 2, 3, 4]


async def test_many_at_a_time() -> None:
    async with running() as (service, url):
        sink = make(base_url=url, parallel=4)
        rows = [(number, "a") for number in range(40)]
        service.script = [200, 500]
        again = batch(*rows)
        await sink.open()
        with pytest.raises(Unavailable):
            await sink.write(again)
        await sink.write(again)
        await sink.close()
    assert service.most_at_once == 4
    assert len(service.bodies) == 41
    assert {body["id"] for body in service.bodies} == set(range(40))


async def test_a_given_up_write_goes_on_where_it_was() -> None:
    async with running() as (service, url):
        sink = make(base_url=url)
        await sink.open()
        again = batch((1, "a"))
        service.hang = True
        task = asyncio.ensure_future(sink.write(again))
        while not service.requests:  # noqa: ASYNC110 - the service belongs to all tests
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        service.hang = False
        await sink.write(again)
        await sink.close()
    assert len(service.requests) == 2


async def test_a_service_that_comes_and_goes() -> None:
    sink = make(base_url="http://127.0.0.1:1")
    with pytest.raises(Unavailable, match="connection refused"):
        await write(sink, batch((1, "a")))


# -- credentials ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ({"type": "basic", "user": "me", "password": "pw"}, "Basic bWU6cHc="),
        ({"type": "bearer", "token": "t-1"}, "Bearer t-1"),
    ],
)
async def test_credentials_go_to_the_service_alone(auth: dict[str, str], header: str) -> None:
    async with running() as (service, url), running() as (stranger, elsewhere):
        table = {"base_url": url, "auth": auth, "secret_headers": {"X-Key": "k"}, "private_addresses": "allow"}
        await write(make(**table), batch((1, "a")))
        await write(make(**table, url=f"{elsewhere}path/${{value}}"), batch((1, "x")))
        await write(make(**table, url=f"{url}own/${{value}}"), batch((1, "x")))
    assert [headers["Authorization"] for _, _, headers, _ in service.requests] == [header, header]
    assert [headers["X-Key"] for _, _, headers, _ in service.requests] == ["k", "k"]
    [(_, path, headers, _)] = stranger.requests
    assert path == "/path/x"
    assert not {"Authorization", "X-Key"} & set(headers)


async def test_oauth_fetches_a_token_anew_when_it_is_refused() -> None:
    tokens = itertools.count(1)

    async def handle(request: web.Request) -> web.Response:
        if request.path == "/token":
            return web.json_response({"access_token": f"t{next(tokens)}", "expires_in": 600})
        seen.append(request.headers["Authorization"])
        return web.Response(status=401 if seen[-1] == "Bearer t1" and len(seen) > 1 else 200)

    seen: list[str] = []
    async with serving(handle) as url:
        auth = {"type": "oauth2", "token_url": f"{url}token", "client_id": "me", "client_secret": "s"}
        sink = make(base_url=str(url), auth=auth)
        await write(sink, batch((1, "a"), (2, "b"), (3, "c")))
    assert seen == ["Bearer t1", "Bearer t1", "Bearer t2", "Bearer t2"]


async def test_no_secret_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    table = {"auth": {"type": "basic", "user": "me", "password": "hunter2"}, "secret_headers": {"X-Key": "hunter2"}}
    sink = make(base_url="http://127.0.0.1:1", url="?k=v", **table)
    with pytest.raises(Unavailable) as caught:
        await write(sink, batch((1, "a")))
    assert "hunter2" not in f"{caught.value}{sink.context.connection!r}{caplog.text}"


# -- addresses out of data ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", ["${value}", "http://${value}/", "http://127.0.0.1${value}"])
async def test_data_leads_nowhere_private(template: str) -> None:
    async with running() as (service, url):
        port = URL(url).port
        value = {"${value}": url, "http://${value}/": "localhost"}.get(template, f":{port}/")
        with pytest.raises((Rejected, Unavailable)):
            await write(make(url=template), batch((1, value)))
    assert service.requests == []


async def test_private_addresses_may_be_allowed() -> None:
    async with running() as (service, url):
        await write(make(url="${value}", allowed_networks=["127.0.0.0/8"]), batch((1, url)))
        await write(make(url="${value}", private_addresses="allow"), batch((2, url)))
        with pytest.raises(Unavailable, match="private address"):
            await write(make(base_url=url, private_addresses="refuse"), batch((3, "x")))
        with pytest.raises(Rejected, match="private address"):
            await write(make(url="${value}"), batch((4, url)))
    assert [body["id"] for body in service.bodies] == [1, 2]


@given(st.text(min_size=1))
def test_a_value_stays_within_its_segment(value: str) -> None:
    config = msgspec.convert({"url": "a/${value}/b"}, HttpSink.Config)
    requests, dead = Encoder(config, URL("http://h/x")).bind(PAIR)([(1, value)])
    if value in (".", ".."):
        assert dead
        return
    [url] = [request.url for request in requests]
    assert (url.host, url.raw_query_string, url.raw_fragment) == ("h", "", "")
    before, segment, after = url.raw_path[1:].partition("/")[2].split("/")
    assert (before, unquote(segment, errors="surrogatepass"), after) == ("a", value, "b")


@given(st.text(min_size=1))
def test_a_value_stays_within_its_place_in_the_query(value: str) -> None:
    config = msgspec.convert({"url": "http://h/?a=${value}&b=1"}, HttpSink.Config)
    [request], _ = Encoder(config, None).bind(PAIR)([(1, value)])
    assert parse_qsl(request.url.raw_query_string, errors="surrogatepass") == [("a", value), ("b", "1")]


@given(st.text() | st.binary())
def test_a_host_out_of_data_is_a_host_or_nothing(value: str | bytes) -> None:
    config = msgspec.convert({"url": "https://${value}.example.com/x"}, HttpSink.Config)
    for request in Encoder(config, None).bind(PAIR)([(1, value)])[0]:
        assert (request.url.host or "").endswith(".example.com")
        assert (request.url.raw_path, request.url.user) == ("/x", None)


@given(st.text() | st.binary())
def test_a_header_is_one_header_or_nothing(value: str | bytes) -> None:
    config = msgspec.convert({"url": "http://h/", "headers": {"X-A": "${value}"}}, HttpSink.Config)
    for request in Encoder(config, None).bind(PAIR)([(1, value)])[0]:
        [(name, text)] = request.headers
        assert name == "X-A"
        assert "\r" not in text
        assert "\n" not in text
        assert "\0" not in text


@pytest.mark.parametrize(
    ("table", "path"),
    [
        ({"url": "hook"}, "url: is no whole address"),
        ({"url": "ftp://h/"}, "url: is no whole address"),
        ({"url": "http:///x"}, "url: is no http URL (as in https://example.com/hook)"),
        ({"url": "http://exa mple/x"}, "url: is no http URL"),
        ({"url": "http://me:pw@h/"}, "url: has a user or password in it"),
        ({"base_url": "h:80"}, "base_url"),
        ({"base_url": "http://me:pw@h/"}, "base_url"),
        ({"auth": {"type": "bearer", "token": "t"}}, "base_url: is needed"),
        ({"base_url": "http://h", "auth": {"type": "bearer", "token": "a\nb"}}, "auth.token"),
        ({"base_url": "http://h", "secret_headers": {"X": {"env": "HEADRACE_ABSENT"}}}, "secret_headers.X"),
        ({"base_url": "http://h", "body": "x", "method": "GET"}, "body"),
        ({"url": "http://h/a#b"}, "url: has a fragment"),
        ({"url": "http://h/a/../b"}, "url: has a segment '.' or '..'"),
        ({"url": "${value}x"}, "url: what follows"),
        ({"secret_path": "x"}, "base_url: is needed"),
        ({"base_url": "http://h", "secret_path": "a b"}, "secret_path"),
        ({"base_url": "http://h", "check_path": "x"}, "check_path"),
        ({"base_url": "http://h?a=b"}, "base_url"),
        ({"base_url": "http://h", "auth": {"type": "basic", "user": "a:b", "password": "x"}}, "auth.user"),
        ({"base_url": "http://h", "secret_headers": {"x-a": "1"}, "headers": {"X-A": "2"}}, "headers.X-A"),
        ({"base_url": "http://h", "headers": {"X-A": "a\nb"}}, "headers.X-A"),
        ({"base_url": "http://h", "content_type": "a\nb"}, "content_type"),
        ({"base_url": "http://h", "idempotency_key": ""}, "idempotency_key"),
        ({"base_url": "http://h", "idempotency_key": "${id}", "send": "ndjson"}, "idempotency_key"),
        ({"base_url": "http://h", "idempotency_key": "auto", "headers": {"Idempotency-Key": "x"}}, "idempotency_key"),
        ({"base_url": "http://h", "parallel": 4, "max_connections": 2}, "parallel"),
        ({"base_url": "http://h", "unreachable": "reject"}, "unreachable"),
        ({"base_url": "http://h", "accept_status": [409], "reject_status": [409]}, "reject_status"),
        ({"base_url": "http://h", "method": "GET", "send": "ndjson"}, "send"),
        ({"base_url": "http://h", "headers": {"a b": "x"}}, "headers.a b"),
        ({"base_url": "http://h", "headers": {"Host": "x"}}, "headers.Host: is set by the sink itself"),
        ({"base_url": "http://h", "headers": {"Content-Type": "x"}}, "headers.Content-Type: is set by the sink itself"),
        ({"base_url": "http://h", "retry_status": [409], "reject_status": [409]}, "reject_status"),
        ({"base_url": "http://h", "allowed_networks": ["x"]}, "allowed_networks"),
    ],
)
def test_settings_that_cannot_be(table: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(**table)
    assert str(caught.value).startswith(path)


# -- the contracts ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def http_service() -> Iterator[tuple[Service, str]]:
    """A service on a loop of its own, for tests that run their own."""
    service, ready, over = Service(), threading.Event(), asyncio.Event()
    found: list[Any] = []

    async def serve() -> None:
        async with serving(service.handle) as url:
            found.extend([asyncio.get_running_loop(), str(url)])
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(30)
    yield service, found[1]
    found[0].call_soon_threadsafe(over.set)
    thread.join(30)


class HttpContract(SinkContract):
    send = "row"

    @pytest.fixture(autouse=True)
    def destination(self, http_service: tuple[Service, str]) -> None:
        self.service, self.url = http_service
        self.service.requests.clear()
        self.service.bad = lambda body: any(
            "bad" in row.values() for row in (body if isinstance(body, list) else [body])
        )

    def make_sink(self, context: SinkContext) -> Sink:
        return make(base_url=self.url, send=self.send)

    async def read_back(self) -> Sequence[dict[str, Any]]:
        good = [body for body in self.service.bodies if not self.service.bad(body)]
        return [row for body in good for row in (body if isinstance(body, list) else [body])]

    def arrives_as(self, kind: Type, value: Any) -> Any:
        if value is MISSING:
            return "undefined"
        if kind is Type.TIMESTAMP and value is not None:
            return rfc3339(value)
        if kind is Type.BYTES and value is not None:
            return {"$hex": value.hex().upper()} if b"\xff" in value else value.decode()
        if kind is Type.DECIMAL and value is not None:
            return float(value) if value % 1 else int(value)
        return value

    def bad_row(self, identity: int) -> Row:
        return (identity, "bad", 1.0)


class TestHttp(HttpContract):
    pass


class TestHttpArray(HttpContract):
    send = "json_array"


class TestHttpConnection(ConnectionContract):
    secrets = ("hunter2",)

    @pytest.fixture(autouse=True)
    def destination(self, http_service: tuple[Service, str]) -> None:
        self.url = http_service[1]

    def _make(self, url: str, context: ConnectionContext) -> HttpConnection:
        table = {"base_url": url, "auth": {"type": "bearer", "token": "hunter2"}}
        return HttpConnection(msgspec.convert(table, HttpConfig, dec_hook=decode_hook), context)

    def make_connection(self, context: ConnectionContext) -> HttpConnection:
        return self._make(self.url, context)

    def make_unreachable(self, context: ConnectionContext) -> HttpConnection:
        return self._make("http://127.0.0.1:1/", context)
