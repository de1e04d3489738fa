"""How far do eKuiper's streams and windows mean the same here? Its golden cases with streams, through the engine.

    python benchmarks/ekuiper_streams.py FILE [--failures] [--json FILE]

A case's streams become declared sources and its query a rule (``ekuiper_sql``); its rows arrive as messages at their
times, and what time makes due is told before. A window that is open at the end gives nothing, as in eKuiper. Compared
are all rows in their order; null and missing count as one, instants are milliseconds, emissions without rows are left
out. Each difference stands in ``ekuiper_streams_known.toml`` with its reason. The exit status is 1 for a difference
that does not, and for one that is none any more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ekuiper_cases import Case, Known, Outcome, alike, command, plain
from ekuiper_sql import StreamTranslator, Untranslatable, create_source
from golden_cases import read_cases

from core.errors import RuleError
from core.message import Batch, Message, Type
from core.metrics import Metrics
from rules.compiler import RuleSource, compile_rules
from rules.functions import builtin_functions
from rules.runtime import Engine

KNOWN: Final = Path(__file__).with_name("ekuiper_streams_known.toml")
_FILE: Final = "case.sql"


def rule_file(case: Case, known: Known) -> str:
    """The case as a file of rules."""
    given = case["input"]
    declared = []
    for stream in given["streams"].values():
        rows = [arrival["row"] for arrival in stream.get("arrivals", ())]
        declared.append(create_source(stream["ddl"], rows, given["options"].get("lateTolerance_ms", 0)))
    sql = case["sql"].strip().rstrip(";")
    query = StreamTranslator(sql, known.functions, topics=not any(declared)).translate()
    return "\n".join([*filter(None, declared), f"INSERT INTO found {query};"])


def arrivals(case: Case) -> list[tuple[int, str, dict[str, Any]]]:
    """All rows as (milliseconds, stream, row), in the order in which they come."""
    streams = case["input"]["streams"]
    found = [(one["t"], name, one["row"]) for name, stream in streams.items() for one in stream["arrivals"]]
    return sorted(found, key=lambda arrival: arrival[0])


def play(text: str, rows: Sequence[tuple[int, str, dict[str, Any]]]) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows that a file of rules gives, and the failures of its rules."""
    failures: list[str] = []
    engine = Engine(Metrics(), on_error=lambda *reported: failures.append(str(reported[-1])))
    engine.load(compile_rules([RuleSource(_FILE, text)], ["found"], builtin_functions()))
    found: list[dict[str, Any]] = []
    for milliseconds, name, row in rows:
        now = milliseconds * 1_000_000
        while (due := engine.next_deadline) is not None and due <= now:
            found += told(engine.advance(max(due, 1)))
        message = Message(name, json.dumps(row).encode(), received_ns=now)
        found += told(engine.process([message], now))
    return found, failures


def told(batches: Sequence[Batch]) -> list[dict[str, Any]]:
    """Rows as maps; instants as eKuiper's milliseconds."""
    return [
        {
            name: value // 1_000 if kind is Type.TIMESTAMP and type(value) is int else value
            for name, kind, value in zip(batch.schema.names, batch.schema.types, row, strict=True)
        }
        for batch in batches
        for row in batch.rows
    ]


def category(case: Case) -> str:
    sql = case["sql"].lower()
    if "join" in sql:
        return "joins"
    return "windows" if "window(" in sql.replace(" (", "(") else "rows"


def run(case: Case, known: Known) -> Outcome:
    text = case["sql"].lower().replace(" (", "(")
    absent = [f"{name}: {reason}" for name, reason in known.absent.items() if f"{name}(" in text]
    outcome = compared(case, known)
    return Outcome("absent", absent[0]) if absent and outcome.status != "passed" else outcome


def compared(case: Case, known: Known) -> Outcome:
    try:
        rules = rule_file(case, known)
    except Untranslatable as error:
        return Outcome("left out", f"no counterpart: {error}")
    wanted = [row for emission in case["expected"] for row in emission]
    try:
        found, failures = play(rules, arrivals(case))
    except RuleError as error:
        return Outcome("differs", f"{rules}\n    {str(error)[:300]}")
    errors = sum("error" in row for row in wanted)
    wanted = [plain(row) for row in wanted if "error" not in row]
    found = [plain(row) for row in found]
    told_of = len(failures) if case["input"]["options"].get("sendError") else 0
    good = alike(wanted, found) and errors == told_of
    return Outcome("passed" if good else "differs", f"{rules}\n    found {found}, {failures}\n    not   {wanted}")


def main() -> int:
    return command(
        __doc__,
        lambda file: [c for c in read_cases(file, ("id", "input", "expected")) if "streams" in c["input"]],
        KNOWN,
        run_case=run,
        category_of=category,
        left_out="left out",
    )


if __name__ == "__main__":
    raise SystemExit(main())
