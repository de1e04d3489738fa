"""Test files: found, read and checked; with the rules that they are about, compiled.

A file that is wrong has ``errors`` and no tests that could run; the other files are not its concern. Which rules a
file is about: those it names, else those of the configuration, else the ``.sql`` files beside it. The configuration
is the one that was named, else the nearest ``headrace.toml`` above the test file; of it only ``rules``, ``[functions]``
and the names of the sinks count here: whether it is right in everything else is the business of ``headrace check``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from core.errors import ConfigError, RuleError
from core.message import Row
from core.registry import did_you_mean
from core.settings import decode_hook
from headrace import config as configuration
from headrace import lookup_files, toml_lines
from headrace.decoding import Decoder
from headrace.lookup_rows import RowError, RowMaker, TableSource, table_sources
from headrace.ruletests.settings import RuleTest, RuleTests
from headrace.ruletests.values import decode_value
from headrace.settings import FunctionSettings
from rules.compiler import RuleSet, RuleSource
from rules.joins import Key

SUFFIX: Final = ".test.toml"

Compiler = Callable[[Sequence[RuleSource], Sequence[str] | None, FunctionSettings | None], RuleSet]
"""Rule files, the names of the sinks, and ``[functions]``, both None where there is no (right) configuration."""


@dataclass(slots=True)
class TestFile:
    """One test file. ``lines`` says where its keys stand; ``watched`` are all files that it depends on."""

    __test__ = False  # not one of pytest's classes

    path: str
    tests: list[RuleTest] = field(default_factory=list)
    rules: RuleSet = field(default_factory=RuleSet)
    lines: dict[toml_lines.Path, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    watched: set[Path] = field(default_factory=set)
    tables: dict[str, Mapping[Key, Sequence[Row]]] = field(default_factory=dict)
    """The rows of lookup tables by name and key."""

    def line(self, *path: str | int) -> int:
        """The line of a key, or of the nearest table around it."""
        for end in range(len(path), 0, -1):
            if (found := self.lines.get(path[:end])) is not None:
                return found
        return 1


def find(paths: Iterable[str]) -> list[Path]:
    """The test files that these paths name or hold, in the order of their names; ConfigError where there is no such."""
    found: dict[Path, None] = {}
    for name in paths:
        path = Path(name)
        if path.is_dir():
            found.update(dict.fromkeys(sorted(_below(path))))
        elif path.exists():
            found[path] = None
        else:
            raise ConfigError("there is no such file or folder", file=name)
    return list(found)


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob(f"*{SUFFIX}"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


class Reader:
    """Reads test files; ``config_file`` names the configuration of all of them, ``compile_rules`` makes the rules."""

    def __init__(self, config_file: str | None, compile_rules: Compiler) -> None:
        self._config_file = config_file
        self._compile = compile_rules
        self._surveys: dict[Path, configuration.Survey] = {}
        self._compiled: dict[tuple[Any, ...], RuleSet | RuleError] = {}

    def read(self, path: Path) -> TestFile:
        """The file, with its errors where it has any."""
        shown = configuration.shown(path)
        found = TestFile(shown, watched={path})
        try:
            text = configuration.read_text(path, shown)
            tables = configuration.read_tables(text, shown)
        except ConfigError as error:
            found.errors.append(str(error))
            return found
        found.lines = toml_lines.key_lines(text)
        decoder = Decoder(shown, path.resolve().parent, found.lines, _decode)
        tests = decoder.struct(RuleTests, tables, ())
        if tests is not None:
            self._rules(tests, decoder, found)
            if not tests.test:
                decoder.fail((), "there is no [[test]]")
            self._tables(tests, decoder, found)
            _check_names(tests, decoder, found)
            found.tests = tests.test
        found.errors += [str(error) for error in sorted(decoder.errors, key=lambda error: error.line or 0)]
        return found

    def _survey(self, folder: Path) -> tuple[Path, configuration.Survey] | None:
        """The configuration for test files in ``folder``, None where there is none."""
        if self._config_file is not None:
            path: Path | None = Path(self._config_file)
        else:
            folders = (folder, *folder.parents)
            candidates = (one / configuration.DEFAULT_FILE for one in folders)
            path = next((one for one in candidates if one.is_file()), None)
        if path is None:
            return None
        if path not in self._surveys:
            self._surveys[path] = configuration.inspect(configuration.shown(path))
        return path, self._surveys[path]

    def _rules(self, tests: RuleTests, decoder: Decoder, found: TestFile) -> None:
        configured = self._survey(decoder.base_dir)
        targets: tuple[str, ...] | None = None
        settings: FunctionSettings | None = None
        sources: Sequence[configuration.RuleText] = ()
        if configured is not None:
            path, survey = configured
            found.watched.add(path)
            targets, sources = survey.targets, survey.sources
            settings = None if survey.config is None else survey.config.functions
            if not sources and tests.rules is None:
                found.errors += [str(error) for error in survey.errors] or [f"{path}: `rules` names no file"]
                return
        if tests.rules is not None:
            sources = configuration.rule_texts(decoder, tests.rules)
        elif configured is None:
            sources = configuration.rule_texts(decoder, ["*.sql"])
        found.watched |= {Path(source.path) for source in sources}
        if decoder.errors:
            return
        rules = self._compile_once(tuple(sources), targets, settings)
        if isinstance(rules, RuleError):
            found.errors += [str(diagnostic) for diagnostic in rules.diagnostics]
        else:
            found.rules = rules

    def _compile_once(
        self,
        sources: tuple[configuration.RuleText, ...],
        targets: tuple[str, ...] | None,
        settings: FunctionSettings | None,
    ) -> RuleSet | RuleError:
        key = (sources, targets, repr(settings))
        if key not in self._compiled:
            try:
                self._compiled[key] = self._compile([RuleSource(*text) for text in sources], targets, settings)
            except RuleError as error:
                self._compiled[key] = error
        return self._compiled[key]

    def _tables(self, tests: RuleTests, decoder: Decoder, found: TestFile) -> None:
        """The rows of all lookup tables that the rules read, and of no others; a table's file has them too."""
        if found.errors:
            return
        sources = {source.name: source for source in table_sources(found.rules)}
        for name in tests.tables:
            if name not in sources:
                hint = did_you_mean(name, sources) or f"they read {', '.join(sources) or 'none'}"
                decoder.fail(("tables", name), f"none of the rules reads a lookup table {name!r}", hint)
        for name, source in sources.items():
            given = tests.tables.get(name)
            if given is None and source.options.file is not None:
                self._read_table(source, decoder, found)
                continue
            if given is None:
                hint = f"[tables.{name}] with rows = [...]"
                decoder.fail(("tables",), f"the rules read the lookup table {name!r}, and its rows are not given", hint)
                continue
            maker = RowMaker(source)
            rows: dict[Key, list[Row]] = {}
            for place, values in enumerate(given.rows):
                absent = dict.fromkeys(() if source.schema is None else source.schema.names)
                try:
                    key, row = maker.row(absent | values)
                except RowError as error:
                    decoder.fail(("tables", name, "rows", place), str(error))
                else:
                    rows.setdefault(key, []).append(row)
            found.tables[name] = {key: tuple(own) for key, own in rows.items() if key is not None}

    def _read_table(self, source: TableSource, decoder: Decoder, found: TestFile) -> None:
        """The rows of a table's file, which is where the service would look for it."""
        assert source.options.file is not None  # noqa: S101  the caller has looked
        configured = self._survey(decoder.base_dir)
        folder = decoder.base_dir if configured is None else configured[0].resolve().parent
        path = folder / source.options.file
        found.watched.add(path)
        try:
            found.tables[source.name] = lookup_files.read(path, source).rows
        except ConfigError as error:
            found.errors.append(f"lookup table {source.name}: {error}")


def _decode(kind: type[Any], value: Any) -> Any:
    try:
        return decode_value(kind, value)
    except NotImplementedError:
        return decode_hook(kind, value)


def _check_names(tests: RuleTests, decoder: Decoder, found: TestFile) -> None:
    """Names of tests are unique, and those of sinks and rules are names of something."""
    if found.errors:
        return  # without the rules nothing is known
    taken = Counter(test.name for test in tests.test)
    sinks = sorted({target for rule in found.rules.rules for target in rule.targets})
    names = [query.name for query in (*found.rules.rules, *found.rules.relations)]
    for index, test in enumerate(tests.test):
        if taken[test.name] > 1:
            decoder.fail(("test", index, "name"), f"another test is called {test.name!r}")
        for place, expect in enumerate(test.expect):
            if expect.sink not in sinks:
                hint = did_you_mean(expect.sink, sinks) or f"they write into {', '.join(sinks) or 'none'}"
                message = f"none of the rules writes into {expect.sink!r}"
                decoder.fail(("test", index, "expect", place, "sink"), message, hint)
            if expect.sink in [other.sink for other in test.expect[:place]]:
                decoder.fail(("test", index, "expect", place, "sink"), f"{expect.sink!r} is already expected above")
        for place, error in enumerate(test.error):
            if error.rule is not None and error.rule not in names:
                hint = did_you_mean(error.rule, names) or f"there are {', '.join(names) or 'none'}"
                decoder.fail(("test", index, "error", place, "rule"), f"there is no rule {error.rule!r}", hint)


def matching(tests: Sequence[RuleTest], word: str | None) -> Iterator[tuple[int, RuleTest]]:
    """The tests whose name has ``word`` in it, in any case, with their numbers in the file."""
    pattern = re.compile(re.escape(word or ""), re.IGNORECASE)
    for index, test in enumerate(tests):
        if pattern.search(test.name):
            yield index, test
