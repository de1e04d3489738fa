"""From the settings to a SQLAlchemy engine: URL, driver, credentials, TLS, and what each session is told first.

Knows what differs between the drivers when connecting; tables and values are the business of the sink. A password
never leaves this file except towards the driver: :func:`masked` is what messages show.
"""

from __future__ import annotations

import inspect
import math
import ssl
from pathlib import Path
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from connections.sql.config import SqlConfig
from connections.tls import TlsSettings, chosen, make_context
from core.clock import MILLISECOND
from core.errors import ConfigError, ExtensionError
from core.registry import did_you_mean


class _Driver(NamedTuple):
    """The driver we test a database with, the extra of ``headrace`` that installs it, and what we ask of it."""

    name: str
    extra: str
    connect_args: dict[str, Any]
    session: tuple[str, ...]


_POSTGRESQL: Final = _Driver(
    "psycopg",
    "postgres",
    # A server that has silently gone is noticed within about a minute instead of hours.
    {
        "connect_timeout": 10,
        "application_name": "headrace",
        "client_encoding": "utf8",
        "keepalives_idle": 20,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
    },
    # A transaction whose client is gone without a word holds its locks, by default for hours.
    ("SET TIME ZONE 'UTC'", "SET idle_in_transaction_session_timeout = '60s'"),
)
_MYSQL: Final = _Driver(
    "pymysql",
    "mysql",
    {"connect_timeout": 10, "charset": "utf8mb4"},
    # Rows are never cut or zeroed in silence, and instants are stored in UTC.
    (
        "SET SESSION sql_mode = CONCAT_WS(',', @@sql_mode, 'STRICT_ALL_TABLES')",
        "SET SESSION time_zone = '+00:00' /*M!100300 , idle_write_transaction_timeout = 60 */",  # MariaDB alone
    ),
)
_DRIVERS: Final = {"postgresql": _POSTGRESQL, "mysql": _MYSQL, "mariadb": _MYSQL}


def parse_url(text: str, base_dir: Path) -> URL:
    """The URL with our default driver; a relative SQLite path is relative to ``base_dir``. ConfigError otherwise."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # The text is not repeated: it may hold a password.
        raise ConfigError("not a database URL like 'sqlite:///data/headrace.db'", path="url") from None
    if url.host is not None and "@" in url.host:  # which would show the end of the password as a host
        hint = "write it as %40, or give them apart as `user` and `password`"
        raise ConfigError("its user or password has an '@'", path="url", hint=hint)
    backend, plus, _ = url.drivername.partition("+")
    backend = "postgresql" if backend == "postgres" else backend
    driver = _DRIVERS.get(backend)
    if driver is not None and not plus:
        url = url.set(drivername=f"{backend}+{driver.name}")
    if backend == "sqlite" and (url.database in (None, "", ":memory:") or url.query.get("mode") == "memory"):
        hint = "name a file: 'sqlite:///data/headrace.db'"
        raise ConfigError("a database in memory is gone with its session", path="url", hint=hint)
    if is_sqlite_file(url) and url.database:
        url = url.set(database=str(base_dir / url.database))
    return url


def with_credentials(url: URL, config: SqlConfig) -> URL:
    """``url`` with ``user`` and ``password`` of the settings; ConfigError where it has its own."""
    if (config.user is not None or config.password is not None) and url.get_backend_name() == "sqlite":
        raise ConfigError("SQLite has no users", path="user" if config.user is not None else "password")
    if config.user is not None:
        if url.username not in (None, config.user):
            raise ConfigError("the URL names another user", path="user", hint="leave one of them away")
        url = url.set(username=config.user)
    if config.password is not None:
        if url.password is not None:
            raise ConfigError("the URL has a password, too", path="password", hint="leave one of them away")
        if url.username is None:
            raise ConfigError("a password without a user", path="password", hint="name the user in user")
        try:
            url = url.set(password=config.password.reveal())
        except ValueError as error:
            raise ConfigError(str(error), path="password") from None
    return url


def is_sqlite_file(url: URL) -> bool:
    return url.get_backend_name() == "sqlite" and not (url.database or "").startswith("file:")


def masked(url: URL) -> str:
    """The URL as messages may show it."""
    return url.set(query={}).render_as_string(hide_password=True)


def make_engine(url: URL, config: SqlConfig, base_dir: Path) -> Engine:
    """An engine without a pool: every session keeps its own connection. Connects to nothing.

    ExtensionError for an absent driver, ConfigError for a database that SQLAlchemy does not know and for settings
    that it does not have.
    """
    backend, _, driver = url.drivername.partition("+")
    known = _DRIVERS.get(backend)
    ours = known if known is not None and driver == known.name else None
    options: dict[str, Any] = {"poolclass": NullPool}
    arguments = {**(ours.connect_args if ours else {}), **_limits(config, ours), **_tls(config, ours, base_dir)}
    if arguments:
        options["connect_args"] = arguments
    if driver.startswith(("psycopg", "pymysql")):
        options["paramstyle"] = "format"  # rows are tuples: positions, not names
    try:
        engine = sa.create_engine(url, **options)
    except NoSuchModuleError:
        raise ConfigError(f"SQLAlchemy knows no database {url.drivername!r}", path="url") from None
    except ImportError as error:
        way_out = f"pip install '{error.name}'"
        if known is not None:
            way_out = f"pip install 'headrace[{known.extra}]'"
            if ours is None:
                way_out = f"leave '+{driver}' away, then {way_out}"
        raise ExtensionError(
            f"the sql sink needs {error.name} for {backend}: {way_out}", "headrace.sinks", "sql"
        ) from error
    except (TypeError, ValueError) as error:  # a query parameter of the URL that the driver does not take
        raise ConfigError(f"{masked(url)}: {error}", path="url") from None
    if engine.dialect.is_async:
        raise ConfigError(
            f"{url.drivername} is an asynchronous driver", path="url", hint="leave the part behind '+' away"
        )
    if ours is not None:
        _check_options(engine, ours, url)
    statements = _first_statements(config, backend, ours)

    def prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        try:
            for statement in statements:
                cursor.execute(statement)
        finally:
            cursor.close()
        if ours is _POSTGRESQL:
            connection.commit()  # or the first rollback takes the settings back

    sa.event.listen(engine, "connect", prepare)
    return engine


def _check_options(engine: Engine, driver: _Driver, url: URL) -> None:
    """ConfigError for an option in the URL that the driver has not: it would say so at every attempt to connect."""
    _, options = engine.dialect.create_connect_args(url)
    module: Any = engine.dialect.loaded_dbapi
    known = set(inspect.signature(module.connect).parameters)
    if driver is _POSTGRESQL:
        known |= {option.keyword.decode() for option in module.pq.Conninfo.get_defaults()}
    for name in options:
        if name not in known:
            raise ConfigError(f"{driver.name} has no option {name!r}", path="url", hint=did_you_mean(name, known))


def _first_statements(config: SqlConfig, backend: str, ours: _Driver | None) -> list[str]:
    """What every session says before its first transaction."""
    if backend == "sqlite":
        return [
            f"PRAGMA busy_timeout = {max(config.busy_timeout // MILLISECOND, 0)}",
            f"PRAGMA synchronous = {config.synchronous.upper()}",
        ]
    statements = list(ours.session) if ours else []
    if ours is _POSTGRESQL and config.statement_timeout is not None:
        statements.append(f"SET statement_timeout = {max(config.statement_timeout // MILLISECOND, 1)}")
    return statements


def _limits(config: SqlConfig, ours: _Driver | None) -> dict[str, Any]:
    """``statement_timeout``, where it is the driver that keeps it."""
    if config.statement_timeout is None or ours is _POSTGRESQL:
        return {}
    if ours is not _MYSQL:
        raise ConfigError(
            "only PostgreSQL, MySQL and MariaDB have it",
            path="statement_timeout",
            hint="SQLite has busy_timeout, and retry.attempt_timeout of the sink works for all",
        )
    seconds = max(math.ceil(config.statement_timeout.seconds), 1)
    return {"read_timeout": seconds, "write_timeout": seconds}


def _tls(config: SqlConfig, ours: _Driver | None, base_dir: Path) -> dict[str, Any]:
    """``tls`` in the terms of the driver."""
    settings = chosen(config.tls)
    if settings is None:
        return {}
    if ours is _MYSQL:
        return {"ssl": make_context(settings, base_dir)}
    if ours is not _POSTGRESQL:
        raise ConfigError("only PostgreSQL, MySQL and MariaDB speak TLS", path="tls")
    return _libpq_tls(settings, base_dir)


def _libpq_tls(settings: TlsSettings, base_dir: Path) -> dict[str, Any]:
    make_context(settings, base_dir)  # the same errors as everywhere, before the first connection
    ca, cert, key = settings.paths(base_dir)
    arguments: dict[str, Any] = {"sslmode": "require"}
    if settings.verify:
        arguments["sslmode"] = "verify-full" if settings.check_hostname else "verify-ca"
        # libpq's own default is a file in the user's home.
        arguments["sslrootcert"] = str(ca or ssl.get_default_verify_paths().cafile or "system")
    if cert is not None:
        arguments["sslcert"] = str(cert)
        arguments["sslkey"] = str(key or cert)
    if settings.key_password is not None:
        arguments["sslpassword"] = settings.key_password.reveal()
    return arguments
