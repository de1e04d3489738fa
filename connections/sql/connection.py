"""A database: from its URL to a SQLAlchemy engine with driver, paths and connection options.

Knows what differs between the drivers when connecting; tables and values are the business of the sink. A password
never leaves this file except towards the driver: :func:`masked` is what messages show.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Final, Literal, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from connections.base import Connection, ConnectionContext
from connections.worker import Worker
from core.clock import SECOND
from core.errors import ConfigError, ExtensionError, Unavailable
from core.settings import Duration, Secret

Synchronous = Literal["full", "normal", "off"]


class _Driver(NamedTuple):
    """The driver we test a database with, the extra of ``headrace`` that installs it, and what we ask of it."""

    name: str
    extra: str
    connect_args: dict[str, Any]


_MYSQL: Final = _Driver("pymysql", "mysql", {"connect_timeout": 10, "charset": "utf8mb4"})
_DRIVERS: Final = {
    "postgresql": _Driver(
        "psycopg",
        "postgres",
        # A server that has silently gone is noticed within about a minute instead of hours.
        {
            "connect_timeout": 10,
            "application_name": "headrace",
            "keepalives_idle": 20,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        },
    ),
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
}
# Rows are never cut or zeroed in silence, and instants are stored in UTC.
_MYSQL_SESSION: Final = "SET SESSION sql_mode = CONCAT_WS(',', @@sql_mode, 'STRICT_ALL_TABLES'), time_zone = '+00:00'"


class SqlConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One database."""

    url: Secret
    """A SQLAlchemy URL: ``sqlite:///data/headrace.db``, ``postgresql://user:password@host/name``."""
    synchronous: Synchronous = "full"
    """SQLite only: ``full`` survives a loss of power, ``normal`` may lose the last commits to one."""
    busy_timeout: Duration = Duration(5 * SECOND)
    """SQLite only: how long to wait for another process's lock before the write counts as failed."""


class SqlConnection(Connection):
    """An engine without a pool: whoever writes keeps its own connections."""

    type: ClassVar[str] = "sql"
    Config = SqlConfig

    def __init__(self, config: SqlConfig, context: ConnectionContext) -> None:
        super().__init__(config, context)
        try:
            self.url = parse_url(config.url.reveal(), context.base_dir)
        except ValueError as error:
            raise ConfigError(str(error), path="url") from None
        self.engine: Engine = make_engine(self.url, config.synchronous, config.busy_timeout)

    @property
    def title(self) -> str:
        """The URL as messages may show it."""
        return masked(self.url)

    async def open(self) -> None:
        """A SQLite file's folder is made; connections are made by those who use them."""
        make_folder(self.url)

    async def close(self) -> None:
        self.engine.dispose()

    async def check(self) -> str:
        worker = Worker(f"check of {self.context.name}")
        try:
            return await worker.run(self._check)
        finally:
            worker.stop()

    def _check(self) -> str:
        if is_sqlite_file(self.url):
            path = Path(self.url.database or "")
            if not path.exists():  # connecting would make it
                return f"{self._product()}, {path} will be made"
        try:
            with self.engine.connect() as connection:
                connection.exec_driver_sql("SELECT 1")
                return f"{self._product(connection.dialect.server_version_info)} at {self.title}"
        except sa.exc.SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise Unavailable(f"{self.title}: {type(cause).__name__}: {' '.join(str(cause).split())}") from None

    def _product(self, version: tuple[Any, ...] | None = None) -> str:
        numbers = ".".join(str(part) for part in version or ())
        return f"{_PRODUCTS.get(self.engine.dialect.name, self.engine.dialect.name)} {numbers}".strip()


_PRODUCTS: Final = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB"}


def parse_url(text: str, base_dir: Path) -> URL:
    """The URL with our default driver; a relative SQLite path is relative to ``base_dir``. ConfigError otherwise."""
    try:
        url = make_url(text)
    except ArgumentError:
        # The text is not repeated: it may hold a password.
        raise ConfigError("not a database URL like 'sqlite:///data/headrace.db'", path="url") from None
    backend, plus, _ = url.drivername.partition("+")
    backend = "postgresql" if backend == "postgres" else backend
    driver = _DRIVERS.get(backend)
    if driver is not None and not plus:
        url = url.set(drivername=f"{backend}+{driver.name}")
    if is_sqlite_file(url) and url.database:
        url = url.set(database=str(base_dir / url.database))
    return url


def is_sqlite_file(url: URL) -> bool:
    database = url.database or ""
    return url.get_backend_name() == "sqlite" and database not in ("", ":memory:") and not database.startswith("file:")


def masked(url: URL) -> str:
    """The URL as messages may show it."""
    return url.set(query={}).render_as_string(hide_password=True)


def make_engine(url: URL, synchronous: Synchronous, busy_timeout: int) -> Engine:
    """An engine without a pool: every worker keeps its own connection. Connects to nothing.

    ``busy_timeout`` (nanoseconds) and ``synchronous`` are SQLite's. ExtensionError for an absent driver,
    ConfigError for a database that SQLAlchemy does not know.
    """
    backend, _, driver = url.drivername.partition("+")
    options: dict[str, Any] = {"poolclass": NullPool}
    known = _DRIVERS.get(backend)
    if known is not None and driver == known.name:
        options["connect_args"] = known.connect_args
    if driver.startswith("psycopg"):
        options["paramstyle"] = "format"  # rows are tuples: positions, not names
    try:
        engine = sa.create_engine(url, **options)
    except NoSuchModuleError:
        raise ConfigError(f"SQLAlchemy knows no database {url.drivername!r}", path="url") from None
    except ImportError as error:
        extra = f"headrace[{known.extra}]" if known and known.name in url.drivername else error.name
        raise ExtensionError(
            f"the sql sink needs {error.name} for {backend}: pip install '{extra}'", "headrace.sinks", "sql"
        ) from error
    except (TypeError, ValueError) as error:  # a query parameter of the URL that the driver does not take
        raise ConfigError(f"{masked(url)}: {error}", path="url") from None
    if engine.dialect.is_async:
        raise ConfigError(
            f"{url.drivername} is an asynchronous driver", path="url", hint="leave the part behind '+' away"
        )
    if backend == "sqlite":
        statements = [
            f"PRAGMA busy_timeout = {max(busy_timeout // 1_000_000, 0)}",
            "PRAGMA journal_mode = WAL",
            f"PRAGMA synchronous = {synchronous.upper()}",
        ]
    else:
        statements = [_MYSQL_SESSION] if known is _MYSQL else []

    def prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        try:
            for statement in statements:
                cursor.execute(statement)
        finally:
            cursor.close()

    sa.event.listen(engine, "connect", prepare)
    return engine


def make_folder(url: URL) -> None:
    """The folder of a SQLite file; Unavailable where it cannot be made."""
    if is_sqlite_file(url) and url.database:
        folder = Path(url.database).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"folder {folder} of the SQLite file cannot be created: {error.strerror}") from error
