"""The sql connection: settings, the pool of sessions, TLS and the contract, against real servers where it needs one."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from sqlalchemy import event

from connections.base import Connection, ConnectionContext
from connections.sql.config import SqlConfig
from connections.sql.connection import SqlConnection
from connections.sql.session import Session
from core.errors import ConfigError, Unavailable
from core.settings import decode_hook
from headrace.testing import ConnectionContract
from tests.servers import Mariadb, Postgresql, free_port

PASSWORD = "p@ss:w/rd %41"


def make(folder: Path, url: str, **settings: Any) -> SqlConnection:
    config = msgspec.convert({"url": url, **settings}, SqlConfig, dec_hook=decode_hook)
    return SqlConnection(config, ConnectionContext(name="db", base_dir=folder))


def arguments(connection: SqlConnection) -> dict[str, Any]:
    """What the driver is called with."""
    _, named = connection.engine.dialect.create_connect_args(connection.url)
    found: dict[str, Any] = {}

    def record(_dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> Any:
        found.update(parameters)
        raise RuntimeError("enough")

    event.listen(connection.engine, "do_connect", record)
    with pytest.raises(RuntimeError, match="enough"):
        connection.engine.connect()
    return named | found


# -- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"user": "ops"}, "user: SQLite has no users"),
        ({"password": "x"}, "password: SQLite has no users"),
        ({"tls": True}, "tls: only PostgreSQL, MySQL and MariaDB speak TLS"),
        ({"statement_timeout": "1s"}, "statement_timeout: only PostgreSQL, MySQL and MariaDB have it"),
        ({"url": "postgresql://a:b@h/d", "password": "x"}, "password: the URL has a password, too"),
        ({"url": "postgresql://a@h/d", "user": "b"}, "user: the URL names another user"),
        ({"url": "postgresql://h/d", "password": "x"}, "password: a password without a user"),
        (
            {"url": "postgresql://h/d", "user": "a", "password": {"env": "HEADRACE_NO_SUCH_VARIABLE"}},
            "password: the environment variable HEADRACE_NO_SUCH_VARIABLE is not set",
        ),
        (
            {"url": "mysql://u:geheim@h/d?conect_timeout=5"},
            r"url: pymysql has no option 'conect_timeout' \(did you mean",
        ),
        (
            {"url": "postgresql://u:geheim@h/d?ssl_mode=require"},
            r"url: psycopg has no option 'ssl_mode' \(did you mean 'sslmode'",
        ),
        ({"url": "postgresql://u:ge@heim@h/d"}, r"url: its user or password has an '@' .* %40, or .* `password`\)$"),
        ({"url": "sqlite://"}, "url: a database in memory is gone with its session .*name a file: 'sqlite:///data/"),
        ({"url": "sqlite:///:memory:"}, "url: a database in memory is gone with its session"),
        ({"url": "sqlite:///file:x?mode=memory&uri=true"}, "url: a database in memory is gone with its session"),
        ({"url": "postgresql://h/d", "tls": {"ca": "nowhere.pem"}}, "tls.ca: nowhere.pem cannot be read"),
        ({"url": "mysql://h/d", "tls": {"ca": "nowhere.pem"}}, "tls.ca: nowhere.pem cannot be read"),
    ],
)
def test_wrong_settings(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    pytest.importorskip("psycopg")
    pytest.importorskip("pymysql")
    with pytest.raises(ConfigError, match=message):
        make(tmp_path, **{"url": "sqlite:///h.db", **settings})


def test_a_password_of_its_own_is_taken_as_it_is(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    connection = make(tmp_path, "postgresql://db/x", user="ops", password=PASSWORD)
    assert arguments(connection)["password"] == PASSWORD
    assert connection.title == "postgresql+psycopg://ops:***@db/x"
    assert PASSWORD not in repr(connection.engine) + repr(connection.config) + repr(connection.url)


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        (False, {}),
        ({"ca": "ca.pem"}, {"sslmode": "verify-full", "sslrootcert": "ca.pem"}),
        ({"ca": "ca.pem", "check_hostname": False}, {"sslmode": "verify-ca", "sslrootcert": "ca.pem"}),
        ({"ca": "ca.pem", "verify": False}, {"sslmode": "require"}),  # libpq would verify with an sslrootcert
        (
            {"ca": "ca.pem", "cert": "me.pem", "key_password": "geheim"},
            {
                "sslmode": "verify-full",
                "sslrootcert": "ca.pem",
                "sslcert": "me.pem",
                "sslkey": "me.pem",
                "sslpassword": "geheim",
            },
        ),
    ],
)
def test_tls_in_the_terms_of_libpq(tmp_path: Path, tls: Any, expected: dict[str, str]) -> None:
    pytest.importorskip("psycopg")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("me").private_key_and_cert_chain_pem.write_to_path(tmp_path / "me.pem")
    found = arguments(make(tmp_path, "postgresql://db/x", tls=tls))
    paths = {name: str(tmp_path / value) if value.endswith(".pem") else value for name, value in expected.items()}
    assert {name: value for name, value in found.items() if name.startswith("ssl")} == paths


def test_tls_of_mysql_is_a_context_that_verifies(tmp_path: Path) -> None:
    pytest.importorskip("pymysql")
    context = arguments(make(tmp_path, "mysql://db/x", tls=True))["ssl"]
    assert context.check_hostname


def test_a_time_limit_of_mysql_is_the_drivers(tmp_path: Path) -> None:
    pytest.importorskip("pymysql")
    found = arguments(make(tmp_path, "mysql://db/x", statement_timeout="1500ms"))
    assert (found["read_timeout"], found["write_timeout"]) == (2, 2)


# -- sessions ------------------------------------------------------------------------------------------------------


async def test_no_more_sessions_work_at_a_time_than_allowed(tmp_path: Path) -> None:
    connection = make(tmp_path, "sqlite:///x.db", max_connections=2)
    user = object()
    await connection.join(user)
    together, most = 0, 0
    count = threading.Lock()
    both = threading.Barrier(2)

    def work(session: Session) -> None:
        nonlocal together, most
        with count:
            together += 1
            most = max(most, together)
        both.wait(60)
        with count:
            together -= 1

    await asyncio.gather(*[connection.run(work) for _ in range(6)])
    assert most == 2
    assert len(connection._idle) == 2
    await connection.leave(user)
    assert connection._idle == []


async def test_one_session_serves_one_after_the_other(tmp_path: Path) -> None:
    connection = make(tmp_path, "sqlite:///new/x.db")
    user = object()
    await connection.join(user)
    seen = [await connection.run(lambda session: session) for _ in range(3)]
    assert seen[0] is seen[1] is seen[2]
    await connection.leave(user)


# -- against servers -----------------------------------------------------------------------------------------------


class ServerConnection(ConnectionContract):
    url: str
    secrets = ("geheim", "ci:ci@")

    def make_connection(self, context: ConnectionContext) -> Connection:
        return make(context.base_dir, self.url)

    def make_unreachable(self, context: ConnectionContext) -> Connection:
        scheme, _, rest = self.url.partition("://")
        database = rest.rpartition("/")[2]
        return make(context.base_dir, f"{scheme}://ci:geheim@127.0.0.1:{free_port()}/{database}")

    def test_a_wrong_password_is_not_shown(self) -> None:
        scheme, _, rest = self.url.partition("://")

        async def use(connection: Connection) -> None:
            with pytest.raises(Unavailable, match=r"ci:\*\*\*@") as caught:
                await connection.check()
            self.hides(str(caught.value), repr(caught.value))

        self.run(use, lambda context: make(context.base_dir, f"{scheme}://ci:geheim@{rest.partition('@')[2]}"))

    def test_a_refusal_is_a_sentence(self) -> None:
        async def use(connection: Connection) -> None:
            with pytest.raises(
                Unavailable, match=r"/nowhere: .*(nowhere.*does not exist|to database 'nowhere')"
            ) as caught:
                await connection.check()
            assert "Error" not in str(caught.value)

        scheme, _, rest = self.url.partition("://")
        self.run(use, lambda context: make(context.base_dir, f"{scheme}://{rest.rpartition('/')[0]}/nowhere"))


@pytest.mark.integration
class TestPostgresql(ServerConnection):
    @pytest.fixture(autouse=True)
    def server(self, postgresql: Postgresql) -> None:
        pytest.importorskip("psycopg")
        self.url = postgresql.url


@pytest.mark.integration
class TestMariadb(ServerConnection):
    @pytest.fixture(autouse=True)
    def server(self, mariadb: Mariadb) -> None:
        pytest.importorskip("pymysql")
        self.url = mariadb.url


@pytest.mark.integration
@pytest.mark.parametrize(
    ("server", "question", "expected"),
    [
        (
            "postgresql",
            "SELECT current_setting('idle_in_transaction_session_timeout'), current_setting('timezone')",
            ("1min", "UTC"),
        ),
        (
            "mariadb",
            "SELECT @@idle_write_transaction_timeout, @@time_zone, LOCATE('STRICT_ALL_TABLES', @@sql_mode) > 0",
            (60, "+00:00", 1),
        ),
    ],
)
async def test_what_a_session_is_told_first(
    request: pytest.FixtureRequest, server: str, question: str, expected: tuple[Any, ...]
) -> None:
    pytest.importorskip("psycopg")
    pytest.importorskip("pymysql")
    connection = make(Path(), request.getfixturevalue(server).url)
    user = object()
    await connection.join(user)
    try:
        rows = await connection.run(lambda session: session.connect().exec_driver_sql(question).all())
    finally:
        await connection.leave(user)
    assert [tuple(row) for row in rows] == [expected]
    product = {"postgresql": "PostgreSQL 1", "mariadb": "MariaDB 1"}[server]
    assert (await connection.check()).startswith(product)


async def test_a_file_that_cannot_be_made_is_found_by_a_check(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(
        Unavailable, match=r"a/x\.db does not exist and cannot be made: .*data is no folder to write in"
    ):
        await make(tmp_path, "sqlite:///data/a/x.db").check()
    assert await make(tmp_path, "sqlite:///a/b/x.db").check() == f"SQLite, {tmp_path}/a/b/x.db will be made"
    assert not (tmp_path / "a").exists()


class _TlsPostgresql(Postgresql):
    """Speaks TLS with a certificate for localhost."""

    authority: trustme.CA

    def prepare(self) -> None:
        super().prepare()
        certificate = self.authority.issue_cert("localhost")
        certificate.cert_chain_pems[0].write_to_path(self.folder / "server.pem")
        certificate.private_key_pem.write_to_path(self.folder / "server.key")
        for name in ("server.pem", "server.key"):
            if os.getuid() == 0 and self.user is not None:
                shutil.chown(self.folder / name, self.user)
            (self.folder / name).chmod(0o600)

    def command(self) -> Sequence[str]:
        files = {"ssl_cert_file": "server.pem", "ssl_key_file": "server.key"}
        options = ["ssl=on", *(f"{name}={self.folder / file}" for name, file in files.items())]
        return [*super().command(), *(part for option in options for part in ("-c", option))]


@pytest.mark.integration
async def test_tls_and_statement_timeout_of_a_real_server(tmp_path: Path, own_server: Callable[..., Any]) -> None:
    pytest.importorskip("psycopg")
    _TlsPostgresql.authority = trustme.CA()
    _TlsPostgresql.authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = own_server(_TlsPostgresql)
    url = f"postgresql://ci@localhost:{server.port}/postgres?hostaddr=127.0.0.1"
    tls = {"ca": "ca.pem"}
    connection = make(tmp_path, url, password="ci", tls=tls, statement_timeout="100ms")

    def ask(session: Session) -> tuple[Any, ...]:
        rows = session.connect().exec_driver_sql(
            "SELECT ssl, current_setting('statement_timeout'), current_setting('timezone')"
            " FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        )
        session.connect().rollback()
        return tuple(rows.one())

    user = object()
    await connection.join(user)
    try:
        assert await connection.run(ask) == (True, "100ms", "UTC")
        assert await connection.run(ask) == (True, "100ms", "UTC")  # a rollback takes nothing back
        with pytest.raises(Exception, match="statement timeout"):
            await connection.run(lambda session: session.transaction(lambda at: at.execute("SELECT pg_sleep(60)")))
    finally:
        await connection.leave(user)
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    with pytest.raises(Unavailable, match="certificate verify failed"):
        await make(tmp_path, url, password="ci", tls={"ca": "other.pem"}).check()
    with pytest.raises(Unavailable, match="does not match host name"):
        await make(tmp_path, url.replace("localhost", "127.0.0.1"), password="ci", tls=tls).check()
