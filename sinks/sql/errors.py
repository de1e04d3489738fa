"""What a driver's exception means for the rows: refused for good, or try again later.

Rule of thumb: what depends on the values is Rejected, what depends on anything else is Unavailable, and what is
unknown is Unavailable, because that loses nothing. Codes decide where the classes of the DBAPI are too coarse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError

from core.errors import PayloadError, Rejected, SinkError, Unavailable

# SQLSTATE classes: data exceptions, integrity, limits of the row (index row too large); a value of the wrong type.
_POSTGRESQL_REJECTED: Final = ("22", "23", "54", "42804", "42846")
# Errors about values that PyMySQL raises as OperationalError: no default, cut or wrong value, CHECK, bad JSON.
_MYSQL_REJECTED: Final = frozenset({1048, 1264, 1265, 1292, 1364, 1366, 1367, 1406, 1690, 3140, 3819, 4025, 4078})
# Python's own refusals of a value, before any database sees it.
_UNBINDABLE: Final = (OverflowError, UnicodeError, PayloadError)


def _sqlite(error: Any) -> bool | None:
    # "Error binding parameter" and "type ... is not supported" carry no SQLite code.
    return True if not hasattr(error, "sqlite_errorcode") and "bind" in str(error) else None


def _postgresql(error: Any) -> bool | None:
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state.startswith(_POSTGRESQL_REJECTED) if state else "cannot adapt" in str(error) or None


def _mysql(error: Any) -> bool | None:
    # NaN and infinity are refused by PyMySQL itself, without a code.
    return True if error.args and error.args[0] in _MYSQL_REJECTED else "can not be used" in str(error) or None


_REJECTED: Final[dict[str, Callable[[Any], bool | None]]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "mysql": _mysql,
    "mariadb": _mysql,
}


def _sentence(error: BaseException) -> str:
    """The first line of the driver's message: the rest repeats the statement or the row."""
    arguments = error.args
    if len(arguments) == 2 and isinstance(arguments[0], int):  # PyMySQL: (code, message)
        return f"{arguments[1]} ({arguments[0]})"
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def classify(error: Exception, dialect: Dialect, subject: str) -> SinkError:
    """``error`` as the SinkError to raise; ``subject`` (the table or database) begins its text."""
    if isinstance(error, SinkError):
        return error
    original: Any = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    text = f"{subject}: {_sentence(original)}"
    dbapi = dialect.loaded_dbapi
    if isinstance(original, _UNBINDABLE):
        return Rejected(text)
    if not isinstance(original, dbapi.Error):
        return Unavailable(f"{subject}: {type(original).__name__}: {original}")
    decide = _REJECTED.get(dialect.name)
    rejected = decide(original) if decide else None
    if rejected is None:
        rejected = isinstance(original, dbapi.DataError | dbapi.IntegrityError)
    return Rejected(text) if rejected else Unavailable(text)
