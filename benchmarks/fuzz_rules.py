"""Does any text get past the rule compiler? Rows or an error with a place, nothing else, in a bounded time.

    python benchmarks/fuzz_rules.py [--inputs 1000000] [--seed 1] [--cases FILE] [--limit SECONDS] [--json FILE]

Seven of ten inputs are good statements (the fixtures of the tests, the examples of the functions, and the golden cases
of ``--cases``) with a few changes, two are tokens in any order, one is bytes. Each is evaluated over one of a few
messages as `headrace eval` does it, and compiled as a rule file. What counts as broken: an exception that is none of
the two errors, an error without a place, a failure at run time that generated code must never meet (``failed``), Python
refusing the generated source, or more than ``--limit`` seconds of CPU time for one input. Every broken input is
printed; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import faulthandler
import itertools
import json
import random
import resource
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mutations import Mutator, material
from sqlglot import exp

from core.errors import PayloadError, RuleError
from formats.json import encode_document
from rules.compiler import RuleSource, compile_rules
from rules.diagnostics import Problems, Source
from rules.evaluate import EvalError, evaluate
from rules.functions import builtin_functions
from rules.nodes import Foreach
from rules.statements import parse

ROOT: Final = Path(__file__).resolve().parent.parent
MESSAGES: Final[tuple[dict[str, Any], ...]] = (
    {
        "topic": "t/1",
        "payload": '{"a": 1, "b": {"c": [1, 2.5, "x"]}, "n": null, "on": true}',
        "qos": 1,
        "clientid": "c",
    },
    {"topic": "t", "payload": "[1, [2], {}]", "qos": 0, "timestamp": 1767225600000},
    {"topic": "", "payload": b"\xff\x00", "flags": {"retain": True}, "user_properties": {}},
    {"topic": "a/\u00e9", "payload": {"a": "text", "b": -0.0, "l": [{"x": 1}, {"x": "2"}]}},
)
_DECLARED: Final = """
CREATE SOURCE meter (station TEXT, connector INT, power DOUBLE NOT NULL, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '10 seconds') WITH (topic = 'cp/{station}/{connector}/meter');
CREATE SOURCE alarm (station TEXT, text TEXT, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts) WITH (topic = 'a/+');
CREATE TABLE stations (id TEXT, name TEXT) WITH (type = 'lookup', file = 'stations.csv', key = 'id');
"""
"""What stands before the inputs that are compiled as rules, so that some of them find what they read."""
_QUERIES: Final = """
SELECT station, count(*) AS n, avg(DISTINCT power) AS p, max(power) FILTER (WHERE connector > 1) AS m
FROM TUMBLE(meter, ts, INTERVAL '1 minute') AS w WHERE power > 0 GROUP BY station, window_start
HAVING count(*) > 1 ORDER BY n DESC NULLS LAST LIMIT 3;
SELECT w.station, array_agg(power ORDER BY ts DESC, power)[1] AS p, window_end
FROM HOP(meter, ts, INTERVAL '1 minute', INTERVAL '1 hour', 'Europe/Berlin') w GROUP BY w.station, window_end;
SELECT station, sum(power) AS p FROM meter GROUP BY station, SLIDINGWINDOW(mi, 5) OVER (WHEN power > 1);
SELECT count(*) AS n FROM meter GROUP BY COUNTWINDOW(10, 5) FILTER (WHERE power > 1), connector;
SELECT m.station, s.name AS name FROM meter AS m LEFT JOIN stations AS s ON s.id = m.station AND m.power > 1;
SELECT m.station, a.text FROM meter m JOIN alarm a ON a.station = m.station
AND a.ts BETWEEN m.ts - INTERVAL '5 seconds' AND m.ts + INTERVAL '5 seconds' WHERE m.power > 1
"""
_WINDOWED: Final = frozenset(_QUERIES.split(";\n"))
_ENOUGH: Final = 10
"""Seconds of CPU time after which an input is broken off; what cannot be (C code) ends the program after so many times
this, with a traceback and the input in the last line."""
_HOPELESS: Final = 30


def statements(cases: Path | None) -> Iterator[str]:
    """Good statements, and some bad ones: the fixtures of the tests among them."""
    for path in sorted((ROOT / "tests/rules/fixtures").rglob("*.sql")):
        for statement in path.read_text("utf-8").split(";\n"):
            yield statement
            yield statement[statement.upper().find("SELECT") :]
    yield from _DECLARED.split(";\n")
    yield from _QUERIES.split(";\n")
    for function in builtin_functions().values():
        for call, _result in function.examples:
            yield f"SELECT {call} AS x FROM t"  # noqa: S608 - our own examples
    if cases is not None:
        for line in cases.read_text("utf-8").splitlines():
            yield json.loads(line)["sql"]


class Broken(Exception):
    """What must not happen has happened."""


class Overrun(BaseException):
    """An input took too long; no handler of exceptions may keep this."""


def overrun(*_: object) -> None:
    raise Overrun


def need(truth: bool, what: str) -> None:
    if not truth:
        raise Broken(what)


def evaluated(sql: str, columns: dict[str, Any]) -> str:
    """How it ended."""
    try:
        rows = evaluate(sql, columns)
    except EvalError as error:
        if error.stage == "run":
            need(error.reason != "failed", str(error))
            return "error at run time"
        need(bool(error.diagnostics), "an error without a place")
        need("this statement is too complex" not in str(error), str(error))
        return "error before"
    need(all(type(row) is dict for row in rows), "rows that are none")
    try:
        encode_document(rows)
    except PayloadError:
        return "rows that JSON does not take"
    return "rows" if rows else "no rows"


def compiled(sql: str) -> str:
    """The same as a rule file."""
    try:
        compile_rules([RuleSource("fuzz.sql", sql)], ["a"])
    except RuleError as error:
        need(bool(error.diagnostics and str(error)), "an error without a place")
        return "a file refused"
    return "a file of rules"


def meant(statement: str) -> bool:
    """Is this a statement that gives rows or fails at run time, or a declaration, or a query with a window?"""
    problems = Problems(Source("fuzz.sql", statement))
    trees = [found.tree for found in parse(problems)]
    if trees and not problems.found and not isinstance(trees[0], exp.Select | exp.Insert | Foreach):
        return True
    try:
        return statement in _WINDOWED or evaluated(statement, MESSAGES[0]) != "error before"
    except Broken:
        return True


def run(inputs: int, mutator: Mutator, limit: float) -> dict[str, Any]:
    """Feed so many inputs; what came of them."""
    kinds = itertools.cycle([mutator.mutated] * 7 + [mutator.soup] * 2 + [mutator.noise])
    found: Counter[str] = Counter()
    broken: list[dict[str, Any]] = []
    slowest: list[tuple[float, str]] = []
    began = time.monotonic()
    for number, make in zip(range(inputs), kinds, strict=False):
        sql = make()
        faulthandler.dump_traceback_later(_ENOUGH * _HOPELESS, exit=True)
        signal.setitimer(signal.ITIMER_VIRTUAL, _ENOUGH)
        start = time.process_time()
        try:
            ended = f"{make.__name__}: {evaluated(sql, MESSAGES[number % len(MESSAGES)])}"
            found[compiled(f"{_DECLARED}INSERT INTO a {sql}" if number % 2 else sql)] += 1
        except (Exception, Overrun) as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            ended = "broken"
            broken.append(
                {"sql": sql, "message": str(number % len(MESSAGES)), "error": f"{type(error).__name__}: {error}"}
            )
            print(f"broken: {sql!r}\n    {broken[-1]['error'][:500]}", flush=True)
        took = time.process_time() - start
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        faulthandler.cancel_dump_traceback_later()
        found[ended] += 1
        if took > limit:
            broken.append({"sql": sql, "message": number % len(MESSAGES), "error": f"took {took:.2f} s"})
            print(f"slow: {sql!r}\n    {took:.2f} s", flush=True)
        slowest = sorted([*slowest, (took, sql)], reverse=True)[:5] if not slowest or took > slowest[-1][0] else slowest
        if (number + 1) % 50_000 == 0:
            print(f"{number + 1:>9,} inputs, {len(broken)} broken, slowest {slowest[0][0]:.2f} s", flush=True)
    return {
        "inputs": inputs,
        "seconds": round(time.monotonic() - began, 1),
        "ended": dict(sorted(found.items())),
        "broken": broken,
        "slowest": [{"milliseconds": round(took * 1e3, 1), "sql": sql} for took, sql in slowest],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=Path, metavar="FILE", help="golden cases whose statements are mutated too")
    parser.add_argument("--limit", type=float, default=2.0, help="seconds that one input may take")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what came of it there")
    options = parser.parse_args()
    signal.signal(signal.SIGVTALRM, overrun)
    good = [text for text in dict.fromkeys(statements(options.cases)) if meant(text)]
    mutator = Mutator(material(good, builtin_functions().names()), random.Random(options.seed))
    result = run(options.inputs, mutator, options.limit)
    result["statements"] = len(good)
    for ended, count in result["ended"].items():
        print(f"{count:>9,}  {ended}")
    slowest = result["slowest"][0]
    print(f"{result['inputs']:,} inputs in {result['seconds']} s, {len(result['broken'])} broken,")
    print(f"slowest {slowest['milliseconds']} ms: {slowest['sql'][:120]!r}; peak {result['peak_mib']} MiB")
    if options.json is not None:
        options.json.write_text(json.dumps({"seed": options.seed, **result}, indent=1) + "\n", "utf-8")
    return 1 if result["broken"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
