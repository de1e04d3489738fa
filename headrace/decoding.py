"""Tables of a configuration file -> msgspec structs, with every error at once, each with its path and line.

``msgspec.convert`` stops at the first error, so tables are walked field by field here and only the leaves are
converted by it. Texts of errors say what was expected in TOML's words. Which structs make up a configuration is
the business of ``headrace.config``.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from core.errors import ConfigError
from core.registry import did_you_mean
from core.settings import Secret, decode_hook
from headrace.toml_lines import Path, dotted

Struct = TypeVar("Struct", bound=msgspec.Struct)

_ABSENT: Final = object()
_WORDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "an array",
    "object": "a table",
    "null": "nothing",
}
_EXPECTED = re.compile(r"Expected `(?P<want>[^`]+)`(?P<rest>[^-]*?)(?:, got `(?P<got>[^`]+)`)?$")
_PLACE = re.compile(r" - at `(?P<where>[^`]*)`$")


class ConfigErrors(ConfigError):
    """Everything that is wrong with a configuration; ``errors`` has them one by one, in the file's order."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors = tuple(sorted(errors, key=lambda error: error.line or 0))
        super().__init__("\n".join(str(error) for error in self.errors))

    def __str__(self) -> str:
        return self.message


class Decoder:
    """Decodes the tables of one file and gathers what is wrong in ``errors``; ``hook`` makes values that TOML lacks."""

    def __init__(
        self,
        file: str,
        base_dir: FilePath,
        lines: Mapping[Path, int],
        hook: Callable[[type[Any], Any], Any] = decode_hook,
    ) -> None:
        self.file = file
        self.base_dir = base_dir
        self.errors: list[ConfigError] = []
        self.lines = lines
        self._make = hook

    def fail(self, path: Path, message: str, hint: str | None = None) -> None:
        """Note an error at ``path``; its line is that of the nearest enclosing key that stands in the file."""
        line = None
        for end in range(len(path), 0, -1):
            line = self.lines.get(path[:end])
            if line is not None:
                break
        self.errors.append(ConfigError(message, path=dotted(path) or None, file=self.file, line=line, hint=hint))

    def unknown(self, path: Path, key: str, known: Iterable[str]) -> None:
        names = sorted(known)
        hint = did_you_mean(key, names) or f"known are {', '.join(names) or 'none'}"
        self.fail((*path, key), "unknown key", hint)

    def table(self, value: Any, path: Path) -> dict[str, Any] | None:
        """``value`` if it is a table, else None and an error."""
        if isinstance(value, dict):
            return value
        self.fail(path, f"expected a table, got {_kind_of(value)}")
        return None

    def struct(self, kind: type[Struct], value: Any, path: Path) -> Struct | None:
        """An instance of ``kind`` from a table, None (and the errors) where that cannot be."""
        table = self.table(value, path)
        if table is None:
            return None
        before = len(self.errors)
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        tag = kind.__struct_config__.tag_field
        for key in table:
            if key not in fields and key != tag:
                self.unknown(path, key, fields)
        values: dict[str, Any] = {}
        for key, field in fields.items():
            item = table.get(key, _ABSENT)
            if item is not _ABSENT:
                values[field.name] = self.value(field.type, item, (*path, key))
            elif field.required:
                self.fail(path, f"`{key}` is missing")
        if len(self.errors) > before:
            return None
        try:
            return kind(**values)
        except (TypeError, ValueError) as error:  # what a __post_init__ found
            self.fail(path, str(error))
            return None

    def _tagged(
        self, structs: list[type[msgspec.Struct]], table: dict[str, Any], path: Path
    ) -> type[msgspec.Struct] | None:
        """That of several structs whose tag the table names."""
        by_tag = {str(struct.__struct_config__.tag): struct for struct in structs}
        field = structs[0].__struct_config__.tag_field or "type"
        found = by_tag.get(str(table.get(field)))
        if found is None:
            names = ", ".join(repr(tag) for tag in by_tag)
            given = f"got {_shown(table[field])}" if field in table else "there is none"
            self.fail((*path, field), f"expected one of {names}, {given}", did_you_mean(str(table.get(field)), by_tag))
        return found

    def value(self, kind: Any, value: Any, path: Path) -> Any:
        """One value of any type that a settings struct may have; errors are noted and give None."""
        if isinstance(value, dict) and (structs := _structs_of(kind)):
            struct = structs[0] if len(structs) == 1 else self._tagged(structs, value, path)
            return None if struct is None else self.struct(struct, value, path)
        item = _item_of(kind)
        if isinstance(value, list) and item is not None and _structs_of(item):
            return [self.value(item, one, (*path, index)) for index, one in enumerate(value)]
        try:
            return msgspec.convert(value, kind, dec_hook=self._hook)
        except msgspec.ValidationError as error:
            self._report(error, kind, value, path)
            return None

    def _hook(self, kind: type[Any], value: Any) -> Any:
        if kind is Secret and isinstance(value, dict) and isinstance(value.get("file"), str):
            value = {**value, "file": str(self.base_dir / value["file"])}
        return self._make(kind, value)

    def _report(self, error: msgspec.ValidationError, kind: Any, value: Any, path: Path) -> None:
        message = str(error)
        if place := _PLACE.search(message):
            message = message[: place.start()]
            for part in re.findall(r"\.\.\.|\[(\d+)\]|\.?([^.\[\]$]+)", place["where"]):
                step: Any = int(part[0]) if part[0] else part[1]
                if step != "":
                    path = (*path, step)
                    value = value[step] if isinstance(value, list | dict) else value
        choices = _choices(kind)
        if message.startswith("Invalid enum value") or (choices and not isinstance(value, str)):
            names = [repr(choice) for choice in choices]
            hint = did_you_mean(value, map(str, choices)) if isinstance(value, str) else None
            self.fail(path, f"expected one of {', '.join(names)}, got {_shown(value)}", hint)
            return
        if found := _EXPECTED.match(message):
            wanted = [_WORDS.get(word, word) for word in found["want"].split(" | ") if word != "null"]
            got = found["got"]
            message = f"expected {' or '.join(wanted)}{found['rest'].rstrip()}"
            message += f", got {_WORDS.get(got, got)}" if got else f", got {_shown(value)}"
        self.fail(path, message)


def _kind_of(value: Any) -> str:
    names = {bool: "bool", dict: "object", list: "array", int: "int", float: "float", str: "str"}
    return _WORDS.get(names.get(type(value), ""), "a date or time")


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str | int | float) else _kind_of(value)


def _members(kind: Any) -> tuple[Any, ...]:
    """The members of a union without None; an Annotated is looked through; anything else is its only member."""
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(member for member in get_args(kind) if member is not type(None))
    return (kind,)


def _structs_of(kind: Any) -> list[type[msgspec.Struct]]:
    return [member for member in _members(kind) if isinstance(member, type) and issubclass(member, msgspec.Struct)]


def _item_of(kind: Any) -> Any:
    for member in _members(kind):
        if get_origin(member) in (list, tuple):
            return get_args(member)[0]
    return None


def _choices(kind: Any) -> tuple[Any, ...]:
    for member in _members(kind):
        if get_origin(member) is Literal:
            return get_args(member)
        if (item := _item_of(member)) is not None:
            return _choices(item)
    return ()
