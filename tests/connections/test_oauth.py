"""OAuth 2 tokens: when they are fetched, and what is said where none is given."""

from __future__ import annotations

import base64
import http.server
import threading
import time
from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import parse_qs

import msgspec
import pytest

from connections.oauth import ClientCredentials, TokenSource
from core.errors import Unavailable
from core.settings import Secret

SECRET = "hunt&r 2"


class Endpoint(http.server.BaseHTTPRequestHandler):
    """Gives what ``answers`` holds, one after the other: (status, headers, body), or bytes that are no HTTP."""

    answers: ClassVar[list[tuple[int, dict[str, str], Any] | bytes]] = []
    requests: ClassVar[list[tuple[str, str, dict[str, list[str]]]]] = []

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        self.requests.append((self.path, self.headers["authorization"], form))
        answer = self.answers.pop(0)
        if isinstance(answer, bytes):
            self.wfile.write(answer)
            return
        status, headers, value = answer
        body = value if isinstance(value, bytes) else msgspec.json.encode(value)
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    Endpoint.answers.clear()
    Endpoint.requests.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/token"
        server.shutdown()


def source(url: str, **settings: Any) -> TokenSource:
    return TokenSource(ClientCredentials(token_url=url, client_id="me", client_secret=Secret.parse(SECRET), **settings))


def give(*answers: Any) -> None:
    Endpoint.answers += [answer if isinstance(answer, tuple | bytes) else (200, {}, answer) for answer in answers]


def test_a_token_is_asked_for_once_and_kept(url: str) -> None:
    give({"access_token": "t1", "expires_in": 600})
    tokens = source(url, scope="a b", audience="x")
    assert tokens.held() is None
    assert [tokens.token().value for _ in range(3)] == ["t1"] * 3
    held = tokens.held()
    assert held is not None
    assert 590 < held.expires_at - time.time() <= 600
    [(path, authorization, form)] = Endpoint.requests
    assert path == "/token"
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"me:hunt%26r+2"
    assert form == {"grant_type": ["client_credentials"], "scope": ["a b"], "audience": ["x"]}


def test_a_refused_token_is_replaced_once(url: str) -> None:
    give({"access_token": "t1"}, {"access_token": "t2", "expires_in": "60"})
    tokens = source(url)
    first = tokens.token().value
    assert [tokens.token(refused=first).value for _ in range(2)] == ["t2", "t2"]


def test_many_threads_cause_one_request(url: str) -> None:
    give({"access_token": "t1"})
    tokens, found = source(url), []
    threads = [threading.Thread(target=lambda: found.append(tokens.token().value)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, len(Endpoint.requests)) == (["t1"] * 8, 1)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((401, {}, {"error": "invalid_client", "error_description": "who?"}), "401 invalid_client: who?"),
        ((500, {}, b"<html>"), "500 Internal Server Error"),
        ({"token": "t"}, "the answer has no access_token"),
        ({"access_token": "t", "expires_in": -1}, "expires_in is -1"),
        (["t"], "the answer has no access_token"),
        (b"no JSON", "gives no token"),
        (b"SSH-2.0-OpenSSH\r\n", "gives no token"),
        ((302, {"Location": "/elsewhere"}, b""), "302 Found"),
    ],
)
def test_why_there_is_no_token(url: str, answer: Any, reason: str) -> None:
    give(answer if not isinstance(answer, bytes) or answer[:3] == b"SSH" else (200, {}, answer))
    with pytest.raises(Unavailable) as caught:
        source(url).token()
    assert str(caught.value).startswith(f"{url} gives no token: ")
    assert reason in str(caught.value)
    assert len(Endpoint.requests) == 1


def test_nobody_answers() -> None:
    with pytest.raises(Unavailable, match=r"^http://127.0.0.1:1/token gives no token: connection refused$"):
        source("http://127.0.0.1:1/token").token()
    with pytest.raises(Unavailable, match=r"^http://no.invalid/token gives no token: [a-z][^\[]*$"):
        source("http://no.invalid/token").token()


def test_tls_where_there_is_none(url: str) -> None:
    with pytest.raises(Unavailable, match=r"token: TLS fails: wrong version number \(does the port speak TLS\?\)$"):
        source(url.replace("http:", "https:")).token()


def test_credentials_that_are_repeated_are_not_shown(url: str) -> None:
    pair = base64.b64encode(b"me:hunt%26r+2").decode()
    said = f"{SECRET} and hunt%26r+2 and {pair} are wrong"
    give((401, {}, {"error": said}), (200, {}, {"access_token": "t", "expires_in": said}))
    for _ in range(2):
        with pytest.raises(Unavailable) as caught:
            source(url).token()
        assert "*** and *** and *** are wrong" in str(caught.value)


def test_a_proxy_of_the_environment_sees_no_secret(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    give({"access_token": "t1"})
    assert source(url).token().value == "t1"
