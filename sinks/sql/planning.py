"""Having a database plan a statement without running it, each in its own way.

What it has against the statement is known then, whatever the rows are: views that take none, permissions, syntax.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Final

from sqlalchemy.engine import Connection

_PLACE: Final = re.compile("%%|%s")


def plan(connection: Connection, statement: str, parameters: int) -> None:
    """Plan ``statement``, which is in the driver's notation; what the driver raises is for the caller.

    Nothing where it is not known how to. Whoever calls it rolls back afterwards.
    """
    dialect = connection.dialect
    ask = _ASK.get(f"{dialect.name}+{dialect.driver}")
    if ask is not None:
        ask(connection, statement, parameters)


def with_places(statement: str, places: Iterator[str]) -> str:
    """The statement with the server's own signs for parameters instead of the driver's ``%s``."""
    return _PLACE.sub(lambda found: "%" if found[0] == "%%" else next(places), statement)


def _explain(connection: Connection, statement: str, parameters: int) -> None:
    cursor = connection.connection.cursor()
    try:
        cursor.execute(f"EXPLAIN {statement}", [None] * parameters)
    finally:
        cursor.close()


def _explain_sqlite(connection: Connection, statement: str, parameters: int) -> None:
    """A database that cannot be written to has nothing against the statement: it is asked for a write, taken back."""
    _explain(connection, statement, parameters)
    if not connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
        connection.exec_driver_sql("BEGIN")  # BEGIN IMMEDIATE succeeds where it cannot be written
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        connection.exec_driver_sql(f"PRAGMA user_version = {version}")


def _prepare(connection: Connection, statement: str, parameters: int) -> None:
    """MySQL's EXPLAIN leaves out much of what its PREPARE looks at."""
    del parameters
    cursor = connection.connection.cursor()
    try:
        cursor.execute("PREPARE headrace FROM %s", (with_places(statement, itertools.repeat("?")),))
        cursor.execute("DEALLOCATE PREPARE headrace")
    finally:
        cursor.close()


_ASK: Final[dict[str, Callable[[Connection, str, int], None]]] = {
    "sqlite+pysqlite": _explain_sqlite,
    "postgresql+psycopg": _explain,
    "mysql+pymysql": _prepare,
    "mariadb+pymysql": _prepare,
}
