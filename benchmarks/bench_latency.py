"""How long does it take from a publish until the row is visible at the far side, and what does a message cost?

Owns the scenarios, the procedure and the tables. The real service with the defaults of its sinks, beside mosquitto with
Telegraf behind it where that is installed; the generator, the observer and the far side in processes of their own on
the same machine. What the pipelines and far sides are stands in ``pipelines.py``, how the far side is watched, and how
finely, in ``observe.py``. Every message is numbered, and every row must have come: what is missing is in the table, and
where headrace has lost one the exit status is 1.

    python benchmarks/bench_latency.py                  # everything, to benchmarks/results/
    python benchmarks/bench_latency.py --only kafka,postgresql --rounds 1 --json /tmp/latency.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import pytest
from helper import Helper
from pipelines import TARGETS, Headrace, Pipeline, Place, Target, Telegraf
from servers import BenchError, environment, mosquitto_program, telegraf_program
from stamped_load import FIRST

HERE: Final = Path(__file__).resolve().parent
RATE: Final = 5_000
P50_BAR_MS: Final = 10.0
P99_BAR_MS: Final = 30.0
WINDOW: Final = 20
FLAT_OUT_MESSAGES: Final = 100_000


class Scenario(NamedTuple):
    """``messages`` a round, and a first part of each that is not timed."""

    title: str
    qos: int
    load: tuple[str, ...]
    messages: int
    warm: int


def scenarios(seconds: int) -> dict[str, Scenario]:
    paced = ("--rate", str(RATE))
    return {
        "qos0": Scenario("QoS 0, 5,000/s", 0, ("--qos", "0", *paced), RATE * seconds, RATE),
        "qos1": Scenario("QoS 1, 5,000/s", 1, ("--qos", "1", *paced), RATE * seconds, RATE),
        "flat-out": Scenario("QoS 1, flat out", 1, ("--qos", "1", "--window", str(WINDOW)), FLAT_OUT_MESSAGES, 0),
    }


def measure(pipeline: Pipeline, observer: Helper, scenario: Scenario, rounds: int) -> dict[str, Any]:
    """All rounds of a scenario on one running pipeline, after a short one that does not count."""
    load = Helper("stamped_load.py", ["--port", str(pipeline.port), *scenario.load], pinned=False)
    samples = []
    try:
        for number in range(rounds + 1):
            messages = scenario.messages if number else max(scenario.messages // 4, 1_000)
            first = FIRST + number * 1_000_000
            cpu = pipeline.cpu_seconds()
            observer.tell(f"{first} {messages} {scenario.warm if number else 0}")
            observer.result()  # it looks
            load.tell(f"{first} {messages}")
            sent, seen = load.result(), observer.result()
            cpu = pipeline.cpu_seconds() - cpu
            if number:
                came = messages - seen["missing"]
                samples.append(
                    {
                        "us_per_message": cpu / messages * 1e6,
                        "sent_per_second": messages / sent["seconds"],
                        "rows_per_second": came / max(seen["last"] - sent["began"], 1) * 1e6,
                        "generator_busy": sent["cpu_seconds"] / sent["seconds"],
                        **seen,
                    }
                )
    finally:
        load.end()
    result: dict[str, Any] = {
        name: median(sample[name] for sample in samples)
        for name in ("us_per_message", "sent_per_second", "rows_per_second", "generator_busy", "p50", "p99", "answer")
        if name in samples[0]
    }
    result["max"] = max(sample.get("max", 0) for sample in samples)
    result["missing"] = sum(sample["missing"] for sample in samples)
    result["repeated"] = sum(sample["repeated"] for sample in samples)
    result["rounds"] = samples
    return result


def run_target(
    target: Target, server: Any, folder: Path, chosen: dict[str, Scenario], rounds: int, *, peer: bool
) -> dict[str, Any]:
    """One far side under one kind of pipeline: a fresh pipeline and an empty far side for each scenario."""
    results = {}
    for name, scenario in chosen.items():
        with tempfile.TemporaryDirectory(dir=folder) as home, ExitStack() as stack:
            place = Place(server, Path(home), "")
            target.prepare(place, peer)
            observer = Helper("observe.py", [target.kind, target.address(place)], pinned=False)
            stack.callback(observer.end)
            place = place._replace(port="".join(observer.words))
            pipeline: Pipeline = (Telegraf if peer else Headrace)(target, place, scenario.qos)
            stack.callback(pipeline.stop)
            results[name] = measure(pipeline, observer, scenario, rounds)
            print(f"  {pipeline.name}, {scenario.title}: done", file=sys.stderr, flush=True)
    return results


def run(options: argparse.Namespace, names: Sequence[str], shapes: Sequence[str], *, peer: bool) -> dict[str, Any]:
    chosen = {name: scenario for name, scenario in scenarios(options.seconds).items() if name in shapes}
    report: dict[str, Any] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)  # a server that does not run as root must find its own in it
        for name in names:
            target = TARGETS[name]
            print(f"{target.title} ...", file=sys.stderr, flush=True)
            server = None
            if target.server is not None:
                home = folder / name
                home.mkdir()
                try:
                    server = stack.enter_context(target.server(home))
                except pytest.skip.Exception as absent:
                    report[name] = {"title": target.title, "absent": str(absent)}
                    continue
            pipelines = {"headrace": run_target(target, server, folder, chosen, options.rounds, peer=False)}
            if peer and target.telegraf is not None:
                pipelines[Telegraf.name] = run_target(target, server, folder, chosen, options.rounds, peer=True)
            report[name] = {"title": target.title, "pipelines": pipelines}
            if server is not None:
                server.stop()
    return report


def milliseconds(figures: dict[str, Any], name: str) -> str:
    return f"{figures[name] / 1_000:.1f}" if name in figures else "-"


def verdict(figures: dict[str, Any]) -> str:
    if figures.get("missing") or "p50" not in figures:
        return "NO"
    return "yes" if figures["p50"] <= P50_BAR_MS * 1_000 and figures["p99"] <= P99_BAR_MS * 1_000 else "NO"


def as_markdown(report: dict[str, Any]) -> str:
    """Latency and cost at 5,000 messages a second, then cost and throughput flat out."""
    paced = [
        f"Publish to visible row at {RATE:,} messages/s in ms; bar: p50 <= {P50_BAR_MS:g}, p99 <= {P99_BAR_MS:g}.",
        "",
        "| far side | pipeline | QoS | p50 | p99 | max | reached | lost | CPU us per message |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    flat = [
        "As fast as it goes, QoS 1, at most 20 unacknowledged messages on each of 50 connections.",
        "",
        "| far side | pipeline | rows/s | CPU us per message | lost |",
        "|---|---|---|---|---|",
    ]
    for target in report["far_sides"].values():
        if "absent" in target:
            paced.append(f"| {target['title']} | {target['absent']} | | | | | | | |")
            continue
        for name, shapes in target["pipelines"].items():
            for shape in ("qos0", "qos1"):
                if figures := shapes.get(shape):
                    times = " | ".join(milliseconds(figures, column) for column in ("p50", "p99", "max"))
                    reached = verdict(figures) if name == "headrace" else ""
                    paced.append(
                        f"| {target['title']} | {name} | {shape[-1]} | {times} | {reached} | {figures['missing']} "
                        f"| {figures['us_per_message']:.0f} |"
                    )
            if figures := shapes.get("flat-out"):
                flat.append(
                    f"| {target['title']} | {name} | {figures['rows_per_second']:,.0f} "
                    f"| {figures['us_per_message']:.0f} | {figures['missing']} |"
                )
    lines = [*(paced if len(paced) > 4 else []), "", *(flat if len(flat) > 4 else [])]
    if report["peer"] is not None:
        lines += ["", f"{Telegraf.name}: not beside it, because {report['peer']}."]
    return "\n".join(lines).strip() + "\n"


def lost(report: dict[str, Any]) -> int:
    """Rows that headrace has not delivered, or delivered more than once where it does not have to."""
    every = [target["pipelines"]["headrace"] for target in report["far_sides"].values() if "pipelines" in target]
    return sum(figures["missing"] + figures["repeated"] for shapes in every for figures in shapes.values())


def no_peer(*, wanted: bool) -> str | None:
    """Why Telegraf does not take part; None where it does."""
    if not wanted:
        return "--no-peer says so"
    if telegraf_program() is None:
        return "telegraf is not installed (benchmarks/README.md says how)"
    return None if mosquitto_program() else "mosquitto is not installed (make servers)"


def main(arguments: Sequence[str] | None = None) -> int:
    shapes = list(scenarios(1))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default=",".join(TARGETS), help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--shapes", default=",".join(shapes), help=f"of {', '.join(shapes)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6, help="of a round at 5,000 messages/s; the first is not timed")
    parser.add_argument("--no-peer", action="store_true", help="without Telegraf, also where it is installed")
    parser.add_argument("--json", type=Path, help="write the report there instead of benchmarks/results/")
    options = parser.parse_args(arguments)
    chosen, wanted = options.only.split(","), options.shapes.split(",")
    if unknown := {*chosen, *wanted} - {*TARGETS, *shapes}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    absent = no_peer(wanted=not options.no_peer)
    report: dict[str, Any] = {
        "environment": environment([] if absent else ["telegraf"]),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "peer": absent,
    }
    try:
        report["far_sides"] = run(options, chosen, wanted, peer=absent is None)
    except BenchError as error:
        print(f"bench_latency: {error}", file=sys.stderr)
        return 1
    text = as_markdown(report)
    print(text)
    target = options.json or HERE / "results" / f"{report['environment']['date']}-latency.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(report, indent=1) + "\n")
    if options.json is None:
        target.with_suffix(".md").write_text(f"# Latency\n\n{text}")
    if wrong := lost(report):
        print(f"bench_latency: {wrong} rows of headrace's are missing or came twice", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
