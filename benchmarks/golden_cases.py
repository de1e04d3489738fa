"""Run golden cases through ``headrace eval --jsonl``: the pass rate by kind, and every failure with its reason.

    python benchmarks/golden_cases.py FILE [--in-process] [--failures] [--minimum PERCENT] [--known FILE]

Failures that are meant stand in ``golden_known.toml`` with a reason each. The exit status is 1 where another case
fails, where one of the list passes (so that the list stays true) and where fewer than ``--minimum`` percent pass.

Case format: one JSON object a line with ``sql``, ``input``, ``expected``, ``match`` (exact | subset), ``kind``, ``id``
and perhaps ``tolerance`` and ``version``. Markers in ``expected``: ``{"$undefined": true}``, ``{"$error": class}``
(``nomatch`` is no row), ``{"$parse": "ok" | "error"}``, ``{"$any_key": value}`` and ``{"$any": true}``.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Case = dict[str, Any]
Answer = dict[str, Any]
UNDEFINED = "undefined"
KNOWN = Path(__file__).with_name("golden_known.toml")


def same(expected: Any, actual: Any, *, subset: bool, tolerance: float) -> bool:
    """Does ``actual`` agree with ``expected`` under the matching rules of the format?"""
    if isinstance(expected, dict):
        if "$any" in expected:
            return True
        if "$undefined" in expected:
            return actual == UNDEFINED
        return isinstance(actual, dict) and _same_object(expected, actual, subset=subset, tolerance=tolerance)
    if isinstance(expected, list):
        return (
            isinstance(actual, list)
            and len(expected) == len(actual)
            and all(
                same(one, two, subset=subset, tolerance=tolerance) for one, two in zip(expected, actual, strict=True)
            )
        )
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, int | float) and isinstance(actual, int | float):
        return expected == actual or (tolerance > 0 and math.isclose(expected, actual, rel_tol=0, abs_tol=tolerance))
    return bool(expected == actual)


def _same_object(expected: dict[str, Any], actual: dict[str, Any], *, subset: bool, tolerance: float) -> bool:
    left = dict(actual)
    for key, value in expected.items():
        if key == "$any_key":
            hit = next((name for name in left if same(value, left[name], subset=subset, tolerance=tolerance)), None)
        else:
            hit = key if key in left else None
            if hit is not None and not same(value, left[key], subset=subset, tolerance=tolerance):
                return False
        if hit is None:
            return False
        del left[hit]
    return subset or not left


def passes(case: Case, answer: Answer) -> bool:
    """Is ``answer``, one line of ``eval --jsonl``, what the case expects?"""
    expected, error = case["expected"], answer.get("error")
    if isinstance(expected, dict) and "$parse" in expected:
        failed_to_parse = error is not None and error["stage"] == "parse"
        return failed_to_parse == (expected["$parse"] == "error")
    if isinstance(expected, dict) and "$error" in expected:
        if expected["$error"] == "nomatch":
            return answer.get("rows") == []
        if error is None:
            return False
        # A function that does not exist is refused before any message has come.
        return error["stage"] == "bind" or error["code"] in (expected["$error"], expected.get("reason"))
    if error is not None:
        return False
    rows = answer["rows"]
    wanted = expected if isinstance(expected, list) else [expected]
    tolerance = float(case.get("tolerance") or 0)
    return same(wanted, rows, subset=case.get("match") == "subset", tolerance=tolerance)


def through_command(cases: Sequence[Case]) -> list[Answer]:
    """The answers of the installed command beside this interpreter."""
    command = Path(sys.executable).parent / "headrace"
    lines = "".join(json.dumps({"id": c["id"], "sql": c["sql"], "input": c["input"]}) + "\n" for c in cases)
    result = subprocess.run(
        [str(command), "eval", "--jsonl"], input=lines.encode(), stdout=subprocess.PIPE, check=False
    )
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    if len(answers) != len(cases):
        raise SystemExit(f"headrace eval gave {len(answers)} answers to {len(cases)} lines")
    return answers


def in_process(cases: Sequence[Case]) -> list[Answer]:
    """The same without the command line around it."""
    from formats.json import encode_document
    from rules.evaluate import EvalError, evaluate

    answers: list[Answer] = []
    for case in cases:
        try:
            rows = [json.loads(encode_document(row)) for row in evaluate(case["sql"], case["input"])]
            answers.append({"rows": rows})
        except EvalError as error:
            answers.append({"error": {"stage": error.stage, "code": error.code, "message": str(error)}})
    return answers


def read_cases(path: Path, wanted: Sequence[str] = ("id", "kind", "sql", "input", "expected")) -> list[Case]:
    """The cases of a file; SystemExit with a sentence where there are none to read."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise SystemExit(
            f"no golden cases: {path}: {error.strerror}. Name a file of cases: make golden CASES=path/to/cases.jsonl"
        ) from None
    return [_case(path, number, line, wanted) for number, line in enumerate(lines, 1) if line.strip()]


def _case(path: Path, number: int, line: str, wanted: Sequence[str]) -> Case:
    try:
        case = json.loads(line)
    except ValueError as error:
        raise SystemExit(f"{path}:{number}: this line is not JSON: {error}") from None
    if not isinstance(case, dict) or (missing := [key for key in wanted if key not in case]):
        what = ", ".join(missing) if isinstance(case, dict) else "an object"
        raise SystemExit(f"{path}:{number}: this line is no case: it lacks {what}")
    return case


def read_known(path: Path) -> dict[str, str]:
    """The reason of each failure that is meant, by the id of its case."""
    groups = tomllib.loads(path.read_text("utf-8"))["known"]
    return {identity: group["reason"] for group in groups for identity in group["ids"]}


def report(
    cases: Sequence[Case], answers: Sequence[Answer], known: Mapping[str, str], *, verbose: bool
) -> float | None:
    """Print the rates and the failures; the pass rate in percent, None where the list of known failures is not true."""
    total: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    failing: dict[str, tuple[Case, Answer]] = {}
    for case, answer in zip(cases, answers, strict=True):
        total[case["kind"]] += 1
        if passes(case, answer):
            passed[case["kind"]] += 1
        else:
            failing[case["id"]] = case, answer
    for kind in sorted(total):
        print(f"{kind:8} {passed[kind]:4} of {total[kind]:4}  {100 * passed[kind] / total[kind]:5.1f} %")
    rate = 100 * passed.total() / max(1, total.total())
    print(f"{'all':8} {passed.total():4} of {total.total():4}  {rate:5.1f} %")
    for identity, (case, answer) in failing.items():
        print(f"{identity}  {known.get(identity, 'NEW: not in the list of known failures')}")
        if verbose or identity not in known:
            print(f"    {case['sql']}\n    input    {json.dumps(case['input'])[:200]}")
            print(f"    expected {json.dumps(case['expected'])[:200]}\n    answer   {json.dumps(answer)[:300]}")
    stale = [case["id"] for case in cases if case["id"] in known and case["id"] not in failing]
    if stale:
        print(f"these pass and are still in the list of known failures: {' '.join(stale)}")
    return None if stale or failing.keys() - known.keys() else rate


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--in-process", action="store_true", help="call rules.evaluate instead of the command")
    parser.add_argument("--failures", action="store_true", help="print also the known failures with their answers")
    parser.add_argument("--minimum", type=float, default=0.0, help="exit 1 below this pass rate, in percent")
    parser.add_argument("--known", type=Path, default=KNOWN, help="the list of failures that are meant")
    options = parser.parse_args(arguments)
    cases = read_cases(options.file)
    answers = (in_process if options.in_process else through_command)(cases)
    rate = report(cases, answers, read_known(options.known), verbose=options.failures)
    return 0 if rate is not None and rate >= options.minimum else 1


if __name__ == "__main__":
    raise SystemExit(main())
