"""What a driver's exception means for the rows: refused for good, or try again later.

Rule of thumb: what depends on the values is Rejected, what depends on anything else is Unavailable (Throttled where
fewer writes at a time would help), and what is unknown is Unavailable, because that loses nothing. Codes decide where
the classes of the DBAPI are too coarse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError

from connections.sql.errors import sentence
from core.errors import Rejected, SinkError, Throttled, Unavailable
from sinks.sql.encode import UNBINDABLE

# SQLSTATE classes: data exceptions, integrity, views with a CHECK OPTION, limits of the row (index row too large); a
# value of the wrong type, and what PL/pgSQL finds in a trigger (RAISE, ASSERT, STRICT).
# 21000: a key twice in one statement, which is none any more in a smaller one.
_POSTGRESQL_REJECTED: Final = ("21000", "22", "23", "44", "54", "42804", "42846", "P0")
# A policy that forbids a row has the code of a missing permission, which waits for a GRANT, and RAISE has whatever code
# its author likes. The function of the server that says so tells them apart; the text is in the server's language.
_POSTGRESQL_REFUSALS: Final = frozenset({"ExecWithCheckOptions", "exec_stmt_raise"})
# Errors about values that PyMySQL raises as OperationalError: no default, cut or wrong value, CHECK, bad JSON, SIGNAL,
# a row or a packet that is too large, a division by zero, a date that is none; a row outside of a view (1369) or of all
# partitions (1526); a subselect that finds several rows (1172, 1242).
_MYSQL_REJECTED: Final = frozenset(
    {1048, 1118, 1153, 1172, 1242, 1264, 1265, 1292, 1364, 1365, 1366, 1367, 1369, 1406, 1411, 1526, 1644, 1690}
    | {3140, 3819, 4025, 4078}
)
# SQLite's functions fail on a value with the code of a wrong statement.
_SQLITE_REJECTED: Final = ("malformed JSON", "JSON cannot hold", "integer overflow")
# Others are in the way: deadlock, serialization failure, no lock in time, too many connections, cancelled as too long.
_POSTGRESQL_THROTTLED: Final = frozenset({"40001", "40P01", "53300", "55P03", "57014"})
_MYSQL_THROTTLED: Final = frozenset({1040, 1203, 1205, 1213, 1226, 1969, 3024, 3572})


def _sqlite(error: Any) -> type[SinkError] | None:
    if str(error).startswith(_SQLITE_REJECTED):
        return Rejected
    # "Error binding parameter" and "type ... is not supported" carry no SQLite code.
    return Rejected if not hasattr(error, "sqlite_errorcode") and "bind" in str(error) else None


def _postgresql(error: Any) -> type[SinkError] | None:
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if not state:
        return Rejected if "cannot adapt" in str(error) else None
    if state in _POSTGRESQL_THROTTLED:
        return Throttled
    if getattr(getattr(error, "diag", None), "source_function", None) in _POSTGRESQL_REFUSALS:
        return Rejected
    return Rejected if state.startswith(_POSTGRESQL_REJECTED) else Unavailable


def _mysql(error: Any) -> type[SinkError] | None:
    code = error.args[0] if error.args else None
    if code in _MYSQL_THROTTLED:
        return Throttled
    # NaN and infinity are refused by PyMySQL itself, without a code.
    return Rejected if code in _MYSQL_REJECTED or "can not be used" in str(error) else None


_MEANING: Final[dict[str, Callable[[Any], type[SinkError] | None]]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "mysql": _mysql,
    "mariadb": _mysql,
}


def classify(error: Exception, dialect: Dialect, subject: str) -> SinkError:
    """``error`` as the SinkError to raise; ``subject`` (the table or database) begins its text."""
    if isinstance(error, SinkError):
        return error
    original: Any = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    text = f"{subject}: {sentence(original)}"
    dbapi = dialect.loaded_dbapi
    if isinstance(original, UNBINDABLE):
        return Rejected(text)
    if not isinstance(original, dbapi.Error):
        return Unavailable(f"{subject}: {type(original).__name__}: {original}")
    decide = _MEANING.get(dialect.name)
    meaning = decide(original) if decide else None
    if meaning is None:
        meaning = Rejected if isinstance(original, dbapi.DataError | dbapi.IntegrityError) else Unavailable
    return meaning(text)
