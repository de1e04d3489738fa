"""How far do the scalar parts of eKuiper's SQL mean the same here? Golden cases of eKuiper, without streams.

    python benchmarks/ekuiper_cases.py FILE [--failures] [--json FILE]

Cases of functions with arguments, of expressions over one row, and of SELECT and WHERE over one row are translated
(``ekuiper_sql``) and run through ``rules.evaluate``; null and missing count as one, integers and floats by value.
Where EMQX's semantics differ, EMQX's win: each difference stands in ``ekuiper_known.toml`` with its reason, and so does
each function that we lack. The exit status is 1 for a difference that does not, and for one that is none any more.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from ekuiper_sql import Translator, Untranslatable, call
from golden_cases import read_cases

from core.errors import PayloadError
from core.instants import rfc3339
from core.message import Missing
from formats.json import encode_document
from rules.evaluate import EvalError, evaluate

# ruff: noqa: S608 - SQL from strings is what is made here

KNOWN: Final = Path(__file__).with_name("ekuiper_known.toml")
Case = dict[str, Any]


class Known(NamedTuple):
    """The data file: our forms of eKuiper's functions, functions that are left out, cases that differ."""

    functions: Mapping[str, str]
    absent: Mapping[str, str]
    differences: Mapping[str, str]


class Outcome(NamedTuple):
    """``status`` is passed, differs, absent (the function is) or left out; ``detail`` says why."""

    status: str
    detail: str


def read_known(path: Path) -> Known:
    data = tomllib.loads(path.read_text("utf-8"))
    absent = {name: group["reason"] for group in data["absent"] for name in group["functions"]}
    differences = {identity: group["reason"] for group in data["difference"] for identity in group["ids"]}
    return Known(data["functions"], absent, differences)


def category(case: Case) -> str:
    """Where in eKuiper's tests a case comes from."""
    source = str(case.get("source", "")).rsplit("/", 1)[-1].split(":")[0]
    if "row" in case["input"]:
        return f"expressions: {str(case.get('note')).partition('(')[2].rstrip(')')}"
    stage = case["input"].get("stage", "")
    if stage:
        return f"{stage.partition(' ')[0]} over one row"
    return f"functions: {source.removeprefix('funcs_').removesuffix('_test.go')}"


def left_out(case: Case) -> str:
    """Why a case is none of a scalar over one row; empty where it is."""
    given = case["input"]
    if "sequence" in given or isinstance(given.get("data"), list):
        return "state: analytic and accumulating functions"
    if "streams" in given:
        return "streams and windows"
    if str(case.get("source", "")).find("funcs_agg") >= 0:
        return "aggregates: what is asked here is one message"
    stage = given.get("stage", "")
    if stage and not stage.startswith(("SELECT", "WHERE")):
        return f"{stage.split(' only')[0]}: what is asked here is one message"
    if stage and "row" not in given["data"]:
        return "several rows: what is asked here is one message"
    if stage and "meta" in given["data"]:
        return "meta(): a message's properties are columns here"
    return ""


def absent_function(case: Case, known: Known) -> str:
    text = str(case.get("sql") or case.get("expr")).lower()
    for name, reason in known.absent.items():
        if case["input"].get("function") == name or f"{name}(" in text.replace(" (", "("):
            return f"{name}: {reason}"
    return ""


def translated(case: Case, known: Known) -> tuple[str, Any]:
    """The statement and the payload."""
    given = case["input"]
    if "args" in given:
        names = [f"payload.a{number}" for number in range(len(given["args"]))]
        if given["function"] == "cast":
            names[1] = f"'{given['args'][1]}'"
        text = call(given["function"], names, known.functions)
        if any(isinstance(value, dict) and "$bytes_of" in value for value in given["args"]):
            raise Untranslatable("a value of bytes as an argument")
        return f'SELECT {text} AS r FROM "t"', {f"a{number}": value for number, value in enumerate(given["args"])}
    if "row" in given:
        return f'SELECT {Translator(case["expr"], known.functions).translate()} AS r FROM "t"', given["row"]
    return Translator(case["sql"], known.functions).translate(), given["data"]["row"]


def plain(value: Any) -> Any:
    """Without null and missing members, which eKuiper does not tell apart."""
    if isinstance(value, Missing):
        return None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if item is not None and not isinstance(item, Missing)}
    return [plain(item) for item in value] if isinstance(value, list) else value


def meant(expected: Any) -> Any:
    """What a case expects, in our forms of times, spans and bytes."""
    if isinstance(expected, dict):
        if "$datetime_ms" in expected:
            return rfc3339(int(expected["$datetime_ms"] * 1000))
        if "$duration_ns" in expected:
            return expected["$duration_ns"]
        if "$bytes_of" in expected:
            return expected["$bytes_of"].encode()
        return {key: meant(value) for key, value in expected.items()}
    return [meant(value) for value in expected] if isinstance(expected, list) else expected


def alike(expected: Any, actual: Any) -> bool:
    if isinstance(expected, dict) and isinstance(actual, dict):
        return expected.keys() == actual.keys() and all(alike(item, actual[key]) for key, item in expected.items())
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(alike, expected, actual))
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, int | float) and isinstance(actual, int | float):
        return abs(expected - actual) <= 1e-9 * max(1, abs(expected))
    return bool(expected == actual)


def run(case: Case, known: Known) -> Outcome:
    reason = left_out(case)
    if reason:
        return Outcome("left out", reason)
    absent = absent_function(case, known)
    if absent:
        return Outcome("absent", absent)
    try:
        sql, payload = translated(case, known)
    except Untranslatable as error:
        return Outcome("left out", f"no counterpart: {error}")
    expected = case["expected"]
    try:
        rows = [plain(row) for row in evaluate(sql, {"payload": payload, "topic": "t"})]
        encode_document(rows)
    except (EvalError, PayloadError) as error:
        unknown = isinstance(error, EvalError) and error.code == "unknown-function"
        failed = isinstance(expected, dict) and "$error" in expected and not unknown
        return Outcome("passed" if failed else "differs", f"{sql}: {str(error)[:160]!r}, not {expected!r}")
    wanted, found = plain(meant(expected)), rows
    if str(case["input"].get("stage", "")).startswith("WHERE"):
        good = (expected is not None and "$error" not in expected) is bool(rows)
    else:
        found = rows if "sql" in case else rows[0].get("r") if rows else None
        good = alike(wanted, found)
    return Outcome("passed" if good else "differs", f"{sql}: {found!r}, not {wanted!r}")


def listed(title: str, counts: Counter[str]) -> None:
    print(f"\n{title}: {counts.total()}")
    for reason, count in sorted(counts.items()):
        print(f"  {count:4}  {reason}")


def report(
    cases: Sequence[Case],
    known: Known,
    run_case: Callable[[Case, Known], Outcome],
    category_of: Callable[[Case], str],
    *,
    left_out: str,
    verbose: bool,
) -> tuple[dict[str, Any], bool]:
    """Print the table and the differences; the figures, and whether all is as the data file says."""
    rates: dict[str, Counter[str]] = defaultdict(Counter)
    details: dict[str, Counter[str]] = defaultdict(Counter)
    differing: dict[str, str] = {}
    for case in cases:
        status, detail = run_case(case, known)
        if status != "left out":
            rates[category_of(case)][status] += 1
        if status == "differs":
            differing[case["id"]] = detail
            detail = known.differences.get(case["id"], "NEW")
        details[status][detail] += 1
    total = sum(rates.values(), Counter[str]())
    for name, counts in [*sorted(rates.items()), ("all", total)]:
        print(f"{name:32} {counts['passed']:4} of {counts.total():4}  {100 * counts['passed'] / counts.total():5.1f} %")
    listed(left_out, details["left out"])
    listed("functions that there are not", details["absent"])
    listed("differences", details["differs"])
    for identity, detail in differing.items():
        if verbose or identity not in known.differences:
            print(f"{identity}  {detail}")
    stale = sorted(known.differences.keys() & {case["id"] for case in cases} - differing.keys())
    if stale:
        print(f"no differences any more: {' '.join(stale)}")
    figures = {
        "passed": total["passed"],
        "cases": total.total(),
        "by_category": {name: [counts["passed"], counts.total()] for name, counts in sorted(rates.items())},
        **{status: dict(sorted(details[status].items())) for status in ("left out", "absent", "differs")},
    }
    return figures, not stale and "NEW" not in details["differs"]


def command(description: str | None, choose: Callable[[Path], list[Case]], known: Path, **said: Any) -> int:
    """The program over the cases that ``choose`` takes from its file; ``said`` is what :func:`report` needs."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--failures", action="store_true", help="print every difference")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    figures, good = report(choose(options.file), read_known(known), **said, verbose=options.failures)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return 0 if good else 1


def main() -> int:
    return command(
        __doc__,
        lambda file: read_cases(file, ("id", "kind", "input", "expected")),
        KNOWN,
        run_case=run,
        category_of=category,
        left_out="left out, none of a scalar over one row",
    )


if __name__ == "__main__":
    raise SystemExit(main())
