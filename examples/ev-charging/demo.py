"""What `make demo` runs: the service, sixty charging stations, a live table, and what came out in the end.

    python examples/ev-charging/demo.py               # 20 seconds
    DEMO_SECONDS=0 python examples/ev-charging/demo.py  # until Ctrl-C

Owns the order of events and what is shown. The service as a process is the business of `service`, the stations
that of `simulator`. Exit status: 0 after a whole run or Ctrl-C, 1 where the service failed, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from service import EXAMPLE, DemoError, Service
from simulator import Fleet, Park

CONNECT_SECONDS: Final = 20.0
REFRESH_SECONDS: Final = 0.5
PLAIN_LINE_SECONDS: Final = 2.0
STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal was closed
LAST_ROWS: Final = """
SELECT station, connector, round(kw, 2) AS kw, round(kwh, 2) AS kwh, soc, measured_at
FROM meter_readings ORDER BY rowid DESC LIMIT 8
"""
ALARMS: Final = "SELECT * FROM alarms"


class Snapshot(NamedTuple):
    """The counters of one scrape: {rule: {outcome: n}}, {sink: {outcome: n}} messages received and dropped."""

    at: float
    rules: dict[str, dict[str, int]]
    sinks: dict[str, dict[str, int]]
    received: int
    lost: int

    @property
    def errors(self) -> int:
        failed = sum(counts.get("exception", 0) for counts in self.rules.values())
        return failed + sum(counts.get("rejected", 0) for counts in self.sinks.values())

    @property
    def dropped(self) -> int:
        return self.lost + sum(counts.get("dropped", 0) for counts in self.sinks.values())


def read_metrics(text: str) -> Snapshot:
    rules: dict[str, dict[str, int]] = {}
    sinks: dict[str, dict[str, int]] = {}
    received = lost = 0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels, value = sample.labels, int(sample.value)
            if sample.name.startswith("headrace_rule_") and sample.name.endswith("_total"):
                outcome = labels.get("reason") or sample.name[len("headrace_rule_") : -len("_total")]
                counts = rules.setdefault(labels["rule"], {})
                counts[outcome] = counts.get(outcome, 0) + value
            elif sample.name.startswith("headrace_sink_rows_"):
                outcome = sample.name[len("headrace_sink_rows_") :].removesuffix("_total")
                counts = sinks.setdefault(labels["sink"], {})
                counts[outcome] = counts.get(outcome, 0) + value
            elif sample.name == "headrace_broker_messages_received_total":
                received += value
            elif sample.name == "headrace_broker_messages_dropped_total":
                lost += value
    return Snapshot(time.monotonic(), rules, sinks, received, lost)


def rate(now: Snapshot, before: Snapshot | None) -> float:
    if before is None or now.at <= before.at:
        return 0.0
    return (now.received - before.received) / (now.at - before.at)


def live_view(now: Snapshot, speed: float, fleet: Fleet, left: float | None) -> Group:
    """Two tables, rules and sinks, under one line with the totals."""
    ending = "Ctrl-C ends" if left is None else f"{max(0.0, left):.0f} s left"
    head = Text.assemble(
        (f"{fleet.connected} stations", "bold"),
        f"   {speed:,.0f} messages/s   {now.received:,} messages   ",
        (f"{now.errors} errors", "red" if now.errors else ""),
        f"   {now.dropped} dropped   ",
        (ending, "dim"),
    )
    rules, sinks = Table(box=box.SIMPLE_HEAD), Table(box=box.SIMPLE_HEAD)
    for table, first in ((rules, "rule"), (sinks, "sink")):
        table.add_column(first)
    for title in ("matched", "rows", "filtered", "errors"):
        rules.add_column(title, justify="right")
    for title in ("rows in", "delivered", "rejected", "dropped", "waiting"):
        sinks.add_column(title, justify="right")
    for name, counts in sorted(now.rules.items()):
        rules.add_row(name, *(f"{counts.get(k, 0):,}" for k in ("matched", "passed", "no_result", "exception")))
    for name, counts in sorted(now.sinks.items()):
        waiting = counts.get("queued", 0) + counts.get("in_flight", 0)
        shown = [counts.get(k, 0) for k in ("in", "delivered", "rejected", "dropped")]
        sinks.add_row(name, *(f"{number:,}" for number in (*shown, waiting)))
    return Group(head, rules, sinks)


def plain_line(now: Snapshot, speed: float, fleet: Fleet, elapsed: float) -> str:
    rows = ", ".join(f"{name} {counts.get('delivered', 0)}" for name, counts in sorted(now.sinks.items()))
    return (
        f"{elapsed:5.1f} s  {fleet.connected} stations  {speed:.0f} messages/s  rows: {rows}  "
        f"errors {now.errors}  dropped {now.dropped}"
    )


def connect(fleet: Fleet, stations: int) -> None:
    """Start the fleet and return when every station is connected."""
    fleet.start()
    deadline = time.monotonic() + CONNECT_SECONDS
    while fleet.connected < stations:
        if fleet.refused:
            raise DemoError(f"the broker refused a station: {fleet.refused}")
        if time.monotonic() > deadline:
            raise DemoError(f"only {fleet.connected} of {stations} stations could connect")
        time.sleep(0.02)


def watch(service: Service, fleet: Fleet, seconds: float, console: Console) -> None:
    """Show what happens until the time is over; KeyboardInterrupt passes through."""
    started = time.monotonic()
    before = now = read_metrics(service.metrics())

    def step() -> tuple[float, float]:
        nonlocal before, now
        before, now = now, read_metrics(service.metrics())
        return rate(now, before), time.monotonic() - started

    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while not seconds or time.monotonic() - started < seconds:
                speed, elapsed = step()
                live.update(live_view(now, speed, fleet, seconds - elapsed if seconds else None), refresh=True)
                time.sleep(REFRESH_SECONDS)
        console.print(live_view(now, rate(now, before), fleet, 0.0))
    else:
        while not seconds or time.monotonic() - started < seconds:
            time.sleep(min(PLAIN_LINE_SECONDS, seconds or PLAIN_LINE_SECONDS))
            speed, elapsed = step()
            print(plain_line(now, speed, fleet, elapsed), flush=True)


def summary(service: Service, last: Snapshot | None, console: Console) -> None:
    """What the database file holds, read back with the standard library."""
    with closing(sqlite3.connect(service.database)) as database:
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")]
        counted = {name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}  # noqa: S608
        if "meter_readings" in names:
            cursor = database.execute(LAST_ROWS)
            table = Table(
                title="last meter readings, read back from the database", title_justify="left", box=box.SIMPLE_HEAD
            )
            for column in cursor.description:
                table.add_column(column[0])
            for row in cursor:
                table.add_row(*("" if value is None else str(value) for value in row))
            console.print(table)
    totals = Table(title="rows per target", title_justify="left", box=box.SIMPLE_HEAD)
    totals.add_column("target")
    totals.add_column("rows", justify="right")
    for name, number in counted.items():
        totals.add_row(f"table {name}", f"{number:,}")
    if last and (notices := last.sinks.get("alarm_topic")):
        totals.add_row("topic alarms/<station>", f"{notices.get('delivered', 0):,}")
    console.print(totals)


def shown(path: Path) -> str:
    """A path as one would type it here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def next_steps(service: Service, console: Console) -> None:
    """Commands that work with the accounts of this data folder."""
    python = shown(Path(sys.executable))
    config, database = shown(service.config), shown(service.database)
    login = f"-u operator -P {service.passwords['operator']}"
    simulator = shown(EXAMPLE / "simulator.py")
    password = shown(service.password_path("stations"))
    lines = [
        f"The data lies in {shown(service.folder)}: the database, the accounts and the service's log.",
        "",
        "Look into it:",
        f"  sqlite3 -header -column {database} '{ALARMS}'",
        "Start the service again, and the stations beside it:",
        f"  {python} -m headrace run -c {config}",
        f"  {python} {simulator} --port {service.mqtt_port} --username stations --password-file {password}",
        "Watch the alarms, the metrics:",
        f"  mosquitto_sub -h {service.host} -p {service.mqtt_port} {login} -t 'alarms/#' -v",
        f"  curl -s http://{service.host}:{service.admin_port}/metrics",
        f"Change a rule in {shown(EXAMPLE / 'rules')}, then:",
        f"  {python} -m headrace check -c {config}",
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def run(service: Service, stations: int, seed: int, seconds: float, console: Console) -> Snapshot | None:
    """The whole demo but the summary; its last counters. Ends fleet and service whatever happens."""
    fleet: Fleet | None = None
    last: Snapshot | None = None
    try:
        service.prepare()
        service.start()
        park = Park(stations, seed, time.time())
        fleet = Fleet(park, service.host, service.mqtt_port, "stations", service.passwords["stations"])
        connect(fleet, stations)
        place = f"{service.host}:{service.mqtt_port}, admin on http://{service.host}:{service.admin_port}"
        console.print(f"{stations} stations are connected to {place}", highlight=False, soft_wrap=True)
        watch(service, fleet, seconds, console)
    except KeyboardInterrupt:
        console.print("stopping ...")
    finally:
        # Once it is ending, another Ctrl-C must not leave the service behind.
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)
        if fleet is not None:
            fleet.stop()
            with suppress(DemoError):
                last = read_metrics(service.metrics())
        status = service.stop()
    if status:
        raise DemoError(f"headrace run ended with {status}: {service.last_words()}")
    return last


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="headrace with simulated charging stations")
    parser.add_argument("--seconds", type=float, default=os.environ.get("DEMO_SECONDS") or "20", help="0: until Ctrl-C")
    parser.add_argument("--stations", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1, help="of the stations' behaviour")
    parser.add_argument("--data", type=Path, default=EXAMPLE / "data", help="folder for database, accounts and log")
    options = parser.parse_args(arguments)
    if options.seconds < 0 or options.stations < 1:
        parser.error("--seconds must not be negative and --stations at least 1")
    return options


def interrupt(_signal: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    console = Console()
    # Each is a Ctrl-C: stations and service must not be left behind.
    for number in STOPPING:
        signal.signal(number, interrupt)
    service = Service(options.data)
    try:
        last = run(service, options.stations, options.seed, options.seconds, console)
        if service.database.exists():
            summary(service, last, console)
            next_steps(service, console)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
