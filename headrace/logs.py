"""How the process writes its log: one line an event to standard error, tracebacks only with ``--debug``.

``2026-11-23T10:00:00.123Z warning headrace.sinks: sink meter is unavailable ...``. Line breaks inside a message
are kept visible but indented, so that a line that begins with a date is always an event. Secrets never reach a
log call: they are :class:`core.settings.Secret` values, whose text is masked; a driver may quote a URL, and then its
password is masked here.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import TextIO

from core.settings import mask_urls
from headrace.settings import LogLevel


class LineFormatter(logging.Formatter):
    """``debug`` appends tracebacks; without it an exception is one clause of the line."""

    def __init__(self, *, debug: bool) -> None:
        super().__init__()
        self._debug = debug

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            text += f": {type(error).__name__}: {error}"
            if self._debug:
                text += "\n" + self.formatException(record.exc_info)
        text = mask_urls(text).replace("\n", "\n  ")
        return f"{stamp}.{int(record.msecs):03d}Z {record.levelname.lower()} {record.name}: {text}"


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what ``sys.stderr`` is now, and gives up quietly where nobody reads it any more."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        """Fixed: ``StreamHandler`` would otherwise remember an old one."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """A log that cannot be written must not stop the service, nor print a traceback."""


def configure(level: LogLevel, *, debug: bool = False) -> Callable[[], None]:
    """Send everything from ``level`` on to standard error; ``debug`` is level debug with tracebacks.

    The returned function takes the handler away again.
    """
    handler = _StderrHandler()
    handler.setFormatter(LineFormatter(debug=debug))
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if debug else level.upper())
    # Libraries below us speak up only about what matters to an operator.
    for name in ("asyncio", "sqlalchemy", "uvicorn", "sqlglot"):
        logging.getLogger(name).setLevel(logging.DEBUG if debug and name != "sqlalchemy" else logging.WARNING)

    def restore() -> None:
        root.removeHandler(handler)
        root.setLevel(before)

    return restore
