"""What a driver's exception says, in one line for people; what it means for rows is for the sink to decide."""

from __future__ import annotations

from typing import Any, Final

_MAX_DETAIL: Final = 200
# "Failing row contains (...)": the whole row, which whoever has the error has already.
_ROW_IN_DETAIL: Final = frozenset({"23502", "23514"})


def sentence(error: BaseException) -> str:
    """The first line, since the others repeat the statement, and PostgreSQL's DETAIL, which says what the value was."""
    arguments = error.args
    if len(arguments) == 2 and isinstance(arguments[0], int):  # PyMySQL: (code, message)
        return f"{arguments[1]} ({arguments[0]})"
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    known: Any = getattr(error, "diag", None)  # psycopg's
    detail = getattr(known, "message_detail", None)
    if not detail or getattr(known, "sqlstate", None) in _ROW_IN_DETAIL:
        return text
    detail = " ".join(str(detail).split())
    return f"{text} ({detail if len(detail) <= _MAX_DETAIL else detail[:_MAX_DETAIL] + '…'})"
