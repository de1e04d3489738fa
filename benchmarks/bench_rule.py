"""What a rule costs: microseconds of ``Engine.process`` per message and class of expression, JSON decoding included.

    python benchmarks/bench_rule.py [--json FILE] [--quick]

Each figure is the median (and the minimum) of five rounds, for batches of 1 and of 100 fresh messages, so that every
payload is decoded within the measured time. Making the messages is outside of it. ``decode`` is msgspec alone, as the
part of every figure that no rule engine can save.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from core.matching import MatchCache
from core.message import Message, Publisher
from core.metrics import Metrics
from formats.json import decode_document
from rules.compiler import RuleSource, compile_rules
from rules.runtime import Engine

DOCUMENT = {
    "station": "CP-0042",
    "connector": 2,
    "power": 7321.5,
    "energy": 123456,
    "soc": 55,
    "ts": 1760000000123,
    "status": "Charging",
    "voltage": [230.1, 229.8, 231.0],
    "temp": 35.2,
    "tariff": {"name": "night"},
    "on": True,
}
PAYLOAD = json.dumps(DOCUMENT, separators=(",", ":")).encode()
TOPICS = tuple(f"cp/{station}/meter" for station in range(50))

INGEST = (
    "SELECT payload.station AS station, payload.connector AS connector, payload.power/1000 AS kw,"
    " payload.energy AS energy, payload.soc AS soc, payload.ts AS ts"
    ' FROM "cp/#" WHERE payload.power > 1000'
)
CLASSES: dict[str, str] = {
    "ingest": INGEST,
    "filter that drops": INGEST.replace("> 1000", "> 9000"),
    "no payload": 'SELECT topic, qos FROM "cp/#" WHERE qos = 0',
    "raw payload": 'SELECT payload, topic FROM "cp/#"',
    "all columns": 'SELECT * FROM "cp/#"',
    "one field": 'SELECT payload.power AS p FROM "cp/#"',
    "nested path": 'SELECT payload.tariff.name AS n FROM "cp/#"',
    "array index": 'SELECT payload.voltage[1] AS u FROM "cp/#"',
    "path alias": 'SELECT payload.power AS m.p, payload.soc AS m.s FROM "cp/#"',
    "arithmetic": 'SELECT (payload.power - 20) * 3 / payload.soc + 1 AS x FROM "cp/#"',
    "regex": "SELECT topic FROM \"cp/#\" WHERE regex_match(payload.station, '^CP-([0-9]+)$')",
    "text =": "SELECT topic FROM \"cp/#\" WHERE payload.status = 'Charging'",
    "AND / OR": 'SELECT topic FROM "cp/#" WHERE payload.on = true AND (payload.soc > 90 OR payload.temp > 30)',
    "IN": "SELECT topic FROM \"cp/#\" WHERE payload.status IN ('Charging', 'Available')",
    "LIKE": "SELECT topic FROM \"cp/#\" WHERE payload.station LIKE 'CP-%'",
    "=~": "SELECT qos FROM \"cp/#\" WHERE topic =~ 'cp/+/meter'",
    "CASE": "SELECT CASE WHEN payload.soc < 20 THEN 'low' WHEN payload.soc > 80 THEN 'high' END AS s FROM \"cp/#\"",
    "CAST": 'SELECT payload.soc::text AS s, CAST(payload.energy AS double) AS e FROM "cp/#"',
    "text +": "SELECT payload.station + '/' + payload.connector AS s FROM \"cp/#\"",
    "function": 'SELECT upper(payload.status) AS s FROM "cp/#"',
    "instants": "SELECT payload.ts::timestamp + INTERVAL '1 hour' AS t FROM \"cp/#\" WHERE now() < '2020-01-01'",
    "EXTRACT": "SELECT EXTRACT(HOUR FROM now()) AS h, date_trunc('minute', now()) AS m FROM \"cp/#\"",
    "DECIMAL": 'SELECT CAST(payload.power AS DECIMAL(10, 2)) * 3 AS d FROM "cp/#"',
    "COALESCE": 'SELECT COALESCE(payload.nothing, payload.soc, 0) AS c FROM "cp/#"',
    "object": "SELECT {'power': payload.power, 'soc': payload.soc} AS o FROM \"cp/#\"",
    "FOREACH": 'FOREACH payload.voltage AS u DO u, payload.station AS station INCASE u > 229.9 FROM "cp/#"',
}


class Figure(NamedTuple):
    """Microseconds per message."""

    median: float
    minimum: float


def _measure(run: Callable[[Sequence[Message]], Any], make: Callable[[], list[Message]], calls: int) -> float:
    """Microseconds per message over ``calls`` batches."""
    size = 0
    spent = 0
    clock = time.perf_counter_ns
    for _ in range(calls):
        batch = make()
        size += len(batch)
        start = clock()
        run(batch)
        spent += clock() - start
    return spent / size / 1000


def measure(run: Callable[[Sequence[Message]], Any], make: Callable[[], list[Message]], calls: int) -> Figure:
    _measure(run, make, calls // 5 + 1)
    gc.collect()
    rounds = [_measure(run, make, calls) for _ in range(5)]
    return Figure(statistics.median(rounds), min(rounds))


def bench(sql: str, messages: int) -> dict[int, Figure]:
    """The figures by size of the batch; ``sql`` may be several statements."""
    engine = Engine(Metrics())
    engine.load(compile_rules([RuleSource("bench.sql", sql)]))
    matches = MatchCache(lambda _topic: (), engine.rules_for)
    publisher = Publisher("bench")
    found = {}
    for size in (1, 100):
        counter = iter(range(1 << 60))

        def make(size: int = size, counter: Any = counter) -> list[Message]:
            topics = (TOPICS[next(counter) % len(TOPICS)] for _ in range(size))
            return [Message(topic, PAYLOAD, publisher=publisher, match=matches.look_up(topic)) for topic in topics]

        found[size] = measure(lambda batch: engine.process(batch, 0), make, max(5, messages // size))
    return found


def bench_decode(messages: int) -> Figure:
    def run(batch: Sequence[Message]) -> None:
        for message in batch:
            message.document = decode_document(message.payload)

    return measure(run, lambda: [Message("t", PAYLOAD) for _ in range(100)], max(5, messages // 100))


def many_rules(count: int, *, same_topic: bool) -> str:
    """``count`` rules, all on the messages' topics or all but one on others."""
    filters = ["cp/#" if same_topic or number == 0 else f"other/{number}/#" for number in range(count)]
    return ";".join("INSERT INTO null_out " + INGEST.replace("cp/#", topic_filter) for topic_filter in filters)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--quick", action="store_true", help="a tenth of the messages")
    arguments = parser.parse_args()
    messages = 2_000 if arguments.quick else 20_000
    results: dict[str, dict[str, Any]] = {}

    def report(name: str, figures: dict[int, Figure]) -> None:
        for size, figure in figures.items():
            results[f"{name}, batch {size}"] = {"median": figure.median, "min": figure.minimum, "unit": "us/message"}
        cells = "".join(f"{figure.median:10.2f} {figure.minimum:8.2f}" for figure in figures.values())
        print(f"{name:28}{cells}")

    print(f"{len(PAYLOAD)} bytes of JSON; us per message\n")
    print(f"{'':28}{'batch 1':>10} {'min':>8}{'batch 100':>10} {'min':>8}")
    decode = bench_decode(messages)
    results["decode"] = {"median": decode.median, "min": decode.minimum, "unit": "us/message"}
    print(f"{'decode alone':28}{'':19}{decode.median:10.2f} {decode.minimum:8.2f}")
    for name, query in CLASSES.items():
        report(name, bench(f"INSERT INTO null_out {query}", messages))
    report("1 of 1000 rules", bench(many_rules(1000, same_topic=False), messages))
    report("100 rules on the topic", bench(many_rules(100, same_topic=True), messages // 20))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
