"""``headrace.toml`` -> one checked :class:`Config`, or every error in it at once with file, line and path.

Invariants: an unknown key anywhere is an error; a Config that was returned names only extensions that exist, with
options they accept; relative paths start at the file's folder; the environment is read for secrets only, and not
here. Opens nothing, listens nowhere and imports only the extensions that the file names.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from broker.acl import AclRule
from broker.auth import AuthProvider
from broker.settings import BrokerLimits, ListenerSettings
from core.errors import ConfigError, ExtensionError
from core.registry import Registry, did_you_mean
from headrace import toml_lines
from headrace.decoding import ConfigErrors, Decoder
from headrace.endpoints import ConnectionSpec, EndpointReader, SinkSpec, SourceSpec
from headrace.settings import (
    AdminSettings,
    AuthSettings,
    EngineSettings,
    FunctionSettings,
    InboxSettings,
    ProcessSettings,
)

DEFAULT_FILE: Final = "headrace.toml"
SECTIONS: Final = (
    *("listeners", "broker", "inbox", "functions", "engine", "auth", "acl"),
    *("connections", "sources", "sinks", "admin"),
)
"""The tables of the file, in the order in which the documentation tells of them."""
_TOML_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")


@cache
def provider_types() -> Registry[AuthProvider]:
    """The installed auth providers."""
    return Registry("headrace.auth", AuthProvider)  # type: ignore[type-abstract]


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """One name of ``auth.providers`` with its class and options."""

    name: str
    provider: type[AuthProvider]
    config: msgspec.Struct


class RuleText(NamedTuple):
    """A rule file: its path as the user would write it, and what stands in it."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration with its rules; ``tables`` is the parsed file, ``lines`` where its keys stand."""

    file: str
    base_dir: Path
    process: ProcessSettings
    listeners: Mapping[str, ListenerSettings]
    broker: BrokerLimits
    inbox: InboxSettings
    functions: FunctionSettings
    engine: EngineSettings
    allow_anonymous: bool
    providers: tuple[ProviderSpec, ...]
    acl: tuple[AclRule, ...]
    connections: Mapping[str, ConnectionSpec]
    sources: Mapping[str, SourceSpec]
    sinks: Mapping[str, SinkSpec]
    admin: AdminSettings | None
    rules: tuple[RuleText, ...]
    tables: Mapping[str, Any] = field(repr=False)
    lines: Mapping[toml_lines.Path, int] = field(repr=False)

    @property
    def data_dir(self) -> Path | None:
        return None if self.process.data_dir is None else self.base_dir / self.process.data_dir


@dataclass(frozen=True, slots=True)
class Survey:
    """What could be made out of a file, right or wrong: ``config`` is None where ``errors`` has any.

    ``targets`` are the sinks that the file names, also those with errors, so that rules can be checked all the same.
    """

    config: Config | None
    errors: tuple[ConfigError, ...]
    sources: tuple[RuleText, ...] = ()
    targets: tuple[str, ...] = ()


def rule_texts(decoder: Decoder, patterns: Any) -> tuple[RuleText, ...]:
    """The text of every rule file, in the order of the patterns and then of the names."""
    paths: dict[Path, None] = {}
    for index, pattern in enumerate(_list_of_texts(patterns)):
        try:
            found = [path for path in _expand(decoder.base_dir, pattern) if path.is_file()]
        except ValueError:
            decoder.fail(("rules", index), f"{pattern!r} is no path or pattern")
            continue
        if not found:
            decoder.fail(("rules", index), f"no file matches {pattern!r} in {shown(decoder.base_dir)}")
        paths.update(dict.fromkeys(found))
    texts = []
    for path in paths:
        try:
            texts.append(RuleText(shown(path), read_text(path, shown(path))))
        except ConfigError as error:
            decoder.errors.append(error)
    return tuple(texts)


def _expand(base_dir: Path, pattern: str) -> Iterator[Path]:
    absolute = Path(pattern)
    if absolute.is_absolute():
        yield from sorted(Path(absolute.anchor).glob(str(absolute.relative_to(absolute.anchor))))
    else:
        yield from sorted(base_dir.glob(pattern))


def shown(path: Path) -> str:
    """A path as the user would write it: relative where it lies below the working directory."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def load(file: str | Path) -> Config:
    """Read and check a configuration file; ConfigErrors with everything that is wrong, but for what rules say."""
    survey = inspect(file)
    if survey.config is None:
        raise ConfigErrors(survey.errors)
    return survey.config


def inspect(file: str | Path) -> Survey:
    """Read and check a configuration file; errors are in the result."""
    path = Path(file)
    try:
        text = read_text(path, str(file), "-c FILE names another")
    except ConfigError as error:
        return Survey(None, (error,))
    return parse(text, file=str(file), base_dir=path.resolve().parent)


def read_text(path: Path, file: str, absent: str | None = None) -> str:
    """The text of a file that errors call ``file``; ConfigError, where there is none with the hint ``absent``."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError("there is no such file", file=file, hint=absent) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 at byte {error.start}", file=file) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=file) from None


def read_tables(text: str, file: str) -> dict[str, Any]:
    """The tables of a TOML text; ConfigError where it is none."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(str(error), text, file) from None


def parse(text: str, *, file: str, base_dir: Path) -> Survey:
    """The same from text; ``file`` is how errors name it."""
    try:
        tables = read_tables(text, file)
    except ConfigError as error:
        return Survey(None, (error,))
    decoder = Decoder(file, base_dir, toml_lines.key_lines(text))
    rules = rule_texts(decoder, tables.get("rules"))
    config = _Reader(decoder, tables).config(rules)
    sinks = tables.get("sinks")
    return Survey(
        config=None if decoder.errors else config,
        errors=ConfigErrors(decoder.errors).errors,
        sources=rules,
        targets=tuple(sinks) if isinstance(sinks, dict) else (),
    )


def _syntax_error(message: str, text: str, file: str) -> ConfigError:
    found = _TOML_PLACE.search(message)
    place = f"{file}:{text.count(chr(10)) + 1}"
    hint = None
    if found:
        message = message[: found.start()]
        if found["line"]:
            place = f"{file}:{found['line']}:{found['column']}"
            line = text.split("\n")[int(found["line"]) - 1]
            if message.startswith("Invalid initial character for a key") and int(found["column"]) > len(line.rstrip()):
                hint = "a table in braces must end on its line; write it as a [table] or [[array.of.tables]]"
    return ConfigError(f"not TOML: {message}", file=place, hint=hint)


class _Reader:
    """Decodes the sections of one file; what is wrong goes to the decoder's errors."""

    def __init__(self, decoder: Decoder, tables: dict[str, Any]) -> None:
        self.decoder = decoder
        self.tables = tables
        self.auth_types = provider_types()

    def config(self, rules: tuple[RuleText, ...]) -> Config | None:
        decoder = self.decoder
        top = {name: value for name, value in self.tables.items() if name not in SECTIONS}
        known = {field.encode_name for field in msgspec.structs.fields(ProcessSettings)}
        for key in [key for key in top if key not in known]:
            decoder.unknown((), key, [*known, *SECTIONS])
            del top[key]
        process = decoder.struct(ProcessSettings, top, ())
        listeners = self._each("listeners", lambda value, path: decoder.struct(ListenerSettings, value, path))
        broker = decoder.struct(BrokerLimits, self.tables.get("broker", {}), ("broker",))
        inbox = decoder.struct(InboxSettings, self.tables.get("inbox", {}), ("inbox",))
        engine = decoder.struct(EngineSettings, self.tables.get("engine", {}), ("engine",))
        functions = decoder.struct(FunctionSettings, self.tables.get("functions", {}), ("functions",))
        auth, providers = self._auth()
        acl = decoder.value(list[AclRule], self.tables.get("acl", []), ("acl",))
        endpoints = EndpointReader(decoder)
        connections = self._each("connections", endpoints.connection)
        sources = self._each("sources", endpoints.source)
        sinks = self._each("sinks", endpoints.sink)
        self._check_fallbacks(sinks)
        admin = None
        if "admin" in self.tables:
            admin = decoder.struct(AdminSettings, self.tables["admin"], ("admin",))
        if not listeners and not decoder.errors:
            decoder.fail((), "there is no [listeners.<name>]: nothing could connect")
        if functions is not None and functions.kv_store.persist and process is not None and process.data_dir is None:
            decoder.fail(("functions", "kv_store", "persist"), "there is no data_dir to store the entries in")
        if decoder.errors or not (process and broker and inbox and functions and engine and auth):
            return None
        return Config(
            file=decoder.file,
            base_dir=decoder.base_dir,
            process=process,
            listeners=listeners,
            broker=broker,
            inbox=inbox,
            functions=functions,
            engine=engine,
            allow_anonymous=auth.allow_anonymous,
            providers=providers,
            acl=tuple(acl),
            connections=connections,
            sources=sources,
            sinks=sinks,
            admin=admin,
            rules=rules,
            tables=self.tables,
            lines=decoder.lines,
        )

    def _each(self, section: str, decode: Callable[[Any, toml_lines.Path], Any]) -> dict[str, Any]:
        """The tables of a section by name, those that are right."""
        table = self.decoder.table(self.tables.get(section, {}), (section,)) or {}
        decoded = {name: decode(value, (section, name)) for name, value in table.items()}
        return {name: value for name, value in decoded.items() if value is not None}

    def _check_fallbacks(self, sinks: Mapping[str, SinkSpec]) -> None:
        """Every ``on_unavailable`` names another sink, and following them comes to an end."""
        for name, spec in sinks.items():
            place = ("sinks", name, "on_unavailable", "sink")
            seen = [name]
            other = spec.fallback
            if other is not None and other not in self.tables["sinks"]:
                self.decoder.fail(place, f"there is no sink {other!r}", did_you_mean(other, self.tables["sinks"]))
            while other is not None and other in sinks and other not in seen:
                seen.append(other)
                other = sinks[other].fallback
            if other == name:
                self.decoder.fail(place, f"leads back here: {' -> '.join([*seen, name])}")

    def _auth(self) -> tuple[AuthSettings | None, tuple[ProviderSpec, ...]]:
        table = self.decoder.table(self.tables.get("auth", {}), ("auth",))
        if table is None:
            return None, ()
        names = {field.encode_name for field in msgspec.structs.fields(AuthSettings)}
        listed = [name for name in _list_of_texts(table.get("providers")) if name not in names]
        auth = self.decoder.struct(
            AuthSettings, {key: value for key, value in table.items() if key in names}, ("auth",)
        )
        for key in table:
            if key not in names and key not in listed:
                if isinstance(table[key], dict):
                    hint = did_you_mean(key, listed) or f"`auth.providers` names {', '.join(listed) or 'none'}"
                    self.decoder.fail(("auth", key), "settings of a provider that is not used", hint)
                else:
                    self.decoder.unknown(("auth",), key, [*names, *listed])
        specs = []
        for index, name in enumerate(listed):
            try:
                provider = self.auth_types.load(name)
            except ExtensionError as error:
                self.decoder.fail(("auth", "providers", index), str(error))
                continue
            config = self.decoder.struct(provider.Config, table.get(name, {}), ("auth", name))
            if config is not None:
                specs.append(ProviderSpec(name, provider, config))
        return auth, tuple(specs)


def _list_of_texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
