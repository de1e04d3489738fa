"""``headrace check`` and ``headrace explain``: what is right and wrong with files, without running anything."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from core.clock import SystemClock
from core.errors import ConfigError, RuleError
from core.message import Message
from core.metrics import Metrics
from gateways.base import Source
from headrace import lookups
from headrace.config import Config, inspect, read_text
from headrace.connect import connect
from headrace.decoding import ConfigErrors, Decoder
from headrace.endpoints import SinkSpec, SourceSpec
from headrace.hosts import host
from headrace.inlets import build_sources
from headrace.jq_runner import JqProcess
from headrace.links import LinkPlan, Links
from headrace.lookup_rows import table_sources
from headrace.outlets import build_sinks, with_fallbacks
from headrace.settings import FunctionSettings
from rules.compiler import RuleSet, RuleSource, compile_rules
from rules.functions import available_functions
from sinks.base import Sink


def check(config_file: str, connect_within: float | None = None) -> int:
    """Print every error of the configuration and of its rules; 1 if there are any, else a summary.

    With ``connect_within`` (seconds) every far side is tried as well; 1 if any fails.
    """
    survey = inspect(config_file)
    problems = [str(error) for error in survey.errors]
    rules: RuleSet | None = None
    try:
        # Rules are checked even where the configuration is wrong: sinks are known by name all the same.
        settings = FunctionSettings() if survey.config is None else survey.config.functions
        with closing(JqProcess()) as jq:
            # Without a configuration nobody knows which variables may be read.
            functions = available_functions(host(settings, jq=jq, any_variable=survey.config is None))
            rules = compile_rules([RuleSource(*text) for text in survey.sources], survey.targets, functions)
    except RuleError as error:
        problems += [str(diagnostic) for diagnostic in error.diagnostics]
    trial: Trial | None = None
    if survey.config is not None:
        trial = _set_up(survey.config, rules or RuleSet())
        problems += [str(error) for error in ConfigErrors(trial.links.decoder.errors).errors]
    if problems:
        blocks = "\n\n" if any("\n" in problem for problem in problems) else "\n"
        sys.stderr.write(blocks.join(problems) + "\n")
        sys.stderr.write(f"{blocks[1:]}{_counted(len(problems), 'error')}\n")
        return 1
    config = survey.config
    assert config is not None  # noqa: S101 - without errors there is one
    assert rules is not None  # noqa: S101
    assert trial is not None  # noqa: S101
    sys.stdout.write(f"{config_file}: OK: {_summary(config, rules)}\n")
    fed = {target for rule in rules.rules for target in rule.targets}
    fed |= {spec.fallback for spec in config.sinks.values() if spec.fallback is not None}
    if unused := [name for name in config.sinks if name not in fed]:
        sys.stdout.write(f"no rule writes to: {', '.join(unused)}\n")
    users: list[SourceSpec | SinkSpec] = [*config.sources.values(), *config.sinks.values()]
    used = {spec.connection.name for spec in users if spec.connection is not None}
    used |= {table.options.connection for table in rules.tables if table.options.connection is not None}
    if idle := [name for name in config.connections if name not in used]:
        sys.stdout.write(f"nothing uses the connections: {', '.join(idle)}\n")
    return 0 if connect_within is None else _connect(trial, connect_within)


def _summary(config: Config, rules: RuleSet) -> str:
    """What there is, in numbers; of what rules may read only that which they do."""
    kinds = Counter(relation.kind for relation in rules.relations)
    kinds["table"] = len(rules.tables)
    statements = [_counted(len(rules.rules), "rule")]
    statements += [_counted(kinds[kind], kind) for kind in ("view", "source", "table") if kinds[kind]]
    rest = [_counted(len(config.listeners), "listener")]
    if config.sources:
        rest.append(_counted(len(config.sources), "remote source"))
    rest.append(_counted(len(config.sinks), "sink"))
    return ", ".join((f"{', '.join(statements)} in {_counted(len(config.rules), 'file')}", *rest))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


class Trial(NamedTuple):
    """What a configuration would run, made and not opened."""

    links: LinkPlan
    sources: Mapping[str, Source]
    sinks: Mapping[str, Sink]


def _connect(trial: Trial, seconds: float) -> int:
    sys.stdout.flush()
    findings = connect(trial.links, trial.sources, trial.sinks, seconds)
    sys.stdout.write("".join(f"{finding}\n" for finding in findings))
    failed = sum(not finding.ok for finding in findings)
    if failed:
        sys.stdout.flush()
        sys.stderr.write(f"{failed} of {len(findings)} failed\n")
    return 1 if failed else 0


def _set_up(config: Config, rules: RuleSet) -> Trial:
    """What a start would make; what it objects to is in the errors of the decoder."""

    def publish(messages: list[Message]) -> None:
        """Nothing is published by a check."""

    clock = SystemClock()
    decoder = Decoder(config.file, config.base_dir, config.lines)
    links = Links(clock, Metrics()).plan(config.connections, decoder)
    schemas_for = with_fallbacks(config.sinks, rules.schemas_for)
    inlets = build_sources(config.sources.values(), links, clock)
    sources = {name: inlet.source for name, inlet in inlets.items()}
    lookups.plan(table_sources(rules), links, clock)
    return Trial(links, sources, build_sinks(list(config.sinks.values()), links, schemas_for, clock, publish, publish))


def explain(files: Sequence[str], config_file: str, *, code: bool) -> int:
    """Print the plan, or the generated Python, of every rule in some files; without any, in those of the configuration.
    What rules read, sources, views and joins, comes before them.

    The files are compiled together, as a service would: their rules have the same names here as there.
    """
    if files:
        sources = [_source(file) for file in files]
    else:
        survey = inspect(config_file)
        if not survey.sources:
            raise survey.errors[0] if survey.errors else ConfigError("`rules` names no file", file=config_file)
        sources = [RuleSource(*text) for text in survey.sources]
    functions = available_functions(host(FunctionSettings(), any_variable=True))
    queries = compile_rules(sources, functions=functions).queries
    parts = [query.source_code if code else query.explain() for query in queries]
    sys.stdout.write("\n".join(part.rstrip("\n") + "\n" for part in parts if part))
    return 0


def _source(file: str) -> RuleSource:
    if file == "-":
        return RuleSource("<stdin>", sys.stdin.read())
    return RuleSource(file, read_text(Path(file), file))
