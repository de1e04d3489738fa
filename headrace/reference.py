"""The reference pages that are made from the code: settings, metrics, events, commands, rule tests, aggregate functions
and diagnostics.

``python -m headrace.reference`` says which pages are stale, ``--write`` makes them anew. A test holds them fresh.
Pure but for the two functions at the end; what a setting or a command means is said where it is defined.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec

from broker.acl import AclRule
from broker.settings import BrokerLimits, ListenerSettings
from core.events import COLUMNS, COMMON, EVENTS, RAISED, Event
from core.metrics import Family
from core.registry import Registry
from headrace import described
from headrace.cli import build_parser
from headrace.config import RuleText, parse, provider_types
from headrace.endpoints import connection_types, sink_types, source_types
from headrace.ruletests.settings import RuleTest, RuleTests
from headrace.settings import (
    AdminSettings,
    AuthSettings,
    ConnectionChoice,
    EngineSettings,
    FunctionSettings,
    InboxSettings,
    ProcessSettings,
    SinkChoice,
    SourceChoice,
)
from rules.aggregates.reference import aggregates_page
from rules.analytics.reference import analytics_page
from rules.codes_page import codes_page
from rules.columns import MESSAGE_COLUMNS
from rules.declared_page import source_page, table_page
from sinks.settings import DeliverySettings

FOLDER: Final = Path(__file__).resolve().parent.parent / "docs" / "reference"
_MADE: Final = "<!-- Made by `python -m headrace.reference --write`; edit the code it is made from. -->"

_CONFIG_INTRO: Final = (
    'One TOML file describes the service. An unknown key is an error. A **duration** is a text such as `"200ms"` '
    '(units ns, us, ms, s, m, h, d), a **size** one such as `"1GiB"` (B, kB, MB, GB, KiB, MiB, GiB, TiB), '
    'a **secret** is `{ env = "NAME" }`, `{ file = "path" }` or a text, and is never printed. Relative paths start '
    "at the folder of the file. `headrace check` lists every error; `headrace config --schema` prints a JSON "
    "Schema for editors. SIGHUP applies changes of `rules`, `[engine]`, `[connections.*]` and `[sinks.*]`."
)
_OURS: Final = ("broker", "connections", "gateways", "sinks")
_METRICS_INTRO: Final = (
    "`GET /metrics` of the admin server answers in Prometheus's text format. Counters only grow and start at 0 with "
    "the process. Beside these there are the usual `process_*` metrics of the operating system. Per sink, at any "
    "moment: rows_in = delivered + rejected + dropped + diverted + queued + in_flight."
)
_CLI_INTRO: Final = (
    "`headrace [--debug] COMMAND ...`, also as `python -m headrace`. Exit status: 0 done, 1 something is wrong (the "
    "message is on standard error), 2 wrong usage, 130 interrupted. `run` exits 1 also where rows were lost when "
    "it stopped."
)
_TESTS_INTRO: Final = (
    "What `headrace test` runs: files with this ending beside the rules. An unknown key is an error. A **duration** is "
    'a text such as `"1.5s"` (units ns, us, ms, s, m, h, d), a **time** one such as `"2025-01-31T12:00:00Z"`, or '
    "TOML's own. [How to test rules](../howto/test-rules.md) has examples."
)


def config_page() -> str:
    """``config.md``: every key of ``headrace.toml``."""
    lines = [
        "# `headrace.toml`",
        _MADE,
        _CONFIG_INTRO,
    ]
    lines += _section("Top of the file", ProcessSettings)
    lines += _section("`[listeners.<name>]`", ListenerSettings)
    lines += _section("`[broker]`", BrokerLimits)
    lines += _section("`[inbox]`", InboxSettings)
    lines += _section("`[functions]`", FunctionSettings)
    lines += _section("`[engine]`", EngineSettings)
    lines += _section("`[auth]`", AuthSettings)
    providers = provider_types()
    for name in _built_in(providers):
        lines += _section(f"`[auth.{name}]`", providers.load(name).Config)
    lines += _section("`[[acl]]`", AclRule)
    lines += _section("`[connections.<name>]`", ConnectionChoice)
    connections, sinks = connection_types(), sink_types()
    for name in _built_in(connections):
        connection = connections.load(name)
        title = f'`[connections.<name>]` with `type = "{name}"`'
        lines += _section(title, connection.Config, intro=_class_summary(connection))
    lines += _section("`[sources.<name>]`", SourceChoice)
    for name in _built_in(source_types()):
        source = source_types().load(name)
        lines += _section(f'`[sources.<name>]` with `type = "{name}"`', source.Config, intro=_class_summary(source))
    classes = {name: sinks.load(name) for name in _built_in(sinks)}
    lines += _section("`[sinks.<name>]`", SinkChoice)
    lines.append(
        "Every sink also takes tables that say how its rows are batched, buffered and tried again, at which rate, and "
        "where they go while it is out of reach ([delivery](../concepts/delivery.md)):"
    )
    for key, struct in described.subtables(DeliverySettings):
        lines += _section(f"`{key}`", struct, level=3)
    for name, sink in classes.items():
        lines += _section(f'`[sinks.<name>]` with `type = "{name}"`', sink.Config, intro=_class_summary(sink))
    lines += _section("`[admin]`", AdminSettings)
    return "\n\n".join(lines) + "\n"


def _built_in(registry: Registry[Any]) -> list[str]:
    """The names whose classes are ours: the page must not depend on what else is installed."""
    return [name for name in registry.names() if registry.load(name).__module__.split(".")[0] in _OURS]


def _class_summary(kind: type[Any]) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split()).replace("``", "`")


def _section(title: str, struct: type[msgspec.Struct], intro: str = "", level: int = 2) -> list[str]:
    declared = msgspec.structs.fields(struct)
    parts = [f"{'#' * level} {title}", *([intro] if intro else []), described.summary(struct) if declared else ""]
    rows = [(f"`{field.name}`", field.kind, _default(field.default), field.doc) for field in described.fields(struct)]
    if rows:
        parts.append(_table(("key", "type", "default", "meaning"), rows))
    for key, inner in described.subtables(struct):
        tag = inner.__struct_config__
        choice = "" if tag.tag is None else f' with `{tag.tag_field} = "{tag.tag}"`'
        parts += _section(f"`{key}`{choice}", inner, level=level + 1)
    return [part for part in parts if part]


def _default(default: str | None) -> str:
    if default is None:
        return "**required**"
    return f"`{default}`" if default else ""


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(head), "|" + "---|" * len(head), *(line(row) for row in rows)])


_SAMPLE: Final = """
[listeners.mqtt]
bind = "127.0.0.1:0"
[auth]
allow_anonymous = true
[sinks.s]
type = "null"
"""


def metrics_page() -> str:
    """``metrics.md``: every metric of ``/metrics``."""
    families = asyncio.run(_families())
    rows = [
        (f"`{family.name}`", family.kind, ", ".join(f"`{label}`" for label in family.label_names), family.help)
        for family in families
    ]
    return (
        "\n\n".join(
            [
                "# Metrics",
                _MADE,
                _METRICS_INTRO,
                _table(("name", "kind", "labels", "meaning"), rows),
            ]
        )
        + "\n"
    )


async def _families() -> list[Family]:
    """The families of a service that runs for a moment, on a port of the system's choice."""
    from broker.packets import ReasonCode
    from broker.statistics import Statistics
    from headrace.service import Service

    config = parse(_SAMPLE, file="headrace.toml", base_dir=Path.cwd()).config
    assert config is not None  # noqa: S101 - the sample is ours
    service = Service(replace(config, rules=(RuleText("sample.sql", 'INSERT INTO s SELECT topic FROM "t"'),)))
    await service.start()
    try:
        # Those that first appear with what they count.
        statistics = Statistics(service.metrics)
        statistics.connection("accepted")
        statistics.packet_error(ReasonCode.MALFORMED_PACKET)
        return list(service.metrics.collect())
    finally:
        await service.stop()


_EVENTS_INTRO: Final = (
    'A rule reads events of the broker as it reads topics: `FROM "$events/client/connected"`. The names from before '
    "EMQX 5.10 mean the same events. Wildcards stand for all present names that they match (`$events/#`, "
    "`$events/client/+`). A FROM may name several events, and topics beside them "
    '(`FROM "cp/#", "$events/client/+"`): a column that the message at hand does not have is missing then, and '
    "`SELECT *` gives each its own columns. An unknown name is an error when the rules are loaded."
)
_EVENTS_MEANING: Final = (
    "**Times** are milliseconds since the epoch, **properties** (MQTT 5) go by their names in the standard "
    "(`conn_props.'Session-Expiry-Interval'`; `'User-Property'` is a map, `'User-Property-Pairs'` a list of `key` and "
    "`value`) and are an empty map where there were none. A column in *italics* may be missing. Every event also has"
)
_EVENTS_BOUNDS: Final = (
    "An event is raised only while a rule reads it; a reload begins and ends that. Events wait in the inbox with the "
    "messages. While it is full they are counted (`headrace_events_dropped_total`) and given up. An event about a "
    "message that a rule has republished counts as that rule's: it gives this rule no rows that would be republished "
    "again. About one that has passed more than four rules nothing is raised, so that rules on `delivered`, `acked` "
    "and `dropped` cannot feed one another for ever."
)
_COMMON_MEANING: Final = {
    "event": "its name, as given below",
    "timestamp": "when it was raised, in milliseconds",
    "node": "the name of this process",
    "metadata": "`rule_id`, the name of the rule",
}


def events_page() -> str:
    """``events.md``: every event with its columns."""
    common = [(f"`{name}`", MESSAGE_COLUMNS.specs[name].type.value, _COMMON_MEANING[name]) for name in COMMON]
    rows = [
        (f"[`{event.topic}`](#{_anchor(event)})", f"`$events/{event.legacy}`" if event.legacy else "", event.raised)
        for event in RAISED
    ]
    parts = [
        "# Events",
        _MADE,
        _EVENTS_INTRO,
        _table(("FROM", "old name", "raised when"), rows),
        _EVENTS_MEANING + "\n\n" + _table(("column", "type", "meaning"), common),
        _EVENTS_BOUNDS,
    ]
    for event in RAISED:
        parts += [f"## `{event.topic}`", f"`{event.name}`: {event.raised}.", _event_table(event)]
    others = ", ".join(f"`{event.topic}`" for event in EVENTS if not event.raised)
    parts.append(f"## Events that EMQX has and nothing here raises\n\n{others}: a rule on one is an error.")
    return "\n\n".join(parts) + "\n"


def _anchor(event: Event) -> str:
    return "events" + "".join(letter for letter in event.path if letter.isalnum() or letter == "_")


def _event_table(event: Event) -> str:
    rows = []
    for name in event.columns:
        kind, meaning = COLUMNS[name]
        shown = f"`{name}`" if name in event.certain else f"*`{name}`*"
        if words := event.words.get(name):
            said = [f"`{word}` ({text})" if text else f"`{word}`" for word, text in words.items()]
            meaning += (" " if meaning.endswith("or") else ": ") + ", ".join(said)
        rows.append((shown, kind.value, meaning))
    return _table(("column", "type", "meaning"), rows)


def cli_page() -> str:
    """``cli.md``: every command with its arguments."""
    parser = build_parser()
    parts = [
        "# Command line",
        _MADE,
        _CLI_INTRO,
        _arguments(parser),
    ]
    for name, command in _commands(parser):
        parts += [f"## `headrace {name}`", command.description or "", *([_arguments(command)])]
    return "\n\n".join(part for part in parts if part) + "\n"


def _commands(parser: argparse.ArgumentParser, prefix: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                if not any(isinstance(inner, argparse._SubParsersAction) for inner in command._actions):
                    yield prefix + name, command
                yield from _commands(command, f"{prefix}{name} ")


def _arguments(parser: argparse.ArgumentParser) -> str:
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            continue
        value = "" if action.nargs == 0 else " " + (action.metavar or action.dest).upper()  # type: ignore[union-attr]
        if action.option_strings:
            shown = f"`{', '.join(action.option_strings)}{value}`"
        else:
            shown = f"`{action.dest.upper()}`"
        text = action.help or ""
        rows.append((shown, text.replace("%(default)s", f"`{action.default}`")))
    return _table(("argument", "meaning"), rows) if rows else ""


def tests_page() -> str:
    """``rule-tests.md``: every key of ``*.test.toml``."""
    lines = ["# `*.test.toml`", _MADE, _TESTS_INTRO]
    fields = [field for field in described.fields(RuleTests) if field.name != "test"]
    rows = [(f"`{field.name}`", field.kind, _default(field.default), field.doc) for field in fields]
    lines += ["## Top of the file", _table(("key", "type", "default", "meaning"), rows)]
    lines += _section("`[[test]]`", RuleTest)
    return "\n\n".join(lines) + "\n"


PAGES: Final[dict[str, Callable[[], str]]] = {
    "config.md": config_page,
    "metrics.md": metrics_page,
    "events.md": events_page,
    "cli.md": cli_page,
    "aggregate-functions.md": lambda: aggregates_page(_MADE),
    "analytic-functions.md": lambda: analytics_page(_MADE),
    "rule-tests.md": tests_page,
    "create-source.md": lambda: source_page(_MADE),
    "create-table.md": lambda: table_page(_MADE),
    "diagnostics.md": lambda: codes_page(_MADE),
}


def stale(folder: Path = FOLDER) -> list[str]:
    """The names of the pages that are missing or differ from what the code says."""
    return [
        name
        for name, page in PAGES.items()
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != page()
    ]


def main() -> int:
    """Write the pages, or say which are stale."""
    if sys.argv[1:] == ["--write"]:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, page in PAGES.items():
            (FOLDER / name).write_text(page(), encoding="utf-8")
        return 0
    names = stale()
    for name in names:
        sys.stdout.write(f"stale: {FOLDER / name}\n")
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
