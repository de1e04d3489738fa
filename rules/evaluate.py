"""One statement over one message, for ``headrace eval`` and tests: the same passes and the same code as in service.

The message's columns are given, not derived. An unknown name is missing, as in EMQX, and what is certain to fail fails
when it runs: here a query is an experiment, not a rule file to be guarded against typos.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from sqlglot import exp

from core.errors import HeadraceError, PayloadError
from core.instants import rfc3339
from core.message import MISSING, Batch, Message, Publisher, Row, Schema, Type
from core.metrics import Metrics
from rules.bind import Binder
from rules.columns import Columns, given_columns
from rules.compiler import CompiledRule
from rules.diagnostics import Diagnostic, Problems, Source, Span
from rules.functions import FunctionTable, hostless_functions
from rules.loaded import Hooks, LoadedRule, RuleFailure
from rules.nodes import Foreach, WindowTable, span_of
from rules.options import RuleOptions
from rules.parts import compile_part
from rules.scope import PAYLOAD
from rules.split_analytics import analytics_of
from rules.statements import parse

_NAME = "eval"
_MANY = "headrace test runs rules over many messages and moves the time"


class EvalError(HeadraceError):
    """Why a statement gave no rows: it is none (``parse``), means nothing (``bind``) or failed (``run``).

    ``code`` is a diagnostic code, or at run time EMQX's error class; ``reason`` then is the code of the failure.
    The text is that of ``diagnostics``, without their links to the documentation.
    """

    def __init__(
        self,
        stage: Literal["parse", "bind", "run"],
        code: str,
        message: str,
        *,
        reason: str = "",
        diagnostics: tuple[Diagnostic, ...] = (),
    ) -> None:
        super().__init__(message)
        self.stage = stage
        self.code = code
        self.reason = reason
        self.diagnostics = diagnostics


def evaluate(
    sql: str, columns: Mapping[str, Any], functions: FunctionTable | None = None, *, received_ns: int = 0
) -> list[dict[str, Any]]:
    """The rows that one SELECT or FOREACH gives for a message with these columns; EvalError says why it does not.

    ``columns["payload"]`` as str or bytes is the raw payload, as anything else it is already decoded. A value of a row
    may be MISSING, and texts that are no UTF-8 are bytes. The message came in at ``columns["timestamp"]``, in
    milliseconds, or at ``received_ns`` where there is no such column.
    """
    rule = _compile(sql, tuple(columns), hostless_functions() if functions is None else functions)
    payload = columns.get(PAYLOAD, b"")
    timestamp = columns.get("timestamp")
    message = Message(
        topic=str(columns.get("topic", "")),
        payload=b"",
        columns=columns,
        publisher=Publisher(""),
        received_ns=timestamp * 1_000_000 if type(timestamp) is int else received_ns,
    )
    if isinstance(payload, bytes):
        message.payload = payload
    elif isinstance(payload, str):
        message.payload = payload.encode(errors="surrogatepass")
    else:
        message.document = payload
    failures: list[Exception] = []
    hooks = Hooks(on_error=lambda _rule, _message, error: failures.append(error))
    batches: list[Batch] = []
    LoadedRule(rule, 0, _NAME, Metrics(), hooks).process([message], 0, batches)
    if failures:
        failure = failures[0]
        if not isinstance(failure, RuleFailure):
            raise failure
        raise EvalError("run", failure.stage, f"{failure.code}: {failure}", reason=failure.code)
    return [_readable(batch.schema, row) for batch in batches for row in batch.rows]


def _readable(schema: Schema, row: Row) -> dict[str, Any]:
    """A row as its texts have it: instants in RFC 3339."""
    try:
        return {
            name: rfc3339(value) if kind is Type.TIMESTAMP and type(value) is int else value
            for name, kind, value in zip(schema.names, schema.types, row, strict=True)
        }
    except PayloadError as error:
        raise EvalError("run", "output", f"out_of_range: {error}", reason="out_of_range") from None


@lru_cache(maxsize=256)
def _compile(sql: str, names: tuple[str, ...], functions: FunctionTable) -> CompiledRule:
    problems = Problems(Source("<eval>", sql))
    statements = parse(problems)
    if not statements and not problems.found:
        problems.add("syntax", "there is no statement", Span(0, len(sql)))
    _raise(problems)
    if len(statements) > 1:
        problems.add("syntax", "one statement at a time", statements[1].span)
        _raise(problems)
    tree = statements[0].tree
    if not isinstance(tree, Foreach) and tree.key != "select":
        problems.add("unsupported", "eval runs a SELECT or FOREACH, without INSERT INTO", span_of(tree))
        _raise(problems)
    source: Columns = given_columns(names)
    try:
        _refuse_many(tree, problems)
        query = Binder(source, functions, problems).query(tree)
        several = [query.grouping, *analytics_of(query)]
        for found in several:
            if found is not None:
                what = "a window takes" if found is query.grouping else "an analytic function looks at"
                problems.add("unsupported", f"eval gives one message, and {what} many", found.span, hint=_MANY)
                break
        _raise(problems)
        part = compile_part(_NAME, ("",), query, problems)
        assert part is not None  # noqa: S101  only windows can be wrong now
        return CompiledRule(
            name=_NAME,
            targets=("",),
            options=RuleOptions(),
            path="<eval>",
            line=1,
            sql=sql,
            parts=(part,),
        )
    except (RecursionError, MemoryError, SyntaxError):
        problems.add("too-complex", "this statement is too complex", statements[0].span)
    _raise(problems)
    raise AssertionError("unreachable: _raise has just raised")


def _refuse_many(tree: exp.Expr, problems: Problems) -> None:
    """Windows and joins in FROM, whose sources nothing here declares."""
    for window in tree.find_all(WindowTable):
        problems.add("unsupported", "eval gives one message, and a window takes many", span_of(window), hint=_MANY)
    for join in tree.args.get("joins") or ():
        if join.args.get("on") is not None:
            problems.add("unsupported", "eval gives one message, and a join takes several", span_of(join), hint=_MANY)
    _raise(problems)


def _raise(problems: Problems) -> None:
    if problems.found:
        first = problems.found[0]
        text = "\n\n".join(found.render(docs=False) for found in problems.found)
        raise EvalError(first.stage, first.code, text, diagnostics=tuple(problems.found))


__all__ = ["MISSING", "EvalError", "evaluate"]
