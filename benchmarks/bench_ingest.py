"""What does a message cost the server? The whole service beside mosquitto and amqtt, by the operating system's books.

Owns the scenarios, the procedure and the table. Every server gets the same bytes from ``load.py``, in turns
(A B A B ...), and the figure is CPU time (user + system, of the whole process tree) per message, so that it does not
depend on how hungry the generator was. What headrace must do more than the others, it proves: after each run the
rows delivered to its sink must be exactly the messages sent. Where there are two cores, the servers run on one and
the generator on another.

    python benchmarks/bench_ingest.py                 # everything, to benchmarks/results/
    python benchmarks/bench_ingest.py --only pipelined,window --rounds 3 --json /tmp/ingest.json
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from helper import Helper
from servers import BenchError, Server, cpu_seconds, environment, mosquitto_program, resident_bytes, running

HERE: Final = Path(__file__).resolve().parent
SETTLE_SECONDS: Final = 0.4
WARM_CONNECTIONS: Final = 200


class Scenario(NamedTuple):
    """``messages`` by server; a server that is not named sits the scenario out. ``bar`` is headrace : mosquitto."""

    title: str
    load: tuple[str, ...]
    messages: dict[str, int]
    bar: float | None


SCENARIOS: Final = {
    "pipelined": Scenario(
        "QoS 0, pipelined (64 KiB writes)",
        ("--shape", "pipelined"),
        {"mosquitto": 300_000, "headrace": 300_000, "amqtt": 20_000},
        1.0,
    ),
    "per-write": Scenario(
        "QoS 0, one packet per write, as fast as it goes",
        ("--shape", "paced", "--rate", "1e9"),
        {"mosquitto": 200_000, "headrace": 200_000},
        1.3,
    ),
    "paced-20k": Scenario(
        "QoS 0, one packet per write, 20 k/s",
        ("--shape", "paced", "--rate", "20000"),
        {"mosquitto": 60_000, "headrace": 60_000},
        1.3,
    ),
    "paced-5k": Scenario(
        "QoS 0, one packet per write, 5 k/s",
        ("--shape", "paced", "--rate", "5000"),
        {"mosquitto": 25_000, "headrace": 25_000},
        1.3,
    ),
    "window": Scenario(
        "QoS 1, window of 20",
        ("--shape", "window", "--window", "20"),
        {"mosquitto": 150_000, "headrace": 150_000, "amqtt": 10_000},
        0.7,
    ),
}
IDLE_BAR_BYTES: Final = 4_096


def load_on(server: Server, arguments: Sequence[str]) -> Helper:
    """The generator as a process, connected and waiting."""
    return Helper("load.py", ["--port", str(server.port), *arguments])


def publish(load: Helper) -> dict[str, Any]:
    load.tell()
    return load.result()


def measure(server: Server, scenario: Scenario, messages: int) -> dict[str, float]:
    """One run: microseconds of the server's CPU per message, and what is needed to judge it."""
    before = server.rows_delivered() if server.name == "headrace" else 0
    load = load_on(server, [*scenario.load, "--messages", str(messages), "--prefix", server.name])
    time.sleep(SETTLE_SECONDS)
    cpu = cpu_seconds(server.process.pid)
    result = publish(load)
    time.sleep(SETTLE_SECONDS)
    cpu = cpu_seconds(server.process.pid) - cpu
    sent = int(result["messages"])
    if server.name == "headrace":
        delivered = server.rows_delivered() - before
        if delivered != sent:
            raise BenchError(f"{sent} messages were sent and {delivered} rows delivered: not a measurement")
    load.end()
    return {
        "us_per_message": cpu / sent * 1e6,
        "messages_per_second": sent / result["seconds"],
        "generator_busy": result["cpu_seconds"] / result["seconds"],
    }


def run_scenario(scenario: Scenario, peers: Sequence[str], rounds: int, share: float) -> dict[str, Any]:
    """All rounds of one scenario, the servers in turns after one unmeasured round."""
    taking_part = [name for name in peers if name in scenario.messages]
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in taking_part}
    with running(taking_part) as servers:
        for number in range(rounds + 1):
            for name, server in servers.items():
                messages = max(1_000, int(scenario.messages[name] * share * (1.0 if number else 0.25)))
                sample = measure(server, scenario, messages)
                if number:
                    samples[name].append(sample)
    result: dict[str, Any] = {"title": scenario.title, "bar": scenario.bar, "servers": {}}
    for name, runs in samples.items():
        costs = [run["us_per_message"] for run in runs]
        result["servers"][name] = {
            "us_per_message": median(costs),
            "lowest": min(costs),
            "highest": max(costs),
            "messages_per_second": median(run["messages_per_second"] for run in runs),
            "generator_busy": median(run["generator_busy"] for run in runs),
            "runs": costs,
        }
    if "mosquitto" in samples and "headrace" in samples:
        result["ratio"] = (
            result["servers"]["headrace"]["us_per_message"] / result["servers"]["mosquitto"]["us_per_message"]
        )
    return result


def run_idle(peers: Sequence[str], connections: int) -> dict[str, Any]:
    """Resident memory per idle connection, beyond the first 200 (which pay for pools and lazily made things)."""
    result: dict[str, Any] = {"connections": connections, "bar": IDLE_BAR_BYTES, "servers": {}}
    for name in peers:
        if name == "amqtt":
            continue
        with running([name]) as servers:
            shape = ("--shape", "idle", "--connections")
            warm = load_on(servers[name], [*shape, str(WARM_CONNECTIONS), "--prefix", "warm"])
            time.sleep(SETTLE_SECONDS)
            before = resident_bytes(servers[name].process.pid)
            load = load_on(servers[name], [*shape, str(connections), "--prefix", "idle"])
            time.sleep(SETTLE_SECONDS)
            after = resident_bytes(servers[name].process.pid)
            for generator in (load, warm):
                publish(generator)
                generator.end()
        result["servers"][name] = {"bytes_per_connection": (after - before) / connections, "base_bytes": before}
    return result


def verdict(value: float, bar: float | None) -> str:
    return "" if bar is None else "yes" if value <= bar else "NO"


def as_markdown(report: dict[str, Any]) -> str:
    """The report as tables: cost per message, then memory per connection."""
    machine = report["environment"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    lines = [
        f"{machine['date']}; {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; {versions}.",
        f"The machine's load average before: {machine['load_before']}.",
        "",
        f"Command: `{report['command']}`; medians of {report['rounds']} rounds (lowest to highest).",
        "",
        "headrace runs the rule on every message and delivers every row to a null sink; the others have no rule.",
        "",
        "| scenario | server | CPU us per message | messages/s | generator busy | headrace:mosquitto | bar | reached |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for scenario in report["scenarios"].values():
        for name, figures in scenario["servers"].items():
            compared = name == "headrace" and "ratio" in scenario
            ratio = scenario.get("ratio", 0.0)
            lines.append(
                f"| {scenario['title']} | {name} | {figures['us_per_message']:.2f} "
                f"({figures['lowest']:.2f} to {figures['highest']:.2f}) | {figures['messages_per_second']:,.0f} "
                f"| {figures['generator_busy']:.0%} | "
                + (f"{ratio:.2f} | <= {scenario['bar']} | {verdict(ratio, scenario['bar'])} |" if compared else "| | |")
            )
    if idle := report.get("idle"):
        lines += [
            "",
            f"| {idle['connections']:,} idle connections | RSS per connection | RSS before | bar | reached |",
            "|---|---|---|---|---|",
        ]
        for name, figures in idle["servers"].items():
            size = figures["bytes_per_connection"]
            bar = f"<= {idle['bar'] / 1024:.0f} kB | {verdict(size, idle['bar'])}" if name == "headrace" else "|"
            lines.append(f"| {name} | {size / 1024:.2f} kB | {figures['base_bytes'] / 2**20:.0f} MiB | {bar} |")
    return "\n".join(lines) + "\n"


def command_line(options: argparse.Namespace) -> str:
    """What to type to measure the same again; where the report goes is no part of it."""
    words = [f"--{name} {getattr(options, name)}" for name in ("only", "rounds", "share", "connections")]
    return " ".join(["python benchmarks/bench_ingest.py", *words])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    known = [*SCENARIOS, "idle"]
    parser.add_argument("--only", default=",".join(known), help=f"of {', '.join(known)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of messages")
    parser.add_argument("--connections", type=int, default=5_000, help="idle connections")
    parser.add_argument("--peers", help="servers beside headrace; default: mosquitto where installed, and amqtt")
    parser.add_argument("--json", type=Path, help="write the report there instead of benchmarks/results/")
    options = parser.parse_args(arguments)
    chosen = options.only.split(",")
    if unknown := set(chosen) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    default_peers = ["mosquitto", "amqtt"] if mosquitto_program() else ["amqtt"]
    names = options.peers.split(",") if options.peers is not None else default_peers
    peers = [*(name for name in names if name == "mosquitto"), "headrace", *(n for n in names if n == "amqtt")]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    report: dict[str, Any] = {
        "environment": environment(peers),
        "command": command_line(options),
        "rounds": options.rounds,
        "scenarios": {},
    }
    try:
        for name, scenario in SCENARIOS.items():
            if name in chosen:
                print(f"{scenario.title} ...", file=sys.stderr, flush=True)
                report["scenarios"][name] = run_scenario(scenario, peers, options.rounds, options.share)
        if "idle" in chosen:
            print(f"{options.connections} idle connections ...", file=sys.stderr, flush=True)
            report["idle"] = run_idle(peers, options.connections)
    except BenchError as error:
        print(f"bench_ingest: {error}", file=sys.stderr)
        return 1
    text = as_markdown(report)
    print(text)
    target = options.json or HERE / "results" / f"{report['environment']['date']}-ingest.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(report, indent=1) + "\n")
    if options.json is None:
        target.with_suffix(".md").write_text(f"# Ingest\n\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
