"""Run golden cases through ``headrace eval --jsonl`` and print the pass rate by kind with the ids that fail.

    python benchmarks/golden_cases.py FILE [--in-process] [--failures] [--minimum PERCENT]

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
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Case = dict[str, Any]
Answer = dict[str, Any]
UNDEFINED = "undefined"


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--in-process", action="store_true", help="call rules.evaluate instead of the command")
    parser.add_argument("--failures", action="store_true", help="print each failing case with its answer")
    parser.add_argument("--minimum", type=float, default=0.0, help="exit 1 below this pass rate, in percent")
    arguments = parser.parse_args()
    cases = [json.loads(line) for line in arguments.file.read_text("utf-8").splitlines() if line.strip()]
    answers = (in_process if arguments.in_process else through_command)(cases)
    total: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    failing: list[tuple[Case, Answer]] = []
    for case, answer in zip(cases, answers, strict=True):
        total[case["kind"]] += 1
        if passes(case, answer):
            passed[case["kind"]] += 1
        else:
            failing.append((case, answer))
    for kind in sorted(total):
        print(f"{kind:8} {passed[kind]:4} of {total[kind]:4}  {100 * passed[kind] / total[kind]:5.1f} %")
    rate = 100 * passed.total() / max(1, total.total())
    print(f"{'all':8} {passed.total():4} of {total.total():4}  {rate:5.1f} %")
    if arguments.failures:
        for case, answer in failing:
            print(f"{case['id']}  {case['sql']}\n    input    {json.dumps(case['input'])[:200]}")
            print(f"    expected {json.dumps(case['expected'])[:200]}\n    answer   {json.dumps(answer)[:300]}")
    elif failing:
        print("failing:", " ".join(case["id"] for case, _ in failing))
    return 0 if rate >= arguments.minimum else 1


if __name__ == "__main__":
    raise SystemExit(main())
