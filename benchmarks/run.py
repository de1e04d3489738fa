"""Runs every benchmark one after the other and keeps what they said: `make bench`.

Owns the order and the two files `results/<date>.md` and `results/<date>.json`; each benchmark is a program of its
own that prints its table and writes its figures with `--json FILE`. A benchmark that fails is named in the result and
makes the exit status 1; the others still run.

    python benchmarks/run.py [--only bench_rule,bench_ingest] [--results FOLDER]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import bench_ingest
import bench_latency
from servers import environment

HERE: Final = Path(__file__).resolve().parent
BENCHMARKS: Final = {
    "bench_wire": "Wire codec",
    "bench_match": "Topic matching",
    "bench_rule": "Generated rules",
    "bench_windows": "Windows",
    "bench_flows": "Windows, joins and analytic functions as SQL, beside Bytewax",
    "bench_sinks": "Sinks",
    "bench_ingest": "Ingest, beside mosquitto and amqtt",
    "bench_latency": "From publish to visible row, beside mosquitto with Telegraf",
}
AS_MARKDOWN: Final[dict[str, Callable[[Any], str]]] = {
    "bench_ingest": bench_ingest.as_markdown,
    "bench_latency": bench_latency.as_markdown,
}
"""The others' tables are shown as they were printed."""


def run_one(name: str, figures: Path) -> tuple[int, str]:
    """The exit status of a benchmark and what it printed, which is also shown while it runs."""
    print(f"== {name}", flush=True)
    program = subprocess.Popen(
        [sys.executable, str(HERE / f"{name}.py"), "--json", str(figures)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE.parent,
    )
    assert program.stdout is not None
    printed = []
    for line in program.stdout:
        print(line, end="", flush=True)
        printed.append(line)
    return program.wait(), "".join(printed)


def section(name: str, status: int, printed: str, figures: Any) -> str:
    """One benchmark's part of the page."""
    title = f"## {BENCHMARKS[name]} (`{name}`)\n\n"
    if status:
        return f"{title}Failed with exit status {status}.\n\n```text\n{printed.strip()}\n```\n"
    if name in AS_MARKDOWN:
        return title + AS_MARKDOWN[name](figures)
    return f"{title}```text\n{printed.strip()}\n```\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="run all benchmarks")
    parser.add_argument("--only", default=",".join(BENCHMARKS), help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for the two result files")
    options = parser.parse_args(arguments)
    chosen = options.only.split(",")
    if unknown := set(chosen) - set(BENCHMARKS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    machine = environment([])
    results: dict[str, Any] = {"environment": machine, "benchmarks": {}}
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    page = [
        f"# Benchmarks, {machine['date']}\n",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; {versions}.\n",
        "What the figures mean: [benchmarks/README.md](../README.md).\n",
    ]
    worst = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in BENCHMARKS:
            if name not in chosen:
                continue
            path = Path(folder) / f"{name}.json"
            status, printed = run_one(name, path)
            figures = json.loads(path.read_text()) if path.exists() else None
            results["benchmarks"][name] = figures if status == 0 else {"failed": status}
            page.append(section(name, status, printed, figures))
            worst = max(worst, abs(status))
    options.results.mkdir(parents=True, exist_ok=True)
    target = options.results / f"{machine['date']}.md"
    target.write_text("\n".join(page))
    target.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    print(f"written: {target.name} and {target.with_suffix('.json').name} in {options.results.name}/")
    return 1 if worst else 0


if __name__ == "__main__":
    sys.exit(main())
