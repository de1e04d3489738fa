"""``headrace eval``: one statement over one message, from the command line or as JSON lines; no service, no sinks.

The JSON-lines contract: one object a line in, ``{"id", "sql", "input"}``, one object a line out in the same order,
``{"id", "rows"}`` or ``{"id", "error": {"stage", "code", "message"}}``. Stages are ``parse`` (the line or the statement
is none), ``bind`` (it means nothing) and ``run``. Each answer leaves before the next line is read, and no line, however
bad, ends it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, BinaryIO

import msgspec

from core.errors import PayloadError
from core.message import Missing
from formats.json import decode_document, encode_document
from headrace.hosts import standalone_functions
from rules.evaluate import EvalError, evaluate


def evaluate_one(sql: str, columns: Mapping[str, Any], output: BinaryIO, *, drop_missing: bool) -> int:
    """Write the rows as JSON lines; 1 and the error on standard error where there are none for a reason."""
    try:
        rows = evaluate(sql, columns, standalone_functions(), received_ns=time.time_ns())
        output.writelines(encode_document(_without_missing(row) if drop_missing else row) + b"\n" for row in rows)
    except EvalError as error:
        text = "\n\n".join(map(str, error.diagnostics)) or f"{error.code}: {error}"
        sys.stderr.write(f"{text}\n")
        return 1
    except PayloadError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    output.flush()
    return 0


def evaluate_lines(lines: BinaryIO, output: BinaryIO, *, drop_missing: bool) -> int:
    """Answer every line of ``lines``; blank ones are lines too."""
    for line in lines:
        output.write(answer(line, drop_missing=drop_missing) + b"\n")
        output.flush()
    return 0


def answer(line: bytes, *, drop_missing: bool = False) -> bytes:
    """The answer to one line of input, without its line end."""
    try:
        request = decode_document(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _error(None, "parse", "bad-line", f"the line is not JSON: {error}")
    if not isinstance(request, dict):
        return _error(None, "parse", "bad-line", 'the line is not an object {"id": ..., "sql": ..., "input": {...}}')
    identity = request.get("id")
    sql, columns = request.get("sql"), request.get("input", {})
    if not isinstance(sql, str):
        return _error(identity, "parse", "bad-line", '"sql" is missing or not a text')
    if not isinstance(columns, dict):
        return _error(identity, "parse", "bad-line", '"input" is not an object')
    try:
        rows = evaluate(sql, columns, standalone_functions(), received_ns=time.time_ns())
        return encode_document({"id": identity, "rows": [_without_missing(r) for r in rows] if drop_missing else rows})
    except EvalError as error:
        return _error(identity, error.stage, error.code, str(error))
    except PayloadError as error:
        return _error(identity, "run", "json_encode_failed", str(error))
    except Exception as error:  # noqa: BLE001 - a defect must not cost the lines that follow
        return _error(identity, "run", "internal-error", f"{type(error).__name__}: {error}")


def _error(identity: Any, stage: str, code: str, message: str) -> bytes:
    return encode_document({"id": identity, "error": {"stage": stage, "code": code, "message": message}})


def _without_missing(value: Any) -> Any:
    """``value`` without the missing members of its objects; in arrays they keep their place as ``undefined``."""
    if isinstance(value, dict):
        return {key: _without_missing(item) for key, item in value.items() if not isinstance(item, Missing)}
    if isinstance(value, list):
        return [_without_missing(item) for item in value]
    return value
